"""The limit of a mirror flow on interpolating data, without the flow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from riemflow.errors import ConvergenceError, DomainError, ShapeError
from riemflow.legendre.function import LegendreFunction
from riemflow.validation import as_matrix, as_points

MAX_ITERATIONS = 500


@dataclass(frozen=True)
class BregmanMinimum:
    """argmin D_R(w, w_init) subject to Zw = Y.

    Attributes
    ----------
    w : array, shape=[d]
    multipliers : array, shape=[n]
        λ with ∇R(w) = ∇R(w_init) + Zᵀλ.
    residual : float
        max |Zw - Y|, relative to the size of the terms.
    kkt_residual : float
        max |∇R(w) - ∇R(w_init) - Zᵀλ|, relative to the terms.
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
    ``R*(∇R(w_init) + Zᵀλ) - Y·λ`` on R^n, found by Newton's method with backtracking.

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
        If no w in the interior of dom R interpolates, or the minimum lies on its boundary.
    """
    w_init = R._inside(w_init, "w_init")
    if w_init.ndim != 1:
        raise ShapeError(f"w_init has shape {w_init.shape}, but must be one point of shape ({R.dim},).")
    Z = as_matrix("Z", Z, (None, R.dim))
    Y = as_points("Y", Y, len(Z))
    if Y.ndim != 1:
        raise ShapeError(f"Y has shape {Y.shape}, but must have shape ({len(Z)},).")
    # Rows of unit, orthogonal data: the same constraints, a well-scaled Newton matrix, any rank.
    U, singular, rows = np.linalg.svd(Z, full_matrices=False)
    kept = singular > singular[0] * max(Z.shape) * np.finfo(float).eps
    U, singular, rows = U[:, kept], singular[kept], rows[kept]
    target = U.T @ Y / singular
    off = np.abs(Y - U @ (U.T @ Y)).max()
    if off > 1e-9 * max(1.0, np.abs(Y).max()):
        raise ConvergenceError(f"Zw = Y has no solution at all: Y is {off:.1e} away from the range of Z.")

    Q, mu_init = R.conjugate, R._gradient(w_init)
    with np.errstate(all="ignore"):
        nu, w, n_iterations = np.zeros(len(rows)), w_init, 0
        gap = rows @ w - target
        best, stalled = np.inf, 0
        while n_iterations < MAX_ITERATIONS and stalled < 20:
            curvature = Q._hessian(mu_init + nu @ rows)
            size = np.abs(gap).max(initial=0.0)
            terms, rounding = _sizes(rows, target, w, curvature, mu_init, nu)
            if size <= 1e-14 * terms + rounding or not np.isfinite(curvature).all():
                break
            stalled = 0 if size < best else stalled + 1
            best = min(best, size)
            step = -np.linalg.lstsq(rows @ curvature @ rows.T, gap, rcond=None)[0]
            new = _search(Q, mu_init, rows, target, nu, step, gap)
            if new is None:
                break
            n_iterations += 1
            nu, w, gap = new
        multipliers = U @ (nu / singular)
        dual = mu_init + Z.T @ multipliers
        terms, rounding = _sizes(Z, Y, w, Q._hessian(mu_init + nu @ rows), mu_init, multipliers)
        residual = float(np.abs(Z @ w - Y).max() / (max(terms, 1e11 * rounding) or 1.0))
        kkt = np.inf
        if R._belongs(w):
            kkt = float(np.abs(R._gradient(w) - dual).max() / max(1.0, np.abs(dual).max()))
    # Where 1e11 roundings of w outweigh its terms (w = 0 by cancellation), those are the measure: at the
    # bound of 1e-9 they make a hundred of them.
    if not (residual <= 1e-9 and kkt <= 1e-6):
        raise ConvergenceError(
            f"No interpolating point inside dom {R.name} was reached: residual {residual:.1e} after "
            f"{n_iterations} Newton steps. Is Zw = Y feasible there, with a minimum away from the boundary?",
            partial=BregmanMinimum(w, multipliers, residual, kkt, n_iterations, "failed"),
        )
    return BregmanMinimum(w, multipliers, residual, kkt, n_iterations, "converged")


def _sizes(rows, target, w, curvature, mu_init, nu) -> tuple[float, float]:
    """Return the size of the terms of rows·w - target, and what rounding of the dual point does to them.

    Near the boundary both fall with w, so that w ≈ 0 does not pass for a solution of w = 0.
    """
    spread = np.abs(curvature) @ (np.abs(mu_init) + np.abs(nu) @ np.abs(rows))
    terms = np.abs(rows) @ np.abs(w) + np.abs(target)
    rounding = np.finfo(float).eps * (np.abs(rows) @ spread)
    return float(terms.max(initial=0.0)), float(rounding.max(initial=0.0))


def _search(Q, mu_init, rows, target, nu, step, gap):
    """Backtrack on the size of the dual function's slope along the step; None if no point is better."""
    slope = abs(step @ gap)
    for shrink in 0.5 ** np.arange(50):
        trial = nu + shrink * step
        try:
            w = Q._gradient(mu_init + trial @ rows)
        except DomainError:
            continue
        new_gap = rows @ w - target
        # The dual function is convex: while its slope along the step keeps its sign it is still falling.
        along = step @ new_gap
        if np.isfinite(new_gap).all() and (along <= 0 or along <= 0.9 * slope):
            return trial, w, new_gap
    return None
