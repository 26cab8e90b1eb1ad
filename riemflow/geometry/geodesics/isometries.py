"""Which geodesics a Legendre function has: read off its structure, or integrated.

Scaling and tilting R leave its geodesics as they are, an affine change of variables and the Legendre
transform carry them over, and those of a product are taken block by block.
"""

from __future__ import annotations

from copy import copy
from functools import singledispatch
from typing import Any

import numpy as np

from riemflow.geometry.geodesics.integrated import Integrated
from riemflow.geometry.geodesics.models import (
    JUST_SQUARED,
    Flat,
    Geodesics,
    HalfSpace,
    PositiveDefinite,
    Simplex,
    Straight,
)
from riemflow.legendre.algebra import Composed, Product, Scaled, Sum, Tilted
from riemflow.legendre.barriers import LogDet, LorentzBarrier, LorentzConjugate
from riemflow.legendre.conjugate import NumericalConjugate
from riemflow.legendre.families import Dirichlet, Gamma
from riemflow.legendre.function import LegendreFunction
from riemflow.legendre.partition import LogPartition, SimplexEntropy
from riemflow.legendre.quadratic import Quadratic, SquaredNorm
from riemflow.legendre.ridge import RidgeSum
from riemflow.legendre.separable import Separable


class Carried(Geodesics):
    """Geodesics in other coordinates z(w), in which `base` has them."""

    def __init__(self, base: Geodesics):
        self.base, self.is_hadamard, self.curvature = base, base.is_hadamard, base.curvature

    def there(self, w: np.ndarray) -> np.ndarray:
        """z(w)."""
        raise NotImplementedError

    def push(self, v: np.ndarray, w: np.ndarray, z: np.ndarray) -> np.ndarray:
        """The vector v at w in the coordinates z."""
        raise NotImplementedError

    def back(self, z: np.ndarray) -> np.ndarray:
        """w(z)."""
        raise NotImplementedError

    def pull(self, v: np.ndarray, w: np.ndarray, z: np.ndarray) -> np.ndarray:
        """The vector v at z in the coordinates w."""
        raise NotImplementedError

    def exp(self, v, w):
        z = self.there(w)
        end, reached = self.base.exp(self.push(v, w, z), z)
        return self.back(end), reached

    def log(self, q, w):
        z = self.there(w)
        vector, found = self.base.log(self.there(q), z)
        return self.pull(vector, w, z), found

    def transport(self, u, v, w):
        z = self.there(w)
        along = self.push(v, w, z)
        moved, reached = self.base.transport(self.push(u, w, z), along, z)
        end = self.base.exp(along, z)[0]
        return self.pull(moved, self.back(end), end), reached


class Affine(Carried):
    """Coordinates z = A w + b, A square and regular."""

    def __init__(self, base: Geodesics, A: np.ndarray, b: np.ndarray):
        super().__init__(base)
        self.A, self.b = A, b

    def there(self, w):
        return w @ self.A.T + self.b

    def push(self, v, w, z):
        return v @ self.A.T

    def back(self, z):
        return np.linalg.solve(self.A, (z - self.b).T).T

    def pull(self, v, w, z):
        return np.linalg.solve(self.A, v.T).T


class Mirrored(Carried):
    """Coordinates z = ∇Q(w) of the manifold of Q*, to which the Legendre transform is an isometry."""

    def __init__(self, base: Geodesics, Q: LegendreFunction):
        super().__init__(base)
        self.Q, self.R = Q, Q.conjugate

    def there(self, w):
        return self.Q._gradient(w)

    def push(self, v, w, z):
        return np.linalg.solve(self.R._hessian(z), v[..., None])[..., 0]

    def back(self, z):
        return self.R._gradient(z)

    def pull(self, v, w, z):
        return (self.R._hessian(z) @ v[..., None])[..., 0]


class Blocks(Geodesics):
    """A Riemannian product."""

    def __init__(self, parts: list[Geodesics], blocks: list[slice]):
        self.parts, self.blocks = parts, blocks
        self.is_hadamard = all(part.is_hadamard for part in parts)
        # Planes across two parts are flat.
        self.curvature = 0.0 if all(part.curvature == 0.0 for part in parts) else None

    def _each(self, method: str, *rows: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        pairs = zip(self.parts, self.blocks, strict=True)
        return [getattr(part, method)(*(r[:, block] for r in rows)) for part, block in pairs]

    def exp(self, v, w):
        found = self._each("exp", v, w)
        reached = np.min([share for _, share in found], axis=0)
        if (reached < 1.0).any():
            # The parts stop at the same time, that of the first to leave.
            found = self._each(
                "exp", np.where(reached < 1.0, reached * (1.0 - JUST_SQUARED), 1.0)[:, None] * v, w
            )
        return np.concatenate([y for y, _ in found], axis=-1), reached

    def log(self, q, w):
        found = self._each("log", q, w)
        return np.concatenate([v for v, _ in found], axis=-1), np.all([good for _, good in found], axis=0)

    def transport(self, u, v, w):
        found = self._each("transport", u, v, w)
        return np.concatenate([y for y, _ in found], axis=-1), np.min([share for _, share in found], axis=0)


@singledispatch
def geodesics_of(R: Any) -> Geodesics:
    """Return the geodesics of ∇²R. Register a class here to teach the library its closed form."""
    return Integrated.of(R)


@geodesics_of.register(Gamma)
@geodesics_of.register(Dirichlet)
def _(R):
    # Of negative curvature, and complete: Gamma as a warped product of lines, in shape and mean, and for
    # Dirichlet by Le Brigant, Preston and Puechmorel (2021).
    geodesics = Integrated.of(R)
    geodesics.is_hadamard = True
    return geodesics


@geodesics_of.register
def _(R: Separable):
    return Flat(R)


@geodesics_of.register(SquaredNorm)
@geodesics_of.register(Quadratic)
def _(R):
    return Straight()


@geodesics_of.register
def _(R: RidgeSum):
    if len(R.A) != R.dim:
        return Integrated.of(R)
    return Affine(Flat(R), R.A, R.b)


@geodesics_of.register
def _(R: LogPartition):
    return Simplex(R) if len(R.A) == R.dim + 1 else Integrated.of(R)


@geodesics_of.register
def _(R: SimplexEntropy):
    return Simplex(R)


@geodesics_of.register(LorentzBarrier)
@geodesics_of.register(LorentzConjugate)
def _(R):
    return HalfSpace(R)


@geodesics_of.register
def _(R: LogDet):
    return PositiveDefinite(R)


@geodesics_of.register
def _(R: Tilted):
    return geodesics_of(R.base)


@geodesics_of.register
def _(R: Scaled):
    same = copy(geodesics_of(R.base))
    if same.curvature is not None:
        same.curvature /= R.factor
    return same


@geodesics_of.register
def _(R: Composed):
    base = geodesics_of(R.base)
    if isinstance(base, Straight):
        return base
    return Affine(base, R.A, R.b) if R.A.shape[0] == R.A.shape[1] else Integrated.of(R)


@geodesics_of.register
def _(R: Sum):
    constant = all(isinstance(geodesics_of(term), Straight) for term in R.terms)
    return Straight() if constant else Integrated.of(R)


@geodesics_of.register
def _(R: Product):
    return Blocks([geodesics_of(part) for part in R.parts], R.blocks)


@geodesics_of.register
def _(R: NumericalConjugate):
    return Mirrored(geodesics_of(R.base), R)
