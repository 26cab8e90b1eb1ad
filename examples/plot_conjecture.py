"""
Conjecture 4.10
===============

Must the fields ∇G_i commute for a mirror flow, or is it enough that their brackets lie in ker ∂G? It is
enough for complete analytic fields, and not for smooth ones. The proofs are on the page
:doc:`/conjecture_4_10`; here are the pictures. In each, the same linear losses come in two orders. A mirror
flow would take both to the same w.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.integrate import quad
from scipy.optimize import brentq

import riemflow as rf


def two_orders(G, x_init, moves):
    """Follow -∇L = each move for one unit of time, and then the last two moves in the other order."""
    flows, times = [], np.linspace(0, len(moves), 60 * len(moves) + 1)
    for order in (moves, [*moves[:-2], moves[-1], moves[-2]]):
        losses = rf.losses.Piecewise(
            np.arange(1.0, len(moves)), [rf.losses.Linear(-np.array(move)) for move in order]
        )
        flows.append(rf.gradient_flow(G, losses, x_init, times, rtol=1e-10))
    return flows


def draw(axes, points, color, label):
    axes.plot(*points.T, color=color, label=label)
    axes.plot(*points[-1:].T, "o", color=color)


# %%
# A smooth counterexample
# -----------------------
# On R³ with coordinates (w₁, w₂, z), G = (w₁, w₂). In the grey strip on the left, moving w₂ shifts z; in the
# one on the right, z changes the speed of w₁. The strips do not meet, so all brackets point along z.
def bump(t, a, b):
    """Return a smooth function that vanishes outside (a, b), with maximum 1."""
    s = (2 * t - a - b) / (b - a)
    safe = np.where(np.abs(s) < 1, 1 - s**2, 1.0)
    return np.where(np.abs(s) < 1, np.exp(1 - 1 / safe), 0.0)


def inverse_metric(x):
    K = np.zeros((*x.shape[:-1], 3, 3))
    b = bump(x[..., 0], -2.0, -1.0)
    K[..., 0, 0] = 1 + 0.5 * bump(x[..., 0], 1.0, 2.0) * np.sin(x[..., 2])
    K[..., 1, 1] = 1.0
    K[..., 1, 2] = K[..., 2, 1] = b
    K[..., 2, 2] = 1 + b**2
    return K


smooth = rf.Parametrization(
    lambda x: x[..., :2],
    3,
    2,
    jacobian=lambda x: np.broadcast_to(np.eye(2, 3), (*x.shape[:-1], 2, 3)),
    inverse_metric=inverse_metric,
    name="smooth",
)
bracket = rf.lie_bracket(smooth, np.random.default_rng(0).uniform([-2, -1, -3], [2, 1, 3], (500, 3)))
print("brackets: in w", np.abs(bracket[..., :2]).max(), "along z", np.abs(bracket[..., 2]).max())

one, other = two_orders(smooth, np.zeros(3), [[-1.5, 0.0], [0.0, 1.5], [3.3, 0.0]])
gap = np.linalg.norm(one.w[-1] - other.w[-1])

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for axes in (left, right):
    for strip in ((-2, -1), (1, 2)):
        axes.axvspan(*strip, color="0.92")
    axes.set_xlabel("w₁")
for flow, color, label in ((one, "C0", "left, up, right"), (other, "C1", "left, right, up")):
    draw(left, flow.w, color, label)
    draw(right, flow.x[:, [0, 2]], color, label)
left.set(ylabel="w₂", title=f"the ends are {gap:.5f} apart in w")
right.set(ylabel="z", title="what w does not show")
left.legend()
plt.show()


# %%
# The second order ends at w₁ = 1.8, the first where a quadrature says: 0.8 units of ∫∇L after w₁ = 1, with
# z = 1.5.
def elapsed(w1):
    return quad(lambda v: 1 / (1 + 0.5 * float(bump(np.array(v), 1.0, 2.0)) * np.sin(1.5)), 1.0, w1)[0]


expected = brentq(lambda w1: elapsed(w1) - 0.8, 1.0, 3.0) - 1.8
print(f"gap {gap:.8f}, by quadrature {expected:.8f}")
assert abs(gap - expected) < 1e-6

# %%
# Two paths over one w
# --------------------
# The quotient of R³ by a screw motion is a mirror flow although its fields do not commute. The two orders
# part along the helix (dotted), on which G is constant.
screw, start = rf.parametrizations.ScrewQuotient(), np.array([1.0, 0.0, 0.3])
one, other = two_orders(screw, start, [[-0.6, -0.2], [0.9, 0.0], [0.0, 0.3]])
figure = plt.figure(figsize=(10, 4.4), layout="constrained")
space, plane = figure.add_subplot(1, 2, 1, projection="3d"), figure.add_subplot(1, 2, 2)
for flow, color in ((one, "C0"), (other, "C1")):
    draw(space, flow.x, color, None)
    draw(plane, flow.w, color, None)
end = one.x[-1]
turn = np.linspace(-0.6, 0.6, 60)
radius, angle = np.hypot(*end[:2]), np.arctan2(end[1], end[0]) + turn
space.plot(radius * np.cos(angle), radius * np.sin(angle), end[2] + turn, "k:")
apart = [np.linalg.norm(a[-1] - b[-1]) for a, b in ((one.x, other.x), (one.w, other.w))]
space.set_title(f"x: the ends are {apart[0]:.2g} apart")
plane.set(title=f"w: {apart[1]:.1g} apart", xlabel="w₁", ylabel="w₂")
plt.show()
assert apart[0] > 1e-2 and apart[1] < 1e-8

# %%
# Commuting, but incomplete
# -------------------------
# ``Q = r² (½ + ⅒ arctan θ)`` on the sheets over the μ-plane without 0, and G = ∇Q with the metric ∇²Q: then
# ∇G_i = ∂/∂μ_i, and the fields commute. The two orders pass 0 on either side, and end over the same μ on two
# sheets, at two w. Assumption 3.5 excludes this: flows end at 0.
EPSILON = 0.1


def dual(angle):
    """Return g with ∇Q = r g(θ), and ∂g/∂θ."""
    radial = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    angular = np.stack([-np.sin(angle), np.cos(angle)], axis=-1)
    s = (1 + angle**2)[..., None]
    h, h1 = 0.5 + EPSILON * np.arctan(angle)[..., None], EPSILON / s
    h2 = -2 * EPSILON * angle[..., None] / s**2
    return 2 * h * radial + h1 * angular, h1 * radial + (2 * h + h2) * angular


def jacobian(x):
    g, slope = dual(x[..., 1])
    return np.stack([g, x[..., :1] * slope], axis=-1)


def sheets_inverse_metric(x):
    """K with K ∂Gᵀ = A, whose columns are ∂/∂μ_i in the coordinates (r, θ): K = A (∂G A)⁻¹ Aᵀ."""
    r, c, s = x[..., 0], np.cos(x[..., 1]), np.sin(x[..., 1])
    A = np.stack([np.stack([c, s], axis=-1), np.stack([-s / r, c / r], axis=-1)], axis=-2)
    return A @ np.linalg.solve(jacobian(x) @ A, np.swapaxes(A, -1, -2))


sheets = rf.Parametrization(
    lambda x: x[..., :1] * dual(x[..., 1])[0],
    2,
    2,
    jacobian=jacobian,
    inverse_metric=sheets_inverse_metric,
    domain=lambda x: x[..., 0] > 0,
    name="sheets",
)
one, other = two_orders(sheets, np.array([np.sqrt(2), -0.75 * np.pi]), [[2.0, 0.0], [0.0, 2.0]])
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for flow, color in ((one, "C0"), (other, "C1")):
    r, angle = flow.x.T
    draw(left, np.stack([r * np.cos(angle), r * np.sin(angle)], axis=-1), color, None)
    draw(right, flow.w, color, None)
left.plot(0, 0, "kx")
gap = np.linalg.norm(one.w[-1] - other.w[-1])
left.set(title="μ: one end, on two sheets", xlabel="μ₁", ylabel="μ₂")
right.set(title=f"w: the ends are {gap:.2g} apart", xlabel="w₁", ylabel="w₂")
plt.show()
assert gap > 0.3
