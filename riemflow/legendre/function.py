"""Legendre functions: strictly convex R whose gradient blows up at the boundary of dom R."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import issparse

from riemflow import autodiff
from riemflow.errors import DomainError, ShapeError
from riemflow.validation import (
    as_count,
    as_number,
    as_points,
    broadcast,
    check_vectorised,
    membership,
    require_inside,
    short,
)

if TYPE_CHECKING:
    from riemflow.legendre.algebra import Composed, Scaled, Sum

Function = Callable[[np.ndarray], np.ndarray]

EPS = np.finfo(np.float64).eps
OVERFLOWN = 1e-10  # to which an integral must be right that stands for terms which overflow


class Domain:
    """The interior of dom R, an open convex set.

    Attributes
    ----------
    interior : array, shape=[d]
        A point inside.
    """

    def __init__(self, dim: int, belongs: Function, interior: np.ndarray):
        self.dim = dim
        self.interior = interior
        self._belongs = belongs

    def belongs(self, w: Any) -> np.ndarray:
        """Tell whether each point lies in the interior: shape=[..., d] -> bool, shape=[...]."""
        return self._belongs(as_points("w", w, self.dim))


class LegendreFunction:
    """A Legendre function R (Def. 3.7 of Li, Wang, Lee and Arora, 2022).

    ``R : R^d -> R ∪ {∞}`` is strictly convex on the interior of its domain, and its gradient's norm
    tends to infinity at the boundary. Its Hessian is the metric of the mirror flow
    ``dw/dt = -∇²R(w)^{-1} ∇L(w)``.

    Parameters
    ----------
    value : callable, shape=[..., d] -> shape=[...]
        R, written with ``autograd.numpy`` unless all derivatives are given.
    dim : int
        d.
    gradient, hessian, third, fourth : callable, optional
        ∇R, ∇²R, ∇³R and ∇⁴R, of shape=[..., d], [..., d, d] and so on. Automatic if left out.
    domain : callable, shape=[..., d] -> bool, shape=[...], optional
        Membership in the interior of dom R. All of R^d if left out.
    interior : array, shape=[d], optional
        A point inside the domain; searched for if left out.
    conjugate : LegendreFunction or callable returning one, optional
        R*; a numerical conjugate if left out.
    name : str, optional

    Attributes
    ----------
    domain : Domain
        With `domain.belongs(w)` and `domain.interior`, a point inside.
    is_mirror_map : bool or None
        Whether ∇R is onto R^d; None if not known.
    conjugate : LegendreFunction
        R*.

    Raises
    ------
    ShapeError
        If a callable is not vectorised over the leading axes, or the conjugate has another dimension.
    DomainError
        If no interior point is found, R is not finite and strictly convex there, or a given derivative or
        conjugate is not that of R, by differences near that point.
    """

    dim: int
    name: str
    domain: Domain
    is_mirror_map: bool | None
    _membership: Function | None = None
    _refuses = False  # whether ∇R at one point outside the domain raises a LinAlgError, without a test
    _hessian_along: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    _given_conjugate: LegendreFunction | Callable[[], LegendreFunction] | None = None
    _callables: dict[str, Function]

    def __init__(
        self,
        value: Function,
        dim: int,
        *,
        gradient: Function | None = None,
        hessian: Function | None = None,
        third: Function | None = None,
        fourth: Function | None = None,
        domain: Function | None = None,
        interior: Any = None,
        conjugate: LegendreFunction | Callable[[], LegendreFunction] | None = None,
        name: str | None = None,
    ):
        dim = as_count("dim", dim)
        self._callables = {
            "value": value,
            "gradient": gradient or autodiff.gradient(value),
            "hessian": hessian or autodiff.jacobian(gradient or autodiff.gradient(value)),
            "third": third
            or autodiff.jacobian(hessian or autodiff.jacobian(gradient or autodiff.gradient(value)), 2),
        }
        if fourth:
            self._callables["fourth"] = fourth
        if not (hessian or third):
            self._hessian_along = autodiff.hessian_along(gradient or autodiff.gradient(value))
        self._membership = domain
        self._given_conjugate = conjugate
        self._define(dim, name=name or "R", interior=np.zeros(dim), is_mirror_map=None)
        self.domain.interior = self._find_interior(interior)
        self._check_callables()
        given = {"gradient": gradient, "hessian": hessian, "third": third, "fourth": fourth}
        self._check_given({order for order, fun in given.items() if fun is not None})
        if hessian and not third:
            automatic = self._callables["third"]
            points = autodiff.points_near(self.domain.interior, self._belongs)
            self._callables["third"] = autodiff.seen_through(hessian, automatic, points, self._belongs, 2)
            if self._callables["third"] is automatic and autodiff.has_forward(hessian, self.domain.interior):
                self._hessian_along = autodiff.directional(hessian)

    def _define(self, dim: int, *, name: str, interior: Any, is_mirror_map: bool | None) -> None:
        """Set what every Legendre function has; constructors of the catalogue call this."""
        self.dim = dim
        self.name = name
        self.is_mirror_map = is_mirror_map
        self.domain = Domain(dim, self._belongs, np.broadcast_to(np.asarray(interior, float), (dim,)).copy())
        self._conjugate: LegendreFunction | None = None

    def _find_interior(self, given: Any) -> np.ndarray:
        if given is not None:
            point = as_points("interior", given, self.dim)
            require_inside("interior", point, self._belongs, f"dom {self.name}", "give a point inside.")
            return point
        d = self.dim
        rng = np.random.default_rng(0)
        candidates = [np.zeros(d), np.ones(d), np.full(d, 1 / (d + 1)), -np.ones(d), np.full(d, 0.5)]
        candidates += [np.eye(d)[k] for k in range(d)]
        candidates += [s * rng.standard_normal(d) for s in (0.1, 1.0, 10.0) for _ in range(100)]
        inside = np.array(candidates)[np.asarray(self._belongs(np.array(candidates)), bool)]
        if len(inside) == 0:
            raise DomainError(
                f"No point inside dom {self.name} was found: pass interior=, a point inside it."
            )
        return inside[0]

    def _check_callables(self) -> None:
        d, point = self.dim, self.domain.interior
        vectorised = "vectorised, [..., d] -> [...{}]; sum over axis=-1 and index with [..., i]"
        automatic = f"{vectorised}, and written with riemflow.autodiff.anp where a derivative is left out."
        with np.errstate(all="ignore"):
            for order, (what, fun) in enumerate(self._callables.items()):
                # The automatic third derivative is costly, and right if that of the Hessian is.
                if order < 3:
                    remedy = f"it must be {automatic.format(', d' * order)}"
                    check_vectorised(f"{self.name}: {what}", fun, point, (d,) * order, remedy)
            value = self._value(point)
        if not np.isfinite(value):
            raise DomainError(
                f"{self.name} is {value} at its interior point {short(point)}: pass domain= and interior=."
            )
        self._check_convex(point[None])

    def _check_given(self, given: set[str]) -> None:
        """Compare the derivatives and the conjugate a user gave with R, next to the interior point."""
        points = autodiff.points_near(self.domain.interior, self._belongs)
        orders = list(self._callables)  # the automatic fourth derivative is made when it is wanted
        for k, what in enumerate(orders[1:]):
            fun = self._callables[what]
            if what == "gradient" and what not in given:
                name = f"{self.name}: {autodiff.automatic(what)}"
                autodiff.check_derivative(name, self._callables["value"], fun, points, self._belongs)
            if what in given:
                name = f"{self.name}: {what}"
                with np.errstate(all="ignore"):
                    remedy = f"it must be vectorised, [..., d] -> [...{', d' * (k + 1)}]."
                    check_vectorised(name, fun, self.domain.interior, (self.dim,) * (k + 1), remedy)
                autodiff.check_derivative(name, self._callables[orders[k]], fun, points, self._belongs)
        if isinstance(self._given_conjugate, LegendreFunction):
            self._check_conjugate(self._given_conjugate)

    def _check_conjugate(self, Q: Any) -> None:
        """Raise unless Q is a Legendre function whose gradient takes ∇R(w) back to w, to four digits."""
        if not isinstance(Q, LegendreFunction):
            raise DomainError(
                f"conjugate of {self.name} is {type(Q).__name__}, but must be a LegendreFunction."
            )
        if Q.dim != self.dim:
            raise ShapeError(f"conjugate {Q.name} has dimension {Q.dim}, but {self.name} has {self.dim}.")
        w = autodiff.points_near(self.domain.interior, self._belongs)
        with np.errstate(all="ignore"):
            mu = np.asarray(self._gradient(w))
            outside = ~np.asarray(Q._belongs(mu))
            back = np.full_like(w, np.nan)
            back[~outside] = Q._gradient(mu[~outside])
            # Where R is nearly flat, w cannot be had better than ∇R(w) is.
            there = np.where(self._belongs(back)[:, None], back, w)
            missed = np.abs(np.asarray(self._gradient(there)) - mu).max(axis=-1)
            wrong = np.abs(back - w).max(axis=-1) > 1e-4 * np.abs(w).max(axis=-1)
            wrong &= (missed > 1e-4 * np.abs(mu).max(axis=-1)) | ~np.asarray(self._belongs(back))
        wrong |= outside
        if wrong.any():
            k = int(np.argmax(wrong))
            raise DomainError(
                f"{Q.name} is not the conjugate of {self.name}: its gradient takes ∇R(w) = {short(mu[k])} at "
                f"w = {short(w[k])} to {short(back[k])}, not back to w: correct conjugate=, or leave it out."
            )

    def _check_convex(self, w: np.ndarray) -> None:
        """Raise a `DomainError` where ∇²R is not positive definite; w has shape [n, d]."""
        with np.errstate(all="ignore"):
            hessian = np.asarray(self._hessian(w))
        if not np.isfinite(hessian).all():
            bad = w[~np.isfinite(hessian).all(axis=(-2, -1))][0]
            raise DomainError(
                f"∇²{self.name} is not finite at w = {short(bad)}: R must be C² inside its domain."
            )
        least = least_eigenvalue(hessian)
        if not (least > 0).all():
            k = int(np.argmin(least))
            raise DomainError(
                f"{self.name} is not strictly convex: at w = {short(w[k])} the smallest eigenvalue of its "
                f"Hessian is {least[k]:.3g}, which must be > 0."
            )

    # Raw methods: float64 arrays inside the domain, no checks. The catalogue overrides them.

    def _value(self, w: np.ndarray) -> np.ndarray:
        return self._callables["value"](w)

    def _gradient(self, w: np.ndarray) -> np.ndarray:
        return self._callables["gradient"](w)

    def _hessian(self, w: np.ndarray) -> np.ndarray:
        return self._callables["hessian"](w)

    def _third(self, w: np.ndarray) -> np.ndarray:
        return self._callables["third"](w)

    def _fourth(self, w: np.ndarray) -> np.ndarray:
        if "fourth" not in self._callables:
            points = autodiff.points_near(self.domain.interior, self._belongs)
            automatic = autodiff.jacobian(self._third, 3)
            self._callables["fourth"] = autodiff.seen_through(
                self._third, automatic, points, self._belongs, 3
            )
        return self._callables["fourth"](w)

    def _third_along(self, w: np.ndarray, v: np.ndarray) -> np.ndarray:
        """∇³R(w)[v], how ∇²R changes along v, without all of ∇³R if possible: two [..., d] -> [..., d, d]."""
        if self._hessian_along is None:
            return np.einsum("...ijk,...k->...ij", self._third(w), v)
        return self._hessian_along(w, v)

    # The Hessian against n rows at one point: for d beyond thousands, where its structure is known, no d x d
    # matrix is formed. The rows, shape=[n, d], may be a scipy.sparse array.

    def _times_hessian(self, w: np.ndarray, rows: Any) -> Any:
        """rows ∇²R(w), shape=[n, d]; sparse where rows are and ∇²R is diagonal."""
        return rows @ self._hessian(w)

    def _gram(self, w: np.ndarray, rows: Any) -> np.ndarray:
        """rows ∇²R(w) rowsᵀ, shape=[n, n]."""
        return times_transposed(self._times_hessian(w, rows), rows)

    def _gram_root(self, w: np.ndarray, rows: Any) -> Any:
        """M, shape=[k, n], with MᵀM = rows ∇²R(w) rowsᵀ: a QR of it keeps digits that the product squares."""
        hessian = self._hessian(w)
        # Unit diagonal first: coordinates of any units are judged alike.
        scale = np.sqrt(np.diagonal(hessian))
        values, vectors = np.linalg.eigh(hessian / scale[:, None] / scale)
        return np.sqrt(np.maximum(values, 0.0))[:, None] * ((vectors.T * scale) @ rows.T)

    def _belongs(self, w: np.ndarray) -> np.ndarray:
        finite = np.asarray(np.isfinite(w).all(axis=-1))
        if self._membership is None:
            return finite
        return finite & membership(self.name, self._membership, w)

    def _make_conjugate(self) -> LegendreFunction:
        given = self._given_conjugate
        if given is not None:
            Q = given if isinstance(given, LegendreFunction) else given()
            self._check_conjugate(Q)
            return Q
        from riemflow.legendre.conjugate import NumericalConjugate

        return NumericalConjugate(self)

    # Public methods: checked arguments.

    def _inside(self, w: Any, name: str = "w") -> np.ndarray:
        w = as_points(name, w, self.dim)
        require_inside(name, w, self._belongs, f"dom {self.name}", "move it inside.")
        return w

    def __call__(self, w: Any) -> np.ndarray:
        """R(w): shape=[..., d] -> shape=[...]. Raises `DomainError` outside the interior of dom R."""
        return self._value(self._inside(w))

    def gradient(self, w: Any) -> np.ndarray:
        """∇R(w), the dual point: shape=[..., d] -> shape=[..., d]."""
        return self._gradient(self._inside(w))

    def hessian(self, w: Any) -> np.ndarray:
        """∇²R(w), the metric: shape=[..., d] -> shape=[..., d, d]."""
        return self._hessian(self._inside(w))

    def third(self, w: Any) -> np.ndarray:
        """∇³R(w): shape=[..., d] -> shape=[..., d, d, d]."""
        return self._third(self._inside(w))

    def fourth(self, w: Any) -> np.ndarray:
        """∇⁴R(w): shape=[..., d] -> shape=[..., d, d, d, d].

        Where it is neither given nor to be had by autograd it comes from differences of ∇³R, to some nine
        digits.
        """
        return self._fourth(self._inside(w))

    @property
    def conjugate(self) -> LegendreFunction:
        """R*(μ) = sup_w μ·w - R(w), whose gradient is the inverse of ∇R (Lemma 4.7)."""
        if self._conjugate is None:
            self._conjugate = self._make_conjugate()
            if self._conjugate._conjugate is None:
                self._conjugate._conjugate = self
        return self._conjugate

    def bregman_divergence(self, w: Any, w0: Any) -> np.ndarray:
        """D_R(w, w0) = R(w) - R(w0) - ∇R(w0)·(w - w0) ≥ 0: shapes=[..., d] -> shape=[...].

        Where the terms cancel it is ``∫_0^1 (1 - s) δᵀ ∇²R(w0 + sδ) δ ds`` with δ = w - w0. It is infinite
        where it, or the terms of points far from each other, leave the range of float64.

        Raises
        ------
        DomainError
            If a point lies outside the interior of dom R.
        ShapeError
            If the points' shapes do not fit.
        """
        w, w0 = broadcast(self._inside(w), self._inside(w0, "w0"))
        with np.errstate(all="ignore"):
            value, value0, slope = self._value(w), self._value(w0), self._gradient(w0) * (w - w0)
            divergence = np.array(value - value0 - slope.sum(axis=-1))
            rounding = 4 * EPS * (np.abs(value) + np.abs(value0) + np.abs(slope).sum(axis=-1))
            cancels = ~(divergence > 1e6 * rounding)
            if cancels.any():
                near, error = _bregman_integral(self, w[cancels], w0[cancels])
                terms, bound = divergence[cancels], rounding[cancels]
                # Of two results the more accurate; a difference below 0 is one lost in its rounding.
                better = error <= np.where(np.isfinite(bound), bound, OVERFLOWN * near)
                terms = np.where(np.isnan(terms), np.inf, np.maximum(terms, 0.0))
                divergence[cancels] = np.where(better, near, terms)
        return divergence if divergence.ndim else divergence[()]

    # Algebra; see riemflow.legendre.algebra.

    def __add__(self, other: LegendreFunction) -> Sum:
        if not isinstance(other, LegendreFunction):
            return NotImplemented
        from riemflow.legendre.algebra import Sum

        return Sum([self, other])

    def __mul__(self, factor: float) -> Scaled:
        if isinstance(factor, LegendreFunction):
            return NotImplemented
        from riemflow.legendre.algebra import Scaled

        return Scaled(factor, self)

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> Scaled:
        return self * (1.0 / as_number("divisor", divisor, above=0.0))

    def compose(self, A: Any, b: Any = None) -> Composed:
        """Return w -> R(A w + b) for an injective A, shape=[m, d], and b, shape=[m] (zero if left out)."""
        from riemflow.legendre.algebra import Composed

        return Composed(self, A, b)

    def __repr__(self) -> str:
        return f"{self.name} on R^{self.dim}"


def times_transposed(left: Any, rows: Any) -> np.ndarray:
    """left rowsᵀ, dense: shapes=[m, d], [n, d] -> shape=[m, n].

    SciPy converts a sparse transpose to rows again: in few at a time, or that is a copy of all data.
    """
    if not issparse(rows):
        return np.asarray(left @ rows.T)
    n = rows.shape[0]
    product, chunk = np.empty((left.shape[0], n)), max(16, n // 16)
    for start in range(0, n, chunk):
        part = left @ rows[start : start + chunk].T
        product[:, start : start + chunk] = part.toarray() if issparse(part) else part
    return product


def pairings(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a_ij b_kl + a_ik b_jl + a_il b_jk of symmetric matrices: two [..., d, d] -> [..., d, d, d, d]."""
    product = a[..., :, :, None, None] * b[..., None, None, :, :]
    swapped = np.swapaxes(product, -3, -2)
    return product + swapped + np.swapaxes(swapped, -2, -1)


