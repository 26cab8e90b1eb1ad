"""Default tolerances at small starts: errors of every entry point, and of peers at rtol 1e-6, atol 1e-9."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from problems import Regression, error, sparse
from scipy.integrate import solve_ivp
from solvers import HAS_DIFFRAX, Capped, dopri8, rk45, tsit5

import riemflow as rf

RTOL, ATOL = 1e-6, 1e-9

STARTS: list[Regression] = [
    sparse("1e-4", 100, 20, 1e-4, 500.0),
    sparse("1e-8", 100, 20, 1e-8, 1600.0),
    sparse("1e-12", 100, 20, 1e-12, 2400.0),
]


def entry_points(problem: Regression, cap: float) -> dict[str, Callable[[], np.ndarray]]:
    """Functions without arguments that return w at the output times."""
    (R, w_init), loss, times = problem.legendre(), problem.loss, problem.times
    given = problem.parametrization()
    assert given is not None
    G, _, x_init = given

    def mirror(formulation: str) -> Callable[[], np.ndarray]:
        return lambda: rf.mirror_flow(R, loss, w_init, times, formulation=formulation).w

    def gradient(formulation: str) -> Callable[[], np.ndarray]:
        return lambda: rf.gradient_flow(G, loss, x_init, times, formulation=formulation).w

    points = {f"mirror_flow, {form}": mirror(form) for form in ("auto", "row-space", "dual", "primal")}
    points |= {
        f"gradient_flow, {form}": gradient(form) for form in ("auto", "row-space", "dual", "parameters")
    }
    points["riemannian_gradient_flow"] = lambda: (
        rf.riemannian_gradient_flow(rf.HessianManifold(R), loss, w_init, times).w
    )
    peers: dict[str, Any] = {"SciPy RK45 on x": rk45}
    if HAS_DIFFRAX:
        peers |= {"diffrax Tsit5 on x": tsit5, "diffrax Dopri8 on x": dopri8}
    for name, make in peers.items():
        points[name] = lambda make=make: make(problem, cap)(RTOL, ATOL)
    for method in ("LSODA", "Radau"):
        points[f"SciPy {method} on w"] = lambda method=method: on_weights(problem, method, cap)
    return points


def on_weights(problem: Regression, method: str, cap: float) -> np.ndarray:
    """SciPy on w' = -4 √(w² + 4α⁴) ∇L(w)."""
    Z, Y = problem.data
    latest = time.perf_counter() + cap

    def rhs(t, w):
        if time.perf_counter() > latest:
            raise Capped
        return -4.0 * np.hypot(w, 2.0 * problem.alpha**2) * (((Z @ w - Y) / problem.n) @ Z)

    span, start = (0.0, problem.T), np.zeros(problem.d)
    run = solve_ivp(rhs, span, start, method=method, t_eval=problem.times, rtol=RTOL, atol=ATOL)
    return run.y.T if run.success else np.full((len(problem.times), problem.d), np.nan)


def measure(problem: Regression, cap: float) -> dict[str, dict[str, float]]:
    """The error and the seconds of every entry point from one start; an infinite error beyond the limit."""
    reference = problem.reference
    rows: dict[str, dict[str, float]] = {}
    for name, solve in entry_points(problem, cap).items():
        began = time.perf_counter()
        try:
            found = error(solve(), reference)
        except Capped:
            found = np.inf
        rows[name] = {"error": found, "seconds": time.perf_counter() - began}
    return rows
