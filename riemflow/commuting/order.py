"""Theorem 4.2: the fields commute exactly if their flows can be taken in any order."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from riemflow.commuting.checks import Check, one_point, reachable_points
from riemflow.commuting.coordinate_flows import RTOL, follow
from riemflow.commuting.flow_ends import Units
from riemflow.commuting.lift import natural_scales
from riemflow.errors import DomainError
from riemflow.parametrizations.parametrization import Parametrization
from riemflow.validation import as_count, as_number, require_kind, short

SHORTEST, LONGEST = 0.2, 0.8  # of the natural times of the fields
COARSE = 100.0  # times the tolerance in a second run, which tells the integrator's error
CLEAR = 30.0  # times that error: a gap below it may be nothing else


def check_order_independence(
    G: Parametrization, x: Any, tol: float = 1e-8, *, n_points: int = 8, n_times: int = 4, seed: int = 0
) -> Check:
    """Check ``φ_i^s ∘ φ_j^t = φ_j^t ∘ φ_i^s`` (Theorem 4.2) at points reachable from x.

    Defect: the largest distance between the two ends, divided by the size of the parallelogram,
    ``‖φ_i^s(x) - x‖ + ‖φ_j^t(x) - x‖``. Times are of the size in which the fields change, so that
    neither the units of x nor those of G matter. For small times the gap is ``s t ‖[∇G_i, ∇G_j]‖``.

    Parameters
    ----------
    x : array, shape=[D]
        The start. The other points are reached from it by random short flows along ±∇G_i.
    tol : float
        The largest defect that passes.
    n_points : int
        Points looked at, the start included.
    n_times : int
        Pairs of times (s, t), of either sign, for each point and each pair of fields.
    seed : int

    Returns
    -------
    check : Check
        With details "pair", "times" (s, t), "gap_w" (the largest distance of the two ends in w = G(x),
        divided likewise: it vanishes for a projectable G, whose x differ), "integration_error" (of the
        defect, by a run with 100 times the tolerance), "n_compared" and "n_left" (samples in which a
        flow ended).

    Raises
    ------
    DomainError
        If x is not in the domain of G, or no sampled parallelogram could be gone round.
    ShapeError
        If x is not one point of R^D.
    """
    require_kind("G", G, Parametrization)
    tol = as_number("tol", tol, above=0.0)
    n_points, n_times = as_count("n_points", n_points), as_count("n_times", n_times)
    x = one_point(G, x, "x")
    points = reachable_points(G, x, natural_scales(G, x), n_points, seed)
    if G.dim == 1:
        message = f"{G.name} has one field, whose flow commutes with itself"
        return Check(True, 0.0, tol, x.copy(), len(points), message, {"n_compared": 0})
    base, pair, times = _samples(G, points, n_times, seed)
    fine = _both_orders(G, base, pair, times, RTOL)
    coarse = _both_orders(G, base, pair, times, RTOL * COARSE)
    there = fine.closed & coarse.closed
    if not there.any():
        raise DomainError(
            f"no two flows of {G.name} could be followed in both orders near x = {short(x)}: they leave "
            "the domain of G at once; start farther inside it."
        )
    gap, in_all = np.where(there, fine.gap, -np.inf), int(there.sum())
    error = np.linalg.norm(fine.ends - coarse.ends, axis=-1).max(axis=0) / fine.size
    row, worst_error = int(np.argmax(gap)), float(error[there].max())
    (i, j), (s, t) = (int(v) for v in pair[row]), (float(v) for v in times[row])
    defect, passed = float(gap[row]), bool(gap[row] <= tol)
    details = {
        "pair": (i, j), "times": (s, t), "gap_w": float(fine.gap_w[there].max()),
        "integration_error": worst_error, "n_compared": in_all, "n_left": int((~there).sum()),
    }  # fmt: skip
    where = f"(bound {tol:.0e}) for s = {s:.4g}, t = {t:.4g} from x = {short(base[row])}"
    if passed:
        what = f"the flows of {G.name} end together in both orders, at {len(points)} points: gap {defect:.3g}"
    elif defect <= CLEAR * error[row]:
        what = (
            f"undecided whether the flows of {G.name} commute: the integrator's error is as large as the gap "
        )
        what += f"{defect:.3g}"
    else:
        what = f"the flows of ∇G_{i + 1} and ∇G_{j + 1} of {G.name} end apart in the two orders: "
        what += f"gap {defect:.3g}"
    message = f"{what} {where}, the worst of {in_all} samples; integration error {worst_error:.1e}"
    return Check(passed, defect, tol, base[row].copy(), len(points), message, details)


def _samples(
    G: Parametrization, points: np.ndarray, n_times: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points [n, D], pairs i < j [n, 2] and times (s, t) [n, 2]."""
    rng = np.random.default_rng(seed)
    pairs = np.array(list(combinations(range(G.dim), 2)), int)
    base = np.repeat(points, len(pairs) * n_times, axis=0)
    pair = np.tile(np.repeat(pairs, n_times, axis=0), (len(points), 1))
    natural = np.column_stack([Units.at(G, base, pair[:, k]).t for k in (0, 1)])
    share = rng.uniform(SHORTEST, LONGEST, natural.shape) * rng.choice([-1.0, 1.0], natural.shape)
    return base, pair, share * natural


@dataclass(frozen=True)
class _Figures:
    """Parallelograms gone round both ways.

    Attributes
    ----------
    ends : array, shape=[2, n, D]
    gap, gap_w : array, shape=[n]
        Distances of the two ends in x and in w, relative to the size of the figure there.
    size : array, shape=[n]
        ‖φ_i^s(x) - x‖ + ‖φ_j^t(x) - x‖.
    closed : bool, shape=[n]
        Whether both orders could be followed.
    """

    ends: np.ndarray
    gap: np.ndarray
    gap_w: np.ndarray
    size: np.ndarray
    closed: np.ndarray


def _both_orders(
    G: Parametrization, x: np.ndarray, pair: np.ndarray, times: np.ndarray, rtol: float
) -> _Figures:
    """Follow i for s and then j for t, and the other way round, from every x [n, D]."""
    n = len(x)
    which, legs = pair.T.reshape(-1), times.T.reshape(-1)
    one = follow(G, np.concatenate([x, x]), which, legs, rtol=rtol)
    on = one.reached == 1.0
    # A flow that ended is not followed further.
    two = follow(G, one.x, np.roll(which, n), np.where(on, np.roll(legs, n), 0.0), rtol=rtol)
    closed = (on & (two.reached == 1.0)).reshape(2, n).all(axis=0)
    ends, corners = two.x.reshape(2, n, -1), one.x.reshape(2, n, -1)
    gap, size = _relative(ends, corners, x)
    gap_w, _ = _relative(G._fun(ends), G._fun(corners), G._fun(x))
    return _Figures(ends, gap, gap_w, size, closed)


def _relative(ends: np.ndarray, corners: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    size = np.linalg.norm(corners - start, axis=-1).sum(axis=0)
    size = np.where(size > 0, size, 1.0)
    return np.linalg.norm(ends[0] - ends[1], axis=-1) / size, size
