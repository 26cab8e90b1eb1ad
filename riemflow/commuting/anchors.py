"""States of a horizontal lift kept so that a later point nearby is reached by a short way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MOST = 64  # states kept; the oldest makes room
DEEPEST = 8  # lifts between the start and a state
NEAR = 0.1  # of the squared distance from w_init: less than this, and the detour pays


@dataclass(frozen=True)
class State:
    """A point w with parameters x over it, μ, R(w), H = ∂G ∂Gᵀ, and how many lifts it is from the start."""

    w: np.ndarray
    x: np.ndarray
    mu: np.ndarray
    value: float
    H: np.ndarray
    depth: int = 0


class Anchors:
    """The start of all lifts and a few states lifted from it, or from one another.

    At most `DEEPEST` lifts lie between a state kept and the start, so that errors do not build up from
    state to state: a value depends on what was asked before by no more than so many tolerances.
    """

    def __init__(self, start: State):
        self.start = start
        self._kept: tuple[State, ...] = ()

    def add(self, state: State) -> None:
        """Keep a state, unless too many lifts lie between it and the start."""
        if state.depth > DEEPEST:
            return
        self._kept = (*self._kept[-(MOST - 1) :], state)

    def nearest(self, w: np.ndarray) -> tuple[np.ndarray, list[State]]:
        """Return for each row of w [n, d] the state to lift from, as an index; 0 is the start."""
        states = [self.start, *self._kept]
        which = np.zeros(len(w), int)
        if len(states) == 1:
            return which, states
        H, kept = np.array([s.H for s in self._kept]), np.array([s.w for s in self._kept])
        for k in np.flatnonzero(np.isfinite(w).all(axis=-1)):
            # Both distances in the metric at the kept state, which is the one that counts nearby.
            both = np.stack([w[k] - kept, w[k] - np.broadcast_to(self.start.w, kept.shape)], axis=-1)
            near, far = (both * np.linalg.solve(H, both)).sum(axis=-2).T
            ratio = near / np.where(far > 0, far, np.inf)
            ratio = np.where(far > 0, ratio, np.inf)
            best = int(np.argmin(ratio))
            if ratio[best] < NEAR:
                which[k] = best + 1
        return which, states
