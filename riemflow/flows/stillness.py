"""When an integration to t = ∞ has arrived."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

import numpy as np

EPS = np.finfo(float).eps


class Stillness:
    """An event for `solve_ode`: True while the state still moves, False once it has come to rest.

    At rest means both of

    - over the last nine tenths of the time since `begin` the state moved by less than `bound`, so a
      convergence like e^{-ct} or t^{-a} is over, while one like ln t never is;
    - the speed is at most `share` of the highest so far, so a start that is merely slow is none. A start
      that is stationary to rounding has no speed to lose: there the speed is compared with what
      rounding of the state makes of it.

    Parameters
    ----------
    velocity : callable, shape=[m] -> shape=[m]
        The right side that holds from `begin` on.
    begin : float
    bound : float
    share : float
    scale : float
        The typical size of the state.
    """

    def __init__(
        self,
        velocity: Callable[[np.ndarray], np.ndarray],
        begin: float,
        bound: float,
        share: float,
        scale: float,
    ):
        self.velocity, self.begin, self.bound, self.share, self.scale = velocity, begin, bound, share, scale
        self.times: list[float] = []
        self.states: list[np.ndarray] = []
        self.peak = 0.0

    def __call__(self, t: float, state: np.ndarray) -> bool:
        elapsed = t - self.begin
        if elapsed < 0:
            return True
        velocity = self.velocity(state)
        speed = float(np.abs(velocity).max())
        if not self.times or t > self.times[-1]:
            self.times.append(t)
            self.states.append(np.array(state))
            self.peak = max(self.peak, speed)
        before = bisect_right(self.times, self.begin + elapsed / 10) - 1
        if elapsed == 0 or before < 0 or np.abs(state - self.states[before]).max() > self.bound:
            return True
        if speed <= self.share * self.peak:
            return False
        nudge = 16 * EPS * np.maximum(np.abs(state), self.scale)
        return not speed <= np.abs(self.velocity(state + nudge) - velocity).max()
