"""Two schedules of losses with the same ∫∇L dt that end at different w: no mirror flow does that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from riemflow.commuting.legs import follow
from riemflow.commuting.lift import Scales
from riemflow.commuting.pull_back import Path
from riemflow.losses import Linear, Piecewise
from riemflow.parametrizations.parametrization import Parametrization

SIZES = (1.0, -1.0, 0.5, -0.5, 0.2, -0.2, 0.05, -0.05)  # of the moved piece, in natural lengths
COARSE, FINE = 1e-11, 1e-13
FINALISTS = 8  # candidates that are integrated finely


@dataclass(frozen=True)
class Witness:
    """Two schedules with equal ``∫∇L dt`` that take the gradient flow of L∘G to different weights.

    A mirror flow has ``∇R(w(t)) = ∇R(w(0)) - ∫∇L dt``, so that equal integrals mean equal weights
    (Corollary 4.11 of Li, Wang, Lee and Arora, 2022).

    Attributes
    ----------
    losses : pair of Piecewise
        Linear losses, each in force for one unit of time: ``c₁ … c_k, e, -c_k … -c₁`` and
        ``c₁ … c_k, -c_k … -c₁, e``, or ``e, c₁ … c_k`` and ``c₁ … c_k, e``.
    t_end : float
    w : array, shape=[2, d]
        Where the two flows end.
    gap : float
        ‖w₁ - w₂‖ relative to the larger distance from the start.
    error : float
        The integrator's error on the same scale.
    """

    losses: tuple[Piecewise, Piecewise] = field(repr=False)
    t_end: float
    w: np.ndarray
    gap: float
    error: float

    def __str__(self) -> str:
        return (
            f"two schedules of {self.t_end:g} linear losses with the same integral of ∇L end "
            f"{self.gap:.2g} apart in w, relative to how far they went (integration error {self.error:.0e})"
        )


def find_witness(G: Parametrization, x: np.ndarray, scales: Scales, paths: Sequence[Path]) -> Witness | None:
    """Look for a witness that moves along one field at either end of a path on which that field changed.

    Returns the one with the largest gap over error, or None if no pair of flows could be completed.
    """
    candidates = [(path, size) for path in paths for size in SIZES]
    if not candidates:
        return None
    most = max(len(path.legs) for path in paths)
    moved = [_reordered(path, size * scales.mu, most) for path, size in candidates]
    schedules = np.swapaxes(np.array(moved), 0, 1)  # [2, n, 2 most + 1, d]
    start = np.asarray(G._fun(x))

    def ends(rtol: float) -> tuple[np.ndarray, ...]:
        flat = schedules.reshape(-1, *schedules.shape[2:])
        found = _ends(G, x, flat, scales, rtol)
        w = np.asarray(G._fun(found)).reshape(2, -1, G.dim)
        distance = np.linalg.norm(w - start, axis=-1).max(axis=0)
        gaps = np.linalg.norm(w[0] - w[1], axis=-1) / distance
        return w, gaps, distance, _rounding(G, found).reshape(2, -1).max(axis=0) / distance

    with np.errstate(all="ignore"):
        coarse, gaps, *_, rounding = ends(COARSE)
        share = np.where(np.isfinite(gaps), gaps / (COARSE + rounding), -np.inf)
        finalists = np.argsort(-share)[: min(FINALISTS, int((share > 0).sum()))]
        if len(finalists) == 0:
            return None
        schedules = schedules[:, finalists]
        w, gaps, distance, rounding = ends(FINE)
        errors = np.linalg.norm(coarse[:, finalists] - w, axis=-1).max(axis=0) / distance
        errors = np.maximum(np.maximum(errors, rounding), FINE)
        share = np.where(np.isfinite(gaps) & np.isfinite(errors), gaps / errors, -np.inf)
    best = int(np.argmax(share))
    if not share[best] > 0:
        return None
    pieces = [schedule[(schedule != 0).any(axis=-1)] for schedule in schedules[:, best]]
    losses = (_schedule(pieces[0]), _schedule(pieces[1]))
    return Witness(losses, float(len(pieces[0])), w[:, best], float(gaps[best]), float(errors[best]))


def _rounding(G: Parametrization, x: np.ndarray) -> np.ndarray:
    """How far rounding of x, and in G, may move w = G(x): shape=[n, D] -> shape=[n]."""
    sizes = np.abs(G._fun(x)) + np.einsum("nia,na->ni", np.abs(G._jacobian(x)), np.abs(x))
    return 4 * np.finfo(float).eps * np.linalg.norm(sizes, axis=-1)


def _reordered(path: Path, mu: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Controls c, e, -c and c, -c, e, or e, c and c, e, each [2 most + 1, d], padded with rests."""
    e = np.zeros((1, len(mu)))
    e[0, path.field] = mu[path.field]
    out = path.legs
    orders = ((out, e, -out[::-1]), (out, -out[::-1], e)) if path.home else ((e, out), (out, e))
    one, other = (np.concatenate(order) for order in orders)
    rest = np.zeros((2 * most + 1 - len(one), len(mu)))
    return np.concatenate([one, rest]), np.concatenate([other, rest])


def _ends(
    G: Parametrization, x: np.ndarray, schedules: np.ndarray, scales: Scales, rtol: float
) -> np.ndarray:
    """Where the controls, shape=[n, k, d], lead from x: shape=[n, D], NaN where not to the end."""
    here = np.repeat(x[None], len(schedules), axis=0)
    good = np.arange(len(schedules))
    for mu in np.moveaxis(schedules, 1, 0):
        moving = good[(mu[good] != 0).any(axis=-1)]
        leg = follow(G, here[moving], mu[moving], scales.x, rtol=rtol)
        here[moving] = np.where(leg.done[:, None], leg.x, np.nan)
        good = np.setdiff1d(good, moving[~leg.done])
    return here


def _schedule(controls: np.ndarray) -> Piecewise:
    # Moving along Σ μ_i ∇G_i is the gradient flow of the loss -μ·w.
    return Piecewise(np.arange(1.0, len(controls)), [Linear(-mu) for mu in controls])
