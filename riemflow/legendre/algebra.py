"""Sums, multiples, affine changes of variable and products of Legendre functions.

The tree these classes build stays visible, so that conjugates and isometric embeddings known in
closed form for the leaves are known for the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.sparse import hstack, issparse, vstack

from riemflow.errors import DomainError, ShapeError
from riemflow.legendre.function import LegendreFunction
from riemflow.legendre.separable import scale_columns
from riemflow.validation import as_float, as_matrix, as_number, as_points, short


class Sum(LegendreFunction):
    """R(w) = Σ_k R_k(w), on the intersection of the domains."""

    def __init__(self, terms: Sequence[LegendreFunction]):
        dims = sorted({term.dim for term in terms})
        if len(dims) != 1:
            raise ShapeError(f"Terms of a sum need one dimension, but have {dims}: use product for blocks.")
        self.terms: list[LegendreFunction] = []
        for term in terms:
            self.terms += term.terms if isinstance(term, Sum) else [term]
        # dom (R1 + R2)* = dom R1* + dom R2*, which is everything as soon as one summand is.
        onto = True if any(term.is_mirror_map for term in self.terms) else None
        name = " + ".join(term.name for term in self.terms)
        self._define(dims[0], name=f"({name})", interior=0.0, is_mirror_map=onto)
        starts = [term.domain.interior for term in self.terms]
        self.domain.interior = _common_point([*starts, np.mean(starts, axis=0)], self._belongs, self.name)

    def _value(self, w):
        return np.sum([term._value(w) for term in self.terms], axis=0)

    def _gradient(self, w):
        return np.sum([term._gradient(w) for term in self.terms], axis=0)

    def _hessian(self, w):
        return np.sum([term._hessian(w) for term in self.terms], axis=0)

    def _third(self, w):
        return np.sum([term._third(w) for term in self.terms], axis=0)

    def _fourth(self, w):
        return np.sum([term._fourth(w) for term in self.terms], axis=0)

    def _third_along(self, w, v):
        return np.sum([term._third_along(w, v) for term in self.terms], axis=0)

    def _times_hessian(self, w, rows):
        return sum(term._times_hessian(w, rows) for term in self.terms)

    def _gram_root(self, w, rows):
        return _stack([term._gram_root(w, rows) for term in self.terms])

    def _belongs(self, w):
        return np.all([term._belongs(w) for term in self.terms], axis=0)


class Scaled(LegendreFunction):
    """c R(w) for a number c > 0, with conjugate c R*(μ/c)."""

    def __init__(self, factor: Any, base: LegendreFunction):
        self.factor = as_number("the factor of a Legendre function", factor, above=0.0)
        self.base, self._refuses = base, base._refuses
        name = f"{self.factor:g}·{base.name}"
        self._define(base.dim, name=name, interior=base.domain.interior, is_mirror_map=base.is_mirror_map)

    def _value(self, w):
        return self.factor * self.base._value(w)

    def _gradient(self, w):
        return self.factor * self.base._gradient(w)

    def _hessian(self, w):
        return self.factor * self.base._hessian(w)

    def _third(self, w):
        return self.factor * self.base._third(w)

    def _fourth(self, w):
        return self.factor * self.base._fourth(w)

    def _third_along(self, w, v):
        return self.factor * self.base._third_along(w, v)

    def _times_hessian(self, w, rows):
        return self.factor * self.base._times_hessian(w, rows)

    def _gram(self, w, rows):
        return self.factor * self.base._gram(w, rows)

    def _gram_root(self, w, rows):
        return np.sqrt(self.factor) * self.base._gram_root(w, rows)

    def _belongs(self, w):
        return self.base._belongs(w)

    def _make_conjugate(self):
        return Scaled(self.factor, self.base.conjugate.compose(np.eye(self.dim) / self.factor))


class Composed(LegendreFunction):
    """R(A w + b) for an injective matrix A, shape=[m, d].

    With A square its conjugate is ``R*(A^{-T} μ) - b·A^{-T} μ``; otherwise it is numerical.
    """

    def __init__(self, base: LegendreFunction, A: Any, b: Any = None):
        self.base, self._refuses = base, base._refuses
        self.A = as_matrix("A", A, (base.dim, None))
        m, d = self.A.shape
        self.b = np.zeros(m) if b is None else as_points("b", b, m)
        if self.b.ndim != 1:
            raise ShapeError(f"b has shape {self.b.shape}, but must have shape ({m},).")
        if np.linalg.matrix_rank(self.A) < d:
            raise DomainError(
                f"A, of shape {self.A.shape}, has rank {np.linalg.matrix_rank(self.A)} < {d}: "
                "R(A w + b) would not be strictly convex; drop the variables A does not see."
            )
        # Changes of units are common, and need no product with a matrix.
        factors = np.diagonal(self.A)
        self._factors = factors if m == d and np.array_equal(self.A, np.diag(factors)) else None
        onto = base.is_mirror_map if m == d or base.is_mirror_map else None
        start = np.linalg.lstsq(self.A, base.domain.interior - self.b, rcond=None)[0]
        self._define(d, name=f"{base.name}∘A", interior=start, is_mirror_map=onto)
        if not self._belongs(start):
            self.domain.interior = self._closest_interior(start)

    def _closest_interior(self, start: np.ndarray) -> np.ndarray:
        """Find an interior point by Newton on ½ dist(z, range)² + ε R(z), ε ↓ 0, from the base's own."""
        pseudo = np.linalg.pinv(self.A)
        off_range = np.eye(self.A.shape[0]) - self.A @ pseudo
        z = self.base.domain.interior.copy()
        for epsilon in np.geomspace(1.0, 1e-12, 25):
            for _ in range(20):
                gradient = off_range @ (z - self.b) + epsilon * self.base._gradient(z)
                step = np.linalg.solve(off_range + epsilon * self.base._hessian(z), -gradient)
                shrink = 1.0
                while not self.base._belongs(z + shrink * step) and shrink > 1e-12:
                    shrink *= 0.5
                z = z + (shrink if shrink == 1.0 else 0.9 * shrink) * step
                if np.abs(step).max() < 1e-9 * (1 + np.abs(z).max()):
                    break
            w = pseudo @ (z - self.b)
            if self._belongs(w):
                return w
        raise DomainError(
            f"No w with A w + b inside dom {self.base.name} was found (closest try {short(w)}): "
            "does the affine subspace meet the domain's interior?"
        )

    def _turned(self, w: Any) -> Any:
        """A w: shape=[..., d] -> shape=[..., m]."""
        return w @ self.A.T if self._factors is None else scale_columns(w, self._factors)

    def _back(self, z: Any) -> Any:
        """Aᵀz: shape=[..., m] -> shape=[..., d]."""
        return z @ self.A if self._factors is None else scale_columns(z, self._factors)

    def _place(self, w: np.ndarray) -> np.ndarray:
        return self._turned(w) + self.b

    def _value(self, w):
        return self.base._value(self._place(w))

    def _gradient(self, w):
        return self._back(self.base._gradient(self._place(w)))

    def _hessian(self, w):
        half = self._back(self.base._hessian(self._place(w)))
        return self.A.T @ half if self._factors is None else self._factors[:, None] * half

    def _third(self, w):
        third = self.base._third(self._place(w))
        return self._turned_back(third, 3)

    def _fourth(self, w):
        return self._turned_back(self.base._fourth(self._place(w)), 4)

    def _turned_back(self, derivative: np.ndarray, order: int) -> np.ndarray:
        """Aᵀ in each of the last `order` axes: shape=[..., m, m, …] -> shape=[..., d, d, …]."""
        for axis in range(-order, 0):
            derivative = np.moveaxis(self._back(np.moveaxis(derivative, axis, -1)), -1, axis)
        return derivative

    def _third_along(self, w, v):
        return self.A.T @ self.base._third_along(self._place(w), self._turned(v)) @ self.A

    def _times_hessian(self, w, rows):
        return self._back(self.base._times_hessian(self._place(w), self._turned(rows)))

    def _gram(self, w, rows):
        return self.base._gram(self._place(w), self._turned(rows))

    def _gram_root(self, w, rows):
        return self.base._gram_root(self._place(w), self._turned(rows))

    def _belongs(self, w):
        with np.errstate(all="ignore"):
            return np.isfinite(w).all(axis=-1) & self.base._belongs(self._place(w))

    def _make_conjugate(self):
        if self.A.shape[0] != self.A.shape[1]:
            return super()._make_conjugate()
        inverse = np.linalg.solve(self.A, np.eye(self.dim))
        conjugate = Composed(self.base.conjugate, inverse.T)
        return Tilted(conjugate, -inverse @ self.b) if self.b.any() else conjugate


