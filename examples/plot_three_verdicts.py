"""
The three verdicts
==================

Is gradient flow through ``w = G(x)`` a mirror flow on w? If it is, w depends on the *integral* of the loss
gradients alone: ``∇R(w(t)) = ∇R(w(0)) - ∫∇L dt``, and schedules of losses with equal integrals lead to equal
weights, whatever their order. ``classify`` finds out, and where the answer is no it returns two schedules
that show it.
"""

import matplotlib.pyplot as plt
import numpy as np

from riemflow.commuting.classification import classify
from riemflow.losses import Linear, Piecewise
from riemflow.parametrizations import HadamardDifference, MatrixFactorization, ScrewQuotient
from riemflow.plotting import draw_schedules, draw_witness

# %%
# Three parametrizations
# ----------------------
# ``u ⊙ u - v ⊙ v`` commutes (Theorem 4.8 of Li, Wang, Lee and Arora, 2022). The quotient of R³ by a screw
# motion does not, but its brackets lie in ker ∂G, where they cannot be seen in w (Theorem 4.9): it is
# *projectable*. ``UUᵀ`` is neither, and no mirror flow.
cases = {
    "commuting": (HadamardDifference(2), np.array([1.0, 0.7, 0.8, 1.2])),
    "projectable": (ScrewQuotient(), np.array([1.0, 0.5, 0.3])),
    "not-mirror": (MatrixFactorization(2, 2), np.array([1.0, 0.2, -0.3, 0.8])),
}
found = {verdict: classify(G, x_init) for verdict, (G, x_init) in cases.items()}
for verdict, classification in found.items():
    print(classification, end="\n\n")
    assert classification.verdict == verdict

# %%
# Two orders of the same losses
# -----------------------------
# Linear losses, so that ∫∇L dt is known beforehand: a·w for one unit of time and then b·w, or b·w first. For
# UUᵀ the two schedules are the witness.
a, b = np.array([0.25, -0.15]), np.array([-0.2, -0.3])
orders = [Piecewise([1.0], [Linear(a), Linear(b)]), Piecewise([1.0], [Linear(b), Linear(a)])]

figure, panels = plt.subplots(1, 3, figsize=(12, 4.2), layout="constrained")
gaps = {}
for axes, (verdict, (G, x_init)) in zip(panels, cases.items(), strict=True):
    witness = found[verdict].witness
    if witness is None:
        one, other = draw_schedules(axes, G, orders, x_init, 2.0)
    else:
        one, other = draw_witness(axes, G, witness, x_init)
    ends = {of: [flow.sol(flow.t[-1], of) for flow in (one, other)] for of in ("w", "x")}
    gaps[verdict] = [np.linalg.norm(np.subtract(*pair)) for pair in ends.values()]
    in_w, in_x = (f"{gap:.1g}" for gap in gaps[verdict])
    axes.set_title(f"{verdict}: {G.name}\nthe ends are {in_w} apart in w, {in_x} in x")
plt.show()

# %%
# Two orders lead to one x if G commutes. If it is projectable they may lead to two, but over the same w.
for verdict, (in_w, in_x) in gaps.items():
    print(f"{verdict:12} in w {in_w:.1e}, in x {in_x:.1e}")
assert gaps["commuting"][0] < 1e-8 and gaps["commuting"][1] < 1e-8
assert gaps["projectable"][0] < 1e-8 and gaps["projectable"][1] > 1e-2
assert gaps["not-mirror"][0] > 1e-2

# %%
# w = UUᵀ obeys an equation of its own all the same: ``∂G∂Gᵀ`` is a function of w, and its inverse is a
# Riemannian metric, that of Bures and Wasserstein. It is just not the Hessian of any R.
print(found["not-mirror"].intrinsic)
