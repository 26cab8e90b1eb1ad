"""Legendre functions that are sums of a scalar function of each coordinate; scalar functions many share."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array, issparse
from scipy.special import expit

from riemflow.legendre.function import LegendreFunction

# Nearest admissible numbers: their reciprocals are still finite.
TINY = np.finfo(np.float64).tiny
HUGE = 1e300


class Separable(LegendreFunction):
    """R(w) = Σ_i r_i(w_i), with metric diag r_i''(w_i).

    Subclasses give the scalar functions elementwise, on arrays of shape [..., d]: `_r` and its
    derivatives `_r1`, `_r2`, `_r3`, `_r4`; `_admits`, membership in the open interval dom r_i; and the flat
    coordinate `_flat`, an antiderivative of √r'', in which the metric is Euclidean, with its inverse.
    """

    # Overflow of a derivative next to the boundary is the right answer, infinity, and no accident.

    def _value(self, w):
        with np.errstate(over="ignore"):
            return self._r(w).sum(axis=-1)

    def _gradient(self, w):
        with np.errstate(over="ignore"):
            return self._r1(w)

    def _hessian(self, w):
        hessian = np.zeros((*w.shape, self.dim))
        i = np.arange(self.dim)
        with np.errstate(over="ignore"):
            hessian[..., i, i] = self._r2(w)
        return hessian

    def _third(self, w):
        third = np.zeros((*w.shape, self.dim, self.dim))
        i = np.arange(self.dim)
        with np.errstate(over="ignore"):
            third[..., i, i, i] = self._r3(w)
        return third

    def _fourth(self, w):
        fourth = np.zeros((*w.shape, self.dim, self.dim, self.dim))
        i = np.arange(self.dim)
        with np.errstate(over="ignore"):
            fourth[..., i, i, i, i] = self._r4(w)
        return fourth

    def _third_along(self, w, v):
        change = np.zeros((*w.shape, self.dim))
        i = np.arange(self.dim)
        with np.errstate(over="ignore"):
            change[..., i, i] = self._r3(w) * v
        return change

    def _times_hessian(self, w, rows):
        with np.errstate(over="ignore"):
            return scale_columns(rows, self._r2(w))

    def _gram_root(self, w, rows):
        with np.errstate(over="ignore"):
            return scale_columns(rows, np.sqrt(self._r2(w))).T

    def _belongs(self, w):
        return (np.isfinite(w) & self._admits(w)).all(axis=-1)

    def _r(self, w: np.ndarray) -> np.ndarray:
        """r_i(w_i): shape=[..., d] -> shape=[..., d]."""
        raise NotImplementedError

    def _r1(self, w: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _r2(self, w: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _r3(self, w: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _r4(self, w: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _admits(self, w: np.ndarray) -> np.ndarray:
        """Tell whether w_i lies inside dom r_i: shape=[..., d] -> bool, shape=[..., d]."""
        return np.ones(w.shape, bool)

    def _flat(self, w: np.ndarray) -> np.ndarray:
        """An antiderivative of √r_i'' at w_i: shape=[..., d] -> shape=[..., d]."""
        raise NotImplementedError

    def _flat_inverse(self, z: np.ndarray) -> np.ndarray:
        """Invert `_flat`; a number outside its range goes to the nearest admissible w_i."""
        raise NotImplementedError

    @property
    def _flat_range(self) -> tuple[np.ndarray, np.ndarray]:
        """The ends of the range of `_flat`, two arrays of shape [d]."""
        return np.full(self.dim, -np.inf), np.full(self.dim, np.inf)


def scale_columns(rows, factors: np.ndarray):
    """rows diag(factors), sparse if rows are: shapes=[n, d], [d] -> shape=[n, d]."""
    if not issparse(rows):
        return rows * factors
    rows = csr_array(rows)
    entries = factors[rows.indices]
    entries *= rows.data
    return csr_array((entries, rows.indices, rows.indptr), shape=rows.shape)  # the places are shared


class SeparableConjugate(Separable):
    """The conjugate of a separable function, itself separable: r*(μ) = sup_w μw - r(w).

    Both have the same flat coordinate, ``∫√(r*)'' dμ = ∫√r'' dw`` along w = (r*)'(μ).
    """

    def __init__(self, base: Separable, name: str, is_mirror_map: bool):
        self.base = base
        interior = base._gradient(base.domain.interior)
        self._define(base.dim, name=name, interior=interior, is_mirror_map=is_mirror_map)

    def _make_conjugate(self):
        return self.base

    def _flat(self, w):
        return self.base._flat(self._r1(w))

    def _flat_inverse(self, z):
        return self.base._r1(self.base._flat_inverse(z))

    @property
    def _flat_range(self):
        return self.base._flat_range


class NegativeLogarithm:
    """The scalar function r(t) = -ln t on t > 0, with flat coordinate ln t."""

    def _r(self, t):
        return -np.log(t)

    def _r1(self, t):
        return -1.0 / t

    def _r2(self, t):
        return 1.0 / t / t

    def _r3(self, t):
        return -2.0 / t / t / t

    def _r4(self, t):
        return 6.0 / t / t / t / t

    def _admits(self, t):
        return t > 0

    def _flat(self, t):
        return np.log(t)

    def _flat_inverse(self, z):
        return np.exp(np.clip(z, np.log(TINY), np.log(HUGE)))


class SoftplusFunction:
    """The scalar function r(t) = ln(1 + e^t), with flat coordinate 2 arctan e^{t/2} in (0, π)."""

    def _r(self, t):
        return np.logaddexp(0.0, t)

    def _r1(self, t):
        return expit(t)

    def _r2(self, t):
        return expit(t) * expit(-t)

    def _r3(self, t):
        return -expit(t) * expit(-t) * np.tanh(0.5 * t)

    def _r4(self, t):
        slope = expit(t) * expit(-t)
        return slope * (1.0 - 6.0 * slope)

    def _admits(self, t):
        return np.ones(t.shape, bool)

    def _flat(self, t):
        # arctan is odd about e^0, so the exponential is only taken where it cannot overflow.
        half = 2.0 * np.arctan(np.exp(-0.5 * np.abs(t)))
        return np.where(t > 0, np.pi - half, half)

    def _flat_inverse(self, z):
        return 2.0 * np.log(np.tan(0.5 * np.clip(z, TINY, np.pi)))
