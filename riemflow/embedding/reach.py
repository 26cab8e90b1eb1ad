"""Whether an embedding is injective on its region, and how far from its image nearest points are unique."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from riemflow.embedding.region import Box
from riemflow.embedding.spectral_points import check_points
from riemflow.embedding.tensor_grid import growth, on_grid
from riemflow.errors import DomainError

if TYPE_CHECKING:
    from riemflow.embedding.embedding import IsometricEmbedding

MOST_DIM = 3  # of a bound between the points
RATIO = {1: 8, 2: 8, 3: 4}  # grid points per degree and axis
N_POINTS, N_PAIRS = 2000, 1000
SEED = 22
APART = 1e-3  # pairs nearer than this, relative to the image's size, are the curvature's and lose digits


@dataclass(frozen=True)
class Injectivity:
    """Monotonicity of F: λ_min sym(P ∂F(w)) over a convex region K, for one constant matrix P.

    If it is positive F is injective on K, since ``v·P(F(w + v) - F(w)) = ∫₀¹ v·P ∂F(w + sv) v ds > 0``. If
    not, F may be injective all the same.

    Attributes
    ----------
    margin : float
        The least eigenvalue, in coordinates in which the mean of ∂F has orthonormal columns, so at most about
        1; then |F(w) - F(w')| ≥ margin · |w - w'| in them.
    is_bound : bool
        Whether it bounds the eigenvalue from below on all of K (Ehlich and Zeller's inequality, up to
        rounding), or is the least at `n_points` points.
    n_points : int
    """

    margin: float
    is_bound: bool
    n_points: int

    @property
    def passed(self) -> bool:
        """Whether the margin is positive."""
        return self.margin > 0

    def __str__(self) -> str:
        where = "proved on the region" if self.is_bound else f"at {self.n_points} points"
        if self.passed:
            return f"F is injective: monotone with margin {self.margin:.2g}, {where}"
        if self.margin == -np.inf:
            return "F is not shown to be injective: its region is not convex, as a monotone F needs it to be"
        return f"F is not shown to be injective: its monotonicity margin is {self.margin:.2g} {where}"


@dataclass(frozen=True)
class Reach:
    """The reach of M = F(K): up to which distance from M nearest points in M are unique (Federer, 1959).

    Attributes
    ----------
    lower : float
        margin² / B, with B = sup ‖∂²F‖ in the coordinates of `Injectivity`; 0 if the margin is not positive.
        If x - F(w) is normal to M and shorter than this, F(w) is the one nearest point of M.
    upper : float
        The least ``|q - p|² / 2 dist(q - p, T_pM)`` over pairs of points: the reach is no greater.
    is_bound : bool
        Whether `lower` is proved up to rounding, or rests on values at `n_points` points.
    n_points : int
    """

    lower: float
    upper: float
    is_bound: bool
    n_points: int

    def __str__(self) -> str:
        kind = "proved" if self.is_bound else f"estimated at {self.n_points} points"
        return f"reach between {self.lower:.3g} ({kind}) and {self.upper:.3g} (found)"


@dataclass(frozen=True)
class Shape:
    """What `injectivity` and `reach` share: the margin, B, and what they rest on."""

    margin: float
    bend: float
    is_bound: bool
    n_points: int


def shape_of(F: IsometricEmbedding) -> Shape:
    """Return the monotonicity margin and the bound on ∂²F of an embedding with a region.

    For a spectral F on a box with d ≤ 3 both are bounds, in the coordinates u, in which the box is convex
    too; otherwise they are values at 2,000 points, in the coordinates w.
    """
    if F.region is None:
        raise DomainError(
            "Injectivity and reach are those of the image of a compact region: embed with region=."
        )
    series = getattr(F, "_series", None)
    if series is None or not isinstance(F.region, Box) or F.dim > MOST_DIM:
        points = check_points(F.region, N_POINTS, SEED)
        _, J, second = F._jet(points)
        frame = _frame(J)
        # Monotonicity says nothing about points with no segment between them in the region.
        margin = float(_eigenvalues(J, frame)[:, 0].min()) if F.region.is_convex else -np.inf
        return Shape(margin, _bend(second, frame), False, len(points))
    d, n = F.dim, F.basis.degree
    m = RATIO[d] * max(n, 2)
    firsts, seconds = series.dense(1), series.dense(2)
    total, count = 0.0, 0
    for columns in on_grid(firsts, m, d):
        total, count = total + np.stack(columns, axis=-1).sum(axis=0), count + len(columns[0])
    frame = _frame((total / count)[None])
    low, high, bend = np.inf, -np.inf, 0.0
    for parts in on_grid([*firsts, *seconds], m, d):
        values = _eigenvalues(np.stack(parts[:d], axis=-1), frame)
        low, high = min(low, values[:, 0].min()), max(high, values[:, -1].max())
        second = np.empty((*parts[0].shape, d, d))
        for (i, j), part in zip(series.pairs, parts[d:], strict=True):
            second[..., i, j] = second[..., j, i] = part
        bend = max(bend, _bend(second, frame))
    # About the middle of its eigenvalues the matrix is at most half their range, times the growth.
    middle, half = 0.5 * (low + high), 0.5 * (high - low)
    margin = middle - growth(n - 1, m, d) * half
    return Shape(float(margin), growth(max(n - 2, 0), m, d) * bend, True, m**d)


def reach_of(F: IsometricEmbedding, shape: Shape) -> Reach:
    """Return the reach's bounds; the upper one from all pairs of 1,000 points and from the curvature there.

    With p = F(w), q = F(w + v), v of length s: ``|q - p| ≥ margin·s``, and q - p is Jv but for
    ``∫(1-σ) ∂²F[v, v] dσ``, at most B s²/2. So |q - p|² / 2 dist(q - p, T_pM) ≥ margin²/B for every pair.
    """
    points = check_points(F.region, N_PAIRS, SEED)
    images, J, second = F._jet(points)
    tangent = np.linalg.qr(J)[0]
    upper = 1.0 / max(float(_curvature(J, tangent, second).max()), 1e-300)
    size = np.linalg.norm(images.max(axis=0) - images.min(axis=0))
    for p, T in zip(images, tangent, strict=True):
        gap = images - p
        gap = gap[np.linalg.norm(gap, axis=1) > APART * size]
        normal = np.linalg.norm(gap - (gap @ T) @ T.T, axis=1)
        if len(gap):
            upper = min(upper, float(((gap**2).sum(axis=1) / np.maximum(2 * normal, 1e-300)).min()))
    lower = shape.margin**2 / max(shape.bend, 1e-300) if shape.margin > 0 else 0.0
    return Reach(min(lower, upper), upper, shape.is_bound, shape.n_points)


def _frame(J: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return P = (J̄ S)ᵀ and S = (J̄ᵀJ̄)^{-1/2} for the mean J̄: shapes [d, D] and [d, d]."""
    mean = J.mean(axis=0)
    values, vectors = np.linalg.eigh(mean.T @ mean)
    # A mean of smaller rank, as of a closed curve, gives no frame: its margin will not be positive.
    S = (vectors / np.sqrt(np.maximum(values, 1e-12 * values.max()))) @ vectors.T
    return (mean @ S).T, S


def _eigenvalues(J: np.ndarray, frame: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    P, S = frame
    A = P @ J @ S
    return np.linalg.eigvalsh(0.5 * (A + np.swapaxes(A, -1, -2)))


def _bend(second: np.ndarray, frame: tuple[np.ndarray, np.ndarray]) -> float:
    """The largest ‖∂²F‖₂ as a D × d² matrix, at least |∂²F[v, v]| for unit v in the frame's coordinates."""
    turned = (frame[1] @ second @ frame[1]).reshape(*second.shape[:2], -1)
    size = np.linalg.norm(turned, axis=(-2, -1))
    largest = np.linalg.norm(turned[np.argmax(size)], ord=2)
    return float(np.linalg.norm(turned[size >= (1 - 1e-12) * largest], ord=2, axis=(-2, -1)).max())


def _curvature(J: np.ndarray, tangent: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The largest |II(v, v)| over unit eigenvectors of each component: no more than the largest curvature."""
    inverse = np.linalg.inv(np.swapaxes(tangent, -1, -2) @ J)
    II = np.swapaxes(inverse, -1, -2)[:, None] @ second @ inverse[:, None]
    II = II - np.einsum("nab,ncb,ncij->naij", tangent, tangent, II, optimize=True)
    directions = np.linalg.eigh(II)[1]  # [n, D, d, d], columns
    bends = np.einsum("naij,nbik,nbjk->nabk", II, directions, directions, optimize=True)
    return np.linalg.norm(bends, axis=1).max(axis=(-2, -1))
