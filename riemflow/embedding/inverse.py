"""The nearest point of an embedded submanifold, argmin_w |F(w) - x|², for many x at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from riemflow.embedding.spectral_points import check_points
from riemflow.errors import ConvergenceError
from riemflow.validation import short

if TYPE_CHECKING:
    from riemflow.embedding.embedding import IsometricEmbedding

# After a full Newton step of this size, relative to |F|, the error left is of the order of its square.
STEP_TOL = 1e-9
# Below this, relative to JᵀJ, the distance's Hessian does not count as positive definite.
LEAST = 1e-8
# A step that changes ∂F by more than this share has not arrived, however short it is in the image: where F
# runs towards a limit that it does not attain, steps fade while w goes on to the edge or to infinity.
SETTLED = 0.1
# Length of the first trial step away from a critical point that is no minimum, relative to |F| and |F - x|.
ESCAPE = 0.1


class Cloud:
    """Points of F's region, of whose images the nearest is close enough for Newton's method to start from."""

    def __init__(self, F: IsometricEmbedding):
        self.points = check_points(F.region, 1000 * F.dim, seed=0)
        self.tree = cKDTree(F._fun(self.points))

    def nearest(self, x: np.ndarray) -> np.ndarray:
        """Return the w of the nearest image: shape=[..., D] -> shape=[..., d]."""
        return self.points[self.tree.query(np.where(np.isfinite(x), x, 0.0))[1]]


@np.errstate(all="ignore")
def nearest_point(
    F: IsometricEmbedding, x: np.ndarray, start: np.ndarray, max_iterations: int = 60
) -> tuple[np.ndarray, np.ndarray]:
    """Return (w, converged), shapes [..., d] and [...], by damped Newton from `start`.

    The Hessian of ½|F(w) - x|² is JᵀJ + Σ_a (F - x)_a ∂²F_a. Where it is not positive definite its second
    term is left out (Gauss–Newton). Steps are halved until they stay in the domain and the distance falls.

    Only a point with a positive definite Hessian, a strict local minimum, counts as converged. Other critical
    points are left along the direction of least curvature. Near M the minimum found is the nearest point.
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
        image, J, second = F._jet(here)
        gap = image - goal
        step, slope, full, least = _newton_step(F, J, second, gap)
        size = np.linalg.norm((J @ step[..., None])[..., 0], axis=-1)
        scale = np.linalg.norm(image, axis=-1) + np.linalg.norm(gap, axis=-1)
        short_step = size <= STEP_TOL * (1e-3 + scale)
        small = np.flatnonzero(short_step)
        if len(small):
            settled = _settled(J[small], second[small], step[small])
            short_step[small] = settled
            saddle = small[settled & (least[small] <= LEAST)]
            if len(saddle):
                curvature, direction = _least_curvature(J[saddle], full[saddle])
                saddle, direction = saddle[curvature <= LEAST], direction[curvature <= LEAST]
                step[saddle], slope[saddle] = ESCAPE * scale[saddle, None] * direction, 0.0
                short_step[saddle] = False
        w_new, moved = _line_search(F, here, goal, gap, step, slope, scale)
        w[active] = w_new
        # A step that rounding keeps from falling further is as good as it gets.
        done = moved & short_step
        converged[active[done]] = True
        active = active[moved & ~done]
    return w.reshape(*batch, F.dim), converged.reshape(batch)


def _settled(J: np.ndarray, second: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Tell where the step leaves every ∂_i F nearly as it is: shape=[n]."""
    change = np.linalg.norm((second @ step[:, None, :, None])[..., 0], axis=-2)
    return (change <= SETTLED * np.linalg.norm(J, axis=-2)).all(axis=-1)


def _least_curvature(J: np.ndarray, full: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the least eigenvalue of `full` relative to JᵀJ, and its direction v with |Jv| = 1."""
    # With J = QR, JᵀJ = RᵀR.
    R = np.linalg.qr(J)[1]
    regular = np.isfinite(R).all(axis=(-2, -1)) & (np.diagonal(R, axis1=-2, axis2=-1) != 0).all(axis=-1)
    R = np.where(regular[:, None, None], R, np.eye(R.shape[-1]))
    half = np.linalg.solve(np.swapaxes(R, -1, -2), np.where(regular[:, None, None], full, 0.0))
    pencil = np.linalg.solve(np.swapaxes(R, -1, -2), np.swapaxes(half, -1, -2))
    values, vectors = np.linalg.eigh(pencil)
    return values[:, 0], np.linalg.solve(R, vectors[..., :1])[..., 0]


def distance_hessian(J: np.ndarray, second: np.ndarray, gap: np.ndarray) -> np.ndarray:
    """JᵀJ + Σ_a gap_a ∂²F_a, half the Hessian of |F(w) - x|² when gap = F(w) - x."""
    d = J.shape[-1]
    bend = (gap[..., None, :] @ second.reshape(*second.shape[:-2], d * d)).reshape(*J.shape[:-2], d, d)
    return np.swapaxes(J, -1, -2) @ J + bend


def _newton_step(F, J, second, gap):
    """Return the step, its slope, the Hessian, and its least eigenvalue where JᵀJ has a unit diagonal."""
    gradient = (gap[..., None, :] @ J)[..., 0, :]
    gauss = np.swapaxes(J, -1, -2) @ J
    full = distance_hessian(J, second, gap)
    # Unit diagonal of JᵀJ, so that coordinates of any units are judged alike.
    units = 1.0 / np.sqrt(np.diagonal(gauss, axis1=-2, axis2=-1))
    both = np.stack([full, gauss]) * units[..., :, None] * units[..., None, :]
    both = np.where(np.isfinite(both), both, 0.0)
    least = np.linalg.eigvalsh(both[0])[..., 0]
    matrix = np.where((least > LEAST)[..., None, None], both[0], both[1] + 1e-14 * np.eye(F.dim))
    step = -units * np.linalg.solve(matrix, (units * gradient)[..., None])[..., 0]
    return step, (gradient * step).sum(axis=-1), full, least


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
        f"stopped at w = {short(last[k])}, {distance[k]:.3g} away, at no minimum of the distance. x is too "
        "far from F's image, or the infimum is not attained, at the edge of the domain or at infinity: "
        f"move x closer to F({F._where()}), or embed a larger region.",
        partial=w,
    )
