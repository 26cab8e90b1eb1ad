"""A user's own Legendre function: derivatives, domain, errors."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd.scipy.special import gammaln, polygamma
from scipy import special

from riemflow.errors import DomainError, ShapeError
from riemflow.legendre import BurgEntropy, LegendreFunction, NegativeEntropy, Quadratic, SquaredNorm


def entropy(w):
    return anp.sum(w * anp.log(w) - w, axis=-1)


def positive(w):
    return (w > 0).all(axis=-1)


@pytest.fixture
def own():
    return LegendreFunction(entropy, 3, domain=positive, name="own entropy")


def test_automatic_derivatives_against_the_known_ones(own):
    w = np.random.default_rng(0).uniform(0.1, 3.0, (5, 2, 3))
    np.testing.assert_allclose(own(w), (w * np.log(w) - w).sum(-1), rtol=1e-14)
    np.testing.assert_allclose(own.gradient(w), np.log(w), atol=1e-14)
    np.testing.assert_allclose(own.hessian(w), np.eye(3) / w[..., None], rtol=1e-14)
    diagonal = np.einsum("...iii->...i", own.third(w))
    np.testing.assert_allclose(diagonal, -1 / w**2, rtol=1e-13)
    assert own.third(w).shape == (5, 2, 3, 3, 3)
    v = np.random.default_rng(1).standard_normal(w.shape)
    np.testing.assert_allclose(own._third_along(w, v), -np.eye(3) * (v / w**2)[..., None], rtol=1e-13)


def test_given_derivatives_are_used_and_the_missing_ones_follow_from_them():
    R = LegendreFunction(
        lambda w: np.sum(np.exp(np.asarray(w)), -1), 2, gradient=lambda w: anp.exp(w)
    )  # value alone is opaque to autograd
    np.testing.assert_allclose(R.hessian([0.0, 1.0]), np.diag(np.exp([0.0, 1.0])), rtol=1e-15)
    np.testing.assert_allclose(R.third([0.0, 1.0])[1, 1, 1], np.e, rtol=1e-15)
    w, v = np.array([0.0, 1.0]), np.array([2.0, 3.0])
    np.testing.assert_allclose(R._third_along(w, v), np.diag([2.0, 3.0 * np.e]), rtol=1e-15)


def test_third_derivatives_of_a_given_hessian_that_autograd_cannot_see():
    def hessian(w):
        return np.exp(np.asarray(w, float))[..., None] * np.eye(2)

    R = LegendreFunction(lambda w: anp.sum(anp.exp(w), -1), 2, hessian=hessian)
    w, v = np.array([0.0, 1.0]), np.array([2.0, 3.0])
    np.testing.assert_allclose(R.third(w)[1, 1, 1], np.e, rtol=1e-9)
    np.testing.assert_allclose(R._third_along(w, v), np.diag([2.0, 3.0 * np.e]), rtol=1e-9)


def test_the_numerical_conjugate_inverts_the_gradient(own):
    w = np.random.default_rng(1).uniform(0.05, 5.0, (20, 3))
    mu = own.gradient(w)
    np.testing.assert_allclose(own.conjugate.gradient(mu), w, rtol=1e-11)
    np.testing.assert_allclose(own.conjugate(mu), np.exp(mu).sum(-1), rtol=1e-11)
    assert own.conjugate.conjugate is own


def test_bregman_divergence_is_the_relative_entropy_and_positive(own):
    w, w0 = np.random.default_rng(2).uniform(0.1, 2.0, (2, 50, 3))
    kl = (w * np.log(w / w0) - w + w0).sum(-1)
    np.testing.assert_allclose(own.bregman_divergence(w, w0), kl, rtol=1e-11, atol=1e-13)
    assert (kl > 0).all()


@pytest.mark.parametrize("w", [[0.0, 1.0, 1.0], [-1e-300, 1.0, 1.0], [[1.0, 1.0, 1.0], [1.0, -2.0, 1.0]]])
def test_points_on_or_outside_the_boundary_are_refused(own, w):
    for method in (own, own.gradient, own.hessian, own.third):
        with pytest.raises(DomainError, match="on or outside the boundary of dom own entropy"):
            method(w)
    assert not own.domain.belongs(w).all()


def test_a_value_that_is_not_vectorised_is_refused():
    with pytest.raises(ShapeError, match=r"\[\.\.\., d\] -> \[\.\.\.\]"):
        LegendreFunction(lambda w: anp.sum(w**2), 2)


def test_a_function_that_is_not_convex_is_refused_with_its_eigenvalue():
    with pytest.raises(DomainError, match=r"not strictly convex.*smallest eigenvalue of its Hessian is -2"):
        LegendreFunction(lambda w: w[..., 0] ** 2 - w[..., 1] ** 2, 2)


def test_a_domain_without_a_known_point_asks_for_one():
    with pytest.raises(DomainError, match="pass interior="):
        LegendreFunction(entropy, 2, domain=lambda w: (w > 1e3).all(axis=-1))
    with pytest.raises(DomainError, match="interior"):
        LegendreFunction(entropy, 2, domain=positive, interior=[-1.0, 1.0])
    assert LegendreFunction(entropy, 2, domain=positive, interior=[2e3, 2e3])([2e3, 2e3]) > 0


def test_a_value_that_is_not_finite_at_the_interior_point_is_refused():
    with pytest.raises(DomainError, match="pass domain="):
        LegendreFunction(lambda w: anp.sum(1 / w**2, axis=-1), 2)


def square(w):
    return anp.sum(w**2, axis=-1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gradient": lambda w: w}, "R: gradient is not the derivative.*relative deviation of 0.5"),
        (
            {"hessian": lambda w: np.broadcast_to(np.eye(2), (*w.shape, 2))},
            "R: hessian is not the derivative",
        ),
        ({"third": lambda w: np.ones((*w.shape, 2, 2))}, "R: third is not the derivative"),
        ({"conjugate": SquaredNorm(2)}, "SquaredNorm is not the conjugate of R"),
    ],
)
def test_given_derivatives_and_conjugate_are_compared_with_the_value(options, words):
    with pytest.raises(DomainError, match=words):
        LegendreFunction(square, 2, **options)


def test_right_ones_pass():
    R = LegendreFunction(
        square,
        2,
        gradient=lambda w: 2 * w,
        hessian=lambda w: np.broadcast_to(2 * np.eye(2), (*w.shape, 2)),
        third=lambda w: np.zeros((*w.shape, 2, 2)),
        conjugate=Quadratic(np.eye(2) / 2),
    )
    assert R.conjugate.gradient([3.0, 1.0]).tolist() == [1.5, 0.5]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gradient": lambda w: 2 * w[..., 0]}, "R: gradient returned shape"),
        ({"third": lambda w: np.zeros(w.shape)}, "R: third returned shape"),
        ({"conjugate": SquaredNorm(3)}, "dimension 3, but R has 2"),
        ({"domain": lambda w: w[0] > 0}, "R: domain returned shape"),
        ({"domain": lambda w: w > 0}, "R: domain returned shape"),
        ({"domain": lambda w: all(w > 0)}, "R: domain raised ValueError"),
    ],
)
def test_callables_of_the_wrong_shape_are_refused(options, words):
    with pytest.raises(ShapeError, match=words):
        LegendreFunction(square, 2, **options)


def test_a_conjugate_made_on_demand_is_checked_on_demand():
    with pytest.raises(ShapeError, match="dimension 3"):
        _ = LegendreFunction(square, 2, conjugate=lambda: SquaredNorm(3)).conjugate


def test_an_axis_summed_by_mistake_shows_even_where_d_is_the_length_of_a_batch():
    with pytest.raises(ShapeError, match="value returned shape"):
        LegendreFunction(lambda w: anp.sum(w**2, axis=0), 2)


def test_a_value_that_autograd_cannot_differentiate_asks_for_its_derivative():
    from scipy.special import xlogy

    with pytest.raises(ShapeError, match=r"gradient raised TypeError.*autodiff\.anp"):
        LegendreFunction(lambda w: xlogy(w, w).sum(axis=-1), 2, domain=positive)


@pytest.mark.parametrize("coupling", [0.5, 1.01])
def test_convexity_does_not_depend_on_units(coupling):
    """½(Dw)ᵀA(Dw), A of ones with c > 0 off the diagonal: positive exactly for c < 1, whatever D is."""
    D = np.array([1e-10, 1.0, 1e10])
    A = (1 - coupling) * np.eye(3) + coupling
    hessian = D[:, None] * A * D

    def value(w):
        return 0.5 * anp.sum(w * anp.dot(w, hessian), axis=-1)

    if coupling < 1:
        LegendreFunction(value, 3)
        return
    with pytest.raises(DomainError, match="not strictly convex"):
        LegendreFunction(value, 3)


def test_what_the_caller_writes_into_his_arrays_later_changes_nothing():
    A, b, point = np.eye(2), np.ones(2), np.ones(2)
    R = NegativeEntropy(2).compose(A, b)
    own = LegendreFunction(entropy, 2, domain=positive, interior=point)
    before = R.gradient([1.0, 2.0])
    A[:], b[:], point[:] = 7.0, 7.0, -1.0
    np.testing.assert_array_equal(R.gradient([1.0, 2.0]), before)
    assert own.domain.belongs(own.domain.interior)


@pytest.mark.parametrize(
    ("R", "w", "w0", "exact"),
    [
        # D = δ² / 2w0 (1 - δ/3w0 + …), δ = w - w0 taken in floating point.
        (NegativeEntropy(2), [1e8 + 1e-3, 1.0], [1e8, 1.0], ((1e8 + 1e-3) - 1e8) ** 2 / 2e8),
        # D = t - ln(1 + t) for t = w/w0 - 1.
        (BurgEntropy(1), [1.0 + 1e-9], [1.0], ((1.0 + 1e-9) - 1.0) ** 2 / 2),
        (NegativeEntropy(1), [1e-300], [1e-300], 0.0),
        (NegativeEntropy(1), [3.0], [1.0], 3 * np.log(3) - 2),
    ],
)
def test_bregman_divergence_of_close_points_keeps_its_digits(R, w, w0, exact):
    # The terms left out of the series are δ/w0 = 1e-9 relative.
    np.testing.assert_allclose(R.bregman_divergence(w, w0), exact, rtol=1e-8)


def test_bregman_divergence_is_never_negative_and_broadcasts():
    w0 = np.array([1e8, 1.0, 1e-8])
    w = w0 * (
        1 + np.random.default_rng(3).uniform(-1, 1, (200, 1)) * 10.0 ** -np.arange(0, 20.0, 0.1)[:, None]
    )
    D = NegativeEntropy(3).bregman_divergence(w, w0)
    assert D.shape == (200,) and (D >= 0).all()
    # D = Σ w0 ((1 + t) ln(1 + t) - t), t the relative deviation as rounded.
    t = (w - w0) / w0
    series = sum((-1.0) ** k * t**k / (k * (k - 1)) for k in range(2, 12))
    near = np.abs(t).max(axis=-1) < 0.01
    np.testing.assert_allclose(D[near], (w0 * series).sum(-1)[near], rtol=1e-6)


def test_third_derivatives_of_functions_without_a_forward_sweep():
    """ψ'' of the trigamma's derivative; autograd knows no forward derivative of gammaln and polygamma."""

    def value(w):
        return anp.sum(gammaln(w), axis=-1)

    def hessian(w):
        return polygamma(1, w)[..., None] * np.eye(2)

    w, v = np.array([[0.7, 2.0], [1.5, 3.0]]), np.array([[1.0, -2.0], [0.5, 0.3]])
    expected = (special.polygamma(2, w) * v)[..., None] * np.eye(2)
    for options in ({}, {"hessian": hessian}):
        R = LegendreFunction(value, 2, domain=positive, **options)
        np.testing.assert_allclose(R._third_along(w, v), expected, rtol=1e-12, atol=1e-14)
