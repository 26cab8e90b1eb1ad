"""Projections onto affine sets against the Pythagorean theorem, samples of the set, and known algorithms."""

from __future__ import annotations

import numpy as np
import pytest
import zoo_legendre
from scipy.optimize import minimize

import riemflow as rf
from riemflow.errors import ConvergenceError, DomainError, ShapeError
from riemflow.flows import bregman_projection

CASES = [case for case in zoo_legendre.CASES if case.make().dim > 1]
each_case = pytest.mark.parametrize("case", CASES, ids=str)
both_coordinates = pytest.mark.parametrize("coordinates", ["primal", "dual"])


def problem(case, coordinates, rng):
    """R, a point, one constraint that another point inside satisfies, and more points that do."""
    R, w = case.make(), case.points(2, seed=3)
    A = rng.standard_normal((1, R.dim))
    to, domain = (np.array, R.domain) if coordinates == "primal" else (R.gradient, R.conjugate.domain)
    known = to(w[1])
    moves = rng.standard_normal((20, R.dim))
    moves -= np.outer(moves @ A[0], A[0]) / (A[0] @ A[0])
    others = known + 0.1 * np.abs(known).max() * moves
    others = others[domain.belongs(others)]
    assert len(others) > 3
    back = np.array if coordinates == "primal" else R.conjugate.gradient
    return R, w[0], A, A @ known, back(others)


def divergence(R, coordinates, of, to):
    return R.bregman_divergence(of, to) if coordinates == "primal" else R.bregman_divergence(to, of)


@each_case
@both_coordinates
def test_pythagoras_and_the_least_divergence(case, coordinates, rng):
    R, p, A, b, others = problem(case, coordinates, rng)
    found = bregman_projection(R, p, A, b, coordinates=coordinates)
    q = found.w
    assert found.residual <= 1e-9
    assert found.kkt_residual <= 1e-6
    affine = q if coordinates == "primal" else R.gradient(q)
    np.testing.assert_allclose(A @ affine, b, rtol=0, atol=1e-8 * (np.abs(A) @ np.abs(affine)).max())
    straight = R.gradient(q) - R.gradient(p) if coordinates == "primal" else q - p
    np.testing.assert_allclose(found.dual_point, R.gradient(q), rtol=1e-8)
    np.testing.assert_allclose(straight, A.T @ found.multipliers, rtol=0, atol=1e-6 * np.abs(straight).max())
    whole = divergence(R, coordinates, others, p)
    sides = divergence(R, coordinates, others, q), divergence(R, coordinates, q, p)
    np.testing.assert_allclose(sides[1], found.divergence, rtol=1e-7)
    np.testing.assert_allclose(whole, sides[0] + sides[1], rtol=1e-7)
    # The only nearest point: all others are farther, by their divergence from it.
    assert (whole > found.divergence).all()
    # No other point of the set has this property.
    wrong = divergence(R, coordinates, others[1:], others[0]) + divergence(R, coordinates, others[0], p)
    assert np.abs(wrong - whole[1:]).max() > 1e-6 * whole.max()


@both_coordinates
def test_batches(coordinates, rng):
    R = rf.legendre.SimplexEntropy(3)
    p = zoo_legendre.simplex(rng, 6).reshape(2, 3, 3)
    A, b = np.array([[1.0, 1.0, 0.0]]), np.array([[0.3], [0.35], [0.4]])
    found = bregman_projection(R, p, A, b, coordinates=coordinates)
    assert found.w.shape == found.dual_point.shape == (2, 3, 3)
    assert found.multipliers.shape == (2, 3, 1)
    assert found.divergence.shape == found.residual.shape == found.kkt_residual.shape == (2, 3)
    single = bregman_projection(R, p[1, 2], A, b[2], coordinates=coordinates)
    np.testing.assert_allclose(found.w[1, 2], single.w, rtol=1e-12)
    again = bregman_projection(R, found.w, A, b, coordinates=coordinates)
    np.testing.assert_allclose(again.w, found.w, rtol=1e-10)
    np.testing.assert_allclose(again.divergence, 0.0, atol=1e-15)


