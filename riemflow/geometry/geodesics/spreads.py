"""The geodesic equation's right side -Γ(v, u) = -½ g⁻¹ ∇³R(v, u), by the structure of R where it has one."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import numpy as np

from riemflow.geometry.geodesics.linear import solve
from riemflow.legendre.algebra import Scaled, Tilted
from riemflow.legendre.families import Dirichlet, Gamma, polygamma
from riemflow.legendre.partition import LogPartition
from riemflow.legendre.ridge import RidgeSum
from riemflow.legendre.separable import Separable


@singledispatch
def spread(R: Any, w: np.ndarray, v: np.ndarray, u: np.ndarray) -> np.ndarray:
    """-Γ_w(v, u): shapes=[n, d] -> shape=[n, d]. Register a class here to teach the library its structure."""
    force = R._third_along(w, v) @ u[..., None]
    return -0.5 * solve(R._hessian(w), force)[..., 0]


@spread.register
def _(R: Separable, w, v, u):
    return -0.5 * R._r3(w) / R._r2(w) * v * u


@spread.register
def _(R: RidgeSum, w, v, u):
    t, A = R._ridges(w), R.A
    force = (R._r3(t) * (v @ A.T) * (u @ A.T)) @ A
    return -0.5 * solve((A.T * R._r2(t)[:, None, :]) @ A, force[..., None])[..., 0]


@spread.register
def _(R: LogPartition, w, v, u):
    p, centred = R._centred(w)
    weighted = np.swapaxes(centred * p[..., None], -1, -2)
    force = weighted @ ((centred @ v[..., None]) * (centred @ u[..., None]))
    return -0.5 * solve(weighted @ centred, force)[..., 0]


@spread.register(Scaled)
@spread.register(Tilted)
def _(R, w, v, u):
    return spread(R.base, w, v, u)


@spread.register
def _(R: Dirichlet, w, v, u):
    # ψ₁ and ψ₂ of w and of its sum.
    z = np.concatenate([w, w.sum(axis=-1, keepdims=True)], axis=-1)
    first, second = polygamma(1, z), polygamma(2, z)
    force = second[..., :-1] * v * u
    force -= second[..., -1:] * v.sum(axis=-1, keepdims=True) * u.sum(axis=-1, keepdims=True)
    # g = diag(ψ₁(w)) - ψ₁(Σw) 11ᵀ, solved by Sherman and Morrison.
    inverse = 1.0 / first[..., :-1]
    force *= inverse
    common = first[..., -1:]
    share = force.sum(axis=-1, keepdims=True) / (1.0 - common * inverse.sum(axis=-1, keepdims=True))
    return -0.5 * (force + common * share * inverse)


@spread.register
def _(R: Gamma, w, v, u):
    a, c = w[..., 0], -w[..., 1]
    first, second = polygamma(1, a), polygamma(2, a)
    cross = v[..., 0] * u[..., 1] + v[..., 1] * u[..., 0]
    twice = v[..., 1] * u[..., 1]
    f = second * v[..., 0] * u[..., 0] + twice / c**2
    h = cross / c**2 + 2.0 * a / c**3 * twice
    # g = ((ψ₁(a), 1/c), (1/c, a/c²)), of determinant (a ψ₁(a) - 1)/c².
    det = a * first - 1.0
    return -0.5 * np.stack([a * f - c * h, c * (c * first * h - f)], axis=-1) / det[..., None]
