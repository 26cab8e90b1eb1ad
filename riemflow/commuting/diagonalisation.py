"""Simultaneous diagonalisation of commuting symmetric matrices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse.csgraph import connected_components

EPS = np.finfo(np.float64).eps
MOST_SWEEPS = 30


@dataclass(frozen=True)
class Diagonalisation:
    """``A_i ≈ E diag(λ_i) Eᵀ`` for all i at once.

    Attributes
    ----------
    basis : array, shape=[D, D]
        E, orthogonal; its columns are joint eigenvectors.
    eigenvalues : array, shape=[d, D]
        Λ: its column k holds the eigenvalues of A_1, …, A_d on eigenvector k.
    commutator : float
        The largest ‖A_i A_j - A_j A_i‖ / (‖A_i‖ ‖A_j‖), in Frobenius norms: at most √2.
    off_diagonal : float
        The largest norm of what E leaves off the diagonal of an A_i, relative to ‖A_i‖.
    pair : (int, int)
        The i and j of `commutator`.
    """

    basis: np.ndarray
    eigenvalues: np.ndarray
    commutator: float
    off_diagonal: float
    pair: tuple[int, int]


def diagonalise(matrices: np.ndarray) -> Diagonalisation:
    """Diagonalise symmetric matrices A_i, shape=[d, D, D], together as far as they commute.

    A random combination of the A_i separates their joint eigenspaces with probability one, but may do so
    by a small gap, which costs digits: Jacobi rotations, each the best for all A_i at once, win them back
    (Cardoso and Souloumiac, 1996). Indices that no A_i couples are treated apart, so exact zeros stay
    exact.
    """
    norms = np.linalg.norm(matrices, axis=(-2, -1))
    A = matrices / np.where(norms > 0, norms, 1.0)[:, None, None]
    commutator, pair = _largest_commutator(A)
    E = np.zeros(A.shape[1:])
    n_blocks, label = connected_components((A != 0).any(axis=0), directed=False)
    weights = np.random.default_rng(0).standard_normal(len(A))
    for k in range(n_blocks):
        where = np.ix_(label == k, label == k)
        block = A[:, where[0], where[1]]
        start = np.linalg.eigh(np.tensordot(weights, block, 1))[1]
        E[where] = _rotate(block, start)
    turned = E.T @ A @ E
    diagonal = np.diagonal(turned, axis1=-2, axis2=-1)
    off = np.linalg.norm(turned - diagonal[..., None] * np.eye(len(E)), axis=(-2, -1))
    # An eigenvalue that is rounding only would open the cone of dom R by as much: it is made the zero it is.
    terms = np.einsum("ak,iab,bk->ik", np.abs(E), np.abs(A), np.abs(E), optimize=True)
    eigenvalues = np.where(np.abs(diagonal) <= 4 * len(E) * EPS * terms, 0.0, diagonal * norms[:, None])
    return Diagonalisation(E, eigenvalues, commutator, float(off.max()), pair)


def _largest_commutator(A: np.ndarray) -> tuple[float, tuple[int, int]]:
    largest, pair = 0.0, (0, 0)
    for i in range(len(A)):
        product = A[i] @ A[i + 1 :]
        sizes = np.linalg.norm(product - np.swapaxes(product, -1, -2), axis=(-2, -1))
        if len(sizes) and sizes.max() > largest:
            largest, pair = float(sizes.max()), (i, i + 1 + int(np.argmax(sizes)))
    return largest, pair


def _rotate(A: np.ndarray, E: np.ndarray) -> np.ndarray:
    """Improve the orthogonal E by rotations in the planes of its columns until EᵀA_iE is diagonal."""
    A, E = E.T @ A @ E, E.copy()
    n = len(E)
    for _ in range(MOST_SWEEPS):
        turned = False
        for p in range(n - 1):
            for q in range(p + 1, n):
                # Below rounding there is nothing to win, and equal eigenvalues leave the angle open.
                if np.linalg.norm(A[:, p, q]) <= 4 * EPS:
                    continue
                difference, twice = A[:, p, p] - A[:, q, q], 2 * A[:, p, q]
                even = difference @ difference - twice @ twice
                odd = 2 * difference @ twice
                angle = 0.5 * np.arctan2(odd, even + np.hypot(even, odd))
                if abs(angle) <= EPS:
                    continue
                turned = True
                c, s = np.cos(angle), np.sin(angle)
                plane, rotation = [p, q], np.array([[c, -s], [s, c]])
                A[:, plane] = rotation.T @ A[:, plane]
                A[:, :, plane] = A[:, :, plane] @ rotation
                E[:, plane] = E[:, plane] @ rotation
        if not turned:
            break
    return E
