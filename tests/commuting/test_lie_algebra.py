"""Exact polynomials of G, and the Lie algebra of its fields, against conserved functions and ranks."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise, product

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from zoo_counterexamples import third_order
from zoo_parametrizations import CASES, COMMUTING

from riemflow.commuting.iterated import iterated_bracket, words_at
from riemflow.commuting.lie_algebra import LieAlgebra, lie_algebra
from riemflow.commuting.polynomial_fields import as_polynomials
from riemflow.errors import DomainError, NoClosedFormError, ShapeError
from riemflow.parametrizations import (
    AsymmetricFactorization,
    DeepLinear,
    DiagonalMeasurements,
    Exponential,
    Hadamard,
    HadamardDifference,
    HadamardProduct,
    HopfCone,
    MatrixFactorization,
    Parametrization,
    Quadratic,
    ScrewQuotient,
    Spherical,
)

SMALL = list(product((1, 2, 3), repeat=3))
CHAINS = list(product((1, 2), repeat=4))


def rank_of(rows: np.ndarray) -> int:
    """With a gap of at least six orders between what counts and what does not."""
    values = np.linalg.svd(np.atleast_2d(rows), compute_uv=False)
    values = values / max(values[0], 1e-300)
    assert not ((values > 1e-12) & (values < 1e-6)).any(), values
    return int((values > 1e-6).sum())


def conserved_rank(conserved, x: np.ndarray) -> int:
    """The number of independent functions among those given, by their gradients at x."""
    return rank_of(autograd.jacobian(conserved)(x))


def imbalances(shapes):
    """W_{k+1}ᵀ W_{k+1} - W_k W_kᵀ for all k, as a function of (W_1.ravel(), …, W_L.ravel())."""

    def conserved(x):
        weights, start = [], 0
        for a, b in shapes:
            weights.append(anp.reshape(x[start : start + a * b], (a, b)))
            start += a * b
        gaps = [anp.dot(V.T, V) - anp.dot(U, U.T) for U, V in pairwise(weights)]
        return anp.concatenate([anp.ravel(gap) for gap in gaps])

    return conserved


def bracket_rank(G, x: np.ndarray, order: int) -> int:
    """The rank at x of all left-normed brackets up to an order, in floats."""
    words = [word for k in range(1, order + 1) for word in product(range(G.dim), repeat=k)]
    words = [word for word in words if len(word) == 1 or word[0] < word[1]]
    brackets = words_at(G, x[None], order)
    rows = np.array([brackets(word)[0][0] for word in words])
    size = np.linalg.norm(rows, axis=-1, keepdims=True)
    return rank_of(rows / np.where(size > 1e-9, size, np.inf))


def scalar_chain(shapes):
    """Maps R → R² → R² → R, the one three-layer case in which the layers do not add up."""
    return shapes == [(2, 1), (2, 2), (1, 2)]


# Polynomials.


def test_coefficients_are_exact():
    def fun(x):
        a, b = x[..., 0], x[..., 1]
        return anp.stack([0.1 * a**2 * b + 3.0, (a - b) ** 3 / 4.0 - a, 0.0 * a + b], axis=-1)

    first, second, third = as_polynomials(Parametrization(fun, 2, 3))
    assert first.terms == {(0, 0, 1): Fraction(0.1), (): Fraction(3)}
    assert Fraction(0.1) != Fraction(1, 10)
    quarter = Fraction(1, 4)
    assert second.terms == {
        (0, 0, 0): quarter, (0, 0, 1): -3 * quarter, (0, 1, 1): 3 * quarter, (1, 1, 1): -quarter,
        (0,): Fraction(-1),
    }  # fmt: skip
    assert third.terms == {(1,): Fraction(1)}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_polynomials_of_the_catalogue(case):
    """Polynomials are found where they exist, with the values of G; the others are told."""
    G, x = case.make(), case.points(3)
    polynomials = as_polynomials(G)
    if case.name in {"Exponential", "Spherical", "ScrewQuotient", "HopfCone"}:
        assert polynomials is None
        return
    for i, polynomial in enumerate(polynomials):
        values = [sum(float(c) * np.prod([p[k] for k in m]) for m, c in polynomial.terms.items()) for p in x]
        np.testing.assert_allclose(values, G(x)[:, i], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    "fun",
    [
        lambda x: anp.exp(x), lambda x: x / (1.0 + x**2), lambda x: x**0.5, lambda x: x**-1,
        lambda x: anp.where(x > 0, x, 2.0 * x), lambda x: anp.maximum(x, x**2), lambda x: anp.abs(x),
        lambda x: anp.sqrt(x**2), lambda x: 1.0 / x, lambda x: 2.0**x,
    ],
)  # fmt: skip
def test_what_is_no_polynomial(fun):
    assert as_polynomials(Parametrization(fun, 2, 2)) is None


def test_polynomials_that_are_not_those_of_the_stated_fields_are_refused():
    """In another metric the gradients are not the partial derivatives, and the closure would be another's."""
    G = Hadamard(2)
    other = Parametrization(G._fun, 2, 2, jacobian=lambda x: G._jacobian(x) * (1.0 + x[..., :1, None] ** 2))
    assert as_polynomials(G) is not None
    assert as_polynomials(other) is None


