"""Flat-torus embeddings of hyperbolic space in the upper half-space model, and the metrics that need them.

The metric (|dx|² + dy²)/y² on {y > ρ} is induced by ``E(x, y) = (γ(x)/y, h(y))`` with |γ| = ρ, γ isometric
and ``h = arccosh(y/ρ) - √(1 - ρ²/y²)``, since |d(γ/y)|² = dx²/y² + ρ²dy²/y⁴ and h'² = 1/y² - ρ²/y⁴.
"""

from __future__ import annotations

import numpy as np

from riemflow.embedding.maps import Map
from riemflow.errors import DomainError

# ρ as a share of the least y in the region: at y = ρ the second derivatives of h are infinite.
SHARE = 0.9
GOLDEN = 0.5 * (1 + np.sqrt(5))


class HalfSpace(Map):
    """√factor · E in the coordinates u = (x, y), x in a given box and y ≥ y_min.

    Each x_i runs along a circle of radius ρ_i while its range is less than three quarters of the
    circumference, and otherwise along a curve of irrational slope on a torus, which never closes.
    """

    is_local = True

    def __init__(self, factor: float, x_low: np.ndarray, x_high: np.ndarray, y_min: float):
        m = len(x_low)
        self.root, self.rho = np.sqrt(factor), SHARE * y_min
        self.center = 0.5 * (x_low + x_high)
        part = self.rho / np.sqrt(m)
        extent = 0.5 * (x_high - x_low)
        radii, rates, axes = [], [], []
        self.reach = np.empty(m)
        for i in range(m):
            if extent[i] < 0.75 * np.pi * part:
                radii += [part]
                rates += [1.0 / part]
                axes += [i]
                self.reach[i] = 0.95 * np.pi * part
            else:
                # Two circles of radius r = part/√2 at rates k and golden·k, with r²k²(1 + golden²) = 1.
                r = part / np.sqrt(2.0)
                k = 1.0 / (r * np.sqrt(1.0 + GOLDEN**2))
                radii += [r, r]
                rates += [k, GOLDEN * k]
                axes += [i, i]
                self.reach[i] = 1.25 * extent[i]
        self.radii, self.rates, self.axes = np.array(radii), np.array(rates), np.array(axes)
        self.dim, self.ambient_dim = m + 1, 2 * len(radii) + 1

    def _split(self, u):
        angle = (u[..., :-1] - self.center)[..., self.axes] * self.rates
        return np.cos(angle) * self.radii, np.sin(angle) * self.radii, u[..., -1]

    def fun(self, u):
        c, s, y = self._split(u)
        q = self.rho / y
        height = np.arccosh(y / self.rho) - np.sqrt(1.0 - q * q)
        return self.root * np.concatenate([c / y[..., None], s / y[..., None], height[..., None]], axis=-1)

    def jacobian(self, u):
        c, s, y = self._split(u)
        n, k = len(self.radii), np.arange(len(self.radii))
        y = y[..., None]
        J = np.zeros((*u.shape[:-1], self.ambient_dim, self.dim))
        J[..., k, self.axes] = -s * self.rates / y
        J[..., n + k, self.axes] = c * self.rates / y
        J[..., :n, -1] = -c / y**2
        J[..., n:-1, -1] = -s / y**2
        J[..., -1, -1] = np.sqrt(y[..., 0] ** 2 - self.rho**2) / y[..., 0] ** 2
        return self.root * J

    def hessian(self, u):
        c, s, y = self._split(u)
        n, k, a = len(self.radii), np.arange(len(self.radii)), self.axes
        H = np.zeros((*u.shape[:-1], self.ambient_dim, self.dim, self.dim))
        y1 = y[..., None]
        for rows, value, turned in ((k, c, -s), (n + k, s, c)):
            H[..., rows, a, a] = -value * self.rates**2 / y1
            H[..., rows, a, -1] = H[..., rows, -1, a] = -turned * self.rates / y1**2
            H[..., rows, -1, -1] = 2.0 * value / y1**3
        gap = np.sqrt(y**2 - self.rho**2)
        H[..., -1, -1, -1] = 1.0 / (gap * y) - 2.0 * gap / y**3
        return self.root * H

    def start(self, x):
        n = len(self.radii)
        cos, sin = x[..., :n] / self.root, x[..., n:-1] / self.root
        planar = np.sqrt((cos**2 + sin**2).sum(axis=-1))
        y = self.rho / np.clip(planar, 1e-300, 1.0 - 1e-9)
        angle = np.arctan2(sin, cos)
        u = np.empty((*x.shape[:-1], self.dim))
        u[..., -1] = y
        for i in range(self.dim - 1):
            of_axis = np.flatnonzero(self.axes == i)
            first = of_axis[0]
            if len(of_axis) == 1:
                u[..., i] = self.center[i] + angle[..., first] / self.rates[first]
                continue
            # The first angle leaves x open by whole turns; the second circle tells which one it was.
            turns = np.ceil(self.reach[i] * self.rates[first] / (2 * np.pi)) + 1
            candidates = (angle[..., first, None] + 2 * np.pi * np.arange(-turns, turns + 1)) / self.rates[
                first
            ]
            second = of_axis[1]
            mismatch = 1.0 - np.cos(candidates * self.rates[second] - angle[..., second, None])
            best = np.argmin(np.where(np.abs(candidates) <= self.reach[i], mismatch, np.inf), axis=-1)
            u[..., i] = self.center[i] + np.take_along_axis(candidates, best[..., None], axis=-1)[..., 0]
        return u

    def belongs(self, u):
        y = u[..., -1]
        return (np.abs(u[..., :-1] - self.center) < self.reach).all(axis=-1) & (y > self.rho * (1 + 1e-9))


