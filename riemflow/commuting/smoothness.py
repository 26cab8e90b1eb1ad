"""Is G twice continuously differentiable near the start? Bisection towards jumps of its derivatives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from riemflow.commuting.legs import jumps
from riemflow.commuting.lift import Scales, _onto
from riemflow.errors import DomainError
from riemflow.parametrizations.parametrization import Parametrization
from riemflow.validation import short

SEGMENTS, HALVINGS = 64, 36
ENTRIES = 30_000_000  # of second derivatives held at once; above it only ∂G is looked at
LEFT = 1e-3  # of a derivative's size: a change this large over 2^-36 of the segment is a jump


def require_smooth(G: Parametrization, x: np.ndarray, scales: Scales, reach: float, seed: int) -> None:
    """Raise a `DomainError` if G is not finite, or ∂G or ∇²G jumps, on random segments near x, shape=[D].

    Only what the segments meet is seen. A jump of G itself is taken for the edge of its domain.
    """
    rng = np.random.default_rng([seed, 3])
    size = 0.5 * reach * scales.x
    low, high = (
        _onto(G, x + size * rng.uniform(-1, 1, (SEGMENTS, G.dim_in)) / np.sqrt(G.dim_in)) for _ in range(2)
    )
    low[: SEGMENTS // 2] = x
    inside = np.isfinite(low).all(axis=-1) & np.isfinite(high).all(axis=-1)
    inside[inside] = np.asarray(G._belongs(low[inside])) & np.asarray(G._belongs(high[inside]))
    low, high = low[inside], high[inside]
    if len(low) == 0:
        return
    mu = rng.standard_normal((len(low), G.dim)) * scales.mu
    derivatives = {"∂": lambda y: G._gradients(y)}
    # On submanifolds second derivatives come from differences, which would smooth a jump out.
    euclidean = G.manifold is None and G._inverse_metric is None
    if euclidean and len(low) * G.dim * G.dim_in**2 <= ENTRIES:
        derivatives["∇²"] = lambda y: G._hessian_along(y, mu)
    for what, derivative in derivatives.items():
        point, jump = _worst_jump(G, what, derivative, low.copy(), high.copy())
        if jump > LEFT:
            raise DomainError(
                f"{G.name} is not C² near x_init: {what}{G.name} jumps by {jump:.2g} of its size at x = "
                f"{short(point)}. Start elsewhere, or restrict domain= to where it is smooth."
            )


def _worst_jump(
    G: Parametrization, what: str, derivative: Callable, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, float]:
    """Halve each segment towards its larger change: the last change, relative to the derivative's size."""
    with np.errstate(all="ignore"):
        at_low, at_high = derivative(low), derivative(high)
        for points, values in ((low, at_low), (high, at_high)):
            bad = ~np.isfinite(values).all(axis=(-2, -1))
            if bad.any():
                raise DomainError(
                    f"{what}{G.name} is not finite at x = {short(points[bad][0])}, near x_init: restrict "
                    "domain= to where it is, or start elsewhere."
                )
        size = np.maximum(np.abs(at_low), np.abs(at_high)).max(axis=(-2, -1))
        for _ in range(HALVINGS):
            middle = _onto(G, 0.5 * (low + high))
            at_middle = derivative(middle)
            left = np.abs(at_middle - at_low).max(axis=(-2, -1))
            right = np.abs(at_high - at_middle).max(axis=(-2, -1))
            down = (left > right)[:, None]
            low, high = np.where(down, low, middle), np.where(down, middle, high)
            at_low = np.where(down[..., None], at_low, at_middle)
            at_high = np.where(down[..., None], at_middle, at_high)
        change = np.abs(at_high - at_low).max(axis=(-2, -1)) / np.where(size > 0, size, 1.0)
        change = np.where(np.isfinite(change) & ~jumps(G, low, high), change, 0.0)
    worst = int(np.argmax(change))
    return low[worst], float(change[worst])
