"""
A linear programme by its log-barrier
=====================================

For L(w) = c·w, mirror flow of the log-barrier R = -Σ ln(b_k - a_k·w) of a polytope is its central path:
``∇R(w(t)) = ∇R(w(0)) - tc``. It needs no integrator, and ends at the solution of the linear programme.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import linprog

import riemflow as rf

angles = 2 * np.pi * np.arange(7) / 7
A = np.stack([np.cos(angles), np.sin(angles)], axis=1)
b = np.array([1.0, 1.2, 0.8, 1.0, 1.3, 0.9, 1.1])
R = rf.legendre.LogBarrier(A, b)
c = np.array([-1.0, -0.35])
program = linprog(c, A_ub=A, b_ub=b, bounds=[(None, None)] * 2)

# %%
# From the analytic centre and from elsewhere
# -------------------------------------------
# The path from the centre is that of interior point methods; every other start has its own, to the same end.
centre = R.conjugate.gradient(np.zeros(2))
starts = [centre, [-0.5, 0.55], [-0.4, -0.7], [0.6, -0.8]]
flows = [rf.mirror_flow(R, rf.losses.Linear(c), start, np.geomspace(1e-3, 1e5, 120)) for start in starts]
for start in starts:
    path = rf.central_path(R, c, start)
    print(path, f"off the simplex method's solution by {np.abs(path.limit - program.x).max():.1e}")
    assert np.abs(path.limit - program.x).max() < 1e-8

# %%
# From the centre the gap ``c·w - min`` is below (number of faces)/t.
gaps = [flow.w @ c - program.fun for flow in flows]
assert (gaps[0] <= len(b) / flows[0].t).all()

figure, panels = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
corners = [np.linalg.solve(A[[k, (k + 1) % 7]], b[[k, (k + 1) % 7]]) for k in range(7)]
panels[0].fill(*np.transpose(corners), facecolor="0.93", edgecolor="0.4")
for flow, start in zip(flows, starts, strict=True):
    panels[0].plot(*np.vstack([start, flow.w]).T)
panels[0].plot(*program.x, "k*", markersize=12, label="solution by linprog")
panels[0].plot(*centre, "ko", label="analytic centre")
panels[0].set(aspect="equal", title="central paths")
panels[0].legend(loc="lower left")
for flow, gap in zip(flows, gaps, strict=True):
    panels[1].loglog(flow.t, gap)
panels[1].loglog(flows[0].t, len(b) / flows[0].t, "k:", label="number of faces / t")
panels[1].set(xlabel="t", ylabel="c·w - min", ylim=(1e-6, 10))
panels[1].legend()
plt.show()
