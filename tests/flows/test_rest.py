"""What counts as the limit of a flow, t = inf: plateaus, saddles, tiny curvature, the boundary."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
import pytest
from scipy.optimize import nnls

from riemflow import flows, legendre, losses
from riemflow.autodiff import differences
from riemflow.flows import mirror_flow, riemannian_gradient_flow
from riemflow.flows.rest import Linearised, along
from riemflow.geometry import HessianManifold
from riemflow.parametrizations import (
    Hadamard,
    HadamardDifference,
    Identity,
    MatrixFactorization,
    Parametrization,
    Spherical,
)


def gradient_flow(G, loss, x_init, t, **options):
    """The flow itself, where its limit could be had by Newton's method too."""
    return flows.gradient_flow(G, loss, x_init, t, formulation="parameters", **options)


DIAGONAL = losses.LeastSquares(np.diag([1.0, 0.1]), [1.0, 0.1])
DIAGONAL_1 = losses.LeastSquares([[1.0]], [1.0])


@pytest.mark.parametrize("form", ["row-space", "dual", "primal"])
@pytest.mark.parametrize("small", [1e-3, 1e-6])
def test_tiny_curvature_is_waited_for(form, small):
    """w_2' = small² (1 - w_2)/2 is 1 at the end; movement alone made 2e-10 of it."""
    loss = losses.LeastSquares(np.diag([1.0, small]), [1.0, small])
    flow = mirror_flow(legendre.SquaredNorm(2), loss, [0.0, 0.0], np.inf, formulation=form)
    np.testing.assert_allclose(flow.w[-1], 1.0, atol=1e-8)
    assert flow.t[-1] > 10 / small**2
    assert flow.stats["remaining"] <= 1e-9


@pytest.mark.parametrize("second", [1e-5, 1e-10, 1e-30])
def test_saddle_is_left(second):
    """x_2' = x_2 (1 - x_2²)/100 rises from any positive start; below atol an implicit step would damp it."""
    flow = gradient_flow(Hadamard(2), DIAGONAL, [0.5, second], np.inf)
    np.testing.assert_allclose(flow.w[-1], 1.0, atol=1e-8)
    difference = gradient_flow(HadamardDifference(2), DIAGONAL, [0.5, second, 0.5, second], np.inf)
    np.testing.assert_allclose(difference.w[-1], 1.0, atol=1e-8)


def test_saddle_is_left_in_rotated_data():
    A = np.random.default_rng(0).standard_normal((3, 3))
    true = np.array([1.0, 0.2, 0.3])
    flow = gradient_flow(Hadamard(3), losses.LeastSquares(A, A @ true), [0.5, 1e-12, 1e-15], np.inf)
    np.testing.assert_allclose(flow.w[-1], true, atol=1e-8)


@pytest.mark.parametrize("form", ["dual", "primal"])
def test_saddle_on_the_boundary_is_left(form):
    """x ↦ x² starts beside the boundary: w' = 4w·0.005(1 - w) from 1e-20."""
    R = 0.25 * legendre.NegativeEntropy(2)
    flow = mirror_flow(R, DIAGONAL, [0.25, 1e-20], np.inf, formulation=form)
    np.testing.assert_allclose(flow.w[-1], 1.0, atol=1e-8)


def test_exact_rest_in_an_unstable_direction_is_rest():
    """A zero column of U stays zero although any other value would grow."""
    loss = losses.LeastSquares(np.eye(3), [1.0, 0.0, 1.0])
    flow = gradient_flow(MatrixFactorization(2, 2), loss, [1.5, 0.0, 0.5, 0.0], np.inf)
    assert flow.status == "converged"
    np.testing.assert_array_equal(flow.x[-1][[1, 3]], 0.0)
    assert np.abs(flow.w[-1] - [1.0, 0.0, 1.0]).max() > 0.1


@pytest.mark.parametrize("alpha", [1e-3, 1e-8])
def test_small_initialisation_arrives(alpha):
    """The bound follows the state, not its start: rounding of w near 1 is far above rtol · alpha."""
    loss = losses.LeastSquares([[1.0, 2.0]], [1.0])
    flow = gradient_flow(HadamardDifference(2), loss, [alpha] * 4, np.inf)
    assert flow.status == "converged"
    # The limit of the hyperbolic entropy's flow, by Newton on its dual: w = 2α² sinh(4λz) here.
    w = flow.w[-1]
    assert abs(w[0] + 2 * w[1] - 1) < 1e-8
    slopes = np.arcsinh(w / (2 * alpha**2))
    assert slopes[1] == pytest.approx(2 * slopes[0], rel=1e-6)


@pytest.mark.parametrize(
    "flow_of",
    [
        lambda loss: mirror_flow(legendre.NegativeEntropy(2), loss, [1.0, 1.0], np.inf),
        lambda loss: mirror_flow(legendre.NegativeEntropy(2), loss, [1.0, 1.0], np.inf, formulation="primal"),
        lambda loss: gradient_flow(Hadamard(2), loss, [1.0, 1.0], np.inf),
        lambda loss: riemannian_gradient_flow(
            HessianManifold(legendre.NegativeEntropy(2)), loss, [1.0, 1.0], np.inf
        ),
    ],
    ids=["dual", "primal", "parameters", "Riemannian"],
)
def test_limit_on_the_boundary(flow_of):
    """Non-negative least squares, by the active-set method; the dual point runs to -∞ in one coordinate."""
    A, Y = np.array([[1.0, 2.0], [2.0, 1.0]]), np.array([-1.0, 2.0])
    flow = flow_of(losses.LeastSquares(A, Y))
    assert flow.status == "converged"
    np.testing.assert_allclose(flow.w[-1], nnls(A, Y)[0], atol=1e-8)


