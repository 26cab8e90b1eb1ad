"""The nearest point of an embedded submanifold, argmin_w |F(w) - x|², for many x at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from riemflow.errors import ConvergenceError
from riemflow.validation import short

if TYPE_CHECKING:
    from riemflow.embedding.embedding import IsometricEmbedding

# After a full Newton step of this size, relative to |F|, the error left is of the order of its square.
STEP_TOL = 1e-9


def nearest_point(
    F: IsometricEmbedding, x: np.ndarray, start: np.ndarray, max_iterations: int = 60
) -> tuple[np.ndarray, np.ndarray]:
    """Return (w, converged), shapes [..., d] and [...], by damped Newton from `start`.

    The Hessian of ½|F(w) - x|² is JᵀJ + Σ_a (F - x)_a ∂²F_a. Where it is not positive definite its second
    term is left out (Gauss–Newton). Steps are halved until they stay in the domain and the distance falls.
    """
    batch = x.shape[:-1]
    x = x.reshape(-1, F.ambient_dim)
    w = np.array(np.broadcast_to(start, (*batch, F.dim)), float).reshape(-1, F.dim)
    converged = np.zeros(len(x), bool)
    active = np.flatnonzero(np.isfinite(x).all(axis=-1) & F._admits(w))
    for _ in range(max_iterations):
        if len(active) == 0:
            break
        here, goal = w[active], x[active]
        image = F._fun(here)
        gap = image - goal
        J = F._jacobian(here)
        step, slope = _newton_step(F, here, J, gap)
        size = np.linalg.norm((J @ step[..., None])[..., 0], axis=-1)
        scale = np.linalg.norm(image, axis=-1) + np.linalg.norm(gap, axis=-1)
        w_new, moved = _line_search(F, here, goal, gap, step, slope, scale)
        w[active] = w_new
        # A step that rounding keeps from falling further is as good as it gets.
        done = moved & (size <= STEP_TOL * (1e-3 + scale))
        converged[active[done]] = True
        active = active[moved & ~done]
    return w.reshape(*batch, F.dim), converged.reshape(batch)


def distance_hessian(J: np.ndarray, second: np.ndarray, gap: np.ndarray) -> np.ndarray:
    """JᵀJ + Σ_a gap_a ∂²F_a, half the Hessian of |F(w) - x|² when gap = F(w) - x."""
    d = J.shape[-1]
    bend = (gap[..., None, :] @ second.reshape(*second.shape[:-2], d * d)).reshape(*J.shape[:-2], d, d)
    return np.swapaxes(J, -1, -2) @ J + bend


def _newton_step(F, w, J, gap):
    gradient = (gap[..., None, :] @ J)[..., 0, :]
    gauss = np.swapaxes(J, -1, -2) @ J
    full = distance_hessian(J, F._hessian(w), gap)
    # Unit diagonal of JᵀJ, so that coordinates of any units are judged alike.
    units = 1.0 / np.sqrt(np.diagonal(gauss, axis1=-2, axis2=-1))
    both = np.stack([full, gauss]) * units[..., :, None] * units[..., None, :]
    both = np.where(np.isfinite(both), both, 0.0)
    least = np.linalg.eigvalsh(both[0])[..., 0]
    matrix = np.where((least > 1e-8)[..., None, None], both[0], both[1] + 1e-14 * np.eye(F.dim))
    step = -units * np.linalg.solve(matrix, (units * gradient)[..., None])[..., 0]
    return step, (gradient * step).sum(axis=-1)


def _line_search(F, w, x, gap, step, slope, scale):
    cost = 0.5 * (gap**2).sum(axis=-1)
    rounding = 1e-14 * scale**2
    fraction = np.ones(len(w))
    result, moved = w.copy(), np.zeros(len(w), bool)
    waiting = np.arange(len(w))
    for _ in range(40):
        trial = w[waiting] + fraction[waiting, None] * step[waiting]
        allowed = F._admits(trial)
        # Outside the domain F is not evaluated, but at the old point instead.
        new_gap = F._fun(np.where(allowed[:, None], trial, w[waiting])) - x[waiting]
        new_cost = 0.5 * (new_gap**2).sum(axis=-1)
        enough = cost[waiting] + 1e-4 * fraction[waiting] * slope[waiting] + rounding[waiting]
        good = allowed & (new_cost <= enough)
        result[waiting[good]] = trial[good]
        moved[waiting[good]] = True
        waiting = waiting[~good]
        if len(waiting) == 0:
            break
        fraction[waiting] *= 0.5
    return result, moved


def require_converged(F: IsometricEmbedding, x: np.ndarray, w: np.ndarray, converged: np.ndarray) -> None:
    """Raise a `ConvergenceError` naming the worst x whose nearest point was not found."""
    if converged.all():
        return
    bad = ~converged
    points, last = x.reshape(-1, F.ambient_dim)[bad.ravel()], w.reshape(-1, F.dim)[bad.ravel()]
    distance = np.linalg.norm(np.where(np.isfinite(points), points, 0.0) - F._fun(last), axis=-1)
    k = int(np.argmax(np.where(np.isfinite(distance), distance, -1.0)))
    more = f" ({len(points)} of {converged.size} points failed)" if converged.size > 1 else ""
    raise ConvergenceError(
        f"No nearest point of the embedded region to x = {short(points[k])} was found{more}: the iteration "
        f"stopped at w = {short(last[k])}, {distance[k]:.3g} away. x is too far from F's image, or its "
        "nearest point lies beyond the edge of the region: embed a larger one.",
        partial=w,
    )
