"""Theorem 4.2: flows in any order."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
import pytest
from zoo_parametrizations import COMMUTING, NOT_MIRROR, PROJECTABLE

from riemflow.commuting import lie_bracket
from riemflow.commuting.coordinate_flows import coordinate_flow
from riemflow.commuting.order import check_order_independence
from riemflow.errors import DomainError, ShapeError
from riemflow.parametrizations import Hadamard, Identity, MatrixFactorization, Parametrization, Quadratic


@pytest.mark.parametrize("case", COMMUTING, ids=str)
def test_commuting_cases_pass(case):
    check = check_order_independence(case.make(), case.start())
    assert check.passed, check
    # The integrator's error bounds the gap, which is what shows that nothing else is in it.
    assert check.defect <= 10 * check.details["integration_error"] + 1e-14
    assert check.details["integration_error"] <= 1e-10
    assert check.details["gap_w"] <= 1e-10
    assert check.details["n_left"] == 0
    assert "at 8 points" in check.message


@pytest.mark.parametrize("case", NOT_MIRROR, ids=str)
def test_not_mirror_cases_fail_in_x_and_in_w(case):
    check = check_order_independence(case.make(), case.start())
    assert not check.passed
    assert check.defect > 0.1 and check.details["gap_w"] > 0.1
    assert check.details["integration_error"] < 1e-9
    assert "end apart" in check.message


@pytest.mark.parametrize("case", PROJECTABLE, ids=str)
def test_projectable_cases_fail_in_x_and_not_in_w(case):
    check = check_order_independence(case.make(), case.start())
    assert not check.passed
    assert check.defect > 0.1 and check.details["gap_w"] < 1e-9


def test_the_witness_is_one(rng):
    """The pair, times and point reported reproduce the defect by two flows of the public function."""
    G, x = MatrixFactorization(2, 2), rng.standard_normal(4)
    check = check_order_independence(G, x, n_points=4)
    (i, j), (s, t), p = check.details["pair"], check.details["times"], check.point
    one, other = coordinate_flow(G, p, i, s), coordinate_flow(G, p, j, t)
    gap = np.linalg.norm(coordinate_flow(G, one, j, t) - coordinate_flow(G, other, i, s))
    size = np.linalg.norm(one - p) + np.linalg.norm(other - p)
    np.testing.assert_allclose(gap / size, check.defect, rtol=1e-9)


def test_gap_is_the_bracket_to_second_order(rng):
    """φ_j^t ∘ φ_i^s - φ_i^s ∘ φ_j^t = s t [X_i, X_j] + O(h³): the rest falls eightfold as h is halved."""
    A = rng.standard_normal((2, 4, 4))
    G, x = Quadratic(A + np.swapaxes(A, -1, -2)), rng.standard_normal(4)
    bracket, rest, gaps = lie_bracket(G, x)[0, 1], [], []
    for h in (8e-3, 4e-3, 2e-3):
        s, t = h, 0.7 * h
        gap = coordinate_flow(G, coordinate_flow(G, x, 0, s), 1, t)
        gap = gap - coordinate_flow(G, coordinate_flow(G, x, 1, t), 0, s)
        gaps.append(np.linalg.norm(gap))
        rest.append(np.linalg.norm(gap - s * t * bracket))
    orders = np.log2(np.array([gaps[:-1], rest[:-1]]) / [gaps[1:], rest[1:]])
    np.testing.assert_allclose(orders[0], 2.0, atol=0.1)
    np.testing.assert_allclose(orders[1], 3.0, atol=0.1)


def test_small_perturbation_is_seen(rng):
    """Commuting matrices, one of them perturbed by ε: the gap is proportional to ε, down to 1e-7."""
    Q = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    A = np.einsum("ak,ik,bk->iab", Q, rng.uniform(-1, 1, (2, 3)), Q)
    B = rng.standard_normal((3, 3))
    B, x = B + B.T, rng.standard_normal(3)
    assert check_order_independence(Quadratic(A), x).passed
    gaps = []
    for eps in (1e-5, 1e-6, 1e-7):
        check = check_order_independence(Quadratic([A[0], A[1] + eps * B]), x, tol=1e-9)
        assert not check.passed
        gaps.append(check.defect)
    np.testing.assert_allclose(np.log10(np.array(gaps[:-1]) / gaps[1:]), 1.0, atol=0.02)


def test_defect_has_no_units(rng):
    A, x = rng.standard_normal((2, 3, 3)), rng.standard_normal(3)
    A = A + np.swapaxes(A, -1, -2)
    plain = check_order_independence(Quadratic(A), x)
    scaled = check_order_independence(Quadratic(A * np.array([1e3, 1e-4])[:, None, None]), x)
    np.testing.assert_allclose(scaled.defect, plain.defect, rtol=1e-6)


def test_one_field_commutes_with_itself():
    assert check_order_independence(Hadamard(1), [1.0]).passed


def test_flows_that_end_are_left_out_and_counted():
    G = Parametrization(lambda x: 1.0 * x, 2, 2, domain=lambda x: anp.abs(x[..., 0]) < 0.5)
    check = check_order_independence(G, [0.0, 0.0])
    assert check.passed and check.details["n_left"] > 0
    assert check.details["n_left"] + check.details["n_compared"] == 8 * 4


def test_nothing_to_compare_is_an_error():
    G = Parametrization(lambda x: 1.0 * x, 2, 2, domain=lambda x: anp.abs(x[..., 0]) < 1e-6)
    with pytest.raises(DomainError, match="both orders"):
        check_order_independence(G, [0.0, 0.0])


def test_a_gap_no_larger_than_the_error_is_undecided(rng):
    A = rng.standard_normal((4, 4))
    G = Quadratic([A + A.T, (A + A.T) @ (A + A.T)])
    check = check_order_independence(G, rng.standard_normal(4), tol=1e-17)
    assert not check.passed and "undecided" in check.message


def test_bad_arguments():
    with pytest.raises(DomainError, match="tol"):
        check_order_independence(Identity(2), [0.0, 0.0], tol=0.0)
    with pytest.raises(DomainError, match="n_times"):
        check_order_independence(Identity(2), [0.0, 0.0], n_times=0)
    with pytest.raises(ShapeError):
        check_order_independence(Identity(2), [[0.0, 0.0]])
