"""minimize_bregman against closed forms, SciPy's constrained minimiser, and its own conditions."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.optimize import minimize

from riemflow import legendre
from riemflow.errors import ConvergenceError, DomainError, ShapeError
from riemflow.flows import minimize_bregman

RNG = np.random.default_rng(3)
Z = RNG.standard_normal((2, 5))
TRUE = np.array([0.1, 0.25, 0.05, 0.2, 0.15])
Y = Z @ TRUE
START = np.array([0.2, 0.1, 0.15, 0.12, 0.3])
MIX = RNG.standard_normal((5, 5)) + 3 * np.eye(5)
FUNCTIONS = [
    legendre.SquaredNorm(5),
    legendre.Quadratic(MIX @ MIX.T),
    legendre.NegativeEntropy(5),
    legendre.SimplexEntropy(5),
    legendre.BurgEntropy(5),
    legendre.FermiDirac(5),
    legendre.HyperbolicEntropy(np.full(5, 0.2), np.full(5, 0.1)),
    legendre.TsallisEntropy(5, 0.5),
    legendre.NegativeEntropy(5) + 0.3 * legendre.SquaredNorm(5),
    legendre.product(legendre.NegativeEntropy(2), legendre.SquaredNorm(3)),
]


@pytest.mark.parametrize("R", FUNCTIONS, ids=[R.name for R in FUNCTIONS])
def test_it_is_the_constrained_minimum(R):
    """Feasible, stationary for the Lagrangian, and no better along any feasible direction."""
    result = minimize_bregman(R, START, Z, Y)
    assert result.status == "converged"
    np.testing.assert_allclose(Z @ result.w, Y, atol=1e-13)
    np.testing.assert_allclose(
        R.gradient(result.w), R.gradient(START) + Z.T @ result.multipliers, rtol=1e-11, atol=1e-11
    )
    assert result.residual < 1e-13 and result.kkt_residual < 1e-11
    kernel = np.linalg.svd(Z)[2][2:]
    least = R.bregman_divergence(result.w, START)
    for direction in RNG.standard_normal((20, 3)) @ kernel:
        for size in (1e-3, -1e-3, 1e-2):
            assert R.bregman_divergence(result.w + size * direction, START) > least


@pytest.mark.parametrize("R", [FUNCTIONS[2], FUNCTIONS[5]], ids=["entropy", "Fermi-Dirac"])
def test_scipy_finds_the_same_minimum(R):
    found = minimize(
        lambda w: float(R.bregman_divergence(w, START)),
        TRUE,
        jac=lambda w: R.gradient(w) - R.gradient(START),
        constraints={"type": "eq", "fun": lambda w: Z @ w - Y, "jac": lambda w: Z},
        bounds=[(1e-6, 0.9)] * 5,
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 500},
    )
    assert found.success
    np.testing.assert_allclose(minimize_bregman(R, START, Z, Y).w, found.x, atol=1e-6)


def test_squared_norm_is_the_orthogonal_projection():
    result = minimize_bregman(FUNCTIONS[0], START, Z, Y)
    np.testing.assert_allclose(result.w, START + np.linalg.pinv(Z) @ (Y - Z @ START), atol=1e-14)
    assert result.n_iterations <= 2


def test_quadratic_solves_its_linear_system():
    A = MIX @ MIX.T
    system = np.block([[A, -Z.T], [Z, np.zeros((2, 2))]])
    exact = np.linalg.solve(system, np.concatenate([A @ START, Y]))
    result = minimize_bregman(FUNCTIONS[1], START, Z, Y)
    np.testing.assert_allclose(result.w, exact[:5], atol=1e-12)
    np.testing.assert_allclose(result.multipliers, exact[5:], atol=1e-11)


def test_entropy_with_a_total_rescales():
    """argmin KL(w, w_0) subject to Σw = s is w_0 s/Σw_0, with multiplier ln(s/Σw_0)."""
    result = minimize_bregman(legendre.NegativeEntropy(5), START, np.ones((1, 5)), [2.0])
    np.testing.assert_allclose(result.w, 2.0 * START / START.sum(), rtol=1e-13)
    np.testing.assert_allclose(result.multipliers, [np.log(2.0 / START.sum())], rtol=1e-12)


def test_small_initialisation_of_hyperbolic_entropy_approaches_basis_pursuit():
    """As u_0 = v_0 = α falls, the minimum tends to the least ℓ₁ norm (a linear programme)."""
    from scipy.optimize import linprog

    data = RNG.standard_normal((12, 40))
    sparse = np.zeros(40)
    sparse[[3, 17, 30]] = 1.0, -2.0, 0.5
    program = linprog(np.ones(80), A_eq=np.hstack([data, -data]), b_eq=data @ sparse)
    gaps = []
    for alpha in (1e-2, 1e-4, 1e-8):
        R = legendre.HyperbolicEntropy(np.full(40, alpha), np.full(40, alpha))
        result = minimize_bregman(R, np.zeros(40), data, data @ sparse)
        assert result.residual < 1e-10
        gaps.append(np.abs(result.w).sum() - program.fun)
    assert gaps[0] > gaps[1] > gaps[2] > -1e-9
    assert gaps[2] < 0.05 * gaps[0]  # like 1/ln(1/α)


def test_repeated_rows_and_scales_of_data_do_not_matter():
    R = legendre.NegativeEntropy(5)
    plain = minimize_bregman(R, START, Z, Y)
    many = np.vstack([1e4 * Z, Z[0] + Z[1], 1e-3 * Z[1]])
    scaled = minimize_bregman(R, START, many, many @ TRUE)
    np.testing.assert_allclose(scaled.w, plain.w, atol=1e-12)


def test_start_that_fits_is_its_own_minimum():
    result = minimize_bregman(legendre.NegativeEntropy(5), START, Z, Z @ START)
    np.testing.assert_allclose(result.w, START, atol=1e-14)
    empty = minimize_bregman(legendre.NegativeEntropy(5), START, np.zeros((2, 5)), np.zeros(2))
    np.testing.assert_array_equal(empty.w, START)


@pytest.mark.parametrize(
    ("R", "data", "target", "words"),
    [
        (legendre.NegativeEntropy(5), np.ones((1, 5)), [-1.0], "No interpolating point of dom"),
        (legendre.SimplexEntropy(5), np.ones((1, 5)), [1.5], "No interpolating point of dom"),
        (legendre.BurgEntropy(5), np.ones((1, 5)), [-1.0], "No interpolating point of dom"),
        (legendre.SquaredNorm(5), np.vstack([Z, Z[0]]), [0.0, 0.0, 1.0], "no solution at all"),
        (legendre.SquaredNorm(5), np.zeros((1, 5)), [1.0], "no solution at all"),
    ],
    ids=["negative sum", "sum too large", "Burg", "contradiction", "nothing measured"],
)
def test_what_cannot_be_fitted_raises(R, data, target, words):
    with pytest.raises(ConvergenceError, match=words):
        minimize_bregman(R, START, data, target)


def test_failure_carries_what_was_reached():
    with pytest.raises(ConvergenceError) as caught:
        minimize_bregman(legendre.SimplexEntropy(5), START, np.ones((1, 5)), [1.5])
    partial = caught.value.partial
    assert partial.status == "failed" and partial.residual > 0.01
    assert "failed" in repr(partial)


def test_burg_by_hand():
    """w = 1/(1 ∓ λ) with w_1 - w_2 = Y gives 2λ/(1 - λ²) = Y: λ = (√(1 + Y²) - 1)/Y."""
    for target in (3.0, 2.0, 10.0, -3.0, 1e3):
        result = minimize_bregman(legendre.BurgEntropy(2), [1.0, 1.0], [[1.0, -1.0]], [target])
        multiplier = (np.hypot(1.0, target) - 1.0) / target
        np.testing.assert_allclose(result.multipliers, [multiplier], rtol=1e-11)
        np.testing.assert_allclose(result.w, [1.0 / (1.0 - multiplier), 1.0 / (1.0 + multiplier)], rtol=1e-9)


def test_burg_limits_far_from_the_start(rng):
    """Duals next to the edge of dom R*; SciPy minimises over the null space of Z, without any dual."""
    R, start = legendre.BurgEntropy(5), np.ones(5)
    for k in range(60):
        data, feasible = rng.standard_normal((2, 5)), np.exp(3.0 * rng.standard_normal(5))
        result = minimize_bregman(R, start, data, data @ feasible)
        assert result.n_iterations <= 20 and result.residual < 1e-12 and result.kkt_residual < 1e-12
        np.testing.assert_allclose(1.0 - data.T @ result.multipliers, 1.0 / result.w, rtol=1e-9)
        if k < 5:
            kernel = np.linalg.svd(data)[2][2:]

            def divergence(v, base=feasible, kernel=kernel):
                w = base + v @ kernel
                return (w - np.log(w)).sum() if (w > 0).all() else np.inf

            options = {"xatol": 1e-9, "fatol": 1e-13, "maxiter": 20000, "maxfev": 20000, "adaptive": True}
            with np.errstate(all="ignore"):
                found = minimize(divergence, np.zeros(3), method="Nelder-Mead", options=options)
            least = (result.w - np.log(result.w)).sum()
            assert least <= found.fun + 1e-10 * abs(found.fun)
            assert abs(least - found.fun) <= 1e-6 * abs(found.fun)


@pytest.mark.parametrize("exponent", range(1, 13))
def test_hyperbolic_entropy_of_any_width(exponent):
    """The Newton step from λ = 0 is 1/α² too long; the curvatures spread over twenty orders."""
    rng = np.random.default_rng(0)
    alpha = 10.0**-exponent
    for data, sparse in (
        (np.array([[1.0, 2.0, -1.0]]), np.array([0.0, 0.5, 0.0])),
        (rng.standard_normal((12, 40)), np.where(np.arange(40) < 3, 2.0, 0.0)),
        (rng.standard_normal((40, 100)), np.where(np.arange(100) < 5, -1.5, 0.0)),
    ):
        d = data.shape[1]
        R = legendre.HyperbolicEntropy(np.full(d, alpha), np.full(d, alpha))
        result = minimize_bregman(R, np.zeros(d), data, data @ sparse)
        assert result.n_iterations <= 25 and result.residual <= 1e-12
        # ∇R*(μ) = 2α² sinh 4μ, at μ = Zᵀλ.
        mu = data.T @ result.multipliers
        np.testing.assert_allclose(result.w, 2 * alpha**2 * np.sinh(4 * mu), rtol=1e-9, atol=1e-13)
        np.testing.assert_allclose(data @ result.w, data @ sparse, atol=1e-11)


@pytest.mark.parametrize("scale", [1e-3, 1e-17, 1e-100, 1e-300])
def test_entropy_from_a_tiny_start(scale):
    """w_i = w_0 t^i with Σ i w_i = 1: a cubic for t."""
    result = minimize_bregman(legendre.NegativeEntropy(3), [scale] * 3, [[1.0, 2.0, 3.0]], [1.0])
    t = np.exp(result.multipliers[0])
    np.testing.assert_allclose(result.w, scale * t ** np.arange(1, 4), rtol=1e-10)
    assert abs(result.w @ [1.0, 2.0, 3.0] - 1.0) < 1e-12


@pytest.mark.parametrize("slack", [1e-4, 1e-8, 1e-10, 1e-12])
def test_limits_next_to_the_edge(slack, rng):
    """Where 1 - w has lost its digits, ∇R(w) has too: what that does is no KKT residual.

    One row Σw leaves w_i = Y/d; w_1 alone leaves the others their shares of 1 - w_1 (simplex) or where they
    were (Fermi-Dirac).
    """
    total = 1.0 - slack
    simplex = minimize_bregman(legendre.SimplexEntropy(4), np.full(4, 0.2), np.ones((1, 4)), [total])
    np.testing.assert_allclose(simplex.w, total / 4, rtol=1e-12)
    corner = minimize_bregman(legendre.SimplexEntropy(4), [0.1, 0.2, 0.3, 0.1], np.eye(4)[:1], [total])
    np.testing.assert_allclose(
        corner.w[1:], slack / 0.9 * np.array([0.2, 0.3, 0.1]), rtol=3e-14 / slack + 1e-9
    )
    fermi = minimize_bregman(legendre.FermiDirac(4), np.full(4, 0.3), np.eye(4)[:2], [total, slack])
    np.testing.assert_allclose(fermi.w, [total, slack, 0.3, 0.3], rtol=1e-13, atol=1e-13)
    # Random data: the answer is known by its conditions alone, checked without ∇R.
    p = rng.dirichlet(np.ones(7)) * np.array([1.0, 1.0, slack, 1.0, slack, 1.0, 1.0])
    near, data = (p / p.sum())[:-1], rng.standard_normal((2, 6))
    mixed = minimize_bregman(legendre.SimplexEntropy(6), np.full(6, 1 / 7), data, data @ near)
    odds = np.exp(data.T @ mixed.multipliers)
    np.testing.assert_allclose(mixed.w, odds / (1.0 + odds.sum()), rtol=1e-10)
    np.testing.assert_allclose(data @ mixed.w, data @ near, atol=1e-13)
    for result in (simplex, corner, fermi, mixed):
        assert result.n_iterations <= 25 and result.residual < 1e-12 and result.kkt_residual < 1e-6


@pytest.mark.parametrize(
    ("R", "data", "target", "words"),
    [
        (legendre.BurgEntropy(5), np.ones((1, 5)), [-1.0], "residual of Zw = Y is"),
        (legendre.BurgEntropy(5), np.abs(MIX[:3]), [1.0, -1.0, 1.0], "residual of Zw = Y is"),
        (legendre.SimplexEntropy(5), np.ones((1, 5)), [1.5], "residual of Zw = Y is"),
        (legendre.FermiDirac(5), np.vstack([Z, Z[0]]), [50.0, 1.0, 50.0], "residual of Zw = Y is"),
    ],
)
def test_the_error_says_which_residual_failed(R, data, target, words):
    with pytest.raises(ConvergenceError, match=words):
        minimize_bregman(R, np.full(5, 0.15), data, target)


def test_result_is_frozen_and_tells_its_residuals():
    result = minimize_bregman(legendre.SquaredNorm(5), START, Z, Y)
    assert "converged" in repr(result) and "KKT" in repr(result)
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.status = "failed"


@pytest.mark.parametrize(
    ("w_init", "data", "target", "error", "words"),
    [
        (-START, Z, Y, DomainError, "w_init"),
        (START[:3], Z, Y, ShapeError, "w_init"),
        (START[None], Z, Y, ShapeError, "one point"),
        (START, Z[:, :3], Y, ShapeError, "Z has shape"),
        (START, Z, Y[:1], ShapeError, "Y"),
        (START, Z, Y[:, None] * np.ones(2), ShapeError, "Y has shape"),
        (START, Z, [np.nan, 0.0], DomainError, "finite"),
    ],
)
def test_bad_input_is_named(w_init, data, target, error, words):
    with pytest.raises(error, match=words):
        minimize_bregman(legendre.NegativeEntropy(5), w_init, data, target)


def test_overflow_in_a_line_search_is_no_descent():
    """From curvatures of 1e-21 the first Newton step is 1e20 long, and w along it overflows."""
    data = np.random.default_rng(0).standard_normal((3, 6))
    answers = data @ np.array([1.0, 0.0, 0.0, 0.5, 0.0, 0.0])
    for exponent in np.arange(-12.0, -9.0, 0.25):
        R = legendre.HyperbolicEntropy(*np.full((2, 6), 10.0**exponent))
        result = minimize_bregman(R, np.zeros(6), data, answers)
        assert result.status == "converged" and np.abs(data @ result.w - answers).max() < 1e-9
