"""The parametrizations of the page on Conjecture 4.10, with their derivations and exact flows."""

from __future__ import annotations

from collections.abc import Sequence

import autograd.numpy as anp
import numpy as np

from riemflow.parametrizations import Parametrization

EPSILON = 0.1  # how much the sheets of `monodromic` differ


def bump(t, a, b):
    """A smooth function that vanishes outside (a, b), 1 in the middle."""
    s = (2 * t - a - b) / (b - a)
    inside = np.abs(s) < 1
    safe = np.where(inside, 1 - s**2, 1.0)
    return np.where(inside, np.exp(1 - 1 / safe), 0.0)


def copy_size(k: int) -> float:
    """How strong the k-th copy of the two bumps is: 1 for k = 0, and the infinite sum is smooth at 0."""
    return float(np.exp(1.0 - 2.0**k))


def smooth_counterexample(strength: float = 1.0, copies: int = 1) -> Parametrization:
    """G(w₁, w₂, z) = (w₁, w₂) on R³ with inverse metric [[H, b], [bᵀ, 1 + bᵀH⁻¹b]].

    H = diag(1 + ½β(w₁; 1, 2) sin z, 1) depends on z only where b = (0, β(w₁; -2, -1)) vanishes. So all
    brackets are vertical, along ∂_z; but z can be shifted on the left and felt on the right. Further copies
    of the bumps, ``c_k β(2^k w₁; ·, ·)`` with c_k = e^{1 - 2^k}, do the same in every neighbourhood of 0.
    """

    def bumps(w, a, b):
        return sum(copy_size(k) * bump(2**k * w, a, b) for k in range(copies))

    def inverse_metric(x):
        K = np.zeros((*x.shape[:-1], 3, 3))
        b = strength * bumps(x[..., 0], -2.0, -1.0)
        K[..., 0, 0] = 1 + 0.5 * bumps(x[..., 0], 1.0, 2.0) * np.sin(x[..., 2])
        K[..., 1, 1] = 1.0
        K[..., 1, 2] = K[..., 2, 1] = b
        K[..., 2, 2] = 1 + b**2
        return K

    return Parametrization(
        lambda x: x[..., :2],
        3,
        2,
        jacobian=lambda x: np.broadcast_to(np.eye(2, 3), (*x.shape[:-1], 2, 3)),
        hessian=lambda x: np.zeros((*x.shape[:-1], 2, 3, 3)),
        inverse_metric=inverse_metric,
        name="smooth counterexample",
    )


def sheet_factor(angle):
    """h and its first three derivatives for ``h(θ) = ½ + ε arctan θ``."""
    s = 1 + angle**2
    h2, h3 = -2 * EPSILON * angle / s**2, EPSILON * (6 * angle**2 - 2) / s**3
    return 0.5 + EPSILON * np.arctan(angle), EPSILON / s, h2, h3


def monodromic(hole: float = 0.0) -> Parametrization:
    """``G = ∇Q`` for ``Q = r² h(θ)`` on the sheets over the μ-plane without a disc, with the metric ∇²Q.

    Coordinates x = (r, θ), r > `hole`, θ ∈ R, with μ = r (cos θ, sin θ). In the frame e_r, e_θ,

        ∇Q = r (2h, h'),   ∇²Q = [[2h, h'], [h', 2h + h'']],

    which is positive definite on all sheets for a small ε. With the metric ∇²Q in the coordinates μ,
    ``∇G_i = (∇²Q)⁻¹ ∇²Q e_i = ∂/∂μ_i``: commuting and analytic. The flows are straight lines in the μ-plane
    and end where they meet the disc, which may be the point 0 alone.
    """

    def polar(x):
        """The columns are ∂/∂μ_1 and ∂/∂μ_2 in the coordinates (r, θ)."""
        r, c, s = x[..., 0], np.cos(x[..., 1]), np.sin(x[..., 1])
        return matrices([[c, s], [-s / r, c / r]])

    def along(x):
        """∇Q = r g(θ): g, g' and g''."""
        c, s = np.cos(x[..., 1]), np.sin(x[..., 1])
        radial, angular = np.stack([c, s], axis=-1), np.stack([-s, c], axis=-1)
        h, h1, h2, h3 = (f[..., None] for f in sheet_factor(x[..., 1]))
        return (
            2 * h * radial + h1 * angular,
            h1 * radial + (2 * h + h2) * angular,
            -2 * h * radial + (3 * h1 + h3) * angular,
        )

    def jacobian(x):
        g, g1, _ = along(x)
        return np.stack([g, x[..., :1] * g1], axis=-1)

    def hessian(x):
        _, g1, g2 = along(x)
        zero, steep = np.zeros_like(g1), x[..., :1] * g2
        return np.stack([np.stack([zero, g1], axis=-1), np.stack([g1, steep], axis=-1)], axis=-2)

    def inverse_metric(x):
        to_polar = polar(x)
        return to_polar @ np.linalg.inv(sheet_hessian(x[..., 1])) @ np.swapaxes(to_polar, -1, -2)

    return Parametrization(
        lambda x: x[..., :1] * along(x)[0],
        2,
        2,
        jacobian=jacobian,
        hessian=hessian,
        inverse_metric=inverse_metric,
        domain=lambda x: x[..., 0] > hole,
        name="monodromic",
    )


