"""Iterated brackets against closed forms, flows and automatic derivatives; the check of condition (9)."""

from __future__ import annotations

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from geomstats.geometry.hypersphere import Hypersphere
from zoo_counterexamples import third_order, third_order_start
from zoo_parametrizations import COMMUTING, NOT_MIRROR, PROJECTABLE, plain_hopf

from riemflow.commuting import check_commuting, check_regular, lie_bracket
from riemflow.commuting.iterated import iterated_bracket, words_at
from riemflow.commuting.kernel import check_brackets_in_kernel
from riemflow.commuting.lie_algebra import lie_algebra
from riemflow.commuting.lift import natural_scales
from riemflow.commuting.polynomial_fields import taylor_fields
from riemflow.errors import ConvergenceError, DomainError, ShapeError
from riemflow.integration import solve_batched
from riemflow.parametrizations import (
    Hadamard,
    HopfCone,
    MatrixFactorization,
    Parametrization,
    Quadratic,
    ScrewQuotient,
    Submanifold,
)

CASES = [*COMMUTING, *PROJECTABLE, *NOT_MIRROR]


def symmetric(rng, d: int, D: int) -> np.ndarray:
    A = rng.standard_normal((d, D, D))
    return A + np.swapaxes(A, -1, -2)


def by_jacobians(formula, x: np.ndarray, word: tuple[int, ...]) -> np.ndarray:
    """The definition written out at one point, with autograd's own derivatives."""

    def field(letters):
        X = autograd.grad(lambda y: formula(y)[letters[-1]])
        if len(letters) == 1:
            return X
        F = field(letters[:-1])
        return lambda y: anp.dot(autograd.jacobian(X)(y), F(y)) - anp.dot(autograd.jacobian(F)(y), X(y))

    return field(word)(x)


def flow(G, x: np.ndarray, letter: int, time: float) -> np.ndarray:
    def rhs(s, y, rows):
        return time * G._tangential_jacobian(y)[:, letter]

    def back(s, y, rows):
        return y if G.manifold is None else G.manifold.project(y)

    end, reached, _ = solve_batched(rhs, x[None], rtol=1e-13, atol=1e-15, project=back)
    assert reached[0] == 1.0
    return end[0]


def follow(G, x: np.ndarray, steps) -> np.ndarray:
    for letter, time in steps:
        x = flow(G, x, letter, time)
    return x


# iterated_bracket


@pytest.mark.parametrize("word", [(2,), (0, 1), (0, 1, 2), (0, 1, 1, 0), (2, 0, 1, 2, 1), (1, 0, 2, 2, 0, 1)])
def test_quadratics_give_commutators_of_matrices(rng, word):
    """[Mx, A_jx] = (A_j M - M A_j) x."""
    A, x = symmetric(rng, 3, 4), rng.standard_normal((2, 3, 4))
    M = A[word[0]]
    size = np.linalg.norm(A[word[0]])
    for j in word[1:]:
        M = A[j] @ M - M @ A[j]
        size *= 2 * np.linalg.norm(A[j])
    bracket = iterated_bracket(Quadratic(A), x, word)
    assert bracket.shape == x.shape
    np.testing.assert_allclose(bracket, x @ M.T, rtol=0, atol=1e-14 * size)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_order_two_is_the_lie_bracket(case):
    G, x = case.make(), case.points(3)
    assert taylor_fields(G, x, 1) is not None
    tolerance = 1e-12 if G.manifold is None else 1e-9  # of lie_bracket, by differences on submanifolds
    pairs = lie_bracket(G, x)
    for i in range(G.dim):
        np.testing.assert_allclose(iterated_bracket(G, x, (i,)), G.jacobian(x)[:, i], rtol=1e-13, atol=1e-14)
        for j in range(G.dim):
            np.testing.assert_allclose(iterated_bracket(G, x, (i, j)), pairs[:, i, j], atol=tolerance)


