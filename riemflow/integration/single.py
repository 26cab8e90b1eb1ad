"""One initial value problem: explicit DOP853 while that is cheap, SUNDIALS' CVODE once it is stiff."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.polynomial.chebyshev import chebval, chebvander
from scipy.integrate import DOP853
from scipy.optimize import brentq
from sksundae.cvode import CVODE
from tqdm import tqdm

from riemflow.errors import DomainError

Rhs = Callable[[float, np.ndarray], np.ndarray]
Event = Callable[[float, np.ndarray], "float | bool"]

# Hairer and Wanner's rule: so many steps at DOP853's stability boundary and CVODE takes over; so many
# steps inside it, one after the other, and counting starts afresh.
STIFF_STEPS, MILD_STEPS = 15, 6
STABILITY = 6.1  # h times the Jacobian's norm at that boundary (Hairer and Wanner, dop853.f)
MAX_STEPS = 200_000
STALL_STEPS, STALL = 200, 1e-4  # so many steps that cover less than this share of the time so far
# Share of the tolerance the integrators are given: BDF's local errors add up, and DOP853's interpolant is
# less accurate than its steps where stability bounds them (both measured at some 30 times the tolerance).
SHARE = 0.03

# Where a step of CVODE is sampled, as shares of it, and the matrix from values to Chebyshev coefficients.
_NODES = (1 - np.cos(np.pi * np.arange(6) / 5)) / 2
_FIT = np.linalg.solve(chebvander(2 * _NODES - 1, 5), np.eye(6))


@dataclass(frozen=True)
class Solution:
    """The solution of an initial value problem.

    Attributes
    ----------
    t : array, shape=[n]
    y : array, shape=[n, m]
    status : "finished", "event", "failed" or "interrupted"
    message : what happened, with the time reached
    event : index of the event that ended the integration, or None
    stats : numbers of steps and right sides, method
    """

    t: np.ndarray
    y: np.ndarray
    status: str
    message: str
    event: int | None
    stats: dict
    _pieces: tuple[_Piece, ...] = field(repr=False)

    def sol(self, t: Any) -> np.ndarray:
        """Return y at the times t: shape=[...] -> shape=[..., m], by the integrator's own interpolant.

        Raises
        ------
        DomainError
            If a time lies outside what was integrated.
        """
        t = np.asarray(t, dtype=float)
        low, high = self._pieces[0].start, self._pieces[-1].end
        if (t < low).any() or (t > high).any() or not np.isfinite(t).all():
            raise DomainError(f"t must lie in [{low:g}, {high:g}], the times that were integrated.")
        ends = np.array([piece.end for piece in self._pieces])
        flat = t.ravel()
        which = np.minimum(np.searchsorted(ends, flat, side="left"), len(ends) - 1)
        out = np.empty((flat.size, self.y.shape[1]))
        for k in np.unique(which):
            out[which == k] = self._pieces[k](flat[which == k])
        return out.reshape(*t.shape, -1)


@dataclass(frozen=True)
class _Piece:
    """The interpolant of one step."""

    start: float
    end: float
    interpolant: Callable[[np.ndarray], np.ndarray]

    def __call__(self, t: np.ndarray) -> np.ndarray:
        return self.interpolant(np.asarray(t))


def solve_ode(
    rhs: Rhs,
    y0: np.ndarray,
    t_span: tuple[float, float],
    *,
    rtol: float = 1e-8,
    atol: float | np.ndarray = 1e-10,
    t_eval: np.ndarray | None = None,
    jac: Callable[[float, np.ndarray], np.ndarray] | None = None,
    events: Sequence[Event] = (),
    breakpoints: Sequence[float] = (),
    method: str = "auto",
    progress: bool = False,
    max_steps: int = MAX_STEPS,
    longest_step: Callable[[], float] | None = None,
) -> Solution:
    """Integrate y' = f(t, y) with dense output, restarting at every breakpoint.

    Parameters
    ----------
    rhs : callable, (t, y of shape=[m]) -> shape=[m]
        A non-finite result makes the step smaller.
    y0 : array, shape=[m]
    t_span : (start, end)
    jac : callable, optional
        ∂f/∂y, shape=[m, m], used once the problem is stiff.
    events : callables (t, y) -> number or bool
        The integration stops where one ceases to be positive, or true.
    method : "auto", "DOP853" or "CVODE"
        "auto" starts with DOP853 and hands over when its steps are bound by stability.
    longest_step : callable, optional
        Asked before each of CVODE's steps: a bound on its length.
    """
    if method not in ("auto", "DOP853", "CVODE"):
        raise DomainError(f"method is {method!r}, but must be 'auto', 'DOP853' or 'CVODE'.")
    start, end = t_span
    edges = [start, *sorted(b for b in breakpoints if start < b < end), end]
    run = _Run(rhs, jac, events, rtol, atol, max_steps)
    run.longest_step = longest_step or run.longest_step
    y = np.array(y0, dtype=np.float64)
    # An integration to t = ∞ has an end so far away that only the time reached says something.
    shape = "{desc}: t = {n:.4g} | {elapsed}" if end - start > 1e12 else "{l_bar}{bar}| {elapsed}"
    bar = tqdm(total=end - start, disable=not progress, desc="flow", bar_format=shape)
    began = time.perf_counter()
    with bar, np.errstate(all="ignore"):
        run.bar = bar
        try:
            for left, right in pairwise(edges):
                y = run.interval(left, right, y, method)
                if run.status != "finished":
                    break
        except KeyboardInterrupt:
            run.status, run.message = "interrupted", "interrupted by the user"
    pieces = run.pieces or [_Piece(start, start, lambda t: np.broadcast_to(y0, (np.size(t), len(y0))))]
    reached = pieces[-1].end
    if run.status == "finished":
        run.message = f"reached t = {reached:g}"
    else:
        run.message += f" at t = {reached:.10g}"
    stats = {**run.stats, "method": "+".join(run.methods), "seconds": time.perf_counter() - began}
    if t_eval is None:
        times = np.array([pieces[0].start, *(piece.end for piece in pieces if piece.end > piece.start)])
    else:
        times = np.asarray(t_eval)[np.asarray(t_eval) <= reached]
        if run.status != "finished" and (len(times) == 0 or times[-1] < reached):
            times = np.append(times, reached)
    blank = Solution(times, np.empty((0, len(y0))), run.status, run.message, run.event, stats, tuple(pieces))
    return Solution(times, blank.sol(times), run.status, run.message, run.event, stats, tuple(pieces))


class _Run:
    """The state of one integration across its intervals."""

    def __init__(self, rhs: Rhs, jac, events: Sequence[Event], rtol: float, atol, max_steps: int):
        self.rhs, self.jac, self.events = rhs, jac, events
        self.rtol, self.atol, self.max_steps = max(SHARE * rtol, 2.5e-14), SHARE * np.asarray(atol), max_steps
        self.pieces: list[_Piece] = []
        self.methods: list[str] = []
        self.stats = {"n_steps": 0, "n_rhs": 0, "n_jac": 0}
        self.status, self.message, self.event = "finished", "", None
        self.bar: Any = None
        self.signs: list[bool] = []
        self.latest = np.inf
        self.marks: list[float] = []  # times after every so many steps of an interval
        self.since = 0.0  # its start
        self.longest_step: Callable[[], float] = lambda: np.inf

    def f(self, t: float, y: np.ndarray) -> np.ndarray:
        # The right side may jump at the interval's end: its values inside the interval are the ones meant.
        self.stats["n_rhs"] += 1
        return self.rhs(min(t, self.latest), y)

    def interval(self, left: float, right: float, y: np.ndarray, method: str) -> np.ndarray:
        self.latest = float(np.nextafter(right, left))
        self.signs = [event(left, y) > 0 for event in self.events]
        self.marks, self.since = [], left
        t = left
        if method != "CVODE":
            t, y = self.explicit(left, right, y, stop_if_stiff=method == "auto")
        if self.status == "finished" and t < right:
            y = self.implicit(t, right, y)
        return y

    def explicit(self, left: float, right: float, y: np.ndarray, stop_if_stiff: bool):
        self.methods.append("DOP853")
        solver = DOP853(self.f, left, y, right, rtol=self.rtol, atol=self.atol)
        stiff = mild = 0
        while solver.status == "running":
            solver.step()
            if solver.status == "failed":
                return self.fail("DOP853 failed (the step size underflowed)", solver.t, solver.y)
            if self.accept(_Piece(solver.t_old, solver.t, _rows(solver.dense_output()))):
                return self.pieces[-1].end, self.pieces[-1](np.array([self.pieces[-1].end]))[0]
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
                return self.fail(f"stopped after {self.max_steps} steps", solver.t, solver.y)
        return solver.t, solver.y

    def implicit(self, left: float, right: float, y: np.ndarray) -> np.ndarray:
        self.methods.append("CVODE")

        def fill(t, state, out):
            out[:] = self.f(t, state)

        options: dict[str, Any] = {
            "rtol": self.rtol,
            "atol": self.atol,
            "max_num_steps": 100_000,
            "method": "BDF",
        }
        if self.jac is not None:
            jac = self.jac

            def fill_jacobian(t, state, slope, out):
                self.stats["n_jac"] += 1
                out[:, :] = jac(t, state)

            options["jacfn"] = fill_jacobian
        solver = CVODE(fill, **options)
        solver.init_step(left, y)
        t = left
        while t < right:
            try:
                stop = min(right, t + self.longest_step())
                step = solver.step(right, method="onestep", tstop=stop)
                new = float(np.ravel(step.t)[-1])
                state = np.array(np.atleast_2d(step.y)[-1])
                if not step.success or not new > t or not np.isfinite(state).all():
                    reason = "the step size underflowed" if step.success else step.message
                    return self.fail(f"CVODE failed ({reason})", t, y)[1]
                # A BDF step is a polynomial of degree at most 5: six of its values give it back.
                inner = [np.array(np.atleast_2d(solver.step(s).y)[-1]) for s in t + (new - t) * _NODES[1:-1]]
                solver.step(new)  # back to the end of the step, or the next call would only return there
            except RuntimeError as error:
                return self.fail(f"CVODE failed ({error})", t, y)[1]
            if self.accept(_Piece(t, new, _polynomial(t, new, np.array([y, *inner, state])))):
                return self.pieces[-1](np.array([self.pieces[-1].end]))[0]
            t, y = new, state
            if self.stats["n_steps"] >= self.max_steps:
                return self.fail(f"stopped after {self.max_steps} steps", t, y)[1]
        return y

    def accept(self, piece: _Piece) -> bool:
        """Record a step, cut at the first event in it; tell whether there was one, or no progress."""
        self.stats["n_steps"] += 1
        self.bar.update(piece.end - piece.start)
        first, index = np.inf, None
        for k, event in enumerate(self.events):
            if not self.signs[k]:
                self.signs[k] = event(piece.end, piece(np.array([piece.end]))[0]) > 0
                continue

            def along(t: float, event=event) -> float:
                value = event(t, piece(np.array([t]))[0])
                if isinstance(value, bool | np.bool_):  # a test of membership: bisection finds its edge
                    return 1.0 if value else -1.0
                return float(value) if np.isfinite(value) else -1.0

            if not along(piece.end) > 0:
                where = _edge(along, piece.start, piece.end)
                if where < first:
                    first, index = where, k
        if index is None:
            self.pieces.append(piece)
            return self.stalls(piece.end)
        self.pieces.append(_Piece(piece.start, max(first, piece.start), piece.interpolant))
        self.status, self.message, self.event = "event", "stopped by an event", index
        return True

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
            "side jumps: a loss with kinks, such as |w|, has to be smoothed",
            t,
            np.empty(0),
        )
        return True

    def fail(self, message: str, t: float, y: np.ndarray):
        self.status, self.message = "failed", message
        return t, y


def _edge(along: Callable[[float], float], start: float, end: float) -> float:
    """Return the last time, to rounding, at which `along` is still positive; it is not at `end`."""
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
