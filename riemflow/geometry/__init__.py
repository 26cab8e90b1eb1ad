"""Geometry of weights as geomstats spaces: the Hessian manifold of R, and what a parametrization induces."""

from riemflow.geometry.hessian_manifold import HessianManifold
from riemflow.geometry.hessian_metric import HessianMetric
from riemflow.geometry.induced_manifold import InducedManifold, InducedMetric
from riemflow.geometry.statistical import NaturalToGeomstats

__all__ = ["HessianManifold", "HessianMetric", "InducedManifold", "InducedMetric", "NaturalToGeomstats"]
