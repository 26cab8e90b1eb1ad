"""The metric of any geomstats space whose points are vectors, vectorised whether the space is or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from riemflow.errors import DomainError, ShapeError
from riemflow.validation import MISUSE


class SpaceMetric:
    """g(w) and membership on a geomstats space of vectors equipped with a metric that has a metric matrix.

    Not every space that users bring takes batches: one that does not is asked point by point.

    Parameters
    ----------
    space : geomstats manifold with points of shape (dim,)

    Raises
    ------
    DomainError
        If the space has no metric with a metric matrix.
    ShapeError
        If its points are not vectors of length dim.
    """

    def __init__(self, space: Any):
        self.space, self.name = space, type(space).__name__
        if not hasattr(getattr(space, "metric", None), "metric_matrix"):
            raise DomainError(f"The space {self.name} has no metric with a matrix: equip it with one.")
        self.dim = int(space.dim)
        if tuple(space.shape) != (self.dim,):
            raise ShapeError(
                f"The space {self.name} has points of shape {tuple(space.shape)}, but must have vectors of "
                f"length {self.dim}."
            )
        self._one_by_one: set[str] = set()  # what does not take batches

    def matrix(self, w: np.ndarray) -> np.ndarray:
        """g(w): shape=[..., d] -> shape=[..., d, d]. Raises `DomainError` if the metric has no matrix."""
        try:
            return self._ask("g", lambda w: self.space.metric.metric_matrix(base_point=w), w, (self.dim,) * 2)
        except NotImplementedError as error:
            raise DomainError(
                f"The metric of {self.name} has no metric matrix ({error}): give g(w) as a callable."
            ) from error

    def belongs(self, w: np.ndarray) -> np.ndarray:
        """Membership: shape=[..., d] -> bool, shape=[...]."""
        return self._ask("belongs", self.space.belongs, w, ()).astype(bool)

    def _ask(self, what: str, function: Callable, w: np.ndarray, trailing: tuple[int, ...]) -> np.ndarray:
        if w.ndim > 1 and what not in self._one_by_one:
            try:
                value = np.asarray(function(w))
            except MISUSE:
                value = None
            if value is not None and value.shape == (*w.shape[:-1], *trailing):
                return value
            self._one_by_one.add(what)
        points = w.reshape(-1, self.dim)
        values = [np.reshape(function(point), trailing) for point in points]
        return np.array(values).reshape((*w.shape[:-1], *trailing))
