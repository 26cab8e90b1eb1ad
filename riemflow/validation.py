"""Checks of arguments, made once at the public boundary.

Public methods call these and then hand plain float64 arrays to private methods (a leading
underscore), which check nothing and are what hot loops call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse import csr_array, issparse

from riemflow.errors import DomainError, RiemflowError, ShapeError

OTHER_WAY = {  # (what was given, what was wanted): how to get from one to the other
    ("Parametrization", "LegendreFunction"): "take its legendre_from_parametrization(G, x_init)",
    ("LegendreFunction", "Parametrization"): "take its parametrization_from_legendre(R, region)",
}
# What a function that is not vectorised, or not written for arrays, raises; other errors are its own.
MISUSE = (TypeError, ValueError, IndexError, AttributeError, NotImplementedError)


def as_float(name: str, value: Any) -> np.ndarray:
    """Return `value` as a new, finite float64 array. Integers are converted exactly.

    It is always a copy, so that whoever keeps it does not see what the caller later writes into his own.

    Raises
    ------
    DomainError
        If an entry is NaN, infinite, masked, complex, boolean or no number at all.
    ShapeError
        If nested sequences are ragged.
    """
    parts = (value, *value) if isinstance(value, list | tuple) else (value,)
    if any(isinstance(part, np.ma.MaskedArray) and np.ma.is_masked(part) for part in parts):
        raise DomainError(f"{name} has masked entries, which are no numbers: drop or fill them.")
    if value is None:
        raise DomainError(f"{name} is None, but must hold real numbers.")
    if type(value).__module__.startswith("autograd."):
        raise DomainError(
            f"{name} is traced by autograd, which does not know the derivative of this function: pass the "
            "derivative, or use a method that needs none."
        )
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ShapeError(f"{name} is ragged: every row needs the same length ({error}).") from error
    if array.dtype.kind not in "fiu":
        raise DomainError(f"{name} must hold real numbers, not dtype {array.dtype}.")
    array = array.astype(np.float64, copy=True)
    if not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        entry = f"but entry {list(where)}" if where else "but it"
        raise DomainError(f"{name} must be finite, {entry} is {array[where]}: remove or replace it.")
    return array


def as_points(name: str, value: Any, dim: int) -> np.ndarray:
    """Return `value` as a float64 array of shape [..., dim].

    Raises
    ------
    ShapeError
        If the last axis does not have length `dim`.
    DomainError
        As `as_float`.
    """
    array = as_float(name, value)
    if array.ndim == 0 or array.shape[-1] != dim:
        raise ShapeError(
            f"{name} has shape {array.shape}, but the last axis must have length {dim}: shape [..., {dim}]."
        )
    return array


def as_matrix(name: str, value: Any, shape: tuple[int | None, int | None]) -> np.ndarray:
    """Return `value` as a float64 matrix whose axes match `shape` (None: any positive length)."""
    array = as_float(name, value)
    fits = array.ndim == 2 and all(
        n > 0 and want in (None, n) for n, want in zip(array.shape, shape, strict=False)
    )
    if not fits:
        wanted = tuple("any" if n is None else n for n in shape)
        raise ShapeError(f"{name} has shape {array.shape}, but must be a matrix of shape {wanted}.")
    return array


def as_rows(name: str, value: Any) -> Any:
    """Return data, one row a sample, as a float64 matrix, or as a csr_array if it is a scipy.sparse one."""
    if not issparse(value):
        return as_matrix(name, value, (None, None))
    if value.ndim != 2 or 0 in value.shape:
        raise ShapeError(f"{name} has shape {value.shape}, but must be a matrix with rows and columns.")
    if value.dtype.kind not in "fiu":
        raise DomainError(f"{name} has entries of type {value.dtype}, but must hold real numbers.")
    rows = csr_array(value, dtype=np.float64)
    if not np.isfinite(rows.data).all():
        raise DomainError(f"{name} holds {(~np.isfinite(rows.data)).sum()} entries that are not finite.")
    return rows


def as_number(name: str, value: Any, *, above: float = -np.inf, below: float = np.inf) -> float:
    """Return `value` as a float strictly between `above` and `below`."""
    array = as_float(name, value)
    if array.ndim != 0:
        raise ShapeError(f"{name} has shape {array.shape}, but must be one number.")
    number = float(array)
    if not above < number < below:
        raise DomainError(f"{name} is {number}, but must lie strictly between {above} and {below}.")
    return number


def require_kind(name: str, value: Any, kind: type, remedy: str | None = None) -> None:
    """Raise a `DomainError` unless `value` is a `kind`; the usual slips are a bare function, and G for R."""
    if isinstance(value, kind):
        return
    if isinstance(value, type) and issubclass(value, kind):
        raise DomainError(f"{name} is the class {value.__name__}, but must be one made by it: call it.")
    if remedy is None:
        ways = [OTHER_WAY.get((base.__name__, kind.__name__)) for base in type(value).__mro__]
        remedy = next(filter(None, ways), f"wrap a function as {kind.__name__}(fun, …)")
    raise DomainError(f"{name} is a {type(value).__name__}, but must be a {kind.__name__}: {remedy}.")


def as_count(name: str, value: Any, *, least: int = 1) -> int:
    """Return `value` as an int that is at least `least`."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise DomainError(f"{name} is {value!r}, but must be a whole number, at least {least}.")
    if value < least:
        raise DomainError(f"{name} is {value}, but must be at least {least}.")
    return int(value)


