"""Convex regions known by the length of each ray from their centre: polytopes and balls of a divergence."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import linprog
from scipy.spatial import HalfspaceIntersection

from riemflow.embedding.region import EDGE, Region, directions
from riemflow.errors import DomainError, RiemflowError, ShapeError
from riemflow.legendre.function import LegendreFunction
from riemflow.validation import as_float, as_matrix, as_number, as_points, require_kind, short

VERTEX_DIM = 5  # vertices of a polytope are listed up to this dimension
CANDIDATES = 8  # directions for each point sampled
MOST_LEVELS, MOST_HALVINGS = 200, 60  # in the search for the end of a ball, along an axis or a ray
REACHED = 1e-6  # relative error of a divergence that counts as equal to the radius


class Star(Region):
    """A convex body given by its rays: {center + s v : 0 ≤ s ≤ ray(v)}."""

    def rays(self, v: np.ndarray) -> np.ndarray:
        """Return the largest s with center + s v inside: shape=[..., d] -> shape=[...]."""
        raise NotImplementedError

    def bounding_box(self):
        return self._lower.copy(), self._upper.copy()

    # Where each w_i is least, and where it is largest: shape=[2, d, d].
    _ends: np.ndarray

    @property
    def _lower(self) -> np.ndarray:
        return np.diagonal(self._ends[0])

    @property
    def _upper(self) -> np.ndarray:
        return np.diagonal(self._ends[1])

    def _ends_along(self, i):
        return self._ends[0, i].copy(), self._ends[1, i].copy()

    def _directions(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return n directions, uniform once the bounding box is made a cube."""
        return 0.5 * (self._upper - self._lower) * directions(n, self.dim, rng)

    def _sample(self, n, rng):
        # A uniform point has a direction of density ∝ ray^d, drawn from many candidates, and s^d is uniform.
        v = self._directions(CANDIDATES * n, rng)
        rays = self.rays(v)
        share = (rays / rays.max()) ** self.dim
        chosen = rng.choice(len(v), n, p=share / share.sum())
        s = rays[chosen] * rng.uniform(0.0, 1.0, n) ** (1 / self.dim)
        return self.center + s[:, None] * v[chosen]

    def _boundary(self, n, rng):
        v = self._directions(n, rng)
        points = self.center + self.rays(v)[:, None] * v
        return np.concatenate([self.extreme_points(), points])

    def extreme_points(self) -> np.ndarray:
        """Return boundary points that a sample may miss: vertices, or the ends along each axis."""
        return self._ends.reshape(-1, self.dim)


