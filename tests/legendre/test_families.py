"""Families of distributions against scipy.stats, sums and quadrature."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import special, stats
from sklearn.datasets import load_iris, load_wine
from zoo_legendre import CASES, relative_defect

import riemflow as rf
from riemflow.errors import DomainError, ShapeError
from riemflow.legendre.discrete_families import BoseEinstein
from riemflow.legendre.distribution import DistributionFamily

FAMILIES: list[Any] = [case for case in CASES if isinstance(case.make(), DistributionFamily)]
each = pytest.mark.parametrize("case", FAMILIES, ids=str)


def test_all_families_are_tested():
    assert {type(case.make()).__name__ for case in FAMILIES} == {
        *(
            "Normal",
            "MultivariateNormal",
            "CenteredNormal",
            "Exponential",
            "Gamma",
            "Beta",
            "Dirichlet",
            "Poisson",
            "Bernoulli",
        ),
        *("Binomial", "Categorical", "Multinomial", "Geometric", "NegativeBinomial"),
    }


def scipy_log_prob(frozen, x):
    if isinstance(frozen, type(stats.dirichlet([1.0, 1.0]))):
        return frozen.logpdf(x.T)
    return frozen.logpmf(x) if hasattr(frozen, "logpmf") and not hasattr(frozen, "pdf") else frozen.logpdf(x)


@each
def test_log_prob_is_that_of_scipy(case):
    R = case.make()
    for theta in case.points(5):
        frozen = R.to_scipy(theta)
        x = R.sample(theta, 20, rng=1)
        expected = frozen.logpmf(x) if hasattr(frozen, "logpmf") else scipy_log_prob(frozen, x)
        # Sums of a few terms of these sizes, and lnΓ of counts and parameters, each to rounding.
        size = 1 + np.abs(R.statistics(x) * theta).sum(axis=-1) + np.abs(R(theta)) + np.abs(expected)
        assert (np.abs(R.log_prob(x, theta) - expected) <= 2e-14 * size).all()


def test_batches_of_samples_and_members_are_broadcast():
    x, theta = np.array([0.5, 1.0, 4.0]), np.array([[1.0, -2.0], [3.0, -1.0]])
    expected = [[stats.gamma(a, scale=-1 / b).logpdf(one) for a, b in theta] for one in x]
    np.testing.assert_allclose(rf.legendre.Gamma().log_prob(x[:, None], theta), expected, rtol=1e-13)
    with pytest.raises(ShapeError, match=r"shape \(3,\) of x and \(2,\) of theta do not broadcast"):
        rf.legendre.Gamma().log_prob(x, theta)


def test_a_label_is_no_count():
    with pytest.raises(ShapeError, match=r"has shape \(3,\), the last axes: 3 whole numbers ≥ 0 of sum 1"):
        rf.legendre.Categorical(3).fit([0, 2, 1, 1])


@each
def test_another_member_has_another_log_prob(case):
    R = case.make()
    one, other = case.points(2)
    x = R.sample(one, 20, rng=1)
    if x.std(axis=0).max() > 0:
        assert np.abs(R.log_prob(x, one) - R.log_prob(x, other)).max() > 1e-3


@each
def test_to_scipy_and_back(case):
    R = case.make()
    for theta in case.points(5):
        assert relative_defect(R.from_scipy(R.to_scipy(theta))[None], theta[None]) < 1e-13


@each
def test_gradient_and_hessian_are_moments_of_the_statistics(case):
    """∇R = E T and ∇²R = Cov T: 4 standard errors of 40 000 samples of scipy's, and no less than 1e-3 off."""
    R, n = case.make(), 40_000
    theta = case.points(1)[0]
    T = R.statistics(R.sample(theta, n, rng=2))
    spread = np.sqrt(np.diagonal(R.hessian(theta)))
    assert (np.abs(T.mean(axis=0) - R.gradient(theta)) <= 4 * spread / np.sqrt(n)).all()
    centred = (T - R.gradient(theta)) / spread
    products = centred[:, :, None] * centred[:, None, :]
    expected = R.hessian(theta) / spread[:, None] / spread
    assert (np.abs(products.mean(axis=0) - expected) <= 4.5 * products.std(axis=0) / np.sqrt(n)).all()


