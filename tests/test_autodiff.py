"""Automatic derivatives against derivatives worked out by hand."""

import threading

import autograd.numpy as anp
import numpy as np
import pytest

from riemflow import autodiff
from riemflow.errors import DomainError


def cubic(w):
    return w[..., 0] ** 3 + w[..., 0] * w[..., 1] ** 2


@pytest.mark.parametrize("batch", [(), (1,), (4,), (2, 3)])
def test_derivatives_of_a_cubic_in_every_batch_shape(batch):
    w = np.random.default_rng(0).standard_normal((*batch, 2))
    a, b = w[..., 0], w[..., 1]
    gradient = np.stack([3 * a**2 + b**2, 2 * a * b], axis=-1)
    hessian = np.stack([6 * a, 2 * b, 2 * b, 2 * a], axis=-1).reshape(*batch, 2, 2)
    third = np.broadcast_to(np.array([[[6, 0], [0, 2]], [[0, 2], [2, 0]]]), (*batch, 2, 2, 2))
    np.testing.assert_allclose(autodiff.gradient(cubic)(w), gradient, rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(autodiff.hessian(cubic)(w), hessian, rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(autodiff.third(cubic)(w), third, rtol=1e-14, atol=1e-14)


def test_jacobian_of_a_vector_function_and_its_derivative():
    def fun(x):
        return anp.stack([x[..., 0] * x[..., 1], x[..., 2] ** 2], axis=-1)

    x = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    expected = [[[2, 1, 0], [0, 0, 6]], [[5, 4, 0], [0, 0, 12]]]
    np.testing.assert_array_equal(autodiff.jacobian(fun)(x), expected)
    second = autodiff.jacobian(autodiff.jacobian(fun), 2)(x)
    assert second.shape == (2, 2, 3, 3)
    np.testing.assert_array_equal(second[0, 0], [[0, 1, 0], [1, 0, 0], [0, 0, 0]])


def test_the_hessian_of_a_linear_function_is_zero_and_warns_of_nothing():
    hessian = autodiff.hessian(lambda w: anp.sum(w, axis=-1))(np.ones((3, 2)))
    np.testing.assert_array_equal(hessian, np.zeros((3, 2, 2)))


def everywhere(x):
    return np.ones(len(x), bool)


# f and ∂f, written by hand, where differences are hard to take: large constants, edges, kinks, noise.
RIGHT = {
    "large constant": (lambda x: 1e12 + (x**2).sum(-1), lambda x: 2 * x, [1.0, -2.0], everywhere),
    "drowned": (lambda x: 1e20 + (x**2).sum(-1), lambda x: 2 * x, [1.0, -2.0], everywhere),
    "sharp": (lambda x: np.sin(1e6 * x[:, 0]), lambda x: 1e6 * np.cos(1e6 * x), [1.0], everywhere),
    "thin strip": (
        lambda x: -(np.log(x - 1e8) + np.log(1e8 + 1e-3 - x)).sum(-1),
        lambda x: -1 / (x - 1e8) + 1 / (1e8 + 1e-3 - x),
        [1e8 + 3e-4],
        lambda x: ((x > 1e8) & (x < 1e8 + 1e-3)).all(-1),
    ),
    "tiny box": (
        lambda x: -np.log(1e-10 - x).sum(-1) - np.log(1e-10 + x).sum(-1),
        lambda x: 1 / (1e-10 - x) - 1 / (1e-10 + x),
        [0.0, 0.0],
        lambda x: (np.abs(x) < 1e-10).all(-1),
    ),
    "kink": (lambda x: np.abs(x).sum(-1), np.sign, [0.0, 0.0], everywhere),
    "eight digits": (lambda x: np.round((x**2).sum(-1), 8), lambda x: 2 * x, [0.3, 0.2], everywhere),
    "units": (
        lambda x: 1e-200 * (x * np.log(x)).sum(-1),
        lambda x: 1e-200 * (np.log(x) + 1),
        [1e-12, 1e9],
        lambda x: (x > 0).all(-1),
    ),
    "nowhere defined": (lambda x: np.full(len(x), np.nan), lambda x: x, [1.0], everywhere),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_derivatives_pass_and_wrong_ones_do_not(name):
    fun, derivative, point, belongs = RIGHT[name]
    points = autodiff.points_near(np.array(point), belongs)
    assert len(points) == 2 and belongs(points).all()
    autodiff.check_derivative("f'", fun, derivative, points, belongs)
    if name not in ("drowned", "thin strip", "nowhere defined"):  # there differences tell nothing
        with pytest.raises(DomainError, match="f' is not the derivative"):
            autodiff.check_derivative("f'", fun, lambda x: 1.5 * derivative(x), points, belongs)


def test_the_error_names_point_values_and_deviation():
    points = np.array([[1.0, 2.0]])
    words = r"at \[1\., 2\.\] along .* differences give .* relative deviation of 0\.5"
    with pytest.raises(DomainError, match=words):
        autodiff.check_derivative("f'", lambda x: (x**2).sum(-1), lambda x: x, points, everywhere)


def test_only_tangential_derivatives_count_with_a_projector():
    x, flat = np.array([[0.6, 0.8]]), np.array([[[0.64, -0.48], [-0.48, 0.36]]])

    def tangential(x):
        return np.einsum("nij,nj->ni", flat, np.ones_like(x))

    autodiff.check_derivative("f'", lambda x: x.sum(-1), tangential, x, everywhere, flat)
    with pytest.raises(DomainError):
        autodiff.check_derivative("f'", lambda x: x.sum(-1), tangential, x, everywhere)


def test_threads_do_not_mix_their_derivatives():
    """Nested derivatives in two threads, made to overlap: autograd alone counts their levels together."""
    first_in, second_in, first_out = threading.Event(), threading.Event(), threading.Event()

    def slow(x):
        first_in.set()
        second_in.wait(0.2)
        return anp.sum(x**2, axis=-1)

    def first():
        autodiff.gradient(slow)(np.ones(2))
        first_out.set()

    def nested(x):
        second_in.set()
        first_out.wait(0.2)
        inner = autodiff.gradient(lambda y: anp.sum(y**3, axis=-1) * anp.sum(x, axis=-1))(2 * np.ones(2))
        return anp.sum(inner, axis=-1)  # 3 (2² + 2²) Σx

    thread = threading.Thread(target=first)
    thread.start()
    first_in.wait()
    np.testing.assert_array_equal(autodiff.gradient(nested)(np.ones(2)), [24.0, 24.0])
    thread.join()
