"""solve_ode against exact solutions: orders, dense output, events, breakpoints, stiffness, failures."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import expm

from riemflow.errors import DomainError
from riemflow.integration import solve_ode

METHODS = ["DOP853", "CVODE"]


def oscillator(t, y):
    return np.array([y[1], -y[0]])


def circle(t):
    return np.stack([np.cos(t), -np.sin(t)], axis=-1)


def solve_oscillator(method, rtol, end=10.0, **options):
    return solve_ode(oscillator, [1.0, 0.0], (0.0, end), rtol=rtol, atol=rtol, method=method, **options)


@pytest.mark.parametrize("method", METHODS)
def test_error_follows_the_tolerance(method):
    """The error at the end falls in proportion to rtol, with slope between .75 and 1.25 in the logarithm."""
    tolerances = np.array([1e-5, 1e-7, 1e-9, 1e-11])
    errors = []
    for rtol in tolerances:
        solution = solve_oscillator(method, rtol)
        assert solution.status == "finished"
        errors.append(np.abs(solution.y[-1] - circle(10.0)).max())
    slope = np.polyfit(np.log(tolerances), np.log(errors), 1)[0]
    assert 0.75 < slope < 1.25
    assert errors[-1] < 1e-8


def test_steps_grow_as_the_eighth_order_predicts():
    """An eighth-order method with error per step rtol takes rtol^(-1/8) as many steps."""
    tolerances = np.array([1e-6, 1e-8, 1e-10, 1e-12])
    steps = [solve_oscillator("DOP853", rtol, end=200.0).stats["n_steps"] for rtol in tolerances]
    slope = -np.polyfit(np.log(tolerances), np.log(steps), 1)[0]
    assert abs(slope - 1 / 8) < 0.02


@pytest.mark.parametrize(("method", "loss_of_digits"), [("DOP853", 30), ("CVODE", 2)])
def test_dense_output_is_as_good_as_the_steps(method, loss_of_digits):
    solution = solve_oscillator(method, 1e-9)
    at_steps = np.abs(solution.y - circle(solution.t)).max()
    between = np.linspace(0.0, 10.0, 3001)
    assert np.abs(solution.sol(between) - circle(between)).max() < loss_of_digits * at_steps


@pytest.mark.parametrize("method", METHODS)
def test_dense_output_is_continuous_and_takes_any_shape(method):
    solution = solve_oscillator(method, 1e-6)
    steps = solution.t[1:-1]
    left, right = solution.sol(np.nextafter(steps, 0.0)), solution.sol(np.nextafter(steps, 99.0))
    assert np.abs(left - right).max() < 1e-13
    assert solution.sol(1.5).shape == (2,)
    assert solution.sol(np.full((3, 4), 1.5)).shape == (3, 4, 2)
    np.testing.assert_array_equal(solution.sol(np.full((3, 4), 1.5))[2, 1], solution.sol(1.5))


def test_dense_output_ends_where_the_integration_does():
    solution = solve_oscillator("DOP853", 1e-6)
    for outside in (-0.1, 10.1, np.nan):
        with pytest.raises(DomainError, match="times that were integrated"):
            solution.sol(outside)


def test_output_times_are_those_asked_for():
    times = np.array([0.0, 0.3, 7.7, 10.0])
    solution = solve_oscillator("DOP853", 1e-10, t_eval=times)
    np.testing.assert_array_equal(solution.t, times)
    np.testing.assert_allclose(solution.y, circle(times), atol=1e-8)


@pytest.mark.parametrize("method", METHODS)
def test_breakpoints_cost_no_accuracy(method):
    """y' = ±1 turns at an irrational time: exact to rounding, the kink included."""
    turn = np.sqrt(0.5)
    solution = solve_ode(
        lambda t, y: np.array([1.0 if t < turn else -1.0]),
        [0.0],
        (0.0, 2.0),
        breakpoints=[turn],
        method=method,
        rtol=1e-6,
        atol=1e-8,
    )
    times = np.linspace(0.0, 2.0, 101)
    np.testing.assert_allclose(solution.sol(times)[:, 0], turn - np.abs(times - turn), atol=1e-12)


def test_without_the_breakpoint_the_kink_does_cost():
    turn = np.sqrt(0.5)
    solution = solve_ode(
        lambda t, y: np.array([1.0 if t < turn else -1.0]), [0.0], (0.0, 2.0), rtol=1e-6, atol=1e-8
    )
    assert abs(solution.y[-1, 0] - (2 * turn - 2.0)) > 1e-12


@pytest.mark.parametrize(("method", "within"), [("DOP853", 1e-12), ("CVODE", 2e-11)])
@pytest.mark.parametrize("event", [lambda t, y: y[0], lambda t, y: y[0] > 0], ids=["number", "bool"])
def test_event_is_located_on_its_inner_side(method, within, event):
    solution = solve_oscillator(method, 1e-12, end=50.0, events=[lambda t, y: 1.0, event])
    assert (solution.status, solution.event) == ("event", 1)
    assert abs(solution.t[-1] - np.pi / 2) < within
    assert solution.y[-1, 0] > 0
    assert solution.sol(solution.t[-1])[0] > 0


