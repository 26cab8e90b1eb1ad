"""The sphere over the simplex: squares of coordinates."""

from __future__ import annotations

import numpy as np
from scipy.sparse import issparse

from riemflow.legendre.partition import SimplexEntropy
from riemflow.parametrizations.parametrization import Parametrization
from riemflow.parametrizations.submanifold import Submanifold
from riemflow.validation import as_count


class Spherical(Parametrization):
    """``G_i(x) = x_i²``, i = 1, …, d, on the unit sphere of R^{d+1}.

    Defined where no coordinate vanishes, the last one included: there the tangential ∂G is
    regular. With the last weight ``s = 1 - Σ w_i = x_{d+1}²`` eliminated,
    ``∂G∂Gᵀ = 4(diag w - w wᵀ)``; G commutes on the sphere, and R is the entropy on the simplex with
    the factor ¼, ``R(w) = ¼(Σ w_i ln w_i + s ln s)`` up to an affine function.

    Parameters
    ----------
    dim : int
        d; D = d + 1.

    Raises
    ------
    DomainError
        If `dim` is not a whole number, at least 1.
    """

    _complete = True

    def __init__(self, dim: int):
        d = as_count("dim", dim)
        self._define(d + 1, d, name=f"Spherical({d})", manifold=Submanifold.sphere(d + 1))

    def _closed_legendre(self, x):
        return 0.25 * SimplexEntropy(self.dim)

    def _joint_flow(self, x, mu):
        # Replicator dynamics: the weights grow like e^{4μ} and are normalised.
        rates = 2.0 * np.concatenate([mu, np.zeros((*mu.shape[:-1], 1))], axis=-1)
        grown = x * np.exp(rates - rates.max(axis=-1, keepdims=True))
        return grown / np.linalg.norm(grown, axis=-1, keepdims=True)

    def _gram(self, x, rows):
        w = self._fun(x)
        rows = rows.toarray() if issparse(rows) else rows
        centred = np.vstack([(rows - (rows @ w)[:, None]).T * x[:-1, None], -(rows @ w) * x[-1]])
        return 4.0 * centred.T @ centred

    def _fun(self, x):
        return x[..., :-1] ** 2

    def _jacobian(self, x):
        return 2 * x[..., None, :] * np.eye(self.dim, self.dim_in)

    def _hessian(self, x):
        hessian = np.zeros((*x.shape[:-1], self.dim, self.dim_in, self.dim_in))
        i = np.arange(self.dim)
        hessian[..., i, i, i] = 2.0
        return hessian

    def _belongs(self, x):
        return (np.isfinite(x) & (x != 0)).all(axis=-1)
