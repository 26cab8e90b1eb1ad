"""Discrete steps: gradient descent on the parameters and mirror descent on the weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from riemflow.errors import ConvergenceError, DomainError, ShapeError
from riemflow.flows.descents.step_sizes import Trial, as_rule
from riemflow.legendre.function import LegendreFunction
from riemflow.losses import LinearModelLoss, Loss, Piecewise, as_loss
from riemflow.parametrizations.parametrization import Parametrization
from riemflow.validation import as_count, require_kind


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
    step_sizes : array, shape=[k - 1]
        η of each step taken.
    status : str
        "finished"; "left-domain": the next step would have left the domain, or overflowed; "stopped":
        backtracking found no step; "interrupted": by the user. With throw=True an interrupt is raised on as
        a `KeyboardInterrupt`, whose `partial` is this descent.
    message : str
    stats : mapping
        method, batch_size, seconds.
    """

    steps: np.ndarray
    w: np.ndarray
    x: np.ndarray | None
    mu: np.ndarray | None
    step_sizes: np.ndarray
    status: str
    message: str
    stats: Mapping[str, Any] = field(repr=False)

    @property
    def t(self) -> np.ndarray:
        """The times at which the flow compares, sums of the step sizes: shape=[k]."""
        return np.concatenate([[0.0], np.cumsum(self.step_sizes)])

    def __repr__(self) -> str:
        etas = self.step_sizes if len(self.step_sizes) else np.array([np.nan])
        low, high = etas.min(), etas.max()
        sizes = f"step size {low:g}" if low == high else f"step sizes {low:.3g} to {high:.3g}"
        return (
            f"Descent({self.status}: {self.message}; d = {self.w.shape[1]}, {self.stats['method']}, "
            f"{sizes}, {self.stats['seconds']:.2f} s)"
        )


