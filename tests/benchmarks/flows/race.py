"""One problem's race: every method at its loosest sufficient tolerance, interleaved rounds, medians."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from problems import error
from solvers import COMPILED, SAME_STEPS, Capped, Solve

TARGET = 1e-6
DECADES = tuple(10.0**-k for k in range(2, 13))
SHARE = 10.0  # seconds for all rounds of one method; the first is taken whatever it costs


@dataclass
class Entry:
    """How a method did on a problem.

    Attributes
    ----------
    rtol, error : float, or None
        The loosest tolerance that reaches the target, and the error there.
    cold : float, or None
        Seconds of the first call, compilation included, for a compiled method.
    rounds : list of float
        Seconds of the calls that were timed, in one process, interleaved with the other methods'.
    status : "ok", "capped" or "missed"
        "missed": no tolerance reaches the target.
    tried : dict
        The error at every tolerance that was tried.
    """

    rtol: float | None = None
    error: float | None = None
    cold: float | None = None
    rounds: list[float] = field(default_factory=list)
    status: str = "missed"
    tried: dict[str, float] = field(default_factory=dict)

    @property
    def seconds(self) -> float | None:
        return float(np.median(self.rounds)) if self.rounds else None


def race(
    makers: Mapping[str, Callable[[], Solve | None]],
    reference: np.ndarray,
    rounds: int,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Entry]:
    """Run methods, each made by a function of no arguments (None: not for this problem), on one problem."""
    entries: dict[str, Entry] = {}
    solves: dict[str, Solve] = {}
    for name, make in makers.items():
        say(name)
        solve = make()
        if solve is None:
            continue
        twin = entries.get(SAME_STEPS.get(name, ""))
        known = None if twin is None else twin.rtol
        entry = entries[name] = loosest(solve, reference, DECADES if known is None else [known])
        if entry.rtol is not None:
            solves[name] = solve
            if name in COMPILED:
                entry.cold = cold(make, entry.rtol)
    for name in solves:
        if name in COMPILED:  # measuring a cold call has forgotten what was compiled
            timed(solves[name], entries[name].rtol)
    for k in range(rounds):
        for name, solve in solves.items():
            entry = entries[name]
            spent = sum(entry.rounds)
            if entry.rounds and spent + spent / len(entry.rounds) > SHARE:
                continue
            say(f"round {k + 1}: {name}")
            seconds = timed(solve, entry.rtol)
            if seconds is not None:
                entry.rounds.append(seconds)
    return entries


def timed(solve: Solve, rtol: Any) -> float | None:
    """Seconds of a call, None beyond the limit."""
    began = time.perf_counter()
    try:
        solve(rtol)
    except Capped:
        return None
    return time.perf_counter() - began


def loosest(solve: Solve, reference: np.ndarray, decades: Sequence[float]) -> Entry:
    """Try tolerances from the loosest on until one reaches the target, or two in a row are beyond the limit.

    One alone may be an integrator that a loose tolerance lets run away.
    """
    entry, n_capped = Entry(), 0
    for rtol in decades:
        try:
            w = solve(rtol)
        except Capped:
            entry.status, n_capped = "capped", n_capped + 1
            if n_capped == 2:
                break
            continue
        n_capped, found = 0, error(w, reference)
        entry.tried[f"{rtol:g}"] = found
        if found <= TARGET:
            entry.rtol, entry.error, entry.status = rtol, found, "ok"
            break
    return entry


def cold(make: Callable[[], Solve | None], rtol: float) -> float | None:
    """Seconds of a first call, nothing compiled."""
    import jax

    solve = make()
    jax.clear_caches()
    return None if solve is None else timed(solve, rtol)
