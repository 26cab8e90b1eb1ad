"""What Theorem 4.13 says about computed flows, and flows for which it fails."""

from __future__ import annotations

import numpy as np
import pytest

from riemflow import legendre
from riemflow.autodiff import anp
from riemflow.errors import DomainError, ShapeError
from riemflow.flows import (
    check_bregman_decrease,
    check_limit_optimality,
    check_loss_decrease,
    gradient_flow,
    minimize_bregman,
    mirror_flow,
)
from riemflow.losses import LeastSquares, Loss, Piecewise
from riemflow.parametrizations import Hadamard, HadamardDifference

Z = np.array([[1.0, 2.0, -1.0, 0.5], [0.5, -1.0, 1.0, 2.0]])
Y = np.array([1.0, 0.6])
INTERPOLATES = LeastSquares(Z, Y)
U0, V0 = np.array([0.9, 1.1, 1.0, 0.8]), np.array([1.2, 0.7, 0.8, 1.0])


@pytest.fixture(scope="module")
def difference():
    """The flow of u² - v² on interpolating data, to its limit."""
    x_init = np.concatenate([U0, V0])
    options = {"formulation": "parameters", "rtol": 1e-11}
    return gradient_flow(HadamardDifference(4), INTERPOLATES, x_init, np.inf, **options)


def test_flow_of_a_difference_of_squares_converges_to_the_minimiser(difference):
    """Cor. 4.17: to the interpolating w of least R, found by other means; towards all of them D_R falls."""
    R = legendre.HyperbolicEntropy(U0, V0)
    limit = minimize_bregman(R, U0**2 - V0**2, Z, Y).w
    np.testing.assert_allclose(difference.w[-1], limit, atol=1e-7)
    optimal = check_limit_optimality(R, INTERPOLATES, difference)
    assert optimal.passed and optimal.details["kkt"] < 1e-7, optimal
    assert check_loss_decrease(INTERPOLATES, difference).passed
    kernel = np.linalg.svd(Z)[2][2:]
    for step in np.random.default_rng(0).standard_normal((5, 2)) @ kernel:
        check = check_bregman_decrease(R, difference, limit + step)
        assert check.passed and check.defect < 1e-8, check
    # The figures the check judges by, against the divergence itself.
    check = check_bregman_decrease(R, difference, limit)
    direct = R.bregman_divergence(limit, difference.sol(check.details["t"]))
    np.testing.assert_allclose(check.details["divergence"], direct - direct.min(), atol=1e-13)


def test_a_point_that_minimises_nothing_is_not_approached(difference):
    """The converse: D_R(w', w(t)) grows once the flow has passed w'."""
    R = legendre.HyperbolicEntropy(U0, V0)
    passed_by = difference.sol(0.03)
    check = check_bregman_decrease(R, difference, passed_by)
    assert not check.passed and check.defect > 0.1, check


def test_a_flow_that_is_no_mirror_flow_of_r_violates_the_decrease():
    """Gradient flow on w itself, judged by an entropy, adds as much to a small w_i as to a large one."""
    R, loss = legendre.NegativeEntropy(2), LeastSquares([[1.0, 1.0]], [2.0])
    euclidean = mirror_flow(legendre.SquaredNorm(2), loss, [1.8, 0.01], np.inf)
    target = [1.999, 0.001]
    check = check_bregman_decrease(R, euclidean, target)
    assert not check.passed and check.defect > 1e-2, check
    # The same w*, R and loss, along the flow of that R.
    assert check_bregman_decrease(R, mirror_flow(R, loss, [1.8, 0.01], np.inf), target).passed
    # The end of the wrong flow fits the data, but its D_R is not the least.
    assert check_loss_decrease(loss, euclidean).passed
    limit = check_limit_optimality(R, loss, euclidean)
    assert not limit.passed and limit.details["kkt"] > 0.05 and limit.details["variational"] < 1e-6, limit


def test_flow_to_the_boundary():
    """L = ½(w₁ + 1)² + ½(w₂ - 2)² over w > 0 is least at (0, 2), where ∇L = (1, 0) points inwards."""
    R, loss = legendre.NegativeEntropy(2), LeastSquares(np.eye(2), [-1.0, 2.0])
    flow = mirror_flow(R, loss, [1.0, 0.5], [1.0, 10.0, 100.0], rtol=1e-10)
    np.testing.assert_allclose(flow.w[-1], [0.0, 2.0], atol=1e-10)
    optimal = check_limit_optimality(R, loss, flow)
    assert optimal.passed and optimal.details["variational"] < 1e-8, optimal
    assert check_bregman_decrease(R, flow, [0.0, 2.0]).passed
    assert not check_limit_optimality(R, loss, mirror_flow(R, loss, [1.0, 0.5], 0.5)).passed


