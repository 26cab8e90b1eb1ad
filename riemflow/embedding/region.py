"""Compact regions of R^d on which an embedding is sought: what they have in common, boxes and balls."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from riemflow.errors import DomainError, ShapeError
from riemflow.validation import as_count, as_float, as_number, as_points, short

if TYPE_CHECKING:
    from riemflow.embedding.metric import Metric

# A point this close to the edge, relative to the region's size, counts as inside: rounding put it there.
EDGE = 1e-12
MOST_CORNERS = 12  # corners of a box are listed up to this dimension (4,096 of them)
SHARES = (1.0, 0.85, 0.7, 0.55, 0.4, 0.25, 0.1, 0.05)


class Region:
    """A compact body with an interior.

    Attributes
    ----------
    dim : int
    center : array, shape=[d]
    is_convex : bool
    """

    is_convex = True
    dim: int
    center: np.ndarray

    def belongs(self, w: Any) -> np.ndarray:
        """Tell whether each point lies in the region: shape=[..., d] -> bool, shape=[...]."""
        return self._belongs(as_points("w", w, self.dim))

    def sample(self, n: int, rng: np.random.Generator | None = None) -> np.ndarray:
        """Return n points drawn uniformly from the region: shape=[n, d]."""
        return self._sample(as_count("n", n), np.random.default_rng(0) if rng is None else rng)

    def bounding_box(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the lower and upper corners of the smallest box around the region: shapes=[d]."""
        raise NotImplementedError

    def _belongs(self, w: np.ndarray, slack: float = EDGE) -> np.ndarray:
        raise NotImplementedError

    def _sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        raise NotImplementedError

    def _boundary(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return about n boundary points, all corners of a box (up to 12 dimensions) among them."""
        raise NotImplementedError

    def _ends_along(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Return points of the region where w_i is least and largest: shapes=[d]."""
        ends = np.stack([self.center, self.center])
        ends[:, i] = [end[i] for end in self.bounding_box()]
        return ends[0], ends[1]

    def _inner_share(self) -> float:
        """Return how far the bounding box has to be shrunk towards the centre to lie inside, about."""
        low, high = self.bounding_box()
        corners = Box(low, high).corners()
        for share in SHARES:
            if self._belongs(self.center + share * (corners - self.center)).all():
                return share
        return SHARES[-1]

    def _arrays(self) -> dict[str, np.ndarray]:
        """Return the numbers among the constructor's arguments by name, for files."""
        raise NotImplementedError

    @classmethod
    def _from_arrays(cls, R: Any, arrays: dict[str, np.ndarray]) -> Region:
        """Return the region with these `_arrays`; R is None unless the constructor takes one."""
        return cls(**arrays)


class Box(Region):
    """The box {lower ≤ w ≤ upper}.

    Parameters
    ----------
    lower, upper : array, shape=[d]

    Raises
    ------
    ShapeError
        If the two do not have the same shape [d].
    DomainError
        If a number is not finite or lower < upper fails somewhere.
    """

    def __init__(self, lower: Any, upper: Any):
        self.lower, self.upper = as_float("lower", lower), as_float("upper", upper)
        if self.lower.ndim != 1 or self.lower.shape != self.upper.shape or self.lower.size == 0:
            raise ShapeError(
                f"lower and upper have shapes {self.lower.shape} and {self.upper.shape}, not one (d,)."
            )
        if not (self.lower < self.upper).all():
            k = int(np.argmin(self.upper - self.lower))
            raise DomainError(
                f"A box needs lower < upper, but axis {k} runs from {self.lower[k]} to {self.upper[k]}."
            )
        self.dim = len(self.lower)
        self.center = 0.5 * (self.lower + self.upper)
        self._half = 0.5 * (self.upper - self.lower)

    def bounding_box(self):
        return self.lower.copy(), self.upper.copy()

    def corners(self) -> np.ndarray:
        """Return all 2^d corners: shape=[2^d, d]. Raises `DomainError` for d > 12."""
        if self.dim > MOST_CORNERS:
            raise DomainError(f"A box in R^{self.dim} has 2^{self.dim} corners: too many to list (d ≤ 12).")
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=self.dim)))
        return np.where(signs < 0, self.lower, self.upper)

    def _belongs(self, w, slack=EDGE):
        # By the ends themselves: center ± half, rounded, need not be the corners of a narrow box.
        room = slack * self._half
        return ((w >= self.lower - room) & (w <= self.upper + room)).all(axis=-1)

    def _sample(self, n, rng):
        return rng.uniform(self.lower, self.upper, (n, self.dim))

    def _boundary(self, n, rng):
        u = rng.uniform(-1.0, 1.0, (n, self.dim))
        # Points of facets, edges, … in equal shares: k random coordinates are pushed to their ends.
        for row in range(n):
            axes = rng.permutation(self.dim)[: 1 + row % self.dim]
            u[row, axes] = np.where(u[row, axes] < 0, -1.0, 1.0)
        points = np.clip(self.center + self._half * u, self.lower, self.upper)
        points = np.where(u == -1.0, self.lower, np.where(u == 1.0, self.upper, points))
        return np.concatenate([self.corners(), points]) if self.dim <= MOST_CORNERS else points

    def _inner_share(self):
        return 1.0

    def _arrays(self):
        return {"lower": self.lower, "upper": self.upper}

    def __repr__(self) -> str:
        return f"Box({short(self.lower)}, {short(self.upper)})"


