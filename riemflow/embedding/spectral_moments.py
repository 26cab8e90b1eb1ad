"""The normal matrix on a tensor Chebyshev grid, from the moments of its weights."""

from __future__ import annotations

import itertools

import numpy as np
from scipy.sparse import csr_matrix

from riemflow.embedding.levenberg import IsometryEquations

CHUNK = 2_000_000  # entries of the sparse matrix made at a time


class TensorEquations(IsometryEquations):
    """The isometry equations at the grid u = cos θ, θ = π(k + ½)/m along each axis.

    An entry of the Gauss–Newton matrix is ``Σ_q Σ_ij W_ij(q) ∂_iT_α ∂_jT_β``. With ``T_n = cos nθ`` and
    ``T_n' = n sin nθ / sin θ``, a product of two such functions is a sum of two along each axis, so the
    entry is a sum of 2^d d² cosine and sine moments of W: no sum over the points is left for each α and β.

    Parameters
    ----------
    indices : int array, shape=[N, d]
        The multi-indices α.
    scale : array, shape=[N]
        The factor of each T_α.
    per_axis : int
        m; the points are the product in the order of `itertools.product`.
    whitener : array, shape=[Q, d, d]
        g^{-1/2} in the coordinates u.
    whitened : array, shape=[d, Q, N]
        As for `IsometryEquations`.
    """

    def __init__(self, indices, scale, per_axis: int, whitener: np.ndarray, whitened: np.ndarray):
        super().__init__(whitened)
        self.indices, self.scale, self.m, self.whitener = indices, scale, per_axis, whitener
        self.degree = int(indices.max())
        self.cometric = np.swapaxes(whitener, -1, -2) @ whitener
        d, top = self.d, 2 * self.degree
        theta = np.pi * (np.arange(per_axis) + 0.5) / per_axis
        angles = np.outer(np.arange(top + 1), theta)
        self.cosines, self.sines = np.cos(angles), np.sin(angles)
        self.sine = np.stack(np.meshgrid(*[np.sin(theta)] * d, indexing="ij"), axis=-1).reshape(-1, d)
        # Sums and differences of two indices have total degree ≤ 2n: the table holds no others.
        grid = np.indices((top + 1,) * d).reshape(d, -1)
        self.kept = np.flatnonzero(grid.sum(axis=0) <= top)
        self.position = np.full(grid.shape[1], -1, np.int32)
        self.position[self.kept] = np.arange(len(self.kept), dtype=np.int32)
        self.strides = (top + 1) ** np.arange(d - 1, -1, -1)
        self.signs = np.array(list(itertools.product((1, -1), repeat=d)))

    def _moments(self, frames: np.ndarray) -> np.ndarray:
        """Return the moments of the weights: shape=[γ, i, j, pairs a ≤ b], flattened to two axes."""
        d, D = self.d, frames.shape[-1]
        first, second = np.triu_indices(D)
        J = np.ascontiguousarray(np.swapaxes(frames, 0, 1))
        pulled = np.ascontiguousarray(np.moveaxis(np.swapaxes(self.whitener, -1, -2) @ J, 0, -1))
        dots = np.ascontiguousarray((np.swapaxes(J, -1, -2) @ J)[:, first, second].T)
        table = np.empty((len(self.kept), d, d, len(first)))
        for i, j in itertools.product(range(d), repeat=2):
            field = self.cometric[:, i, j] * dots + pulled[i, second] * pulled[j, first]
            field /= self.sine[:, i] * self.sine[:, j]
            field = field.reshape(-1, *(self.m,) * d)
            for axis in range(d):
                odd = i != j and axis in (i, j)
                # Contracts the leading grid axis and appends its moments, so that the axes keep their order.
                field = np.tensordot(field, self.sines if odd else self.cosines, axes=(1, 1))
            table[:, i, j] = field.reshape(len(first), -1)[:, self.kept].T
        return table.reshape(-1, len(first))

    def normal_matrix(self, frames: np.ndarray) -> np.ndarray:
        """Return the Gauss–Newton matrix, ordered by component, then basis function: shape=[DN, DN]."""
        d, D, N = self.d, frames.shape[-1], self.N
        first, second = np.triu_indices(D)
        table = self._moments(frames)
        H = np.empty((D, N, D, N))
        per_row = N * len(self.signs) * d * d
        step = max(1, CHUNK // per_row)
        for start in range(0, N, step):
            stop = min(start + step, N)
            block = self._products(start, stop) @ table
            block = np.ascontiguousarray(block.reshape(stop - start, N, -1).transpose(2, 0, 1))
            H[first, start:stop, second] = block
        for a in range(D):
            for b in range(a + 1, D):
                H[b, :, a] = H[a, :, b].T
        H *= 2.0 / (self.Q * 2**d)
        return H.reshape(D * N, D * N)

    def _products(self, start: int, stop: int) -> csr_matrix:
        """Return the matrix that takes the moments to the entries of rows α and all columns β."""
        d, N, S = self.d, self.N, len(self.signs)
        left = self.indices[start:stop, None, None, :]
        turned = self.signs * self.indices[:, None, :]  # [N, S, d]
        gamma = left + turned
        place = self.position[np.abs(gamma) @ self.strides]
        columns = place[..., None] * np.int32(d * d) + np.arange(d * d, dtype=np.int32)
        side = np.sign(gamma).astype(float)
        # cos α cos β, sin α cos β, cos α sin β along an axis; for i = j, sin α sin β.
        a = (self.scale[start:stop, None] * self.indices[start:stop])[:, None, None, :] * side
        b = (self.scale[:, None, None] * turned) * side
        values = a[..., :, None] * b[..., None, :]
        diagonal = np.arange(d)
        plain = self.scale[start:stop, None, None, None] * left * (self.scale[:, None, None] * turned)
        values[..., diagonal, diagonal] = -plain
        rows = (stop - start) * N
        pointers = np.arange(rows + 1, dtype=np.int32) * np.int32(S * d * d)
        return csr_matrix((values.ravel(), columns.ravel(), pointers), (rows, len(self.kept) * d * d))
