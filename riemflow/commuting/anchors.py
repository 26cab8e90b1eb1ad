"""States of horizontal lifts or of joint flows kept so that a point nearby is reached by a short way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from riemflow.commuting.lift import Lift
from riemflow.parametrizations.parametrization import Parametrization

MOST = 64  # states kept; the oldest makes room
DEEPEST = 8  # lifts between the start and a state
NEAR = 0.1  # of the squared distance from the start: less than this, and the detour pays


# From parameters, weights and dual points to rows of weights or of dual points: shapes [n, D], [n, d].
Way = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], Lift]
FEW = 4  # rows that are reached from states kept; more are reached from the start, all at once


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
    G : Parametrization
    start : State
    unit : float
        The natural length of x at the start.
    dual : bool
        Whether points are given by μ, and their distances by H, or by w and H⁻¹.
    """

    def __init__(self, G: Parametrization, start: State, unit: float, *, dual: bool = False):
        self.G, self.start, self.unit, self.dual = G, start, unit, dual
        self._kept: tuple[State, ...] = ()

    def reach(self, rows: np.ndarray, way: Way, *, from_start: bool) -> Lift:
        """Go to rows of w or μ, shape=[n, d]: a few by a short way from states kept, unless `from_start`.

        A flow asks for one point after another.
        """
        if from_start or len(rows) > FEW:
            return self._go([self.start] * len(rows), rows, way)
        which, states = self._nearest(rows)
        lift = self._go([states[k] for k in which], rows, way)
        again = (lift.reached < 1.0) & (which > 0)
        if again.any():
            which = np.where(again, 0, which)
            lift = self._go([states[k] for k in which], rows, way)
        for k in np.flatnonzero(lift.reached == 1.0):
            depth = states[which[k]].depth + 1
            if depth <= DEEPEST:
                x, J = lift.x[k], self.G._tangential_jacobian(lift.x[k])
                w = np.asarray(self.G._fun(x)) if self.dual else rows[k]
                state = State(w, x, lift.mu[k], lift.value[k], J @ J.T, depth)
                self._kept = (*self._kept[-(MOST - 1) :], state)
        return lift

    def _go(self, states: list[State], rows: np.ndarray, way: Way) -> Lift:
        """Go to each row from its state; those that are not finite are not reached."""
        n = len(rows)
        x, mu = np.full((n, self.G.dim_in), np.nan), np.full(rows.shape, np.nan)
        value, reached = np.full(n, np.nan), np.zeros(n)
        good = np.flatnonzero(np.isfinite(rows).all(axis=-1))
        some = [states[k] for k in good]
        d, D = rows.shape[1], self.G.dim_in
        from_x = np.array([state.x for state in some]).reshape(-1, D)
        from_w = np.array([state.w for state in some]).reshape(-1, d)
        from_mu = np.array([state.mu for state in some]).reshape(-1, d)
        lift = way(from_x, from_w, from_mu, rows[good])
        x[good], mu[good], reached[good] = lift.x, lift.mu, lift.reached
        value[good] = lift.value + np.array([state.value for state in some])
        return Lift(x, mu, value, reached)

    def _nearest(self, points: np.ndarray) -> tuple[np.ndarray, list[State]]:
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
