"""Discrete steps: gradient descent on the parameters and mirror descent on the weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from riemflow.errors import DomainError, ShapeError
from riemflow.flows.descents.iterates import Descent, Run, constant
from riemflow.flows.descents.step_sizes import Trial
from riemflow.legendre.function import LegendreFunction
from riemflow.losses import Loss, as_loss
from riemflow.parametrizations.parametrization import Parametrization
from riemflow.validation import require_kind


def gradient_descent(
    G: Parametrization,
    loss: Any,
    x_init: Any,
    step_size: Any,
    n_steps: int,
    *,
    batch_size: int | None = None,
    seed: Any = 0,
    until_loss: float | None = None,
    until_gradient: float | None = None,
    progress: bool = False,
    throw: bool = True,
) -> Descent:
    """Iterate ``x_{k+1} = x_k - η_k ∂G(x_k)ᵀ ∇L(G(x_k))``, back onto the submanifold if there is one.

    Parameters
    ----------
    G : Parametrization
    loss : Loss, or callable, shape=[..., d] -> shape=[...]
    x_init : array, shape=[D]
    step_size : float, array of shape [n_steps], callable k -> float, or Backtracking
        η_k > 0.
    n_steps : int
    batch_size : int, optional
        Take each step on the loss of so many samples, drawn anew without replacement: an unbiased estimate of
        the gradient of a loss that is a mean over samples, as `LeastSquares` and `Logistic` are.
    seed : int, SeedSequence or Generator
        Of the draws. One seed gives gradient and mirror descent the same minibatches.
    until_loss, until_gradient : float, optional
        Stop when the loss of all samples, or the norm of ∇L(w), is as small.
    progress : bool
        Show a progress bar.
    throw : bool
        Raise if a step leaves the domain, with the partial result; otherwise return it.

    Returns
    -------
    Descent
        With w = G(x) and x.

    Raises
    ------
    DomainError, ShapeError
        For bad input, a loss that depends on time, or minibatches of a loss without samples.
    ConvergenceError
        If a step leaves the domain of G or overflows, or backtracking finds none.
    """
    require_kind("G", G, Parametrization)
    loss = constant(as_loss(loss, G.dim))
    x_init = _one_point(G._inside(x_init, "x_init"), "x_init", G.dim_in)
    evaluate = G._evaluator()

    def begin(loss: Loss, x: np.ndarray) -> Trial:
        w, jacobian = evaluate(x)
        gradient = loss._gradient(w)
        slope = jacobian.T @ gradient
        _require_finite(slope)
        # On a submanifold and in a metric of M's own: the squared length of the gradient there.
        square = slope @ slope if G._inverse_metric is None else gradient @ (G._jacobian(x) @ slope)

        def trial(eta):
            new = x - eta * slope
            if not G._belongs(new):
                raise DomainError(f"the domain of {G.name} ends there")
            return (new if G.manifold is None else G.manifold.project(new)), eta * float(square)

        return trial

    run = Run(
        begin,
        G._fun,
        loss,
        step_size,
        n_steps,
        batch_size=batch_size,
        seed=seed,
        until_loss=until_loss,
        until_gradient=until_gradient,
        progress=progress,
    )
    xs = run.descend(x_init)
    with np.errstate(all="ignore"):
        w = G._fun(xs)
    finite = np.isfinite(w).all(axis=-1)
    if not finite.all():
        first = int(np.argmin(finite))
        w, xs = w[:first], xs[:first]
        run.status, run.reason = "left-domain", "w = G(x) overflows there"
    return run.wrap("gradient descent", w, xs, None, throw)


def mirror_descent(
    R: LegendreFunction,
    loss: Any,
    w_init: Any,
    step_size: Any,
    n_steps: int,
    *,
    batch_size: int | None = None,
    seed: Any = 0,
    until_loss: float | None = None,
    until_gradient: float | None = None,
    progress: bool = False,
    throw: bool = True,
) -> Descent:
    """Iterate ``∇R(w_{k+1}) = ∇R(w_k) - η_k ∇L(w_k)`` (equation 7 of the paper).

    Parameters
    ----------
    R : LegendreFunction
    loss : Loss, or callable, shape=[..., d] -> shape=[...]
    w_init : array, shape=[d]
    step_size, n_steps, batch_size, seed, until_loss, until_gradient, progress
        As for `gradient_descent`.
    throw : bool
        Raise if a step leaves the range of ∇R, with the partial result; otherwise return it.

    Returns
    -------
    Descent
        With w and mu = ∇R(w).

    Raises
    ------
    DomainError, ShapeError
        For bad input, a loss that depends on time, or minibatches of a loss without samples.
    ConvergenceError
        If a step leaves the range of ∇R or overflows, or backtracking finds none.
    """
    require_kind("R", R, LegendreFunction)
    loss = constant(as_loss(loss, R.dim))
    w_init = _one_point(R._inside(w_init, "w_init"), "w_init", R.dim)
    Q = R.conjugate

    def begin(loss: Loss, state: np.ndarray) -> Trial:
        w, mu = state
        slope = loss._gradient(w)
        _require_finite(slope)

        def trial(eta):
            new_mu = mu - eta * slope
            if not (np.isfinite(new_mu).all() and Q._belongs(new_mu)):
                raise DomainError(f"the range of the gradient of {R.name} ends there")
            new = Q._gradient(new_mu)
            if not R._belongs(new):
                raise DomainError(f"w is on the boundary of dom {R.name}, or beyond float64")
            return np.stack([new, new_mu]), float(slope @ (w - new))

        return trial

    run = Run(
        begin,
        lambda state: state[0],
        loss,
        step_size,
        n_steps,
        batch_size=batch_size,
        seed=seed,
        until_loss=until_loss,
        until_gradient=until_gradient,
        progress=progress,
    )
    states = run.descend(np.stack([w_init, R._gradient(w_init)]))
    return run.wrap("mirror descent", states[:, 0], None, states[:, 1], throw)


def _require_finite(slope: np.ndarray) -> None:
    if not np.isfinite(slope).all():
        raise DomainError("the gradient of the loss is not finite there")


def _one_point(point: np.ndarray, name: str, dim: int) -> np.ndarray:
    if point.ndim != 1:
        raise ShapeError(f"{name} has shape {point.shape}, but must be one point of shape ({dim},).")
    return point