@pytest.mark.parametrize("case", [*PROJECTABLE, *NOT_MIRROR], ids=str)
def test_orders_three_and_four_against_automatic_derivatives(case):
    G, x = case.make(), case.start()
    for word in ((1, 0, G.dim - 1), (0, 1, 1, 0)):
        expected = by_jacobians(case.plain, x, word)
        bracket = iterated_bracket(G, x, word)
        scale = max(1.0, np.abs(expected).max())
        np.testing.assert_allclose(bracket, expected, rtol=0, atol=1e-12 * scale)


@pytest.mark.parametrize(
    "f",
    [
        anp.exp, anp.expm1, anp.log, anp.log1p, anp.sqrt, anp.sin, anp.cos, anp.sinh, anp.cosh, anp.tanh,
        anp.arctan, anp.reciprocal, anp.square, lambda t: t**-2.5, lambda t: 2.0**3 / t - t / 3.0,
        lambda t: anp.arctan2(t, 1.0 - t), lambda t: 1.0 - anp.arctan2(-t, t * t - 2.0),
    ],
)  # fmt: skip
def test_elementary_functions(f):
    """Third derivatives of f enter a bracket of order 4."""

    def formula(x):
        t = 0.5 * x[..., 0] * x[..., 1] + 0.1 * x[..., 2]
        return anp.stack([f(t) * x[..., 2], x[..., 0] ** 2 - x[..., 1] * x[..., 2]], axis=-1)

    x = np.array([1.1, 0.9, 0.7])
    # Wrong Taylor polynomials are refused and replaced by other means, so their use is asserted.
    assert taylor_fields(Parametrization(formula, 3, 2), x[None], 3) is not None
    for word in ((0, 1, 0), (0, 1, 1, 0)):
        expected = by_jacobians(formula, x, word)
        assert np.linalg.norm(expected) > 1e-3
        bracket = iterated_bracket(Parametrization(formula, 3, 2), x, word)
        np.testing.assert_allclose(bracket, expected, rtol=1e-11, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("G", "x"),
    [
        (HopfCone(), np.array([1.0, 0.4, -0.3, 0.6])),
        (
            Parametrization(
                lambda x: anp.stack([x[..., 0], x[..., 1] * x[..., 2], x[..., 2]], axis=-1),
                3,
                3,
                manifold=lambda x: x[..., 0] ** 2 + 2.0 * x[..., 1] ** 2 + x[..., 2] ** 4 - 1.0,
            ),
            None,
        ),
    ],
    ids=["HopfCone", "quartic surface"],
)
def test_brackets_are_commutators_of_flows(G, x):
    """Γ = φ_j^{-h} φ_i^{-h} φ_j^h φ_i^h is about the flow of [X_i, X_j] for the time h².

    So φ_k^{-h} Γ⁻¹ φ_k^h Γ moves x by h³[[X_i, X_j], X_k] + O(h⁴): errors fall with slope 4, or 5 where
    symmetry makes the next term vanish.
    """
    if x is None:
        x = G.manifold.project(np.array([0.5, 0.4, 0.6]))
    i, j, k = 0, 1, 2
    expected = iterated_bracket(G, x, (i, j, k))
    errors = []
    for h in (0.02, 0.01, 0.005):
        loop = [(i, h), (j, h), (i, -h), (j, -h)]
        back = [(letter, -time) for letter, time in reversed(loop)]
        end = follow(G, x, [*loop, (k, h), *back, (k, -h)])
        errors.append(np.linalg.norm(end - x - h**3 * expected))
    assert errors[-1] < 0.2 * 0.005**3 * np.linalg.norm(expected)
    slopes = np.log2(np.array(errors[:-1]) / errors[1:])
    assert (slopes > 3.7).all(), slopes


def doubled_sphere(x):
    """The sphere, said twice: a constraint that repeats another."""
    gap = anp.sum(x**2, axis=-1, keepdims=True) - 1.0
    return anp.concatenate([gap, -3.0 * gap], axis=-1)


