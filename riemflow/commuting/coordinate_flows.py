"""The flows φ_i^t along the gradient fields ∇G_i, and the joint flow ψ composed of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from riemflow.commuting.flow_ends import COMPLETE, LEFT_DOMAIN, UNDECIDED, Units, flow_ends
from riemflow.commuting.flow_steps import StepGuard
from riemflow.commuting.lift import _fields, _onto
from riemflow.errors import ConvergenceError, DomainError, ShapeError
from riemflow.integration import solve_batched
from riemflow.parametrizations.parametrization import Parametrization
from riemflow.validation import as_float, as_number, as_points, require_kind, short

RTOL = 1e-12
ATOL = 1e-16  # in units of x over which the field changes
MOST_EVALUATIONS = 12 * 10_000  # of the field in one row: beyond, the flow is too stiff or too long


def coordinate_flow(G: Parametrization, x: Any, i: int, t: Any, *, rtol: float = RTOL) -> np.ndarray:
    """φ_i^t(x): the solution at time t of ``x' = ∇G_i(x)`` started at x (Sec. 3.1).

    The sign is that of equation (4) and of Lemma 4.6: along +∇G_i, so that μ is the time.

    Parameters
    ----------
    x : array, shape=[..., D]
    i : int
        Which weight, counted from 0.
    t : array, shape=[...]
        Times of either sign; broadcast against the batch axes of x.
    rtol : float
        Relative tolerance of a step.

    Returns
    -------
    y : array, shape=[..., D]
        On M, if G lives on a submanifold.

    Raises
    ------
    DomainError
        If x is not in the domain of G, or the flow blows up or leaves the domain before t; the
        message names the time at which it does.
    ShapeError
        If shapes do not fit.
    ConvergenceError
        If the flow is too long or too stiff to be followed to t.
    """
    require_kind("G", G, Parametrization)
    i = _index(G, i)
    x = G._inside(x)
    rtol = as_number("rtol", rtol, above=1e-14, below=1e-2)
    t = as_float("t", t)
    try:
        batch = np.broadcast_shapes(x.shape[:-1], t.shape)
    except ValueError as error:
        raise ShapeError(
            f"t has shape {t.shape}, which does not broadcast with the batch axes {x.shape[:-1]} of x."
        ) from error
    start = np.broadcast_to(x, (*batch, G.dim_in)).reshape(-1, G.dim_in)
    times = np.broadcast_to(t, batch).reshape(-1)
    legs = follow(G, start, np.full(len(start), i), times, rtol=rtol)
    _require_reached(G, start, i, times, legs)
    return legs.x.reshape(*batch, G.dim_in)


def joint_flow(
    G: Parametrization, x: Any, mu: Any, *, order: Sequence[int] | None = None, rtol: float = RTOL
) -> np.ndarray:
    """ψ(x; μ) = φ_1^{μ_1} ∘ φ_2^{μ_2} ∘ ⋯ ∘ φ_d^{μ_d}(x), equation (4).

    If G commutes and satisfies Assumption 3.5 the order does not matter (Theorem 4.2), and
    ``ψ(x_init; ∇R(w))`` is the reachable point over w (Lemma 4.7).

    Parameters
    ----------
    x : array, shape=[..., D]
    mu : array, shape=[..., d]
        Broadcast against the batch axes of x.
    order : sequence of int, optional
        A permutation of 0 … d-1, read as the composition is written: ``φ_{order[0]} ∘ ⋯ ∘
        φ_{order[-1]}``, so the last one is followed first. Default 0, 1, …, d-1, as in the paper.
    rtol : float

    Returns
    -------
    y : array, shape=[..., D]

    Raises
    ------
    DomainError
        If μ is not in U(x): one of the flows blows up or leaves the domain on its way.
    ShapeError
        If shapes do not fit, or `order` is no permutation.
    ConvergenceError
        As `coordinate_flow`.
    """
    require_kind("G", G, Parametrization)
    x = G._inside(x)
    mu = as_points("mu", mu, G.dim)
    rtol = as_number("rtol", rtol, above=1e-14, below=1e-2)
    order = list(range(G.dim)) if order is None else [_index(G, k) for k in order]
    if sorted(order) != list(range(G.dim)):
        raise ShapeError(f"order is {order}, but must be a permutation of 0 … {G.dim - 1}.")
    try:
        batch = np.broadcast_shapes(x.shape[:-1], mu.shape[:-1])
    except ValueError as error:
        raise ShapeError(
            f"mu has shape {mu.shape}, whose batch axes do not broadcast with {x.shape[:-1]} of x."
        ) from error
    point = np.broadcast_to(x, (*batch, G.dim_in)).reshape(-1, G.dim_in)
    times = np.broadcast_to(mu, (*batch, G.dim)).reshape(-1, G.dim)
    for i in reversed(order):
        legs = follow(G, point, np.full(len(point), i), times[:, i], rtol=rtol)
        _require_reached(G, point, i, times[:, i], legs)
        point = legs.x
    return point.reshape(*batch, G.dim_in)


@dataclass(frozen=True)
class Legs:
    """Where a batch of coordinate flows ended.

    Attributes
    ----------
    x : array, shape=[n, D]
        The last points reached.
    reached : array, shape=[n]
        The share of the time covered: 1 if all.
    gave_up : bool, shape=[n]
        Whether a flow was ended for its length rather than at an edge.
    """

    x: np.ndarray
    reached: np.ndarray
    gave_up: np.ndarray


def follow(
    G: Parametrization, x: np.ndarray, which: np.ndarray, times: np.ndarray, *, rtol: float = RTOL
) -> Legs:
    """Follow row k from x[k] along ∇G_{which[k]} for times[k]: raw, all rows in one integration.

    Shapes: x [n, D], which int [n], times [n].
    """
    units = Units.at(G, x, which)
    guard = StepGuard(G, x, units.x)
    D = G.dim_in
    spent = np.zeros(len(x), int)

    def rhs(s, y, rows):
        spent[rows] += 1
        x = y[:, :D] * units.x[rows, None]
        fields = _fields(G, x)
        velocity = times[rows, None] * fields[np.arange(len(rows)), which[rows]]
        velocity[spent[rows] > MOST_EVALUATIONS] = np.nan
        out = np.empty_like(y)
        out[:, :D] = velocity / units.x[rows, None]
        out[:, D] = guard.height_rate(x, fields, velocity, rows)
        return out

    def project(s, y, rows):
        out = np.empty_like(y)
        moved = _onto(G, y[:, :D] * units.x[rows, None])
        out[:, :D] = moved / units.x[rows, None]
        out[:, D] = guard.passed(moved, y[:, D], rows)
        return out

    y0 = np.concatenate([x / units.x[:, None], guard.height[:, None]], axis=-1)
    y, reached, _ = solve_batched(rhs, y0, 1.0, rtol=rtol, atol=ATOL, project=project)
    # No flow is needed for no time, even where the field vanishes or cannot be scaled.
    reached = np.where(times == 0.0, 1.0, reached)
    ends = np.where((times == 0.0)[:, None], x, y[:, :D] * units.x[:, None])
    return Legs(ends, reached, (reached < 1.0) & (spent > MOST_EVALUATIONS))


def _index(G: Parametrization, i: Any) -> int:
    if isinstance(i, bool | np.bool_) or not isinstance(i, int | np.integer) or not 0 <= i < G.dim:
        raise DomainError(f"i is {i!r}, but must be a whole number from 0 to {G.dim - 1}: which weight of G.")
    return int(i)


def _require_reached(G: Parametrization, x: np.ndarray, i: int, times: np.ndarray, legs: Legs) -> None:
    """Raise an error about the first row that was not followed to its end, with the time it ends at."""
    short_of = np.flatnonzero(legs.reached < 1.0)
    if len(short_of) == 0:
        return
    k = int(short_of[0])
    more = f" (and {len(short_of) - 1} more)" if len(short_of) > 1 else ""
    flow = f"the flow of ∇G_{i + 1} of {G.name} from x = {short(x[k])}{more}"
    asked = f"but t = {times[k]:g} was asked"
    stopped = f"{times[k] * legs.reached[k]:.10g}"
    if legs.gave_up[k]:
        raise ConvergenceError(
            f"{flow} was followed to t = {stopped}, {asked}: it is too long or too stiff; shorten t."
        )
    sign = 1.0 if times[k] > 0 else -1.0
    end = flow_ends(G, x[k : k + 1], np.array([i]), np.array([sign]))
    reason, time = str(end.reason[0]), sign * end.time[0]
    if reason in (COMPLETE, UNDECIDED):
        raise ConvergenceError(
            f"{flow} stopped at t = {stopped}, {asked}, and no edge was found there ({reason}): take a "
            "shorter time, or check G's derivatives and restrict its domain=."
        )
    what = "leaves the domain" if reason == LEFT_DOMAIN else "blows up"
    raise DomainError(f"{flow} {what} at t = {time:.12g}, {asked}: keep t within it.")
