"""Gradient flow against exact solutions."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
import pytest
from scipy.linalg import expm

from riemflow import losses
from riemflow.embedding import Ball, Box, BregmanBall, Polytope, Tube, embed
from riemflow.errors import ConvergenceError, DomainError, ShapeError
from riemflow.flows import gradient_flow, mirror_flow
from riemflow.legendre import LorentzBarrier, NegativeEntropy, SquaredNorm
from riemflow.parametrizations import Hadamard, Identity, MatrixFactorization, Parametrization, Spherical

Z = np.array([[1.0, 0.5, -0.3], [0.2, -1.0, 0.8]])
Y = np.array([0.4, 1.0])
TIMES = np.linspace(0.0, 4.0, 17)


def test_identity_with_squares_is_the_matrix_exponential():
    """x' = -A(x - x*) with A = ZᵀZ/n, so x = x* + e^{-At}(x_0 - x*)."""
    A, best, start = Z.T @ Z / 2, np.linalg.pinv(Z) @ Y, np.array([1.0, -2.0, 0.5])
    flow = gradient_flow(Identity(3), losses.LeastSquares(Z, Y), start, TIMES, rtol=1e-10)
    exact = np.array([best + expm(-A * t) @ (start - best) for t in TIMES])
    assert np.abs(flow.x - exact).max() < 1e-9
    np.testing.assert_array_equal(flow.w, flow.x)
    np.testing.assert_array_equal(flow.t, TIMES)
    assert flow.mu is None


def test_squares_with_a_linear_loss_are_exponentials():
    """x' = -2xc, so w = w_0 e^{-4ct}."""
    c, start = np.array([0.7, -0.3, 0.0]), np.array([1.0, 0.5, 2.0])
    flow = gradient_flow(Hadamard(3), losses.Linear(c), start, TIMES, rtol=1e-11)
    np.testing.assert_allclose(flow.w, start**2 * np.exp(-4 * TIMES[:, None] * c), rtol=1e-9)
    between = np.linspace(0.0, 4.0, 333)
    np.testing.assert_allclose(
        flow.sol(between), start**2 * np.exp(-4 * between[:, None] * c), rtol=1e-8, atol=1e-9
    )
    np.testing.assert_allclose(flow.sol(between, of="x") ** 2, flow.sol(between), rtol=1e-13)


def test_error_follows_the_tolerance():
    c, start, tolerances = np.array([0.7, -0.3]), np.array([1.0, 0.5]), np.array([1e-4, 1e-6, 1e-8, 1e-10])
    exact = start**2 * np.exp(-16 * c)
    errors = [
        np.abs(gradient_flow(Hadamard(2), losses.Linear(c), start, 4.0, rtol=r).w[-1] - exact).max()
        for r in tolerances
    ]
    assert 0.75 < np.polyfit(np.log(tolerances), np.log(errors), 1)[0] < 1.25


def test_schedule_of_losses_is_followed_exactly():
    """With G(x) = x² only ∫∇L dt counts: w = w_0 e^{-4∫c dt}."""
    pieces = [losses.Linear([0.3, 1.0]), losses.Linear([-2.0, 0.0]), losses.Linear([1.0, -0.2])]
    schedule, start = losses.Piecewise([0.5, np.sqrt(2.0)], pieces), np.array([1.0, 2.0])
    flow = gradient_flow(Hadamard(2), schedule, start, 3.0, rtol=1e-11)
    lengths = np.array([0.5, np.sqrt(2.0) - 0.5, 3.0 - np.sqrt(2.0)])
    integral = lengths @ np.array([piece.c for piece in pieces])
    np.testing.assert_allclose(flow.w[-1], start**2 * np.exp(-4 * integral), rtol=1e-9)


def test_cubes_blow_up_in_finite_time():
    """x' = 3x² for G(x) = x³ and L = -w: x = 1/(1 - 3t)."""
    with pytest.raises(ConvergenceError, match=r"'failed'.*t = 0\.333333") as caught:
        gradient_flow(Hadamard(1, 3), losses.Linear([-1.0]), [1.0], 2.0, rtol=1e-10)
    partial = caught.value.partial
    assert partial.status == "failed"
    assert abs(partial.t[-1] - 1 / 3) < 1e-8
    np.testing.assert_allclose(partial.sol(0.3, of="x"), [10.0], rtol=1e-8)


HALF_LINE = Parametrization(
    lambda x: 1.0 * x, 2, 2, domain=lambda x: (x > 0).all(axis=-1), name="identity on x > 0"
)


