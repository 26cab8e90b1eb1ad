"""F(K) in R^D: what bends in R^D against spheres and graphs, what does not against the Hessian manifold."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from functools import cache

import geomstats.backend as gs
import numpy as np
import pytest
from geomstats.geometry.pullback_metric import PullbackMetric
from geomstats.geometry.riemannian_metric import RiemannianMetric
from zoo_embeddings import CLOSED, SOLVED, box, quartic, submanifold

import riemflow as rf
from riemflow import legendre
from riemflow.embedding.closed_form import MapEmbedding
from riemflow.embedding.embedding import ClosedForm
from riemflow.embedding.maps import Map
from riemflow.embedding.metric import as_metric
from riemflow.errors import ConvergenceError, DomainError, ShapeError
from riemflow.geometry import EmbeddedSubmanifold, HessianManifold, SubmanifoldMetric

# Curvature takes two derivatives of the metric. If ∂Fᵀ∂F, of degree 2n, errs by δ on a box of half-side h,
# they err by at most (2n)⁴δ/(3h²) (Markov): some 1e-6 for n = 8, h = ½ and δ = 1e-11.
SPECTRAL = 1e-6


each_closed = pytest.mark.parametrize("M", [pytest.param(k, id=k) for k in CLOSED], indirect=True)


@pytest.fixture
def M(request):
    return submanifold(request.param)


class Formula(MapEmbedding):
    """Any map as an embedding for R: isometric or not."""

    def __init__(self, R, map_, region):
        self.map = map_
        self._define(
            as_metric(R), map_.ambient_dim, region=region, method="closed-form", certificate=ClosedForm("?")
        )

    def _belongs(self, w):
        return self.region._belongs(w)


class Graph(Map):
    """(x, y, f(x, y)) for f = ½(a x² + b y²) + c x³."""

    dim, ambient_dim = 2, 3
    a, b, c = 1.0, -0.7, 0.4

    def slope(self, w):
        return np.stack([self.a * w[..., 0] + 3 * self.c * w[..., 0] ** 2, self.b * w[..., 1]], axis=-1)

    def bend(self, w):
        zero = np.zeros(w.shape[:-1])
        return np.stack([self.a + 6 * self.c * w[..., 0], zero, zero, zero + self.b], axis=-1).reshape(
            *zero.shape, 2, 2
        )

    def fun(self, w):
        height = 0.5 * (self.a * w[..., 0] ** 2 + self.b * w[..., 1] ** 2) + self.c * w[..., 0] ** 3
        return np.concatenate([w, height[..., None]], axis=-1)

    def jacobian(self, w):
        return np.concatenate(
            [np.broadcast_to(np.eye(2), (*w.shape, 2)), self.slope(w)[..., None, :]], axis=-2
        )

    def hessian(self, w):
        return np.concatenate([np.zeros((*w.shape, 2, 2)), self.bend(w)[..., None, :, :]], axis=-3)

    def start(self, x):
        return x[..., :2]


def graph():
    return EmbeddedSubmanifold(Formula(legendre.SquaredNorm(2), Graph(), box(2, -1.0, 1.0)))


# What bends in R^D.


@pytest.mark.parametrize("factor", [1.0, 2.5])
@pytest.mark.parametrize("d", [1, 2, 4])
def test_on_a_sphere_everything_is_known(d, factor):
    """c times log-sum-exp is the sphere of radius r = 2√c: II = -g x/r², H = -d x/r², curvature 1/r²."""
    S, r2 = EmbeddedSubmanifold(rf.embed(factor * legendre.LogSumExp(d))), 4.0 * factor
    w = S.random_point(6)
    x, g = S.immersion(w), S.metric.metric_matrix(w)
    np.testing.assert_allclose((x**2).sum(axis=-1), r2, rtol=1e-14)
    expected = -x[..., None, None] * g[:, None] / r2
    np.testing.assert_allclose(S.metric.second_fundamental_form(w), expected, atol=1e-14)
    mean = S.metric.mean_curvature_vector(w)
    np.testing.assert_allclose(mean, -d * x / r2, atol=1e-13)
    np.testing.assert_allclose(np.linalg.norm(mean, axis=-1), d / np.sqrt(r2), rtol=1e-12)
    np.testing.assert_allclose(S.metric.scalar_curvature(w), d * (d - 1) / r2, atol=1e-12)
    if d > 1:
        a, b = np.random.default_rng(0).standard_normal((2, 6, d))
        np.testing.assert_allclose(S.metric.sectional_curvature(a, b, w), 1 / r2, rtol=1e-11)


def test_on_a_graph_the_curvatures_are_those_of_monge():
    """K = det ∇²f/(1 + |∇f|²)², and H along the upper normal, of length 1, is the trace of Monge's form."""
    G = graph()
    w = G.random_point(20)
    p, q = np.moveaxis(Graph().slope(w), -1, 0)
    (rr, s), (_, t) = np.moveaxis(Graph().bend(w), (-2, -1), (0, 1))
    size = 1 + p**2 + q**2
    gauss = (rr * t - s**2) / size**2
    a, b = np.random.default_rng(0).standard_normal((2, 20, 2))
    np.testing.assert_allclose(G.metric.sectional_curvature(a, b, w), gauss, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(G.metric.scalar_curvature(w), 2 * gauss, rtol=1e-11, atol=1e-13)
    mean = ((1 + q**2) * rr - 2 * p * q * s + (1 + p**2) * t) / size**1.5
    normal = np.stack([-p, -q, np.ones_like(p)], axis=-1) / np.sqrt(size)[:, None]
    np.testing.assert_allclose(
        G.metric.mean_curvature_vector(w), mean[:, None] * normal, rtol=1e-11, atol=1e-13
    )
    assert gauss.min() < -0.1 < 0.0 < 0.1 < np.abs(mean).max()


def test_a_product_of_spheres_bends_but_not_across():
    """Planes with one leg in each factor are flat: II does not vanish, and its products cancel."""
    R = legendre.product(legendre.LogSumExp(2), 2.0 * legendre.LogSumExp(2))
    P = EmbeddedSubmanifold(rf.embed(R))
    w, zero = P.random_point(5), np.zeros((5, 2))
    a, b, c = np.random.default_rng(0).standard_normal((3, 5, 2))
    left, other, right = (np.concatenate(pair, axis=-1) for pair in ((a, zero), (b, zero), (zero, c)))
    np.testing.assert_allclose(P.metric.sectional_curvature(left, right, w), 0.0, atol=1e-14)
    np.testing.assert_allclose(P.metric.sectional_curvature(left, other, w), 0.25, rtol=1e-11)
    np.testing.assert_allclose((P.metric.mean_curvature_vector(w) ** 2).sum(axis=-1), 1.0 + 0.5, rtol=1e-12)


@each_closed
def test_the_second_fundamental_form_is_normal_and_symmetric(M):
    w = M.random_point(6)
    II, J = M.metric.second_fundamental_form(w), M.jacobian_immersion(w)
    size = np.abs(M.hessian_immersion(w)).max()
    np.testing.assert_allclose(II, np.swapaxes(II, -1, -2), atol=1e-15 * size)
    np.testing.assert_allclose(np.einsum("naij,nak->nijk", II, J), 0.0, atol=1e-13 * size * np.abs(J).max())


@each_closed
def test_the_trace_of_gauss_equation(M):
    """The scalar curvature is |H|² - |II|², in an orthonormal frame."""
    w = M.random_point(6)
    half = np.linalg.inv(np.linalg.cholesky(M.metric.metric_matrix(w)))
    framed = np.einsum("naij,nki,nlj->nakl", M.metric.second_fundamental_form(w), half, half)
    mean = np.trace(framed, axis1=-2, axis2=-1)
    np.testing.assert_allclose(M.metric.mean_curvature_vector(w), mean, atol=1e-12 * (1 + np.abs(mean).max()))
    size = (framed**2).sum(axis=(-3, -2, -1))
    expected = (mean**2).sum(axis=-1) - size
    np.testing.assert_allclose(M.metric.scalar_curvature(w), expected, atol=1e-11 * (1 + size.max()))


# What does not: Theorema egregium.


def gap_to_intrinsic(S, R, n=200):
    """How far the curvatures by Gauss' equation and by ∇³R differ, in an orthonormal frame of ∇²R."""
    intrinsic = HessianManifold(R).metric
    gs.random.seed(0)
    # By ∇³R digits are lost near the boundary as the square of the metric's condition.
    w = S.random_point(n, bound=0.15)
    frame = np.linalg.inv(np.linalg.cholesky(intrinsic.metric_matrix(w)))
    lowered = S.metric.covariant_riemann_tensor(w) - intrinsic.covariant_riemann_tensor(w)
    framed = np.einsum("nijkl,nai,nbj,nck,ndl->nabcd", lowered, *[frame] * 4, optimize=True)
    scalar = S.metric.scalar_curvature(w) - intrinsic.scalar_curvature(w)
    return max(np.abs(framed).max(), np.abs(scalar).max())


@each_closed
def test_gauss_curvature_of_closed_forms_is_intrinsic(M):
    assert gap_to_intrinsic(M, M.embedding.R) < 1e-11


def test_gauss_equation_keeps_digits_near_the_boundary():
    """On the simplex, a sphere of radius 2, as many as 1 - w_1 - w_2 has, by the metric's condition."""
    S = submanifold("simplex")
    w = np.stack([np.full(3, 0.5), 0.5 - np.array([1e-3, 1e-5, 1e-7])], axis=-1)
    condition = np.linalg.cond(S.metric.metric_matrix(w))
    assert condition[-1] > 5e6
    assert (np.abs(S.metric.scalar_curvature(w) - 0.5) < np.finfo(float).eps * condition).all()


@pytest.mark.parametrize(
    "name", [pytest.param(k, marks=pytest.mark.slow) if k == "Dirichlet" else k for k in SOLVED]
)
def test_gauss_curvature_of_spectral_embeddings_is_intrinsic(name):
    S = submanifold(name)
    assert S.embedding.method == ("mixed" if name == "mixed" else "spectral")
    assert S.embedding.certificate.passed
    assert gap_to_intrinsic(S, S.embedding.R) < SPECTRAL


def test_gauss_curvature_of_a_projected_embedding_is_intrinsic():
    """A quadrature rule's many dimensions, projected to those that count."""
    K = box(2)
    R = legendre.ExponentialFamily(
        lambda x: np.stack([x, x**2], axis=-1), K.corners(), log_density=lambda x: -(x**4)
    )
    F = rf.embed(R, K, tol=1e-11)
    assert F.method == "compressed"
    assert gap_to_intrinsic(EmbeddedSubmanifold(F), R) < SPECTRAL


def test_an_unresolved_embedding_has_another_curvature():
    R = quartic()
    F = rf.embed(R, box(2, -1.5, 1.5), tol=3e-2)
    assert F.metric_defect(F.region.sample(500)).max() > 1e-4
    assert gap_to_intrinsic(EmbeddedSubmanifold(F), R) > 1e-3


def test_a_map_that_is_not_isometric_has_another_curvature():
    class Stretched(Map):
        """The sphere of log-sum-exp, one axis of R³ stretched by a percent."""

        def __init__(self):
            self.base, self.stretch = rf.embed(legendre.LogSumExp(2)).map, np.array([1.01, 1.0, 1.0])
            self.dim, self.ambient_dim = 2, 3

        def fun(self, w):
            return self.stretch * self.base.fun(w)

        def jacobian(self, w):
            return self.stretch[:, None] * self.base.jacobian(w)

        def hessian(self, w):
            return self.stretch[:, None, None] * self.base.hessian(w)

    S = EmbeddedSubmanifold(Formula(legendre.LogSumExp(2), Stretched(), box(2)))
    assert gap_to_intrinsic(S, legendre.LogSumExp(2)) > 1e-3


# The metric and its derivatives.


@each_closed
def test_metric_and_christoffels_are_the_hessian_manifolds(M):
    intrinsic = HessianManifold(M.embedding.R).metric
    w = M.random_point(6)
    for name in ("metric_matrix", "cometric_matrix", "christoffels", "inner_product_derivative_matrix"):
        found, expected = (getattr(metric, name)(w) for metric in (M.metric, intrinsic))
        np.testing.assert_allclose(
            found, expected, rtol=1e-10, atol=1e-11 * np.abs(expected).max(), err_msg=name
        )


@pytest.mark.parametrize("make", [graph, lambda: submanifold("Lorentz"), lambda: submanifold("sum")])
def test_geomstats_general_formulas_agree(make):
    """geomstats' own pullback metric, on the same F: by inner products, inverses and Koszul's formula."""
    S = make()
    w = S.random_point(5)
    v, u = np.random.default_rng(0).standard_normal((2, 5, 2))
    for name in ("metric_matrix", "second_fundamental_form", "mean_curvature_vector", "cometric_matrix"):
        found, expected = getattr(S.metric, name)(w), getattr(PullbackMetric, name)(S.metric, w)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12, err_msg=name)
    np.testing.assert_allclose(
        S.metric.christoffels(w), RiemannianMetric.christoffels(S.metric, w), atol=1e-12
    )
    inner = (S.tangent_immersion(u, w) * S.tangent_immersion(v, w)).sum(axis=-1)
    np.testing.assert_allclose(S.metric.inner_product(u, v, w), inner, rtol=1e-12, atol=1e-14)


