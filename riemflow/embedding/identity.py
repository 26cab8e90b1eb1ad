"""Whether a metric, and an F, are those of a file: compared at a few points stored in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from riemflow.autodiff import points_near
from riemflow.embedding.atlas import Atlas
from riemflow.embedding.embedding import IsometricEmbedding, relative_defect
from riemflow.embedding.metric import Metric
from riemflow.embedding.spectral_points import check_points
from riemflow.validation import short

N_POINTS = 16
MOST_ENTRIES = 1_000_000  # of the stored metric: fewer points for a large d
N_OTHER = 2000  # points at which F is measured against another metric than its own
# Relative differences of F(w) and of metrics that rounding on another machine may make.
SAME_VALUES, SAME_METRIC = 1e-10, 1e-12


@dataclass(frozen=True)
class OtherMetric:
    """The certificate of an F that was made for another metric than the one it was loaded with.

    Attributes
    ----------
    defect : float
        The largest ‖g^{-1/2} ∂Fᵀ∂F g^{-1/2} - I‖₂ found, g the metric given.
    n_points : int
    worst_point : array, shape=[d]
    difference : float
        The largest ‖g^{-1/2} (h - g) g^{-1/2}‖₂ at the points of the file, h the metric that F was made for.
    made_for : str
    passed : bool
        False.
    """

    defect: float
    n_points: int
    worst_point: np.ndarray = field(repr=False)
    difference: float
    made_for: str
    passed: bool = False

    def __repr__(self) -> str:
        return (
            f"OtherMetric(made for {self.made_for}, whose metric differs by {self.difference:.1e}: defect at "
            f"worst {self.defect:.1e} at {self.n_points} points (at w={short(self.worst_point)}))"
        )


@dataclass(frozen=True)
class Identity:
    """A few points w, with g and F there: shapes=[n, d], [n, d, d], [n, D]."""

    points: np.ndarray
    metric: np.ndarray
    values: np.ndarray

    def differs(self, metric: Metric) -> float:
        """Return the largest ‖g^{-1/2} (h - g) g^{-1/2}‖₂, h stored; 0 if it may be rounding."""
        rooted = np.swapaxes(np.linalg.cholesky(self.metric), -1, -2)
        difference = float(relative_defect(rooted, metric._matrix(self.points)).max())
        rounding = 100 * np.finfo(float).eps * float(np.linalg.cond(self.metric).max())
        return difference if difference > max(SAME_METRIC, rounding) else 0.0

    def is_that_of(self, F: IsometricEmbedding | Atlas) -> bool:
        """Tell whether F takes the stored values."""
        if F.ambient_dim != self.values.shape[1]:
            return False
        with np.errstate(all="ignore"):
            gap = np.abs(F._fun(self.points) - self.values).max()
        return bool(gap <= SAME_VALUES * np.abs(self.values).max())


def identity_of(F: IsometricEmbedding | Atlas, metric: Metric) -> Identity:
    """Return F and the metric at points of F's region, or around an interior point if F is global.

    Each chart of an atlas has one of the points, its centre.
    """
    n = int(np.clip(MOST_ENTRIES // F.dim**2, 1, N_POINTS))
    if F.region is None:
        points = points_near(F.domain.interior, metric._belongs, n)
    else:
        points = check_points(F.region, N_POINTS, seed=30)[-n:]
    if isinstance(F, Atlas):
        points = np.concatenate([points[F._belongs(points)], F._centers])
    return Identity(points, metric._matrix(points), F._fun(points))


def other_metric(F: Any, metric: Metric, identity: Identity) -> OtherMetric:
    """Measure how far F is from embedding the metric given."""
    points = identity.points
    if F.region is not None:
        points = np.concatenate([points, check_points(F.region, N_OTHER, seed=31)])
        points = points[np.asarray(metric._belongs(points) & F._belongs(points))]
    defects = relative_defect(F._jacobian(points), metric._matrix(points))
    k = int(np.argmax(defects))
    return OtherMetric(float(defects[k]), len(points), points[k].copy(), identity.differs(metric), F.name)