def matrices(entries: Sequence) -> np.ndarray:
    """Stack [[a, b], [c, d]] of arrays of shape=[...] into shape=[..., 2, 2]."""
    return np.stack([np.stack(row, axis=-1) for row in entries], axis=-2)


def sheet_hessian(angle: np.ndarray) -> np.ndarray:
    """∇²Q of `monodromic` in the coordinates μ: shape=[...] -> shape=[..., 2, 2]."""
    h, h1, h2, _ = sheet_factor(angle)
    c, s = np.cos(angle), np.sin(angle)
    turn = matrices([[c, -s], [s, c]])
    return turn @ matrices([[2 * h, h1], [h1, 2 * h + h2]]) @ np.swapaxes(turn, -1, -2)


def straight_moves(x: np.ndarray, moves: Sequence) -> np.ndarray:
    """Where straight moves in the μ-plane lead on the sheets of `monodromic`, from x = (r, θ): exact."""
    radius, angle = x
    for move in moves:
        here = radius * np.exp(1j * angle)
        there = here + complex(*move)
        # Seen from 0, a segment that misses 0 turns by less than π.
        radius, angle = abs(there), angle + np.angle(there / here)
    return np.array([radius, angle])


def vertical_blow_up() -> Parametrization:
    """G(w, z) = w on R² × R², fields ``X_1 = ∂_{w_1} + z_2² ∂_{z_1}``, ``X_2 = ∂_{w_2} + z_1² ∂_{z_2}``.

    They are the gradients for the inverse metric [[I, B], [Bᵀ, I + 2BᵀB]] with B = diag(z_2², z_1²).
    Polynomial; brackets are vertical, and H = I. Along X_1, z_2 stays and z_1 grows linearly: complete, as
    X_2. Along X_1 + X_2 from z_1 = z_2 = c, however, z' = z²: it blows up at t = 1/c.
    """

    def inverse_metric(x):
        B = x[..., [3, 2], None] ** 2 * np.eye(2)
        unit = np.broadcast_to(np.eye(2), B.shape)
        return np.block([[unit, B], [B, unit + 2 * B @ B]])

    return Parametrization(
        lambda x: x[..., :2],
        4,
        2,
        jacobian=lambda x: np.broadcast_to(np.eye(2, 4), (*x.shape[:-1], 2, 4)),
        hessian=lambda x: np.zeros((*x.shape[:-1], 2, 4, 4)),
        inverse_metric=inverse_metric,
        name="vertical blow-up",
    )


def twisted() -> Parametrization:
    """G(μ, z) = ∇Q(μ) on R² × R with the fields ``X_i = ∂_{μ_i} + b_i(μ, z) ∂_z``, b bounded and analytic.

    ``Q = ln(1 + e^{μ_1} + e^{μ_2}) + ½‖μ‖²``. The fields are gradients for the inverse metric
    [[A, A bᵀ], [b A, 1 + b A bᵀ]] with A = (∇²Q)⁻¹. They are complete, since bounded, and project to the
    coordinate fields of the μ-plane: so their brackets are vertical. They do not commute.
    """

    def inverse_metric(x):
        A = np.linalg.inv(softmax_hessian(x[..., :2]))
        b = np.stack([np.sin(x[..., 2] + x[..., 1]), np.cos(x[..., 0] * x[..., 2])], axis=-1)[..., None, :]
        bA = b @ A
        upper = np.concatenate([A, np.swapaxes(bA, -1, -2)], axis=-1)
        lower = np.concatenate([bA, 1 + bA @ np.swapaxes(b, -1, -2)], axis=-1)
        return np.concatenate([upper, lower], axis=-2)

    return Parametrization(
        lambda x: softmax_gradient(x[..., :2]), 3, 2, inverse_metric=inverse_metric, name="twisted"
    )


def softmax_gradient(mu):
    """∇Q of `twisted`: shape=[..., 2] -> shape=[..., 2]."""
    e = anp.exp(mu)
    return e / (1 + anp.sum(e, axis=-1, keepdims=True)) + mu


def softmax_hessian(mu: np.ndarray) -> np.ndarray:
    """∇²Q of `twisted`: shape=[..., 2] -> shape=[..., 2, 2]."""
    p = softmax_gradient(mu) - mu
    return (1 + p)[..., None] * np.eye(2) - p[..., :, None] * p[..., None, :]
