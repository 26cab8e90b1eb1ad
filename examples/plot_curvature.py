"""
Curvature maps
==============

The metric ``g = ∇²R`` of a mirror map may be flat, a sphere, a hyperbolic plane or anything between. For
d = 2 one number tells at each point, the scalar curvature, twice Gauss': it takes ∇³R, no fourth derivatives.
"""

import matplotlib.pyplot as plt
import numpy as np

import riemflow as rf

legendre = rf.legendre
MAPS = {
    "normal distributions": (legendre.Normal(), rf.Box([-1.5, -2.0], [1.5, -0.3])),
    "Beta distributions": (legendre.Beta(), rf.Box([0.3, 0.3], [4.0, 4.0])),
    "Gamma distributions": (legendre.Gamma(), rf.Box([0.3, -3.0], [4.0, -0.3])),
    "entropy on the simplex": (legendre.SimplexEntropy(2), rf.Box([0.05, 0.05], [0.45, 0.45])),
    "ln(1 + Σ exp) + ½·0.1|w|²": (
        legendre.LogSumExp(2) + 0.1 * legendre.SquaredNorm(2),
        rf.Box([-4, -4], [4, 4]),
    ),
    "entropy": (legendre.NegativeEntropy(2), rf.Box([0.1, 0.1], [2.0, 2.0])),
}


def grid(K, n=80):
    """Points of a box: shape=[n, n, 2]."""
    sides = [np.linspace(low, high, n) for low, high in zip(K.lower, K.upper, strict=True)]
    return np.stack(np.meshgrid(*sides), axis=-1)


figure, panels = plt.subplots(2, 3, figsize=(11, 6.5), layout="constrained")
for axes, (name, (R, K)) in zip(panels.flat, MAPS.items(), strict=True):
    w = grid(K)
    scalar = rf.HessianManifold(R).metric.scalar_curvature(w)
    shown = axes.pcolormesh(w[..., 0], w[..., 1], scalar, cmap="coolwarm", vmin=-1, vmax=1, shading="gouraud")
    axes.set_title(f"{name}\n{scalar.min():.3f} to {scalar.max():.3f}", fontsize=10)
figure.colorbar(shown, ax=panels, label="scalar curvature", shrink=0.7)
