"""Fourth derivatives: against autograd on plain formulas, and against differences of the third."""

from __future__ import annotations

import itertools

import autograd.numpy as anp
import numpy as np
import pytest
from zoo_legendre import CASES, relative_defect

from riemflow import autodiff
from riemflow.commuting import legendre_from_parametrization
from riemflow.errors import DomainError, ShapeError
from riemflow.legendre import (
    BurgEntropy,
    HyperbolicEntropy,
    LegendreFunction,
    LogDet,
    LogSumExp,
    NegativeEntropy,
    SquaredNorm,
    product,
)
from riemflow.legendre.algebra import Tilted
from riemflow.legendre.conjugate import NumericalConjugate
from riemflow.parametrizations import HadamardDifference

# Four sweeps through determinants of five or six variables take minutes; the 2 x 2 one stands below.
SMALL = [case for case in CASES if case.name not in ("LogDet", "MultivariateNormal")]
each = pytest.mark.parametrize("case", CASES, ids=str)
each_small = pytest.mark.parametrize("case", SMALL, ids=str)
each_closed = pytest.mark.parametrize("case", [case for case in SMALL if case.plain_conjugate], ids=str)


def check_against_autograd(R, plain, w):
    expected = autodiff.jacobian(autodiff.third(plain), 3)(w)
    # Rounding of the plain formula: some hundred terms of the size of the largest.
    assert np.abs(R.fourth(w) - expected).max() <= 1e-13 * np.abs(expected).max()


def symmetry_defect(fourth):
    orders = itertools.permutations(range(1, 5))
    return max(np.abs(fourth.transpose(0, *order) - fourth).max() for order in orders) / np.abs(fourth).max()


def difference_defect(R, w, step=1e-4):
    """∇⁴R against differences of ∇³R, of fourth order in the step, relative to the size of w."""
    columns = []
    size = step * np.abs(w).max(axis=-1)
    for e in np.eye(R.dim):
        h = size[:, None] * e
        near, far = R.third(w + h) - R.third(w - h), R.third(w + 2 * h) - R.third(w - 2 * h)
        columns.append((8 * near - far) / (12 * size[:, None, None, None]))
    return relative_defect(R.fourth(w), np.stack(columns, axis=-1))


@each_small
def test_against_autograd(case):
    check_against_autograd(case.make(), case.plain, case.points(3))


@each_closed
def test_conjugates_against_autograd(case):
    R = case.make()
    check_against_autograd(R.conjugate, case.plain_conjugate, R.gradient(case.points(3)))


def test_the_determinant_of_two_by_two(rng):
    w = rng.uniform([1.0, -0.5, 1.0], [2.0, 0.5, 3.0], (3, 3))
    R = LogDet(2)
    check_against_autograd(R, lambda w: -anp.log(w[..., 0] * w[..., 2] - w[..., 1] ** 2), w)
    check_against_autograd(
        R.conjugate, lambda mu: -2 - anp.log(mu[..., 0] * mu[..., 2] - mu[..., 1] ** 2 / 4), R.gradient(w)
    )


@each
def test_against_differences_and_symmetric(case):
    R, w = case.make(), case.points(4)
    if not R.fourth(w).any():
        assert case.name in ("SquaredNorm", "Quadratic", "TsallisEntropy(3)")
        return
    # Step⁴ times an eighth derivative, which near a boundary is up to 1e6 larger; rounding is 1e-16 / step.
    assert difference_defect(R, w) < 1e-9
    assert symmetry_defect(R.fourth(w)) < 1e-14


@each
def test_numerical_conjugates(case):
    """By implicit differentiation of ∇R* = (∇R)⁻¹."""
    R = case.make()
    mu = R.gradient(case.points(4))
    Q = NumericalConjugate(R)
    if not R.fourth(case.points(4)).any() and not R.third(case.points(4)).any():
        assert not Q.fourth(mu).any()
        return
    # Rounding of w counts as often as the condition number of the metric, here up to 1e3, says.
    assert symmetry_defect(Q.fourth(mu)) < 1e-13
    assert difference_defect(Q, mu) < 1e-7
    if case.plain_conjugate:
        assert relative_defect(Q.fourth(mu), R.conjugate.fourth(mu)) < 1e-12


