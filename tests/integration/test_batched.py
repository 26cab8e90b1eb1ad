"""solve_batched against exact solutions and SciPy's solve_ivp, row by row."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from riemflow.integration import solve_batched

RATES = np.array([0.0, 0.3, 5.0, -20.0, 60.0])


def test_rows_with_rates_of_their_own_are_exponentials():
    y, reached, stats = solve_batched(
        lambda s, y, rows: RATES[rows, None] * y, np.ones((5, 2)), rtol=1e-11, atol=1e-14
    )
    np.testing.assert_array_equal(reached, 1.0)
    np.testing.assert_allclose(y, np.exp(RATES)[:, None] * np.ones(2), rtol=1e-8, atol=1e-12)
    # Rows that are done cost nothing more: the slowest row alone would take n_rounds · 12 · 5 otherwise.
    assert stats["n_rhs"] < 0.7 * stats["n_rounds"] * 12 * 5


def test_rows_agree_with_solve_ivp():
    """Pendulums of several amplitudes and lengths, driven in time."""
    lengths = np.array([0.5, 1.0, 4.0])
    start = np.array([[0.1, 0.0], [2.0, 1.0], [3.0, -1.0]])

    def rhs(s, y, rows):
        drive = np.cos(3.0 * s) - np.sin(y[:, 0]) / lengths[rows]
        return np.stack([y[:, 1], drive], axis=-1)

    y, reached, _ = solve_batched(rhs, start, 7.0, rtol=1e-11, atol=1e-12)
    np.testing.assert_array_equal(reached, 1.0)
    for k in range(3):
        one = solve_ivp(
            lambda t, y, k=k: rhs(np.array([t]), y[None], np.array([k]))[0],
            (0.0, 7.0),
            start[k],
            method="LSODA",
            rtol=1e-10,
            atol=1e-11,
        )
        np.testing.assert_allclose(y[k], one.y[:, -1], atol=2e-7)


def test_error_falls_with_the_tolerance():
    tolerances = np.array([1e-4, 1e-6, 1e-8, 1e-10])
    errors = []
    for rtol in tolerances:
        y, _, _ = solve_batched(
            lambda s, y, rows: np.stack([y[:, 1], -y[:, 0]], axis=-1),
            [[1.0, 0.0], [0.0, 1.0]],
            20.0,
            rtol=rtol,
            atol=rtol,
        )
        exact = [[np.cos(20.0), -np.sin(20.0)], [np.sin(20.0), np.cos(20.0)]]
        errors.append(np.abs(y - exact).max())
    assert 0.75 < np.polyfit(np.log(tolerances), np.log(errors), 1)[0] < 1.3


def test_rows_that_blow_up_stop_at_their_time_and_spare_the_others():
    """y' = a y², y(0) = 1 is 1/(1 - a t)."""
    a = np.array([0.25, 0.5, 2.0, 5.0, 0.9])
    y, reached, _ = solve_batched(lambda s, y, rows: a[rows, None] * y**2, np.ones((5, 1)))
    np.testing.assert_allclose(reached, np.minimum(1.0, 1.0 / a), atol=1e-9)
    fine = a < 1
    np.testing.assert_array_equal(reached[fine], 1.0)
    np.testing.assert_allclose(y[fine, 0], 1.0 / (1.0 - a[fine]), rtol=1e-7)
    assert np.isfinite(y).all()


def test_rows_whose_right_side_ceases_to_exist_stop_there():
    edge = np.array([0.3, 2.0])
    y, reached, _ = solve_batched(
        lambda s, y, rows: -0.5 / np.sqrt(edge[rows] - s)[:, None] + 0.0 * y, np.sqrt(edge)[:, None]
    )
    np.testing.assert_allclose(reached, [0.3, 1.0], atol=1e-9)
    assert y[1, 0] == pytest.approx(1.0, abs=1e-8)


def test_row_that_cannot_start_reaches_nothing():
    y, reached, _ = solve_batched(
        lambda s, y, rows: np.where(rows[:, None] == 0, np.nan, 1.0 + 0.0 * y), np.zeros((2, 1))
    )
    np.testing.assert_array_equal(reached, [0.0, 1.0])
    np.testing.assert_allclose(y[:, 0], [0.0, 1.0], atol=1e-14)


def test_projection_keeps_an_invariant():
    """The oscillator's radius, put right after each step, at a tolerance that would let it drift."""

    def rhs(s, y, rows):
        return np.stack([y[:, 1], -y[:, 0]], axis=-1)

    def project(s, y, rows):
        return y / np.linalg.norm(y, axis=-1, keepdims=True)

    start = np.array([[1.0, 0.0], [0.6, 0.8]])
    loose = {"rtol": 1e-3, "atol": 1e-3}
    free, _, _ = solve_batched(rhs, start, 50.0, **loose)
    held, _, _ = solve_batched(rhs, start, 50.0, project=project, **loose)
    assert np.abs(np.linalg.norm(held, axis=-1) - 1.0).max() < 1e-15
    assert np.abs(np.linalg.norm(free, axis=-1) - 1.0).max() > 1e-4


def test_end_time_scales_and_times_passed_are_true_times():
    y, _, _ = solve_batched(lambda s, y, rows: np.cos(s)[:, None] + 0.0 * y, np.zeros((1, 1)), 2.5)
    assert y[0, 0] == pytest.approx(np.sin(2.5), abs=1e-9)


def test_no_rows_are_no_trouble():
    y, reached, _ = solve_batched(lambda s, y, rows: y, np.empty((0, 3)))
    assert y.shape == (0, 3) and reached.shape == (0,)


def test_rows_that_run_into_an_edge_are_given_up():
    """y' = y² blows up at 1/y(0): it is not reached, whatever the step may shrink to."""
    y0 = np.array([[0.1], [0.2], [0.3], [2.0]])
    y, reached, stats = solve_batched(lambda s, y, rows: y**2, y0, smallest_step=1e-4)
    assert (reached[:3] == 1.0).all() and 0.49 < reached[3] < 0.5
    np.testing.assert_allclose(y[:3], y0[:3] / (1 - y0[:3]), rtol=1e-9)
    _, nearer, all_the_way = solve_batched(lambda s, y, rows: y**2, y0)
    assert stats["n_rounds"] < 0.5 * all_the_way["n_rounds"] and nearer[3] > reached[3]
    assert solve_batched(lambda s, y, rows: y**2, y0, most_rounds=2)[2]["n_rounds"] == 2
