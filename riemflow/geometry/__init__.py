"""The only door to geomstats: the Hessian manifold of a Legendre function."""

from riemflow.geometry.hessian_manifold import HessianManifold, HessianMetric

__all__ = ["HessianManifold", "HessianMetric"]
