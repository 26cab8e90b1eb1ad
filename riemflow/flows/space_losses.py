"""Losses on the points of a geomstats space, whatever the shape of a point."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from riemflow import autodiff
from riemflow.errors import DomainError, RiemflowError, ShapeError
from riemflow.losses import Loss, Piecewise, as_loss
from riemflow.spaces import RiemannianSpace
from riemflow.validation import MISUSE, short


class SpaceLoss(Loss):
    """L on the points of a space, as a loss on its coordinates; one point at a time.

    Parameters
    ----------
    space : RiemannianSpace
    value : callable, shape=[point_shape] -> number
        Written with autograd.numpy, unless its gradient is given.
    gradient : callable, shape=[point_shape] -> shape=[point_shape], optional
        The entries ∂L/∂w_k of the Euclidean gradient in the array that holds a point.
    start : array, shape=[point_shape]
        Where they are checked.

    Raises
    ------
    ShapeError
        If they return other shapes at the start.
    DomainError
        If the gradient is not that of the loss along the space, by differences at the start.
    """

    def __init__(self, space: RiemannianSpace, value: Callable, gradient: Callable | None, start: np.ndarray):
        self.space, self.dim = space, space.dim if space.frame is not None else space.size
        self._at = value
        self._slope_at = gradient or autodiff.gradient(value)
        self._check(start, gradient is not None)

    def _check(self, start: np.ndarray, given: bool) -> None:
        remedy = "it must map one point to one number" + (
            "." if given else ", written with riemflow.autodiff.anp."
        )
        for what, fun, shape in (("loss", self._at, ()), ("loss's gradient", self._slope_at, start.shape)):
            try:
                with np.errstate(all="ignore"):
                    value = np.asarray(fun(start.copy()), dtype=np.float64)
            except RiemflowError:
                raise
            except MISUSE as error:
                raise ShapeError(
                    f"the {what} raised {type(error).__name__} ({error}) at a point of shape {start.shape}: "
                    f"{remedy}"
                ) from error
            if value.shape != shape:
                raise ShapeError(
                    f"the {what} returned shape {value.shape} at one point, not {shape}: {remedy}"
                )
            if not np.isfinite(value).all():
                raise DomainError(f"the {what} is not finite at w_init = {short(start)}: start elsewhere.")
        frame = self.space.tangent_frame(start)
        name = "the loss's gradient" if given else f"the loss: {autodiff.automatic('gradient')}"
        autodiff.check_derivative(
            name,
            lambda y: np.array([self._at(point) for point in y.reshape(-1, *start.shape)]),
            lambda y: np.array([self._slope_at(point).ravel() for point in y.reshape(-1, *start.shape)]),
            start.reshape(1, -1),
            lambda y: np.ones(len(y), bool),
            (frame.T @ frame)[None],
        )

    def slope(self, point: np.ndarray) -> np.ndarray:
        """The Euclidean gradient at one point: shape=[point_shape] -> shape=[point_shape]."""
        return np.asarray(self._slope_at(point), dtype=np.float64)

    def _value(self, w):
        if w.ndim > 1:
            return np.array([self._value(row) for row in w])
        return np.float64(self._at(self.space.points(w)))

    def _gradient(self, w):
        if w.ndim > 1:
            return np.array([self._gradient(row) for row in w])
        point = self.space.points(w)
        slope = self.slope(point)
        if self.space.frame is not None:
            return self.space.frame @ slope.ravel()
        return self.space.tangent_part(point, slope).ravel()

    def _hessian(self, w):
        if w.ndim > 1:
            return np.array([self._hessian(row) for row in w])
        return autodiff.differences(self._gradient)(w)


def loss_on(space: RiemannianSpace, loss: Any, gradient: Any, start: np.ndarray) -> Loss | Piecewise:
    """Return a loss on the coordinates of a space from what a user gave: a Loss, a Piecewise or a callable.

    Raises
    ------
    DomainError, ShapeError
        If it is neither, is on another space, or comes with a gradient of its own and `gradient=` as well.
    """
    if isinstance(loss, Loss | Piecewise):
        if gradient is not None:
            raise DomainError("gradient= goes with a plain function; this loss brings its own: leave it out.")
        if space.has_vectors:
            return as_loss(loss, space.dim)
        as_loss(loss, space.size)  # raises if it is on another space
        if isinstance(loss, Piecewise):
            return Piecewise(loss.breakpoints, [_flat(space, piece, start) for piece in loss.losses])
        return _flat(space, loss, start)
    if not callable(loss) or not (gradient is None or callable(gradient)):
        raise DomainError(
            f"loss is a {type(loss).__name__} and gradient a {type(gradient).__name__}, but must be a Loss "
            "or a callable of one point, and a callable or None."
        )
    return SpaceLoss(space, loss, gradient, start)


def _flat(space: RiemannianSpace, loss: Loss, start: np.ndarray) -> SpaceLoss:
    """A loss on R^size, size the number of entries of a point, as one on the space."""
    return SpaceLoss(
        space,
        lambda point: loss._value(point.ravel()),
        lambda point: loss._gradient(point.ravel()).reshape(space.shape),
        start,
    )
