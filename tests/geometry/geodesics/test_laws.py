"""Laws of geodesics, on closed forms and on what is integrated: no formula of the library is an oracle."""

from __future__ import annotations

import numpy as np
import pytest
from zoo_legendre import CASES

from riemflow.geometry import HessianManifold, HessianMetric
from riemflow.geometry.geodesics.integrated import Integrated
from riemflow.geometry.geodesics.isometries import geodesics_of
from riemflow.geometry.geodesics.spreads import spread
from riemflow.legendre import (
    BurgEntropy,
    Dirichlet,
    Gamma,
    LegendreFunction,
    LogBarrier,
    LogPartition,
    LogSumExp,
    LorentzBarrier,
    NegativeEntropy,
    Normal,
    Quadratic,
    SoftplusSum,
    SquaredNorm,
    product,
)

A3 = np.array([[1.0, 0.2, 0.0], [0.1, 1.5, -0.3], [0.0, 0.4, 0.8]])
MADE = {
    "scaled": lambda: 2.5 * NegativeEntropy(2),
    "composed": lambda: NegativeEntropy(3).compose(A3, [4.0, 4.0, 4.0]),
    "composed, integrated": lambda: Dirichlet(3).compose(A3, [3.0, 3.0, 3.0]),
    "rectangular": lambda: NegativeEntropy(3).compose(A3[:, :2], [4.0, 4.0, 4.0]),
    "product": lambda: product(NegativeEntropy(1), LorentzBarrier(2), Gamma()),
    "square softplus sum": lambda: SoftplusSum(A3, [0.1, 0.2, 0.3]),
    "sum of quadratics": lambda: SquaredNorm(2) + Quadratic([[2.0, 0.3], [0.3, 1.0]]),
    "sum": lambda: BurgEntropy(2) + LogSumExp(2),
    "simplex of general points": lambda: LogPartition(
        [[0.0, 1.0], [1.0, 0.3], [-0.5, -1.0]], weights=[1.0, 2.0, 0.5]
    ),
    "conjugate of log-sum-exp": lambda: LogSumExp(2).conjugate,
    "conjugate of Normal": lambda: Normal().conjugate,
    "conjugate of Gamma": lambda: Gamma().conjugate,
    "conjugate of a barrier": lambda: LogBarrier([[1, 0], [0, 1], [-1, -1.0]], [1, 1, 1.0]).conjugate,
}
SPACES = {case.name: case.make for case in CASES} | MADE
each_space = pytest.mark.parametrize("make", SPACES.values(), ids=SPACES.keys())


def metric_of(R: LegendreFunction, closed_form: bool = True) -> HessianMetric:
    space = HessianManifold(R, equip=False)
    space.equip_with_metric(HessianMetric, closed_form=closed_form)
    return space.metric


def points_of(R: LegendreFunction, n: int, seed: int = 0) -> np.ndarray:
    """Points in a box about the interior point, less than half way to the boundary where there is one."""
    rng = np.random.default_rng(seed)
    return R.domain.interior + _lengths(R)[0] * rng.uniform(-0.4, 0.4, (n, R.dim))


def _lengths(R: LegendreFunction) -> tuple[float, np.ndarray]:
    """A step that keeps to dom R in all directions of a box."""
    centre = R.domain.interior
    corners = np.random.default_rng(1).choice([-1.0, 1.0], (200, R.dim))
    size = 1.0
    while not np.asarray(R._belongs(centre + size * corners)).all():
        size *= 0.7
    return size, centre


@each_space
def test_log_inverts_exp_and_exp_inverts_log(make):
    R = make()
    metric = metric_of(R)
    w, q = points_of(R, 5), points_of(R, 5, seed=1)
    v = metric.log(q, w)
    assert np.asarray(R.domain.belongs(w)).all()
    np.testing.assert_allclose(metric.exp(v, w), q, rtol=1e-9, atol=1e-9)
    back = metric.log(metric.exp(0.5 * v, w), w)
    np.testing.assert_allclose(back, 0.5 * v, rtol=1e-9, atol=1e-9 * np.abs(v).max())


@each_space
def test_closed_form_and_integration_agree(make):
    R = make()
    closed, integrated = metric_of(R), metric_of(R, closed_form=False)
    w, q = points_of(R, 3), points_of(R, 3, seed=1)
    v = closed.log(q, w)
    np.testing.assert_allclose(integrated.log(q, w), v, rtol=1e-9, atol=1e-9 * np.abs(v).max())
    np.testing.assert_allclose(integrated.exp(v, w), closed.exp(v, w), rtol=1e-9, atol=1e-9)
    u = closed.log(points_of(R, 3, seed=2), w)
    moved = closed.parallel_transport(u, w, direction=v)
    atol = 1e-9 * np.abs(moved).max()
    np.testing.assert_allclose(integrated.parallel_transport(u, w, direction=v), moved, rtol=1e-9, atol=atol)
    np.testing.assert_allclose(closed.parallel_transport(u, w, end_point=q), moved, rtol=1e-9, atol=atol)


