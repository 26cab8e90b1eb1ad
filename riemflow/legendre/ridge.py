"""Sums of ridge functions Σ_k r_k(a_k·w + b_k): log-barriers of polytopes and sums of softplus functions."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import linprog

from riemflow.errors import DomainError, ShapeError
from riemflow.legendre.function import LegendreFunction
from riemflow.legendre.separable import NegativeLogarithm, SoftplusFunction
from riemflow.validation import as_matrix, as_points


class RidgeSum(LegendreFunction):
    """R(w) = Σ_k r(t_k) with t = A w + b, strictly convex exactly when A is injective.

    Subclasses give r elementwise, on arrays of shape [..., K]: `_r`, `_r1` to `_r4`, `_admits`, the flat
    coordinate `_flat` = ∫√r'' and its inverse. Stacked, the K flat coordinates embed the metric ∇²R
    isometrically in R^K.

    Attributes
    ----------
    A : array, shape=[K, d]
        The ridges' directions, ∂t/∂w.
    b : array, shape=[K]
    """

    A: np.ndarray
    b: np.ndarray

    def _set_ridges(self, A: np.ndarray, b: np.ndarray, name: str) -> None:
        d = A.shape[1]
        rank = np.linalg.matrix_rank(A)
        if rank < d:
            raise DomainError(
                f"A, of shape {A.shape}, has rank {rank} < {d}, so {name} would not be strictly convex: "
                "add rows, or drop the variables that A does not see."
            )
        self.A, self.b = A, b
        self._outer = (A[:, :, None] * A[:, None, :]).reshape(len(A), d * d)

    def _ridges(self, w: np.ndarray) -> np.ndarray:
        """t = A w + b: shape=[..., d] -> shape=[..., K]."""
        return w @ self.A.T + self.b

    def _value(self, w):
        return self._r(self._ridges(w)).sum(axis=-1)

    def _gradient(self, w):
        with np.errstate(over="ignore"):
            return self._r1(self._ridges(w)) @ self.A

    def _hessian(self, w):
        with np.errstate(over="ignore"):
            return (self.A.T * self._r2(self._ridges(w))[..., None, :]) @ self.A

    def _third(self, w):
        with np.errstate(over="ignore"):
            third = (self.A.T * self._r3(self._ridges(w))[..., None, :]) @ self._outer
        return third.reshape(*w.shape, self.dim, self.dim)

    def _fourth(self, w):
        with np.errstate(over="ignore"):
            fourth = (self._outer.T * self._r4(self._ridges(w))[..., None, :]) @ self._outer
        return fourth.reshape(*w.shape, self.dim, self.dim, self.dim)

    def _third_along(self, w, v):
        with np.errstate(over="ignore"):
            return (self.A.T * (self._r3(self._ridges(w)) * (v @ self.A.T))[..., None, :]) @ self.A

    def _times_hessian(self, w, rows):
        with np.errstate(over="ignore"):
            return ((rows @ self.A.T) * self._r2(self._ridges(w))) @ self.A

    def _gram_root(self, w, rows):
        with np.errstate(over="ignore"):
            return (np.sqrt(self._r2(self._ridges(w))) * (rows @ self.A.T)).T

    def _belongs(self, w):
        finite = np.isfinite(w).all(axis=-1)
        with np.errstate(all="ignore"):
            t = self._ridges(w)
            return finite & (np.isfinite(t) & self._admits(t)).all(axis=-1)

    def _r(self, t: np.ndarray) -> np.ndarray:
        """r(t_k): shape=[..., K] -> shape=[..., K]."""
        raise NotImplementedError

    def _r1(self, t: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _r2(self, t: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _r3(self, t: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _r4(self, t: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _admits(self, t: np.ndarray) -> np.ndarray:
        """Tell whether t_k lies inside dom r: shape=[..., K] -> bool, shape=[..., K]."""
        raise NotImplementedError

    def _flat(self, t: np.ndarray) -> np.ndarray:
        """An antiderivative of √r'' at t_k: shape=[..., K] -> shape=[..., K]."""
        raise NotImplementedError

    def _flat_inverse(self, z: np.ndarray) -> np.ndarray:
        """Invert `_flat`; a number outside its range goes to the nearest admissible t_k."""
        raise NotImplementedError

    @property
    def _flat_range(self) -> tuple[np.ndarray, np.ndarray]:
        """The ends of the range of `_flat`, two arrays of shape [K]."""
        return np.full(len(self.b), -np.inf), np.full(len(self.b), np.inf)


class LogBarrier(NegativeLogarithm, RidgeSum):
    """R(w) = -Σ_k ln(b_k - a_k·w) on the open polytope A w < b.

    A mirror map exactly when the polytope is bounded. As a ridge sum its slacks are t = b - A w, so the
    attribute `A` holds the **negated** argument, and `normals` the argument itself.

    Parameters
    ----------
    A : array, shape=[K, d]
        Outward normals of the faces, the rows.
    b : array, shape=[K]

    Raises
    ------
    ShapeError
        If b does not have one entry a row of A.
    DomainError
        If the polytope has no interior, a row of A is zero, or A has rank below d.
    """

    def __init__(self, A: Any, b: Any):
        normals, b = _as_ridges(A, b)
        lengths = np.linalg.norm(normals, axis=1)
        if (lengths == 0).any():
            raise DomainError(f"Row {int(np.argmin(lengths))} of A is zero: drop it.")
        self.normals = normals
        self._set_ridges(-normals, b, "LogBarrier")
        unit, offset = normals / lengths[:, None], b / lengths
        centre = _chebyshev_centre(unit, offset)
        self._define(
            normals.shape[1], name="LogBarrier", interior=centre, is_mirror_map=_is_bounded_polytope(unit)
        )
        if not self._belongs(self.domain.interior):
            raise DomainError("The polytope A w < b is too thin for float64: widen b or rescale w.")


class SoftplusSum(SoftplusFunction, RidgeSum):
    """R(w) = Σ_k ln(1 + exp(a_k·w + b_k)) on R^d. Its gradient fills a bounded set, so it is no mirror map.

    Parameters
    ----------
    A : array, shape=[K, d]
    b : array, shape=[K]

    Raises
    ------
    ShapeError
        If b does not have one entry a row of A.
    DomainError
        If A has rank below d.
    """

    def __init__(self, A: Any, b: Any):
        A, b = _as_ridges(A, b)
        self._set_ridges(A, b, "SoftplusSum")
        # Where the ridges' arguments are smallest, none of them is saturated without need.
        start = np.linalg.lstsq(A, -b, rcond=None)[0]
        self._define(A.shape[1], name="SoftplusSum", interior=start, is_mirror_map=False)

    @property
    def _flat_range(self):
        return np.zeros(len(self.b)), np.full(len(self.b), np.pi)


def _as_ridges(A: Any, b: Any) -> tuple[np.ndarray, np.ndarray]:
    A = as_matrix("A", A, (None, None))
    b = as_points("b", b, A.shape[0])
    if b.ndim != 1:
        raise ShapeError(f"b has shape {b.shape}, but must have shape ({A.shape[0]},), one entry a row of A.")
    return A, b


def _chebyshev_centre(unit: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Return the centre of a largest ball in {unit·w ≤ offset}, of bounded radius; the rows have length 1."""
    K, d = unit.shape
    cap = 1.0 + np.abs(offset).max()
    cost = np.zeros(d + 1)
    cost[-1] = -1.0
    bounds = [(None, None)] * d + [(None, cap)]
    result = linprog(cost, A_ub=np.hstack([unit, np.ones((K, 1))]), b_ub=offset, bounds=bounds)
    if result.status != 0:
        raise DomainError(
            f"No interior point of the polytope A w < b was found ({result.message}): rescale A and b."
        )
    radius = result.x[-1]
    if radius <= 1e-12 * cap:
        raise DomainError(
            f"The polytope A w < b is empty: its inscribed ball would have radius {radius:.3g}, which must "
            "be > 0; check the signs of A and b."
        )
    return result.x[:-1]


def _is_bounded_polytope(unit: np.ndarray) -> bool:
    """Tell whether {unit·w ≤ offset} is bounded, for an injective matrix.

    By Stiemke's lemma no direction v ≠ 0 has unit·v ≤ 0 exactly when some λ ≥ 1 has unitᵀλ = 0.
    """
    K, d = unit.shape
    result = linprog(np.ones(K), A_eq=unit.T, b_eq=np.zeros(d), bounds=[(1.0, None)] * K)
    return result.status == 0
