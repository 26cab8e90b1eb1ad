"""A user's own Legendre function: derivatives, domain, errors."""

import autograd.numpy as anp
import numpy as np
import pytest

from riemflow.errors import DomainError, ShapeError
from riemflow.legendre import LegendreFunction


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


def test_given_derivatives_are_used_and_the_missing_ones_follow_from_them():
    R = LegendreFunction(
        lambda w: np.sum(np.exp(np.asarray(w)), -1), 2, gradient=lambda w: anp.exp(w)
    )  # value alone is opaque to autograd
    np.testing.assert_allclose(R.hessian([0.0, 1.0]), np.diag(np.exp([0.0, 1.0])), rtol=1e-15)
    np.testing.assert_allclose(R.third([0.0, 1.0])[1, 1, 1], np.e, rtol=1e-15)


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
