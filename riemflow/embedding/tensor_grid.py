"""Polynomials on a box evaluated on tensor Chebyshev grids, and the bound that such a grid gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.polynomial import chebyshev

if TYPE_CHECKING:
    pass

CHUNK = 200_000  # points of the grid at a time


def growth(degree: int, m: int, dim: int) -> float:
    """Ehlich and Zeller's cos(πN/2m)^{-d}: how far a polynomial of degree N < m in each of d variables can

    exceed its largest absolute value on the grid of m Chebyshev points per axis. It holds for the norm of a
    vector or a matrix too, applied to y·p for every y.
    """
    return float(np.cos(0.5 * np.pi * degree / m) ** -dim)


def on_grid(parts: Sequence[np.ndarray], m: int, dim: int) -> Iterator[list[np.ndarray]]:
    """Yield the values of series on slabs of the grid of m Chebyshev points per axis.

    Each part holds coefficients in its first `dim` axes and components in the others: shape=[k, …, k, ...];
    its values on a slab have shape [n, ...].
    """
    nodes = np.cos(np.pi * (np.arange(m) + 0.5) / m)
    # All axes but the first are evaluated at once, the first a few points at a time.
    for axis in range(1, dim):
        parts = [_evaluated(c, nodes, axis) for c in parts]
    step = max(1, CHUNK // m ** (dim - 1))
    for start in range(0, m, step):
        slabs = [_evaluated(c, nodes[start : start + step], 0) for c in parts]
        yield [slab.reshape(-1, *slab.shape[dim:]) for slab in slabs]


def _evaluated(c: np.ndarray, nodes: np.ndarray, axis: int) -> np.ndarray:
    table = chebyshev.chebvander(nodes, c.shape[axis] - 1)
    return np.moveaxis(np.tensordot(table, c, axes=(1, axis)), 0, axis)