def test_flow_to_the_boundary_of_interpolating_points():
    """w₁ + w₂ = 1 and w₁ - w₂ = 1 leave only (1, 0, 0): the KKT condition holds on the way."""
    R = legendre.NegativeEntropy(3)
    loss = LeastSquares([[1.0, 1.0, 1.0], [1.0, -1.0, 0.0]], [1.0, 1.0])
    flow = mirror_flow(R, loss, [0.3, 0.2, 0.4], 1e5, rtol=1e-10)
    np.testing.assert_allclose(flow.w[-1], [1.0, 0.0, 0.0], atol=1e-3)
    check = check_limit_optimality(R, loss, flow, tol=1e-5)
    assert check.passed and check.details["kkt"] < 1e-8, check
    # The flow of another R ends at the same point, the only one that fits, by a way that is none of R's.
    other = mirror_flow(legendre.TsallisEntropy(3, 0.5), loss, [0.3, 0.2, 0.4], 1e5, rtol=1e-10)
    assert check_limit_optimality(R, loss, other, tol=1e-5).details["kkt"] > 0.01


def quasi_convex(w):
    """√ of a convex function that is not convex itself: level sets are discs about (1, 2)."""
    return anp.log(1 + (w[..., 0] - 1) ** 2 + (w[..., 1] - 2) ** 2)


def test_quasi_convex_loss():
    """Theorem 4.13 for a loss that is not convex: its Hessian is indefinite at the start."""
    loss, w_init = Loss(quasi_convex, 2), np.array([4.0, 3.0])
    assert np.linalg.eigvalsh(loss.hessian(w_init)).min() < -1e-3
    for R in (legendre.NegativeEntropy(2), legendre.SquaredNorm(2)):
        flow = mirror_flow(R, loss, w_init, np.inf)
        np.testing.assert_allclose(flow.w[-1], [1.0, 2.0], atol=1e-6)
        assert check_bregman_decrease(R, flow, [1.0, 2.0]).passed
        optimal = check_limit_optimality(R, loss, flow)
        assert optimal.passed and optimal.details["kkt"] is None


def test_a_loss_that_is_not_quasi_convex_can_violate_the_decrease():
    """Of a double well, one minimum repels a flow that starts at the other side of the hill."""
    loss = Loss(lambda w: (w[..., 0] ** 2 - 1) ** 2, 1)
    R = legendre.SquaredNorm(1)
    flow = mirror_flow(R, loss, [-0.1], np.inf)
    check = check_bregman_decrease(R, flow, [1.0])
    assert not check.passed and check.defect == pytest.approx(1.0, abs=1e-3), check
    assert check_bregman_decrease(R, flow, [-1.0]).passed


def test_loss_that_grows_along_a_flow_is_seen():
    """A flow of another loss."""
    flow = mirror_flow(legendre.SquaredNorm(2), LeastSquares(np.eye(2), [1.0, 0.0]), [0.0, 0.0], 3.0)
    check = check_loss_decrease(LeastSquares(np.eye(2), [0.0, 0.5]), flow)
    assert not check.passed and check.defect == pytest.approx(1.0), check


def test_a_minimiser_of_all_pieces_serves_a_loss_that_changes():
    R, w_star = legendre.NegativeEntropy(2), np.array([0.5, 2.0])
    pieces = [LeastSquares([z], [np.dot(z, w_star)]) for z in ([1.0, 1.0], [2.0, -1.0])]
    flow = gradient_flow(Hadamard(2), Piecewise([0.7], pieces), [1.5, 0.6], 5.0)
    assert check_bregman_decrease(R, flow, w_star).passed
    assert not check_bregman_decrease(R, flow, [1.5, 1.0]).passed


def test_bad_input_is_refused():
    R, loss = legendre.NegativeEntropy(2), LeastSquares(np.eye(2), [1.0, 2.0])
    flow = mirror_flow(R, loss, [1.0, 0.5], 1.0)
    with pytest.raises(DomainError, match="outside dom"):
        check_bregman_decrease(R, flow, [-0.1, 1.0])
    with pytest.raises(ShapeError, match="one point"):
        check_bregman_decrease(R, flow, [[0.1, 1.0]])
    with pytest.raises(ShapeError, match=r"R\^2"):
        check_bregman_decrease(legendre.NegativeEntropy(3), flow, [1.0, 1.0, 1.0])
    with pytest.raises(ShapeError):
        check_limit_optimality(legendre.NegativeEntropy(3), LeastSquares(np.eye(3), np.ones(3)), flow)
    changing = Piecewise([0.5], [loss, loss])
    with pytest.raises(DomainError, match="changes in time"):
        check_loss_decrease(changing, flow)
    with pytest.raises(DomainError, match="changes in time"):
        check_limit_optimality(R, changing, flow)
    outside = mirror_flow(legendre.SquaredNorm(2), loss, [-1.0, 0.5], 0.1)
    with pytest.raises(DomainError, match="the flow's w"):
        check_bregman_decrease(R, outside, [1.0, 2.0])
    with pytest.raises(DomainError, match="outside dom"):
        check_limit_optimality(R, loss, outside)
