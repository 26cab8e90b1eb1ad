"""Geometry of weights as geomstats spaces: the Hessian manifold of R, and what a parametrization induces."""

from riemflow.geometry.dually_flat import AlphaConnection, amari_chentsov_tensor, canonical_divergence
from riemflow.geometry.hessian_manifold import HessianManifold
from riemflow.geometry.hessian_metric import HessianMetric
from riemflow.geometry.induced_manifold import InducedManifold, InducedMetric
from riemflow.geometry.legendre_transform import LegendreTransform

__all__ = [
    "AlphaConnection",
    "HessianManifold",
    "HessianMetric",
    "InducedManifold",
    "InducedMetric",
    "LegendreTransform",
    "amari_chentsov_tensor",
    "canonical_divergence",
]
