"""The interior of dom R with the metric ∇²R, as a geomstats space."""

from __future__ import annotations

import geomstats.backend as gs
import numpy as np
from geomstats.geometry.base import VectorSpaceOpenSet
from geomstats.geometry.euclidean import Euclidean
from geomstats.geometry.riemannian_metric import RiemannianMetric

from riemflow.autodiff import is_traced, untraced
from riemflow.errors import ShapeError
from riemflow.geometry.hessian_metric import HessianMetric
from riemflow.legendre.function import LegendreFunction, least_eigenvalue
from riemflow.validation import as_count, as_number, as_points, require_kind

INWARD = 1e-6  # how far inside the boundary a projected point ends, relative to the way to the centre
SINGULAR = 1e-15  # the least eigenvalue of a metric, scaled to a unit diagonal, that random points may have


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

    def __repr__(self) -> str:
        return f"HessianManifold({self.legendre_function.name})"

    @property
    def dual(self) -> HessianManifold:
        """The Hessian manifold of R*, to which ∇R is an isometry (`LegendreTransform`)."""
        return HessianManifold(self.legendre_function.conjugate)

    def default_metric(self) -> type[RiemannianMetric]:
        """Return `HessianMetric`."""
        return HessianMetric

    # What autograd traces is replaced by its value: membership is no function to be differentiated.

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
            False for points of another shape, or with entries that are not finite.
        """
        point = np.asarray(untraced(point))
        if point.ndim == 0 or point.shape[-1] != self.dim:
            return gs.zeros(point.shape[:-1], dtype=bool)
        return np.asarray(self.legendre_function._belongs(np.asarray(point, dtype=np.float64)))

    def is_tangent(self, vector, base_point=None, atol=gs.atol):
        """Tell whether vectors are tangent, which all finite ones of shape [..., dim] are.

        Parameters
        ----------
        vector : array-like, shape=[..., dim]
        base_point : array-like, shape=[..., dim], optional
        atol : float
            Unused.

        Returns
        -------
        is_tangent : array-like, shape=[...,]
        """
        vector, batch = np.asarray(untraced(vector)), np.shape(untraced(base_point))[:-1]
        fits = vector.ndim > 0 and vector.shape[-1] == self.dim
        finite = np.isfinite(vector).all(axis=-1) if fits else np.zeros(vector.shape[:-1], bool)
        return np.broadcast_to(finite, np.broadcast_shapes(finite.shape, batch)).copy()

    def to_tangent(self, vector, base_point=None):
        """Return the vectors themselves, checked, one for each base point.

        Parameters
        ----------
        vector : array-like, shape=[..., dim]
        base_point : array-like, shape=[..., dim], optional

        Returns
        -------
        tangent_vec : array-like, shape=[..., dim]

        Raises
        ------
        DomainError, ShapeError
            If the vectors are not finite, or of another shape.
        """
        if is_traced(vector):
            return vector
        vector, batch = as_points("vector", vector, self.dim), np.shape(untraced(base_point))[:-1]
        return np.broadcast_to(vector, (*np.broadcast_shapes(vector.shape[:-1], batch), self.dim)).copy()

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
        if inside.all():
            return point
        rows = point[~inside]
        # dom R is convex, so everything on the way to the centre lies inside. Halved, not subtracted from 1:
        # the point may be further out by any number of orders than the domain is wide.
        way, share = 0.5 * rows - 0.5 * centre, np.full(len(rows), 2.0)
        out = np.ones(len(rows), bool)
        while out.any():
            share[out] *= 0.5
            out[out] = ~np.asarray(belongs(centre + share[out, None] * way[out]))
        low, high = share, np.minimum(2.0 * share, 2.0)
        for _ in range(40):
            middle = 0.5 * (low + high)
            good = np.asarray(belongs(centre + middle[:, None] * way))
            low, high = np.where(good, middle, low), np.where(good, high, middle)
        low *= 1.0 - INWARD
        for _ in range(60):
            # Where rounding makes the boundary ragged, further.
            out = ~np.asarray(belongs(centre + low[:, None] * way))
            if not out.any():
                break
            low[out] *= 0.5
        point[~inside] = centre + low[:, None] * way
        return point

    def random_point(self, n_samples=1, bound=1.0):
        """Sample points inside, about the interior point of dom R and on the scale of the metric there.

        Uniform in a box of half-side `bound`, in coordinates or, along axes of the metric at the interior
        point where these are shorter, in its unit of length; what falls outside is pulled inside along
        rays. So points are spread over thin domains and those of tiny scale too. Where R leaves float64,
        points come nearer to the interior point.

        Parameters
        ----------
        n_samples : int
        bound : float
            Half the box's side.

        Returns
        -------
        point : array-like, shape=[..., dim]
        """
        n_samples, bound = as_count("n_samples", n_samples), as_number("bound", bound, above=0.0)
        R = self.legendre_function
        centre = R.domain.interior
        values, axes = np.linalg.eigh(R._hessian(centre))
        box = bound * (2.0 * np.asarray(gs.random.rand(n_samples, self.dim)) - 1.0)
        step = ((box @ axes) / np.sqrt(np.maximum(values, 1.0))) @ axes.T
        points = centre + step
        outside = ~np.asarray(R._belongs(points))
        if outside.any():
            edge = self.projection(points[outside])
            points[outside] = centre + np.asarray(gs.random.rand(int(outside.sum()), 1)) * (edge - centre)
        for _ in range(60 if _regular(R, centre[None]).all() else 0):
            lost = np.flatnonzero(~_regular(R, points))
            if len(lost) == 0:
                break
            points[lost] = centre + 0.5 * (points[lost] - centre)
        return points[0] if n_samples == 1 else points

    def random_tangent_vec(self, base_point=None, n_samples=1):
        """Sample tangent vectors, standard normal in the metric ∇²R: of mean 0 and covariance (∇²R)⁻¹.

        Parameters
        ----------
        base_point : array-like, shape=[..., dim], optional
            The interior point of dom R if left out.
        n_samples : int
            How many at one base point; with a batch of base points there is one at each.

        Returns
        -------
        tangent_vec : array-like, shape=[..., dim]

        Raises
        ------
        DomainError
            If a base point lies outside, or ∇²R is singular there in float64.
        ShapeError
            If n_samples is neither 1 nor the number of base points in a batch.
        """
        n_samples = as_count("n_samples", n_samples)
        R = self.legendre_function
        point = R.domain.interior if base_point is None else R._inside(base_point, "base_point")
        if n_samples > 1 and point.ndim > 1 and point.shape[:-1] != (n_samples,):
            raise ShapeError(
                f"n_samples is {n_samples}, but base_point has shape {point.shape}: there is one vector at "
                "each base point of a batch, so leave n_samples out."
            )
        batch = (n_samples,) if n_samples > 1 and point.ndim == 1 else point.shape[:-1]
        normal = np.asarray(gs.random.normal(size=(*batch, self.dim, 1)))
        return HessianMetric(self)._factored(point).colour(normal)[..., 0]


def _regular(R: LegendreFunction, w: np.ndarray) -> np.ndarray:
    """Tell where ∇²R and its slope are finite and ∇²R is far from singular: shape=[n, d] -> bool, [n]."""
    with np.errstate(all="ignore"):
        hessian, slope = R._hessian(w), R._third_along(w, np.ones(w.shape))
        finite = (np.isfinite(hessian) & np.isfinite(slope)).all(axis=(-2, -1))
        return finite & (least_eigenvalue(np.where(finite[:, None, None], hessian, 0.0)) > SINGULAR)
