"""Riemannian gradient flow on spaces whose points are no coordinates: spheres, matrices, frames."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
import pytest
from geomstats.geometry.euclidean import Euclidean
from geomstats.geometry.grassmannian import Grassmannian
from geomstats.geometry.hyperboloid import Hyperboloid
from geomstats.geometry.hypersphere import Hypersphere
from geomstats.geometry.matrices import Matrices
from geomstats.geometry.poincare_half_space import PoincareHalfSpace
from geomstats.geometry.product_manifold import ProductManifold
from geomstats.geometry.spd_matrices import SPDAffineMetric, SPDMatrices
from geomstats.geometry.special_orthogonal import SpecialOrthogonal
from geomstats.geometry.stiefel import Stiefel
from scipy.linalg import expm

import riemflow as rf
from riemflow.errors import ConvergenceError, DomainError, ShapeError
from riemflow.spaces import RiemannianSpace

TIMES = np.linspace(0.0, 2.0, 9)
SPREAD = np.diag([1.0, 2.0, 3.5, 4.0])


def rayleigh(x):
    return 0.5 * anp.dot(x, SPREAD @ x)


def affine_spd(n):
    space = SPDMatrices(n, equip=False)
    space.equip_with_metric(SPDAffineMetric)
    return space


def test_rayleigh_quotient_flows_to_the_first_eigenvector_by_the_matrix_exponential():
    """``x' = -(I - xxᵀ)Ax`` has the solution e^{-At}x_0 / ‖e^{-At}x_0‖ (Oja's flow)."""
    start = np.full(4, 0.5)
    flow = rf.riemannian_gradient_flow(Hypersphere(3), rayleigh, start, TIMES, rtol=1e-11)
    expected = np.exp(-TIMES[:, None] * np.diag(SPREAD)) * start
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(flow.w, expected, rtol=0, atol=1e-10)
    np.testing.assert_allclose(flow.sol(0.3) @ flow.sol(0.3), 1.0, rtol=1e-14)
    assert 0 < flow.stats["drift"] < 1e-9
    still = rf.riemannian_gradient_flow(Hypersphere(3), rayleigh, start, np.inf)
    np.testing.assert_allclose(still.w[-1], [1, 0, 0, 0], atol=1e-8)


def half_square_on_the_sphere(goal):
    return lambda x: 0.5 * anp.arccos(anp.dot(x, goal)) ** 2


def half_square_on_the_hyperboloid(goal):
    mirrored = goal * np.array([-1.0, 1.0, 1.0])
    return lambda x: 0.5 * anp.arccosh(-anp.dot(x, mirrored)) ** 2


@pytest.mark.parametrize(
    ("space", "loss_to"),
    [(Hypersphere(2), half_square_on_the_sphere), (Hyperboloid(2), half_square_on_the_hyperboloid)],
    ids=["sphere", "hyperboloid"],
)
def test_half_the_squared_distance_flows_along_the_geodesic(space, loss_to):
    """grad ½d²(w, p) = -log_w p on any space, so that w(t) = exp_p(e^{-t} log_p w_0)."""
    tangent = space.to_tangent(np.array([0.3, 0.5, -0.4]), space.projection(np.array([1.0, 0.2, 0.1])))
    goal = space.projection(np.array([1.0, 0.2, 0.1]))
    start = space.metric.exp(tangent, goal)
    flow = rf.riemannian_gradient_flow(space, loss_to(goal), start, TIMES, rtol=1e-11)
    for t, w in zip(TIMES, flow.w, strict=True):
        expected = space.metric.exp(np.exp(-t) * space.metric.log(start, goal), goal)
        np.testing.assert_allclose(w, expected, rtol=0, atol=2e-9)


def test_spd_matrices_are_integrated_in_their_own_coordinates():
    """For ``L = tr(CX)`` under the affine metric X' = -XCX, so that X(t)^{-1} = X_0^{-1} + tC."""
    C, start = np.array([[1.0, 0.4], [0.4, 0.5]]), np.array([[2.0, -0.3], [-0.3, 1.0]])
    flow = rf.riemannian_gradient_flow(affine_spd(2), lambda X: anp.trace(C @ X), start, TIMES, rtol=1e-11)
    expected = np.linalg.inv(np.linalg.inv(start) + TIMES[:, None, None] * C)
    np.testing.assert_allclose(flow.w, expected, rtol=0, atol=1e-9)
    assert "drift" not in flow.stats
    tilted = C + np.array([[0.0, 0.7], [-0.7, 0.0]])  # whose trace with symmetric matrices is the same
    other = rf.riemannian_gradient_flow(affine_spd(2), lambda X: anp.trace(tilted.T @ X), start, TIMES)
    np.testing.assert_allclose(other.w, expected, rtol=0, atol=1e-6)


