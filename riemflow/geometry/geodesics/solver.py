"""Geodesics as geomstats' solvers and metrics ask for them: checked arguments, clear errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from geomstats.geometry.base import VectorSpaceOpenSet
from geomstats.numerics.geodesic import ExpSolver, LogSolver

from riemflow.errors import ConvergenceError, DomainError, ShapeError
from riemflow.geometry.geodesics.models import Geodesics
from riemflow.validation import as_float, as_points, broadcast, require_inside, short


class GeodesicSolver(ExpSolver, LogSolver):
    """Exponential map, logarithm, geodesics and parallel transport on an open set of R^d.

    Parameters
    ----------
    space : VectorSpaceOpenSet
    geodesics : Geodesics
        How they are found: in closed form, or by integration.

    Raises
    ------
    ConvergenceError
        If a geodesic leaves the space before the time asked for, as the metric need not be complete, or goes
        too far for float64. Its `partial` holds the points reached. If no geodesic between two points is
        found: its `partial` holds the best initial velocities.
    DomainError, ShapeError
        If a point lies outside the space, or an argument is not finite or of the wrong shape.
    """

    def __init__(self, space: VectorSpaceOpenSet, geodesics: Geodesics):
        ExpSolver.__init__(self, solves_ivp=True)
        LogSolver.__init__(self, solves_bvp=True)
        self._space, self._geodesics = space, geodesics

    def exp(self, tangent_vec, base_point):
        """exp_w(v), the point at time 1 of the geodesic from w with velocity v: shapes=[..., dim]."""
        v, w = self._vectors(tangent_vec, "tangent_vec"), self._points(base_point, "base_point")
        return self._exp(*broadcast(v, w))

    def log(self, point, base_point):
        """The v with exp_w(v) = q, 0 if they are equal: shapes=[..., dim] -> shape=[..., dim]."""
        q, w = self._points(point, "point"), self._points(base_point, "base_point")
        return self._log(*broadcast(q, w))

    def transport(self, tangent_vec, base_point, direction=None, end_point=None):
        """A vector carried parallel along a geodesic, given by its velocity or its end point.

        Shapes=[..., dim] -> shape=[..., dim].
        """
        if (direction is None) == (end_point is None):
            raise DomainError(
                "Parallel transport is along a geodesic: give direction or end_point, one of them."
            )
        u, w = self._vectors(tangent_vec, "tangent_vec"), self._points(base_point, "base_point")
        if end_point is None:
            u, w, v = broadcast(u, w, self._vectors(direction, "direction"))
        else:
            u, w, q = broadcast(u, w, self._points(end_point, "end_point"))
            v = self._log(q, w)
        moved = u.copy()
        moves = (v != 0).any(axis=-1) & (u != 0).any(axis=-1)
        with np.errstate(all="ignore"):
            moved[moves], reached = self._geodesics.transport(u[moves], v[moves], w[moves])
            kept = np.isfinite(moved[moves]).all(axis=-1)
            if self._geodesics.is_closed_form:
                end, share = self._geodesics.exp(v[moves], w[moves])
                kept, reached = kept & self._space.belongs(end), np.minimum(share, reached)
        self._require_reached(_unless_lost(reached, kept), moved, moves, v, w)
        return moved

    def geodesic_ivp(self, tangent_vec, base_point) -> Callable[[Any], np.ndarray]:
        """Return t -> exp(t · tangent_vec), t of any sign: shape=[n_times] -> shape=[..., n_times, dim]."""
        v, w = self._vectors(tangent_vec, "tangent_vec"), self._points(base_point, "base_point")
        v, w = (rows[..., None, :] for rows in broadcast(v, w))

        def path(t):
            return self._exp(*broadcast(_times(t)[:, None] * v, w))

        return path

    def geodesic_bvp(self, point, base_point) -> Callable[[Any], np.ndarray]:
        """As `geodesic_ivp`, for the geodesic that is at base_point at time 0 and at point at 1."""
        q, w = broadcast(self._points(point, "point"), self._points(base_point, "base_point"))
        v0, v1 = self._log(q, w), -self._log(w, q)
        (q, w, v0, v1) = (rows[..., None, :] for rows in (q, w, v0, v1))

        def path(t):
            times = _times(t)[:, None]
            # From the nearer end: it is met exactly, and errors grow over half the way only.
            late = times > 0.5
            return self._exp(*broadcast(np.where(late, (times - 1.0) * v1, times * v0), np.where(late, q, w)))

        return path

    def _points(self, points: Any, name: str) -> np.ndarray:
        points = as_points(name, points, self._space.dim)
        require_inside(name, points, self._space.belongs, str(self._space), "move it inside.")
        return points

    def _vectors(self, vectors: Any, name: str) -> np.ndarray:
        return as_points(name, vectors, self._space.dim)

    def _exp(self, v: np.ndarray, w: np.ndarray) -> np.ndarray:
        end = w.copy()
        moves = (v != 0).any(axis=-1)
        with np.errstate(all="ignore"):
            end[moves], reached = self._geodesics.exp(v[moves], w[moves])
            # A geodesic that is known for all times may still go where float64 cannot tell inside from out.
            kept = np.asarray(self._space.belongs(end[moves]))
        self._require_reached(_unless_lost(reached, kept), end, moves, v, w)
        return end

    def from_either_end(self, point, base_point) -> tuple[np.ndarray, np.ndarray]:
        """The velocity at one of its ends of the geodesic between two points, and that end.

        It is base_point, or point where only the way back was found: near a boundary one is the easier.
        """
        q, w = broadcast(self._points(point, "point"), self._points(base_point, "base_point"))
        vector, found = self._try_log(q, w)
        lost, end = ~found, w.copy()
        if lost.any():
            vector[lost], found[lost] = self._try_log(w[lost], q[lost])
            end[lost] = q[lost]
            self._require_found(found, vector, q, w)
        return vector, end

    def _log(self, q: np.ndarray, w: np.ndarray) -> np.ndarray:
        vector, found = self._try_log(q, w)
        self._require_found(found, vector, q, w)
        return vector

    def _try_log(self, q: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Velocities and whether they were found: shapes=[..., dim], [...]."""
        vector, found = np.zeros(w.shape), np.ones(w.shape[:-1], bool)
        apart = (q != w).any(axis=-1)
        with np.errstate(all="ignore"):
            vector[apart], joined = self._geodesics.log(q[apart], w[apart])
        # Where the metric overflows, vectors underflow.
        found[apart] = joined & np.isfinite(vector[apart]).all(axis=-1) & (vector[apart] != 0).any(axis=-1)
        return vector, found

    def _require_found(self, found: np.ndarray, vector: np.ndarray, q: np.ndarray, w: np.ndarray) -> None:
        if not found.all():
            raise ConvergenceError(
                f"No geodesic from base_point {short(w[~found][0])} to point {short(q[~found][0])} was found "
                f"in {self._space} ({int((~found).sum())} of {found.size} pairs): the shortest way may leave "
                "the space, or come too near its boundary; take points closer together.",
                partial=vector,
            )

    def _require_reached(self, reached, partial, moves, v, w) -> None:
        if (reached < 1.0).any():
            k = int(np.argmin(reached))
            # In a complete space it is float64 that ends, and so it may be just before time 1.
            beyond = self._geodesics.is_hadamard or reached[k] > 1.0 - 1e-12
            verb = "outruns float64 in" if beyond else "leaves"
            raise ConvergenceError(
                f"The geodesic from {short(w[moves][k])} with velocity {short(v[moves][k])} {verb} "
                f"{self._space} after the fraction {reached[k]:.6g} of the time: shorten its velocity.",
                partial=partial,
            )


