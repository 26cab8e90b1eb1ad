"""The interior of dom R with the metric ∇²R, as a geomstats space."""

from __future__ import annotations

import geomstats.backend as gs
import numpy as np
from geomstats.geometry.base import VectorSpaceOpenSet
from geomstats.geometry.euclidean import Euclidean
from geomstats.geometry.riemannian_metric import RiemannianMetric

from riemflow.geometry.hessian_metric import HessianMetric
from riemflow.legendre.function import LegendreFunction
from riemflow.validation import as_points, require_kind

INWARD = 1e-6  # how far inside the boundary a projected point ends, relative to the way to the centre


class HessianManifold(VectorSpaceOpenSet):
    """The Hessian manifold (int dom R, ∇²R): an open set of R^d with metric ``g(w) = ∇²R(w)``.

    Mirror flow is Riemannian gradient flow on it. It follows geomstats' conventions and works under
    its numpy and autograd backends.

    Parameters
    ----------
    R : LegendreFunction
    equip : bool
        Whether to equip the space with its `HessianMetric`.

    Attributes
    ----------
    legendre_function : LegendreFunction

    Raises
    ------
    DomainError
        If R is not a LegendreFunction.
    """

    def __init__(self, R: LegendreFunction, equip: bool = True):
        require_kind("R", R, LegendreFunction)
        self.legendre_function = R
        super().__init__(dim=R.dim, embedding_space=Euclidean(R.dim, equip=False), equip=equip)

    def __str__(self) -> str:
        return f"dom {self.legendre_function.name}"

    @property
    def dual(self) -> HessianManifold:
        """The Hessian manifold of R*, to which ∇R is an isometry (`LegendreTransform`)."""
        return HessianManifold(self.legendre_function.conjugate)

    def default_metric(self) -> type[RiemannianMetric]:
        """Return `HessianMetric`."""
        return HessianMetric

    def belongs(self, point, atol=gs.atol):
        """Tell whether points lie in the interior of dom R.

        Parameters
        ----------
        point : array-like, shape=[..., dim]
        atol : float
            Unused: the set is open.

        Returns
        -------
        belongs : array-like, shape=[...,]
        """
        point = np.asarray(point)
        if point.ndim == 0 or point.shape[-1] != self.dim:
            return gs.zeros(point.shape[:-1], dtype=bool)
        return np.asarray(self.legendre_function._belongs(np.asarray(point, dtype=np.float64)))

    def projection(self, point):
        """Move points outside along the segment to the interior point until just inside; keep the others.

        Parameters
        ----------
        point : array-like, shape=[..., dim]

        Returns
        -------
        projected : array-like, shape=[..., dim]
            Not the nearest point: the boundary itself does not belong to the set.
        """
        point = as_points("point", point, self.dim)
        belongs, centre = self.legendre_function._belongs, self.legendre_function.domain.interior
        inside = np.asarray(belongs(point))
        low, high = np.zeros(inside.shape), np.ones(inside.shape)
        for _ in range(0 if inside.all() else 60):
            middle = 0.5 * (low + high)
            good = np.asarray(belongs(centre + middle[..., None] * (point - centre)))
            low, high = np.where(good, middle, low), np.where(good, high, middle)
        # dom R is convex, so everything on the way to the centre lies inside.
        share = np.where(inside, 1.0, (1.0 - INWARD) * low)[..., None]
        return np.where(share == 1.0, point, centre + share * (point - centre))

    def random_point(self, n_samples=1, bound=1.0):
        """Sample points inside: uniform in a box about the interior point, pulled inside along rays.

        Parameters
        ----------
        n_samples : int
        bound : float
            Half the box's side.

        Returns
        -------
        point : array-like, shape=[..., dim]
        """
        centre = self.legendre_function.domain.interior
        offset = bound * (2.0 * np.asarray(gs.random.rand(n_samples, self.dim)) - 1.0)
        points = centre + offset
        outside = ~np.asarray(self.legendre_function._belongs(points))
        if outside.any():
            edge = self.projection(points[outside])
            share = np.asarray(gs.random.rand(int(outside.sum()), 1))
            points[outside] = centre + share * (edge - centre)
        return points[0] if n_samples == 1 else points
