"""Limits on the boundary of dom R, and sparse data: against problems on the face alone, dense data, NNLS."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.sparse import csr_array, random_array

from riemflow import legendre
from riemflow.errors import ConvergenceError, DomainError, ShapeError
from riemflow.flows import minimize_bregman


def simplex_problem(seed):
    """Z, Y and the point with which Y was made: inside, skewed, or with so many nonzeros."""
    rng = np.random.default_rng(1000 + seed)
    d = int(rng.choice([10, 20, 50, 100, 200]))
    n = int(rng.integers(1, max(2, d // 2)))
    data = rng.standard_normal((n, d))
    if seed % 5 < 2:
        point = rng.dirichlet(np.full(d + 1, (1.0, 0.1)[seed % 5]))
    else:
        k = min(d + 1, (1, 3, max(1, n // 4))[seed % 5 - 2])
        point = np.zeros(d + 1)
        point[rng.choice(d + 1, k, replace=False)] = rng.dirichlet(np.ones(k))
    return data, data @ point[:d], point[:d]


def alone(data, target):
    """Whether only one point of the simplex interpolates, by linear programmes in a few random directions."""
    rng, d = np.random.default_rng(7), data.shape[1]
    ends = []
    for direction in rng.standard_normal((3, d)):
        for sign in (1.0, -1.0):
            found = linprog(sign * direction, A_eq=data, b_eq=target, A_ub=np.ones((1, d)), b_ub=[1.0])
            ends.append(found.x)
    return np.ptp(ends, axis=0).max() < 1e-6


def test_fifty_simplex_problems():
    counts, boundary, only = [], 0, 0
    for seed in range(50):
        data, target, point = simplex_problem(seed)
        d = data.shape[1]
        result = minimize_bregman(legendre.SimplexEntropy(d), np.full(d, 1 / (d + 1)), data, target)
        assert result.residual <= 1e-12 and (result.w >= 0).all() and result.w.sum() <= 1 + 1e-15
        np.testing.assert_allclose(data @ result.w, target, atol=1e-13)
        counts.append(result.n_iterations)
        boundary += result.status == "boundary"
        if result.status == "boundary":
            assert result.unique == alone(data, target)
        if result.unique:
            only += 1
            np.testing.assert_allclose(result.w, point, atol=1e-14)
    assert max(counts) <= 40 and boundary >= 10 and only >= 8


@pytest.mark.parametrize("name", ["SimplexEntropy", "NegativeEntropy", "FermiDirac"])
@pytest.mark.parametrize("seed", range(4))
def test_a_face_is_solved_as_if_alone(name, seed):
    """One row forces w to vanish on eight coordinates; the others then minimise their own divergence."""
    rng = np.random.default_rng(seed)
    d, off = 30, 8
    data, point = rng.standard_normal((4, d)), rng.dirichlet(np.ones(d + 1))[:d]
    point[:off] = 0.0
    forcing = np.where(np.arange(d) < off, rng.uniform(0.5, 2.0, d), 0.0)
    mixed = rng.standard_normal((5, 5)) @ np.vstack([data, forcing])
    start = rng.dirichlet(np.ones(d + 1))[:d]
    R, smaller = getattr(legendre, name)(d), getattr(legendre, name)(d - off)
    result = minimize_bregman(R, start, mixed, mixed @ point)
    rest = start[off:]
    if name == "SimplexEntropy":
        rest = rest / (1.0 - start[:off].sum())
    expected = minimize_bregman(smaller, rest, data[:, off:], data[:, off:] @ point[off:])
    assert result.status == "boundary" and expected.status == "converged" and not result.unique
    assert result.residual <= 1e-12 and result.n_iterations <= 40
    np.testing.assert_allclose(result.w[off:], expected.w, atol=1e-12)
    np.testing.assert_allclose(result.w[:off], 0.0, atol=1e-16)
    # Another start ends elsewhere on the face: the limit is no accident of the data.
    other = minimize_bregman(R, np.full(d, 1 / (d + 1)), mixed, mixed @ point)
    assert np.abs(other.w - result.w).max() > 1e-3


@pytest.mark.parametrize(
    ("R", "data", "target", "limit"),
    [
        (legendre.NegativeEntropy(5), np.ones((1, 5)), [0.0], np.zeros(5)),
        (legendre.SimplexEntropy(5), np.eye(5), np.eye(5)[0], np.eye(5)[0]),
        (legendre.SimplexEntropy(5), np.eye(5)[:1], [1.0], np.eye(5)[0]),
        (legendre.FermiDirac(5), np.ones((1, 5)), [5.0], np.ones(5)),
    ],
    ids=["origin", "vertex", "vertex by one row", "corner"],
)
def test_corners(R, data, target, limit):
    result = minimize_bregman(R, np.full(5, 0.15), data, target)
    assert result.status == "boundary" and result.unique and "boundary" in repr(result)
    np.testing.assert_allclose(result.w, limit, atol=1e-14)


def test_unique_means_as_many_rows_as_the_interior_has_dimensions(rng):
    data = rng.standard_normal((6, 4))
    square = minimize_bregman(legendre.NegativeEntropy(4), np.ones(4), data, data @ np.full(4, 2.0))
    assert square.status == "converged" and square.unique
    wide = minimize_bregman(legendre.NegativeEntropy(4), np.ones(4), data[:3], data[:3] @ np.full(4, 2.0))
    assert wide.status == "converged" and not wide.unique


def test_just_outside_is_refused():
    """Negative control: 1e-6 beyond a vertex nothing fits."""
    R, eye = legendre.SimplexEntropy(5), np.eye(5)
    with pytest.raises(ConvergenceError, match="No interpolating point of dom"):
        minimize_bregman(R, np.full(5, 0.15), eye, (1 + 1e-6) * eye[0])


@pytest.mark.parametrize(
    "R", [legendre.NegativeEntropy(60), legendre.SimplexEntropy(60), legendre.SquaredNorm(60)]
)
def test_sparse_data_give_what_dense_data_give(R, rng):
    data = random_array((12, 60), density=0.3, rng=rng, format="csr")
    repeated = csr_array(np.vstack([data.toarray(), 2 * data.toarray()[:3], np.zeros((1, 60))]))
    start, point = np.full(60, 1 / 80), rng.dirichlet(np.ones(61))[:60]
    expected = minimize_bregman(R, start, data.toarray(), data @ point)
    for rows in (data, repeated):
        result = minimize_bregman(R, start, rows, rows @ point)
        np.testing.assert_allclose(result.w, expected.w, rtol=1e-9, atol=1e-13)
        np.testing.assert_allclose(rows.T @ result.multipliers, data.T @ expected.multipliers, atol=1e-9)
    with pytest.raises(ConvergenceError, match="no solution at all"):
        minimize_bregman(R, start, repeated, repeated @ point + 1e-6 * (np.arange(16) == 13))


def test_bad_sparse_data_are_named():
    R, start = legendre.NegativeEntropy(3), np.ones(3)
    with pytest.raises(ShapeError, match="Z has shape"):
        minimize_bregman(R, start, csr_array(np.ones((2, 4))), [1.0, 1.0])
    with pytest.raises(DomainError, match="not finite"):
        minimize_bregman(R, start, csr_array(np.array([[np.nan, 1.0, 1.0]])), [1.0])


@pytest.mark.slow
def test_a_million_variables():
    d, n, rng = 10**6, 50, np.random.default_rng(0)
    data = random_array((n, d), density=1e-4, rng=rng, format="csr")
    point = np.where(rng.random(d) < 1e-3, 1.0, 1e-4)
    for R, start in (
        (legendre.HyperbolicEntropy(np.full(d, 1e-3), np.full(d, 1e-3)), np.zeros(d)),
        (legendre.NegativeEntropy(d), np.full(d, 1e-3)),
    ):
        result = minimize_bregman(R, start, data, data @ point)
        assert result.status == "converged" and result.residual <= 1e-12 and result.n_iterations <= 25
