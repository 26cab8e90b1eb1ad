"""Riemannian gradient flow on a geomstats space."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from riemflow.flows.rest import MOST, along, terms, under_metric
from riemflow.flows.solution import Flow, metric_units, natural_gradient, require_good, run_flow
from riemflow.flows.space_losses import loss_on
from riemflow.spaces import RiemannianSpace


def riemannian_gradient_flow(
    space: Any,
    loss: Any,
    w_init: Any,
    t: Any,
    *,
    gradient: Any = None,
    rtol: float = 1e-8,
    atol: Any = None,
    method: str = "auto",
    until_loss: float | None = None,
    until_gradient: float | None = None,
    progress: bool = False,
    throw: bool = True,
) -> Flow:
    """Integrate ``w' = -grad L(w)`` on any geomstats space with a metric, ``g(grad L, u) = dL(u)``.

    On a `HessianManifold` this is the mirror flow (equation 3 of the paper). An open set of a linear space
    (R^d, symmetric matrices, …) is integrated in coordinates of that space, ``c' = -g(c)^{-1} ∇L(c)``; any
    other space in the array that holds its points, each of which is projected to the space.

    Parameters
    ----------
    space : geomstats manifold, equipped with a metric
        Its points are arrays of the shape `space.shape`, point_shape below.
    loss : Loss, Piecewise, or callable, shape=[point_shape] -> number
        A callable takes one point of the space. A Loss is one of the point's entries, flattened.
    w_init : array, shape=[point_shape]
        One point of the space.
    t : float, increasing array, or np.inf
        At t = inf on a curved space, rest is judged by the movement alone.
    gradient : callable, shape=[point_shape] -> shape=[point_shape], optional
        The Euclidean gradient ∂L/∂w of a callable, in the array that holds a point; automatic if left out.
    rtol, atol, method, until_loss, until_gradient, progress, throw
        As for `gradient_flow`; the gradient of `until_gradient` is that part of ∂L/∂w which is tangent.

    Returns
    -------
    Flow
        With w of shape=[n, point_shape].

    Raises
    ------
    DomainError, ShapeError
        For input of the wrong shape or outside the space, a space without a metric, or a loss whose gradient
        is not its own.
    ConvergenceError
        If the flow leaves the space, does not converge (t = inf), or the integrator fails.
    """
    M = RiemannianSpace(space)
    w_init = M.as_point("w_init", w_init)
    loss = loss_on(M, loss, gradient, w_init)
    start, linear = M.coordinates(w_init), M.frame is not None
    if linear:
        M.matrix(start)  # if it has none, say so now

    def velocity(piece, c):
        if not M.belongs(c):
            return np.full_like(c, np.nan)
        if linear:
            return -natural_gradient(M.matrix(c), piece._gradient(c), "The metric matrix", c)
        point = M.points(c)

        def solve(gram, slope):
            return natural_gradient(gram, slope, "The metric", point)

        return -M.gradient(point, piece.slope(point), solve).ravel()

    def linearise(piece, c):
        slope, metric = piece._gradient(c), M.matrix(c)
        u = np.linalg.solve(metric, slope)
        changes = [along(M.matrix, M.belongs, c, e) @ u for e in np.eye(M.dim)]
        return under_metric(metric, np.stack(changes, axis=-1), slope, terms(piece, c), piece._hessian(c), c)

    flow = run_flow(
        velocity,
        start,
        t,
        loss,
        {"w": lambda c: c},
        formulation="Riemannian",
        inside=M.belongs if linear else None,
        rtol=rtol,
        atol=atol,
        scale=float(np.abs(start).max()) or 1.0,
        origin=not start.any(),
        linearise=linearise if linear and M.dim <= MOST else None,
        units=metric_units(M.matrix, M.belongs, start) if linear else None,
        method=method,
        until_loss=until_loss,
        until_gradient=until_gradient,
        progress=progress,
        throw=False,
    )
    if not M.has_vectors:
        stats = dict(flow.stats)
        points = M.points(flow.w)
        if not linear:
            stats["drift"] = float(np.abs(flow.w - M.coordinates(points)).max())
        flow = replace(flow, w=points, stats=stats, _maps={"w": M.points})
    return require_good(flow) if throw else flow
