"""The geometry of a Legendre function: its Hessian manifold, as a geomstats space."""

from riemflow.geometry.hessian_manifold import HessianManifold, HessianMetric

__all__ = ["HessianManifold", "HessianMetric"]
