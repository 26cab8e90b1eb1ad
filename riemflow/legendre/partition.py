"""Log-partition functions of finite exponential families, and the entropy of the simplex."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse import issparse

from riemflow.errors import DomainError, ShapeError
from riemflow.legendre.function import LegendreFunction, pairings
from riemflow.legendre.separable import scale_columns
from riemflow.validation import as_count, as_matrix, as_points, short


class LogPartition(LegendreFunction):
    """R(w) = ln Σ_k c_k exp(a_k·w) on R^d, the log-partition function of a finite exponential family.

    Its gradient is the mean of the a_k under p_k ∝ c_k exp(a_k·w), its Hessian their covariance. The
    gradient fills the interior of the convex hull of the a_k, so R is no mirror map.

    Parameters
    ----------
    A : array, shape=[K, d]
        The support, one point a row.
    weights : array, shape=[K], optional
        c > 0, all 1 if left out.

    Raises
    ------
    ShapeError
        If weights do not have one entry a row of A.
    DomainError
        If a weight is not positive, or the a_k lie in a hyperplane.
    """

    def __init__(self, A: Any, weights: Any = None):
        self.A = as_matrix("A", A, (None, None))
        K, d = self.A.shape
        weights = np.ones(K) if weights is None else as_points("weights", weights, K)
        if weights.ndim != 1:
            raise ShapeError(f"weights have shape {weights.shape}, not ({K},): one a row of A.")
        if (weights <= 0).any():
            raise DomainError(f"weights = {short(weights)} must be positive: drop the rows with weight 0.")
        rank = np.linalg.matrix_rank(self.A[1:] - self.A[0]) if K > 1 else 0
        if rank < d:
            raise DomainError(
                f"The {K} rows of A span an affine subspace of dimension {rank} < {d}, so LogPartition would "
                "not be strictly convex: add points, or drop the variables that do not vary."
            )
        self.weights, self.log_weights = weights, np.log(weights)
        self._define(d, name=type(self).__name__, interior=0.0, is_mirror_map=False)

    def _exponents(self, w: np.ndarray) -> np.ndarray:
        return w @ self.A.T + self.log_weights

    def _probabilities(self, w: np.ndarray) -> np.ndarray:
        """p_k ∝ c_k exp(a_k·w): shape=[..., d] -> shape=[..., K]."""
        t = self._exponents(w)
        p = np.exp(t - t.max(axis=-1, keepdims=True))
        return p / p.sum(axis=-1, keepdims=True)

    def _centred(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return p and a_k - mean, shape=[..., K, d]: moments about the mean lose no digits."""
        p = self._probabilities(w)
        return p, self.A - (p @ self.A)[..., None, :]

    def _value(self, w):
        t = self._exponents(w)
        top = t.max(axis=-1)
        return top + np.log(np.exp(t - top[..., None]).sum(axis=-1))

    def _gradient(self, w):
        return self._probabilities(w) @ self.A

    def _hessian(self, w):
        p, centred = self._centred(w)
        return np.swapaxes(centred * p[..., None], -1, -2) @ centred

    def _third(self, w):
        p, centred = self._centred(w)
        K, d = self.A.shape
        outer = (centred[..., :, None] * centred[..., None, :]).reshape(*w.shape[:-1], K, d * d)
        return (np.swapaxes(centred * p[..., None], -1, -2) @ outer).reshape(*w.shape, d, d)

    def _fourth(self, w):
        # The fourth cumulant: the fourth moment less the covariances of the three pairings.
        p, centred = self._centred(w)
        K, d = self.A.shape
        outer = (centred[..., :, None] * centred[..., None, :]).reshape(*w.shape[:-1], K, d * d)
        moment = np.swapaxes(outer * p[..., None], -1, -2) @ outer
        C = np.swapaxes(centred * p[..., None], -1, -2) @ centred
        return moment.reshape(*w.shape, d, d, d) - pairings(C, C)

    def _third_along(self, w, v):
        p, centred = self._centred(w)
        weights = p * (centred @ v[..., None])[..., 0]
        return np.swapaxes(centred * weights[..., None], -1, -2) @ centred

    def _statistics(self, rows: Any) -> Any:
        """A rowsᵀ, what the rows take the support to: shape=[n, d] -> shape=[K, n]."""
        return self.A @ rows.T

    def _gram_root(self, w, rows):
        p, values = self._probabilities(w), self._statistics(rows)
        return np.sqrt(p)[:, None] * (values - p @ values)

    def _gram(self, w, rows):
        root = self._gram_root(w, rows)
        return root.T @ root