def test_boundary_of_a_sphere_and_inconsistent_singular_data():
    flow = gradient_flow(
        Spherical(2), losses.LeastSquares(np.eye(2), [1.3, -0.3]), np.sqrt([0.5, 0.2, 0.3]), np.inf
    )
    np.testing.assert_allclose(flow.w[-1], [1.0, 0.0], atol=1e-8)
    rng = np.random.default_rng(5)
    A, Y = rng.standard_normal((5, 3)), 100 * rng.standard_normal(5)
    A[:, 2] = A[:, 0] + A[:, 1]
    for form in ("dual", "primal"):
        flow = mirror_flow(
            legendre.SquaredNorm(3), losses.LeastSquares(A, Y), np.zeros(3), np.inf, formulation=form
        )
        np.testing.assert_allclose(flow.w[-1], np.linalg.pinv(A) @ Y, rtol=1e-8)


def test_a_metric_of_its_own_and_a_gradient_autograd_cannot_see():
    G = Parametrization(
        lambda x: 1.0 * x, 2, 2, inverse_metric=lambda x: x[..., None] ** 2 * np.eye(2), name="identity"
    )
    loss = losses.Loss(
        lambda w: 0.5 * anp.sum((w - 2.0) ** 2, axis=-1), 2, gradient=lambda w: np.subtract(w, 2.0)
    )
    flow = gradient_flow(G, loss, [1.0, 1e-4], np.inf)
    np.testing.assert_allclose(flow.w[-1], 2.0, atol=1e-8)


def test_what_keeps_moving_is_never_at_rest():
    """w' = 1 has no curvature at all, and w' = e^{-w} runs like ln t."""
    for value in (lambda w: -w[..., 0], lambda w: anp.exp(-w[..., 0])):
        flow = gradient_flow(Identity(1), losses.Loss(value, 1), [0.0], np.inf, throw=False)
        assert flow.status == "stopped"


def test_many_variables_are_judged_by_their_movement(monkeypatch):
    """Which a tiny curvature misleads: the control for the tests above."""
    monkeypatch.setattr("riemflow.flows.gradient.MOST", 1)
    loss = losses.LeastSquares(np.diag([1.0, 1e-6]), [1.0, 1e-6])
    flow = gradient_flow(Identity(2), loss, np.zeros(2), np.inf)
    assert flow.status == "converged" and flow.stats["remaining"] is None
    assert flow.w[-1, 0] == pytest.approx(1.0, abs=1e-8) and flow.w[-1, 1] < 1e-3
    assert gradient_flow(Identity(1), DIAGONAL_1, [0.0], np.inf).stats["remaining"] is not None


def test_forecast_of_a_linear_field():
    """δ' = c + λδ ends at -c/λ; the flow departs for λ > 0 and where λ = 0, unless c is rounding."""

    def of(c, values, noise=0.0):
        Q, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))
        return Linearised(Q @ np.diag(values) @ Q.T, Q @ np.array(c), np.full(3, noise), Q.T).forecast()

    # In the frame Q the sum over directions bounds the coordinates from above, sharply for orthonormal ones.
    left, growth = of([1e-3, 2e-3, 0.0], [-1.0, -0.1, -5.0], 1e-15)
    assert left == pytest.approx(2e-2) and growth == 0.0
    assert of([0.0, 1e-9, 0.0], [-1.0, 0.25, -1.0], 1e-15) == (np.inf, pytest.approx(0.25))
    assert of([0.0, 1e-9, 0.0], [-1.0, 0.0, -1.0], 1e-15) == (np.inf, 0.0)
    assert of([1e-3, 1e-17, 0.0], [-1.0, 0.25, -1.0], 1e-15) == (pytest.approx(1e-3), 0.0)
    assert Linearised(np.full((1, 1), np.nan), np.ones(1), np.ones(1), np.ones((1, 1))).forecast() == (
        np.inf,
        0,
    )


def test_derivatives_by_differences():
    R, w, v = legendre.FermiDirac(2), np.array([1e-12, 0.7]), np.array([-3.0, 0.4])
    change = along(R._hessian, R._belongs, w, v) / R.hessian(w).diagonal()
    exact = np.einsum("ijk,k->ij", R.third(w), v) / R.hessian(w).diagonal()
    assert np.abs(change - exact).max() < 1e-5 * np.abs(exact).max()
    assert np.isnan(along(R._hessian, lambda at: False, w, v)).all()
    J = differences(lambda y: np.array([y[0] * y[1], np.sin(y[1])]))(np.array([2.0, 0.5]))
    np.testing.assert_allclose(J, [[0.5, 2.0], [0.0, np.cos(0.5)]], atol=1e-9)