@pytest.mark.parametrize(
    ("manifold", "tolerance"),
    [(Submanifold.sphere(4), 1e-13), (doubled_sphere, 1e-13), (Hypersphere(3), 1e-8)],
    ids=["sphere", "constraint", "geomstats"],
)
def test_brackets_on_a_sphere(rng, manifold, tolerance):
    """For G_i = a_i·x: [X_i, X_j] = Ωx with Ω = a_j a_iᵀ - a_i a_jᵀ, a rotation.

    A rotation preserves the metric, so [Ωx, ∇(a·x)] = ∇(aᵀΩx) = P Ωᵀa, and so on.
    """
    a = rng.standard_normal((3, 4))
    G = Parametrization(lambda x: anp.dot(x, a.T), 4, 3, manifold=manifold)
    x = rng.standard_normal((5, 4))
    x /= np.linalg.norm(x, axis=-1, keepdims=True)
    Omega = np.outer(a[1], a[0]) - np.outer(a[0], a[1])
    np.testing.assert_allclose(iterated_bracket(G, x, (0, 1)), x @ Omega.T, atol=tolerance)
    b = Omega.T @ a[2]
    expected = b - (x @ b)[:, None] * x
    assert np.linalg.norm(expected) > 0.1
    np.testing.assert_allclose(iterated_bracket(G, x, (0, 1, 2)), expected, atol=10 * tolerance)
    turned = x @ (np.outer(a[0], b) - np.outer(b, a[0])).T
    np.testing.assert_allclose(iterated_bracket(G, x, (0, 1, 2, 0)), turned, atol=300 * tolerance)


def with_branch(x):
    """Not traceable, for its branch; autograd follows it."""
    return plain_hopf(x) * anp.where(x[..., :1] > 0, 1.0, 2.0)


def opaque(x):
    """Neither traceable nor differentiable by autograd."""
    return plain_hopf(np.asarray(x, dtype=np.float64))


def test_other_ways_where_tracing_fails(rng):
    """A branch needs automatic derivatives; a conversion to floats leaves differences, accurate as said."""
    G = HopfCone()
    x = np.array([[1.0, 0.4, -0.3, 0.6], [0.8, -0.5, 0.9, 0.2]])
    automatic = Parametrization(with_branch, 4, 3, domain=G._belongs)
    differences = Parametrization(opaque, 4, 3, jacobian=G._jacobian, hessian=G._hessian, domain=G._belongs)
    norms, lengths = np.linalg.norm(G.jacobian(x), axis=-1), [natural_scales(G, point).x for point in x]
    # Differences at steps of 1e-2 and 5e-3 of a length: each nesting costs rounding a factor of about 200.
    for word, tolerance in (((0, 1), 1e-12), ((0, 1, 2), 1e-10), ((0, 1, 2, 0), 1e-7)):
        expected = iterated_bracket(G, x, word)
        scale = np.abs(expected).max()
        assert scale > 0.5
        np.testing.assert_allclose(iterated_bracket(automatic, x, word), expected, atol=1e-12 * scale)
        gap = np.linalg.norm(iterated_bracket(differences, x, word) - expected, axis=-1)
        size = norms[:, list(word)].prod(axis=-1) / np.array(lengths) ** (len(word) - 1)
        assert (gap <= tolerance * size).all()
        # The error that the check of condition (9) counts with is about the true one.
        _, error = words_at(differences, x, len(word))(word)
        assert (gap <= 10 * error).all()


