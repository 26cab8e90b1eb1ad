"""Geodesics by integration: DOP853 for those with a velocity, least energy for those between two points."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import partial

import numpy as np

from riemflow.geometry.geodesics.energy import joined
from riemflow.geometry.geodesics.models import Geodesics
from riemflow.geometry.geodesics.shooting import Guesses, shoot_at
from riemflow.geometry.geodesics.spreads import spread
from riemflow.integration import solve_batched
from riemflow.legendre.function import LegendreFunction

RTOL, ATOL = 1e-12, 1e-14
SHORTEST, MOST = 1e-5, 500  # a step of the geodesics that shooting tries, and of how many it gives up
FIRST_STEP = 0.15  # share of the time: right for vectors as long as the curvature's radius
Raw = Callable[..., np.ndarray]


class Integrated(Geodesics):
    """Geodesics w'' = -Γ(w', w') and vectors u' = -Γ(w', u) along them, both symmetric bilinear forms at w.

    Parameters
    ----------
    metric : callable, shape=[n, d] -> shape=[n, d, d]
    belongs : callable, shape=[n, d] -> bool, shape=[n]
    spread : callable
        (w, v, u) -> -Γ_w(v, u), shapes=[n, d] -> shape=[n, d].
    R : LegendreFunction, optional
        Whose Hessian the metric is; without, `log` is by shooting.
    """

    is_closed_form = False
    most_rounds = 1_000  # steps: some hundred lengths of curvature, where float64 ends anyway
    smallest_step = 1e-9  # of the time, below which the boundary, or infinity, has been reached

    def __init__(self, metric: Raw, belongs: Raw, spread: Raw, R: LegendreFunction | None = None):
        self.metric, self.belongs, self.spread, self.R = metric, belongs, spread, R

    @classmethod
    def of(cls, R: LegendreFunction) -> Integrated:
        """Return those of ∇²R, for which Γ = ½ g⁻¹ ∇³R."""
        return cls(R._hessian, R._belongs, partial(spread, R), R)

    def exp(self, v, w):
        return self._run(w, v, v[:, :0])[:2]

    def transport(self, u, v, w):
        _, reached, moved = self._run(w, v, u)
        return moved, reached

    def log(self, q, w):
        if self.R is None:
            return self.shot(q, w, lambda start, end: [end - start])
        return joined(self.R, q, w)

    def shot(self, q: np.ndarray, w: np.ndarray, guesses: Guesses) -> tuple[np.ndarray, np.ndarray]:
        """`log` by shooting, where no energy's minimum is known to be the geodesic, or is had."""
        trial = copy(self)
        trial.smallest_step, trial.most_rounds = SHORTEST, MOST

        def follow(start, velocity):
            end, reached = trial.exp(velocity, start)
            return np.where(reached[:, None] == 1.0, end, np.nan)

        return shoot_at(follow, w, q, guesses, self.metric)

    def _run(self, w: np.ndarray, v: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return w, the share of the time and u at the end of rows w, v, u; u may have no columns."""
        d = w.shape[1]
        # In units of the metric's own lengths, and vectors in units of their size, tolerances mean the same
        # everywhere: near a boundary, for short vectors, in whatever units w is given.
        units = 1.0 / np.sqrt(np.diagonal(self.metric(w), axis1=-2, axis2=-1))
        scales = [units, units * _size(v / units)]
        if u.shape[1]:
            scales.append(units * _size(u / units))
        scale = np.concatenate(scales, axis=-1)

        def rhs(t, y, rows):
            factor = scale if len(rows) == len(scale) else scale[rows]
            state = y * factor
            inside = np.asarray(self.belongs(state[:, :d]))
            if inside.all():
                return slopes(state) / factor
            out = np.full(y.shape, np.nan)
            out[inside] = slopes(state[inside]) / factor[inside]
            return out

        def slopes(state):
            position, speed, carried = state[:, :d], state[:, d : 2 * d], state[:, 2 * d :]
            parts = [speed, self.spread(position, speed, speed)]
            if carried.shape[1]:
                parts.append(self.spread(position, speed, carried))
            return np.concatenate(parts, axis=-1)

        y0 = np.concatenate([w, v, u], axis=-1) / scale
        limits = {"most_rounds": self.most_rounds, "smallest_step": self.smallest_step}
        y, reached, _ = solve_batched(rhs, y0, 1.0, rtol=RTOL, atol=ATOL, first_step=FIRST_STEP, **limits)
        y = y * scale
        return y[:, :d], reached, y[:, 2 * d :]


def _size(vector: np.ndarray) -> np.ndarray:
    size = np.abs(vector).max(axis=-1, keepdims=True)
    return np.where(size > 0, size, 1.0)
