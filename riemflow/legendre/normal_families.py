"""Log-partition functions of the normal families, in their natural parameters."""

from __future__ import annotations

from itertools import permutations

import numpy as np
from scipy import stats

from riemflow.errors import ShapeError
from riemflow.legendre.algebra import Composed, Scaled, Tilted
from riemflow.legendre.barriers import LogDet, LorentzBarrier
from riemflow.legendre.distribution import DistributionFamily
from riemflow.validation import as_count

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

    def _log_density(self, x, theta):
        half = -theta[..., 1]
        return 0.5 * np.log(half / np.pi) - half * (x - 0.5 * theta[..., 0] / half) ** 2

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
        self._log_det = LogDet(self.n)
        super().__init__(0.5, Composed(self._log_det, -2.0 * np.eye(d)))
        self.name = "CenteredNormal"
        self.sample_shape = (self.n,)
        self._upper = np.triu_indices(self.n)

    _scipy = stats.multivariate_normal
    _support = "vectors of real numbers"

    def _matrix(self, theta: np.ndarray) -> np.ndarray:
        """Θ, symmetric: shape=[..., d] -> shape=[..., n, n]."""
        return self._log_det._matrix(theta)

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
        return self._natural(self._require_size(cov))

    def _require_size(self, covariance: np.ndarray) -> np.ndarray:
        if np.shape(covariance) != (self.n, self.n):
            raise ShapeError(f"cov has shape {np.shape(covariance)}, but must have {(self.n, self.n)}.")
        return covariance