def test_the_metric_decides_the_flow():
    """Control: under the flat metric, X' = -C, it is another flow, and leaves the cone."""
    C, start = np.array([[1.0, 0.4], [0.4, 0.5]]), np.array([[2.0, -0.3], [-0.3, 1.0]])
    flat = SPDMatrices(2, equip=False)
    flat.metric = Matrices(2, 2).metric
    flow = rf.riemannian_gradient_flow(flat, lambda X: anp.trace(C @ X), start, 5.0, throw=False)
    assert flow.status == "left-domain"
    np.testing.assert_allclose(flow.w, start - flow.t[:, None, None] * C, atol=1e-8)
    roots = np.linalg.eigvals(np.linalg.solve(C, start))
    assert flow.t[-1] == pytest.approx(roots.real.min(), abs=1e-6)


def test_nearest_rotation_is_the_polar_factor(rng):
    """Maximise tr(AᵀQ) over rotations: Q = UVᵀ of the singular value decomposition, if det A > 0."""
    A = expm(0.4 * np.array([[0, 1, 2], [-1, 0, 0.5], [-2, -0.5, 0]])) @ np.diag([1.0, 2.0, 0.5])
    space = SpecialOrthogonal(3)
    flow = rf.riemannian_gradient_flow(space, lambda Q: -anp.sum(A * Q), np.eye(3), np.inf)
    U, _, Vt = np.linalg.svd(A)
    np.testing.assert_allclose(flow.w[-1], U @ Vt, atol=1e-7)
    assert flow.status == "converged"


@pytest.mark.parametrize(
    ("space", "weights"), [(Stiefel(4, 2), [2.0, 1.0]), (Grassmannian(4, 2), None)], ids=["Stiefel", "planes"]
)
def test_brockett_and_planes_find_the_lowest_eigenvectors(space, weights, rng):
    frame = np.linalg.qr(rng.standard_normal((4, 2)))[0]
    if weights is None:
        start, loss = frame @ frame.T, lambda P: 0.5 * anp.trace(SPREAD @ P)
    else:
        start, loss = frame, lambda X: 0.5 * anp.trace(X.T @ SPREAD @ X @ np.diag(weights))
    flow = rf.riemannian_gradient_flow(space, loss, start, np.inf)
    found = flow.w[-1] if weights is None else flow.w[-1] @ flow.w[-1].T
    np.testing.assert_allclose(found, np.diag([1.0, 1.0, 0.0, 0.0]), atol=1e-6)


def test_a_product_flows_factor_by_factor():
    space = ProductManifold([Hypersphere(3), Hypersphere(3)])
    start = np.array([np.full(4, 0.5), [0.5, -0.5, 0.5, 0.5]])
    both = rf.riemannian_gradient_flow(space, lambda x: rayleigh(x[0]) + 2 * rayleigh(x[1]), start, TIMES)
    for k, factor in enumerate((1.0, 2.0)):
        alone = rf.riemannian_gradient_flow(Hypersphere(3), rayleigh, start[k], factor * TIMES)
        np.testing.assert_allclose(both.w[:, k], alone.w, atol=1e-6)


def test_poincare_half_plane_without_a_metric_matrix():
    """g = I/y²: for L = y the point falls by y' = -y²."""
    flow = rf.riemannian_gradient_flow(PoincareHalfSpace(2), rf.losses.Linear([0, 1.0]), [0.3, 2.0], TIMES)
    np.testing.assert_allclose(flow.w, np.stack([0.3 + 0 * TIMES, 1 / (0.5 + TIMES)], -1), atol=1e-7)


@pytest.mark.parametrize(
    "space",
    [Hypersphere(3), Hyperboloid(2), Stiefel(4, 2), SpecialOrthogonal(3), affine_spd(3), Grassmannian(4, 2)],
    ids=lambda space: type(space).__name__,
)
def test_gradient_represents_the_derivative(space, rng):
    """g(grad, u) = slope·u for tangent u of geomstats' own, both by the short way and in a basis."""
    M = RiemannianSpace(space)
    point, slope = np.asarray(space.random_point()), rng.standard_normal(space.shape)
    for induced in (True, False):
        M._induced = induced
        found = M.gradient(point, slope, np.linalg.solve)
        assert np.all(space.is_tangent(found, point, atol=1e-9))
        for _ in range(5):
            u = np.asarray(space.to_tangent(rng.standard_normal(space.shape), point))
            product = float(np.squeeze(space.metric.inner_product(found, u, point)))
            assert product == pytest.approx(float((slope * u).sum()), abs=1e-11)


