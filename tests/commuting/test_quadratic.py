"""Commuting quadratic parametrizations in closed form against scipy's expm, the lift and polyhedral cones."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import expm
from scipy.optimize import linprog

from riemflow.commuting import legendre_from_parametrization
from riemflow.commuting.diagonalisation import diagonalise
from riemflow.commuting.quadratic import quadratic_legendre
from riemflow.errors import DomainError, NotMirrorFlowError, ShapeError
from riemflow.flows import gradient_flow, mirror_flow
from riemflow.legendre import HyperbolicEntropy
from riemflow.losses import LeastSquares
from riemflow.parametrizations import Hadamard, MatrixFactorization, Quadratic

SHAPES = [(1, 1), (1, 4), (2, 3), (2, 6), (3, 3), (3, 8), (4, 5), (4, 8)]
each_family = pytest.mark.parametrize(("d", "D"), SHAPES)


def family(d: int, D: int, seed: int = 0):
    """Random commuting matrices of norms between 0.1 and 10, a start, and dual points."""
    rng = np.random.default_rng([d, D, seed])
    units = 10.0 ** rng.uniform(-1, 1, d)
    eigenvalues = rng.uniform(-1, 1, (d, D)) * units[:, None]
    basis = np.linalg.qr(rng.standard_normal((D, D)))[0]
    mu = rng.uniform(-1, 1, (5, d)) / units
    return turned(eigenvalues, basis), rng.standard_normal(D), mu


def turned(eigenvalues, basis):
    A = np.einsum("ak,ik,bk->iab", basis, eigenvalues, basis)
    return (A + A.swapaxes(-1, -2)) / 2


def in_basis(d: int, rays, seed: int = 0):
    """A Quadratic whose eigenvalues are `rays` [K, d], in a random basis; the basis."""
    rays = np.array(rays, float)
    basis = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(rays), len(rays))))[0]
    return Quadratic(turned(rays.T, basis)), basis


def close(actual, wanted, relative):
    np.testing.assert_allclose(actual, wanted, rtol=0, atol=relative * (1 + np.abs(wanted).max()))


@each_family
def test_flow_and_weights_are_those_of_the_matrix_exponential(d, D):
    """(a), (b) and (c) of Theorem 4.15, Q up to the constant ¼‖x_init‖²."""
    A, x, mu = family(d, D)
    Q = quadratic_legendre(Quadratic(A), x).conjugate
    psi = np.array([expm(np.tensordot(m, A, 1)) @ x for m in mu])
    close(Q.joint_flow(mu), psi, 1e-12)
    twice = np.array([[x @ expm(2 * np.tensordot(m, A, 1)) @ a @ x / 2 for a in A] for m in mu])
    close(Q.gradient(mu), twice, 1e-12)
    close(Q(mu), ((psi**2).sum(axis=-1) - x @ x) / 4, 1e-12)


@each_family
def test_it_agrees_with_the_horizontal_lift(d, D):
    A, x, mu = family(d, D, seed=1)
    G = Quadratic(A)
    R, lifted = quadratic_legendre(G, x), legendre_from_parametrization(G, x)
    w = G(np.array([expm(np.tensordot(m, A, 1)) @ x for m in mu / 2]))
    for name in ("__call__", "gradient", "hessian", "third", "preimage"):
        close(getattr(R, name)(w), getattr(lifted, name)(w), 1e-9)
    close(R.gradient(w), mu / 2, 1e-9)
    assert R.verdict == "commuting" and R.check.passed and R.is_mirror_map
    np.testing.assert_allclose(R.gradient(R.w_init), 0.0, atol=1e-14)
    assert R.conjugate.conjugate is R and float(R(R.w_init)) == 0.0


@each_family
def test_derivatives_of_the_conjugate_against_differences(d, D):
    """Central differences of order four: errors h⁴ and eps/h of the largest entry."""
    A, x, mu = family(d, D, seed=2)
    Q = quadratic_legendre(Quadratic(A), x).conjugate
    for lower, upper in (("__call__", "gradient"), ("gradient", "hessian"), ("hessian", "third")):
        f = getattr(Q, lower)
        columns = []
        for i in range(d):
            h = 1e-3 / np.linalg.norm(A[i], 2)
            e = h * np.eye(d)[i]
            columns.append((8 * (f(mu + e) - f(mu - e)) - f(mu + 2 * e) + f(mu - 2 * e)) / (12 * h))
        derivative = getattr(Q, upper)(mu)
        scale = np.abs(derivative).max()
        np.testing.assert_allclose(derivative, np.stack(columns, axis=-1), rtol=0, atol=1e-9 * scale)


@each_family
def test_fenchel_young_and_batches(d, D):
    A, x, mu = family(d, D, seed=3)
    R = quadratic_legendre(Quadratic(A), x)
    Q, batch = R.conjugate, mu[:4].reshape(2, 2, d)
    w = Q.gradient(batch)
    close(R(w) + Q(batch), (w * batch).sum(axis=-1), 1e-12)
    assert R.hessian(w).shape == (2, 2, d, d) and R.domain.belongs(w).all()


def test_flow_on_the_parameters_is_the_mirror_flow():
    A, x, _ = family(3, 8)
    G = Quadratic(A)
    R = quadratic_legendre(G, x)
    Z = np.random.default_rng(5).standard_normal((2, 3)) / 10
    loss = LeastSquares(Z, Z @ (R.w_init + R.conjugate.hessian(np.zeros(3)).sum(axis=0) / 20))
    times = np.linspace(0.1, 2, 5)
    x_side = gradient_flow(G, loss, x, times, rtol=1e-10)
    w_side = mirror_flow(R, loss, R.w_init, times, rtol=1e-10)
    assert np.abs(x_side.w[-1] - R.w_init).max() > 0.01
    close(x_side.w, w_side.w, 1e-8)


# The domain.

QUADRANT = [[1, 0], [2, 1], [1, 1], [0, 3]]
OVER_A_SQUARE = [[1, 1, 1], [1, -1, 1], [-1, -1, 1], [-1, 1, 1], [0, 0, 2]]


def test_quadrant_in_outside_and_on_the_edge():
    G, basis = in_basis(2, QUADRANT)
    R = quadratic_legendre(G, basis @ [1.0, -0.5, 0.7, 2.0])
    inside = np.array([[1, 1], [1e-6, 1], [3, 1e-8], [1e6, 1e6], [1e-9, 1e-9]])
    outside = np.array([[1, 0], [0, 1], [0, 0], [-1e-9, 1], [1, -1e-9], [-1, -1], [-1e-300, 2]])
    assert R.domain.belongs(inside).all()
    assert not R.domain.belongs(outside).any()
    close(R.conjugate.gradient(R.gradient(inside)), inside, 1e-12)
    with pytest.raises(DomainError, match="outside the boundary of dom"):
        R.gradient(outside[0])
    np.testing.assert_array_equal(R.domain.belongs([[[1.0, 1.0]], [[-1.0, 1.0]]]), [[True], [False]])


def test_cone_over_a_square_against_its_facets_and_a_linear_programme():
    G, basis = in_basis(3, OVER_A_SQUARE)
    R = quadratic_legendre(G, basis @ [1.0, 1.0, -1.0, 0.3, 1.0])
    rng = np.random.default_rng(4)
    w = np.column_stack([rng.uniform(-1.5, 1.5, (200, 2)), rng.uniform(-0.2, 1.5, 200)])
    facets = w[:, 2] > np.abs(w[:, :2]).max(axis=1)
    assert 30 < facets.sum() < 170
    np.testing.assert_array_equal(R.domain.belongs(w), facets)
    rays = np.array(OVER_A_SQUARE, float).T
    programme = [linprog(np.zeros(5), A_eq=rays, b_eq=point).status == 0 for point in w[:20]]
    np.testing.assert_array_equal(R.domain.belongs(w[:20]), programme)
    on_faces = np.array([[0.5, 0.2, 0.5], [0.3, 0.3, 0.3], [-1.0, 0.0, 1.0]])
    assert not R.domain.belongs(on_faces).any()
    shift = np.array([0, 0, 1e-9])
    assert R.domain.belongs(on_faces + shift).all() and not R.domain.belongs(on_faces - shift).any()


def test_difference_of_squares_reaches_all_of_space_and_is_corollary_4_17():
    u, v = np.array([0.3, 1.5]), np.array([0.7, 0.4])
    matrices = [np.diag([2.0, 0, -2, 0]), np.diag([0, 2.0, 0, -2])]
    R = quadratic_legendre(Quadratic(matrices), np.concatenate([u, v]))
    printed = HyperbolicEntropy(u, v)
    w = np.random.default_rng(6).uniform(-5, 5, (20, 2))
    assert R.conjugate.is_mirror_map and R.domain.belongs(1e10 * w).all()
    close(R.gradient(w), printed.gradient(w), 1e-13)
    close(R.hessian(w), printed.hessian(w), 1e-13)
    close(R(w), printed(w) - printed(u**2 - v**2), 1e-13)


def test_component_that_vanishes_takes_its_ray_away():
    """In a rotated basis c_k is not 0 but rounding, which would let the weights cross to w < 0."""
    for seed in range(5):
        G, basis = in_basis(1, [[2.0], [-2.0], [0.0]], seed)
        whole = quadratic_legendre(G, basis @ [1.0, 0.5, 1.0])
        half = quadratic_legendre(G, basis @ [1.0, 0.0, 1.0])
        assert len(whole.rays) == 2 and len(half.rays) == 1
        assert whole.domain.belongs([-1.0]) and not half.domain.belongs([-1.0])
        close(half.gradient([[0.5], [2.0]]), np.log([[0.5], [2.0]]) / 4, 1e-12)


def test_tiny_start_and_large_dual_points():
    """u² - v² with v_0 = 1e-200, whose square is no float64; then μ to the edge of float64."""
    R = quadratic_legendre(Quadratic([np.diag([2.0, -2.0])]), [1.0, 1e-200])
    Q = R.conjugate
    mu = np.array([[0.0], [-200.0], [-230.0], [-380.0], [170.0]])
    plus, minus = np.exp(4 * mu), np.exp(-4 * mu - 400 * np.log(10))
    np.testing.assert_allclose(Q.gradient(mu), plus - minus, rtol=1e-12)
    np.testing.assert_allclose(Q.hessian(mu)[..., 0], 4 * (plus + minus), rtol=1e-12)
    np.testing.assert_allclose(Q(mu), ((plus + minus - 1) / 4)[:, 0], rtol=1e-12, atol=1e-12)
    close(R.gradient(Q.gradient(mu[:3])), mu[:3], 1e-13)
    small = np.array([[1e-12]])
    np.testing.assert_allclose(Q(small), [1e-12], rtol=1e-9)  # no cancellation in e^{2λμ} - 1
    with pytest.raises(DomainError, match="overflow: it grows like e to the power 800"):
        Q.gradient([200.0])
    with pytest.raises(DomainError, match="overflow"):
        Q.joint_flow([-1000.0])


# Diagonalisation.


def test_near_collision_of_the_random_combination_costs_no_digits():
    """Two joint eigenvalues that the combination separates by 1e-9 only, though they are 1 apart."""
    a, b = np.random.default_rng(0).standard_normal(2)
    gap = np.array([b, -a + 1e-9 / b]) / np.hypot(a, b)
    first = np.array([0.4, 0.3])
    eigenvalues = np.column_stack([first, first + gap / 2, [0.1, -0.2], [0.0, 0.0]])
    # The last one makes both norms 1, since the combination is one of matrices of unit norm.
    eigenvalues[:, 3] = np.sqrt(1 - (eigenvalues**2).sum(axis=1))
    basis = np.linalg.qr(np.random.default_rng(1).standard_normal((4, 4)))[0]
    A = turned(eigenvalues, basis)
    joint = diagonalise(A)
    E = np.linalg.eigh(np.tensordot([a, b], A, 1))[1]
    alone = E.T @ A @ E
    alone[:, range(4), range(4)] = 0.0
    assert np.abs(alone).max() > 1e-12
    assert joint.off_diagonal < 1e-14
    np.testing.assert_allclose(joint.basis.T @ joint.basis, np.eye(4), atol=1e-14)
    np.testing.assert_allclose(
        np.einsum("ak,ik,bk->iab", joint.basis, joint.eigenvalues, joint.basis), A, atol=1e-13
    )


def test_repeated_joint_eigenvalues():
    rng = np.random.default_rng(2)
    eigenvalues = rng.integers(-1, 2, (3, 12)).astype(float)
    A = turned(eigenvalues, np.linalg.qr(rng.standard_normal((12, 12)))[0])
    joint = diagonalise(A)
    assert max(joint.commutator, joint.off_diagonal) < 1e-14
    found = sorted(map(tuple, np.round(joint.eigenvalues.T, 10) + 0.0))
    assert found == sorted(map(tuple, eigenvalues.T + 0.0))


def test_matrices_that_do_not_commute_are_refused_with_the_pair():
    A = np.array([np.eye(3), np.diag([1.0, 2, 3]), np.ones((3, 3))])
    with pytest.raises(NotMirrorFlowError, match="A_2 and A_3 the least") as caught:
        quadratic_legendre(Quadratic(A), [1.0, 0.5, -0.3])
    product = A[1] @ A[2]
    size = np.linalg.norm(product - product.T) / np.linalg.norm(A[1]) / np.linalg.norm(A[2])
    assert not caught.value.check.passed
    np.testing.assert_allclose(caught.value.check.details["commutator"], size, rtol=1e-12)


@pytest.mark.parametrize("size", [1e-6, 1e-9])
def test_nearly_commuting_is_refused_with_its_size(size):
    A, x, _ = family(2, 5)
    noise = np.random.default_rng(8).standard_normal((5, 5))
    A[1] += size * np.linalg.norm(A[1]) * (noise + noise.T) / np.linalg.norm(noise + noise.T)
    with pytest.raises(NotMirrorFlowError, match="do not commute") as caught:
        quadratic_legendre(Quadratic(A), x)
    assert 0.01 * size < caught.value.check.details["commutator"] < 2 * size
    assert quadratic_legendre(Quadratic(A), x, tol=1e4 * size).check.passed


def test_small_commutator_hides_no_large_rest():
    """diag(0, δ) and δ·swap commute to δ², but no basis brings their rest below δ."""
    delta = 1e-6
    first, second = np.diag([0.0, delta, 1.0]), np.diag([0.0, 0.0, -1.0])
    second[0, 1] = second[1, 0] = delta
    with pytest.raises(NotMirrorFlowError) as caught:
        quadratic_legendre(Quadratic([first, second]), [1.0, 1.0, 1.0])
    details = caught.value.check.details
    assert details["commutator"] < 1e-11 and details["off_diagonal"] > 1e-7


def test_bad_starts_and_objects_are_named():
    G, basis = in_basis(2, QUADRANT)
    with pytest.raises(DomainError, match="linearly dependent"):
        quadratic_legendre(G, basis @ [1.0, 0.0, 0.0, 0.0])
    with pytest.raises(DomainError, match="linearly dependent"):
        quadratic_legendre(G, np.zeros(4))
    with pytest.raises(ShapeError, match="one point"):
        quadratic_legendre(G, np.ones((2, 4)))
    with pytest.raises(DomainError, match="Hadamard"):
        quadratic_legendre(Hadamard(2), [1.0, 1.0])  # type: ignore[arg-type]
    with pytest.raises(DomainError, match="tol"):
        quadratic_legendre(G, basis @ np.ones(4), tol=-1.0)
    with pytest.raises(NotMirrorFlowError):
        # ∇²(UUᵀ)_ij of the upper triangle.
        H = MatrixFactorization(2, 2).hessian(np.zeros(4))
        quadratic_legendre(Quadratic(H), [1.0, 0.2, 0.3, 1.0])
