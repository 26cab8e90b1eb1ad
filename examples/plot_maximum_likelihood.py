r"""
Maximum likelihood by natural gradient flow
===========================================

The log-partition function :math:`R(\theta)` of an exponential family has Fisher's information as its Hessian
and the expectations :math:`\eta = \mathrm E\,T` of the statistics as its gradient. Minus the mean
log-likelihood of data is :math:`L(\theta) = R(\theta) - \theta\cdot\bar\eta`, up to a constant, with
:math:`\bar\eta` the mean of their statistics. Its natural gradient flow is the mirror flow of :math:`R`:

.. math:: \theta' = -\nabla^2R(\theta)^{-1}\nabla L(\theta) \quad\Longleftrightarrow\quad
   \eta' = -(\eta - \bar\eta), \qquad \eta(t) = \bar\eta + e^{-t}(\eta(0) - \bar\eta).

In expectation parameters every flow runs straight to the maximum, whatever the family and the data, with time
constant 1.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy import stats
from sklearn.datasets import load_iris, load_wine

import riemflow as rf

# %%
# A Gamma distribution: the colour of wine
# ----------------------------------------
colour = load_wine().data[:, 9]
R = rf.legendre.Gamma()
loss = R.negative_log_likelihood(colour)
t = np.linspace(0.0, 8.0, 161)
starts = np.array([[0.6, -1.0], [9.0, -0.8], [1.5, -0.08], [12.0, -4.0], [2.0, -2.0]])
flows = [rf.mirror_flow(R, loss, start, t) for start in starts]

best = R.fit(colour)  # ∇R*(η̄), the end of all flows
a, _, scale = stats.gamma.fit(colour, floc=0)
print(f"shape and rate: {best[0]:.6f}, {-best[1]:.6f}; scipy.stats.gamma.fit: {a:.6f}, {1 / scale:.6f}")
assert np.allclose(best, [a, -1 / scale], rtol=1e-8)

eta_bar = loss.mean_statistics
worst = 0.0
for flow, start in zip(flows, starts, strict=True):
    line = eta_bar + np.exp(-t)[:, None] * (R.gradient(start) - eta_bar)
    worst = max(worst, np.abs(R.gradient(flow.w) - line).max())
print(f"largest distance from the straight lines in {len(starts)} flows: {worst:.1e}")
assert worst < 1e-5

# %%
# Curves in natural coordinates, lines in expectation coordinates. The shaded set is what expectations can be:
# :math:`\mathrm E \ln x < \ln \mathrm E x`.
figure, panels = plt.subplots(1, 3, figsize=(12.5, 4.0), layout="constrained")
for k, flow in enumerate(flows):
    panels[0].plot(*flow.w.T, color=f"C{k}")
    panels[0].plot(*flow.w[0], ".", color=f"C{k}")
    panels[1].plot(*R.gradient(flow.w).T, color=f"C{k}")
    panels[1].plot(*R.gradient(flow.w[0]), ".", color=f"C{k}")
panels[0].plot(*best, "k*", ms=11, zorder=3)
panels[1].plot(*eta_bar, "k*", ms=11, zorder=3)
log_mean = np.linspace(-2.0, 3.3, 200)
panels[1].fill_between(log_mean, np.exp(log_mean), 30.0, color="0.93", zorder=0)
panels[0].set(xlabel=r"$\theta_1$, shape", ylabel=r"$\theta_2$, minus the rate", title="natural parameters")
panels[1].set(
    xlabel=r"$\eta_1 = \mathrm{E}\,\ln x$",
    ylabel=r"$\eta_2 = \mathrm{E}\,x$",
    title="expectation parameters",
    xlim=(-2.0, 3.3),
    ylim=(0.0, 22.0),
)
x = np.linspace(0.05, 14.0, 300)
panels[2].hist(colour, bins=25, density=True, color="0.85")
for time, shade in zip((0.0, 0.5, 1.0, 2.0), (0.25, 0.45, 0.65, 0.8), strict=True):
    theta = flows[0].w[np.searchsorted(t, time)]
    panels[2].plot(x, np.exp(R.log_prob(x, theta)), color=plt.cm.Blues(shade), label=f"t = {time:g}")
panels[2].plot(x, R.to_scipy(best).pdf(x), "k", label="most likely")
panels[2].set(xlabel="colour intensity of 178 wines", title="densities along one flow", ylim=(0.0, 0.4))
panels[2].legend()

# %%
# A Dirichlet distribution: the proportions of iris flowers
# ---------------------------------------------------------
# The four lengths of each of the 50 flowers of one species, divided by their sum. There is no formula for
# :math:`\nabla R^*`; the flow needs none, and ends where the fit by Newton's method does.
iris = load_iris()
lengths = iris.data[iris.target == 1]
shares = lengths / lengths.sum(axis=1, keepdims=True)
D = rf.legendre.Dirichlet(4)
flow = rf.mirror_flow(D, D.negative_log_likelihood(shares), np.ones(4), np.linspace(0.0, 25.0, 251))
best = D.fit(shares)
print("α of the Dirichlet distribution:", best.round(3))
print(f"flow against fit: {np.abs(flow.w[-1] / best - 1).max():.1e}")
assert np.abs(flow.w[-1] / best - 1).max() < 1e-6

figure, panels = plt.subplots(1, 2, figsize=(10.0, 3.8), layout="constrained")
names = ["sepal length", "sepal width", "petal length", "petal width"]
distance = np.abs(D.gradient(flow.w) - np.log(shares).mean(axis=0))
for k, name in enumerate(names):
    panels[0].semilogy(flow.t, distance[:, k], label=name)
    panels[1].hist(shares[:, k], bins=12, density=True, color=f"C{k}", alpha=0.35)
    x = np.linspace(1e-3, 0.55, 400)
    panels[1].plot(x, stats.beta(best[k], best.sum() - best[k]).pdf(x), color=f"C{k}", label=name)
panels[0].semilogy(flow.t, np.exp(-flow.t), "k:", label="$e^{-t}$")
panels[0].set(xlabel="t", ylabel=r"$|\eta - \bar\eta|$", title="exponential relaxation", ylim=(1e-8, 10))
panels[1].set(xlabel="share of the sum of lengths", title="fitted margins, which are Beta densities")
for panel in panels:
    panel.legend(fontsize="small")
plt.show()
