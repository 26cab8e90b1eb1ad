"""Sparse polynomials that numpy computes with, as entries of an object array: what a function G is made of.

``G(x)`` evaluated at an array of variables gives G as a polynomial, with exact rational coefficients
(`order` None), or its Taylor polynomials at many points at once (`order` k). numpy's ufuncs call the
methods of the entries, ``np.exp(x)`` the method ``exp``; a function that asks for more than these
entries can do raises, and is not traceable.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import comb
from numbers import Integral, Real
from typing import Any

import numpy as np

Monomial = tuple[int, ...]  # the variables in ascending order, each as often as its power
Terms = dict[Monomial, Any]

# Beyond these, nested automatic derivatives are cheaper than Taylor polynomials: terms of one, and products
# of terms in the composition with an elementary function.
MOST_TERMS, MOST_PRODUCTS = 20_000, 60_000


def product(a: Terms, b: Terms, order: int | None, out: Terms | None = None, sign: int = 1) -> Terms:
    """Return a b without the terms of degree above `order`, added to `out` if given."""
    out = {} if out is None else out
    right = list(b.items())
    if order is not None:
        right.sort(key=lambda item: len(item[0]))
    for m, c in a.items():
        c = c if sign > 0 else -c
        for n, e in right:
            if order is not None and len(m) + len(n) > order:
                break
            key = tuple(sorted(m + n)) if m and n else m or n
            term = c * e
            out[key] = out[key] + term if key in out else term
    return out


def gradient(terms: Terms) -> dict[int, Terms]:
    """Return the partial derivatives that do not vanish, by variable."""
    out: dict[int, Terms] = {}
    for m, c in terms.items():
        for i in set(m):
            k = m.index(i)
            out.setdefault(i, {})[m[:k] + m[k + 1 :]] = c * m.count(i)
    return out


class Polynomial:
    """``Σ c_m x^m``, sparse, without the terms of degree above `order` (None: all are kept, exactly).

    Coefficients are Fractions if `order` is None, else floats or arrays with one entry for each point
    of a batch. Comparisons raise, so that a function with branches is not traceable.
    """

    __slots__ = ("order", "terms")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, terms: Terms, order: int | None):
        if order is not None and len(terms) > MOST_TERMS:
            raise TypeError(f"a Taylor polynomial of {len(terms)} terms is not carried on")
        self.terms, self.order = terms, order

    # Arithmetic.

    def _coerce(self, other: Any) -> Polynomial | None:
        if isinstance(other, Polynomial):
            return other
        if not isinstance(other, Real):
            return None
        if self.order is not None:
            number: Any = float(other)
        else:
            # A float is a rational number; Fraction would keep numpy's integers, which overflow.
            number = Fraction(int(other)) if isinstance(other, Integral) else Fraction(float(other))
        return Polynomial({(): number} if number else {}, self.order)

    def _made(self, terms: Terms) -> Polynomial:
        if self.order is None:
            terms = {m: c for m, c in terms.items() if c}
        return Polynomial(terms, self.order)

    def __add__(self, other: Any) -> Any:
        other = self._coerce(other)
        if other is None:
            return NotImplemented
        out = dict(self.terms)
        for m, c in other.terms.items():
            out[m] = out[m] + c if m in out else c
        return self._made(out)

    def __mul__(self, other: Any) -> Any:
        other = self._coerce(other)
        if other is None:
            return NotImplemented
        return self._made(product(self.terms, other.terms, self.order))

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self) -> Polynomial:
        return Polynomial({m: -c for m, c in self.terms.items()}, self.order)

    def __pos__(self) -> Polynomial:
        return self

    def __sub__(self, other: Any) -> Any:
        other = self._coerce(other)
        return NotImplemented if other is None else self + (-other)

    def __rsub__(self, other: Any) -> Any:
        return -self + other

    def __truediv__(self, other: Any) -> Any:
        other = self._coerce(other)
        if other is None:
            return NotImplemented
        if self.order is None:
            if any(other.terms):
                raise TypeError("a quotient of polynomials is no polynomial")
            return self._made({m: c / other.terms.get((), 0) for m, c in self.terms.items()})
        return self * other.reciprocal()

    def __rtruediv__(self, other: Any) -> Any:
        other = self._coerce(other)
        return NotImplemented if other is None else other / self

    def __pow__(self, exponent: Any) -> Any:
        if not isinstance(exponent, Real):
            return NotImplemented
        power = float(exponent)
        if not power.is_integer() or power < 0:
            return self._compose(lambda c, k: _power_series(c, power, k))
        result, base, n = self._coerce(1), self, int(power)
        while n:
            result = result * base if n & 1 else result
            n >>= 1
            base = base * base if n else base
        return result

    def _refuse(self, other: object) -> bool:
        raise TypeError("polynomials are not compared: G has branches")

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse

    def __bool__(self) -> bool:
        raise TypeError("a polynomial is neither true nor false: G has branches")

    # The functions that numpy's ufuncs call.

    def _compose(self, series: Callable[[Any, int], list]) -> Polynomial:
        """Return ``Σ s_k (self - c)^k``, c its constant term and s_k the Taylor coefficients at c."""
        if self.order is None:
            raise TypeError("no polynomial")
        n = len({i for m in self.terms for i in m})
        if comb(2 * n + self.order, self.order) > MOST_PRODUCTS:
            raise TypeError(f"a Taylor polynomial in {n} variables is not carried on")
        with np.errstate(all="ignore"):
            s = series(np.asarray(self.terms.get((), 0.0)), self.order)
            rest = Polynomial({m: c for m, c in self.terms.items() if m}, self.order)
            out: Terms = {(): s[-1]}
            for c in reversed(s[:-1]):
                out = product(out, rest.terms, self.order)
                out[()] = c
            return Polynomial(out, self.order)

    def conjugate(self) -> Polynomial:
        return self

    def square(self) -> Polynomial:
        return self * self

    def reciprocal(self) -> Polynomial:
        return self**-1

    def sqrt(self) -> Polynomial:
        return self**0.5

    def exp(self) -> Polynomial:
        return self._compose(_exp_series)

    def expm1(self) -> Polynomial:
        return self._compose(lambda c, k: [np.expm1(c), *_exp_series(c, k)[1:]])

    def log(self) -> Polynomial:
        return self._compose(lambda c, k: [np.log(c), *_integral(_power_series(c, -1.0, k))])

    def log1p(self) -> Polynomial:
        return self._compose(lambda c, k: [np.log1p(c), *_integral(_power_series(1.0 + c, -1.0, k))])

    def sin(self) -> Polynomial:
        return self._compose(lambda c, k: _over_factorials([np.sin(c), np.cos(c), -np.sin(c), -np.cos(c)], k))

    def cos(self) -> Polynomial:
        return self._compose(lambda c, k: _over_factorials([np.cos(c), -np.sin(c), -np.cos(c), np.sin(c)], k))

    def sinh(self) -> Polynomial:
        return self._compose(lambda c, k: _over_factorials([np.sinh(c), np.cosh(c)], k))

    def cosh(self) -> Polynomial:
        return self._compose(lambda c, k: _over_factorials([np.cosh(c), np.sinh(c)], k))

    def tanh(self) -> Polynomial:
        return self._compose(_tanh_series)

    def arctan(self) -> Polynomial:
        return self._compose(_arctan_series)

    def arctan2(self, other: Any) -> Any:
        """The angle of (other, self): that of the constant terms, plus the arctangent of a small turn."""
        x = self._coerce(other)
        if x is None:
            return NotImplemented
        x0, y0 = x._constant(), self._constant()
        turn = (self * x0 - x * y0) / (x * x0 + self * y0)
        return turn.arctan() + Polynomial({(): np.arctan2(y0.terms[()], x0.terms[()])}, self.order)

    def _constant(self) -> Polynomial:
        if self.order is None:
            raise TypeError("no polynomial")
        return Polynomial({(): np.asarray(self.terms.get((), 0.0))}, self.order)

    def __repr__(self) -> str:
        kept = "exact" if self.order is None else f"to degree {self.order}"
        return f"Polynomial({len(self.terms)} terms, {kept})"


# Taylor coefficients s_0 … s_k of a function at c.


def _over_factorials(cycle: list, k: int) -> list:
    out, factorial = [], 1.0
    for n in range(k + 1):
        factorial *= max(n, 1)
        out.append(cycle[n % len(cycle)] / factorial)
    return out


def _exp_series(c: Any, k: int) -> list:
    return _over_factorials([np.exp(c)], k)


def _power_series(c: Any, power: float, k: int) -> list:
    out, factor = [], 1.0
    for n in range(k + 1):
        out.append(factor * c ** (power - n))
        factor *= (power - n) / (n + 1)
    return out


def _integral(series: list) -> list:
    """The coefficients from the first on of a primitive, as many as there are derivatives less one."""
    return [s / (n + 1) for n, s in enumerate(series[:-1])]


def _tanh_series(c: Any, k: int) -> list:
    # y' = 1 - y²
    y = [np.tanh(c)]
    for n in range(k):
        square = sum(y[i] * y[n - i] for i in range(n + 1))
        y.append(((n == 0) - square) / (n + 1))
    return y


def _arctan_series(c: Any, k: int) -> list:
    # q = y' satisfies (1 + (c + t)²) q = 1.
    q = [1.0 / (1.0 + c**2)]
    for n in range(1, k + 1):
        before = 2.0 * c * q[n - 1] + (q[n - 2] if n > 1 else 0.0)
        q.append(-before * q[0])
    return [np.arctan(c), *_integral(q)]
