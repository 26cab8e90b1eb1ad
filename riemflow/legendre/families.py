"""Log-partition functions of exponential families, in their natural parameters.

Their Hessians are Fisher's information, and their gradients the expectations of the sufficient statistics.
"""

from __future__ import annotations

import numpy as np
from scipy import stats
from scipy.special import betaln, digamma, gammaln, zeta

from riemflow.legendre.algebra import Composed
from riemflow.legendre.distribution import DistributionFamily
from riemflow.legendre.entropies import BurgEntropy
from riemflow.validation import as_count

FACTORS = (0.0, 1.0, -2.0, 6.0)
SUM_TOL = 1e-10  # as scipy.stats, what proportions may miss the sum 1 by


def polygamma(n: int, x: np.ndarray) -> np.ndarray:
    """ψ⁽ⁿ⁾(x) = (-1)^{n+1} n! ζ(n+1, x), n = 1, 2, 3; scipy.special computes ψ beside it."""
    return FACTORS[n] * zeta(n + 1.0, x)


class Exponential(DistributionFamily, Composed):
    """R(θ) = -ln(-θ) on θ < 0: the exponential family of rate -θ, with statistic x."""

    def __init__(self):
        super().__init__(BurgEntropy(1), [[-1.0]])
        self.name = "Exponential"

    _scipy, _support = stats.expon, "x ≥ 0"

    def _statistics(self, x):
        return x[..., None]

    def _log_base(self, x):
        return np.zeros(x.shape)

    def _supports(self, x):
        return x >= 0

    def _to_arguments(self, theta):
        return {"scale": -1.0 / theta[..., 0]}

    def _from_arguments(self, *, loc, scale):
        self._require_equal("loc", loc, 0.0)
        return -1.0 / np.asarray(scale)[..., None]


class Gamma(DistributionFamily):
    """R(θ) = ln Γ(θ₁) - θ₁ ln(-θ₂) on θ₁ > 0, θ₂ < 0: the Gamma family of shape θ₁ and rate -θ₂.

    The statistics are (ln x, x). No mirror map, since E ln x < ln E x.
    """

    def __init__(self):
        self._define(2, name="Gamma", interior=[1.0, -1.0], is_mirror_map=False)

    def _value(self, w):
        return gammaln(w[..., 0]) - w[..., 0] * np.log(-w[..., 1])

    def _gradient(self, w):
        a, c = w[..., 0], w[..., 1]
        return np.stack([digamma(a) - np.log(-c), -a / c], axis=-1)

    def _hessian(self, w):
        a, c = w[..., 0], w[..., 1]
        hessian = np.empty((*w.shape, 2))
        with np.errstate(over="ignore"):
            hessian[..., 0, 0], hessian[..., 1, 1] = polygamma(1, a), a / c**2
        hessian[..., 0, 1] = hessian[..., 1, 0] = -1.0 / c
        return hessian

    def _third(self, w):
        a, c = w[..., 0], w[..., 1]
        third = np.zeros((*w.shape, 2, 2))
        with np.errstate(over="ignore"):
            third[..., 0, 0, 0], third[..., 1, 1, 1] = polygamma(2, a), -2.0 * a / c**3
            for i, j, k in ((0, 1, 1), (1, 0, 1), (1, 1, 0)):
                third[..., i, j, k] = 1.0 / c**2
        return third

    def _fourth(self, w):
        a, c = w[..., 0], w[..., 1]
        fourth = np.zeros((*w.shape, 2, 2, 2))
        with np.errstate(over="ignore"):
            fourth[..., 0, 0, 0, 0], fourth[..., 1, 1, 1, 1] = polygamma(3, a), 6.0 * a / c**4
            for i, j, k, m in ((0, 1, 1, 1), (1, 0, 1, 1), (1, 1, 0, 1), (1, 1, 1, 0)):
                fourth[..., i, j, k, m] = -2.0 / c**3
        return fourth

    def _belongs(self, w):
        return np.isfinite(w).all(axis=-1) & (w[..., 0] > 0) & (w[..., 1] < 0)

    _scipy, _support = stats.gamma, "x > 0"

    def _statistics(self, x):
        return np.stack([np.log(x), x], axis=-1)

    def _log_base(self, x):
        return -np.log(x)

    def _supports(self, x):
        return x > 0

    def _to_arguments(self, theta):
        return {"a": theta[..., 0], "scale": -1.0 / theta[..., 1]}

    def _from_arguments(self, *, a, loc, scale):
        self._require_equal("loc", loc, 0.0)
        return np.stack(np.broadcast_arrays(a, -1.0 / np.asarray(scale)), axis=-1)


