"""States of horizontal lifts or of joint flows kept so that a point nearby is reached by a short way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MOST = 64  # states kept; the oldest makes room
DEEPEST = 8  # lifts between the start and a state
NEAR = 0.1  # of the squared distance from the start: less than this, and the detour pays


@dataclass(frozen=True)
class State:
    """A point w with parameters x over it, μ, R(w) or Q(μ), H = ∂G ∂Gᵀ, and how many ways from the start."""

    w: np.ndarray
    x: np.ndarray
    mu: np.ndarray
    value: float
    H: np.ndarray
    depth: int = 0


class Anchors:
    """The start of all ways and a few states reached from it, or from one another.

    At most `DEEPEST` ways lie between a state kept and the start, so that errors do not build up from
    state to state: a value depends on what was asked before by no more than so many tolerances.

    Parameters
    ----------
    start : State
    unit : float
        The natural length of x at the start.
    dual : bool
        Whether points are given by μ, and their distances by H, or by w and H⁻¹.
    """

    def __init__(self, start: State, unit: float, *, dual: bool = False):
        self.start, self.unit, self.dual = start, unit, dual
        self._kept: tuple[State, ...] = ()

    def add(self, state: State) -> None:
        """Keep a state, unless too many lifts lie between it and the start."""
        if state.depth > DEEPEST:
            return
        self._kept = (*self._kept[-(MOST - 1) :], state)

    def nearest(self, points: np.ndarray) -> tuple[np.ndarray, list[State]]:
        """Return for each row of w or μ [n, d] the state to go from, as an index; 0 is the start."""
        states = [self.start, *self._kept]
        which = np.zeros(len(points), int)
        if len(states) == 1:
            return which, states
        where = np.array([s.mu if self.dual else s.w for s in states])
        H = np.array([s.H for s in self._kept])
        reach = self.unit + np.linalg.norm([s.x for s in self._kept], axis=-1)
        for k in np.flatnonzero(np.isfinite(points).all(axis=-1)):
            # Both distances in the metric at the kept state, which is the one that counts nearby.
            both = np.stack(np.broadcast_arrays(points[k] - where[1:], points[k] - where[0]), axis=-1)
            with np.errstate(all="ignore"):
                near, far = (both * (H @ both if self.dual else np.linalg.solve(H, both))).sum(axis=-2).T
                ratio = near / far
            # Next to the boundary the metric makes all distances long: a way out of there is no short one.
            ratio = np.where((far > 0) & (near <= reach**2), ratio, np.inf)
            best = int(np.argmin(ratio))
            if ratio[best] < NEAR:
                which[k] = best + 1
        return which, states
