"""Starting maps of the spectral solver: slightly bent, or wound on circles as the metric asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.polynomial import chebyshev

from riemflow.embedding.spectral_basis import ChebyshevBasis

if TYPE_CHECKING:
    from riemflow.embedding.metric import Metric

# Shares of the unit speed that a circle's radius and the mixed component may change by, and the least angle
# wound on half an axis.
SLOPE, CROSS, LEAST_ANGLE, NOISE = 0.7, 0.7, 1.2, 1e-3
# A wound start is worth its degree from this angle on; it is resolved once polynomials err by less than this.
WOUND, RESOLVED = 1.5, 1e-7


def starting_coefficients(basis: ChebyshevBasis, root: np.ndarray, ambient_dim: int, seed: int) -> np.ndarray:
    """Return F's first coefficients: shape=[N, D]; `root` is g^{1/2} in the coordinates u, at u = 0.

    The first d components are g^{1/2} u. The spare ones bend: each holds one quadratic monomial
    of size 0.3 √(mean eigenvalue), since without curvature in the normal directions the linearised
    isometry equations cannot be solved (they are singular at a flat map). Small random cubics
    break what symmetry is left.
    """
    d = basis.dim
    rng = np.random.default_rng([seed, 2])
    coefficients = np.zeros((basis.size, ambient_dim))
    position = {tuple(a): k for k, a in enumerate(basis.indices)}
    # The linear functions u_i have index e_i.
    linear = np.array([position[tuple(row)] for row in np.eye(d, dtype=int)])
    coefficients[linear, :d] = root
    size = 0.3 * np.linalg.norm(root) / np.sqrt(d)  # √(g's mean eigenvalue)
    quadratic = [k for k, a in enumerate(basis.indices) if a.sum() == 2]
    spare = ambient_dim - d
    if spare:
        # T_2 = 2u² - 1 is halved so that all monomials enter with the same size.
        amount = np.array([0.5 if basis.indices[k].max() == 2 else 1.0 for k in quadratic])
        if spare >= len(quadratic):
            mix = np.eye(len(quadratic), spare)
        else:
            mix = np.linalg.qr(rng.standard_normal((len(quadratic), spare)))[0]
        coefficients[quadratic, d:] = size * amount[:, None] * mix
    cubic = [k for k, a in enumerate(basis.indices) if a.sum() == 3]
    coefficients[cubic] = 0.02 * size * rng.standard_normal((len(cubic), ambient_dim))
    return coefficients


class WoundStart:
    """F_0 = (ρ_i sin ω_iζ_i, ρ_i cos ω_iζ_i, ∝ ρ_jζ_jρ_kζ_k) with ω_iρ_i = √g_ii, of d(d+3)/2 components.

    ζ = g^{1/2}(centre) u. Its first and second derivatives are linearly independent wherever the circles are
    small next to the lengths over which g changes, so that the linearised isometry equations can be solved
    there, also on regions on which √g_ii grows too fast for a slightly bent start: each frequency is
    ``ω_i = max |∇√g_ii|_{g^{-1}} / 0.7``, or so small that the axis is hardly bent.

    Attributes
    ----------
    angle : float
        The largest ω_i times half the region's width.
    """

    def __init__(self, basis: ChebyshevBasis, metric: Metric, w: np.ndarray, center: np.ndarray):
        d = basis.dim
        self.basis, self.u = basis, basis.coordinates(w)[0]
        self.root = basis.metric_power(metric, center, 0.5)
        self.zeta = self.u @ self.root
        inverse = np.linalg.inv(self.root)
        g = inverse @ basis.metric(metric, w) @ inverse
        self.speed = np.sqrt(np.diagonal(g, axis1=-2, axis2=-1))
        # With the speeds as factors, ∂_i∂_j is independent of the circles' tangents too.
        i, j = np.triu_indices(d, 1)
        cross = (self.speed * self.zeta)[:, i] * (self.speed * self.zeta)[:, j]
        # Gradients are those of fits by polynomials of degree 8 at most.
        small = ChebyshevBasis(basis.axes, min(8, basis.degree))
        rows = np.concatenate([np.ones((len(w), 1)), _values(small, self.u)], axis=1)
        fit = np.linalg.lstsq(rows, np.concatenate([self.speed, cross], axis=1), rcond=None)[0][1:]
        slopes = np.swapaxes(small.gradients(w) @ fit, -1, -2) / basis.coordinates(w)[1][:, None, :] @ inverse
        size = np.sqrt(np.einsum("nia,nab,nib->ni", slopes, np.linalg.inv(g), slopes)).max(axis=0)
        reach = np.abs(self.zeta).max(axis=0)
        self.cross = CROSS * cross / size[d:]
        self.frequency = np.maximum(size[:d] / SLOPE, LEAST_ANGLE / reach)
        self.angle = float((self.frequency * reach).max())

    def coefficients(self, ambient_dim: int, seed: int) -> tuple[np.ndarray, bool]:
        """Return F_0's coefficients in the basis, shape=[N, D], and whether its degree is enough for it."""
        d = self.basis.dim
        phase, radius = self.frequency * self.zeta, self.speed / self.frequency
        parts = [radius * np.sin(phase), radius * np.cos(phase), self.cross]
        values = np.zeros((len(self.u), ambient_dim))
        values[:, : d * (d + 3) // 2] = np.concatenate(parts, axis=-1)
        rows = np.concatenate([np.ones((len(self.u), 1)), _values(self.basis, self.u)], axis=1)
        found = np.linalg.lstsq(rows, values, rcond=None)[0]
        error = np.abs(rows @ found - values).max() / np.abs(values).max()
        noise = np.random.default_rng([seed, 4]).standard_normal((self.basis.size, ambient_dim))
        # Small random cubics break what symmetry there is.
        cubic = self.basis.indices.sum(axis=1, keepdims=True) == 3
        return found[1:] + NOISE * np.abs(values).max() * cubic * noise, bool(error <= RESOLVED)


def _values(basis: ChebyshevBasis, u: np.ndarray) -> np.ndarray:
    tables = np.stack([chebyshev.chebvander(u[:, i], basis.degree) for i in range(basis.dim)])
    return np.prod([tables[i][:, basis.indices[:, i]] for i in range(basis.dim)], axis=0)
