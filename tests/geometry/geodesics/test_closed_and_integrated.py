"""Exponential maps, logarithms, distances, geodesics and transport against geomstats' own, to 1e-9."""

from __future__ import annotations

import numpy as np
import pytest
from geomstats.geometry.euclidean import Euclidean
from geomstats.geometry.hypersphere import Hypersphere
from geomstats.geometry.poincare_half_space import PoincareHalfSpace
from geomstats.geometry.positive_reals import PositiveReals
from geomstats.geometry.spd_matrices import SPDAffineMetric, SPDMatrices
from geomstats.information_geometry.dirichlet import DirichletDistributions
from geomstats.information_geometry.gamma import GammaDistributions
from geomstats.information_geometry.normal import UnivariateNormalDistributions
from geomstats.numerics.geodesic import ExpODESolver
from geomstats.numerics.ivp import ScipySolveIVP

from riemflow.geometry import HessianManifold, HessianMetric
from riemflow.legendre import (
    BurgEntropy,
    Dirichlet,
    Gamma,
    LogDet,
    LogSumExp,
    LorentzBarrier,
    Normal,
    Quadratic,
    SimplexEntropy,
    SquaredNorm,
)


class Peer:
    """A geomstats space, the coordinate change to it, and what its metric is multiplied with."""

    def __init__(self, R, space, there, sample, factor=1.0):
        self.R, self.space, self.there, self.sample, self.factor = R, space, there, sample, factor


def by_differences(there):
    """The differential of a coordinate change, by central differences of order 8."""
    weights = np.array([4 / 5, -1 / 5, 4 / 105, -1 / 280])

    def push(v, w):
        h = 2e-3
        terms = [c * (there(w + k * h * v) - there(w - k * h * v)) for k, c in enumerate(weights, 1)]
        return np.sum(terms, axis=0) / h

    return push


def symmetric(n):
    rows, columns = np.triu_indices(n)

    def there(w):
        S = np.zeros((*w.shape[:-1], n, n))
        S[..., rows, columns] = w
        S[..., columns, rows] = w
        return S

    return there


def spd_samples(n):
    def sample(rng, k):
        A = rng.standard_normal((k, n, n))
        S = A @ np.swapaxes(A, -1, -2) + 0.5 * np.eye(n)
        rows, columns = np.triu_indices(n)
        return S[:, rows, columns]

    return sample


def affine_invariant(n):
    return SPDMatrices(n, equip=False).equip_with_metric(SPDAffineMetric)


def half_space(w):
    """-ln s with s = w_d - ½|x|² has metric 4(|dx|² + dy²)/y² at y = 2√s."""
    s = w[..., -1:] - 0.5 * (w[..., :-1] ** 2).sum(axis=-1, keepdims=True)
    return np.concatenate([w[..., :-1], 2 * np.sqrt(s)], axis=-1)


def above_paraboloid(d):
    def sample(rng, k):
        x = rng.uniform(-1, 1, (k, d - 1))
        return np.concatenate([x, rng.uniform(0.2, 2, (k, 1)) + 0.5 * (x**2).sum(-1, keepdims=True)], axis=-1)

    return sample


def roots_of_simplex(w):
    return np.sqrt(np.concatenate([w, 1 - w.sum(axis=-1, keepdims=True)], axis=-1))


def roots_of_softmax(w):
    e = np.exp(np.concatenate([np.zeros((*w.shape[:-1], 1)), w], axis=-1))
    return np.sqrt(e / e.sum(axis=-1, keepdims=True))


def mean_and_deviation(w):
    variance = -0.5 / w[..., 1]
    return np.stack([w[..., 0] * variance, np.sqrt(variance)], axis=-1)


def uniform(low, high, d):
    return lambda rng, k: rng.uniform(low, high, (k, d))


M = np.array([[2.0, 0.3], [0.3, 1.0]])
ROOT = np.linalg.cholesky(M).T

PEERS = {
    "squared norm": lambda: Peer(SquaredNorm(3), Euclidean(3), lambda w: w, uniform(-2, 2, 3)),
    "quadratic": lambda: Peer(Quadratic(M), Euclidean(2), lambda w: w @ ROOT.T, uniform(-2, 2, 2)),
    "Burg": lambda: Peer(BurgEntropy(1), PositiveReals(), lambda w: w, uniform(0.2, 3, 1)),
    "half plane": lambda: Peer(LorentzBarrier(2), PoincareHalfSpace(2), half_space, above_paraboloid(2), 4.0),
    "half space": lambda: Peer(LorentzBarrier(3), PoincareHalfSpace(3), half_space, above_paraboloid(3), 4.0),
    "normal": lambda: Peer(
        Normal(),
        UnivariateNormalDistributions(),
        mean_and_deviation,
        lambda rng, k: np.stack([rng.uniform(-2, 2, k), rng.uniform(-2, -0.2, k)], axis=-1),
    ),
    "simplex": lambda: Peer(
        SimplexEntropy(3),
        Hypersphere(3),
        roots_of_simplex,
        lambda rng, k: rng.dirichlet([2.0] * 4, k)[:, :3],
        4.0,
    ),
    "log-sum-exp": lambda: Peer(LogSumExp(3), Hypersphere(3), roots_of_softmax, uniform(-2, 2, 3), 4.0),
    "SPD 2": lambda: Peer(LogDet(2), affine_invariant(2), symmetric(2), spd_samples(2)),
    "SPD 3": lambda: Peer(LogDet(3), affine_invariant(3), symmetric(3), spd_samples(3)),
}
each_peer = pytest.mark.parametrize("make", PEERS.values(), ids=PEERS.keys())
both_ways = pytest.mark.parametrize("closed_form", [True, False], ids=["closed form", "integrated"])


