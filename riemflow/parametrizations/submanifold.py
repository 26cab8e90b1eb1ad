"""Submanifolds M of R^D: membership, tangent projector, nearest point, and how they bend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from riemflow import autodiff
from riemflow.errors import ConvergenceError, DomainError, ShapeError
from riemflow.validation import as_count, as_number, as_points, check_output, short

# Singular values of ∂h below this share of the largest count as zero: repeated constraints.
RANK = 1e-9
# Newton's last step onto M, relative to 1 + |y|.
LANDED = 1e-13


class Submanifold:
    """A submanifold M of R^D with the metric of R^D.

    Made by `Submanifold.from_constraint`, `Submanifold.from_geomstats` or `Submanifold.sphere`. Subclasses
    override the raw methods ``_defect``, ``_projector`` and ``_project``.

    Attributes
    ----------
    dim_in : int
        D.
    dim : int or None
        The dimension of M; None if it is not known.
    """

    def __init__(self, dim_in: int, dim: int | None = None, name: str = "M"):
        self.dim_in, self.dim, self.name = as_count("dim_in", dim_in), dim, name

    @staticmethod
    def from_constraint(h: Callable[..., Any], dim_in: int) -> Submanifold:
        """Return M = {h = 0}, h written with ``autograd.numpy``: shape=[..., D] -> shape=[..., m] or [...].

        The rank of ∂h must be the same all over M; constraints may repeat each other.
        """
        return _ConstraintSubmanifold(h, dim_in)

    @staticmethod
    def from_geomstats(space: Any) -> Submanifold:
        """Return a geomstats space that is embedded in a Euclidean one; matrices are raveled."""
        return _GeomstatsSubmanifold(space)

    @staticmethod
    def sphere(dim_in: int, radius: float = 1.0) -> Submanifold:
        """Return the sphere {‖x‖ = radius} in R^D."""
        return _Sphere(dim_in, radius)

    # Raw methods.

    def _defect(self, x: np.ndarray) -> np.ndarray:
        """How far x is off M, to first order: shape=[...]."""
        raise NotImplementedError

    def _projector(self, x: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _project(self, x: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _constraint(self, x: np.ndarray) -> Any:
        """h(x) with M = {h = 0}, shape=[..., m], or None if no such h is known."""
        return None

    # Public methods.

    def _points(self, x: Any) -> np.ndarray:
        # Flows call these methods at every step: the shape is checked, the entries are not searched.
        x = np.asarray(x, dtype=np.float64)
        if x.ndim == 0 or x.shape[-1] != self.dim_in:
            raise ShapeError(f"x has shape {x.shape}, but must have shape [..., {self.dim_in}].")
        return x

    def belongs(self, x: Any, atol: float = 1e-8) -> np.ndarray:
        """Tell whether x is within `atol` of M: shape=[..., D] -> bool, shape=[...].

        The distance is taken to first order, and relative to ‖x‖ where that exceeds 1. False where x is
        not finite.
        """
        x = self._points(x)
        finite = np.isfinite(x).all(axis=-1)
        with np.errstate(all="ignore"):
            defect = self._defect(np.where(finite[..., None], x, 1.0))
            return finite & (defect <= atol * np.maximum(1.0, np.linalg.norm(x, axis=-1)))

    def projector(self, x: Any) -> np.ndarray:
        """The orthogonal projector P(x) onto the tangent space: shape=[..., D] -> shape=[..., D, D].

        Raises
        ------
        DomainError
            If M has no tangent space there, or a geomstats space is not embedded isometrically.
        """
        return self._projector(self._points(x))

    def project(self, x: Any) -> np.ndarray:
        """The nearest point of M: shape=[..., D] -> shape=[..., D].

        Raises
        ------
        ConvergenceError
            If it is not found, or not unique.
        """
        x = as_points("x", x, self.dim_in)
        with np.errstate(all="ignore"):
            return self._project(x)

    def __repr__(self) -> str:
        return f"{self.name} in R^{self.dim_in}"


def as_submanifold(manifold: Any, dim_in: int) -> Submanifold:
    """Return a `Submanifold` of R^D from one, from a geomstats space or from a constraint h.

    Raises
    ------
    DomainError
        If `manifold` is none of these.
    ShapeError
        If it does not lie in R^D.
    """
    if isinstance(manifold, Submanifold):
        made = manifold
    elif all(callable(getattr(manifold, name, None)) for name in _GeomstatsSubmanifold.needs):
        made = Submanifold.from_geomstats(manifold)
    elif callable(manifold):
        made = Submanifold.from_constraint(manifold, dim_in)
    else:
        raise DomainError(
            f"manifold is {manifold!r}, but must be a Submanifold, a geomstats space embedded in R^D, or a "
            "constraint h, shape=[..., D] -> shape=[..., m]."
        )
    if made.dim_in != dim_in:
        raise ShapeError(f"manifold lies in R^{made.dim_in}, but dim_in is {dim_in}: they must agree.")
    return made


class _Sphere(Submanifold):
    """{‖x‖ = radius}."""

    def __init__(self, dim_in: int, radius: float):
        self.radius = as_number("radius", radius, above=0.0)
        super().__init__(dim_in, dim_in - 1, f"sphere of radius {self.radius:g}")

    def _defect(self, x):
        return np.abs(np.linalg.norm(x, axis=-1) - self.radius)

    def _constraint(self, x):
        return (x**2).sum(axis=-1, keepdims=True) - self.radius**2

    def _projector(self, x):
        normal = x / np.linalg.norm(x, axis=-1, keepdims=True)
        return np.eye(self.dim_in) - normal[..., :, None] * normal[..., None, :]

    def _project(self, x):
        norm = np.linalg.norm(x, axis=-1, keepdims=True)
        if (norm == 0).any():
            raise ConvergenceError("x = 0 is equally far from all points of the sphere: move it.")
        return self.radius * (x / norm)


class _ConstraintSubmanifold(Submanifold):
    """M = {h = 0}, with automatic derivatives of h."""

    def __init__(self, h: Callable[..., Any], dim_in: int):
        if not callable(h):
            raise DomainError(
                f"h is {h!r}, but must be a callable constraint, shape=[..., D] -> shape=[..., m]."
            )
        super().__init__(dim_in, None, "{h = 0}")
        self._given = h
        self._slope = autodiff.jacobian(self._h)
        self._curve = autodiff.jacobian(self._slope, 2)

    def _h(self, x: Any) -> Any:
        value = self._given(x)
        shape, batch = np.shape(value), np.shape(x)[:-1]
        if shape == batch:  # one constraint may be written without its axis of length one
            return value[..., None]
        check_output(
            "the constraint h", value, (*batch, *shape[-1:]),
            "it must be vectorised, [..., D] -> [..., m]; sum over axis=-1 and index with [..., i].",
        )  # fmt: skip
        return value

    def _constraint(self, x):
        return self._h(x)

    def _frame(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The pseudo-inverse of ∂h, shape=[..., D, m], and an orthonormal basis of its rows, zero-padded."""
        left, sizes, rows = np.linalg.svd(self._slope(x), full_matrices=False)
        kept = sizes > RANK * sizes.max(axis=-1, keepdims=True)
        if not kept.any(axis=-1).all():
            bad = x[~kept.any(axis=-1)] if x.ndim > 1 else x[None]
            raise DomainError(
                f"∂h vanishes at x = {short(bad[0])}: {self.name} has no tangent space there. Write h so "
                "that 0 is a regular value, or stay away from the singular point."
            )
        rank = np.unique(kept.sum(axis=-1))
        self.dim = self.dim_in - int(rank[0]) if len(rank) == 1 else self.dim
        inverse = np.where(kept, 1.0 / np.where(kept, sizes, 1.0), 0.0)
        rows = rows * kept[..., None]
        return np.swapaxes(rows, -1, -2) * inverse[..., None, :] @ np.swapaxes(left, -1, -2), rows

    def _defect(self, x):
        values = self._h(x)
        slope = np.linalg.norm(self._slope(x), axis=(-2, -1))
        size = np.linalg.norm(values, axis=-1)
        # Where ∂h = 0 there is no first order: the point counts only if it satisfies h = 0 itself.
        return np.where(slope > 0, size / np.where(slope > 0, slope, 1.0), size)

    def _projector(self, x):
        _, rows = self._frame(x)
        return np.eye(self.dim_in) - np.swapaxes(rows, -1, -2) @ rows

    def _project(self, x):
        flat = x.reshape(-1, self.dim_in)
        return self._nearest(flat).reshape(x.shape) if len(flat) else x

    def _land(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Newton's method along the normals from y [N, D]: points of M, and whether they are reached."""
        best, least = y, np.full(len(y), np.inf)
        for _ in range(50):
            inverse, _ = self._frame(y)
            step = (inverse @ self._h(y)[..., None])[..., 0]
            size, length = np.linalg.norm(step, axis=-1), 1.0 + np.linalg.norm(y, axis=-1)
            better = size < least
            best, least = np.where(better[:, None], y, best), np.where(better, size, least)
            reached = least <= LANDED * length
            # One step more than needed is taken, since Newton's last step gains most digits.
            if (reached & ~better).all():
                break
            # Far from M a full step may overshoot: none is longer than 1 + |y|.
            shrink = np.minimum(1.0, length / np.maximum(size, 1e-300))
            ahead = y - shrink[:, None] * step
            go = np.isfinite(ahead).all(axis=-1) & ~(reached & ~better)
            y = np.where(go[:, None], ahead, best)
        return best, least <= LANDED * (1.0 + np.linalg.norm(best, axis=-1))

    def _nearest(self, x: np.ndarray) -> np.ndarray:
        """Newton's method for min ½|y - x|² on M, in each row of x [N, D], from a point of M next to x."""
        y, landed = self._land(x)
        if not landed.all():
            raise ConvergenceError(
                f"Newton's method did not reach {self.name} from x = {short(x[~landed][0])}: start nearer to "
                "it, or check that ∂h has constant rank on it.",
                partial=y,
            )
        reach, scale = np.ones(len(x)), 1.0 + np.linalg.norm(x, axis=-1)
        slope, step, convex = self._newton_step(x, y)
        for _ in range(300):
            open_rows = (slope > 1e-15 * scale) & (reach > 1e-6)
            if not open_rows.any():
                break
            trial, landed = self._land(y + (reach * open_rows)[:, None] * step)
            new_slope, new_step, new_convex = self._newton_step(x, trial)
            nearer = np.linalg.norm(trial - x, axis=-1) < np.linalg.norm(y - x, axis=-1)
            # Close to the minimum the distance no longer resolves a gain, but its gradient still does.
            close = (np.linalg.norm(step, axis=-1) < 1e-4 * scale) & (new_slope < 0.5 * slope)
            go = open_rows & landed & (nearer | close)
            y, step = np.where(go[:, None], trial, y), np.where(go[:, None], new_step, step)
            slope, convex = np.where(go, new_slope, slope), np.where(go, new_convex, convex)
            reach = np.where(go, np.minimum(1.0, 4 * reach), np.where(open_rows, reach / 4, reach))
        found = (slope <= 1e-11 * scale) & convex
        if not found.all():
            raise ConvergenceError(
                f"The nearest point of {self.name} to x = {short(x[~found][0])} was not found, or is not "
                "unique: start nearer to it.",
                partial=y,
            )
        return y

    def _newton_step(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Norm of the gradient of ½|y - x|² on M, Newton's step, and whether its Hessian is positive."""
        inverse, rows = self._frame(y)
        normal = np.swapaxes(rows, -1, -2) @ rows
        tangential = x - y - (normal @ (x - y)[..., None])[..., 0]
        # The Riemannian Hessian P (1 - Σ λ_k ∇²h_k) P with λ the multipliers of y - x, and the identity in
        # normal directions to make it invertible.
        tangent = np.eye(self.dim_in) - normal
        multipliers = np.einsum("na,nam->nm", y - x, inverse)
        bend = np.einsum("nm,nmab->nab", multipliers, self._curve(y))
        hessian = np.eye(self.dim_in) - tangent @ bend @ tangent
        values, vectors = np.linalg.eigh(hessian)
        coefficients = np.einsum("nai,na->ni", vectors, tangential) / np.maximum(np.abs(values), 1e-8)
        step = np.einsum("nai,ni->na", vectors, coefficients)
        return np.linalg.norm(tangential, axis=-1), step, values[:, 0] > 0


class _GeomstatsSubmanifold(Submanifold):
    """A space that answers belongs, to_tangent and projection, as geomstats spaces do."""

    needs = ("belongs", "to_tangent", "projection")

    def __init__(self, space: Any):
        if callable(getattr(space, "immersion", None)):
            raise DomainError(
                f"Points of {type(space).__name__} are coordinates, not points of R^D: give the constraint h "
                "of its image. That of an isometric embedding F carries F.parametrization() already."
            )
        missing = [name for name in self.needs if not callable(getattr(space, name, None))]
        if missing:
            raise DomainError(
                f"{type(space).__name__} has no method {', '.join(missing)}: pass a geomstats space that is "
                "embedded in R^D, or the constraint h of M."
            )
        self.space = space
        # Points of an embedded geomstats space have the shape of its ambient space.
        self._shape = tuple(int(n) for n in space.shape)
        super().__init__(int(np.prod(self._shape)), int(space.dim), type(space).__name__)

    def _to_space(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(*x.shape[:-1], *self._shape)

    def belongs(self, x: Any, atol: float = 1e-8) -> np.ndarray:
        """Tell whether x lies on M, as the space itself judges: shape=[..., D] -> bool, shape=[...]."""
        x = self._points(x)
        finite = np.isfinite(x).all(axis=-1)
        points = self._to_space(np.where(finite[..., None], x, 1.0))
        return finite & np.asarray(self.space.belongs(points, atol=atol), dtype=bool)

    def _projector(self, x):
        D = self.dim_in
        flat = x.reshape(-1, D)
        vectors = self._to_space(np.tile(np.eye(D), (len(flat), 1)))
        tangent = np.asarray(self.space.to_tangent(vectors, self._to_space(np.repeat(flat, D, axis=0))))
        projector = tangent.reshape(-1, D, D)
        skew = np.abs(projector - np.swapaxes(projector, -1, -2)).max(initial=0.0)
        if not skew <= 1e-8:
            raise DomainError(
                f"to_tangent of {self.name} is no orthogonal projection (asymmetric by {skew:.3g}): "
                "the space does not carry the metric of R^D. Give the constraint h instead."
            )
        return projector.reshape(*x.shape, D)

    def _project(self, x):
        projected = np.asarray(self.space.projection(self._to_space(x)), dtype=np.float64).reshape(x.shape)
        if not self.belongs(projected).all():
            raise ConvergenceError(f"{self.name}.projection did not reach the space.", partial=projected)
        return projected
