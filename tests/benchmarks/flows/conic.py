"""Limits of the flows: `minimize_bregman` against Clarabel, an interior-point solver of conic problems.

The limit minimises D_R(w, w_init) subject to Zw = Y. As cones: hyperbolic entropy is, with w = p - q, the sum
of p ln(p/α²) - p + q ln(q/α²) - q over p, q ≥ 0, two exponential cones a weight (at the minimum pq = α⁴); the
entropy on the simplex one a probability; -log det W + tr W a semidefinite cone, through CVXPY's log_det.
"""

from __future__ import annotations

import importlib.util
import time
import warnings
from typing import Any

import numpy as np
from problems import Matrices, Problem, Regression, error

import riemflow as rf

ROUNDS = 5


def optimality(problem: Problem, w: np.ndarray) -> tuple[float, float]:
    """How far w is from Zw = Y, relative to Y, and ∇R(w) - ∇R(w_init) from the row space, relative to itself.

    ∇R is written here by hand.
    """
    Z, Y = problem.data
    with np.errstate(all="ignore"):
        if isinstance(problem, Regression):
            moved = np.arcsinh(w / (2.0 * problem.alpha**2)) / 4.0
        elif isinstance(problem, Matrices):
            W = np.empty((problem.d, problem.d))
            rows, columns = np.triu_indices(problem.d)
            W[rows, columns] = W[columns, rows] = w
            inverse = np.linalg.inv(W)
            moved = np.where(rows == columns, 1.0, 2.0) * (np.eye(problem.d) - inverse)[rows, columns]
        else:
            moved = np.log(w) - np.log(1.0 - w.sum())
    gap = float(np.abs(Z @ w - Y).max() / np.abs(Y).max())
    if not np.isfinite(moved).all():
        return gap, np.inf
    off = moved - Z.T @ np.linalg.lstsq(Z.T, moved, rcond=None)[0]
    return gap, float(np.abs(off).max() / np.abs(moved).max())


def statement(problem: Problem) -> tuple[Any, Any]:
    """The conic problem, and a function that reads w off its solution."""
    import cvxpy as cp

    Z, Y = problem.data
    if isinstance(problem, Regression):
        p, q = cp.Variable(problem.d), cp.Variable(problem.d)
        c = np.full(problem.d, problem.alpha**2)
        objective = cp.sum(cp.rel_entr(p, c) - p + cp.rel_entr(q, c) - q)
        return cp.Problem(cp.Minimize(objective), [Z @ (p - q) == Y]), lambda: p.value - q.value
    if isinstance(problem, Matrices):
        W = cp.Variable((problem.d, problem.d), symmetric=True)
        measured = problem.measurements @ cp.vec(W, order="C") == Y
        upper = np.triu_indices(problem.d)
        return cp.Problem(cp.Minimize(cp.trace(W) - cp.log_det(W)), [measured]), lambda: W.value[upper]
    p = cp.Variable(problem.d + 1)
    constraints = [Z @ p[:-1] == Y, cp.sum(p) == 1]
    return cp.Problem(cp.Minimize(-cp.sum(cp.entr(p))), constraints), lambda: p.value[:-1]


def compare(problem: Problem, cap: float) -> dict[str, Any]:
    """Solve for the limit both ways: times, and what the answers are worth."""
    (R, w_init), (Z, Y) = problem.legendre(), problem.data
    R.conjugate  # noqa: B018 - made once, when first asked for
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        ours = rf.minimize_bregman(R, w_init, Z, Y)
        seconds.append(time.perf_counter() - began)
    residual, kkt = optimality(problem, ours.w)
    row = {
        "problem": problem.name,
        "seconds": float(np.median(seconds)),
        "iterations": ours.n_iterations,
        "residual": residual,
        "kkt": kkt,
    }
    if not importlib.util.find_spec("cvxpy"):
        return row | {"conic status": "CVXPY is not installed: install the extra `bench`"}
    conic, read = statement(problem)
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # CVXPY warns of inaccurate answers; their status says so as well
        try:
            conic.solve(solver="CLARABEL", time_limit=cap)
        except Exception as failure:  # CVXPY's SolverError, or a panic of the solver's own
            return row | {"conic status": f"failed ({str(failure).splitlines()[0]})"}
    total = time.perf_counter() - began
    w = read() if conic.status in ("optimal", "optimal_inaccurate") else None
    return row | {
        "conic status": conic.status,
        "conic seconds": conic.solver_stats.solve_time,
        "conic seconds with CVXPY": total,
        "conic error": None if w is None else error(w, ours.w),
        "conic residual": None if w is None else optimality(problem, w)[0],
    }
