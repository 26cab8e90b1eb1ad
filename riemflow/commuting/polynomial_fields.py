"""The gradient fields of a traced G as polynomial vector fields, exact or to a given order; brackets."""

from __future__ import annotations

from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from riemflow.commuting.lift import _fields, _onto, natural_scales
from riemflow.commuting.taylor import Polynomial, Terms, gradient, product
from riemflow.parametrizations.parametrization import Parametrization
from riemflow.validation import as_points, require_kind

AGREE = 1e-6  # of ‖∇G_i‖: traced fields that differ by more from the ones G states are not those of G
ROUNDING = 1e-13  # of the largest ‖∇G_j‖
DEPENDENT = 1e-9  # a constraint whose gradient is this close to the span of the others repeats them
MOVE = 1e-2  # of the distance over which the fields change: where traced fields are compared as well


class PolynomialField:
    """A vector field on R^D with polynomial components, the vanishing ones left out.

    Coefficients are of one kind: Fractions, floats, arrays over a batch of points, or integers modulo
    `modulus`. Terms of degree above `order` are not known, unless it is None.
    """

    def __init__(self, components: dict[int, Terms], order: int | None = None, modulus: int | None = None):
        self.components = {a: terms for a, terms in components.items() if terms}
        self.order, self.modulus = order, modulus

    @cached_property
    def slopes(self) -> dict[int, dict[int, Terms]]:
        """∂_b of component a, as slopes[a][b]."""
        return {a: gradient(terms) for a, terms in self.components.items()}

    def bracket(self, other: PolynomialField) -> PolynomialField:
        """[self, other] = ∂other·self - ∂self·other."""
        order = None
        if self.order is not None and other.order is not None:
            order = min(self.order, other.order) - 1
        out: dict[int, Terms] = {}
        for X, Y, sign in ((self, other, 1), (other, self, -1)):
            for a, partials in Y.slopes.items():
                for b, slope in partials.items():
                    if b in X.components:
                        product(slope, X.components[b], order, out.setdefault(a, {}), sign)
        if order is None:
            p = self.modulus
            for a, terms in out.items():
                reduced = terms.items() if p is None else ((m, c % p) for m, c in terms.items())
                out[a] = {m: c for m, c in reduced if c}
        return PolynomialField(out, order, self.modulus)

    def modulo(self, p: int) -> PolynomialField:
        """The field with its rational coefficients replaced by their residues modulo the prime p."""
        return PolynomialField(
            {a: {m: residue(c, p) for m, c in terms.items()} for a, terms in self.components.items()},
            self.order,
            p,
        )

    def rounded(self) -> PolynomialField:
        """The field with its rational coefficients replaced by floats."""
        return PolynomialField(
            {a: {m: float(c) for m, c in terms.items()} for a, terms in self.components.items()}
        )

    def at_origin(self, n: int, dim: int) -> np.ndarray:
        """The value at the point expanded about: shape=[n, D]."""
        out = np.zeros((n, dim))
        for a, terms in self.components.items():
            out[:, a] = terms.get((), 0.0)
        return out


def residue(number: Fraction, p: int) -> int:
    """Return a rational number modulo p; a float's denominator is a power of two, so invertible."""
    return number.numerator * pow(number.denominator, -1, p) % p


def evaluate(terms: Terms, x: Any, p: int | None = None) -> Any:
    """``Σ c_m x^m`` for x a sequence of numbers or of arrays, modulo p if given."""
    total: Any = 0
    for m, c in terms.items():
        for i in m:
            c = c * x[i] if p is None else c * x[i] % p
        total = total + c
    return total if p is None else total % p


def as_polynomials(G: Parametrization, x: Any = None, *, seed: int = 0) -> tuple[Polynomial, ...] | None:
    """Return G_1, …, G_d as polynomials with exact rational coefficients, or None if they are none.

    G is evaluated at an array of variables. A float in its formula counts as the rational number it is:
    0.1 is not 1/10. The gradients are compared with those that G states, at random points of its domain
    or at x, shape=[..., D]; if they differ, or no such point is met, the answer is None. It is None on
    submanifolds.

    Returns
    -------
    polynomials : tuple of Polynomial, or None
        ``polynomial.terms`` maps a monomial, the tuple of its variables in ascending order and each as
        often as its power, to a Fraction: {(0, 0, 2): Fraction(3)} is 3 x_0² x_2.
    """
    require_kind("G", G, Parametrization)
    if G.manifold is not None:
        return None
    traced = _trace(G._fun, [Polynomial({(a,): Fraction(1)}, None) for a in range(G.dim_in)], (G.dim,))
    if traced is None:
        return None
    points = np.random.default_rng(seed).standard_normal((16, G.dim_in))
    if x is not None:
        points = np.concatenate([as_points("x", x, G.dim_in).reshape(-1, G.dim_in), points])
    points = points[np.asarray(G._belongs(points), bool)]
    fields = [PolynomialField(gradient(f.terms)).rounded() for f in traced]
    values = np.zeros((len(points), G.dim, G.dim_in))
    for i, X in enumerate(fields):
        for a, terms in X.components.items():
            values[:, i, a] = evaluate(terms, points.T)
    return tuple(traced) if len(points) and agree(values, _fields(G, points)) else None


