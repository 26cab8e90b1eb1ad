"""Tubes around trajectories: regions that need not be convex."""

from __future__ import annotations

from typing import Any

import numpy as np

from riemflow.embedding.region import EDGE, Region, directions
from riemflow.errors import ShapeError
from riemflow.validation import as_float, as_number, short

STRAIGHT = 0.05  # points are left out that lie this share of the radius from the chord at most


class Tube(Region):
    """The points within a distance of a trajectory: {w : |w - p| ≤ radius for a p on its polygon}.

    It may be 5 % wider, since nearly straight stretches of the trajectory count as straight.

    Parameters
    ----------
    points : array, shape=[n, d], or Flow
        The polygon's vertices; a flow's are its w.
    radius : float

    Raises
    ------
    ShapeError
        If the points are not an array [n, d].
    DomainError
        If a number is not finite or the radius is not positive.
    """

    is_convex = False

    def __init__(self, points: Any, radius: Any):
        points = as_float("points", getattr(points, "w", points))
        if points.ndim != 2 or points.size == 0:
            raise ShapeError(f"points has shape {points.shape}, but must have shape (n, d).")
        self.radius = as_number("radius", radius, above=0.0)
        self.points, self.dim = points, points.shape[1]
        kept = _straightened(points, STRAIGHT * self.radius)
        # Left-out points are off the polygon by less than the radius is larger.
        self._radius = (1 + STRAIGHT) * self.radius
        self._start, self._edge = kept[: max(len(kept) - 1, 1)], np.diff(kept, axis=0)
        if len(kept) == 1:
            self._edge = np.zeros((1, self.dim))
        self._length = np.linalg.norm(self._edge, axis=-1)
        middle = np.append(0.0, np.cumsum(self._length))
        k = int(np.clip(np.searchsorted(middle, 0.5 * middle[-1]) - 1, 0, len(self._edge) - 1))
        share = (0.5 * middle[-1] - middle[k]) / self._length[k] if self._length[k] > 0 else 0.0
        self.center = self._start[k] + share * self._edge[k]

    def bounding_box(self):
        ends = np.concatenate([self._start, self._start + self._edge])
        return ends.min(axis=0) - self._radius, ends.max(axis=0) + self._radius

    def _distances(self, w: np.ndarray) -> np.ndarray:
        """Return the distance from each edge of the polygon: shape=[..., d] -> shape=[..., n_edges]."""
        gap = w[..., None, :] - self._start
        square = np.maximum(self._length**2, np.finfo(float).tiny)
        share = np.clip((gap * self._edge).sum(axis=-1) / square, 0.0, 1.0)
        return np.linalg.norm(gap - share[..., None] * self._edge, axis=-1)

    def _belongs(self, w, slack=EDGE):
        return self._distances(w).min(axis=-1) <= (1 + slack) * self._radius

    def _sample(self, n, rng):
        # Uniform in one edge's capsule, and kept with probability 1 / (number of capsules around it).
        found: list[np.ndarray] = []
        while sum(map(len, found)) < n:
            points = self._in_capsules(2 * n, rng)
            around = (self._distances(points) <= self._radius).sum(axis=-1)
            found.append(points[rng.uniform(0.0, 1.0, len(points)) * np.maximum(around, 1) < 1.0])
        return np.concatenate(found)[:n]

    def _in_capsules(self, n: int, rng: np.random.Generator) -> np.ndarray:
        # In the cylinder around each capsule; what is outside the capsule is rejected.
        lengths = self._length + 2 * self._radius
        k = rng.choice(len(lengths), n, p=lengths / lengths.sum())
        along = np.where(self._length[k, None] > 0, self._edge[k], np.eye(self.dim)[0])
        along = along / np.linalg.norm(along, axis=-1, keepdims=True)
        position = rng.uniform(-self._radius, self._length[k] + self._radius)
        points = self._start[k] + position[:, None] * along
        if self.dim > 1:
            across = rng.standard_normal((n, self.dim))
            across -= (across * along).sum(axis=-1, keepdims=True) * along
            across /= np.linalg.norm(across, axis=-1, keepdims=True)
            radii = self._radius * rng.uniform(0.0, 1.0, n) ** (1 / (self.dim - 1))
            points = points + radii[:, None] * across
        inside = np.take_along_axis(self._distances(points), k[:, None], axis=1)[:, 0] <= self._radius
        return points[inside]

    def _boundary(self, n, rng):
        # Points at the radius from one edge and no nearer to another.
        found: list[np.ndarray] = []
        while sum(map(len, found)) < n:
            k = rng.choice(len(self._length), 2 * n)
            points = self._start[k] + rng.uniform(0.0, 1.0, (2 * n, 1)) * self._edge[k]
            away = directions(2 * n, self.dim, rng)
            ends = self._length[k] > 0
            along = self._edge[k] / np.maximum(self._length[k], np.finfo(float).tiny)[:, None]
            # Inside an edge the surface is across it; at its ends it is half a sphere.
            at_end = rng.uniform(0.0, 1.0, 2 * n) < self._radius / (self._radius + self._length[k])
            across = away - (away * along).sum(axis=-1, keepdims=True) * along
            size = np.linalg.norm(across, axis=-1, keepdims=True)
            side = ends & ~at_end & (size[:, 0] > 1e-6)
            away[side] = (across / np.where(size > 0, size, 1.0))[side]
            last = rng.uniform(0.0, 1.0, 2 * n) < 0.5
            tips = np.where(last[:, None], self._start[k] + self._edge[k], self._start[k])
            points = np.where(side[:, None], points, tips) + self._radius * away
            found.append(points[self._distances(points).min(axis=-1) >= (1 - 1e-9) * self._radius])
        return np.concatenate(found)[:n]

    def _arrays(self):
        return {"points": self.points, "radius": np.array(self.radius)}

    def __repr__(self) -> str:
        return (
            f"Tube of radius {self.radius:g} around {len(self.points)} points from {short(self.points[0])} "
            f"to {short(self.points[-1])}"
        )


def _straightened(points: np.ndarray, tolerance: float) -> np.ndarray:
    """Leave out vertices of a polygon that are within `tolerance` of it without them (Douglas-Peucker)."""
    kept, stack = {0, len(points) - 1}, [(0, len(points) - 1)]
    while stack:
        low, high = stack.pop()
        if high - low < 2:
            continue
        edge, gap = points[high] - points[low], points[low + 1 : high] - points[low]
        share = np.clip(gap @ edge / max(edge @ edge, np.finfo(float).tiny), 0.0, 1.0)
        distance = np.linalg.norm(gap - share[:, None] * edge, axis=-1)
        k = int(np.argmax(distance))
        if distance[k] > tolerance:
            middle = low + 1 + k
            kept.add(middle)
            stack += [(low, middle), (middle, high)]
    return points[sorted(kept)]