def test_flow_ends_at_the_edge_of_the_domain():
    """x = x_0 - t c reaches 0 at t = 0.75."""
    options = {"loss": losses.Linear([1.0, 2.0]), "x_init": [1.0, 1.5], "t": 3.0}
    flow = gradient_flow(HALF_LINE, **options, throw=False)
    assert flow.status == "left-domain" and "boundary of the domain" in flow.message
    assert flow.t[-1] == pytest.approx(0.75, abs=1e-12)
    assert (flow.w[-1] > 0).all()
    with pytest.raises(ConvergenceError, match="left-domain") as caught:
        gradient_flow(HALF_LINE, **options)
    np.testing.assert_array_equal(caught.value.partial.w, flow.w)


def test_edge_beyond_which_nothing_is_defined_counts_as_edge():
    """w = √x with L = w²: x' = -1, and √x does not exist past x = 0."""
    root = Parametrization(
        lambda x: anp.sqrt(x), 1, 1, domain=lambda x: x[..., 0] > 0, name="root"
    )  # fmt: skip
    flow = gradient_flow(root, losses.Loss(lambda w: anp.sum(w**2, axis=-1), 1), [1.0], 3.0, throw=False)
    assert flow.status == "left-domain"
    assert flow.t[-1] == pytest.approx(1.0, abs=1e-9)


@pytest.mark.slow
def test_embedding_is_left_at_the_end_of_its_region():
    """The inverse of F exists near F(K) only; up to its end the flow is the mirror flow of R."""
    R, loss = LorentzBarrier(2), losses.Linear([-0.3, 0.1])
    F = embed(R, Box([-0.5, 1.0], [0.5, 2.0]))
    flow = gradient_flow(F.parametrization(), loss, F([0.0, 1.5]), 30.0, throw=False)
    assert flow.status == "left-region" and "boundary of the region" in flow.message
    assert 1.0 < flow.t[-1] < 30.0
    np.testing.assert_allclose(flow.w, mirror_flow(R, loss, [0.0, 1.5], flow.t).w, atol=1e-7)


REGIONS = {
    "box": Box([0.5, 0.5], [1.5, 1.5]),
    "ball": Ball([1.0, 1.0], 0.6),
    "polytope": Polytope([[-1.0, 0.0], [0.0, -1.0], [1.0, 1.0]], [-0.4, -0.4, 2.4]),
    "entropy ball": BregmanBall(NegativeEntropy(2), [1.0, 1.0], 0.15),
    "tube": Tube([[1.0, 1.0], [0.8, 1.2]], 0.2),
}


@pytest.mark.parametrize("name", REGIONS)
def test_a_flow_that_leaves_the_region_ends_at_its_boundary(name):
    """Where the mirror flow leaves the region, by bisection on its dense solution."""
    R, c, region = NegativeEntropy(2) + 0.1 * SquaredNorm(2), np.array([1.0, -0.7]), REGIONS[name]
    F = embed(R, region, method="spectral", tol=1e-8)
    options = {"loss": losses.Linear(c), "x_init": F([1.0, 1.0]), "t": 3.0}
    flow = gradient_flow(F.parametrization(), **options, throw=False)
    true = mirror_flow(R, losses.Linear(c), [1.0, 1.0], 3.0)
    low, high = 0.0, 3.0
    for _ in range(50):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if region.belongs(true.sol(middle)) else (low, middle)
    assert flow.status == "left-region" and flow.t[-1] == pytest.approx(low, abs=1e-6)
    np.testing.assert_allclose(flow.w[-1], true.sol(low), atol=1e-6)
    assert f"boundary of the region at t = {flow.t[-1]:.10g}" in flow.message and "w = [" in flow.message
    with pytest.raises(ConvergenceError, match="left-region") as caught:
        gradient_flow(F.parametrization(), **options)
    assert caught.value.partial.t[-1] == flow.t[-1]


def test_refusal_of_the_velocity_is_reported():
    """A loss that raises beyond w = 2 stops the flow there, and its words are passed on."""

    def gradient(w):
        if (w > 2.0).any():
            raise DomainError("w is beyond 2.")
        return -np.ones_like(w)

    loss = losses.Loss(lambda w: -np.sum(w, axis=-1), 1, gradient=gradient)
    flow = gradient_flow(Identity(1), loss, [1.0], 5.0, throw=False)
    assert flow.status == "failed" and "w is beyond 2" in flow.message
    assert flow.t[-1] == pytest.approx(1.0, abs=1e-9)


