"""Boxes and balls."""

from __future__ import annotations

import numpy as np
import pytest

from riemflow.embedding import Ball, Box
from riemflow.embedding.coordinates import Axis
from riemflow.embedding.spectral_basis import ChebyshevBasis
from riemflow.embedding.spectral_points import check_points, scattered_points
from riemflow.errors import DomainError, ShapeError

REGIONS = [
    Box([-1.0, 2.0], [0.0, 5.0]),
    Ball([1.0, -2.0], 0.5),
    Box(np.zeros(3), np.ones(3)),
    Ball(np.zeros(3), 2.0),
]


@pytest.mark.parametrize("region", REGIONS, ids=repr)
def test_samples_and_boundary_belong(region, rng):
    assert region.belongs(region.center)
    assert region.belongs(region.sample(500, rng)).all()
    boundary = region._boundary(300, rng)
    assert region.belongs(boundary).all()
    assert not region.belongs(region.center + 1.001 * (boundary - region.center)).any()
    low, high = region.bounding_box()
    basis = ChebyshevBasis([Axis(*ends) for ends in zip(low, high, strict=True)], 5)
    assert region.belongs(scattered_points(region, basis, 200, 0)).all()
    points = check_points(region, 400, 0)
    assert points.shape == (400, region.dim) and region.belongs(points).all()
    assert (low <= boundary.min(axis=0) + 1e-12).all() and (boundary.max(axis=0) <= high + 1e-12).all()


def test_samples_are_uniform(rng):
    # A quarter of the disc's area lies within half its radius.
    w = Ball(np.zeros(2), 1.0).sample(20000, rng)
    assert abs((np.linalg.norm(w, axis=1) < 0.5).mean() - 0.25) < 0.02
    np.testing.assert_allclose(
        Box([0.0, 1.0], [1.0, 3.0]).sample(20000, rng).mean(axis=0), [0.5, 2.0], atol=0.03
    )


def test_bad_arguments():
    with pytest.raises(DomainError, match="axis 1"):
        Box([0.0, 1.0], [1.0, 1.0])
    with pytest.raises(ShapeError):
        Box([0.0], [1.0, 2.0])
    with pytest.raises(DomainError, match="radius"):
        Ball([0.0], 0.0)
    with pytest.raises(ShapeError):
        Ball(0.0, 1.0)
    with pytest.raises(DomainError, match="corners"):
        Box(np.zeros(20), np.ones(20)).corners()
    with pytest.raises(DomainError, match="at least 1"):
        Ball([0.0], 1.0).sample(0)


def test_corners():
    corners = Box([0.0, 1.0], [2.0, 3.0]).corners()
    assert {tuple(c) for c in corners} == {(0.0, 1.0), (0.0, 3.0), (2.0, 1.0), (2.0, 3.0)}
