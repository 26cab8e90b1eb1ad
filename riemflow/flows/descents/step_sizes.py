"""How long the steps of a descent are: constant, from a schedule, or found by backtracking."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from riemflow.errors import ConvergenceError, DomainError, ShapeError
from riemflow.validation import as_float, as_number

EPS = np.finfo(float).eps
ROUNDINGS = 8.0  # of the loss: by so many it may grow, or no step near a minimum would be taken
SHORTEST = 1e-12  # of the first trial: shorter steps hardly change the loss, whatever its slope

# A trial step of some length: the new state, and the decrease of the loss that its slope promises.
Trial = Callable[[float], tuple[np.ndarray, float]]
Rule = Callable[[int, Trial, Callable[[np.ndarray], float], np.ndarray], tuple[np.ndarray, float]]


@dataclass(frozen=True)
class Backtracking:
    """Armijo's rule: the first of η, ηβ, ηβ², … after which the loss has fallen enough.

    Gradient descent asks for ``L(G(x⁺)) ≤ L(G(x)) - c η ‖∇(L∘G)(x)‖²``, mirror descent for
    ``L(w⁺) ≤ L(w) - c ∇L(w)·(w - w⁺)``, which is the same to first order in η when G belongs to R. A step out
    of the domain counts as too long. A step begins with η = the last one over β, the first with `initial`.

    Parameters
    ----------
    initial : float
        η > 0 that the first step tries.
    shrink : float
        β in (0, 1).
    decrease : float
        c in (0, 1).

    Raises
    ------
    DomainError
        If one of them is out of its range.
    """

    initial: float = 1.0
    shrink: float = 0.5
    decrease: float = 1e-4

    def __post_init__(self):
        as_number("initial", self.initial, above=0.0)
        as_number("shrink", self.shrink, above=0.0, below=1.0)
        as_number("decrease", self.decrease, above=0.0, below=1.0)


def as_rule(step_size: Any, n_steps: int) -> Rule:
    """Return what takes the steps: a number, n_steps numbers, a function of k or a `Backtracking`.

    Raises
    ------
    DomainError
        If a step size is not a number > 0.
    ShapeError
        If there are not n_steps of them.
    """
    if isinstance(step_size, Backtracking):
        return _Armijo(step_size)
    if callable(step_size):
        step_size = [as_number(f"step_size({k})", step_size(k), above=0.0) for k in range(n_steps)]
    etas = as_float("step_size", step_size)
    if etas.shape not in ((), (n_steps,)):
        raise ShapeError(
            f"step_size has shape {etas.shape}, but must be one number, or one for each step, shape "
            f"({n_steps},)."
        )
    if not (etas > 0).all():
        raise DomainError(f"step_size is {etas[etas <= 0][0] if etas.ndim else etas}, but must be > 0.")
    etas = np.broadcast_to(etas, (n_steps,))
    return lambda k, trial, value, state: (trial(etas[k])[0], float(etas[k]))


class _Armijo:
    """Backtracking with the last step size in mind."""

    def __init__(self, rule: Backtracking):
        self.rule, self.eta = rule, rule.initial * rule.shrink

    def __call__(self, k, trial, value, state):
        before, eta = value(state), self.eta / self.rule.shrink
        shortest = SHORTEST * eta
        while eta >= shortest:
            try:
                new, promised = trial(eta)
                after = value(new)
            except DomainError:
                after = np.nan
            else:
                slack = ROUNDINGS * EPS * max(abs(before), abs(after))
                if after <= before - self.rule.decrease * promised + slack:
                    self.eta = eta
                    return new, eta
            eta *= self.rule.shrink
        raise ConvergenceError(f"no step size down to {eta:.1e} makes the loss fall as Armijo's rule asks")
