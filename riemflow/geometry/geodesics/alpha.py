"""Geodesics of α-connections: straight in w or in ∇R(w), those of the metric, or integrated and shot."""

from __future__ import annotations

from functools import partial

import numpy as np

from riemflow.geometry.geodesics.integrated import Integrated
from riemflow.geometry.geodesics.isometries import Mirrored, geodesics_of
from riemflow.geometry.geodesics.linear import solve
from riemflow.geometry.geodesics.models import Geodesics, Straight
from riemflow.geometry.geodesics.spreads import spread
from riemflow.legendre.conjugate import NumericalConjugate
from riemflow.legendre.function import LegendreFunction
from riemflow.legendre.rays import longest


def alpha_geodesics(R: LegendreFunction, alpha: float) -> Geodesics:
    """Return the geodesics of ``Γ = (1 - α)/2 · g⁻¹∇³R``."""
    if alpha == 0.0:
        return geodesics_of(R)
    if alpha == 1.0:
        return Primal(R)
    if isinstance(R, NumericalConjugate):
        # Its gradient is cheap and its other derivatives are not: they are those of R, on the other side.
        return Mirrored(alpha_geodesics(R.base, -alpha), R)
    if alpha == -1.0:
        return Dual(Primal(R.conjugate), R)
    if alpha < 0 and not isinstance(R.conjugate, NumericalConjugate):
        # In coordinates of the nearer flat connection geodesics are more nearly straight.
        return Dual(Shot(R.conjugate, -alpha), R)
    return Shot(R, alpha)


class Primal(Straight):
    """Straight in w, until they leave dom R."""

    is_hadamard = False

    def __init__(self, R: LegendreFunction):
        self.R = R

    def _end(self, v, w):
        share = longest(self.R, w, v, 1.0)
        return np.where(share == 1.0, np.inf, share)


class Dual(Mirrored):
    """As `Mirrored`, by the derivatives of Q rather than those of Q*, which may be numerical."""

    def push(self, v, w, z):
        return (self.Q._hessian(w) @ v[..., None])[..., 0]

    def pull(self, v, w, z):
        return solve(self.Q._hessian(w), v[..., None])[..., 0]


def _alpha_spread(R: LegendreFunction, alpha: float, w, v, u):
    return (1.0 - alpha) * spread(R, w, v, u)


class Shot(Integrated):
    """Integrated, with logarithms by shooting: a connection other than the metric's has no energy."""

    def __init__(self, R: LegendreFunction, alpha: float):
        super().__init__(R._hessian, R._belongs, partial(_alpha_spread, R, alpha), R)
        self.flat, self.alpha = (Primal(R), Dual(Primal(R.conjugate), R)), alpha

    def log(self, q, w):
        def guesses(start, end):
            primal, dual = (flat.log(end, start)[0] for flat in self.flat)
            # Right to second order in end - start, where logarithms are affine in α.
            return [0.5 * ((1.0 + self.alpha) * primal + (1.0 - self.alpha) * dual), primal, dual]

        return self.shot(q, w, guesses)
