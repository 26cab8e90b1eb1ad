"""Injectivity and reach against arcs of circles, spheres and curves that cross themselves."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
import pytest

from riemflow.embedding import Ball, Box, embed
from riemflow.embedding.closed_form import ClosedFormEmbedding
from riemflow.embedding.maps import Map
from riemflow.embedding.reach import N_POINTS, SEED
from riemflow.embedding.spectral_points import check_points
from riemflow.errors import DomainError
from riemflow.legendre import NegativeEntropy, SimplexEntropy, SquaredNorm
from riemflow.legendre.function import LegendreFunction


class Circle(Map):
    """t -> (cos t, sin t), an isometric immersion of the line."""

    dim, ambient_dim, is_local = 1, 2, True

    def fun(self, w):
        return np.concatenate([np.cos(w), np.sin(w)], axis=-1)

    def jacobian(self, w):
        return np.stack([-np.sin(w), np.cos(w)], axis=-2)

    def hessian(self, w):
        return -np.stack([np.cos(w), np.sin(w)], axis=-2)[..., None]

    def start(self, x):
        return np.arctan2(x[..., 1:], x[..., :1])


def arc(a):
    return ClosedFormEmbedding(SquaredNorm(1), Circle(), Box([-a], [a]))


@pytest.mark.parametrize("a", [0.3, 1.0, 1.5])
def test_of_an_arc(a):
    """With mean tangent c (sin β, cos β): margin cos(a + |β|) / c, below the reach 1 its square c²."""
    F = arc(a)
    assert F.injectivity.passed and not F.injectivity.is_bound
    t = check_points(F.region, N_POINTS, SEED)
    sin, cos = np.sin(t).mean(), np.cos(t).mean()
    c, off = np.hypot(sin, cos), np.abs(np.arctan2(sin, cos))
    np.testing.assert_allclose(F.injectivity.margin, np.cos(a + off) / c, rtol=1e-9)
    np.testing.assert_allclose(F.reach.upper, 1.0, rtol=1e-9)
    np.testing.assert_allclose(F.reach.lower, np.cos(a + off) ** 2, rtol=1e-9)
    assert "F is injective" in str(F.injectivity) and "reach between" in str(F.reach)


class Eight(Circle):
    """t -> (sin t, ½ sin 2t), which crosses itself at t = 0, π."""

    def fun(self, w):
        return np.concatenate([np.sin(w), 0.5 * np.sin(2 * w)], axis=-1)

    def jacobian(self, w):
        return np.stack([np.cos(w), np.cos(2 * w)], axis=-2)

    def hessian(self, w):
        return -np.stack([np.sin(w), 2 * np.sin(2 * w)], axis=-2)[..., None]


def test_an_arc_beyond_a_half_circle_is_not_shown_to_be_injective_and_a_crossing_has_no_reach():
    half = arc(2.0)
    assert not half.injectivity.passed and half.reach.lower == 0.0
    np.testing.assert_allclose(half.reach.upper, 1.0, rtol=1e-9)
    eight = ClosedFormEmbedding(SquaredNorm(1), Eight(), Box([-0.5], [3.6]))
    assert not eight.injectivity.passed and "not shown" in str(eight.injectivity)
    assert eight.reach.lower == 0.0 and eight.reach.upper < 0.02


@pytest.fixture(scope="module")
def solved():
    def value(w):
        return anp.log(1 + anp.sum(anp.exp(w), -1)) + 0.05 * anp.sum(w**2, -1)

    return embed(LegendreFunction(value, 2), Box([-1.0, -1.0], [1.0, 1.0]), tol=1e-8)


def test_the_margin_of_a_spectral_embedding_bounds_all_pairs(solved, rng):
    shown = solved.injectivity
    assert shown.passed and shown.is_bound
    # In u, with the frame of the mean over a Chebyshev grid, as the bound has it.
    m = 40
    u = np.cos(np.pi * (np.arange(m) + 0.5) / m)
    grid = solved.basis.points(np.stack(np.meshgrid(u, u, indexing="ij"), axis=-1).reshape(-1, 2))
    mean = (solved.jacobian(grid) / solved.basis.coordinates(grid)[1][:, None, :]).mean(axis=0)
    root = np.linalg.cholesky(mean.T @ mean).T  # |root·u|² = uᵀ meanᵀ mean u
    w1, w2 = solved.region.sample(40_000, rng), solved.region.sample(40_000, rng)
    gap = (solved.basis.coordinates(w1)[0] - solved.basis.coordinates(w2)[0]) @ root.T
    ratios = np.linalg.norm(solved(w1) - solved(w2), axis=1) / np.linalg.norm(gap, axis=1)
    assert ratios.min() >= shown.margin > 0.3 * ratios.min()


def test_within_the_lower_bound_nearest_points_are_unique(solved, rng):
    """x = p + normal shorter than the reach: no point of M is nearer than p."""
    reach = solved.reach
    assert reach.is_bound and 0 < reach.lower <= reach.upper
    w = solved.region.sample(300, rng)
    cloud = solved(solved.region.sample(20_000, rng))
    normal = np.linalg.svd(np.swapaxes(solved.jacobian(w), -1, -2))[2][:, 2:]
    step = np.einsum("nk,nkj->nj", rng.standard_normal((300, 3)), normal)
    step *= reach.lower / np.linalg.norm(step, axis=1, keepdims=True)
    p = solved(w)
    for x, here in zip(p + step, p, strict=True):
        assert np.linalg.norm(cloud - x, axis=1).min() >= np.linalg.norm(x - here) - 1e-12
    # Negative control: a little beyond the upper bound somewhere a nearer one exists.
    far = p + step * (1.5 * reach.upper / reach.lower)
    nearer = [
        np.linalg.norm(cloud - x, axis=1).min() < np.linalg.norm(x - here) - 1e-3
        for x, here in zip(far, p, strict=True)
    ]
    assert any(nearer)


def test_flat_images_have_no_bound_on_their_reach_and_spheres_their_radius():
    flat = embed(NegativeEntropy(2), Box([0.5, 0.5], [2.0, 2.0]))
    assert flat.reach.upper > 1e6 and flat.injectivity.passed
    sphere = embed(SimplexEntropy(2), Box([0.1, 0.1], [0.4, 0.4]))
    np.testing.assert_allclose(sphere.reach.upper, 2.0, rtol=1e-6)
    assert 0 < sphere.reach.lower < 2.0
    ball = embed(SimplexEntropy(2), Ball([0.3, 0.3], 0.1))
    np.testing.assert_allclose(ball.reach.upper, 2.0, rtol=1e-6)


def test_the_inverse_warns_beyond_the_reach():
    sphere = embed(SimplexEntropy(2), Box([0.1, 0.1], [0.4, 0.4]))
    x = sphere([0.3, 0.3])
    np.testing.assert_allclose(sphere.inverse(1.9 * x), [0.3, 0.3], atol=1e-12)  # 1.8 from the sphere
    with pytest.warns(UserWarning, match=r"lies 2\.2 from M, whose reach is at most 2"):
        np.testing.assert_allclose(sphere.inverse(2.1 * x), [0.3, 0.3], atol=1e-12)


def test_without_a_region_there_is_neither():
    F = embed(SimplexEntropy(2))
    for name in ("injectivity", "reach"):
        with pytest.raises(DomainError, match="region"):
            getattr(F, name)
