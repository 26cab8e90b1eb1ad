"""Iterated Lie brackets [[[∇G_1, ∇G_2], ∇G_3], …] of any order, on open sets and on submanifolds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from riemflow import autodiff
from riemflow.commuting.lift import _fields, _onto, natural_scales
from riemflow.commuting.polynomial_fields import PolynomialField, agree, moved_points, taylor_fields
from riemflow.errors import ConvergenceError, DomainError, ShapeError
from riemflow.parametrizations.parametrization import Parametrization
from riemflow.validation import as_count, require_kind, short

Word = tuple[int, ...]

# The central difference of order 8 at the offsets ±1, ±2, ±3, ±4.
_OFFSETS = np.array([1.0, 2.0, 3.0, 4.0, -1.0, -2.0, -3.0, -4.0])
_WEIGHTS = np.array([672.0, -168.0, 32.0, -3.0, -672.0, 168.0, -32.0, 3.0]) / 840.0
# Of the distance over which the fields change. The difference errs by (h/ℓ)^8, rounding by eps (ℓ/h)^k in
# brackets of order k + 1.
STEP = 1e-2
SHRINKS = 4
DISAGREE = 1e-5  # of the natural size of a bracket: two steps that differ by more resolve nothing


def iterated_bracket(G: Parametrization, x: Any, word: Sequence[int]) -> np.ndarray:
    """``[[[∇G_{j1}, ∇G_{j2}], ∇G_{j3}], …, ∇G_{jk}](x)`` for the word (j1, …, jk).

    With ``[X, Y] = ∂Y X - ∂X Y``. On a submanifold M it is the bracket of the vector fields ``P ∇G_i`` on
    M. How it is computed, and how accurate it is:

    - G made of arithmetic and elementary functions: by Taylor polynomials of G about x, which are exact, so
      up to rounding. This includes the catalogue and submanifolds given by a constraint.
    - other G written with ``autograd.numpy``, on open sets: by nested automatic derivatives, up to rounding.
    - all others: by nested central differences along M, to about 1e-13, 1e-11 and 1e-8 of
      ``Π ‖∇G_j‖ / ℓ^{k-1}`` at order k = 2, 3 and 4, ℓ the distance over which the fields change.

    Parameters
    ----------
    x : array, shape=[..., D]
    word : sequence of int
        Indices of the fields, counted from zero; at least one. One alone gives the field itself.

    Returns
    -------
    bracket : array, shape=[..., D]
        An element of the Lie algebra of (9) in Li, Wang, Lee and Arora (2022), which these words span.

    Raises
    ------
    DomainError
        If x is not in the domain of G, a letter is no index of a field, or differences around x leave the
        domain however small their step.
    ShapeError
        If the last axis of x does not have length D, or the word is empty.
    ConvergenceError
        If differences with two steps disagree.
    """
    require_kind("G", G, Parametrization)
    x = G._inside(x)
    letters = _as_word(G, word)
    flat = x.reshape(-1, G.dim_in)
    if len(flat) == 0:
        return np.zeros(x.shape)
    with np.errstate(all="ignore"):
        value, _ = words_at(G, flat, len(letters))(letters)
        return G._finite("iterated bracket", value.reshape(x.shape), x, (G.dim_in,))


def _as_word(G: Parametrization, word: Sequence[int]) -> Word:
    if len(word) == 0:
        raise ShapeError("word is empty: it needs at least one index.")
    letters = tuple(as_count(f"word[{k}]", j, least=0) for k, j in enumerate(word))
    for k, j in enumerate(letters):
        if j >= G.dim:
            raise DomainError(f"word[{k}] is {j}, but must be less than {G.dim}, the number of fields.")
    return letters


class Words(Protocol):
    """A bracket at the points it was made for: word -> its values [n, D], and how far they may be off [n].

    The error is that of differences; rounding is not counted.
    """

    def __call__(self, word: Word) -> tuple[np.ndarray, np.ndarray]: ...


def words_at(G: Parametrization, x: np.ndarray, length: int) -> Words:
    """Return the brackets of words of up to `length` letters at x, shape=[n, D], in the best way there is."""
    fields = taylor_fields(G, x, length - 1)
    if fields is not None:
        return _TaylorWords(fields, x)
    if _is_differentiable(G, x, length):
        return _AutomaticWords(G, x)
    return _DifferenceWords(G, x)


class _TaylorWords:
    """Brackets of Taylor polynomials; a prefix common to many words is expanded once."""

    def __init__(self, fields: list[PolynomialField], x: np.ndarray):
        self._known: dict[Word, PolynomialField] = {(j,): X for j, X in enumerate(fields)}
        self._shape = x.shape

    def _field(self, word: Word) -> PolynomialField:
        if word not in self._known:
            self._known[word] = self._field(word[:-1]).bracket(self._known[word[-1:]])
        return self._known[word]

    def __call__(self, word: Word) -> tuple[np.ndarray, np.ndarray]:
        return self._field(word).at_origin(*self._shape), np.zeros(self._shape[0])


class _AutomaticWords:
    """Nested automatic derivatives of G as the user wrote it."""

    def __init__(self, G: Parametrization, x: np.ndarray):
        self._fun, self._x = G._callables["fun"], x

    def _field(self, word: Word) -> Callable[[Any], Any]:
        j = word[-1]
        X = autodiff.gradient(lambda x: self._fun(x)[..., j])
        if len(word) == 1:
            return X
        F = self._field(word[:-1])
        along_F, along_X = autodiff.directional(X), autodiff.directional(F)
        return lambda x: along_F(x, F(x)) - along_X(x, X(x))

    def __call__(self, word: Word) -> tuple[np.ndarray, np.ndarray]:
        return self._field(word)(self._x), np.zeros(len(self._x))


def _is_differentiable(G: Parametrization, x: np.ndarray, length: int) -> bool:
    """Whether autograd differentiates G often enough, and finds the fields that G states."""
    if G.manifold is not None or not hasattr(G, "_callables"):
        return False
    stated, words = _fields(G, x), _AutomaticWords(G, x)
    try:
        if not agree(np.stack([words((j,))[0] for j in range(G.dim)], axis=-2), stated):
            return False
        words(tuple(k % G.dim for k in range(length)))
    except Exception:
        # As in tracing: what a function raises at autograd's boxes only says that it cannot be
        # differentiated by it. It has been evaluated at numbers before.
        return False
    return True


class _DifferenceWords:
    """Nested central differences along M, for fields of which only values are known."""

    def __init__(self, G: Parametrization, x: np.ndarray):
        self._G, self._x = G, x
        self._length = np.array([natural_scales(G, point).x for point in x])
        # Also next to x: a field may vanish at x, but its brackets need not.
        sizes = [np.linalg.norm(_fields(G, points), axis=-1) for points in (x, moved_points(G, x))]
        self._sizes = np.fmax(*sizes)

    def _along(self, field: Callable, x: np.ndarray, v: np.ndarray, step: np.ndarray) -> np.ndarray:
        """Differentiate a field along v: any curve on M with that velocity will do."""
        norm = np.linalg.norm(v, axis=-1)
        unit = v / np.where(norm > 0, norm, 1.0)[:, None]
        points = x[:, None] + _OFFSETS[:, None] * (step[:, None] * unit)[:, None]
        points = _onto(self._G, points.reshape(-1, x.shape[-1]))
        values = field(points, np.repeat(step, len(_OFFSETS))).reshape(len(x), len(_OFFSETS), -1)
        return np.einsum("k,nkd->nd", _WEIGHTS, values) * (norm / step)[:, None]

    def _field(self, word: Word) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        def X(x, step):
            out = np.full(x.shape, np.nan)
            good = np.isfinite(x).all(axis=-1)
            out[good] = _fields(self._G, x[good])[:, word[-1]]
            return out

        if len(word) == 1:
            return X
        F = self._field(word[:-1])
        return lambda x, step: self._along(X, x, F(x, step), step) - self._along(F, x, X(x, step), step)

    def __call__(self, word: Word) -> tuple[np.ndarray, np.ndarray]:
        field, step = self._field(word), STEP * self._length
        value, gap = np.full(self._x.shape, np.nan), np.full(len(self._x), np.inf)
        for _ in range(SHRINKS):
            coarse, fine = field(self._x, step), field(self._x, step / 2)
            change = np.linalg.norm(fine - coarse, axis=-1)
            better = change < gap
            value, gap = np.where(better[:, None], fine, value), np.where(better, change, gap)
            if np.isfinite(gap).all():
                break
            step = step / 4
        k = int(np.argmax(gap))
        if not np.isfinite(gap[k]):
            raise DomainError(
                f"differences around x = {short(self._x[k])} leave the domain of {self._G.name}, down to a "
                f"step of {step[k]:.1e}: move x inside."
            )
        size = self._sizes[:, list(word)].prod(axis=-1) / self._length ** (len(word) - 1)
        if (gap > DISAGREE * size).any():
            k = int(np.argmax(gap / size))
            raise ConvergenceError(
                f"the bracket {word} of {self._G.name} at x = {short(self._x[k])} is not resolved: "
                f"differences with two steps differ by {gap[k]:.3g}. Write G with autograd.numpy, or take "
                "shorter words.",
                partial=value,
            )
        return value, gap