class MultivariateNormal(DistributionFamily):
    """R(h, Θ) = -¼ hᵀΘ^{-1}h - ½ ln det(-2Θ) on Θ < 0: normal vectors, with Fisher's metric.

    θ is h = Σ^{-1}m and the upper triangle of Θ = -½Σ^{-1}, as in `CenteredNormal`. The statistics are x_i,
    then x_i² and 2 x_i x_j, and R* is ``-½ ln det Σ - n/2``, half a `LogDet` of the matrix
    ``[[E xxᵀ, m], [mᵀ, 1]]``. No mirror map.

    Parameters
    ----------
    n : int
        Length of x; d = n + n(n+1)/2.
    """

    def __init__(self, n: int):
        self._centred = CenteredNormal(n)
        self.n, self._log_det = self._centred.n, self._centred._log_det
        interior = np.concatenate([np.zeros(self.n), self._centred.domain.interior])
        self._define(len(interior), name="MultivariateNormal", interior=interior, is_mirror_map=False)
        self.sample_shape = (self.n,)

    _scipy = stats.multivariate_normal
    _support = "vectors of real numbers"

    def _split(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return w[..., : self.n], w[..., self.n :]

    def _whitened(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """L^{-1} and y = L^{-1}h for Σ^{-1} = LLᵀ: shapes=[..., n, n], [..., n]."""
        h, triangle = self._split(w)
        inverse = self._log_det._whitening(-2.0 * triangle)
        return inverse, (inverse @ h[..., None])[..., 0]

    def _log_density(self, x, theta):
        h, triangle = self._split(theta)
        lower = np.linalg.cholesky(self._log_det._matrix(-2.0 * triangle))
        upper = np.swapaxes(lower, -1, -2)
        gap = (upper @ x[..., None])[..., 0] - np.linalg.solve(lower, h[..., None])[..., 0]
        log_root = np.log(np.diagonal(lower, axis1=-2, axis2=-1)).sum(axis=-1)
        return log_root - 0.5 * ((gap * gap).sum(axis=-1) + self.n * LOG_2PI)

    def _directions(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How Σ^{-1} and h change along each coordinate, whitened: C [..., d, n, n] and u [..., d, n].

        ``C_a = L^{-1} ∂_aΣ^{-1} L^{-T}`` and ``u_a = L^{-1}(∂_a h - ∂_aΣ^{-1} m)``, of which all derivatives
        are made.
        """
        inverse, y = self._whitened(w)
        C = np.zeros((*w.shape, self.n, self.n))
        C[..., self.n :, :, :] = -2.0 * self._log_det._whitened_basis(-2.0 * self._split(w)[1])
        u = -(C @ y[..., None, :, None])[..., 0]
        u[..., : self.n, :] += np.swapaxes(inverse, -1, -2)
        return C, u

    def _value(self, w):
        _, y = self._whitened(w)
        return 0.5 * (y * y).sum(axis=-1) + self._centred._value(self._split(w)[1])

    def _gradient(self, w):
        h, triangle = self._split(w)
        mean = (self._centred._covariance(triangle) @ h[..., None])[..., 0]
        second = self._centred._gradient(triangle) + self._centred._statistics(mean)
        return np.concatenate([mean, second], axis=-1)

    def _hessian(self, w):
        C, u = self._directions(w)
        C = C.reshape(*w.shape, self.n * self.n)
        return u @ np.swapaxes(u, -1, -2) + 0.5 * C @ np.swapaxes(C, -1, -2)

    def _third(self, w):
        C, u = self._directions(w)
        product = np.einsum("...aij,...bj->...abi", C, u)
        mixed = np.einsum("...abi,...ci->...abc", product, u)  # symmetric in b and c
        others = np.swapaxes(mixed, -3, -2), np.moveaxis(mixed, -3, -1)
        return -(mixed + others[0] + others[1]) - np.einsum(
            "...aij,...bjk,...cki->...abc", C, C, C, optimize=True
        )

    def _fourth(self, w):
        C, u = self._directions(w)
        product = np.einsum("...aij,...bj->...abi", C, u)
        chain = np.einsum("...abi,...cdi->...abcd", product, product)  # u_b C_a C_c u_d
        pairs = np.einsum("...aij,...bjk->...abik", C, C)
        trace = np.einsum("...abik,...cdki->...abcd", pairs, pairs)
        d = w.ndim - 1
        batch = tuple(range(d))
        total = np.zeros(chain.shape)
        for order in permutations(range(4)):
            total += 0.5 * chain.transpose(*batch, *(d + k for k in order))
        for order in ((0, 1, 2, 3), (0, 1, 3, 2), (0, 2, 1, 3)):
            total += trace.transpose(*batch, *(d + k for k in order))
        return total

    def _belongs(self, w):
        return np.isfinite(w).all(axis=-1) & self._centred._belongs(self._split(w)[1])

    def _make_conjugate(self):
        n, d = self.n, self.dim
        rows, columns = np.triu_indices(n + 1)
        place, fixed = np.zeros((len(rows), d)), ((rows == n) & (columns == n)).astype(float)
        place[(columns == n) & (rows < n), :n] = np.eye(n)
        # An off-diagonal coordinate is twice E x_i x_j.
        inner = np.where(rows == columns, 1.0, 0.5)[columns < n]
        place[columns < n, n:] = np.diag(inner)
        half = Scaled(0.5, Composed(LogDet(n + 1), place, fixed))
        return Tilted(half, np.zeros(d), -0.5 * n)

    def _statistics(self, x):
        return np.concatenate([x, self._centred._statistics(x)], axis=-1)

    def _log_base(self, x):
        return self._centred._log_base(x)

    def _supports(self, x):
        return np.ones(x.shape[:-1], bool)

    def _fit(self, x):
        # The covariance about the mean: E xxᵀ - m mᵀ would lose the digits of both.
        mean = x.mean(axis=-2)
        offset = x - mean[..., None, :]
        covariance = np.swapaxes(offset, -1, -2) @ offset / x.shape[-2]
        inside = self._log_det._belongs(covariance[..., self._centred._upper[0], self._centred._upper[1]])
        self._require_expectation(np.asarray(inside), self._statistics(x).mean(axis=-2))
        return self._natural(mean, covariance)

    def _natural(self, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
        h = np.linalg.solve(covariance, mean[..., None])[..., 0]
        return np.concatenate([h, self._centred._natural(covariance)], axis=-1)

    def _to_arguments(self, theta):
        h, triangle = self._split(theta)
        covariance = self._centred._covariance(triangle)
        return {"mean": (covariance @ h[..., None])[..., 0], "cov": covariance}

    def _from_arguments(self, *, mean, cov):
        return self._natural(mean, self._centred._require_size(cov))