def test_iterative_proportional_fitting():
    """A table with given margins nearest to another one: Deming and Stephan's algorithm."""
    table = np.array([[10.0, 2.0, 7.0], [1.0, 12.0, 5.0], [3.0, 4.0, 6.0]]) / 50
    rows, columns = np.array([0.5, 0.3, 0.2]), np.array([0.25, 0.35, 0.4])
    fitted = table.copy()
    for _ in range(2_000):
        fitted *= (rows / fitted.sum(axis=1))[:, None]
        fitted *= columns / fitted.sum(axis=0)
    A = np.concatenate([np.kron(np.eye(3), np.ones(3)), np.kron(np.ones(3), np.eye(3))])
    found = bregman_projection(
        rf.legendre.NegativeEntropy(9), table.ravel(), A, np.concatenate([rows, columns])
    )
    np.testing.assert_allclose(found.w.reshape(3, 3), fitted, rtol=1e-9)
    # Interactions stay those of the table: ratios of cross products.
    w = found.w.reshape(3, 3)
    ratio = table[0, 0] * table[1, 1] / (table[0, 1] * table[1, 0])
    np.testing.assert_allclose(w[0, 0] * w[1, 1] / (w[0, 1] * w[1, 0]), ratio, rtol=1e-9)


def test_projection_onto_independence():
    """By "dual", in cells of a table without the last: no interaction is A ∇R = 0, and the projection has p's
    margins, which are the maximum likelihood estimate: the products of the margins."""
    p = np.array([0.4, 0.1, 0.2, 0.3])
    found = bregman_projection(
        rf.legendre.SimplexEntropy(3), p[:3], [[1.0, -1.0, -1.0]], [0.0], coordinates="dual"
    )
    rows, columns = np.array([0.5, 0.5]), np.array([0.6, 0.4])
    np.testing.assert_allclose(found.w, np.outer(rows, columns).ravel()[:3], rtol=1e-10)


def test_normal_distribution_of_given_variance():
    """e-flat: natural parameter -1/2s² fixed. The m-projection keeps the mean, its divergence is KL."""
    m, s, fixed = 0.7, 1.5, 0.8
    R, p = rf.legendre.Normal(), np.array([m / s**2, -0.5 / s**2])
    found = bregman_projection(R, p, [[0.0, 1.0]], [-0.5 / fixed**2])
    np.testing.assert_allclose(found.w, [m / fixed**2, -0.5 / fixed**2], rtol=1e-10)
    kl = np.log(fixed / s) + s**2 / (2 * fixed**2) - 0.5
    np.testing.assert_allclose(found.divergence, kl, rtol=1e-10)
    # m-flat: second moment fixed. The e-projection, by a search along the set.
    moment = 2.0
    found = bregman_projection(R, p, [[0.0, 1.0]], [moment], coordinates="dual")

    def reverse(mean):
        v = moment - mean[0] ** 2
        return np.log(s) - np.log(v) / 2 + (v + (mean[0] - m) ** 2) / (2 * s**2) - 0.5

    best = minimize(reverse, [0.5], tol=1e-12)
    np.testing.assert_allclose(found.dual_point[0], best.x[0], rtol=1e-6)
    np.testing.assert_allclose(found.divergence, best.fun, rtol=1e-9)


@both_coordinates
def test_no_point_in_the_set(coordinates):
    R = rf.legendre.SimplexEntropy(2)
    with pytest.raises(ConvergenceError, match="affine coordinates"):
        bregman_projection(R, [0.2, 0.3], [[1.0, 0.0], [1.0, 0.0]], [0.1, 0.2], coordinates=coordinates)
    with pytest.raises(ConvergenceError, match="may be none") as caught:
        bregman_projection(R, [0.2, 0.3], [[1.0, 1.0]], [1.5])
    assert caught.value.partial is not None
    # ∇R* of LogSumExp's conjugate is the simplex: dual points outside it do not exist.
    with pytest.raises(ConvergenceError, match="may be none"):
        bregman_projection(rf.legendre.LogSumExp(2), [0.2, 0.3], [[1.0, 1.0]], [1.5], coordinates="dual")


def test_no_projection_inside():
    """w_1 = 0 is on the boundary of the simplex: an infimum, not a point of the manifold."""
    with pytest.raises(ConvergenceError, match="on the boundary"):
        bregman_projection(rf.legendre.SimplexEntropy(2), [0.2, 0.3], [[1.0, 0.0]], [0.0])


def test_bad_input():
    R = rf.legendre.SimplexEntropy(2)
    with pytest.raises(DomainError, match="coordinates"):
        bregman_projection(R, [0.2, 0.3], [[1.0, 0.0]], [0.1], coordinates="mixed")
    with pytest.raises(DomainError, match="point"):
        bregman_projection(R, [0.7, 0.3], [[1.0, 0.0]], [0.1])
    with pytest.raises(ShapeError, match="A"):
        bregman_projection(R, [0.2, 0.3], [[1.0, 0.0, 0.0]], [0.1])
    with pytest.raises(ShapeError, match="b"):
        bregman_projection(R, [0.2, 0.3], [[1.0, 0.0]], [0.1, 0.2])
    with pytest.raises(ShapeError, match="broadcast"):
        bregman_projection(R, np.full((2, 2), 0.2), [[1.0, 0.0]], np.full((3, 1), 0.1))
