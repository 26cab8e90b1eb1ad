"""Parametrizations that act on every weight by itself: powers, differences, products, exponentials."""

from __future__ import annotations

import numpy as np

from riemflow.legendre.entropies import HyperbolicEntropy, NegativeEntropy
from riemflow.legendre.function import times_transposed
from riemflow.legendre.quadratic import SquaredNorm
from riemflow.legendre.separable import scale_columns
from riemflow.parametrizations.parametrization import Parametrization
from riemflow.validation import as_count


def _diagonal(entries: np.ndarray) -> np.ndarray:
    """Spread [..., d] on the diagonal of [..., d, d]."""
    return entries[..., None] * np.eye(entries.shape[-1])


def _cube(entries: np.ndarray) -> np.ndarray:
    """Spread [..., d] on the diagonal of [..., d, d, d]."""
    d = entries.shape[-1]
    cube = np.zeros((*entries.shape, d, d))
    i = np.arange(d)
    cube[..., i, i, i] = entries
    return cube


class _Diagonal(Parametrization):
    """∂G∂Gᵀ is diagonal: every weight has parameters of its own. A subclass gives the diagonal."""

    def _speeds(self, x: np.ndarray) -> np.ndarray:
        """The diagonal of ∂G∂Gᵀ: shape=[..., D] -> shape=[..., d]."""
        raise NotImplementedError

    def _gram(self, x, rows):
        return times_transposed(scale_columns(rows, self._speeds(x)), rows)


