"""Sampled checks of a parametrization: regular, commuting. They return what they saw and never print."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from riemflow.commuting.brackets import field_derivative
from riemflow.commuting.legs import follow
from riemflow.commuting.lift import Scales, natural_scales
from riemflow.errors import ShapeError
from riemflow.parametrizations.parametrization import Parametrization
from riemflow.validation import as_count, as_number, require_kind, short

LEGS = 4  # coordinate flows in a random walk to a reachable point
ENTRIES = 2_000_000  # of second derivatives held at once


@dataclass(frozen=True)
class Check:
    """What a check at sampled points found; it proves nothing between them.

    Attributes
    ----------
    passed : bool
    defect : float
        The size of what should vanish; for `check_regular`, of what should not.
    tolerance : float
        The bound the defect was compared with.
    point : array
        The worst point.
    n_points : int
        How many points were looked at.
    message : str
        One sentence with all of that.
    details : mapping
        Further findings by name.
    """

    passed: bool
    defect: float
    tolerance: float
    point: np.ndarray
    n_points: int
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Check({'passed' if self.passed else 'FAILED'}: {self.message})"


def check_regular(G: Parametrization, x: Any, tol: float = 1e-12) -> Check:
    """Check that ∂G(x) has full rank d: σ_min/σ_max of ∂G(x), which must exceed `tol`.

    Parameters
    ----------
    x : array, shape=[..., D]
        The points to look at.
    tol : float
        Note the sense: the `defect` reported is the smallest ratio found, and it must be *above* `tol`.

    Raises
    ------
    DomainError
        If a point is not in the domain of G, or ∂G is not finite there.
    ShapeError
        If there is no point.
    """
    require_kind("G", G, Parametrization)
    tol = as_number("tol", tol, above=0.0, below=1.0)
    if np.size(x) == 0:
        raise ShapeError(f"x has shape {np.shape(x)}, and with it no point to look at: give at least one.")
    J = G.jacobian(x).reshape(-1, G.dim, G.dim_in)
    points = np.asarray(x, dtype=np.float64).reshape(-1, G.dim_in)
    if G.dim > G.dim_in:
        values = np.zeros((len(J), G.dim))
    else:
        values = np.linalg.svd(J, compute_uv=False)
    largest = values[:, 0]
    ratios = values[:, -1] / np.where(largest > 0, largest, 1.0)
    k = int(np.argmin(ratios))
    ratio, passed = float(ratios[k]), bool(ratios[k] > tol)
    n = len(points)
    what = "has full rank" if passed else "is singular"
    message = (
        f"∂{G.name} {what}: its smallest singular value is {ratio:.3g} times the largest at x = "
        f"{short(points[k])}, the worst of {n} point{'s' if n > 1 else ''} (bound {tol:.0e})"
    )
    if G.dim > G.dim_in:
        message = (
            f"∂{G.name} has rank d = {G.dim} nowhere: there are only D = {G.dim_in} parameters, so that the "
            "weights move on a smaller set; take a G with D >= d, or fewer weights"
        )
    details = {"smallest_singular_value": float(values[k, -1]), "largest_singular_value": float(largest[k])}
    return Check(passed, ratio, tol, points[k].copy(), n, message, details)


def check_commuting(
    G: Parametrization, x: Any, tol: float = 1e-8, *, n_points: int = 16, seed: int = 0
) -> Check:
    """Check ``[∇G_i, ∇G_j] = 0`` (Def. 4.1) at points reachable from x.

    The bracket of X_i = ∇G_i and X_j is divided by ``‖X_i‖ (‖∂X_j‖ + ‖X_j‖/(1+‖x‖))`` plus the same
    with i and j swapped, which makes the defect a pure number: neither the units of x nor a factor on
    G_i matter. Norms of ∂X_j are taken over the span of the fields.

    Parameters
    ----------
    x : array, shape=[D]
        The start. The other points are reached from it by random short flows along ±∇G_i.
    tol : float
        The largest defect that passes.
    n_points : int
        Points looked at, the start included.
    seed : int

    Raises
    ------
    DomainError
        If x is not in the domain of G.
    ShapeError
        If x is not one point of R^D.
    """
    require_kind("G", G, Parametrization)
    tol = as_number("tol", tol, above=0.0)
    n_points = as_count("n_points", n_points)
    x = one_point(G, x, "x")
    points = reachable_points(G, x, natural_scales(G, x), n_points, seed)
    defects = np.concatenate([_bracket_defects(G, chunk) for chunk in _chunks(G, points)])
    defects = np.nan_to_num(defects, nan=np.inf)
    k, i, j = (int(index) for index in np.unravel_index(np.argmax(defects), defects.shape))
    defect = float(defects[k, i, j])
    passed = defect <= tol
    if passed:
        what = f"the fields of {G.name} commute at {len(points)} points: the largest scaled bracket is"
    else:
        what = f"the fields ∇G_{i + 1} and ∇G_{j + 1} of {G.name} do not commute: their scaled bracket is"
    message = (
        f"{what} {defect:.3g} (bound {tol:.0e}) at x = {short(points[k])}"
        f"{'' if passed else f', the worst of {len(points)} points'}"
    )
    details = {"pair": (i, j), "points": points}
    return Check(passed, defect, tol, points[k].copy(), len(points), message, details)


def one_point(G: Parametrization, x: Any, name: str) -> np.ndarray:
    """Return x as one valid point of M, shape=[D]."""
    x = G._inside(x, name)
    if x.ndim != 1:
        raise ShapeError(f"{name} has shape {x.shape}, but must be one point of shape ({G.dim_in},).")
    return x


def reachable_points(
    G: Parametrization, x: np.ndarray, scales: Scales, n_points: int, seed: int
) -> np.ndarray:
    """Return [n_points, D]: x itself and the ends of random walks along the coordinate flows."""
    rng = np.random.default_rng(seed)
    n = n_points - 1
    points = np.repeat(x[None], n, axis=0)
    for _ in range(LEGS if n else 0):
        mu = np.zeros((n, G.dim))
        which = rng.integers(G.dim, size=n)
        mu[np.arange(n), which] = scales.mu[which] * rng.uniform(-0.3, 0.3, n)
        # A walk that would leave the domain stays where it is, which is reachable as well.
        points = follow(G, points, mu, scales.x, rtol=1e-9).x
    inside = points[np.asarray(G._on_manifold(points), bool)]
    return np.concatenate([x[None], inside])


def _chunks(G: Parametrization, points: np.ndarray) -> list[np.ndarray]:
    size = max(1, ENTRIES // (G.dim * G.dim_in**2))
    return [points[k : k + size] for k in range(0, len(points), size)]


def _bracket_defects(G: Parametrization, x: np.ndarray) -> np.ndarray:
    """Return the scaled bracket of each pair of fields: shape=[n, D] -> shape=[n, d, d]."""
    with np.errstate(all="ignore"):
        fields = G._gradients(x)
        along = field_derivative(G, x, fields)
        norms = np.linalg.norm(fields, axis=-1)
        safe = np.where(norms > 0, norms, 1.0)
        slopes = (np.linalg.norm(along, axis=-1) / safe[..., :, None]).max(axis=-2)
        slopes = slopes + norms / (1.0 + np.linalg.norm(x, axis=-1)[..., None])
        pairs = norms[..., :, None] * slopes[..., None, :]
        pairs = pairs + np.swapaxes(pairs, -1, -2)
        size = np.linalg.norm(along - np.swapaxes(along, -3, -2), axis=-1)
        return size / np.where(pairs > 0, pairs, 1.0)
