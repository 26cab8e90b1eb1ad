"""The Hessian against rows of data, dense and sparse, against the Hessian itself."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy.sparse import csr_array, random_array
from zoo_legendre import CASES

from riemflow import legendre

COMPOSED = [
    legendre.NegativeEntropy(3) + 0.5 * legendre.SquaredNorm(3),
    2.0 * legendre.SimplexEntropy(3),
    legendre.product(legendre.NegativeEntropy(1), legendre.SimplexEntropy(2)),
    legendre.SquaredNorm(3).compose([[2.0, 0.1, 0.0], [0.3, 1.0, 0.2], [0.0, 0.0, 1.0]]),
]
FUNCTIONS = [case.make() for case in CASES] + COMPOSED


@pytest.mark.parametrize("R", FUNCTIONS, ids=[R.name for R in FUNCTIONS])
def test_against_the_hessian(R, rng):
    w = R.domain.interior
    rows = rng.standard_normal((2, R.dim)) * (rng.random((2, R.dim)) < 0.7)
    for function, point in ((R, w), (R.conjugate, R.gradient(w))):
        H = function.hessian(point)
        for data in (rows, csr_array(rows)):
            product, root = function._times_hessian(point, data), function._gram_root(point, data)
            np.testing.assert_allclose(_dense(product), rows @ H, rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(function._gram(point, data), rows @ H @ rows.T, rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(_dense(root.T @ root), rows @ H @ rows.T, rtol=1e-9, atol=1e-12)


def test_moments_about_the_mean_keep_the_digits():
    """At a vertex but for 1e-12, diag(p) - p pᵀ would be that wrong relative to itself by 1e-4."""
    Q, eps = legendre.LogSumExp(2), 1e-12
    mu = -np.log(eps) * np.array([1.0, 0.0])
    p = np.array([1.0, eps]) / (1.0 + 2 * eps)
    gram = Q._gram(mu, np.array([[1.0, 0.0]]))
    np.testing.assert_allclose(gram, [[p[0] * 2 * eps / (1.0 + 2 * eps)]], rtol=1e-12)


@pytest.mark.parametrize("R", [legendre.NegativeEntropy, legendre.SimplexEntropy, legendre.BurgEntropy])
def test_a_million_variables(R):
    d = 10**6
    rows = random_array((5, d), density=1e-4, rng=np.random.default_rng(0), format="csr")
    R = R(d)
    mu = R.gradient(R.domain.interior)
    tracemalloc.start()
    try:
        gram = R.conjugate._gram(mu, rows)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert gram.shape == (5, 5) and np.linalg.eigvalsh(gram)[0] > 0
    assert peak < 10 * 8 * d


def _dense(matrix):
    return matrix if isinstance(matrix, np.ndarray) else matrix.toarray()
