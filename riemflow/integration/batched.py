"""Many initial value problems at once, each row with a step of its own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.integrate import DOP853

# The eighth-order pair of Dormand and Prince: stages, weights and the two error estimators.
_N = DOP853.n_stages
_A, _B, _C = DOP853.A[:_N, :_N], DOP853.B, DOP853.C[:_N]
_E3, _E5 = DOP853.E3[:-1], DOP853.E5[:-1]

SMALLEST_STEP = 1e-13  # of the whole interval: below it a row has hit a singularity
MAX_STEPS = 100_000


def solve_batched(
    rhs: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    y0: np.ndarray,
    t_end: float = 1.0,
    *,
    rtol: float = 1e-10,
    atol: float | np.ndarray = 1e-12,
    first_step: float | np.ndarray = 0.05,
    project: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray] | None = None,
    most_rounds: int = MAX_STEPS,
    smallest_step: float = SMALLEST_STEP,
) -> tuple[np.ndarray, np.ndarray, dict]:
    """Integrate y' = f(s, y) from 0 to t_end for every row of y0, by adaptive DOP853.

    Parameters
    ----------
    rhs : callable
        (s, shape=[k]; y, shape=[k, m]; rows, int, shape=[k]) -> shape=[k, m]. `rows` says which
        rows of y0 these are. A non-finite result makes that row's step smaller.
    y0 : array, shape=[n, m]
    atol : float, or array of shape [n]
        Of all components, or of those of each row.
    first_step : float, or array of shape [n]
        Share of the interval that the first step tries.
    project : callable, optional
        The same arguments -> y, shape=[k, m]: a correction after each accepted step.
    most_rounds : int
        Steps, tried and accepted, after which a row is given up.
    smallest_step : float
        Share of the interval below which a row's step underflows. Larger, it ends rows that run into an
        edge or a blow-up long before they are there.

    Returns
    -------
    y : array, shape=[n, m]
        The last state of each row.
    reached : array, shape=[n]
        The share of [0, t_end] covered: 1, or less where the step underflowed or the row was given up.
    stats : dict
        n_rounds of steps and n_rhs, evaluated rows; of each row, shape=[n], n_tried, its steps, and
        next_step, the share that it would try next.
    """
    y = np.array(y0, dtype=np.float64)
    n = len(y)
    s, h = np.zeros(n), np.broadcast_to(np.asarray(first_step, dtype=float), (n,)).copy()
    atol, active = np.broadcast_to(np.asarray(atol, dtype=float), (n,)), np.arange(n)
    alive, n_tried = np.ones(n, bool), np.zeros(n, int)
    stats = {"n_rounds": 0, "n_rhs": 0}

    def f(share: np.ndarray, state: np.ndarray, rows: np.ndarray) -> np.ndarray:
        stats["n_rhs"] += len(rows)
        return t_end * rhs(t_end * share, state, rows)

    with np.errstate(all="ignore"):
        while len(active) and stats["n_rounds"] < most_rounds:
            stats["n_rounds"] += 1
            rows, state = active, y[active]
            n_tried[rows] += 1
            step = np.minimum(h[rows], 1.0 - s[rows])
            stages = np.empty((_N, *state.shape))
            for k in range(_N):
                increment = _combined(_A[k, :k], stages[:k]) if k else 0.0
                stages[k] = f(s[rows] + _C[k] * step, state + step[:, None] * increment, rows)
            new = state + step[:, None] * _combined(_B, stages)
            scale = atol[rows, None] + rtol * np.maximum(np.abs(state), np.abs(new))
            error = _error(stages, step, scale)
            accepted = np.isfinite(error) & (error <= 1.0) & np.isfinite(new).all(axis=-1)
            if project is not None and accepted.any():
                who = rows[accepted]
                new[accepted] = project(t_end * (s[who] + step[accepted]), new[accepted], who)
                accepted &= np.isfinite(new).all(axis=-1)
            y[rows[accepted]] = new[accepted]
            last = step >= 1.0 - s[rows]
            s[rows] = np.where(accepted, np.where(last, 1.0, s[rows] + step), s[rows])
            factor = 0.9 * np.maximum(error, 1e-10) ** (-1 / 8)
            factor = np.clip(np.where(np.isfinite(error), factor, 0.2), 0.2, np.where(accepted, 5.0, 0.9))
            h[rows] = step * factor
            alive[rows] = h[rows] > smallest_step
            active = rows[(s[rows] < 1.0) & alive[rows]]
    return y, s, {**stats, "n_tried": n_tried, "next_step": h}


def _combined(weights: np.ndarray, stages: np.ndarray) -> np.ndarray:
    """Σ_k weights_k stages_k: for few rows `tensordot` spends its time on preparations."""
    return (weights @ stages.reshape(len(weights), -1)).reshape(stages.shape[1:])


def _error(stages: np.ndarray, step: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return DOP853's error norm of each row, as Hairer, Nørsett and Wanner combine the two estimators."""
    fifth, third = _combined(_E5, stages) / scale, _combined(_E3, stages) / scale
    fifth, third = (fifth**2).sum(axis=-1), (third**2).sum(axis=-1)
    denominator = np.sqrt((fifth + 0.01 * third) * scale.shape[-1])
    return np.where(
        denominator > 0, step * fifth / np.where(denominator > 0, denominator, 1.0), 0.0
    ) + np.where(np.isfinite(denominator), 0.0, np.nan)
