r"""
Entropy on the simplex: replicator dynamics
===========================================

With :math:`R(w) = \sum_i w_i \ln w_i` on the simplex the mirror flow of a loss :math:`L` is

.. math:: w_i' = w_i \Bigl(f_i - \sum_j w_j f_j\Bigr), \qquad f = -\nabla L(w),

the replicator equation of evolutionary game theory with fitness :math:`f`: a strategy grows as far as it does
better than the average. For a symmetric game :math:`f = Aw`, which is the gradient of the mean fitness
:math:`\tfrac12 w^\top A w`. The last share is eliminated, so
:class:`~riemflow.legendre.SimplexEntropy` has two variables for three strategies.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.integrate import solve_ivp

import riemflow as rf

A = np.array([[1.0, 0.2, 0.5], [0.2, 1.2, 0.1], [0.5, 0.1, 0.9]])  # coordination: three pure equilibria
R = rf.legendre.SimplexEntropy(2)
lift, last = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]), np.array([0.0, 0.0, 1.0])


def shares(w):
    """All three shares from the first two."""
    return w @ lift.T + last


def minus_fitness(w):
    p = shares(w)
    return -0.5 * ((p @ A) * p).sum(axis=-1)


loss = rf.losses.Loss(minus_fitness, 2, gradient=lambda w: -(shares(w) @ A) @ lift)

# %%
# From many starts, and the same by the replicator equation, written out and integrated by SciPy.
t = np.linspace(0.0, 30.0, 200)
starts = np.random.default_rng(0).dirichlet(np.ones(3), 40)
corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])
fig, ax = plt.subplots(figsize=(6, 5.4), layout="constrained")
ax.plot(*np.vstack([corners, corners[:1]]).T, color="0.4")
worst = 0.0
for start in starts:
    flow = rf.mirror_flow(R, loss, start[:2], t, rtol=1e-9)
    p = shares(flow.w)

    def replicator(t, p):
        f = A @ p
        return p * (f - p @ f)

    by_hand = solve_ivp(replicator, (0.0, 30.0), start, t_eval=t, rtol=1e-10, atol=1e-13)
    worst = max(worst, np.abs(by_hand.y.T - p).max())
    ax.plot(*(p @ corners).T, lw=1, color=f"C{np.argmax(p[-1])}")
    ax.plot(*(start @ corners), ".", ms=4, color="0.3")
for k, corner in enumerate(corners):
    ax.annotate(f"strategy {k + 1}", corner, ha="center", va="top" if k < 2 else "bottom")
ax.set(title="Which strategy wins depends on the start", aspect="equal")
ax.axis("off")
print(f"largest difference between the two in {len(starts)} runs: {worst:.1e}")

# %%
# It is also a gradient flow through :math:`w_i = x_i^2` on the unit sphere,
# :class:`~riemflow.parametrizations.Spherical`: the same curves, four times as fast, since the :math:`R` of
# that parametrization is a quarter of the entropy.
G = rf.parametrizations.Spherical(2)
x = rf.gradient_flow(G, loss, np.sqrt(starts[0]), t / 4, rtol=1e-9)
mirror = rf.mirror_flow(R, loss, starts[0][:2], t, rtol=1e-9)
print(f"sphere against simplex: {np.abs(x.w - mirror.w).max():.1e}")
assert worst < 1e-6 and np.abs(x.w - mirror.w).max() < 1e-6
plt.show()
