"""Points at which the isometry equations are imposed, and those at which they are checked."""

from __future__ import annotations

import itertools

import numpy as np
from scipy.special import betaincinv
from scipy.stats import qmc

from riemflow.embedding.region import Box, Region


def fitting_points(region: Region, degree: int, n_least: int, seed: int) -> np.ndarray:
    """Return collocation points, denser towards the boundary as polynomials need: shape=[n, d].

    A three-dimensional box gets a tensor Chebyshev grid of at least degree + 1 points an axis; otherwise
    Halton points are carried to the region's equilibrium density (the arcsine law in a box),
    4 % of them are pushed to the boundary, and the corners of a box are added.
    """
    if isinstance(region, Box) and region.dim >= 3:
        per_axis = max(degree + 1, int(np.ceil(n_least ** (1 / region.dim))))
        axis = np.cos(np.pi * (np.arange(per_axis) + 0.5) / per_axis)
        u = np.array(list(itertools.product(axis, repeat=region.dim)))
        return region.center + 0.5 * (region.upper - region.lower) * u
    rng = np.random.default_rng(seed)
    n = max(n_least, 4 * region.dim)
    if isinstance(region, Box):
        halton = qmc.Halton(region.dim, scramble=True, seed=seed).random(n)
        points = region.center + 0.5 * (region.upper - region.lower) * -np.cos(np.pi * halton)
    else:
        halton = qmc.Halton(region.dim + 1, scramble=True, seed=seed).random(n)
        points = _ball(region, halton)
    pushed = n // 25
    boundary = region._boundary(n, rng)
    points[:pushed] = boundary[len(boundary) - pushed :]
    return np.concatenate([points, region.corners()]) if isinstance(region, Box) else points


def _ball(region, halton: np.ndarray) -> np.ndarray:
    """Carry [0,1]^{d+1} to the density ∝ (1 - r²)^{-1/2} on the ball, for which r² ~ Beta(d/2, 1/2)."""
    from scipy.special import ndtri

    d = region.dim
    normal = ndtri(np.clip(halton[:, :d], 1e-12, 1 - 1e-12))
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    radii = np.sqrt(betaincinv(d / 2, 0.5, halton[:, d:]))
    return region.center + region.radius * radii * normal


def check_points(region: Region, n: int, seed: int) -> np.ndarray:
    """Return n independent points, a quarter of them on the boundary, corners included: shape=[n, d]."""
    rng = np.random.default_rng([seed, 1])
    boundary = region._boundary(n // 4, rng)[: n // 2]
    return np.concatenate([boundary, region._sample(n - len(boundary), rng)])
