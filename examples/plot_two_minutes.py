"""
Two minutes: entropy and x⊙x
============================

Train ``w = x ⊙ x`` by gradient flow on x, and w moves by mirror flow of an entropy. Here both
directions are computed: from the parametrization to R, and from R back to a parametrization.
"""

import matplotlib.pyplot as plt
import numpy as np

import riemflow as rf

rng = np.random.default_rng(0)
Z = rng.standard_normal((2, 3))
loss = rf.losses.LeastSquares(Z, Z @ [1.5, 0.2, 0.7])

# %%
# Forward: from G to R
# --------------------
# R comes from a horizontal lift of straight lines in w. Its gradient is a quarter of ln(w / w_init).
G = rf.parametrizations.Hadamard(3)
x_init = np.array([1.0, 0.8, 1.2])
R = rf.legendre_from_parametrization(G, x_init)
w = np.array([0.5, 2.0, 1.0])
print("∇R(w)            ", R.gradient(w))
print("ln(w / w_init)/4 ", np.log(w / x_init**2) / 4)

forward = rf.verify_forward(G, loss, x_init, t=5.0)
print(forward)

# %%
# Reverse: from R to G
# --------------------
# The metric of the entropy is diag(1 / w), so F(w) = 2√w embeds it, and G(x) = (x / 2)² inverts F.
entropy = rf.legendre.NegativeEntropy(3)
F = rf.embed(entropy)
print(F([1.0, 4.0, 9.0]), F.metric_defect([1.0, 4.0, 9.0]))

reverse = rf.verify_reverse(entropy, loss, x_init**2, t=5.0)
print(reverse)
assert forward.passed and reverse.passed

# %%
# One flow, four ways.
reverse.plot()
plt.show()
