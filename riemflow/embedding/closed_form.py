"""Embeddings in closed form, read off the structure of a Legendre function.

Exact embeddings compose: a sum's is the stack of its terms', a multiple's a multiple, R(Aw + b)'s is
F(Aw + b), and blocks embed blockwise. Only the leaves need a formula of their own.
"""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import numpy as np

from riemflow.embedding.embedding import ClosedForm, IsometricEmbedding
from riemflow.embedding.hyperbolic import LogDet2Map, LorentzConjugateMap, LorentzMap
from riemflow.embedding.maps import (
    AffineMap,
    BlockMap,
    LinearMap,
    Map,
    RidgeMap,
    ScaledMap,
    SphereMap,
    StackMap,
)
from riemflow.embedding.metric import as_metric
from riemflow.embedding.region import MOST_CORNERS, Box, Region
from riemflow.errors import NoClosedFormError
from riemflow.legendre.algebra import Composed, Product, Scaled, Sum, Tilted
from riemflow.legendre.barriers import LogDet, LorentzBarrier, LorentzConjugate
from riemflow.legendre.entropies import BurgEntropy, NegativeEntropy
from riemflow.legendre.function import LegendreFunction
from riemflow.legendre.partition import LogPartition, SimplexEntropy
from riemflow.legendre.quadratic import Quadratic
from riemflow.legendre.ridge import RidgeSum
from riemflow.legendre.separable import Separable

# Extremes of a function over a ball are sampled at this many points of its sphere.
SPHERE_POINTS = 4000


class MapEmbedding(IsometricEmbedding):
    """An embedding put together from maps."""

    map: Map

    def _fun(self, w):
        return self.map.fun(w)

    def _jacobian(self, w):
        return self.map.jacobian(w)

    def _hessian(self, w):
        return self.map.hessian(w)

    def _start(self, x):
        with np.errstate(all="ignore"):
            w = self.map.start(x)
        # What misses the domain is pulled towards an interior point until it is inside.
        interior = self.domain.interior
        offset = np.where(np.isfinite(w), w, interior) - interior
        outside = ~self._belongs(interior + offset)
        for _ in range(60):
            if not outside.any():
                break
            offset = np.where(outside[..., None], 0.5 * offset, offset)
            outside = ~self._belongs(interior + offset)
        return interior + np.where(outside[..., None], 0.0, offset)


class ClosedFormEmbedding(MapEmbedding):
    """An embedding given by a formula, on all of dom R unless hyperbolic parts confine it to a region."""

    def __init__(self, R: LegendreFunction, map_: Map, region: Region | None):
        self.map, self._made_for = map_, R
        metric, certificate = as_metric(R), ClosedForm(R.name)
        self._define(metric, map_.ambient_dim, region=region, method="closed-form", certificate=certificate)

    def _belongs(self, w):
        inside = np.asarray(self._made_for._belongs(w))
        if not self.map.is_local:
            return inside
        with np.errstate(all="ignore"):
            return inside & self.map.belongs(w)

    def _where(self):
        # A formula that holds everywhere is not confined to the region that was asked for.
        return super()._where() if self.map.is_local else self.metric.place


def closed_form(R: LegendreFunction, region: Region | None = None) -> ClosedFormEmbedding:
    """Return the embedding that R's structure gives.

    Raises
    ------
    NoClosedFormError
        If a part of R has no known closed form, or one that needs a region and none is given; names it.
    """
    extremes = None if region is None else extreme_points(region)
    return ClosedFormEmbedding(R, embedding_map(R, extremes), region)


def extreme_points(region: Region) -> np.ndarray:
    """The corners of a box, or many points of another region's boundary: shape=[n, d]."""
    if isinstance(region, Box) and region.dim <= MOST_CORNERS:
        return region.corners()
    return region._boundary(SPHERE_POINTS, np.random.default_rng(0))


@singledispatch
def embedding_map(R: Any, extremes: np.ndarray | None) -> Map:
    """Return the map that embeds ∇²R isometrically, valid on the hull of `extremes`, shape=[n, d], or None.

    Register a class here to teach the library its closed form.
    """
    raise NoClosedFormError(
        f"No isometric embedding of {R.name} ({type(R).__name__}, d = {R.dim}) is known in closed form: "
        'use method="spectral" on a region (d ≤ 5), or build R from functions that have one.'
    )


@embedding_map.register
def _(R: Separable, extremes):
    return RidgeMap(np.eye(R.dim), np.zeros(R.dim), R)


@embedding_map.register
def _(R: RidgeSum, extremes):
    return RidgeMap(R.A, R.b, R)


@embedding_map.register
def _(R: Quadratic, extremes):
    return LinearMap(R.A)


@embedding_map.register
def _(R: LogPartition, extremes):
    return SphereMap(R)


@embedding_map.register
def _(R: SimplexEntropy, extremes):
    # d + 1 probabilities, the last one 1 - Σ w, each with the entropy's flat coordinate 2√p.
    A = np.vstack([np.eye(R.dim), -np.ones(R.dim)])
    return RidgeMap(A, np.append(np.zeros(R.dim), 1.0), NegativeEntropy(R.dim + 1))


@embedding_map.register
def _(R: Sum, extremes):
    return StackMap([embedding_map(term, extremes) for term in R.terms])


@embedding_map.register
def _(R: Scaled, extremes):
    return ScaledMap(R.factor, embedding_map(R.base, extremes))


@embedding_map.register
def _(R: Tilted, extremes):
    return embedding_map(R.base, extremes)


@embedding_map.register
def _(R: Composed, extremes):
    inner = None if extremes is None else extremes @ R.A.T + R.b
    return AffineMap(embedding_map(R.base, inner), R.A, R.b)


@embedding_map.register
def _(R: Product, extremes):
    inner = [None if extremes is None else extremes[:, block] for block in R.blocks]
    return BlockMap([embedding_map(part, e) for part, e in zip(R.parts, inner, strict=True)])


@embedding_map.register
def _(R: LorentzBarrier, extremes):
    if R.dim == 1:
        return embedding_map(BurgEntropy(1), extremes)
    return LorentzMap(_needed(R, extremes))


@embedding_map.register
def _(R: LorentzConjugate, extremes):
    if R.dim == 1:
        return embedding_map(BurgEntropy(1).compose([[-1.0]]), extremes)
    return LorentzConjugateMap(_needed(R, extremes))


@embedding_map.register
def _(R: LogDet, extremes):
    if R.n == 1:
        return embedding_map(BurgEntropy(1), extremes)
    if R.n > 2:
        return embedding_map.dispatch(object)(R, extremes)
    return LogDet2Map(_needed(R, extremes))


def _needed(R: LegendreFunction, extremes: np.ndarray | None) -> np.ndarray:
    if extremes is None:
        raise NoClosedFormError(
            f"The closed form for {R.name} is valid on a compact region only: pass region=, such as "
            "Box(lower, upper)."
        )
    return extremes
