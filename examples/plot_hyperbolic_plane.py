"""
The hyperbolic plane
====================

The barrier ``R(w) = -ln(w₂ - ½w₁²)`` makes the parabola's interior a hyperbolic plane: with x = w₁ and
y = 2√(w₂ - ½w₁²) its metric is 4(dx² + dy²)/y². The whole plane has no smooth isometric image in R³
(Hilbert), a small enough piece of it has: here in closed form, on a surface of revolution.
"""

import matplotlib.pyplot as plt
import numpy as np

import riemflow as rf

R = rf.legendre.LorentzBarrier(2)
K = rf.Box([-0.6, 0.5], [0.6, 1.6])
F = rf.embed(R, K)
print(F)
assert F.ambient_dim == 3 and F.metric_defect(K.sample(1000)).max() < 1e-12

# %%
# A geodesic
# ----------
# Geodesics are half-circles about points of the axis y = 0. In R³ the drawn curve is as long as the
# hyperbolic distance of its ends, and the straight line in w between them is longer.
start, end = np.array([-0.55, 0.7]), np.array([0.55, 0.7])


def half_plane(w):
    """(x, y) of the upper half-plane: shape=[..., 2] -> shape=[..., 2]."""
    return np.stack([w[..., 0], 2 * np.sqrt(w[..., 1] - 0.5 * w[..., 0] ** 2)], axis=-1)


def length(x):
    """Length of the polygon through points x of R^3: shape=[T, 3] -> number."""
    return np.linalg.norm(np.diff(x, axis=0), axis=1).sum()


(x0, y0), (x1, y1) = half_plane(start), half_plane(end)
center = 0.5 * (x0 + x1) + 0.5 * (y1**2 - y0**2) / (x1 - x0)
radius = np.hypot(x0 - center, y0)
angle = np.linspace(np.arctan2(y0, x0 - center), np.arctan2(y1, x1 - center), 400)
x, y = center + radius * np.cos(angle), radius * np.sin(angle)
geodesic = np.stack([x, 0.5 * x**2 + 0.25 * y**2], axis=-1)
straight = start + np.linspace(0, 1, 400)[:, None] * (end - start)

distance = 2 * np.arccosh(1 + ((x1 - x0) ** 2 + (y1 - y0) ** 2) / (2 * y0 * y1))
print(f"hyperbolic distance {distance:.6f}, geodesic in R³ {length(F(geodesic)):.6f}")
print(f"the straight line in w, in R³      {length(F(straight)):.6f}")
assert abs(length(F(geodesic)) - distance) < 1e-5 < length(F(straight)) - distance

# %%
# A mirror flow, which is a gradient flow on this surface
# -------------------------------------------------------
# The flow of the parameters x in R³ follows the mirror flow's w.
loss = rf.losses.LeastSquares([[1.0, 1.0]], [1.6])
mirror = rf.mirror_flow(R, loss, [-0.4, 0.75], 4.0)
through = rf.gradient_flow(F.parametrization(), loss, F([-0.4, 0.75]), 4.0)
gap = np.abs(through.w[-1] - mirror.w[-1]).max()
print(f"mirror flow ends at {mirror.w[-1]}, the gradient flow {gap:.0e} from it")
assert gap < 1e-6

figure = F.plot([geodesic, mirror, straight])
axes = figure.axes[0]
axes.text2D(0, 0, "red: geodesic, black: mirror flow, orange: straight in w", transform=axes.transAxes)
axes.view_init(elev=50, azim=-60)
plt.show()
