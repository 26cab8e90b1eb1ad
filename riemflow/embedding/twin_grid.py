"""Polynomials of bounded total degree on the twin Chebyshev grid, which has few points in many dimensions."""

from __future__ import annotations

import numpy as np
from numpy.polynomial import chebyshev

BLOCK = 2_000_000  # dense coefficients at a time


class TwinGrid:
    """The points cos(πj/N) per axis with j all even, or all odd: about 2 (N/2)^d of them, N = degree + 1.

    The cubature with product weights on both halves is exact for the Chebyshev measure and total degree
    2N - 1: T_α with all α_i = N l_i takes opposite signs on the halves if Σ l_i is odd. So a polynomial of
    total degree ≤ N - 1 is recovered from its values, with 2^{d-1} times fewer points than a full grid has.

    Parameters
    ----------
    indices : int array, shape=[M, d]
        The multi-indices α of the series, total degree ≤ N - 1.
    degree : int
        N - 1.
    """

    def __init__(self, indices: np.ndarray, degree: int):
        self.indices, self.degree, self.dim = indices, degree, indices.shape[1]
        N = degree + 1
        self._place = np.ravel_multi_index(tuple(indices.T), (degree + 1,) * self.dim)
        self._squared = 2.0 ** (indices > 0).sum(axis=1)  # 1/∫T_α²
        unit = np.eye(degree + 1)
        self.halves: list[tuple[np.ndarray, np.ndarray, list[np.ndarray]]] = []
        for parity in (0, 1):
            j = np.arange(parity, N + 1, 2)
            x = np.cos(np.pi * j / N)
            weights = np.where((j == 0) | (j == N), 1.0, 2.0) / N
            tables = [chebyshev.chebvander(x, degree)]
            tables += [chebyshev.chebval(x, chebyshev.chebder(unit, order, axis=0)).T for order in (1, 2)]
            self.halves.append((x, weights, tables))

    def points(self, half: int) -> np.ndarray:
        """Return the points of one half: shape=[Q, d]."""
        x = self.halves[half][0]
        return np.stack(np.meshgrid(*[x] * self.dim, indexing="ij"), axis=-1).reshape(-1, self.dim)

    def derivatives(self, c: np.ndarray, half: int, order: int) -> dict[tuple[int, ...], np.ndarray]:
        """Evaluate series, shape=[M, P], and all derivatives of total order ≤ `order`, each shape=[Q, P]."""
        tables, k, d = self.halves[half][2], self.degree + 1, self.dim
        step = max(1, BLOCK // k**d)
        blocks: dict[tuple[int, ...], list[np.ndarray]] = {}
        for start in range(0, c.shape[1], step):
            part = c[:, start : start + step]
            dense = np.zeros((part.shape[1], k**d))
            dense[:, self._place] = part.T
            level = {(): dense}
            # One axis after the other; derivatives that agree on the first axes share the work on them.
            for axis in range(d):
                following = {}
                for orders, values in level.items():
                    values = values.reshape(part.shape[1] * len(tables[0]) ** axis, k, -1)
                    for more in range(order - sum(orders) + 1):
                        following[(*orders, more)] = tables[more] @ values
                level = following
            for orders, values in level.items():
                blocks.setdefault(orders, []).append(values.reshape(part.shape[1], -1))
        return {orders: np.concatenate(parts).T for orders, parts in blocks.items()}

    def project(self, values: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """Return the coefficients of functions given on both halves, [Q, P] each: shape=[M, P]."""
        k, d = self.degree + 1, self.dim
        found = np.zeros((len(self.indices), values[0].shape[1]))
        step = max(1, BLOCK // k**d)
        for start in range(0, found.shape[1], step):
            for (x, weights, tables), field in zip(self.halves, values, strict=True):
                part = np.ascontiguousarray(field[:, start : start + step].T)
                P = len(part)
                moments = (tables[0] * weights[:, None]).T
                for axis in range(d):
                    part = moments @ part.reshape(P * k**axis, len(x), -1)
                found[:, start : start + step] += 0.5 * part.reshape(P, -1)[:, self._place].T
        return found * self._squared[:, None]
