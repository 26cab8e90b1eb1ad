"""Riemannian gradient descent on any geomstats space."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from riemflow.errors import ConvergenceError, DomainError
from riemflow.flows.descents.iterates import Descent, Run, constant
from riemflow.flows.descents.step_sizes import Trial
from riemflow.flows.solution import natural_gradient
from riemflow.flows.space_losses import SpaceLoss, loss_on
from riemflow.losses import Loss
from riemflow.spaces import RiemannianSpace
from riemflow.validation import MISUSE

Step = Callable[[np.ndarray, np.ndarray], np.ndarray]


def riemannian_gradient_descent(
    space: Any,
    loss: Any,
    w_init: Any,
    step_size: Any,
    n_steps: int,
    *,
    step: Any = "exp",
    gradient: Any = None,
    batch_size: int | None = None,
    seed: Any = 0,
    until_loss: float | None = None,
    until_gradient: float | None = None,
    progress: bool = False,
    throw: bool = True,
) -> Descent:
    """Iterate ``w_{k+1} = exp_{w_k}(-η_k grad L(w_k))`` on any geomstats space with a metric.

    Parameters
    ----------
    space : geomstats manifold, equipped with a metric
        Its points are arrays of the shape `space.shape`, point_shape below.
    loss : Loss, or callable, shape=[point_shape] -> number
        As for `riemannian_gradient_flow`, and so is `gradient`.
    w_init : array, shape=[point_shape]
        One point of the space.
    step_size : float, array of shape [n_steps], callable k -> float, or Backtracking
        η_k > 0.
    n_steps : int
    step : "exp", "retraction" or callable (point, tangent vector) -> point
        "exp" follows the metric's geodesic. "retraction" adds the vector and projects the sum to a curved
        space; in an open set of a linear space the sum has to lie inside.
    batch_size, seed, until_loss, until_gradient, progress
        As for `gradient_descent`; the gradient is that part of ∂L/∂w which is tangent.
    throw : bool
        Raise if a step leaves the space, with the partial result; otherwise return it.

    Returns
    -------
    Descent
        With w of shape=[k, point_shape].

    Raises
    ------
    DomainError, ShapeError
        For bad input, a loss that depends on time, or minibatches of a loss without samples.
    ConvergenceError
        If a step leaves the space or overflows, or backtracking finds none.
    """
    M = RiemannianSpace(space)
    w_init = M.as_point("w_init", w_init)
    loss = constant(loss_on(M, loss, gradient, w_init))
    move = _as_step(M, step)

    def begin(loss: Loss, point: np.ndarray) -> Trial:
        slope = loss.slope(point) if isinstance(loss, SpaceLoss) else loss._gradient(point)

        def solve(gram, right):
            return natural_gradient(gram, right, "The metric", point)

        downhill = -M.gradient(point, slope, solve)
        square = -float((slope * downhill).sum())

        def trial(eta):
            return move(point, eta * downhill), eta * square

        return trial

    run = Run(
        begin,
        M.coordinates,
        loss,
        step_size,
        n_steps,
        batch_size=batch_size,
        seed=seed,
        until_loss=until_loss,
        until_gradient=until_gradient,
        progress=progress,
    )
    w = run.descend(w_init)
    return run.wrap("Riemannian gradient descent", w, None, None, throw)


def _as_step(M: RiemannianSpace, step: Any) -> Step:
    """Return what takes a point along a vector; it raises a `DomainError` where that leaves the space.

    Raises
    ------
    DomainError
        If `step` is none of the three.
    """
    if isinstance(step, str) and step == "exp":
        name, raw = "exp", lambda point, vector: M.space.metric.exp(vector, point)
    elif isinstance(step, str) and step == "retraction":
        if M.frame is None and not M.projects:
            raise DomainError(
                f"The space {M.name} has no projection that takes points near w_init to near it: take "
                "step='exp', or a callable (point, vector)."
            )
        name, raw = "the retraction", lambda point, vector: point + vector
    elif callable(step):
        name, raw = "step", step
    else:
        raise DomainError(f"step is {step!r}, but must be 'exp', 'retraction' or a callable (point, vector).")

    def move(point: np.ndarray, vector: np.ndarray) -> np.ndarray:
        try:
            new = np.asarray(raw(point, vector), dtype=np.float64)
        except ConvergenceError as error:
            raise DomainError(str(error).rstrip(".")) from error
        except MISUSE as error:
            raise DomainError(f"{name} raised {type(error).__name__}: {error}") from error
        if new.shape != M.shape or not np.isfinite(new).all():
            raise DomainError(f"{name} gives no finite point of shape {M.shape}")
        if M.frame is None:
            with np.errstate(all="ignore"):
                new = M.points(M.coordinates(new))  # rounding would add up
            # Of points too far away, as of the centre of a sphere, there is no projection.
            if M.projects and not (np.isfinite(new).all() and M._belongs(new.ravel())):
                raise DomainError(f"{name} gives a point that {M.name} does not project to itself")
            return new
        if not M.belongs(M.coordinates(new)):
            raise DomainError(f"{name} leaves the space {M.name}")
        return new

    return move
