"""Automatic derivatives against derivatives worked out by hand."""

import autograd.numpy as anp
import numpy as np
import pytest

from riemflow import autodiff


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
