"""Log-partition functions of exponential families, in their natural parameters.

Their Hessians are Fisher's information, and their gradients the expectations of the sufficient statistics.
"""

from __future__ import annotations

import numpy as np
from scipy import stats
from scipy.special import digamma, gammaln, polygamma

from riemflow.errors import ShapeError
from riemflow.legendre.algebra import Composed, Scaled, Tilted
from riemflow.legendre.barriers import LogDet, LorentzBarrier
from riemflow.legendre.distribution import DistributionFamily
from riemflow.legendre.entropies import BurgEntropy
from riemflow.validation import as_count

SUM_TOL = 1e-10  # as scipy.stats, what proportions may miss the sum 1 by
LOG_2PI = float(np.log(2.0 * np.pi))


class Normal(DistributionFamily, Tilted):
    """R(θ) = -θ₁²/4θ₂ - ½ ln(-2θ₂) on θ₂ < 0: the normal family, θ = (m/s², -1/2s²).

    The statistics are (x, x²), so that ∇R = (m, m² + s²). It is ``½ Q(√2 θ₁, 2θ₂) + ½`` with Q the conjugate
    of `LorentzBarrier`, hence hyperbolic, and R* is ``-½ ln(η₂ - η₁²) - ½``. No mirror map.
    """

    def __init__(self):
        half = Scaled(0.5, Composed(LorentzBarrier(2).conjugate, np.diag([np.sqrt(2.0), 2.0])))
        super().__init__(half, np.zeros(2), 0.5)
        self.name = "Normal"

    _scipy = stats.norm

    def _statistics(self, x):
        return np.stack([x, x * x], axis=-1)

    def _log_base(self, x):
        return np.full(x.shape, -0.5 * LOG_2PI)

    def _supports(self, x):
        return np.ones(x.shape, bool)

    def _to_arguments(self, theta):
        variance = -0.5 / theta[..., 1]
        return {"loc": variance * theta[..., 0], "scale": np.sqrt(variance)}

    def _from_arguments(self, *, loc, scale):
        loc, precision = np.broadcast_arrays(loc, 1.0 / np.square(scale))
        return np.stack([loc * precision, -0.5 * precision], axis=-1)

    def _fit(self, x):
        # The variance about the mean: E x² - (E x)² would lose the digits of both.
        self._require_expectation(np.ptp(x, axis=-1) > 0, np.stack([x.mean(-1), (x * x).mean(-1)], axis=-1))
        return self._from_arguments(loc=x.mean(axis=-1), scale=x.std(axis=-1))


class CenteredNormal(DistributionFamily, Scaled):
    """R(θ) = -½ ln det(-2Θ) on Θ < 0: normal vectors of mean 0 and covariance ``Σ = (-2Θ)^{-1}``.

    θ is the upper triangle of Θ = -½Σ^{-1} row by row, as in `LogDet`, of whose barrier it is half at -2θ.
    The statistics are x_i² and 2 x_i x_j, their expectations Σ_ii and 2 Σ_ij, and R* is
    ``-½ ln det Σ - n/2``. No mirror map.

    Parameters
    ----------
    n : int
        Length of x; d = n(n+1)/2.
    """

    def __init__(self, n: int):
        self.n = as_count("n", n)
        d = self.n * (self.n + 1) // 2
        super().__init__(0.5, Composed(LogDet(self.n), -2.0 * np.eye(d)))
        self.name = "CenteredNormal"
        self.sample_shape = (self.n,)
        self._upper = np.triu_indices(self.n)

    _scipy = stats.multivariate_normal
    _support = "vectors of real numbers"

    def _matrix(self, theta: np.ndarray) -> np.ndarray:
        """Θ, symmetric: shape=[..., d] -> shape=[..., n, n]."""
        matrix = np.empty((*theta.shape[:-1], self.n, self.n))
        matrix[..., self._upper[0], self._upper[1]] = theta
        matrix[..., self._upper[1], self._upper[0]] = theta
        return matrix

    def _covariance(self, theta: np.ndarray) -> np.ndarray:
        """Σ = (-2Θ)^{-1}: shape=[..., d] -> shape=[..., n, n]."""
        eta = self._gradient(theta)
        return self._matrix(np.where(self._upper[0] == self._upper[1], eta, 0.5 * eta))

    def _natural(self, covariance: np.ndarray) -> np.ndarray:
        """The upper triangle of -½Σ^{-1}: shape=[..., n, n] -> shape=[..., d]."""
        left = np.linalg.solve(np.linalg.cholesky(covariance), np.eye(self.n))
        return (-0.5 * np.swapaxes(left, -1, -2) @ left)[..., self._upper[0], self._upper[1]]

    def _statistics(self, x):
        i, j = self._upper
        return np.where(i == j, 1.0, 2.0) * x[..., i] * x[..., j]

    def _log_base(self, x):
        return np.full(x.shape[:-1], -0.5 * self.n * LOG_2PI)

    def _supports(self, x):
        return np.ones(x.shape[:-1], bool)

    def _to_arguments(self, theta):
        return {"mean": np.zeros(self.n), "cov": self._covariance(theta)}

    def _from_arguments(self, *, mean, cov):
        self._require_equal("mean", mean, 0.0)
        if np.shape(cov) != (self.n, self.n):
            raise ShapeError(f"cov has shape {np.shape(cov)}, but {self.name} has {(self.n, self.n)}.")
        return self._natural(cov)


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
