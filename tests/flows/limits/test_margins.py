"""Maximum margins against NNLS, SciPy's SLSQP and linear programmes, and against flows in ln t."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
import pytest
from scipy.optimize import linprog, minimize, nnls
from scipy.sparse import csr_array, random_array

from riemflow import legendre, losses
from riemflow.errors import ConvergenceError, DomainError, ShapeError
from riemflow.flows import logistic_flow, maximum_margin, mirror_flow

RNG = np.random.default_rng(0)
N, D = 15, 8
Z = RNG.standard_normal((N, D))
LABELS = np.sign(Z[:, 0] * 2 + Z[:, 1] - Z[:, 2])
ROWS = LABELS[:, None] * Z
MIX = RNG.standard_normal((D, D))
MATRIX = MIX @ MIX.T + np.eye(D)


def power(p):
    return legendre.LegendreFunction(lambda w: anp.sum((1 + w**2) ** (p / 2), axis=-1) / p, D, name=f"p{p:g}")


def least_distance(rows):
    """min ‖w‖ subject to rows·w ≥ 1, by NNLS (Lawson and Hanson, chapter 23)."""
    u, _ = nnls(np.vstack([rows.T, np.ones(len(rows))]), np.append(np.zeros(rows.shape[1]), 1.0))
    r = np.append(rows.T @ u, u.sum() - 1.0)
    return -r[:-1] / r[-1]


def test_euclidean_margin_is_that_of_nnls():
    best = maximum_margin(legendre.SquaredNorm(D), Z, LABELS)
    w = least_distance(ROWS)
    np.testing.assert_allclose(best.direction, w / np.linalg.norm(w), atol=1e-12)
    assert best.margin == pytest.approx(1 / np.linalg.norm(w), rel=1e-12) and best.rate == 1.0
    assert best.norm == "l2" and best.unique and best.status == "converged"
    for same in (
        3.0 * legendre.SquaredNorm(D),
        legendre.HyperbolicEntropy(*np.ones((2, D))) + legendre.SquaredNorm(D),
    ):
        np.testing.assert_allclose(maximum_margin(same, Z, LABELS).direction, best.direction, atol=1e-5)
    sparse = maximum_margin(legendre.SquaredNorm(D), csr_array(Z), LABELS)
    np.testing.assert_allclose(sparse.direction, best.direction, atol=1e-13)


def test_quadratic_margin_in_whitened_variables():
    lower = np.linalg.cholesky(MATRIX)
    v = least_distance(np.linalg.solve(lower, ROWS.T).T)
    w = np.linalg.solve(lower.T, v)
    best = maximum_margin(legendre.Quadratic(MATRIX), Z, LABELS)
    np.testing.assert_allclose(best.direction, w / np.linalg.norm(v), atol=1e-11)
    assert best.direction @ MATRIX @ best.direction == pytest.approx(1.0)
    euclidean = maximum_margin(legendre.SquaredNorm(D), Z, LABELS).direction
    assert (
        np.abs(best.direction / np.linalg.norm(best.direction) - euclidean).max() > 0.1
    )  # another direction


def test_hyperbolic_entropy_decides_on_l1():
    program = linprog(
        -np.append(np.zeros(2 * D), 1.0),
        A_ub=np.vstack([np.hstack([-ROWS, ROWS, np.ones((N, 1))]), np.append(np.ones(2 * D), 0.0)[None]]),
        b_ub=np.append(np.zeros(N), 1.0),
    )
    for widths in (0.1, 3.0):
        best = maximum_margin(legendre.HyperbolicEntropy(*np.full((2, D), widths)), Z, LABELS)
        assert best.norm == "l1" and best.margin == pytest.approx(-program.fun, rel=1e-10)
        np.testing.assert_allclose(best.direction, program.x[:D] - program.x[D : 2 * D], atol=1e-9)
        assert np.abs(best.direction).sum() == pytest.approx(1.0)
        pull = np.abs(ROWS.T @ best.multipliers)
        assert best.rate == pytest.approx(1 - pull[np.abs(best.direction) < 1e-9].max(), rel=1e-9)
    product = legendre.product(*[legendre.HyperbolicEntropy([0.1], [0.2]) for _ in range(D)])
    np.testing.assert_allclose(maximum_margin(product, Z, LABELS).direction, best.direction, atol=1e-9)


@pytest.mark.parametrize("p", [1.5, 3.0])
def test_powers_decide_on_lp(p):
    best = maximum_margin(power(p), Z, LABELS)
    found = minimize(
        lambda w: (np.abs(w) ** p).sum() / p,
        least_distance(ROWS),
        jac=lambda w: np.sign(w) * np.abs(w) ** (p - 1),
        constraints={"type": "ineq", "fun": lambda w: ROWS @ w - 1, "jac": lambda w: ROWS},
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 1000},
    )
    size = (np.abs(found.x) ** p).sum() ** (1 / p)
    assert best.norm == f"l{p:g}" and best.rate == min(1.0, p - 1)
    np.testing.assert_allclose(best.direction, found.x / size, atol=1e-5)
    assert best.margin >= (ROWS @ found.x).min() / size - 1e-12


def test_negative_entropy_keeps_weights_positive():
    data = np.abs(Z) + 0.1 * Z
    best = maximum_margin(legendre.NegativeEntropy(D), data, np.ones(N))
    program = linprog(np.ones(D), A_ub=-data, b_ub=-np.ones(N))
    assert (best.direction >= 0).all() and best.margin == pytest.approx(1 / program.fun, rel=1e-10)
    with pytest.raises(ConvergenceError, match="separates"):
        maximum_margin(legendre.NegativeEntropy(D), data, -np.ones(N))
    maximum_margin(legendre.HyperbolicEntropy(*np.ones((2, D))), data, -np.ones(N))


def test_two_best_directions_are_not_unique():
    best = maximum_margin(legendre.HyperbolicEntropy(*np.ones((2, 2))), [[1.0, 1.0]], [1.0])
    assert not best.unique and best.margin == pytest.approx(1.0)


@pytest.mark.parametrize("seed", [0, 5, 6])
@pytest.mark.parametrize("norm", [1, 2])
def test_the_flow_tends_there_at_the_rate(norm, seed):
    """The slope of the deviation in ln τ over a decade: in ℓ₁ the least dual slack, here 1, 0.52 and 0.27."""
    rng = np.random.default_rng(seed)
    data = rng.standard_normal((10, 5))
    labels = np.sign(data[:, 0] * 2 + data[:, 1] - data[:, 2])
    R = legendre.HyperbolicEntropy(*np.ones((2, 5))) if norm == 1 else legendre.SquaredNorm(5)
    best, taus = maximum_margin(R, data, labels), np.array([1e7, 1e8])
    flow = logistic_flow(R, losses.Logistic(data, labels), np.zeros(5), taus, rtol=1e-10)
    directions = flow.w / np.linalg.norm(flow.w, ord=norm, axis=1)[:, None]
    deviation = np.abs(directions - best.direction).max(axis=1)
    assert np.log10(deviation[1] / deviation[0]) == pytest.approx(-best.rate, rel=0.02)


def test_log_time_is_time():
    R, loss = legendre.HyperbolicEntropy(*np.full((2, D), 0.1)), losses.Logistic(Z, LABELS)
    times = np.array([1.0, 50.0, 1e4])
    flow = mirror_flow(R, loss, np.zeros(D), times, rtol=1e-10)
    same = logistic_flow(R, loss, np.zeros(D), np.log1p(times), rtol=1e-10)
    np.testing.assert_allclose(same.w, flow.w, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(same.sol(np.log1p(50.0)), flow.w[1], rtol=1e-6, atol=1e-9)
    assert same.stats["clock"] == "ln(1 + t)"
    late = logistic_flow(R, loss, np.zeros(D), 1e6)
    assert (LABELS * (Z @ late.w[-1])).min() == pytest.approx(1e6, rel=1e-3)  # the margin grows like ln t


def test_mirror_flow_at_infinity_diverges_along_it():
    R, loss = legendre.SquaredNorm(D), losses.Logistic(Z, LABELS)
    flow = mirror_flow(R, loss, np.zeros(D), np.inf, throw=False)
    assert flow.status == "diverges" and "l2 margin" in flow.message
    np.testing.assert_allclose(flow.stats["direction"], maximum_margin(R, Z, LABELS).direction, atol=1e-14)
    with pytest.raises(ConvergenceError, match="diverges"):
        mirror_flow(R, loss, np.zeros(D), np.inf)


def test_partly_separable_data_diverge_without_a_margin():
    """The first coordinate separates one sample; on the second two samples contradict each other."""
    loss = losses.Logistic([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], [1.0, 1.0, -1.0])
    flow = mirror_flow(legendre.SquaredNorm(2), loss, np.zeros(2), np.inf, throw=False)
    assert flow.status == "diverges" and "direction" not in flow.stats and "some samples" in flow.message
    with pytest.raises(ConvergenceError, match="separates"):
        maximum_margin(legendre.SquaredNorm(2), loss.Z, loss.labels)


@pytest.mark.parametrize(
    ("R", "data", "labels", "error", "words"),
    [
        (legendre.SimplexEntropy(D), Z, LABELS, DomainError, "tells no norm"),
        (legendre.LogSumExp(D), Z, LABELS, DomainError, "tells no norm"),
        (legendre.SquaredNorm(D), Z, np.zeros(N), DomainError, "labels.* 2 \\* labels - 1"),
        (legendre.SquaredNorm(D), Z, LABELS > 0, DomainError, "np.where"),
        (legendre.SquaredNorm(D + 1), Z, LABELS, DomainError, "columns"),
        (legendre.SquaredNorm(D), Z, LABELS[1:], ShapeError, "labels"),
        (
            legendre.SquaredNorm(D),
            np.vstack([Z, Z[:1]]),
            np.append(LABELS, -LABELS[0]),
            ConvergenceError,
            "separ",
        ),
        (legendre.NegativeEntropy(2), [[-1.0, -2.0]], [1], ConvergenceError, r"no w ≥ 0 has y_i z_i·w > 0"),
    ],
)
def test_bad_input_is_named(R, data, labels, error, words):
    with pytest.raises(error, match=words):
        maximum_margin(R, data, labels)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("dim", [2, 3, 5])
def test_more_support_vectors_in_turn_than_dimensions(dim, seed):
    """Rows that enter where as many others are active already: against NNLS."""
    rng = np.random.default_rng(seed)
    Z = rng.standard_normal((8 * dim, dim))
    labels = np.sign(Z @ rng.standard_normal(dim))
    best = maximum_margin(legendre.SquaredNorm(dim), Z, labels)
    rows = labels[:, None] * Z
    # The largest margin is the distance of the rows' convex hull from 0, and its direction that point's.
    weights, _ = nnls(
        np.vstack([rows.T, np.full(len(rows), 1e5)]), np.append(np.zeros(dim), 1e5), maxiter=5000
    )
    nearest = rows.T @ (weights / weights.sum())
    np.testing.assert_allclose(best.direction, nearest / np.linalg.norm(nearest), atol=1e-8)
    assert best.margin == pytest.approx(np.linalg.norm(nearest), rel=1e-8)


def test_wide_sparse_data_stay_sparse():
    """A matrix of shape [d, d] would take 80 GB here."""
    rng = np.random.default_rng(0)
    wide = random_array((30, 10**5), density=2e-3, rng=rng, data_sampler=rng.standard_normal, format="csr")
    labels = np.where(rng.random(30) < 0.5, 1.0, -1.0)
    found = maximum_margin(legendre.SquaredNorm(10**5), wide, labels)
    # The dual min ½‖Aᵀα‖² - Σα over α ≥ 0 is non-negative least squares with a Cholesky factor of AAᵀ.
    rows = wide.multiply(labels[:, None]).tocsr()
    factor = np.linalg.cholesky((rows @ rows.T).toarray())
    alpha = nnls(factor.T, np.linalg.solve(factor, np.ones(30)))[0]
    w = rows.T @ alpha
    np.testing.assert_allclose(found.direction, w / np.linalg.norm(w), rtol=0, atol=1e-12)


def test_the_clock_of_log_time_and_data_that_are_not_separable():
    one = np.ones((3, 1))
    flow = logistic_flow(legendre.SquaredNorm(1), losses.Logistic(one, [1, 1, 1]), np.zeros(1), [50.0])
    assert flow.message == "reached ln(1 + t) = 50"
    # Here L is least at w = ln 2, where the flow rests, although ν runs on in the null space of Zᵀ.
    mixed = losses.Logistic(one, [1, 1, -1])
    rest = logistic_flow(legendre.SquaredNorm(1), mixed, np.zeros(1), [50.0])
    np.testing.assert_allclose(rest.w[-1], np.log(2.0), rtol=1e-9)
    limit = mirror_flow(legendre.SquaredNorm(1), mixed, np.zeros(1), np.inf)
    np.testing.assert_allclose(limit.w[-1], np.log(2.0), rtol=1e-12)
    with pytest.raises(DomainError, match=r"losses.Logistic\(Z, labels\)"):
        logistic_flow(legendre.SquaredNorm(1), losses.LeastSquares(one, np.ones(3)), np.zeros(1), [1.0])


@pytest.mark.parametrize("size", [1e-100, 1e-10, 1e10, 1e100])
@pytest.mark.parametrize("R", [legendre.SquaredNorm(D), legendre.HyperbolicEntropy(np.ones(D), np.ones(D))])
def test_margins_are_proportional_to_the_data(R, size):
    """HiGHS drops coefficients below 1e-9: small data passed for inseparable, and the flow for converged."""
    one, scaled = maximum_margin(R, Z, LABELS), maximum_margin(R, size * Z, LABELS)
    np.testing.assert_allclose(scaled.direction, one.direction, atol=1e-9)
    assert scaled.margin == pytest.approx(size * one.margin, rel=1e-9)
    assert scaled.multipliers.sum() * scaled.margin == pytest.approx(1.0)
    assert (
        mirror_flow(R, losses.Logistic(size * Z, LABELS), np.zeros(D), np.inf, throw=False).status
        == "diverges"
    )
    mixed = np.where(np.arange(N) % 2, 1.0, -1.0)[:, None] * np.ones((N, D))
    flow = mirror_flow(R, losses.Logistic(size * mixed, np.ones(N)), np.zeros(D), np.inf)
    assert flow.status == "converged"


def test_columns_of_unlike_units():
    """With w_1 ≥ 0 the only way to tell the two apart is the second column, 1e-9 of the first."""
    for R in (legendre.HyperbolicEntropy(np.ones(2), np.ones(2)), legendre.NegativeEntropy(2)):
        best = maximum_margin(R, [[1.0, 1e-9], [1.0, -1e-9]], [1, -1])
        np.testing.assert_allclose(best.direction, [0.0, 1.0], atol=1e-12)
        assert best.margin == pytest.approx(1e-9)
        best = maximum_margin(R, [[1e-5, 0.0], [0.0, 1e5]], [1, 1])
        np.testing.assert_allclose(best.direction, [1.0, 1e-10], atol=1e-15)
