"""The limit of a mirror flow on interpolating data, without the flow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.linalg import lapack
from scipy.sparse import issparse

from riemflow.errors import ConvergenceError, ShapeError
from riemflow.flows.limits.dual_newton import (
    EPS,
    Dual,
    Newton,
    follow,
    is_alone,
    is_moving,
    minimise,
    on_face,
)
from riemflow.legendre.function import LegendreFunction
from riemflow.legendre.separable import scale_columns
from riemflow.validation import as_points, as_rows, require_kind

MOST_RESIDUAL, MOST_KKT = 1e-9, 1e-6
TO_ROUNDING = 1e-14  # residual of a limit on the boundary, above which one next to it is looked for
INSIDE = 1e-8  # of the way from a limit on the boundary to w_init, which must lie inside
WELL_CONDITIONED = 1e-6  # least eigenvalue of ZZᵀ, with a unit diagonal, for Z to be used as it is


@dataclass(frozen=True)
class BregmanMinimum:
    """argmin D_R(w, w_init) subject to Zw = Y.

    Attributes
    ----------
    w : array, shape=[d]
    multipliers : array, shape=[n]
        λ with ∇R(w) = ∇R(w_init) + Zᵀλ; on the boundary λ is infinite, and this is how far it was followed.
    residual : float
        max |Zw - Y|, each row relative to the size of its terms; on the boundary to that of its entries of Z
        times max |w| or |w_init|, whichever is larger.
    kkt_residual : float
        max |∇R(w) - ∇R(w_init) - Zᵀλ|, relative to the terms and to what rounding of w does to ∇R; on the
        boundary max |w - ∇R*(∇R(w_init) + Zᵀλ)|, relative to w or w_init, whichever is larger.
    unique : bool
        Whether w is the only interpolating point, so that the flow of every R with this domain ends there.
        The minimum is unique in any case.
    n_iterations : int
        Newton steps.
    status : "converged" or "boundary"
        "converged": w lies in the interior of dom R; "boundary": on its boundary, where ∇R is infinite.
    """

    w: np.ndarray
    multipliers: np.ndarray
    residual: float
    kkt_residual: float
    n_iterations: int
    status: str
    unique: bool

    def __repr__(self) -> str:
        return (
            f"BregmanMinimum({self.status}: residual {self.residual:.1e}, "
            f"KKT residual {self.kkt_residual:.1e}, {self.n_iterations} Newton steps)"
        )


def minimize_bregman(R: LegendreFunction, w_init: Any, Z: Any, Y: Any) -> BregmanMinimum:
    """Return ``argmin D_R(w, w_init)`` subject to ``Zw = Y``, where a mirror flow that fits Y ends (Thm 3.8).

    By duality ``w = ∇R*(∇R(w_init) + Zᵀλ)`` with λ the minimiser of the convex function
    ``R*(∇R(w_init) + Zᵀλ) - Y·λ`` on the λ for which the argument lies in dom R*. It is found by Newton's
    method, each step followed, inside that domain, until the slope along it has all but vanished. Where
    dom R has a boundary, ``ε‖λ‖²/2`` is added first and ε decreased to 1e-14: so limits on the boundary are
    found, such as sparse points of the simplex, for which λ is infinite.

    Parameters
    ----------
    R : LegendreFunction
    w_init : array, shape=[d]
    Z : array or scipy.sparse array, shape=[n, d]
        With a separable R and a sparse Z, memory is proportional to the data, but for n² numbers.
    Y : array, shape=[n]

    Raises
    ------
    DomainError, ShapeError
        For bad input.
    ConvergenceError
        If no w in dom R interpolates, as far as float64 tells; names the residual that failed. Its `.partial`
        is what was reached.
    """
    require_kind("R", R, LegendreFunction)
    w_init = R._inside(w_init, "w_init")
    if w_init.ndim != 1:
        raise ShapeError(f"w_init has shape {w_init.shape}, but must be one point of shape ({R.dim},).")
    Z = as_rows("Z", Z)
    if Z.shape[1] != R.dim:
        raise ShapeError(f"Z has shape {Z.shape}, but {R.name} is on R^{R.dim}: one column a weight.")
    Y = as_points("Y", Y, Z.shape[0])
    if Y.ndim != 1:
        raise ShapeError(f"Y has shape {Y.shape}, but must have shape ({Z.shape[0]},).")
    result = bregman_minimum(R, w_init, Z, Y)
    if result.status == "failed":
        raise ConvergenceError(
            f"No interpolating point of dom {R.name} was reached: "
            f"{_reason(result.residual, result.kkt_residual)} after {result.n_iterations} Newton steps.",
            partial=result,
        )
    return result


def bregman_minimum(R: LegendreFunction, w_init: np.ndarray, Z: Any, Y: np.ndarray) -> BregmanMinimum:
    """`minimize_bregman` on checked arguments; its status may be "failed"."""
    with np.errstate(all="ignore"):
        rows, target, back = _independent(Z, Y)
        mu_init = R._gradient(w_init)
        dual = Dual(R.conjugate, mu_init, rows, target)
        state = Newton(np.zeros(len(target)), w_init)
        if R.conjugate.is_mirror_map:
            # ∇R* is onto R^d: there is no boundary.
            return _interior(R, dual, minimise(dual, state), Z, Y, back)
        end, slope, epsilon = follow(dual, state)
        if not is_moving(dual, end, slope):
            result = _interior(R, dual, minimise(dual, end), Z, Y, back)
            if result.status == "converged":
                return result
        result = _boundary(R, dual, end, slope, epsilon, w_init, Z, Y, back)
        if result.status == "boundary" and result.residual <= TO_ROUNDING:
            return result
        final = _interior(R, dual, minimise(dual, end), Z, Y, back)
        kept = final if final.status == "converged" or result.status == "failed" else result
        return replace(kept, n_iterations=final.n_iterations)


def _interior(R, dual: Dual, state: Newton, Z: Any, Y: np.ndarray, back: Any) -> BregmanMinimum:
    w, multipliers = state.w, back(state.nu)
    full = Dual(dual.Q, dual.mu_init, Z, Y)
    residual = _residual(full, multipliers, w)
    kkt = _kkt_residual(R, w, full.at(multipliers))
    good = residual <= MOST_RESIDUAL and kkt <= MOST_KKT
    unique = good and Z.shape[0] >= R.dim and is_alone(full, full.at(multipliers))
    status = "converged" if good else "failed"
    return BregmanMinimum(w, multipliers, residual, kkt, state.n_iterations, status, unique)


def _boundary(
    R, dual: Dual, state: Newton, slope, epsilon, w_init, Z: Any, Y: np.ndarray, back: Any
) -> BregmanMinimum:
    w, unique = on_face(dual, state, slope, epsilon)
    inside = bool(R._belongs(w + INSIDE * (w_init - w)))
    if not inside:
        w = state.w
    multipliers = back(state.nu)
    # A row whose terms all vanish in the limit is measured by the size of w elsewhere or at the start.
    largest = max(np.abs(w).max(), np.abs(w_init).max())
    size = np.asarray(abs(Z).sum(axis=1)).ravel() * largest + np.abs(Y)
    residual = float((np.abs(Z @ w - Y) / np.where(size > 0, size, 1.0)).max())
    kkt = float(np.abs(w - state.w).max() / max(np.abs(w).max(), np.abs(w_init).max()))
    good = residual <= MOST_RESIDUAL and kkt <= MOST_KKT and inside
    status = "boundary" if good else "failed"
    return BregmanMinimum(w, multipliers, residual, kkt, state.n_iterations, status, unique and good)


def _independent(Z: Any, Y: np.ndarray) -> tuple[Any, np.ndarray, Any]:
    """Return rows and targets of the same constraints, linearly independent and well scaled, and ν -> λ.

    These are the rows of Z at unit length where they are far from dependent; else orthonormal ones, or of a
    sparse Z as many of its own as are independent.
    """
    lengths = np.sqrt(np.asarray((Z * Z).sum(axis=1)).ravel())
    if not lengths.any():
        _require_solvable(np.abs(Y).max(), Y)
    scale = np.where(lengths > 0, lengths, 1.0)
    unit = scale_columns(Z.T, 1.0 / scale).T
    gram = unit @ unit.T
    gram = gram.toarray() if issparse(gram) else gram
    if lengths.all() and np.linalg.eigvalsh(gram)[0] > WELL_CONDITIONED:
        return (unit.tocsr() if issparse(unit) else unit), Y / scale, lambda nu: nu / scale
    if issparse(Z):
        # Products of rows square their condition: rows are dependent from 1e-7 on.
        _, pivot, rank, _ = lapack.dpstrf(gram, tol=1e-13)
        kept = np.sort(pivot[:rank] - 1)
        others = gram[:, kept] @ np.linalg.lstsq(gram[np.ix_(kept, kept)], (Y / scale)[kept], rcond=None)[0]
        _require_solvable(np.abs(others * scale - Y).max(), Y)

        def spread(nu: np.ndarray) -> np.ndarray:
            out = np.zeros(len(Y))
            out[kept] = nu / scale[kept]
            return out

        return unit.tocsr()[kept], (Y / scale)[kept], spread
    U, singular, rows = np.linalg.svd(Z, full_matrices=False)
    kept = singular > singular[0] * max(Z.shape) * EPS
    U, singular, rows = U[:, kept], singular[kept], rows[kept]
    _require_solvable(np.abs(Y - U @ (U.T @ Y)).max(), Y)
    return rows, U.T @ Y / singular, lambda nu: U @ (nu / singular)


def _require_solvable(off: float, Y: np.ndarray) -> None:
    if off > 1e-9 * max(1.0, np.abs(Y).max()):
        raise ConvergenceError(f"Zw = Y has no solution at all: Y is {off:.1e} away from the range of Z.")


def _residual(dual: Dual, multipliers: np.ndarray, w: np.ndarray) -> float:
    """max |Zw - Y|, each row relative to the size of its terms."""
    terms, rounding = dual.sizes(multipliers, w)
    w_init = dual.Q._gradient(dual.mu_init)
    # Where 1e11 roundings of w outweigh its terms (w = 0 by cancellation), those are the measure: at
    # the bound of 1e-9 they make a hundred of them. Where λ runs away they say nothing.
    natural = (terms + abs(dual.rows) @ np.abs(w_init)).max()
    scale = np.maximum(terms, np.minimum(1e11 * rounding, natural))
    return float((np.abs(dual.rows @ w - dual.target) / np.where(scale > 0, scale, 1.0)).max())


def _reason(residual: float, kkt: float) -> str:
    if not residual <= MOST_RESIDUAL:
        return f"the residual of Zw = Y is {residual:.1e} (bound {MOST_RESIDUAL:.0e}), so that no w may fit,"
    return f"Zw = Y holds (residual {residual:.1e}), but the KKT residual is {kkt:.1e} (bound {MOST_KKT:.0e})"


def _kkt_residual(R: LegendreFunction, w: np.ndarray, dual: np.ndarray) -> float:
    """max |∇R(w) - dual|, relative to its size or, where larger, to 1e7 times what rounding of w does to it.

    At the bound of 1e-6 these are ten roundings. Infinite where w is outside dom R or so near its boundary
    that rounding leaves ∇R(w) undetermined.
    """
    if not R._belongs(w):
        return np.inf
    size = max(1.0, np.abs(dual).max())
    rounding = EPS * np.abs(R._times_hessian(w, np.abs(w)[None])[0])
    if not (rounding <= 1e-3 * size).all():
        return np.inf
    return float((np.abs(R._gradient(w) - dual) / np.maximum(size, 1e7 * rounding)).max())
