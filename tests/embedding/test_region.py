"""Regions: boxes, balls, polytopes, balls of a divergence, tubes."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
import pytest

import riemflow as rf
from riemflow.embedding import Ball, Box, BregmanBall, Polytope, SublevelSet, Tube, embed
from riemflow.embedding.coordinates import Axis
from riemflow.embedding.spectral_basis import ChebyshevBasis
from riemflow.embedding.spectral_points import check_points, scattered_points
from riemflow.errors import DomainError, ShapeError
from riemflow.legendre import (
    BurgEntropy,
    LogSumExp,
    NegativeEntropy,
    Quadratic,
    SquaredNorm,
)

TRIANGLE = Polytope([[-1.0, 0.0], [0.0, -1.0], [1.0, 1.0]], [-0.1, -0.2, 1.1])
ARC = np.stack([np.cos(np.linspace(0, 4, 200)), np.sin(np.linspace(0, 4, 200))], axis=-1)
REGIONS = {
    "box": Box([-1.0, 2.0], [0.0, 5.0]),
    "ball": Ball([1.0, -2.0], 0.5),
    "cube": Box(np.zeros(3), np.ones(3)),
    "ball in space": Ball(np.zeros(3), 2.0),
    "triangle": TRIANGLE,
    "long and thin": Polytope(np.vstack([np.eye(2), -np.eye(2)]), [50.0, 0.01, 50.0, 0.01]),
    "interval": Polytope([[2.0], [-1.0]], [4.0, 1.0]),
    "simplex": Polytope(np.vstack([-np.eye(4), np.ones(4)]), [0.0, 0.0, 0.0, 0.0, 1.0]),
    "entropy ball": BregmanBall(NegativeEntropy(2), [0.5, 1.0], 0.2),
    "sublevel set": SublevelSet(LogSumExp(2) + SquaredNorm(2).compose(np.eye(2), [-0.3, 0.1]), 1.5),
    "tube": Tube(ARC, 0.2),
    "tube of one point": Tube([[1.0, 2.0]], 0.3),
    "tube in space": Tube([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.5]], 0.1),
    "tube on a line": Tube([[0.0], [1.0]], 0.25),
}


@pytest.mark.parametrize("region", REGIONS.values(), ids=REGIONS)
def test_samples_and_boundary_belong(region, rng):
    assert region.belongs(region.center)
    inside = region.sample(500, rng)
    assert inside.shape == (500, region.dim) and region.belongs(inside).all()
    boundary = region._boundary(300, rng)
    assert region.belongs(boundary).all()
    if region.is_convex:
        assert not region.belongs(region.center + 1.001 * (boundary - region.center)).any()
    low, high = region.bounding_box()
    basis = ChebyshevBasis([Axis(*ends) for ends in zip(low, high, strict=True)], 5)
    assert region.belongs(scattered_points(region, basis, 200, 0)).all()
    points = check_points(region, 400, 0)
    assert points.shape == (400, region.dim) and region.belongs(points).all()
    assert (low <= boundary.min(axis=0) + 1e-12).all() and (boundary.max(axis=0) <= high + 1e-12).all()


@pytest.mark.parametrize("region", REGIONS.values(), ids=REGIONS)
def test_the_bounding_box_is_the_smallest(region, rng):
    points = region._boundary(20_000, rng)
    low, high = region.bounding_box()
    np.testing.assert_allclose(points.min(axis=0), low, atol=0.02 * (high - low).max())
    np.testing.assert_allclose(points.max(axis=0), high, atol=0.02 * (high - low).max())
    for i in range(region.dim):
        first, last = region._ends_along(i)
        assert first[i] == pytest.approx(low[i]) and last[i] == pytest.approx(high[i])
        assert not region.is_convex or region.belongs([first, last]).all()


# By hand: a region, a part of it, and the share of the volume that lies in the part.
SHARES = {
    "ball": (Ball(np.zeros(2), 1.0), lambda w: np.linalg.norm(w, axis=1) < 0.5, 0.25),
    "box": (Box([0.0, 1.0], [1.0, 3.0]), lambda w: w[:, 1] < 1.5, 0.25),
    # The triangle's sides from its corner (.1, .2) are .8 long; half of them cut off a quarter.
    "triangle": (TRIANGLE, lambda w: (w - [0.1, 0.2]).sum(axis=1) < 0.4, 0.25),
    "long and thin": (REGIONS["long and thin"], lambda w: np.abs(w[:, 0]) < 10.0, 0.2),
    "ellipse": (
        SublevelSet(Quadratic(np.diag([1.0, 100.0])), 0.5),
        lambda w: w[:, 0] ** 2 + 100 * w[:, 1] ** 2 < 0.25,
        0.25,
    ),
    # A stadium: a rectangle 2 x .2 and two half discs of radius .1.
    "tube": (
        Tube([[0.0, 0.0], [2.0, 0.0]], 0.1 / 1.05),
        lambda w: np.abs(w[:, 0] - 1) < 1,
        0.4 / (0.4 + 0.01 * np.pi),
    ),
    # Two of them crossing at a right angle: the square in the middle counts once.
    "crossing": (
        Tube([[-1.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, -1.0]], 0.1 / 1.05),
        lambda w: (np.abs(w) < 0.1).all(axis=1),
        None,
    ),
}


@pytest.mark.parametrize("name", SHARES)
def test_samples_are_uniform(name, rng):
    region, smaller, share = SHARES[name]
    w = region.sample(20_000, rng)
    if share is None:
        # By area, from points of the bounding box.
        low, high = region.bounding_box()
        points = rng.uniform(low, high, (400_000, 2))
        inside = points[region.belongs(points)]
        share = smaller(inside).mean()
    assert abs(smaller(w).mean() - share) < 0.02


def test_polytope_vertices_and_centre():
    found = {tuple(np.round(v, 12)) for v in TRIANGLE.extreme_points()}
    assert found == {(0.1, 0.2), (0.9, 0.2), (0.1, 1.0)}
    # Chebyshev's centre is equally far from the sides, once the bounding box is a square; it is one here.
    slack = (TRIANGLE.b - TRIANGLE.A @ TRIANGLE.center) / np.linalg.norm(TRIANGLE.A, axis=1)
    np.testing.assert_allclose(slack, slack[0])


def test_entropy_ball_by_hand():
    center, radius = np.array([0.5, 1.0]), 0.2
    region = BregmanBall(NegativeEntropy(2), center, radius)

    def divergence(w):
        return (w * np.log(w / center) - w + center).sum(axis=-1)

    boundary = region._boundary(100, np.random.default_rng(0))
    np.testing.assert_allclose(divergence(boundary), radius, rtol=1e-10)
    low, high = region.bounding_box()
    # Along axis 0 the ball ends where the other coordinate is its centre's.
    np.testing.assert_allclose(divergence(np.array([[low[0], 1.0], [high[0], 1.0]])), radius, rtol=1e-10)


def test_a_sublevel_set_by_hand():
    R = Quadratic(np.array([[2.0, 0.5], [0.5, 1.0]]))
    region = SublevelSet(R, 0.7)
    points = region._boundary(200, np.random.default_rng(0))
    np.testing.assert_allclose(R(points), 0.7, rtol=1e-12)
    # max w_i on ½wᵀAw = c is √(2c (A⁻¹)_ii).
    expected = np.sqrt(1.4 * np.diag(np.linalg.inv(R.A)))
    np.testing.assert_allclose(region.bounding_box()[1], expected, rtol=1e-10)


def test_a_sublevel_set_whose_dual_points_are_bounded():
    """∇ ln cosh = tanh stays below 1, and its sublevel sets are compact: geodesic discs."""
    R = rf.LegendreFunction(lambda w: anp.sum(anp.log(anp.cosh(w)), axis=-1), 2, name="ln cosh")
    region = SublevelSet(R, np.log(np.cosh(2.0)))
    np.testing.assert_allclose(region.bounding_box(), [[-2.0, -2.0], [2.0, 2.0]], rtol=1e-9)
    s, rho = region._boundary(100, np.random.default_rng(0)).T
    np.testing.assert_allclose(np.cosh(s) * np.cosh(rho), np.cosh(2.0), rtol=1e-9)


def test_a_tube_follows_a_flow():
    flow = rf.mirror_flow(NegativeEntropy(2), rf.losses.Linear([1.0, -0.5]), [1.0, 1.0], 1.0)
    region = Tube(flow, 0.1)
    assert region.belongs(flow.w).all()
    normal = np.array([0.5, 1.0])
    assert not region.belongs(flow.w + 0.3 * normal).any()
    assert len(region._start) < len(flow.t)


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
    with pytest.raises(DomainError, match="unbounded along axis"):
        Polytope([[1.0, 0.0], [0.0, 1.0]], [1.0, 1.0])
    with pytest.raises(DomainError, match="empty"):
        Polytope([[1.0], [-1.0]], [0.0, -1.0])
    with pytest.raises(DomainError, match="no interior"):
        Polytope([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], [0.0, 0.0, 1.0, 1.0])
    with pytest.raises(ShapeError, match="b has shape"):
        Polytope(np.eye(2), [1.0, 2.0, 3.0])
    with pytest.raises(DomainError, match=r"dom NegativeEntropy"):
        BregmanBall(NegativeEntropy(2), [-1.0, 1.0], 0.1)
    with pytest.raises(DomainError, match="LegendreFunction"):
        SublevelSet(lambda w: w, 1.0)
    with pytest.raises(DomainError, match="must be above"):
        SublevelSet(SquaredNorm(2), -1.0)
    with pytest.raises(ShapeError, match="points has shape"):
        Tube([1.0, 2.0], 0.1)


def test_a_region_that_is_not_compact_inside_the_domain():
    # D(w, c) = Σ w ln(w/c) - w + c is at most c_i on the way to w_i = 0.
    BregmanBall(NegativeEntropy(2), [0.5, 1.0], 0.49)
    with pytest.raises(DomainError, match=r"touches the boundary of dom NegativeEntropy, .* down axis 0"):
        BregmanBall(NegativeEntropy(2), [0.5, 1.0], 0.51)
    with pytest.raises(DomainError, match="no minimum inside its domain"):
        SublevelSet(BurgEntropy(2), 1.0)


@pytest.mark.parametrize(
    "region",
    [
        Polytope([[-1.0, 0.0], [0.0, -1.0], [1.0, 1.0]], [0.0, 0.0, 1.0]),
        Tube([[0.3, 0.3], [0.05, 0.3]], 0.1),
        SublevelSet(SquaredNorm(2).compose(np.eye(2), [-0.5, -0.5]), 0.2),
    ],
    ids=["polytope", "tube", "sublevel set"],
)
def test_a_region_that_leaves_dom_R_is_refused(region):
    with pytest.raises(DomainError, match=r"is not inside dom .*: it contains w = "):
        embed(NegativeEntropy(2) + 0.1 * SquaredNorm(2), region)


MIXED = LogSumExp(2) + 0.1 * SquaredNorm(2)
# With the w₁ + w₂ at which a metric ends, between their own largest and that of their bounding boxes.
INSIDE = {
    "polytope": (Polytope([[-1.0, 0.2], [0.2, -1.0], [1.0, 1.0]], [-0.1, -0.1, 1.5]), 1.9),
    "entropy ball": (BregmanBall(NegativeEntropy(2), [0.8, 0.8], 0.2), 2.7),
    "tube": (Tube(np.array([0.6, 0.6]) + 0.4 * ARC, 0.1), 2.1),
}


@pytest.mark.parametrize("name", INSIDE)
def test_embedding_on_it(name):
    region, end = INSIDE[name]

    def ending(w):
        with np.errstate(all="ignore"):
            return np.eye(2) * (1 + 0.2 * np.sqrt(end - w.sum(axis=-1)))[..., None, None]

    assert np.isnan(ending(np.array(region.bounding_box()[1]))).any()
    for given in (MIXED, ending):
        F = embed(given, region, method="auto" if given is ending else "spectral", tol=1e-5)
        w = region.sample(2000, np.random.default_rng(77))
        assert F.certificate.passed and F.metric_defect(w).max() <= 1e-5
        assert not F.certificate.bound.is_bound
        np.testing.assert_allclose(F.inverse(F(w[:50])), w[:50], atol=1e-10)
        assert region.is_convex or not F.injectivity.passed


def test_in_files(tmp_path):
    for name in ("polytope", "tube", "entropy ball"):
        F = embed(MIXED, INSIDE[name][0], method="spectral", tol=1e-4)
        L = rf.load_embedding(F.save(tmp_path / name))
        w = F.region.sample(50)
        np.testing.assert_array_equal(L(w), F(w))
        assert L.region.belongs(w).all() and repr(L.region) == repr(F.region)


def test_a_closed_form_on_a_polytope():
    R = rf.legendre.LorentzBarrier(2)
    F = embed(R, Polytope([[-1.0, -1.0], [1.0, -1.0], [0.0, 1.0]], [-1.0, -1.0, 2.0]))
    assert F.method == "closed-form"
    assert F.metric_defect(F.region.sample(500)).max() < 1e-10


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0 + 1e-7), (1e-300, 1.0), (-1e6 - 1e-6, -1e6), (0.1, 0.3)])
def test_a_box_holds_its_own_corners_and_boundary_points_and_no_others(low, high):
    box = Box([low, low], [high, high])
    points = np.concatenate([box.corners(), box._boundary(200, np.random.default_rng(0)), box.sample(200)])
    assert box.belongs(points).all() and (points >= low).all() and (points <= high).all()
    assert not box.belongs([low - 1e-3 * (high - low) - 1e-9 * abs(low), high])


def test_a_ball_of_a_divergence_too_small_or_too_large_names_its_radius_and_the_remedy():
    R = NegativeEntropy(2)
    for radius in (1e-300, 1e-30):
        with pytest.raises(DomainError, match=f"radius {radius:g}.* too small for rounding.* larger radius"):
            BregmanBall(R, [0.5, 0.5], radius)
    # D(0, w) = w for the entropy: the ball of half the size ends inside.
    with pytest.raises(DomainError, match=r"radius 1e\+30 .*followed up to 0.5 there.* smaller radius"):
        BregmanBall(R, [0.5, 0.5], 1e30)
    assert BregmanBall(R, [0.5, 0.5], 0.49).belongs([0.5, 0.5])
    with pytest.raises(DomainError, match=r"sublevel set \{FermiDirac ≤ -0.1\}.* smaller level"):
        SublevelSet(rf.legendre.FermiDirac(2), -0.1)
