"""The interior of dom R with the metric ∇²R, as a geomstats space."""

from __future__ import annotations

from typing import Any

import geomstats.backend as gs
import numpy as np
from geomstats.geometry.base import VectorSpaceOpenSet
from geomstats.geometry.euclidean import Euclidean
from geomstats.geometry.riemannian_metric import RiemannianMetric
from geomstats.numerics.bvp import ScipySolveBVP
from geomstats.numerics.geodesic import ExpSolver, LogODESolver

from riemflow.autodiff import anp
from riemflow.errors import ConvergenceError
from riemflow.integration import solve_batched
from riemflow.legendre.function import LegendreFunction
from riemflow.validation import as_points, require_inside, require_kind, short

RTOL, ATOL = 1e-12, 1e-13
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


class HessianMetric(RiemannianMetric):
    """The metric ``g = ∇²R`` of a `HessianManifold`, with ``Γ = ½ g⁻¹ ∇³R``.

    Geodesics are integrated by DOP853 with relative tolerance 1e-12; logarithms solve the boundary
    value problem by collocation to 1e-8.

    Parameters
    ----------
    space : HessianManifold
    """

    def __init__(self, space: HessianManifold):
        super().__init__(space=space)
        self._R = space.legendre_function
        self.exp_solver = GeodesicSolver(space)
        self.log_solver = LogODESolver(
            space, n_nodes=20, integrator=ScipySolveBVP(tol=1e-9, max_nodes=20_000), use_jac=False
        )

    def _derivative(self, order: str, base_point: Any) -> Any:
        if hasattr(base_point, "_node"):
            # Traced by the autograd backend: no check can look inside, and none may convert it.
            return getattr(self._R, f"_{order}")(base_point)
        return getattr(self._R, order)(base_point)

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
        force = self._R._third_along(position, velocity) @ velocity[..., None]
        return -0.5 * np.linalg.solve(self._R._hessian(position), force)[..., 0]


class GeodesicSolver(ExpSolver):
    """Geodesics by DOP853, where geomstats takes Euler steps, for metrics with a `geodesic_acceleration`.

    Raises
    ------
    ConvergenceError
        If a geodesic leaves the space before the time asked for: the metric need not be complete. Its
        `partial` holds the points reached.
    """

    def __init__(self, space: VectorSpaceOpenSet):
        super().__init__(solves_ivp=True)
        self._space = space

    def exp(self, tangent_vec, base_point):
        """Exponential map: shapes=[..., dim] -> shape=[..., dim]."""
        d, space = self._space.dim, self._space
        base_point = as_points("base_point", base_point, d)
        require_inside("base_point", base_point, space.belongs, str(space), "move it inside.")
        velocity, start = np.broadcast_arrays(as_points("tangent_vec", tangent_vec, d), base_point)
        batch, velocity, start = start.shape, velocity.reshape(-1, d), start.reshape(-1, d)

        def rhs(t, y, rows):
            position, speed = y[:, :d], y[:, d:]
            inside = np.asarray(space.belongs(position))
            out = np.full(y.shape, np.nan)
            out[inside, :d] = speed[inside]
            out[inside, d:] = space.metric.geodesic_acceleration(position[inside], speed[inside])
            return out

        y0 = np.concatenate([start, velocity], axis=-1)
        y, reached, _ = solve_batched(rhs, y0, 1.0, rtol=RTOL, atol=ATOL)
        if (reached < 1.0).any():
            k = int(np.argmin(reached))
            raise ConvergenceError(
                f"The geodesic from {short(start[k])} with velocity {short(velocity[k])} leaves {space} "
                f"after the fraction {reached[k]:.6g} of the time: shorten tangent_vec.",
                partial=y[:, :d].reshape(batch),
            )
        return y[:, :d].reshape(batch)

    def geodesic_ivp(self, tangent_vec, base_point):
        """Return t -> points, shape=[..., n_times, dim], of the geodesic: exp(t · tangent_vec)."""
        tangent_vec, base_point = np.broadcast_arrays(tangent_vec, base_point)

        def path(t):
            times = np.atleast_1d(np.asarray(t, dtype=np.float64))
            vectors = times[:, None] * tangent_vec[..., None, :]
            return self.exp(vectors, base_point[..., None, :])

        return path


def _solve(metric: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Solve with a positive definite metric [..., d, d] and columns b [..., d, m], by its Cholesky factor."""
    # Through autograd's NumPy, so that geomstats' automatic derivatives of the metric pass through.
    L = anp.linalg.cholesky(metric)
    return anp.linalg.solve(anp.swapaxes(L, -1, -2), anp.linalg.solve(L, b))
