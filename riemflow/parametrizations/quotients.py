"""Two projectable parametrizations: mirror flows whose coordinate fields do not commute."""

from __future__ import annotations

import numpy as np

from riemflow.parametrizations.parametrization import Parametrization


class ScrewQuotient(Parametrization):
    """The quotient of R³ by a screw motion, as a map R³ -> R².

    With ``r² = x² + y²``, ``φ = atan2(y, x) - z`` and ``u = -(½ ln r + r²/2 + r⁴/8)``,
    ``G(x, y, z) = (φ, u + φ²/2)``. The bracket of ∇G_1 and ∇G_2 is not zero and lies in ker ∂G: flows
    in another order reach another x and the same w. It is a mirror flow, with
    ``R(w) = r²/4 + r⁴/8`` up to an affine function, r the root of ``½ ln r + r²/2 + r⁴/8 = w_1²/2 - w_2``.

    The domain is R³ without the half-plane {y = 0, x ≤ 0}: across it atan2 jumps by 2π, and so
    does G_1. A flow that would cross the slit has left the domain.
    """

    def __init__(self):
        self._define(3, 2, name="ScrewQuotient")

    def _parts(self, x: np.ndarray) -> tuple[np.ndarray, ...]:
        """Squared radius, φ, ∇φ, ∇u and du/d(r²)."""
        a, b = x[..., 0], x[..., 1]
        s = a**2 + b**2
        zero = np.zeros_like(s)
        phi = np.arctan2(b, a) - x[..., 2]
        gradient_phi = np.stack([-b / s, a / s, zero - 1], axis=-1)
        # u = -(¼ ln s + s/2 + s²/8) as a function of s = r², which has no square root.
        slope = -((1 + s) ** 2) / (4 * s)
        gradient_u = np.stack([2 * a * slope, 2 * b * slope, zero], axis=-1)
        return s, phi, gradient_phi, gradient_u, slope

    def _fun(self, x):
        s, phi, *_ = self._parts(x)
        return np.stack([phi, phi**2 / 2 - (np.log(s) / 4 + s / 2 + s**2 / 8)], axis=-1)

    def _jacobian(self, x):
        _, phi, gradient_phi, gradient_u, _ = self._parts(x)
        return np.stack([gradient_phi, gradient_u + phi[..., None] * gradient_phi], axis=-2)

    def _hessian(self, x):
        s, phi, gradient_phi, _, slope = self._parts(x)
        a, b = x[..., 0], x[..., 1]
        hessian = np.zeros((*x.shape[:-1], 2, 3, 3))
        angular = hessian[..., 0, :, :]
        angular[..., 0, 0], angular[..., 1, 1] = 2 * a * b / s**2, -2 * a * b / s**2
        angular[..., 0, 1] = angular[..., 1, 0] = (b**2 - a**2) / s**2
        bend = 1 / (4 * s**2) - 0.25
        plane = x * np.array([1.0, 1.0, 0.0])
        hessian[..., 1, :, :] = (
            phi[..., None, None] * angular
            + gradient_phi[..., :, None] * gradient_phi[..., None, :]
            + 2 * slope[..., None, None] * np.diag([1.0, 1.0, 0.0])
            + 4 * bend[..., None, None] * plane[..., :, None] * plane[..., None, :]
        )
        return hessian

    def _belongs(self, x):
        on_slit = (x[..., 1] == 0) & (x[..., 0] <= 0)
        return np.isfinite(x).all(axis=-1) & ~on_slit

    def _evaluator(self):
        """Return x -> (G(x), ∂G(x)) for the use of one flow: NaN across the slit, so that steps shrink."""
        last: list[np.ndarray] = []

        def evaluate(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            # The last good point is kept: later stages of a rejected step are not finite.
            if not np.isfinite(x).all() or (last and _meets_slit(last[0], x)):
                return np.full(2, np.nan), np.full((2, 3), np.nan)
            last[:] = [x.copy()]
            return self._fun(x), self._jacobian(x)

        return evaluate


def _meets_slit(x: np.ndarray, y: np.ndarray) -> bool:
    """Tell whether the segment from x to y crosses the half-plane where the second coordinate is 0."""
    (a, b), (c, e) = x[:2], y[:2]
    if b * e > 0 or b == e:
        return False
    # The first coordinate where the second one vanishes is (a e - c b) / (e - b).
    return bool((a * e - c * b) * np.sign(e - b) <= 0)


class HopfCone(Parametrization):
    """The cone over the Hopf map, R⁴ -> R³.

    With ``v = (2(x_1 x_3 + x_2 x_4), 2(x_2 x_3 - x_1 x_4), x_1² + x_2² - x_3² - x_4²)``, for which
    ‖v‖ = ‖x‖², ``G_i(x) = v_i² / ‖x‖²``. Hence Σ w_i = ‖x‖², and ``∂G∂Gᵀ = 16 diag w - 12 w wᵀ / Σ w``. The
    brackets are not zero and lie in ker ∂G, the direction of the Hopf fibre. It is a mirror flow,
    with ``R(w) = (1/16) Σ w_i ln w_i + (3/16) S ln S``, S = Σ w_i, up to an affine function.

    The domain is {v_i ≠ 0 for all i}; there G is regular.
    """

    # v_i = xᵀ M_i x
    _matrices = np.array(
        [
            [[0, 0, 1, 0], [0, 0, 0, 1], [1, 0, 0, 0], [0, 1, 0, 0]],
            [[0, 0, 0, -1], [0, 0, 1, 0], [0, 1, 0, 0], [-1, 0, 0, 0]],
            [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 0], [0, 0, 0, -1]],
        ],
        dtype=float,
    )

    def __init__(self):
        self._define(4, 3, name="HopfCone")

    def _parts(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The ratios p_i = v_i / ‖x‖² [..., 3], M_i x [..., 3, 4], and ‖x‖² [...]."""
        images = np.einsum("iab,...b->...ia", self._matrices, x)
        square = (x**2).sum(axis=-1)
        return np.einsum("...ia,...a->...i", images, x) / square[..., None], images, square

    def _fun(self, x):
        p, _, square = self._parts(x)
        return p**2 * square[..., None]

    def _jacobian(self, x):
        p, images, _ = self._parts(x)
        return 4 * p[..., None] * images - 2 * (p**2)[..., None] * x[..., None, :]

    def _hessian(self, x):
        p, images, square = self._parts(x)
        x = x[..., None, :]
        # ∇p_i = 2 (M_i x - p_i x) / ‖x‖², put into the derivative of 4 p_i M_i x - 2 p_i² x.
        steep = 2 * (images - p[..., None] * x) / square[..., None, None]
        change = 4 * images - 4 * p[..., None] * x
        return (
            change[..., :, None] * steep[..., None, :]
            + 4 * p[..., None, None] * self._matrices
            - 2 * (p**2)[..., None, None] * np.eye(4)
        )

    def _belongs(self, x):
        with np.errstate(all="ignore"):
            p, _, square = self._parts(x)
            return np.isfinite(x).all(axis=-1) & (square > 0) & (p != 0).all(axis=-1)
