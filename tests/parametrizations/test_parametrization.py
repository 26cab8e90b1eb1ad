"""A user's own parametrization: what is checked, once, at the first point it is given."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
import pytest
from zoo_parametrizations import CASES

import riemflow as rf
from riemflow.commuting import check_regular
from riemflow.errors import DomainError, ShapeError
from riemflow.parametrizations import Parametrization, Quadratic


def own(**options):
    return Parametrization(lambda x: x**2, 2, 2, **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"jacobian": lambda x: x[..., None] * np.eye(2)}, "G: jacobian is not the derivative"),
        ({"hessian": lambda x: np.zeros((*x.shape, 2, 2))}, "G: hessian is not the derivative"),
    ],
)
def test_given_derivatives_are_compared_with_fun(options, words):
    for method in ("__call__", "jacobian", "hessian", "cometric"):
        with pytest.raises(DomainError, match=words):
            getattr(own(**options), method)([1.0, 2.0])


def test_a_wrong_jacobian_is_refused_before_anything_is_integrated():
    wrong = own(jacobian=lambda x: x[..., None] * np.eye(2))
    loss = rf.losses.LeastSquares([[1.0, 2.0]], [1.0])
    with pytest.raises(DomainError, match="jacobian is not the derivative"):
        rf.verify_forward(wrong, loss, [1.0, 2.0], 1.0)
    with pytest.raises(DomainError, match="jacobian is not the derivative"):
        rf.gradient_flow(wrong, loss, [1.0, 2.0], 1.0)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_catalogues_derivatives_pass_as_given_ones(case):
    G, x = case.make(), case.start()

    def rebuilt(factor):
        return Parametrization(
            G._fun,
            G.dim_in,
            G.dim,
            jacobian=lambda x: factor * G._jacobian(x),
            hessian=lambda x: factor * G._hessian(x),
            manifold=G.manifold,
            domain=G._belongs,
        )

    np.testing.assert_array_equal(rebuilt(1.0)(x), G(x))
    with pytest.raises(DomainError, match="is not the derivative"):
        rebuilt(1.001)(x)


def test_on_a_submanifold_a_tangential_jacobian_will_do():
    def tangential(x):
        rows = anp.ones(x.shape)[..., None, :]
        return rows - anp.sum(x, axis=-1)[..., None, None] * x[..., None, :]

    sphere = rf.parametrizations.Spherical(1).manifold
    G = Parametrization(lambda x: anp.sum(x, axis=-1)[..., None], 2, 1, jacobian=tangential, manifold=sphere)
    np.testing.assert_allclose(G.jacobian([0.6, 0.8]), [[1 - 1.4 * 0.6, 1 - 1.4 * 0.8]], atol=1e-15)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Parametrization(lambda x: anp.array([x[0] ** 2, x[1]]), 2, 2), "G: fun returned shape"),
        (lambda: own(domain=lambda x: x[0] > 0), "G: domain returned|G: fun"),
        (lambda: own(domain=lambda x: all(x > 0)), "G: domain raised ValueError"),
        (lambda: own(jacobian=lambda x: 2 * x), "G: jacobian returned shape"),
        (lambda: own(hessian=lambda x: 2 * x), "G: hessian returned shape"),
        (lambda: own(inverse_metric=lambda x: x), "G: inverse_metric returned shape"),
    ],
)
def test_callables_of_the_wrong_shape_are_refused(make, words):
    with pytest.raises(ShapeError, match=words):
        make()([[1.0, 2.0]] * 3)


def test_what_the_caller_writes_into_his_arrays_later_changes_nothing():
    matrices = np.array([np.eye(2)])
    G = Quadratic(matrices)
    matrices[:] = 7.0
    assert G([1.0, 1.0]) == 1.0


def test_no_points_are_refused_where_a_worst_one_is_sought():
    with pytest.raises(ShapeError, match="at least one"):
        check_regular(own(), np.zeros((0, 2)))
    assert own()(np.zeros((0, 2))).shape == (0, 2)


def test_hessian_of_a_jacobian_that_autograd_cannot_see_through():
    """np.einsum under autograd has a derivative of 0; np.asarray(x, float) raises."""
    A = np.array([[1.0, 0.3], [0.3, 2.0]])
    x = np.array([[0.4, -1.2], [2.0, 0.5]])
    for plain in (
        lambda x: 2 * np.einsum("ij,...j->...ij", A, x),
        lambda x: 2 * A * np.asarray(x, dtype=float)[..., None, :],
    ):
        G = Parametrization(lambda x: x**2 @ A.T, 2, 2, jacobian=plain)
        # ∂_a∂_b G_i = 2 A_ia δ_ab.
        wanted = np.broadcast_to([2 * np.diag(row) for row in A], (2, 2, 2, 2))
        np.testing.assert_allclose(G.hessian(x), wanted, atol=1e-8)