def test_given_gradient_is_used_and_checked():
    start = np.full(4, 0.5)
    asked = []

    def gradient(x):
        asked.append(x.shape)
        return SPREAD @ x

    plain = lambda x: 0.5 * float(np.dot(x, SPREAD @ x))  # noqa: E731 - not written for autograd
    flow = rf.riemannian_gradient_flow(Hypersphere(3), plain, start, TIMES, gradient=gradient)
    np.testing.assert_allclose(
        flow.w, rf.riemannian_gradient_flow(Hypersphere(3), rayleigh, start, TIMES).w, atol=1e-12
    )
    assert set(asked) == {(4,)}
    with pytest.raises(DomainError, match="is not the derivative"):
        rf.riemannian_gradient_flow(Hypersphere(3), plain, start, TIMES, gradient=lambda x: 2 * gradient(x))
    # What is normal to the sphere is nobody's business.
    rf.riemannian_gradient_flow(Hypersphere(3), plain, start, 0.1, gradient=lambda x: gradient(x) + x)


@pytest.mark.parametrize(
    ("loss", "error", "words"),
    [
        (lambda x: x, ShapeError, r"returned shape \(4,\)"),
        (lambda x: float(x[0]), ShapeError, "anp"),
        (lambda x: anp.log(x[0] - 1.0), DomainError, "not finite"),
        (lambda x: x[7], ShapeError, "IndexError"),
        ("downhill", DomainError, "loss is a str"),
        (rf.losses.Linear([1.0, 2.0]), ShapeError, r"on R\^2"),
    ],
    ids=["vector", "not traced", "not finite", "raises", "text", "other space"],
)
def test_losses_that_will_not_do(loss, error, words):
    with pytest.raises(error, match=words), np.errstate(all="ignore"):
        rf.riemannian_gradient_flow(Hypersphere(3), loss, np.full(4, 0.5), 1.0)


def test_two_gradients_are_one_too_many():
    with pytest.raises(DomainError, match="leave it out"):
        rf.riemannian_gradient_flow(
            Euclidean(2), rf.losses.Linear([1.0, 0.0]), [0.0, 0.0], 1.0, gradient=lambda w: w
        )


def test_flattened_losses_and_schedules_on_matrices():
    """A Loss on R^4 is one of the entries of a 2 x 2 matrix; a Piecewise changes in time."""
    C = np.array([[1.0, 0.4], [0.4, 0.5]])
    schedule = rf.losses.Piecewise([0.5], [rf.losses.Linear(C.ravel()), rf.losses.Linear(-C.ravel())])
    flow = rf.riemannian_gradient_flow(affine_spd(2), schedule, np.eye(2), [0.5, 1.0], rtol=1e-10)
    np.testing.assert_allclose(flow.w[0], np.linalg.inv(np.eye(2) + 0.5 * C), atol=1e-9)
    np.testing.assert_allclose(flow.w[1], np.eye(2), atol=1e-8)


def test_goals_and_partial_results_on_a_sphere():
    start = np.full(4, 0.5)
    flow = rf.riemannian_gradient_flow(Hypersphere(3), rayleigh, start, 50.0, until_gradient=1e-3)
    assert flow.status == "reached"
    x = flow.w[-1]
    assert np.linalg.norm(SPREAD @ x - (x @ SPREAD @ x) * x) == pytest.approx(1e-3, rel=1e-6)
    with pytest.raises(ConvergenceError) as caught:
        rf.riemannian_gradient_flow(Matrices(2, 2), lambda X: -(anp.sum(X**2) ** 2), np.eye(2), 10.0)
    assert caught.value.partial.w.shape[1:] == (2, 2)


def test_metrics_of_many_points_are_asked_for_at_once():
    """A space that has inner products and no matrix is asked once, or pair by pair if need be."""
    half_plane, flat = PoincareHalfSpace(2), PoincareHalfSpace(2)
    calls, product = [], half_plane.metric.inner_product

    def counted(a, b, at):
        calls.append(np.shape(a))
        return product(a, b, at)

    def single(a, b, at):
        if np.ndim(a) > 1:
            raise ValueError("one vector")
        return float(product(a, b, at))

    half_plane.metric.inner_product, flat.metric.inner_product = counted, single
    w = np.array([[[0.0, 1.0], [0.5, 2.0]], [[1.0, 0.5], [-1.0, 4.0]]])
    expected = np.eye(2) / w[..., 1, None, None] ** 2
    np.testing.assert_allclose(RiemannianSpace(half_plane).matrix(w), expected, rtol=1e-14)
    assert calls == [(12, 2)]
    np.testing.assert_allclose(RiemannianSpace(flat).matrix(w), expected, rtol=1e-14)
