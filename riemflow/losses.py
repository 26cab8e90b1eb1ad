"""Losses on the weights, and schedules of them in time (Def. 3.1 of Li, Wang, Lee and Arora, 2022)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from scipy.sparse import issparse
from scipy.special import expit

from riemflow import autodiff
from riemflow.errors import DomainError, ShapeError
from riemflow.validation import as_count, as_float, as_points, as_rows, check_vectorised

__all__ = ["LeastSquares", "Linear", "LinearModelLoss", "Logistic", "Loss", "Piecewise", "as_loss"]

Function = Callable[[np.ndarray], np.ndarray]


def _everywhere(w: np.ndarray) -> np.ndarray:
    return np.ones(len(w), bool)


class Loss:
    """A differentiable loss L on R^d.

    Parameters
    ----------
    value : callable, shape=[..., d] -> shape=[...]
        Written with ``autograd.numpy`` unless the derivatives are given.
    dim : int
        d.
    gradient, hessian : callable, optional
        ∇L (shape=[..., d]) and ∇²L (shape=[..., d, d]). Automatic if left out; ∇²L of a given ∇L by
        central differences where autograd does not see through that.

    Raises
    ------
    ShapeError
        If a callable is not vectorised over the leading axes.
    DomainError
        If a derivative, or an automatic gradient, is not that of the loss, by differences at points of size
        one.
    """

    dim: int

    def __init__(
        self, value: Function, dim: int, gradient: Function | None = None, hessian: Function | None = None
    ):
        self.dim = as_count("dim", dim)
        self._callables = {
            "value": value,
            "gradient": gradient or autodiff.gradient(value),
            "hessian": hessian or autodiff.jacobian(gradient or autodiff.gradient(value)),
        }
        given = {"gradient": gradient, "hessian": hessian}
        self._check_callables({what for what, fun in given.items() if fun is not None})

    def _check_callables(self, given: set[str]) -> None:
        """Check the shapes of what the user gave, and his derivatives where they and the loss are finite."""
        d, rng = self.dim, np.random.default_rng(0)
        remedy = (
            "it must be vectorised, [..., d] -> [...{}]; sum over axis=-1 and index with [..., i]. Without "
            "its gradient it must be written with riemflow.autodiff.anp."
        )
        points = np.concatenate([sign * rng.uniform(0.3, 0.7, (2, d)) for sign in (1.0, -1.0)])
        names = list(self._callables)
        for order, (what, fun) in enumerate(self._callables.items()):
            if what == "hessian" and what not in given:
                continue
            name = f"the loss's {what}"
            with np.errstate(all="ignore"):
                check_vectorised(name, fun, np.full(d, 0.5), (d,) * order, remedy.format(", d" * order))
            if what in given or what == "gradient":
                name = name if what in given else f"the loss: {autodiff.automatic(what)}"
                lower = self._callables[names[order - 1]]
                autodiff.check_derivative(name, lower, fun, points, _everywhere)

        if "gradient" in given and "hessian" not in given:
            pair = self._callables["gradient"], self._callables["hessian"]
            self._callables["hessian"] = autodiff.seen_through(*pair, points, _everywhere)

    def _value(self, w: np.ndarray) -> np.ndarray:
        return self._callables["value"](w)

    def _gradient(self, w: np.ndarray) -> np.ndarray:
        return self._callables["gradient"](w)

    def _hessian(self, w: np.ndarray) -> np.ndarray:
        return self._callables["hessian"](w)

    def __call__(self, w: Any) -> np.ndarray:
        """L(w): shape=[..., d] -> shape=[...]."""
        return self._value(as_points("w", w, self.dim))

    def gradient(self, w: Any) -> np.ndarray:
        """∇L(w): shape=[..., d] -> shape=[..., d]."""
        return self._gradient(as_points("w", w, self.dim))

    def hessian(self, w: Any) -> np.ndarray:
        """∇²L(w): shape=[..., d] -> shape=[..., d, d]."""
        return self._hessian(as_points("w", w, self.dim))

    def __repr__(self) -> str:
        return f"{type(self).__name__} on R^{self.dim}"


class LinearModelLoss(Loss):
    """L(w) = ℓ(Zw) for data Z, shape=[n, d], with rows for samples; a scipy.sparse matrix stays sparse."""

    def __init__(self, Z: Any):
        self.Z = as_rows("Z", Z)
        self.dim = self.Z.shape[1]
        self._columns, self._sparse = self.Z.T, issparse(self.Z)

    def _model(self, w: np.ndarray) -> np.ndarray:
        """Zw: shape=[..., d] -> shape=[..., n]."""
        return _times(w, self._columns) if self._sparse else w @ self._columns

    def _combine(self, s: np.ndarray) -> np.ndarray:
        """sZ, a combination of the rows: shape=[..., n] -> shape=[..., d]."""
        return _times(s, self.Z) if self._sparse else s @ self.Z

    def _outer_value(self, s: np.ndarray) -> np.ndarray:
        raise TypeError("LinearModelLoss is a base: use LeastSquares or Logistic.")

    def _outer_gradient(self, s: np.ndarray) -> np.ndarray:
        raise TypeError("LinearModelLoss is a base: use LeastSquares or Logistic.")

    def _outer_hessian(self, s: np.ndarray) -> np.ndarray:
        raise TypeError("LinearModelLoss is a base: use LeastSquares or Logistic.")

    def _of_samples(self, rows: np.ndarray) -> LinearModelLoss:
        """The loss of some of the samples, of which L is the mean over all: rows, int, shape=[k]."""
        raise DomainError(f"{type(self).__name__} does not say what its loss on some of the samples is.")

    def _value(self, w):
        return self._outer_value(self._model(w))

    def _gradient(self, w):
        return self._combine(self._outer_gradient(self._model(w)))

    def _hessian(self, w):
        Z = self.Z.toarray() if self._sparse else self.Z
        return Z.T @ self._outer_hessian(self._model(w)) @ Z


def _times(vectors: np.ndarray, matrix: Any) -> np.ndarray:
    """[..., k] times a sparse [k, m]: SciPy multiplies only vectors and matrices by it."""
    if vectors.ndim <= 2:
        return vectors @ matrix
    flat = vectors.reshape(-1, vectors.shape[-1]) @ matrix
    return flat.reshape(*vectors.shape[:-1], matrix.shape[1])


class LeastSquares(LinearModelLoss):
    """L(w) = ‖Zw - Y‖² / 2n for Z, shape=[n, d], and Y, shape=[n]."""

    def __init__(self, Z: Any, Y: Any):
        super().__init__(Z)
        n = self.Z.shape[0]
        self.Y = as_points("Y", Y, n)
        if self.Y.ndim != 1:
            raise ShapeError(f"Y has shape {self.Y.shape}, but must have shape ({n},).")

    def _outer_value(self, s):
        return 0.5 * np.mean((s - self.Y) ** 2, axis=-1)

    def _outer_gradient(self, s):
        return (s - self.Y) / len(self.Y)

    def _outer_hessian(self, s):
        n = len(self.Y)
        return np.broadcast_to(np.eye(n) / n, (*s.shape, n))

    def _of_samples(self, rows):
        return LeastSquares(self.Z[rows], self.Y[rows])


class Logistic(LinearModelLoss):
    """L(w) = (1/n) Σ ln(1 + exp(-y_i z_i·w)) for labels y_i of -1 or +1."""

    def __init__(self, Z: Any, labels: Any):
        super().__init__(Z)
        n = self.Z.shape[0]
        if np.asarray(labels).dtype == bool:
            raise DomainError("labels are boolean, but must be -1 or +1: take np.where(labels, 1, -1).")
        self.labels = as_points("labels", labels, n)
        if self.labels.ndim != 1 or not np.isin(self.labels, (-1.0, 1.0)).all():
            raise DomainError(
                f"labels must be {n} numbers, each -1 or +1: 0 and 1 become so by 2 * labels - 1."
            )

    def _outer_value(self, s):
        return np.mean(np.logaddexp(0.0, -self.labels * s), axis=-1)

    def _outer_gradient(self, s):
        return -self.labels * expit(-self.labels * s) / len(self.labels)

    def _outer_hessian(self, s):
        curvature = expit(s) * expit(-s) / len(self.labels)
        return curvature[..., None] * np.eye(len(self.labels))

    def _of_samples(self, rows):
        return Logistic(self.Z[rows], self.labels[rows])


class Linear(Loss):
    """L(w) = c·w."""

    def __init__(self, c: Any):
        self.c = as_float("c", c)
        if self.c.ndim != 1 or self.c.size == 0:
            raise ShapeError(f"c has shape {self.c.shape}, but must have shape (d,).")
        self.dim = len(self.c)

    def _value(self, w):
        return w @ self.c

    def _gradient(self, w):
        return np.broadcast_to(self.c, w.shape)

    def _hessian(self, w):
        return np.zeros((*w.shape, self.dim))


class Piecewise:
    """A loss that is losses[k] from breakpoints[k-1] to breakpoints[k], constant in time in between.

    Parameters
    ----------
    breakpoints : increasing positive times, one fewer than losses
    losses : losses on one space R^d

    Raises
    ------
    DomainError
        If the breakpoints do not increase from above 0, or a piece is no loss.
    ShapeError
        If the numbers of breakpoints and losses do not fit, or the losses' spaces differ.
    """

    def __init__(self, breakpoints: Sequence[float], losses: Sequence[Loss]):
        self.breakpoints = np.atleast_1d(as_float("breakpoints", breakpoints))
        if self.breakpoints.ndim != 1:
            raise ShapeError(f"breakpoints has shape {self.breakpoints.shape}, but must have shape (k,).")
        if isinstance(losses, Loss) or not isinstance(losses, Iterable):
            raise DomainError(f"losses is {losses!r}, but must be a list of losses, one a piece.")
        self.losses = list(losses)
        for k, loss in enumerate(self.losses):
            if not isinstance(loss, Loss):
                raise DomainError(f"piece {k} is a {type(loss).__name__}, but must be a Loss.")
        if len(self.losses) != len(self.breakpoints) + 1:
            raise ShapeError(
                f"{len(self.breakpoints)} breakpoints separate {len(self.breakpoints) + 1} losses, "
                f"but {len(self.losses)} were given."
            )
        if (np.diff(self.breakpoints, prepend=0.0) <= 0).any():
            raise DomainError(f"breakpoints must be positive and increasing, but are {self.breakpoints}.")
        dims = sorted({loss.dim for loss in self.losses})
        if len(dims) > 1:
            raise ShapeError(f"All pieces need one dimension, but have {dims}.")
        self.dim = dims[0]

    def at(self, t: float) -> Loss:
        """Return the loss in force at time t."""
        return self.losses[int(np.searchsorted(self.breakpoints, t, side="right"))]

    def __repr__(self) -> str:
        return f"Piecewise({len(self.losses)} losses on R^{self.dim})"


def as_loss(loss: Any, dim: int) -> Loss | Piecewise:
    """Return `loss` as a loss on R^dim; a plain callable is differentiated automatically.

    Raises
    ------
    ShapeError
        If the loss lives on another space.
    DomainError
        If it is no loss and not callable.
    """
    if not isinstance(loss, Loss | Piecewise):
        if not callable(loss):
            raise DomainError(f"loss is a {type(loss).__name__}, but must be a Loss or a callable of w.")
        function: Any = loss
        return Loss(function, dim)
    if loss.dim != dim:
        raise ShapeError(f"The loss is on R^{loss.dim}, but the weights are in R^{dim}.")
    return loss