def least_eigenvalue(matrix: np.ndarray) -> np.ndarray:
    """The smallest eigenvalue of symmetric matrices, [..., d, d], after scaling a positive diagonal to 1.

    Units of w that differ by orders would hide it otherwise.
    """
    diagonal = np.diagonal(matrix, axis1=-2, axis2=-1)
    scale = 1.0 / np.sqrt(np.where((diagonal > 0).all(axis=-1, keepdims=True), diagonal, 1.0))
    with np.errstate(all="ignore"):
        scaled = np.nan_to_num(scale[..., :, None] * matrix * scale[..., None, :])
        return np.linalg.eigvalsh(scaled)[..., 0]


def _bregman_integral(R: LegendreFunction, w: np.ndarray, w0: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """∫ (1 - s) δᵀ∇²R(w0 + sδ)δ ds, 16 Gauss nodes, and its difference from 8: shapes=[n, d] -> [n], [n]."""
    step, results = w - w0, []
    for n in (8, 16):
        nodes, weights = np.polynomial.legendre.leggauss(n)
        total = np.zeros(len(w))
        for s, weight in zip(0.5 * (nodes + 1.0), 0.5 * weights, strict=True):
            at = w0 + s * step
            # Next to the boundary rounding may leave a node outside.
            inside, square = np.asarray(R._belongs(at)), np.full(len(w), np.nan)
            change = step[inside]
            square[inside] = np.einsum("ni,nij,nj->n", change, R._hessian(at[inside]), change)
            total += weight * (1.0 - s) * square
        results.append(total)
    return results[1], np.abs(results[1] - results[0])
