"""The iterates of any descent: the loop over its steps, and the result."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tqdm import trange

from riemflow.errors import ConvergenceError, DomainError
from riemflow.flows.descents.step_sizes import Trial, as_rule
from riemflow.flows.solution import goals_of
from riemflow.losses import LinearModelLoss, Loss, Piecewise
from riemflow.validation import as_count


@dataclass(frozen=True)
class Descent:
    """The iterates of a descent method.

    Attributes
    ----------
    steps : int array, shape=[k]
        0, 1, …, the numbers of the iterates.
    w : array, shape=[k, d]
        Weights, or the points of a space, shape=[k, point_shape].
    x : array, shape=[k, D], or None
        Parameters, of gradient descent.
    mu : array, shape=[k, d], or None
        Dual points, of mirror descent.
    step_sizes : array, shape=[k - 1]
        η of each step taken.
    status : str
        "finished"; "reached": the loss or its gradient is as small as asked for; "left-domain": the next step
        would have left the domain, or overflowed; "stopped": backtracking found no step; "interrupted": by
        the user. With throw=True an interrupt is raised on as a `KeyboardInterrupt`, whose `partial` is this
        descent.
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
        d = " x ".join(map(str, self.w.shape[1:]))
        return (
            f"Descent({self.status}: {self.message}; d = {d}, {self.stats['method']}, "
            f"{sizes}, {self.stats['seconds']:.2f} s)"
        )


class Run:
    """One descent: `begin` a step at a state to get its `Trial`; `weights` takes a state to w."""

    def __init__(
        self,
        begin: Callable[[Loss, np.ndarray], Trial],
        weights: Callable[[np.ndarray], np.ndarray],
        loss: Loss,
        step_size: Any,
        n_steps: int,
        *,
        batch_size: int | None,
        seed: Any,
        until_loss: Any,
        until_gradient: Any,
        progress: bool,
    ):
        self.begin, self.weights = begin, weights
        self.n_steps = as_count("n_steps", n_steps)
        self.rule, self.batch_size = as_rule(step_size, self.n_steps), batch_size
        self.draw = _minibatches(loss, batch_size, seed)
        self.goals = goals_of(lambda t: loss, weights, until_loss, until_gradient)
        self.progress = progress
        self.step_sizes: list[float] = []
        self.status, self.reason, self.reached, self.seconds = "finished", "", "", 0.0

    def descend(self, state: np.ndarray) -> np.ndarray:
        """Return the iterates, as many as there are."""
        states, began = [state], time.perf_counter()
        with np.errstate(all="ignore"):
            try:
                for k in trange(self.n_steps, desc="descent", disable=not self.progress):
                    if self.arrived(states[-1]):
                        break
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
            else:
                self.arrived(states[-1])
        self.seconds = time.perf_counter() - began
        return np.array(states[: len(self.step_sizes) + 1])

    def arrived(self, state: np.ndarray) -> bool:
        """Whether a goal is reached, by the loss of all samples; then the status says so."""
        fell = [name for name, goal in self.goals.items() if goal(0.0, state) <= 0]
        if fell:
            self.status, self.reached = "reached", " and ".join(fell)
        return bool(fell)

    def _value(self, loss: Loss) -> Callable[[np.ndarray], float]:
        return lambda state: float(loss._value(self.weights(state)))

    def wrap(self, method, w, x, mu, throw) -> Descent:
        done, reason = len(w) - 1, self.reason
        message = f"stopped before step {done + 1} of {self.n_steps}: {reason}" if reason else f"{done} steps"
        message = f"{self.reached} after {message}" if self.reached else message
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


def constant(loss: Loss | Piecewise) -> Loss:
    """Return a loss that does not depend on time; raise a `DomainError` for one that does."""
    if isinstance(loss, Piecewise):
        raise DomainError("Descent counts steps, not time: a Piecewise loss needs a flow.")
    return loss