class Polytope(Star):
    """The polytope {A w ≤ b}.

    Parameters
    ----------
    A : array, shape=[m, d]
    b : array, shape=[m]

    Raises
    ------
    ShapeError
        If A is no matrix, or b has another length.
    DomainError
        If it has no interior or is unbounded; names the direction.
    """

    def __init__(self, A: Any, b: Any):
        self.A = as_matrix("A", A, (None, None))
        self.dim = self.A.shape[1]
        self.b = as_points("b", b, len(self.A))
        if self.b.ndim != 1:
            raise ShapeError(f"b has shape {self.b.shape}, but must have shape ({len(self.A)},).")
        self._ends = self._find_ends()
        # Chebyshev's centre: the largest r with a_k·w + r|a_k| ≤ b_k, in units of the bounding box.
        half = 0.5 * (self._upper - self._lower)
        middle, scaled = 0.5 * (self._upper + self._lower), self.A * half
        rows = np.column_stack([scaled, np.linalg.norm(scaled, axis=1)])
        found = linprog(
            np.append(np.zeros(self.dim), -1.0), rows, self.b - self.A @ middle, bounds=(None, None)
        )
        if not found.success or not found.x[-1] > EDGE:
            raise DomainError("The polytope {A w ≤ b} has no interior: relax b.")
        self.center = middle + half * found.x[:-1]
        self._vertices = self._ends.reshape(-1, self.dim)
        if 1 < self.dim <= VERTEX_DIM:
            halfspaces = np.column_stack([self.A, -self.b])
            self._vertices = HalfspaceIntersection(halfspaces, self.center).intersections

    def _find_ends(self) -> np.ndarray:
        ends = np.empty((2, self.dim, self.dim))
        for i in range(self.dim):
            for k, sign in enumerate((1.0, -1.0)):
                found = linprog(sign * np.eye(self.dim)[i], self.A, self.b, bounds=(None, None))
                if found.status == 3:
                    raise DomainError(
                        f"The polytope {{A w ≤ b}} is unbounded along axis {i}: a region must be compact. "
                        "Add inequalities."
                    )
                if not found.success:
                    raise DomainError("The polytope {A w ≤ b} is empty: relax b.")
                ends[k, i] = found.x
        if not (np.diagonal(ends[0]) < np.diagonal(ends[1])).all():
            raise DomainError("The polytope {A w ≤ b} has no interior: relax b.")
        return ends

    def rays(self, v):
        with np.errstate(all="ignore"):
            steps = (self.b - self.A @ self.center) / (v @ self.A.T)
        return np.where(steps > 0, steps, np.inf).min(axis=-1)

    def extreme_points(self):
        return self._vertices

    def _belongs(self, w, slack=EDGE):
        room = self.b - self.A @ self.center
        size = np.abs(self.A) @ (0.5 * (self._upper - self._lower))
        return ((w - self.center) @ self.A.T <= room + slack * size).all(axis=-1)

    def _arrays(self):
        return {"A": self.A, "b": self.b}

    def __repr__(self) -> str:
        return f"Polytope of {len(self.b)} inequalities around {short(self.center)}"