@each_space
def test_distance_is_a_metric(make):
    R = make()
    metric = metric_of(R)
    a, b, c = (points_of(R, 6, seed=k) for k in range(3))
    ab, bc, ac = metric.dist(a, b), metric.dist(b, c), metric.dist(a, c)
    np.testing.assert_allclose(metric.dist(b, a), ab, rtol=1e-9)
    assert (ac <= (ab + bc) * (1 + 1e-12)).all()
    half = metric.exp(0.5 * metric.log(b, a), a)
    np.testing.assert_allclose(metric.dist(a, half), 0.5 * ab, rtol=1e-9)
    np.testing.assert_allclose(metric.dist(half, b), 0.5 * ab, rtol=1e-9)
    np.testing.assert_array_equal(metric.dist(a, a), 0.0)
    assert metric.dist_broadcast(a, b[:4]).shape == (6, 4)


@each_space
def test_speed_is_constant_and_transport_keeps_angles(make):
    R = make()
    metric = metric_of(R)
    w = points_of(R, 4)
    v, u = metric.log(points_of(R, 4, seed=1), w), metric.log(points_of(R, 4, seed=2), w)
    end = metric.exp(v, w)
    moved, along = (metric.parallel_transport(x, w, direction=v) for x in (u, v))
    for x, y, x1, y1 in ((u, u, moved, moved), (u, v, moved, along), (v, v, along, along)):
        size = metric.norm(x, w) * metric.norm(y, w)
        kept = metric.inner_product(x1, y1, end) - metric.inner_product(x, y, w)
        np.testing.assert_array_less(np.abs(kept) / size, 2e-11)
    # The velocity is carried along: it is that of the way back, turned round.
    np.testing.assert_allclose(along, -metric.log(w, end), rtol=1e-9, atol=1e-9 * np.abs(v).max())


@each_space
def test_gauss_lemma(make):
    """At exp(v), the image of a vector orthogonal to v is orthogonal to the geodesic's velocity."""
    R = make()
    metric = metric_of(R)
    w = points_of(R, 3)
    v, u = metric.log(points_of(R, 3, seed=1), w), metric.log(points_of(R, 3, seed=2), w)
    u = u - (metric.inner_product(u, v, w) / metric.squared_norm(v, w))[:, None] * v
    end, h = metric.exp(v, w), 1e-3
    image = (metric.exp(v + h * u, w) - metric.exp(v - h * u, w)) * (2 / 3) / h
    image -= (metric.exp(v + 2 * h * u, w) - metric.exp(v - 2 * h * u, w)) / (12 * h)
    along = metric.parallel_transport(v, w, direction=v)
    size = metric.norm(v, w) ** 2
    np.testing.assert_array_less(np.abs(metric.inner_product(image, along, end)) / size, 1e-7)


@pytest.mark.parametrize("name", ["NegativeEntropy", "Gamma", "Dirichlet", "LogDet", "product", "sum"])
def test_legendre_transform_is_an_isometry(name):
    """∇R takes geodesics of R to those of R*, whose code shares nothing but the solver's with R's."""
    names = [key for key in SPACES if name.lower() in key.lower()]
    assert names
    R = SPACES[names[0]]()
    primal, dual = metric_of(R), metric_of(R.conjugate, closed_form=False)
    w, q = points_of(R, 3), points_of(R, 3, seed=1)
    distance = primal.dist(w, q)
    np.testing.assert_allclose(dual.dist(R.gradient(w), R.gradient(q)), distance, rtol=1e-9)
    v = primal.log(q, w)
    pushed = np.einsum("nij,nj->ni", R.hessian(w), v)
    np.testing.assert_allclose(dual.exp(pushed, R.gradient(w)), R.gradient(q), rtol=1e-9, atol=1e-9)


def test_what_is_known_in_closed_form():
    """A negative control of the tests above: what they compare with an integration is none."""
    closed = [name for name, make in SPACES.items() if not isinstance(geodesics_of(make()), Integrated)]
    assert "scaled" in closed
    assert "product" in closed
    assert len(closed) >= 20
    assert isinstance(geodesics_of(Dirichlet(2)), Integrated)
    assert isinstance(geodesics_of(MADE["rectangular"]()), Integrated)


@each_space
def test_structured_right_sides_are_the_general_one(make, rng):
    R = make()
    w = points_of(R, 5)
    v, u = rng.standard_normal((2, 5, R.dim))
    general = -0.5 * np.linalg.solve(R.hessian(w), R._third_along(w, v) @ u[..., None])[..., 0]
    np.testing.assert_allclose(spread(R, w, v, u), general, rtol=1e-9, atol=1e-11 * np.abs(general).max())
