"""Bisection: the charts of an atlas found, or the place at which no halving helps."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from tqdm import tqdm

from riemflow.embedding.atlas import Atlas
from riemflow.embedding.region import Box
from riemflow.embedding.spectral import SpectralEmbedding, check_ambient_dim, spectral
from riemflow.errors import ConvergenceError, DomainError
from riemflow.legendre.function import least_eigenvalue
from riemflow.validation import short

if TYPE_CHECKING:
    from riemflow.embedding.metric import Metric
    from riemflow.embedding.region import Region

# A chart's box is larger than its share of the region by this part of it on each side, or the next that fits.
OVERLAPS = (0.05, 0.02, 0.005, 0.0)
# Degrees above these cost more than another chart.
MOST_DEGREE = {1: None, 2: 24, 3: 10, 4: 7, 5: 6}
MOST_CHARTS, MOST_HALVINGS = 2000, 30
N_PLACES = 40_000  # points of the region that tell which boxes meet it
FEW = 50  # of them in a box: more are drawn in it
N_PROBE = 200  # points at which g must be positive before a chart is tried
# A fit is stuck if its defect falls more slowly than n^-2 in the degree n. So it is at a kink of the metric,
# in too few dimensions, and where nothing is resolved yet. The last passes, with gains of nothing or of more
# and more; steady gains by stuck fits, d halvings after one another, tell how many more are needed.
GENERATIONS, LEAST_GAIN, LARGE = 3, 1.3, 0.1
REMEDY = "Keep the region away from where the metric is not smooth or its domain ends, or raise tol."
GROWTH = 1.1  # of the number of charts from one call of `keep` to the next


class _Part(NamedTuple):
    """A box to be fitted."""

    box: Box
    path: tuple[int, ...] = ()  # which half, at every halving; orders the charts, whichever come first
    stuck: tuple[float, ...] = ()  # defects of the last fits on boxes around it, all of them stuck


def atlas(
    metric: Metric,
    region: Region,
    *,
    ambient_dim: int | None = None,
    tol: float = 1e-10,
    coordinates: str = "auto",
    seed: int = 0,
    progress: bool = False,
    keep: Callable[[Atlas], Any] | None = None,
) -> Atlas:
    """Cover the region by boxes on each of which F of low degree meets the tolerance, by bisection.

    The region's bounding box is halved across the side that is longest in the metric until every part that
    meets the region is fitted on a slightly larger box. Parts are fitted by `joblib.Parallel`, so in parallel
    within ``joblib.parallel_config(n_jobs=…)``. The atlas so far is handed to `keep`, which may save it, as
    it grows and whenever the search stops.

    Raises
    ------
    ConvergenceError
        If more than 2,000 charts, or 30 halvings, would be needed, or the last halvings gained so little that
        more would be; says where. `.partial` is the atlas so far, or None.
    KeyboardInterrupt
        If the user interrupts it; `.partial` is the atlas so far, or None.
    """
    options = {"ambient_dim": ambient_dim, "tol": tol, "coordinates": coordinates, "seed": seed}
    check_ambient_dim(metric, ambient_dim)
    rng = np.random.default_rng(seed)
    places = np.concatenate([region._boundary(N_PLACES // 2, rng), region._sample(N_PLACES // 2, rng)])
    waiting, done = [_Part(Box(*region.bounding_box()))], []
    tried: list[_Part] = []  # those being fitted
    kept = 0

    def so_far() -> Atlas | None:
        """Return the atlas of the charts done."""
        ordered = sorted(done, key=lambda pair: pair[1].path)
        missing = [part.box for part in sorted([*tried, *waiting], key=lambda part: part.path)]
        charts, shares = [F for F, _ in ordered], [part.box for _, part in ordered]
        return Atlas(metric, region, charts, shares, missing) if done else None

    def stopped() -> Atlas | None:
        reached = so_far()
        if keep is not None and reached is not None:
            keep(reached)
        return reached

    try:
        with tqdm(disable=not progress, desc="atlas", unit=" charts") as bar:
            while waiting:
                # First what looks hopeless: if it is, that is soon known.
                waiting.sort(key=lambda part: len(part.stuck))
                parallel = Parallel(return_as="generator")
                tried = [
                    waiting.pop() for _ in range(min(len(waiting), max(2, effective_n_jobs(parallel.n_jobs))))
                ]
                boxes = [_enlarged(metric, region, part.box) for part in tried]
                fits = iter(_fits(parallel, metric, [box for box in boxes if box is not None], options))
                for box in boxes:
                    F, part = None if box is None else next(fits), tried[0]
                    if F is not None and F.certificate.defect <= tol:
                        done.append((F, tried.pop(0)))
                        bar.update()
                        if keep is not None and len(done) >= GROWTH * kept:
                            kept = len(done)
                            keep(so_far())
                        continue
                    stuck = _stuck(part, F)
                    why = _hopeless(metric, part, stuck, F, tol)
                    if why is None and len(part.path) == MOST_HALVINGS:
                        why = f"needs more than {MOST_HALVINGS} halvings. {_told(part, F)}. {REMEDY}"
                    if why is None and len(done) + len(tried) + len(waiting) >= MOST_CHARTS:
                        why = f"needs more than {MOST_CHARTS} charts. {_told(part, F)}. {REMEDY}"
                    if why is not None:
                        raise ConvergenceError(
                            f"The atlas of {region!r} for {metric.name} {why}", partial=stopped()
                        )
                    tried.pop(0)
                    halves = enumerate(_halves(metric, region, part.box, places))
                    waiting += [_Part(half, (*part.path, k), stuck) for k, half in halves]
                    bar.set_postfix_str(f"{len(waiting)} to be fitted")
    except KeyboardInterrupt as error:
        interrupt: Any = error
        interrupt.partial = stopped()
        raise
    complete = so_far()
    assert complete is not None  # the region has an interior, so that some box meets it
    return complete


def _stuck(part: _Part, F: SpectralEmbedding | None) -> tuple[float, ...]:
    """Return the defects of the stuck fits in a row that end with this one."""
    fits = () if F is None else F.certificate.history
    if F is None or not fits:
        return ()
    fall = fits[0].defect / F.certificate.defect
    is_stuck = fall < (fits[-1].degree / fits[0].degree) ** 2
    return (*part.stuck, F.certificate.defect) if is_stuck else ()


def _hopeless(
    metric: Metric, part: _Part, stuck: tuple[float, ...], F: SpectralEmbedding | None, tol: float
) -> str | None:
    """Say why no halving of the part will do, if the last ones tell."""
    d, marks = metric.dim, stuck[:: -metric.dim][: GENERATIONS + 1]
    if F is None or len(marks) <= GENERATIONS or marks[0] > LARGE:
        return None
    gains = np.log2(np.array(marks[1:]) / np.array(marks[:-1])) / d  # powers of two for each halving
    if gains.min() < np.log2(LEAST_GAIN) / d:
        return None
    D, janet = F.ambient_dim, d * (d + 1) // 2
    needed = np.log2(marks[0] / tol) / gains.max()
    # In fewer dimensions all halves fail, at a kink those that it meets.
    per_halving = 1.0 if janet > D else (d - 1) / d
    most = MOST_HALVINGS - len(part.path)
    if per_halving > 0:
        most = min(most, np.log2(MOST_CHARTS) / per_halving)
    if needed <= most:
        return None
    free = d * (d + 3) // 2
    if janet > D:
        remedy = (
            f"ambient_dim = {D} is less than d(d+1)/2 = {janet}, which metrics need in general"
            + (", those with D = d being flat" if d == D else "")
            + f": raise it, or leave it out for d(d+3)/2 = {free}"
        )
    else:
        remedy = "The metric is not smooth there, as it seems: end the region there"
        remedy += f", or raise ambient_dim to {free}" if free > D else ""
    return (
        f"is out of reach. {_told(part, F)}, after {len(part.path)} halvings, the last {GENERATIONS * d} of "
        f"which divided it by {marks[-1] / marks[0]:.2g}: some {needed:.0f} more, and too many charts, would "
        f"be needed. {remedy}. Or raise tol, to {marks[0] * 2.0 ** -(gains.min() * most):.0e}."
    )


def _told(part: _Part, F: SpectralEmbedding | None) -> str:
    """Say how the last fit failed, and where."""
    if F is None:
        return (
            f"The metric is not positive definite all over {part.box!r}: keep the region away from the "
            "boundary of its domain"
        )
    found = F.certificate
    return f"On {F.region!r} the defect is {found.defect:.1e}, at w = {short(found.worst_point)}"


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
    if len(inside) < FEW:
        rng = np.random.default_rng(0)
        own = np.concatenate([part._sample(N_PROBE, rng), part._boundary(N_PROBE, rng)])
        inside = np.concatenate([inside, own[region._belongs(own)]])
    if len(inside) == 0:
        return []
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


def _fits(
    parallel: Any, metric: Metric, boxes: list[Box], options: dict[str, Any]
) -> Iterator[SpectralEmbedding]:
    """Yield the best embedding found on each box."""
    try:
        pieces = parallel(delayed(_fit)(metric, box, options) for box in boxes)
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
