"""Hessian manifolds against geomstats' own spaces, reached by changes of coordinates."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import autograd.numpy as anp
import numpy as np
import pytest
from geomstats.geometry.poincare_half_space import PoincareHalfSpace
from geomstats.geometry.positive_reals import PositiveReals
from geomstats.geometry.riemannian_metric import RiemannianMetric
from geomstats.geometry.spd_matrices import SPDAffineMetric, SPDMatrices
from geomstats.information_geometry.normal import UnivariateNormalDistributions

import riemflow as rf
from riemflow.errors import ConvergenceError, DomainError, ShapeError
from riemflow.geometry import HessianManifold, HessianMetric
from riemflow.legendre import (
    BurgEntropy,
    HyperbolicEntropy,
    LogBarrier,
    LogDet,
    LogSumExp,
    LorentzBarrier,
    NegativeEntropy,
    SimplexEntropy,
    SoftplusSum,
    SquaredNorm,
    product,
)
from riemflow.legendre.function import LegendreFunction

SPACES = {
    "entropy": lambda: HessianManifold(NegativeEntropy(2)),
    "hyperbolic entropy": lambda: HessianManifold(HyperbolicEntropy([0.3, 1.0], [0.2, 2.0])),
    "log-sum-exp": lambda: HessianManifold(LogSumExp(3)),
    "Lorentz": lambda: HessianManifold(LorentzBarrier(3)),
    "log det": lambda: HessianManifold(LogDet(2)),
}
each_space = pytest.mark.parametrize("make", SPACES.values(), ids=SPACES.keys())


def normal_log_partition() -> LegendreFunction:
    """The log-partition function of the normal family, with automatic derivatives."""
    return LegendreFunction(
        lambda w: -(w[..., 0] ** 2) / (4 * w[..., 1]) - 0.5 * anp.log(-2 * w[..., 1]),
        2,
        domain=lambda w: w[..., 1] < 0,
        interior=[0.0, -0.5],
    )


def half_space_coordinates(w):
    """Send w to (u, s) with ``u = w_1/2, s² = w_2 - w_1²/2``: -ln s² has metric 4(du² + ds²)/s²."""
    return np.stack([w[..., 0] / 2, np.sqrt(w[..., 1] - w[..., 0] ** 2 / 2)], axis=-1)


def half_space_jacobian(w):
    s = half_space_coordinates(w)[..., 1]
    zero = np.zeros_like(s)
    rows = [[zero + 0.5, zero], [-w[..., 0] / (2 * s), 1 / (2 * s)]]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def test_lorentz_barrier_is_four_times_the_half_plane(rng):
    space, plane = HessianManifold(LorentzBarrier(2)), PoincareHalfSpace(2)
    w = rng.uniform([-1, 0.7], [1, 2], (6, 2))
    J, a, b = half_space_jacobian(w), *rng.standard_normal((2, 6, 2))
    pushed = [np.einsum("nij,nj->ni", J, v) for v in (a, b)]
    expected = 4 * plane.metric.inner_product(*pushed, half_space_coordinates(w))
    np.testing.assert_allclose(space.metric.inner_product(a, b, base_point=w), expected, rtol=1e-12)


def test_exp_log_and_distance_on_the_half_plane(rng):
    """Geodesics and distances are geometric, so a change of coordinates carries them over."""
    space, plane = HessianManifold(LorentzBarrier(2)), PoincareHalfSpace(2)
    w = rng.uniform([-1, 0.7], [1, 2], (4, 2))
    v = 0.5 * rng.standard_normal((4, 2))
    end = space.metric.exp(tangent_vec=v, base_point=w)
    pushed = np.einsum("nij,nj->ni", half_space_jacobian(w), v)
    expected = plane.metric.exp(pushed, half_space_coordinates(w))
    np.testing.assert_allclose(half_space_coordinates(end), expected, rtol=1e-11)
    np.testing.assert_allclose(space.metric.log(point=end, base_point=w), v, rtol=0, atol=1e-9)
    distance = plane.metric.dist(half_space_coordinates(end), half_space_coordinates(w))
    np.testing.assert_allclose(space.metric.dist(end, w), 2 * distance, rtol=1e-9)


def test_curvature_of_the_half_plane(rng):
    metric = HessianManifold(LorentzBarrier(2)).metric
    w = rng.uniform([-1, 0.7], [1, 2], (5, 2))
    a, b = rng.standard_normal((2, 5, 2))
    np.testing.assert_allclose(metric.sectional_curvature(a, b, w), -0.25, rtol=1e-11)


def test_burg_entropy_is_the_positive_reals():
    metric, reference = HessianManifold(BurgEntropy(1)).metric, PositiveReals().metric
    w, v = np.array([[0.4], [3.0]]), np.array([[0.7], [-2.0]])
    np.testing.assert_allclose(metric.squared_norm(v, w), reference.squared_norm(v, w).ravel(), rtol=1e-14)
    np.testing.assert_allclose(metric.exp(v, w), reference.exp(v, w), rtol=1e-11)


def test_normal_family_has_fishers_metric():
    """Natural parameters (m/σ², -1/(2σ²)) against geomstats' metric in (m, σ)."""
    reference = UnivariateNormalDistributions()
    m, s = 0.7, 1.3
    w = np.array([m / s**2, -1 / (2 * s**2)])
    J = np.array([[1 / s**2, -2 * m / s**3], [0.0, 1 / s**3]])
    pulled = J.T @ HessianManifold(normal_log_partition()).metric.metric_matrix(w) @ J
    np.testing.assert_allclose(pulled, reference.metric.metric_matrix(np.array([m, s])), rtol=0, atol=1e-13)


