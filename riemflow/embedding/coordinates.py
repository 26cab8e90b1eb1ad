"""Coordinates, one for each axis, in which the metric's Chebyshev coefficients decay fast."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.polynomial import chebyshev
from scipy.fft import dct, dctn

if TYPE_CHECKING:
    from riemflow.embedding.metric import Metric
    from riemflow.embedding.region import Region

Function = Callable[[np.ndarray], np.ndarray]
KINDS = ("raw", "log-slack", "arc-length", "dual")
ROUNDING = 1e-14
# Degree of the polynomial that stands for a coordinate, and for d = 1, where it is all there is, for √g.
MOST, MOST_ALONE = 1024, 4096
# Grid points per axis, by d, on which the metric's coefficients are compared.
PROBE = {1: 65, 2: 33, 3: 15, 4: 8, 5: 6}
# Raw coordinates are kept unless others shorten the tail by this factor.
GAIN = 0.5


class Axis:
    """The coordinate u of one axis: increasing, from -1 at `low` to 1 at `high`.

    u' is proportional to `density`, whose Chebyshev interpolant is integrated, so that u, u' and u'' belong
    together whatever the interpolant's accuracy. With no density u is affine. `tail` is the interpolant's
    last three coefficients' size relative to the largest.

    Raises
    ------
    ValueError
        If the density is not positive or not resolved by degree 1024; 4096 will do unless `strict`.
    """

    def __init__(self, low: float, high: float, density: Function | None = None, *, strict: bool = True):
        self.center, self.half = 0.5 * (low + high), 0.5 * (high - low)
        self.affine = density is None
        self.tail = 0.0
        if density is not None:
            first, self.tail = _interpolate(lambda t: density(self.center + self.half * t), strict)
            integral = chebyshev.chebint(first, lbnd=-1)
            size = chebyshev.chebval(1.0, integral) / 2
            integral[0] -= size
            second = chebyshev.chebder(first) if len(first) > 1 else np.zeros(1)
            # Columns: u, u' and u'' as Chebyshev series in t.
            self.series = np.zeros((len(integral), 3))
            for column, series in enumerate((integral, first, second)):
                self.series[: len(series), column] = series / size

    @classmethod
    def from_series(cls, center: float, half: float, series: np.ndarray | None, tail: float) -> Axis:
        """Return the axis with these `center`, `half`, `series` (None if affine) and `tail`."""
        axis = cls(center - half, center + half)
        # Not the rounded mean of the ends.
        axis.center, axis.half, axis.tail = center, half, tail
        if series is not None:
            axis.affine, axis.series = False, series
        return axis

    @property
    def degree(self) -> int:
        """Degree of u' as a polynomial in w."""
        return 0 if self.affine else len(self.series) - 2

    def to_unit(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return u, du/dw and d²u/dw² at w."""
        t = (w - self.center) / self.half
        if self.affine:
            return t, np.full_like(t, 1 / self.half), np.zeros_like(t)
        u, first, second = self._evaluate(t)
        return u, first / self.half, second / self.half**2

    def _evaluate(self, t: np.ndarray) -> np.ndarray:
        """Return u, u' and u'' at t: shape=[...] -> shape=[3, ...]."""
        # T_k(cos θ) = cos kθ needs no recurrence; just outside [-1, 1] there is one.
        inside = np.abs(t) <= 1
        table = np.cos(np.arccos(np.where(inside, t, 0.0))[..., None] * np.arange(len(self.series)))
        if not inside.all():
            table[~inside] = chebyshev.chebvander(t[~inside], len(self.series) - 1)
        return np.moveaxis(table @ self.series, -1, 0)

    def from_unit(self, u: np.ndarray) -> np.ndarray:
        """Return w at u ∈ [-1, 1], by bisection and Newton's method."""
        if self.affine:
            return self.center + self.half * u
        low, high = np.full_like(u, -1.0), np.full_like(u, 1.0)
        for _ in range(12):
            t = 0.5 * (low + high)
            above = self._evaluate(t)[0] > u
            low, high = np.where(above, low, t), np.where(above, t, high)
        t = 0.5 * (low + high)
        for _ in range(6):
            value, slope, _ = self._evaluate(t)
            t = np.clip(t - (value - u) / slope, -1.0, 1.0)
        return self.center + self.half * t


def _interpolate(density: Function, strict: bool) -> tuple[np.ndarray, float]:
    """Return the density's Chebyshev coefficients, of the least degree that resolves it, and their tail."""
    degree, most = 16, MOST if strict else MOST_ALONE
    while True:
        n = degree + 1
        t = np.cos(np.pi * (np.arange(n) + 0.5) / n)
        with np.errstate(all="ignore"):
            c = dct(density(t)) / n
        if not np.isfinite(c).all():
            break
        c[0] /= 2
        size = np.abs(c).max()
        tail = float(np.abs(c[-3:]).max() / size)
        if tail <= ROUNDING or (degree == most and not strict):
            c = c[: np.flatnonzero(np.abs(c) > 0.03 * ROUNDING * size)[-1] + 1]
            if chebyshev.chebval(np.cos(np.linspace(0, np.pi, 4 * degree)), c).min() > 0:
                return c, tail
            break
        if degree == most:
            break
        degree *= 2
    raise ValueError("The density of this coordinate is not positive or not resolved.")


def choose_axes(metric: Metric, region: Region, kind: str) -> tuple[str, list[Axis], float]:
    """Return (kind, axes, tail) for the coordinates asked for, or for those with the least tail if "auto".

    "raw" is w itself. The others are read off lines across the region, each from where w_i is least to
    where it is largest: "log-slack" is the logarithm of the distance to the boundary of the metric's domain;
    "arc-length" is ∫√g_ii dw_i, which is logarithmic near a barrier's boundary; "dual" is ∫ g_ii dw_i, which
    is ∂_iR if g = ∇²R. One that does not exist is replaced by the raw.
    """
    tails = {}
    for name in KINDS if kind == "auto" else (kind,):
        axes = _axes(metric, region, name)
        if name != "raw" and kind == "auto" and all(axis.affine for axis in axes):
            continue
        tail = metric_tail(metric, region, axes)
        tails[name] = (tail if name == "raw" else tail / GAIN, tail, axes)
    best = min(tails, key=lambda name: tails[name][0])
    return best, tails[best][2], tails[best][1]


def metric_tail(metric: Metric, region: Region, axes: list[Axis]) -> float:
    """Return the metric's size at total degrees above half of those seen, relative to all of it.

    On the bounding box, shrunk towards the centre until it lies in the region.
    """
    d = len(axes)
    m = PROBE.get(d, 5)
    shrink = region._inner_share()
    theta = np.pi * (np.arange(m) + 0.5) / m
    lines, slopes = [], []
    for i, axis in enumerate(axes):
        w = axis.from_unit(np.cos(theta))
        w = region.center[i] + shrink * (w - region.center[i])
        lines.append(w)
        slopes.append(axis.to_unit(w)[1])
    w = np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1).reshape(-1, d)
    slope = np.stack(np.meshgrid(*slopes, indexing="ij"), axis=-1).reshape(-1, d)
    g = metric._matrix(w) / (slope[:, :, None] * slope[:, None, :])
    unit = 1 / np.sqrt(np.diagonal(g, axis1=-2, axis2=-1).mean(axis=0))
    g = (g * np.outer(unit, unit)).reshape(*(m,) * d, d, d)
    c = dctn(g, axes=range(d)) / m**d
    total = np.indices((m,) * d).sum(axis=0)
    size = np.abs(c).max(axis=(-2, -1))
    # The highest degrees of a grid hold what is aliased; shells in the middle tell the decay.
    return float(size[(total > m // 2) & (total < m)].max() / size.max())


def _axes(metric: Metric, region: Region, kind: str) -> list[Axis]:
    low, high = region.bounding_box()
    found = []
    for i in range(metric.dim):
        density = _density(metric, region, kind, i, low[i], high[i])
        try:
            found.append(Axis(low[i], high[i], density))
        except ValueError:
            found.append(Axis(low[i], high[i]))
    return found


def _density(metric, region, kind, i, low, high):
    first, last = region._ends_along(i)

    def line(t):
        return first + ((t - low) / (high - low))[..., None] * (last - first)

    def entry(t):
        w = line(t)
        inside = np.asarray(metric._belongs(w))
        found = np.full(inside.shape, np.nan)  # a region that is not convex need not contain the line
        found[inside] = metric._matrix(w[inside])[..., i, i]
        return found

    if kind == "arc-length":
        return lambda t: np.sqrt(entry(t))
    if kind == "dual":
        return entry
    if kind == "log-slack":
        ends = [_boundary(metric, line, low, low - high), _boundary(metric, line, high, high - low)]
        if any(end is not None for end in ends):
            return lambda t: sum(1 / np.abs(t - end) for end in ends if end is not None)
    return None


def _boundary(metric, line, start, size):
    """Return where the line leaves the metric's domain within eight region widths, by bisection, or None."""
    inside, outside = start, None
    for reach in (0.5, 1.0, 2.0, 4.0, 8.0):
        if not metric._belongs(line(np.array([start + reach * size])))[0]:
            outside = start + reach * size
            break
        inside = start + reach * size
    if outside is None:
        return None
    for _ in range(60):
        middle = 0.5 * (inside + outside)
        if metric._belongs(line(np.array([middle])))[0]:
            inside = middle
        else:
            outside = middle
    return outside