A3, TALL = np.random.default_rng(0).standard_normal((3, 3)), np.random.default_rng(1).standard_normal((4, 2))
TREES = [
    LogSumExp(3) + 0.1 * NegativeEntropy(3),
    2.5 * BurgEntropy(2),
    LogSumExp(3).compose(A3),
    LogSumExp(3).compose(np.diag([1.0, -2.0, 0.5])),
    (LogSumExp(4) + 0.1 * SquaredNorm(4)).compose(TALL, [0.1, 0.2, -0.3, 0.4]),
    product(NegativeEntropy(1), 3 * BurgEntropy(2)),
    Tilted(NegativeEntropy(2), [1.0, -2.0], 0.5),
]


@pytest.mark.parametrize("R", TREES, ids=[R.name for R in TREES])
def test_the_algebra(R, rng):
    w = rng.uniform(0.5, 2.0, (4, R.dim))
    assert difference_defect(R, w) < 1e-8
    assert symmetry_defect(R.fourth(w)) < 1e-14
    assert R.fourth(w.reshape(2, 2, R.dim)).shape == (2, 2) + (R.dim,) * 4
    assert R.fourth(w[0]).shape == (R.dim,) * 4


# Functions that a user brings.


def entropy(w):
    return anp.sum(w * anp.log(w) - w, axis=-1)


def positive(w):
    return (w > 0).all(axis=-1)


def diagonal(entries, axes):
    out = np.zeros((*entries.shape, *entries.shape[-1:] * (axes - 1)))
    i = np.arange(entries.shape[-1])
    out[(..., *(i,) * axes)] = entries
    return out


def test_automatic(rng):
    R = LegendreFunction(entropy, 2, domain=positive)
    w = rng.uniform(0.2, 3.0, (4, 2))
    np.testing.assert_allclose(R.fourth(w), NegativeEntropy(2).fourth(w), rtol=1e-13)
    np.testing.assert_allclose(R.conjugate.fourth(np.log(w)), diagonal(w, 4), rtol=1e-10, atol=1e-12)


def test_of_a_third_derivative_that_autograd_cannot_see(rng):
    def third(w):
        return diagonal(-1 / np.asarray(w, float) ** 2, 3)

    R = LegendreFunction(entropy, 2, third=third, domain=positive)
    w = rng.uniform(0.2, 3.0, (4, 2))
    np.testing.assert_allclose(R.fourth(w), NegativeEntropy(2).fourth(w), rtol=1e-9, atol=1e-9)


def test_given():
    calls = []

    def fourth(w):
        calls.append(w)
        return diagonal(2 / w**3, 4)

    R = LegendreFunction(entropy, 2, fourth=fourth, domain=positive)
    calls.clear()
    np.testing.assert_allclose(R.fourth([0.5, 2.0])[0, 0, 0, 0], 16.0, rtol=1e-15)
    assert len(calls) == 1


def test_a_wrong_one_is_refused():
    with pytest.raises(DomainError, match="fourth is not the derivative"):
        LegendreFunction(entropy, 2, fourth=lambda w: diagonal(-2 / w**3, 4), domain=positive)
    with pytest.raises(ShapeError, match="fourth"):
        LegendreFunction(entropy, 2, fourth=lambda w: 2 / w**3, domain=positive)


def test_outside_is_an_error():
    with pytest.raises(DomainError, match="dom NegativeEntropy"):
        NegativeEntropy(2).fourth([0.0, 1.0])


def test_lifted_along_a_parametrization():
    """u² - v² started at (u0, v0) has hyperbolic entropy. Lifts know ∇³R to 1e-13; steps are 6e-6."""
    u0, v0 = np.array([1.0, 0.6]), np.array([0.5, 0.8])
    R = legendre_from_parametrization(HadamardDifference(2), np.concatenate([u0, v0]))
    exact, w = HyperbolicEntropy(u0, v0), np.array([[0.9, -0.2], [0.3, 0.4]])
    assert relative_defect(R.fourth(w), exact.fourth(w)) < 1e-8
    mu = exact.gradient(w)
    assert relative_defect(R.conjugate.fourth(mu), exact.conjugate.fourth(mu)) < 1e-8
