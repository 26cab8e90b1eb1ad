"""Submanifolds of R^D on which a parametrization may live."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from riemflow import autodiff
from riemflow.errors import ConvergenceError, DomainError
from riemflow.validation import short

Function = Callable[[np.ndarray], np.ndarray]


class Submanifold:
    """A submanifold M of R^D with its tangent projectors and its nearest-point projection.

    Parameters
    ----------
    dim_in : int
        D.
    belongs : callable, (x of shape=[..., D], atol) -> bool, shape=[...]
    projector : callable, shape=[..., D] -> shape=[..., D, D]
        The orthogonal projector onto the tangent space, also near M.
    project : callable, shape=[..., D] -> shape=[..., D]
    """

    def __init__(self, dim_in: int, belongs: Callable, projector: Function, project: Function):
        self.dim_in = dim_in
        self._belongs, self.projector, self.project = belongs, projector, project

    def belongs(self, x: np.ndarray, atol: float = 1e-8) -> np.ndarray:
        """Tell whether points are within `atol` of M: shape=[..., D] -> bool, shape=[...]."""
        with np.errstate(all="ignore"):
            return np.asarray(self._belongs(x, atol))

    @classmethod
    def from_constraint(cls, constraint: Function, dim_in: int) -> Submanifold:
        """Return {x : h(x) = 0} for h written with ``autograd.numpy``, shape=[..., D] -> shape=[..., m].

        ``P = I - Aᵀ(AAᵀ)^{-1}A`` with A = ∂h projects onto the tangent space.

        Raises
        ------
        ConvergenceError
            By `project`, if Newton's method does not reach M.
        """
        jacobian = autodiff.jacobian(constraint)

        def projector(x):
            A = jacobian(x)
            gram = A @ np.swapaxes(A, -1, -2)
            return np.eye(dim_in) - np.swapaxes(A, -1, -2) @ np.linalg.solve(gram, A)

        def belongs(x, atol):
            A = jacobian(x)
            return np.abs(_normal_step(A, constraint(x))).max(axis=-1) <= atol

        def project(x):
            # Newton on the Lagrange conditions, normal directions taken at the current point; the
            # tangential part of x - y is removed so that y is the nearest point, not just any.
            y = np.array(x, dtype=np.float64)
            for _ in range(100):
                normal = _normal_step(jacobian(y), constraint(y))
                tangential = (projector(y) @ (x - y)[..., None])[..., 0]
                step = tangential - normal
                y = y + step
                if np.abs(step).max(initial=0.0) <= 1e-14 * (1 + np.abs(y).max(initial=0.0)):
                    return y
            if np.abs(constraint(y)).max() <= 1e-12 and np.abs(step).max() <= 1e-9:
                return y
            raise ConvergenceError(
                f"No nearest point of the submanifold was found for x = {short(x)}: start nearer."
            )

        return cls(dim_in, belongs, projector, project)

    @classmethod
    def from_geomstats(cls, space: Any, dim_in: int) -> Submanifold:
        """Return an embedded geomstats manifold, through its `belongs`, `to_tangent` and `projection`."""

        def projector(x):
            columns = [space.to_tangent(np.broadcast_to(e, x.shape), base_point=x) for e in np.eye(dim_in)]
            return np.stack(columns, axis=-1)

        return cls(dim_in, lambda x, atol: space.belongs(x, atol=atol), projector, space.projection)

    @classmethod
    def sphere(cls, dim_in: int) -> Submanifold:
        """Return the unit sphere of R^D."""

        def projector(x):
            unit = x / np.linalg.norm(x, axis=-1, keepdims=True)
            return np.eye(dim_in) - unit[..., :, None] * unit[..., None, :]

        return cls(
            dim_in,
            lambda x, atol: np.abs(np.linalg.norm(x, axis=-1) - 1) <= atol,
            projector,
            lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True),
        )


def as_submanifold(manifold: Any, dim_in: int) -> Submanifold:
    """Return a Submanifold from one, from a geomstats manifold, or from a constraint callable.

    Raises
    ------
    DomainError
        If it is none of these.
    """
    if isinstance(manifold, Submanifold):
        return manifold
    if all(hasattr(manifold, name) for name in ("belongs", "to_tangent", "projection")):
        return Submanifold.from_geomstats(manifold, dim_in)
    if callable(manifold):
        return Submanifold.from_constraint(manifold, dim_in)
    raise DomainError(
        f"manifold is a {type(manifold).__name__}, but must be a geomstats manifold with projection, a "
        "constraint callable or a Submanifold."
    )


def _normal_step(A: np.ndarray, h: np.ndarray) -> np.ndarray:
    """Return A⁺h, the shortest step that cancels h to first order."""
    At = np.swapaxes(A, -1, -2)
    return (At @ np.linalg.solve(A @ At, h[..., None]))[..., 0]
