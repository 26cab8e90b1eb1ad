"""Quadratic Legendre functions, whose mirror flows are (preconditioned) gradient flows."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from riemflow.errors import DomainError
from riemflow.legendre.function import LegendreFunction
from riemflow.legendre.separable import Separable
from riemflow.validation import as_count, as_matrix


class SquaredNorm(Separable):
    """R(w) = ½‖w‖² on R^d, its own conjugate. Mirror flow is gradient flow.

    Parameters
    ----------
    dim : int
        d.
    """

    def __init__(self, dim: int):
        self._define(as_count("dim", dim), name="SquaredNorm", interior=0.0, is_mirror_map=True)

    def _r(self, w):
        return 0.5 * w * w

    def _r1(self, w):
        return w.copy()

    def _r2(self, w):
        return np.ones(w.shape)

    def _r3(self, w):
        return np.zeros(w.shape)

    _r4 = _r3

    def _flat(self, w):
        return w.copy()

    def _flat_inverse(self, z):
        return z.copy()

    def _make_conjugate(self):
        return self


class Quadratic(LegendreFunction):
    """R(w) = ½ wᵀA w on R^d, with conjugate ½ μᵀA^{-1}μ.

    Parameters
    ----------
    A : array, shape=[d, d]
        Symmetric positive definite.

    Raises
    ------
    ShapeError
        If A is not square.
    DomainError
        If A is not symmetric, or not positive definite up to rounding.
    """

    def __init__(self, A: Any):
        A = as_matrix("A", A, (None, None))
        d = A.shape[0]
        A = as_matrix("A", A, (d, d))
        scale = np.abs(A).max()
        skew = np.abs(A - A.T).max()
        if skew > 1e-12 * scale:
            raise DomainError(f"A must be symmetric, but A - Aᵀ has an entry {skew:.3g}: use (A + Aᵀ)/2.")
        self.A = 0.5 * (A + A.T)
        eigenvalues = np.linalg.eigvalsh(self.A)
        if eigenvalues[0] <= d * np.finfo(float).eps * np.abs(eigenvalues).max():
            raise DomainError(
                f"A must be positive definite, but its smallest eigenvalue is {eigenvalues[0]:.3g} "
                f"(largest {eigenvalues[-1]:.3g}): add a multiple of the identity or drop variables."
            )
        self._factor = cho_factor(self.A, lower=True)
        self._define(d, name="Quadratic", interior=0.0, is_mirror_map=True)

    def _value(self, w):
        return 0.5 * (w * self._gradient(w)).sum(axis=-1)

    def _gradient(self, w):
        return w @ self.A

    def _hessian(self, w):
        return np.broadcast_to(self.A, (*w.shape, self.dim)).copy()

    def _third(self, w):
        return np.zeros((*w.shape, self.dim, self.dim))

    def _fourth(self, w):
        return np.zeros((*w.shape, self.dim, self.dim, self.dim))

    def _third_along(self, w, v):
        return np.zeros((*w.shape, self.dim))

    def _make_conjugate(self):
        return _QuadraticConjugate(self)


class _QuadraticConjugate(Quadratic):
    """½ μᵀA^{-1}μ; the gradient solves with A's Cholesky factor instead of multiplying by an inverse."""

    def __init__(self, base: Quadratic):
        self.base = base
        inverse = cho_solve(base._factor, np.eye(base.dim))
        self.A = 0.5 * (inverse + inverse.T)
        self._factor = cho_factor(self.A, lower=True)
        self._define(base.dim, name="Quadratic*", interior=0.0, is_mirror_map=True)

    def _gradient(self, w):
        flat = w.reshape(-1, self.dim)
        return cho_solve(self.base._factor, flat.T).T.reshape(w.shape)

    def _make_conjugate(self):
        return self.base
