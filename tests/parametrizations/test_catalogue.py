"""The catalogue against its formulas, its flows against the potentials derived by hand, its brackets."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from zoo_parametrizations import CASES, COMMUTING, NOT_MIRROR, PROJECTABLE, hopf_start, plain_hopf

from riemflow import autodiff
from riemflow.errors import DomainError, ShapeError
from riemflow.flows.gradient import gradient_flow
from riemflow.losses import Linear
from riemflow.parametrizations import (
    AsymmetricFactorization,
    DeepLinear,
    DiagonalMeasurements,
    Exponential,
    Hadamard,
    HadamardDifference,
    HadamardProduct,
    HopfCone,
    Identity,
    MatrixFactorization,
    Quadratic,
    ScrewQuotient,
    Spherical,
)

MIRROR = [*COMMUTING, *PROJECTABLE]


def everyone(cases):
    return pytest.mark.parametrize("case", cases, ids=str)


def assert_close(actual, wanted, relative=1e-12):
    """Compare to a share of the largest entry of both: entries that cancel carry its rounding error."""
    scale = 1 + max(np.abs(actual).max(initial=0.0), np.abs(wanted).max(initial=0.0))
    assert np.shape(actual) == np.shape(wanted)
    assert np.abs(actual - wanted).max(initial=0.0) <= relative * scale


def flow_along(G, x, mu):
    """Follow Σ μ_i ∇G_i for unit time, with scipy."""
    found = solve_ivp(
        lambda t, y: G._tangential_jacobian(y).T @ mu, (0, 1), x, method="DOP853", rtol=1e-12, atol=1e-13
    )
    assert found.success
    return found.y[:, -1]


def reach(G, x, mu):
    """Follow the words μ_1 e_1, …, μ_d e_d one after the other."""
    for i, m in enumerate(mu):
        x = flow_along(G, x, m * np.eye(len(mu))[i])
    return x


def short_control(case, G, x, seed):
    """A dual point that moves every weight by about a quarter of the distance to where flows may end."""
    rng = np.random.default_rng(seed)
    mu = rng.uniform(0.5, 1, G.dim) * rng.choice([-1.0, 1.0], G.dim)
    return 0.15 * mu / np.linalg.norm(mu) / max(1.0, np.abs(G._jacobian(x)).max() / 2)


def room(case, w):
    """A length over which R changes: about the distance of w to the boundary of dom R."""
    edge = min(w.min(), 1 - w.sum()) if case.name == "Spherical" else np.abs(w).min()
    return min(edge, 0.3)


def differences(fun, w, length):
    """∂fun(w) by central differences of order four: errors h⁴ and eps/h, below 1e-10 of fun."""
    h, columns = 1e-3 * length, []
    for e in h * np.eye(len(w)):
        near, far = fun(w + e) - fun(w - e), fun(w + 2 * e) - fun(w - 2 * e)
        columns.append((8 * near - far) / (12 * h))
    return np.stack(columns, axis=-1)


@everyone(CASES)
def test_derivatives_match_the_formula(case):
    G, x = case.make(), case.points()
    assert_close(G(x), case.plain(x))
    slope = autodiff.jacobian(case.plain)
    assert_close(G._jacobian(x), slope(x))
    assert_close(G.hessian(x), autodiff.jacobian(slope, 2)(x))


@everyone(CASES)
@pytest.mark.parametrize("batch", [(), (1,), (4,), (2, 3), (0,)])
def test_shapes_follow_the_batch(case, batch):
    G, n = case.make(), int(np.prod(batch))
    x = case.points(max(n, 1))[:n].reshape(*batch, G.dim_in)
    assert G(x).shape == (*batch, G.dim)
    assert G.jacobian(x).shape == (*batch, G.dim, G.dim_in)
    assert G.hessian(x).shape == (*batch, G.dim, G.dim_in, G.dim_in)
    assert G.cometric(x).shape == (*batch, G.dim, G.dim)
    assert G.domain.belongs(x).shape == batch
    if n:
        first = np.zeros(len(batch), dtype=int)
        # The same up to the order in which BLAS sums.
        assert_close(G(x)[tuple(first)], G(x[tuple(first)]), 1e-14)


@everyone(CASES)
def test_nothing_is_changed_in_place(case):
    G, x = case.make(), case.start()
    before = x.copy()
    G(x)[...] = np.nan
    G.jacobian(x)[...] = np.nan
    G.hessian(x)[...] = np.nan
    np.testing.assert_array_equal(x, before)
    assert np.isfinite(G(x)).all() and np.isfinite(G.jacobian(x)).all() and np.isfinite(G.hessian(x)).all()


@everyone(MIRROR)
def test_the_potential_is_normalised_at_the_start(case):
    G, x = case.make(), case.start()
    R, w = case.potential(x), G(x)
    assert abs(R.value(w)) <= 1e-13 and np.abs(R.gradient(w)).max() <= 1e-12


@everyone(MIRROR)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_gradient_of_the_potential_is_the_control(case, seed):
    """∇R(G(ψ(x; μ))) = μ, the definition of R by its conjugate's gradient (Lemma 4.7)."""
    G, x = case.make(), case.start(seed)
    mu = short_control(case, G, x, seed)
    R = case.potential(x)
    assert_close(R.gradient(G(reach(G, x, mu))), mu, 1e-10)
    assert_close(R.gradient(G(flow_along(G, x, mu))), mu, 1e-10)


