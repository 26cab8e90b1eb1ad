"""The result of a flow, and what every flow shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from riemflow.errors import ConvergenceError, DomainError, RiemflowError, ShapeError
from riemflow.flows.first_length import first_lengths
from riemflow.flows.rest import Linearised
from riemflow.flows.stillness import Stillness
from riemflow.integration import Solution, solve_ode
from riemflow.legendre.function import least_eigenvalue
from riemflow.losses import Loss, Piecewise
from riemflow.validation import as_float, as_number, short

Map = Callable[[np.ndarray], np.ndarray]

GOOD = ("finished", "converged", "reached")
INDEFINITE = 1e-10  # an eigenvalue below minus this, with a unit diagonal, is no rounding
HORIZON = 1e15  # t = inf gives up here
MOST_AXES, N_JOINT = 32, 4  # of `metric_units`


@dataclass(frozen=True)
class Flow:
    """A computed flow.

    Attributes
    ----------
    t : array, shape=[n]
        Output times: those asked for, or the integrator's own steps.
    w : array, shape=[n, d]
        Weights.
    x : array, shape=[n, D], or None
        Parameters, for a gradient flow on a parametrization; for a development its path, D = d.
    mu : array, shape=[n, d], or None
        Dual points ∇R(w), for a mirror flow.
    status : str
        "finished": the end time was reached; "converged": t = inf, and the flow has come to rest;
        "reached": the loss, or its gradient, fell to the bound that was asked for;
        "left-domain", "left-region": it reached the boundary of the domain, or of the region of an
        embedding; "diverges": t = inf, the loss has no minimiser and w runs to infinity; "stopped":
        t = inf, and it still moves at t = 1e15; "failed", "interrupted": it ended early for the reason in
        `message`. With throw=True an interrupt is raised on as a `KeyboardInterrupt`, whose `partial` is this
        flow.
    message : str
    stats : mapping
        formulation, method, n_steps, n_rhs, seconds; for t = inf also residual, the last speed
        max |dstate/dt|, and remaining, how far the flow linearised at the end of it still moves (None if
        that was not computed), or, where the limit was found without the flow (formulation "limit", method
        "Newton"; then t is 0 and inf), residual, kkt_residual, unique and n_iterations as of
        `BregmanMinimum`, and boundary, whether it lies there; if it "diverges" direction, margin, rate,
        unique and norm as of `MaximumMargin` (method "margin"; then t is 0 alone); on a submanifold also
        drift, how far the integrator's x had left it.
    """

    t: np.ndarray
    w: np.ndarray
    x: np.ndarray | None
    mu: np.ndarray | None
    status: str
    message: str
    stats: Mapping[str, Any]
    _solution: Solution | None = field(default=None, repr=False)
    _maps: Mapping[str, Map] = field(default_factory=dict, repr=False)

    def sol(self, t: Any, of: str = "w") -> np.ndarray:
        """Return w (or x, or mu) at any times that were integrated: shape=[...] -> shape=[..., m].

        Raises
        ------
        DomainError
            If a time was not integrated, or this flow has no such quantity.
        """
        if self._solution is None or of not in self._maps:
            raise DomainError(
                f"This flow has no dense {of!r}: ask for one of {sorted(self._maps)}."
                if self._maps
                else "This flow was not integrated, or was in a file or a pickle: with formulation= or "
                "method= it is integrated, and dense."
            )
        return self._maps[of](self._solution.sol(as_float("t", t)))

    def __getstate__(self) -> dict[str, Any]:
        """What a pickle or a copy keeps: all but the dense solution, which holds functions."""
        return {**self.__dict__, "_solution": None, "_maps": {}}

    def __repr__(self) -> str:
        stats, d = self.stats, " x ".join(map(str, self.w.shape[1:]))
        return (
            f"Flow({self.status}: {self.message}; d = {d}, {stats['formulation']} form, "
            f"{stats['n_steps']} steps of {stats['method']}, {stats['seconds']:.2f} s)"
        )


def output_times(t: Any) -> tuple[float, np.ndarray | None]:
    """Return the end time and the output times asked for, None for the integrator's own.

    Raises
    ------
    DomainError
        If times are negative, NaN or not increasing.
    """
    if np.ndim(t) == 0 and np.isscalar(t) and not isinstance(t, str | complex) and t == np.inf:
        return np.inf, None
    if np.ndim(t) == 1 and any(isinstance(s, float) and s == np.inf for s in t):
        raise DomainError("t holds inf beside other times: the limit is a call of its own, with t=np.inf.")
    times = as_float("t", t)
    if times.ndim == 0:
        return as_number("t", t, above=0.0), None
    if times.ndim != 1 or len(times) == 0:
        raise ShapeError(f"t has shape {times.shape}, but must be an end time or a list of output times.")
    if times[0] < 0 or (np.diff(times) <= 0).any() or times[-1] == 0:
        raise DomainError(f"Output times must be increasing from 0 or later, but t starts {times[:3]}.")
    return float(times[-1]), times


def tolerances(rtol: Any, atol: Any) -> tuple[float, np.ndarray | None]:
    """Return checked tolerances; atol None if it is left out."""
    rtol = as_number("rtol", rtol, above=0.0, below=0.1)
    if atol is None:
        return rtol, None
    atol = as_float("atol", atol)
    if not (atol > 0).all():
        raise DomainError(f"atol is {atol}, but must be > 0.")
    return rtol, atol


def run_flow(
    rhs: Callable[[Any, np.ndarray], np.ndarray],
    state: np.ndarray,
    t: Any,
    loss: Loss | Piecewise,
    maps: Mapping[str, Map],
    *,
    formulation: str,
    inside: Callable[[np.ndarray], Any] | None,
    refuses: bool = False,
    rtol: Any,
    atol: Any,
    scale: float,
    method: str,
    progress: bool,
    throw: bool,
    until_loss: Any = None,
    until_gradient: Any = None,
    jac: Callable[[Any, np.ndarray], np.ndarray] | None = None,
    linearise: Callable[[Any, np.ndarray], Linearised] | None = None,
    units: np.ndarray | None = None,
    origin: bool = False,
    outside: str = "left-domain",
    measure: Callable[[np.ndarray], dict] | None = None,
    max_steps: int | None = None,
) -> Flow:
    """Integrate state' = rhs(loss in force, state) and wrap the result as a `Flow`.

    `maps` turn states, shape=[n, m], into "w" and "x" or "mu"; `inside` tells whether one state is
    in the domain, asked at every step unless `rhs` `refuses` states outside, by raising or by NaN;
    `outside` is the status once it is not; `scale` is the typical size of the state, for the absolute
    tolerance, unless `units` gives one for each component, and no more than a bound of it if the flow starts
    at the `origin`; `linearise` linearises the flow at one state, to tell rest at t = inf; `measure` makes
    further stats of the states at the output times; `max_steps` bounds the integrator's steps.
    """
    end, times = output_times(t)
    rtol, atol = tolerances(rtol, atol)
    if atol is not None and atol.shape not in ((), state.shape):
        raise ShapeError(
            f"atol has shape {atol.shape}, but must be one number or have shape {state.shape}, one for each "
            f"component of the state in the {formulation} form."
        )
    at = loss.at if isinstance(loss, Piecewise) else lambda t: loss
    breakpoints = list(loss.breakpoints) if isinstance(loss, Piecewise) else []
    guarded = _Guarded(rhs)
    with np.errstate(all="ignore"):
        if not np.isfinite(guarded(at(0.0), state)).all():
            reason = f" ({guarded.reason})" if guarded.reason else ""
            raise DomainError(
                f"The flow cannot start: its velocity at the initial point is not finite{reason}. Start "
                "elsewhere, or restrict the domain."
            )
        if origin:
            first = first_lengths(lambda y: guarded(at(0.0), y[0])[None], state[None], end, scale)[0]
            scale, units = float(first), None if units is None else np.minimum(units, first)
    if atol is None:
        atol = rtol * np.asarray(scale if units is None else units)
    events: list[Callable] = [] if inside is None else [lambda t, y: bool(inside(y))]
    limit = still = None
    if end == np.inf:
        last = at(HORIZON)
        begin = float(breakpoints[-1]) if breakpoints else 0.0
        # A dual point may run to infinity although w has come to rest on the boundary.
        place = maps.get("x", maps["w"])
        size = float(np.abs(place(state)).max()) or 1.0
        forecast = None if linearise is None else _Forecast(linearise, last)
        still = Stillness(lambda y: guarded(last, y), place, forecast, begin, rtol, size)
        limit, events, end = len(events), [*events, still], HORIZON
    goals = goals_of(at, maps["w"], until_loss, until_gradient)
    first_goal, events = len(events), [*events, *goals.values()]
    if any(goal(0.0, state) <= 0 for goal in goals.values()):
        end, times = 0.0, np.zeros(1)  # there already
    solution = solve_ode(
        lambda s, y: guarded(at(s), y),
        state,
        (0.0, end),
        rtol=rtol,
        atol=atol,
        t_eval=times,
        jac=None if jac is None else _Guarded(lambda s, y: jac(at(s), y), len(state)),
        events=events,
        breakpoints=breakpoints,
        method=method,
        progress=progress,
        **({} if max_steps is None else {"max_steps": max_steps}),
        longest_step=None if still is None else lambda: still.longest_step,
        refuses=refuses and len(events) == 1,
    )
    status, message = solution.status, solution.message
    at_time, event = message.rpartition(" at ")[2], -1 if solution.event is None else solution.event
    if status == "event" and event == limit:
        status, message = "converged", f"came to rest at {at_time}"
    elif end == 0.0 or (status == "event" and event >= first_goal):
        status, fell = "reached", goals if end == 0.0 else [list(goals)[event - first_goal]]
        message = f"{' and '.join(fell)} at {at_time}"
    elif status == "event" or (status == "failed" and _at_edge(guarded, at, inside, solution, scale)):
        what = outside.removeprefix("left-")
        status, message = outside, f"reached the boundary of the {what} at {at_time}"
    elif status == "failed" and guarded.reason:
        message = f"{message}; the velocity was last refused because {guarded.reason}"
    elif limit is not None and status == "finished":
        status, message = "stopped", f"still moving at t = {end:g}"
    stats = {"formulation": formulation, **solution.stats}
    kept, values = _outputs(maps, solution, status)
    if status in GOOD and not all(np.isfinite(value).all() for value in values.values()):
        status, message = "failed", f"{message}, but its values are not finite in float64"
    if status == outside:
        message = f"{message}, w = {short(values['w'][-1])}"
    with np.errstate(all="ignore"):
        if still is not None:
            stats["residual"] = float(np.abs(guarded(at(solution.t[-1]), solution.y[-1])).max())
            stats["remaining"] = still.left
        if measure is not None:
            stats |= measure(solution.y[:kept])
    flow = Flow(
        solution.t[:kept],
        values["w"],
        values.get("x"),
        values.get("mu"),
        status,
        message,
        stats,
        solution,
        dict(maps),
    )
    return require_good(flow) if throw else flow


def goals_of(at: Callable, weights: Map, loss: Any, gradient: Any) -> dict[str, Callable]:
    """Return events that end a flow, by what is said of them: positive until the goal is reached."""
    goals: dict[str, Callable] = {}
    if loss is not None:
        most = as_number("until_loss", loss)
        goals[f"the loss fell to {most:g}"] = lambda t, y: float(at(t)._value(weights(y))) - most
    if gradient is not None:
        steepest = as_number("until_gradient", gradient, above=0.0)
        goals[f"the gradient fell to {steepest:g}"] = lambda t, y: (
            float(np.linalg.norm(at(t)._gradient(weights(y)))) - steepest
        )
    return goals


def require_good(flow: Flow) -> Flow:
    """Return a flow that did what was asked; raise with it as `partial` otherwise."""
    if flow.status == "interrupted":
        # A loop over flows has to end as well; what was reached goes with the exception.
        interrupt: Any = KeyboardInterrupt(flow.message)
        interrupt.partial = flow
        raise interrupt
    if flow.status not in GOOD:
        raise ConvergenceError(
            f"The flow ended early with status {flow.status!r}: {flow.message}. Shorten t, change the start "
            "or the loss, or pass throw=False to get what was reached.",
            partial=flow,
        )
    return flow


def natural_gradient(metric: np.ndarray, slope: np.ndarray, what: str, w: np.ndarray) -> np.ndarray:
    """g^{-1} ∇L, shape=[d] or [d, m]; a `DomainError` where g is not positive definite, but for rounding."""
    try:
        return np.asarray(cho_solve(cho_factor(metric), slope))
    except (np.linalg.LinAlgError, ValueError):
        least = float(least_eigenvalue(np.asarray(metric))) if np.isfinite(metric).all() else np.nan
        if not least > -INDEFINITE:
            raise DomainError(
                f"{what} is not positive definite at w = {short(w)}, where its smallest eigenvalue is "
                f"{least:.3g}"
            ) from None
        return np.linalg.solve(metric, slope)


def metric_units(metric: Map, belongs: Map, w: np.ndarray) -> np.ndarray:
    """The change of each w_i, at most the size of w, over which g_ii stays within a factor of 2: [d] -> [d].

    Near a boundary or a small start, a metric changes over lengths far below the size of w itself, and an
    absolute tolerance above them would be silently wrong. Beyond 32 dimensions all w_i are changed together,
    by four random choices of signs, since one at a time takes too many Hessians: a sample, which does not see
    changes of g_ii that cancel.
    """
    d = len(w)
    size = float(np.abs(w).max()) or 1.0
    lengths = size * 8.0 ** -np.arange(40.0)
    if d <= MOST_AXES:
        ways, seen = np.concatenate([np.eye(d), -np.eye(d)]), np.tile(np.eye(d, dtype=bool), (2, 1))
    else:
        ways = np.random.default_rng(0).choice([-1.0, 1.0], (N_JOINT, d))
        seen = np.ones((N_JOINT, d), bool)
    here = np.diagonal(metric(w[None])[0])
    similar = np.zeros((len(lengths), d), bool)
    with np.errstate(all="ignore"):
        for k, length in enumerate(lengths):
            points = w + length * ways
            inside = np.asarray(belongs(points), bool)
            entries = np.full(points.shape, np.nan)
            if inside.any():
                entries[inside] = np.diagonal(metric(points[inside]), axis1=-2, axis2=-1)
            similar[k] = ((np.abs(np.log2(entries / here)) <= 1.0) | ~seen).all(axis=0)
    # The largest length below which all are similar; the smallest tried if none is.
    from_below = np.logical_and.accumulate(similar[::-1], axis=0)[::-1]
    return lengths[np.where(from_below.any(axis=0), np.argmax(from_below, axis=0), len(lengths) - 1)]


class _Guarded:
    """A function of (loss or time, state) that gives NaN, which shortens the step, where it is refused."""

    def __init__(self, function: Callable[[Any, np.ndarray], np.ndarray], columns: int | None = None):
        self.function, self.columns, self.reason = function, columns, ""

    def __call__(self, loss_or_time: Any, state: np.ndarray) -> np.ndarray:
        try:
            return self.function(loss_or_time, state)
        except (DomainError, ConvergenceError, np.linalg.LinAlgError) as error:
            self.reason = str(error).rstrip(".")
            return np.full(state.shape if self.columns is None else (len(state), self.columns), np.nan)


class _Forecast:
    """How far the flow is still going to move from a state, for `Stillness`; inf where that is unknown."""

    def __init__(self, linearise: Callable[[Any, np.ndarray], Linearised], loss: Loss):
        self.linearise, self.loss = linearise, loss

    def __call__(self, state: np.ndarray) -> tuple[float, float]:
        try:
            return self.linearise(self.loss, state).forecast()
        except (DomainError, ConvergenceError, np.linalg.LinAlgError):
            return np.inf, 0.0


def _at_edge(rhs: _Guarded, at: Callable, inside: Any, solution: Solution, scale: float) -> bool:
    """Tell whether a failed flow was about to cross the boundary, which no step of it could do."""
    if inside is None:
        return False
    t, y = solution.t[-1], solution.y[-1]
    with np.errstate(all="ignore"):
        velocity = rhs(at(t), y)
        size = np.abs(velocity).max()
        if not 0 < size < np.inf:
            return False
        reach = 1e-6 * max(scale, float(np.abs(y).max()))
        return not bool(inside(y + reach * velocity / size))


def _outputs(maps: Mapping[str, Map], solution: Solution, status: str) -> tuple[int, dict[str, np.ndarray]]:
    """Map the states at the output times; return how many there are, and the values.

    Where a flow failed, the last states may be too near the boundary for the maps: they are left out.
    """
    kept = len(solution.t)
    while True:
        try:
            with np.errstate(all="ignore"):
                return kept, {name: np.asarray(to(solution.y[:kept])) for name, to in maps.items()}
        except RiemflowError:
            if status in GOOD or kept <= 1:
                raise
            kept -= 1
