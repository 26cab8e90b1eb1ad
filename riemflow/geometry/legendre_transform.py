"""∇R as a diffeomorphism from the Hessian manifold of R to that of R*."""

from __future__ import annotations

from typing import Any

import numpy as np
from geomstats.geometry.diffeo import Diffeo

from riemflow.autodiff import chain, is_traced, untraced
from riemflow.errors import DomainError
from riemflow.geometry.hessian_manifold import HessianManifold
from riemflow.legendre.function import LegendreFunction
from riemflow.validation import as_points, broadcast, require_kind, short


class LegendreTransform(Diffeo):
    """The Legendre map ``w ↦ μ = ∇R(w)``, with inverse ``∇R*``, from int dom R onto int dom R*.

    It is an isometry of the Hessian manifolds of R and R*, since ``∇²R*(μ) = ∇²R(w)⁻¹``, and takes the
    α-connection of R to the (-α)-connection of R*: what is straight in w, or in μ, stays so.

    Parameters
    ----------
    R : LegendreFunction

    Attributes
    ----------
    legendre_function : LegendreFunction
    space, image_space : HessianManifold
        Those of R and of R*.

    Raises
    ------
    DomainError
        If R is not a LegendreFunction; later, at a point outside int dom R or int dom R*.
    """

    def __init__(self, R: LegendreFunction):
        require_kind("R", R, LegendreFunction)
        self.legendre_function = R
        self.space = HessianManifold(R)
        self.image_space = self.space.dual

    def __repr__(self) -> str:
        return f"LegendreTransform({self.legendre_function.name})"

    def __call__(self, base_point):
        """μ = ∇R(w): shape=[..., dim] -> shape=[..., dim]."""
        return _gradient(self.legendre_function, "base_point", base_point)

    def inverse(self, image_point):
        """w = ∇R*(μ): shape=[..., dim] -> shape=[..., dim]."""
        return _gradient(self.legendre_function.conjugate, "image_point", image_point)

    def tangent(self, tangent_vec, base_point=None, image_point=None):
        """∇²R(w) v.

        Parameters
        ----------
        tangent_vec : array-like, shape=[..., dim]
        base_point, image_point : array-like, shape=[..., dim]
            w, or μ; one is enough, and w goes first.

        Returns
        -------
        image_tangent_vec : array-like, shape=[..., dim]
        """
        metric = self._metric_at(base_point, image_point)
        return np.einsum("...ij,...j->...i", metric, _vectors("tangent_vec", tangent_vec, metric))

    def inverse_tangent(self, image_tangent_vec, image_point=None, base_point=None):
        """∇²R(w)⁻¹ η, by a solve.

        Parameters
        ----------
        image_tangent_vec : array-like, shape=[..., dim]
        image_point, base_point : array-like, shape=[..., dim]
            μ, or w; one is enough, and w goes first.

        Returns
        -------
        tangent_vec : array-like, shape=[..., dim]
        """
        metric = self._metric_at(base_point, image_point)
        vectors = _vectors("image_tangent_vec", image_tangent_vec, metric)
        return np.linalg.solve(metric, vectors[..., None])[..., 0]

    def _metric_at(self, base_point: Any, image_point: Any) -> np.ndarray:
        if base_point is None:
            if image_point is None:
                raise DomainError("base_point and image_point are both None: give one of them.")
            base_point = self.inverse(image_point)
        return self.space.metric.metric_matrix(base_point)


def _gradient(R: LegendreFunction, name: str, point: Any) -> np.ndarray:
    if is_traced(point):
        R._inside(untraced(point), name)
        return chain(point, (R._gradient, R._hessian, R._third, R._fourth))
    point = R._inside(point, name)
    with np.errstate(all="ignore"):
        gradient = np.asarray(R._gradient(point))
    lost = ~np.isfinite(gradient).all(axis=-1)
    if lost.any():
        raise DomainError(
            f"{name} = {short(point[lost][0] if point.ndim > 1 else point)}: ∇{R.name} leaves the range of "
            "float64 there: move it away from the boundary, or from infinity."
        )
    return gradient


def _vectors(name: str, vectors: Any, metric: np.ndarray) -> np.ndarray:
    vectors = as_points(name, vectors, metric.shape[-1])
    broadcast(vectors, metric[..., 0])
    return vectors
