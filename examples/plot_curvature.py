"""
Curvature maps
==============

The metric ``g = ∇²R`` of a mirror map may be flat, a sphere, a hyperbolic plane or nothing so even. For two
variables one number tells at each point: the scalar curvature, twice Gauss' curvature. On a Hessian manifold
third derivatives of R are enough for it.
"""

import matplotlib.pyplot as plt
import numpy as np

import riemflow as rf

beta = rf.legendre.Beta()
softmax = rf.legendre.LogSumExp(2) + 0.1 * rf.legendre.SquaredNorm(2)
MAPS = {
    "normal distributions": (rf.legendre.Normal(), rf.Box([-1.5, -2.0], [1.5, -0.3])),
    "Gamma distributions": (rf.legendre.Gamma(), rf.Box([0.3, -3.0], [4.0, -0.3])),
    "Beta distributions": (beta, rf.Box([0.3, 0.3], [4.0, 4.0])),
    "entropy on the simplex": (rf.legendre.SimplexEntropy(2), rf.Box([0.05, 0.05], [0.45, 0.45])),
    "log-sum-exp + 0.05 |w|²": (softmax, rf.Box([-4.0, -4.0], [4.0, 4.0])),
    "entropy": (rf.legendre.NegativeEntropy(2), rf.Box([0.1, 0.1], [2.0, 2.0])),
}


def grid(K, n=80):
    """Points of a box: shape=[n, n, 2]."""
    return np.stack(np.meshgrid(*np.linspace(K.lower, K.upper, n).T), axis=-1)


curvature = {name: rf.HessianManifold(R).metric.scalar_curvature(grid(K)) for name, (R, K) in MAPS.items()}
figure, panels = plt.subplots(2, 3, figsize=(11, 6.5), layout="constrained")
for axes, (name, found) in zip(panels.flat, curvature.items(), strict=True):
    w = np.moveaxis(grid(MAPS[name][1]), -1, 0)
    shown = axes.pcolormesh(*w, found, cmap="coolwarm", vmin=-1, vmax=1, shading="gouraud")
    spread = f"{found.min():.3f}" if np.ptp(found) < 1e-9 else f"{found.min():.3f} to {found.max():.3f}"
    axes.set_title(f"{name}\n{spread}", fontsize=10)
figure.colorbar(shown, ax=panels, label="scalar curvature", shrink=0.7)

# %%
# Normal distributions are a hyperbolic plane, probabilities of three outcomes a piece of a sphere of radius
# 2, and the entropy, a sum of functions of one variable each, is flat. Beta and Gamma distributions are
# curved negatively on all of these boxes. A quadratic term flattens the sphere of log-sum-exp, and turns the
# sign on both sides of it.
for name, value in (("normal distributions", -1.0), ("entropy on the simplex", 0.5), ("entropy", 0.0)):
    assert np.abs(curvature[name] - value).max() < 1e-9
assert curvature["Beta distributions"].max() < 0 and curvature["Gamma distributions"].max() < 0
assert curvature["log-sum-exp + 0.05 |w|²"].min() < -0.01 < 0.01 < curvature["log-sum-exp + 0.05 |w|²"].max()

# %%
# The Gauss equation
# ------------------
# An isometric image M = F(K) in R^D bends with the second fundamental form II, the normal part of ∂²F. Gauss'
# equation makes the curvature of products of II, without ∇³R, and it must be the same (Theorema egregium).
# How nearly it is tells whether the second derivatives of F can be trusted: they err by some four orders of
# magnitude more than the metric does.
K = rf.Box([1.0, 1.0], [3.0, 3.0])
intrinsic, w = rf.HessianManifold(beta).metric.scalar_curvature(grid(K)), grid(K)
print("tol     metric defect   curvature, by Gauss - by ∇³R")
gaps = []
for tol in (1e-4, 1e-7, 1e-10):
    M = rf.EmbeddedSubmanifold(rf.embed(beta, K, tol=tol))
    gaps.append(np.abs(M.metric.scalar_curvature(w) - intrinsic).max())
    print(f"{tol:.0e}   {M.embedding.certificate.defect:.1e}         {gaps[-1]:.1e}")
assert gaps[0] > gaps[1] > gaps[2] and gaps[2] < 1e-6

# %%
# A closed form leaves rounding only: here in R⁵.
M = rf.EmbeddedSubmanifold(rf.embed(softmax))
w = grid(MAPS["log-sum-exp + 0.05 |w|²"][1])
gap = np.abs(M.metric.scalar_curvature(w) - curvature["log-sum-exp + 0.05 |w|²"]).max()
print(f"closed form: {gap:.1e}")
assert gap < 1e-12

# %%
# A surface with both signs
# -------------------------
# In R³, where the spectral solver finds this surface too, a hill has saddles on both sides.
F = rf.embed(softmax, rf.Box([-3.0, -3.0], [3.0, 3.0]), tol=1e-5, ambient_dim=3)
figure = F.plot(color="curvature")
figure.axes[0].view_init(elev=35, azim=-50)
plt.show()
