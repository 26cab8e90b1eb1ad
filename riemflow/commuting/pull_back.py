"""The pull-back test: how the fields ∇G_i look from the start when seen from elsewhere on the orbit.

For a path Φ along the fields, ``Y_i = (∂Φ)⁻¹ ∇G_i(Φ(x))`` is the pull-back of ∇G_i to x. All orders of Lie
brackets are in it at once: the Y_i of all paths span the tangent space of the orbit (Sussmann, 1973), they
equal ∇G_i(x) exactly when the fields commute, and ``Y_i - ∇G_i(x)`` lies in ker ∂G(x) exactly when brackets
do, if G is analytic. The push-forward of ∇G_i(x), compared with ∇G_i in ker ∂G at the path's end, says the
same in that case; a smooth G may hide from one of the two what the other sees.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from riemflow.commuting.brackets import cometric_derivative
from riemflow.commuting.defect import FLOOR, LOUD, ZERO, Defect
from riemflow.commuting.legs import follow
from riemflow.commuting.lift import Scales, _fields
from riemflow.parametrizations.parametrization import Parametrization

PATHS, LEGS = 6, 5
RANK = 1e-8  # singular values of ∂G below this share of the largest count as zero
GAP = 100.0  # between the singular values kept and dropped, or the rank is undecided


@dataclass(frozen=True)
class Path:
    """Controls of the legs of a path from the start, shape=[k, d], and the index of the field carried.

    `home` says where it shows: at the start, after the way back, or at the path's end.
    """

    legs: np.ndarray
    field: int
    home: bool


@dataclass(frozen=True)
class PullBack:
    """What the pull-backs showed.

    Attributes
    ----------
    commuting : Defect
        The largest ‖Y_i - ∇G_i‖, relative to ‖∇G_i‖.
    mirror : Defect
        The largest part of it that is orthogonal to ker ∂G.
    pushed : Defect
        The same for the push-forwards of ∇G_i from the start, at the ends of paths.
    intrinsic : Defect or None
        The largest relative change of H = ∂G∂Gᵀ over the natural length, along directions of the orbit in
        ker ∂G; None where the orbit's dimension is undecided.
    orbit_dim : int or None
    gap : float
        The ratio of the smallest singular value kept and the largest dropped.
    worst : tuple of Path
        For each number of legs the paths of the largest `mirror` and `pushed` defects.
    points : array, shape=[n, D]
        The ends of all legs.
    """

    commuting: Defect
    mirror: Defect
    pushed: Defect
    intrinsic: Defect | None
    orbit_dim: int | None
    gap: float
    worst: tuple[Path, ...]
    points: np.ndarray


def pull_back_test(G: Parametrization, x: np.ndarray, scales: Scales, reach: float, seed: int) -> PullBack:
    """Pull the fields back along random paths from x, shape=[D], of legs of up to `reach` natural lengths."""
    rng = np.random.default_rng(seed)
    d, D = G.dim, G.dim_in
    n = max(PATHS, int(np.ceil(2 * D / (LEGS * d))))
    here, back = np.repeat(x[None], n, axis=0), np.repeat(np.eye(D)[None], n, axis=0)
    first = G._gradients(x)
    pulled, ends, length = [first[None]], [x[None]], np.full(n, reach)
    backs = [np.eye(D)[None]]
    ways, controls, noise = [np.zeros((1, 0, d))], np.zeros((n, 0, d)), 0.0
    pushed, pushed_noise = [np.zeros((1, d))], 0.0
    for _ in range(LEGS):
        direction = rng.standard_normal((n, d))
        direction *= (length * rng.uniform(0.3, 1.0, n) / np.linalg.norm(direction, axis=-1))[:, None]
        mu = direction * scales.mu
        before = np.einsum("ni,nia->na", mu, _fields(G, here))
        leg = follow(G, here, mu, scales.x, back=back)
        after = np.einsum("ni,nia->na", mu, _fields(G, leg.x))
        # A field is invariant under its own flow, so this vanishes for every G.
        assert leg.back is not None  # it was given
        one, other = ((N @ field[..., None])[..., 0] for N, field in ((back, before), (leg.back, after)))
        noise = max(noise, _largest(_relative(one - other, one)[leg.done]))
        moved = _push(leg.back, one[:, None])[:, 0]
        pushed_noise = max(pushed_noise, _largest(_relative(moved - after, moved, after)[leg.done]))
        here, back = leg.x, leg.back
        controls = np.concatenate([controls, np.where(leg.done[:, None], mu, 0.0)[:, None]], axis=1)
        length[~leg.done] *= 0.25
        rows = np.flatnonzero(leg.done)
        there = _fields(G, here[rows])
        pulled.append(np.einsum("nab,nib->nia", back[rows], there))
        pushed.append(_sideways(G, here[rows], _push(back[rows], first), there))
        ends.append(here[rows])
        backs.append(back[rows])
        ways += [controls[k : k + 1] for k in rows]
    Y, points = np.concatenate(pulled), np.concatenate(ends)
    ways = [way[0] for way in ways]
    Y = _lowered(G, x, Y)
    size = np.linalg.norm(Y, axis=-1).max(axis=0)
    Y = Y / np.where(size > 0, size, 1.0)[:, None]
    noise = max(noise, FLOOR) if len(points) > 1 else np.inf  # without any leg nothing was seen

    J = G._tangential_jacobian(x)
    change = Y - Y[:1]
    commuting = np.linalg.norm(change, axis=-1)
    rows = row_space(J)
    sideways = np.linalg.norm(change @ rows.T, axis=-1)
    k, i = np.unravel_index(np.argmax(sideways), sideways.shape)
    forward = np.concatenate(pushed)
    basis, gap, smallest = _span(Y.reshape(-1, D), noise)
    intrinsic = None
    if basis is not None:
        seen = zip(points, np.concatenate(backs), strict=True)
        intrinsic = _vertical_change(G, x, scales, basis, noise / smallest, list(seen))
    return PullBack(
        Defect(float(commuting.max()), noise, points[np.argmax(commuting.max(axis=-1))]),
        Defect(float(sideways[k, i]), noise, points[k]),
        Defect(_largest(forward), max(pushed_noise, FLOOR), points[np.argmax(forward.max(axis=-1))]),
        intrinsic,
        None if basis is None else len(basis),
        gap,
        _worst_paths(ways, sideways, home=True) + _worst_paths(ways, forward, home=False),
        points,
    )


def _push(back: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Carry tangent vectors at the start, [..., k, D], to the ends of paths: shape=[n, k, D]."""
    columns = np.swapaxes(vectors, -1, -2)
    try:
        moved = np.linalg.solve(back, columns)
    except np.linalg.LinAlgError:  # squeezed beyond float64: nothing is known of the way forward
        moved = np.full(np.broadcast_shapes(back.shape[:-2], columns.shape[:-2]) + columns.shape[-2:], np.nan)
    return np.swapaxes(moved, -1, -2)


