"""The loop test: does μ come back when the horizontal lift goes round a parallelogram in w-space?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from riemflow.commuting.checks import reachable_points
from riemflow.commuting.lift import horizontal_lift, natural_scales
from riemflow.parametrizations.parametrization import Parametrization

SIDE = 0.4  # of the distance over which the fields change
SHRINKS = 6
MOST_ROUNDS = 100  # steps a side may take; a loop that needs more runs into a boundary and is shrunk
CLEAR = 1e-6  # a defect above it needs no further loops


@dataclass(frozen=True)
class LoopTest:
    """What the loops showed.

    Attributes
    ----------
    defect : float
        The largest ‖H^{1/2} Δμ‖ / length over the loops that closed in w: zero for a mirror flow, up to
        the integrator's error. Infinite if no loop could be lifted.
    fibre : float
        The largest ‖Δx‖ / length: zero only for commuting fields.
    point : array, shape=[D]
        The base point of the worst loop.
    n_loops : int
        Loops lifted all the way round.
    """

    defect: float
    fibre: float
    point: np.ndarray
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

    defect, fibre, point, done = -np.inf, 0.0, x, 0
    open_rows = np.arange(len(base))
    for _ in range(SHRINKS):
        delta_x, delta_mu, closed = _around(G, base[open_rows], sides[open_rows], scales)
        rows = open_rows[closed]
        if len(rows):
            around = 4.0 * length[rows]
            gaps = np.linalg.norm(np.einsum("nij,nj->ni", root[rows], delta_mu[closed]), axis=-1) / around
            worst = int(np.argmax(gaps))
            if gaps[worst] > defect:
                defect, point = float(gaps[worst]), base[rows[worst]]
            fibre = max(fibre, float((np.linalg.norm(delta_x[closed], axis=-1) / around).max()))
            done += len(rows)
        open_rows = open_rows[~closed]
        if len(open_rows) == 0 or defect > CLEAR:
            break
        sides[open_rows] *= 0.5
        length[open_rows] *= 0.5
    return LoopTest(defect if done else np.inf, fibre, point.copy(), done)


def _around(G, base, sides, scales):
    """Lift w0 → w0+a → w0+a+b → w0+b → w0: return Δx, Δμ and whether each loop was completed."""
    x, mu = base.copy(), np.zeros((len(base), G.dim))
    start = np.array(G._fun(base))
    here = start
    rows = np.arange(len(base))
    for corner in (sides[:, 0], sides[:, 0] + sides[:, 1], sides[:, 1], np.zeros_like(start)):
        there = start + corner
        lift = horizontal_lift(G, x[rows], mu[rows], here[rows], there[rows], scales, most_rounds=MOST_ROUNDS)
        x[rows], mu[rows] = lift.x, lift.mu
        rows, here = rows[lift.reached == 1.0], there
    closed = np.zeros(len(base), bool)
    closed[rows] = True
    return x - base, mu, closed
