"""One flow from many starts: integrated together where that is cheap, one by one where it is not."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from riemflow.errors import ShapeError
from riemflow.flows.dual_forms import RowSpace, common_rows
from riemflow.flows.ensembles.cases import CaseResult
from riemflow.flows.ensembles.ensemble import Ensemble, ensemble, gathered
from riemflow.flows.first_length import first_lengths
from riemflow.flows.gradient import gradient_flow
from riemflow.flows.mirror import is_numerical, mirror_flow
from riemflow.flows.solution import output_times
from riemflow.integration import SHARE, solve_batched
from riemflow.legendre.function import LegendreFunction
from riemflow.losses import Loss, Piecewise, as_loss
from riemflow.parametrizations.parametrization import Parametrization
from riemflow.validation import as_number, require_kind

# Rounds of the explicit integrator, after which CVODE is cheaper for the rows that are left (measured).
MOST_ROUNDS = 1000
SMALLEST_STEP = 1e-9  # of an interval between outputs: below it a row runs into an edge
Many = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (dual points, shape=[k, d]; rows, shape=[k])


def gradient_flows(
    G: Parametrization,
    loss: Any,
    x_init: Any,
    t: Any,
    *,
    rtol: float = 1e-8,
    backend: str | None = None,
    n_jobs: int = -1,
    progress: bool = False,
) -> Ensemble:
    """Integrate ``x' = -∂G(x)ᵀ ∇L(G(x))`` from each of many starts; the plural of `gradient_flow`.

    Where the joint flow ψ of G has a closed form all starts advance together, ``x = ψ(x_init; μ)`` with
    ``μ' = -∇L(G(x))`` or, for L(w) = ℓ(Zw), n equations ``ν' = ∇ℓ(Z G(x))``, μ = -Zᵀν: one vectorised right
    side, and an explicit step of each one's own. The starts for which that takes too many steps, as stiff
    ones do, and all of them for t = inf, a `Piecewise` loss or another G, go to `gradient_flow` one by one.

    Parameters
    ----------
    G : Parametrization
    loss : Loss, Piecewise, or callable, shape=[..., d] -> shape=[...]
    x_init : array, shape=[m, D]
    t : float, increasing array, or np.inf
        End time, output times, or the limit.
    rtol : float
        As for `gradient_flow`.
    backend, n_jobs, progress
        Of the starts that go one by one, as for `ensemble`.

    Returns
    -------
    Ensemble
        ``["w"]`` of shape [m, k, d] and ``["x"]`` of shape [m, k, D] at the k output times (one if t is a
        number); a flow that ended early is reported like any failing case.

    Raises
    ------
    DomainError, ShapeError
        For bad input.
    """
    require_kind("G", G, Parametrization)
    loss = as_loss(loss, G.dim)
    x = _many(G._inside(x_init, "x_init"), "x_init", G.dim_in)
    one: Any = partial(gradient_flow, G, loss, t=t, rtol=rtol)
    if G._joint_flow(x[0], np.zeros(G.dim)) is None:
        return ensemble(one, x, backend=backend, n_jobs=n_jobs, progress=progress)

    def place(mu: np.ndarray, rows: np.ndarray) -> Any:
        return G._joint_flow(_of_rows(x, rows), mu)

    def weights(mu: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return G._joint_weights(_of_rows(x, rows), mu)

    problem = _Problem(loss, np.zeros((len(x), G.dim)), weights, {"w": weights, "x": place}, rtol)
    return _together(problem, x, t, one, backend, n_jobs, progress)


def mirror_flows(
    R: LegendreFunction,
    loss: Any,
    w_init: Any,
    t: Any,
    *,
    rtol: float = 1e-8,
    backend: str | None = None,
    n_jobs: int = -1,
    progress: bool = False,
) -> Ensemble:
    """Integrate ``μ' = -∇L(∇R*(μ))`` from each of many starts; the plural of `mirror_flow`.

    All starts advance together where ∇R* takes no iteration, in the dual or the row-space form; see
    `gradient_flows`.

    Parameters
    ----------
    R : LegendreFunction
    loss : Loss, Piecewise, or callable, shape=[..., d] -> shape=[...]
    w_init : array, shape=[m, d]
    t, rtol, backend, n_jobs, progress
        As for `gradient_flows`.

    Returns
    -------
    Ensemble
        With ``["w"]`` and ``["mu"]``, shape=[m, k, d].

    Raises
    ------
    DomainError, ShapeError
        For bad input.
    """
    require_kind("R", R, LegendreFunction)
    loss = as_loss(loss, R.dim)
    w = _many(R._inside(w_init, "w_init"), "w_init", R.dim)
    one: Any = partial(mirror_flow, R, loss, t=t, rtol=rtol)
    Q = R.conjugate
    if is_numerical(Q):
        return ensemble(one, w, backend=backend, n_jobs=n_jobs, progress=progress)

    def weights(mu: np.ndarray, rows: np.ndarray) -> np.ndarray:
        found = np.full_like(mu, np.nan)
        inside = np.asarray(Q._belongs(mu)) & np.isfinite(mu).all(axis=-1)
        if inside.any():
            found[inside] = Q._gradient(mu[inside])
        return found

    problem = _Problem(loss, R._gradient(w), weights, {"w": weights, "mu": lambda mu, rows: mu}, rtol)
    return _together(problem, w, t, one, backend, n_jobs, progress)


@dataclass(frozen=True)
class _Problem:
    """Many flows of one loss, by their dual points at t = 0 and what takes dual points to weights."""

    loss: Loss | Piecewise
    mu_init: np.ndarray
    weights: Many
    outputs: dict[str, Many]
    rtol: float


def _together(
    problem: _Problem, starts: np.ndarray, t: Any, one: Any, backend: Any, n_jobs: int, progress: bool
) -> Ensemble:
    began = time.perf_counter()
    end, times = output_times(t)
    if end == np.inf or isinstance(problem.loss, Piecewise):
        return ensemble(one, starts, backend=backend, n_jobs=n_jobs, progress=progress)
    times = np.array([end]) if times is None else times
    values, reached, formulation = _explicit(problem, times)
    seconds = (time.perf_counter() - began) / len(starts)
    message, texts = f"reached t = {end:g}", {"formulation": formulation, "method": "DOP853, together"}
    good = CaseResult("finished", message, "", {}, texts, seconds)
    results: list[CaseResult] = [
        replace(good, values={"t": times.copy(), **{name: value[k] for name, value in values.items()}})
        for k in range(len(starts))
    ]
    left = np.flatnonzero(~reached)
    if len(left):
        # At one time the singular gives its own steps: only the end is comparable.
        singular = ensemble(
            partial(one, t=times), starts[left], backend=backend, n_jobs=n_jobs, progress=progress
        )
        for k, result in zip(left, singular, strict=True):
            results[k] = result
    stats = {"backend": backend, "n_loaded": 0, "n_one_by_one": len(left)}
    return gathered(list(starts), results, False, {**stats, "seconds": time.perf_counter() - began})


def _explicit(problem: _Problem, times: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray, str]:
    """Return the outputs at the times, shape=[m, k, …], which rows have got to the end, and the form."""
    loss: Any = problem.loss
    start, weights, Z = problem.mu_init, problem.weights, common_rows(problem.loss)
    m, d = start.shape
    sizes = np.abs(start).max(axis=1)
    if Z is not None and Z.shape[0] < d:
        space = RowSpace(Z)
        formulation, state = "row-space", np.zeros((m, space.dim))
        norm = float(np.linalg.norm(Z, 2)) if isinstance(Z, np.ndarray) else float(np.sqrt((Z * Z).sum()))

        def to_mu(c: np.ndarray, rows: np.ndarray) -> np.ndarray:
            return _of_rows(start, rows) - loss._combine(space.lift(c))

        def rhs(s, c, rows):
            return space.drop(loss._outer_gradient(loss._model(weights(to_mu(c, rows), rows))))
    else:
        formulation, state, norm = "dual", start.copy(), 1.0

        def to_mu(mu: np.ndarray, rows: np.ndarray) -> np.ndarray:
            return mu

        def rhs(s, mu, rows):
            return -loss._gradient(weights(mu, rows))

    rtol = as_number("rtol", problem.rtol, above=0.0, below=0.1)
    lengths, at_origin = np.where(sizes > 0, sizes, 1.0) / (norm or 1.0), np.flatnonzero(sizes == 0)
    if len(at_origin):
        with np.errstate(all="ignore"):
            first = first_lengths(lambda y: rhs(0.0, y, at_origin), state[at_origin], float(times[-1]))
        lengths[at_origin] = np.minimum(lengths[at_origin], first)
    options = {
        "rtol": max(SHARE * rtol, 2.5e-14),
        "smallest_step": SMALLEST_STEP,
    }
    found: dict[str, list[np.ndarray]] = {name: [] for name in problem.outputs}
    active, now, step, n_tried = np.arange(m), 0.0, None, np.zeros(m, int)
    with np.errstate(all="ignore"):
        for time_ in times:
            if time_ > now and len(active):
                rows = active

                def of_rows(s, y, who, rows=rows):
                    return rhs(s, y, rows[who])

                length = time_ - now
                first = 1e-3 if step is None else np.clip(step[rows] / length, 1e-6, 1.0)
                state[rows], share, stats = solve_batched(
                    of_rows,
                    state[rows],
                    length,
                    atol=SHARE * rtol * lengths[rows],
                    first_step=first,
                    most_rounds=MOST_ROUNDS,
                    **options,
                )
                n_tried[rows] += stats["n_tried"]
                step = np.zeros(m)
                step[rows] = stats["next_step"] * length
                active, now = rows[(share == 1.0) & (n_tried[rows] <= MOST_ROUNDS)], float(time_)
            every = np.arange(m)
            for name, output in problem.outputs.items():
                found[name].append(output(to_mu(state.copy(), every), every))
        values = {name: np.stack(parts, axis=1) for name, parts in found.items()}
    reached = np.zeros(m, bool)
    reached[active] = True
    for value in values.values():
        reached &= np.isfinite(value).all(axis=(1, 2))
    return values, reached, formulation


def _of_rows(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return array if len(rows) == len(array) else array[rows]  # all of them most of the time: no copy


def _many(points: np.ndarray, name: str, dim: int) -> np.ndarray:
    if points.ndim != 2 or len(points) == 0:
        raise ShapeError(f"{name} has shape {points.shape}, but must be many points, shape [m, {dim}].")
    return points
