"""Separable entropies on the half line, the unit interval and the whole line, and their conjugates."""

from __future__ import annotations

from math import isfinite
from typing import Any

import numpy as np
from scipy.special import elliprd, elliprf

from riemflow.errors import DomainError, ShapeError
from riemflow.legendre.separable import (
    HUGE,
    TINY,
    NegativeLogarithm,
    Separable,
    SeparableConjugate,
    SoftplusFunction,
)
from riemflow.validation import as_count, as_number, as_points, short

# Beyond this many widths hyperbolic entropy is an entropy of |w| to all digits.
FAR = 1e100


class NegativeEntropy(Separable):
    """R(w) = Σ w_i (ln w_i - 1) on w > 0, with gradient ln w and conjugate Σ e^{μ_i}.

    Parameters
    ----------
    dim : int
        d.
    """

    def __init__(self, dim: int):
        self._define(as_count("dim", dim), name="NegativeEntropy", interior=1.0, is_mirror_map=True)

    def _r(self, w):
        return w * (np.log(w) - 1.0)

    def _r1(self, w):
        return np.log(w)

    def _r2(self, w):
        return 1.0 / w

    def _r3(self, w):
        return -1.0 / w / w

    def _r4(self, w):
        return 2.0 / w / w / w

    def _admits(self, w):
        return w > 0

    def _flat(self, w):
        return 2.0 * np.sqrt(w)

    def _flat_inverse(self, z):
        half = 0.5 * np.clip(z, 0.0, np.sqrt(HUGE))
        return np.maximum(half * half, TINY)

    @property
    def _flat_range(self):
        return np.zeros(self.dim), np.full(self.dim, np.inf)

    def _make_conjugate(self):
        return ExponentialSum(self)


class ExponentialSum(SeparableConjugate):
    """R*(μ) = Σ e^{μ_i} on R^d, the conjugate of `NegativeEntropy`. Its gradient fills w > 0 only."""

    def __init__(self, base: NegativeEntropy):
        super().__init__(base, "ExponentialSum", is_mirror_map=False)

    def _r(self, w):
        return np.exp(w)

    _r1 = _r2 = _r3 = _r4 = _r

    def _flat(self, w):
        return 2.0 * np.exp(0.5 * w)


class BurgEntropy(NegativeLogarithm, Separable):
    """R(w) = -Σ ln w_i on w > 0, with conjugate -d - Σ ln(-μ_i) on μ < 0.

    Its gradient -1/w fills the negative orthant only, so it is no mirror map in the strict sense.

    Parameters
    ----------
    dim : int
        d.
    """

    def __init__(self, dim: int):
        self._define(as_count("dim", dim), name="BurgEntropy", interior=1.0, is_mirror_map=False)

    def _make_conjugate(self):
        return BurgConjugate(self)


class BurgConjugate(SeparableConjugate):
    """R*(μ) = Σ (-1 - ln(-μ_i)) on μ < 0, the conjugate of `BurgEntropy`."""

    def __init__(self, base: BurgEntropy):
        super().__init__(base, "BurgConjugate", is_mirror_map=False)

    def _r(self, w):
        return -1.0 - np.log(-w)

    def _r1(self, w):
        return -1.0 / w

    def _r2(self, w):
        return 1.0 / w / w

    def _r3(self, w):
        return -2.0 / w / w / w

    def _r4(self, w):
        return 6.0 / w / w / w / w

    def _admits(self, w):
        return w < 0