class BregmanBall(Star):
    """The ball {w : D_R(w, center) ≤ radius} of a Bregman divergence.

    Parameters
    ----------
    R : LegendreFunction
    center : array, shape=[d]
    radius : float

    Raises
    ------
    DomainError
        If the center lies outside dom R, the ball touches the boundary of dom R or is not compact, or it is
        so small that rounding hides its edge.
    """

    def __init__(self, R: LegendreFunction, center: Any, radius: Any):
        require_kind("R", R, LegendreFunction)
        self.R, self.radius = R, as_number("radius", radius, above=0.0)
        self.center = R._inside(center, "center")
        if self.center.ndim != 1:
            raise ShapeError(f"center has shape {self.center.shape}, but must have shape ({R.dim},).")
        self.dim = R.dim
        # On the ball w_i is largest where ∇R(w) - ∇R(center) is a multiple of e_i.
        self._ends = np.array([[self._end(i, sign) for i in range(self.dim)] for sign in (-1.0, 1.0)])
        if not (self._lower < self._upper).all():
            raise DomainError(
                f"{self._called()} about {short(self.center)} is too small for rounding: it has no width. "
                f"Choose a larger {self._size}."
            )

    def _end(self, i: int, sign: float) -> np.ndarray:
        mu, Q = self.R._gradient(self.center), self.R.conjugate

        def at(s: float) -> np.ndarray:
            return Q.gradient(mu + sign * s * np.eye(self.dim)[i])

        def is_beyond(s: float) -> bool:
            """Tell whether at(s) lies outside the ball, or the dual point outside the range of ∇R."""
            try:
                return not self.R.bregman_divergence(at(s), self.center) <= self.radius
            except RiemflowError:
                return True

        low, high = 0.0, float(np.sqrt(2 * self.radius * self.R._hessian(self.center)[i, i]))
        with np.errstate(all="ignore"):
            for _ in range(MOST_LEVELS):
                if is_beyond(high):
                    break
                low, high = high, 2 * high
            for _ in range(MOST_HALVINGS):
                middle = 0.5 * (low + high)
                if high - low <= np.finfo(float).eps * high:
                    break
                low, high = (low, middle) if is_beyond(middle) else (middle, high)
            end = at(low)
            reached = float(self.R.bregman_divergence(end, self.center))
            # Where the dual points end before the ball does, it reaches the boundary of dom R.
            if reached > (1 - REACHED) * self.radius:
                return end
            try:
                outer = float(self.R.bregman_divergence(at(high), self.center))
            except RiemflowError:
                outer = np.nan
        way = f"{'down' if sign < 0 else 'up'} axis {i}"
        about = f"{self._called()} about {short(self.center)}"
        if outer > self.radius or reached == 0:
            raise DomainError(
                f"{about} is too small for rounding: {way} the divergence jumps from {reached:.1e} past "
                f"{self.radius:g}. Choose a larger {self._size}."
            )
        raise DomainError(
            f"{about} touches the boundary of dom {self.R.name}, or is not compact, {way}: the divergence "
            f"was followed up to {reached:.3g} there, short of {self.radius:g}. Choose a smaller "
            f"{self._size}."
        )

    _size = "radius"

    def _called(self) -> str:
        return f"The Bregman ball of radius {self.radius:g}"

    def _value(self, w: np.ndarray) -> np.ndarray:
        """D_R(w, center), inf outside dom R."""
        inside = np.asarray(self.R._belongs(w))
        out = np.full(w.shape[:-1], np.inf)
        if inside.any():
            out[inside] = self.R.bregman_divergence(w[inside], self.center)
        return out

    def rays(self, v):
        low, high = np.zeros(v.shape[:-1]), np.ones(v.shape[:-1])
        for _ in range(MOST_LEVELS):
            short_of = self._value(self.center + high[..., None] * v) <= self.radius
            if not short_of.any():
                break
            low, high = np.where(short_of, high, low), np.where(short_of, 2 * high, high)
        for _ in range(MOST_HALVINGS):
            middle = 0.5 * (low + high)
            inside = self._value(self.center + middle[..., None] * v) <= self.radius
            low, high = np.where(inside, middle, low), np.where(inside, high, middle)
        return low

    def _belongs(self, w, slack=EDGE):
        return self._value(w) <= (1 + slack) ** 2 * self.radius

    def _arrays(self):
        return {"center": self.center, "radius": np.array(self.radius), "ends": self._ends}

    @classmethod
    def _from_arrays(cls, R, arrays):
        region = cls(R, **{name: value for name, value in arrays.items() if name != "ends"})
        # R's metric leaves its affine part open, on which a sublevel set depends.
        gap = np.abs(region._ends - arrays["ends"]).max()
        if not gap <= REACHED * np.abs(region._upper - region._lower).max():
            raise DomainError(f"{region!r} is not the region that was saved: its ends differ by {gap:.1e}.")
        return region

    def __repr__(self) -> str:
        return f"Bregman ball of {self.R.name} about {short(self.center)}, radius {self.radius:g}"


class SublevelSet(BregmanBall):
    """The set {R(w) ≤ level} of a Legendre function with a minimum, the Bregman ball about that.

    Raises
    ------
    DomainError
        If R has no minimum inside dom R, the level is not above it, or the set touches the boundary of dom R
        or is not compact.
    """

    def __init__(self, R: LegendreFunction, level: Any):
        require_kind("R", R, LegendreFunction)
        self.level = as_float("level", level)
        try:
            # ∇R(w) = 0 at w = ∇R*(0), and D_R(w, w_min) = R(w) - R(w_min).
            minimum = R.conjugate.gradient(np.zeros(R.dim))
            least = float(R(minimum))
        except RiemflowError as error:
            raise DomainError(
                f"{R.name} has no minimum inside its domain, so that no sublevel set is known to be compact: "
                "use BregmanBall(R, center, radius)."
            ) from error
        if self.level.ndim != 0 or not self.level > least:
            raise DomainError(
                f"level is {self.level}, but must be above {least:.6g}, the minimum of {R.name}."
            )
        super().__init__(R, minimum, self.level - least)

    def _arrays(self):
        return {"level": self.level, "ends": self._ends}

    _size = "level"

    def _called(self) -> str:
        return f"The sublevel set {self!r}, a Bregman ball of radius {self.radius:g}"

    def __repr__(self) -> str:
        return f"{{{self.R.name} ≤ {float(self.level):g}}}"
