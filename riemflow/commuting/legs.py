"""Legs of paths along constant combinations of the fields ∇G_i, with their derivative carried along."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from riemflow.commuting.brackets import derivative_along
from riemflow.commuting.lift import _fields, _onto
from riemflow.integration import solve_batched
from riemflow.parametrizations.parametrization import Parametrization

MOST_ROUNDS = 200  # steps a leg may take; one that needs more runs into an edge and is given up
CRAWL = 1e-4  # of a leg, a natural length or so: a step as short as this means the same
JUMP = 4.0  # times what the slopes at both ends of a step allow: G has jumped


@dataclass(frozen=True)
class Ends:
    """Where the legs of a batch ended.

    Attributes
    ----------
    x : array, shape=[n, D]
        The start itself where the leg was not completed.
    back : array, shape=[n, D, D], or None
        The derivative of the way back: the inverse of the flow's derivative along all legs so far.
    done : bool array, shape=[n]
    """

    x: np.ndarray
    back: np.ndarray | None
    done: np.ndarray


def follow(
    G: Parametrization,
    x: np.ndarray,
    mu: np.ndarray,
    unit: float,
    *,
    back: np.ndarray | None = None,
    rtol: float = 1e-12,
) -> Ends:
    """Follow ``x' = Σ μ_i ∇G_i(x)`` for unit time and, if given, ``N' = -N ∂(Σ μ_i ∇G_i)``, N(0) = `back`.

    Then N ∇G_i(x) is the pull-back of ∇G_i to the first leg's start. A leg ends early where it leaves
    the domain, blows up, or crosses a cut on which G jumps.

    Parameters
    ----------
    x : array, shape=[n, D]
    mu : array, shape=[n, d]
    unit : float
        The natural size of changes of x.
    back : array, shape=[n, D, D], optional
    """
    n, D = x.shape
    last = x.copy()

    def rhs(s, y, rows):
        here = y[:, :D] * unit
        fields = _fields(G, here)
        out = np.empty_like(y)
        out[:, :D] = np.einsum("ni,nia->na", mu[rows], fields) / unit
        if back is not None:
            good = np.isfinite(out[:, :D]).all(axis=-1)
            change = np.full((len(rows), D, D), np.nan)
            change[good] = -(y[good, D:].reshape(-1, D, D) @ field_slope(G, here[good], mu[rows[good]]))
            out[:, D:] = change.reshape(len(rows), -1)
        return out

    def settle(s, y, rows):
        here = _onto(G, y[:, :D] * unit)
        here[jumps(G, last[rows], here)] = np.nan
        good = np.isfinite(here).all(axis=-1)
        last[rows[good]] = here[good]
        return np.concatenate([here / unit, y[:, D:]], axis=-1)

    y0 = x / unit if back is None else np.concatenate([x / unit, back.reshape(n, -1)], axis=-1)
    limits = {"most_rounds": MOST_ROUNDS, "smallest_step": CRAWL}
    y, reached, _ = solve_batched(rhs, y0, 1.0, rtol=rtol, atol=0.1 * rtol, project=settle, **limits)
    done = reached == 1.0
    ends = np.where(done[:, None], y[:, :D] * unit, x)
    if back is not None:
        back = np.where(done[:, None, None], y[:, D:].reshape(n, D, D), back)
    return Ends(ends, back, done)


def jumps(G: Parametrization, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Tell whether G changes from x to y by more than its slopes at both ends allow: shapes [n, D] -> [n]."""
    with np.errstate(all="ignore"):
        slopes = np.maximum(*(np.linalg.norm(G._jacobian(point), axis=-1) for point in (x, y)))
        allowed = JUMP * slopes * np.linalg.norm(y - x, axis=-1, keepdims=True)
        before, after = np.asarray(G._fun(x)), np.asarray(G._fun(y))
        rounding = 1e-12 * (np.abs(before) + np.abs(after))
        return (np.abs(after - before) > allowed + rounding).any(axis=-1)


def field_slope(G: Parametrization, x: np.ndarray, mu: np.ndarray) -> np.ndarray:
    """The derivative of X = Σ μ_i ∇G_i, as a field on R^D that depends on the nearest point of M alone.

    Shapes: x [n, D], mu [n, d] -> [n, D, D], the columns for the directions.
    """
    D = G.dim_in
    if G.manifold is None:
        slope = np.asarray(G._hessian_along(x, mu))
        if G._inverse_metric is None:
            return slope
        # X = K p with p = Σ μ_i ∂G_i, of which only K is differentiated numerically.
        K, p = np.asarray(G._inverse_metric(x)), np.einsum("ni,nia->na", mu, G._jacobian(x))
        axes = np.broadcast_to(np.eye(D), (len(x), D, D))
        change = derivative_along(G, G._inverse_metric, x, axes)
        return K @ slope + np.einsum("nkab,nb->nak", change, p)

    def field(points):
        return np.einsum("ni,nkia->nka", mu, G._gradients(points))[:, :, None, :]

    return np.swapaxes(derivative_along(G, field, x, G.manifold.projector(x))[:, :, 0], -1, -2)
