"""Christoffel symbols and curvature: riemflow's Hessian metric, geomstats' general formulas and own classes.

    python tests/benchmarks/geometry/tensors.py
    python tests/benchmarks/geometry/tensors.py --quick    # each once or twice

One run, one thread, geomstats on its autograd backend. The general formulas are those of geomstats'
`RiemannianMetric`, which need no more than the metric matrix, here in closed form and written for autograd;
its own classes know their space. Every row is (what, space, ours, theirs): two functions without arguments
that give the same numbers, to 1e-9. Seconds are of the processor, the least of many calls.

To add a row, write a function that yields rows and put it into `ROWS`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

# Before NumPy and geomstats are loaded.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
os.environ["GEOMSTATS_BACKEND"] = "autograd"
sys.path.append(str(Path(__file__).parents[1]))

import autograd.numpy as anp
import numpy as np
from autograd.scipy.special import polygamma
from geomstats.geometry.base import VectorSpaceOpenSet
from geomstats.geometry.connection import Connection
from geomstats.geometry.euclidean import Euclidean
from geomstats.geometry.riemannian_metric import RiemannianMetric
from geomstats.information_geometry.beta import BetaDistributions
from geomstats.information_geometry.dirichlet import DirichletDistributions
from geomstats.information_geometry.gamma import GammaDistributions
from machine import machine

from riemflow.geometry import HessianManifold
from riemflow.legendre import Beta, Dirichlet, Gamma, LogSumExp

DIM = 5
SECONDS = 1.0  # spent on each function at least, or one call
Row = tuple[str, str, Callable[[], np.ndarray], Callable[[], np.ndarray]]


class Plain(VectorSpaceOpenSet):
    """R^d with a metric of which geomstats is told the matrix only."""

    def __init__(self, matrix: Callable):
        super().__init__(dim=DIM, embedding_space=Euclidean(DIM, equip=False), equip=False)
        self.metric = PlainMetric(self)
        self.metric.metric_matrix = matrix

    def belongs(self, point, atol=1e-12):
        return np.isfinite(point).all(axis=-1)


class PlainMetric(RiemannianMetric):
    pass


def softmax_matrix(base_point=None):
    """∇² ln(1 + Σ e^{w_i}) = diag(p) - p pᵀ."""
    p = anp.exp(base_point)
    p = p / (1 + anp.sum(p, axis=-1, keepdims=True))
    return p[..., None] * np.eye(DIM) - p[..., :, None] * p[..., None, :]


def dirichlet_matrix(base_point=None):
    """diag ψ'(a_i) - ψ'(Σ a_i)."""
    total = polygamma(1, anp.sum(base_point, axis=-1))
    return polygamma(1, base_point)[..., None] * np.eye(DIM) - total[..., None, None]


def general() -> Iterator[Row]:
    """Against the general formulas of geomstats, at one point of R^5."""
    w = np.random.default_rng(0).uniform(0.5, 2.0, DIM)
    for name, R, matrix in (
        ("log-sum-exp", LogSumExp(DIM), softmax_matrix),
        ("Dirichlet", Dirichlet(DIM), dirichlet_matrix),
    ):
        ours, theirs = HessianManifold(R).metric, Plain(matrix).metric
        yield (
            "Christoffel",
            name,
            lambda m=ours: m.christoffels(w),
            lambda m=theirs: RiemannianMetric.christoffels(m, w),
        )
        yield (
            "Riemann",
            name,
            lambda m=ours: m.riemann_tensor(w),
            lambda m=theirs: Connection.riemann_tensor(m, w),
        )


def own_classes() -> Iterator[Row]:
    """Against geomstats' own class of the space."""
    for name, R, space in (
        ("geomstats' Dirichlet", Dirichlet(DIM), DirichletDistributions(DIM)),
        ("geomstats' Beta", Beta(), BetaDistributions()),
    ):
        w = np.random.default_rng(0).uniform(0.5, 2.0, R.dim)
        ours, theirs = HessianManifold(R).metric, space.metric
        for what, method in (
            ("metric", "metric_matrix"),
            ("Christoffel", "christoffels"),
            ("Riemann", "riemann_tensor"),
        ):
            yield what, name, partial(getattr(ours, method), w), partial(getattr(theirs, method), w)
    # In geomstats' coordinates (shape, mean), so that only what does not depend on them can be compared.
    ours, theirs = HessianManifold(Gamma()).metric, GammaDistributions().metric
    shape, mean = 1.3, 0.7
    at, w, a, b = np.array([shape, mean]), np.array([shape, -shape / mean]), *np.eye(2)
    yield (
        "sectional curvature",
        "geomstats' Gamma",
        lambda: ours.sectional_curvature(a, b, w),
        lambda: theirs.sectional_curvature(a, b, at),
    )


ROWS = [general, own_classes]


def seconds(function: Callable[[], np.ndarray], at_least: float) -> float:
    """The least time of a call: interruptions only add to it."""
    times: list[float] = []
    while sum(times) < at_least or len(times) < 3:
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
        if times[-1] > at_least:
            break
    return float(np.min(times))


def measure(row: Row, at_least: float) -> dict:
    what, space, ours, theirs = row
    mine, reference = np.asarray(ours()), np.asarray(theirs())
    defect = np.abs(mine - reference).max() / np.abs(reference).max()
    if not defect < 1e-9:
        raise ArithmeticError(f"{what} of {space}: ours and theirs differ by {defect:.1e}.")
    a, b = seconds(ours, at_least), seconds(theirs, at_least)
    return {"what": what, "space": space, "ours": a, "theirs": b, "ratio": b / a, "defect": float(defect)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="a JSON file for the numbers, with the machine and versions")
    parser.add_argument("--quick", action="store_true", help="time each function once")
    options = parser.parse_args()
    print("| | space | riemflow | geomstats | ratio | deviation |\n" + "|---" * 6 + "|")
    results = []
    for row in (row for rows in ROWS for row in rows()):
        r = measure(row, 0.0 if options.quick else SECONDS)
        results.append(r)
        print(
            f"| {r['what']} | {r['space']} | {1e6 * r['ours']:.0f} µs | {1e6 * r['theirs']:.0f} µs | "
            f"{r['ratio']:.3g} | {r['defect']:.0e} |",
            flush=True,
        )
    if options.out is not None:
        stated = machine(("riemflow", "numpy", "scipy", "autograd", "geomstats"))
        options.out.write_text(json.dumps({"machine": stated, "rows": results}, indent=1), "utf-8")


if __name__ == "__main__":
    main()
