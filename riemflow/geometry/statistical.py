"""Families of distributions in geomstats' own coordinates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import numpy as np
from geomstats.geometry.diffeo import Diffeo
from geomstats.information_geometry.beta import BetaDistributions
from geomstats.information_geometry.binomial import BinomialDistributions
from geomstats.information_geometry.categorical import CategoricalDistributions
from geomstats.information_geometry.dirichlet import DirichletDistributions
from geomstats.information_geometry.exponential import ExponentialDistributions
from geomstats.information_geometry.gamma import GammaDistributions
from geomstats.information_geometry.geometric import GeometricDistributions
from geomstats.information_geometry.multinomial import MultinomialDistributions
from geomstats.information_geometry.normal import CenteredNormalDistributions, UnivariateNormalDistributions
from geomstats.information_geometry.poisson import PoissonDistributions
from scipy.special import expit, logit

from riemflow.errors import DomainError, ShapeError
from riemflow.geometry.hessian_manifold import HessianManifold
from riemflow.legendre.discrete_families import Binomial, Categorical, Geometric, Multinomial, Poisson
from riemflow.legendre.distribution import DistributionFamily
from riemflow.legendre.families import Beta, Dirichlet, Exponential, Gamma
from riemflow.legendre.function import LegendreFunction
from riemflow.legendre.normal_families import CenteredNormal, Normal
from riemflow.validation import as_float, as_points, require_kind, short

Map = Callable[[np.ndarray], np.ndarray]
TangentMap = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # of a vector at θ with image point


class NaturalToGeomstats(Diffeo):
    """θ -> geomstats' parameters of the same distribution, an isometry onto geomstats' own space.

    From the `HessianManifold` of a family's log-partition function to the space of geomstats' information
    geometry with Fisher's metric: (mean, standard deviation) for `Normal`, the covariance matrix for
    `CenteredNormal`, (shape, mean) for `Gamma`, the mean for `Poisson`, the rate for `Exponential`,
    probabilities for `Binomial`, `Geometric` and `Multinomial`; `Beta` and `Dirichlet` have θ itself.

    Parameters
    ----------
    family : DistributionFamily

    Attributes
    ----------
    space : HessianManifold
    image_space : geomstats space
        Equipped with Fisher's metric.

    Raises
    ------
    DomainError
        If geomstats has no such family, or not with Fisher's metric.
    """

    def __init__(self, family: LegendreFunction):
        require_kind("family", family, DistributionFamily, "pass one of the catalogue, as legendre.Gamma()")
        self.family = family
        self.space = HessianManifold(family)
        self._chart = _chart(family)
        self.image_space = self._chart.image_space

    def __repr__(self) -> str:
        return f"NaturalToGeomstats({self.family.name} -> {type(self.image_space).__name__})"

    def __call__(self, base_point):
        """Return geomstats' point: shape=[..., d] -> shape=[..., image_shape]."""
        return self._chart.point(self.family._inside(base_point, "base_point"))

    def inverse(self, image_point):
        """Return θ: shape=[..., image_shape] -> shape=[..., d].

        Raises
        ------
        DomainError
            If the point is none of geomstats' space.
        """
        image_point = self._array("image_point", image_point)
        with np.errstate(all="ignore"):
            try:
                theta = self._chart.natural(image_point)
            except np.linalg.LinAlgError:
                theta = np.full((*image_point.shape[: self._ndim], self.family.dim), np.nan)
            inside = np.asarray(self.family._belongs(theta) & self.image_space.belongs(image_point))
        if not inside.all():
            space = type(self.image_space).__name__
            bad = short(image_point[~inside][0])
            raise DomainError(f"image_point = {bad} is no point of {space}: move it inside.")
        return theta

    def tangent(self, tangent_vec, base_point=None, image_point=None):
        """Push a vector forward: shape=[..., d] -> shape=[..., image_shape]."""
        theta, point = self._both(base_point, image_point)
        return self._chart.push(as_points("tangent_vec", tangent_vec, self.family.dim), theta, point)

    def inverse_tangent(self, image_tangent_vec, image_point=None, base_point=None):
        """Pull a vector back: shape=[..., image_shape] -> shape=[..., d]."""
        theta, point = self._both(base_point, image_point)
        return self._chart.pull(self._array("image_tangent_vec", image_tangent_vec), theta, point)

    @property
    def _ndim(self) -> int:
        return -len(self.image_space.shape)

    def _array(self, name: str, value: Any) -> np.ndarray:
        value, shape = as_float(name, value), self.image_space.shape
        if value.ndim < len(shape) or value.shape[self._ndim :] != shape:
            raise ShapeError(f"{name} has shape {value.shape}, but the last axes must be {shape}.")
        return value

    def _both(self, base_point: Any, image_point: Any) -> tuple[np.ndarray, np.ndarray]:
        """θ and its image, whichever of the two was given."""
        if base_point is None and image_point is None:
            raise DomainError("A tangent vector needs its base point: pass base_point or image_point.")
        theta = self.inverse(image_point) if base_point is None else self.family._inside(base_point)
        point = self._chart.point(theta) if image_point is None else self._array("image_point", image_point)
        return theta, point