def test_event_that_starts_negative_waits_until_it_has_been_positive():
    solution = solve_oscillator("DOP853", 1e-12, end=50.0, events=[lambda t, y: -y[0]])
    assert abs(solution.t[-1] - 3 * np.pi / 2) < 1e-11


def test_first_of_two_events_in_one_step_wins():
    events = [lambda t, y: 0.7 - t, lambda t, y: 0.4 - t, lambda t, y: 0.6 - t]
    solution = solve_ode(lambda t, y: 0.0 * y, [1.0], (0.0, 5.0), events=events)
    assert solution.event == 1
    assert solution.t[-1] == pytest.approx(0.4, abs=1e-15)


# Two time scales, one exact solution: e^{At} y0.
STIFF = np.array([[-3000.0, 1.0, 0.0], [0.0, -1.0, 0.3], [0.0, -0.3, -1.0]])
START = np.array([1.0, 2.0, -1.0])


def test_stiff_problem_is_handed_over():
    solution = solve_ode(
        lambda t, y: STIFF @ y, START, (0.0, 20.0), rtol=1e-9, atol=1e-12, jac=lambda t, y: STIFF
    )
    assert solution.stats["method"] == "DOP853+CVODE"
    assert solution.stats["n_jac"] > 0
    assert solution.stats["n_rhs"] < 3000  # DOP853 alone: about 20 · 3000 / 6.4 steps of 12
    times = np.geomspace(1e-5, 20.0, 60)
    exact = np.array([expm(STIFF * t) @ START for t in times])
    assert np.abs(solution.sol(times) - exact).max() < 2e-8


def test_mild_problem_is_not_handed_over():
    assert solve_oscillator("auto", 1e-9, end=300.0).stats["method"] == "DOP853"


def test_handing_over_needs_no_jacobian():
    solution = solve_ode(lambda t, y: STIFF @ y, START, (0.0, 20.0), rtol=1e-7, atol=1e-10)
    assert solution.stats["method"] == "DOP853+CVODE"
    np.testing.assert_allclose(solution.y[-1], expm(STIFF * 20.0) @ START, atol=1e-7)


@pytest.mark.parametrize("method", METHODS)
def test_blow_up_fails_at_its_time(method):
    """y' = y², y(0) = 1 is 1/(1 - t)."""
    solution = solve_ode(lambda t, y: y**2, [1.0], (0.0, 3.0), rtol=1e-10, atol=1e-12, method=method)
    assert solution.status == "failed"
    assert "failed" in solution.message and "t = " in solution.message
    assert abs(solution.t[-1] - 1.0) < 1e-6
    assert np.isfinite(solution.y).all()
    np.testing.assert_allclose(solution.sol(0.9), [10.0], rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_right_side_that_ceases_to_exist_is_approached_and_not_crossed(method):
    """y' = -1/(2√(1-t)) is √(1-t), up to t = 1 where it becomes NaN."""
    solution = solve_ode(
        lambda t, y: -0.5 / np.sqrt(1.0 - t + 0.0 * y),
        [1.0],
        (0.0, 3.0),
        rtol=1e-9,
        atol=1e-12,
        method=method,
    )
    assert solution.status == "failed"
    assert 1.0 - 1e-9 < solution.t[-1] <= 1.0
    np.testing.assert_allclose(solution.sol(0.75), [0.5], atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_too_many_steps_stop(method):
    solution = solve_oscillator(method, 1e-9, end=1e6, max_steps=40)
    assert solution.status == "failed"
    assert "stopped after 40 steps" in solution.message
    assert solution.stats["n_steps"] == 40


@pytest.mark.parametrize("method", METHODS)
def test_interruption_keeps_what_was_reached(method):
    calls = []

    def rhs(t, y):
        calls.append(t)
        if len(calls) == 400:
            raise KeyboardInterrupt
        return oscillator(t, y)

    solution = solve_ode(rhs, [1.0, 0.0], (0.0, 300.0), rtol=1e-8, atol=1e-8, method=method)
    assert solution.status == "interrupted"
    assert 1.0 < solution.t[-1] < 300.0
    np.testing.assert_allclose(solution.y, circle(solution.t), atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_error_in_the_right_side_reaches_the_caller(method):
    def rhs(t, y):
        if t > 1.0:
            raise ArithmeticError("mine")
        return oscillator(t, y)

    with pytest.raises(ArithmeticError, match="mine"):
        solve_ode(rhs, [1.0, 0.0], (0.0, 3.0), method=method)


def test_interruption_at_once_leaves_the_start():
    def rhs(t, y):
        raise KeyboardInterrupt

    solution = solve_ode(rhs, [1.0, 0.0], (0.0, 3.0))
    assert solution.status == "interrupted"
    np.testing.assert_array_equal(solution.y, [[1.0, 0.0]])


def test_unknown_method_is_refused():
    with pytest.raises(DomainError, match="'DOP853' or 'CVODE'"):
        solve_oscillator("RK45", 1e-6)


def test_progress_bar_is_drawn_on_request(capsys):
    solve_oscillator("DOP853", 1e-6, progress=True)
    assert "100%" in capsys.readouterr().err
    solve_oscillator("DOP853", 1e-6)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("method", METHODS)
def test_start_is_not_modified(method):
    start = np.array([1.0, 0.0])
    solve_ode(oscillator, start, (0.0, 3.0), method=method)
    np.testing.assert_array_equal(start, [1.0, 0.0])