def test_derivatives_are_those_of_differences():
    S, h = graph(), 1e-4
    w = 0.9 * S.random_point(5)
    shift = h * np.eye(2)
    for order, (fun, derivative) in enumerate(
        [
            (S.immersion, S.jacobian_immersion),
            (S.jacobian_immersion, S.hessian_immersion),
            (S.metric.metric_matrix, S.metric.inner_product_derivative_matrix),
        ]
    ):
        slope = np.stack([(fun(w + e) - fun(w - e)) / (2 * h) for e in shift], axis=-1)
        np.testing.assert_allclose(derivative(w), slope, atol=1e-6, err_msg=str(order))


def test_a_frame_by_qr_keeps_the_digits_that_normal_equations_square():
    """Where a probability of log-sum-exp is 1e-12, ∂F has condition 1e6 and ∂Fᵀ∂F 1e12."""
    S = EmbeddedSubmanifold(rf.embed(legendre.LogSumExp(2)))
    w, v = np.array([0.3, -28.0]), np.array([0.7, -1.3])
    condition = np.linalg.cond(S.jacobian_immersion(w))
    assert condition > 5e5
    np.testing.assert_allclose(S.tangent_coordinates(S.tangent_immersion(v, w), w), v, rtol=1e-13)
    # With g = diag(p) - ppᵀ and ∂g, Γ^k_ij = ½ (δ_ijk - p_i δ_jk - p_j δ_ik).
    p, one = np.exp(w) / (1 + np.exp(w).sum()), np.eye(2)
    expected = (
        np.einsum("ij,ik->kij", one, one) - np.einsum("i,jk->kij", p, one) - np.einsum("j,ik->kij", p, one)
    )
    np.testing.assert_allclose(S.metric.christoffels(w), 0.5 * expected, atol=np.finfo(float).eps * condition)


