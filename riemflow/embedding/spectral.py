"""Embeddings found numerically: polynomials F with ∂Fᵀ∂F = g on a region, to a measured accuracy."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from riemflow.embedding.certificate import sup_bound
from riemflow.embedding.coordinates import Axis, choose_axes
from riemflow.embedding.embedding import IsometricEmbedding
from riemflow.embedding.inverse import Cloud
from riemflow.embedding.levenberg import IsometryEquations, solve_isometry
from riemflow.embedding.nash_newton import refine
from riemflow.embedding.record import Keep, Record
from riemflow.embedding.region import Box
from riemflow.embedding.spectral_basis import ChebyshevBasis
from riemflow.embedding.spectral_moments import TensorEquations
from riemflow.embedding.spectral_points import chebyshev_grid, check_points, grid_size, scattered_points
from riemflow.embedding.spectral_series import ChebyshevSeries
from riemflow.embedding.spectral_start import WOUND, WoundStart, starting_coefficients
from riemflow.errors import ConvergenceError, DomainError, RiemflowError
from riemflow.validation import short

if TYPE_CHECKING:
    from riemflow.embedding.metric import Metric
    from riemflow.embedding.region import Region

MAX_DIM = 5
BEYOND = 2  # times Günther's dimension is more than anyone needs, and the cost grows by D³
# Total degrees tried in turn; the last of each needs minutes.
LADDER = {
    2: (4, 8, 12, 16, 20, 24, 28, 32, 36, 40),
    3: (4, 6, 8, 10, 12, 14, 16, 18),
    4: (4, 5, 6, 7, 8, 9, 10),
    5: (4, 5, 6, 7),
}
# Equations per unknown: below 1.5 the defect grows between the points, above 2 nothing is gained.
OVERSAMPLING = 1.7
MOST_TENSOR_DIM = 4  # a tensor grid has too many points beyond
# Coefficients of degree n enter scaled by RHO^-n, as those of an analytic F decay.
RHO = 1.7
# Relative damping of the first stage and bounds on what later ones start with: ten times the last one's.
FIRST_DAMPING, LATER_DAMPING, LEAST_DAMPING = 1e-3, 1e-8, 1e-13
# The first step of a later stage does nearly all. With few unknowns one slow step is no reason to stop.
FIRST = {"max_iterations": 40, "patience": 3, "slow_above": 0.85}
SMALL_STAGE = {"max_iterations": 12, "patience": 2, "slow_above": 0.5}
LARGE_STAGE = {"max_iterations": 12, "patience": 1, "slow_above": 0.5}
POLISHING = {"max_iterations": 10, "patience": 2, "slow_above": 0.7}
SMALL = 5500
# Starts differ in the local minima that they end in, most so with fewer dimensions than the free one. How
# many ladders are climbed to the top there, and by d with the free one (elsewhere one): where the metric's
# own coefficients do not decay another start is of little help, and where they do (measured: 1e-8, against
# 1e-3 at a kink) it is. Four of ten starts with the free one are stuck by degree 16, at little cost, so that
# more may be tried.
STARTS, FREE_STARTS, DECAYED, MORE = (4, 12), {2: (1, 5)}, 1e-5, 3
# The fit aims below the tolerance, since its points' mean is smaller than the largest defect elsewhere.
AIM, IN_SIGHT = 0.05, 20.0
# Degrees in a row that halve no defect, until a start is given up: where others are left, and otherwise.
SOON, LATE = 2, 4
BEHIND = 30.0  # times the defect that a fit of this degree should have, if few are left to be tried
# A defect this large is no embedding to work with, whatever the tolerance.
WORST = 1e-4
NEAR = 1e-3  # a fit with a smaller residual is worth refining by Newton's method
MOST_BOXED, BOX_CHECK = 3, 2000  # the dimension up to which a body's box may be fitted on, and points there
MOST_WIDTH = 1e140  # of a region, and its inverse the least: squares, as g scales, stay in float64's range
MARGIN = 0.02  # Newton's iterates may leave the region by this share of its half-width


class SpectralEmbedding(IsometricEmbedding):
    """F = Σ_α c_α T_α(u), a polynomial of bounded total degree in coordinates u_i(w_i) of the axes."""

    region: Region

    def __init__(
        self,
        metric: Metric | None,
        region: Region,
        basis: ChebyshevBasis,
        coefficients: np.ndarray,
        coordinates: str,
        *,
        name: str | None = None,
    ):
        self.basis, self.coefficients, self.coordinates = basis, coefficients, coordinates
        self._series = ChebyshevSeries(basis, coefficients)
        self._cloud: Cloud | None = None
        self._define(
            metric, coefficients.shape[1], region=region, method="spectral", certificate=None, name=name
        )

    @property
    def degree(self) -> int:
        """Degree of the polynomials: of F in the coordinates u, or for d = 1 of √g."""
        return self.basis.degree if self.dim > 1 else self.basis.axes[0].degree

    @property
    def tail(self) -> float:
        """The largest coefficient of the two highest degrees, relative to the largest of all."""
        if self.dim == 1:
            return self.basis.axes[0].tail
        size = np.linalg.norm(self.coefficients, axis=1)
        return float(size[self.basis.indices.sum(axis=1) >= self.basis.degree - 1].max() / size.max())

    def _fun(self, w):
        return self._series.jet(w, order=0)[0]

    def _jacobian(self, w):
        return self._series.jet(w, order=1)[1]

    def _hessian(self, w):
        return self._series.jet(w)[2]

    def _jet(self, w):
        return self._series.jet(w)

    def _belongs(self, w):
        return np.asarray(self.region._belongs(w))

    def _admits(self, w):
        return np.asarray(self.region._belongs(w, MARGIN))

    def _start(self, x):
        if self._cloud is None:
            self._cloud = Cloud(self)
        return self._cloud.nearest(x)


def spectral(
    metric: Metric,
    region: Region,
    *,
    ambient_dim: int | None = None,
    tol: float = 1e-10,
    coordinates: str = "auto",
    seed: int = 0,
    progress: bool = False,
    keep: Keep | None = None,
    most_degree: int | None = None,
) -> SpectralEmbedding:
    """Solve ∂Fᵀ∂F = g for polynomials F of growing degree until the defect at a check set is within `tol`.

    The equations, whitened by g^{-1/2}, are exactly quadratic in F's coefficients; each degree starts from
    the last one's solution and is solved by Levenberg–Marquardt. On a box with d ≥ 3 and D ≥ d(d+3)/2 each
    fit in sight of a solution is refined at higher degrees, see `refine`. D = d(d+3)/2 by default, where the
    equations have free solutions (1 for d = 1, where F = ∫√g). Fits of degrees above `most_degree` are not
    tried, and none once it is plain that the tolerance is out of their reach.

    Raises
    ------
    DomainError
        If d > 5 or D < d, the region is huge or tiny, or g is nearly singular somewhere.
    ConvergenceError
        If the best defect found exceeds max(tol, 1e-4); `.partial` is that embedding.
    KeyboardInterrupt
        If the user interrupts it; `.partial` is the best embedding so far, or None.
    """
    d = metric.dim
    if d > MAX_DIM:
        raise DomainError(
            f"The spectral solver works for d ≤ {MAX_DIM}, but {metric.name} has d = {d}: "
            "use a closed form, split it into blocks, or roll out one flow by rf.cartan_development."
        )
    check_ambient_dim(metric, ambient_dim)
    D = ambient_dim if ambient_dim is not None else 1 if d == 1 else d * (d + 3) // 2
    low, high = region.bounding_box()
    if not ((high - low > 1 / MOST_WIDTH) & (high - low < MOST_WIDTH)).all():
        raise DomainError(
            f"{region!r} has widths {short(high - low)}, the squares of which float64 does not hold: rescale "
            f"w so that they lie between {1 / MOST_WIDTH:g} and {MOST_WIDTH:g}."
        )
    with Record(metric, region, tol=tol, seed=seed, progress=progress, keep=keep) as record:
        try:
            if d == 1:
                record.offer(_arc_length(metric, region, D), None)
            else:
                _search(metric, region, D, tol, coordinates, seed, record, most_degree)
            best = record.finished()
            assert best is not None  # every ladder has a step
            return _accepted(best)
        except KeyboardInterrupt as error:
            interrupt: Any = error
            interrupt.partial = record.interrupted()
            raise


def check_ambient_dim(metric: Metric, ambient_dim: int | None) -> None:
    """Raise a `DomainError` if F cannot be sought in so few, or so many, dimensions."""
    d = metric.dim
    enough = max(d * (d + 5) // 2, d * (d + 3) // 2 + 5)
    if ambient_dim is None or d <= ambient_dim <= BEYOND * enough:
        return
    if ambient_dim < d:
        raise DomainError(f"ambient_dim = {ambient_dim} is less than d = {d}: no such embedding exists.")
    raise DomainError(
        f"ambient_dim = {ambient_dim} is more than {BEYOND * enough}, which is beyond all use for d = {d}: "
        f"every metric has an embedding in {enough} dimensions (Günther), and as a rule {d * (d + 3) // 2} "
        "do. Leave it out."
    )


def _search(metric, region, D, tol, coordinates, seed, record: Record, most_degree) -> None:
    """Offer the embeddings of one ladder of degrees, or of several, until one passes."""
    d = metric.dim
    ladder = [n for n in LADDER[d] if most_degree is None or n <= most_degree]
    kind, axes, tail = choose_axes(metric, region, coordinates)
    is_free = D >= d * (d + 3) // 2
    full = starts = 1
    if most_degree is None and d * (d + 1) // 2 <= D:  # one of many charts is bisected instead
        few, many = FREE_STARTS.get(d, (1, 1)) if is_free else STARTS
        full = many if tail < DECAYED else few
        starts = MORE * full if is_free and full > 1 else full
    wound = is_free and _is_to_be_wound(metric, region, axes)
    places = [box, region] if (box := _box_around(metric, region)) is not None else [region]
    ways = [(region, False), *[(place, True) for place in places if wound]]
    ways += [(places[(k + 1) % len(places)], False) for k in range(starts - 1)]
    climbed = 0.0  # ladders, as the work on a degree counts
    for start, (place, on_circles) in enumerate(ways):
        candidates = _ladder(
            metric, region, place, kind, axes, D, tol, seed + 1000 * start, record, ladder, wound=on_circles
        )
        patience = SOON if starts > full and not on_circles and start + 1 < len(ways) else LATE
        if _climb(candidates, record, start, most_degree, patience):
            return
        climbed += (record.fits[-1].degree / ladder[-1]) ** (3 * d) if record.fits else 0.0
        if climbed >= full + wound:
            return


def _box_around(metric: Metric, region: Region) -> Box | None:
    """Return the box around a ball or another body, where g is a metric on it, to fit on in its stead.

    A box's tensor grid holds polynomials better than points scattered in a body, whose share of a box falls
    with d.
    """
    if isinstance(region, Box) or region.dim > MOST_BOXED:
        return None
    box = Box(*region.bounding_box())
    points = check_points(box, BOX_CHECK, seed=23)
    if not np.asarray(metric._belongs(points)).all():
        return None
    try:
        metric.check(points)
    except RiemflowError:
        return None
    return box


def _is_to_be_wound(metric, region, axes) -> bool:
    """Tell whether the metric changes so much that a start on circles differs from a slightly bent one."""
    return _wound_start(metric, region, ChebyshevBasis(axes, LADDER[metric.dim][0]), 0).angle > WOUND


def _wound_start(metric, region, basis, seed) -> WoundStart:
    points = scattered_points(region, basis, 2 * basis.size, seed)
    return WoundStart(basis, metric, points, _middle(region, basis))


def _middle(region, basis) -> np.ndarray:
    """Return the w at u = 0, or the region's centre if that lies outside."""
    w = basis.points(np.zeros(region.dim))
    return w if region._belongs(w) else region.center


