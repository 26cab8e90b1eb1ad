"""Blocks that a metric falls into after a linear change of variables, found from its values alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import solve_triangular
from scipy.sparse.csgraph import connected_components

from riemflow.embedding.metric import Metric
from riemflow.embedding.spectral_points import check_points

if TYPE_CHECKING:
    from riemflow.embedding.region import Region

N_POINTS = 40  # half of them to find the blocks, half to check them


@dataclass(frozen=True)
class Block:
    """One of the summands of R(w) = Σ_k R_k(P_k w).

    Attributes
    ----------
    P : array, shape=[m, d]
    S : array, shape=[d, m]
        Directions along which P_k w changes and the other blocks' variables do not: P S = I.
    """

    P: np.ndarray
    S: np.ndarray


def find_blocks(metric: Metric, region: Region, tol: float) -> tuple[list[Block], float]:
    """Return the finest blocks of a Hessian metric, a single one if it does not separate, and what is left.

    Whitened at the centre, ``A(w) = L^{-1} g(w) L^{-T}`` with g(centre) = L Lᵀ. A common congruence makes all
    g(w) block diagonal exactly if an orthogonal U does so for all A(w), and then the eigenvectors of a
    generic combination of some of them serve for U: those of one block do not mix with another's unless
    eigenvalues agree. U's columns i and j belong together if u_i·A(w)u_j ≠ 0 at some point. What is left
    between blocks, relative to A and at points that had no part in finding them, is at most `tol`; else there
    is one block.

    That each block's metric depends on its own variables alone follows from ∂_k g_ij = ∂_i g_kj, so it needs
    a Hessian metric.
    """
    d = metric.dim
    whole = [Block(np.eye(d), np.eye(d))], 0.0
    if d == 1:
        return whole
    points = check_points(region, N_POINTS, seed=40)
    points = points[np.random.default_rng(40).permutation(len(points))[:N_POINTS]]
    factor = np.linalg.cholesky(metric._matrix(region.center))
    half = solve_triangular(factor, np.eye(d), lower=True)
    A = half @ metric._matrix(points) @ half.T
    found, check = A[::2], A[1::2]
    weights = np.random.default_rng(41).standard_normal(len(found))
    U = np.linalg.eigh(np.einsum("q,qij->ij", weights, found))[1]
    coupling = np.abs(U.T @ found @ U).max(axis=0) / np.abs(found).max()
    n_blocks, labels = connected_components(coupling > tol, directed=False)
    if n_blocks == 1:
        return whole
    between = np.abs(U.T @ check @ U).max(axis=0) / np.abs(check).max()
    left = float(between[labels[:, None] != labels[None, :]].max())
    if left > tol:
        return whole
    P, S = U.T @ factor.T, half.T @ U
    return [Block(P[labels == k], S[:, labels == k]) for k in range(n_blocks)], left


def block_metric(metric: Metric, block: Block, center: np.ndarray) -> Metric:
    """The block's metric S_kᵀ g S_k, a function of y = P_k w, on the slice through the centre."""
    own = block.P @ center

    def place(y):
        return center + (y - own) @ block.S.T

    return Metric(
        lambda y: block.S.T @ metric._matrix(place(y)) @ block.S,
        lambda y: metric._belongs(place(y)),
        len(own),
        name=f"a block of {metric.name}",
        place=f"a slice of {metric.place}",
        interior=own,
    )
