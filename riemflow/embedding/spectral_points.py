"""Points at which the isometry equations are imposed, and those at which they are checked."""

from __future__ import annotations

import itertools

import numpy as np
from scipy.special import betaincinv, ndtri
from scipy.stats import qmc

from riemflow.embedding.region import Ball, Box, Region
from riemflow.embedding.spectral_basis import ChebyshevBasis
from riemflow.embedding.star import Star


def grid_size(dim: int, degree: int, n_least: int) -> int:
    """Return the points per axis of a tensor Chebyshev grid for polynomials of this degree."""
    return max(degree + 2, int(np.ceil(n_least ** (1 / dim))))


def chebyshev_grid(dim: int, per_axis: int) -> np.ndarray:
    """Return the tensor grid of Chebyshev points in [-1, 1]^d: shape=[per_axis^d, d]."""
    axis = np.cos(np.pi * (np.arange(per_axis) + 0.5) / per_axis)
    return np.array(list(itertools.product(axis, repeat=dim)))


def scattered_points(region: Region, basis: ChebyshevBasis, n_least: int, seed: int) -> np.ndarray:
    """Return collocation points w, denser towards the boundary as polynomials need: shape=[n, d].

    Halton points carried to the region's equilibrium density (the arcsine law in a box; uniform points in a
    tube), 4 % of them pushed to the boundary, and corners and vertices.
    """
    rng = np.random.default_rng(seed)
    n = max(n_least, 4 * region.dim)
    if isinstance(region, Box):
        points = basis.points(-np.cos(np.pi * qmc.Halton(region.dim, scramble=True, seed=seed).random(n)))
    elif isinstance(region, Ball | Star):
        points = _rays(region, qmc.Halton(region.dim + 1, scramble=True, seed=seed).random(n))
    else:
        points = region._sample(n, rng)
    pushed = n // 25
    boundary = region._boundary(n, rng)
    points[:pushed] = boundary[len(boundary) - pushed :]
    if isinstance(region, Box):
        return np.concatenate([points, region.corners()])
    if isinstance(region, Star):
        # Vertices can be sharp: a sixth of the points is drawn towards one each.
        ends = region.extreme_points()
        drawn, towards = points[: n // 6], ends[rng.integers(len(ends), size=n // 6)]
        points[: n // 6] = towards + rng.uniform(0.0, 1.0, (n // 6, 1)) ** 2 * (drawn - towards)
        return np.concatenate([points, ends])
    return points


def _rays(region: Ball | Star, halton: np.ndarray) -> np.ndarray:
    """Carry [0,1]^{d+1} to the density ∝ (1 - r²)^{-1/2} on the ball, for which r² ~ Beta(d/2, 1/2).

    Other bodies are its images under a map that is linear along each ray from the centre.
    """
    d = region.dim
    normal = ndtri(np.clip(halton[:, :d], 1e-12, 1 - 1e-12))
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    radii = np.sqrt(betaincinv(d / 2, 0.5, halton[:, d:]))
    if isinstance(region, Ball):
        return region.center + region.radius * radii * normal
    low, high = region.bounding_box()
    normal *= 0.5 * (high - low)
    return region.center + region.rays(normal)[:, None] * radii * normal


def check_points(region: Region, n: int, seed: int) -> np.ndarray:
    """Return n independent points, a quarter of them on the boundary, corners included: shape=[n, d]."""
    rng = np.random.default_rng([seed, 1])
    boundary = region._boundary(n // 4, rng)[: n // 2]
    return np.concatenate([boundary, region._sample(n - len(boundary), rng)])
