"""Riemannian gradient flow on a geomstats space."""

from __future__ import annotations

from typing import Any

import numpy as np

from riemflow.errors import ShapeError
from riemflow.flows.rest import MOST, along, terms, under_metric
from riemflow.flows.solution import Flow, metric_units, natural_gradient, run_flow
from riemflow.losses import as_loss
from riemflow.spaces import SpaceMetric
from riemflow.validation import as_points, require_inside


def riemannian_gradient_flow(
    space: Any,
    loss: Any,
    w_init: Any,
    t: Any,
    *,
    rtol: float = 1e-8,
    atol: Any = None,
    method: str = "auto",
    until_loss: float | None = None,
    until_gradient: float | None = None,
    progress: bool = False,
    throw: bool = True,
) -> Flow:
    """Integrate ``w' = -g(w)^{-1} ∇L(w)`` on a geomstats space with metric matrix g.

    On a `HessianManifold` this is the mirror flow (equation 3 of the paper).

    Parameters
    ----------
    space : geomstats manifold of vectors, equipped with a metric that has a metric matrix
    loss : Loss, Piecewise, or callable, shape=[..., d] -> shape=[...]
    w_init : array, shape=[d]
    t : float, increasing array, or np.inf
    rtol, atol, method, until_loss, until_gradient, progress, throw
        As for `gradient_flow`.

    Returns
    -------
    Flow

    Raises
    ------
    DomainError, ShapeError
        For input of the wrong shape or outside the space, or a space without a metric matrix.
    ConvergenceError
        If the flow leaves the space, does not converge (t = inf), or the integrator fails.
    """
    g = SpaceMetric(space)
    dim = g.dim
    loss = as_loss(loss, dim)
    w_init = as_points("w_init", w_init, dim)
    if w_init.ndim != 1:
        raise ShapeError(f"w_init has shape {w_init.shape}, but must be one point of shape ({dim},).")
    require_inside("w_init", w_init, g.belongs, f"the space {g.name}", "move it inside.")
    g.matrix(w_init)  # if it has none, say so now

    def velocity(piece, w):
        if not g.belongs(w):
            return np.full_like(w, np.nan)
        return -natural_gradient(g.matrix(w), piece._gradient(w), "The metric matrix", w)

    def linearise(piece, w):
        slope, metric = piece._gradient(w), g.matrix(w)
        u = np.linalg.solve(metric, slope)
        changes = [along(g.matrix, g.belongs, w, e) @ u for e in np.eye(dim)]
        return under_metric(metric, np.stack(changes, axis=-1), slope, terms(piece, w), piece._hessian(w), w)

    return run_flow(
        velocity,
        w_init,
        t,
        loss,
        {"w": lambda w: w},
        formulation="Riemannian",
        inside=g.belongs,
        rtol=rtol,
        atol=atol,
        scale=float(np.abs(w_init).max()) or 1.0,
        linearise=linearise if dim <= MOST else None,
        units=metric_units(g.matrix, g.belongs, w_init),
        method=method,
        until_loss=until_loss,
        until_gradient=until_gradient,
        progress=progress,
        throw=throw,
    )
