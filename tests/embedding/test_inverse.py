"""The nearest point of an embedding: a strict minimum of the distance, or an error."""

from __future__ import annotations

import numpy as np
import pytest

from riemflow.embedding import Box, embed
from riemflow.embedding.inverse import nearest_point
from riemflow.errors import ConvergenceError, DomainError
from riemflow.legendre import (
    LogPartition,
    LogSumExp,
    LorentzBarrier,
    NegativeEntropy,
    Quadratic,
    SimplexEntropy,
    SquaredNorm,
)

# Each embeds the three probabilities as 2√p, the open octant of the sphere of radius 2.
OCTANTS = {
    "simplex": SimplexEntropy(2),
    "log-sum-exp": LogSumExp(2),
    "log-partition": LogPartition([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]),
}


@pytest.fixture(params=OCTANTS)
def octant(request):
    return embed(OCTANTS[request.param])


@pytest.mark.parametrize(
    "x",
    [
        [-1.0, -1.0, -1.0],  # the only critical point is the farthest, and the infimum lies in the corners
        [-2.0, -0.1, -0.1],  # the infimum lies on an edge
        [1.0, 0.1, -0.2],
        [0.0, 0.0, 0.0],  # the centre: every distance is 2
        [2.0, 0.0, 0.0],  # a corner itself, which is not attained
    ],
)
def test_where_no_minimum_is_attained_nothing_is_returned(octant, x):
    with pytest.raises(ConvergenceError, match="no minimum of the distance"):
        octant.inverse(x)
    assert not octant.parametrization().domain.belongs(x)


def test_inside_the_octant_the_nearest_point_is_radial(octant, rng):
    x = rng.uniform(0.05, 3.0, (200, 3))
    expected = 2.0 * x / np.linalg.norm(x, axis=-1, keepdims=True)
    np.testing.assert_allclose(octant(octant.inverse(x)), expected, atol=1e-11)


def test_one_bad_point_does_not_spoil_the_others(octant):
    x = np.array([[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0], [1.0, 2.0, 2.0]])
    w, converged = nearest_point(octant, x, octant._start(x))
    assert converged.tolist() == [True, False, True]
    np.testing.assert_allclose(octant(w[2]), [2 / 3, 4 / 3, 4 / 3], atol=1e-12)


def test_a_critical_point_that_is_a_maximum_is_left_for_a_minimum():
    """(2√p_0, 2√p_1, w/5) seen from x = (-1.5, -1.5, 0): w = 0 is a local maximum between two minima."""
    F, x = embed(LogSumExp(1) + 0.04 * SquaredNorm(1)), np.array([-1.5, -1.5, 0.0])
    grid = np.linspace(-40.0, 40.0, 800_001)[:, None]
    distance = np.linalg.norm(F(grid) - x, axis=-1)
    assert distance[400_000] > distance.min() + 1e-3
    w, converged = nearest_point(F, x, np.zeros(1))
    assert converged
    # The grid's spacing of 1e-4 costs less than its square in distance.
    assert abs(np.linalg.norm(F(w) - x) - distance.min()) < 1e-8
    assert np.linalg.norm(F(F.inverse(x)) - x) == pytest.approx(distance.min(), abs=1e-8)


def test_points_on_the_image_are_found_however_ill_conditioned_the_metric():
    """The Hessian is judged relative to JᵀJ, of which the condition is 1e10 here."""
    A = np.array([[1.0, 1.0 - 1e-10], [1.0 - 1e-10, 1.0]])
    F, w = embed(Quadratic(A)), np.array([[0.3, -2.0], [5.0, 1.0]])
    np.testing.assert_allclose(F.inverse(F(w)), w, atol=1e-5)
    deep = embed(LogSumExp(2))
    # p_1 = e^-60: F_1 = 2e-13, far below the tolerance on steps, and still exact.
    np.testing.assert_allclose(deep.inverse(deep([-60.0, 0.5])), [-60.0, 0.5], rtol=1e-12)


def test_a_closed_form_ignores_the_region_and_a_hyperbolic_one_does_not():
    F = embed(NegativeEntropy(2), Box([0.5, 0.5], [1.0, 1.0]))
    # F = 2√w.
    np.testing.assert_allclose(F.inverse([3.0, 3.0]), [2.25, 2.25], rtol=1e-12)
    np.testing.assert_allclose(F([2.25, 2.25]), [3.0, 3.0])
    H = embed(LorentzBarrier(2), Box([-0.5, 1.0], [0.5, 2.0]))
    with pytest.raises(DomainError):
        H([0.0, 0.3])
    # Downwards from the region, beyond where the formula holds.
    with pytest.raises(ConvergenceError):
        H.inverse(H([0.0, 1.0]) + np.array([0.6, 0.0, -2.9]))