def require_inside(
    name: str, points: np.ndarray, belongs: Callable[[np.ndarray], np.ndarray], where: str, remedy: str
) -> None:
    """Raise a `DomainError` naming the first of `points` [..., d] that does not belong."""
    inside = np.asarray(belongs(points))
    if not inside.all():
        bad = points[~inside] if points.ndim > 1 else points[None]
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        raise DomainError(
            f"{name} = {short(bad[0])}{more} lies on or outside the boundary of {where}: {remedy}"
        )


def broadcast(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return arrays of vectors, [..., d], as ones of one shape, or raise a `ShapeError`."""
    try:
        return np.broadcast_arrays(*arrays)
    except ValueError as error:
        shapes = ", ".join(str(a.shape) for a in arrays)
        raise ShapeError(f"Batches of shapes {shapes} do not broadcast together.") from error


def short(point: np.ndarray) -> str:
    """Write a point in a few characters, for error messages."""
    return np.array2string(np.asarray(point), precision=6, threshold=6, edgeitems=2, separator=", ")


def check_output(name: str, value: Any, shape: tuple[int, ...], remedy: str) -> None:
    """Raise a `ShapeError` unless a user's callable returned an array of the shape it should."""
    got = np.shape(value)
    if got != shape:
        raise ShapeError(f"{name} returned shape {got} where {shape} was expected: {remedy}")


def evaluate(
    name: str,
    fun: Callable[[Any], Any],
    points: np.ndarray,
    shape: tuple[int, ...],
    remedy: str,
    *,
    boolean: bool = False,
) -> np.ndarray:
    """Return a user's callable's value at `points`: real numbers (or booleans) of the shape it should have.

    Raises
    ------
    ShapeError
        If the shape is another, or the callable raises what comes of not being vectorised.
    DomainError
        If it returns anything but real numbers, or booleans where they are asked for.
    """
    try:
        value = fun(points)
    except RiemflowError:
        raise
    except MISUSE as error:
        raise ShapeError(
            f"{name} raised {type(error).__name__} ({error}) at an array of shape {points.shape}: {remedy}"
        ) from error
    check_output(name, value, shape, remedy)
    array = np.asarray(value)
    if array.dtype.kind not in ("b" if boolean else "fiu"):
        wanted = "booleans" if boolean else "real numbers"
        raise DomainError(f"{name} returned dtype {array.dtype} where {wanted} were expected: {remedy}")
    return array


def check_vectorised(
    name: str, fun: Callable[[Any], Any], point: np.ndarray, trailing: tuple[int, ...], remedy: str
) -> None:
    """Raise as `evaluate` does unless a user's callable maps [..., m] to [..., *trailing].

    It is tried at one point and at a batch with two axes of lengths unlike any other: an axis summed or
    indexed by mistake shows in the shape.
    """
    batch = tuple(n for n in range(2, 8) if n not in (*trailing, len(point)))[:2]
    evaluate(name, fun, point.copy(), trailing, remedy)
    evaluate(name, fun, np.tile(point, (*batch, 1)), (*batch, *trailing), remedy)


def membership(name: str, belongs: Callable[[Any], Any], points: np.ndarray) -> np.ndarray:
    """Return a user's `domain=` at points: shape=[..., m] -> bool, shape=[...]. Raises as `evaluate`."""
    remedy = "it must map [..., m] to booleans [...], as lambda w: (w > 0).all(axis=-1) does."
    with np.errstate(all="ignore"):
        return evaluate(f"{name}: domain", belongs, points, points.shape[:-1], remedy, boolean=True)
