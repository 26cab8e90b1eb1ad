"""Curvature from the one sectional curvature there is, against that from ∇³R, and next to the boundary."""

from __future__ import annotations

import numpy as np
import pytest

from riemflow.geometry import HessianManifold, HessianMetric
from riemflow.legendre import (
    Beta,
    Categorical,
    FermiDirac,
    HyperbolicEntropy,
    LogDet,
    LogSumExp,
    LorentzBarrier,
    NegativeEntropy,
    Normal,
    Quadratic,
    SimplexEntropy,
    product,
)

CASES = {
    # Fisher's metric of the simplex is a sphere of radius 2; normals have curvature -1/2.
    "simplex": (SimplexEntropy(3), 0.25),
    "categorical": (Categorical(3), 0.25),
    "log-sum-exp scaled": (3.0 * LogSumExp(3), 0.25 / 3),
    "Lorentz": (LorentzBarrier(3), -0.25),
    "Lorentz' dual in other coordinates": (
        LorentzBarrier(2).conjugate.compose(np.array([[1.0, 0.3], [0.0, 2.0]])),
        -0.25,
    ),
    "normal": (Normal(), -0.5),
    "separable": (HyperbolicEntropy([0.3, 1.0], [0.2, 2.0]), 0.0),
    "quadratic": (Quadratic([[2.0, 0.3], [0.3, 1.0]]), 0.0),
    "product of flat ones": (product(NegativeEntropy(1), FermiDirac(2)), 0.0),
}
each = pytest.mark.parametrize(("R", "K"), CASES.values(), ids=CASES.keys())


def both(R):
    space = HessianManifold(R)
    return space, space.metric, HessianMetric(space, closed_form=False)


@each
def test_all_of_it_agrees_with_third_derivatives(R, K, rng):
    space, short, long = both(R)
    w = space.random_point(5, bound=0.3)
    vectors = rng.standard_normal((4, 5, R.dim))
    for what in ("riemann_tensor", "covariant_riemann_tensor", "ricci_tensor", "scalar_curvature"):
        expected = getattr(long, what)(w)
        got = getattr(short, what)(w)
        scale = 1.0 + np.abs(long.metric_matrix(w)).max() ** 2
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-11 * scale, err_msg=what)
    np.testing.assert_allclose(
        short.curvature(*vectors[:3], w), long.curvature(*vectors[:3], w), rtol=1e-9, atol=1e-9
    )
    np.testing.assert_allclose(
        short.curvature_derivative(*vectors, w), long.curvature_derivative(*vectors, w), atol=1e-7
    )
    np.testing.assert_allclose(short.sectional_curvature(*vectors[:2], w), K, rtol=1e-14)
    np.testing.assert_allclose(long.sectional_curvature(*vectors[:2], w), K, rtol=1e-9, atol=1e-10)
    assert (short.sectional_curvature(vectors[0], -2.0 * vectors[0], w) == 0.0).all()


def test_digits_next_to_the_boundary():
    """Two of four probabilities are 1e-8: products of ∇³R, of size 1e24, cancel; that is the control."""
    _, short, long = both(SimplexEntropy(3))
    w = np.array([1e-8, 0.4, 0.6 - 2e-8])
    assert short.scalar_curvature(w) == pytest.approx(6 * 0.25, rel=1e-15)
    assert abs(long.scalar_curvature(w) - 6 * 0.25) > 1e-3
    g, K = short.metric_matrix(w), short.covariant_riemann_tensor(w)
    np.testing.assert_allclose(K[0, 1, 0, 1], 0.25 * (g[0, 0] * g[1, 1] - g[0, 1] ** 2), rtol=1e-14)


@pytest.mark.parametrize(
    "R",
    [Beta(), LogDet(2), product(SimplexEntropy(2), NegativeEntropy(1)), LogSumExp(2) + NegativeEntropy(2)],
    ids=repr,
)
def test_no_constant_is_claimed_where_there_is_none(R, rng):
    """A product of a sphere and a line has planes of both curvatures."""
    space, short, long = both(R)
    assert short._constant is None
    w = np.abs(space.random_point(4, bound=0.1))
    a, b = rng.standard_normal((2, 4, R.dim))
    np.testing.assert_allclose(
        short.sectional_curvature(a, b, w), long.sectional_curvature(a, b, w), rtol=1e-12
    )
