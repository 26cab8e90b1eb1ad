"""Riemannian gradient descent against pymanopt and geomstats on the same problems, in one run.

    python tests/benchmarks/geometry/descents.py            # some seconds

All get the same plain loss and its Euclidean gradient, written with NumPy. riemflow's descent backtracks with
retraction steps; pymanopt's steepest descent has its own line search; geomstats has Fréchet means by gradient
descent. Each stops by its own means, after at most 150 steps; what counts is the norm of the Riemannian
gradient where it stopped and the time until then.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pymanopt
from geomstats.geometry.hypersphere import Hypersphere
from geomstats.geometry.spd_matrices import SPDAffineMetric, SPDMatrices
from geomstats.geometry.stiefel import Stiefel
from geomstats.learning.frechet_mean import FrechetMean
from pymanopt import manifolds
from pymanopt.optimizers import SteepestDescent

sys.path.append(str(Path(__file__).parents[1]))

from machine import machine

import riemflow as rf
from riemflow.flows import Backtracking
from riemflow.spaces import RiemannianSpace

PACKAGES = ("riemflow", "numpy", "scipy", "geomstats", "pymanopt")
ROUNDS = 5


class Rayleigh:
    """½ xᵀAx on the sphere of R^d, least at the first eigenvector."""

    def __init__(self, d: int):
        self.name, self.A = f"Rayleigh quotient, d={d}", np.diag(np.linspace(1.0, 4.0, d))
        self.space, self.peer = Hypersphere(d - 1), manifolds.Sphere(d)
        self.start = np.full(d, d**-0.5)

    def loss(self, x):
        return 0.5 * float(x @ self.A @ x)

    def gradient(self, x):
        return self.A @ x


class Brockett:
    """½ tr(XᵀAXN) on frames of R^d, with R^{d x k}'s metric in pymanopt, the canonical one in geomstats."""

    def __init__(self, d: int, k: int):
        self.name, self.A = f"Brockett, {d} x {k}", np.diag(np.linspace(1.0, 4.0, d))
        self.N = np.diag(np.arange(k, 0.0, -1.0))
        self.space, self.peer = Stiefel(d, k), manifolds.Stiefel(d, k)
        self.start = np.linalg.qr(np.random.default_rng(0).standard_normal((d, k)))[0]

    def loss(self, X):
        return 0.5 * float(np.sum((self.A @ X) * (X @ self.N)))

    def gradient(self, X):
        return self.A @ X @ self.N


class Mean:
    """The mean of m positive definite n x n matrices under the affine-invariant metric."""

    def __init__(self, n: int, m: int):
        self.name = f"Fréchet mean of {m} matrices {n} x {n}"
        B = np.random.default_rng(0).standard_normal((m, n, n))
        self.samples = B @ np.swapaxes(B, -1, -2) + 0.5 * np.eye(n)
        self.space = SPDMatrices(n, equip=False)
        self.space.equip_with_metric(SPDAffineMetric)
        self.peer, self.start = manifolds.SymmetricPositiveDefinite(n), self.samples[0]

    def _logs(self, X):
        values, vectors = np.linalg.eigh(X)
        root, inverse = ((vectors * values**p) @ vectors.T for p in (0.5, -0.5))
        inner, turn = np.linalg.eigh(inverse @ self.samples @ inverse)
        return root, inverse, np.log(inner), turn

    def loss(self, X):
        return 0.5 * float(np.mean((self._logs(X)[2] ** 2).sum(axis=-1)))

    def gradient(self, X):
        _, inverse, logs, turn = self._logs(X)
        mean = np.mean((turn * logs[..., None, :]) @ np.swapaxes(turn, -1, -2), axis=0)
        return -inverse @ mean @ inverse


def by_riemflow(problem: Any) -> np.ndarray:
    run = rf.riemannian_gradient_descent(
        problem.space,
        problem.loss,
        problem.start,
        Backtracking(),
        150,
        step="retraction",
        gradient=problem.gradient,
        until_gradient=1e-8,
    )
    return run.w[-1]


def by_pymanopt(problem: Any) -> np.ndarray:
    cost = pymanopt.function.numpy(problem.peer)(problem.loss)
    gradient = pymanopt.function.numpy(problem.peer)(problem.gradient)
    task = pymanopt.Problem(problem.peer, cost, euclidean_gradient=gradient)
    optimizer = SteepestDescent(max_iterations=150, min_gradient_norm=1e-8, verbosity=0)
    return optimizer.run(task, initial_point=problem.start).point


def by_geomstats(problem: Any) -> np.ndarray:
    mean = FrechetMean(problem.space)
    mean.set(max_iter=150, epsilon=1e-16)
    return mean.fit(problem.samples).estimate_


def steepness(problem: Any, x: np.ndarray) -> float:
    """The norm of the Riemannian gradient."""
    M = RiemannianSpace(problem.space)
    slope = problem.gradient(x)
    return float(np.sqrt(np.sum(slope * M.gradient(x, slope, np.linalg.solve))))


def measure(problem: Any, solve: Callable[[Any], np.ndarray]) -> dict[str, float]:
    x, times = solve(problem), []
    for _ in range(ROUNDS):
        start = time.process_time()
        solve(problem)
        times.append(time.process_time() - start)
    return {"seconds": float(np.median(times)), "gradient": steepness(problem, x), "loss": problem.loss(x)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="a JSON file for the numbers, with the machine and versions")
    options = parser.parse_args()
    rows = []
    for problem in (Rayleigh(50), Brockett(10, 3), Mean(4, 10)):
        solvers = {"riemflow": by_riemflow, "pymanopt": by_pymanopt}
        if isinstance(problem, Mean):
            solvers["geomstats"] = by_geomstats
        for name, solve in solvers.items():
            row = {"what": problem.name, "solver": name, **measure(problem, solve)}
            print(
                f"{row['what']:36s} {name:16s} {1e3 * row['seconds']:8.1f} ms, loss {row['loss']:.12f}, "
                f"gradient {row['gradient']:.0e}",
                flush=True,
            )
            rows.append(row)
    if options.out is not None:
        options.out.write_text(json.dumps({"machine": machine(PACKAGES), "rows": rows}, indent=1), "utf-8")


if __name__ == "__main__":
    main()