class Tilted(LegendreFunction):
    """R(w) + c·w + k, which has R's metric; its conjugate is ``R*(μ - c) - k``."""

    def __init__(self, base: LegendreFunction, slope: Any, constant: Any = 0.0):
        self.base = base
        self.slope = as_points("slope", slope, base.dim)
        self.constant = as_number("constant", constant)
        self._refuses = base._refuses
        name = f"({base.name} + affine)"
        self._define(base.dim, name=name, interior=base.domain.interior, is_mirror_map=base.is_mirror_map)

    def _value(self, w):
        return self.base._value(w) + w @ self.slope + self.constant

    def _gradient(self, w):
        return self.base._gradient(w) + self.slope

    def _hessian(self, w):
        return self.base._hessian(w)

    def _third(self, w):
        return self.base._third(w)

    def _fourth(self, w):
        return self.base._fourth(w)

    def _third_along(self, w, v):
        return self.base._third_along(w, v)

    def _times_hessian(self, w, rows):
        return self.base._times_hessian(w, rows)

    def _gram(self, w, rows):
        return self.base._gram(w, rows)

    def _gram_root(self, w, rows):
        return self.base._gram_root(w, rows)

    def _belongs(self, w):
        return self.base._belongs(w)

    def _make_conjugate(self):
        shifted = self.base.conjugate.compose(np.eye(self.dim), -self.slope)
        return Tilted(shifted, np.zeros(self.dim), -self.constant) if self.constant else shifted


