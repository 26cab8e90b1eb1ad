"""Many charts, each with an isometric embedding of its own, where one F would need too high a degree."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

from riemflow.embedding.embedding import relative_defect
from riemflow.embedding.region import Box
from riemflow.embedding.spectral import SpectralEmbedding, spectral
from riemflow.errors import ConvergenceError, DomainError
from riemflow.legendre.function import least_eigenvalue
from riemflow.validation import as_count, as_points, require_inside, short

if TYPE_CHECKING:
    from riemflow.embedding.metric import Metric
    from riemflow.embedding.region import Region
    from riemflow.legendre.function import LegendreFunction

# A chart's box is larger than its share of the region by this part of it on each side, or the next that fits.
OVERLAPS = (0.05, 0.02, 0.005, 0.0)
# Degrees above these cost more than another chart.
MOST_DEGREE = {1: None, 2: 24, 3: 10, 4: 7, 5: 6}
MOST_CHARTS, MOST_HALVINGS = 2000, 30
N_PLACES = 40_000  # points of the region that tell which boxes meet it
N_PROBE = 200  # points at which g must be positive before a chart is tried


@dataclass(frozen=True)
class AtlasCertificate:
    """The certificates of all charts in one.

    Attributes
    ----------
    defect : float
        The largest defect found, in any chart, at points it was not fitted to.
    bound : float
        The largest of the charts' bounds on all of their boxes, of dense samples if `is_bound` is False.
    is_bound : bool
    tol : float
    n_charts : int
    worst_chart : int
    worst_point : array, shape=[d]
    """

    defect: float
    bound: float
    is_bound: bool
    tol: float
    n_charts: int
    worst_chart: int
    worst_point: np.ndarray = field(repr=False)

    @property
    def passed(self) -> bool:
        """Whether the largest defect found is within the tolerance."""
        return self.defect <= self.tol

    def __repr__(self) -> str:
        verdict = "within" if self.passed else "NOT within"
        kind = "at most" if self.is_bound else "sampled densely"
        return (
            f"AtlasCertificate({self.n_charts} charts, not one F: defect at worst {self.defect:.1e}, "
            f"{verdict} tol={self.tol:g}, in chart {self.worst_chart} at w={short(self.worst_point)}; {kind} "
            f"{self.bound:.1e})"
        )


class Atlas:
    """Isometric embeddings F_k of the metric on boxes that cover a region: many charts, not one F.

    The images of neighbouring charts do not meet; a flow changes from one to the other by its w.

    Attributes
    ----------
    metric : Metric
    region : Region
    charts : tuple of SpectralEmbedding
        Each on its own box, `charts[k].region`; the boxes overlap.
    certificate : AtlasCertificate
    dim, ambient_dim : int
        d, and D of every chart.
    """

    def __init__(
        self, metric: Metric, region: Region, charts: Iterable[SpectralEmbedding], shares: Iterable[Box]
    ):
        self.metric, self.region = metric, region
        self.charts, self.shares = tuple(charts), tuple(shares)
        self.dim, self.ambient_dim = metric.dim, self.charts[0].ambient_dim
        self._centers = np.array([F.region.center for F in self.charts])
        self._halves = np.array([F.region.bounding_box()[1] - F.region.center for F in self.charts])
        found: list[Any] = [F.certificate for F in self.charts]
        k = int(np.argmax([one.defect for one in found]))
        bounds = [one.bound for one in found]
        self.certificate = AtlasCertificate(
            defect=found[k].defect,
            bound=max(np.inf if bound is None else bound.value for bound in bounds),
            is_bound=all(bound is not None and bound.is_bound for bound in bounds),
            tol=max(one.tol for one in found),
            n_charts=len(found),
            worst_chart=k,
            worst_point=found[k].worst_point,
        )

    @property
    def R(self) -> LegendreFunction | None:
        """R, if the metric was given as ∇²R."""
        return self.metric.legendre

    def _depths(self, w: np.ndarray) -> np.ndarray:
        """Return how deep w lies in each chart's box, 1 at its centre and 0 at its faces: shape=[..., n]."""
        return 1.0 - (np.abs(w[..., None, :] - self._centers) / self._halves).max(axis=-1)

    def _chart(self, w: np.ndarray) -> np.ndarray:
        depths = self._depths(w)
        best = np.argmax(depths, axis=-1)
        covered = np.take_along_axis(depths, best[..., None], axis=-1)[..., 0] >= -1e-12
        return np.where(covered & self.region._belongs(w), best, -1)

    def _covers(self, w: np.ndarray) -> np.ndarray:
        return self._chart(w) >= 0

    def _inside(self, w: Any) -> np.ndarray:
        w = as_points("w", w, self.dim)
        require_inside("w", w, self._covers, f"the atlas of {self.region!r}", "embed a larger region.")
        return w

    def chart(self, w: Any) -> np.ndarray:
        """Return the index of the chart in which each point lies deepest: shape=[..., d] -> shape=[...].

        Raises
        ------
        DomainError
            Outside the region.
        """
        return self._chart(self._inside(w))

    def metric_defect(self, w: Any) -> np.ndarray:
        """‖g^{-1/2} ∂F_kᵀ∂F_k g^{-1/2} - I‖₂, k the chart of w: shape=[..., d] -> shape=[...]."""
        w = self._inside(w)
        flat, which = w.reshape(-1, self.dim), self._chart(w).reshape(-1)
        out = np.empty(len(flat))
        for k in np.unique(which):
            rows = which == k
            out[rows] = relative_defect(self.charts[k]._jacobian(flat[rows]), self.metric._matrix(flat[rows]))
        return out.reshape(w.shape[:-1])

    def transition_defect(self, n: int = 2000, seed: int = 0) -> float:
        """Return the largest ‖g^{-1/2} (∂F_jᵀ∂F_j - ∂F_kᵀ∂F_k) g^{-1/2}‖₂ at n points of overlaps; 0 if none.

        A flow that changes charts there goes on with that much another metric.
        """
        rng, worst = np.random.default_rng(seed), 0.0
        # Overlaps lie near the faces of the charts' shares.
        each = -(-as_count("n", n) // len(self.charts))
        points = np.concatenate([share._boundary(each, rng) for share in self.shares])
        points = points[self.region._belongs(points)]
        depths = self._depths(points)
        order = np.argsort(-depths, axis=1)
        for j, k in {tuple(pair) for pair in order[:, :2]} if len(self.charts) > 1 else ():
            rows = (order[:, 0] == j) & (order[:, 1] == k) & (depths[:, k] >= 0)
            if rows.any():
                w = points[rows]
                first, second = (self.charts[i]._jacobian(w) for i in (j, k))
                gap = np.swapaxes(first, -1, -2) @ first - np.swapaxes(second, -1, -2) @ second
                half = np.linalg.solve(np.linalg.cholesky(self.metric._matrix(w)), np.eye(self.dim))
                size = half @ gap @ np.swapaxes(half, -1, -2)
                worst = max(worst, float(np.abs(np.linalg.eigvalsh(size)).max()))
        return worst

    def __repr__(self) -> str:
        return (
            f"Atlas of {self.region!r} for {self.metric.name}, charts in R^{self.ambient_dim}: "
            f"{self.certificate!r}"
        )


def atlas(
    metric: Metric,
    region: Region,
    *,
    ambient_dim: int | None = None,
    tol: float = 1e-10,
    coordinates: str = "auto",
    seed: int = 0,
    progress: bool = False,
) -> Atlas:
    """Cover the region by boxes on each of which F of low degree meets the tolerance, by bisection.

    The region's bounding box is halved across the side that is longest in the metric until every part that
    meets the region is fitted on a slightly larger box. Parts are fitted by `joblib.Parallel`, so in parallel
    within ``joblib.parallel_config(n_jobs=…)``.

    Raises
    ------
    ConvergenceError
        If more than 2,000 charts, or 30 halvings, would be needed; `.partial` is the atlas so far, or None.
    KeyboardInterrupt
        If the user interrupts it; `.partial` is the atlas so far, or None.
    """
    options = {"ambient_dim": ambient_dim, "tol": tol, "coordinates": coordinates, "seed": seed}
    rng = np.random.default_rng(seed)
    places = np.concatenate([region._boundary(N_PLACES // 2, rng), region._sample(N_PLACES // 2, rng)])
    waiting, done = [(Box(*region.bounding_box()), 0)], []

    def so_far() -> Atlas | None:
        return Atlas(metric, region, *zip(*done, strict=True)) if done else None

    try:
        with tqdm(disable=not progress, desc="atlas", unit=" charts") as bar:
            while waiting:
                tasks = [(part, halvings, _enlarged(metric, region, part)) for part, halvings in waiting]
                boxes = [box for _, _, box in tasks if box is not None]
                fits = iter(_fits(metric, boxes, options))
                waiting = []
                for part, halvings, box in tasks:
                    F = None if box is None else next(fits)
                    if F is not None and F.certificate.defect <= tol:
                        done.append((F, part))
                        bar.update()
                        continue
                    if halvings == MOST_HALVINGS or len(done) + len(waiting) >= MOST_CHARTS:
                        _give_up(metric, region, part, F, so_far())
                    waiting += [(half, halvings + 1) for half in _halves(metric, region, part, places)]
                    bar.set_postfix_str(f"{len(waiting)} to be fitted")
    except KeyboardInterrupt as error:
        interrupt: Any = error
        interrupt.partial = so_far()
        raise
    return Atlas(metric, region, *zip(*done, strict=True))


def _give_up(metric: Metric, region: Region, part: Box, F: SpectralEmbedding | None, reached: Atlas | None):
    why = (
        "the metric is not defined all over it" if F is None else f"its defect is {F.certificate.defect:.1e}"
    )
    raise ConvergenceError(
        f"The atlas of {region!r} for {metric.name} needs more than {MOST_CHARTS} charts or {MOST_HALVINGS} "
        f"halvings: on {part!r} {why}. Keep the region away from the boundary of the domain and from "
        "where the metric is not smooth, or raise tol.",
        partial=reached,
    )


def _enlarged(metric: Metric, region: Region, part: Box) -> Box | None:
    """Return a box around the part, with an overlap, on which g is positive definite; None without one."""
    low, high = region.bounding_box()
    for overlap in OVERLAPS:
        room = overlap * (part.upper - part.lower)
        box = Box(np.maximum(part.lower - room, low), np.minimum(part.upper + room, high))
        if _is_valid(metric, box):
            return box
    return None


def _is_valid(metric: Metric, box: Box) -> bool:
    rng = np.random.default_rng(0)
    points = np.concatenate([box._boundary(N_PROBE, rng), box._sample(N_PROBE, rng)])
    with np.errstate(all="ignore"):
        if not np.all(metric._belongs(points)):
            return False
        g = np.asarray(metric._matrix(points))
    return bool(np.isfinite(g).all() and (least_eigenvalue(g) > 0).all())


def _halves(metric: Metric, region: Region, part: Box, places: np.ndarray) -> list[Box]:
    """Halve the part across the side that is longest in the metric; drop what misses the region.

    In a region that is no box the halves are shrunk to what is seen of it.
    """
    inside = places[part._belongs(places)]
    g = metric._matrix(inside)
    lengths = (part.upper - part.lower) * np.sqrt(np.diagonal(g, axis1=-2, axis2=-1)).mean(axis=0)
    axis = int(np.argmax(lengths))
    found = []
    for side in (-1, 1):
        lower, upper = part.lower.copy(), part.upper.copy()
        (upper if side < 0 else lower)[axis] = part.center[axis]
        half = Box(lower, upper)
        if not isinstance(region, Box):
            seen = inside[half._belongs(inside)]
            if len(seen) == 0:
                continue
            # A sample misses the outermost points: one more percent of the part on each side.
            room = 0.01 * (upper - lower)
            half = Box(np.maximum(seen.min(axis=0) - room, lower), np.minimum(seen.max(axis=0) + room, upper))
        found.append(half)
    return found


def _fits(metric: Metric, boxes: list[Box], options: dict[str, Any]) -> Iterator[SpectralEmbedding]:
    """Yield the best embedding found on each box."""
    try:
        pieces = Parallel(return_as="generator")(delayed(_fit)(metric, box, options) for box in boxes)
        for box, (basis, coefficients, kind, certificate) in zip(boxes, pieces, strict=True):
            F = SpectralEmbedding(metric, box, basis, coefficients, kind)
            F.certificate = certificate
            yield F
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise DomainError(
            f"The metric {metric.name} cannot be sent to other processes ({error}): define it where it can "
            "be pickled, or fit the charts one after the other, without joblib.parallel_config."
        ) from error


def _fit(metric: Metric, box: Box, options: dict[str, Any]) -> tuple:
    try:
        F = spectral(metric, box, most_degree=MOST_DEGREE[metric.dim], **options)
    except ConvergenceError as error:
        F: Any = error.partial
    return F.basis, F.coefficients, F.coordinates, F.certificate
