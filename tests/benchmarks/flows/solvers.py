"""The methods that are compared: riemflow with default options, and peers that integrate x' = velocity(x).

A method is made for a problem; called with a relative tolerance, it returns w at the output times. A peer's
absolute tolerance is rtol times the size of the start, as small starts need. Calls beyond the time limit
raise `Capped`.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from typing import Any

import autograd
import numpy as np
from problems import Problem
from scipy.integrate import solve_ivp

import riemflow as rf

Solve = Callable[[float], np.ndarray]
TRIAL_STEPS = 300

HAS_TORCHDIFFEQ = bool(importlib.util.find_spec("torchdiffeq"))
NO_TORCHDIFFEQ = "torchdiffeq is not installed, and is not compared."
HAS_DIFFRAX = bool(importlib.util.find_spec("diffrax"))
NO_DIFFRAX = "diffrax is not installed, and is not compared: install the extra `bench`."


class Capped(Exception):
    """A solve was stopped at its limit."""


def mirror_flow(problem: Problem, cap: float) -> Solve:
    (R, w_init), loss, times = problem.legendre(), problem.loss, problem.times
    return lambda rtol: rf.mirror_flow(R, loss, w_init, times, rtol=rtol).w


def gradient_flow(problem: Problem, cap: float) -> Solve | None:
    given, times = problem.parametrization(), problem.times
    if given is None:
        return None
    G, loss, x_init = given
    return lambda rtol: rf.gradient_flow(G, loss, x_init, times, rtol=rtol).w


def rk45(problem: Problem, cap: float) -> Solve:
    """SciPy's RK45, the gradient by hand."""
    Z, Y = problem.peer_data
    return _scipy(problem, cap, lambda x: problem.velocity(np, x, Z, Y))


def rk45_autograd(problem: Problem, cap: float) -> Solve:
    """SciPy's RK45, the gradient by autograd."""
    Z, Y = problem.peer_data
    gradient = autograd.grad(lambda x: problem.value(x, Z, Y))
    return _scipy(problem, cap, lambda x: problem.along(x, gradient(x)))


def _scipy(problem: Problem, cap: float, velocity: Callable[[np.ndarray], np.ndarray]) -> Solve:
    def solve(rtol: float, atol: float | None = None) -> np.ndarray:
        latest = time.perf_counter() + cap

        def rhs(t, x):
            if time.perf_counter() > latest:
                raise Capped
            return velocity(x)

        atol = rtol * problem.scale if atol is None else atol
        span = (0.0, problem.T)
        with np.errstate(all="ignore"):
            run = solve_ivp(
                rhs, span, problem.x_init, method="RK45", t_eval=problem.times, rtol=rtol, atol=atol
            )
        return problem.weights_of(_filled(run.y.T, problem))

    return solve


def _filled(x: np.ndarray, problem: Problem) -> np.ndarray:
    """The states at all output times, NaN from where an integrator gave up."""
    missing = np.full((len(problem.times) - len(x), x.shape[1]), np.nan)
    return np.concatenate([x, missing])


def tsit5(problem: Problem, cap: float) -> Solve:
    return _diffrax(problem, "Tsit5", cap)


def dopri8(problem: Problem, cap: float) -> Solve:
    return _diffrax(problem, "Dopri8", cap)


def _diffrax(problem: Problem, solver: str, cap: float) -> Solve:
    import jax
    import jax.numpy as jnp

    run = jax.jit(diffrax_run(problem, solver), static_argnums=0)
    data = [jnp.asarray(a) for a in problem.peer_data]
    x_init = jnp.asarray(problem.x_init)
    most_steps = affordable(lambda most: run(most, x_init, 1e-6, 1e-6 * problem.scale, *data)[1], cap)

    def solve(rtol: float, atol: float | None = None) -> np.ndarray:
        atol = rtol * problem.scale if atol is None else atol
        x, n_steps = run(most_steps, x_init, rtol, atol, *data)
        if int(n_steps) >= most_steps:
            raise Capped
        return problem.weights_of(np.asarray(x))

    return solve


def affordable(trial: Callable[[int], Any], cap: float) -> int:
    """How many steps diffrax, which takes no time limit, takes in `cap` seconds, by a trial of some."""
    trial(TRIAL_STEPS).block_until_ready()  # compiles
    began = time.perf_counter()
    n_steps = int(np.max(trial(TRIAL_STEPS)))
    return int(cap * n_steps / (time.perf_counter() - began))


def diffrax_run(problem: Problem, solver: str) -> Callable[..., tuple[Any, Any]]:
    """(max_steps, x_init, rtol, atol, Z, Y) -> x at the output times, and the number of steps."""
    import diffrax
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    term = diffrax.ODETerm(lambda t, x, data: problem.velocity(jnp, x, *data))
    saveat = diffrax.SaveAt(ts=jnp.asarray(problem.times))

    def run(max_steps, x_init, rtol, atol, Z, Y):
        solution = diffrax.diffeqsolve(
            term,
            getattr(diffrax, solver)(),
            0.0,
            problem.T,
            None,
            x_init,
            (Z, Y),
            saveat=saveat,
            stepsize_controller=diffrax.PIDController(rtol, atol),
            max_steps=max_steps,
            throw=False,
        )
        return solution.ys, solution.stats["num_steps"]

    return run


def torch_dopri5(problem: Problem, cap: float) -> Solve:
    """torchdiffeq's dopri5, the gradient by hand."""
    import torch
    import torchdiffeq

    torch.set_num_threads(1)
    Z, Y, x_init, times = (torch.as_tensor(a) for a in (*problem.peer_data, problem.x_init, problem.times))

    def solve(rtol: float) -> np.ndarray:
        latest = time.perf_counter() + cap

        def rhs(t, x):
            if time.perf_counter() > latest:
                raise Capped
            return problem.velocity(torch, x, Z, Y)

        try:
            with torch.no_grad():
                x = torchdiffeq.odeint(rhs, x_init, times, rtol=rtol, atol=rtol * problem.scale)
        except AssertionError:  # "underflow in dt": it has no status for a failure
            return np.full(problem.reference.shape, np.nan)
        return problem.weights_of(x.numpy())

    return solve


OURS = "riemflow mirror_flow"
COMPILED = ("diffrax Tsit5", "diffrax Dopri8")

METHODS: dict[str, Callable[[Problem, float], Solve | None]] = {
    OURS: mirror_flow,
    "riemflow gradient_flow": gradient_flow,
    "SciPy RK45 on x": rk45,
    "SciPy RK45 on x, autograd": rk45_autograd,
}
if HAS_DIFFRAX:
    METHODS |= {"diffrax Tsit5": tsit5, "diffrax Dopri8": dopri8}
if HAS_TORCHDIFFEQ:
    METHODS["torchdiffeq dopri5"] = torch_dopri5
# The same steps, so the same tolerance does.
SAME_STEPS = {"SciPy RK45 on x, autograd": "SciPy RK45 on x"}
