"""
The order of flows
==================

A parametrization ``w = G(x)`` commutes when following ∇G_1 for a time s and then ∇G_2 for a time t ends where
the other order ends (Theorem 4.2 of Li, Wang, Lee and Arora, 2022; this is their Figure 1, with flows that
were computed). Then x depends on the integrals of the gradients alone, and w moves by mirror flow.
"""

import matplotlib.pyplot as plt
import numpy as np

from riemflow.commuting.coordinate_flows import coordinate_flow
from riemflow.commuting.flow_domain import check_flow_domain, flow_domain
from riemflow.commuting.order import check_order_independence
from riemflow.parametrizations import Hadamard, Quadratic

# %%
# Two pairs of quadratic forms
# ----------------------------
# ``G_i(x) = ½ xᵀA_i x``. Forms with common axes commute; turn one of them and they do not.
angle = np.pi / 7
turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
first, second = np.diag([1.0, -0.6]), np.diag([-0.5, 1.0])
common = Quadratic([turn @ first @ turn.T, turn @ second @ turn.T])
turned = Quadratic([first, turn @ second @ turn.T])

x, s, t = np.array([1.0, 0.8]), 0.7, 0.6
for G in (common, turned):
    print(check_order_independence(G, x))


# %%
# Both orders, drawn
# ------------------
# ``coordinate_flow`` takes all times at once.
def both_orders(G):
    """Return the paths of the two orders, each [2, n, 2]: the first leg and the second."""
    share, paths = np.linspace(0.0, 1.0, 50), []
    for (i, s_i), (j, s_j) in (((0, s), (1, t)), ((1, t), (0, s))):
        leg = coordinate_flow(G, x, i, s_i * share)
        paths.append(np.array([leg, coordinate_flow(G, leg[-1], j, s_j * share)]))
    return paths


figure, panels = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained", sharex=True, sharey=True)
gaps = []
for axes, G, title in zip(panels, (common, turned), ("commuting", "not commuting"), strict=True):
    one, other = both_orders(G)
    for path, colors in ((one, ("C0", "C1")), (other, ("C1", "C0"))):
        for leg, color in zip(path, colors, strict=True):
            axes.plot(*leg.T, color=color, linewidth=2)
            axes.annotate(
                "", leg[27], leg[24], arrowprops={"arrowstyle": "-|>", "color": color, "mutation_scale": 16}
            )
    ends = np.array([one[1, -1], other[1, -1]])
    gaps.append(np.linalg.norm(ends[1] - ends[0]))
    axes.plot(*ends.T, "k:", marker="o", markersize=5)
    axes.plot(*x, "ks", markersize=5)
    axes.annotate("x", x, xytext=(-12, -4), textcoords="offset points")
    axes.set(title=f"{title}: the ends are {gaps[-1]:.2g} apart", xlabel="x₁", aspect="equal")
panels[0].set_ylabel("x₂")
panels[0].plot([], [], "C0", label="along ∇G₁")
panels[0].plot([], [], "C1", label="along ∇G₂")
panels[0].legend(loc="best")
assert gaps[0] < 1e-10 < 0.1 < gaps[1]
plt.show()

# %%
# How long flows last
# -------------------
# Flows of ``x³`` blow up: from x = (1, 2) at the times 1/3 and 1/6. The set of all μ for which the joint flow
# exists is a product of intervals, as Assumption 3.5 makes sure.
U = flow_domain(Hadamard(2, power=3), [1.0, 2.0])
print(U)
print(U.belongs([[0.3, -5.0], [0.3, 0.2]]))
print(check_flow_domain(Hadamard(2, power=3), [1.0, 2.0]))
