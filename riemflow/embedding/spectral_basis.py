"""Chebyshev polynomials of bounded total degree on a box, with their gradients."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from riemflow.embedding.coordinates import Axis
from riemflow.embedding.metric import symmetric_power

if TYPE_CHECKING:
    from riemflow.embedding.metric import Metric


def multi_indices(dim: int, degree: int) -> np.ndarray:
    """Return all α ∈ N^dim with 1 ≤ |α| ≤ degree, lower total degrees first: shape=[N, dim].

    The constant is left out, since a translation of F does not change its metric. Because lower
    degrees come first, a polynomial keeps its leading coefficients when the degree is raised.
    """
    found = [a for a in itertools.product(range(degree + 1), repeat=dim) if 1 <= sum(a) <= degree]
    return np.array(sorted(found, key=lambda a: (sum(a), a)))


class ChebyshevBasis:
    """The functions T_α(u), u_i = u_i(w_i) the axes' coordinates, for α of total degree ≤ degree."""

    def __init__(self, axes: Sequence[Axis], degree: int):
        self.axes, self.degree = list(axes), degree
        self.dim = len(self.axes)
        self.indices = multi_indices(self.dim, degree)
        self.size = len(self.indices)

    def _tables(self, w: np.ndarray) -> list[np.ndarray]:
        """Return T and T' along each axis: two arrays of shape [..., dim, degree + 1]."""
        u, slope, _ = self.coordinates(w)
        values, slopes = (np.zeros((*u.shape, self.degree + 1)) for _ in range(2))
        values[..., 0] = 1.0
        if self.degree:
            values[..., 1], slopes[..., 1] = u, 1.0
        for n in range(1, self.degree):
            # T_{n+1} = 2u T_n - T_{n-1}, and its derivative.
            values[..., n + 1] = 2 * u * values[..., n] - values[..., n - 1]
            slopes[..., n + 1] = 2 * u * slopes[..., n] - slopes[..., n - 1] + 2 * values[..., n]
        return [values, slopes * slope[..., None]]

    def coordinates(self, w: np.ndarray) -> np.ndarray:
        """Return u, du/dw and d²u/dw² of each axis: shape=[..., d] -> shape=[3, ..., d]."""
        return np.stack([np.stack(axis.to_unit(w[..., i])) for i, axis in enumerate(self.axes)], axis=-1)

    def metric(self, g: Metric, w: np.ndarray) -> np.ndarray:
        """Return g in the coordinates u, at w: shape=[..., d] -> shape=[..., d, d]."""
        slope = self.coordinates(w)[1]
        return g._matrix(w) / (slope[..., :, None] * slope[..., None, :])

    def metric_power(self, g: Metric, w: np.ndarray, power: float) -> np.ndarray:
        """Return g^power in the coordinates u, at w; a `DomainError` where rounding hides g."""
        with np.errstate(all="ignore"):
            return symmetric_power(g.name, self.metric(g, w), power, w)

    def points(self, u: np.ndarray) -> np.ndarray:
        """Return w at u ∈ [-1, 1]^d: shape=[..., d] -> shape=[..., d]."""
        return np.stack([axis.from_unit(u[..., i]) for i, axis in enumerate(self.axes)], axis=-1)

    def _product(self, tables: list[np.ndarray], orders: tuple[int, ...]) -> np.ndarray:
        result = tables[orders[0]][..., 0, self.indices[:, 0]]
        for axis in range(1, self.dim):
            result = result * tables[orders[axis]][..., axis, self.indices[:, axis]]
        return result

    def gradients(self, w: np.ndarray) -> np.ndarray:
        """Return ∂_i T_α: shape=[..., d] -> shape=[..., d, N]."""
        tables = self._tables(w)
        unit = np.eye(self.dim, dtype=int)
        return np.stack([self._product(tables, tuple(row)) for row in unit], axis=-2)
