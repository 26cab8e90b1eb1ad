"""Cartan's development of one flow: the path that rolls out along it in R^d, whatever d."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from riemflow.errors import DomainError, ShapeError
from riemflow.flows.solution import GOOD, Flow, metric_units, natural_gradient, require_good, run_flow
from riemflow.legendre.function import LegendreFunction
from riemflow.losses import as_loss
from riemflow.validation import as_number, require_kind, short

# Entries of a frame below this share of their row's first size are known to an absolute tolerance only.
FLOOR = 1e-6
LOST = 1e4  # times rtol: a larger defect is no local error that has added up, but a frame without digits
# Times rtol: where one rounding of w changes g by more of itself, steps shrink without end to meet rtol.
NOISE, LEAST_RTOL = 10.0, 1e-12
# The stiff integrator takes differences by each of d² + 2d components, up to this d; others have their steps
# counted.
STIFF_DIM, MOST_STEPS = 20, 20_000


def cartan_development(
    R: LegendreFunction,
    loss: Any,
    w_init: Any,
    t: Any,
    *,
    rtol: float = 1e-8,
    progress: bool = False,
    throw: bool = True,
) -> Flow:
    """Roll the Hessian manifold along its mirror flow onto R^d: a gradient flow with D = d, on one path.

    With g = ∇²R and a frame E, shape=[d, d], parallel along the flow,

    ``E' = -½ g^{-1} (dg/dt) E``,  ``x' = -Eᵀ ∇L(w)``,  ``w' = E x'``,  E(0) = g(w_init)^{-1/2},  x(0) = 0.

    Then EᵀgE = I throughout, so that E stands for ∂G: x moves down the gradient of the loss pulled back by
    E, and w = ∫E dx by the mirror flow. x(t) is Cartan's development of w(t): speeds, lengths and angles of
    turning are those of the flow in the metric g, and where g is flat x = F(w) for an isometry F.

    It takes Hessians and their derivatives along one direction, no ∇³R and no solve for an embedding, so that
    d may be hundreds. But it holds **along this path alone**: another loss or start has another development,
    and there is no map G that all share unless g is flat. For one G see `embed`.

    Parameters
    ----------
    R : LegendreFunction
    loss : Loss, Piecewise, or callable, shape=[..., d] -> shape=[...]
    w_init : array, shape=[d]
    t : float or increasing array
        End time or output times.
    rtol : float
        Relative tolerance on w, x and the frame.
    progress, throw
        As for `gradient_flow`.

    Returns
    -------
    Flow
        With w and x, both of shape [n, d]; ``sol(t, of="frame")`` is E, shape=[..., d, d], as is
        ``sol(t, of="x")``. ``stats["defect"]`` is the largest ‖EᵀgE - I‖₂ at the output times, the metric
        defect along the path: what the integration of E has lost.

    Raises
    ------
    DomainError, ShapeError
        For input of the wrong shape, outside dom R, or not finite, or t = inf.
    ConvergenceError
        If the flow runs out of the domain, comes so close to its boundary that one rounding of w changes g by
        more than 10 rtol of itself, the integrator fails, or the frame is lost (a defect above 1e4 rtol), as
        where weights decay by many orders. A stiff flow is handed over to CVODE for d ≤ 20; beyond, where a
        Jacobian of d² + 2d equations would be too large, the integrator remains explicit (DOP853). It gives
        up after 20,000 steps.
    """
    require_kind("R", R, LegendreFunction)
    loss = as_loss(loss, R.dim)
    d = R.dim
    w_init = R._inside(w_init, "w_init")
    if w_init.ndim != 1:
        raise ShapeError(f"w_init has shape {w_init.shape}, but must be one point of shape ({d},).")
    if np.ndim(t) == 0 and t == np.inf:
        raise DomainError(
            "A development needs a finite end time t: for the limit use mirror_flow with t=inf."
        )
    values, vectors = np.linalg.eigh(R._hessian(w_init))
    if not (values > 0).all():
        raise DomainError(
            f"∇²{R.name} is not positive definite at w_init = {short(w_init)}: its smallest eigenvalue is "
            f"{values[0]:.3g}, but must be > 0."
        )
    frame = (vectors / np.sqrt(values)) @ vectors.T
    most_blur = NOISE * max(as_number("rtol", rtol, above=0.0, below=0.1), LEAST_RTOL)

    def velocity(piece, state):
        w, E = state[:d], state[2 * d :].reshape(d, d)
        if not R._belongs(w):
            return np.full_like(state, np.nan)
        dx = -E.T @ piece._gradient(w)
        dw = E @ dx
        turn = natural_gradient(R._hessian(w), R._third_along(w, dw) @ E, f"∇²{R.name}", w)
        return np.concatenate([dw, dx, (-0.5 * turn).ravel()])

    def blur(w):
        """By how much of its size g changes if the w_i are rounded, up and down in turn."""
        turns = np.finfo(float).eps * np.where(np.arange(d) % 2, -1.0, 1.0)
        with np.errstate(all="ignore"):
            up, down = (R._hessian(w * (1 + turn)) for turn in (turns, -turns))
            size = np.sqrt(np.outer(np.diagonal(up), np.diagonal(up)))
            return float(np.abs((up - down) / size).max())

    def is_sharp(w):
        return not blur(w) > most_blur

    def defect(states):
        w, E = states[:, :d], states[:, 2 * d :].reshape(-1, d, d)
        gaps = (E[k].T @ R._hessian(w[k]) @ E[k] - np.eye(d) for k in range(len(w)))
        return {"defect": float(max(np.abs(np.linalg.eigvalsh(gap)).max() for gap in gaps))}

    if not is_sharp(w_init):
        raise DomainError(
            f"w_init = {short(w_init)} is too close to the boundary of dom {R.name}: one rounding of it "
            f"changes ∇²{R.name} by {blur(w_init):.1e} of its size, above {most_blur:.0e} (10 rtol). Start "
            "further inside, or raise rtol."
        )
    units = metric_units(R._hessian, R._belongs, w_init)
    rows = FLOOR * np.linalg.norm(frame, axis=1)
    length = float(np.sqrt(w_init @ R._hessian(w_init) @ w_init)) or 1.0
    scales = np.concatenate([units, np.full(d, length), np.repeat(rows, d)])
    flow = run_flow(
        velocity,
        np.concatenate([w_init, np.zeros(d), frame.ravel()]),
        t,
        loss,
        {
            "w": lambda y: y[..., :d],
            "x": lambda y: y[..., d : 2 * d],
            "frame": lambda y: y[..., 2 * d :].reshape(*y.shape[:-1], d, d),
        },
        formulation="development",
        inside=lambda y: R._belongs(y[:d]) and is_sharp(y[:d]),
        rtol=rtol,
        atol=None,
        scale=1.0,
        units=scales,
        method="auto" if d <= STIFF_DIM else "DOP853",
        max_steps=MOST_STEPS,
        progress=progress,
        throw=False,
        measure=defect,
    )
    if flow.status == "left-domain" and blur(flow.w[-1]) > 0.5 * most_blur:  # the last sharp point is kept
        message = (
            f"w came too close to the boundary of dom {R.name}: one rounding of it changes ∇²{R.name} by "
            f"more than {most_blur:.0e} (10 rtol) of its size at t = {flow.t[-1]:.10g}, "
            f"w = {short(flow.w[-1])}; "
            'the dual form of mirror_flow, formulation="dual", keeps its digits there'
        )
        flow = replace(flow, status="failed", message=message)
    lost = flow.stats["defect"]
    if flow.status in GOOD and not lost <= LOST * rtol:
        message = f"{flow.message}, but the frame was lost: the defect is {lost:.1e}, above {LOST * rtol:.0e}"
        flow = replace(flow, status="failed", message=message)
    return require_good(flow) if throw else flow