def _climb(candidates, record: Record, start: int, most_degree: int | None, patience: int) -> bool:
    """Offer candidates until one passes, and tell so, or until they cease to gain or fall far behind."""
    least, idle = np.inf, 0
    for F, residual, is_refined in candidates:
        found = record.offer(F, residual, start)
        if found.passed:
            return True
        if is_refined:
            continue  # the fits go on from the last fit, and are judged among themselves
        idle = 0 if found.defect < 0.5 * least else idle + 1
        least = min(least, found.defect)
        # Solves in a row without gain have met the floor that rounding or the metric sets.
        if idle >= (2 if least < 1e-6 else patience):
            break
        if most_degree is not None and F.degree >= 0.5 * most_degree:
            # Geometric decay would reach the tolerance at the most degree.
            if least > BEHIND * record.tol ** (F.degree / most_degree):
                break
    return False


def _accepted(F: SpectralEmbedding) -> SpectralEmbedding:
    found = F.certificate
    if not found.defect <= max(found.tol, WORST):
        raise ConvergenceError(
            f"The embedding of {F.metric.name} on {F.region!r} in R^{F.ambient_dim} reached a defect of "
            f"{found.defect:.2g} only, at w = {short(found.worst_point)}; it is not resolved at degree "
            f"{found.degree} (tail {found.tail:.1g}): shrink the region, keep it away from the boundary of "
            "its domain and from where it is not smooth, or raise ambient_dim.",
            partial=F,
        )
    if found.defect < 1:
        F.certificate = replace(found, bound=sup_bound(F))
    return F


