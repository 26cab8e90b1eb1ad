"""The submanifold M = F(K) of an isometric embedding, as a geomstats space in the coordinates w."""

from __future__ import annotations

import geomstats.backend as gs
import numpy as np
from geomstats.geometry.base import ImmersedSet
from geomstats.geometry.euclidean import Euclidean
from geomstats.geometry.riemannian_metric import RiemannianMetric

from riemflow.autodiff import chain, is_traced, untraced
from riemflow.embedding import Atlas, IsometricEmbedding
from riemflow.errors import DomainError, ShapeError
from riemflow.geometry.geodesics.embedded import tangent_frame
from riemflow.geometry.submanifold_metric import SubmanifoldMetric
from riemflow.validation import as_count, as_number, as_points, short


class EmbeddedSubmanifold(ImmersedSet):
    """The submanifold M = F(K) of R^D with the metric of R^D, ``∂Fᵀ∂F``, in the coordinates w.

    Where F is isometric, ``∂Fᵀ∂F = g``, it has the intrinsic geometry of (K, g): for g = ∇²R that of the
    `HessianManifold` of R. It also has tangent and normal spaces in R^D, and a second fundamental form, of
    which the Gauss equation makes the curvature.

    Points of the space are coordinates w, shape=[..., d], as in geomstats' immersed sets; `immersion` takes
    them to R^D and `projection` back. It has all w at which F may be evaluated: those of K, or more for a
    closed form that holds beyond the region asked for.

    Parameters
    ----------
    F : IsometricEmbedding
        Of ∇²R or of any other metric, in closed form or by a solver.
    equip : bool
        Whether to equip the space with its `SubmanifoldMetric`.

    Attributes
    ----------
    embedding : IsometricEmbedding
    embedding_space : Euclidean
        R^D.

    Raises
    ------
    DomainError
        If F is not one isometric embedding.
    """

    def __init__(self, F: IsometricEmbedding, equip: bool = True):
        if isinstance(F, Atlas):
            raise DomainError(
                f"An atlas has {len(F.charts)} images, which do not meet: pass one of its charts, "
                "EmbeddedSubmanifold(atlas.charts[k])."
            )
        if not isinstance(F, IsometricEmbedding):
            raise DomainError(
                f"F is a {type(F).__name__}, but must be an IsometricEmbedding: make one by "
                "riemflow.embed(R, region)."
            )
        self.embedding = F
        super().__init__(dim=F.dim, equip=equip)

    def __str__(self) -> str:
        return f"the submanifold F({self.embedding.region or 'dom ' + self.embedding.name})"

    def default_metric(self) -> type[RiemannianMetric]:
        """Return `SubmanifoldMetric`."""
        return SubmanifoldMetric

    def _define_embedding_space(self) -> Euclidean:
        return Euclidean(self.embedding.ambient_dim)

    # Coordinates and R^D.

    def immersion(self, point):
        """F(w): shape=[..., d] -> shape=[..., D]. Autograd takes its derivatives as F has them.

        Raises
        ------
        DomainError
            If a point lies outside the region.
        """
        return self._derivative(0, point)

    def jacobian_immersion(self, base_point):
        """∂F(w): shape=[..., d] -> shape=[..., D, d]."""
        return self._derivative(1, base_point)

    def hessian_immersion(self, base_point):
        """∂²F(w): shape=[..., d] -> shape=[..., D, d, d]."""
        return self._derivative(2, base_point)

    def _derivative(self, order: int, point):
        F = self.embedding
        w = F._inside(untraced(point))
        return chain(point if is_traced(point) else w, (F._fun, F._jacobian, F._hessian)[order:])

    def tangent_immersion(self, tangent_vec, base_point):
        """∂F(w) v, the vector of R^D with components v: shapes=[..., d] -> shape=[..., D]."""
        tangent_vec = as_points("tangent_vec", tangent_vec, self.dim)
        return (self.jacobian_immersion(base_point) @ tangent_vec[..., None])[..., 0]

    def projection(self, point):
        """Coordinates of the nearest point of M: shape=[..., D] -> shape=[..., d].

        Raises
        ------
        ConvergenceError
            If none is found: the point is too far from M or beyond its edge.
        """
        return self.embedding.inverse(point)

    def inverse_immersion(self, point, atol=1e-8):
        """Coordinates of points of M: shape=[..., D] -> shape=[..., d].

        Raises
        ------
        DomainError
            If a point is farther from M than `atol` times max(1, its norm); `projection` takes those too.
        """
        point = as_points("point", point, self.embedding.ambient_dim)
        w = self.projection(point)
        away = np.linalg.norm(self.immersion(w) - point, axis=-1).ravel()
        rows = point.reshape(-1, self.embedding.ambient_dim)
        off = away / np.maximum(1.0, np.linalg.norm(rows, axis=-1))
        if (off > as_number("atol", atol, above=0.0)).any():
            k = int(np.argmax(off))
            raise DomainError(
                f"point = {short(rows[k])} is not on {self}, but {away[k]:.3g} from it (atol={atol:g}): use "
                "projection for the nearest point."
            )
        return w

    # Points and tangent vectors.

    def belongs(self, point, atol=gs.atol):
        """Tell whether F may be evaluated at the coordinates.

        Parameters
        ----------
        point : array-like, shape=[..., dim]
        atol : float
            Unused.

        Returns
        -------
        belongs : array-like, shape=[...,]
        """
        point = np.asarray(point, dtype=np.float64)
        if point.ndim == 0 or point.shape[-1] != self.dim:
            return gs.zeros(point.shape[:-1], dtype=bool)
        with np.errstate(invalid="ignore"):
            return np.asarray(self.embedding._belongs(point)) & np.isfinite(point).all(axis=-1)

    def is_tangent(self, vector, base_point=None, atol=gs.atol):
        """Tell whether vectors are tangent: those of R^D if their normal part is small, components always.

        Parameters
        ----------
        vector : array-like, shape=[..., D] or [..., dim]
            A vector of R^D, or the components of one in the basis ∂_i F, which are arbitrary.
        base_point : array-like, shape=[..., dim]
        atol : float
            Of the normal part's norm, relative to the vector's where that exceeds 1.

        Returns
        -------
        is_tangent : array-like, shape=[...,]
        """
        vector = np.asarray(vector, dtype=np.float64)
        base = self.embedding._inside(base_point)
        batch = np.broadcast_shapes(vector.shape[:-1], base.shape[:-1])
        finite = np.isfinite(vector).all(axis=-1)
        if vector.ndim and vector.shape[-1] == self.dim:
            return np.broadcast_to(finite, batch).copy()
        if vector.ndim and vector.shape[-1] == self.embedding.ambient_dim:
            known = np.where(finite[..., None], vector, 0.0)
            normal = np.linalg.norm(self.normal_projection(known, base), axis=-1)
            return finite & (normal <= atol * np.maximum(1.0, np.linalg.norm(known, axis=-1)))
        return np.zeros(batch, dtype=bool)

    def to_tangent(self, vector, base_point=None):
        """Return components of tangent vectors as they are, for all are: shape=[..., dim].

        Raises
        ------
        ShapeError
            If the vector is not one of components; `tangent_coordinates` takes those of R^D.
        """
        vector = np.asarray(vector)
        if vector.ndim and vector.shape[-1] == self.embedding.ambient_dim != self.dim:
            raise ShapeError(
                f"vector has shape {vector.shape}, a vector of R^{self.embedding.ambient_dim}: "
                "tangent_coordinates gives its tangential part's components, tangent_projection that part."
            )
        vector = as_points("vector", vector, self.dim)
        base = self.embedding._inside(base_point)
        return np.broadcast_to(vector, np.broadcast_shapes(vector.shape, base.shape)).copy()

    def tangent_frame(self, base_point):
        """Return an orthonormal basis of the tangent space: shape=[..., d] -> shape=[..., D, d], columns."""
        return tangent_frame(self.jacobian_immersion(base_point))[0]

    def tangent_projection(self, vector, base_point):
        """Project vectors of R^D orthogonally to the tangent space: shape=[..., D] -> shape=[..., D]."""
        frame = self.tangent_frame(base_point)
        return (frame @ (np.swapaxes(frame, -1, -2) @ self._ambient(vector)[..., None]))[..., 0]

    def normal_projection(self, vector, base_point):
        """Project vectors of R^D orthogonally to the normal space: shape=[..., D] -> shape=[..., D]."""
        return self._ambient(vector) - self.tangent_projection(vector, base_point)

    def tangent_coordinates(self, vector, base_point):
        """∂F⁺ x, the components of the tangential part of vectors of R^D: shape=[..., D] -> shape=[..., d].

        The inverse of `tangent_immersion` on tangent vectors.
        """
        frame, R = tangent_frame(self.jacobian_immersion(base_point))
        return np.linalg.solve(R, np.swapaxes(frame, -1, -2) @ self._ambient(vector)[..., None])[..., 0]

    def _ambient(self, vector) -> np.ndarray:
        return as_points("vector", vector, self.embedding.ambient_dim)

    def random_point(self, n_samples=1, bound=1.0):
        """Sample points: uniform in the region, or without one in a box about the domain's interior point.

        Parameters
        ----------
        n_samples : int
        bound : float
            Half that box's side, out of which points are pulled inside. Unused with a region.

        Returns
        -------
        point : array-like, shape=[..., dim]
        """
        n, F = as_count("n_samples", n_samples), self.embedding
        if F.region is not None:
            points = F.region._sample(n, np.random.default_rng(int(gs.random.randint(2**31))))
        else:
            centre = F.domain.interior
            points = centre + bound * (2.0 * np.asarray(gs.random.rand(n, self.dim)) - 1.0)
            while (outside := ~self.belongs(points)).any():
                points[outside] = 0.5 * (points[outside] + centre)
        return points[0] if n == 1 else points