class GeodesicConnection:
    """What a connection whose `exp_solver` is a `GeodesicSolver` adds to geomstats' Connection."""

    exp_solver: GeodesicSolver

    def parallel_transport(self, tangent_vec, base_point, direction=None, end_point=None):
        """Parallel transport: ``u' = -Γ(w', u)`` along a geodesic of this connection from base_point.

        Parameters
        ----------
        tangent_vec : array-like, shape=[..., dim]
            The vector that is carried.
        base_point : array-like, shape=[..., dim]
        direction : array-like, shape=[..., dim], optional
            The geodesic's velocity, followed to time 1.
        end_point : array-like, shape=[..., dim], optional
            The geodesic's end, instead of `direction`.

        Returns
        -------
        transported : array-like, shape=[..., dim]
            By a metric's own connection of the same length, at the same angle to the geodesic.

        Raises
        ------
        ConvergenceError
            If the geodesic leaves the space, or none to end_point is found.
        DomainError
            Unless one of direction and end_point is given.
        """
        return self.exp_solver.transport(tangent_vec, base_point, direction, end_point)


class GeodesicMetric(GeodesicConnection):
    """What a metric whose `exp_solver` is a `GeodesicSolver` adds to geomstats' RiemannianMetric."""

    def squared_dist(self, point_a, point_b):
        """The squared length of the geodesic between two points: shapes=[..., dim] -> shape=[...].

        Raises
        ------
        ConvergenceError
            If no geodesic is found, or its length leaves the range of float64.
        """
        log, end = self.exp_solver.from_either_end(point=point_b, base_point=point_a)
        with np.errstate(all="ignore"):
            squared = np.asarray(self.squared_norm(log, base_point=end))
        lost = ~np.isfinite(squared) | ((squared <= 0) & (log != 0).any(axis=-1))
        if lost.any():
            raise ConvergenceError(
                f"The metric of {self.exp_solver._space} leaves the range of float64 at {int(lost.sum())} of "
                f"{lost.size} points: rescale them, or move them away from the boundary.",
                partial=squared,
            )
        return squared

    def injectivity_radius(self, base_point=None):
        """The radius of the largest ball that exp maps diffeomorphically, where it is infinite.

        It is where geodesics are known never to leave the space, for flat, hyperbolic and positive definite
        geometry, `Gamma`, `Beta` and `Dirichlet`, complete and of no positive curvature (Cartan and
        Hadamard).

        Parameters
        ----------
        base_point : array-like, shape=[..., dim]

        Returns
        -------
        radius : array-like, shape=[...]

        Raises
        ------
        NotImplementedError
            Where the space is not known to be complete, or curvature may be positive.
        """
        if not self.exp_solver._geodesics.is_hadamard:
            raise NotImplementedError(
                f"{self.exp_solver._space} is not known to be complete and of no positive curvature: the "
                "radius of injectivity is not known there."
            )
        return np.full(np.shape(base_point)[:-1], np.inf)


def _unless_lost(reached: np.ndarray, kept: np.ndarray) -> np.ndarray:
    # Where the metric overflows, the share itself may be NaN.
    return np.where(~kept & ~(reached < 1.0), np.nextafter(1.0, 0.0), reached)


def _times(t: Any) -> np.ndarray:
    times = as_float("t", t)
    if times.ndim > 1:
        raise ShapeError(f"t has shape {times.shape}, but must be a time or a list of times.")
    return np.atleast_1d(times)