class FermiDirac(Separable):
    """R(w) = Σ w_i ln w_i + (1 - w_i) ln(1 - w_i) on 0 < w < 1, with conjugate Σ ln(1 + e^{μ_i}).

    Parameters
    ----------
    dim : int
        d.
    """

    def __init__(self, dim: int):
        self._define(as_count("dim", dim), name="FermiDirac", interior=0.5, is_mirror_map=True)

    def _r(self, w):
        return w * np.log(w) + (1.0 - w) * np.log1p(-w)

    def _r1(self, w):
        return np.log(w) - np.log1p(-w)

    def _r2(self, w):
        return 1.0 / w / (1.0 - w)

    def _r3(self, w):
        return (2.0 * w - 1.0) / w / w / (1.0 - w) ** 2

    def _r4(self, w):
        return 2.0 / w / w / w + 2.0 / (1.0 - w) ** 3

    def _admits(self, w):
        return (w > 0) & (w < 1)

    def _flat(self, w):
        # 2 arcsin √w, but 1 - w is exact near 1, where arcsin would magnify the rounding of √w.
        return 2.0 * np.arctan2(np.sqrt(w), np.sqrt(1.0 - w))

    def _flat_inverse(self, z):
        sine = np.sin(0.5 * np.clip(z, 0.0, np.pi))
        return np.clip(sine * sine, TINY, np.nextafter(1.0, 0.0))

    @property
    def _flat_range(self):
        return np.zeros(self.dim), np.full(self.dim, np.pi)

    def _make_conjugate(self):
        return Softplus(self)


class Softplus(SoftplusFunction, SeparableConjugate):
    """R*(μ) = Σ ln(1 + e^{μ_i}) on R^d, the conjugate of `FermiDirac`. Its gradient fills (0, 1)^d only."""

    def __init__(self, base: FermiDirac):
        SeparableConjugate.__init__(self, base, "Softplus", is_mirror_map=False)


class HyperbolicEntropy(Separable):
    """R(w) = ¼ Σ [w_i arcsinh(w_i / 2c_i) - √(w_i² + 4c_i²) - w_i ln(u0_i / v0_i)] on R^d, c = u0 v0.

    The mirror map of w = u² - v² started at (u0, v0), in every coordinate (Cor. 4.17 of Li, Wang, Lee
    and Arora, 2022). Its conjugate is ½ Σ c_i cosh(4μ_i + ln(u0_i / v0_i)).

    Parameters
    ----------
    u0, v0 : array, shape=[d]
        Positive.

    Raises
    ------
    ShapeError
        If the shapes differ or are not [d].
    DomainError
        Unless u0, v0 and their product are positive normal numbers.
    """

    def __init__(self, u0: Any, v0: Any):
        dim = np.shape(u0)[-1] if np.ndim(u0) else 1
        self.u0 = as_points("u0", u0, dim)
        self.v0 = as_points("v0", v0, dim)
        if self.u0.ndim != 1 or self.v0.ndim != 1:
            raise ShapeError(f"u0 and v0 must have one shape [d], not {self.u0.shape} and {self.v0.shape}.")
        for name, value in (("u0", self.u0), ("v0", self.v0)):
            if (value <= 0).any():
                raise DomainError(f"{name} = {short(value)} must be positive in every entry.")
        with np.errstate(over="ignore"):
            self._width = 2.0 * self.u0 * self.v0
        if not ((self._width >= TINY) & (self._width <= HUGE)).all():
            raise DomainError(f"2 u0 v0 = {short(self._width)} leaves the range of float64: rescale w.")
        self._tilt = np.log(self.u0) - np.log(self.v0)
        # u0² - v0², where the parametrization starts and the gradient vanishes.
        start = (self.u0 - self.v0) * (self.u0 + self.v0)
        self._define(dim, name="HyperbolicEntropy", interior=start, is_mirror_map=True)

    def _arcsinh(self, w: np.ndarray) -> np.ndarray:
        """arcsinh(w / 2c): where the quotient overflows it is ln(2|w| / 2c), with w's sign."""
        with np.errstate(over="ignore"):
            ratio = w / self._width
        far = np.abs(ratio) > HUGE
        log = np.log(np.where(far, np.abs(w), 1.0)) + (np.log(2.0) - np.log(self._width))
        return np.where(far, np.copysign(log, w), np.arcsinh(np.where(far, 0.0, ratio)))

    def _r(self, w):
        return 0.25 * (w * (self._arcsinh(w) - self._tilt) - np.hypot(w, self._width))

    def _r1(self, w):
        return 0.25 * (self._arcsinh(w) - self._tilt)

    def _r2(self, w):
        return 0.25 / np.hypot(w, self._width)

    def _r3(self, w):
        root = np.hypot(w, self._width)
        return -0.25 * (w / root) / root / root

    def _r4(self, w):
        root = np.hypot(w, self._width)
        return 0.25 * (3.0 * (w / root) ** 2 - 1.0) / root / root / root

    def _flat(self, w):
        # ∫ dw / (2 (w² + 4c²)^¼), which is √|w| for |w| ≫ c.
        with np.errstate(over="ignore"):
            ratio = w / self._width
        far = np.abs(ratio) > FAR
        near = 0.5 * np.sqrt(self._width) * _quarter_integral(np.where(far, 0.0, ratio))
        return np.where(far, np.copysign(np.sqrt(np.abs(w)), w), near)

    def _flat_inverse(self, z):
        scaled = 2.0 * z / np.sqrt(self._width)
        far = np.abs(scaled) > 2.0 * np.sqrt(FAR)
        size = np.minimum(np.abs(z), np.sqrt(HUGE))
        near = self._width * _quarter_integral_inverse(np.where(far, 0.0, scaled))
        return np.where(far, np.copysign(size * size, z), near)

    def _make_conjugate(self):
        return HyperbolicCosine(self)


