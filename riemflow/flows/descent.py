"""Discrete steps: gradient descent on the parameters and mirror descent on the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from riemflow.errors import DomainError, ShapeError
from riemflow.legendre.function import LegendreFunction
from riemflow.losses import Piecewise, as_loss
from riemflow.parametrizations.parametrization import Parametrization
from riemflow.validation import as_count, as_number


@dataclass(frozen=True)
class Descent:
    """The iterates of a descent method.

    Attributes
    ----------
    w : array, shape=[n_steps + 1, d]
    x, mu : arrays of parameters, shape=[n_steps + 1, D], or dual points, shape=[n_steps + 1, d]; or None
    step_size : float
    status : "finished", or "left-domain" if a step left the domain; the iterates end before it
    """

    w: np.ndarray
    x: np.ndarray | None
    mu: np.ndarray | None
    step_size: float
    status: str

    def __repr__(self) -> str:
        return f"Descent({self.status} after {len(self.w) - 1} steps of {self.step_size:g})"


def gradient_descent(G: Parametrization, loss: Any, x_init: Any, step_size: float, n_steps: int) -> Descent:
    """Iterate ``x_{k+1} = x_k - η ∂G(x_k)ᵀ ∇L(G(x_k))``, back to the submanifold if there is one.

    Parameters
    ----------
    x_init : array, shape=[D]
    step_size : float
        η > 0.
    n_steps : int

    Raises
    ------
    DomainError, ShapeError
        For bad input or a loss that depends on time.
    """
    loss = _constant(as_loss(loss, G.dim))
    eta, n = as_number("step_size", step_size, above=0.0), as_count("n_steps", n_steps)
    x = G._inside(x_init, "x_init")
    if x.ndim != 1:
        raise ShapeError(f"x_init has shape {x.shape}, but must be one point of shape ({G.dim_in},).")
    points = [x]
    with np.errstate(all="ignore"):
        for _ in range(n):
            x = x - eta * G._tangential_jacobian(x).T @ loss._gradient(G._fun(x))
            if not G._belongs(x):
                break
            if G.manifold is not None:
                x = G.manifold.project(x)
            points.append(x)
    xs = np.array(points)
    return Descent(G._fun(xs), xs, None, eta, "finished" if len(xs) == n + 1 else "left-domain")


def mirror_descent(R: LegendreFunction, loss: Any, w_init: Any, step_size: float, n_steps: int) -> Descent:
    """Iterate ``∇R(w_{k+1}) = ∇R(w_k) - η ∇L(w_k)`` (equation 7 of the paper).

    Parameters
    ----------
    w_init : array, shape=[d]
    step_size : float
        η > 0.
    n_steps : int

    Raises
    ------
    DomainError, ShapeError
        For bad input or a loss that depends on time.
    """
    loss = _constant(as_loss(loss, R.dim))
    eta, n = as_number("step_size", step_size, above=0.0), as_count("n_steps", n_steps)
    w = R._inside(w_init, "w_init")
    if w.ndim != 1:
        raise ShapeError(f"w_init has shape {w.shape}, but must be one point of shape ({R.dim},).")
    Q, mu = R.conjugate, R._gradient(w)
    ws, mus, status = [w], [mu], "finished"
    with np.errstate(all="ignore"):
        for _ in range(n):
            mu = mu - eta * loss._gradient(w)
            try:
                w = Q._gradient(mu)
            except DomainError:
                status = "left-domain"
                break
            if not R._belongs(w):
                status = "left-domain"
                break
            ws.append(w)
            mus.append(mu)
    return Descent(np.array(ws), None, np.array(mus), eta, status)


def _constant(loss):
    if isinstance(loss, Piecewise):
        raise DomainError("Descent counts steps, not time: a Piecewise loss needs a flow.")
    return loss