# Tangent and normal spaces.


@each_closed
def test_projections_split_vectors(M):
    w = M.random_point(5)
    D = M.embedding_space.dim
    x = np.random.default_rng(0).standard_normal((5, D))
    tangent, normal = M.tangent_projection(x, w), M.normal_projection(x, w)
    np.testing.assert_allclose(tangent + normal, x, atol=1e-14)
    np.testing.assert_allclose((tangent * normal).sum(axis=-1), 0.0, atol=1e-13)
    np.testing.assert_allclose(
        np.swapaxes(M.jacobian_immersion(w), -1, -2) @ normal[..., None], 0.0, atol=1e-12
    )
    np.testing.assert_allclose(M.tangent_projection(tangent, w), tangent, atol=1e-13)
    frame = M.tangent_frame(w)
    assert frame.shape == (5, D, M.dim)
    np.testing.assert_allclose(
        np.swapaxes(frame, -1, -2) @ frame, np.broadcast_to(np.eye(M.dim), (5, M.dim, M.dim)), atol=1e-14
    )
    components = M.tangent_coordinates(x, w)
    np.testing.assert_allclose(M.tangent_immersion(components, w), tangent, atol=1e-13)
    assert M.is_tangent(tangent, w).all()
    assert M.is_tangent(components, w).all()
    if D > M.dim:
        assert not M.is_tangent(x, w).any()
        assert not M.is_tangent(tangent + 1e-3 * normal, w).any()
        # On M the projector is ∂F ∂G, G the inverse of F.
        projector = M.jacobian_immersion(w) @ M.embedding.parametrization().jacobian(M.immersion(w))
        np.testing.assert_allclose((projector @ x[..., None])[..., 0], tangent, atol=1e-9)