def _quarter_integral(s: np.ndarray) -> np.ndarray:
    """∫_0^s (1 + t²)^{-1/4} dt, by Carlson's elliptic integrals.

    With t = √(y^{-4} - 1) and y = cos θ it is ``2 [s/√h - ∫_0^φ cos²θ dθ / √(2 - sin²θ)]``, where
    h = √(1 + s²) and cos²φ = 1/h; the remaining integral is Carlson's R_F and R_D.
    """
    h = np.hypot(1.0, s)
    sine = s / (np.sqrt(h) * np.sqrt(h + 1.0))
    sine2 = sine * sine
    cosine2, delta = 1.0 / h, 1.0 - 0.5 * sine2
    one = np.ones_like(h)
    inner = elliprf(cosine2, delta, one) - sine2 * elliprd(cosine2, delta, one) / 3.0
    return 2.0 * (s / np.sqrt(h) - np.sqrt(0.5) * sine * inner)


def _quarter_integral_inverse(z: np.ndarray) -> np.ndarray:
    """Invert `_quarter_integral` by Newton.

    On s > 0 the integral is concave and at most min(s, 2√s), so max(z, z²/4) is a lower bound, at most a
    third below the root, from which Newton climbs monotonically: 6 iterations reach rounding.
    """
    size = np.minimum(np.abs(z), 1e75)
    lower = np.maximum(size, 0.25 * size * size)
    s = lower
    for _ in range(6):
        s = np.maximum(lower, s - (_quarter_integral(s) - size) * np.sqrt(np.hypot(1.0, s)))
    return np.copysign(s, z)


class HyperbolicCosine(SeparableConjugate):
    """R*(μ) = ½ Σ c_i cosh(4μ_i + ln(u0_i / v0_i)) on R^d, c = u0 v0: conjugate of `HyperbolicEntropy`."""

    base: HyperbolicEntropy

    def __init__(self, base: HyperbolicEntropy):
        super().__init__(base, "HyperbolicCosine", is_mirror_map=True)

    def _scaled(self, w: np.ndarray, function: Any) -> np.ndarray:
        """2c sinh or 2c cosh of 4μ + ln(u0/v0): far out the product may be finite where they are not."""
        t = 4.0 * w + self.base._tilt
        plain = self.base._width * function(t)
        if isfinite(np.vdot(plain, plain)):
            return plain
        far = np.abs(t) > 700.0
        near = self.base._width * function(np.where(far, 0.0, t))
        exponential = np.exp(np.where(far, np.abs(t) + np.log(0.5 * self.base._width), 0.0))
        return np.where(far, function(np.sign(t)) / function(1.0) * exponential, near)

    def _r(self, w):
        return 0.25 * self._scaled(w, np.cosh)

    def _r1(self, w):
        return self._scaled(w, np.sinh)

    def _r2(self, w):
        return 4.0 * self._scaled(w, np.cosh)

    def _r3(self, w):
        return 16.0 * self._scaled(w, np.sinh)

    def _r4(self, w):
        return 64.0 * self._scaled(w, np.cosh)