@pytest.mark.parametrize("D", [4, 40])
def test_few_and_many_variables(rng, D):
    """G_i = exp(a_i·x): X_i = e^{a_i·x} a_i and [X_0, X_1] = e^{(a_0 + a_1)·x} (a_0·a_1)(a_1 - a_0).

    With 40 variables, Taylor polynomials would be dearer than nested automatic derivatives.
    """
    a, x = rng.standard_normal((2, D)) / np.sqrt(D), rng.standard_normal(D)
    G = Parametrization(lambda x: anp.exp(anp.dot(x, a.T)), D, 2)
    c = a[0] @ a[1] * np.exp((a[0] + a[1]) @ x)
    np.testing.assert_allclose(iterated_bracket(G, x, (0, 1)), c * (a[1] - a[0]), rtol=1e-12, atol=1e-14)
    # B = c(x) v with v = a_1 - a_0 and ∇c = c (a_0 + a_1), so with e = e^{a_0·x}
    # [B, X_0] = ∂X_0 B - ∂B X_0 = c e ((a_0·v) a_0 - ((a_0 + a_1)·a_0) v).
    v, e = a[1] - a[0], np.exp(a[0] @ x)
    expected = c * e * ((a[0] @ v) * a[0] - (a[0] + a[1]) @ a[0] * v)
    np.testing.assert_allclose(iterated_bracket(G, x, (0, 1, 0)), expected, rtol=1e-12, atol=1e-14)


def test_the_fields_that_count_are_those_that_G_states(rng):
    """Under another metric of M the fields are not ∂G, and they are what brackets are made of."""
    A, x = symmetric(rng, 2, 3), rng.standard_normal(3)
    G = Quadratic(A)
    other = Parametrization(
        G._fun,
        3,
        2,
        jacobian=G._jacobian,
        hessian=G._hessian,
        inverse_metric=lambda x: np.broadcast_to(2.0 * np.eye(3), (*x.shape[:-1], 3, 3)),
    )
    for word in ((0, 1), (0, 1, 0)):
        expected = 2.0 ** len(word) * iterated_bracket(G, x, word)
        np.testing.assert_allclose(iterated_bracket(other, x, word), expected, rtol=1e-8)


def test_batches(rng):
    x = rng.uniform(0.5, 1.5, (2, 3, 4))
    G = MatrixFactorization(2, 2)
    bracket = iterated_bracket(G, x, [0, 1, 2])
    np.testing.assert_allclose(bracket[1, 2], iterated_bracket(G, x[1, 2], (0, 1, 2)), rtol=1e-14)
    assert iterated_bracket(G, np.zeros((0, 4)), (0, 1)).shape == (0, 4)


def test_bad_words():
    G, x = Hadamard(2), [1.0, 2.0]
    with pytest.raises(ShapeError, match="empty"):
        iterated_bracket(G, x, ())
    with pytest.raises(DomainError, match=r"word\[1\] is 2"):
        iterated_bracket(G, x, (0, 2))
    with pytest.raises(DomainError, match=r"word\[0\]"):
        iterated_bracket(G, x, (-1, 0))
    with pytest.raises(DomainError, match=r"word\[0\]"):
        iterated_bracket(G, x, (0.5,))
    with pytest.raises(DomainError):
        iterated_bracket(G, [0.0, 1.0], (0, 1))
    with pytest.raises(ShapeError):
        iterated_bracket(G, [1.0], (0, 1))


def test_unresolved_differences_raise():
    """A Jacobian with noise of 1e-4: brackets of order 3 cannot be had."""

    def noisy(x):
        x = np.asarray(x, dtype=np.float64)
        J = np.stack([np.stack([x[..., 1], x[..., 0]], -1), np.stack([x[..., 0], x[..., 1]], -1)], -2)
        return J * (1.0 + 1e-4 * np.sin(1e9 * x[..., :1, None]))

    G = Parametrization(
        lambda x: np.stack([x[..., 0] * x[..., 1], (x**2).sum(-1) / 2], -1), 2, 2, jacobian=noisy
    )
    with pytest.raises(ConvergenceError, match="not resolved"):
        iterated_bracket(G, np.array([1.0, 0.7]), (0, 1, 0))


# check_brackets_in_kernel


