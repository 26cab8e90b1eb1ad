"""Rays in the domain of a Legendre function: how far they go."""

from __future__ import annotations

import numpy as np

from riemflow.legendre.function import LegendreFunction

HALVINGS = 100
ACCURACY = 1e-11  # of a ray's length; nearer to the boundary, membership may take an iteration


def unit_directions(dim: int, n: int, seed: int) -> np.ndarray:
    """Return the axes, both ways, and n random unit vectors: shape=[2d + n, d]."""
    random = np.random.default_rng(seed).standard_normal((n, dim))
    random /= np.linalg.norm(random, axis=-1, keepdims=True)
    return np.concatenate([np.eye(dim), -np.eye(dim), random])


def longest(R: LegendreFunction, start: np.ndarray, directions: np.ndarray, reach: float) -> np.ndarray:
    """The longest s ≤ reach with ``start + s v`` inside dom R, to 1e-11 of it: shape=[n, d] -> shape=[n].

    `start`, shape=[d] or [n, d], is inside; dom R is convex, so that bisection finds the end.
    """
    low, high = np.zeros(len(directions)), np.full(len(directions), float(reach))
    free = np.asarray(R._belongs(start + high[:, None] * directions), bool)
    low[free] = reach
    for _ in range(HALVINGS):
        rows = np.flatnonzero(~free & (high - low > ACCURACY * high))
        if len(rows) == 0:
            break
        near, far = low[rows], high[rows]
        # In decades while the bracket is wide, so that short rays of a large reach are found as well.
        middle = np.where(near > 0, np.sqrt(near) * np.sqrt(far), far / 16.0)
        middle = np.where(far <= 4.0 * near, 0.5 * (near + far), middle)
        at = start if start.ndim == 1 else start[rows]
        inside = np.asarray(R._belongs(at + middle[:, None] * directions[rows]), bool)
        low[rows], high[rows] = np.where(inside, middle, near), np.where(inside, far, middle)
    return low
