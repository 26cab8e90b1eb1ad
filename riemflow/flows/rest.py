"""Whether a point of a gradient flow is its limit, by the flow linearised there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import solve_triangular

from riemflow.losses import LinearModelLoss

Map = Callable[[np.ndarray], np.ndarray]

EPS = np.finfo(float).eps
ROUNDINGS = 64.0  # so many roundings of the terms of a velocity pass for zero
GARBAGE = 1e-12  # entries of computed eigenvectors below it are rounding
MOST = 1000  # of more variables no eigenvalues are computed


@dataclass(frozen=True)
class Linearised:
    """A gradient flow near one of its points, in an orthonormal frame there: ``δ' = velocity + matrix δ``.

    Attributes
    ----------
    matrix : array, shape=[m, m]
        Symmetric, as minus the Hessian of the loss in such a frame is.
    velocity, noise : array, shape=[m]
        What of the velocity may be rounding, component by component.
    frame : array, shape=[k, m]
        The point moves by ``frame @ δ``.
    doubt : float
        How far off the matrix may be, in its 2-norm, rounding left aside.
    """

    matrix: np.ndarray
    velocity: np.ndarray
    noise: np.ndarray
    frame: np.ndarray
    doubt: float = 0.0

    def forecast(self) -> tuple[float, float]:
        """Return how far, at most, any coordinate is still going to move, and how fast the point departs.

        In an eigenvector's direction with velocity c and eigenvalue λ < 0 the first is c/λ. For λ ≥ 0, a
        saddle or a plateau, it is 0 if c is 0 to rounding, and else infinite; the second is the largest
        such λ, 0 if there is none.
        """
        if not all(np.isfinite(part).all() for part in (self.matrix, self.velocity, self.noise, self.frame)):
            return np.inf, 0.0
        values, vectors = np.linalg.eigh(0.5 * (self.matrix + self.matrix.T))
        vectors = np.where(np.abs(vectors) < GARBAGE, 0.0, vectors)
        speed = vectors.T @ self.velocity
        moves = np.abs(speed) > np.abs(vectors).T @ self.noise
        uncertain = self.doubt + 10 * EPS * len(values) * np.abs(values).max(initial=0.0)
        if (moves & (values >= -uncertain)).any():
            growth = float(values[moves].max())
            return np.inf, growth if growth > uncertain else 0.0
        step = np.where(moves, speed / np.where(moves, values, 1.0), 0.0)
        return float((np.abs(self.frame @ vectors) @ np.abs(step)).max(initial=0.0)), 0.0


def in_parameters(
    jacobian: np.ndarray,
    velocity: np.ndarray,
    terms: np.ndarray,
    x: np.ndarray,
    doubt: float,
    frame: Any = None,
    dual: Any = None,
) -> Linearised:
    """Linearise ``x' = velocity`` in R^D, of which `jacobian` is the derivative up to a relative `doubt`.

    `terms`, shape=[D], is the size of what the velocity is a sum of. An orthonormal frame of the tangent
    space, shape=[D, k], and its left inverse are those of R^D if left out.
    """
    frame = np.eye(len(x)) if frame is None else frame
    dual = frame if dual is None else dual
    noise = ROUNDINGS * EPS * (np.abs(dual) @ (np.abs(jacobian) @ np.abs(x) + terms))
    matrix = dual @ jacobian @ frame
    return Linearised(matrix, dual @ velocity, noise, frame, doubt * float(np.linalg.norm(matrix)))


def under_metric(
    metric: np.ndarray,
    change: np.ndarray,
    slope: np.ndarray,
    terms: np.ndarray,
    curvature: np.ndarray,
    w: np.ndarray,
) -> Linearised:
    """Linearise ``w' = -g(w)^{-1} ∇L``; `change` is ``∂(g u)/∂w`` at fixed u = g^{-1} ∇L."""
    lower = np.linalg.cholesky(metric)

    def down(a: np.ndarray) -> np.ndarray:
        return solve_triangular(lower, a, lower=True, check_finite=False)

    turn = down(down(change).T)
    matrix = turn - down(down(curvature).T)
    noise = np.abs(down(np.eye(len(w)))) @ (ROUNDINGS * EPS * (np.abs(curvature) @ np.abs(w) + terms))
    return Linearised(matrix, -down(slope), noise, down(np.eye(len(w))).T, _doubt(turn))


def under_cometric(
    cometric: np.ndarray,
    change: np.ndarray,
    slope: np.ndarray,
    terms: np.ndarray,
    curvature: np.ndarray,
    w: np.ndarray,
    mu: np.ndarray,
) -> Linearised:
    """Linearise ``w' = -H ∇L`` with H = ∇²R*(μ), also where it is all but singular: next to the boundary.

    `change` is the derivative of H along ``μ' = -∇L``. Directions in which H is 0 to the last digit are
    left out: there w is on the boundary.
    """
    kept = np.diagonal(cometric) > 0
    H, change = cometric[np.ix_(kept, kept)], change[np.ix_(kept, kept)]
    lower = np.linalg.cholesky(H)

    def down(a: np.ndarray) -> np.ndarray:
        return solve_triangular(lower, a, lower=True, check_finite=False)

    turn = down(down(change).T)
    matrix = turn - lower.T @ curvature[np.ix_(kept, kept)] @ lower
    size = np.abs(w) + np.abs(cometric) @ np.abs(mu)
    noise = np.abs(lower).T @ (ROUNDINGS * EPS * (np.abs(curvature) @ size + terms))[kept]
    frame = np.zeros((len(w), len(H)))
    frame[kept] = lower
    return Linearised(matrix, -lower.T @ slope[kept], noise, frame, _doubt(turn))


def _doubt(turn: np.ndarray) -> float:
    return 1e-5 * float(np.linalg.norm(turn))  # of the central difference of `along`


def along(matrix: Map, belongs: Map, point: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Return the derivative of a positive definite matrix along a direction, by one central difference.

    The step is the largest over which its diagonal changes by less than 0.1 %; NaN if there is none. So the
    error is small beside the largest relative change, not beside each.
    """
    size = np.abs(direction).max()
    if size == 0:
        return np.zeros((len(point), len(point)))
    step = (np.abs(point).max() or 1.0) / size
    for _ in range(300):
        low, high = point - step * direction, point + step * direction
        if np.all(belongs(low)) and np.all(belongs(high)):
            a, b = np.asarray(matrix(low)), np.asarray(matrix(high))
            if (np.abs(np.diagonal(b - a)) <= 1e-3 * np.abs(np.diagonal(b + a))).all():
                return (b - a) / (2 * step)
        step *= 0.25
    return np.full((len(point), len(point)), np.nan)


def terms(loss: Any, w: np.ndarray) -> np.ndarray:
    """The size of what each entry of ∇L(w) is a sum of: shape=[d] -> shape=[d]."""
    if isinstance(loss, LinearModelLoss):
        return np.abs(loss._outer_gradient(loss._model(w))) @ abs(loss.Z)
    return np.abs(loss._gradient(w))