class Dirichlet(DistributionFamily):
    """R(a) = Σ ln Γ(a_i) - ln Γ(Σ a_i) on a > 0: the Dirichlet family, with statistics ln x_i.

    No mirror map, since Σ exp(E ln x_i) < 1.

    Parameters
    ----------
    dim : int
        d ≥ 2, the number of probabilities.
    """

    def __init__(self, dim: int):
        dim = as_count("dim", dim, least=2)
        self._define(dim, name="Dirichlet", interior=1.0, is_mirror_map=False)
        self.sample_shape = (dim,)

    def _value(self, w):
        return gammaln(w).sum(axis=-1) - gammaln(w.sum(axis=-1))

    def _gradient(self, w):
        return digamma(w) - digamma(w.sum(axis=-1, keepdims=True))

    def _hessian(self, w):
        with np.errstate(over="ignore"):
            return self._diagonal(polygamma(1, w)) - polygamma(1, w.sum(axis=-1))[..., None, None]

    def _third(self, w):
        third = np.empty((*w.shape, self.dim, self.dim))
        i = np.arange(self.dim)
        with np.errstate(over="ignore"):
            third[...] = -polygamma(2, w.sum(axis=-1))[..., None, None, None]
            third[..., i, i, i] += polygamma(2, w)
        return third

    def _fourth(self, w):
        fourth = np.empty((*w.shape, self.dim, self.dim, self.dim))
        i = np.arange(self.dim)
        with np.errstate(over="ignore"):
            fourth[...] = -polygamma(3, w.sum(axis=-1))[..., None, None, None, None]
            fourth[..., i, i, i, i] += polygamma(3, w)
        return fourth

    def _third_along(self, w, v):
        with np.errstate(over="ignore"):
            common = polygamma(2, w.sum(axis=-1)) * v.sum(axis=-1)
            return self._diagonal(polygamma(2, w) * v) - common[..., None, None]

    def _diagonal(self, entries: np.ndarray) -> np.ndarray:
        matrix = np.zeros((*entries.shape, self.dim))
        i = np.arange(self.dim)
        matrix[..., i, i] = entries
        return matrix

    def _belongs(self, w):
        return np.isfinite(w).all(axis=-1) & (w > 0).all(axis=-1)

    _scipy, _support = stats.dirichlet, "positive x of sum 1"

    def _statistics(self, x):
        return np.log(x)

    def _log_base(self, x):
        return -np.log(x).sum(axis=-1)

    def _supports(self, x):
        return (x > 0).all(axis=-1) & (np.abs(x.sum(axis=-1) - 1.0) <= SUM_TOL)

    def _to_arguments(self, theta):
        return {"alpha": theta}

    def _from_arguments(self, *, alpha):
        return np.asarray(alpha)


class Beta(Dirichlet):
    """R(a, b) = ln Γ(a) + ln Γ(b) - ln Γ(a + b): the Beta family, with statistics (ln x, ln(1 - x))."""

    def __init__(self):
        super().__init__(2)
        self.name = "Beta"
        self.sample_shape = ()

    def _value(self, w):
        return betaln(w[..., 0], w[..., 1])  # keeps the digits that large ln Γ lose in their difference

    _scipy, _support = stats.beta, "0 < x < 1"

    def _statistics(self, x):
        return np.stack([np.log(x), np.log1p(-x)], axis=-1)

    def _log_base(self, x):
        return -np.log(x) - np.log1p(-x)

    def _supports(self, x):
        return (x > 0) & (x < 1)

    def _to_arguments(self, theta):
        return {"a": theta[..., 0], "b": theta[..., 1]}

    def _from_arguments(self, *, a, b, loc, scale):
        self._require_equal("loc", loc, 0.0)
        self._require_equal("scale", scale, 1.0)
        return np.stack(np.broadcast_arrays(a, b), axis=-1).astype(float)
