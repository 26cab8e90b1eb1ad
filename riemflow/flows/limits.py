"""The limit of a mirror flow on interpolating data, without the flow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import qr, solve_triangular

from riemflow.errors import ConvergenceError, ShapeError
from riemflow.legendre.function import LegendreFunction
from riemflow.validation import as_matrix, as_points, require_kind

MAX_ITERATIONS = 500
EPS = np.finfo(float).eps
MAX_TRIALS = 100
PATIENCE = 20  # steps without a smaller residual
MOST_RESIDUAL, MOST_KKT = 1e-9, 1e-6
# Of the slope along a Newton step, what a line search may leave: near-exact, since slopes are cheap.
LEFT = 0.2


@dataclass(frozen=True)
class BregmanMinimum:
    """argmin D_R(w, w_init) subject to Zw = Y.

    Attributes
    ----------
    w : array, shape=[d]
    multipliers : array, shape=[n]
        λ with ∇R(w) = ∇R(w_init) + Zᵀλ.
    residual : float
        max |Zw - Y|, each row relative to the size of its terms.
    kkt_residual : float
        max |∇R(w) - ∇R(w_init) - Zᵀλ|, relative to the terms and to what rounding of w does to ∇R.
    n_iterations : int
    status : "converged"
    """

    w: np.ndarray
    multipliers: np.ndarray
    residual: float
    kkt_residual: float
    n_iterations: int
    status: str

    def __repr__(self) -> str:
        return (
            f"BregmanMinimum({self.status}: residual {self.residual:.1e}, "
            f"KKT residual {self.kkt_residual:.1e}, {self.n_iterations} Newton steps)"
        )


def minimize_bregman(R: LegendreFunction, w_init: Any, Z: Any, Y: Any) -> BregmanMinimum:
    """Return ``argmin D_R(w, w_init)`` subject to ``Zw = Y``, where a mirror flow that fits Y ends (Thm 3.8).

    By duality ``w = ∇R*(∇R(w_init) + Zᵀλ)`` with λ the minimiser of the convex function
    ``R*(∇R(w_init) + Zᵀλ) - Y·λ`` on the λ for which the argument lies in dom R*. It is found by Newton's
    method, each step followed, inside that domain, until the slope along it has all but vanished.

    Parameters
    ----------
    R : LegendreFunction
    w_init : array, shape=[d]
    Z : array, shape=[n, d]
    Y : array, shape=[n]

    Raises
    ------
    DomainError, ShapeError
        For bad input.
    ConvergenceError
        If no w in the interior of dom R interpolates, or the minimum lies on its boundary, as far as
        float64 tells; names the residual that failed. Its `.partial` is what was reached.
    """
    require_kind("R", R, LegendreFunction)
    w_init = R._inside(w_init, "w_init")
    if w_init.ndim != 1:
        raise ShapeError(f"w_init has shape {w_init.shape}, but must be one point of shape ({R.dim},).")
    Z = as_matrix("Z", Z, (None, R.dim))
    Y = as_points("Y", Y, len(Z))
    if Y.ndim != 1:
        raise ShapeError(f"Y has shape {Y.shape}, but must have shape ({len(Z)},).")
    # Rows of unit, orthogonal data: the same constraints, a well-scaled Newton matrix, any rank.
    U, singular, rows = np.linalg.svd(Z, full_matrices=False)
    kept = singular > singular[0] * max(Z.shape) * EPS
    U, singular, rows = U[:, kept], singular[kept], rows[kept]
    off = np.abs(Y - U @ (U.T @ Y)).max()
    if off > 1e-9 * max(1.0, np.abs(Y).max()):
        raise ConvergenceError(f"Zw = Y has no solution at all: Y is {off:.1e} away from the range of Z.")

    mu_init = R._gradient(w_init)
    with np.errstate(all="ignore"):
        nu, w, n_iterations = _newton(_Dual(R.conjugate, mu_init, rows, U.T @ Y / singular), w_init)
        full = _Dual(R.conjugate, mu_init, Z, Y)
        multipliers = U @ (nu / singular)
        terms, rounding = full.sizes(multipliers, w, R.conjugate._hessian(mu_init + nu @ rows))
        # Where 1e11 roundings of w outweigh its terms (w = 0 by cancellation), those are the measure: at
        # the bound of 1e-9 they make a hundred of them. Where λ runs away they say nothing.
        natural = (terms + np.abs(Z) @ np.abs(w_init)).max()
        scale = np.maximum(terms, np.minimum(1e11 * rounding, natural))
        residual = float((np.abs(Z @ w - Y) / np.where(scale > 0, scale, 1.0)).max())
        kkt = _kkt_residual(R, w, mu_init + Z.T @ multipliers)
    status = "converged" if residual <= MOST_RESIDUAL and kkt <= MOST_KKT else "failed"
    result = BregmanMinimum(w, multipliers, residual, kkt, n_iterations, status)
    if status == "failed":
        raise ConvergenceError(
            f"No interpolating point inside dom {R.name} was reached: {_reason(residual, kkt)} after "
            f"{n_iterations} Newton steps.",
            partial=result,
        )
    return result


def _reason(residual: float, kkt: float) -> str:
    if not residual <= MOST_RESIDUAL:
        return (
            f"the residual of Zw = Y is {residual:.1e} (bound {MOST_RESIDUAL:.0e}), so that no w in there "
            "may fit, or only one on its boundary,"
        )
    if kkt == np.inf:
        return (
            f"Zw = Y holds (residual {residual:.1e}), but w rounds to the boundary, where the KKT residual "
            "is undetermined,"
        )
    return f"Zw = Y holds (residual {residual:.1e}), but the KKT residual is {kkt:.1e} (bound {MOST_KKT:.0e})"


def _kkt_residual(R: LegendreFunction, w: np.ndarray, dual: np.ndarray) -> float:
    """max |∇R(w) - dual|, relative to its size or, where larger, to 1e7 times what rounding of w does to it.

    At the bound of 1e-6 these are ten roundings. Infinite where w is outside dom R or so near its boundary
    that rounding leaves ∇R(w) undetermined.
    """
    if not R._belongs(w):
        return np.inf
    size = max(1.0, np.abs(dual).max())
    rounding = EPS * (np.abs(R._hessian(w)) @ np.abs(w))
    if not (rounding <= 1e-3 * size).all():
        return np.inf
    return float((np.abs(R._gradient(w) - dual) / np.maximum(size, 1e7 * rounding)).max())


@dataclass(frozen=True)
class _Dual:
    """The convex function Q(mu_init + νᵀ rows) - target·ν of ν, shape=[n]."""

    Q: LegendreFunction
    mu_init: np.ndarray
    rows: np.ndarray
    target: np.ndarray

    def slope(self, nu: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Return w and the gradient rows·w - target; None outside dom Q, or where they overflow."""
        mu = self.mu_init + nu @ self.rows
        if not (np.isfinite(mu).all() and self.Q._belongs(mu)):
            return None
        w = self.Q._gradient(mu)
        gap = self.rows @ w - self.target
        return (w, gap) if np.isfinite(gap).all() else None

    def sizes(self, nu: np.ndarray, w: np.ndarray, curvature: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the size of the gradient's terms, and what rounding of the dual point does to them.

        Near the boundary both fall with w, so that w ≈ 0 does not pass for a solution of w = 0.
        """
        terms = np.abs(self.rows) @ np.abs(w) + np.abs(self.target)
        spread = np.abs(self.mu_init) + np.abs(nu) @ np.abs(self.rows)
        return terms, EPS * (np.abs(self.rows @ curvature) @ spread)


def _newton(dual: _Dual, w: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Minimise the dual function from ν = 0, which belongs to w; return ν, w and the number of steps."""
    nu = np.zeros(len(dual.rows))
    gap = dual.rows @ w - dual.target
    best, stalled = np.inf, 0
    for n_iterations in range(MAX_ITERATIONS):
        curvature = dual.Q._hessian(dual.mu_init + nu @ dual.rows)
        terms, rounding = dual.sizes(nu, w, curvature)
        allowed = 1e-14 * terms + rounding
        size = float((np.abs(gap) / np.where(allowed > 0, allowed, 1.0)).max(initial=0.0))
        stalled = 0 if size < best else stalled + 1
        best = min(best, size)
        fits = np.abs(gap).max(initial=0.0) <= allowed.max(initial=0.0)
        if size <= 1.0 or stalled == (1 if fits else PATIENCE):
            return nu, w, n_iterations
        step = _newton_step(dual.rows, curvature, gap)
        if step is None:
            return nu, w, n_iterations
        if fits:
            # Rows with small terms gain from full steps, of which the slope may drown in that of the others.
            here = dual.slope(nu + step)
            new = None if here is None else (nu + step, *here)
        else:
            new = _search(dual, nu, step, gap)
        if new is None:
            return nu, w, n_iterations
        nu, w, gap = new
    return nu, w, MAX_ITERATIONS


def _newton_step(rows: np.ndarray, curvature: np.ndarray, gap: np.ndarray) -> np.ndarray | None:
    """-(rows·curvature·rowsᵀ)^{-1} gap; None if nothing finite comes out.

    By QR of a root of the matrix, whose condition is that of the matrix itself, squared: with small
    initialisation the curvatures of w's entries spread over twenty orders.
    """
    diagonal = np.diagonal(curvature)
    if not (np.isfinite(curvature).all() and (diagonal > 0).all()):
        return None
    if np.count_nonzero(curvature) == len(diagonal):
        root = np.sqrt(diagonal)[:, None] * rows.T
    else:
        # Unit diagonal first: coordinates of any units are judged alike.
        scale = np.sqrt(diagonal)
        values, vectors = np.linalg.eigh(curvature / scale[:, None] / scale)
        root = np.sqrt(np.maximum(values, 0.0))[:, None] * (vectors.T @ (scale[:, None] * rows.T))
    lengths = np.linalg.norm(root, axis=0)
    # Rows in order of size, columns pivoted: then QR loses no digits to the spread.
    root = root[np.argsort(-np.abs(root).max(axis=1))] / lengths
    if not np.isfinite(root).all():
        return None
    _, upper, pivot = qr(root, mode="economic", pivoting=True)
    if not np.diagonal(upper).all():
        return None
    right = (gap / lengths)[pivot]
    scaled = np.empty(len(gap))
    scaled[pivot] = solve_triangular(upper, solve_triangular(upper, right, trans="T"), check_finite=False)
    step = -scaled / lengths
    return step if np.isfinite(step).all() and step @ gap < 0 else None


def _search(
    dual: _Dual, nu: np.ndarray, step: np.ndarray, gap: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return (ν, w, gradient) at a point along the step where the slope has all but vanished, or None.

    A convex function's slope along a line only grows, and counts as +∞ outside the domain: the point is
    bracketed by doubling or by ever faster shrinking, then by bisection, geometric while the bracket is
    wide. No values of the function are needed, whose differences drown in rounding near the minimum.
    """
    first = step @ gap
    low, high, length = 0.0, np.inf, 1.0
    shrink, found = 0.5, None
    for _ in range(MAX_TRIALS):
        trial = nu + length * step
        here = dual.slope(trial)
        if here is None:
            high = length
        else:
            along = step @ here[1]
            if abs(along) <= LEFT * abs(first):
                return trial, *here
            if along < 0:
                low, found = length, (trial, *here)
            else:
                high = length
        if high == np.inf:
            length *= 2.0
        elif low == 0.0:
            length, shrink = length * shrink, shrink**2
        elif high <= low * (1 + 4 * EPS):
            break
        else:
            length = np.sqrt(low) * np.sqrt(high) if high > 2.0 * low else 0.5 * (low + high)
    # The slope jumps to the edge of the domain, or within rounding: what still descends is kept.
    return found
