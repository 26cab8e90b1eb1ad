"""Bregman projections onto sets that are affine in w, or in ∇R(w)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from riemflow.errors import ConvergenceError, DomainError, ShapeError
from riemflow.flows.limits.bregman_minimum import minimize_bregman
from riemflow.legendre.function import LegendreFunction
from riemflow.validation import as_matrix, as_points, require_kind


@dataclass(frozen=True)
class BregmanProjection:
    """Where `bregman_projection` ends.

    Attributes
    ----------
    w : array, shape=[..., d]
        The projection q.
    dual_point : array, shape=[..., d]
        ∇R(q).
    multipliers : array, shape=[..., n]
        λ with ``∇R(q) = ∇R(p) + Aᵀλ`` ("primal"), or ``q = p + Aᵀλ`` ("dual").
    divergence : array, shape=[...]
        ``D_R(q, p)``, or ``D_R(p, q)``.
    residual, kkt_residual : array, shape=[...]
        By how much the constraint and the equation of λ fail, relative as in `BregmanMinimum`.
    coordinates : "primal" or "dual"
    """

    w: np.ndarray
    dual_point: np.ndarray
    multipliers: np.ndarray
    divergence: np.ndarray
    residual: np.ndarray
    kkt_residual: np.ndarray
    coordinates: str

    def __repr__(self) -> str:
        return (
            f"BregmanProjection({self.coordinates}: residual {np.max(self.residual):.1e}, "
            f"KKT residual {np.max(self.kkt_residual):.1e})"
        )


def bregman_projection(
    R: LegendreFunction, point: Any, A: Any, b: Any, *, coordinates: str = "primal"
) -> BregmanProjection:
    """Project a point p of int dom R onto an affine set, by the divergence for which that is convex.

    "primal": ``argmin D_R(q, p)`` over ``Aq = b``; q and p are joined by a geodesic straight in ∇R. "dual":
    ``argmin D_R(p, q)`` over ``A ∇R(q) = b``; they are joined by one straight in w. Either meets the set at
    a right angle, and so for every other point s of the set ``D_R(s, p) = D_R(s, q) + D_R(q, p)``, or
    ``D_R(p, s) = D_R(p, q) + D_R(q, s)``. That point is the only one with this property. Where w are natural
    parameters of an exponential family these are the m-projection onto an e-flat set and the e-projection
    onto an m-flat one.

    Parameters
    ----------
    R : LegendreFunction
    point : array, shape=[..., d]
        p, projected one after the other.
    A : array, shape=[n, d]
    b : array, shape=[..., n]
    coordinates : "primal" or "dual"
        In which the set is affine.

    Raises
    ------
    DomainError, ShapeError
        For bad input.
    ConvergenceError
        If no point inside dom R is in the set, as far as float64 tells, or the infimum is on the boundary,
        where ∇R is infinite (`minimize_bregman` finds that limit).
    """
    require_kind("R", R, LegendreFunction)
    if coordinates not in ("primal", "dual"):
        raise DomainError(f"coordinates is {coordinates!r}, but must be 'primal' or 'dual'.")
    p = R._inside(point, "point")
    A = as_matrix("A", A, (None, R.dim))
    b = as_points("b", b, len(A))
    try:
        batch = np.broadcast_shapes(p.shape[:-1], b.shape[:-1])
    except ValueError as error:
        raise ShapeError(
            f"point and b have shapes {p.shape} and {b.shape}, whose leading axes must broadcast."
        ) from error
    Q = R.conjugate
    inner, start = (R, p) if coordinates == "primal" else (Q, R._gradient(p))
    starts = np.broadcast_to(start, (*batch, R.dim)).reshape(-1, R.dim)
    targets = np.broadcast_to(b, (*batch, len(A))).reshape(-1, len(A))
    found = [_project(inner, *row, A, coordinates) for row in zip(starts, targets, strict=True)]

    def gathered(name: str, *axes: int) -> np.ndarray:
        return np.array([getattr(minimum, name) for minimum in found]).reshape((*batch, *axes))

    ends = gathered("w", R.dim)
    w, dual_point = (ends, R._gradient(ends)) if coordinates == "primal" else (Q._gradient(ends), ends)
    return BregmanProjection(
        w,
        dual_point,
        gathered("multipliers", len(A)),
        inner.bregman_divergence(ends, start),
        gathered("residual"),
        gathered("kkt_residual"),
        coordinates,
    )


def _project(R: LegendreFunction, start: np.ndarray, b: np.ndarray, A: np.ndarray, coordinates: str):
    what = "A w = b" if coordinates == "primal" else "A ∇R(w) = b"
    try:
        minimum = minimize_bregman(R, start, A, b)
    except ConvergenceError as error:
        raise ConvergenceError(
            f"No point with {what} was found to project onto, so that there may be none; in its affine "
            f"coordinates w: {error}",
            partial=error.partial,
        ) from error
    if minimum.status == "boundary":
        raise ConvergenceError(
            f"The divergence over {what} has its infimum on the boundary, where there is no projection "
            "inside: relax the constraints, or take the limit that minimize_bregman finds.",
            partial=minimum,
        )
    return minimum
