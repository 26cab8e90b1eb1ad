"""The numerical conjugate, against closed forms and against its own laws."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
import pytest
from zoo_legendre import CASES, relative_defect

from riemflow.errors import DomainError
from riemflow.legendre import (
    BurgEntropy,
    HyperbolicEntropy,
    LegendreFunction,
    LogBarrier,
    LogPartition,
    LogSumExp,
    NegativeEntropy,
    SimplexEntropy,
    SoftplusSum,
)
from riemflow.legendre.conjugate import NumericalConjugate

each = pytest.mark.parametrize("case", [c for c in CASES if c.plain_conjugate], ids=str)


@each
def test_agrees_with_the_closed_form(case):
    R = case.make()
    mu = R.gradient(case.points(20))
    numerical = NumericalConjugate(R)
    assert np.allclose(numerical(mu), R.conjugate(mu), rtol=1e-12, atol=1e-13)
    assert relative_defect(numerical.gradient(mu), R.conjugate.gradient(mu)) < 1e-12
    assert relative_defect(numerical.hessian(mu), R.conjugate.hessian(mu)) < 1e-11
    third = R.conjugate.third(mu)
    assert np.abs(numerical.third(mu) - third).max() <= 1e-10 * np.abs(third).max() + 1e-12
    v = np.random.default_rng(5).standard_normal(mu.shape)
    along = np.einsum("nijk,nk->nij", third, v)
    assert np.abs(numerical._third_along(mu, v) - along).max() <= 1e-10 * np.abs(along).max() + 1e-12


@each
def test_agrees_for_the_conjugates_themselves(case):
    R = case.make()
    w = case.points(20)
    assert relative_defect(NumericalConjugate(R.conjugate).gradient(w), R.gradient(w)) < 1e-11


@pytest.mark.parametrize(
    ("R", "mu"),
    [
        (NegativeEntropy(2), [-690.0, 300.0]),
        (NegativeEntropy(1).conjugate, [1e-300]),
        (NegativeEntropy(1).conjugate, [1e30]),
        (BurgEntropy(2), [-1e-8, -1e12]),
        (SimplexEntropy(2), [-600.0, -20.0]),
        (LogSumExp(2), [1e-130, 0.3]),
        (LogSumExp(3), [1e-5, 2.8e-27, 1e-9]),
        (HyperbolicEntropy([1e-6], [1e-6]), [6.0]),
        (HyperbolicEntropy([1e-6], [1e-6]).conjugate, [-1e4]),
    ],
    ids=lambda value: repr(value),
)
def test_far_tails(R, mu):
    mu = np.array(mu)
    numerical = NumericalConjugate(R)
    assert numerical.domain.belongs(mu)
    # e^μ magnifies the rounding of μ by |μ|, 700 at most.
    assert np.allclose(numerical.gradient(mu), R.conjugate.gradient(mu), rtol=1e-12, atol=0)


@pytest.mark.parametrize("size", [1e3, 1e6, 1e9])
def test_next_to_a_vertex_of_a_polytope(size):
    # The slacks are some 1/size, and b - A w gives them with an error 1e-16: size² 1e-16 in ∇R.
    case = next(c for c in CASES if c.name == "LogBarrier")
    R = case.make()
    mu = size * np.random.default_rng(0).standard_normal((50, 2))
    w = NumericalConjugate(R).gradient(mu)
    assert np.abs(R.gradient(w) - mu).max() < 1e-14 * size**2


def test_a_batch_is_the_sum_of_its_rows():
    case = next(c for c in CASES if c.name == "LogBarrier")
    R = case.make()
    mu = R.gradient(case.points(12)).reshape(3, 4, 2)
    conjugate = NumericalConjugate(R)
    whole = conjugate.gradient(mu)
    rows = np.array([[conjugate.gradient(one) for one in row] for row in mu])
    assert np.allclose(whole, rows, rtol=1e-13, atol=1e-14)
    assert conjugate.third(mu).shape == (3, 4, 2, 2, 2)


def test_third_derivative_against_differences():
    for name in ("LogBarrier", "SoftplusSum", "LogPartition"):
        case = next(c for c in CASES if c.name == name)
        R = case.make()
        mu, h = 0.5 * (R.gradient(case.points(4)) + R.gradient(R.domain.interior)), 1e-4
        columns = []
        for e in h * np.eye(R.dim):
            near = R.conjugate.hessian(mu + e) - R.conjugate.hessian(mu - e)
            far = R.conjugate.hessian(mu + 2 * e) - R.conjugate.hessian(mu - 2 * e)
            columns.append((8 * near - far) / (12 * h))
        assert relative_defect(R.conjugate.third(mu), np.stack(columns, axis=-1)) < 1e-6


def test_outside_the_range_the_worst_point_is_named():
    conjugate = NumericalConjugate(LogSumExp(2))
    mu = np.array([[0.2, 0.3], [3.0, 4.0], [0.5, 0.5], [0.6, 0.5]])
    assert conjugate.domain.belongs(mu).tolist() == [True, False, False, False]
    with pytest.raises(DomainError, match="outside"):
        conjugate.gradient(mu)
    # The raw method, which flows call, does not check first and names the point with the largest residual.
    with pytest.raises(DomainError, match=r"\[3\., 4\.\] \(3 of 4 points failed\).*range of the gradient"):
        conjugate._gradient(mu)
    with pytest.raises(DomainError):
        conjugate.gradient([np.nan, 0.1])


@pytest.mark.parametrize("mu", [1.0, 0.0, -0.1, 1.5])
def test_the_boundary_of_the_range_is_outside(mu):
    # σ(w) rounds to 1 at w = 37, where the residual is zero though there is no solution.
    assert not NumericalConjugate(SoftplusSum([[1.0]], [0.0])).domain.belongs([mu])


def test_the_middle_of_an_oblique_edge_is_outside():
    # Residual and rounding of μ = 0 both vanish there; only the Hessian, singular to rounding, tells.
    R = LogPartition([[1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]])
    assert NumericalConjugate(R).domain.belongs([[0.0, 0.0], [0.1, 0.1]]).tolist() == [False, True]


def test_raw_belongs_refuses_what_is_not_finite():
    conjugate = NumericalConjugate(NegativeEntropy(1))
    assert conjugate._belongs(np.array([[np.nan], [0.0], [np.inf]])).tolist() == [False, True, False]


def test_warm_start():
    R = LogBarrier(np.vstack([np.eye(2), -np.eye(2)]), np.ones(4))
    conjugate = NumericalConjugate(R)
    w = np.array([[0.9, -0.5], [0.1, 0.99]])
    near, converged = conjugate._solve(R.gradient(w), start=w + 1e-3 * (w < 0.95))
    assert converged.all()
    assert np.allclose(near, w, rtol=1e-13)
    # A start outside the domain is not used.
    again, converged = NumericalConjugate(R)._solve(R.gradient(w), start=np.full(2, 7.0))
    assert converged.all()
    assert np.allclose(again, w, rtol=1e-12)


def test_a_function_of_the_user():
    # w⁴/4 + w²/2, with inverse gradient by Cardano.
    R = LegendreFunction(lambda w: (w**4 / 4 + w**2 / 2).sum(axis=-1), 1)
    mu = np.linspace(-50, 50, 11)[:, None]
    root = np.sqrt(mu**2 / 4 + 1 / 27)
    cardano = np.cbrt(mu / 2 + root) + np.cbrt(mu / 2 - root)
    assert np.allclose(R.conjugate.gradient(mu), cardano, rtol=1e-9, atol=1e-12)
    exact = R.conjugate.gradient(mu)
    assert np.allclose(exact**3 + exact, mu, rtol=1e-13, atol=1e-15)
    assert R.conjugate.conjugate is R


def test_two_thousand_points_at_once_in_few_iterations():
    R = SoftplusSum(np.random.default_rng(0).standard_normal((40, 10)), np.zeros(40))
    w = np.random.default_rng(1).standard_normal((2000, 10))
    calls = []

    class Counting(NumericalConjugate):
        max_iterations = 12

    class Counted(SoftplusSum):
        def _hessian(self, w):
            calls.append(len(w))
            return super()._hessian(w)

    counted = Counted(R.A, R.b)
    assert np.abs(Counting(counted).gradient(R.gradient(w)) - w).max() < 1e-11
    assert len(calls) <= 12


def test_negative_control():
    # Newton on a gradient that is not the value's still solves for that gradient, so values disagree.
    class Wrong(NegativeEntropy):
        def _r1(self, w):
            return 1.001 * np.log(w)

    w = np.array([[0.5, 2.0]])
    mu = NegativeEntropy(2).gradient(w)
    assert relative_defect(NumericalConjugate(Wrong(2)).gradient(mu), w) > 1e-4


class Units(LegendreFunction):
    """w -> c R(w / D): R in other units, with ∇R* = D ∇R*(D μ / c) exactly."""

    def __init__(self, R, c, D):
        self.R, self.c, self.D = R, c, D
        self._define(R.dim, name=R.name, interior=R.domain.interior * D, is_mirror_map=None)

    def _value(self, w):
        return self.c * self.R._value(w / self.D)

    def _gradient(self, w):
        return self.c * self.R._gradient(w / self.D) / self.D

    def _hessian(self, w):
        return self.c * self.R._hessian(w / self.D) / self.D / self.D[:, None]

    def _belongs(self, w):
        return self.R._belongs(w / self.D)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("c", [1e-200, 1e-10, 1e100])
def test_units_do_not_matter(case, c):
    R, w = case.make(), case.points(10)
    mu = R.gradient(w)
    own, converged = NumericalConjugate(R)._solve(mu)
    D = 10.0 ** np.random.default_rng(1).uniform(-20, 20, R.dim)
    found, also = NumericalConjugate(Units(R, c, D))._solve(c * mu / D)
    assert converged.all() and also.all()
    # Both have the accuracy of w given μ, some 10 ε times the condition of ∇²R, below 1e4 here.
    np.testing.assert_allclose(found / D, own, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("c", [1e-30, 1e-10, 1e-6, 1e20])
def test_a_small_factor_and_a_small_weight(c):
    R = LegendreFunction(
        lambda w: c * anp.sum(w * anp.log(w), axis=-1), 1, domain=lambda w: (w > 0).all(axis=-1)
    )
    # μ/c = ln w + 1 = -26.6 is rounded to ε|μ/c|, which is the relative error of w = e^{μ/c - 1}.
    np.testing.assert_allclose(R.conjugate.gradient(R.gradient([1e-12])), [1e-12], rtol=1e-13)


def test_a_tiny_box():
    R = LegendreFunction(
        lambda w: -1e-20 * anp.sum(anp.log(w) + anp.log(1e-10 - w), axis=-1),
        2,
        domain=lambda w: ((w > 0) & (w < 1e-10)).all(axis=-1),
        interior=[5e-11, 5e-11],
    )
    w = np.array([[1e-11, 9e-11], [5e-11, 1e-16]])
    np.testing.assert_allclose(R.conjugate.gradient(R.gradient(w)), w, rtol=1e-12)


def test_a_hessian_that_vanishes_at_the_origin():
    R = LegendreFunction(lambda w: anp.sum(w**4, axis=-1) / 4, 1, interior=[1.0])
    mu = np.array([[1e-200], [1e-30], [-1e-3], [1e30]])
    np.testing.assert_allclose(R.conjugate.gradient(mu), np.cbrt(mu), rtol=1e-14)


@pytest.mark.parametrize("beyond", [0.0, 1e-15, 1e-13, 1e-12, 1e-3])
def test_saturation_does_not_pass_for_a_solution(beyond):
    """The logistic function, < 1, rounds to 1; far out the automatic Hessian is 1 instead of e^{-w}."""
    R = LegendreFunction(lambda w: anp.sum(anp.log1p(anp.exp(w)), axis=-1), 1)
    assert not R.conjugate.domain.belongs([1.0 + beyond])
    w = R.conjugate.gradient([1.0 - 1e-9])
    # 1 - μ = 1e-9 is known to ε/1e-9 = 2e-7.
    np.testing.assert_allclose(w, [np.log(1e9)], atol=1e-6)


@pytest.mark.parametrize("mu", [0.0, 1e-300, 1e-12, -0.5])
def test_rounding_inside_the_gradient_is_allowed_for(mu):
    """e^w - 1 errs by ε at 0, where neither w nor μ nor w times the Hessian is of that size."""
    R = LegendreFunction(lambda w: anp.sum(anp.exp(w) - w, axis=-1), 1, interior=[1.0])
    np.testing.assert_allclose(R.conjugate.gradient([mu]), [np.log1p(mu)], rtol=1e-14, atol=4e-16)


def test_a_constant_that_hides_the_value():
    R = LegendreFunction(lambda w: 1e12 + anp.sum(anp.exp(w), axis=-1), 1)
    np.testing.assert_allclose(R.conjugate.gradient([[1e-5], [1e20]]), np.log([[1e-5], [1e20]]), rtol=1e-14)