def test_log_det_is_the_affine_invariant_metric(rng):
    space = SPDMatrices(2, equip=False).equip_with_metric(SPDAffineMetric)
    A = rng.standard_normal((2, 2))
    W = A @ A.T + 0.3 * np.eye(2)
    basis = [np.array(E, float) for E in ([[1, 0], [0, 0]], [[0, 1], [1, 0]], [[0, 0], [0, 1]])]
    expected = [[float(space.metric.inner_product(E, F, W)) for F in basis] for E in basis]
    metric = HessianManifold(LogDet(2)).metric
    upper = np.triu_indices(2)
    np.testing.assert_allclose(metric.metric_matrix(W[upper]), expected, rtol=1e-12)
    V = 0.4 * (basis[0] - 0.5 * basis[1] + basis[2])
    end = space.metric.exp(V, W)
    np.testing.assert_allclose(metric.exp(V[upper], W[upper]), end[upper], rtol=1e-11)


@each_space
def test_christoffels_are_those_of_koszul(make, rng):
    """geomstats' general formula, fed with the metric and its derivative, index by index."""
    space = make()
    w = space.random_point(4, bound=0.4)
    metric = space.metric
    np.testing.assert_allclose(
        metric.christoffels(base_point=w), RiemannianMetric.christoffels(metric, w), rtol=1e-10, atol=1e-11
    )


@each_space
def test_metric_derivative_is_totally_symmetric_and_right(make):
    space = make()
    w = space.random_point(3, bound=0.3)
    third = space.metric.inner_product_derivative_matrix(base_point=w)
    for order in itertools.permutations((1, 2, 3)):
        np.testing.assert_allclose(third, third.transpose(0, *order), rtol=1e-12, atol=1e-13)
    step = 1e-3 * np.eye(space.dim)
    g = space.metric.metric_matrix
    for k in range(space.dim):
        slope = (8 * (g(w + step[k]) - g(w - step[k])) - g(w + 2 * step[k]) + g(w - 2 * step[k])) / 12e-3
        np.testing.assert_allclose(third[..., k], slope, rtol=1e-5, atol=1e-8)


@each_space
def test_cometric_inverts_the_metric(make):
    space = make()
    w = space.random_point(5, bound=0.5)
    product = space.metric.cometric_matrix(w) @ space.metric.metric_matrix(w)
    np.testing.assert_allclose(product, np.broadcast_to(np.eye(space.dim), product.shape), atol=1e-11)


def test_geodesics_are_straight_in_flat_coordinates(rng):
    """For Σ w ln w the flat coordinate is 2√w; its curvature vanishes."""
    metric = HessianManifold(NegativeEntropy(3)).metric
    w, v = rng.uniform(0.5, 2.0, (4, 3)), rng.uniform(-0.5, 0.5, (4, 3))
    times = np.array([0.0, 0.3, 1.0, -0.5])
    path = metric.geodesic(initial_point=w, initial_tangent_vec=v)(times)
    expected = np.sqrt(w)[:, None] + times[:, None] * (v / (2 * np.sqrt(w)))[:, None]
    np.testing.assert_allclose(np.sqrt(path), expected, rtol=1e-12)
    np.testing.assert_allclose(metric.riemann_tensor(w), 0.0, atol=1e-14)


def test_geodesic_between_points():
    metric = HessianManifold(SquaredNorm(2)).metric
    path = metric.geodesic(initial_point=np.zeros(2), end_point=np.array([1.0, -2.0]))
    np.testing.assert_allclose(path(np.array([0.25])), [[0.25, -0.5]], atol=1e-12)


def test_leaving_the_domain_is_an_error():
    """√w' = -1: the point reaches 0 at half the time."""
    metric = HessianManifold(NegativeEntropy(1)).metric
    with pytest.raises(ConvergenceError, match=r"fraction 0\.5 of the time") as caught:
        metric.exp(np.array([-4.0]), np.array([1.0]))
    assert caught.value.partial.shape == (1,)
    with pytest.raises(DomainError):
        metric.exp(np.array([1.0]), np.array([-1.0]))
    with pytest.raises(DomainError):
        metric.metric_matrix(np.array([0.0]))
    with pytest.raises(ShapeError):
        metric.christoffels(np.ones(2))


