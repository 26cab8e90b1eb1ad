"""The Hessian manifold (int dom R, ∇²R) as a geomstats space."""

from __future__ import annotations

import geomstats.backend as gs
import numpy as np
from geomstats.geometry.base import VectorSpaceOpenSet
from geomstats.geometry.euclidean import Euclidean
from geomstats.geometry.riemannian_metric import RiemannianMetric

from riemflow.errors import ConvergenceError
from riemflow.integration import solve_ode
from riemflow.legendre.function import LegendreFunction


class HessianManifold(VectorSpaceOpenSet):
    """The interior of dom R with the metric ∇²R, a geomstats space equipped with a `HessianMetric`.

    Mirror flow is Riemannian gradient flow on it (equation 3 of Li, Wang, Lee and Arora, 2022).

    Parameters
    ----------
    R : LegendreFunction
    equip : bool
        If True, equip with the `HessianMetric`.

    Attributes
    ----------
    legendre_function : LegendreFunction
    """

    def __init__(self, R: LegendreFunction, equip: bool = True):
        self.legendre_function = R
        super().__init__(dim=R.dim, embedding_space=Euclidean(R.dim, equip=False), equip=equip)

    @staticmethod
    def default_metric():
        """Metric to equip the space with if equip is True."""
        return HessianMetric

    def belongs(self, point, atol=gs.atol):
        """Tell whether points lie in the interior of dom R: shape=[..., dim] -> bool, shape=[...]."""
        point = np.asarray(point, dtype=np.float64)
        if point.shape[-1:] != (self.dim,):
            return np.zeros(point.shape[:-1], dtype=bool)
        return self.legendre_function._belongs(point)

    def projection(self, point):
        """Pull points outside towards dom R's interior point until they are inside: shape=[..., dim]."""
        point = np.array(point, dtype=np.float64)
        interior = self.legendre_function.domain.interior
        inside = self.belongs(point)
        share = np.where(inside, 1.0, 0.0)
        low, high = share.copy(), np.ones_like(share)
        for _ in range(50):  # bisection along the segment: the domain is convex
            middle = (low + high) / 2
            good = self.belongs(interior + middle[..., None] * (point - interior))
            low, high = np.where(good, middle, low), np.where(good, high, middle)
        share = np.where(inside, 1.0, 0.999 * low)
        return np.where(inside[..., None], point, interior + share[..., None] * (point - interior))

    def random_point(self, n_samples=1, bound=1.0):
        """Sample points inside dom R around its interior point: shape=[n_samples, dim], or [dim]."""
        size = (self.dim,) if n_samples == 1 else (n_samples, self.dim)
        offset = bound * (2 * gs.random.rand(*size) - 1)
        return self.projection(self.legendre_function.domain.interior + offset)


class HessianMetric(RiemannianMetric):
    """The metric g = ∇²R, whose derivative ∇³R is totally symmetric, so that Γ = ½ g⁻¹∇³R."""

    def _raw(self, base_point):
        return self._space.legendre_function._inside(base_point, "base_point")

    def metric_matrix(self, base_point=None):
        """∇²R: shape=[..., dim] -> shape=[..., dim, dim]."""
        return self._space.legendre_function._hessian(self._raw(base_point))

    def cometric_matrix(self, base_point=None):
        """∇²R⁻¹ by a solve: shape=[..., dim] -> shape=[..., dim, dim]."""
        metric = self.metric_matrix(base_point)
        return np.linalg.solve(metric, np.broadcast_to(np.eye(self._space.dim), metric.shape))

    def inner_product_derivative_matrix(self, base_point=None):
        """∂_k g_ij = ∇³R: shape=[..., dim] -> shape=[..., dim, dim, dim]."""
        return self._space.legendre_function._third(self._raw(base_point))

    def christoffels(self, base_point=None):
        """Γ^k_ij = ½ g^{kl} ∂_l∂_i∂_j R: shape=[..., dim] -> shape=[..., dim (k), dim (i), dim (j)]."""
        w = self._raw(base_point)
        R, d = self._space.legendre_function, self._space.dim
        third = R._third(w)
        flat = np.linalg.solve(R._hessian(w), third.reshape(*third.shape[:-2], d * d))
        return 0.5 * flat.reshape(third.shape)

    def exp(self, tangent_vec, base_point):
        """The geodesic from base_point at time 1, by DOP853 on w'' = -Γ(w', w').

        Raises
        ------
        ConvergenceError
            If the geodesic leaves dom R before time 1.
        """
        R, d = self._space.legendre_function, self._space.dim
        base, velocity = np.broadcast_arrays(self._raw(base_point), np.asarray(tangent_vec, dtype=np.float64))

        def acceleration(t, state):
            w, v = state[:d], state[d:]
            if not R._belongs(w):
                return np.full(2 * d, np.nan)
            force = np.einsum("kij,i,j->k", R._third(w), v, v)
            return np.concatenate([v, -0.5 * np.linalg.solve(R._hessian(w), force)])

        ends = np.empty(base.shape)
        for index in np.ndindex(*base.shape[:-1]):
            start = np.concatenate([base[index], velocity[index]])
            solution = solve_ode(acceleration, start, (0.0, 1.0), rtol=1e-12, atol=1e-13, method="DOP853")
            if solution.status != "finished":
                raise ConvergenceError(
                    f"The geodesic {solution.message}: it leaves dom {R.name}.", partial=solution
                )
            ends[index] = solution.y[-1, :d]
        return ends
