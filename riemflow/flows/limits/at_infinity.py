"""Mirror flows at t = ∞, without the flow: by Newton's method in R^n, by margins, by linear programmes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.sparse import issparse
from scipy.sparse.linalg import lsqr

from riemflow.errors import ConvergenceError, DomainError
from riemflow.flows.limits.bregman_minimum import BregmanMinimum, bregman_minimum
from riemflow.flows.limits.central_path import linear_flow
from riemflow.flows.limits.margins import maximum_margin, separation, signed_rows
from riemflow.flows.solution import Flow, output_times, require_good
from riemflow.legendre.function import LegendreFunction
from riemflow.losses import LeastSquares, Linear, LinearModelLoss, Logistic, Loss, Piecewise

MOST_DENSE = 2000  # sparse samples of which the least logistic loss is still looked for with dense matrices
MOST_STEPS = 100  # of Newton's method for the values Zw of least loss


def limit_flow(
    R: LegendreFunction, loss: Loss | Piecewise, w_init: np.ndarray, *, throw: bool
) -> Flow | None:
    """Return the flow's two ends, t = 0 and t = ∞, for `LeastSquares` and `Logistic`; None where it must run.

    The values s = Zw of least loss are unique; the flow ends at ``argmin D_R(w, w_init)`` subject to Zw = s
    (Thm 3.8). It has to run where ∇R is not known to be onto R^d, since it may then leave dom R, and where
    no w in dom R or on its boundary has those values.
    """
    if not (R.is_mirror_map and isinstance(loss, LeastSquares | Logistic)):
        return None
    begin = time.perf_counter()
    if isinstance(loss, Logistic):
        if issparse(loss.Z) and loss.Z.shape[0] > MOST_DENSE:
            return None
        rows = signed_rows(loss)
        apart = separation(rows, _is_positive(R))
        if apart != "none":
            flow = _diverging(R, loss, w_init, apart, begin)
            return None if flow is None else require_good(flow) if throw else flow
        values, fits = _least_values(loss), False
    else:
        values, fits = loss.Y, True
    if values is None:
        return None
    try:
        found = bregman_minimum(R, w_init, loss.Z, values)
    except ConvergenceError:  # no solution at all: the values that can be had are Y's projection
        fits, values = False, _projected(loss.Z, values)
        found = bregman_minimum(R, w_init, loss.Z, values)
    if found.status == "failed":
        return None
    return _ends(R, loss, w_init, found, fits, begin)


def closed_flow(
    R: LegendreFunction, loss: Loss | Piecewise, w_init: np.ndarray, t: Any, *, throw: bool
) -> Flow | None:
    """Return a flow that needs no integration, or None: limits, and linear losses at any time."""
    end, times = output_times(t)
    if isinstance(loss, Linear):
        return linear_flow(R, loss, w_init, end, times)
    return limit_flow(R, loss, w_init, throw=throw) if end == np.inf else None


def _is_positive(R: LegendreFunction) -> bool:
    """Tell whether dom R lies in w ≥ 0, by where the interior point can be moved to."""
    w = R.domain.interior
    far = np.array([np.where(np.arange(R.dim) == i, -1e6, w) for i in range(min(R.dim, 8))])
    return not R._belongs(far).any()


def _ends(
    R: LegendreFunction, loss: LinearModelLoss, w_init: np.ndarray, found: BregmanMinimum, fits, begin
) -> Flow:
    mu_init = R._gradient(w_init)
    mu = mu_init + loss._combine(found.multipliers)
    where = "on the boundary of the domain" if found.status == "boundary" else "inside the domain"
    message = f"limit {where}, by {found.n_iterations} Newton steps"
    if isinstance(loss, LeastSquares) and not fits:
        message += "; Zw = Y has no solution, w is a least-squares fit"
    stats: Mapping[str, Any] = {
        "formulation": "limit",
        "method": "Newton",
        "n_steps": found.n_iterations,
        "n_rhs": found.n_iterations,
        "seconds": time.perf_counter() - begin,
        "n_iterations": found.n_iterations,
        "residual": found.residual,
        "kkt_residual": found.kkt_residual,
        "unique": found.unique,
        "boundary": found.status == "boundary",
        "remaining": 0.0,
    }
    times, w = np.array([0.0, np.inf]), np.stack([w_init, found.w])
    return Flow(times, w, None, np.stack([mu_init, mu]), "converged", message, stats)


def _diverging(R, loss: Logistic, w_init: np.ndarray, apart: str, begin: float) -> Flow | None:
    stats: dict[str, Any] = {"formulation": "limit", "method": "margin", "n_steps": 0, "n_rhs": 0}
    message = "the loss has no minimiser and w runs to infinity: "
    if apart == "all":
        try:
            best = maximum_margin(R, loss.Z, loss.labels)
        except DomainError:
            best = None
        if best is None:
            message += f"Zw separates the labels, in a direction that {R.name} does not tell"
        else:
            stats |= {"direction": best.direction, "margin": best.margin, "rate": best.rate}
            stats |= {"unique": best.unique, "norm": best.norm}
            message += f"its direction tends to that of largest {best.norm} margin, stats['direction']"
    else:
        message += "some samples can be separated while the others stay at 0"
    if not R._belongs(1e9 * (1.0 + np.abs(w_init))):
        return None  # a bounded domain: the limit is on its boundary
    stats["seconds"] = time.perf_counter() - begin
    mu_init = R._gradient(w_init)
    return Flow(np.zeros(1), w_init[None], None, mu_init[None], "diverges", message, stats)


def _projected(Z: Any, Y: np.ndarray) -> np.ndarray:
    """The point of the range of Z next to Y."""
    if issparse(Z):
        w = lsqr(Z, Y, atol=1e-15, btol=1e-15, conlim=0.0, iter_lim=20 * Z.shape[0])[0]
        return Z @ w
    return Z @ np.linalg.lstsq(Z, Y, rcond=None)[0]


def _least_values(loss: Logistic) -> np.ndarray | None:
    """Return the values s = Zw of least loss, by damped Newton in the range of Z; None if not reached."""
    Z = loss.Z.toarray() if issparse(loss.Z) else loss.Z
    U, singular, _ = np.linalg.svd(Z, full_matrices=False)
    U = U[:, singular > singular[0] * max(Z.shape) * np.finfo(float).eps]
    s = np.zeros(len(Z))
    before = np.inf
    for _ in range(MOST_STEPS):
        slope = U.T @ loss._outer_gradient(s)
        hessian = (U.T * np.diagonal(loss._outer_hessian(s))) @ U
        step = -np.linalg.solve(hessian, slope)
        decrement = float(-slope @ step)
        if not np.isfinite(decrement) or decrement <= 0:
            break
        # Self-concordance-like damping, of no effect near the minimum.
        length = 1.0 / (1.0 + np.sqrt(decrement * len(s))) if decrement * len(s) > 0.1 else 1.0
        s = s + length * (U @ step)
        if decrement <= 1e-28 or (decrement < 1e-20 and decrement >= before):
            return s
        before = decrement
    return s if before < 1e-20 else None
