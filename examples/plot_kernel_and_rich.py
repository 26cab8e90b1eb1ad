"""
Kernel and rich regime
======================

``w = u² - v²`` is started at u = v = α and trained on fewer data than unknowns. The scale α alone decides
where gradient flow ends: near the interpolating w of least ℓ₂ norm for large α, the kernel regime, in which G
is as good as linear, and near the one of least ℓ₁ norm for small α, the rich regime (Woodworth et al., 2020).
By Corollary 4.17 of Li, Wang, Lee and Arora (2022) every end in between minimises one function, R_α.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import linprog

import riemflow as rf

n, d, k = 25, 60, 4
rng = np.random.default_rng(0)
Z, truth = rng.standard_normal((n, d)) / np.sqrt(n), np.zeros(d)
truth[:k] = [1.0, -1.0, 0.7, -0.5]
Y = Z @ truth

least_l2 = np.linalg.pinv(Z) @ Y
# w = p - q with p, q ≥ 0, and Σ p + q the ℓ₁ norm.
program = linprog(np.ones(2 * d), A_eq=np.hstack([Z, -Z]), b_eq=Y)
least_l1 = program.x[:d] - program.x[d:]
print(f"least ℓ₁ norm {np.abs(least_l1).sum():.4f}, off the truth by {np.abs(least_l1 - truth).max():.1e}")

# %%
# The ends without the flows
# --------------------------
# R_α is the hyperbolic entropy, and α enters it as w/α².
scales = np.logspace(-4, 1, 26)
entropies = [rf.legendre.HyperbolicEntropy(np.full(d, alpha), np.full(d, alpha)) for alpha in scales]
ends = np.array([rf.minimize_bregman(R, np.zeros(d), Z, Y).w for R in entropies])
excess_l1 = np.abs(ends).sum(axis=1) / np.abs(least_l1).sum() - 1
excess_l2 = np.linalg.norm(ends, axis=1) / np.linalg.norm(least_l2) - 1

# %%
# Flows for some α
# ----------------
# They end there, and the tangent kernel ``∂G ∂Gᵀ = 4 diag(u² + v²)`` changes by much or by little on the way.
G, loss = rf.parametrizations.HadamardDifference(d), rf.losses.LeastSquares(Z, Y)
shown, change, gaps = [0.003, 0.1, 1.0, 10.0], [], []
for alpha in shown:
    flow = rf.gradient_flow(G, loss, np.full(2 * d, alpha), np.inf, formulation="parameters", rtol=1e-9)
    R = rf.legendre.HyperbolicEntropy(np.full(d, alpha), np.full(d, alpha))
    gaps.append(np.abs(flow.w[-1] - rf.minimize_bregman(R, np.zeros(d), Z, Y).w).max())
    first, last = (np.diagonal(G.cometric(x)) for x in flow.x[[0, -1]])
    change.append(np.linalg.norm(last - first) / np.linalg.norm(first))
    print(f"α = {alpha:<6g} flow to the minimiser of R_α {gaps[-1]:.1e}, kernel changed by {change[-1]:.2g}")
    print("   ", rf.flows.check_bregman_decrease(R, flow, least_l1))
assert max(gaps) < 1e-5 and change[0] > 10 > 0.1 > change[-1]

# %%
# Both regimes in one picture
# ---------------------------
figure, panels = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
panels[0].loglog(scales, excess_l1, label="ℓ₁ norm over the least")
panels[0].loglog(scales, excess_l2, label="ℓ₂ norm over the least")
panels[0].set(xlabel="α", ylabel="relative excess", title="left rich, right kernel")
panels[0].legend()
order = np.argsort(-np.abs(truth), kind="stable")
for alpha, marker in ((scales[0], "o"), (scales[13], "s"), (scales[-1], "^")):
    w = ends[np.argmin(np.abs(scales - alpha))]
    panels[1].plot(w[order][:20], marker, markersize=4, label=f"α = {alpha:.2g}")
panels[1].plot(truth[order][:20], "k_", markersize=12, label="truth")
panels[1].set(xlabel="coordinate", ylabel="w, end of the flow", title="sparse only when rich")
panels[1].set_xticks(range(0, 20, 5))
panels[1].legend()
assert excess_l1[0] < 0.2 * excess_l1[-1] and excess_l2[-1] < 1e-3 * excess_l2[0]
plt.show()
