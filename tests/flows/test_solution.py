"""The Flow object: times, statuses, interruption, dense output, what it says of itself."""

from __future__ import annotations

import dataclasses
import pickle

import autograd.numpy as anp
import numpy as np
import pytest

from riemflow import legendre, losses
from riemflow.errors import DomainError, ShapeError
from riemflow.flows import gradient_flow, mirror_flow, riemannian_gradient_flow
from riemflow.geometry import HessianManifold
from riemflow.parametrizations import Hadamard, Identity

LINEAR = losses.Linear([1.0, -0.5])


def flow_of(t, **options):
    return gradient_flow(Hadamard(2), LINEAR, [1.0, 2.0], t, **options)


@pytest.mark.parametrize(
    ("t", "error", "words"),
    [
        (-1.0, DomainError, "t is -1.0"),
        (0.0, DomainError, "t is 0.0"),
        (np.nan, DomainError, "finite"),
        (-np.inf, DomainError, "finite"),
        ([1.0, 0.5], DomainError, "increasing"),
        ([0.5, 0.5], DomainError, "increasing"),
        ([-1.0, 2.0], DomainError, "increasing from 0"),
        ([0.0], DomainError, "increasing"),
        ([0.0, np.nan], DomainError, "finite"),
        ([0.0, np.inf], DomainError, "with t=np.inf"),
        ([], ShapeError, "t has shape"),
        ([[1.0]], ShapeError, "t has shape"),
        ("soon", DomainError, "real numbers"),
        (1j, DomainError, "real numbers"),
        (None, DomainError, "real numbers"),
        (True, DomainError, "real numbers"),
    ],
)
def test_times_that_make_no_sense_are_named(t, error, words):
    with pytest.raises(error, match=words):
        flow_of(t)


def test_end_time_gives_the_steps_and_times_give_the_times():
    steps = flow_of(2)
    assert steps.t[0] == 0.0 and steps.t[-1] == 2.0
    assert len(steps.t) == steps.stats["n_steps"] + 1
    asked = flow_of([0.5, 2.0])
    np.testing.assert_array_equal(asked.t, [0.5, 2.0])
    np.testing.assert_allclose(asked.w[-1], steps.w[-1], rtol=1e-12)
    np.testing.assert_allclose(asked.sol(0.0), [1.0, 4.0])


def test_shapes_of_what_is_returned():
    flow = flow_of(2.0)
    n = len(flow.t)
    assert flow.w.shape == flow.x.shape == (n, 2)
    assert flow.sol(0.3).shape == (2,)
    assert flow.sol(np.full((3, 5), 0.3), of="x").shape == (3, 5, 2)


def test_quantities_a_flow_does_not_have_are_refused():
    with pytest.raises(DomainError, match=r"no dense 'mu'.*\['w', 'x'\]"):
        flow_of(1.0).sol(0.5, of="mu")
    with pytest.raises(DomainError, match="must lie in"):
        flow_of(1.0).sol(1.5)
    with pytest.raises(DomainError, match="finite"):
        flow_of(1.0).sol(np.nan)


def test_flow_tells_what_happened_and_is_frozen():
    flow = mirror_flow(legendre.NegativeEntropy(2), LINEAR, [1.0, 2.0], 2.0, method="DOP853")
    text = repr(flow)
    for words in ("finished", "reached t = 2", "d = 2", "dual", "DOP853", "steps"):
        assert words in text
    assert {"formulation", "method", "n_rhs", "n_steps", "seconds"} <= set(flow.stats)
    assert flow.stats["n_rhs"] > flow.stats["n_steps"] > 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        flow.status = "converged"


@pytest.mark.parametrize("throw", [True, False])
def test_interruption_keeps_what_was_reached(throw):
    """Raised on, so that a loop over flows ends as well, with the flow so far; or returned."""
    calls = []

    def gradient(w):
        calls.append(1)
        if len(calls) == 60:
            raise KeyboardInterrupt
        return LINEAR.gradient(w)

    loss = losses.Loss(lambda w: w @ LINEAR.c, 2, gradient=gradient)
    if throw:
        with pytest.raises(KeyboardInterrupt, match="interrupted by the user") as caught:
            gradient_flow(Hadamard(2), loss, [1.0, 2.0], 5.0)
        flow = caught.value.partial
    else:
        flow = gradient_flow(Hadamard(2), loss, [1.0, 2.0], 5.0, throw=False)
    assert flow.status == "interrupted" and "interrupted by the user" in flow.message
    assert 0 < flow.t[-1] < 5.0
    np.testing.assert_allclose(flow.w[-1], [1.0, 4.0] * np.exp(-4 * flow.t[-1] * LINEAR.c), rtol=1e-6)


def test_mistakes_in_the_users_code_are_not_swallowed():
    def gradient(w):
        raise ZeroDivisionError("a mistake")

    with pytest.raises(ZeroDivisionError, match="a mistake"):
        gradient_flow(Hadamard(2), losses.Loss(lambda w: w @ LINEAR.c, 2, gradient=gradient), [1.0, 2.0], 5.0)


