"""What a long solve has reached so far: the best embedding, every fit before it, and the progress bar."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from riemflow.embedding.embedding import Fit, SampledDefect, relative_defect
from riemflow.embedding.spectral_points import check_points

if TYPE_CHECKING:
    from riemflow.embedding.metric import Metric
    from riemflow.embedding.region import Region
    from riemflow.embedding.spectral import SpectralEmbedding

N_CHECK = 4000
Keep = Callable[["SpectralEmbedding"], Any]


class Record:
    """The best of the embeddings offered, judged at points that no fit has seen.

    A context manager: while it is open it shows a progress bar if asked to.

    Attributes
    ----------
    best : SpectralEmbedding or None
        The one with the least defect; its certificate holds all fits until then.
    """

    def __init__(
        self, metric: Metric, region: Region, *, tol: float, seed: int, progress: bool, keep: Keep | None
    ):
        self.metric, self.tol, self.keep = metric, tol, keep
        self.points = check_points(region, N_CHECK, seed)
        self.started = time.perf_counter()
        self.best: SpectralEmbedding | None = None
        self.fits: list[Fit] = []
        self._iterate: Callable[[], SpectralEmbedding] | None = None
        self._bar = tqdm(disable=not progress, desc="embedding", unit=" fits", leave=True)

    def __enter__(self) -> Record:
        return self

    def __exit__(self, *error) -> None:
        self._bar.close()

    @cached_property
    def target(self) -> np.ndarray:
        self.metric.check(self.points)
        return self.metric._matrix(self.points)

    def watch(self, degree: int, residual: float, iterate: Callable[[], SpectralEmbedding]) -> None:
        """Keep the iterate that a fit has just reached, in case it is interrupted, and show its residual."""
        self._iterate = iterate
        self._show(f"degree {degree}, residual {residual:.1e}")

    def offer(self, F: SpectralEmbedding, residual: float | None, start: int = 0) -> SampledDefect:
        """Measure F's defect; if F is the best, hold on to it and hand it to `keep`, which may save it.

        `residual` is that of the fit, None if F is no fit's result; `start` counts the ladders.
        """
        defects = relative_defect(F._jacobian(self.points), self.target)
        defects = np.where(np.isfinite(defects), defects, np.inf)
        k = int(np.argmax(defects))
        seconds = time.perf_counter() - self.started
        self._iterate = None
        if residual is not None:
            self.fits.append(Fit(start, F.degree, residual, float(defects[k]), seconds))
        found = SampledDefect(
            defect=float(defects[k]),
            n_points=len(self.points),
            worst_point=self.points[k].copy(),
            tol=self.tol,
            degree=F.degree,
            seconds=seconds,
            coordinates=F.coordinates,
            tail=F.tail,
            history=tuple(self.fits),
        )
        if self.best is None or found.defect < self.best.certificate.defect:
            F.certificate, self.best = found, F
            if self.keep is not None:
                self.keep(F)
        self._bar.update()
        self._show(f"degree {F.degree}")
        return found

    def interrupted(self) -> SpectralEmbedding | None:
        """Return the best so far, the iterate of the fit that was interrupted included."""
        if self._iterate is not None:
            self.offer(self._iterate(), None)
        return self.finished()

    def finished(self) -> SpectralEmbedding | None:
        """Return the best, with the whole history in its certificate."""
        if self.best is not None:
            self.best.certificate = replace(self.best.certificate, history=tuple(self.fits))
        return self.best

    def _show(self, now: str) -> None:
        best = "" if self.best is None else f"; best defect {self.best.certificate.defect:.1e}"
        self._bar.set_postfix_str(now + best)
