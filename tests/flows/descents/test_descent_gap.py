"""Gradient descent on L∘G and mirror descent of R differ by O(η), if R belongs to G, and only then."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import expm

import riemflow as rf
from riemflow import legendre, losses
from riemflow.errors import DomainError
from riemflow.flows import check_descents, gradient_descent, gradient_flow, mirror_flow
from riemflow.parametrizations import (
    DiagonalMeasurements,
    Exponential,
    Hadamard,
    HadamardDifference,
    Identity,
    MatrixFactorization,
    Spherical,
)

LOSS = losses.LeastSquares([[1.0, 0.5, -0.3], [0.2, -1.0, 0.8]], [0.4, 0.3])
X = np.array([0.7, 0.6, 0.8])
ENTROPY = 0.25 * legendre.NegativeEntropy(3)
PAIRS = [
    (Hadamard(3), ENTROPY, X),
    (
        HadamardDifference(3),
        legendre.HyperbolicEntropy(np.full(3, 0.8), np.full(3, 0.6)),
        np.repeat([0.8, 0.6], 3),
    ),
    (Exponential(3), legendre.BurgEntropy(3), -X),
    (DiagonalMeasurements(3, 2), ENTROPY, np.array([0.5, 0.4, 0.3, 0.6, 0.7, 0.2])),
    (Spherical(3), 0.25 * legendre.SimplexEntropy(3), np.sqrt([0.2, 0.3, 0.1, 0.4])),
]


@pytest.mark.parametrize(("G", "R", "x"), PAIRS, ids=[G.name for G, _, _ in PAIRS])
def test_slope_is_one_for_commuting_parametrizations(G, R, x):
    check = check_descents(G, R, LOSS, x, 1.0)
    assert check.passed and abs(check.details["slope"] - 1.0) < 0.03, check


@pytest.mark.parametrize(("G", "R", "x"), PAIRS, ids=[G.name for G, _, _ in PAIRS])
def test_gap_does_not_vanish_for_another_r(G, R, x):
    """The Hessian is right at the start but not on the way: the gap tends to that of the two flows."""
    wrong = legendre.Quadratic(np.linalg.inv(G.cometric(x)))
    check = check_descents(G, wrong, LOSS, x, 1.0)
    assert not check.passed and check.details["slope"] < 0.2, check
    times = np.linspace(0.0, 1.0, 201)
    flows = (
        gradient_flow(G, LOSS, x, times, rtol=1e-10).w - mirror_flow(wrong, LOSS, G(x), times, rtol=1e-10).w
    )
    np.testing.assert_allclose(check.details["gaps"][-1], np.abs(flows).max(), rtol=0.05)


def test_no_gap_at_all_on_squares():
    check = check_descents(Identity(3), legendre.SquaredNorm(3), LOSS, X, 1.0)
    assert check.passed and np.isnan(check.details["slope"]) and check.details["gaps"].max() < 1e-14


@pytest.mark.slow
def test_gap_does_not_vanish_without_commutation():
    """UUᵀ with the R that its lift along rays gives, which would be the right one if G commuted."""
    G, U = MatrixFactorization(2, 2), np.array([1.0, 0.3, -0.2, 0.8])
    R = rf.legendre_from_parametrization(G, U, check=False)
    loss = losses.LeastSquares(np.diag([1.5, 1.5, 0.5]), [0.5, 1.2, 1.0])
    check = check_descents(G, R, loss, U, 3.0, n_steps=(32, 64, 128))
    assert not check.passed and abs(check.details["slope"]) < 0.3, check
    assert check.details["gaps"].min() > 0.01


SLOPES = np.array([1.0, 0.2, 0.1]), np.array([-0.3, 0.6, -0.8])


def in_both_orders(G, x, n):
    """How far apart n steps down one linear loss and n down another end, in the two orders (Cor. 4.11)."""
    ends = []
    for one, other in (SLOPES, SLOPES[::-1]):
        half = gradient_descent(G, losses.Linear(one), x, 0.3 / n, n).x[-1]
        ends.append(gradient_descent(G, losses.Linear(other), half, 0.3 / n, n).w[-1])
    return np.abs(ends[0] - ends[1]).max()


def test_order_of_steps_matters_by_the_step_at_most_if_g_commutes():
    """x³; the steps of x² commute exactly."""
    gaps = [in_both_orders(Hadamard(3, 3), X, n) for n in (200, 400, 800)]
    assert abs(np.polyfit(np.log([200, 400, 800]), np.log(gaps), 1)[0] + 1) < 0.05
    assert in_both_orders(Hadamard(3), X, 50) < 1e-14


def test_order_of_steps_matters_at_any_step_if_it_does_not():
    """UUᵀ: down a linear loss with matrix C, U is multiplied by exp(-2Ct)."""
    U = np.array([[1.0, 0.3], [-0.2, 0.8]])
    first, second = (expm(-0.6 * np.array([[c[0], c[1] / 2], [c[1] / 2, c[2]]])) for c in SLOPES)
    ends = [A @ B @ U for A, B in ((first, second), (second, first))]
    exact = np.abs(ends[0] @ ends[0].T - ends[1] @ ends[1].T).max()
    gaps = [in_both_orders(MatrixFactorization(2, 2), U.ravel(), n) for n in (50, 100, 200)]
    np.testing.assert_allclose(gaps, exact, rtol=0.02)
    assert abs(gaps[2] - exact) < 0.3 * abs(gaps[0] - exact)


def test_bad_input_is_named():
    with pytest.raises(DomainError, match="two or more increasing"):
        check_descents(Hadamard(3), ENTROPY, LOSS, X, 1.0, n_steps=(64,))
    with pytest.raises(DomainError, match="t is 0"):
        check_descents(Hadamard(3), ENTROPY, LOSS, X, 0.0)


def test_nothing_is_seen_where_nothing_moves():
    R, x = legendre.BurgEntropy(2), np.ones(2)
    with pytest.raises(DomainError, match="which rounding does too"):
        check_descents(Hadamard(2), R, losses.LeastSquares(np.eye(2), [2.0, 3.0]), x, t=1e-14)
    with pytest.raises(DomainError, match="n_steps"):
        check_descents(Hadamard(2), R, losses.LeastSquares(np.eye(2), [2.0, 3.0]), x, t=1.0, n_steps=5)
