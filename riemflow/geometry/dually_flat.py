"""The dually flat structure of a Hessian manifold: α-connections, divergence, Amari-Chentsov tensor."""

from __future__ import annotations

from typing import Any

import numpy as np
from geomstats.geometry.connection import Connection

from riemflow.geometry.geodesics.alpha import alpha_geodesics
from riemflow.geometry.geodesics.solver import GeodesicConnection, GeodesicSolver
from riemflow.geometry.hessian_manifold import HessianManifold
from riemflow.geometry.hessian_metric import HessianMetric, in_float64
from riemflow.validation import as_number, require_kind


def canonical_divergence(space: HessianManifold, point: Any, base_point: Any) -> np.ndarray:
    """``D(p, q) = R(p) + R*(∇R(q)) - p·∇R(q)``, the Bregman divergence ``D_R(p, q)`` of two points.

    The divergence that the dually flat structure determines: ``D_R(p, q) = D_R*(∇R(q), ∇R(p))``. Next to q
    it is ``½ g(v, v) + ⅙ T(v, v, v)`` with v = p - q and T the `amari_chentsov_tensor`. Generalised
    Pythagorean theorem: ``D(p, r) = D(p, q) + D(q, r) - g_q(X, Y)``, where X is the velocity at q of the
    geodesic from q to p that is straight in w (α = 1) and Y that of the one to r straight in ∇R (α = -1).

    Parameters
    ----------
    space : HessianManifold
    point, base_point : array-like, shape=[..., dim]
        p and q.

    Returns
    -------
    divergence : array, shape=[...,]
    """
    require_kind("space", space, HessianManifold, "make one by HessianManifold(R)")
    return space.legendre_function.bregman_divergence(point, base_point)


def amari_chentsov_tensor(space: HessianManifold, base_point: Any) -> np.ndarray:
    """``T_ijk = ∂_i ∂_j ∂_k R``, totally symmetric: ``Γ^(-1)_ijk - Γ^(1)_ijk`` with indices lowered by g.

    In an exponential family with natural parameters w it is the third cumulant ``E[∂_i l ∂_j l ∂_k l]``.

    Parameters
    ----------
    space : HessianManifold
    base_point : array-like, shape=[..., dim]

    Returns
    -------
    tensor : array, shape=[..., dim, dim, dim]
    """
    require_kind("space", space, HessianManifold, "make one by HessianManifold(R)")
    return HessianMetric(space).inner_product_derivative_matrix(base_point)


class AlphaConnection(GeodesicConnection, Connection):
    """Amari's α-connection of a Hessian manifold, ``Γ^(α)k_ij = (1 - α)/2 · g^{kl} ∂_l ∂_i ∂_j R``.

    α = 1 is the primal flat connection, whose geodesics are straight in w; α = -1 the dual one, straight in
    ∇R(w); α = 0 Levi-Civita's. If w are natural parameters of an exponential family and R its log-partition
    function, α = 1 is the e-connection, that of normalised geometric means, and α = -1 the m-connection,
    that of mixtures. The connections of α and -α are conjugate:

        X g(Y, Z) = g(∇^(α)_X Y, Z) + g(Y, ∇^(-α)_X Z).

    Geodesics of α = ±1 are had in closed form from ∇R and ∇R*, those of α = 0 are the metric's; others are
    integrated by DOP853, by this connection's own symbols (geomstats' `ExpODESolver` takes those of
    `space.metric` whatever connection it serves), and those between two points are found by shooting.

    Parameters
    ----------
    space : HessianManifold
    alpha : float

    Raises
    ------
    DomainError, ShapeError
        For bad input, and at points outside the interior of dom R.
    ConvergenceError
        If a geodesic leaves the space before the time asked for, which it names, or no geodesic between two
        points is found that ends within 1e-9 of its length.
    """

    def __init__(self, space: HessianManifold, alpha: float):
        require_kind("space", space, HessianManifold, "make one by HessianManifold(R)")
        super().__init__(space)
        self.alpha = as_number("alpha", alpha)
        self.legendre_function = space.legendre_function
        self._levi_civita = HessianMetric(space)
        self.exp_solver = GeodesicSolver(space, alpha_geodesics(space.legendre_function, self.alpha))
        self.log_solver = self.exp_solver

    def __repr__(self) -> str:
        return f"AlphaConnection(α = {self.alpha:g}, {self._space})"

    @property
    def conjugate(self) -> AlphaConnection:
        """The (-α)-connection."""
        return AlphaConnection(self._space, -self.alpha)

    @in_float64
    def christoffels(self, base_point=None):
        """Γ^(α)k_ij = (1 - α) times that of the metric: shape=[..., dim] -> shape=[..., dim, dim, dim]."""
        return (1.0 - self.alpha) * self._levi_civita.christoffels(base_point)

    @in_float64
    def riemann_tensor(self, base_point=None):
        """R^(α) = (1 - α²) R^(0): fourth derivatives of R cancel, and what is left is quadratic in Γ.

        Parameters
        ----------
        base_point : array-like, shape=[..., dim]

        Returns
        -------
        riemann_tensor : array-like, shape=[..., dim, dim, dim, dim]
            R_ijk^l = dw^l(R(∂_j, ∂_k) ∂_i), the contravariant index last, as in geomstats.
        """
        return (1.0 - self.alpha) * ((1.0 + self.alpha) * self._levi_civita.riemann_tensor(base_point))