@dataclass(frozen=True)
class Chart:
    """A space of geomstats with the maps there and back, of points and of tangent vectors (v, θ, image)."""

    image_space: Any
    point: Map
    natural: Map
    push: TangentMap
    pull: TangentMap


@singledispatch
def _chart(family: Any) -> Chart:
    raise DomainError(
        f"geomstats has no space of {family.name} distributions with Fisher's metric: use HessianManifold."
    )


def _one_dimensional(space: Any, point: Map, natural: Map, slope: Callable) -> Chart:
    """A chart of one coordinate with derivative slope(θ, point)."""
    return Chart(
        space,
        point,
        natural,
        lambda v, theta, p: v * slope(theta, p),
        lambda u, theta, p: u / slope(theta, p),
    )


@_chart.register
def _(family: Poisson):
    return _one_dimensional(PoissonDistributions(), np.exp, np.log, lambda theta, p: p)


@_chart.register
def _(family: Exponential):
    return _one_dimensional(
        ExponentialDistributions(), np.negative, np.negative, lambda theta, p: np.full(p.shape, -1.0)
    )


@_chart.register
def _(family: Geometric):
    return _one_dimensional(
        GeometricDistributions(),
        lambda theta: -np.expm1(theta),
        lambda p: np.log1p(-p),
        lambda theta, p: -np.exp(theta),
    )


@_chart.register
def _(family: Binomial):
    return _one_dimensional(BinomialDistributions(family.n), expit, logit, lambda theta, p: p * expit(-theta))


@_chart.register
def _(family: Dirichlet):
    space = BetaDistributions() if isinstance(family, Beta) else DirichletDistributions(family.dim)
    return Chart(
        space, np.copy, np.copy, lambda v, theta, p: v + 0.0 * theta, lambda u, theta, p: u + 0.0 * p
    )


@_chart.register
def _(family: Normal):
    """(m, s) = (θ₁ s², (-2θ₂)^{-1/2})."""

    def point(theta):
        variance = -0.5 / theta[..., 1]
        return np.stack([variance * theta[..., 0], np.sqrt(variance)], axis=-1)

    def natural(p):
        precision = 1.0 / p[..., 1] ** 2
        return np.stack([p[..., 0] * precision, -0.5 * precision], axis=-1)

    def push(v, theta, p):
        m, s = p[..., 0], p[..., 1]
        return np.stack([s**2 * (v[..., 0] + 2.0 * m * v[..., 1]), s**3 * v[..., 1]], axis=-1)

    def pull(u, theta, p):
        m, s = p[..., 0], p[..., 1]
        return np.stack([(u[..., 0] - 2.0 * m * u[..., 1] / s) / s**2, u[..., 1] / s**3], axis=-1)

    return Chart(UnivariateNormalDistributions(), point, natural, push, pull)


@_chart.register
def _(family: Gamma):
    """(κ, γ) = (θ₁, -θ₁/θ₂), the shape and the mean."""

    def image(w):
        return np.stack([w[..., 0], -w[..., 0] / w[..., 1]], axis=-1)

    def push(v, w, p):
        second = (v[..., 0] * p[..., 1] / w[..., 0]) + w[..., 0] * v[..., 1] / w[..., 1] ** 2
        return np.stack(np.broadcast_arrays(v[..., 0], second), axis=-1)

    # The map is its own inverse.
    return Chart(GammaDistributions(), image, image, push, lambda u, theta, p: push(u, p, theta))


@_chart.register
def _(family: CenteredNormal):
    """Σ = (-2Θ)^{-1}, with differential ``dΣ = 2 Σ dΘ Σ``."""
    upper = family._upper

    def pull(u, theta, p):
        half = np.linalg.solve(p, u)
        return (0.5 * np.linalg.solve(p, np.swapaxes(half, -1, -2)))[..., upper[0], upper[1]]

    return Chart(
        CenteredNormalDistributions(family.n),
        family._covariance,
        family._natural,
        lambda v, theta, p: 2.0 * p @ family._matrix(v) @ p,
        pull,
    )


@_chart.register
def _(family: Multinomial):
    """All k probabilities: ``dp = p (v - p·v)`` with v_k = 0."""
    d = family.dim
    space = CategoricalDistributions(d) if isinstance(family, Categorical) else None

    def push(v, theta, p):
        first = p[..., :-1]
        mean = (first * v).sum(axis=-1, keepdims=True)
        return np.concatenate([first * (v - mean), -p[..., -1:] * mean], axis=-1)

    def pull(u, theta, p):
        rate = u / p
        return rate[..., :-1] - rate[..., -1:]

    return Chart(
        space or MultinomialDistributions(d, family.n),
        family._probabilities,
        lambda p: np.log(p[..., :-1]) - np.log(p[..., -1:]),
        push,
        pull,
    )
