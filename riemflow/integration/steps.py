"""The steps of one integration: DOP853's, CVODE's, what is kept of them, and what ends them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.polynomial.chebyshev import chebval, chebvander
from scipy.integrate import DOP853
from scipy.optimize import brentq
from sksundae.cvode import CVODE
from tqdm import tqdm

Rhs = Callable[[float, np.ndarray], np.ndarray]
Event = Callable[[float, np.ndarray], "float | bool"]

# Hairer and Wanner's rule: so many steps at DOP853's stability boundary and CVODE takes over; so many
# steps inside it, one after the other, and counting starts afresh.
STIFF_STEPS, MILD_STEPS = 15, 6
STABILITY = 6.1  # h times the Jacobian's norm at that boundary (Hairer and Wanner, dop853.f)
MAX_STEPS = 200_000
STALL_STEPS, STALL = 200, 1e-4  # so many steps that cover less than this share of the time so far
STRIDE = 5_000  # steps of CVODE between two output times, before each is looked at
TOO_MANY_STEPS = -1  # CVODE's status for that
KRYLOV = 2_000  # equations beyond which no Jacobian is formed: GMRES, by differences of the right side
FAR = 1e15  # ends from which on CVODE guesses first steps that are too long
LAPACK = 100  # equations from which on LAPACK factors faster than SUNDIALS' own code
# Share of the tolerance the integrators are given: BDF's local errors add up, and DOP853's interpolant is
# less accurate than its steps where stability bounds them (both measured at some 30 times the tolerance).
SHARE = 0.03

# Where a step of CVODE is sampled, as shares of it, and the matrix from values to Chebyshev coefficients.
_NODES = (1 - np.cos(np.pi * np.arange(6) / 5)) / 2
_FIT = np.linalg.solve(chebvander(2 * _NODES - 1, 5), np.eye(6))


@dataclass(frozen=True)
class Piece:
    """The interpolant of one step."""

    start: float
    end: float
    interpolant: Callable[[np.ndarray], np.ndarray]

    def __call__(self, t: np.ndarray) -> np.ndarray:
        return self.interpolant(np.asarray(t))


class Run:
    """The state of one integration across its intervals.

    It collects y at the output times, or at the end of every step if there are none, and the interpolants
    of all steps if it `keeps` them.
    """

    def __init__(self, rhs: Rhs, jac, events: Sequence[Event], rtol, atol, max_steps: int, outputs):
        self.rhs, self.jac, self.events, self.outputs = rhs, jac, events, outputs
        self.rtol, self.atol, self.max_steps = max(SHARE * rtol, 2.5e-14), SHARE * np.asarray(atol), max_steps
        self.t: list[float] = []  # collected
        self.y: list[np.ndarray] = []
        self.keeps, self.until = False, np.inf
        self.pieces: list[Piece] = []
        self.methods: list[str] = []
        self.stats = {"n_steps": 0, "n_rhs": 0, "n_jac": 0}
        self.status, self.message, self.event = "finished", "", None
        self.bar: Any = tqdm(disable=True)
        self.signs: list[bool] = []
        self.reached, self.end = 0.0, np.empty(0)
        self.latest, self.newest, self.n_tried = np.inf, 0.0, 0
        self.marks: list[float] = []  # times after every so many steps of an interval
        self.since = 0.0  # its start
        self.longest_step: Callable[[], float] | None = None
        self.refuses = False  # whether the right side does where an event ends the integration

    def through(self, edges: Sequence[float], y: np.ndarray, method: str) -> None:
        """Integrate over all intervals, or up to where something ends it."""
        self.reached, self.end = edges[0], y
        if self.outputs is None or (len(self.outputs) and self.outputs[0] <= edges[0]):
            self.add(edges[0], y)
        try:
            with np.errstate(all="ignore"):
                for left, right in pairwise(edges):
                    self.interval(left, right, method)
                    if self.status != "finished" or self.reached >= self.until:
                        break
        except KeyboardInterrupt:
            self.status, self.message = "interrupted", "interrupted by the user"

    def add(self, t: float, y: np.ndarray) -> None:
        if not self.t or t > self.t[-1]:
            self.t.append(t)
            self.y.append(y)

    def f(self, t: float, y: np.ndarray) -> np.ndarray:
        # The right side may jump at the interval's end: its values inside the interval are the ones meant.
        self.stats["n_rhs"] += 1
        return self.rhs(min(t, self.latest), y)

    def interval(self, left: float, right: float, method: str) -> None:
        self.latest = float(np.nextafter(right, left))
        self.signs = [event(left, self.end) > 0 for event in self.events]
        self.marks, self.since = [], left
        if method != "CVODE":
            self.explicit(right, stop_if_stiff=method == "auto")
        if self.status == "finished" and self.reached < min(right, self.until):
            self.implicit(right)

    def explicit(self, right: float, stop_if_stiff: bool) -> None:
        self.methods.append("DOP853")
        solver = DOP853(self.f, self.reached, self.end, right, rtol=self.rtol, atol=self.atol)
        stiff = mild = 0
        while solver.status == "running" and self.reached < self.until:
            solver.step()
            if solver.status == "failed":
                return self.fail("DOP853 failed (the step size underflowed)")
            if self.accept(solver.t_old, solver.t, solver.y, lambda: _rows(solver.dense_output())):
                return None
            if solver.status == "running" and stop_if_stiff:
                # Hairer and Wanner's estimate of h‖∂f/∂y‖: how the last two stages' slopes and states differ.
                K, h = solver.K, solver.h_previous
                slope = np.linalg.norm(K[-1] - K[-2])
                gap = h * np.linalg.norm(K[:-1].T @ solver.B - solver.A[-1] @ K[:-1])
                bound = gap > 0 and h * slope / gap > STABILITY
                stiff, mild = (stiff + 1, 0) if bound else (stiff, mild + 1)
                if mild >= MILD_STEPS:
                    stiff = 0
                if stiff >= STIFF_STEPS:
                    break
            if self.stats["n_steps"] >= self.max_steps:
                return self.fail(f"stopped after {self.max_steps} steps")
        return None

    def implicit(self, right: float) -> None:
        self.methods.append("CVODE")
        solver = CVODE(self.fill, **self.options(), first_step=self.first_step(right))
        with _quiet():
            solver.init_step(self.reached, self.end)
        may_stride = self.outputs is not None and not self.keeps and (self.refuses or not self.events)
        try:
            if not (may_stride and self.strides(solver, right)):
                self.steps(solver, right)
        except RuntimeError as error:
            self.fail(f"CVODE failed ({error})")

    def options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"rtol": self.rtol, "atol": self.atol, "max_num_steps": STRIDE}
        if len(self.end) > KRYLOV:
            return options | {"linsolver": "gmres", "krylov_dim": 20}
        if len(self.end) >= LAPACK:
            options["linsolver"] = "lapackdense"
        if self.jac is not None:
            options["jacfn"] = self.fill_jacobian
        return options

    def first_step(self, right: float) -> float:
        """A first step that moves by the tolerance, if the end is too far for CVODE's own guess; else 0."""
        if right - self.reached <= FAR:
            return 0.0
        velocity = np.abs(self.f(self.reached, self.end))
        most = float((velocity / (self.rtol * np.abs(self.end) + self.atol)).max())
        return min(1.0 / most, right - self.reached) if 0.0 < most < np.inf else 0.0

    def fill(self, t: float, state: np.ndarray, out: np.ndarray) -> None:
        if t > self.newest:
            self.newest = t
            self.n_tried += 1
        out[:] = self.f(t, state)

    def fill_jacobian(self, t: float, state: np.ndarray, slope: np.ndarray, out: np.ndarray) -> None:
        self.stats["n_jac"] += 1
        out[:, :] = self.jac(t, state)

    def strides(self, solver: CVODE, right: float) -> bool:
        """Go from output time to output time without a look at the steps between.

        False if those are many, or if an event may have come. What CVODE does in one call costs half of what
        it does step by step. It does not tell how many steps those were: the times at which the right side is
        new are counted, steps tried included.
        """
        self.newest = self.reached
        inner = (self.outputs > self.reached) & (self.outputs < right)
        for target in [*self.outputs[inner].tolist(), right]:
            self.n_tried = 0
            step = solver.step(target, tstop=right)
            y = np.array(step.y)
            self.stats["n_steps"] += self.n_tried
            if self.events and (step.t < target or not all(event(target, y) > 0 for event in self.events)):
                solver.init_step(self.reached, self.end)  # to see where it ends
                return False
            if step.t > self.reached and np.isfinite(y).all():
                self.bar.update(step.t - self.reached)
                self.reached, self.end = float(step.t), y
            if self.reached < target:
                if step.status == TOO_MANY_STEPS:
                    return False
                self.fail(f"CVODE failed ({step.message})")
                break
            self.add(target, y)
        return True

    def steps(self, solver: CVODE, right: float) -> None:
        while self.reached < min(right, self.until):
            old, start = self.reached, self.end
            longest = np.inf if self.longest_step is None else self.longest_step()
            step = solver.step(right, method="onestep", tstop=min(right, old + longest))
            new, y = float(step.t), np.array(step.y)
            if not step.success or not new > old or not np.isfinite(y).all():
                return self.fail(
                    f"CVODE failed ({'the step size underflowed' if step.success else step.message})"
                )

            def interpolant(old=old, start=start, new=new, y=y):
                # A BDF step is a polynomial of degree at most 5: six of its values give it back.
                inner = [np.array(solver.step(s).y) for s in old + (new - old) * _NODES[1:-1]]
                solver.step(new)  # back to the end of the step, or the next call would only return there
                return _polynomial(old, new, np.array([start, *inner, y]))

            if self.accept(old, new, y, interpolant):
                return None
            if self.stats["n_steps"] >= self.max_steps:
                return self.fail(f"stopped after {self.max_steps} steps")
        return None

    def accept(self, old: float, new: float, y: np.ndarray, interpolant: Callable[[], Any]) -> bool:
        """Record a step, cut at the first event in it; tell whether there was one, or no progress."""
        self.stats["n_steps"] += 1
        self.bar.update(new - old)
        piece, first, index = None, np.inf, None
        for k, event in enumerate(self.events):
            positive = event(new, y) > 0
            if not self.signs[k] or positive:
                self.signs[k] = self.signs[k] or bool(positive)
                continue
            piece = piece or Piece(old, new, interpolant())
            where = _edge(event, piece)
            if where < first:
                first, index = where, k
        wanted = np.empty(0)
        if self.outputs is not None:
            wanted = self.outputs[(self.outputs > old) & (self.outputs <= new)]
        if piece is None and (self.keeps or len(wanted)):
            piece = Piece(old, new, interpolant())
        if piece is not None and index is not None:
            new = max(first, old)
            piece = Piece(old, new, piece.interpolant)
            y = piece(np.array([new]))[0]
            self.status, self.message, self.event = "event", "stopped by an event", index
        if self.keeps:
            self.pieces.append(piece)
        self.reached, self.end = new, y
        if self.outputs is None:
            self.add(new, y)
        elif piece is not None:
            for time_, state in zip(wanted.tolist(), piece(wanted), strict=True):
                if time_ <= new:
                    self.add(time_, state)
        return index is not None or self.stalls(new)

    def stalls(self, t: float) -> bool:
        """Tell whether many steps hardly move on, as where a right side jumps and the flow slides along it.

        Unlike those before a blow-up they are then not getting shorter.
        """
        if self.stats["n_steps"] % STALL_STEPS:
            return False
        self.marks = [*self.marks[-2:], t]
        if len(self.marks) < 3:
            return False
        before, now = np.diff(self.marks)
        if not 0.5 * before < now < STALL * (t - self.since):
            return False
        self.fail(
            f"the last {STALL_STEPS} steps are {now / STALL_STEPS:.0e} long on average, as where the right "
            "side jumps: a loss with kinks, such as |w|, has to be smoothed"
        )
        return True

    def fail(self, message: str) -> None:
        self.status, self.message = "failed", message


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep SUNDIALS' warnings, which the status tells too, off the terminal, unless told where to write."""
    names = [f"SUNLOGGER_{kind}_FILENAME" for kind in ("ERROR", "WARNING")]
    ours = [name for name in names if name not in os.environ]
    os.environ.update(dict.fromkeys(ours, os.devnull))
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


def _edge(event: Event, piece: Piece) -> float:
    """Return the last time in a step, to rounding, at which `event` is positive; it is not at the end."""

    def along(t: float) -> float:
        value = event(t, piece(np.array([t]))[0])
        if isinstance(value, bool | np.bool_):  # a test of membership: bisection finds its edge
            return 1.0 if value else -1.0
        return float(value) if np.isfinite(value) else -1.0

    start, end = piece.start, piece.end
    if not along(start) > 0:
        return start
    tolerance = 4 * np.finfo(float).eps * max(abs(start), abs(end), np.finfo(float).tiny)
    root = float(brentq(along, start, end, xtol=tolerance))
    # A domain is left at its edge, but the last point reported belongs to it.
    while root > start and not along(root) > 0:
        root, tolerance = max(start, root - tolerance), 2 * tolerance
    return root


def _rows(dense) -> Callable[[np.ndarray], np.ndarray]:
    return lambda t: dense(t).T


def _polynomial(start: float, end: float, values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return the polynomial through `values`, shape=[6, m], at the nodes of [start, end]."""
    coefficients = _FIT @ values
    return lambda t: chebval(2 * (t - start) / (end - start) - 1, coefficients).T
