"""
The cone of positive definite matrices
======================================

On the symmetric 2×2 matrices W = [[a, b], [b, c]] the barrier ``R = -ln det W`` has the metric of a line
times a hyperbolic plane, (d ln det W)²/2 + 2(dx² + dy²)/y² with x = b/a and y = √(det W)/a. So its embedding
is known in closed form, and mirror flow inside the cone is gradient flow in R⁴.
"""

import matplotlib.pyplot as plt
import numpy as np

import riemflow as rf

R = rf.legendre.LogDet(2)
identity = np.array([1.0, 0.0, 1.0])

# %%
# Two measurements of W are fitted, from several starts.
measurements = rf.losses.LeastSquares([[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]], [0.9, 0.6])
starts = identity + np.array([[0.0, 0.0, 0.0], [0.4, 0.5, 0.2], [-0.4, -0.3, 0.5], [0.3, -0.6, 0.3]])
flows = [rf.mirror_flow(R, measurements, start, 4.0) for start in starts]

# %%
# The same flow as a gradient flow in R⁴
# --------------------------------------
report = rf.verify_reverse(R, measurements, identity, t=2.0)
print(report)
assert report.passed and report.embedding.ambient_dim == 4

# %%
# In the cone, and in its hyperbolic factor
# -----------------------------------------
# On the right W and its multiples are one point: what moves along a ray of the cone stands still there.
figure = plt.figure(figsize=(11, 5), layout="constrained")
cone = figure.add_subplot(1, 2, 1, projection="3d")
height, angle = np.meshgrid(np.linspace(0, 1.4, 20), np.linspace(0, 2 * np.pi, 80))
cone.plot_surface(height * np.cos(angle), height * np.sin(angle), height, alpha=0.2, color="lightsteelblue")
plane = figure.add_subplot(1, 2, 2)
for k, flow in enumerate(flows):
    a, b, c = flow.sol(np.linspace(0, 4, 200)).T
    cone.plot((a - c) / 2, b, (a + c) / 2, color=f"C{k}", linewidth=2)
    cone.scatter((a[0] - c[0]) / 2, b[0], (a[0] + c[0]) / 2, color=f"C{k}")
    plane.plot(b / a, np.sqrt(a * c - b**2) / a, color=f"C{k}", linewidth=2)
    plane.plot(b[0] / a[0], np.sqrt(a[0] * c[0] - b[0] ** 2) / a[0], "o", color=f"C{k}")
cone.set(xlabel="(a - c)/2", ylabel="b", zlabel="(a + c)/2", title="mirror flows of -ln det in its cone")
plane.set(xlabel="x = b/a", ylabel="y = √(det W)/a", title="the same in the upper half-plane", ylim=(0, None))
plane.set_aspect("equal")
plt.show()
