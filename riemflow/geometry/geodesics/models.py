"""Geodesics in closed form: flat, spherical and hyperbolic metrics and that of positive definite matrices.

Each class works in the coordinates w of its Legendre function, on rows: v, u are tangent vectors and q, w
points, shape=[n, d]. None checks anything. Small differences of points are never formed from large numbers,
so that logarithms of near points keep their digits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.polynomial.legendre import leggauss

from riemflow.legendre.barriers import LogDet, LorentzBarrier, LorentzConjugate
from riemflow.legendre.partition import LogPartition, SimplexEntropy

EPS = np.finfo(np.float64).eps
# Shares of the way by which the last point given stays inside. Where coordinates are squares, and one may be
# all but 1, the larger one: the square of the smaller is lost beside 1.
JUST, JUST_SQUARED = 1e-9, 1e-7


class Geodesics:
    """Exponential map, logarithm and parallel transport of a metric, raw.

    Attributes
    ----------
    is_hadamard : bool
        Whether the manifold is known to be complete and of no positive curvature.
    curvature : float or None
        The sectional curvature, if it is known to be the same everywhere.
    is_closed_form : bool
        Whether vectors are carried along without looking whether float64 can hold where they arrive.
    """

    is_hadamard: bool = False
    curvature: float | None = None
    is_closed_form: bool = True

    def exp(self, v: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return exp_w(v), or the last point inside, and the share of the time covered, shape=[n]."""
        raise NotImplementedError

    def log(self, q: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return log_w(q) and where it was found, bool, shape=[n]."""
        raise NotImplementedError

    def transport(self, u: np.ndarray, v: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return u transported along t -> exp_w(t v) to t = 1, and the share of the time covered."""
        raise NotImplementedError


class ClosedForm(Geodesics):
    """Geodesics known for all times, until they leave the domain."""

    just = JUST

    def _exp(self, v: np.ndarray, w: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _log(self, q: np.ndarray, w: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _transport(self, u: np.ndarray, v: np.ndarray, w: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _end(self, v: np.ndarray, w: np.ndarray) -> np.ndarray:
        """The time at which exp_w(t v) leaves the domain, shape=[n]; infinite if it never does."""
        return np.full(len(w), np.inf)

    def exp(self, v, w):
        end = self._end(v, w)
        return self._exp(self._shortened(v, end), w), np.minimum(end, 1.0)

    def log(self, q, w):
        return self._log(q, w), np.ones(len(w), bool)

    def transport(self, u, v, w):
        end = self._end(v, w)
        return self._transport(u, self._shortened(v, end), w), np.minimum(end, 1.0)

    def _shortened(self, v: np.ndarray, end: np.ndarray) -> np.ndarray:
        return np.where(end > 1.0, 1.0, (1.0 - self.just) * np.where(end > 1.0, 1.0, end))[:, None] * v


class Straight(ClosedForm):
    """A constant metric: geodesics are straight in w."""

    is_hadamard, curvature = True, 0.0

    def _exp(self, v, w):
        return w + v

    def _log(self, q, w):
        return q - w

    def _transport(self, u, v, w):
        return u


class Flat(ClosedForm):
    """Σ r_i(t_i): geodesics are straight in the flat coordinates z_i = ∫√r_i'', which fill a box."""

    curvature = 0.0

    def __init__(self, scalar: Any):
        self.scalar = scalar
        low, high = scalar._flat_range
        self.is_hadamard = bool(np.isinf([low, high]).all())
        # An infinite side of the box ends, for float64, where w does.
        with np.errstate(over="ignore"):
            reach = [scalar._flat(scalar._flat_inverse(np.full(len(low), end))) for end in (-np.inf, np.inf)]
        self.box = np.where(np.isinf(low), reach[0], low), np.where(np.isinf(high), reach[1], high)

    def _exp(self, v, w):
        return self.scalar._flat_inverse(self.scalar._flat(w) + self._slope(w) * v)

    def _log(self, q, w):
        r = self.scalar
        z0, z1 = r._flat(w), r._flat(q)
        step = z1 - z0
        rounding = 4 * EPS * (np.abs(z0) + np.abs(z1))
        if (np.abs(step) < 1e6 * rounding).any():
            # Near points: ∫√r'' along the way, to all digits where 8 and 16 nodes agree.
            coarse, fine = (self._integral(w, q - w, n) for n in (8, 16))
            step = np.where(np.abs(fine - coarse) <= rounding, fine, step)
        return step / self._slope(w)

    def _transport(self, u, v, w):
        with np.errstate(divide="ignore", invalid="ignore"):
            return u * self._slope(w) / self._slope(self._exp(v, w))

    def _end(self, v, w):
        low, high = self.box
        z, speed = self.scalar._flat(w), self._slope(w) * v
        with np.errstate(divide="ignore", invalid="ignore"):
            ends = np.where(speed > 0, (high - z) / speed, np.where(speed < 0, (low - z) / speed, np.inf))
        return ends.min(axis=-1)

    def _slope(self, w: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return np.sqrt(self.scalar._r2(w))

    def _integral(self, w: np.ndarray, step: np.ndarray, n: int) -> np.ndarray:
        nodes, weights = leggauss(n)
        points = w + 0.5 * (nodes + 1.0)[:, None, None] * step
        return 0.5 * np.einsum("k,kni->ni", weights, self._slope(points)) * step


class Simplex(ClosedForm):
    """Probabilities p of d + 1 outcomes: q = √p lies on the unit sphere, and the metric is 4 |dq|².

    Geodesics are great circles, which leave where a probability vanishes. Any two points are joined, since
    the positive part of the sphere is convex.
    """

    just, curvature = JUST_SQUARED, 0.25

    def __init__(self, R: SimplexEntropy | LogPartition):
        self.chart = _Eliminated() if isinstance(R, SimplexEntropy) else _Natural(R)

    def _turn(self, v, w):
        """Return q, the speed q', the angle |q'| and its sine over it."""
        q = self.chart.roots(w)
        speed = self.chart.push(v, q)
        angle = np.linalg.norm(speed, axis=-1, keepdims=True)
        return q, speed, angle, np.sinc(angle / np.pi)

    def _exp(self, v, w):
        q, speed, angle, ratio = self._turn(v, w)
        return self.chart.point(np.cos(angle) * q + ratio * speed)

    def _log(self, q, w):
        root = self.chart.roots(w)
        step = self.chart.difference(q, w)
        chord = np.minimum(np.linalg.norm(step, axis=-1, keepdims=True), np.sqrt(2.0))
        angle = 2.0 * np.arcsin(0.5 * chord)
        return self.chart.pull((step + 0.5 * chord**2 * root) / np.sinc(angle / np.pi), root)

    def _transport(self, u, v, w):
        q, speed, angle, ratio = self._turn(v, w)
        moved = self.chart.push(u, q)
        unit = speed / np.where(angle > 0, angle, 1.0)
        along = (moved * unit).sum(axis=-1, keepdims=True)
        moved = moved - 2.0 * along * np.sin(0.5 * angle) ** 2 * unit - along * np.sin(angle) * q
        return self.chart.pull(moved, np.cos(angle) * q + ratio * speed)

    def _end(self, v, w):
        q, speed, angle, _ = self._turn(v, w)
        # q cos θ + (q'/|q'|) sin θ = 0 first at θ in (0, π).
        first = np.arctan2(q * angle, -speed).min(axis=-1)
        with np.errstate(divide="ignore"):
            return np.where(angle[:, 0] > 0, first / angle[:, 0], np.inf)


class _Eliminated:
    """Coordinates w of `SimplexEntropy`: all probabilities but the last."""

    @staticmethod
    def _full(v, total):
        return np.concatenate([v, total - v.sum(axis=-1, keepdims=True)], axis=-1)

    def roots(self, w):
        return np.sqrt(self._full(w, 1.0))

    def push(self, v, q):
        return 0.5 * self._full(v, 0.0) / q

    def pull(self, speed, q):
        return 2.0 * (q * speed)[..., :-1]

    def point(self, q):
        return q[..., :-1] ** 2

    def difference(self, w1, w0):
        return self._full(w1 - w0, 0.0) / (self.roots(w1) + self.roots(w0))


class _Natural:
    """Coordinates w of a `LogPartition` of d + 1 points a_k: ln p_k = a_k·w + ln c_k - ψ."""

    def __init__(self, R: LogPartition):
        self.R = R
        square = np.hstack([R.A, -np.ones((len(R.A), 1))])
        self._solve = np.linalg.solve(square, np.eye(len(square)))[:-1].T

    def roots(self, w):
        # √p from half the exponents, so that a tiny p does not underflow.
        t = self.R._exponents(w)
        q = np.exp(0.5 * (t - t.max(axis=-1, keepdims=True)))
        return q / np.linalg.norm(q, axis=-1, keepdims=True)

    def push(self, v, q):
        t = v @ self.R.A.T
        return 0.5 * q * (t - (q * q * t).sum(axis=-1, keepdims=True))

    def pull(self, speed, q):
        return (2.0 * speed / q) @ self._solve

    def point(self, q):
        return (2.0 * np.log(q) - self.R.log_weights) @ self._solve

    def difference(self, w1, w0):
        q0, t = self.roots(w0), (w1 - w0) @ self.R.A.T
        far = np.abs(t).max(axis=-1, keepdims=True) > 1.0
        # ln p_k changes by t_k - ln Σ p e^t.
        t = np.where(far, 0.0, t)
        t = t - np.log1p((q0 * q0 * np.expm1(t)).sum(axis=-1, keepdims=True))
        return np.where(far, self.roots(w1) - q0, q0 * np.expm1(0.5 * t))


class HalfSpace(ClosedForm):
    """Hyperbolic space of curvature -1/4: (|dx|² + dy²) 4/y² with s = y²/4 the height in the barrier.

    With n the length, β = y'/y and D = cosh n - β sinh(n)/n, a geodesic goes to x + x' sinh(n)/(nD), y/D.
    """

    is_hadamard, curvature = True, -0.25

    def __init__(self, R: LorentzBarrier | LorentzConjugate):
        self.chart = _Paraboloid() if isinstance(R, LorentzBarrier) else _Perspective()

    @staticmethod
    def _run(x, s, dx, ds):
        """Return n, sinh(n)/n, β, D and the tangent's two parts (x'/y, y'/y) in units of length."""
        flat, beta = dx / (2.0 * np.sqrt(s)), ds / (2.0 * s)
        n = np.sqrt((flat**2).sum(axis=-1, keepdims=True) + beta**2)
        with np.errstate(over="ignore", invalid="ignore"):
            ratio = np.where(n > 0, np.sinh(n) / np.where(n > 0, n, 1.0), 1.0)
            # cosh n - β sinh(n)/n without its cancellation upwards, (n - β)(n + β) = |x'|²/y².
            up = np.exp(-n) + ratio * (flat**2).sum(axis=-1, keepdims=True) / np.where(
                n + beta > 0, n + beta, 1
            )
            D = np.where(beta > 0, up, np.cosh(n) - beta * ratio)
        return n, ratio, beta, D, flat

    def _exp(self, v, w):
        x, s, dx, ds = self.chart.push(v, w)
        _, ratio, _, D, _ = self._run(x, s, dx, ds)
        with np.errstate(all="ignore"):
            return self.chart.point(x + dx * (ratio / D), s / D**2)

    def _log(self, q, w):
        x, s = self.chart.split(w)
        _, s1 = self.chart.split(q)
        step, rise = self.chart.difference(q, w)
        y, y1 = 2.0 * np.sqrt(s), 2.0 * np.sqrt(s1)
        dy = 4.0 * rise / (y + y1)
        square = (step**2).sum(axis=-1, keepdims=True) + dy**2
        n = 2.0 * np.arcsinh(0.5 * np.sqrt(square / (y * y1)))
        ratio = np.where(n > 0, np.sinh(n) / np.where(n > 0, n, 1.0), 1.0)
        dx = step * (y / (y1 * ratio))
        slope = (0.5 * square + y * dy) / (y1 * ratio)
        return self.chart.pull(x, s, dx, 0.5 * y * slope)

    def _transport(self, u, v, w):
        x, s, dx, ds = self.chart.push(v, w)
        n, ratio, beta, D, flat = self._run(x, s, dx, ds)
        _, _, ux, us = self.chart.push(u, w)
        with np.errstate(all="ignore"):
            x1, s1 = x + dx * (ratio / D), s / D**2
            # In the plane of the geodesic and the vertical, vectors turn with its tangent from (α, β) to
            # (α, β cosh n - sinh n)/D; across that plane, and by all, only the scale y1/y changes.
            length = np.linalg.norm(flat, axis=-1, keepdims=True)
            unit = flat / np.where(length > 0, length, 1.0)
            safe = np.where(n > 0, n, 1.0)
            a, b = length / safe, beta / safe
            a1, b1 = a / D, (b * np.cosh(n) - np.sinh(n)) / D
            cos, sin = np.where(n > 0, a * a1 + b * b1, 1.0), np.where(n > 0, a * b1 - b * a1, 0.0)
            level, rise = (ux * unit).sum(axis=-1, keepdims=True), us / np.sqrt(s)
            turned = cos * level - sin * rise
            ux1 = (ux + (turned - level) * unit) / D
            us1 = (sin * level + cos * rise) / D * np.sqrt(s1)
            return self.chart.pull(x1, s1, ux1, us1)


class _Paraboloid:
    """Coordinates w = (x, s + ½|x|²) of `LorentzBarrier`."""

    def split(self, w):
        x = w[..., :-1]
        return x, w[..., -1:] - 0.5 * (x * x).sum(axis=-1, keepdims=True)

    def push(self, v, w):
        x, s = self.split(w)
        dx = v[..., :-1]
        return x, s, dx, v[..., -1:] - (x * dx).sum(axis=-1, keepdims=True)

    def pull(self, x, s, dx, ds):
        return np.concatenate([dx, ds + (x * dx).sum(axis=-1, keepdims=True)], axis=-1)

    def point(self, x, s):
        return np.concatenate([x, s + 0.5 * (x * x).sum(axis=-1, keepdims=True)], axis=-1)

    def difference(self, w1, w0):
        step = w1 - w0
        dx = step[..., :-1]
        middle = 0.5 * (w1 + w0)[..., :-1]
        return dx, step[..., -1:] - (middle * dx).sum(axis=-1, keepdims=True)


class _Perspective:
    """Coordinates μ = (x/s, -1/s) of `LorentzConjugate`."""

    def split(self, w):
        s = -1.0 / w[..., -1:]
        return s * w[..., :-1], s

    def push(self, v, w):
        x, s = self.split(w)
        ds = s * s * v[..., -1:]
        return x, s, ds * w[..., :-1] + s * v[..., :-1], ds

    def pull(self, x, s, dx, ds):
        return np.concatenate([(dx - ds / s * x) / s, ds / s / s], axis=-1)

    def point(self, x, s):
        return np.concatenate([x / s, -1.0 / s], axis=-1)

    def difference(self, w1, w0):
        (_, s1), (_, s0) = self.split(w1), self.split(w0)
        rise = s0 * s1 * (w1 - w0)[..., -1:]
        return s1 * (w1 - w0)[..., :-1] + rise * w0[..., :-1], rise


class PositiveDefinite(ClosedForm):
    """The affine-invariant metric of `LogDet`: exp_S(V) = L exp(L⁻¹VL⁻ᵀ) Lᵀ with S = LLᵀ."""

    is_hadamard = True

    def __init__(self, R: LogDet):
        self.R = R

    def _whitened(self, v, w):
        """Return L, eigenvalues and eigenvectors of L⁻¹VL⁻ᵀ."""
        L = np.linalg.cholesky(self.R._matrix(w))
        half = np.linalg.solve(L, self.R._matrix(v))
        X = np.linalg.solve(L, np.swapaxes(half, -1, -2))
        values, vectors = np.linalg.eigh(0.5 * (X + np.swapaxes(X, -1, -2)))
        return L, values, vectors

    def _coordinates(self, left, values):
        """The upper triangle of left diag(values) leftᵀ."""
        return ((left * values[..., None, :]) @ np.swapaxes(left, -1, -2))[..., self.R._rows, self.R._columns]

    def _exp(self, v, w):
        L, values, vectors = self._whitened(v, w)
        with np.errstate(over="ignore", invalid="ignore"):
            return self._coordinates(L @ vectors, np.exp(values))

    def _log(self, q, w):
        L, values, vectors = self._whitened(q - w, w)
        near = self._coordinates(L @ vectors, np.log1p(np.maximum(values, -0.5)))
        if (values > -0.5).all():
            return near
        # Where 1 + λ would lose its digits, Q itself is whitened.
        L, whole, vectors = self._whitened(q, w)
        far = self._coordinates(L @ vectors, np.log(np.maximum(whole, np.finfo(float).tiny)))
        return np.where((values > -0.5).all(axis=-1, keepdims=True), near, far)

    def _transport(self, u, v, w):
        L, values, vectors = self._whitened(v, w)
        left = L @ vectors
        # E = L exp(½L⁻¹VL⁻ᵀ) L⁻¹, and U goes to E U Eᵀ.
        half = np.linalg.solve(left, self.R._matrix(u))
        inner = np.linalg.solve(left, np.swapaxes(half, -1, -2))
        with np.errstate(over="ignore", invalid="ignore"):
            grown = left * np.exp(0.5 * values)[..., None, :]
            return (grown @ inner @ np.swapaxes(grown, -1, -2))[..., self.R._rows, self.R._columns]