@each_closed
def test_points_off_the_submanifold_project_to_the_nearest(M):
    w = (
        M.random_point(4)
        if M.embedding.region is None
        else 0.5 * (M.random_point(4) + M.embedding.region.center)
    )
    x = M.immersion(w)
    np.testing.assert_allclose(M.projection(x), w, atol=1e-9)
    np.testing.assert_allclose(M.inverse_immersion(x), w, atol=1e-9)
    if M.embedding_space.dim > M.dim:
        noise = np.random.default_rng(0).standard_normal(x.shape)
        normal = M.normal_projection(noise, w)
        normal *= 1e-2 / np.linalg.norm(normal, axis=-1, keepdims=True)
        np.testing.assert_allclose(M.projection(x + normal), w, atol=1e-8)
        with pytest.raises(DomainError, match=r"is not on .*, but 0\.01 from it"):
            M.inverse_immersion(x + normal)


# Geodesics.


@each_closed
def test_geodesics_are_the_hessian_manifolds_and_bend_along_the_normal(M):
    intrinsic, d = HessianManifold(M.embedding.R).metric, M.dim
    start = M.embedding.domain.interior
    v = np.random.default_rng(1).standard_normal((3, d))
    v *= 0.1 / M.metric.norm(v, start)[:, None]
    end = M.metric.exp(tangent_vec=v, base_point=start)
    np.testing.assert_allclose(end, intrinsic.exp(v, start), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(M.metric.log(end, np.broadcast_to(start, end.shape)), v, atol=1e-9)
    np.testing.assert_allclose(M.metric.dist(end, np.broadcast_to(start, end.shape)), 0.1, atol=1e-9)
    h = 1e-3
    path = M.metric.geodesic(initial_point=start, initial_tangent_vec=v)(0.5 + h * np.array([-1.0, 0.0, 1.0]))
    low, x, high = np.moveaxis(M.immersion(path), -2, 0)
    turn = (low - 2 * x + high) / h**2
    tangential = M.tangent_projection(turn, path[..., 1, :])
    # Differences err by h² times the fourth derivative, and by rounding of x over h².
    np.testing.assert_allclose(tangential, 0.0, atol=1e-7)
    chord = np.linalg.norm(M.immersion(end) - M.immersion(start), axis=-1)
    assert (chord <= 0.1 + 1e-12).all()


def test_leaving_the_region_is_an_error():
    """In the plane, with F = w, the geodesic from the centre leaves K after half the time."""
    S = EmbeddedSubmanifold(rf.embed(legendre.SquaredNorm(2), box(2), method="spectral"))
    with pytest.raises(
        ConvergenceError, match=r"leaves the submanifold F\(Box.* fraction 0\.5 of the time"
    ) as caught:
        S.metric.exp(np.array([1.0, 0.0]), np.zeros(2))
    assert caught.value.partial.shape == (2,)


# Points, and errors.


@each_closed
def test_points_of_the_space(M):
    gs.random.seed(3)
    points = M.random_point(50)
    gs.random.seed(3)
    np.testing.assert_array_equal(M.random_point(50), points)
    assert isinstance(M.metric, SubmanifoldMetric)
    assert M.random_point().shape == (M.dim,)
    assert M.belongs(points).all()
    assert M.embedding.region is None or M.embedding.region.belongs(points).all()
    assert not M.belongs(np.ones((3, M.dim + 1))).any()
    assert not M.belongs(np.full((3, M.dim), np.nan)).any()
    assert M.immersion(points).shape == (50, M.embedding_space.dim)
    assert M.metric.riemann_tensor(points.reshape(5, 10, -1)).shape == (5, 10, *[M.dim] * 4)


def test_a_loaded_embedding_needs_no_mirror_map(tmp_path):
    S = submanifold("quartic")
    loaded = EmbeddedSubmanifold(rf.load_embedding(S.embedding.save(tmp_path / "F")))
    assert loaded.embedding.metric is None
    w = S.random_point(5)
    np.testing.assert_array_equal(loaded.metric.riemann_tensor(w), S.metric.riemann_tensor(w))
    v = np.array([0.05, -0.1])
    np.testing.assert_array_equal(loaded.metric.exp(v, np.zeros(2)), S.metric.exp(v, np.zeros(2)))


def test_random_points_without_a_region_are_pulled_inside():
    S = submanifold("entropy")
    assert S.embedding.region is None
    points = S.random_point(200, bound=50.0)
    assert S.belongs(points).all()
    assert points.max() > 10.0


@cache
def polar():
    """The plane in polar coordinates (r, φ), 1 ≤ r ≤ 1.5: no Hessian metric, since ∂_r g_φφ ≠ ∂_φ g_rφ."""
    F = rf.embed(
        lambda w: np.eye(2) * np.stack([np.ones_like(w[..., 0]), w[..., 0] ** 2], axis=-1)[..., None],
        rf.Box([1.0, 0.0], [1.5, 1.5]),
    )
    return EmbeddedSubmanifold(F)


def test_another_metric_than_a_hessian():
    w = polar().random_point(20)
    np.testing.assert_allclose(polar().metric.riemann_tensor(w), 0.0, atol=SPECTRAL)
    np.testing.assert_allclose(polar().metric.christoffels(w)[:, 0, 1, 1], -w[:, 0], atol=1e-7)


def test_geodesics_of_the_plane_in_polar_coordinates_are_chords():
    ends = np.array([[1.4, 0.2], [1.5, 0.9], [1.2, 0.1]]), np.array([[1.3, 0.7], [1.1, 0.4], [1.2, 0.1]])
    p, q = (w[:, :1] * np.stack([np.cos(w[:, 1]), np.sin(w[:, 1])], axis=-1) for w in ends)
    np.testing.assert_allclose(polar().metric.dist(*ends), np.linalg.norm(q - p, axis=-1), rtol=1e-9)
    middle = polar().metric.geodesic(ends[0], end_point=ends[1])([0.5])[:, 0]
    np.testing.assert_allclose(middle[:, 0], np.linalg.norm(p + q, axis=-1) / 2, rtol=1e-9)
    # A vector stays parallel to itself: its angle to the radius turns by the angle between the ends.
    moved = polar().metric.parallel_transport(np.array([1.0, 0.0]), ends[0], end_point=ends[1])
    turn = ends[0][:, 1] - ends[1][:, 1]
    expected = np.stack([np.cos(turn), np.sin(turn) / ends[1][:, 0]], axis=-1)
    np.testing.assert_allclose(moved, expected, atol=1e-8)


def test_a_geodesic_that_leaves_the_region_is_an_error_and_no_detour():
    """The chord from φ = 0 to 1.4 at r = 1.05 comes as near as 1.05 cos 0.7 = 0.80 to the origin."""
    with pytest.raises(ConvergenceError, match="No geodesic from base_point"):
        polar().metric.log(np.array([1.05, 1.4]), np.array([1.05, 0.0]))


def test_bad_arguments_are_refused():
    S = submanifold("Lorentz")
    w, x = S.random_point(), S.immersion(S.random_point())
    with pytest.raises(DomainError, match="IsometricEmbedding"):
        EmbeddedSubmanifold(np.square)
    with pytest.raises(DomainError, match="must be an IsometricEmbedding"):
        EmbeddedSubmanifold(S.embedding.R)
    for method in (S.immersion, S.jacobian_immersion, S.hessian_immersion, S.metric.riemann_tensor):
        with pytest.raises(DomainError, match="finite"):
            method([np.nan, 1.0])
        with pytest.raises(DomainError, match="boundary"):
            method([0.0, -1.0])
        with pytest.raises(ShapeError):
            method(np.ones(3))
    with pytest.raises(ShapeError, match="tangent_coordinates"):
        S.to_tangent(x, w)
    with pytest.raises(ShapeError):
        S.to_tangent(np.ones(4), w)
    with pytest.raises(ShapeError):
        S.tangent_projection(np.ones(2), w)
    with pytest.raises(DomainError):
        S.tangent_immersion([np.inf, 1.0], w)
    with pytest.raises(ShapeError):
        S.projection(w)
    with pytest.raises(DomainError):
        S.projection(np.full(3, np.nan))
    assert not S.is_tangent(np.full((2, 3), np.nan), w).any()
    assert not S.is_tangent(np.ones((2, 4)), w).any()


def test_a_parametrization_cannot_live_on_coordinates():
    """Taken for a manifold of R^D, the open set of w would be another one."""
    S = submanifold("entropy")
    with pytest.raises(DomainError, match=r"coordinates, not points of R\^D"):
        rf.Parametrization(lambda x: x**2, 3, 3, manifold=S)


def test_an_atlas_is_refused_and_its_charts_are_not():
    atlas = rf.embed(legendre.LogSumExp(2), box(2), method="atlas", tol=1e-6)
    with pytest.raises(DomainError, match="charts"):
        EmbeddedSubmanifold(atlas)
    chart = EmbeddedSubmanifold(atlas.charts[0])
    np.testing.assert_allclose(chart.metric.scalar_curvature(chart.random_point(20)), 0.5, atol=1e-2)


AUTOGRAD = """
import geomstats.backend as gs
import numpy as np
import riemflow as rf
from geomstats.geometry.base import ImmersedSet
from geomstats.geometry.riemannian_metric import RiemannianMetric
from riemflow.geometry import EmbeddedSubmanifold

S = EmbeddedSubmanifold(rf.embed(rf.legendre.LorentzBarrier(2), rf.Box([-0.6, 0.5], [0.6, 1.6])))
w = np.array([[0.3, 0.7], [-0.1, 1.2]])
traced, metric = RiemannianMetric.inner_product_derivative_matrix(S.metric, w), S.metric
np.testing.assert_allclose(metric.inner_product_derivative_matrix(w), traced, atol=1e-13)
np.testing.assert_allclose(S.jacobian_immersion(w), ImmersedSet.jacobian_immersion(S, w), atol=1e-13)
np.testing.assert_allclose(S.hessian_immersion(w), ImmersedSet.hessian_immersion(S, w), atol=1e-13)
np.testing.assert_allclose(metric.scalar_curvature(w), -0.5, atol=1e-12)
try:
    ImmersedSet.hessian_immersion(S, np.array([[0.0, -1.0]]))
except rf.DomainError:
    pass
else:
    raise AssertionError("a traced point outside was not refused")
try:
    gs.autodiff.jacobian_vec(S.hessian_immersion)(w)
except NotImplementedError:
    pass
else:
    raise AssertionError("third derivatives of F are not known")
v = np.array([[0.1, 0.02], [0.05, -0.1]])
np.testing.assert_allclose(metric.log(metric.exp(v, w), w), v, atol=1e-9)
print(metric.mean_curvature_vector(w).tolist())
"""


def test_autograd_backend_agrees():
    environment = {**os.environ, "GEOMSTATS_BACKEND": "autograd"}
    run = subprocess.run(
        [sys.executable, "-c", AUTOGRAD], env=environment, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    here = submanifold("Lorentz").metric.mean_curvature_vector(np.array([[0.3, 0.7], [-0.1, 1.2]]))
    np.testing.assert_array_equal(np.array(eval(run.stdout)), here)


def test_a_submanifold_is_pickled():
    F = rf.embed(legendre.LogSumExp(2) + 0.1 * legendre.SquaredNorm(2), rf.Box([-0.5, -0.5], [0.5, 0.5]))
    M = EmbeddedSubmanifold(F)
    w, v = np.array([0.1, 0.2]), np.array([0.1, -0.2])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(M)).metric.exp(v, w), M.metric.exp(v, w))
