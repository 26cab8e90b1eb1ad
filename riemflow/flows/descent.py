"""Discrete steps: gradient descent on the parameters and mirror descent on the weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from riemflow.errors import ConvergenceError, DomainError, ShapeError
from riemflow.legendre.function import LegendreFunction
from riemflow.losses import Loss, Piecewise, as_loss
from riemflow.parametrizations.parametrization import Parametrization
from riemflow.validation import as_count, as_number, require_kind


@dataclass(frozen=True)
class Descent:
    """The iterates of a descent method.

    Attributes
    ----------
    steps : int array, shape=[k]
        0, 1, …, the numbers of the iterates.
    w : array, shape=[k, d]
        Weights.
    x : array, shape=[k, D], or None
        Parameters, of gradient descent.
    mu : array, shape=[k, d], or None
        Dual points, of mirror descent.
    step_size : float
    status : str
        "finished", or "left-domain": the next step would have left the domain, or overflowed.
    message : str
    stats : mapping
        method, seconds.
    """

    steps: np.ndarray
    w: np.ndarray
    x: np.ndarray | None
    mu: np.ndarray | None
    step_size: float
    status: str
    message: str
    stats: Mapping[str, Any] = field(repr=False)

    @property
    def t(self) -> np.ndarray:
        """The times ``steps * step_size`` at which the flow compares: shape=[k]."""
        return self.steps * self.step_size

    def __repr__(self) -> str:
        return (
            f"Descent({self.status}: {self.message}; d = {self.w.shape[1]}, {self.stats['method']}, "
            f"step size {self.step_size:g}, {self.stats['seconds']:.2f} s)"
        )


def gradient_descent(
    G: Parametrization, loss: Any, x_init: Any, step_size: float, n_steps: int, *, throw: bool = True
) -> Descent:
    """Iterate ``x_{k+1} = x_k - η ∂G(x_k)ᵀ ∇L(G(x_k))``, back onto the submanifold if there is one.

    Parameters
    ----------
    G : Parametrization
    loss : Loss, or callable, shape=[..., d] -> shape=[...]
    x_init : array, shape=[D]
    step_size : float
        η > 0.
    n_steps : int
    throw : bool
        Raise if a step leaves the domain, with the partial result; otherwise return it.

    Returns
    -------
    Descent
        With w = G(x) and x.

    Raises
    ------
    DomainError, ShapeError
        For bad input or a loss that depends on time.
    ConvergenceError
        If a step leaves the domain of G or overflows.
    """
    require_kind("G", G, Parametrization)
    loss = _constant(as_loss(loss, G.dim))
    x_init = _one_point(G._inside(x_init, "x_init"), "x_init", G.dim_in)
    evaluate, eta = G._evaluator(), as_number("step_size", step_size, above=0.0)

    def step(x: np.ndarray) -> np.ndarray:
        w, jacobian = evaluate(x)
        x = x - eta * jacobian.T @ loss._gradient(w)
        if not G._belongs(x):
            raise DomainError(f"the domain of {G.name} ends there")
        return x if G.manifold is None else G.manifold.project(x)

    xs, reason, seconds = _iterate(step, x_init, n_steps)
    with np.errstate(all="ignore"):
        w = G._fun(xs)
    finite = np.isfinite(w).all(axis=-1)
    if not finite.all():
        first = int(np.argmin(finite))
        w, xs, reason = w[:first], xs[:first], "w = G(x) overflows there"
    return _wrap("gradient descent", w, xs, None, eta, n_steps, reason, seconds, throw)


def mirror_descent(
    R: LegendreFunction, loss: Any, w_init: Any, step_size: float, n_steps: int, *, throw: bool = True
) -> Descent:
    """Iterate ``∇R(w_{k+1}) = ∇R(w_k) - η ∇L(w_k)`` (equation 7 of the paper).

    Parameters
    ----------
    R : LegendreFunction
    loss : Loss, or callable, shape=[..., d] -> shape=[...]
    w_init : array, shape=[d]
    step_size : float
        η > 0.
    n_steps : int
    throw : bool
        Raise if a step leaves the range of ∇R, with the partial result; otherwise return it.

    Returns
    -------
    Descent
        With w and mu = ∇R(w).

    Raises
    ------
    DomainError, ShapeError
        For bad input or a loss that depends on time.
    ConvergenceError
        If a step leaves the range of ∇R or overflows.
    """
    require_kind("R", R, LegendreFunction)
    loss = _constant(as_loss(loss, R.dim))
    w_init = _one_point(R._inside(w_init, "w_init"), "w_init", R.dim)
    Q, eta = R.conjugate, as_number("step_size", step_size, above=0.0)

    def step(state: np.ndarray) -> np.ndarray:
        w, mu = state
        mu = mu - eta * loss._gradient(w)
        if not (np.isfinite(mu).all() and Q._belongs(mu)):
            raise DomainError(f"the range of the gradient of {R.name} ends there")
        w = Q._gradient(mu)
        if not R._belongs(w):
            raise DomainError(f"w is on the boundary of dom {R.name}, or beyond float64")
        return np.stack([w, mu])

    states, reason, seconds = _iterate(step, np.stack([w_init, R._gradient(w_init)]), n_steps)
    w, mu = states[:, 0], states[:, 1]
    return _wrap("mirror descent", w, None, mu, eta, n_steps, reason, seconds, throw)


def _iterate(step: Callable[[np.ndarray], np.ndarray], start: np.ndarray, n_steps: int):
    """Return the iterates, why they ended early ("" if they did not), and the time they took."""
    states, began, reason = [start], time.perf_counter(), ""
    with np.errstate(all="ignore"):
        for _ in range(as_count("n_steps", n_steps)):
            try:
                states.append(step(states[-1]))
            except (DomainError, ConvergenceError) as error:
                reason = str(error).rstrip(".")
                break
    return np.array(states), reason, time.perf_counter() - began


def _wrap(method, w, x, mu, eta, n_steps, reason, seconds, throw) -> Descent:
    done = len(w) - 1
    message = f"stopped before step {done + 1} of {n_steps}: {reason}" if reason else f"{done} steps"
    descent = Descent(
        np.arange(done + 1),
        w,
        x,
        mu,
        eta,
        "left-domain" if reason else "finished",
        message,
        {"method": method, "seconds": seconds},
    )
    if reason and throw:
        raise ConvergenceError(
            f"{method.capitalize()} {message}. Take smaller steps, or pass throw=False.",
            partial=descent,
        )
    return descent


def _constant(loss: Loss | Piecewise) -> Loss:
    if isinstance(loss, Piecewise):
        raise DomainError("Descent counts steps, not time: a Piecewise loss needs a flow.")
    return loss


def _one_point(point: np.ndarray, name: str, dim: int) -> np.ndarray:
    if point.ndim != 1:
        raise ShapeError(f"{name} has shape {point.shape}, but must be one point of shape ({dim},).")
    return point