@pytest.mark.parametrize("name", ["Poisson", "Binomial", "Bernoulli", "Geometric", "NegativeBinomial"])
def test_probabilities_of_counts_sum_to_one_with_the_right_mean(name):
    case = next(c for c in FAMILIES if c.name == name)
    R = case.make()
    last = {"Binomial": 7, "Bernoulli": 1}.get(name, 2000)
    x = np.arange(1 if name == "Geometric" else 0, last + 1.0)
    for theta in case.points(4):
        p = np.exp(R.log_prob(x, theta))
        assert np.isclose(p.sum(), 1.0, rtol=1e-13)
        assert np.isclose(p @ x, R.gradient(theta)[0], rtol=1e-12)


def test_batches_of_members():
    theta = np.array([[1.0, -2.0], [0.3, -0.5], [4.0, -1.0]])
    for R in (rf.legendre.Normal(), rf.legendre.Gamma()):
        frozen = R.to_scipy(theta)
        x = R.sample(theta, 5, rng=0)
        assert x.shape == (3, 5)
        np.testing.assert_allclose(R.log_prob(x, theta[:, None]), frozen.logpdf(x.T).T, rtol=1e-12)
        np.testing.assert_allclose(R.from_scipy(frozen), theta, rtol=1e-14)
        assert R.fit(R.sample(theta, 50, rng=0)).shape == (3, 2)
    D = rf.legendre.Dirichlet(3)
    assert D.sample(np.ones((2, 3)), 4, rng=0).shape == (2, 4, 3)
    with pytest.raises(ShapeError, match="one Dirichlet a time"):
        D.to_scipy(np.ones((2, 3)))


def test_positional_arguments_of_scipy():
    Gamma = rf.legendre.Gamma()
    np.testing.assert_allclose(Gamma.from_scipy(stats.gamma(2.0, 0.0, 4.0)), [2.0, -0.25])
    np.testing.assert_allclose(Gamma.from_scipy(stats.gamma(2.0, scale=4.0)), [2.0, -0.25])
    np.testing.assert_allclose(rf.legendre.Normal().from_scipy(stats.norm()), [0.0, -0.5])


@pytest.mark.parametrize(
    ("make", "frozen", "message"),
    [
        (lambda L: L.Gamma(), stats.gamma(2.0, loc=1.0), "loc = 1.0"),
        (lambda L: L.Gamma(), stats.norm(), "norm is no Gamma: pass a frozen gamma"),
        (lambda L: L.Beta(), stats.beta(1.0, 2.0, scale=2.0), "scale = 2.0"),
        (lambda L: L.Binomial(3), stats.binom(4, 0.5), "n = 4, but Binomial has n = 3"),
        (lambda L: L.Binomial(3), stats.binom(3, 0.0), "finite"),
        (lambda L: L.Dirichlet(3), stats.multivariate_normal([0.0]), "pass a frozen dirichlet_frozen"),
        (lambda L: L.Dirichlet(3), 1.0, "float is no Dirichlet"),
        (lambda L: L.CenteredNormal(2), stats.multivariate_normal([1.0, 0.0]), "mean"),
    ],
)
def test_what_is_no_member_is_refused(make, frozen, message):
    with pytest.raises(DomainError, match=message):
        make(rf.legendre).from_scipy(frozen)