def taylor_fields(G: Parametrization, x: np.ndarray, order: int) -> list[PolynomialField] | None:
    """Return the fields X_i = ∇G_i about each x, shape=[n, D], to the degree `order`, or None.

    On M = {h = 0} they are extended to a neighbourhood by ``P ∇G_i``, P the projector along the ∇h. The
    answer is None if G or h is not traceable, or if G states other fields than these.
    """
    n = len(x)
    there = np.concatenate([x, moved_points(G, x)])
    variables = [Polynomial({(): there[:, a], (a,): np.ones(len(there))}, order + 1) for a in range(G.dim_in)]
    traced = _trace(G._fun, variables, (G.dim,))
    if traced is None:
        return None
    components = [gradient(f.terms) for f in traced]
    if G.manifold is not None:
        known = G.manifold._constraint(there[:1])
        constraints = (
            None if known is None else _trace(G.manifold._constraint, variables, np.shape(known)[1:])
        )
        if constraints is None:
            return None
        try:
            components = _tangential(components, [gradient(h.terms) for h in constraints], order)
        except TypeError:
            return None
    values = np.stack(
        [PolynomialField(c, order).at_origin(len(there), G.dim_in) for c in components], axis=-2
    )
    with np.errstate(all="ignore"):
        stated = _fields(G, there)
    if not agree(values, stated) or not np.isfinite(values[:n]).all():
        return None
    return [
        PolynomialField({a: {m: _first(c, n) for m, c in t.items()} for a, t in X.items()}, order)
        for X in components
    ]


def _trace(fun: Any, variables: list[Polynomial], shape: tuple[int, ...]) -> list[Polynomial] | None:
    # One row of a batch: functions may index with [..., None], which bare entries do not support.
    x = np.empty((1, len(variables)), dtype=object)
    x[0] = variables
    try:
        value = np.asarray(fun(x))
        if value.shape != (1, *shape):
            return None
        made = [variables[0]._coerce(entry) for entry in value.reshape(-1)]
    except Exception:
        # Whatever a function raises at symbols, it only says that it needs numbers: it is called with
        # those afterwards, and what it raises then is not caught.
        return None
    entries = [entry for entry in made if entry is not None]
    return entries if len(entries) == len(made) else None


def agree(values: np.ndarray, stated: np.ndarray) -> bool:
    """Whether two evaluations of d fields, shape=[n, d, D], agree where the second is finite."""
    inside = np.isfinite(stated).all(axis=(-2, -1))
    if not inside.any():
        return False
    gap = np.linalg.norm((values - stated)[inside], axis=-1).max(axis=0)
    size = np.linalg.norm(stated[inside], axis=-1).max(axis=0)
    # A field that vanishes identically may be stated with rounding errors of terms that cancel.
    return bool((gap <= AGREE * size + ROUNDING * size.max()).all())


def moved_points(G: Parametrization, x: np.ndarray) -> np.ndarray:
    """Points near x, on M: a field that agrees with another at x alone is told apart there."""
    length = np.array([natural_scales(G, point).x for point in x])
    direction = np.random.default_rng(0).standard_normal(x.shape)
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    moved = _onto(G, x + MOVE * length[:, None] * direction)
    return np.where(np.isfinite(moved).all(axis=-1, keepdims=True), moved, x)


def _first(c: Any, n: int) -> Any:
    return c[:n] if np.ndim(c) else c


def _tangential(fields: list[dict[int, Terms]], normals: list[dict[int, Terms]], order: int) -> list:
    """Project the fields along the normals ∇h, all of them polynomials, by Gram-Schmidt."""

    def dot(X: dict[int, Terms], Y: dict[int, Terms]) -> Terms:
        total: Terms = {}
        for a in X.keys() & Y.keys():
            product(X[a], Y[a], order, total)
        return total

    def without(X: dict[int, Terms], normal: dict[int, Terms], inverse: Polynomial) -> dict[int, Terms]:
        share = (Polynomial(dot(X, normal), order) * inverse).terms
        out = {a: dict(terms) for a, terms in X.items()}
        for a, terms in normal.items():
            product(share, terms, order, out.setdefault(a, {}), -1)
        return out

    frame: list[tuple[dict[int, Terms], Polynomial]] = []
    for normal in normals:
        size = np.asarray(dot(normal, normal).get((), 0.0))
        for q, inverse in frame:
            normal = without(normal, q, inverse)
        square = dot(normal, normal)
        new = np.asarray(square.get((), 0.0)) > DEPENDENT**2 * size
        if not new.any():
            continue  # it repeats the others, at every point
        if not new.all():
            raise TypeError("a constraint repeats the others at some points only")
        frame.append((normal, Polynomial(square, order).reciprocal()))
    for q, inverse in frame:
        fields = [without(X, q, inverse) for X in fields]
    return fields
