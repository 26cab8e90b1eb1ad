"""The result of a flow, and what every flow shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from riemflow.errors import ConvergenceError, DomainError, ShapeError
from riemflow.integration import Solution, solve_ode
from riemflow.losses import Loss, Piecewise
from riemflow.validation import as_float, as_number

Map = Callable[[np.ndarray], np.ndarray]

GOOD = ("finished", "converged")
HORIZON = 1e15  # t = inf gives up here


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
        Parameters, for a gradient flow on a parametrization.
    mu : array, shape=[n, d], or None
        Dual points ∇R(w), for a mirror flow.
    status : str
        "finished": the end time was reached; "converged": t = inf, and the flow has stopped moving;
        "left-domain": it reached the boundary of the domain or region; "failed", "interrupted" or
        "stopped": it ended early for the reason in `message`.
    message : str
    stats : mapping
        formulation, method, n_steps, n_rhs, seconds.
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
            raise DomainError(f"This flow has no dense {of!r}: ask for one of {sorted(self._maps)}.")
        return self._maps[of](self._solution.sol(as_float("t", t)))

    def __repr__(self) -> str:
        stats = self.stats
        return (
            f"Flow({self.status}: {self.message}; d = {self.w.shape[1]}, {stats['formulation']} form, "
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
    times = as_float("t", t)
    if times.ndim == 0:
        return as_number("t", t, above=0.0), None
    if times.ndim != 1 or len(times) == 0:
        raise ShapeError(f"t has shape {times.shape}, but must be an end time or a list of output times.")
    if times[0] < 0 or (np.diff(times) <= 0).any() or times[-1] == 0:
        raise DomainError(f"Output times must be increasing from 0 or later, but t starts {times[:3]}.")
    return float(times[-1]), times


def run_flow(
    rhs: Callable[[Any, np.ndarray], np.ndarray],
    state: np.ndarray,
    t: Any,
    loss: Loss | Piecewise,
    maps: Mapping[str, Map],
    *,
    formulation: str,
    inside: Callable[[np.ndarray], Any] | None,
    rtol: Any,
    atol: Any,
    scale: float,
    method: str,
    progress: bool,
    throw: bool,
    jac: Callable[[Any, np.ndarray], np.ndarray] | None = None,
) -> Flow:
    """Integrate state' = rhs(loss in force, state) and wrap the result as a `Flow`.

    `maps` turn states, shape=[n, m], into "w" and "x" or "mu"; `inside` tells whether one state is
    in the domain; `scale` is the typical size of the state, for the absolute tolerance.
    """
    end, times = output_times(t)
    rtol = as_number("rtol", rtol, above=0.0, below=0.1)
    atol = rtol * scale if atol is None else as_float("atol", atol)
    if (np.asarray(atol) <= 0).any():
        raise DomainError(f"atol is {atol}, but must be > 0.")
    at = loss.at if isinstance(loss, Piecewise) else lambda t: loss
    breakpoints = loss.breakpoints if isinstance(loss, Piecewise) else ()
    events = [] if inside is None else [lambda t, y: 1.0 if inside(y) else -1.0]
    limit = None
    if end == np.inf:
        last = at(HORIZON)
        bound = 0.1 * rtol * scale

        def moving(t: float, y: np.ndarray) -> float:
            # Still: at this speed the state would move less than the tolerance in ten times the time so far.
            late = t > (breakpoints[-1] if len(breakpoints) else 0.0)
            return 1.0 if not late or 10 * t * np.abs(rhs(last, y)).max() > bound else -1.0

        limit, events, end = len(events), [*events, moving], HORIZON
    solution = solve_ode(
        lambda s, y: rhs(at(s), y),
        state,
        (0.0, end),
        rtol=rtol,
        atol=atol,
        t_eval=times,
        jac=None if jac is None else lambda s, y: jac(at(s), y),
        events=events,
        breakpoints=breakpoints,
        method=method,
        progress=progress,
    )
    status, message = solution.status, solution.message
    if status == "event":
        converged = solution.event == limit
        status = "converged" if converged else "left-domain"
        at_time = message.rpartition(" at ")[2]
        message = (
            f"stopped moving at {at_time}"
            if converged
            else f"reached the boundary of the domain at {at_time}"
        )
    elif limit is not None and status == "finished":
        status, message = "stopped", f"still moving at t = {end:g}"
    values = {name: np.asarray(to(solution.y)) for name, to in maps.items()}
    flow = Flow(
        solution.t,
        values["w"],
        values.get("x"),
        values.get("mu"),
        status,
        message,
        {"formulation": formulation, **solution.stats},
        solution,
        dict(maps),
    )
    if throw and status not in GOOD and status != "interrupted":
        raise ConvergenceError(
            f"The flow {message} (status {status!r}): shorten t, change the start or the loss, or pass "
            "throw=False to get what was reached.",
            partial=flow,
        )
    return flow
