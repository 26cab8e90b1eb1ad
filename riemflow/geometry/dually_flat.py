"""The dually flat structure of a Hessian manifold: α-connections, divergence, Amari-Chentsov tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from geomstats.geometry.connection import Connection

from riemflow.errors import ConvergenceError, DomainError
from riemflow.geometry.hessian_manifold import HessianManifold
from riemflow.geometry.hessian_metric import HessianMetric
from riemflow.geometry.integrated import ATOL, RTOL
from riemflow.geometry.shooting import shoot_at, solve_rows
from riemflow.integration import solve_batched
from riemflow.legendre.conjugate import NumericalConjugate
from riemflow.legendre.function import LegendreFunction
from riemflow.legendre.rays import longest
from riemflow.validation import as_number, as_points, require_inside, require_kind, short

SMALLEST_STEP = 1e-13  # of the time, below which a geodesic ends: it has reached the boundary, or infinity
LEAVING, TRIAL = 1e-5, 500  # the same for geodesics on trial, and after how many steps they are given up


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
    require_kind("space", space, HessianManifold)
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
    require_kind("space", space, HessianManifold)
    return HessianMetric(space).inner_product_derivative_matrix(base_point)


class AlphaConnection(Connection):
    """Amari's α-connection of a Hessian manifold, ``Γ^(α)k_ij = (1 - α)/2 · g^{kl} ∂_l ∂_i ∂_j R``.

    α = 1 is the primal flat connection, whose geodesics are straight in w; α = -1 the dual one, straight in
    ∇R(w); α = 0 Levi-Civita's. If w are natural parameters of an exponential family and R its log-partition
    function, α = 1 is the e-connection, that of normalised geometric means, and α = -1 the m-connection,
    that of mixtures. The connections of α and -α are conjugate:

        X g(Y, Z) = g(∇^(α)_X Y, Z) + g(Y, ∇^(-α)_X Z).

    Geodesics of α = ±1 are had in closed form from ∇R and ∇R*; others are integrated by DOP853, by this
    connection's own symbols (geomstats' `ExpODESolver` takes those of `space.metric` whatever connection it
    serves), and their logarithms solve the boundary value problem by shooting.

    Parameters
    ----------
    space : HessianManifold
    alpha : float

    Raises
    ------
    DomainError, ShapeError
        For bad input, and at points outside the interior of dom R.
    ConvergenceError
        If a geodesic leaves the space before the time asked for, or a logarithm is not found.
    """

    def __init__(self, space: HessianManifold, alpha: float):
        require_kind("space", space, HessianManifold)
        super().__init__(space)
        self.alpha = as_number("alpha", alpha)
        self.legendre_function = space.legendre_function
        self._levi_civita = HessianMetric(space)
        self._chart = None
        if abs(self.alpha) == 1.0:
            self._chart = _primal_chart(space) if self.alpha > 0 else _dual_chart(space)

    def __repr__(self) -> str:
        return f"AlphaConnection(α = {self.alpha:g}, {self._space})"

    @property
    def conjugate(self) -> AlphaConnection:
        """The (-α)-connection."""
        return AlphaConnection(self._space, -self.alpha)

    @property
    def _mirror(self) -> AlphaConnection:
        """The same connection in the coordinates ∇R(w)."""
        return AlphaConnection(self._space.dual, -self.alpha)

    def christoffels(self, base_point=None):
        """Γ^(α)k_ij = (1 - α) times that of the metric: shape=[..., dim] -> shape=[..., dim, dim, dim]."""
        return (1.0 - self.alpha) * self._levi_civita.christoffels(base_point)

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
        return (1.0 - self.alpha**2) * self._levi_civita.riemann_tensor(base_point)

    def exp(self, tangent_vec, base_point):
        """The geodesic from the base point with this velocity, at time 1.

        Parameters
        ----------
        tangent_vec, base_point : array-like, shape=[..., dim]

        Returns
        -------
        end_point : array-like, shape=[..., dim]

        Raises
        ------
        ConvergenceError
            If the geodesic leaves the space before; names the time and has the points reached as `partial`.
        """
        start, velocity = self._rows(base_point=base_point, tangent_vec=tangent_vec)
        end, _ = self._travel(start.reshape(-1, self._space.dim), velocity.reshape(-1, 1, self._space.dim))
        return end.reshape(start.shape)

    def log(self, point, base_point):
        """The velocity at the base point of a geodesic that is at `point` at time 1.

        Parameters
        ----------
        point, base_point : array-like, shape=[..., dim]

        Returns
        -------
        tangent_vec : array-like, shape=[..., dim]

        Raises
        ------
        ConvergenceError
            If for α ≠ ±1 no geodesic was found that ends within 1e-9 of its length.
        """
        start, end = self._rows(base_point=base_point, point=point)
        require_inside("point", end, self._space.belongs, str(self._space), "move it inside.")
        return self._log(start.reshape(-1, self._space.dim), end.reshape(-1, self._space.dim)).reshape(
            end.shape
        )

    def parallel_transport(self, tangent_vec, base_point, direction=None, end_point=None):
        """Transport a tangent vector along the geodesic of this connection.

        Parameters
        ----------
        tangent_vec, base_point : array-like, shape=[..., dim]
        direction, end_point : array-like, shape=[..., dim]
            Velocity of the geodesic at the base point, or where it is at time 1: one of them.

        Returns
        -------
        transported_tangent_vec : array-like, shape=[..., dim]
            At time 1.
        """
        if (direction is None) == (end_point is None):
            raise DomainError("Give one of direction and end_point, which say along what to transport.")
        if direction is None:
            direction = self.log(end_point, base_point)
        start, velocity, vector = self._rows(
            base_point=base_point, direction=direction, tangent_vec=tangent_vec
        )
        vectors = np.stack([velocity, vector], axis=-2).reshape(-1, 2, self._space.dim)
        _, vectors = self._travel(start.reshape(-1, self._space.dim), vectors)
        return vectors[:, 1].reshape(start.shape)

    def _geodesic_ivp(self, initial_point, initial_tangent_vec):
        start, velocity = self._rows(initial_point=initial_point, initial_tangent_vec=initial_tangent_vec)

        def path(t):
            times = np.atleast_1d(np.asarray(t, dtype=np.float64))
            return self.exp(times[:, None] * velocity[..., None, :], start[..., None, :])

        return path

    def _rows(self, **arrays: Any) -> list[np.ndarray]:
        """Check arrays, of which the first holds points of the space, and broadcast them."""
        checked = {name: as_points(name, array, self._space.dim) for name, array in arrays.items()}
        name, points = next(iter(checked.items()))
        require_inside(name, points, self._space.belongs, str(self._space), "move it inside.")
        return list(np.broadcast_arrays(*checked.values()))

    def _travel(self, start: np.ndarray, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Follow geodesics from points [n, d] with velocities vectors[:, 0]; they carry vectors [n, k, d]."""
        if self._chart is not None:
            return self._chart.travel(start, vectors, str(self._space))
        end, vectors, reached = self._integrate(start, vectors)
        _require_arrival(reached, start, vectors[:, 0], str(self._space), end)
        return end, vectors

    def _integrate(self, start, vectors, smallest_step=SMALLEST_STEP, most_rounds=100_000):
        """As `_travel`, with the share of the time that each was followed for, shape=[n], and no error."""
        if isinstance(self.legendre_function, NumericalConjugate):
            # Its gradient is cheap and its other derivatives are not: they are those of the other side.
            chart = _dual_chart(self._space)
            carried = chart.push(vectors, start[:, None])
            end, carried, reached = self._mirror._integrate(
                chart.to(start), carried, smallest_step, most_rounds
            )
            end = chart.back(end)
            return end, chart.pull(carried, end[:, None]), reached
        R, (n, k, d) = self.legendre_function, vectors.shape
        factor = -0.5 * (1.0 - self.alpha)

        def rhs(t, y, rows):
            position, carried = y[:, :d], y[:, d:].reshape(-1, k, d)
            inside = np.asarray(R._belongs(position))
            position, carried = position[inside], carried[inside]
            force = carried @ R._third_along(position, carried[:, 0])
            turn = factor * solve_rows(R._hessian(position), np.swapaxes(force, -1, -2))
            out = np.full(y.shape, np.nan)
            out[inside, :d] = carried[:, 0]
            out[inside, d:] = np.swapaxes(turn, -1, -2).reshape(-1, k * d)
            return out

        y0 = np.concatenate([start, vectors.reshape(n, k * d)], axis=-1)
        y, reached, _ = solve_batched(
            rhs, y0, rtol=RTOL, atol=ATOL, smallest_step=smallest_step, most_rounds=most_rounds
        )
        return y[:, :d], y[:, d:].reshape(n, k, d), reached

    def _log(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        if self._chart is not None:
            return self._chart.log(start, end)
        primal, dual = _primal_chart(self._space), _dual_chart(self._space)
        numerical = isinstance(self.legendre_function, NumericalConjugate)
        # In coordinates of the nearer flat connection the end depends more nearly linearly on the velocity.
        nearer = self.alpha < 0 and not isinstance(dual.domain, NumericalConjugate)
        if numerical or nearer:
            return dual.pull(self._mirror._log(dual.to(start), dual.to(end)), start)

        def guesses(begin, final):
            one, other = primal.log(begin, final), dual.log(begin, final)
            # Right to second order in their difference, where logarithms are affine in α.
            return [0.5 * ((1.0 + self.alpha) * one + (1.0 - self.alpha) * other), one, other]

        def follow(begin, velocity):
            final, _, reached = self._integrate(begin, velocity[:, None], LEAVING, TRIAL)
            return np.where(reached[:, None] == 1.0, final, np.nan)

        return shoot_at(follow, start, end, guesses, self.legendre_function._hessian)


class _Chart(NamedTuple):
    """Affine coordinates of a flat connection: in them geodesics are straight and vectors constant."""

    domain: LegendreFunction  # on the set of which the coordinates lie
    to: Callable[[np.ndarray], np.ndarray]
    back: Callable[[np.ndarray], np.ndarray]
    push: Callable[[np.ndarray, np.ndarray], np.ndarray]
    pull: Callable[[np.ndarray, np.ndarray], np.ndarray]

    def log(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Velocities of the geodesics between points: shapes=[n, d] -> shape=[n, d]."""
        return self.pull(self.to(end) - self.to(start), start)

    def travel(self, start: np.ndarray, vectors: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
        """As `AlphaConnection._travel`, in closed form."""
        begin, carried = self.to(start), self.push(vectors, start[:, None])
        reached = longest(self.domain, begin, carried[:, 0], 1.0)
        end = self.back(begin + reached[:, None] * carried[:, 0])
        _require_arrival(reached, start, vectors[:, 0], name, end)
        return end, self.pull(carried, end[:, None])


def _primal_chart(space: HessianManifold) -> _Chart:
    def same(x, at=None):
        return x

    return _Chart(space.legendre_function, same, same, same, same)


def _dual_chart(space: HessianManifold) -> _Chart:
    R = space.legendre_function
    Q = R.conjugate

    def push(vectors, at):
        return (R._hessian(at) @ vectors[..., None])[..., 0]

    def pull(vectors, at):
        return np.linalg.solve(R._hessian(at), vectors[..., None])[..., 0]

    return _Chart(Q, R._gradient, Q._gradient, push, pull)


def _require_arrival(reached, start, velocity, name: str, end) -> None:
    if (reached < 1.0).any():
        k = int(np.argmin(reached))
        raise ConvergenceError(
            f"The geodesic from {short(start[k])} with velocity {short(velocity[k])} leaves {name} "
            f"after the fraction {reached[k]:.6g} of the time: shorten tangent_vec.",
            partial=end,
        )
