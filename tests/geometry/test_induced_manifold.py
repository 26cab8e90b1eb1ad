"""Metrics induced on weights that are no mirror flow: Bures-Wasserstein, from geomstats, is the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from geomstats.geometry.spd_matrices import SPDBuresWassersteinMetric, SPDMatrices

import riemflow as rf
from riemflow.parametrizations import AsymmetricFactorization, HadamardDifference, MatrixFactorization


class BuresWasserstein:
    """geomstats' metric in the coordinates of the upper triangle, whose axes are E_ii and E_ij + E_ji."""

    def __init__(self, n: int):
        self.space = SPDMatrices(n, equip=False)
        self.space.equip_with_metric(SPDBuresWassersteinMetric)
        self.i, self.j = np.triu_indices(n)
        self.dim, self.shape, self.n = len(self.i), (len(self.i),), n
        self.basis = np.array([self.matrix(e) for e in np.eye(self.dim)])
        self.metric = self

    def matrix(self, w):
        W = np.zeros((*np.shape(w)[:-1], self.n, self.n))
        W[..., self.i, self.j] = w
        W[..., self.j, self.i] = w
        return W

    def belongs(self, w):
        return np.asarray(self.space.belongs(self.matrix(w)))

    def metric_matrix(self, base_point):
        W = self.matrix(base_point)
        return np.array([[self.space.metric.inner_product(a, b, W) for b in self.basis] for a in self.basis])


def start(n: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    G = MatrixFactorization(n, n)
    loss = rf.losses.LeastSquares(rng.standard_normal((2, G.dim)), [1.0, 2.0])
    return G, (np.eye(n) + 0.3 * rng.standard_normal((n, n))).ravel(), loss


@pytest.mark.parametrize("n", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_symmetric_factorization_is_bures_wasserstein(n):
    G, x, loss = start(n)
    oracle = BuresWasserstein(n)
    space = rf.InducedManifold(G, x)
    flow = rf.gradient_flow(G, loss, x, np.linspace(0, 2, 9), rtol=1e-10)
    for w in flow.w[::4]:
        g = space.metric.metric_matrix(w)
        np.testing.assert_allclose(g, oracle.metric_matrix(w), rtol=1e-9, atol=1e-10 * np.abs(g).max())
        np.testing.assert_allclose(space.metric.cometric_matrix(w) @ g, np.eye(G.dim), atol=1e-9)
    exact = rf.riemannian_gradient_flow(oracle, loss, G(x), flow.t, rtol=1e-10)
    np.testing.assert_allclose(flow.w, exact.w, atol=1e-8)
    if n == 2:
        ours = rf.riemannian_gradient_flow(space, loss, G(x), flow.t, rtol=1e-9)
        np.testing.assert_allclose(ours.w, flow.w, atol=1e-7)


def test_geodesics_and_derivatives():
    """exp is geomstats' closed form; ∂g is checked by differences, and is not symmetric: not Hessian."""
    G, x, _ = start(2)
    oracle, space = BuresWasserstein(2), rf.InducedManifold(G, x, check=False)
    w, v = G(x), np.array([0.1, -0.05, 0.08])
    expected = oracle.space.metric.exp(oracle.matrix(v), oracle.matrix(w))
    np.testing.assert_allclose(space.metric.exp(v, w), expected[oracle.i, oracle.j], atol=1e-10)
    derivative = space.metric.inner_product_derivative_matrix(w)
    for k, e in enumerate(1e-3 * np.eye(3)):
        slope = 8 * (oracle.metric_matrix(w + e) - oracle.metric_matrix(w - e))
        slope -= oracle.metric_matrix(w + 2 * e) - oracle.metric_matrix(w - 2 * e)
        np.testing.assert_allclose(derivative[..., k], slope / 12e-3, atol=1e-8)
    assert np.abs(derivative - np.swapaxes(derivative, -1, -2)).max() > 1e-2


def test_of_a_mirror_flow_it_is_the_hessian_manifold():
    x = np.array([0.5, 1.0, 0.7, 0.4])
    space = rf.InducedManifold(HadamardDifference(2), x)
    R = rf.legendre.HyperbolicEntropy(x[:2], x[2:])
    w = np.array([[0.4, -0.3], [2.0, 1.0]])
    np.testing.assert_allclose(space.metric.metric_matrix(w), R.hessian(w), rtol=1e-9)
    derivative = space.metric.inner_product_derivative_matrix(w)
    np.testing.assert_allclose(derivative, R.third(w), atol=1e-8)


def test_asymmetric_factorization_only_if_balanced():
    rng = np.random.default_rng(2)
    U, rotation = rng.standard_normal((2, 2)), np.linalg.qr(rng.standard_normal((2, 2)))[0]
    G = AsymmetricFactorization(2, 2, 2)
    balanced = np.concatenate([U.ravel(), (rotation @ U).ravel()])
    space = rf.InducedManifold(G, balanced)
    assert space.belongs(G(balanced))
    with pytest.raises(rf.NotMirrorFlowError, match="refuted"):
        rf.InducedManifold(G, rng.standard_normal(8))


def test_points_outside():
    G, x, _ = start(2)
    space = rf.InducedManifold(G, x, check=False)
    outside = np.array([1.0, 2.0, 1.0])  # not positive definite
    assert space.belongs([outside, G(x)]).tolist() == [False, True]
    assert space.belongs(space.projection(outside))
    assert space.belongs(space.random_point(5, bound=3.0)).all()
    with pytest.raises(rf.DomainError, match=r"s\*"):
        space.metric.metric_matrix(outside)


def test_logarithms_are_shot_and_those_of_bures_wasserstein():
    """No R, so no energy in closed form: geomstats' Bures-Wasserstein metric is the oracle."""
    space = rf.InducedManifold(MatrixFactorization(2, 2), [1.0, 0.2, -0.3, 0.8], check=False)
    start, end = np.array([1.04, -0.14, 0.73]), np.array([1.25, -0.25, 1.06])
    reference = SPDMatrices(2, equip=False)
    reference.equip_with_metric(SPDBuresWassersteinMetric)
    there = [np.array([[w[0], w[1]], [w[1], w[2]]]) for w in (start, end)]
    expected = reference.metric.log(there[1], there[0])[[0, 0, 1], [0, 1, 1]]
    np.testing.assert_allclose(space.metric.log(end, start), expected, atol=1e-9)
    distance = float(reference.metric.dist(*there))
    assert float(space.metric.dist(start, end)) == pytest.approx(distance, rel=1e-9)
