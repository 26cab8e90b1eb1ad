"""An ensemble: problem A from 128 starts, α from 1e-3 to 1e-1, on one core."""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
from problems import Regression, sparse
from solvers import HAS_DIFFRAX, OURS, Capped, Solve, affordable, diffrax_run

import riemflow as rf

STARTS = np.geomspace(1e-3, 1e-1, 128)
SEEN = slice(None, None, 16)  # the cases that have references; the largest of their errors counts
BASE = sparse("ensemble of 128", 100, 20, 1e-2, 160.0)


def case(alpha: float) -> Regression:
    return dataclasses.replace(BASE, alpha=float(alpha))


def reference() -> np.ndarray:
    return np.array([case(alpha).reference for alpha in STARTS[SEEN]])


def one(alpha: float, rtol: float) -> rf.Flow:
    problem = case(alpha)
    R, w_init = problem.legendre()
    return rf.mirror_flow(R, BASE_LOSS, w_init, problem.times, rtol=rtol)


BASE_LOSS = BASE.loss


def through_ensemble() -> Solve:
    cases = [{"alpha": float(alpha)} for alpha in STARTS]
    return lambda rtol: rf.ensemble(partial(one, rtol=rtol), cases)["w"][SEEN]


def together() -> Solve:
    G, x_init = rf.parametrizations.HadamardDifference(BASE.d), STARTS[:, None] * np.ones(2 * BASE.d)
    return lambda rtol: rf.gradient_flows(G, BASE_LOSS, x_init, BASE.times, rtol=rtol)["w"][SEEN]


def vmapped(solver: str, cap: float) -> Solve:
    import jax
    import jax.numpy as jnp

    mapped = jax.vmap(diffrax_run(BASE, solver), in_axes=(None, 0, None, 0, None, None))
    run = jax.jit(mapped, static_argnums=0)
    data = [jnp.asarray(a) for a in BASE.peer_data]
    x_init = jnp.asarray(STARTS[:, None] * np.ones(2 * BASE.d))
    most_steps = affordable(lambda most: run(most, x_init, 1e-6, jnp.asarray(1e-6 * STARTS), *data)[1], cap)

    def solve(rtol: float) -> np.ndarray:
        x, n_steps = run(most_steps, x_init, rtol, jnp.asarray(rtol * STARTS), *data)
        if int(n_steps.max()) >= most_steps:
            raise Capped
        return BASE.weights_of(np.asarray(x)[SEEN])

    return solve


def makers(cap: float) -> dict:
    """The methods, each made by a function of no arguments."""
    methods: dict = {OURS: through_ensemble, "riemflow gradient_flows": together}
    if HAS_DIFFRAX:
        methods |= {f"diffrax {s}": partial(vmapped, s, cap) for s in ("Tsit5", "Dopri8")}
    return methods
