"""What a flow from the origin is measured by, where the start itself is of no size."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

FINEST = 64  # powers of 1/8 tried


def first_lengths(
    velocity: Callable[[np.ndarray], np.ndarray], states: np.ndarray, end: float, most: float = 1.0
) -> np.ndarray:
    """How far each state moves along its velocity until that has changed by its own size: [m, k] -> [m].

    For a flow that decays this is no more than the way left in its fastest direction, so that tolerances
    relative to it are relative to the movement, however small. At most `most`, and what the first velocity
    covers until `end`; `most` where a state does not move.
    """
    start = velocity(states)
    speed = np.abs(start).max(axis=1)
    moving = (speed > 0) & np.isfinite(speed)
    bound = np.where(moving, np.minimum(most, end * speed), most)
    unit = start / np.where(moving, speed, 1.0)[:, None]
    lengths, left = bound.copy(), moving
    for _ in range(FINEST):
        moved = velocity(states + np.where(left, lengths, 0.0)[:, None] * unit)
        share = np.abs(moved - start).max(axis=1) / np.where(moving, speed, 1.0)
        fits = left & (share <= 0.5)
        lengths[fits] /= np.maximum(share[fits], 0.125)
        left = left & ~fits
        if not left.any():
            break
        lengths[left] /= 8.0
    return np.maximum(np.minimum(lengths, bound), np.finfo(float).tiny)
