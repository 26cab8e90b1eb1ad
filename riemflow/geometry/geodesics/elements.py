"""Paths that are polynomials on equal parts of [0, 1] and continuous between them."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.polynomial.legendre import Legendre


class Elements:
    """E elements of degree N with Lobatto's nodes, those at the joints shared.

    Attributes
    ----------
    t : array, shape=[E N + 1]
        The nodes.
    index : int array, shape=[E, N+1]
        Which of them are an element's.
    weights : array, shape=[N+1]
        Lobatto's weights on an element.
    D : array, shape=[N+1, N+1]
        From values on an element to derivatives.
    products : array, shape=[(N+1)², N+1]
        ω_k D_kj D_kl.
    """

    def __init__(self, count: int, degree: int):
        self.count, self.degree = count, degree
        x, values = _lobatto(degree)
        self._unit, self._barycentric = 0.5 * (x + 1.0), 1.0 / values
        gaps = x[:, None] - x + np.eye(degree + 1)
        D = values[:, None] / values / gaps
        np.fill_diagonal(D, 0.0)
        np.fill_diagonal(D, -D.sum(axis=1))
        self.D = 2.0 * count * D
        self.weights = 1.0 / (degree * (degree + 1) * values**2) / count
        self.index = degree * np.arange(count)[:, None] + np.arange(degree + 1)
        self.t = np.zeros(count * degree + 1)
        self.t[self.index] = (np.arange(count)[:, None] + self._unit) / count
        self.t[-1] = 1.0
        self.products = np.einsum("k,kj,kl->jlk", self.weights, self.D, self.D).reshape(-1, degree + 1)

    def interpolation(self, t: np.ndarray) -> np.ndarray:
        """The matrix from values at the nodes to those at the times t: shape=[n, E N + 1]."""
        element = np.minimum((t * self.count).astype(int), self.count - 1)
        gaps = (t * self.count - element)[:, None] - self._unit
        same = np.abs(gaps) < 1e-14
        terms = self._barycentric / np.where(same, 1.0, gaps)
        rows = np.where(same.any(axis=1, keepdims=True), same, terms / terms.sum(axis=1, keepdims=True))
        matrix = np.zeros((len(t), len(self.t)))
        np.put_along_axis(matrix, self.index[element], rows, axis=1)
        return matrix


@cache
def elements(count: int, degree: int) -> Elements:
    """Return the elements, made once."""
    return Elements(count, degree)


def _lobatto(degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Lobatto's nodes on [-1, 1], the ends and the roots of P_N', and P_N there."""
    P = Legendre.basis(degree)
    slope, bend = P.deriv(), P.deriv(2)
    inner = np.cos(np.pi * np.arange(degree - 1, 0, -1) / degree)
    for _ in range(20):
        inner = inner - slope(inner) / bend(inner)
    x = np.concatenate([[-1.0], inner, [1.0]])
    return x, P(x)
