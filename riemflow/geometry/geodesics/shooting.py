"""Geodesics between two points, by Newton's method for the velocity they start with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from riemflow.geometry.geodesics.linear import solve

Map = Callable[[np.ndarray, np.ndarray], np.ndarray]
Guesses = Callable[[np.ndarray, np.ndarray], list[np.ndarray]]
Metric = Callable[[np.ndarray], np.ndarray]

MAX_STEPS, MAX_HALVINGS = 40, 12
DIFFERENCE = 1e-6  # of the velocity's length: where errors of 1e-12 and the second derivative are even
SMALL = 1e-11  # of the geodesic's length, by which its end may miss: the integrator's own error
MOST = 1e-9  # by which it may at most
FIRST_WAY, SHORTEST_WAY = 0.25, 2e-3  # share of the way to the end that a row goes at once, if not all


def shoot_at(
    follow: Map,
    start: np.ndarray,
    end: np.ndarray,
    guesses: Guesses,
    metric: Metric,
) -> tuple[np.ndarray, np.ndarray]:
    """Return velocities v with ``follow(start, v) = end``, by a damped Newton method, and which were found.

    Where that fails, ends are first taken near the start, on the segment to the end, and moved outwards, each
    velocity the guess for the next.

    Parameters
    ----------
    follow : callable, shapes=[m, d] -> shape=[m, d]
        Where geodesics are at time 1, from starts and velocities; NaN if they leave the space before.
    start, end : array, shape=[n, d]
    guesses : callable, shapes=[m, d] -> list of shape=[m, d]
        Velocities from starts and ends, right to first order in their difference; the one that ends nearest
        is taken.
    metric : callable, shape=[n, d] -> shape=[n, d, d]

    Returns
    -------
    velocity : array, shape=[n, d]
    found : bool, shape=[n]
        Whether the end is missed by at most 1e-9 of the length.
    """
    velocity, missed = _newton(follow, start, end, guesses(start, end), metric)
    for k in np.flatnonzero(~(missed <= MOST)):
        row = slice(k, k + 1)
        further = _outwards(follow, start[row], end[row], guesses, metric)
        if further is not None:
            velocity[row], missed[row] = further
    return velocity, missed <= MOST


def _newton(follow, start, end, guesses, metric) -> tuple[np.ndarray, np.ndarray]:
    """Return velocities and by which shares of their length the ends are missed: shapes=[n, d], [n].

    Columns of the Jacobian are differences of end points, in steps that are unit in the metric. A Newton step
    is halved until the end point exists and comes nearer in the metric at the end.
    """
    d = start.shape[-1]
    at_start, at_end = metric(start), metric(end)
    unit = 1.0 / np.sqrt(np.diagonal(at_start, axis1=-2, axis2=-1))
    velocity, gap, missed = guesses[0].copy(), np.full(start.shape, np.nan), np.full(len(start), np.inf)
    for guess in guesses:
        # Another guess only for rows that the first leaves far away: trials cost as much as steps.
        far = np.flatnonzero(~(missed < 0.5 * _norm(at_start, velocity)))
        if len(far):
            _take_if_nearer(follow, start, end, at_end, velocity, gap, missed, far, guess[far])
    length = _norm(at_start, velocity)
    active = np.flatnonzero(missed > SMALL * length)
    for _ in range(MAX_STEPS):
        if len(active) == 0:
            break
        m, h = len(active), DIFFERENCE * length[active, None] * unit[active]
        beside = (velocity[active][:, None] + h[:, None] * np.eye(d)).reshape(-1, d)
        there = follow(np.repeat(start[active], d, axis=0), beside).reshape(m, d, d)
        rows = (there - (gap[active] + end[active])[:, None]) / h[..., None]
        step = -solve(np.swapaxes(rows, -1, -2), gap[active][..., None])[..., 0]
        moved = _search(follow, start, end, at_end, velocity, gap, missed, active, step)
        length = _norm(at_start, velocity)
        active = active[moved & (missed[active] > SMALL * length[active])]
    share = np.divide(missed, length, out=np.full_like(missed, np.inf), where=length > 0)
    return velocity, np.where(missed == 0, 0.0, share)


def _search(follow, start, end, at_end, velocity, gap, missed, active, step) -> np.ndarray:
    """Move the active rows along their steps; return which of them came nearer, bool, shape=[m]."""
    moved, share = np.zeros(len(active), bool), 1.0
    waiting = np.flatnonzero(np.isfinite(step).all(axis=-1))
    for _ in range(MAX_HALVINGS):
        if len(waiting) == 0:
            break
        rows = active[waiting]
        trial = velocity[rows] + share * step[waiting]
        nearer = _take_if_nearer(follow, start, end, at_end, velocity, gap, missed, rows, trial)
        moved[waiting[nearer]] = True
        waiting, share = waiting[~nearer], 0.5 * share
    return moved


def _take_if_nearer(follow, start, end, at_end, velocity, gap, missed, rows, trial) -> np.ndarray:
    """Replace velocities of rows by trials that end nearer; return which did, bool, shape=[m]."""
    trial_gap = follow(start[rows], trial) - end[rows]
    distance = _norm(at_end[rows], trial_gap)
    nearer = distance < missed[rows]
    good = rows[nearer]
    velocity[good], gap[good], missed[good] = trial[nearer], trial_gap[nearer], distance[nearer]
    return nearer


def _outwards(follow, start, end, guesses, metric) -> tuple[np.ndarray, np.ndarray] | None:
    """`_newton` of one row, with ends on the segment to its end in turn; None if it gets stuck."""
    share, way, velocity, missed = 0.0, FIRST_WAY, None, None
    while share < 1.0:
        trial = min(1.0, share + way)
        target = end if trial == 1.0 else start + trial * (end - start)
        begin = guesses(start, target) if velocity is None else [velocity * (trial / share)]
        found, off = _newton(follow, start, target, begin, metric)
        if off[0] <= MOST:
            share, way, velocity, missed = trial, 1.5 * way, found, off
        else:
            way *= 0.5
            if way < SHORTEST_WAY:
                return None
    return velocity, missed


def _norm(metric: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.sqrt(np.einsum("ni,nij,nj->n", v, metric, v))