class TsallisEntropy(Separable):
    """R(w) = Σ (w_i^q - w_i) / (q - 1) on w > 0, for q > 0, q ≠ 1; w ln w in the limit q -> 1.

    Legendre in the strict sense only for q < 1: for q > 1 the gradient stays finite, -1/(q - 1), at the
    boundary, so a mirror flow may reach it. The gradient fills (q - 1) μ > -1, so R is no mirror map.
    There the conjugate is ``Σ y_i^{q/(q-1)}`` with ``y = (1 + (q - 1) μ) / q``.

    Parameters
    ----------
    dim : int
        d.
    q : float
        The order.

    Raises
    ------
    DomainError
        Unless q > 0 and q ≠ 1.
    """

    def __init__(self, dim: int, q: float):
        self.q = as_number("q", q, above=0.0)
        if self.q == 1.0:
            raise DomainError("q is 1.0, but must differ from 1: use NegativeEntropy, the limit q -> 1.")
        self._define(
            as_count("dim", dim), name=f"TsallisEntropy(q={self.q:g})", interior=1.0, is_mirror_map=False
        )

    # expm1 keeps the digits that w^q - w loses when q is near 1.

    def _r(self, w):
        return w * (np.expm1((self.q - 1.0) * np.log(w)) / (self.q - 1.0))

    def _r1(self, w):
        growth = np.expm1((self.q - 1.0) * np.log(w))
        return (1.0 + growth) + growth / (self.q - 1.0)

    def _r2(self, w):
        return self.q * w ** (self.q - 2.0)

    def _r3(self, w):
        if self.q == 2.0:
            return np.zeros(w.shape)
        return self.q * (self.q - 2.0) * w ** (self.q - 3.0)

    def _r4(self, w):
        if self.q in (2.0, 3.0):
            return np.zeros(w.shape)
        return self.q * (self.q - 2.0) * (self.q - 3.0) * w ** (self.q - 4.0)

    def _admits(self, w):
        return w > 0

    def _flat(self, w):
        return 2.0 / np.sqrt(self.q) * w ** (0.5 * self.q)

    def _flat_inverse(self, z):
        with np.errstate(over="ignore"):
            w = (0.5 * np.sqrt(self.q) * np.maximum(z, 0.0)) ** (2.0 / self.q)
        return np.clip(w, TINY, HUGE)

    @property
    def _flat_range(self):
        return np.zeros(self.dim), np.full(self.dim, np.inf)

    def _make_conjugate(self):
        return TsallisConjugate(self)


class TsallisConjugate(SeparableConjugate):
    """R*(μ) = Σ y_i^{q/(q-1)}, y = (1 + (q - 1) μ) / q, on y > 0, the conjugate of `TsallisEntropy`."""

    base: TsallisEntropy

    def __init__(self, base: TsallisEntropy):
        super().__init__(base, f"TsallisConjugate(q={base.q:g})", is_mirror_map=False)

    def _power(self, w: np.ndarray, exponent: float) -> np.ndarray:
        """y^{exponent/(q-1)}, through log1p so that q near 1 costs no digits."""
        q = self.base.q
        return np.exp(exponent * (np.log1p((q - 1.0) * (w - 1.0) / q) / (q - 1.0)))

    def _r(self, w):
        return self._power(w, self.base.q)

    def _r1(self, w):
        return self._power(w, 1.0)

    def _r2(self, w):
        return self._power(w, 2.0 - self.base.q) / self.base.q

    def _r3(self, w):
        q = self.base.q
        return (2.0 - q) / (q * q) * self._power(w, 3.0 - 2.0 * q)

    def _r4(self, w):
        q = self.base.q
        return (2.0 - q) * (3.0 - 2.0 * q) / q**3 * self._power(w, 4.0 - 3.0 * q)

    def _admits(self, w):
        q = self.base.q
        return (q - 1.0) * (w - 1.0) / q > -1.0

    def _flat_inverse(self, z):
        # The image of a tiny w_i may round to the boundary itself, which is 1/(1 - q).
        mu, edge = super()._flat_inverse(z), 1.0 / (1.0 - self.base.q)
        inside = edge - np.copysign(1e-15, edge) * (1.0 + abs(edge))
        return np.minimum(mu, inside) if edge > 0 else np.maximum(mu, inside)
