"""Flows from the origin are as accurate relative to their movement, however small it is."""

from __future__ import annotations

import numpy as np
import pytest

import riemflow as rf
from riemflow.errors import DomainError
from riemflow.flows.first_length import first_lengths

RNG = np.random.default_rng(11)


def exact(Z, Y, times):
    """w(t) of ½‖w‖² from 0 on least squares, in the singular basis of Z."""
    U, singular, rows = np.linalg.svd(Z, full_matrices=False)
    rate = singular**2 / len(Y)
    return [rows.T @ (U.T @ Y / singular * -np.expm1(-rate * t)) for t in times]


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (1, 1)])
@pytest.mark.parametrize("size_z", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize("size_y", [1e-12, 1.0, 1e12])
def test_scaled_data_give_scaled_flows(shape, size_z, size_y):
    Z, Y = size_z * RNG.standard_normal(shape), size_y * RNG.standard_normal(shape[0])
    R, loss, times = (
        rf.legendre.SquaredNorm(shape[1]),
        rf.losses.LeastSquares(Z, Y),
        np.array([0.5, 1.0, 9.0]),
    )
    times = times / size_z**2
    start, known = np.zeros(shape[1]), np.array(exact(Z, Y, times))
    found = [rf.mirror_flow(R, loss, start, times, formulation=f).w for f in ("row-space", "dual", "primal")]
    found.append(rf.gradient_flow(rf.parametrizations.Identity(shape[1]), loss, start, times).w)
    found.extend(rf.mirror_flows(R, loss, np.stack([start, start]), times)["w"])
    for w in found:
        assert np.abs(w - known).max() < 1e-6 * np.abs(known).max()


@pytest.mark.parametrize("size", [1e-8, 1e8])
def test_logistic_flow_of_scaled_data(size):
    """w of sZ at time t is w of Z at time s²t, over s."""
    Z, labels = RNG.standard_normal((8, 3)), np.array([1, -1, 1, 1, -1, 1, -1, -1])
    R, tau = rf.legendre.SquaredNorm(3), np.array([2.0, 20.0])
    scaled = np.log1p(np.expm1(tau) / size**2) if size < 1 else tau
    plain = tau if size < 1 else np.log1p(np.expm1(tau) * size**2)
    flow = rf.logistic_flow(R, rf.losses.Logistic(size * Z, labels), np.zeros(3), scaled)
    known = rf.logistic_flow(R, rf.losses.Logistic(Z, labels), np.zeros(3), plain, rtol=1e-11)
    np.testing.assert_allclose(flow.w * size, known.w, rtol=1e-6, atol=1e-7 * np.abs(known.w).max())


def test_lengths_are_those_of_the_way_left():
    """Linear decay to ends at 1e-30, 3 and 0, the first of them in 1e-40 as well."""
    ends = np.array([[1e-30], [3.0], [0.0], [np.nan]])
    with np.errstate(all="ignore"):
        found = first_lengths(lambda y: 2.0 * (ends - y), np.zeros((4, 1)), np.inf)
        short = first_lengths(lambda y: 2.0 * (ends - y), np.zeros((4, 1)), 1e-10)
    np.testing.assert_allclose(found, [1e-30, 1.0, 1.0, 1.0])
    np.testing.assert_allclose(short, [2e-40, 6e-10, 1.0, 1.0])


def test_data_of_zeros_leave_many_starts_where_they_are():
    still = rf.losses.LeastSquares(np.zeros((1, 2)), [1.0])
    found = rf.mirror_flows(rf.legendre.SquaredNorm(2), still, np.array([[0.0, 0.0], [1.0, 2.0]]), 1.0)
    np.testing.assert_array_equal(found["w"][:, 0], [[0.0, 0.0], [1.0, 2.0]])


@pytest.mark.parametrize("options", [{"rtol": -1.0}, {"rtol": np.nan}, {"rtol": "a"}, {"atol": 0.0}])
@pytest.mark.parametrize("t", [1.0, np.inf])
def test_tolerances_are_checked_where_nothing_is_integrated_too(options, t):
    loss, G = rf.losses.LeastSquares(np.ones((1, 2)), [1.0]), rf.parametrizations.Hadamard(2)
    with pytest.raises(DomainError, match="tol"):
        rf.gradient_flow(G, loss, np.ones(2), t, **options)
    with pytest.raises(DomainError, match="tol"):
        rf.mirror_flow(rf.legendre.NegativeEntropy(2), loss, np.ones(2), t, **options)


@pytest.mark.parametrize("t", [1e60, 1e300])
def test_ends_far_beyond_rest(t):
    """CVODE's own first step, a share of the way to the end, would be refused ten times and given up."""
    Z = np.random.default_rng(0).standard_normal((3, 5))
    loss, G = rf.losses.LeastSquares(Z, Z @ [1.0, 0.0, 0.5, 0.0, 0.0]), rf.parametrizations.Hadamard(5)
    limit = rf.gradient_flow(G, loss, np.full(5, 0.3), np.inf)
    flow = rf.gradient_flow(G, loss, np.full(5, 0.3), t)
    np.testing.assert_allclose(flow.w[-1], limit.w[-1], atol=1e-9)


def test_a_closed_flow_to_the_least_time():
    flow = rf.mirror_flow(rf.legendre.SquaredNorm(1), rf.losses.Linear([1.0]), [1.0], 5e-324)
    assert flow.w[-1, 0] == 1.0


def test_no_times_of_a_dense_flow():
    flow = rf.mirror_flow(
        rf.legendre.SquaredNorm(2), rf.losses.LeastSquares(np.eye(2), [1.0, 2.0]), np.ones(2), 1.0
    )
    assert flow.sol([]).shape == (0, 2)
