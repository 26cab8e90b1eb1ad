"""mirror_flow at t = inf by Newton's method, against long flows, least squares, NNLS and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.sparse import csr_array

from riemflow import legendre, losses
from riemflow.errors import ConvergenceError
from riemflow.flows import mirror_flow

RNG = np.random.default_rng(5)
Z = RNG.standard_normal((3, 6))
TRUE = RNG.uniform(0.05, 0.15, 6)
START = np.full(6, 0.12)
FUNCTIONS = [
    legendre.SquaredNorm(6),
    legendre.HyperbolicEntropy(*np.full((2, 6), 0.1)),
    legendre.NegativeEntropy(6),
    legendre.SimplexEntropy(6),
    legendre.FermiDirac(6),
]


@pytest.mark.parametrize("R", FUNCTIONS, ids=[R.name for R in FUNCTIONS])
def test_limit_is_where_the_long_flow_ends(R):
    loss = losses.LeastSquares(Z, Z @ TRUE)
    limit = mirror_flow(R, loss, START, np.inf)
    assert limit.status == "converged" and limit.stats["method"] == "Newton" and "inside" in limit.message
    assert (
        limit.stats["residual"] < 1e-12 and limit.stats["kkt_residual"] < 1e-11 and not limit.stats["unique"]
    )
    long = mirror_flow(R, loss, START, np.inf, method="CVODE", rtol=1e-12)
    assert long.stats["formulation"] == "row-space" and len(long.t) > 2
    np.testing.assert_allclose(limit.w[-1], long.w[-1], rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(limit.t, [0.0, np.inf])
    np.testing.assert_allclose(R.gradient(limit.w), limit.mu, atol=1e-12)


def test_boundary_limit_is_where_the_long_flow_goes():
    data = np.vstack([Z, [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]])
    target = np.append(Z[:, 2:] @ TRUE[2:], 0.0)
    loss = losses.LeastSquares(data, target)
    limit = mirror_flow(legendre.NegativeEntropy(6), loss, START, np.inf)
    assert limit.stats["boundary"] and "boundary" in limit.message
    long = mirror_flow(legendre.NegativeEntropy(6), loss, START, 1e7, rtol=1e-11)
    np.testing.assert_allclose(limit.w[-1], long.w[-1], atol=1e-5)  # algebraically slow: w_1 like 1/t
    np.testing.assert_allclose(limit.w[-1][:2], 0.0, atol=1e-15)


@pytest.mark.parametrize("sparse", [False, True])
def test_inconsistent_and_rank_deficient_data(sparse):
    """Six rows of rank three that contradict each other: the limit fits their least-squares values."""
    data = np.vstack([Z, Z[:2] + Z[1:], Z[0]])
    target = np.append(Z @ TRUE, [0.3, -0.2, 0.1])
    loss = losses.LeastSquares(csr_array(data) if sparse else data, target)
    R = legendre.HyperbolicEntropy(*np.full((2, 6), 0.1))
    limit = mirror_flow(R, loss, START, np.inf)
    assert limit.status == "converged" and "least-squares fit" in limit.message
    np.testing.assert_allclose(data.T @ (data @ limit.w[-1] - target), 0.0, atol=1e-9)
    long = mirror_flow(R, loss, START, np.inf, method="CVODE", rtol=1e-11)
    np.testing.assert_allclose(limit.w[-1], long.w[-1], atol=1e-7)


def test_values_out_of_reach_are_flown_to():
    """No w > 0 has these values, and least squares then ends elsewhere: the flow has to run."""
    loss = losses.LeastSquares(np.eye(6)[:2], [-1.0, 0.5])
    flow = mirror_flow(legendre.NegativeEntropy(6), loss, START, np.inf)
    assert flow.stats["formulation"] != "limit"
    np.testing.assert_allclose(flow.w[-1], [0.0, 0.5, *START[2:]], atol=1e-6)


def test_what_asks_for_a_flow_gets_one():
    loss, R = losses.LeastSquares(Z, Z @ TRUE), FUNCTIONS[0]
    for option in ({"method": "DOP853"}, {"formulation": "dual"}, {"until_loss": 1e-3}):
        assert mirror_flow(R, loss, START, np.inf, **option).stats["formulation"] != "limit"
    other = legendre.BurgEntropy(6)  # ∇R is not onto: the flow might leave
    assert mirror_flow(other, loss, START, np.inf).stats["formulation"] != "limit"
    schedule = losses.Piecewise([1.0], [losses.LeastSquares(Z, Z @ START), loss])
    assert mirror_flow(R, schedule, START, np.inf).stats["formulation"] != "limit"


@pytest.mark.parametrize("R", [legendre.SquaredNorm(4), legendre.HyperbolicEntropy(*np.full((2, 4), 0.1))])
@pytest.mark.parametrize("n", [40, 200])
def test_logistic_loss_that_has_a_minimiser(R, n):
    rng = np.random.default_rng(n)
    data, labels = rng.standard_normal((n, 4)), np.sign(rng.standard_normal(n))
    loss = losses.Logistic(data, labels)
    limit = mirror_flow(R, loss, np.zeros(4), np.inf)
    assert limit.status == "converged" and limit.stats["unique"]
    found = minimize(loss, np.zeros(4), jac=loss.gradient, method="BFGS", options={"gtol": 1e-10})
    np.testing.assert_allclose(limit.w[-1], found.x, atol=1e-8)
    assert np.abs(loss.gradient(limit.w[-1])).max() < 1e-14
    # Two weights that the data do not tell apart are told apart by R.
    twice = losses.Logistic(np.hstack([data, data]), labels)
    wide, start = legendre.HyperbolicEntropy(*np.full((2, 8), 0.1)), np.append(np.full(4, 0.3), np.zeros(4))
    both = [mirror_flow(wide, twice, start, np.inf, method=m, rtol=1e-11) for m in ("auto", "CVODE")]
    np.testing.assert_allclose(both[0].w[-1], both[1].w[-1], atol=1e-7)


def test_linear_loss_without_minimiser_is_no_success():
    with pytest.raises(ConvergenceError):
        mirror_flow(legendre.SquaredNorm(2), losses.Linear([1.0, 2.0]), np.zeros(2), np.inf)