class Ball(Region):
    """The ball {|w - center| ≤ radius}.

    Raises
    ------
    ShapeError
        If the center does not have shape [d].
    DomainError
        If a number is not finite or the radius is not positive.
    """

    def __init__(self, center: Any, radius: Any):
        self.center = as_float("center", center)
        if self.center.ndim != 1 or self.center.size == 0:
            raise ShapeError(f"center has shape {self.center.shape}, but must have shape (d,).")
        self.radius = as_number("radius", radius, above=0.0)
        self.dim = len(self.center)

    def bounding_box(self):
        return self.center - self.radius, self.center + self.radius

    def _belongs(self, w, slack=EDGE):
        return np.linalg.norm(w - self.center, axis=-1) <= (1 + slack) * self.radius

    def _sample(self, n, rng):
        radii = rng.uniform(0.0, 1.0, (n, 1)) ** (1 / self.dim)
        return self.center + self.radius * radii * directions(n, self.dim, rng)

    def _boundary(self, n, rng):
        return self.center + self.radius * directions(n, self.dim, rng)

    def _inner_share(self):
        return self.dim**-0.5

    def _arrays(self):
        return {"center": self.center, "radius": np.array(self.radius)}

    def __repr__(self) -> str:
        return f"Ball({short(self.center)}, {self.radius:g})"


def directions(n: int, dim: int, rng: np.random.Generator) -> np.ndarray:
    """Return n unit vectors, uniformly distributed: shape=[n, dim]."""
    v = rng.standard_normal((n, dim))
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


def require_region(region: Any) -> None:
    """Raise a `DomainError` unless `region` is a region."""
    if not isinstance(region, Region):
        raise DomainError(
            f"region is {region!r}, but must be a region, such as Box(lower, upper) or Ball(center, radius)."
        )


def check_region(region: Region, metric: Metric) -> None:
    """Raise unless `region` has the metric's dimension and lies inside its domain, where g > 0.

    Both are sampled at 2,000 points. In the convex dom R, a box of up to 12 dimensions is settled by its
    corners.

    Raises
    ------
    DomainError
        If it leaves the domain, or g is not finite, symmetric and positive definite there; names
        a point.
    ShapeError
        If the dimensions differ.
    """
    if region.dim != metric.dim:
        raise ShapeError(f"region has dimension {region.dim}, but {metric.name} has dimension {metric.dim}.")
    rng = np.random.default_rng(0)
    points = np.concatenate([region.center[None], region._boundary(1000, rng), region._sample(1000, rng)])
    inside = np.asarray(metric._belongs(points))
    if not inside.all():
        raise DomainError(
            f"{region!r} is not inside {metric.place}: it contains w = {short(points[~inside][0])}. "
            "Shrink it."
        )
    metric.check(points)