@everyone(MIRROR)
def test_the_hessian_of_the_potential_inverts_the_cometric(case):
    G, x = case.make(), case.start()
    R, y = case.potential(x), reach(G, x, short_control(case, G, x, 3))
    w = G(y)
    hessian = differences(R.gradient, w, room(case, w))
    assert_close(hessian @ G.cometric(y), np.eye(G.dim), 1e-8)


@everyone(MIRROR)
def test_the_gradient_of_the_potential_is_its_gradient(case):
    G, x = case.make(), case.start()
    R, w = case.potential(x), G(reach(G, x, short_control(case, G, x, 4)))
    assert_close(differences(R.value, w, room(case, w)), R.gradient(w), 1e-9)


def brackets(G, x):
    """[∇G_i, ∇G_j](x); on the unit sphere with Riemannian Hessians P ∇²f P - (x·∇f) P."""
    fields, hessian = G.jacobian(x), G.hessian(x)
    if G.manifold is not None:
        P = np.eye(G.dim_in) - np.outer(x, x)
        hessian = P @ hessian @ P - (G._jacobian(x) @ x)[:, None, None] * P
    along = np.einsum("jab,ib->ija", hessian, fields)
    return along - np.swapaxes(along, 0, 1)


@everyone(COMMUTING)
def test_commuting_brackets_vanish(case):
    G = case.make()
    for x in case.points():
        size = np.abs(G.hessian(x)).max() * np.abs(G.jacobian(x)).max()
        assert np.abs(brackets(G, x)).max() <= 1e-13 * (1 + size)


@everyone(PROJECTABLE)
def test_projectable_brackets_are_vertical_and_not_zero(case):
    G = case.make()
    for x in case.points():
        bracket = brackets(G, x)
        assert np.abs(bracket).max() > 0.05
        pushed = np.einsum("ka,ija->ijk", G.jacobian(x), bracket)
        assert np.abs(pushed).max() <= 1e-12 * np.abs(bracket).max() * np.abs(G.jacobian(x)).max()


@everyone(PROJECTABLE)
def test_projectable_flows_reach_another_x_and_the_same_w(case):
    G, x = case.make(), case.start()
    mu = short_control(case, G, x, 5)
    forth = reach(G, x, mu)
    back = x
    for i in reversed(range(G.dim)):
        back = flow_along(G, back, mu[i] * np.eye(G.dim)[i])
    assert np.abs(forth - back).max() > 1e-4
    assert_close(G(forth), G(back), 1e-10)


@everyone(NOT_MIRROR)
def test_the_other_brackets_are_not_zero(case):
    G = case.make()
    for x in case.points():
        assert np.abs(brackets(G, x)).max() > 0.1


def test_matrix_factorization_has_a_vertical_bracket_at_the_identity_only():
    """A pointwise test misleads: at U = I the brackets lie in ker ∂G, nearby they do not."""
    G = MatrixFactorization(2, 2)
    shares = []
    for U in (np.eye(2), np.array([[1.0, 0.2], [0.0, 1.5]])):
        bracket = brackets(G, U.ravel())
        shares.append(np.abs(np.einsum("ka,ija->ijk", G.jacobian(U.ravel()), bracket)).max())
    assert shares[0] <= 1e-14 and shares[1] > 0.1


def test_hopf_cone_keeps_the_norm(rng):
    x = np.array([hopf_start(rng) for _ in range(5)])
    np.testing.assert_allclose(HopfCone()(x).sum(axis=-1), (x**2).sum(axis=-1), rtol=1e-13)
    np.testing.assert_allclose(HopfCone()(x), plain_hopf(x), rtol=1e-12)


def test_matrices_in_their_documented_order(rng):
    U, V = rng.standard_normal((3, 2)), rng.standard_normal((4, 2))
    W = [rng.standard_normal(shape) for shape in [(3, 2), (5, 3), (2, 5)]]
    W_all = W[2] @ W[1] @ W[0]
    np.testing.assert_allclose(MatrixFactorization(3, 2)(U.ravel()), (U @ U.T)[np.triu_indices(3)])
    x = np.concatenate([U.ravel(), V.ravel()])
    np.testing.assert_allclose(AsymmetricFactorization(3, 4, 2)(x), (U @ V.T).ravel())
    x = np.concatenate([M.ravel() for M in W])
    np.testing.assert_allclose(DeepLinear([M.shape for M in W])(x), W_all.ravel())
    np.testing.assert_allclose(DiagonalMeasurements(3, 2)(U.ravel()), np.diag(U @ U.T))