def metric_of(R, closed_form=True):
    space = HessianManifold(R, equip=False)
    space.equip_with_metric(HessianMetric, closed_form=closed_form)
    return space.metric


@each_peer
@both_ways
def test_exp_log_distance_and_geodesics_are_geomstats(make, closed_form, rng):
    peer = make()
    metric, theirs, there = metric_of(peer.R, closed_form), peer.space.metric, peer.there
    push = by_differences(there)
    w, q = peer.sample(rng, 4), peer.sample(rng, 4)
    v = metric.log(q, w)
    # Differences give the differential to some 1e-10.
    np.testing.assert_allclose(push(v, w), theirs.log(there(q), there(w)), rtol=0, atol=1e-8)
    distance = np.sqrt(peer.factor) * np.ravel(theirs.dist(there(q), there(w)))
    np.testing.assert_allclose(metric.dist(w, q), distance, rtol=1e-9)
    np.testing.assert_allclose(metric.squared_dist(w, q), distance**2, rtol=1e-9)
    u = 0.3 * v
    np.testing.assert_allclose(there(metric.exp(u, w)), theirs.exp(push(u, w), there(w)), rtol=0, atol=1e-9)
    times = np.array([0.0, 0.4, 1.0])
    path = metric.geodesic(initial_point=w, end_point=q)(times)
    assert path.shape == (4, 3, peer.R.dim)
    for k in range(4):
        expected = theirs.geodesic(initial_point=there(w[k]), end_point=there(q[k]))(times)
        np.testing.assert_allclose(there(path[k]), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["half plane", "SPD 2", "log-sum-exp"])
@both_ways
def test_parallel_transport_is_geomstats(name, closed_form, rng):
    """Sphere, SPD and half space have closed forms of their own there, the last by its pole ladder, exact."""
    peer = PEERS[name]()
    metric, theirs, there = metric_of(peer.R, closed_form), peer.space.metric, peer.there
    push = by_differences(there)
    w, q = peer.sample(rng, 3), peer.sample(rng, 3)
    u = 0.2 * metric.log(peer.sample(rng, 3), w)
    moved = metric.parallel_transport(u, w, end_point=q)
    if name == "half plane":
        # Hyperbolic space is symmetric: the pole ladder is exact there, in one rung.
        ladder = [
            theirs.ladder_parallel_transport(
                push(u, w)[k], there(w)[k], theirs.log(there(q)[k], there(w)[k]), n_rungs=1
            )["transported_tangent_vec"]
            for k in range(3)
        ]
        expected = np.array(ladder)
    else:
        expected = theirs.parallel_transport(push(u, w), there(w), end_point=there(q))
    np.testing.assert_allclose(push(moved, q), expected, rtol=0, atol=1e-8)


def test_gamma_and_dirichlet_are_geomstats_with_a_tight_solver(rng):
    """Integrated on both sides: its LSODA at default tolerances is good to 1e-3 only."""
    tight = ScipySolveIVP(method="DOP853", rtol=1e-12, atol=1e-13)
    space = DirichletDistributions(3)
    space.metric.exp_solver = ExpODESolver(space, integrator=tight)
    metric = metric_of(Dirichlet(3))
    w, v = rng.uniform(1, 3, 3), 0.5 * rng.standard_normal(3)
    end = space.metric.exp(v, w)
    np.testing.assert_allclose(metric.exp(v, w), end, rtol=1e-11)
    np.testing.assert_allclose(metric.log(end, w), v, rtol=0, atol=1e-10)

    space = GammaDistributions()
    space.metric.exp_solver = ExpODESolver(space, integrator=tight)
    metric = metric_of(Gamma())
    p, u = np.array([1.5, 2.0]), np.array([0.3, -0.4])  # shape and mean
    w = np.array([p[0], -p[0] / p[1]])
    v = np.array([u[0], -u[0] / p[1] + p[0] * u[1] / p[1] ** 2])
    kappa, mean = space.metric.exp(u, p)
    np.testing.assert_allclose(metric.exp(v, w), [kappa, -kappa / mean], rtol=1e-10)
    np.testing.assert_allclose(metric.log(np.array([kappa, -kappa / mean]), w), v, rtol=0, atol=1e-9)