class Product(LegendreFunction):
    """R(w) = Σ_k R_k(w_(k)) for blocks w = (w_(1), w_(2), …) of the parts' dimensions."""

    def __init__(self, parts: Sequence[LegendreFunction]):
        self.parts = list(parts)
        if not self.parts:
            raise ShapeError("A product needs at least one factor.")
        edges = np.cumsum([0] + [part.dim for part in self.parts])
        self.blocks = [slice(int(a), int(b)) for a, b in pairwise(edges)]
        known = [part.is_mirror_map for part in self.parts]
        onto = False if False in known else None if None in known else True
        name = " ⊕ ".join(part.name for part in self.parts)
        interior = np.concatenate([part.domain.interior for part in self.parts])
        self._define(int(edges[-1]), name=f"({name})", interior=interior, is_mirror_map=onto)

    def _each(self):
        return zip(self.parts, self.blocks, strict=True)

    def _value(self, w):
        return np.sum([part._value(w[..., block]) for part, block in self._each()], axis=0)

    def _gradient(self, w):
        return np.concatenate([part._gradient(w[..., block]) for part, block in self._each()], axis=-1)

    def _hessian(self, w):
        hessian = np.zeros((*w.shape, self.dim))
        for part, block in self._each():
            hessian[..., block, block] = part._hessian(w[..., block])
        return hessian

    def _third(self, w):
        third = np.zeros((*w.shape, self.dim, self.dim))
        for part, block in self._each():
            third[..., block, block, block] = part._third(w[..., block])
        return third

    def _fourth(self, w):
        fourth = np.zeros((*w.shape, self.dim, self.dim, self.dim))
        for part, block in self._each():
            fourth[..., block, block, block, block] = part._fourth(w[..., block])
        return fourth

    def _third_along(self, w, v):
        change = np.zeros((*w.shape, self.dim))
        for part, block in self._each():
            change[..., block, block] = part._third_along(w[..., block], v[..., block])
        return change

    def _times_hessian(self, w, rows):
        parts = [part._times_hessian(w[block], rows[:, block]) for part, block in self._each()]
        return _stack(parts, axis=1)

    def _gram_root(self, w, rows):
        return _stack([part._gram_root(w[block], rows[:, block]) for part, block in self._each()])

    def _belongs(self, w):
        return np.all([part._belongs(w[..., block]) for part, block in self._each()], axis=0)

    def _make_conjugate(self):
        return Product([part.conjugate for part in self.parts])


def _stack(matrices: Sequence[Any], axis: int = 0) -> Any:
    if all(map(issparse, matrices)):
        return (vstack if axis == 0 else hstack)(matrices, format="csr")
    return np.concatenate([m.toarray() if issparse(m) else m for m in matrices], axis=axis)


def product(*parts: LegendreFunction) -> Product:
    """Return R(w) = R_1(w_(1)) + R_2(w_(2)) + … on separate blocks of variables.

    Raises
    ------
    ShapeError
        If there is no factor.
    """
    return Product(parts)


def _common_point(candidates: Sequence[np.ndarray], belongs, name: str) -> np.ndarray:
    points = as_float("candidates", np.array(candidates))
    inside = points[belongs(points)]
    if len(inside):
        return inside[0]
    # Convex combinations of the terms' interior points reach wherever the domains overlap between them.
    weights = np.random.default_rng(0).dirichlet(np.ones(len(points)), 4000)
    mixed = weights @ points
    inside = mixed[belongs(mixed)]
    if len(inside):
        return inside[0]
    raise DomainError(f"No common point of the domains in {name} was found: do they intersect?")
