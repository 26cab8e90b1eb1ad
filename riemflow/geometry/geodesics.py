"""Geodesics of metrics that need not be complete, by integrators that keep many digits."""

from __future__ import annotations

import numpy as np
from geomstats.geometry.base import VectorSpaceOpenSet
from geomstats.numerics.geodesic import ExpSolver

from riemflow.errors import ConvergenceError
from riemflow.integration import solve_batched
from riemflow.validation import as_points, require_inside, short

RTOL, ATOL = 1e-12, 1e-13


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