class _Elementwise(_Diagonal):
    """w_i = g(x_i). A subclass gives g, g' and g'' on arrays."""

    def _speeds(self, x):
        return self._g1(x) ** 2

    def _g(self, x: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _g1(self, x: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _g2(self, x: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _fun(self, x):
        return self._g(x)

    def _jacobian(self, x):
        return _diagonal(self._g1(x))

    def _hessian(self, x):
        return _cube(self._g2(x))


class Identity(_Elementwise):
    """``G(x) = x`` on R^d: gradient flow itself, with R(w) = ½‖w - w_init‖².

    Parameters
    ----------
    dim : int
        d = D.

    Raises
    ------
    DomainError
        If `dim` is not a whole number, at least 1.
    """

    _complete = True

    def __init__(self, dim: int):
        d = as_count("dim", dim)
        self._define(d, d, name=f"Identity({d})")

    def _closed_legendre(self, x):
        return SquaredNorm(self.dim)

    def _joint_flow(self, x, mu):
        return x + mu

    def _g(self, x):
        return x.copy()

    def _g1(self, x):
        return np.ones_like(x)

    def _g2(self, x):
        return np.zeros_like(x)


class Hadamard(_Elementwise):
    """``G(x) = x^k``, entry by entry.

    Defined where x_i ≠ 0 for all i (everywhere for k = 1): there G is regular, and no flow of the
    ∇G_i reaches x_i = 0, which is an equilibrium. It commutes. For k = 2, R is the entropy with the
    factor ¼, ``R(w) = ¼ Σ w_i (ln(w_i / w0_i) - 1)``. For k ≥ 3 the flows blow up in finite time,
    so R is Legendre but no mirror map: ∇R is not onto.

    Parameters
    ----------
    dim : int
        d = D.
    power : int
        k ≥ 1.

    Raises
    ------
    DomainError
        If an argument is not a whole number, at least 1.
    """

    def __init__(self, dim: int, power: int = 2):
        d, self.power = as_count("dim", dim), as_count("power", power)
        self._complete = self.power <= 2
        self._define(d, d, name=f"Hadamard({d}, power={self.power})")

    def _closed_legendre(self, x):
        return 0.25 * NegativeEntropy(self.dim) if self.power == 2 else None

    def _joint_flow(self, x, mu):
        # |x| obeys y' = s y^{k-1} for s = k sign(x)^k: linear in y^{2-k}, or in ln y for k = 2.
        k = self.power
        if k == 1:
            return x + mu
        if k == 2:
            return x * np.exp(2.0 * mu)
        rate = k * np.sign(x) ** k * mu
        left = 1.0 - (k - 2) * rate * np.abs(x) ** (k - 2)
        return x * np.where(left > 0, left, np.nan) ** (1.0 / (2 - k))

    def _g(self, x):
        return x**self.power

    def _g1(self, x):
        return self.power * x ** (self.power - 1)

    def _g2(self, x):
        k = self.power
        return k * (k - 1) * x ** (k - 2) if k > 1 else np.zeros_like(x)

    def _belongs(self, x):
        inside = np.isfinite(x)
        return (inside if self.power == 1 else inside & (x != 0)).all(axis=-1)


class Exponential(_Elementwise):
    """``G(x) = exp(x)``, entry by entry, on R^d.

    It commutes, and R is Burg's entropy: ``R(w) = Σ w_i / w0_i - ln(w_i / w0_i)`` on w > 0.

    Parameters
    ----------
    dim : int
        d = D.

    Raises
    ------
    DomainError
        If `dim` is not a whole number, at least 1.
    """

    def __init__(self, dim: int):
        d = as_count("dim", dim)
        self._define(d, d, name=f"Exponential({d})")

    def _joint_flow(self, x, mu):
        left = mu * np.exp(x)
        return x - np.log1p(-np.where(left < 1.0, left, np.nan))

    def _g(self, x):
        return np.exp(x)

    def _g1(self, x):
        return np.exp(x)

    def _g2(self, x):
        return np.exp(x)


class HadamardDifference(_Diagonal):
    """``G(u, v) = u^k - v^k``, entry by entry, with x = (u, v), shape=[..., 2d].

    Defined where all u_i ≠ 0 and v_i ≠ 0 (everywhere for k = 1); the flows of the ∇G_i keep this
    set. With a vanishing u_i or v_i the map is `Hadamard`, and dom R a half-line in w_i. It commutes; for
    k = 2, R is the hyperbolic entropy of Corollary 4.17 of Li, Wang, Lee and Arora (2022).

    Parameters
    ----------
    dim : int
        d; D = 2d.
    power : int
        k ≥ 1.

    Raises
    ------
    DomainError
        If an argument is not a whole number, at least 1.
    """

    def __init__(self, dim: int, power: int = 2):
        d = as_count("dim", dim)
        self._part = Hadamard(d, power)
        self.power, self._complete = self._part.power, self._part._complete
        self._define(2 * d, d, name=f"HadamardDifference({d}, power={self.power})")

    def _closed_legendre(self, x):
        return _hyperbolic(x[: self.dim], x[self.dim :]) if self.power == 2 else None

    def _joint_flow(self, x, mu):
        u, v = x[..., : self.dim], x[..., self.dim :]
        return np.concatenate([self._part._joint_flow(u, mu), self._part._joint_flow(v, -mu)], axis=-1)

    def _joint_weights(self, x, mu):
        if self.power != 2:
            return super()._joint_weights(x, mu)
        grown = np.exp(4.0 * mu)
        return x[..., : self.dim] ** 2 * grown - x[..., self.dim :] ** 2 / grown

    def _speeds(self, x):
        return self._part._speeds(x[..., : self.dim]) + self._part._speeds(x[..., self.dim :])

    def _fun(self, x):
        d = self.dim
        return self._part._fun(x[..., :d]) - self._part._fun(x[..., d:])

    def _jacobian(self, x):
        d = self.dim
        return np.concatenate([self._part._jacobian(x[..., :d]), -self._part._jacobian(x[..., d:])], axis=-1)

    def _hessian(self, x):
        d = self.dim
        hessian = np.zeros((*x.shape[:-1], d, 2 * d, 2 * d))
        hessian[..., :d, :d] = self._part._hessian(x[..., :d])
        hessian[..., d:, d:] = -self._part._hessian(x[..., d:])
        return hessian

    def _belongs(self, x):
        return self._part._belongs(x[..., : self.dim]) & self._part._belongs(x[..., self.dim :])


class HadamardProduct(_Diagonal):
    """``G(u, v) = u ⊙ v`` with x = (u, v), shape=[..., 2d].

    Defined where (u_i, v_i) ≠ (0, 0) for all i: there G is regular, and the flows of the ∇G_i stay.
    It commutes. The rotation ``p = (u + v)/√2, q = (u - v)/√2`` turns it into ½(p² - q²), so that R is
    hyperbolic entropy with p and q in the place of u and v. Starting with |u_i| = |v_i| ties w_i to one
    sign, and R is an entropy on that half-line.

    Parameters
    ----------
    dim : int
        d; D = 2d.

    Raises
    ------
    DomainError
        If `dim` is not a whole number, at least 1.
    """

    _complete = True

    def __init__(self, dim: int):
        d = as_count("dim", dim)
        self._define(2 * d, d, name=f"HadamardProduct({d})")

    def _closed_legendre(self, x):
        # uv = p² - q² with p = (u + v)/2 and q = (u - v)/2, which gradient flow moves half as fast.
        u, v = x[: self.dim], x[self.dim :]
        hyperbolic = _hyperbolic(0.5 * (u + v), 0.5 * (u - v))
        return None if hyperbolic is None else 2.0 * hyperbolic

    def _joint_flow(self, x, mu):
        u, v, grown, shrunk = x[..., : self.dim], x[..., self.dim :], np.exp(mu), np.exp(-mu)
        p, q = 0.5 * (u + v) * grown, 0.5 * (u - v) * shrunk
        return np.concatenate([p + q, p - q], axis=-1)

    def _speeds(self, x):
        return x[..., : self.dim] ** 2 + x[..., self.dim :] ** 2

    def _fun(self, x):
        d = self.dim
        return x[..., :d] * x[..., d:]

    def _jacobian(self, x):
        d = self.dim
        return np.concatenate([_diagonal(x[..., d:]), _diagonal(x[..., :d])], axis=-1)

    def _hessian(self, x):
        d = self.dim
        hessian = np.zeros((*x.shape[:-1], d, 2 * d, 2 * d))
        i = np.arange(d)
        hessian[..., i, i, d + i] = 1.0
        hessian[..., i, d + i, i] = 1.0
        return hessian

    def _belongs(self, x):
        d = self.dim
        finite = np.isfinite(x).all(axis=-1)
        return finite & ((x[..., :d] != 0) | (x[..., d:] != 0)).all(axis=-1)


def _hyperbolic(u: np.ndarray, v: np.ndarray) -> HyperbolicEntropy | None:
    """Cor. 4.17's R; None for starts with a zero, or so small that it leaves float64."""
    with np.errstate(all="ignore"):
        usual = (u != 0).all() and (v != 0).all() and (np.abs(u * v) > 1e-290).all()
    return HyperbolicEntropy(np.abs(u), np.abs(v)) if usual else None