def gradient_descent(
    G: Parametrization,
    loss: Any,
    x_init: Any,
    step_size: Any,
    n_steps: int,
    *,
    batch_size: int | None = None,
    seed: Any = 0,
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
    loss = _constant(as_loss(loss, G.dim))
    x_init = _one_point(G._inside(x_init, "x_init"), "x_init", G.dim_in)
    evaluate = G._evaluator()

    def begin(loss: Loss, x: np.ndarray) -> Trial:
        w, jacobian = evaluate(x)
        gradient = loss._gradient(w)
        slope = jacobian.T @ gradient
        # On a submanifold and in a metric of M's own: the squared length of the gradient there.
        square = slope @ slope if G._inverse_metric is None else gradient @ (G._jacobian(x) @ slope)

        def trial(eta):
            new = x - eta * slope
            if not G._belongs(new):
                raise DomainError(f"the domain of {G.name} ends there")
            return (new if G.manifold is None else G.manifold.project(new)), eta * float(square)

        return trial

    run = _Run(begin, G._fun, loss, step_size, n_steps, batch_size, seed)
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
    throw: bool = True,
) -> Descent:
    """Iterate ``∇R(w_{k+1}) = ∇R(w_k) - η_k ∇L(w_k)`` (equation 7 of the paper).

    Parameters
    ----------
    R : LegendreFunction
    loss : Loss, or callable, shape=[..., d] -> shape=[...]
    w_init : array, shape=[d]
    step_size, n_steps, batch_size, seed
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
    loss = _constant(as_loss(loss, R.dim))
    w_init = _one_point(R._inside(w_init, "w_init"), "w_init", R.dim)
    Q = R.conjugate

    def begin(loss: Loss, state: np.ndarray) -> Trial:
        w, mu = state
        slope = loss._gradient(w)

        def trial(eta):
            new_mu = mu - eta * slope
            if not (np.isfinite(new_mu).all() and Q._belongs(new_mu)):
                raise DomainError(f"the range of the gradient of {R.name} ends there")
            new = Q._gradient(new_mu)
            if not R._belongs(new):
                raise DomainError(f"w is on the boundary of dom {R.name}, or beyond float64")
            return np.stack([new, new_mu]), float(slope @ (w - new))

        return trial

    run = _Run(begin, lambda state: state[0], loss, step_size, n_steps, batch_size, seed)
    states = run.descend(np.stack([w_init, R._gradient(w_init)]))
    return run.wrap("mirror descent", states[:, 0], None, states[:, 1], throw)


class _Run:
    """One descent: `begin` a step at a state to get its `Trial`; `weights` takes a state to w."""

    def __init__(
        self,
        begin: Callable[[Loss, np.ndarray], Trial],
        weights: Callable[[np.ndarray], np.ndarray],
        loss: Loss,
        step_size: Any,
        n_steps: int,
        batch_size: int | None,
        seed: Any,
    ):
        self.begin, self.weights = begin, weights
        self.n_steps = as_count("n_steps", n_steps)
        self.rule, self.batch_size = as_rule(step_size, self.n_steps), batch_size
        self.draw = _minibatches(loss, batch_size, seed)
        self.step_sizes: list[float] = []
        self.status, self.reason, self.seconds = "finished", "", 0.0

    def descend(self, state: np.ndarray) -> np.ndarray:
        """Return the iterates, as many as there are."""
        states, began = [state], time.perf_counter()
        with np.errstate(all="ignore"):
            try:
                for k in range(self.n_steps):
                    loss = self.draw()
                    trial = self.begin(loss, states[-1])
                    state, eta = self.rule(k, trial, self._value(loss), states[-1])
                    states.append(state)
                    self.step_sizes.append(eta)
            except (DomainError, ConvergenceError) as error:
                self.status = "stopped" if isinstance(error, ConvergenceError) else "left-domain"
                self.reason = str(error).rstrip(".")
            except KeyboardInterrupt:
                self.status, self.reason = "interrupted", "interrupted by the user"
        self.seconds = time.perf_counter() - began
        return np.array(states[: len(self.step_sizes) + 1])

    def _value(self, loss: Loss) -> Callable[[np.ndarray], float]:
        return lambda state: float(loss._value(self.weights(state)))

    def wrap(self, method, w, x, mu, throw) -> Descent:
        done, reason = len(w) - 1, self.reason
        message = f"stopped before step {done + 1} of {self.n_steps}: {reason}" if reason else f"{done} steps"
        descent = Descent(
            np.arange(done + 1),
            w,
            x,
            mu,
            np.array(self.step_sizes[:done]),
            self.status,
            message,
            {"method": method, "batch_size": self.batch_size, "seconds": self.seconds},
        )
        if self.status == "interrupted" and throw:
            interrupt: Any = KeyboardInterrupt(f"{method} {message}")
            interrupt.partial = descent
            raise interrupt
        if reason and throw:
            raise ConvergenceError(
                f"{method.capitalize()} {message}. Take smaller steps, or pass throw=False.",
                partial=descent,
            )
        return descent


def _minibatches(loss: Loss, batch_size: int | None, seed: Any) -> Callable[[], Loss]:
    """Return what draws the loss of the next step."""
    if batch_size is None:
        return lambda: loss
    if not isinstance(loss, LinearModelLoss):
        raise DomainError(
            f"batch_size is {batch_size}, but {loss!r} has no samples to draw: pass LeastSquares or Logistic."
        )
    n, size = loss.Z.shape[0], as_count("batch_size", batch_size)
    if size > n:
        raise DomainError(f"batch_size is {size}, but there are only {n} samples.")
    try:
        rng = np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise DomainError(f"seed is {seed!r}, but must be a whole number or a Generator: {error}.") from error
    return lambda: loss._of_samples(np.sort(rng.choice(n, size, replace=False)))


def _constant(loss: Loss | Piecewise) -> Loss:
    if isinstance(loss, Piecewise):
        raise DomainError("Descent counts steps, not time: a Piecewise loss needs a flow.")
    return loss


def _one_point(point: np.ndarray, name: str, dim: int) -> np.ndarray:
    if point.ndim != 1:
        raise ShapeError(f"{name} has shape {point.shape}, but must be one point of shape ({dim},).")
    return point