def _ladder(metric, region, place, kind, axes, D, tol, seed, record, ladder, *, wound=False):
    """Yield (embedding of the region, residual, whether it is a fit refined), each fit started from the last.

    The points fitted are those of `place`.
    """
    coefficients, damping = np.zeros((0, D)), FIRST_DAMPING
    # Nash's steps need as many dimensions as a free map has, and their points fill a box.
    free = metric.dim > 2 and D >= metric.dim * (metric.dim + 3) // 2 and isinstance(place, Box)
    for degree in ladder:
        basis = ChebyshevBasis(axes, degree)
        if len(coefficients) > 0:
            start = np.zeros((basis.size, D))
            start[: len(coefficients)] = coefficients
            damping = min(max(10 * damping, LEAST_DAMPING), LATER_DAMPING)
            policy = SMALL_STAGE if basis.size * D < SMALL else LARGE_STAGE
        elif wound:
            start, is_resolved = _wound_start(metric, place, basis, seed).coefficients(D, seed)
            if not is_resolved:
                continue
            policy = FIRST
        else:
            root = basis.metric_power(metric, _middle(place, basis), 0.5)
            start = starting_coefficients(basis, root, D, seed)
            policy = FIRST
        equations, scale = _equations(metric, place, basis, D, seed)
        x = start / scale

        def embedding(x, basis=basis, scale=scale):
            return SpectralEmbedding(metric, region, basis, x * scale, kind)

        def watch(x, residual, degree=degree, embedding=embedding):
            record.watch(degree, residual, lambda: embedding(x))

        for polish in (False, True):
            stage = solve_isometry(
                equations,
                x,
                damping=damping,
                goal=AIM * tol,
                watch=watch,
                **(POLISHING if polish else policy),
            )
            x, damping = stage.coefficients, stage.damping
            coefficients = x * scale
            yield embedding(x), stage.residual, False
            if free and stage.residual < NEAR and not polish:
                for higher, c, residual in refine(metric, basis, coefficients, tol):
                    yield SpectralEmbedding(metric, region, higher, c, kind), residual, True
            # Asked for more with the tolerance in sight, finish this degree before a higher one.
            if stage.residual > IN_SIGHT * AIM * tol:
                break