@pytest.mark.parametrize("case", [*COMMUTING, *PROJECTABLE], ids=str)
def test_mirror_flows_satisfy_the_condition(case):
    check = check_brackets_in_kernel(case.make(), case.start())
    assert check.passed, check
    assert check.defect <= 1e-13
    assert check.tolerance == 1e-8
    assert "not sufficient" in check.message


@pytest.mark.parametrize("case", NOT_MIRROR, ids=str)
def test_other_cases_do_not(case):
    check = check_brackets_in_kernel(case.make(), case.start())
    assert not check.passed
    assert check.defect > 1e-2
    assert "no mirror flow" in check.message


def test_order_two_at_one_point_misleads():
    """UUᵀ at U = I: brackets of order 2 are KU, K skew, and ∂G(U)KU = KUUᵀ + UUᵀKᵀ = 0; order 3 is not."""
    G, x = MatrixFactorization(2, 2), np.eye(2).ravel()
    alone = check_brackets_in_kernel(G, x, order=2, n_points=1)
    assert alone.passed
    assert "at 1 point:" in alone.message
    assert not check_brackets_in_kernel(G, x, order=3, n_points=1).passed
    assert not check_brackets_in_kernel(G, x, order=2).passed


def test_order_two_everywhere_misleads(rng):
    """The counterexample: [[X_1, X_2], X_i] G_j = B H_ij = -2zβ'⁴ or -β'⁴, with B = [X_1, X_2] in ker ∂G."""
    G, x = third_order(), third_order_start(rng)
    assert check_regular(G, np.array([third_order_start(rng) for _ in range(20)])).passed
    assert not check_commuting(G, x).passed
    second = check_brackets_in_kernel(G, x, order=2, n_points=40)
    assert second.passed, second
    assert second.defect < 1e-14
    third = check_brackets_in_kernel(G, x, order=3)
    assert not third.passed
    assert len(third.details["word"]) == 3
    assert third.details["by_order"][2] < 1e-14 < 1e-3 < third.details["by_order"][3]

    r = np.hypot(x[0], x[1])
    slope = 2 * r**-3 / np.sqrt(2 - 2 * r**-2)
    J = G.jacobian(x)
    np.testing.assert_allclose(
        J @ iterated_bracket(G, x, (0, 1, 0)), [-2 * x[2] * slope**4, -(slope**4)], rtol=1e-11
    )
    np.testing.assert_allclose(J @ iterated_bracket(G, x, (0, 1, 1)), [-(slope**4), 0.0], atol=1e-14)


def test_the_counterexample_is_no_mirror_flow():
    """The same ∫∇L in another order ends at another w; with the screw quotient, projectable, at the same."""
    gaps = {}
    for G, x in (
        (third_order(), np.array([1.4, 0.0, 0.5])),
        (ScrewQuotient(), np.array([1.0, 0.1, 0.2])),
    ):
        one, other = (follow(G, x, steps) for steps in ([(0, 0.3), (1, 0.3)], [(1, 0.3), (0, 0.3)]))
        assert np.linalg.norm(one - other) > 1e-3
        gaps[G.name] = np.linalg.norm(G(one) - G(other))
    assert gaps["ThirdOrder"] > 1e-4
    assert gaps["ScrewQuotient"] < 1e-9


@pytest.mark.parametrize("dim", [2, 3])
def test_orbits_of_dimension_d_allow_commuting_fields_only(rng, dim):
    """Cor. 4.12: a regular G with orbits of dimension d that does not commute fails, and at order 2."""
    A = symmetric(rng, dim, dim)
    G, x = Quadratic(A), rng.standard_normal(dim)
    assert lie_algebra(G, x).orbit_dim == G.dim
    assert check_regular(G, x).passed
    assert not check_commuting(G, x).passed
    check = check_brackets_in_kernel(G, x, order=2)
    assert not check.passed
    # The converse: the same orbits with fields that commute.
    powers = np.array([np.linalg.matrix_power(A[0], k) for k in range(1, dim + 1)])
    assert check_brackets_in_kernel(Quadratic(powers), x).passed


