"""Mirror flow d∇R(w) = -∇L(w) dt in its row-space, dual and primal forms."""

from __future__ import annotations

from typing import Any

import numpy as np

from riemflow.errors import DomainError, ShapeError
from riemflow.flows.dual_forms import common_rows, dual_flow, of_legendre, row_space_flow
from riemflow.flows.limits.at_infinity import closed_flow
from riemflow.flows.rest import MOST, along, terms, under_metric
from riemflow.flows.solution import Flow, metric_units, natural_gradient, run_flow, tolerances
from riemflow.legendre.conjugate import NumericalConjugate
from riemflow.legendre.function import LegendreFunction
from riemflow.losses import as_loss
from riemflow.validation import require_kind

FORMULATIONS = ("auto", "row-space", "dual", "primal")


def mirror_flow(
    R: LegendreFunction,
    loss: Any,
    w_init: Any,
    t: Any,
    *,
    formulation: str = "auto",
    rtol: float = 1e-8,
    atol: Any = None,
    method: str = "auto",
    until_loss: float | None = None,
    until_gradient: float | None = None,
    progress: bool = False,
    throw: bool = True,
) -> Flow:
    """Integrate the mirror flow of R from w_init (equation 8 of the paper).

    The forms agree and differ in cost: "primal" ``w' = -∇²R(w)^{-1} ∇L(w)``; "dual"
    ``μ' = -∇L(∇R*(μ))``; "row-space", for L(w) = ℓ(Zw) with Z of shape [n, d],
    ``μ = ∇R(w_init) - Zᵀν``, ``ν' = ∇ℓ(Z ∇R*(μ))``, n equations instead of d.

    Unless a formulation, a method or an event is asked for, two flows of mirror maps are not integrated: that
    of `Linear`, which is ``w(t) = ∇R*(∇R(w_init) - tc)``, and those of `LeastSquares` and `Logistic` to
    t = inf, whose limit is found by Newton's method in R^n, as by `minimize_bregman`. If the logistic loss
    has no minimiser the status is "diverges" and ``stats["direction"]`` is that of `maximum_margin`.

    Parameters
    ----------
    R : LegendreFunction
    loss : Loss, Piecewise, or callable, shape=[..., d] -> shape=[...]
    w_init : array, shape=[d]
    t : float, increasing array, or np.inf
        End time, output times, or the limit.
    formulation : "auto", "row-space", "dual" or "primal"
        "auto": row-space if the data have fewer rows than columns, else dual; primal where R* is
        numerical.
    rtol, atol : float
        Tolerances on the state of the formulation; atol is rtol times its size if left out.
    method, until_loss, until_gradient, progress, throw
        As for `gradient_flow`.

    Returns
    -------
    Flow
        With w and mu; ``stats["formulation"]`` says what was solved.

    Raises
    ------
    DomainError, ShapeError
        For input of the wrong shape, outside dom R, or not finite.
    ConvergenceError
        If the flow runs out of the domain, does not converge (t = inf), or the integrator fails.
    """
    require_kind("R", R, LegendreFunction)
    if formulation not in FORMULATIONS:
        raise DomainError(f"formulation is {formulation!r}, but must be one of {', '.join(FORMULATIONS)}.")
    loss = as_loss(loss, R.dim)
    w_init = R._inside(w_init, "w_init")
    if w_init.ndim != 1:
        raise ShapeError(f"w_init has shape {w_init.shape}, but must be one point of shape ({R.dim},).")
    rtol, atol = tolerances(rtol, atol)
    forced = formulation != "auto" or method != "auto" or not (until_loss is until_gradient is None)
    if not forced:
        flow = closed_flow(R, loss, w_init, t, throw=throw)
        if flow is not None:
            return flow
    Z = common_rows(loss)
    if formulation == "auto":
        rows = Z is not None and Z.shape[0] < R.dim
        formulation = "primal" if is_numerical(R.conjugate) else "row-space" if rows else "dual"
    options = {"rtol": rtol, "atol": atol, "method": method, "progress": progress, "throw": throw}
    options |= {"until_loss": until_loss, "until_gradient": until_gradient}
    if formulation == "primal":
        return _primal(R, loss, w_init, t, options)
    if formulation == "dual":
        return dual_flow(of_legendre(R, w_init), loss, t, options)
    if Z is None:
        raise DomainError("The row-space form needs a loss of the form ℓ(Zw), one Z for all pieces.")
    return row_space_flow(of_legendre(R, w_init), loss, Z, t, options)


def is_numerical(Q: LegendreFunction) -> bool:
    """Tell whether evaluating Q takes an iteration, in itself or in a part it is built from."""
    parts = [part for name in ("base", "parts", "terms") for part in np.ravel(getattr(Q, name, None) or [])]
    return isinstance(Q, NumericalConjugate) or any(map(is_numerical, parts))


def _primal(R, loss, w_init, t, options) -> Flow:
    def velocity(piece, w):
        if not R._belongs(w):
            return np.full_like(w, np.nan)
        return -natural_gradient(R._hessian(w), piece._gradient(w), f"∇²{R.name}", w)

    def linearise(piece, w):
        slope, metric = piece._gradient(w), R._hessian(w)
        change = along(R._hessian, R._belongs, w, np.linalg.solve(metric, slope))
        return under_metric(metric, change, slope, terms(piece, w), piece._hessian(w), w)

    return run_flow(
        velocity,
        w_init,
        t,
        loss,
        {"w": lambda w: w, "mu": R._gradient},
        formulation="primal",
        inside=R._belongs,
        scale=float(np.abs(w_init).max()) or 1.0,
        origin=not w_init.any(),
        linearise=linearise if R.dim <= MOST else None,
        units=metric_units(R._hessian, R._belongs, w_init),
        **options,
    )
