"""Many charts, each with an isometric embedding of its own, where one F would need too high a degree."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from riemflow.embedding.embedding import bracket_defect, relative_defect, require_metric
from riemflow.validation import as_count, as_points, require_inside, short

if TYPE_CHECKING:
    from pathlib import Path

    from riemflow.embedding.identity import Identity, OtherMetric
    from riemflow.embedding.metric import Metric
    from riemflow.embedding.region import Box, Region
    from riemflow.embedding.spectral import SpectralEmbedding
    from riemflow.legendre.function import LegendreFunction


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
    n_missing : int
        Parts of the region without a chart, where the solve was stopped.
    """

    defect: float
    bound: float
    is_bound: bool
    tol: float
    n_charts: int
    worst_chart: int
    worst_point: np.ndarray = field(repr=False)
    n_missing: int = 0

    @property
    def passed(self) -> bool:
        """Whether the largest defect found is within the tolerance, and no part of the region is missing."""
        return self.defect <= self.tol and self.n_missing == 0

    def __repr__(self) -> str:
        verdict = "within" if self.defect <= self.tol else "NOT within"
        left = f"; {self.n_missing} parts of the region have NO chart" if self.n_missing else ""
        kind = "at most" if self.is_bound else "sampled densely"
        return (
            f"AtlasCertificate({self.n_charts} charts, not one F: defect at worst {self.defect:.1e}, "
            f"{verdict} tol={self.tol:g}, in chart {self.worst_chart} at w={short(self.worst_point)}; {kind} "
            f"{self.bound:.1e}{left})"
        )


class Atlas:
    """Isometric embeddings F_k of the metric on boxes that cover a region: many charts, not one F.

    The images of neighbouring charts do not meet; a flow changes from one to the other by its w.

    Attributes
    ----------
    metric : Metric or None
        None if it was loaded from a file that does not tell it, and without it.
    name : str
        The metric's.
    region : Region
    charts : tuple of SpectralEmbedding
        Each on its own box, `charts[k].region`; the boxes overlap.
    shares, missing : tuple of Box
        The boxes without their overlaps, and those of the region that no chart covers: none, unless the solve
        was stopped.
    certificate : AtlasCertificate, or OtherMetric if it was loaded for an R that it was not made for
    dim, ambient_dim : int
        d, and D of every chart.
    """

    method = "atlas"
    metric: Metric
    certificate: AtlasCertificate | OtherMetric
    _identity: Identity | None = None  # of a loaded one

    def __init__(
        self,
        metric: Metric | None,
        region: Region,
        charts: Iterable[SpectralEmbedding],
        shares: Iterable[Box],
        missing: Iterable[Box] = (),
        *,
        name: str | None = None,
    ):
        known: Any = metric
        self.metric, self.region, self.name = known, region, name or known.name
        self.charts, self.shares, self.missing = tuple(charts), tuple(shares), tuple(missing)
        self.dim, self.ambient_dim = region.dim, self.charts[0].ambient_dim
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
            n_missing=len(self.missing),
        )

    @property
    def R(self) -> LegendreFunction | None:
        """R, if the metric is known as ∇²R."""
        return None if self.metric is None else self.metric.legendre

    def _depths(self, w: np.ndarray) -> np.ndarray:
        """Return how deep w lies in each chart's box, 1 at its centre and 0 at its faces: shape=[..., n]."""
        return 1.0 - (np.abs(w[..., None, :] - self._centers) / self._halves).max(axis=-1)

    def _chart(self, w: np.ndarray) -> np.ndarray:
        depths = self._depths(w)
        best = np.argmax(depths, axis=-1)
        covered = np.take_along_axis(depths, best[..., None], axis=-1)[..., 0] >= -1e-12
        return np.where(covered & self.region._belongs(w), best, -1)

    def _belongs(self, w: np.ndarray) -> np.ndarray:
        return self._chart(w) >= 0

    def _inside(self, w: Any) -> np.ndarray:
        w = as_points("w", w, self.dim)
        require_inside("w", w, self._belongs, f"the atlas of {self.region!r}", "embed a larger region.")
        return w

    def _in_charts(self, function: Callable[[SpectralEmbedding, np.ndarray], np.ndarray], w: np.ndarray):
        """Return function(F_k, w), k the chart in which w lies deepest: shape=[..., d] -> shape=[..., *]."""
        flat = w.reshape(-1, self.dim)
        which = np.argmax(self._depths(flat), axis=-1)
        out: np.ndarray | None = None
        for k in np.unique(which):
            found = function(self.charts[k], flat[which == k])
            out = np.empty((len(flat), *found.shape[1:])) if out is None else out
            out[which == k] = found
        assert out is not None  # no public method is called without points
        return out.reshape(*w.shape[:-1], *out.shape[1:])

    def _fun(self, w: np.ndarray) -> np.ndarray:
        return self._in_charts(lambda F, w: F._fun(w), w)

    def _jacobian(self, w: np.ndarray) -> np.ndarray:
        return self._in_charts(lambda F, w: F._jacobian(w), w)

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
        require_metric(self)
        return relative_defect(self._jacobian(w), self.metric._matrix(w))

    def bracket_defect(self, w: Any) -> np.ndarray:
        """Size of the Lie brackets on F_k's image, k the chart of w: shape=[..., d] -> shape=[...].

        See `riemflow.embedding.bracket_defect`.
        """
        return self._in_charts(bracket_defect, self._inside(w))

    def transition_defect(self, n: int = 2000, seed: int = 0) -> float:
        """Return the largest ‖g^{-1/2} (∂F_jᵀ∂F_j - ∂F_kᵀ∂F_k) g^{-1/2}‖₂ at n points of overlaps; 0 if none.

        A flow that changes charts there goes on with that much another metric.
        """
        require_metric(self)
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

    def save(self, path: Any) -> Path:
        """Write all charts to one file, for `load_embedding`; see `IsometricEmbedding.save`."""
        from riemflow.embedding.files import save_embedding

        return save_embedding(self, path)

    def __repr__(self) -> str:
        return (
            f"Atlas of {self.region!r} for {self.name}, charts in R^{self.ambient_dim}: {self.certificate!r}"
        )
