"""Riemannian gradient flow against mirror flow and against known geometries."""

from __future__ import annotations

import numpy as np
import pytest
from geomstats.geometry.euclidean import Euclidean
from geomstats.geometry.hypersphere import Hypersphere
from geomstats.geometry.poincare_ball import PoincareBall
from geomstats.geometry.poincare_half_space import PoincareHalfSpace
from geomstats.geometry.riemannian_metric import RiemannianMetric

from riemflow import legendre, losses
from riemflow.errors import ConvergenceError, DomainError, ShapeError
from riemflow.flows import mirror_flow, riemannian_gradient_flow
from riemflow.geometry import HessianManifold

TIMES = np.linspace(0.0, 2.0, 9)
LOSS = losses.LeastSquares([[1.0, 0.4], [-0.3, 1.0]], [0.3, 0.2])


@pytest.mark.parametrize(
    "R",
    [
        legendre.NegativeEntropy(2),
        legendre.SimplexEntropy(2),
        legendre.LogSumExp(2) + legendre.SquaredNorm(2),
    ],
    ids=repr,
)
def test_hessian_manifold_gives_the_mirror_flow(R):
    start = np.array([0.2, 0.5])
    flow = riemannian_gradient_flow(HessianManifold(R), LOSS, start, TIMES, rtol=1e-10)
    np.testing.assert_allclose(flow.w, mirror_flow(R, LOSS, start, TIMES, rtol=1e-10).w, atol=2e-9)
    assert flow.stats["formulation"] == "Riemannian"
    assert flow.x is None and flow.mu is None


def test_euclidean_space_gives_plain_gradient_flow():
    flow = riemannian_gradient_flow(Euclidean(2), losses.Linear([1.0, -2.0]), [0.5, 0.5], TIMES)
    np.testing.assert_allclose(flow.w, 0.5 - TIMES[:, None] * [1.0, -2.0], atol=1e-9)


def test_poincare_disc_is_not_hessian_in_its_coordinates_and_still_flows():
    """g = 4I/(1 - |w|²)², so r' = (1 - r²)²/4 along the axis, and r/(1 - r²) + artanh r = t/2."""
    flow = riemannian_gradient_flow(PoincareBall(2), losses.Linear([-1.0, 0.0]), [0.0, 0.0], 5 * TIMES)
    r = flow.w[:, 0]
    np.testing.assert_allclose(r / (1 - r**2) + np.arctanh(r), 5 * TIMES / 2, atol=1e-6)
    np.testing.assert_array_equal(flow.w[:, 1], 0.0)


def test_flow_that_runs_out_of_the_space_says_so():
    """-ln w with L = -w: w = w_0/(1 - w_0t) blows up at t = 1/w_0."""
    space = HessianManifold(legendre.BurgEntropy(1))
    with pytest.raises(ConvergenceError, match="status 'failed'") as caught:
        riemannian_gradient_flow(space, losses.Linear([-1.0]), [2.0], 3.0)
    assert caught.value.partial.t[-1] == pytest.approx(0.5, abs=1e-7)


def test_space_whose_edge_is_near_is_left_in_finite_time():
    """The half plane's points with the flat metric: y = y_0 - t ends at t = y_0."""
    space = PoincareHalfSpace(2, equip=False)
    space.metric = Euclidean(2).metric
    flow = riemannian_gradient_flow(space, losses.Linear([0.0, 1.0]), [0.3, 1.25], 3.0, throw=False)
    assert flow.status == "left-domain"
    assert flow.t[-1] == pytest.approx(1.25, abs=1e-9)


def unmeasured(dim):
    """A space whose metric has no matrix and no inner product."""
    space = Euclidean(dim, equip=False)
    space.metric = RiemannianMetric(space)
    return space


@pytest.mark.parametrize(
    ("space", "w_init", "error", "words"),
    [
        (Hypersphere(2), [0.0, 0.0, 1.0], ShapeError, r"on R\^2, but the weights are in R\^3"),
        (Hypersphere(2), [0.0, 0.0, 2.0], DomainError, r"space\.projection"),
        (HessianManifold(legendre.NegativeEntropy(2)), [-1.0, 1.0], DomainError, "w_init = "),
        (HessianManifold(legendre.NegativeEntropy(2)), [1.0], ShapeError, "w_init has shape"),
        (HessianManifold(legendre.NegativeEntropy(2)), [[1.0, 1.0]], ShapeError, "one point"),
        (Euclidean(2, equip=False), [1.0, 1.0], DomainError, "equip"),
        (unmeasured(2), [1.0, 1.0], DomainError, "has no metric matrix"),
    ],
    ids=["sphere", "off the sphere", "outside", "short", "batch", "no metric", "no matrix"],
)
def test_bad_input_is_named(space, w_init, error, words):
    with pytest.raises(error, match=words):
        riemannian_gradient_flow(space, losses.Linear([1.0, 1.0]), w_init, 1.0)