def test_space_needs_a_legendre_function():
    with pytest.raises(DomainError, match="LegendreFunction"):
        HessianManifold(np.square)


@each_space
def test_points_of_the_space(make):
    space = make()
    assert isinstance(space.metric, HessianMetric)
    assert space.random_point().shape == (space.dim,)
    points = space.random_point(n_samples=50, bound=5.0)
    assert points.shape == (50, space.dim)
    assert space.belongs(point=points).all()
    np.testing.assert_array_equal(space.projection(points), points)
    projected = space.projection(points - 20.0)
    assert projected.shape == points.shape
    assert space.belongs(projected).all()
    assert not space.belongs(np.ones((3, space.dim + 1))).any()
    assert not space.belongs(np.full((3, space.dim), np.nan)).any()
    assert space.is_tangent(points[0], base_point=points[1])


def test_unequipped_space_has_no_metric():
    R = SquaredNorm(2)
    space = HessianManifold(R, equip=False)
    assert not hasattr(space, "metric")
    assert space.legendre_function is R


AUTOGRAD = """
import autograd.numpy as anp
import numpy as np
from geomstats.geometry.connection import Connection
from geomstats.geometry.riemannian_metric import RiemannianMetric
from riemflow.geometry import HessianManifold
from riemflow.legendre.function import LegendreFunction

R = LegendreFunction(lambda w: anp.log(anp.exp(w[..., 0]) + anp.exp(w[..., 1] - w[..., 0])
                     + anp.exp(-w[..., 1])) + 0.1 * anp.sum(w**4, axis=-1) + 0.1 * anp.sum(w**2, axis=-1), 2)
metric = HessianManifold(R).metric
w = np.array([[0.3, -0.2], [0.9, 0.4]])
np.testing.assert_allclose(
    metric.inner_product_derivative_matrix(w),
    RiemannianMetric.inner_product_derivative_matrix(metric, w), atol=1e-12)
np.testing.assert_allclose(metric.riemann_tensor(w), Connection.riemann_tensor(metric, w), atol=1e-12)
assert abs(metric.riemann_tensor(w)).max() > 1e-3
np.testing.assert_allclose(metric.log(metric.exp(w[::-1] / 4, w), w), w[::-1] / 4, atol=1e-9)
print("agree")
"""


def test_autograd_backend_agrees():
    """geomstats' backend is chosen once a process; there its generic derivatives and curvature work."""
    environment = {**os.environ, "GEOMSTATS_BACKEND": "autograd"}
    run = subprocess.run(
        [sys.executable, "-c", AUTOGRAD], env=environment, capture_output=True, text=True, timeout=120
    )
    assert run.stdout.strip() == "agree", run.stderr


# Points and vectors of domains of any shape.

THIN = product(LogBarrier([[1.0], [-1.0]], [1.0, 0.0]), LogBarrier([[1.0], [-1.0]], [1e-7, 0.0]))
SLANTED = THIN.compose(np.array([[1.0, 1.0], [1.0, -1.0]]) / np.sqrt(2.0))
DOMAINS = {
    "thin": THIN,
    "thin and slanted": SLANTED,
    "its dual": THIN.conjugate,
    "tiny and huge": NegativeEntropy(2).compose(np.diag([1e6, 1e-6])),
    "narrow": HyperbolicEntropy([1e-10, 1.0], [1e-10, 1.0]),
    "steep": 1e12 * NegativeEntropy(2),
    "nearly flat": 1e-14 * NegativeEntropy(2).conjugate,
    "saturating": SoftplusSum([[1e6, 0.0], [0.0, 1e-3], [1.0, 1.0]], [0.0, 0.0, 0.0]),
    "unbounded": LorentzBarrier(3),
    "many coordinates": SimplexEntropy(100),
    "matrices": LogDet(3),
}
each_domain = pytest.mark.parametrize("R", DOMAINS.values(), ids=DOMAINS)


@each_domain
@pytest.mark.parametrize("bound", [1e-3, 1.0, 1e3])
def test_random_points_lie_inside_and_have_a_geometry(R, bound):
    space = HessianManifold(R)
    points = space.random_point(40, bound=bound)
    assert space.belongs(points).all()
    assert len(np.unique(points, axis=0)) == 40
    if R.dim <= 10:
        assert np.isfinite(space.metric.christoffels(points)).all()
    vectors = space.random_tangent_vec(points)
    assert vectors.shape == points.shape
    assert np.isfinite(space.metric.norm(vectors, points)).all()


