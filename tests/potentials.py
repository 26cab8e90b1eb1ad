"""The R induced by each parametrization of the catalogue, derived by hand from the flows of its G.

They are normalised as the horizontal lift is, R(w_init) = 0 and ∇R(w_init) = 0, and are plain functions
of one w, shape=[d]. They share no code with the package.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq, root

Formula = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Potential:
    """R and ∇R as plain functions of one point w, shape=[d]."""

    value: Callable[[np.ndarray], float]
    gradient: Formula


def normalised(w_init: np.ndarray, value: Callable[[np.ndarray], float], gradient: Formula) -> Potential:
    """Subtract from R what makes R and ∇R vanish at w_init."""
    constant, slope = value(w_init), gradient(w_init)
    return Potential(
        lambda w: float(value(w) - constant - slope @ (w - w_init)), lambda w: gradient(w) - slope
    )


def squared_distance(x: np.ndarray) -> Potential:
    """H = 1."""
    return Potential(lambda w: 0.5 * float((w - x) @ (w - x)), lambda w: w - x)


def power_potential(power: int) -> Callable[[np.ndarray], Potential]:
    """H = (k x^{k-1})², so r'' = |w|^{2/k - 2} / k²; for k = 2 this is 1/(4|w|), the entropy with ¼."""

    def potential(x):
        w0, k = x**power, power
        if k == 2:
            return Potential(
                lambda w: float((w * (np.log(w / w0) - 1) + w0).sum()) / 4, lambda w: np.log(w / w0) / 4
            )
        return normalised(
            w0,
            lambda w: float((np.abs(w) ** (2 / k)).sum()) / (2 * (2 - k)),
            lambda w: np.sign(w) * np.abs(w) ** (2 / k - 1) / (k * (2 - k)),
        )

    return potential


def corollary_4_17(x: np.ndarray) -> Potential:
    """Corollary 4.17 as printed, with |u0|, |v0|: the signs of u and v do not enter u² - v²."""
    u0, v0 = np.abs(np.split(x, 2))
    c = 2 * u0 * v0

    def value(w):
        return float((w * np.arcsinh(w / c) - np.sqrt(w**2 + c**2) - w * np.log(u0 / v0)).sum()) / 4

    return normalised(u0**2 - v0**2, value, lambda w: (np.arcsinh(w / c) - np.log(u0 / v0)) / 4)


def power_difference_potential(power: int) -> Callable[[np.ndarray], Potential]:
    """k ≥ 3, u, v > 0: u^{2-k} falls and v^{2-k} grows by k(k-2)μ, and Q = (u² + v² - u0² - v0²) / 2k."""

    def potential(x):
        k, (u0, v0) = power, np.split(x, 2)
        rate = k * (k - 2)

        def flow(mu, i=slice(None)):
            u = (u0[i] ** (2 - k) - rate * mu) ** (1 / (2 - k))
            return u, (v0[i] ** (2 - k) + rate * mu) ** (1 / (2 - k))

        def gradient(w):
            mu = np.empty_like(w)
            for i, target in enumerate(w):
                # w is an increasing function of μ on the interval between the two blow-ups.
                low, high = -(v0[i] ** (2 - k)) / rate, u0[i] ** (2 - k) / rate
                margin = 1e-9 * (high - low)

                def gap(m, i=i, target=target):
                    u, v = flow(m, i)
                    return u**k - v**k - target

                mu[i] = brentq(gap, low + margin, high - margin, xtol=1e-15, rtol=1e-14)
            return mu

        def value(w):
            mu = gradient(w)
            u, v = flow(mu)
            return float(mu @ w - (u**2 + v**2 - u0**2 - v0**2).sum() / (2 * k))

        return Potential(lambda w: value(w) - value(u0**k - v0**k), gradient)

    return potential


def product_potential(x: np.ndarray) -> Potential:
    """p = (u + v)/√2 grows like e^μ and q = (u - v)/√2 decays like e^{-μ}; w = ½(p² - q²)."""
    u0, v0 = np.split(x, 2)
    p0, q0 = (u0 + v0) / np.sqrt(2), (u0 - v0) / np.sqrt(2)
    c, tilt = np.abs(p0 * q0), np.log(np.abs(p0 / q0))

    def value(w):
        return float((w * np.arcsinh(w / c) - np.sqrt(w**2 + c**2) - w * tilt).sum()) / 2

    return normalised(u0 * v0, value, lambda w: (np.arcsinh(w / c) - tilt) / 2)


def even_convolution_potential(length: int) -> Callable[[np.ndarray], Potential]:
    """Two even filters, n odd: p = K x_1, q = K x_2, (K w)_k = c_k p_k q_k with c = √n/s, s = 1, √2, √2, ….

    With f_0 = x_0 and f_±j = x_j/√2, f̂_k = Σ_j f_j cos(2πjk/n) = (√n/s_k) (K x)_k, K as below and orthogonal,
    and ŵ_k = f̂_1k f̂_2k. So R(w) is that of the product, of K w / c.
    """
    m = length // 2 + 1
    s = np.where(np.arange(m) == 0, 1.0, np.sqrt(2))
    angle = 2 * np.pi * np.outer(np.arange(m), np.arange(m)) / length
    K = np.outer(s, s) * np.cos(angle) / np.sqrt(length)
    c = np.sqrt(length) / s

    def potential(x):
        product = product_potential(np.concatenate([K @ x[:m], K @ x[m:]]))
        return Potential(
            lambda w: product.value(K @ w / c), lambda w: K.T @ (product.gradient(K @ w / c) / c)
        )

    return potential


def burg_potential(x: np.ndarray) -> Potential:
    """H = w²."""
    w0 = np.exp(x)
    return Potential(lambda w: float((w / w0 - np.log(w / w0) - 1).sum()), lambda w: 1 / w0 - 1 / w)


def diagonalised_potential(basis: np.ndarray, eigenvalues: np.ndarray) -> Callable[[np.ndarray], Potential]:
    """A_i = V diag(λ_i) Vᵀ, y = Vᵀx: y_k² = y0_k² exp(2 (λᵀμ)_k), w = ½ λ y², Q = ¼ Σ (y² - y0²)."""

    def potential(x):
        square = (basis.T @ x) ** 2

        def gradient(w):
            def gap(mu):
                return eigenvalues @ (square * np.exp(2 * eigenvalues.T @ mu)) / 2 - w

            def slope(mu):
                return (eigenvalues * (square * np.exp(2 * eigenvalues.T @ mu))) @ eigenvalues.T

            found = root(gap, np.zeros(len(w)), jac=slope, tol=1e-14)
            assert np.abs(gap(found.x)).max() <= 1e-12 * (1 + np.abs(w).max())
            return found.x

        def value(w):
            mu = gradient(w)
            return float(mu @ w - (square * np.expm1(2 * eigenvalues.T @ mu)).sum() / 4)

        return Potential(value, gradient)

    return potential


def square_diagonalised_potential(basis: np.ndarray, eigenvalues: np.ndarray):
    """The same with d = D, in closed form: s = y² = 2 λ⁻¹ w, R = ¼ Σ (s ln(s/s0) - s + s0)."""

    def potential(x):
        s0 = (basis.T @ x) ** 2

        def value(w):
            s = 2 * np.linalg.solve(eigenvalues, w)
            return float((s * np.log(s / s0) - s + s0).sum()) / 4

        def gradient(w):
            s = 2 * np.linalg.solve(eigenvalues, w)
            return np.linalg.solve(eigenvalues.T, np.log(s / s0)) / 2

        return Potential(value, gradient)

    return potential


def row_potential(n: int, rank: int) -> Callable[[np.ndarray], Potential]:
    """H = 4 diag w with w_i = |U_i|²."""

    def potential(x):
        w0 = (x.reshape(n, rank) ** 2).sum(axis=1)
        return Potential(
            lambda w: float((w * np.log(w / w0) - w + w0).sum()) / 4, lambda w: np.log(w / w0) / 4
        )

    return potential


def simplex_potential(x: np.ndarray) -> Potential:
    """H = 4 (diag w - w wᵀ), whose inverse is ¼ (diag 1/w + 11ᵀ/s), s = 1 - Σw."""
    w0 = x[:-1] ** 2

    def value(w):
        p = np.append(w, 1 - w.sum())
        return float((p * np.log(p)).sum()) / 4

    return normalised(w0, value, lambda w: np.log(w / (1 - w.sum())) / 4)


def screw_potential(x: np.ndarray) -> Potential:
    """R = r²/4 + r⁴/8, and with dr/ds = 2r/(1 + r²)² for s = w_1²/2 - w_2, ∇R = r²/(1 + r²) (w_1, -1)."""

    def radius(w):
        s = w[0] ** 2 / 2 - w[1]
        return np.exp(brentq(lambda t: t / 2 + np.exp(2 * t) / 2 + np.exp(4 * t) / 8 - s, -20, 5, xtol=1e-14))

    def value(w):
        r = radius(w)
        return r**2 / 4 + r**4 / 8

    def gradient(w):
        r = radius(w)
        return r**2 / (1 + r**2) * np.array([w[0], -1.0])

    phi = np.arctan2(x[1], x[0]) - x[2]
    r = np.hypot(x[0], x[1])
    return normalised(np.array([phi, phi**2 / 2 - np.log(r) / 2 - r**2 / 2 - r**4 / 8]), value, gradient)


def hopf_potential(x: np.ndarray) -> Potential:
    """H = 16 diag w - 12 wwᵀ/S, whose inverse is diag 1/(16 w) + 3/(16 S) 11ᵀ."""

    def value(w):
        return float((w * np.log(w)).sum() + 3 * w.sum() * np.log(w.sum())) / 16

    a, b, c, d = x
    v = np.array([2 * (a * c + b * d), 2 * (b * c - a * d), a**2 + b**2 - c**2 - d**2])
    return normalised(v**2 / (x @ x), value, lambda w: (np.log(w) + 1 + 3 * np.log(w.sum()) + 3) / 16)