def _largest(values: np.ndarray) -> float:
    return float(np.nan_to_num(values, nan=np.inf).max(initial=0.0))


def _relative(change: np.ndarray, *of: np.ndarray) -> np.ndarray:
    size = np.max([np.linalg.norm(vectors, axis=-1) for vectors in of], axis=0)
    return np.linalg.norm(change, axis=-1) / np.where(size > 0, size, 1.0)


def _sideways(G: Parametrization, x: np.ndarray, moved: np.ndarray, there: np.ndarray) -> np.ndarray:
    """The part of `moved` - `there` orthogonal to ker ∂G(x), relative: shapes [n, D], [n, d, D] -> [n, d]."""
    if len(x) == 0:
        return np.zeros((0, G.dim))
    moved, there = (_lowered(G, x[:, None], vectors) for vectors in (moved, there))
    across = (moved - there) @ np.swapaxes(row_space(G._tangential_jacobian(x)), -1, -2)
    return _relative(across, moved, there)


def _worst_paths(ways: list[np.ndarray], sideways: np.ndarray, *, home: bool) -> tuple[Path, ...]:
    worst = []
    for legs in sorted({len(way) for way in ways} - {0}):
        rows = np.array([k for k, way in enumerate(ways) if len(way) == legs])
        k, i = np.unravel_index(np.argmax(np.nan_to_num(sideways[rows])), sideways[rows].shape)
        worst.append(Path(ways[rows[k]], int(i), home))
    return tuple(worst)


def row_space(J: np.ndarray) -> np.ndarray:
    """An orthonormal basis of the complement of ker ∂G, filled up with zeros: [..., d, D] -> [..., k, D]."""
    _, sizes, rows = np.linalg.svd(J, full_matrices=False)
    return np.where((sizes > RANK * sizes[..., :1])[..., None], rows, 0.0)


def _lowered(G: Parametrization, x: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Vectors at x, [..., D], in an orthonormal frame of M."""
    if G._inverse_metric is None:
        return vectors
    return np.linalg.solve(G._frame(x), vectors[..., None])[..., 0]


def _span(Y: np.ndarray, noise: float) -> tuple[np.ndarray | None, float, float]:
    """A basis of the span of the rows of Y (None if undecided), the gap, and the smallest size kept."""
    if not noise <= LOUD:
        return None, 1.0, 1.0
    # Only directions count: far out fields may be larger by many orders.
    length = np.linalg.norm(Y, axis=-1, keepdims=True)
    _, sizes, rows = np.linalg.svd(Y / np.where(length > 0, length, 1.0), full_matrices=False)
    sizes = sizes / np.sqrt(len(Y))
    rank = int((sizes > ZERO * noise).sum())
    if rank == 0:
        return rows[:0], np.inf, 1.0
    dropped = max(sizes[rank] if rank < len(sizes) else 0.0, 0.1 * noise)
    gap = float(sizes[rank - 1] / dropped)
    return (rows[:rank] if gap >= GAP else None), gap, float(sizes[rank - 1])


def _vertical_change(
    G: Parametrization, x: np.ndarray, scales: Scales, basis: np.ndarray, noise: float, ends: list
) -> Defect:
    """The relative change of H along the vertical directions of the orbit, at the start and other points."""
    value, where = 0.0, x
    start = G._raised(x, basis)
    for point, back in ends:
        # The orbit's tangent space is carried along by the flow.
        tangent = _lowered(G, point, _push(back, start))
        if not np.isfinite(tangent).all():
            continue
        tangent = np.linalg.qr(tangent.T)[0].T
        J = G._tangential_jacobian(point)
        left, sizes, _ = np.linalg.svd(J, full_matrices=False)
        rank = int((sizes > RANK * sizes[0]).sum())
        vertical = np.linalg.svd(J @ tangent.T)[2][rank:] @ tangent
        if len(vertical) == 0:
            continue
        change = cometric_derivative(G, point, G._raised(point, vertical))
        scaled = left / np.where(sizes > RANK * sizes[0], sizes, sizes[0])
        found = float(scales.x * np.linalg.norm(scaled.T @ change @ scaled, axis=(-2, -1), ord=2).max())
        if found > value:
            value, where = found, point
    return Defect(value, noise, where)
