"""Closed forms in many dimensions, projected onto the few that their image numerically spans."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from riemflow.embedding.certificate import SupBound, sampled_bound
from riemflow.embedding.closed_form import ClosedFormEmbedding, MapEmbedding
from riemflow.embedding.embedding import UNSEEN, relative_defect
from riemflow.embedding.inverse import Cloud
from riemflow.embedding.maps import Map
from riemflow.embedding.metric import Metric
from riemflow.embedding.mixed import Term, terms_of
from riemflow.embedding.region import Region
from riemflow.embedding.spectral import MARGIN
from riemflow.embedding.spectral_points import check_points
from riemflow.errors import ConvergenceError, DomainError
from riemflow.legendre.exponential_family import ExponentialFamily
from riemflow.legendre.function import LegendreFunction
from riemflow.validation import short

# Points that give the directions (times d), how many of these are kept, and the defect.
N_FIT, N_CHOICE, N_CHECK = 300, 2000, 4000
CHUNK = 500
SPANNED = 1e-9  # directions of a smaller share of the tangents add less than rounding to the metric
LARGEST = 1e-4  # defect of a number of dimensions asked for, as for the spectral solver


@dataclass(frozen=True)
class Projected:
    """The certificate of a projected closed form: the defect at points that its directions do not stem from.

    Attributes
    ----------
    structure : str
        The Legendre function whose closed form is projected. It is exact, up to rounding.
    full_dim : int
        That closed form's ambient dimension.
    defect : float
        The largest ‖g^{-1/2} ∂Fᵀ∂F g^{-1/2} - I‖₂ found.
    n_points : int
    worst_point : array, shape=[d]
    tol : float
        What was asked for.
    bound : SupBound
        The largest defect at 20,000 points; nothing is proved between them.
    """

    structure: str
    full_dim: int
    defect: float
    n_points: int
    worst_point: np.ndarray = field(repr=False)
    tol: float
    bound: SupBound

    @property
    def passed(self) -> bool:
        """Whether the defect is within the tolerance, and at more points no more than ten times above it."""
        return bool(self.defect <= self.tol and self.bound.value <= UNSEEN * self.tol)

    def __repr__(self) -> str:
        return (
            f"Projected({self.structure}'s closed form in R^{self.full_dim}: at worst {self.defect:.1e} at "
            f"{self.n_points} points, {'within' if self.passed else 'NOT within'} tol={self.tol:g} (at "
            f"w={short(self.worst_point)}); {self.bound})"
        )


class ProjectedMap(Map):
    """Bᵀ(F(w) - c) for orthonormal columns B, shape=[D, r]."""

    def __init__(self, base: Map, basis: np.ndarray, center: np.ndarray):
        self.base, self.basis, self.center = base, basis, center
        self.dim, self.ambient_dim, self.is_local = base.dim, basis.shape[1], True

    def fun(self, w):
        return (self.base.fun(w) - self.center) @ self.basis

    def jacobian(self, w):
        return self.basis.T @ self.base.jacobian(w)

    def hessian(self, w):
        second = self.base.hessian(w)
        flat = self.basis.T @ second.reshape(*second.shape[:-2], self.dim**2)
        return flat.reshape(*flat.shape[:-1], self.dim, self.dim)

    def belongs(self, w):
        return self.base.belongs(w)


class CompressedEmbedding(MapEmbedding):
    """A closed form followed by the projection onto the affine space that its image numerically spans."""

    region: Region

    def __init__(
        self,
        full: ClosedFormEmbedding,
        region: Region,
        basis: np.ndarray,
        center: np.ndarray,
        *,
        name: str | None = None,
    ):
        self.full, self.map = full, ProjectedMap(full.map, basis, center)
        self._cloud: Cloud | None = None
        self._define(
            full.metric, basis.shape[1], region=region, method="compressed", certificate=None, name=name
        )

    def _start(self, x):
        if self._cloud is None:
            self._cloud = Cloud(self)
        return self._cloud.nearest(x)

    def _belongs(self, w):
        return np.asarray(self.region._belongs(w))

    def _admits(self, w):
        return np.asarray(self.region._belongs(w, MARGIN)) & self.full._belongs(w)


def integrals(R: LegendreFunction | None) -> list[Term]:
    """Return the terms of R that are integrals, whose closed forms have a dimension for each node."""
    return [] if R is None else [term for term in terms_of(R) if isinstance(term.R, ExponentialFamily)]


def check_quadrature(region: Region, R: LegendreFunction | None) -> None:
    """Raise a `DomainError` where the rule of an `ExponentialFamily` in R is inaccurate; at 2,000 points."""
    for term in integrals(R):
        family: Any = term.R
        family._require_accurate(check_points(region, N_CHOICE, seed=53) @ term.A.T + term.b)


def compress(
    full: ClosedFormEmbedding, region: Region, *, tol: float, ambient_dim: int | None = None
) -> ClosedFormEmbedding | CompressedEmbedding:
    """Project a closed form so far that the metric is off by `tol` at most, or to `ambient_dim` dimensions.

    With orthonormal frames Q of the tangent spaces and a projection P the defect is ``‖(I - P) Q‖₂²``. The
    directions are the leading left singular vectors of the frames at 300 d points; they are as many as `tol`
    needs at 2,000 other points; and the defect is measured at 4,000 more. The closed form itself is
    returned where nothing would be left out.

    Raises
    ------
    DomainError
        If `ambient_dim` exceeds the closed form's.
    ConvergenceError
        If `ambient_dim` gives a defect above max(tol, 1e-4); `.partial` is that embedding.
    """
    d, D = full.dim, full.ambient_dim
    if ambient_dim is not None and ambient_dim > D:
        raise DomainError(f"ambient_dim = {ambient_dim} exceeds the {D} of {full.name}'s closed form.")
    if ambient_dim == D:
        return full
    points = check_points(region, N_FIT * d, seed=50)
    center = full._fun(points).mean(axis=0)
    frames = _frames(full, points)
    directions, sizes, _ = np.linalg.svd(np.moveaxis(frames, 0, 1).reshape(D, -1), full_matrices=False)
    if ambient_dim is None:
        directions = directions[:, sizes > SPANNED * sizes[0]]
        enough = np.flatnonzero(_defects(full, region, directions) <= 0.5 * tol)
        if len(enough) == 0 or d + enough[0] >= D:
            return full
        ambient_dim = int(d + enough[0])
    # Copied, so that it lies in memory as a file's does, and rounds alike.
    F = CompressedEmbedding(full, region, directions[:, :ambient_dim].copy(), center)
    F.certificate = _certificate(F, tol)
    if not F.certificate.defect <= max(tol, LARGEST):
        raise ConvergenceError(
            f"{full.name}'s closed form projected to ambient_dim = {ambient_dim} has a metric defect of "
            f"{F.certificate.defect:.1e}: leave ambient_dim out, for as many dimensions as tol needs.",
            partial=F,
        )
    return F


def _frames(full: ClosedFormEmbedding, points: np.ndarray) -> np.ndarray:
    """∂F g^{-1/2} up to a rotation, with orthonormal columns: shape=[n, D, d]."""
    factor = np.linalg.cholesky(full.metric._matrix(points))
    return np.swapaxes(np.linalg.solve(factor, np.swapaxes(full._jacobian(points), -1, -2)), -1, -2)


def _defects(full: ClosedFormEmbedding, region: Region, directions: np.ndarray) -> np.ndarray:
    """Return the largest defect of the first d, d + 1, … directions at points of their own."""
    d, largest = full.dim, np.zeros(directions.shape[1] - full.dim + 1)
    points = check_points(region, N_CHOICE, seed=51)
    for part in np.array_split(points, -(-len(points) // CHUNK)):
        rows = directions.T @ _frames(full, part)
        kept = np.cumsum(rows[..., :, None] * rows[..., None, :], axis=1)[:, d - 1 :]
        largest = np.maximum(largest, np.abs(np.linalg.eigvalsh(np.eye(d) - kept)).max(axis=(0, -1)))
    return largest


def _certificate(F: CompressedEmbedding, tol: float) -> Projected:
    metric: Metric = F.metric
    points = check_points(F.region, N_CHECK, seed=52)
    defects = np.concatenate(
        [
            relative_defect(F._jacobian(part), metric._matrix(part))
            for part in np.array_split(points, N_CHECK // CHUNK)
        ]
    )
    k = int(np.argmax(np.where(np.isfinite(defects), defects, np.inf)))
    defect = float(defects[k])
    bound = sampled_bound(F, defect)
    return Projected(F.name, F.full.ambient_dim, defect, len(points), points[k].copy(), tol, bound)
