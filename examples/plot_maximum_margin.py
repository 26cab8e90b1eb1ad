"""
Maximum margin under different geometries
=========================================

On separable data the weights of logistic regression grow without bound. Which direction they take is decided
by the mirror map R: the one of largest margin in the norm whose balls sublevel sets of R look like far out.
"""

import autograd.numpy as anp
import matplotlib.pyplot as plt
import numpy as np

import riemflow as rf

rng = np.random.default_rng(3)
points = rng.standard_normal((60, 2)) * [1.0, 1.6]
labels = np.where(points @ [1.0, 0.45] > 0, 1.0, -1.0)
points += 0.45 * labels[:, None] * [1.0, 0.45]
loss = rf.losses.Logistic(points, labels)

steep = rf.LegendreFunction(lambda w: anp.sum((1 + w**2) ** 3, axis=-1), 2, name="sixth powers")
geometries = {
    "½‖w‖²": rf.legendre.SquaredNorm(2),
    "hyperbolic entropy": rf.legendre.HyperbolicEntropy([0.5, 0.5], [0.5, 0.5]),
    "sixth powers": steep,
}
margins = {name: rf.maximum_margin(R, points, labels) for name, R in geometries.items()}
for name, best in margins.items():
    print(f"{name:>20}: {best}")

# %%
# The flows themselves, in ln t
# -----------------------------
# They tend there like a power of ln t: even t = exp(10⁶) leaves the direction uncertain by some 10⁻⁶, where
# the power is 1, and by more where it is less.
taus = np.geomspace(1.0, 1e6, 25)
deviations = {}
for name in ("½‖w‖²", "hyperbolic entropy"):
    flow = rf.logistic_flow(geometries[name], loss, np.zeros(2), taus)
    order = 1 if margins[name].norm == "l1" else 2
    directions = flow.w / np.linalg.norm(flow.w, ord=order, axis=1)[:, None]
    deviations[name] = np.abs(directions - margins[name].direction).max(axis=1)
    slope = np.log(deviations[name][-1] / deviations[name][-5]) / np.log(taus[-1] / taus[-5])
    print(f"{name:>20}: slope {slope:.3f}, predicted {-margins[name].rate:.3f}")
    assert abs(slope + margins[name].rate) < 0.1

# %%
figure, panels = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
panels[0].scatter(*points.T, c=labels, cmap="coolwarm", s=14)
reach = np.array([-5.0, 5.0])
for name, best in margins.items():
    a, b = best.direction
    panels[0].plot(-b / a * reach, reach, label=f"{name}: {best.norm}")
panels[0].set(xlim=(-4, 4), ylim=(-4.5, 4.5), title="boundaries of largest margin")
panels[0].legend()
for name, deviation in deviations.items():
    panels[1].loglog(taus, deviation, label=f"{name}, rate {margins[name].rate:.2f}")
panels[1].set(xlabel="ln(1 + t)", ylabel="off the limit direction", title="how slowly it is approached")
panels[1].legend()
plt.show()
