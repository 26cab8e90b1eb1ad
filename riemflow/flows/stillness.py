"""When an integration to t = ∞ has arrived."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

import numpy as np

Map = Callable[[np.ndarray], np.ndarray]

EPS = np.finfo(float).eps
WAIT = 1.2  # a prediction that was refused is made anew after so many times the time


class Stillness:
    """An event for `solve_ode`: True while the flow still moves, False once it has come to rest.

    At rest means both of

    - over the last half of the time since `begin` the point moved by less than a tenth of rtol;
    - the flow linearised there (`Linearised.forecast`) moves by at most as much from there on: a slow start,
      a plateau, a saddle and a direction of tiny curvature are no rest.

    In many dimensions the second is too costly. There the first has to hold over the last nine tenths of the
    time, and the speed is at most rtol times the highest so far, or what rounding makes of it.

    Both are relative to the largest coordinate of the point, or to `scale` if larger.

    Parameters
    ----------
    velocity : callable, shape=[m] -> shape=[m]
        The right side that holds from `begin` on.
    position : callable, shape=[m] -> shape=[k]
        The point at rest: the state, or the weights that belong to it.
    forecast : callable, shape=[m] -> (number, number), or None
        How far the point is still going to move, and the rate at which it departs, 0 if it does not.
    begin, rtol, scale : float
    """

    def __init__(
        self,
        velocity: Map,
        position: Map,
        forecast: Callable[[np.ndarray], tuple[float, float]] | None,
        begin: float,
        rtol: float,
        scale: float,
    ):
        self.velocity, self.position, self.forecast = velocity, position, forecast
        self.begin, self.rtol, self.scale = begin, rtol, scale
        self.times: list[float] = []
        self.points: list[np.ndarray] = []
        self.peak, self.asked, self.arrived = 0.0, 0.0, np.inf
        self.left: float | None = None  # what was last predicted to remain
        self.longest_step = np.inf  # an implicit method damps what grows by more than e within a step

    def __call__(self, t: float, state: np.ndarray) -> bool:
        elapsed = t - self.begin
        if elapsed < 0 or t < self.arrived < np.inf:
            return True
        if t >= self.arrived:
            return False
        point = np.array(self.position(state))
        speed = float(np.abs(self.velocity(state)).max())
        if not self.times or t > self.times[-1]:
            self.times.append(t)
            self.points.append(point)
            self.peak = max(self.peak, speed)
        bound = 0.1 * self.rtol * max(self.scale, float(np.abs(point).max()))
        since = self.begin + elapsed * (0.1 if self.forecast is None else 0.5)
        before = bisect_right(self.times, since) - 1
        if elapsed == 0 or before < 0 or not np.abs(point - self.points[before]).max() <= bound:
            self.longest_step = np.inf
            return True
        if self.forecast is None:
            rest = speed <= self.rtol * self.peak or self._is_rounding(state)
        elif elapsed < WAIT * self.asked:
            return True
        else:
            self.asked, (self.left, growth) = elapsed, self.forecast(state)
            self.longest_step = 0.3 / growth if growth > 0 else np.inf
            rest = self.left <= bound
        if rest:
            self.arrived = t
        return not rest

    def _is_rounding(self, state: np.ndarray) -> bool:
        velocity = self.velocity(state)
        nudge = 16 * EPS * np.maximum(np.abs(state), np.abs(state).max())
        return bool(np.abs(velocity).max() <= np.abs(self.velocity(state + nudge) - velocity).max())
