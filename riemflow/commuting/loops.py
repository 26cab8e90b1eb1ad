"""The loop test: does μ come back when the horizontal lift goes round a parallelogram in w-space?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from riemflow.commuting.brackets import gram
from riemflow.commuting.checks import reachable_points
from riemflow.commuting.defect import Defect
from riemflow.commuting.legs import CRAWL
from riemflow.commuting.lift import horizontal_lift, natural_scales
from riemflow.parametrizations.parametrization import Parametrization

SIDE = 0.4  # of the distance over which the fields change
SHRINKS = 6
MOST_ROUNDS = 40  # steps a side may take; a loop that needs more runs into a boundary and is shrunk
CLEAR = 1e-6  # a defect above it needs no further loops


@dataclass(frozen=True)
class LoopTest:
    """What the loops showed.

    The noise of each defect is what it is on paths that go to a corner and back the way they came.

    Attributes
    ----------
    mirror : Defect
        The largest ‖H^{1/2} Δμ‖ / length over the loops that closed in w: zero for a mirror flow.
    commuting : Defect
        The largest ‖Δx‖ / length: zero only for commuting fields.
    intrinsic : Defect
        The largest ‖H^{-1/2} ΔH H^{-1/2}‖: zero only if w alone determines H = ∂G∂Gᵀ.
    n_loops : int
        Loops lifted all the way round.
    """

    mirror: Defect
    commuting: Defect
    intrinsic: Defect
    n_loops: int


def loop_test(G: Parametrization, x: np.ndarray, *, n_loops: int = 16, seed: int = 0) -> LoopTest:
    """Lift small parallelograms from x and from points reachable from it.

    Sides are ``0.4 ℓ H^{1/2} v`` with v of unit length and ℓ the distance over which the fields
    change, so that in x they have length 0.4 ℓ. Loops that leave the domain are shrunk and tried again.
    """
    rng = np.random.default_rng(seed)
    scales = natural_scales(G, x)
    bases = reachable_points(G, x, scales, max(1, n_loops // 2), seed)
    base = np.concatenate([np.repeat(x[None], n_loops - len(bases), axis=0), bases])[-n_loops:]
    J = G._tangential_jacobian(base)
    H = J @ np.swapaxes(J, -1, -2)
    values, vectors = np.linalg.eigh(H)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]) @ np.swapaxes(vectors, -1, -2)
    directions = rng.standard_normal((len(base), 2, G.dim))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    length = np.array([SIDE * natural_scales(G, point).x for point in base])
    sides = np.einsum("nij,nkj->nki", root, directions) * length[:, None, None]

    found = {"mirror": [], "commuting": [], "intrinsic": [], "noise": []}
    points: list[np.ndarray] = []
    open_rows = np.arange(len(base))
    for _ in range(SHRINKS):
        loop, retrace = _around(G, base[open_rows], sides[open_rows], scales)
        closed = loop.closed & retrace.closed
        rows = open_rows[closed]
        if len(rows):
            around = 4.0 * length[rows]
            mirror, commuting, intrinsic = _gaps(G, base[rows], root[rows], around, loop, closed)
            noise = np.maximum.reduce(_gaps(G, base[rows], root[rows], around, retrace, closed))
            for name, values in zip(found, (mirror, commuting, intrinsic, noise), strict=True):
                found[name] += values.tolist()
            points += list(base[rows])
        open_rows = open_rows[~closed]
        if len(open_rows) == 0 or max(found["mirror"], default=0.0) > CLEAR:
            break
        sides[open_rows] *= 0.5
        length[open_rows] *= 0.5
    noise = max(found["noise"], default=np.inf)
    defects = [_worst(found[name], noise, points, x) for name in ("mirror", "commuting", "intrinsic")]
    return LoopTest(*defects, len(points))


def _worst(values: list[float], noise: float, points: list[np.ndarray], x: np.ndarray) -> Defect:
    if not values:
        return Defect(np.inf, np.inf, x.copy())
    k = int(np.argmax(values))
    return Defect(values[k], noise, points[k].copy())


@dataclass(frozen=True)
class _Tour:
    """The changes of x and μ around each loop, where it ended, and whether it was completed."""

    delta_x: np.ndarray
    delta_mu: np.ndarray
    closed: np.ndarray


def _around(G: Parametrization, base, sides, scales) -> tuple[_Tour, _Tour]:
    """Lift w0 → w0+a → w0+a+b → w0+b → w0, and there and back the way it came."""
    n = len(base)
    x, mu = np.concatenate([base, base]), np.zeros((2 * n, G.dim))
    start = np.array(G._fun(x))
    here, rows = start, np.arange(2 * n)
    a, b = sides[:, 0], sides[:, 1]
    for corners in ((a, a), (a + b, a + b), (b, a), (0 * a, 0 * a)):
        there = start + np.concatenate(corners)
        ways = x[rows], mu[rows], here[rows], there[rows]
        lift = horizontal_lift(G, *ways, scales, most_rounds=MOST_ROUNDS, smallest_step=CRAWL)
        x[rows], mu[rows] = lift.x, lift.mu
        rows, here = rows[lift.reached == 1.0], there
    closed = np.zeros(2 * n, bool)
    closed[rows] = True
    halves = (slice(n), slice(n, None))
    loop, retrace = (_Tour(x[half] - base, mu[half], closed[half]) for half in halves)
    return loop, retrace


def _gaps(G, base, root, around, tour: _Tour, closed) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """‖H^{1/2} Δμ‖ and ‖Δx‖ by the loop's length, and ‖H^{-1/2} ΔH H^{-1/2}‖, for the closed loops."""
    delta_x = tour.delta_x[closed]
    mirror = np.linalg.norm(np.einsum("nij,nj->ni", root, tour.delta_mu[closed]), axis=-1) / around
    commuting = np.linalg.norm(delta_x, axis=-1) / around
    J, J_new = G._tangential_jacobian(base), G._tangential_jacobian(base + delta_x)
    return mirror, commuting, cometric_change(J, J_new)


def cometric_change(J: np.ndarray, J_new: np.ndarray) -> np.ndarray:
    """‖H^{-1/2} (H' - H) H^{-1/2}‖₂ for H = J Jᵀ of full rank: shapes [n, d, D] -> [n]."""
    scaled = np.linalg.solve(np.linalg.cholesky(gram(J)), J_new)
    return np.linalg.norm(gram(scaled) - np.eye(J.shape[1]), axis=(-2, -1), ord=2)
