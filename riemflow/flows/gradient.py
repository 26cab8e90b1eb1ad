"""Gradient flow of L∘G on the parameters."""

from __future__ import annotations

from typing import Any

import numpy as np

from riemflow import autodiff
from riemflow.errors import ShapeError
from riemflow.flows.rest import MOST, in_parameters, terms
from riemflow.flows.solution import Flow, run_flow
from riemflow.losses import as_loss
from riemflow.parametrizations.parametrization import Parametrization
from riemflow.validation import require_kind

MOST_NUMBERS = 10_000_000  # in ∇²G, for the Jacobian of the velocity to be had from it
DOUBT = 1e-8  # of differences of the velocity, relative to its derivative


def gradient_flow(
    G: Parametrization,
    loss: Any,
    x_init: Any,
    t: Any,
    *,
    rtol: float = 1e-8,
    atol: Any = None,
    method: str = "auto",
    progress: bool = False,
    throw: bool = True,
) -> Flow:
    """Integrate ``x' = -∂G(x)ᵀ ∇L(G(x))``, x(0) = x_init (equation 1 of the paper).

    Parameters
    ----------
    G : Parametrization
    loss : Loss, Piecewise, or callable, shape=[..., d] -> shape=[...]
    x_init : array, shape=[D]
    t : float, increasing array, or np.inf
        End time, output times, or the limit.
    rtol, atol : float
        Tolerances of the integrator; atol is rtol times the size of x_init if left out.
    method : "auto", "DOP853" or "CVODE"
    progress : bool
        Show a progress bar.
    throw : bool
        Raise on failure, with the partial flow; otherwise return it.

    Returns
    -------
    Flow
        With w = G(x) and x. On a submanifold x is put back onto it at the output times, and
        ``stats["drift"]`` is how far it was off.

    Raises
    ------
    DomainError, ShapeError
        For input of the wrong shape, outside the domain, or not finite.
    ConvergenceError
        If the flow leaves the domain, does not converge (t = inf), or the integrator fails.
    """
    require_kind("G", G, Parametrization)
    loss = as_loss(loss, G.dim)
    x_init = G._inside(x_init, "x_init")
    if x_init.ndim != 1:
        raise ShapeError(f"x_init has shape {x_init.shape}, but must be one point of shape ({G.dim_in},).")
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
        rtol=rtol,
        atol=atol,
        scale=float(np.abs(x_init).max()) or 1.0,
        method=method,
        progress=progress,
        throw=throw,
        measure=None
        if manifold is None
        else lambda x: {"drift": float(np.abs(x - manifold.project(x)).max())},
    )
