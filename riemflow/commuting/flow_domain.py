"""U(x), the times for which the flows of the ∇G_i exist, and the check of Assumption 3.5."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from riemflow.commuting.checks import Check, one_point, reachable_points
from riemflow.commuting.coordinate_flows import follow
from riemflow.commuting.flow_ends import BLOW_UP, COMPLETE, LEFT_DOMAIN, UNDECIDED, Ends, Units, flow_ends
from riemflow.commuting.lift import natural_scales
from riemflow.parametrizations.parametrization import Parametrization
from riemflow.validation import as_count, as_points, require_kind, short

INSIDE, BEYOND = (0.2, 0.95), (1.05, 2.0)  # of a finite end: times clearly short of it, clearly past it
LONG = 4.0  # of the natural time: sampled where there is no end
CLEARLY = 1e-6  # of a time missing: less, and a flow may have stopped for rounding errors


@dataclass(frozen=True)
class FlowDomain:
    """The intervals of time on which the flows φ_i^t(x) of one point exist.

    Under Assumption 3.5 their product is U(x), the set of μ for which ψ(x; μ) is defined (Lemma C.1).

    Attributes
    ----------
    x : array, shape=[D]
    lower, upper : array, shape=[d]
        Ends of the intervals, infinite where the flow is complete. Where it is undecided, the time to
        which the flow was followed: it exists at least so long.
    lower_reason, upper_reason : tuple of str
        "complete as far as followed", "blow-up" (‖x‖ → ∞), "left-domain" (the flow comes to the edge of
        the domain of G at a finite x, which Assumption 3.5 excludes) or "undecided".
    lower_accuracy, upper_accuracy : array, shape=[d]
        Of a finite end: how far a run with 100 times the tolerance put it from there.
    lower_followed, upper_followed : array, shape=[d]
        The times to which the flows were followed.
    lower_x, upper_x : array, shape=[d, D]
        The last points.
    """

    x: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    lower_reason: tuple[str, ...]
    upper_reason: tuple[str, ...]
    lower_accuracy: np.ndarray
    upper_accuracy: np.ndarray
    lower_followed: np.ndarray
    upper_followed: np.ndarray
    lower_x: np.ndarray = field(repr=False)
    upper_x: np.ndarray = field(repr=False)

    @property
    def is_complete(self) -> bool | None:
        """Whether all flows exist for all times; None if that is undecided."""
        reasons = {*self.lower_reason, *self.upper_reason}
        if reasons & {BLOW_UP, LEFT_DOMAIN}:
            return False
        return None if UNDECIDED in reasons else True

    def belongs(self, mu: Any) -> np.ndarray:
        """Whether μ lies in the product of the intervals: shape=[..., d] -> bool, shape=[...].

        False within the accuracy of an end, and beyond an end that is undecided.
        """
        mu = as_points("mu", mu, len(self.lower))
        above = mu > self.lower + self.lower_accuracy
        return (above & (mu < self.upper - self.upper_accuracy)).all(axis=-1)

    def __repr__(self) -> str:
        sides = zip(self.lower, self.upper, self.lower_reason, self.upper_reason, strict=True)
        parts = [
            f"({low:.12g}{_note(why)}, {high:.12g}{_note(why_not)})" for low, high, why, why_not in sides
        ]
        return f"FlowDomain(x = {short(self.x)}: {' × '.join(parts)})"


def _note(reason: str) -> str:
    return "" if reason == COMPLETE else f" {reason}"


def flow_domain(G: Parametrization, x: Any) -> FlowDomain:
    """The intervals I_i(x) on which ``x' = ∇G_i(x)`` has a solution, equations (5) and (6).

    Each flow is followed in both directions, in a rescaled time, until

    - t no longer changes while ‖x‖ grows: "blow-up", located to about 1e-12;
    - it meets the edge of the domain of G at a finite x: "left-domain";
    - ‖x‖ has grown by 1e40 at a rate ‖x'‖/‖x‖ that does not increase, or t by 1e30, or x has come to rest, to
      1e-11 of ‖x‖: "complete as far as followed";
    - or none of these within the budget, as for stiff flows or a growth like x (log x)²: "undecided".

    Parameters
    ----------
    x : array, shape=[D]

    Raises
    ------
    DomainError
        If x is not in the domain of G.
    ShapeError
        If x is not one point of R^D.
    """
    require_kind("G", G, Parametrization)
    x = one_point(G, x, "x")
    ends = _all_ends(G, x[None])
    low, high = slice(0, G.dim), slice(G.dim, 2 * G.dim)
    return FlowDomain(
        x.copy(),
        -ends.time[low],
        ends.time[high],
        tuple(map(str, ends.reason[low])),
        tuple(map(str, ends.reason[high])),
        ends.accuracy[low],
        ends.accuracy[high],
        -ends.followed[low],
        ends.followed[high],
        ends.x[low],
        ends.x[high],
    )


def _all_ends(G: Parametrization, points: np.ndarray) -> Ends:
    """The ends of all flows from points [n, D], in the order (point, direction, i)."""
    n, d = len(points), G.dim
    x = np.repeat(points, 2 * d, axis=0)
    which = np.tile(np.arange(d), 2 * n)
    sign = np.tile(np.repeat([-1.0, 1.0], d), n)
    return flow_ends(G, x, which, sign)


def check_flow_domain(
    G: Parametrization, x: Any, *, n_points: int = 6, n_times: int = 12, seed: int = 0
) -> Check:
    """Check Assumption 3.5 at points reachable from x.

    First half: a flow φ_i^t ends only by ‖x‖ → ∞. Second half: φ_i^s ∘ φ_j^t is defined exactly if
    φ_j^t ∘ φ_i^s is, tried at times on both sides of the ends. The defect is the share of samples that break
    it, and must be 0. A check with undecided samples does not pass; if none breaks the assumption, its
    defect is NaN.

    Parameters
    ----------
    x : array, shape=[D]
        The start. The other points are reached from it by random short flows along ±∇G_i.
    n_points : int
        Points looked at, the start included.
    n_times : int
        Pairs of times (s, t) tried for each point and each pair of fields.
    seed : int

    Returns
    -------
    check : Check
        With details "ends" (a count for each reason), "n_pairs" (how many were tried), "undecided" (how many
        samples) and "violations": dictionaries with "point" and either "i", "t", "end" of a flow that
        left the domain, or "pair" (i, j), "s", "t" for which φ_i^s ∘ φ_j^t is defined and the other order
        is not, with "reached", the share covered of the leg on which that one ended.

    Raises
    ------
    DomainError
        If x is not in the domain of G.
    ShapeError
        If x is not one point of R^D.
    """
    require_kind("G", G, Parametrization)
    n_points, n_times = as_count("n_points", n_points), as_count("n_times", n_times)
    x = one_point(G, x, "x")
    points = reachable_points(G, x, natural_scales(G, x), n_points, seed)
    ends = _all_ends(G, points)
    broken = _edges_at_finite_x(G, points, ends)
    pairs = _asymmetries(G, points, ends, n_times, np.random.default_rng(seed))
    counts = {reason: int((ends.reason == reason).sum()) for reason in (COMPLETE, BLOW_UP, LEFT_DOMAIN)}
    undecided = int((ends.reason == UNDECIDED).sum()) + pairs.undecided
    violations = broken + pairs.violations
    details = {"ends": counts, "n_pairs": pairs.tried, "violations": violations, "undecided": undecided}
    total = len(ends.time) + pairs.tried
    where = f"at {len(points)} points"
    if violations:
        # An asymmetric pair shows both halves at once, and is the more telling.
        worst = (pairs.violations or broken)[0]
        message = f"Assumption 3.5 fails for {G.name}: {_describe(worst)} ({len(violations)} such, {where})"
        return Check(
            False, len(violations) / total, 0.0, worst["point"].copy(), len(points), message, details
        )
    what = (
        f"{counts[BLOW_UP]} ends of flows are blow-ups, {counts[COMPLETE]} flows were complete as far as "
        f"followed, and {pairs.tried} pairs of flows were defined in both orders or in none"
    )
    if undecided:
        message = f"Assumption 3.5 is undecided for {G.name} {where}: {undecided} samples are; else {what}"
        return Check(False, np.nan, 0.0, x.copy(), len(points), message, details)
    message = f"Assumption 3.5 holds for {G.name} {where}: {what}"
    return Check(True, 0.0, 0.0, x.copy(), len(points), message, details)


def _describe(violation: dict[str, Any]) -> str:
    at = f"from x = {short(violation['point'])}"
    if "pair" not in violation:
        return (
            f"the flow of ∇G_{violation['i'] + 1} {at} leaves the domain at t = {violation['t']:.10g}, "
            f"at the finite x = {short(violation['end'])}"
        )
    i, j = (k + 1 for k in violation["pair"])
    return (
        f"φ_{i}^s ∘ φ_{j}^t is defined and φ_{j}^t ∘ φ_{i}^s is not, for s = {violation['s']:.6g}, "
        f"t = {violation['t']:.6g} {at}"
    )


def _edges_at_finite_x(G: Parametrization, points: np.ndarray, ends: Ends) -> list[dict[str, Any]]:
    found = []
    for k in np.flatnonzero(ends.reason == LEFT_DOMAIN):
        point, side, i = np.unravel_index(k, (len(points), 2, G.dim))
        time = float(ends.time[k] if side else -ends.time[k])
        found.append({"point": points[point], "i": int(i), "t": time, "end": ends.x[k]})
    return found


@dataclass(frozen=True)
class _Pairs:
    """What trying both orders showed."""

    tried: int
    undecided: int
    violations: list[dict[str, Any]]


def _asymmetries(
    G: Parametrization, points: np.ndarray, ends: Ends, n_times: int, rng: np.random.Generator
) -> _Pairs:
    """Try φ_i^s ∘ φ_j^t and φ_j^t ∘ φ_i^s at sampled times, for all points and pairs i < j."""
    pairs = np.array(list(combinations(range(G.dim), 2)), int).reshape(-1, 2)
    n = len(points) * len(pairs) * n_times
    if n == 0:
        return _Pairs(0, 0, [])
    at = np.repeat(np.arange(len(points)), len(pairs) * n_times)
    pair = np.tile(np.repeat(pairs, n_times, axis=0), (len(points), 1))
    base = points[at]
    s, t = (_sample_times(G, base, pair[:, k], ends, at, rng) for k in (0, 1))
    # One order after the other in a single batch: first j for t and then i for s, and the other way round.
    first = np.concatenate([pair[:, 1], pair[:, 0]])
    second = np.concatenate([pair[:, 0], pair[:, 1]])
    times = np.concatenate([t, s]), np.concatenate([s, t])
    legs = follow(G, np.concatenate([base, base]), first, times[0])
    last, gave_up = legs.reached.copy(), legs.gave_up.copy()
    on = np.flatnonzero(legs.reached == 1.0)
    more = follow(G, legs.x[on], second[on], times[1][on])
    last[on], gave_up[on] = more.reached, more.gave_up
    one, other = last[:n], last[n:]
    least = np.minimum(one, other)
    different = (one == 1.0) != (other == 1.0)
    unclear = gave_up[:n] | gave_up[n:] | (different & (least > 1.0 - CLEARLY))
    found = []
    for k in np.flatnonzero(different & ~unclear)[np.argsort(least[different & ~unclear], kind="stable")]:
        i, j = (int(v) for v in pair[k])
        of = ((i, j), s[k], t[k]) if one[k] == 1.0 else ((j, i), t[k], s[k])
        named = dict(zip(("pair", "s", "t"), (of[0], float(of[1]), float(of[2])), strict=True))
        found.append({"point": base[k], **named, "reached": float(least[k])})
    return _Pairs(n, int(unclear.sum()), found)


def _sample_times(
    G: Parametrization,
    x: np.ndarray,
    which: np.ndarray,
    ends: Ends,
    at: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Times of either sign: short of a finite end and past it, or of natural size where there is none."""
    n = len(x)
    side = rng.integers(2, size=n)
    end = ends.time.reshape(-1, 2, G.dim)[at, side, which]
    inside, beyond = rng.uniform(*INSIDE, n), rng.uniform(*BEYOND, n)
    share = np.where(rng.random(n) < 0.5, inside, beyond)
    natural = LONG * rng.uniform(*INSIDE, n) * Units.at(G, x, which).t
    # An undecided end may be late; then natural times are all that can be afforded.
    known = np.isin(ends.reason, (BLOW_UP, LEFT_DOMAIN)).reshape(-1, 2, G.dim)[at, side, which]
    return np.where(side == 1, 1.0, -1.0) * np.where(known, share * np.where(known, end, 1.0), natural)