def _equations(metric, region, basis, D, seed):
    """Return the whitened isometry equations at the fitting points, and the coefficients' scale."""
    d = metric.dim
    scale = RHO ** -basis.indices.sum(axis=1, keepdims=True).astype(float)
    n_least = int(np.ceil(OVERSAMPLING * basis.size * D / (d * (d + 1) / 2)))
    tensor = isinstance(region, Box) and d <= MOST_TENSOR_DIM
    m = grid_size(d, basis.degree, n_least)
    points = basis.points(chebyshev_grid(d, m)) if tensor else scattered_points(region, basis, n_least, seed)
    whitener = basis.metric_power(metric, points, -0.5)
    slope = basis.coordinates(points)[1]
    rows = np.moveaxis((whitener / slope[:, None, :]) @ basis.gradients(points), 1, 0)
    rows = np.ascontiguousarray(rows) * scale[:, 0]
    if tensor:
        return TensorEquations(basis.indices, scale[:, 0], m, whitener, rows), scale
    return IsometryEquations(rows), scale


def _arc_length(metric, region, D):
    """Return F = ∫√g for d = 1: linear in the coordinate whose derivative is √g."""
    low, high = (float(end[0]) for end in region.bounding_box())

    def speed(t):
        return np.sqrt(metric._matrix(np.atleast_1d(t)[:, None])[:, 0, 0])

    axis = Axis(low, high, speed, strict=False)
    coefficients = np.zeros((1, D))
    middle = axis.from_unit(np.zeros(1))
    coefficients[0, 0] = speed(middle)[0] / axis.to_unit(middle)[1][0]
    return SpectralEmbedding(metric, region, ChebyshevBasis([axis], 1), coefficients, "arc-length")
