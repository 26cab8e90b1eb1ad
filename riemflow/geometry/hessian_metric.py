"""The metric ∇²R and its curvature, from R's own derivatives."""

from __future__ import annotations

from typing import Any

import geomstats.backend as gs
import numpy as np
from geomstats.geometry.base import VectorSpaceOpenSet
from geomstats.geometry.riemannian_metric import RiemannianMetric

from riemflow.autodiff import anp
from riemflow.geometry.geodesics import GeodesicMetric, GeodesicSolver
from riemflow.geometry.integrated import Integrated
from riemflow.geometry.isometries import geodesics_of


class HessianMetric(GeodesicMetric, RiemannianMetric):
    """The metric ``g = ∇²R`` of a `HessianManifold`, with ``Γ = ½ g⁻¹ ∇³R``.

    Geodesics have closed forms where R is separable or quadratic, an entropy of the simplex or its
    conjugate, a `LorentzBarrier`, a `LogDet`, or made of such by scaling, tilting, affine changes of
    variables, products and conjugates. Others are integrated by DOP853 with relative tolerance 1e-12, and
    those between two points are paths of least energy among polynomials, to 1e-12.

    Parameters
    ----------
    space : HessianManifold
    closed_form : bool
        False: integrate always.

    Attributes
    ----------
    legendre_function : LegendreFunction
        R.
    """

    def __init__(self, space: VectorSpaceOpenSet, closed_form: bool = True):
        super().__init__(space=space)
        R = self.legendre_function = space.legendre_function
        self.exp_solver = GeodesicSolver(space, geodesics_of(R) if closed_form else Integrated.of(R))
        self.log_solver = self.exp_solver

    def _derivative(self, order: str, base_point: Any) -> Any:
        if hasattr(base_point, "_node"):
            # Traced by the autograd backend: no check can look inside, and none may convert it.
            return getattr(self.legendre_function, f"_{order}")(base_point)
        return getattr(self.legendre_function, order)(base_point)

    def metric_matrix(self, base_point=None):
        """g_ij = ∂_i ∂_j R.

        Parameters
        ----------
        base_point : array-like, shape=[..., dim]

        Returns
        -------
        mat : array-like, shape=[..., dim, dim]

        Raises
        ------
        DomainError
            If a base point lies outside the interior of dom R.
        """
        return self._derivative("hessian", base_point)

    def cometric_matrix(self, base_point=None):
        """g⁻¹, by Cholesky factors: shape=[..., dim] -> shape=[..., dim, dim]."""
        metric = self.metric_matrix(base_point)
        return _solve(metric, np.broadcast_to(np.eye(self._space.dim), metric.shape))

    def inner_product_derivative_matrix(self, base_point=None):
        """∂_k g_ij = ∂_i ∂_j ∂_k R, totally symmetric: shape=[..., dim] -> shape=[..., dim, dim, dim]."""
        return self._derivative("third", base_point)

    def christoffels(self, base_point=None):
        """Γ^k_ij = ½ g^{kl} ∂_l ∂_i ∂_j R.

        Parameters
        ----------
        base_point : array-like, shape=[..., dim]

        Returns
        -------
        christoffels : array-like, shape=[..., dim, dim, dim]
            The contravariant index k first.
        """
        third = self.inner_product_derivative_matrix(base_point)
        d = self._space.dim
        flat = third.reshape(*third.shape[:-2], d * d)
        return 0.5 * _solve(self.metric_matrix(base_point), flat).reshape(third.shape)

    def riemann_tensor(self, base_point=None):
        """The curvature, for which ∇³R is enough: ``R_ijk^l = Γ^l_km Γ^m_ji - Γ^l_jm Γ^m_ki``.

        On a Hessian manifold the fourth derivatives of R cancel in the usual formula.

        Parameters
        ----------
        base_point : array-like, shape=[..., dim]

        Returns
        -------
        riemann_tensor : array-like, shape=[..., dim, dim, dim, dim]
            R_ijk^l = dw^l(R(∂_j, ∂_k) ∂_i), the contravariant index last, as in geomstats.
        """
        gamma = self.christoffels(base_point)
        product = gs.einsum("...lkm,...mji->...ijkl", gamma, gamma)
        return product - gs.einsum("...ijkl->...ikjl", product)

    def geodesic_acceleration(self, position: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """-Γ(v, v): shapes=[..., dim] -> shape=[..., dim]. Raw, for the inside of integrations."""
        force = self.legendre_function._third_along(position, velocity) @ velocity[..., None]
        return -0.5 * np.linalg.solve(self.legendre_function._hessian(position), force)[..., 0]


def _solve(metric: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Solve with a positive definite metric [..., d, d] and columns b [..., d, m], by its Cholesky factor."""
    # Through autograd's NumPy, so that geomstats' automatic derivatives of the metric pass through.
    L = anp.linalg.cholesky(metric)
    return anp.linalg.solve(anp.swapaxes(L, -1, -2), anp.linalg.solve(L, b))
