"""Exponential maps and logarithms against geomstats: its generic path, and its own classes, in one run.

    python tests/benchmarks/geometry/geodesics.py            # some minutes
    python tests/benchmarks/geometry/geodesics.py --quick    # half a minute: exponential maps in the plane

The generic path is a `RiemannianMetric` whose matrix is a closed form written with autograd, and everything
else geomstats' automatic differentiation, under its autograd backend. Its solvers are SciPy's DOP853
and solve_bvp, at tolerances at which they reach what riemflow reaches; its default, ten Euler steps, is
timed too. Its own classes for the Gamma, Beta and Dirichlet families run as they come. riemflow's closed
forms are switched off. Times are of the processor, medians of rounds in turn. In the generic rows errors are
against geomstats' DOP853 at 1e-12 and the vector that it shot, in those of its own classes against riemflow.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", GEOMSTATS_BACKEND="autograd")

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import autograd.numpy as anp
import numpy as np

sys.path.append(str(Path(__file__).parents[1]))

from autograd.scipy.special import polygamma
from geomstats.geometry.base import VectorSpaceOpenSet
from geomstats.geometry.euclidean import Euclidean
from geomstats.geometry.riemannian_metric import RiemannianMetric
from geomstats.information_geometry.beta import BetaDistributions
from geomstats.information_geometry.dirichlet import DirichletDistributions
from geomstats.information_geometry.gamma import GammaDistributions
from geomstats.numerics.bvp import ScipySolveBVP
from geomstats.numerics.geodesic import ExpODESolver, LogODESolver
from geomstats.numerics.ivp import GSIVPIntegrator, ScipySolveIVP
from machine import machine

from riemflow.geometry import HessianManifold, HessianMetric
from riemflow.legendre import Beta, Dirichlet, Gamma, LegendreFunction, LogSumExp

PACKAGES = ("riemflow", "numpy", "scipy", "geomstats", "autograd")


class OpenSet(VectorSpaceOpenSet):
    """A bare open set of R^d for the generic path."""

    def belongs(self, point, atol=0.0):
        return np.ones(point.shape[:-1], bool)

    def projection(self, point):
        return point


class GenericMetric(RiemannianMetric):
    """A metric given by its matrix alone."""

    def __init__(self, space, matrix, euler: bool):
        super().__init__(space=space)
        self._matrix = matrix
        tight = ScipySolveIVP(method="DOP853", rtol=1e-12, atol=1e-13)
        self.exp_solver = ExpODESolver(space, integrator=GSIVPIntegrator() if euler else tight)
        boundary = ScipySolveBVP(tol=1e-8, max_nodes=2000)
        self.log_solver = LogODESolver(space, n_nodes=20, integrator=boundary, use_jac=False)

    def metric_matrix(self, base_point=None):
        return self._matrix(base_point)


def generic(dim: int, matrix: Callable, euler: bool = False) -> RiemannianMetric:
    space = OpenSet(dim=dim, embedding_space=Euclidean(dim, equip=False), equip=False)
    space.metric = GenericMetric(space, matrix, euler)
    return space.metric


def dirichlet_matrix(w):
    total = polygamma(1, anp.sum(w, axis=-1))[..., None, None]
    return polygamma(1, w)[..., None] * anp.eye(w.shape[-1]) - total


def log_sum_exp_matrix(w):
    e = anp.exp(w)
    p = e / (1.0 + anp.sum(e, axis=-1, keepdims=True))
    return p[..., None] * anp.eye(w.shape[-1]) - p[..., :, None] * p[..., None, :]


def integrated(R: LegendreFunction) -> HessianMetric:
    space = HessianManifold(R, equip=False)
    space.equip_with_metric(HessianMetric, closed_form=False)
    return space.metric


def compare(label: str, ours: Callable, theirs: Callable, exact: Any, cap: float = 5.0) -> dict:
    """Time both in turn, for at most `cap` seconds of theirs, and take medians of the rounds.

    The error is relative to the largest entry.
    """
    times: dict[str, list[float]] = {"riemflow": [], "geomstats": []}
    errors = {"riemflow": np.abs(ours() - exact).max() / np.abs(exact).max()}
    while len(times["geomstats"]) < 7 and sum(times["geomstats"]) < cap:
        for name, run, repeats in (("riemflow", ours, 5), ("geomstats", theirs, 1)):
            start = time.process_time()
            for _ in range(repeats):
                value = run()
            times[name].append((time.process_time() - start) / repeats)
            errors[name] = np.abs(value - exact).max() / np.abs(exact).max()
    seconds = {name: float(np.median(values)) for name, values in times.items()}
    ratio = seconds["geomstats"] / seconds["riemflow"]
    print(
        f"{label:40s} {1e3 * seconds['riemflow']:8.2f} ms, geomstats {1e3 * seconds['geomstats']:9.1f} ms: "
        f"{ratio:7.0f}x, errors {errors['riemflow']:.0e}, {errors['geomstats']:.0e}",
        flush=True,
    )
    return {
        "what": label,
        "seconds": seconds,
        "ratio": ratio,
        "errors": {name: float(error) for name, error in errors.items()},
    }


def against_generic(dims: tuple[int, ...], logs: bool = True) -> list[dict]:
    rows, rng = [], np.random.default_rng(0)
    for d in dims:
        families = (
            ("Dirichlet", Dirichlet(d), dirichlet_matrix),
            ("LogSumExp", LogSumExp(d), log_sum_exp_matrix),
        )
        for name, R, matrix in families:
            ours, tight, euler = integrated(R), generic(d, matrix), generic(d, matrix, euler=True)
            w, v = rng.uniform(1.0, 2.0, d), 0.3 * rng.standard_normal(d)
            q = tight.exp(v, w)
            exp, log = partial(ours.exp, v, w), partial(ours.log, q, w)
            rows += [
                compare(f"exp, {name}, d={d}, DOP853", exp, partial(tight.exp, v, w), q),
                compare(f"exp, {name}, d={d}, ten Euler steps", exp, partial(euler.exp, v, w), q),
            ]
            if logs:
                rows.append(compare(f"log, {name}, d={d}", log, partial(tight.log, q, w), v))
    return rows


def gamma_from_standard(p: np.ndarray) -> np.ndarray:
    """Natural parameters (shape, -rate) of geomstats' (shape, mean)."""
    return np.stack([p[..., 0], -p[..., 0] / p[..., 1]], axis=-1)


