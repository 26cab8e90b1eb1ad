"""Flows through atlases: the same w as without charts, from chart to chart."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
import pytest

import riemflow as rf
from riemflow.errors import ConvergenceError, DomainError, ShapeError

TRUE = rf.legendre.LorentzBarrier(2)  # with a conjugate in closed form, for the dual flow
R = rf.LegendreFunction(
    lambda w: -anp.log(w[..., 1] - w[..., 0] ** 2 / 2),
    2,
    hessian=TRUE.hessian,
    domain=lambda w: w[..., 1] > w[..., 0] ** 2 / 2,
    interior=[0.0, 1.0],
    name="parabola",
)
REGION = rf.Box([-1.0, 0.6], [1.0, 4.0])  # two corners with a slack of .1
START, GOAL = [-0.9, 3.5], rf.losses.LeastSquares(np.eye(2), [0.8, 0.9])
T = np.linspace(0.0, 2.0, 21)


@pytest.fixture(scope="module")
def atlas():
    return rf.embed(R, REGION, method="atlas", tol=1e-6)


def test_mirror_flow_through_several_charts(atlas):
    flow = rf.atlas_flow(atlas, GOAL, START, T, rtol=1e-10)
    true = rf.mirror_flow(TRUE, GOAL, START, T, formulation="dual", rtol=1e-11)
    assert flow.status == "finished" and len(flow.stats["switches"]) >= 2
    np.testing.assert_array_equal(flow.t, T)
    np.testing.assert_allclose(flow.w, true.w, atol=1e-6)
    # x lies on the image of the chart in use, at w.
    for k, x, w in zip(flow.stats["charts"], flow.x, flow.w, strict=True):
        np.testing.assert_allclose(atlas.charts[k](w), x, atol=1e-8)
    # Times, charts and the dense solution belong together.
    times = [t for t, _, _ in flow.stats["switches"]]
    assert times == sorted(times) and all(0 < t < 2 for t in times)
    for (_, _, after), (_, before, _) in zip(
        flow.stats["switches"], flow.stats["switches"][1:], strict=False
    ):
        assert after == before
    np.testing.assert_allclose(flow.sol(T), flow.w, atol=1e-12)
    for t in times:
        np.testing.assert_allclose(flow.sol(t - 1e-9), flow.sol(t + 1e-9), atol=1e-7)
    assert f"{len(times)} changes of chart" in repr(flow)


def test_its_own_steps_and_the_limit(atlas):
    flow = rf.atlas_flow(atlas, GOAL, START, 2.0, rtol=1e-10)
    assert flow.t[0] == 0 and flow.t[-1] == pytest.approx(2.0, rel=1e-14) and (np.diff(flow.t) > 0).all()
    assert len(flow.t) == len(flow.w) == len(flow.x) == len(flow.stats["charts"])
    np.testing.assert_allclose(flow.w, rf.mirror_flow(TRUE, GOAL, START, flow.t, rtol=1e-11).w, atol=1e-6)
    limit = rf.atlas_flow(atlas, GOAL, START, np.inf)
    assert limit.status == "converged"
    np.testing.assert_allclose(limit.w[-1], [0.8, 0.9], atol=1e-6)


def test_a_piecewise_loss_keeps_its_times(atlas):
    loss = rf.losses.Piecewise(
        [0.1, 0.4, 1.0], [GOAL, rf.losses.Linear([0.1, -0.2]), GOAL, rf.losses.Linear([0.2, 0.1])]
    )
    flow = rf.atlas_flow(atlas, loss, START, T, rtol=1e-10)
    np.testing.assert_allclose(flow.w, rf.mirror_flow(TRUE, loss, START, T, rtol=1e-11).w, atol=1e-6)
    assert flow.stats["switches"]


def test_a_flow_that_leaves_the_region_ends_at_its_boundary(atlas):
    loss = rf.losses.Linear([-0.3, 0.25])
    flow = rf.atlas_flow(atlas, loss, [0.0, 3.5], 30.0, rtol=1e-10, throw=False)
    true = rf.mirror_flow(TRUE, loss, [0.0, 3.5], flow.t, rtol=1e-11)
    assert flow.status == "left-region" and "boundary of the region at t = " in flow.message
    np.testing.assert_allclose(flow.w, true.w, atol=1e-5)
    low, high = REGION.bounding_box()
    edge = np.minimum(flow.w[-1] - low, high - flow.w[-1]).min()
    assert abs(edge) < 1e-9 and REGION.belongs(flow.w).all()
    with pytest.raises(ConvergenceError, match="left-region") as caught:
        rf.atlas_flow(atlas, loss, [0.0, 3.5], [1.0, 30.0], rtol=1e-10)
    partial = caught.value.partial
    np.testing.assert_allclose(partial.t, [1.0, flow.t[-1]], rtol=1e-9)


@pytest.mark.slow
def test_riemannian_flow_of_a_metric_that_is_no_hessian():
    from geomstats.geometry.poincare_ball import PoincareBall

    space, region = PoincareBall(2), rf.Ball([0.0, 0.0], 0.7)
    A = rf.embed(space, region, method="atlas", tol=1e-6)
    loss = rf.losses.LeastSquares(np.eye(2), [0.4, 0.4])
    flow = rf.atlas_flow(A, loss, [-0.6, -0.1], 20.0, rtol=1e-9)
    true = rf.riemannian_gradient_flow(space, loss, [-0.6, -0.1], flow.t, rtol=1e-10)
    assert flow.stats["switches"]
    np.testing.assert_allclose(flow.w, true.w, atol=1e-6)


def test_arguments_are_checked(atlas):
    with pytest.raises(DomainError, match="must be a Atlas"):
        rf.atlas_flow(R, GOAL, START, 1.0)
    with pytest.raises(DomainError, match="the atlas of Box"):
        rf.atlas_flow(atlas, GOAL, [0.0, 5.0], 1.0)
    with pytest.raises(ShapeError, match="one point"):
        rf.atlas_flow(atlas, GOAL, [START, START], 1.0)
    flow = rf.atlas_flow(atlas, GOAL, START, 0.1)
    with pytest.raises(DomainError, match="times that were integrated"):
        flow.sol(0.2)


@pytest.mark.slow
def test_to_nine_digits():
    A = rf.embed(R, REGION, method="atlas", tol=1e-10)
    flow = rf.atlas_flow(A, GOAL, START, T, rtol=1e-11)
    true = rf.mirror_flow(TRUE, GOAL, START, T, formulation="dual", rtol=1e-12)
    assert len(flow.stats["switches"]) >= 2
    np.testing.assert_allclose(flow.w, true.w, atol=1e-9)