def test_a_far_domain_needs_a_point():
    """Nothing is believed that was compared nowhere."""
    G = Parametrization(lambda x: x**2, 2, 2, domain=lambda x: (x > 50.0).all(axis=-1))
    assert as_polynomials(G) is None
    assert as_polynomials(G, [60.0, 60.0]) is not None
    assert lie_algebra(G, [60.0, 70.0]).dim == 2


# Counts.


@pytest.mark.parametrize(("n", "m", "r"), SMALL)
def test_products_of_two_matrices(n, m, r):
    """UᵀU - VᵀV is all that is conserved: r(r+1)/2 functions for r ≤ N = n + m, else Nr - N(N-1)/2."""
    N = n + m
    L = lie_algebra(AsymmetricFactorization(n, m, r))
    assert L.n_conserved == (r * (r + 1) // 2 if r <= N else N * r - N * (N - 1) // 2)
    assert L.dim + L.n_conserved == N * r
    x = np.random.default_rng(r).standard_normal(N * r)

    def conserved(x):
        U, V = anp.reshape(x[: n * r], (n, r)), anp.reshape(x[n * r :], (m, r))
        return anp.ravel(anp.dot(U.T, U) - anp.dot(V.T, V))

    assert L.n_conserved == conserved_rank(conserved, x)
    assert lie_algebra(AsymmetricFactorization(n, m, r), x).orbit_dim == L.dim


@pytest.mark.parametrize(("n", "r"), list(product((1, 2, 3), repeat=2)))
def test_symmetric_products(n, r):
    """For UUᵀ the fields are (E_ij + E_ji) U.

    Symmetric matrices generate gl(n), skew ones being their commutators, so orbits are those of U under GL(n)
    from the left. {BU : all B} has dimension n · rank U = n min(n, r); and nr - n min(n, r) = n max(r - n, 0)
    functions are conserved. (UᵀU' is symmetric along all fields; but that is no function's derivative.)
    """
    L = lie_algebra(MatrixFactorization(n, r))
    assert L.dim == n * min(n, r)
    assert L.n_conserved == n * max(r - n, 0)
    U = np.random.default_rng(0).standard_normal((n, r))
    E = np.eye(n * n).reshape(n * n, n, n)
    assert L.dim == rank_of((E @ U).reshape(n * n, -1))


@pytest.mark.parametrize("widths", CHAINS, ids=str)
def test_three_layers_add_up_but_for_the_scalar_chain(widths):
    shapes = [(b, a) for a, b in pairwise(widths)]
    G = DeepLinear(shapes)
    L = lie_algebra(G)
    pairs = [lie_algebra(DeepLinear(shapes[k : k + 2])).n_conserved for k in range(2)]
    x = np.random.default_rng(3).standard_normal(G.dim_in)
    known = conserved_rank(imbalances(shapes), x)
    if scalar_chain(shapes):
        # W_3 W_2 W_1 is one function: its field alone has D - 1 = 7 invariants, and imbalances give 6.
        assert (sum(pairs), known, L.n_conserved) == (6, 6, 7)
    else:
        assert L.n_conserved == known == sum(pairs)


def test_three_by_three_by_three():
    shapes = [(3, 3)] * 3
    L = lie_algebra(DeepLinear(shapes))
    assert L.n_conserved == 12
    assert L.n_conserved == conserved_rank(imbalances(shapes), np.random.default_rng(0).standard_normal(27))
    assert L.dim == len(L.words) == 15
    assert L.order == max(map(len, L.words))


@pytest.mark.parametrize(
    ("G", "dim", "conserved"),
    [
        (Hadamard(4), 4, 0),
        (Hadamard(3, power=5), 3, 0),
        (HadamardDifference(3), 3, 3),
        (HadamardDifference(2, power=3), 2, 2),
        (HadamardProduct(3), 3, 3),
        (DiagonalMeasurements(3, 2), 3, 3),
        (DiagonalMeasurements(2, 4), 2, 6),
    ],
    ids=str,
)
def test_commuting_fields_add_no_brackets(G, dim, conserved):
    """Commuting and regular: the orbit has dimension d."""
    L = lie_algebra(G)
    assert (L.dim, L.n_conserved, L.order) == (dim, conserved, 1)
    assert L.words == tuple((j,) for j in range(G.dim))


def test_commuting_quadratics():
    """Powers of an integer matrix commute exactly; a change of one entry makes an algebra of full rank."""
    rng = np.random.default_rng(5)
    S = rng.integers(-3, 4, (5, 5))
    S = S + S.T
    A = np.array([S, S @ S], dtype=float)
    assert (lie_algebra(Quadratic(A)).dim, lie_algebra(Quadratic(A)).order) == (2, 1)
    A[1, 0, 0] += 1
    assert lie_algebra(Quadratic(A)).dim == 5


@pytest.mark.parametrize(
    "G",
    [
        AsymmetricFactorization(2, 2, 2),
        AsymmetricFactorization(1, 2, 2),
        MatrixFactorization(2, 3),
        DeepLinear([(2, 2), (1, 2), (2, 1)]),
        DeepLinear([(1, 2), (2, 1), (2, 2)]),
        Parametrization(
            lambda x: anp.stack([x[..., 0], x[..., 1] + x[..., 0] ** 2 * x[..., 2]], axis=-1), 4, 2
        ),
    ],
    ids=str,
)
def test_ranks_of_all_brackets_in_floats(G):
    """All brackets of up to two orders more have the same rank, at a point that is generic."""
    L = lie_algebra(G)
    x = np.random.default_rng(1).standard_normal(G.dim_in)
    order = min(L.order + 2, 4)
    assert bracket_rank(G, x, order) == L.dim
    kept = np.array([iterated_bracket(G, x, word) for word in L.words])
    assert rank_of(kept / np.linalg.norm(kept, axis=-1, keepdims=True)) == L.dim
    if L.order > 1:
        assert bracket_rank(G, x, L.order - 1) < L.dim


def test_ranks_of_random_polynomials():
    """Sums of a few random monomials, which generate small and large algebras."""
    rng, dims = np.random.default_rng(8), set()
    for _ in range(25):
        D, d = int(rng.integers(2, 5)), int(rng.integers(2, 4))
        coefficients = rng.choice([-2.0, -1.0, 1.0, 3.0], (d, 2))
        powers = rng.multinomial(3, np.full(D, 1 / D), (d, 2))

        def fun(x, coefficients=coefficients, powers=powers):
            terms = [anp.prod(x ** powers[i, k], axis=-1) for i in range(len(powers)) for k in range(2)]
            terms = anp.reshape(anp.stack(terms, axis=-1), (*x.shape[:-1], *coefficients.shape))
            return anp.sum(coefficients * terms, axis=-1)

        G = Parametrization(fun, D, d)
        L = lie_algebra(G)
        dims.add((L.n_conserved, L.order))
        assert bracket_rank(G, rng.uniform(0.5, 1.5, D), 4) == L.dim
    assert len(dims) > 4


def test_a_weight_that_vanishes_identically():
    """Its field is zero, and the rounding errors of terms that cancel do not make G another function."""

    def fun(x):
        a, b = x[..., 0], x[..., 1]
        return anp.stack([(a + b) ** 3 - (a + b) * (a * a + 2.0 * a * b + b * b), a], axis=-1)

    G = Parametrization(fun, 2, 2)
    assert 0.0 < np.abs(G.jacobian(np.random.default_rng(0).standard_normal((16, 2)))[:, 0]).max() < 1e-13
    assert lie_algebra(G).words == ((1,),)


def test_a_known_nilpotent_algebra():
    """G = (x_0, x_0² x_1 / 2): X_0 = ∂_0 and X_1 = x_0x_1 ∂_0 + x_0²/2 ∂_1; only in x_0 x_1 do they move."""
    G = Parametrization(lambda x: anp.stack([x[..., 0], 0.5 * x[..., 0] ** 2 * x[..., 1]], axis=-1), 3, 2)
    L = lie_algebra(G)
    assert (L.dim, L.n_conserved) == (2, 1)
    # At x_0 = 0, X_1 vanishes and [X_0, X_1] = x_1 ∂_0 + x_0 ∂_1 is along X_0: order 3 is needed.
    at = lie_algebra(G, [0.0, 1.0, 0.0])
    assert at.orbit_dim == 2
    assert bracket_rank(G, np.array([0.0, 1.0, 0.0]), 2) == 1
    assert bracket_rank(G, np.array([0.0, 1.0, 0.0]), 3) == 2


def test_conservation_is_lost_with_another_weight(rng):
    """Negative control: a weight U_11² beside UVᵀ spoils UᵀU - VᵀV but for the entry (2, 2)."""
    plain = AsymmetricFactorization(2, 2, 2)

    def fun(x):
        U, V = anp.reshape(x[..., :4], (-1, 2, 2)), anp.reshape(x[..., 4:], (-1, 2, 2))
        W = anp.einsum("nik,njk->nij", U, V)
        return anp.concatenate([anp.reshape(W, (*x.shape[:-1], 4)), x[..., :1] ** 2], axis=-1)

    assert lie_algebra(plain).n_conserved == 3
    assert lie_algebra(Parametrization(fun, 8, 5)).n_conserved == 1


# Orbits at a point.


def matrix_algebra(A: np.ndarray) -> np.ndarray:
    """A basis of the Lie algebra generated by matrices, by brute force in floats."""
    basis = [a / np.linalg.norm(a) for a in A]
    k = 0
    while k < len(basis):
        for a in A:
            new = a @ basis[k] - basis[k] @ a
            if np.linalg.norm(new) > 1e-9:
                trial = [*basis, new / np.linalg.norm(new)]
                if rank_of(np.array([b.ravel() for b in trial])) == len(trial):
                    basis = trial
        k += 1
    return np.array(basis)


@pytest.mark.parametrize(
    ("G", "x", "dim"),
    [
        (AsymmetricFactorization(2, 2, 2), [1, 0, 0, 1, 1, 0, 0, 1], 5),  # balanced
        (AsymmetricFactorization(2, 2, 2), [1, 0, 0, 0, 1, 0, 0, 0], 3),  # of rank one
        (AsymmetricFactorization(2, 2, 2), [0] * 8, 0),
        (AsymmetricFactorization(2, 2, 2), [1, 0, 2, 0, 0, 0, 0, 0], 3),
        (MatrixFactorization(3, 2), [1, 2, 1, 2, 0, 0], 3),  # n · rank U
        (MatrixFactorization(3, 2), [1, 2, 3, 4, 5, 6], 6),
        (MatrixFactorization(2, 3), [1, 0, 0, 0, 0, 0], 2),
    ],
    ids=str,
)
def test_orbits_at_special_points(G, x, dim):
    x = np.array(x, dtype=float)
    L = lie_algebra(G, x)
    assert L.orbit_dim == dim
    assert L.orbit_bounds == (dim, dim)
    if x.any():
        A = G.hessian(x)
        assert rank_of(matrix_algebra(A) @ x) == dim


def test_affine_fields(rng):
    """G of degree two with a linear part: the orbit of 0 is not a point."""
    A = np.array([[[2.0, 1.0], [1.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]]])
    fun = lambda x: 0.5 * anp.einsum("...a,iab,...b->...i", x, A, x) + x[..., :1]  # noqa: E731
    G = Parametrization(fun, 2, 2)
    assert lie_algebra(G, np.zeros(2)).orbit_dim == 2
    assert lie_algebra(Quadratic(A), np.zeros(2)).orbit_dim == 0


def test_orbits_of_higher_degree_are_bounded_and_say_when_undecided():
    G = DeepLinear([(2, 2)] * 3)
    assert lie_algebra(G, np.ones(12) + np.arange(12)).orbit_dim == lie_algebra(G).dim == 6
    # An equilibrium of all fields: two of the three factors vanish.
    still = np.concatenate([np.zeros(4), np.eye(2).ravel(), np.zeros(4)])
    assert lie_algebra(G, still).orbit_dim == 0
    # All factors diag(1, 0): row 1 of W_1, column 1 of W_3 and one entry of W_2 move, less 2 conserved: 3.
    L = lie_algebra(G, np.array([1.0, 0, 0, 0] * 3))
    assert L.orbit_dim is None
    assert L.orbit_bounds == (3, 6)
    assert "undecided" in repr(L)


# The result, and what is refused.


def test_result_is_the_same_for_every_seed():
    G = DeepLinear([(2, 2), (2, 2)])
    first = lie_algebra(G)
    for seed in (1, 2, 3):
        other = lie_algebra(G, seed=seed)
        assert (other.dim, other.order, other.words) == (first.dim, first.order, first.words)
    assert isinstance(first, LieAlgebra)
    assert first.exact
    assert first.orbit_dim is None
    assert "n_conserved=3" in repr(first)
    with pytest.raises(AttributeError):
        first.dim = 1


def test_rounded_coefficients_are_told():
    """Matrices with a common eigenbasis commute but for rounding: the algebra of the floats is larger."""
    wide = next(case for case in COMMUTING if case.name == "Quadratic-wide").make()
    L = lie_algebra(wide)
    assert L.dim > 2
    assert L.smallest < 1e-12
    assert "rounded" in repr(L)
    for G in (AsymmetricFactorization(3, 3, 3), DeepLinear([(3, 3)] * 3), MatrixFactorization(3, 3)):
        assert lie_algebra(G).smallest > 1e-6


@pytest.mark.parametrize(
    "G", [Exponential(2), HopfCone(), ScrewQuotient(), Spherical(2), third_order()], ids=str
)
def test_other_parametrizations_are_refused_with_a_remedy(G):
    with pytest.raises(NoClosedFormError, match="iterated_bracket"):
        lie_algebra(G)


def test_bad_arguments():
    with pytest.raises(DomainError):
        lie_algebra(Hadamard(2), [0.0, 1.0])
    with pytest.raises(ShapeError):
        lie_algebra(Hadamard(2), [[1.0, 1.0]])
    with pytest.raises(DomainError, match="seed"):
        lie_algebra(Hadamard(2), seed=-1)


def test_a_metric_of_its_own_is_named():
    K = np.array([[1.0, 0.0], [0.0, 4.0]])
    G = Parametrization(lambda x: x**2, 2, 2, inverse_metric=lambda x: np.broadcast_to(K, (*x.shape, 2)))
    with pytest.raises(NoClosedFormError, match="metric of its own"):
        lie_algebra(G)
