"""The twin Chebyshev grid recovers polynomials of total degree n, and no more, from few points."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.polynomial import chebyshev

from riemflow.embedding.spectral_basis import multi_indices
from riemflow.embedding.twin_grid import TwinGrid


def grid(d, n):
    return TwinGrid(np.vstack([np.zeros((1, d), int), multi_indices(d, n)]), n)


def series(indices, c, u):
    tables = [chebyshev.chebvander(u[:, i], indices.max()) for i in range(u.shape[1])]
    functions = np.prod([tables[i][:, indices[:, i]] for i in range(u.shape[1])], axis=0)
    return functions @ c


@pytest.mark.parametrize(("d", "n"), [(1, 5), (2, 6), (3, 7), (4, 4), (5, 5)])
def test_polynomials_are_recovered_from_their_values(d, n, rng):
    twin = grid(d, n)
    points = [twin.points(half) for half in (0, 1)]
    assert d < 3 or sum(map(len, points)) < 0.5 * (n + 1) ** d
    c = rng.standard_normal((len(twin.indices), 3))
    values = [series(twin.indices, c, u) for u in points]
    np.testing.assert_allclose(twin.project((values[0], values[1])), c, atol=1e-12)
    for half in (0, 1):
        (found,) = twin.derivatives(c, half, 0).values()
        np.testing.assert_allclose(found, values[half], atol=1e-12)


def test_one_half_alone_is_not_enough(rng):
    twin = grid(3, 6)
    c = rng.standard_normal((len(twin.indices), 1))
    even = series(twin.indices, c, twin.points(0))
    twice = twin.project((2 * even, np.zeros((len(twin.points(1)), 1))))
    assert np.abs(twice - c).max() > 0.1


def test_a_higher_degree_is_aliased():
    twin, n = grid(2, 6), 6
    values = [chebyshev.chebval(twin.points(half)[:, :1], np.eye(n + 3)[n + 2]) for half in (0, 1)]
    assert np.abs(twin.project((values[0], values[1]))).max() > 0.1


def test_derivatives_against_differences(rng):
    twin = grid(3, 5)
    c, h = rng.standard_normal((len(twin.indices), 2)), 1e-4
    found = twin.derivatives(c, 1, 2)
    u = twin.points(1)
    assert len(found) == 10
    for i in range(3):
        for j in range(3):
            a, b = h * np.eye(3)[i], h * np.eye(3)[j]
            order = tuple(np.eye(3, dtype=int)[i] + np.eye(3, dtype=int)[j])
            mixed = sum(s * t * series(twin.indices, c, u + s * a + t * b) for s in (1, -1) for t in (1, -1))
            np.testing.assert_allclose(found[order], mixed / (4 * h * h), rtol=1e-4, atol=1e-3)
        slope = series(twin.indices, c, u + h * np.eye(3)[i]) - series(twin.indices, c, u - h * np.eye(3)[i])
        np.testing.assert_allclose(
            found[tuple(np.eye(3, dtype=int)[i])], slope / (2 * h), rtol=1e-5, atol=1e-5
        )
