"""A sampled check of the necessary condition for a mirror flow: brackets stay in the kernel of ∂G."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from riemflow.commuting.brackets import field_derivative
from riemflow.commuting.checks import Check, one_point, reachable_points
from riemflow.commuting.iterated import words_at
from riemflow.commuting.lift import _fields, natural_scales
from riemflow.errors import DomainError
from riemflow.parametrizations.parametrization import Parametrization
from riemflow.validation import as_count, as_number, require_kind, short

CLEAR = 30.0  # times the error of differences: a defect below says nothing
MOST_WORDS = 4000  # of one length; of longer ones as many are drawn at random


def check_brackets_in_kernel(
    G: Parametrization,
    x: Any,
    order: int = 4,
    tol: float = 1e-8,
    *,
    n_points: int = 16,
    seed: int = 0,
) -> Check:
    """Check ``∂G(x) [[[∇G_{j1}, ∇G_{j2}], …], ∇G_{jk}](x) = 0`` for 2 ≤ k ≤ order at points reachable from x.

    That is condition (9), ``Lie^{≥2}(∂G)|_x ⊂ ker ∂G(x)``, which a mirror flow from every start satisfies
    (Thm 4.9 of Li, Wang, Lee and Arora, 2022). A failure says that G is no mirror flow. To pass says
    little: orders and points not looked at may fail, and the condition, which is necessary, suffices for
    complete analytic fields, not for all smooth ones (Conj. 4.10). Words [[…]] as above span all brackets,
    by Jacobi's identity.

    Two ways to be misled. At one point alone, order 2 may pass by accident: for UUᵀ at U = I all brackets
    of order 2 are skew, so in ker ∂G, and it is no mirror flow. And all brackets of order 2
    may lie in ker ∂G everywhere, while the cometric changes along them and order 3 fails: for Z in
    ker ∂G, ``[Z, ∇G_i] G_j = Z (∂G ∂Gᵀ)_ij``.

    Consequence (Cor. 4.12): if G is regular and its orbits have dimension d, brackets are tangent to them
    and so lie in the span of the ∇G_i, which meets ker ∂G in 0 only. Such a G is a mirror flow only if it
    commutes; where `check_commuting` fails, so does this check at order 2.

    The defect of a word is the largest ``|∂G_i B| / ‖∂G_i‖``, divided by ``Π s_j · max ‖∇G_j‖/s_j`` over its
    letters, with the slopes ``s_j = ‖∂∇G_j‖ + ‖∇G_j‖/(1+‖x‖)`` along the fields: a pure number.

    Parameters
    ----------
    x : array, shape=[D]
        The start; other points are reached from it by random short flows along ±∇G_i.
    order : int
        The longest words, at least 2. All words are looked at, up to 4000 of one length; then a random
        choice. Where brackets are had by differences (see `iterated_bracket`) the cost grows by a factor
        of 9 with each order.
    tol : float
        The largest defect that passes. Where brackets are had by differences it is raised to 30 times
        their error, and the check's `tolerance` says to what.
    n_points : int
        Points looked at, the start included.
    seed : int

    Returns
    -------
    Check
        With ``details["word"]`` the worst word, indices from zero, ``details["by_order"]`` the largest
        defect of each order, ``details["n_words"]`` and ``details["points"]``.

    Raises
    ------
    DomainError
        If x is not in the domain of G, an argument is out of range, or a bracket is not finite.
    ShapeError
        If x is not one point of R^D.
    ConvergenceError
        If brackets can only be had by differences and these do not resolve them.
    """
    require_kind("G", G, Parametrization)
    order, tol = as_count("order", order, least=2), as_number("tol", tol, above=0.0)
    n_points = as_count("n_points", n_points)
    x = one_point(G, x, "x")
    points = reachable_points(G, x, natural_scales(G, x), n_points, seed)
    worst, by_order, n_words, all_words = _worst(G, points, order, tol, np.random.default_rng(seed))
    n = len(points)
    at = f"at {n} point{'s' if n > 1 else ''}"
    scope = f"{n_words} brackets of order 2 to {order}{'' if all_words else ', a random choice,'}"
    size = f"{worst.defect:.3g} (bound {worst.bound:.0e})"
    passed = worst.share <= 1.0
    if passed:
        message = (
            f"{scope} of the fields of {G.name} lie in ker ∂G {at}: the largest scaled ∂G·bracket is {size}. "
            "This is necessary for a mirror flow, not sufficient"
        )
    else:
        message = (
            f"the bracket {_written(worst.word)} of {G.name} leaves ker ∂G, so it is no mirror flow: its "
            f"scaled ∂G·bracket is {size} at x = {short(worst.point)}, the worst of {scope} {at}"
        )
    details = {"word": worst.word, "by_order": by_order, "n_words": n_words, "points": points}
    return Check(passed, worst.defect, worst.bound, worst.point.copy(), n, message, details)


@dataclass(frozen=True)
class _Worst:
    defect: float
    bound: float
    word: tuple[int, ...]
    point: np.ndarray

    @property
    def share(self) -> float:
        return self.defect / self.bound


def _worst(
    G: Parametrization, points: np.ndarray, order: int, tol: float, rng: np.random.Generator
) -> tuple[_Worst, dict[int, float], int, bool]:
    """Return the worst word, the largest defect of each order, the number of words, and if these are all."""
    worst, by_order, n_words, all_words = _Worst(0.0, tol, (), points[0]), {}, 0, True
    with np.errstate(all="ignore"):
        brackets, scaled = words_at(G, points, order), _Sizes(G, points)
        for length in range(2, order + 1):
            by_order[length] = 0.0
            words, complete = _words(G.dim, length, rng)
            all_words &= complete
            for word in words:
                n_words += 1
                bracket, error = brackets(word)
                size = scaled.size(word)
                defects, bound = scaled.moved(bracket) / size, np.maximum(tol, CLEAR * error / size)
                if not np.isfinite(defects).all():
                    bad = points[~np.isfinite(defects)][0]
                    raise DomainError(
                        f"the bracket {_written(word)} of {G.name} is not finite at x = {short(bad)}: "
                        "restrict its domain=, or take a smaller order."
                    )
                k = int(np.argmax(defects / bound))
                by_order[length] = max(by_order[length], float(defects.max()))
                if defects[k] / bound[k] >= worst.share:
                    worst = _Worst(float(defects[k]), float(bound[k]), word, points[k])
    return worst, by_order, n_words, all_words


def _words(d: int, length: int, rng: np.random.Generator) -> tuple[Iterator[tuple[int, ...]], bool]:
    """Return the left-normed words with j1 < j2, or a random choice of them, and whether these are all."""
    pairs = [(i, j) for i in range(d) for j in range(i + 1, d)]
    if len(pairs) * d ** (length - 2) <= MOST_WORDS:
        return ((*pair, *rest) for pair in pairs for rest in product(range(d), repeat=length - 2)), True
    drawn = rng.integers(d, size=(MOST_WORDS, length - 2)).tolist()
    which = rng.integers(len(pairs), size=MOST_WORDS).tolist()
    return ((*pairs[k], *rest) for k, rest in zip(which, drawn, strict=True)), False


def _written(word: tuple[int, ...]) -> str:
    text = f"∇G_{word[0] + 1}"
    for j in word[1:]:
        text = f"[{text}, ∇G_{j + 1}]"
    return text


class _Sizes:
    """What a bracket at the points x [n, D] is measured by."""

    def __init__(self, G: Parametrization, x: np.ndarray):
        fields = _fields(G, x)
        self._norms = np.linalg.norm(fields, axis=-1)
        unit = fields / np.where(self._norms > 0, self._norms, 1.0)[..., None]
        steep = np.linalg.norm(field_derivative(G, x, unit), axis=-1).max(axis=-2)
        self._slopes = steep + self._norms / (1.0 + np.linalg.norm(x, axis=-1))[:, None]
        # The differentials of G_i on M, which are the ∇G_i only in the metric of R^D.
        J = G._jacobian(x) if G.manifold is None else G._jacobian(x) @ G.manifold.projector(x)
        norms = np.linalg.norm(J, axis=-1)
        self._rows = J / np.where(norms > 0, norms, 1.0)[..., None]

    def size(self, word: tuple[int, ...]) -> np.ndarray:
        """How large a bracket would be without cancellation, never zero: shape=[n]."""
        slopes, norms = self._slopes[:, list(word)], self._norms[:, list(word)]
        lengths = norms / np.where(slopes > 0, slopes, 1.0)
        size = slopes.prod(axis=-1) * lengths.max(axis=-1)
        return np.where(size > 0, size, 1.0)

    def moved(self, bracket: np.ndarray) -> np.ndarray:
        """The largest |∂G_i B| / ‖∂G_i‖ for B of shape [n, D]: shape=[n]."""
        return np.abs(np.einsum("nid,nd->ni", self._rows, bracket)).max(axis=-1)