class _ThroughHalfSpace(Map):
    """E(u(w)) for coordinates u(w) whose first two derivatives a subclass gives."""

    is_local = True

    def _place(self, factor: float, extremes: np.ndarray) -> None:
        """Fit the half-space map to the region's extreme points.

        Each x_i(w) is linear or linear-fractional and y(w) quasi-concave, so that their extremes over a
        polytope are taken at its corners. For a ball they are sampled, which SHARE allows for, and
        `belongs` refuses what remains outside.
        """
        u = self.coordinates(extremes)
        low, high = u[:, :-1].min(axis=0), u[:, :-1].max(axis=0)
        y_min = u[:, -1].min()
        if not (np.isfinite(u).all() and y_min > 0):
            raise DomainError("The region touches the boundary of the domain: shrink it.")
        self.half_space = HalfSpace(factor, low, high, float(y_min))
        self.dim, self.ambient_dim = self.half_space.dim, self.half_space.ambient_dim

    def coordinates(self, w: np.ndarray) -> np.ndarray:
        """u(w) = (x, y): shape=[..., d] -> shape=[..., m + 1]."""
        raise NotImplementedError

    def coordinate_derivatives(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """∂u and ∂²u: shapes=[..., m + 1, d], [..., m + 1, d, d]."""
        raise NotImplementedError

    def fun(self, w):
        return self.half_space.fun(self.coordinates(w))

    def jacobian(self, w):
        return self.half_space.jacobian(self.coordinates(w)) @ self.coordinate_derivatives(w)[0]

    def hessian(self, w):
        u = self.coordinates(w)
        first, second = self.coordinate_derivatives(w)
        outer = self.half_space.hessian(u)
        pulled = np.swapaxes(first, -1, -2)[..., None, :, :] @ outer @ first[..., None, :, :]
        return pulled + np.einsum("...am,...mij->...aij", self.half_space.jacobian(u), second)

    def belongs(self, w):
        return self.half_space.belongs(self.coordinates(w))


class LorentzMap(_ThroughHalfSpace):
    """-ln s, s = w_d - ½Σ x_i², x = w_{<d}, with metric ds²/s² + |dx|²/s = 4(|dx|² + dy²)/y² at y = 2√s."""

    def __init__(self, extremes: np.ndarray):
        self._place(4.0, extremes)

    def coordinates(self, w):
        x = w[..., :-1]
        s = w[..., -1] - 0.5 * (x**2).sum(axis=-1)
        return np.concatenate([x, 2.0 * np.sqrt(s)[..., None]], axis=-1)

    def coordinate_derivatives(self, w):
        d = self.dim
        y = self.coordinates(w)[..., -1]
        # y² = 4s: ∂y = 2∂s/y and ∂²y = 2∂²s/y - ∂y∂yᵀ/y, with ∂s = (-x, 1).
        slope = np.concatenate([-w[..., :-1], np.ones((*w.shape[:-1], 1))], axis=-1) * (2.0 / y)[..., None]
        first = np.zeros((*w.shape, d))
        first[..., :, :] = np.eye(d)
        first[..., -1, :] = slope
        second = np.zeros((*w.shape, d, d))
        flat = np.diag(np.append(np.ones(d - 1), 0.0))
        outer = slope[..., :, None] * slope[..., None, :]
        second[..., -1, :, :] = -(2.0 * flat + outer) / y[..., None, None]
        return first, second

    def start(self, x):
        u = self.half_space.start(x)
        s = (0.5 * u[..., -1]) ** 2 + 0.5 * (u[..., :-1] ** 2).sum(axis=-1)
        return np.concatenate([u[..., :-1], s[..., None]], axis=-1)


class LorentzConjugateMap(_ThroughHalfSpace):
    """The same in the dual coordinates μ = (z, m), m < 0: x = z/(-m) and y = 2/√(-m)."""

    def __init__(self, extremes: np.ndarray):
        self._place(4.0, extremes)

    def coordinates(self, w):
        v = -1.0 / w[..., -1:]
        return np.concatenate([v * w[..., :-1], 2.0 * np.sqrt(v)], axis=-1)

    def coordinate_derivatives(self, w):
        d, z = self.dim, w[..., :-1]
        v = -1.0 / w[..., -1]  # ∂v/∂m = v²
        first, second = np.zeros((*w.shape, d)), np.zeros((*w.shape, d, d))
        i = np.arange(d - 1)
        first[..., i, i] = v[..., None]
        first[..., i, -1] = (v * v)[..., None] * z
        first[..., -1, -1] = v**1.5
        second[..., i, i, -1] = second[..., i, -1, i] = (v * v)[..., None]
        second[..., i, -1, -1] = 2.0 * (v**3)[..., None] * z
        second[..., -1, -1, -1] = 1.5 * v**2.5
        return first, second

    def start(self, x):
        u = self.half_space.start(x)
        m = -((2.0 / u[..., -1:]) ** 2)
        return np.concatenate([-m * u[..., :-1], m], axis=-1)


class ShapeOfMatrix(_ThroughHalfSpace):
    """The hyperbolic factor 2(dx² + dy²)/y² of -ln det [[a, b], [b, c]], x = b/a, y = √δ/a, δ = ac - b²."""

    def __init__(self, extremes: np.ndarray):
        self._place(2.0, extremes)
        self.dim = 3

    def coordinates(self, w):
        a, b, c = w[..., 0], w[..., 1], w[..., 2]
        return np.stack([b / a, np.sqrt(a * c - b * b) / a], axis=-1)

    def coordinate_derivatives(self, w):
        a, c = w[..., 0], w[..., 2]
        x, y = np.moveaxis(self.coordinates(w), -1, 0)
        zero, one = np.zeros(a.shape), np.ones(a.shape)
        dx = np.stack([-x, one, zero], axis=-1) / a[..., None]
        # v = y² = c/a - x², so ∂y = ∂v/(2y) and ∂²y = (∂²v - 2 ∂y∂yᵀ)/(2y).
        dv = np.stack([-c / a**2, zero, 1.0 / a], axis=-1) - 2.0 * x[..., None] * dx
        dy = dv / (2.0 * y[..., None])
        ddx = np.zeros((*w.shape, 3))
        ddx[..., 0, 0] = 2.0 * x / a**2
        ddx[..., 0, 1] = ddx[..., 1, 0] = -1.0 / a**2
        ddv = -2.0 * (dx[..., :, None] * dx[..., None, :] + x[..., None, None] * ddx)
        ddv[..., 0, 0] += 2.0 * c / a**3
        ddv[..., 0, 2] -= 1.0 / a**2
        ddv[..., 2, 0] -= 1.0 / a**2
        ddy = (ddv - 2.0 * dy[..., :, None] * dy[..., None, :]) / (2.0 * y[..., None, None])
        return np.stack([dx, dy], axis=-2), np.stack([ddx, ddy], axis=-3)


class LogDet2Map(Map):
    """-ln det of 2×2 matrices: (d ln δ)²/2 + 2(dx² + dy²)/y², so F = (ln δ/√2, the hyperbolic factor)."""

    is_local = True

    def __init__(self, extremes: np.ndarray):
        self.shape = ShapeOfMatrix(extremes)
        self.dim, self.ambient_dim = 3, self.shape.ambient_dim + 1

    def _determinant(self, w):
        a, b, c = w[..., 0], w[..., 1], w[..., 2]
        delta = a * c - b * b
        slope = np.stack([c, -2.0 * b, a], axis=-1) / delta[..., None]
        return delta, slope

    def fun(self, w):
        delta, _ = self._determinant(w)
        return np.concatenate([np.log(delta)[..., None] / np.sqrt(2.0), self.shape.fun(w)], axis=-1)

    def jacobian(self, w):
        _, slope = self._determinant(w)
        return np.concatenate([slope[..., None, :] / np.sqrt(2.0), self.shape.jacobian(w)], axis=-2)

    def hessian(self, w):
        delta, slope = self._determinant(w)
        constant = np.array([[0.0, 0.0, 1.0], [0.0, -2.0, 0.0], [1.0, 0.0, 0.0]])
        second = constant / delta[..., None, None] - slope[..., :, None] * slope[..., None, :]
        return np.concatenate([second[..., None, :, :] / np.sqrt(2.0), self.shape.hessian(w)], axis=-3)

    def start(self, x):
        u = self.shape.half_space.start(x[..., 1:])
        root = np.exp(x[..., 0] / np.sqrt(2.0))  # √δ … since ln δ = √2 x_0, this is δ^{1/2}
        a = root / u[..., 1]
        b = u[..., 0] * a
        return np.stack([a, b, (root**2 + b * b) / a], axis=-1)

    def belongs(self, w):
        return self.shape.belongs(w)