def test_end_that_is_not_representable_is_a_failure():
    """w = x² overflows although x does not: x = e^{2ct} at ct = 200."""
    flow = gradient_flow(Hadamard(1), losses.Linear([-1.0]), [1.0], 200.0, throw=False)
    assert flow.status == "failed"


def test_progress_bar_is_drawn_on_request(capsys):
    flow_of(2.0, progress=True)
    assert "100%" in capsys.readouterr().err
    loss = losses.LeastSquares(np.eye(2), [1.0, 1.0])
    gradient_flow(Hadamard(2), loss, [1.0, 2.0], np.inf, formulation="parameters", progress=True)
    assert "flow: t = " in capsys.readouterr().err


@pytest.mark.parametrize("method", ["DOP853", "CVODE"])
def test_method_can_be_chosen(method):
    flow = flow_of(2.0, method=method)
    assert flow.stats["method"] == method
    np.testing.assert_allclose(flow.w[-1], [1.0, 4.0] * np.exp(-8 * LINEAR.c), rtol=1e-6)


@pytest.mark.parametrize("t", [5.0, np.inf])
def test_kinks_end_a_flow_soon_and_say_why(t):
    """|w - 0.3| pulls to 0.3 at speed 1 and then jumps: steps of 1e-8 for ever."""
    kinked = losses.Loss(lambda w: anp.sum(anp.abs(w - 0.3), axis=-1), 1)
    flow = gradient_flow(Identity(1), kinked, [1.0], t, throw=False)
    assert flow.status == "failed" and "kinks" in flow.message
    assert flow.stats["n_steps"] < 2000 and flow.t[-1] == pytest.approx(0.7, abs=1e-3)
    np.testing.assert_allclose(flow.w[-1], 0.3, atol=1e-6)


@pytest.mark.parametrize("riemannian", [False, True])
def test_where_r_is_not_convex_a_flow_cannot_start_and_ends(riemannian):
    """R'' = 1 - w² vanishes at 1, where w - w³/3 = 2/3 is reached at t = 2/3 - (½ - 1/24)."""
    R = legendre.LegendreFunction(lambda w: anp.sum(w**2 / 2 - w**4 / 12, axis=-1), 1)

    def flow(w_init):
        if riemannian:
            return riemannian_gradient_flow(
                HessianManifold(R), losses.Linear([-1.0]), w_init, 3.0, throw=False
            )
        return mirror_flow(R, losses.Linear([-1.0]), w_init, 3.0, formulation="primal", throw=False)

    with pytest.raises(DomainError, match=r"not positive definite at w = \[2"):
        flow([2.0])
    ended = flow([0.5])
    assert ended.status == "failed" and "not positive definite" in ended.message
    assert ended.t[-1] == pytest.approx(2 / 3 - (0.5 - 1 / 24), abs=1e-6)


def test_a_pickled_flow_keeps_its_figures():
    flow = flow_of([0.5, 1.0])
    again = pickle.loads(pickle.dumps(flow))
    np.testing.assert_array_equal(again.w, flow.w)
    assert repr(again) == repr(flow) and again.stats == flow.stats
    with pytest.raises(DomainError, match="a file or a pickle"):
        again.sol(0.7)


@pytest.mark.parametrize("method", ["DOP853", "CVODE"])
def test_flow_stops_where_the_loss_has_fallen(method):
    """w' = -(w - 1) from 0: L = ½e^{-2t}, so L = 1e-6 at t = ½ ln(5e5) and ‖∇L‖ = 1e-3 at ln(1e3)."""
    R, loss = legendre.SquaredNorm(1), losses.LeastSquares([[1.0]], [1.0])
    flow = mirror_flow(R, loss, [0.0], 100.0, until_loss=1e-6, method=method, rtol=1e-10)
    assert flow.status == "reached" and "the loss fell to 1e-06" in flow.message
    assert flow.t[-1] == pytest.approx(0.5 * np.log(5e5), abs=1e-5)
    assert loss(flow.w[-1]) == pytest.approx(1e-6, rel=1e-6)
    flow = mirror_flow(R, loss, [0.0], [1.0, 50.0], until_loss=1e-30, until_gradient=1e-3, method=method)
    assert flow.status == "reached" and "the gradient fell to 0.001" in flow.message
    assert flow.t[0] == 1.0 and flow.t[-1] == pytest.approx(np.log(1e3), abs=1e-4)


def test_flow_that_has_arrived_before_it_starts():
    loss = losses.LeastSquares([[1.0]], [1.0])
    flow = mirror_flow(legendre.SquaredNorm(1), loss, [1.0], 5.0, until_loss=0.1)
    assert flow.status == "reached" and flow.t.tolist() == [0.0] and flow.w.tolist() == [[1.0]]
    np.testing.assert_array_equal(flow.sol(0.0), [1.0])


def test_goal_that_is_not_reached_is_not_claimed():
    loss = losses.LeastSquares([[1.0], [1.0]], [1.0, -1.0])  # never below ½
    flow = mirror_flow(legendre.SquaredNorm(1), loss, [1.0], 5.0, until_loss=0.4)
    assert flow.status == "finished" and flow.t[-1] == 5.0
    with pytest.raises(DomainError, match="until_gradient"):
        mirror_flow(legendre.SquaredNorm(1), loss, [1.0], 5.0, until_gradient=0.0)
