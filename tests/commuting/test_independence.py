"""R depends on G and the start alone: ∇R(w(t)) = -∫∇L dt, whatever losses follow one another (Lemma 4.6)."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from zoo_parametrizations import COMMUTING, PROJECTABLE

import riemflow as rf
from riemflow.commuting.lift import natural_scales
from riemflow.losses import LeastSquares, Linear, Logistic, Piecewise

NODES, WEIGHTS = np.polynomial.legendre.leggauss(12)


def random_schedule(G, x, seed: int) -> Piecewise:
    """Losses of three kinds in random order, each as strong as moves w by a fifth of a natural length."""
    rng = np.random.default_rng([seed, 11])
    d, w, units = G.dim, G(x), natural_scales(G, x).mu
    pieces = []
    for kind in rng.permutation(3):
        Z = 0.4 * units * rng.standard_normal((2, d)) / np.sqrt(d)
        if kind == 0:
            pieces.append(Linear(0.2 * units * rng.standard_normal(d) / np.sqrt(d)))
        elif kind == 1:
            pieces.append(LeastSquares(Z, Z @ w + rng.uniform(-1, 1, 2)))
        else:
            pieces.append(Logistic(Z, rng.choice([-1.0, 1.0], 2)))
    return Piecewise(np.cumsum(rng.uniform(0.3, 1.0, 2)), pieces)


def integrated_gradient(schedule: Piecewise, flow, t_end: float) -> np.ndarray:
    """∫∇L(w(t)) dt by Gauss quadrature of each piece, 8 panels of 12 nodes."""
    edges = np.concatenate([[0.0], schedule.breakpoints, [t_end]])
    total = 0.0
    for loss, start, end in zip(schedule.losses, edges[:-1], edges[1:], strict=True):
        panels = np.linspace(start, end, 9)
        for low, high in pairwise(panels):
            t = 0.5 * (low + high) + 0.5 * (high - low) * NODES
            total = total + 0.5 * (high - low) * WEIGHTS @ loss.gradient(flow.sol(t))
    return total


def deviation(G, x: np.ndarray, seed: int, **options) -> float:
    """‖H^{1/2}(∇R(w(t)) + ∫∇L)‖ relative to ‖H^{1/2}∫∇L‖, at the end of a random schedule."""
    schedule = random_schedule(G, x, seed)
    flow = rf.gradient_flow(G, schedule, x, 2.5, rtol=1e-11)
    R = rf.legendre_from_parametrization(G, x, **options)
    integral = integrated_gradient(schedule, flow, 2.5)
    root = np.linalg.cholesky(G.cometric(flow.x[-1]))
    gap = (R.gradient(flow.w[-1]) + integral) @ root
    return float(np.linalg.norm(gap) / np.linalg.norm(integral @ root))


@pytest.mark.parametrize("seed", [0, *(pytest.param(k, marks=pytest.mark.slow) for k in range(1, 6))])
@pytest.mark.parametrize("case", COMMUTING + PROJECTABLE, ids=str)
def test_one_legendre_function_for_all_losses(case, seed):
    assert deviation(case.make(), case.start(1), seed) < 1e-8


def test_without_a_mirror_flow_there_is_none():
    """The lift of UUᵀ gives some R, and schedules of losses contradict it."""
    G, x = rf.parametrizations.MatrixFactorization(2, 2), np.array([1.0, 0.2, -0.3, 0.8])
    assert max(deviation(G, x, seed, check=False) for seed in range(3)) > 1e-3
