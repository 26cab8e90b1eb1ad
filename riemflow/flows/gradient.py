"""Gradient flow of L∘G on the parameters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from riemflow import autodiff
from riemflow.errors import DomainError, NoClosedFormError, ShapeError
from riemflow.flows.dual_forms import common_rows, dual_flow, of_parametrization, row_space_flow
from riemflow.flows.limits.at_infinity import limit_flow
from riemflow.flows.rest import MOST, in_parameters, terms
from riemflow.flows.solution import Flow, output_times, run_flow, tolerances
from riemflow.losses import as_loss
from riemflow.parametrizations.parametrization import Parametrization
from riemflow.validation import require_kind

FORMULATIONS = ("auto", "row-space", "dual", "parameters")
MOST_NUMBERS = 10_000_000  # in ∇²G, for the Jacobian of the velocity to be had from it
DOUBT = 1e-8  # of differences of the velocity, relative to its derivative


def gradient_flow(
    G: Parametrization,
    loss: Any,
    x_init: Any,
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
    """Integrate ``x' = -∂G(x)ᵀ ∇L(G(x))``, x(0) = x_init (equation 1 of the paper).

    In the form "parameters" this is what is solved. Where the joint flow ψ of the fields ∇G_i has a closed
    form, as in the commuting part of the catalogue, ``x(t) = ψ(x_init; μ(t))`` with ``μ' = -∇L(G(x))``
    (Lemma 4.6): "dual" solves for μ, and "row-space", for L(w) = ℓ(Zw) with Z of shape [n, d], for ν with
    μ = -Zᵀν, n equations instead of D. Both are cheap and accurate at any scale of x_init. If G's R is in
    the catalogue as well, the limits of `LeastSquares` and `Logistic` at t = inf are found as `mirror_flow`
    finds them, unless a form, a method or an event is asked for.

    Parameters
    ----------
    G : Parametrization
    loss : Loss, Piecewise, or callable, shape=[..., d] -> shape=[...]
    x_init : array, shape=[D]
    t : float, increasing array, or np.inf
        End time, output times, or the limit.
    formulation : "auto", "row-space", "dual" or "parameters"
        "auto": row-space if ψ has a closed form and the data have fewer rows than there are weights, else
        parameters.
    rtol, atol : float
        Tolerances on the state of the formulation; atol is rtol times its size if left out.
    method : "auto", "DOP853" or "CVODE"
    until_loss, until_gradient : float, optional
        Stop, with status "reached", where L(w) or ‖∇L(w)‖ falls to this value.
    progress : bool
        Show a progress bar.
    throw : bool
        Raise on failure, with the partial flow; otherwise return it.

    Returns
    -------
    Flow
        With w = G(x) and x; ``stats["formulation"]`` says what was solved. In the parameters on a
        submanifold, x is put back onto it at the output times, and
        ``stats["drift"]`` is how far it was off.

    Raises
    ------
    DomainError, ShapeError
        For input of the wrong shape, outside the domain, or not finite.
    ConvergenceError
        If the flow leaves the domain, does not converge (t = inf), or the integrator fails.
    """
    require_kind("G", G, Parametrization)
    if formulation not in FORMULATIONS:
        raise DomainError(f"formulation is {formulation!r}, but must be one of {', '.join(FORMULATIONS)}.")
    loss = as_loss(loss, G.dim)
    x_init = G._inside(x_init, "x_init")
    if x_init.ndim != 1:
        raise ShapeError(f"x_init has shape {x_init.shape}, but must be one point of shape ({G.dim_in},).")
    rtol, atol = tolerances(rtol, atol)
    options = {"rtol": rtol, "atol": atol, "method": method, "progress": progress, "throw": throw}
    options |= {"until_loss": until_loss, "until_gradient": until_gradient}
    forced = formulation != "auto" or method != "auto" or not (until_loss is until_gradient is None)
    if not forced and output_times(t)[0] == np.inf:
        flow = _limit(G, loss, x_init, throw)
        if flow is not None:
            return flow
    Z, Q = common_rows(loss), of_parametrization(G, x_init)
    if formulation == "auto":
        rows = Q is not None and Z is not None and Z.shape[0] < G.dim
        formulation = "row-space" if rows else "parameters"
    if formulation == "parameters":
        return _in_parameters(G, loss, x_init, t, options)
    if Q is None:
        raise NoClosedFormError(
            f"The {formulation} form needs the joint flow of {G.name} in closed form, which is not known: "
            "use formulation='parameters', or mirror_flow with R = legendre_from_parametrization(G, x_init)."
        )
    if formulation == "dual":
        return dual_flow(Q, loss, t, options)
    if Z is None:
        raise DomainError("The row-space form needs a loss of the form ℓ(Zw), one Z for all pieces.")
    return row_space_flow(Q, loss, Z, t, options)


def _limit(G: Parametrization, loss: Any, x_init: np.ndarray, throw: bool) -> Flow | None:
    """The limit of the mirror flow of G's R, if that is of the catalogue, and x there: ψ(x_init; Δμ)."""
    R = G._closed_legendre(x_init)
    flow = None if R is None else limit_flow(R, loss, G._fun(x_init), throw=throw)
    if flow is None or flow.mu is None or flow.stats.get("boundary"):  # where μ is infinite
        return None
    x = np.asarray(G._joint_flow(x_init, flow.mu - flow.mu[0]))
    return replace(flow, x=x, mu=None)


def _in_parameters(G: Parametrization, loss: Any, x_init: np.ndarray, t: Any, options: dict) -> Flow:
    evaluate = G._evaluator()

    def velocity(piece, x):
        w, jacobian = evaluate(x)
        return -jacobian.T @ piece._gradient(w)

    manifold = G.manifold
    flat = manifold is None and G._inverse_metric is None and not hasattr(G, "embedding")
    explicit = flat and G.dim * G.dim_in**2 <= MOST_NUMBERS

    def jacobian(piece, x):
        w, rows = evaluate(x)
        along_slope = G._hessian_along(x[None], piece._gradient(w)[None])[0]
        return -(rows.T @ piece._hessian(w) @ rows + along_slope)

    def linearise(piece, x):
        sizes = np.abs(G._jacobian(x)).T @ terms(piece, G._fun(x))
        if explicit:
            return in_parameters(jacobian(piece, x), velocity(piece, x), sizes, x, 0.0)
        slopes = autodiff.differences(lambda y: velocity(piece, y))(x)
        frame = dual = None
        if manifold is not None:
            frame = dual = manifold.projector(x)
        elif G._inverse_metric is not None:
            frame = G._frame(x)
            dual, sizes = np.linalg.inv(frame), np.abs(frame @ frame.T) @ sizes
        return in_parameters(slopes, velocity(piece, x), sizes, x, DOUBT, frame, dual)

    def onto_manifold(x):
        return x if manifold is None else manifold.project(x)

    return run_flow(
        velocity,
        x_init,
        t,
        loss,
        {"w": lambda x: G._fun(onto_manifold(x)), "x": onto_manifold},
        formulation="parameters",
        inside=G._belongs,
        # An embedding is good on a region only; there is nothing wrong with R beyond it.
        outside="left-region" if hasattr(G, "embedding") else "left-domain",
        jac=jacobian if explicit else None,
        linearise=linearise if G.dim_in <= MOST else None,
        scale=float(np.abs(x_init).max()) or 1.0,
        origin=not x_init.any(),
        measure=None
        if manifold is None
        else lambda x: {"drift": float(np.abs(x - manifold.project(x)).max())},
        **options,
    )