@pytest.mark.parametrize(
    ("G", "outside"),
    [
        (Hadamard(2), [1.0, 0.0]),
        (Hadamard(2, power=3), [0.0, 1.0]),
        (HadamardDifference(1), [0.0, 1.0]),
        (HadamardDifference(1), [1.0, 0.0]),
        (HadamardProduct(2), [0.0, 1.0, 0.0, 1.0]),
        (DiagonalMeasurements(2, 2), [0.0, 0.0, 1.0, 1.0]),
        (Spherical(2), [1.0, 0.0, 0.0]),
        (Spherical(2), [0.6, 0.6, 0.6]),
        (ScrewQuotient(), [-1.0, 0.0, 0.5]),
        (ScrewQuotient(), [0.0, 0.0, 0.5]),
        (HopfCone(), [1.0, 0.0, 0.0, 0.5]),
        (HopfCone(), [0.0, 0.0, 0.0, 0.0]),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_points_outside_the_domain_are_refused(G, outside):
    assert not G.domain.belongs(outside)
    for method in (G, G.jacobian, G.hessian, G.cometric):
        with pytest.raises(DomainError, match="domain"):
            method(outside)


def test_domains_are_as_large_as_regularity_allows():
    assert Hadamard(2, power=1).domain.belongs([0.0, 1.0])
    assert HadamardProduct(1).domain.belongs([0.0, 1.0])
    assert DiagonalMeasurements(2, 2).domain.belongs([0.0, 1.0, 1.0, 0.0])
    assert ScrewQuotient().domain.belongs([1.0, 0.0, 0.5])


def test_a_flow_cannot_pass_the_slit_of_the_screw_quotient():
    """The map for one flow gives NaN across the cut, and goes on after a step has been taken back."""
    evaluate = ScrewQuotient()._evaluator()
    for x, passes in [
        ([-1.0, 0.5, 0.0], True),
        ([-1.0, 0.1, 0.0], True),
        ([-1.0, -0.1, 0.0], False),
        ([-1.0, 0.0, 0.0], False),
        ([np.nan, np.nan, np.nan], False),
        ([-0.9, -0.1, 0.0], False),
        ([-1.0, 0.05, 0.0], True),
        ([1.0, 0.05, 0.0], True),
        ([1.0, -0.5, 0.0], True),
        ([-1.0, -0.5, 0.0], True),
    ]:
        w, jacobian = evaluate(np.array(x))
        assert np.isfinite(w).all() == passes and np.isfinite(jacobian).all() == passes


def test_gradient_flow_stops_at_the_slit():
    loss = Linear(np.array([-1.0, 0.0]))  # turns the angle towards π at unit speed over r²
    flow = gradient_flow(ScrewQuotient(), loss, np.array([-1.0, 1.0, 0.0]), 5.0, throw=False)
    # r stays √2, so that the angle 3π/4 reaches π at t = π/2.
    assert flow.status == "failed" and abs(flow.t[-1] - np.pi / 2) <= 1e-6
    assert flow.x[-1][1] > 0


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Identity(0), DomainError, "at least 1"),
        (lambda: Hadamard(2.0), DomainError, "whole number"),
        (lambda: Hadamard(2, power=0), DomainError, "power"),
        (lambda: HadamardDifference(2, power=1.5), DomainError, "power"),
        (lambda: HadamardProduct(True), DomainError, "whole number"),
        (lambda: Exponential(-1), DomainError, "at least 1"),
        (lambda: Spherical(0), DomainError, "at least 1"),
        (lambda: MatrixFactorization(2, 0), DomainError, "rank"),
        (lambda: AsymmetricFactorization(2, 0, 1), DomainError, "m is 0"),
        (lambda: DiagonalMeasurements(0, 1), DomainError, "n is 0"),
        (lambda: Quadratic(np.eye(3)), ShapeError, "stack"),
        (lambda: Quadratic(np.ones((2, 3, 4))), ShapeError, "stack"),
        (lambda: Quadratic(np.zeros((0, 2, 2))), ShapeError, "stack"),
        (lambda: Quadratic([np.eye(2), [[1.0, 1.0], [0.0, 1.0]]]), DomainError, r"matrices\[1\] is not symm"),
        (lambda: Quadratic(np.full((1, 2, 2), np.nan)), DomainError, "finite"),
        (lambda: DeepLinear([]), ShapeError, "non-empty"),
        (lambda: DeepLinear(3), ShapeError, "list of pairs"),
        (lambda: DeepLinear([(2, 3), (2, 3)]), ShapeError, "do not chain"),
        (lambda: DeepLinear([(2, 3, 4)]), ShapeError, "pairs"),
        (lambda: DeepLinear([(2, 0)]), DomainError, r"shapes\[0\]\[1\]"),
    ],
)
def test_bad_arguments_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_symmetry_is_relative_to_the_largest_entry():
    A = 1e6 * np.array([[1.0, 2.0], [2.0, 3.0]])
    A[0, 1] += 1e-8
    G = Quadratic([A])
    np.testing.assert_array_equal(G.matrices, np.swapaxes(G.matrices, -1, -2))
