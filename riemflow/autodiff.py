"""The only door to autograd: derivatives of functions that a user wrote without giving them.

Functions are batched: they map arrays of shape [..., m] to [...] or [..., k, ...], each batch
row independently, and so do their derivatives. A derivative can be differentiated again.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.core import make_jvp, make_vjp
from autograd.extend import vspace

Function = Callable[[np.ndarray], np.ndarray]


def _vjp(fun: Function, x: np.ndarray) -> tuple[Callable, Any]:
    with warnings.catch_warnings():
        # A derivative that vanishes identically (the Hessian of a linear function) is no mistake.
        warnings.filterwarnings("ignore", message="Output seems independent of input")
        pair: Any = make_vjp(fun, x)
        return pair


def gradient(fun: Function) -> Function:
    """Return x [..., m] -> ∇f(x) [..., m] for a batched scalar function f: [..., m] -> [...]."""

    def gradient_of_fun(x):
        pull_back, value = _vjp(fun, x)
        return pull_back(vspace(value).ones())

    return gradient_of_fun


def jacobian(fun: Function, output_axes: int = 1) -> Function:
    """Return the derivative of a batched function with `output_axes` trailing output axes.

    For f: [..., m] -> [..., k] it is [..., k, m]; for f: [..., m] -> [..., k, l], [..., k, l, m].
    One reverse sweep for each output component serves all batch rows.
    """

    def jacobian_of_fun(x):
        pull_back, value = _vjp(fun, x)
        shape = anp.shape(value)
        batch, out = shape[: len(shape) - output_axes], shape[len(shape) - output_axes :]
        columns = []
        for index in np.ndindex(*out):
            seed = np.zeros(shape)
            seed[(..., *index)] = 1.0
            columns.append(pull_back(seed))
        return anp.reshape(anp.stack(columns, axis=len(batch)), (*batch, *out, x.shape[-1]))

    return jacobian_of_fun


def hessian(fun: Function) -> Function:
    """Return x [..., m] -> ∇²f(x) [..., m, m] for a batched scalar function."""
    return jacobian(gradient(fun))


def third(fun: Function) -> Function:
    """Return x [..., m] -> ∇³f(x) [..., m, m, m] for a batched scalar function."""
    return jacobian(hessian(fun), output_axes=2)


def directional(fun: Function) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return (x, v) -> the derivative of f at x along v, of the shape of f(x), by one forward sweep."""

    def derivative_of_fun(x, v):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Output seems independent of input")
            return make_jvp(fun, x)(v)[1]

    return derivative_of_fun
