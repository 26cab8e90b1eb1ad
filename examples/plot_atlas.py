"""
Many charts: an atlas
=====================

The barrier ``R(x, t) = -ln(t - x²/2)`` makes the space above a parabola a hyperbolic plane. On a box that
comes near the parabola its metric grows by so much that polynomials of a high degree would be needed for one
embedding. ``method="atlas"`` bisects the box where they are, and embeds each chart by itself. A gradient flow
goes from one chart to the next: in each it is the gradient flow through that chart's parametrization, and its
weights are those of the mirror flow throughout.
"""

import autograd.numpy as anp
import matplotlib.pyplot as plt
import numpy as np

import riemflow as rf

# A plain callable, so that the closed form of rf.legendre.LorentzBarrier is not seen.
R = rf.LegendreFunction(
    lambda w: -anp.log(w[..., 1] - w[..., 0] ** 2 / 2),
    2,
    domain=lambda w: w[..., 1] > w[..., 0] ** 2 / 2,
    interior=[0.0, 1.0],
    name="-ln(t - x²/2)",
)
K = rf.Box([-1.0, 0.6], [1.0, 4.0])
atlas = rf.embed(R, K, tol=1e-6, method="atlas")
print(atlas.certificate)
assert atlas.certificate.passed and len(atlas.charts) > 1

# %%
# The flow, and the mirror flow of the closed form beside it.
loss, start = rf.losses.LeastSquares(np.eye(2), [0.8, 2.8]), [-0.9, 0.75]
times = np.linspace(0.02, 4.0, 120)
flow = rf.atlas_flow(atlas, loss, start, times, rtol=1e-9)
mirror = rf.mirror_flow(rf.legendre.LorentzBarrier(2), loss, start, times, rtol=1e-10)
gap = np.abs(flow.w - mirror.w).max()
print(f"{len(flow.stats['switches'])} changes of chart; {gap:.0e} from the mirror flow")
assert len(flow.stats["switches"]) >= 1 and gap < 1e-5

# %%
# The charts' boxes overlap a little; the colour of the path tells the chart in use.
figure, axes = plt.subplots(figsize=(6, 5), layout="constrained")
for k, chart in enumerate(atlas.charts):
    low, high = chart.region.bounding_box()
    axes.add_patch(plt.Rectangle(low, *(high - low), fill=False, color=f"C{k % 10}"))
for k in np.unique(flow.stats["charts"]):
    inside = np.asarray(flow.stats["charts"]) == k
    axes.plot(*flow.w[inside].T, ".", color=f"C{k % 10}", label=f"chart {k}, degree {atlas.charts[k].degree}")
x = np.linspace(-1, 1, 100)
axes.fill_between(x, x**2 / 2, 0, color="0.85")
axes.set(xlabel="x", ylabel="t", title="a mirror flow through the charts of an atlas", ylim=(0, 4.1))
axes.legend()
plt.show()
