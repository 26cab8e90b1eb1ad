"""Parametrizations on which a plausible test of "mirror flow or not" goes wrong, with their derivations."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np

from riemflow.parametrizations import Parametrization


def third_order_formula(x):
    a, b, z = x[..., 0], x[..., 1], x[..., 2]
    beta = anp.sqrt(2.0 - 2.0 / (a * a + b * b))
    return anp.stack([anp.arctan(b / a) + z * beta, beta], axis=-1)


def third_order() -> Parametrization:
    """No mirror flow, although all brackets of order 2 lie in ker ∂G everywhere: order 3 tells.

    In cylinder coordinates (r, θ, z) of R³, r > 1 and |θ| < π/2, let ``β(r) = √(2 - 2/r²)`` and

        G_1 = θ + z β,   G_2 = β.

    Derivation. Look for G = (λ + z β, β) with λ and β functions on the plane and ∇λ·∇β = 0. Then
    X_1 = ∇λ + z ∇β + β ∂_z and X_2 = ∇β, and since [z ∇β, ∇β] = 0 and [β ∂_z, ∇β] = -|∇β|² ∂_z,

        B = [X_1, X_2] = [∇λ, ∇β] - |∇β|² ∂_z.

    With λ = θ and β = β(r), ∇λ = r⁻² ∂_θ and ∇β = β' ∂_r, so [∇λ, ∇β] = 2 β' r⁻³ ∂_θ, and

        B·X_2 = 0,   B·X_1 = 2 β' r⁻³ - β β'²,

    which vanishes if β β' = 2 r⁻³, that is β²/2 = const - 1/r²; the constant 1 is taken. Then

        B = β'² (β ∂_θ - ∂_z),

    never zero and in ker ∂G, as B G_1 = β'²(β - β) = 0. But H_11 = |∇G_1|² = r⁻² + z² β'² + β² depends on
    z, so that [B, X_1] G_1 = B X_1 G_1 - X_1 B G_1 = B H_11 = -2 z β'⁴: order 3 leaves ker ∂G where z ≠ 0.
    (H_12 = z β'², so [B, X_1] G_2 = [B, X_2] G_1 = -β'⁴ leaves it everywhere.)
    Orbits are open, since B and X_1, X_2 span R³, and as H changes along ker ∂G it is not intrinsic either.
    G is regular: X_1 has a component along ∂_θ, and X_2 along ∂_r alone.
    """
    return Parametrization(
        third_order_formula,
        3,
        2,
        domain=lambda x: (x[..., 0] > 0) & (x[..., 0] ** 2 + x[..., 1] ** 2 > 1),
        name="ThirdOrder",
    )


def third_order_start(rng: np.random.Generator) -> np.ndarray:
    """Away from the edges of the domain."""
    r, theta, z = rng.uniform(1.6, 2.4), rng.uniform(-0.6, 0.6), rng.uniform(-1, 1)
    return np.array([r * np.cos(theta), r * np.sin(theta), z])
