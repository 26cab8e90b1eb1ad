"""Lie brackets and the sampled checks."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
import pytest
from zoo_parametrizations import COMMUTING, NOT_MIRROR, PROJECTABLE

from riemflow.commuting import Check, check_commuting, check_regular, lie_bracket
from riemflow.errors import DomainError, ShapeError
from riemflow.integration import solve_batched
from riemflow.parametrizations import (
    Hadamard,
    MatrixFactorization,
    Parametrization,
    Quadratic,
    ScrewQuotient,
    Spherical,
)


def matrices(rng) -> np.ndarray:
    A = rng.standard_normal((3, 4, 4))
    return A + np.swapaxes(A, -1, -2)


def sphere(x):
    return anp.sum(x**2, axis=-1, keepdims=True) - 1.0


def test_bracket_of_quadratics(rng):
    """[∇G_i, ∇G_j] = (A_j A_i - A_i A_j) x for G_i = ½ xᵀA_i x."""
    A, x = matrices(rng), rng.standard_normal((5, 4))
    bracket = lie_bracket(Quadratic(A), x)
    for i in range(3):
        for j in range(3):
            np.testing.assert_allclose(bracket[:, i, j], x @ (A[j] @ A[i] - A[i] @ A[j]).T, atol=1e-13)


def test_bracket_is_the_failure_of_flows_to_commute(rng):
    """Going round φ_j^{-h} φ_i^{-h} φ_j^h φ_i^h moves x by h²[X_i, X_j] + O(h³): the slope is 3."""
    G, x = Quadratic(matrices(rng)), rng.standard_normal(4)
    expected = lie_bracket(G, x)[0, 1]
    errors = []
    for h in (4e-3, 2e-3, 1e-3):
        point = x[None]
        for index, time in ((0, h), (1, h), (0, -h), (1, -h)):

            def rhs(s, y, rows, index=index, time=time):
                return time * G._jacobian(y)[:, index]

            point = solve_batched(rhs, point, rtol=1e-13, atol=1e-15)[0]
        errors.append(np.linalg.norm(point[0] - x - h**2 * expected))
    assert 2.8 < np.log2(errors[0] / errors[1]) < 3.2
    assert 2.8 < np.log2(errors[1] / errors[2]) < 3.2


def test_bracket_on_a_sphere(rng):
    """For G_i = a_i·x on the unit sphere X_i = a_i - (a_i·x)x, and [X_i, X_j] = (a_i·x)a_j - (a_j·x)a_i."""
    A = rng.standard_normal((2, 3))
    G = Parametrization(lambda x: anp.dot(x, A.T), 3, 2, manifold=sphere)
    x = rng.standard_normal((4, 3))
    x /= np.linalg.norm(x, axis=-1, keepdims=True)
    c = x @ A.T
    # D_i X_j = -(a_j·X_i) x - (a_j·x) X_i; the parts along x cancel by symmetry.
    X = A - c[..., None] * x[:, None]
    expected = c[:, 0, None] * X[:, 1] - c[:, 1, None] * X[:, 0]
    np.testing.assert_allclose(lie_bracket(G, x)[:, 0, 1], expected, atol=1e-9)


def test_ambient_bracket_would_mislead_on_the_sphere():
    """w_i = x_i² on the sphere commutes with respect to M although P does not commute with ∇²G."""
    x = np.array([0.6, 0.48, 0.64])
    np.testing.assert_allclose(lie_bracket(Spherical(2), x), 0.0, atol=1e-10)


def test_bracket_is_antisymmetric_and_shaped(rng):
    x = rng.standard_normal((2, 3, 4))
    bracket = lie_bracket(MatrixFactorization(2, 2), x)
    assert bracket.shape == (2, 3, 3, 3, 4)
    np.testing.assert_array_equal(bracket, -np.swapaxes(bracket, -3, -2))
    with pytest.raises(ShapeError):
        lie_bracket(MatrixFactorization(2, 2), np.ones(3))


def test_screw_quotient_has_vertical_brackets():
    G, x = ScrewQuotient(), np.array([0.8, 0.3, 0.2])
    bracket = lie_bracket(G, x)[0, 1]
    assert np.linalg.norm(bracket) > 0.1
    np.testing.assert_allclose(G.jacobian(x) @ bracket, 0.0, atol=1e-12)


@pytest.mark.parametrize("case", COMMUTING, ids=str)
def test_commuting_cases_pass(case):
    check = check_commuting(case.make(), case.start())
    assert check.passed, check
    assert check.defect <= 1e-9
    assert "at 16 points" in check.message


@pytest.mark.parametrize("case", [*PROJECTABLE, *NOT_MIRROR], ids=str)
def test_other_cases_fail(case):
    check = check_commuting(case.make(), case.start())
    assert not check.passed
    assert check.defect > 1e-3
    assert "do not commute" in check.message


def test_defect_has_no_units(rng):
    """Neither the units of x, nor factors on the G_i, nor both change it."""
    A, x = matrices(rng)[:2], rng.standard_normal(4)
    plain = check_commuting(Quadratic(A), x, n_points=1)
    scaled = check_commuting(Quadratic(A * np.array([1e3, 1e-4])[:, None, None]), x, n_points=1)
    np.testing.assert_allclose(scaled.defect, plain.defect, rtol=1e-12)
    small = check_commuting(Quadratic(A), 1e-3 * x, n_points=1)
    np.testing.assert_allclose(small.defect, plain.defect, rtol=0.7)


def test_check_reports_the_worst(rng):
    A = matrices(rng)
    A[1] = A[0] @ A[0]
    check = check_commuting(Quadratic(A), rng.standard_normal(4), n_points=5)
    assert isinstance(check, Check)
    assert check.n_points == 5
    assert check.details["pair"] in {(0, 2), (1, 2)}
    np.testing.assert_allclose(check.details["points"][0].shape, (4,))
    assert any(np.array_equal(check.point, point) for point in check.details["points"])
    assert "FAILED" in repr(check)
    assert "∇G_" in repr(check)
    with pytest.raises(AttributeError):
        check.passed = True


def test_check_is_deterministic(rng):
    G, x = Quadratic(matrices(rng)), rng.standard_normal(4)
    assert check_commuting(G, x, seed=4).defect == check_commuting(G, x, seed=4).defect


def test_check_regular():
    G = Hadamard(2)
    good = check_regular(G, [1.0, 0.5])
    assert good.passed
    np.testing.assert_allclose(good.defect, 0.5, rtol=1e-14)
    A = [np.diag([1.0, 0.0]), np.diag([0.0, 1.0])]
    bad = check_regular(Quadratic(A), [[1.0, 1.0], [1.0, 0.0]])
    assert not bad.passed
    assert bad.defect == 0.0
    assert "singular" in bad.message
    assert "worst of 2 points" in bad.message
    np.testing.assert_array_equal(bad.point, [1.0, 0.0])


def test_more_weights_than_parameters_is_never_regular(rng):
    assert not check_regular(MatrixFactorization(2, 1), rng.standard_normal(2)).passed


def test_bad_arguments():
    with pytest.raises(DomainError):
        check_commuting(Hadamard(2), [1.0, 0.0])
    with pytest.raises(ShapeError):
        check_commuting(Hadamard(2), [[1.0, 2.0]])
    with pytest.raises(DomainError, match="tol"):
        check_commuting(Hadamard(2), [1.0, 2.0], tol=-1.0)
    with pytest.raises(DomainError, match="n_points"):
        check_commuting(Hadamard(2), [1.0, 2.0], n_points=0)
