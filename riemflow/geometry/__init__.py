"""Geometry of weights as geomstats spaces: the Hessian manifold of R with its dually flat structure, its
isometric image in R^D, and what a parametrization induces."""

from riemflow.geometry.dually_flat import AlphaConnection, amari_chentsov_tensor, canonical_divergence
from riemflow.geometry.embedded_submanifold import EmbeddedSubmanifold
from riemflow.geometry.hessian_manifold import HessianManifold
from riemflow.geometry.hessian_metric import HessianMetric
from riemflow.geometry.induced_manifold import InducedManifold, InducedMetric
from riemflow.geometry.legendre_transform import LegendreTransform
from riemflow.geometry.statistical import NaturalToGeomstats
from riemflow.geometry.submanifold_metric import SubmanifoldMetric

__all__ = [
    "AlphaConnection",
    "EmbeddedSubmanifold",
    "HessianManifold",
    "HessianMetric",
    "InducedManifold",
    "InducedMetric",
    "LegendreTransform",
    "NaturalToGeomstats",
    "SubmanifoldMetric",
    "amari_chentsov_tensor",
    "canonical_divergence",
]
