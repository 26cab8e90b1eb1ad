"""Losses: their formulas written plainly, their derivatives against autograd, their limits and errors."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
import pytest

from riemflow import autodiff, losses
from riemflow.errors import DomainError, ShapeError

RNG = np.random.default_rng(5)
Z = RNG.standard_normal((4, 3))
Y = RNG.standard_normal(4)
LABELS = np.array([1.0, -1.0, -1.0, 1.0])
C = np.array([0.3, -2.0, 1.0])

# (loss, the formula for autograd)
CASES = {
    "least squares": (
        losses.LeastSquares(Z, Y),
        lambda w: anp.sum((anp.dot(w, Z.T) - Y) ** 2, axis=-1) / 8,
    ),
    "logistic": (
        losses.Logistic(Z, LABELS),
        lambda w: anp.mean(anp.log(1 + anp.exp(-LABELS * anp.dot(w, Z.T))), axis=-1),
    ),
    "linear": (losses.Linear(C), lambda w: anp.dot(w, C) + 0.0 * anp.sum(w**2, axis=-1)),
    "callable": (
        losses.Loss(lambda w: anp.sum(anp.sin(w) ** 4, axis=-1), 3),
        lambda w: anp.sum(anp.sin(w) ** 4, axis=-1),
    ),
    "callable with its gradient": (
        losses.Loss(
            lambda w: np.sum(w**4, axis=-1), 3, gradient=lambda w: 4 * w**3
        ),
        lambda w: anp.sum(w**4, axis=-1),
    ),
}  # fmt: skip


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


@pytest.mark.parametrize("batch", [(), (1,), (2, 5)])
def test_values_and_derivatives_are_those_of_the_formula(case, batch, rng):
    loss, plain = case
    w = rng.standard_normal((*batch, 3))
    for mine, oracle, shape in [
        (loss(w), plain(w), batch),
        (loss.gradient(w), autodiff.gradient(plain)(w), (*batch, 3)),
        (loss.hessian(w), autodiff.hessian(plain)(w), (*batch, 3, 3)),
    ]:
        assert np.shape(mine) == shape
        np.testing.assert_allclose(mine, oracle, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", ["least squares", "logistic"])
def test_outer_parts_compose_to_the_loss(name, rng):
    loss, _ = CASES[name]
    w = rng.standard_normal((6, 3))
    s = w @ Z.T
    np.testing.assert_allclose(loss._outer_value(s), loss(w), rtol=1e-14)
    np.testing.assert_allclose(loss._outer_gradient(s) @ Z, loss.gradient(w), rtol=1e-14)
    np.testing.assert_allclose(Z.T @ loss._outer_hessian(s) @ Z, loss.hessian(w), atol=1e-15)


def test_least_squares_is_half_the_mean_square():
    assert losses.LeastSquares([[1.0, 0.0], [0.0, 2.0]], [1.0, 0.0])([3.0, 1.0]) == (4.0 + 4.0) / 4


def test_logistic_is_stable_far_out():
    """ln(1 + e^{-m}) is e^{-m} for a large margin m, and -m for a large negative one."""
    loss = losses.Logistic([[1.0]], [1.0])
    w = np.array([[700.0], [-700.0], [5000.0], [-5000.0]])
    np.testing.assert_allclose(loss(w), [np.exp(-700.0), 700.0, 0.0, 5000.0], rtol=1e-13)
    np.testing.assert_allclose(loss.gradient(w)[:, 0], [-np.exp(-700.0), -1.0, 0.0, -1.0], rtol=1e-13)
    np.testing.assert_allclose(
        loss.hessian(w)[:, 0, 0], [np.exp(-700.0), np.exp(-700.0), 0.0, 0.0], rtol=1e-13
    )


def test_piecewise_switches_at_its_breakpoints():
    pieces = [losses.Linear([float(k)]) for k in range(3)]
    loss = losses.Piecewise([1.0, 2.5], pieces)
    assert [pieces.index(loss.at(t)) for t in (0.0, 0.99, 1.0, 2.4, 2.5, 1e9)] == [0, 0, 1, 1, 2, 2]
    assert loss.dim == 1
    assert "3 losses" in repr(loss)


@pytest.mark.parametrize("breakpoints", [[2.0, 1.0], [1.0, 1.0], [0.0, 1.0], [-1.0, 1.0], [1.0, np.nan]])
def test_breakpoints_must_increase_from_zero(breakpoints):
    with pytest.raises(DomainError, match="breakpoints"):
        losses.Piecewise(breakpoints, [losses.Linear([1.0])] * 3)


def test_piecewise_needs_one_more_loss_than_breakpoints_and_one_space():
    with pytest.raises(ShapeError, match="1 breakpoints separate 2 losses"):
        losses.Piecewise([1.0], [losses.Linear([1.0])] * 3)
    with pytest.raises(ShapeError, match=r"dimension, but have \[1, 2\]"):
        losses.Piecewise([1.0], [losses.Linear([1.0]), losses.Linear([1.0, 2.0])])
    with pytest.raises(DomainError, match="piece 1"):
        losses.Piecewise([1.0], [losses.Linear([1.0]), "nonsense"])


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: losses.LeastSquares(Z, Y[:3]), ShapeError, "Y"),
        (lambda: losses.LeastSquares(Z, Y[:, None]), ShapeError, "Y"),
        (lambda: losses.LeastSquares(Z[0], Y), ShapeError, "Z"),
        (lambda: losses.LeastSquares(np.full((4, 3), np.nan), Y), DomainError, "Z"),
        (lambda: losses.Logistic(Z, [1, 0, 0, 1]), DomainError, "-1 or \\+1"),
        (lambda: losses.Logistic(Z, [1, -1]), ShapeError, "labels"),
        (lambda: losses.Linear([[1.0]]), ShapeError, "c has shape"),
        (lambda: losses.Linear([]), ShapeError, "c has shape"),
        (lambda: losses.Linear([np.inf]), DomainError, "c must be finite"),
        (lambda: losses.Loss(lambda w: w[0] ** 2, 3), ShapeError, "vectorised"),
        (lambda: losses.Loss(lambda w: anp.sum(w, axis=-1), 0), DomainError, "dim"),
    ],
)
def test_bad_input_is_named(make, error, words):
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize("call", ["__call__", "gradient", "hessian"])
def test_points_are_checked(case, call):
    method = getattr(case[0], call)
    with pytest.raises(ShapeError, match="w has shape"):
        method([1.0, 2.0])
    with pytest.raises(DomainError, match="finite"):
        method([1.0, 2.0, np.nan])


def test_as_loss_wraps_callables_and_checks_dimensions():
    loss = losses.Linear(C)
    assert losses.as_loss(loss, 3) is loss
    wrapped = losses.as_loss(lambda w: anp.sum(w**3, axis=-1), 3)
    np.testing.assert_allclose(wrapped.gradient(C), 3 * C**2)
    with pytest.raises(ShapeError, match=r"on R\^3, but the weights are in R\^2"):
        losses.as_loss(loss, 2)
    with pytest.raises(DomainError, match="callable"):
        losses.as_loss(3.0, 2)


def test_repr_names_the_loss():
    assert repr(losses.LeastSquares(Z, Y)) == "LeastSquares on R^3"


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"gradient": lambda w: 2 * w[..., 0]}, ShapeError, "the loss's gradient returned shape"),
        ({"hessian": lambda w: 2 * w}, ShapeError, "the loss's hessian returned shape"),
        ({"gradient": lambda w: w}, DomainError, "the loss's gradient is not the derivative"),
        (
            {"hessian": lambda w: np.broadcast_to(np.eye(2), (*w.shape, 2))},
            DomainError,
            "the loss's hessian is not the derivative",
        ),
    ],
)
def test_given_derivatives_are_checked(options, error, words):
    with pytest.raises(error, match=words):
        losses.Loss(lambda w: anp.sum(w**2, axis=-1), 2, **options)


def test_a_loss_that_is_no_array_function_says_so():
    with pytest.raises(ShapeError, match="the loss's value raised ValueError"):
        losses.Loss(lambda w: w[0] ** 2 if w[0] > 0 else 0.0, 2)
    with pytest.raises(ShapeError, match="the loss's value returned shape"):
        losses.Loss(lambda w: w[0] ** 2 + w[1] ** 2, 2)
    with pytest.raises(ShapeError, match=r"the loss's gradient raised ValueError.*anp"):
        losses.Loss(lambda w: np.abs(np.asarray(w, float)).sum(axis=-1), 2)


def test_what_the_caller_writes_into_his_arrays_later_changes_nothing():
    Z2, Y2, labels, c, ends = Z.copy(), Y.copy(), LABELS.copy(), C.copy(), np.array([1.0])
    made = [losses.LeastSquares(Z2, Y2), losses.Logistic(Z2, labels), losses.Linear(c)]
    schedule = losses.Piecewise(ends, made[:2])
    before = [loss(C) for loss in made]
    for array in (Z2, Y2, labels, c, ends):
        array[:] = 9.0
    assert [loss(C) for loss in made] == before
    assert schedule.at(2.0) is made[1]


def test_piecewise_needs_a_list_of_times_and_a_list_of_losses():
    with pytest.raises(ShapeError, match=r"breakpoints has shape \(2, 1\)"):
        losses.Piecewise([[1.0], [2.0]], [losses.Linear([1.0])] * 3)
    for bad in (None, losses.Linear([1.0])):
        with pytest.raises(DomainError, match="must be a list of losses"):
            losses.Piecewise([1.0], bad)


def test_hessian_of_a_gradient_that_autograd_cannot_see_through():
    """np.einsum has a derivative of 0 under autograd, without a word."""
    A = np.array([[1.0, 0.3], [0.3, 2.0]])
    loss = losses.Loss(
        lambda w: 0.5 * np.einsum("...i,ij,...j->...", w, A, w),
        2,
        gradient=lambda w: np.einsum("ij,...j->...i", A, w),
    )
    w = np.array([[0.1, 0.2], [3.0, -1e-3]])
    np.testing.assert_allclose(loss.hessian(w), np.broadcast_to(A, (2, 2, 2)), atol=1e-8)


def test_plain_numpy_without_a_gradient_is_refused():
    with pytest.raises(DomainError, match=r"autograd\.numpy"):
        losses.Loss(lambda w: np.einsum("...i,ij,...j->...", w, np.eye(2), w), 2)
