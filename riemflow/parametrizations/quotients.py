"""Parametrizations that do not commute and yet induce a mirror flow: their brackets are vertical."""

from __future__ import annotations

import numpy as np

from riemflow.parametrizations.parametrization import Parametrization


class ScrewQuotient(Parametrization):
    """G(x, y, z) = (φ, u + φ²/2) with φ = atan2(y, x) - z and u = -(½ ln r + r²/2 + r⁴/8), r² = x² + y².

    Defined off the half-plane y = 0, x ≤ 0, where atan2 has its cut. ``R(w) = r²/4 + r⁴/8`` with r the
    root of ``½ ln r + r²/2 + r⁴/8 = w_1²/2 - w_2``, up to an affine function.
    """

    def __init__(self):
        self._define(3, 2, name="ScrewQuotient")

    def _belongs(self, x):
        return np.isfinite(x).all(axis=-1) & ~((x[..., 1] == 0) & (x[..., 0] <= 0))

    def _parts(self, p):
        x, y, z = np.moveaxis(p, -1, 0)
        s = x**2 + y**2
        return x, y, s, np.arctan2(y, x) - z

    def _fun(self, p):
        _, _, s, phi = self._parts(p)
        return np.stack([phi, -(np.log(s) / 4 + s / 2 + s**2 / 8) + phi**2 / 2], axis=-1)

    def _gradients(self, p):
        x, y, s, phi = self._parts(p)
        angle = np.stack([-y / s, x / s, -np.ones_like(s)], axis=-1)
        slope = -(1 / (4 * s) + 0.5 + s / 4)
        radial = 2 * slope[..., None] * np.stack([x, y, np.zeros_like(s)], axis=-1)
        return angle, radial, phi, slope

    def _jacobian(self, p):
        angle, radial, phi, _ = self._gradients(p)
        return np.stack([angle, radial + phi[..., None] * angle], axis=-2)

    def _hessian(self, p):
        x, y, s, phi = self._parts(p)
        angle, _, _, slope = self._gradients(p)
        curl = np.zeros((*p.shape, 3))
        curl[..., 0, 0] = 2 * x * y / s**2
        curl[..., 1, 1] = -curl[..., 0, 0]
        curl[..., 0, 1] = curl[..., 1, 0] = (y**2 - x**2) / s**2
        flat = np.stack([x, y, np.zeros_like(x)], axis=-1)
        second = 1 / (4 * s**2) - 0.25
        radial = 2 * slope[..., None, None] * np.diag([1.0, 1.0, 0.0])
        radial = radial + 4 * second[..., None, None] * _outer(flat, flat)
        return np.stack([curl, radial + _outer(angle, angle) + phi[..., None, None] * curl], axis=-3)


class HopfCone(Parametrization):
    """G_i(x) = v_i(x)² / ‖x‖² on R⁴ where all v_i ≠ 0, v the Hopf map with ‖v‖ = ‖x‖².

    ``v = (2(x_1x_3 + x_2x_4), 2(x_2x_3 - x_1x_4), x_1² + x_2² - x_3² - x_4²)`` and
    ``R = (1/16) Σ w ln w + (3/16) S ln S``, S = Σ w, up to an affine function.
    """

    def __init__(self):
        B = np.zeros((3, 4, 4))
        B[0, 0, 2] = B[0, 2, 0] = B[0, 1, 3] = B[0, 3, 1] = 2.0
        B[1, 1, 2] = B[1, 2, 1] = 2.0
        B[1, 0, 3] = B[1, 3, 0] = -2.0
        B[2] = np.diag([2.0, 2.0, -2.0, -2.0])
        self.matrices = B
        self._define(4, 3, name="HopfCone")

    def _hopf(self, x):
        slopes = np.einsum("ijk,...k->...ij", self.matrices, x)
        return 0.5 * (slopes @ x[..., None])[..., 0], slopes, (x**2).sum(axis=-1)

    def _belongs(self, x):
        return np.isfinite(x).all(axis=-1) & (self._hopf(x)[0] != 0).all(axis=-1)

    def _fun(self, x):
        v, _, s = self._hopf(x)
        return v**2 / s[..., None]

    def _jacobian(self, x):
        v, slopes, s = self._hopf(x)
        ratio = (v / s[..., None])[..., None]
        return 2 * ratio * slopes - 2 * ratio**2 * x[..., None, :]

    def _hessian(self, x):
        v, slopes, s = self._hopf(x)
        s, ratio = s[..., None, None, None], (v / s[..., None])[..., None, None]
        ones = np.broadcast_to(x[..., None, :], slopes.shape)
        mixed = _outer(slopes, ones)
        mixed = mixed + np.swapaxes(mixed, -1, -2)
        return (
            2 * _outer(slopes, slopes) / s
            + 2 * ratio * self.matrices
            - 4 * ratio / s * mixed
            + 8 * ratio**2 / s * _outer(ones, ones)
            - 2 * ratio**2 * np.eye(4)
        )


def _outer(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., :, None] * b[..., None, :]
