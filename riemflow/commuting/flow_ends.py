"""How long the flow of a gradient field lasts: for ever, until it blows up, or until it leaves the domain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from riemflow.commuting.flow_steps import StepGuard
from riemflow.commuting.lift import _fields, _onto
from riemflow.integration import solve_batched
from riemflow.parametrizations.parametrization import Parametrization

COMPLETE = "complete as far as followed"
BLOW_UP = "blow-up"
LEFT_DOMAIN = "left-domain"
UNDECIDED = "undecided"

RTOL = 1e-12
COARSE = 100.0  # times the tolerance in a second run, which tells how accurate the first is
SCOUT = 1e-8  # the tolerance at which flows without an end are followed
ATOL = 1e-16  # in the units of `Units`
LENGTH = 700.0  # of the rescaled time: float64 spans 709 e-folds
REFINED = 0.1  # rescaled time of the second approach to an edge: smaller steps would be rounding errors
MOST_EVALUATIONS = 12 * 2000
REFINED_EVALUATIONS = 12 * 400
CLOSEST = 1e-13  # of τ + t: ten of the smallest steps of that approach
# A flow that takes so many may be stiff: it is asked whether it can blow up at all.
MANY_EVALUATIONS = 12 * 400
SCALED = 2.0 ** np.array([-30, -10, -1, 1, 10, 30])  # of x, where growth is asked to be linear
PROBES = 10.0 ** np.arange(-15, -5)  # how far ahead an edge is looked for, in units of ‖x‖

NEGLIGIBLE = 1e17  # t over the time left: then t no longer changes
GROWN = 1e8  # growth of ‖x‖ that is no longer an approach to a point
ENORMOUS = 1e100  # t over the time left at which a singularity at a finite x is out of the question
FAR, HALF_FAR = 1e40, 1e20  # growth of ‖x‖ at which growth rates are compared
BOUNDED = 0.99  # share of the time for one e-fold that must be left, for growth to count as exponential
LATE = 1e30  # time in units of the start
REST = 1e-40  # movement still to come, in units of ‖x‖ at the start
STILL, STILL_STEPS = 1e-11, 20  # movement of a flow at rest while time doubles, in so many steps


@dataclass(frozen=True)
class Units:
    """Natural units of single fields at a batch of points.

    Attributes
    ----------
    x : array, shape=[n]
        ℓ, the distance over which the field changes: min(‖X‖/‖X'‖, 1 + ‖x‖), X' along X.
    t : array, shape=[n]
        ℓ/‖X‖.
    """

    x: np.ndarray
    t: np.ndarray

    @classmethod
    def at(cls, G: Parametrization, x: np.ndarray, which: np.ndarray) -> Units:
        """Return the units of the field ∇G_{which[k]} at x[k]."""
        rows = np.arange(len(x))
        with np.errstate(all="ignore"):
            X = _fields(G, x)[rows, which]
            speed, size = magnitude(X), 1.0 + magnitude(x)
            # A rough size is all that is needed, so a one-sided difference will do.
            step = 1e-6 * size
            ahead = _onto(G, x + step[:, None] * X / np.where(speed > 0, speed, 1.0)[:, None])
            change = magnitude(_fields(G, ahead)[rows, which] - X) / step
            length = np.where(change > 0, speed / change, np.inf)
        length = np.where((length > 0) & (length < size), length, size)
        return cls(length, length / np.where(speed > 0, speed, 1.0))


@dataclass(frozen=True)
class Ends:
    """How a batch of flows ended.

    Attributes
    ----------
    time : array, shape=[n]
        How long the flow exists, ≥ 0: infinite if complete; if undecided, as long as it was followed.
    reason : array of str, shape=[n]
    accuracy : array, shape=[n]
        Of a finite end: the distance to a run with a hundred times the tolerance. Else 0.
    followed : array, shape=[n]
        The time to which it was followed.
    x : array, shape=[n, D]
        The last point.
    """

    time: np.ndarray
    reason: np.ndarray
    accuracy: np.ndarray
    followed: np.ndarray
    x: np.ndarray


def flow_ends(
    G: Parametrization, x: np.ndarray, which: np.ndarray, sign: np.ndarray, *, rtol: float = RTOL
) -> Ends:
    """Follow ``x' = ±∇G_i(x)`` from every row until it ends or can be called complete: raw.

    Time is rescaled, ``dt/ds = 1/(ρ + 1/(τ + t))`` with ρ = ‖X‖/(‖x‖ + ℓ), so that neither ‖x‖ nor t grows
    by more than e per unit of s. In s a blow-up is far away while t converges, and is located to the
    accuracy of the steps; an exponential growth takes the same time for every e-fold; and a flow
    at rest runs through t quickly.

    Shapes: x [n, D], which int [n], sign ±1 [n].
    """
    time, reason, point = _Run(G, x, which, sign).follow(max(rtol, SCOUT))
    accuracy = np.zeros(len(x))
    finite = np.flatnonzero((reason == BLOW_UP) | (reason == LEFT_DOMAIN))
    if len(finite):
        of = x[finite], which[finite], sign[finite]
        fine = _Run(G, *of)
        time[finite], first, point[finite] = fine.follow(rtol)
        again, second, _ = _Run(G, *of).follow(rtol * COARSE)
        # An edge is approached to the smallest step, a blow-up until t no longer changes.
        edge = np.where(first == LEFT_DOMAIN, CLOSEST * (time[finite] + fine.units.t), 0.0)
        accuracy[finite] = np.abs(again - time[finite]) + edge + 16 * np.finfo(float).eps * time[finite]
        agreed = (first == reason[finite]) & (second == first)
        reason[finite[~agreed]], accuracy[finite[~agreed]] = UNDECIDED, 0.0
    end = np.where(reason == COMPLETE, np.inf, time)
    return Ends(end, reason, accuracy, time, point)


def magnitude(v: np.ndarray) -> np.ndarray:
    """Euclidean norm over the last axis of [n, D], without overflow of the squares."""
    squares = np.einsum("nd,nd->n", v, v)
    if ((squares > 1e-280) & (squares < np.inf)).all():
        return np.sqrt(squares)
    largest = np.abs(v).max(axis=-1)
    safe = np.where((largest > 0) & np.isfinite(largest), largest, 1.0)
    return safe * np.sqrt(((v / safe[..., None]) ** 2).sum(axis=-1))


class _Run:
    """One integration of a batch of flows in rescaled time. The state is x, the guard's height, t."""

    def __init__(self, G: Parametrization, x: np.ndarray, which: np.ndarray, sign: np.ndarray):
        self.G, self.which, self.sign = G, which, sign
        n = len(x)
        self.units = Units.at(G, x, which)
        self.guard = StepGuard(G, x, self.units.x)
        self.start = magnitude(x) + self.units.x
        self.y = np.column_stack([x / self.units.x[:, None], self.guard.height, np.zeros(n)])
        self.verdict = np.full(n, "", dtype=object)
        self.spent, self.asked, self.refining = np.zeros(n, int), np.zeros(n, bool), False
        self.half = np.full(n, np.nan)  # time of an e-fold when ‖x‖ had grown by HALF_FAR
        self.rest_x, self.rest_t, self.rest_steps = x.copy(), np.zeros(n), np.zeros(n, int)

    def follow(self, rtol: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return times [n], reasons [n] and last points [n, D]."""
        self._integrate(np.arange(len(self.y)), LENGTH, rtol)
        # A row that stopped has met something. It is approached once more by steps finer than the
        # smallest so far.
        stopped = np.flatnonzero(self.verdict == "")
        if len(stopped):
            self.refining, self.spent[stopped] = True, 0
            self._integrate(stopped, REFINED, rtol)
            stopped = np.flatnonzero(self.verdict == "")
            self.verdict[stopped] = self._what_stopped(stopped)
        return self.y[:, -1] * self.units.t, self.verdict.astype(str), self._x(self.y, np.arange(len(self.y)))

    def _x(self, y: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return y[:, : self.G.dim_in] * self.units.x[rows, None]

    def _field(self, x: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return self.sign[rows, None] * _fields(self.G, x)[np.arange(len(rows)), self.which[rows]]

    def _pace(self, x: np.ndarray, X: np.ndarray, t: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """dt/ds."""
        rate = magnitude(X) / (magnitude(x) + self.units.x[rows])
        return 1.0 / (rate + 1.0 / (self.units.t[rows] + t))

    def _integrate(self, chosen: np.ndarray, length: float, rtol: float) -> None:
        D, units, guard = self.G.dim_in, self.units, self.guard

        def rhs(s, y, local):
            rows = chosen[local]
            self.spent[rows] += 1
            x, t = self._x(y, rows), y[:, -1] * units.t[rows]
            fields = _fields(self.G, x)
            X = self.sign[rows, None] * fields[np.arange(len(rows)), self.which[rows]]
            pace = self._pace(x, X, t, rows)
            velocity = X * pace[:, None]
            out = np.empty_like(y)
            out[:, :D] = velocity / units.x[rows, None]
            out[:, D] = guard.height_rate(x, fields, velocity, rows)
            out[:, -1] = pace / units.t[rows]
            # A row that is decided stands still, and so is soon at the end. One as close to an edge as
            # rounding lets it come is stopped.
            out[self.verdict[rows] != ""] = 0.0
            if self.refining:
                out[self.spent[rows] > REFINED_EVALUATIONS] = np.nan
            return out

        def project(s, y, local):
            rows = chosen[local]
            out = y.copy()
            x = _onto(self.G, self._x(y, rows))
            out[:, :D] = x / units.x[rows, None]
            out[:, D] = guard.passed(x, y[:, D], rows)
            going = np.isfinite(out).all(axis=-1) & (self.verdict[rows] == "")
            self._judge(x[going], y[going, -1] * units.t[rows[going]], rows[going])
            return out

        self.y[chosen], reached, _ = solve_batched(
            rhs, self.y[chosen], length, rtol=rtol, atol=ATOL, project=project
        )
        if not self.refining:
            whole = chosen[(reached == 1.0) & (self.verdict[chosen] == "")]
            self.verdict[whole] = UNDECIDED

    def _judge(self, x: np.ndarray, t: np.ndarray, rows: np.ndarray) -> None:
        """Decide rows after an accepted step, as far as they can be."""
        if len(rows) == 0:
            return
        unit = self.units.t[rows]
        X = self._field(x, rows)
        speed, size, start = magnitude(X), magnitude(x), self.start[rows]
        pace = self._pace(x, X, t, rows)
        left = (size + self.units.x[rows]) / np.where(speed > 0, speed, np.nan)
        passed_half = np.isnan(self.half[rows]) & (size >= HALF_FAR * start)
        self.half[rows[passed_half]] = pace[passed_half]

        verdict = np.full(len(rows), "", dtype=object)
        if not self.refining:
            verdict[self.spent[rows] > MOST_EVALUATIONS] = UNDECIDED
        ask = np.flatnonzero((self.spent[rows] > MANY_EVALUATIONS) & ~self.asked[rows])
        self.asked[rows[ask]] = True
        if len(ask):
            verdict[ask[self._grows_linearly(x[ask], rows[ask])]] = COMPLETE
        bounded = (size >= FAR * start) & (pace >= BOUNDED * self.half[rows])
        rest = speed * (unit + t) <= REST * start
        verdict[bounded | rest | (t >= LATE * unit) | self._still(x, t, rows)] = COMPLETE
        verdict[(t >= NEGLIGIBLE * left) & ((size >= GROWN * start) | (t >= ENORMOUS * left))] = BLOW_UP
        self.verdict[rows] = verdict

    def _still(self, x: np.ndarray, t: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Whether x has hardly moved while t doubled: the flow has come to an equilibrium."""
        moved = magnitude(x - self.rest_x[rows]) > STILL * magnitude(x)
        again = rows[moved]
        self.rest_x[again], self.rest_t[again], self.rest_steps[again] = x[moved], t[moved], 0
        self.rest_steps[rows] += 1
        long = t >= 2.0 * self.rest_t[rows] + 10.0 * self.units.t[rows]
        return ~moved & long & (self.rest_steps[rows] > STILL_STEPS)

    def _grows_linearly(self, x: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Whether X(λx) = λX(x) for λ of many sizes: then ‖X‖ ≤ C‖x‖, and no flow blows up."""
        good = np.ones(len(rows), bool)
        X = self._field(x, rows)
        for scale in SCALED:
            off = magnitude(self._field(scale * x, rows) / scale - X)
            good &= off <= 1e-12 * magnitude(X)
        return good

    def _what_stopped(self, rows: np.ndarray) -> np.ndarray:
        """Tell an edge of the domain at finite x from an overflow of the field, or neither."""
        x, t = self._x(self.y[rows], rows), self.y[rows, -1] * self.units.t[rows]
        edge, overflow = np.zeros(len(rows), bool), np.zeros(len(rows), bool)
        with np.errstate(all="ignore"):
            X = self._field(x, rows)
            speed, reach = magnitude(X), magnitude(x) + self.units.x[rows]
            ahead = X / np.where(speed > 0, speed, 1.0)[:, None] * reach[:, None]
            for share in PROBES:
                edge |= self.guard.edge_ahead(x, share * ahead, rows)
                overflow |= np.isinf(_fields(self.G, x + share * ahead)).any(axis=(-2, -1))
            overflow &= speed * t >= NEGLIGIBLE * reach
        return np.where(overflow, BLOW_UP, np.where(edge, LEFT_DOMAIN, UNDECIDED)).astype(object)
