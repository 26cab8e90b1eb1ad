"""How far ∂Fᵀ∂F can be from the metric g on all of a region, not only at sampled points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.polynomial import chebyshev
from scipy.fft import dctn

from riemflow.embedding.embedding import relative_defect, relative_gap
from riemflow.embedding.region import Box
from riemflow.embedding.spectral_points import chebyshev_grid, check_points
from riemflow.embedding.tensor_grid import growth, on_grid

if TYPE_CHECKING:
    from riemflow.embedding.embedding import IsometricEmbedding
    from riemflow.embedding.spectral import SpectralEmbedding

MOST_DIM = 3  # of a bound; above, and on balls, the defect is sampled
# Grid points per degree and axis, by d: a polynomial's sup is at most cos(π/2 ratio)^{-d} its maximum there.
RATIO = {1: 4, 2: 4, 3: 2}
WHITENER_DEGREES = {1: (8, 16, 32, 64, 128), 2: (8, 12, 16, 24, 32, 48), 3: (6, 8, 12, 16, 20)}
SAMPLE = 20_000  # points where no bound is computed
# W stands for g^{-1/2} if its error is at most this share of the defect, so many roundings, or so small.
# Otherwise nothing is bounded.
RESOLVED, NOISY, LEAST = 0.25, 6.0, 3e-14
N_TAIL = 2000  # points at which W and roundings are measured


@dataclass(frozen=True)
class SupBound:
    """A bound on ‖g^{-1/2} ∂Fᵀ∂F g^{-1/2} - I‖₂ on all of the region, or the largest of a dense sample.

    Attributes
    ----------
    value : float
    polynomial : float or None
        Proved up to rounding: a bound on ‖W ∂Fᵀ∂F W - I‖₂, W a polynomial that stands for g^{-1/2}; None if
        `value` is of a sample.
    tail : float or None
        Estimated, from W's last coefficients and at points: the sup of ‖W g^{1/2} - I‖₂. With `polynomial`
        None, the metric was not resolved by W: where g is not smooth, `value` is no bound between the points.
    n_points : int
    """

    value: float
    polynomial: float | None
    tail: float | None
    n_points: int

    @property
    def is_bound(self) -> bool:
        """Whether the value bounds the defect between the points too."""
        return self.polynomial is not None

    def __str__(self) -> str:
        if self.polynomial is None and self.tail is not None:
            return (
                f"{self.value:.1e} by estimate, not bounded between the points: the metric is not resolved "
                f"(tail {self.tail:.0e}), as where it is not smooth"
            )
        if self.polynomial is None:
            return f"at most {self.value:.1e} at {self.n_points} points, not bounded between them"
        return (
            f"at most {self.value:.1e} on the region (polynomial part {self.polynomial:.1e} proved, the "
            f"metric's tail {self.tail:.0e} estimated)"
        )


def sup_bound(F: SpectralEmbedding) -> SupBound:
    """Bound the metric defect on all of a box for d ≤ 3, and otherwise sample it densely.

    In the coordinates u, F is a polynomial, and so is ``P = W ∂Fᵀ∂F W - I`` if W is one. Let W interpolate
    g^{-1/2}. P has a degree N = 2n - 2 + 2 deg W at most in each u_i, and by Ehlich and Zeller's inequality
    its sup is at most cos(πN/2m)^{-d} times its maximum on a Chebyshev grid of m > N points per axis (for the
    norm of a matrix, apply it to vᵀPv). With e = sup ‖W g^{1/2} - I‖₂ the defect is at most
    ``(sup‖P‖ + 2e + e²)/(1 - e)²``. Only e is estimated: it is the larger of W's last coefficients and of
    its largest value at 2,000 points, counted twice as far as it is no rounding. Roundings ν of the defect,
    which its condition multiplies, are measured at as many points, see `_rounding`, and 2ν is added. Where
    e is neither small next to the defect nor a few ν, or the bound falls short of a defect found, g is not
    resolved, and nothing is bounded.
    """
    found = F.certificate
    if F.dim > MOST_DIM or not isinstance(F.region, Box):
        return sampled_bound(F, found.defect)
    rounding = _rounding(F)
    W, tail = _whitener(F, found.defect, rounding)
    N = 2 * max(F.basis.degree, 1) - 2 + 2 * (len(W) - 1)
    m = RATIO[F.dim] * max(N, 1)
    polynomial = float(growth(N, m, F.dim) * _largest(F, W, m))
    value = (polynomial + 2 * tail + tail**2) / (1 - tail) ** 2 if tail < 1 else np.inf
    value += 2 * rounding
    resolved = tail <= max(RESOLVED * found.defect, NOISY * rounding, LEAST) and value >= found.defect
    return SupBound(float(max(value, found.defect)), polynomial if resolved else None, tail, m**F.dim)


def _rounding(F: SpectralEmbedding) -> float:
    """Return ν, how far rounding puts the defect wrong: half of what a few units in w's last place change.

    At points moved so little, towards the region's centre, the defect itself is the same. It includes what
    rounding does to g, times g's condition, whatever that is.
    """
    points = check_points(F.region, N_TAIL, seed=22)
    inward = F.region.center - points
    low, high = F.region.bounding_box()
    ulp = np.finfo(float).eps * np.maximum(np.abs(points), 0.5 * (high - low))
    moved = points + np.sign(inward) * np.minimum(np.abs(inward), 3 * ulp)
    gaps = [relative_gap(F._jacobian(w), F.metric._matrix(w)) for w in (points, moved)]
    change = np.linalg.norm(gaps[1] - gaps[0], ord=2, axis=(-2, -1)).max()
    return float(max(0.5 * change, np.finfo(float).eps))


def sampled_bound(F: IsometricEmbedding, least: float) -> SupBound:
    """Return the largest defect at many points of the region, no less than `least`."""
    points = check_points(F.region, SAMPLE, seed=20)
    largest = [
        relative_defect(F._jacobian(part), F.metric._matrix(part)).max()
        for part in np.array_split(points, SAMPLE // 2000)
    ]
    return SupBound(float(max(least, *largest)), None, None, len(points))


def _whitener(F: SpectralEmbedding, defect: float, rounding: float) -> tuple[np.ndarray, float]:
    """Return the Chebyshev coefficients of W, shape=[k+1, …, k+1, d, d], and the estimate of e."""
    d = F.dim
    points = check_points(F.region, N_TAIL, seed=21)
    root, u = F.basis.metric_power(F.metric, points, 0.5), F.basis.coordinates(points)[0]
    best: tuple[np.ndarray, float] | None = None
    for k in WHITENER_DEGREES[d]:
        grid = F.basis.points(chebyshev_grid(d, k + 1))
        half = F.basis.metric_power(F.metric, grid, -0.5)
        c = dctn(half.reshape(*(k + 1,) * d, d, d), axes=range(d)) / (k + 1) ** d
        for axis in range(d):
            np.moveaxis(c, axis, 0)[0] *= 0.5
        W = c
        for axis in range(d):
            table = chebyshev.chebvander(u[:, axis], k)
            W = np.tensordot(table, W, axes=(1, 0)) if axis == 0 else np.einsum("qk,qk...->q...", table, W)
        error = np.linalg.norm(W @ root - np.eye(d), axis=(-2, -1)).max()
        size = np.abs(c).max(axis=(-2, -1))
        last = np.indices((k + 1,) * d).max(axis=0) >= k - 1
        tail = float(max(2 * error - min(error, rounding), size[last].max() / size.max()))
        if best is None or tail < best[1]:
            best = c, tail
        if tail <= max(0.05 * defect, 1e-14):
            break
    assert best is not None  # there is a degree to try
    return best


def _largest(F: SpectralEmbedding, W: np.ndarray, m: int) -> float:
    """Return the largest ‖W ∂Fᵀ∂F W - I‖₂ on the Chebyshev grid of m points per axis."""
    d = F.dim
    best = 0.0
    for W_here, *columns in on_grid([W, *F._series.dense(1)], m, d):
        J = W_here @ np.stack(columns, axis=-2)
        gap = J @ np.swapaxes(J, -1, -2) - np.eye(d)
        size = np.linalg.norm(gap, axis=(-2, -1))
        gap = gap[size >= max(best, size.max() / np.sqrt(d))]
        if len(gap):
            best = max(best, float(np.abs(np.linalg.eigvalsh(gap)).max()))
    return best