def test_corollary_4_12_on_a_sphere(rng):
    """Two linear functions on S²: regular, orbits of dimension 2, brackets rotations."""
    a = rng.standard_normal((2, 3))
    G = Parametrization(lambda x: anp.dot(x, a.T), 3, 2, manifold=Submanifold.sphere(3))
    x = rng.standard_normal(3)
    assert not check_brackets_in_kernel(G, x / np.linalg.norm(x), order=2).passed


def test_defect_has_no_units(rng):
    A, x = symmetric(rng, 2, 4), rng.standard_normal(4)
    plain = check_brackets_in_kernel(Quadratic(A), x, order=3, n_points=1)
    scaled = check_brackets_in_kernel(
        Quadratic(A * np.array([1e3, 1e-4])[:, None, None]), x, order=3, n_points=1
    )
    np.testing.assert_allclose(scaled.defect, plain.defect, rtol=1e-10)
    small = check_brackets_in_kernel(Quadratic(A), 1e-3 * x, order=3, n_points=1)
    assert 1 / 3 < small.defect / plain.defect < 3


def test_differences_raise_the_tolerance_to_what_they_resolve():
    """On a geomstats sphere only differences are left: x_i² commutes there, linear functions do not."""
    x = np.array([0.5, 0.5, 0.5, 0.5])
    squares = Parametrization(lambda x: x[..., :2] ** 2, 4, 2, manifold=Hypersphere(3))
    check = check_brackets_in_kernel(squares, x, n_points=3)
    assert check.passed, check
    assert 1e-8 <= check.tolerance < 1e-5
    linear = Parametrization(lambda x: x[..., :2] + x[..., 1:3], 4, 2, manifold=Hypersphere(3))
    assert not check_brackets_in_kernel(linear, x, n_points=3).passed


def test_many_words_are_sampled_and_it_says_so(rng, monkeypatch):
    monkeypatch.setattr("riemflow.commuting.kernel.MOST_WORDS", 20)
    A = symmetric(rng, 3, 3)
    check = check_brackets_in_kernel(Quadratic(A), rng.standard_normal(3), order=4, n_points=1)
    assert check.details["n_words"] == 3 + 9 + 20  # of 3, 9 and 27
    assert "a random choice" in check.message


def test_brackets_that_are_not_finite_are_no_verdict():
    """x^{3/2} has a gradient at 0, and no Hessian."""
    G = Parametrization(
        lambda x: anp.stack([x[..., 0] ** 1.5 + x[..., 1], x[..., 0] * x[..., 1]], axis=-1), 2, 2,
        domain=lambda x: x[..., 0] >= 0,
        jacobian=lambda x: np.stack(
            [np.stack([1.5 * x[..., 0] ** 0.5, 0 * x[..., 0] + 1], -1), x[..., ::-1]], axis=-2
        ),
    )  # fmt: skip
    with pytest.raises(DomainError, match="not finite"):
        check_brackets_in_kernel(G, [0.0, 1.0], n_points=1)
    assert not check_brackets_in_kernel(G, [1.0, 1.0], n_points=1).passed


def test_one_field_has_no_brackets():
    check = check_brackets_in_kernel(Quadratic([np.eye(2)]), [1.0, 2.0])
    assert check.passed
    assert check.details["n_words"] == 0


def test_bad_arguments():
    with pytest.raises(DomainError, match="order"):
        check_brackets_in_kernel(Hadamard(2), [1.0, 2.0], order=1)
    with pytest.raises(DomainError, match="tol"):
        check_brackets_in_kernel(Hadamard(2), [1.0, 2.0], tol=0.0)
    with pytest.raises(DomainError):
        check_brackets_in_kernel(Hadamard(2), [1.0, 0.0])
    with pytest.raises(ShapeError):
        check_brackets_in_kernel(Hadamard(2), [[1.0, 2.0]])