def test_wrong_samples_are_refused():
    L = rf.legendre
    for R, x, message in (
        (L.Gamma(), [1.0, 0.0], "x > 0"),
        (L.Beta(), 1.0, "0 < x < 1"),
        (L.Poisson(), 0.5, "whole numbers"),
        (L.Binomial(3), 4, "0 ≤ x ≤ 3"),
        (L.Geometric(), 0, "x ≥ 1"),
        (L.Dirichlet(2), [0.5, 0.4], "sum 1"),
        (L.Multinomial(3, 2), [1, 1], "of sum 3"),
    ):
        with pytest.raises(DomainError, match=message):
            R.statistics(x)
        with pytest.raises(DomainError, match=message):
            R.log_prob(x, R.domain.interior)
    with pytest.raises(ShapeError, match="sample of Dirichlet has shape"):
        L.Dirichlet(3).statistics([0.5, 0.5])
    with pytest.raises(ShapeError, match="must be samples"):
        L.Gamma().fit(3.0)
    with pytest.raises(ShapeError, match="must be samples"):
        L.Gamma().fit(np.ones((2, 0)))
    for R, data in ((L.Gamma(), [2.0, 2.0]), (L.Bernoulli(), [0, 0, 0]), (L.Normal(), [1.0])):
        with pytest.raises(DomainError, match="most likely"):
            R.fit(data)
    with pytest.raises(ShapeError, match="cov"):
        L.CenteredNormal(3).from_scipy(stats.multivariate_normal([0.0, 0.0]))
    with pytest.raises(ShapeError, match="outcomes"):
        L.Categorical(3).from_scipy(stats.multinomial(1, [0.5, 0.5]))
    with pytest.raises(ShapeError, match="one distribution"):
        L.Gamma().negative_log_likelihood(np.ones((2, 3)))


def test_most_likely_members_of_real_data():
    L = rf.legendre
    petals, wine = load_iris().data[:, 2], load_wine().data
    # scipy.stats' own formulas are exact for the normal and the exponential family.
    np.testing.assert_allclose(
        L.Normal().fit(petals), L.Normal().from_scipy(stats.norm(*stats.norm.fit(petals)))
    )
    np.testing.assert_allclose(L.Exponential().fit(petals), [-1 / petals.mean()], rtol=1e-14)
    a, _, scale = stats.gamma.fit(petals, floc=0)
    # It finds a root by Brent's method to xtol 2e-12 relative to a.
    np.testing.assert_allclose(L.Gamma().fit(petals), [a, -1 / scale], rtol=1e-9)
    share = wine[:, 10] / (wine[:, 10] + wine[:, 11])
    a, b, _, _ = stats.beta.fit(share, floc=0, fscale=1)
    np.testing.assert_allclose(L.Beta().fit(share), [a, b], rtol=1e-7)
    x = wine[:, :3] - wine[:, :3].mean(axis=0)
    np.testing.assert_allclose(
        L.CenteredNormal(3).fit(x), -0.5 * np.linalg.inv(x.T @ x / len(x))[np.triu_indices(3)], rtol=1e-10
    )
    mean, cov = stats.multivariate_normal.fit(wine[:, :3])
    expected = L.MultivariateNormal(3).from_scipy(stats.multivariate_normal(mean, cov))
    np.testing.assert_allclose(L.MultivariateNormal(3).fit(wine[:, :3]), expected, rtol=1e-10)
    p = np.bincount(load_wine().target) / len(wine)
    np.testing.assert_allclose(L.Categorical(3).fit(np.eye(3)[load_wine().target]), np.log(p[:2] / p[2]))


def test_the_normal_fit_keeps_its_digits_far_from_zero():
    x = 1e7 + np.array([-1.0, 0.0, 1.0, 2.0])
    theta = rf.legendre.Normal().fit(x)
    np.testing.assert_allclose(theta, [(1e7 + 0.5) / 1.25, -0.5 / 1.25], rtol=1e-14)


def test_multivariate_normal_of_length_one_is_the_normal_family(rng):
    L = rf.legendre
    theta = np.stack([rng.uniform(-2, 2, 5), -rng.uniform(0.2, 3, 5)], axis=1)
    one, other = L.MultivariateNormal(1), L.Normal()
    for order in ("__call__", "gradient", "hessian", "third", "fourth"):
        assert relative_defect(getattr(one, order)(theta), getattr(other, order)(theta)) < 1e-13
    assert (
        relative_defect(
            one.conjugate.fourth(one.gradient(theta)), other.conjugate.fourth(one.gradient(theta))
        )
        < 1e-9
    )


