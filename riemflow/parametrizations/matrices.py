"""Products of matrices: symmetric and asymmetric factorizations, their diagonal, deep linear networks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np

from riemflow.errors import ShapeError
from riemflow.legendre.entropies import NegativeEntropy
from riemflow.parametrizations.parametrization import Parametrization
from riemflow.validation import as_count


class MatrixFactorization(Parametrization):
    """``G(U) = U Uᵀ``: its upper triangle, row by row, with x = U.ravel(), U of shape (n, r).

    Defined on all of R^{nr}, regular where U has rank n. Not a mirror flow for n ≥ 2: the ∇G_ij do
    not commute, and their brackets leave ker ∂G (Corollary 4.11 of Li, Wang, Lee and Arora, 2022).
    Still the weights obey ``W' = -2(S W + W S)``, whose metric is Bures-Wasserstein; S is symmetric with
    ∇L on the diagonal and ½∇L off it, since an entry off the diagonal counts for two.

    Parameters
    ----------
    n, rank : int
        d = n(n+1)/2 and D = n·rank.

    Raises
    ------
    DomainError
        If an argument is not a whole number, at least 1.
    """

    def __init__(self, n: int, rank: int):
        self.n, self.rank = as_count("n", n), as_count("rank", rank)
        self._rows, self._columns = np.triu_indices(self.n)
        self._define(self.n * self.rank, len(self._rows), name=f"MatrixFactorization({n}, {rank})")

    def _unpack(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(*x.shape[:-1], self.n, self.rank)

    def _fun(self, x):
        U = self._unpack(x)
        return (U @ np.swapaxes(U, -1, -2))[..., self._rows, self._columns]

    def _jacobian(self, x):
        U, i, j, k = self._unpack(x), self._rows, self._columns, np.arange(self.dim)
        jacobian = np.zeros((*x.shape[:-1], self.dim, self.n, self.rank))
        # Two steps: on the diagonal, i = j, both factors are the same row and their terms add.
        jacobian[..., k, i, :] += U[..., j, :]
        jacobian[..., k, j, :] += U[..., i, :]
        return jacobian.reshape(*x.shape[:-1], self.dim, self.dim_in)

    def _hessian(self, x):
        n, r = self.n, self.rank
        hessian = np.zeros((self.dim, n, r, n, r))
        for k, (i, j) in enumerate(zip(self._rows, self._columns, strict=True)):
            hessian[k, i, :, j, :] += np.eye(r)
            hessian[k, j, :, i, :] += np.eye(r)
        hessian = hessian.reshape(self.dim, n * r, n * r)
        return np.broadcast_to(hessian, (*x.shape[:-1], *hessian.shape)).copy()


class DiagonalMeasurements(Parametrization):
    """``G(U) = diag(U Uᵀ)``: w_i = ‖U_i‖², with x = U.ravel(), U of shape (n, r).

    Defined where no row of U vanishes: there G is regular. It commutes, and R is the entropy with
    the factor ¼, ``R(w) = ¼ Σ w_i (ln(w_i / w0_i) - 1)``.

    Parameters
    ----------
    n, rank : int
        d = n and D = n·rank.

    Raises
    ------
    DomainError
        If an argument is not a whole number, at least 1.
    """

    _complete = True

    def __init__(self, n: int, rank: int):
        self.n, self.rank = as_count("n", n), as_count("rank", rank)
        self._define(self.n * self.rank, self.n, name=f"DiagonalMeasurements({n}, {rank})")

    def _unpack(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(*x.shape[:-1], self.n, self.rank)

    def _closed_legendre(self, x):
        return 0.25 * NegativeEntropy(self.n)

    def _joint_flow(self, x, mu):
        return (self._unpack(x) * np.exp(2.0 * mu)[..., None]).reshape(*mu.shape[:-1], self.dim_in)

    def _fun(self, x):
        return (self._unpack(x) ** 2).sum(axis=-1)

    def _jacobian(self, x):
        jacobian = 2 * self._unpack(x)[..., None, :, :] * np.eye(self.n)[:, :, None]
        return jacobian.reshape(*x.shape[:-1], self.n, self.dim_in)

    def _hessian(self, x):
        hessian = np.zeros((self.n, self.n, self.rank, self.n, self.rank))
        i = np.arange(self.n)
        hessian[i, i, :, i, :] = 2 * np.eye(self.rank)
        hessian = hessian.reshape(self.n, self.dim_in, self.dim_in)
        return np.broadcast_to(hessian, (*x.shape[:-1], *hessian.shape)).copy()

    def _belongs(self, x):
        return np.isfinite(x).all(axis=-1) & (self._unpack(x) != 0).any(axis=-1).all(axis=-1)


class DeepLinear(Parametrization):
    """``G(W_1, …, W_L) = (W_L ⋯ W_1).ravel()``, with x = (W_1.ravel(), …, W_L.ravel()).

    Defined on all of R^D. It commutes if d = 1 or L = 1; in general it does not, and is no mirror flow.

    Parameters
    ----------
    shapes : sequence of pairs of int
        The shapes of W_1, …, W_L: the columns of W_{k+1} match the rows of W_k.

    Raises
    ------
    ShapeError
        If the shapes do not chain, or one is no pair, or there is none.
    DomainError
        If a length is not a whole number, at least 1.
    """

    def __init__(self, shapes: Sequence[tuple[int, int]]):
        try:
            pairs = [tuple(shape) for shape in shapes]
        except TypeError as error:
            raise ShapeError(f"shapes is {shapes!r}, but must be a list of pairs (rows, columns).") from error
        if not pairs or any(len(pair) != 2 for pair in pairs):
            raise ShapeError(f"shapes is {shapes!r}, but must be a non-empty list of pairs (rows, columns).")
        self.shapes = [
            (as_count(f"shapes[{k}][0]", a), as_count(f"shapes[{k}][1]", b)) for k, (a, b) in enumerate(pairs)
        ]
        for k, (first, second) in enumerate(zip(self.shapes[:-1], self.shapes[1:], strict=True)):
            if second[1] != first[0]:
                raise ShapeError(
                    f"shapes[{k}] = {first} and shapes[{k + 1}] = {second} do not chain: in W_L ⋯ W_1 the "
                    f"columns of W_{k + 2} ({second[1]}) must equal the rows of W_{k + 1} ({first[0]})."
                )
        self._offsets = np.concatenate([[0], np.cumsum([a * b for a, b in self.shapes])]).tolist()
        self._define(
            self._offsets[-1], self.shapes[-1][0] * self.shapes[0][1], name=f"DeepLinear({self.shapes})"
        )

    def _unpack(self, x: np.ndarray) -> list[np.ndarray]:
        return [
            x[..., start : start + a * b].reshape(*x.shape[:-1], a, b)
            for start, (a, b) in zip(self._offsets[:-1], self.shapes, strict=True)
        ]

    def _between(self, weights: list[np.ndarray], low: int, high: int) -> np.ndarray:
        """W_{high-1} ⋯ W_{low}, counted from zero; the identity if there is none."""
        if low == high:
            # Only asked for next to a factor, whose length fixes the identity's.
            return np.eye(self.shapes[low][1] if low < len(weights) else self.shapes[-1][0])
        return reduce(lambda product, W: W @ product, weights[low:high])

    def _fun(self, x):
        return self._between(self._unpack(x), 0, len(self.shapes)).reshape(*x.shape[:-1], self.dim)

    def _jacobian(self, x):
        weights, L, batch = self._unpack(x), len(self.shapes), x.shape[:-1]
        blocks = []
        for k, (a, b) in enumerate(self.shapes):
            left, right = self._between(weights, k + 1, L), self._between(weights, 0, k)
            block = np.einsum("...pa,...bq->...pqab", left, right)
            block = block.reshape(*block.shape[:-4], self.dim, a * b)
            blocks.append(np.broadcast_to(block, (*batch, self.dim, a * b)))
        return np.concatenate(blocks, axis=-1)

    def _hessian(self, x):
        weights, L, batch, o = self._unpack(x), len(self.shapes), x.shape[:-1], self._offsets
        hessian = np.zeros((*batch, self.dim, self.dim_in, self.dim_in))
        for k in range(L):
            left = self._between(weights, k + 1, L)
            for j in range(k):
                middle, right = self._between(weights, j + 1, k), self._between(weights, 0, j)
                block = np.einsum("...pa,...bc,...eq->...pqabce", left, middle, right)
                (a, b), (c, e) = self.shapes[k], self.shapes[j]
                block = block.reshape(*block.shape[:-6], self.dim, a * b, c * e)
                hessian[..., o[k] : o[k + 1], o[j] : o[j + 1]] = block
                hessian[..., o[j] : o[j + 1], o[k] : o[k + 1]] = np.swapaxes(block, -1, -2)
        return hessian


class AsymmetricFactorization(Parametrization):
    """``G(U, V) = (U Vᵀ).ravel()``, with x = (U.ravel(), V.ravel()), U of shape (n, r), V (m, r).

    Defined on all of R^{(n+m)r}. It commutes for n = m = 1, where it is `HadamardProduct` summed;
    otherwise it does not (Example 4.4 of Li, Wang, Lee and Arora, 2022). ``UᵀU - VᵀV`` is conserved.

    Parameters
    ----------
    n, m, rank : int
        d = nm and D = (n + m)·rank.

    Raises
    ------
    DomainError
        If an argument is not a whole number, at least 1.
    """

    def __init__(self, n: int, m: int, rank: int):
        self.n, self.m, self.rank = as_count("n", n), as_count("m", m), as_count("rank", rank)
        self._define((n + m) * rank, n * m, name=f"AsymmetricFactorization({n}, {m}, {rank})")

    def _unpack(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        cut, batch = self.n * self.rank, x.shape[:-1]
        return x[..., :cut].reshape(*batch, self.n, self.rank), x[..., cut:].reshape(
            *batch, self.m, self.rank
        )

    def _fun(self, x):
        U, V = self._unpack(x)
        return (U @ np.swapaxes(V, -1, -2)).reshape(*x.shape[:-1], self.dim)

    def _jacobian(self, x):
        (U, V), batch, d = self._unpack(x), x.shape[:-1], self.dim
        by_u = np.eye(self.n)[:, None, :, None] * V[..., None, :, None, :]
        by_v = np.eye(self.m)[None, :, :, None] * U[..., :, None, None, :]
        widths = self.n * self.rank, self.m * self.rank
        return np.concatenate(
            [by.reshape(*batch, d, width) for by, width in zip((by_u, by_v), widths, strict=True)], axis=-1
        )

    def _hessian(self, x):
        n, m, r = self.n, self.m, self.rank
        cut = n * r
        mixed = np.einsum("ia,jb,kl->ijakbl", np.eye(n), np.eye(m), np.eye(r)).reshape(n * m, n * r, m * r)
        hessian = np.zeros((self.dim, self.dim_in, self.dim_in))
        hessian[:, :cut, cut:] = mixed
        hessian[:, cut:, :cut] = np.swapaxes(mixed, -1, -2)
        return np.broadcast_to(hessian, (*x.shape[:-1], *hessian.shape)).copy()
