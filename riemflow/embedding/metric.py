"""The one thing the solver, the certificate and the inverse know of what they embed: a Riemannian metric."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from riemflow.errors import DomainError, RiemflowError
from riemflow.legendre.function import LegendreFunction, least_eigenvalue
from riemflow.parametrizations.parametrization import Parametrization
from riemflow.spaces import RiemannianSpace
from riemflow.validation import as_points, check_vectorised, evaluate, require_inside, short

if TYPE_CHECKING:
    from riemflow.embedding.region import Region

Function = Callable[[np.ndarray], np.ndarray]
SYMMETRY = 1e-10  # largest |g - gᵀ| that rounding may make, relative to g
# Of g's eigenvalues, the smallest to the largest: below, rounding g makes a defect of 1e-4, which is no F's.
NEARLY_SINGULAR = np.finfo(float).eps / 1e-4


class Metric:
    """A Riemannian metric g on an open set of R^d.

    Attributes
    ----------
    dim : int
    name : str
    place : str
        What the open set is called.
    interior : array, shape=[d], or None
        A point of it.
    legendre : LegendreFunction or None
        R, if g = ∇²R.
    """

    def __init__(
        self,
        matrix: Function,
        belongs: Function,
        dim: int,
        *,
        name: str,
        place: str,
        interior: np.ndarray | None = None,
        legendre: LegendreFunction | None = None,
    ):
        self._matrix, self._belongs, self.dim = matrix, belongs, dim
        self.name, self.place, self.interior, self.legendre = name, place, interior, legendre

    def __call__(self, w: Any) -> np.ndarray:
        """g(w): shape=[..., d] -> shape=[..., d, d]. Raises `DomainError` outside the open set."""
        w = as_points("w", w, self.dim)
        require_inside("w", w, self._belongs, self.place, "move it inside.")
        return self._matrix(w)

    def check(self, points: np.ndarray) -> None:
        """Raise a `DomainError` where g is not finite, symmetric and positive definite; shape=[n, d]."""
        if self.legendre is not None:
            self.legendre._check_convex(points)
            return
        with np.errstate(all="ignore"):
            g = evaluate(f"the metric {self.name}", self._matrix, points, (*points.shape, self.dim), REMEDY)
        finite = np.isfinite(g).all(axis=(-2, -1))
        if not finite.all():
            raise DomainError(
                f"The metric {self.name} is not finite at w = {short(points[~finite][0])}: keep the region "
                "where it is defined."
            )
        gap = np.abs(g - np.swapaxes(g, -1, -2)).max(axis=(-2, -1)) / np.abs(g).max(axis=(-2, -1))
        if not (gap <= SYMMETRY).all():
            k = int(np.nanargmax(gap))
            raise DomainError(
                f"The metric {self.name} is not symmetric: at w = {short(points[k])} it differs from its "
                f"transpose by {gap[k]:.3g} of its size. Symmetrise it."
            )
        least = least_eigenvalue(g)
        if not (least > 0).all():
            k = int(np.argmin(least))
            raise DomainError(
                f"The metric {self.name} is not positive definite: at w = {short(points[k])} its smallest "
                f"eigenvalue is {least[k]:.3g} once its diagonal is scaled to 1, which must be > 0."
            )

    def __repr__(self) -> str:
        return f"Metric({self.name} on {self.place})"


REMEDY = (
    "a metric maps [..., d] to [..., d, d], vectorised over the leading axes. Index with w[..., i], or "
    "loop by np.vectorize(g, signature='(d)->(d,d)'). "
    "The value of an R is wrapped as LegendreFunction(value, dim)."
)


def as_metric(given: Any, region: Region | None = None) -> Metric:
    """Return the metric that a Legendre function, a geomstats space or a callable g(w) stands for.

    Raises
    ------
    DomainError
        If it is none of these, a callable comes without a region, which tells its dimension, or the space
        has no metric matrix.
    ShapeError
        If a callable does not map [..., d] to [..., d, d], or the points of the space are no vectors.
    """
    if isinstance(given, Metric):
        return given
    if isinstance(given, LegendreFunction):
        return _of_legendre(given)
    if hasattr(given, "belongs") and hasattr(given, "shape"):
        return _of_space(given)
    if callable(given) and not isinstance(given, Parametrization):
        name = getattr(given, "__name__", type(given).__name__).replace("<lambda>", "g")
        if region is None:
            raise DomainError(
                f"{name} is a callable: as a metric g(w) it needs a region, as a Legendre function it has to "
                "be wrapped as LegendreFunction(value, dim)."
            )
        g = _watched(f"the metric {name}", given, region.dim)
        with np.errstate(all="ignore"):
            check_vectorised(f"the metric {name}", g, region.center, (region.dim,) * 2, REMEDY)
        return Metric(g, _finite, region.dim, name=name, place=f"R^{region.dim}")
    raise DomainError(
        f"R is a {type(given).__name__}, but must be a LegendreFunction, a geomstats space with a metric or "
        "a callable metric g(w)."
    )


def _watched(name: str, given: Function, dim: int) -> Function:
    """Return the user's callable, checked at each call: its errors are told, its values' shape and type."""

    def matrix(w: np.ndarray) -> np.ndarray:
        try:
            return np.asarray(evaluate(name, given, w, (*w.shape[:-1], dim, dim), REMEDY), float)
        except RiemflowError:
            raise
        except Exception as error:
            first = w.reshape(-1, dim)[0] if w.size else w
            raise DomainError(
                f"{name} raised {type(error).__name__} ({error}) at an array of shape {w.shape}, the first "
                f"point of which is {short(first)}: it must be defined on all of the region. Mend it, or "
                "keep the region where it is."
            ) from error

    return matrix


def symmetric_power(name: str, g: np.ndarray, power: float, w: np.ndarray) -> np.ndarray:
    """Return g^power of the matrices that the metric has at points w: shapes=[..., d, d], [..., d].

    Raises
    ------
    DomainError
        Where g is not finite, or singular but for rounding.
    """
    finite = np.isfinite(g).all(axis=(-2, -1))
    if not finite.all():
        raise DomainError(
            f"The metric {name} is not finite at w = {short(w[~finite][0] if w.ndim > 1 else w)}, in "
            "coordinates that scale the region to [-1, 1]: keep the region where it is defined, and neither "
            "huge nor tiny."
        )
    values, vectors = np.linalg.eigh(g)
    share = values[..., 0] / np.maximum(values[..., -1], np.finfo(float).tiny)
    if not (share > NEARLY_SINGULAR).all():
        k = np.unravel_index(np.argmin(share), share.shape)
        raise DomainError(
            f"The metric {name} is nearly singular at w = {short(w[k])}: its smallest eigenvalue is "
            f"{share[k]:.2g} times the largest, in coordinates that scale the region to [-1, 1], but must be "
            f"above {NEARLY_SINGULAR:.2g}, below which rounding hides it. Shrink the region, or add a "
            "multiple of |w|² to R."
        )
    return (vectors * values[..., None, :] ** power) @ np.swapaxes(vectors, -1, -2)


def _of_legendre(R: LegendreFunction) -> Metric:
    return Metric(
        R._hessian,
        R._belongs,
        R.dim,
        name=R.name,
        place=f"dom {R.name}",
        interior=R.domain.interior,
        legendre=R,
    )


def _of_space(space: Any) -> Metric:
    R = getattr(getattr(space, "metric", None), "legendre_function", None)
    if isinstance(R, LegendreFunction):
        return _of_legendre(R)
    g = RiemannianSpace(space)
    g.require_vectors()
    return Metric(g.matrix, g.belongs, g.dim, name=g.name, place=f"the space {g.name}")


def _finite(w: np.ndarray) -> np.ndarray:
    return np.isfinite(w).all(axis=-1)
