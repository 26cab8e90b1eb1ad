"""Polynomials in a Chebyshev basis with their first two derivatives, many points at once."""

from __future__ import annotations

import numpy as np
from numpy.polynomial import chebyshev
from scipy.sparse import csr_matrix

from riemflow.embedding.spectral_basis import ChebyshevBasis

CHUNK = 4_000_000  # numbers in one table of basis functions


class ChebyshevSeries:
    """F = Σ_α c_α T_α(u(w)) with values in R^D, ∂F and ∂²F.

    The derivatives by u are series in the same basis, whose coefficients are found once. So all of them at a
    point take its basis functions and one product of matrices.
    """

    def __init__(self, basis: ChebyshevBasis, coefficients: np.ndarray):
        d = basis.dim
        self.basis, self.dim, self.ambient_dim = basis, d, coefficients.shape[1]
        self.pairs = [(i, j) for i in range(d) for j in range(i, d)]
        # Derivatives have a constant term, which the basis leaves out.
        self._indices = np.vstack([np.zeros((1, d), int), basis.indices])
        slopes = [_differentiation(self._indices, i) for i in range(d)]
        value = np.vstack([np.zeros((1, self.ambient_dim)), coefficients])
        first = [slope @ value for slope in slopes]
        second = [slopes[j] @ first[i] for i, j in self.pairs]
        self._rows = np.concatenate([value, *first, *second], axis=1)

    def dense(self, order: int) -> list[np.ndarray]:
        """The coefficients of F, of all ∂F/∂u_i, or of all ∂²F/∂u_i∂u_j, (i, j) as in `pairs`.

        Arrays of shape [n+1, …, n+1, D].
        """
        d, D = self.dim, self.ambient_dim
        start, stop = ((0, 1), (1, 1 + d), (1 + d, 1 + d + len(self.pairs)))[order]
        found = []
        for part in range(start, stop):
            dense = np.zeros((*(self.basis.degree + 1,) * d, D))
            dense[tuple(self._indices.T)] = self._rows[:, part * D : (part + 1) * D]
            found.append(dense)
        return found

    def jet(self, w: np.ndarray, order: int = 2) -> tuple[np.ndarray, ...]:
        """Return F, ∂F and ∂²F up to `order`: [..., d] -> [..., D], [..., D, d], [..., D, d, d]."""
        flat = w.reshape(-1, self.dim)
        n_chunks = -(-len(flat) * len(self._indices) // CHUNK)
        if n_chunks > 1:
            chunks = [self.jet(part, order) for part in np.array_split(flat, n_chunks)]
            return tuple(
                np.concatenate(part).reshape(*w.shape[:-1], *part[0].shape[1:])
                for part in zip(*chunks, strict=True)
            )
        d, D = self.dim, self.ambient_dim
        u, slope, curvature = self.basis.coordinates(flat)
        n_parts = (1, 1 + d, 1 + d + len(self.pairs))[order]
        values = (self._functions(u) @ self._rows[:, : n_parts * D]).reshape(len(flat), n_parts, D)
        found = [values[:, 0]]
        if order:
            first = np.swapaxes(values[:, 1 : 1 + d], -1, -2)
            found.append(first * slope[:, None, :])
        if order == 2:
            second = np.empty((len(flat), D, d, d))
            for k, (i, j) in enumerate(self.pairs, start=1 + d):
                second[:, :, i, j] = second[:, :, j, i] = values[:, k] * (slope[:, i] * slope[:, j])[:, None]
                if i == j:
                    second[:, :, i, i] += first[:, :, i] * curvature[:, i, None]
            found.append(second)
        return tuple(part.reshape(*w.shape[:-1], *part.shape[1:]) for part in found)

    def _functions(self, u: np.ndarray) -> np.ndarray:
        """T_α(u), the constant first: shape=[n, d] -> shape=[n, N + 1]."""
        tables = chebyshev.chebvander(u, self.basis.degree)
        result = tables[:, 0, self._indices[:, 0]]
        for axis in range(1, self.dim):
            result = result * tables[:, axis, self._indices[:, axis]]
        return result


def _differentiation(indices: np.ndarray, axis: int) -> csr_matrix:
    """Return the matrix of ∂/∂u_axis on coefficients in the order of the indices, all of a total degree."""
    M, d = indices.shape
    n = int(indices.max())
    position = np.full((n + 1,) * d, -1, np.int32)
    position[tuple(indices.T)] = np.arange(M)
    table = chebyshev.chebder(np.eye(n + 1), axis=0)  # T_k' = Σ_j table[j, k] T_j
    entries = [[], [], []]
    for j in range(n):
        columns = np.flatnonzero(table[j, indices[:, axis]])
        target = indices[columns].copy()
        target[:, axis] = j
        entries[0].append(table[j, indices[columns, axis]])
        entries[1].append(position[tuple(target.T)])
        entries[2].append(columns)
    values, rows, columns = (np.concatenate(part) for part in entries)
    return csr_matrix((values, (rows, columns)), (M, M))
