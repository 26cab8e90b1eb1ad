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
        (legendre.NegativeEntropy(5), np.ones((1, 5)), [-1.0], "No interpolating point inside"),
        (legendre.NegativeEntropy(5), np.ones((1, 5)), [0.0], "No interpolating point inside"),
        (legendre.SimplexEntropy(5), np.ones((1, 5)), [1.5], "No interpolating point inside"),
        (legendre.SimplexEntropy(5), np.eye(5), np.eye(5)[0], "No interpolating point inside"),
        (legendre.BurgEntropy(5), np.ones((1, 5)), [-1.0], "No interpolating point inside"),
        (legendre.SquaredNorm(5), np.vstack([Z, Z[0]]), [0.0, 0.0, 1.0], "no solution at all"),
        (legendre.SquaredNorm(5), np.zeros((1, 5)), [1.0], "no solution at all"),
    ],
    ids=["negative sum", "origin", "sum too large", "vertex", "Burg", "contradiction", "nothing measured"],
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