def test_multivariate_normal_has_fishers_metric(rng):
    """dmᵀΣ^{-1}dm + ½ tr (Σ^{-1}dΣ)² along a curve of members, by differences of the natural parameters."""
    R = rf.legendre.MultivariateNormal(3)
    factor, m, dm, dS = rng.standard_normal((3, 3)), *rng.standard_normal((2, 3)), rng.standard_normal((3, 3))
    S, dS = factor @ factor.T + 0.5 * np.eye(3), dS + dS.T

    def theta(s):
        return R.from_scipy(stats.multivariate_normal(m + s * dm, S + s * dS))

    h = 1e-3
    v = (8 * (theta(h) - theta(-h)) - theta(2 * h) + theta(-2 * h)) / (12 * h)
    inverse = np.linalg.inv(S)
    expected = dm @ inverse @ dm + 0.5 * np.trace(inverse @ dS @ inverse @ dS)
    # Differences of fourth order in h / least eigenvalue of S.
    assert np.isclose(v @ R.hessian(theta(0.0)) @ v, expected, rtol=1e-8)


def test_the_most_likely_dirichlet_solves_minkas_equation():
    """ψ(a_i) - ψ(Σ a) = mean ln x_i, by Minka's fixed point, which inverts ψ one coordinate at a time."""
    x = load_iris().data / load_iris().data.sum(axis=1, keepdims=True)
    mean = np.log(x).mean(axis=0)
    a = np.ones(4)
    for _ in range(200_000):
        y = special.digamma(a.sum()) + mean
        new = np.where(y >= -2.22, np.exp(y) + 0.5, -1 / (y - special.digamma(1)))
        for _ in range(6):
            new = new - (special.digamma(new) - y) / special.polygamma(1, new)
        if np.abs(new / a - 1).max() < 1e-14:
            break
        a = new
    np.testing.assert_allclose(rf.legendre.Dirichlet(4).fit(x), a, rtol=1e-8)


@each
def test_loss_is_minus_the_mean_log_likelihood(case):
    R = case.make()
    one, *others = case.points(4)
    data = R.sample(one, 30, rng=3)
    loss = R.negative_log_likelihood(data)
    for theta in others:
        assert np.isclose(loss(theta), -R.log_prob(data, theta).mean(), rtol=1e-12, atol=1e-13)
        h = 1e-5 * np.abs(theta).max() * np.eye(R.dim)
        slope = [(loss(theta + e) - loss(theta - e)) / (2 * e.max()) for e in h]
        np.testing.assert_allclose(loss.gradient(theta), slope, rtol=1e-6, atol=1e-7)
        np.testing.assert_array_equal(loss.hessian(theta), R.hessian(theta))
    for outside in case.outside:
        with pytest.raises(DomainError):
            loss(outside)


GAMMA_DATA = load_wine().data[:, 9]  # colour intensity, skewed
DIRICHLET_DATA = load_iris().data / load_iris().data.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("R", "data", "start"),
    [
        (rf.legendre.Gamma(), GAMMA_DATA, [1.0, -1.0]),
        (rf.legendre.Dirichlet(4), DIRICHLET_DATA, [1.0, 2.0, 1.0, 0.5]),
    ],
    ids=["Gamma, wine", "Dirichlet, iris"],
)
def test_natural_gradient_flow_relaxes_exponentially_in_expectation_parameters(R, data, start):
    """η' = -(η - η̄) whatever the family, so that η(t) = η̄ + e^{-t}(η(0) - η̄)."""
    t = np.linspace(0.0, 6.0, 13)
    flow = rf.mirror_flow(R, R.negative_log_likelihood(data), start, t)
    eta, eta0 = np.log(data).mean(axis=0), R.gradient(start)
    eta_bar = np.array([eta, data.mean()]) if R.dim == 2 else eta
    expected = eta_bar + np.exp(-t)[:, None] * (eta0 - eta_bar)
    np.testing.assert_allclose(R.gradient(flow.w), expected, rtol=0, atol=1e-6 * np.abs(eta0 - eta_bar).max())
    # Gradient flow in θ, which is not natural, bends off the line.
    plain = rf.mirror_flow(rf.legendre.SquaredNorm(R.dim), R.negative_log_likelihood(data), start, [0.0, 0.1])
    moved, towards = R.gradient(plain.w[-1]) - eta0, eta_bar - eta0
    assert moved @ towards < 0.99 * np.linalg.norm(moved) * np.linalg.norm(towards)