def test_random_points_fill_thin_domains():
    """Both ways, whichever way the domain lies."""
    for R in (THIN, SLANTED):
        turn = np.eye(2) if R is THIN else SLANTED.A
        points = HessianManifold(R).random_point(400) @ turn.T / np.array([1.0, 1e-7])
        low, high = points.min(axis=0), points.max(axis=0)
        # Along the short way the box in the metric's unit is 1/√8 of the width to both sides of the middle.
        assert (low < 0.2).all() and (high > 0.8).all(), R


@each_domain
@pytest.mark.parametrize("far", [1e-3, 1.0, 1e30])
def test_projections_lie_just_inside(R, far, rng):
    space, centre = HessianManifold(R), R.domain.interior
    points = centre + far * np.array([1.0, -1.0]).repeat(5)[:, None] * rng.uniform(0.1, 1.0, (10, R.dim))
    projected = space.projection(points)
    outside = ~space.belongs(points)
    assert space.belongs(projected).all()
    np.testing.assert_array_equal(projected[~outside], points[~outside])
    np.testing.assert_allclose(space.projection(points[0]), projected[0], rtol=1e-14)
    if R is DOMAINS["its dual"]:
        return  # all of the plane, up to where float64 ends
    # A little further along the same ray is outside.
    beyond = centre + (1.0 + 1e-5) * (projected[outside] - centre)
    assert not space.belongs(beyond).any()


def test_tangent_vectors_are_standard_normal_in_the_metric():
    space = HessianManifold(LorentzBarrier(2))
    w, n = np.array([0.3, 1.0]), 40_000
    v = space.random_tangent_vec(w, n_samples=n)
    assert v.shape == (n, 2)
    # E[v vᵀ] g = 1, with the deviation √(2/n) of a mean of squares of normal numbers; five of them.
    np.testing.assert_allclose(
        v.T @ v / n @ space.metric.metric_matrix(w), np.eye(2), atol=5 * np.sqrt(2 / n)
    )
    assert space.random_tangent_vec().shape == (2,)
    assert space.random_tangent_vec(w).shape == (2,)
    batch = np.broadcast_to(w, (3, 4, 2))
    assert space.random_tangent_vec(batch).shape == (3, 4, 2)
    assert space.random_tangent_vec(batch[0], n_samples=4).shape == (4, 2)
    with pytest.raises(ShapeError, match="n_samples is 5"):
        space.random_tangent_vec(batch[0], n_samples=5)
    with pytest.raises(DomainError, match="base_point"):
        space.random_tangent_vec(np.array([2.0, 0.0]))


def test_shapes_and_errors_of_the_space():
    space = HessianManifold(BurgEntropy(2), equip=False)
    w, batch = np.ones(2), np.ones((3, 2))
    assert space.belongs([1.0, 2.0]) and not space.belongs([1.0, 0.0]) and not space.belongs(1.0)
    assert space.belongs(np.ones((4, 3, 2))).shape == (4, 3)
    assert space.is_tangent(w).shape == () and space.is_tangent(w, batch).shape == (3,)
    assert space.is_tangent(batch, w).all() and not space.is_tangent(np.ones(3)).any()
    assert not space.is_tangent(np.array([np.nan, 1.0]))
    assert space.to_tangent(w, batch).shape == (3, 2) and space.to_tangent(batch, w).shape == (3, 2)
    with pytest.raises(ShapeError, match="vector has shape"):
        space.to_tangent(np.ones(3), w)
    with pytest.raises(DomainError, match="vector must be finite"):
        space.to_tangent([np.inf, 0.0])
    with pytest.raises(DomainError, match="point must be finite"):
        space.projection([np.nan, 0.0])
    with pytest.raises(ShapeError, match="point has shape"):
        space.projection(np.ones(3))
    for wrong in ({"n_samples": 0}, {"n_samples": 2.5}, {"bound": 0.0}, {"bound": np.nan}):
        with pytest.raises(DomainError):
            space.random_point(**wrong)


def test_objects_say_what_they_are_of():
    R = rf.legendre.Gamma()
    space = rf.HessianManifold(R)
    shown = [repr(one) for one in (space, space.metric, rf.LegendreTransform(R), rf.NaturalToGeomstats(R))]
    assert shown == [
        "HessianManifold(Gamma)",
        "HessianMetric(Gamma)",
        "LegendreTransform(Gamma)",
        "NaturalToGeomstats(Gamma -> GammaDistributions)",
    ]


def test_random_tangent_vectors_need_a_regular_metric():
    """1 + e^{-800} is 1: there is no length there, and so no vector of length one."""
    with pytest.raises(DomainError, match="not positive definite there in float64"):
        HessianManifold(LogSumExp(2)).random_tangent_vec(np.array([-800.0, 0.0]))
