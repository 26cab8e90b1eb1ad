"""One initial value problem: explicit DOP853 while that is cheap, SUNDIALS' CVODE once it is stiff."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tqdm import tqdm

from riemflow.errors import DomainError
from riemflow.integration.steps import MAX_STEPS, Event, Piece, Rhs, Run


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
    _trace: Callable[[], list[Piece]] = field(repr=False)

    def sol(self, t: Any) -> np.ndarray:
        """Return y at the times t: shape=[...] -> shape=[..., m], by the integrator's own interpolant.

        Interpolants cost more than steps, so they are made when first asked for, by taking the same steps
        once more.

        Raises
        ------
        DomainError
            If a time lies outside what was integrated.
        """
        t = np.asarray(t, dtype=float)
        pieces = self._trace()
        low, high = pieces[0].start, pieces[-1].end
        if (t < low).any() or (t > high).any() or not np.isfinite(t).all():
            raise DomainError(f"t must lie in [{low:g}, {high:g}], the times that were integrated.")
        ends = np.array([piece.end for piece in pieces])
        flat = t.ravel()
        which = np.minimum(np.searchsorted(ends, flat, side="left"), len(ends) - 1)
        out = np.empty((flat.size, self.y.shape[1]))
        for k in np.unique(which):
            out[which == k] = pieces[k](flat[which == k])
        return out.reshape(*t.shape, out.shape[1])


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
    refuses: bool = False,
) -> Solution:
    """Integrate y' = f(t, y) with dense output, restarting at every breakpoint.

    Parameters
    ----------
    rhs : callable, (t, y of shape=[m]) -> shape=[m]
        A non-finite result makes the step smaller.
    y0 : array, shape=[m]
    t_span : (start, end)
    jac : callable, optional
        ∂f/∂y, shape=[m, m], used by CVODE for m up to 2,000.
    events : callables (t, y) -> number or bool
        The integration stops where one ceases to be positive, or true.
    method : "auto", "DOP853" or "CVODE"
        "auto" starts with DOP853 and hands over when its steps are bound by stability.
    longest_step : callable, optional
        Asked before each of CVODE's steps: a bound on its length.
    refuses : bool
        Whether `rhs` raises, or is not finite, where an event is not positive: then CVODE may stride from
        output time to output time, and only if it cannot are its steps looked at one by one.
    """
    if method not in ("auto", "DOP853", "CVODE"):
        raise DomainError(f"method is {method!r}, but must be 'auto', 'DOP853' or 'CVODE'.")
    start, end = t_span
    y0 = np.array(y0, dtype=np.float64)
    edges = [start, *sorted(b for b in breakpoints if start < b < end), end]
    outputs = None if t_eval is None else np.asarray(t_eval, dtype=float)
    run = Run(rhs, jac, events, rtol, atol, max_steps, outputs)
    run.refuses = refuses
    run.longest_step, run.keeps = longest_step, longest_step is not None
    # An integration to t = ∞ has an end so far away that only the time reached says something.
    shape = "{desc}: t = {n:.4g} | {elapsed}" if end - start > 1e12 else "{l_bar}{bar}| {elapsed}"
    began = time.perf_counter()
    with tqdm(total=end - start, disable=not progress, desc="flow", bar_format=shape) as run.bar:
        run.through(edges, y0, method)
    reached = run.reached
    if run.status == "finished":
        run.message = f"reached t = {reached:g}"
    else:
        run.message += f" at t = {reached:.10g}"
        run.add(reached, run.end)
    stats = {**run.stats, "method": "+".join(run.methods), "seconds": time.perf_counter() - began}

    def again() -> list[Piece]:
        if not run.pieces:
            second = Run(rhs, jac, (), rtol, atol, max_steps, None)
            second.keeps, second.until = True, reached
            second.through(edges, y0, method)
            run.pieces = second.pieces or [
                Piece(start, start, lambda t: np.broadcast_to(y0, (np.size(t), len(y0))))
            ]
            last = run.pieces[-1]
            if last.end > reached:
                run.pieces[-1] = Piece(last.start, reached, last.interpolant)
        return run.pieces

    return Solution(np.array(run.t), np.array(run.y), run.status, run.message, run.event, stats, again)