def test_natural_gradient_flow_ends_at_scipys_fit():
    R = rf.legendre.Gamma()
    flow = rf.mirror_flow(R, R.negative_log_likelihood(GAMMA_DATA), [1.0, -1.0], np.inf)
    a, _, scale = stats.gamma.fit(GAMMA_DATA, floc=0)
    np.testing.assert_allclose(flow.w[-1], [a, -1 / scale], rtol=1e-6)


@pytest.mark.parametrize("name", ["Gamma", "Dirichlet", "Normal", "Poisson", "Categorical", "CenteredNormal"])
def test_natural_gradient_descent_with_step_one_is_there_at_once(name):
    case = next(c for c in FAMILIES if c.name == name)
    R, (start, truth) = case.make(), case.points(2)
    data = R.sample(truth, 60, rng=5)
    loss = R.negative_log_likelihood(data)
    one = rf.mirror_descent(R, loss, start, step_size=1.0, n_steps=1).w[-1]
    np.testing.assert_allclose(one, R.fit(data), rtol=1e-9, atol=1e-12)
    assert np.abs(loss.gradient(one)).max() < 1e-10
    # A shorter step is not.
    half = rf.mirror_descent(R, loss, start, step_size=0.5, n_steps=1).w[-1]
    assert np.abs(loss.gradient(half)).max() > 1e-3


def test_bose_einstein_flat_coordinate_and_its_dual():
    R = BoseEinstein(1)
    w = np.array([[1e-8], [0.3], [2.0], [1e6]])
    for Q, points in ((R, w), (R.conjugate, R.gradient(w))):
        h = 1e-4 * np.abs(points)
        slope = (8 * (Q._flat(points + h) - Q._flat(points - h)) - Q._flat(points + 2 * h)) / (12 * h)
        slope += Q._flat(points - 2 * h) / (12 * h)
        np.testing.assert_allclose(slope**2, Q._r2(points), rtol=1e-8)
        np.testing.assert_allclose(Q._flat_inverse(Q._flat(points)), points, rtol=1e-9)
        third = (Q._r3(points + h) - Q._r3(points - h)) / (2 * h)
        np.testing.assert_allclose(third, Q._r4(points), rtol=1e-6)
    # Γ-function-free check of the values: R + R* = θ w at θ = R'(w).
    theta = R.gradient(w)
    np.testing.assert_allclose(R(w) + R.conjugate(theta), (w * theta).sum(axis=-1), rtol=1e-9, atol=1e-12)


def test_log_densities_keep_their_digits_far_out():
    """θ·T - R cancels there: scipy.stats, and a product of normals, know better."""
    theta = np.array([1e150, -1e150])
    assert rf.legendre.Normal().log_prob(0.5, theta) == pytest.approx(0.5 * np.log(1e150 / np.pi), rel=1e-14)
    shifted = rf.legendre.Normal().from_scipy(stats.norm(1e6, 1e-3))
    x = 1e6 + 1e-3 * np.array([-1.0, 0.0, 2.0])
    np.testing.assert_allclose(
        rf.legendre.Normal().log_prob(x, shifted), stats.norm(1e6, 1e-3).logpdf(x), rtol=1e-6
    )
    family = rf.legendre.MultivariateNormal(2)
    far = family.from_scipy(stats.multivariate_normal([1e6, -1e6], 1e-4 * np.eye(2)))
    at = np.array([1e6 + 0.01, -1e6])
    each = [stats.norm(m, 1e-2).logpdf(v) for m, v in zip((1e6, -1e6), at, strict=True)]
    assert family.log_prob(at, far) == pytest.approx(sum(each), rel=1e-6)
    # In the limit of large b, b x is a Gamma variable of shape a.
    expected = stats.gamma(0.5, scale=1e-15).logpdf(2e-15)
    assert rf.legendre.Beta().log_prob(2e-15, [0.5, 1e15]) == pytest.approx(expected, rel=1e-6)


def test_what_scipy_cannot_draw_is_an_error():
    with pytest.raises(DomainError, match="draws no samples of Poisson at theta"):
        rf.legendre.Poisson().sample([60.0], 3, rng=0)