def test_flow_on_a_sphere_stays_on_it_and_matches_its_weights():
    """w_i = x_i² on the unit sphere: w' = -4(diag w - wwᵀ)∇L, integrated here by itself."""
    from scipy.integrate import solve_ivp

    loss, start = losses.LeastSquares(Z[:, :2], Y), np.sqrt([0.5, 0.2, 0.3])
    flow = gradient_flow(Spherical(2), loss, start, TIMES, rtol=1e-10)
    oracle = solve_ivp(
        lambda t, w: -4 * (w * loss.gradient(w) - w * (w @ loss.gradient(w))),
        (0.0, 4.0),
        start[:2] ** 2,
        t_eval=TIMES,
        rtol=1e-11,
        atol=1e-12,
        method="DOP853",
    )
    np.testing.assert_allclose(flow.w, oracle.y.T, atol=1e-8)
    assert np.abs((flow.x**2).sum(axis=-1) - 1.0).max() < 1e-14
    assert 0 < flow.stats["drift"] < 1e-8
    assert np.abs((flow.sol(np.linspace(0, 4, 50), of="x") ** 2).sum(axis=-1) - 1.0).max() < 1e-14


def test_bures_wasserstein_flow_of_squares():
    """W = UUᵀ and L = ½‖W - T‖² (upper triangle, off-diagonal counted once): an ODE for U written out."""
    from scipy.integrate import solve_ivp

    target, start = np.array([2.0, 0.3, 1.0]), np.array([1.0, 0.2, 0.0, 0.8])
    loss = losses.Loss(lambda w: 0.5 * anp.sum((w - target) ** 2, axis=-1), 3)
    flow = gradient_flow(MatrixFactorization(2, 2), loss, start, TIMES, rtol=1e-10)

    def velocity(t, u):
        U = u.reshape(2, 2)
        residual = (U @ U.T)[np.triu_indices(2)] - target
        slope = np.array([[2 * residual[0], residual[1]], [residual[1], 2 * residual[2]]])
        return -(slope @ U).ravel()

    oracle = solve_ivp(velocity, (0, 4), start, t_eval=TIMES, rtol=1e-11, atol=1e-12, method="DOP853")
    np.testing.assert_allclose(flow.x, oracle.y.T, atol=1e-8)


def test_singular_jacobian_is_no_obstacle():
    """UUᵀ with a zero column: ∂G has rank 2 of 3, and the column stays zero."""
    loss = losses.LeastSquares(np.eye(3), [1.0, 0.2, 1.0])
    flow = gradient_flow(MatrixFactorization(2, 2), loss, [1.0, 0.0, 0.5, 0.0], 3.0)
    np.testing.assert_array_equal(flow.x[:, [1, 3]], 0.0)
    x = flow.x[:, [0, 2]]  # what is left is the flow of rank one, w = (x_0², x_0x_1, x_1²)
    np.testing.assert_allclose(flow.w, np.stack([x[:, 0] ** 2, x.prod(axis=-1), x[:, 1] ** 2], axis=-1))
    assert (np.diff(loss(flow.w)) < 0).all()


def test_slow_start_is_not_mistaken_for_the_end():
    """x' = 2x(1 - x²)/n leaves the saddle 0 from 1e-6, slowly, and arrives at 1."""
    flow = gradient_flow(Hadamard(1), losses.LeastSquares([[1.0]], [1.0]), [1e-6], np.inf)
    assert flow.status == "converged"
    assert flow.w[-1, 0] == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize(
    ("x_init", "error", "words"),
    [
        ([1.0], ShapeError, r"x_init has shape \(1,\)"),
        ([[1.0, 1.0]], ShapeError, "one point of shape"),
        ([1.0, np.nan], DomainError, "x_init must be finite"),
        ([1.0, -1.0], DomainError, "boundary of the domain of identity on x > 0"),
        ([1.0, 1j], DomainError, "real numbers"),
    ],
)
def test_bad_start_is_named(x_init, error, words):
    with pytest.raises(error, match=words):
        gradient_flow(HALF_LINE, losses.Linear([1.0, 1.0]), x_init, 1.0)


def test_loss_on_another_space_is_refused():
    with pytest.raises(ShapeError, match=r"R\^3, but the weights are in R\^2"):
        gradient_flow(Hadamard(2), losses.Linear(np.ones(3)), [1.0, 1.0], 1.0)


def test_start_without_velocity_is_refused():
    nowhere = losses.Loss(lambda w: np.sum(w, axis=-1), 1, gradient=lambda w: np.full_like(w, np.nan))
    with pytest.raises(DomainError, match="velocity at the initial point is not finite"):
        gradient_flow(Hadamard(1), nowhere, [1.0], 1.0)
