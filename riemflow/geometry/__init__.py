"""Geometry of weights as geomstats spaces: the Hessian manifold of R, its isometric image in R^D, and what a
parametrization induces."""

from riemflow.geometry.embedded_submanifold import EmbeddedSubmanifold
from riemflow.geometry.hessian_manifold import HessianManifold
from riemflow.geometry.hessian_metric import HessianMetric
from riemflow.geometry.induced_manifold import InducedManifold, InducedMetric
from riemflow.geometry.statistical import NaturalToGeomstats
from riemflow.geometry.submanifold_metric import SubmanifoldMetric

__all__ = [
    "EmbeddedSubmanifold",
    "HessianManifold",
    "HessianMetric",
    "InducedManifold",
    "InducedMetric",
    "NaturalToGeomstats",
    "SubmanifoldMetric",
]