def gamma_push(u: np.ndarray, p: np.ndarray) -> np.ndarray:
    second = -u[..., 0] / p[..., 1] + p[..., 0] * u[..., 1] / p[..., 1] ** 2
    return np.stack([u[..., 0], second], axis=-1)


def same(u: np.ndarray, p: Any = None) -> np.ndarray:
    return u


def against_classes(logs: bool = True) -> list[dict]:
    rows, rng = [], np.random.default_rng(1)
    cases = (
        ("Gamma", Gamma(), GammaDistributions().metric, gamma_from_standard, gamma_push),
        ("Beta", Beta(), BetaDistributions().metric, same, same),
        ("Dirichlet, d=5", Dirichlet(5), DirichletDistributions(5).metric, same, same),
    )
    for name, R, theirs, there, push in cases:
        ours = HessianManifold(R).metric
        for n in (1, 20):
            shape = (R.dim,) if n == 1 else (n, R.dim)
            p, u = rng.uniform(1.0, 3.0, shape), 0.2 * rng.standard_normal(shape)
            w, v = there(p), push(u, p)
            exp, own = partial(ours.exp, v, w), partial(exp_there, theirs, u, p, there)
            rows.append(compare(f"exp of {n}, {name}, own class", exp, own, ours.exp(v, w)))
            if logs and n == 1:
                r = rng.uniform(1.0, 3.0, shape)
                log, own = partial(ours.log, there(r), w), partial(log_there, theirs, r, p, push)
                rows.append(compare(f"log, {name}, own class", log, own, ours.log(there(r), w)))
    return rows


def exp_there(metric: Any, u: np.ndarray, p: np.ndarray, there: Callable) -> np.ndarray:
    return there(metric.exp(u, p))


def log_there(metric: Any, r: np.ndarray, p: np.ndarray, push: Callable) -> np.ndarray:
    return push(metric.log(r, p), p)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="exponential maps in the plane only")
    parser.add_argument("--out", type=Path, help="a JSON file for the numbers, with the machine and versions")
    options = parser.parse_args()
    if options.quick:
        rows = against_generic((2,), logs=False) + against_classes(logs=False)
    else:
        rows = against_generic((2, 5)) + against_classes()
    if options.out is not None:
        options.out.write_text(json.dumps({"machine": machine(PACKAGES), "rows": rows}, indent=1), "utf-8")


if __name__ == "__main__":
    main()