class LogSumExp(LogPartition):
    """R(w) = ln(1 + Σ e^{w_i}) on R^d, the conjugate of `SimplexEntropy`.

    Parameters
    ----------
    dim : int
        d.
    """

    def __init__(self, dim: int):
        dim = as_count("dim", dim)
        self.weights, self.log_weights = np.ones(dim + 1), np.zeros(dim + 1)
        self._define(dim, name="LogSumExp", interior=0.0, is_mirror_map=False)

    @cached_property
    def A(self) -> np.ndarray:  # type: ignore[override]
        return np.vstack([np.zeros(self.dim), np.eye(self.dim)])

    def _exponents(self, w):
        return np.concatenate([np.zeros((*w.shape[:-1], 1)), w], axis=-1)

    def _value(self, w):
        # ln(1 + x) keeps the digits of a small Σ e^{w_i}.
        top = np.maximum(w.max(axis=-1), 0.0)
        rest = np.exp(w - top[..., None]).sum(axis=-1)
        return np.where(top == 0.0, np.log1p(rest), top + np.log(np.exp(-top) + rest))

    def _gradient(self, w):
        top = np.maximum(w.max(axis=-1, keepdims=True), 0.0)
        p = np.exp(w - top)
        p /= np.exp(-top) + p.sum(axis=-1, keepdims=True)
        return p

    # ∇²R = diag(p) - p pᵀ, but moments about the mean lose no digits.

    def _statistics(self, rows):
        rows = rows.toarray() if issparse(rows) else rows
        return np.concatenate([np.zeros((1, len(rows))), rows.T])

    def _times_hessian(self, w, rows):
        p = self._gradient(w)
        rows = rows.toarray() if issparse(rows) else rows
        return (rows - (rows @ p)[:, None]) * p

    def _gram(self, w, rows):
        if not issparse(rows):
            return super()._gram(w, rows)
        p = self._gradient(w)
        mean = rows @ p
        return (scale_columns(rows, p) @ rows.T).toarray() - mean[:, None] * mean

    def _make_conjugate(self):
        return SimplexEntropy(self.dim)


class SimplexEntropy(LegendreFunction):
    """R(w) = Σ w_i ln w_i + s ln s with s = 1 - Σ w_i, on w > 0, s > 0; a mirror map.

    The negative Shannon entropy of d + 1 probabilities, the last eliminated. Its gradient is ln(w_i / s), its
    conjugate `LogSumExp`.

    Parameters
    ----------
    dim : int
        d, one less than the number of probabilities.
    """

    def __init__(self, dim: int):
        dim = as_count("dim", dim)
        self._define(dim, name="SimplexEntropy", interior=1.0 / (dim + 1), is_mirror_map=True)

    def _value(self, w):
        s = 1.0 - w.sum(axis=-1)
        return (w * np.log(w)).sum(axis=-1) + s * np.log(s)

    def _gradient(self, w):
        return np.log(w) - np.log(1.0 - w.sum(axis=-1, keepdims=True))

    def _hessian(self, w):
        hessian = np.empty((*w.shape, self.dim))
        hessian[...] = 1.0 / (1.0 - w.sum(axis=-1))[..., None, None]
        i = np.arange(self.dim)
        with np.errstate(over="ignore"):
            hessian[..., i, i] += 1.0 / w
        return hessian

    def _third(self, w):
        third = np.empty((*w.shape, self.dim, self.dim))
        s = 1.0 - w.sum(axis=-1)
        third[...] = (1.0 / s / s)[..., None, None, None]
        i = np.arange(self.dim)
        # 1/w² overflows to infinity next to the boundary, as it should.
        with np.errstate(over="ignore"):
            third[..., i, i, i] -= 1.0 / w / w
        return third

    def _fourth(self, w):
        fourth = np.empty((*w.shape, self.dim, self.dim, self.dim))
        s = 1.0 - w.sum(axis=-1)
        i = np.arange(self.dim)
        with np.errstate(over="ignore"):
            fourth[...] = (2.0 / s / s / s)[..., None, None, None, None]
            fourth[..., i, i, i, i] += 2.0 / w / w / w
        return fourth

    def _third_along(self, w, v):
        change = np.empty((*w.shape, self.dim))
        s = 1.0 - w.sum(axis=-1)
        change[...] = (v.sum(axis=-1) / s / s)[..., None, None]
        i = np.arange(self.dim)
        with np.errstate(over="ignore"):
            change[..., i, i] -= v / w / w
        return change

    def _times_hessian(self, w, rows):
        rows = rows.toarray() if issparse(rows) else rows
        with np.errstate(over="ignore"):
            return rows / w + (rows.sum(axis=1) / (1.0 - w.sum()))[:, None]

    def _belongs(self, w):
        with np.errstate(all="ignore"):
            return np.isfinite(w).all(axis=-1) & (w > 0).all(axis=-1) & (w.sum(axis=-1) < 1.0)

    def _make_conjugate(self):
        return LogSumExp(self.dim)
