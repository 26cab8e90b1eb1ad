"""The metric ∇²R and its curvature, from R's own derivatives."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
from geomstats.geometry.base import VectorSpaceOpenSet
from geomstats.geometry.riemannian_metric import RiemannianMetric

from riemflow.autodiff import anp, chain, is_traced, untraced
from riemflow.errors import DomainError, ShapeError
from riemflow.geometry import curvature
from riemflow.geometry.curvature import FactoredMetric, times
from riemflow.geometry.geodesics.integrated import Integrated
from riemflow.geometry.geodesics.isometries import geodesics_of
from riemflow.geometry.geodesics.solver import GeodesicMetric, GeodesicSolver
from riemflow.legendre.function import LegendreFunction, least_eigenvalue
from riemflow.validation import as_points, broadcast, short


def in_float64(method: Callable) -> Callable:
    """Refuse a result that float64 does not hold: its factors may overflow where R's derivatives do not."""

    @wraps(method)
    def checked(self, *args, **kwargs):
        with np.errstate(all="ignore"):
            value = method(self, *args, **kwargs)
        if not np.isfinite(untraced(value)).all():
            raise DomainError(
                f"{method.__name__} of {self.legendre_function.name} leaves the range of float64: rescale w "
                "or the vectors, or move base_point away from the boundary."
            )
        return value

    return checked


class HessianMetric(GeodesicMetric, RiemannianMetric):
    """The metric ``g = ∇²R`` of a `HessianManifold`, with ``Γ = ½ g⁻¹ ∇³R``.

    Geodesics have closed forms where R is separable or quadratic, an entropy of the simplex or its
    conjugate, a `LorentzBarrier`, a `LogDet`, or made of such by scaling, tilting, affine changes of
    variables, products and conjugates. Others are integrated by DOP853 with relative tolerance 1e-12, and
    those between two points are paths of least energy among piecewise polynomials, to 1e-9 or better. Where
    closed forms know the sectional curvature, the same everywhere, all curvature is had from it and g, with
    no digit lost near the boundary.

    Parameters
    ----------
    space : HessianManifold
    closed_form : bool
        False: integrate always, and take all curvature from ∇³R.

    Attributes
    ----------
    legendre_function : LegendreFunction
        R.
    """

    def __init__(self, space: VectorSpaceOpenSet, closed_form: bool = True):
        super().__init__(space=space)
        R = self.legendre_function = space.legendre_function
        geodesics = geodesics_of(R) if closed_form else Integrated.of(R)
        self.exp_solver = GeodesicSolver(space, geodesics)
        self._constant = geodesics.curvature
        self.log_solver = self.exp_solver

    def __repr__(self) -> str:
        return f"HessianMetric({self.legendre_function.name})"

    # Base points are checked once, here; the derivatives of R are then those of each other to autograd.

    def _point(self, base_point: Any) -> Any:
        if not is_traced(base_point):
            return self.legendre_function._inside(base_point, "base_point")
        self.legendre_function._inside(untraced(base_point), "base_point")
        return base_point

    def _derivative(self, order: int, point: Any) -> Any:
        """∇²R, ∇³R or ∇⁴R at checked points."""
        R = self.legendre_function
        if not is_traced(point):
            return _Finite(R, order)(point)
        return chain(point, tuple(_Finite(R, k) for k in range(order, 5)))

    def _factored(self, point: Any) -> FactoredMetric:
        try:
            return FactoredMetric(self._derivative(2, point))
        except np.linalg.LinAlgError:
            w, R = untraced(point).reshape(-1, self._space.dim), self.legendre_function
            worst = w[np.argmin(least_eigenvalue(R._hessian(w)))]
            raise DomainError(
                f"base_point = {short(worst)}: ∇²{R.name} is not positive definite there in float64: move it "
                "away from the boundary, or from where R is flat."
            ) from None

    def _along(self, point: Any) -> Callable[[Any], Any]:
        """v -> ∇³R(w)[v]: shape=[..., dim] -> shape=[..., dim, dim]."""
        if is_traced(point):
            third = self._derivative(3, point)
            return lambda v: anp.einsum("...ijk,...k->...ij", third, v)

        def along(v):
            if is_traced(v):
                return anp.einsum("...ijk,...k->...ij", self._derivative(3, point), v)
            change = self.legendre_function._third_along(*np.broadcast_arrays(point, v))
            return _require_finite(self.legendre_function, 3, point, change)

        return along

    def _vectors(self, point: Any, **vectors: Any) -> list[Any]:
        """Check tangent or cotangent vectors at checked points, except those that autograd traces."""
        d = self._space.dim
        found = [v if is_traced(v) else as_points(name, v, d) for name, v in vectors.items()]
        broadcast(*(untraced(v) for v in (*found, point)))
        return found

    def metric_matrix(self, base_point=None):
        """g_ij = ∂_i ∂_j R.

        Parameters
        ----------
        base_point : array-like, shape=[..., dim]

        Returns
        -------
        mat : array-like, shape=[..., dim, dim]

        Raises
        ------
        DomainError
            If a base point lies outside the interior of dom R, or so near its boundary that g leaves float64.
        """
        return self._derivative(2, self._point(base_point))

    @in_float64
    def cometric_matrix(self, base_point=None):
        """g⁻¹, by Cholesky factors: shape=[..., dim] -> shape=[..., dim, dim]."""
        g = self._factored(self._point(base_point))
        white = g.whiten(np.broadcast_to(np.eye(self._space.dim), g.matrix.shape))
        inverse = anp.swapaxes(white, -1, -2) @ white
        return 0.5 * (inverse + anp.swapaxes(inverse, -1, -2))

    def inner_product_derivative_matrix(self, base_point=None):
        """∂_k g_ij = ∂_i ∂_j ∂_k R, totally symmetric: shape=[..., dim] -> shape=[..., dim, dim, dim]."""
        return self._derivative(3, self._point(base_point))

    @in_float64
    def inner_product(self, tangent_vec_a, tangent_vec_b, base_point=None):
        """g(a, b): shapes=[..., dim] -> shape=[...]."""
        w = self._point(base_point)
        a, b = self._vectors(w, tangent_vec_a=tangent_vec_a, tangent_vec_b=tangent_vec_b)
        return anp.sum(a * times(self._derivative(2, w), b), axis=-1)

    def squared_norm(self, vector, base_point=None):
        """g(v, v), a sum of squares: shapes=[..., dim] -> shape=[...]."""
        w = self._point(base_point)
        (v,) = self._vectors(w, vector=vector)
        return anp.sum(self._factored(w).root(v) ** 2, axis=-1)

    @in_float64
    def inner_coproduct(self, cotangent_vec_a, cotangent_vec_b, base_point=None):
        """g⁻¹(a, b): shapes=[..., dim] -> shape=[...]."""
        w = self._point(base_point)
        a, b = self._vectors(w, cotangent_vec_a=cotangent_vec_a, cotangent_vec_b=cotangent_vec_b)
        g = self._factored(w)
        return anp.sum(g.whiten(a[..., None]) * g.whiten(b[..., None]), axis=(-2, -1))

    @in_float64
    def normal_basis(self, basis, base_point=None):
        """Each row of a basis over its norm: shapes=[..., dim, dim], [..., dim] -> shape=[..., dim, dim]."""
        point = self._point(base_point)[..., None, :]
        (basis,) = self._vectors(point, basis=basis)
        norm = anp.sqrt(anp.sum(self._factored(point).root(basis) ** 2, axis=-1))
        return basis / norm[..., None]

    @in_float64
    def christoffels(self, base_point=None):
        """Γ^k_ij = ½ g^{kl} ∂_l ∂_i ∂_j R.

        Parameters
        ----------
        base_point : array-like, shape=[..., dim]

        Returns
        -------
        christoffels : array-like, shape=[..., dim, dim, dim]
            The contravariant index k first.
        """
        w = self._point(base_point)
        return curvature.christoffels(self._factored(w), self._derivative(3, w))

    @in_float64
    def jacobian_christoffels(self, base_point=None):
        """∂_m Γ^k_ij, from ∇⁴R: shape=[..., dim] -> shape=[..., dim, dim, dim, dim], m last."""
        w = self._point(base_point)
        third, fourth = self._derivative(3, w), self._derivative(4, w)
        return curvature.christoffels_jacobian(self._factored(w), third, fourth)

    @in_float64
    def riemann_tensor(self, base_point=None):
        """The curvature, for which ∇³R is enough: ``R_ijk^l = Γ^l_km Γ^m_ji - Γ^l_jm Γ^m_ki``.

        On a Hessian manifold the fourth derivatives of R cancel in the usual formula.

        Parameters
        ----------
        base_point : array-like, shape=[..., dim]

        Returns
        -------
        riemann_tensor : array-like, shape=[..., dim, dim, dim, dim]
            R_ijk^l = dw^l(R(∂_j, ∂_k) ∂_i), the contravariant index last, as in geomstats. Skew in j and k to
            the last digit.
        """
        w = self._point(base_point)
        if self._constant is not None:
            return curvature.constant_riemann(self._constant, self._factored(w).matrix)
        return curvature.riemann(self._factored(w), self._derivative(3, w))

    @in_float64
    def covariant_riemann_tensor(self, base_point=None):
        """R_ijkl = g(R(∂_k, ∂_l) ∂_j, ∂_i): shape=[..., dim] -> shape=[..., dim, dim, dim, dim].

        All symmetries but Bianchi's hold to the last digit.
        """
        w = self._point(base_point)
        if self._constant is not None:
            return curvature.constant_covariant_riemann(self._constant, self._factored(w).matrix)
        return curvature.covariant_riemann(self._factored(w), self._derivative(3, w))

    @in_float64
    def ricci_tensor(self, base_point=None):
        """Ric_ik = R_ijk^j, summed over j: shape=[..., dim] -> shape=[..., dim, dim]."""
        w = self._point(base_point)
        if self._constant is not None:
            g = self._factored(w).matrix
            return 0.5 * self._constant * (self._space.dim - 1) * (g + anp.swapaxes(g, -1, -2))
        return curvature.ricci(self._factored(w), self._derivative(3, w))

    @in_float64
    def scalar_curvature(self, base_point=None):
        """¼ (‖∇³R‖² - ‖tr ∇³R‖²), in the metric: shape=[..., dim] -> shape=[...]."""
        w = self._point(base_point)
        if self._constant is not None:
            return curvature.constant_scalar(self._constant, self._factored(w).matrix)
        return curvature.scalar(self._factored(w), self._derivative(3, w))

    @in_float64
    def curvature(self, tangent_vec_a, tangent_vec_b, tangent_vec_c, base_point=None):
        """R(a, b) c, without the whole tensor: shapes=[..., dim] -> shape=[..., dim]."""
        w = self._point(base_point)
        a, b, c = self._vectors(
            w, tangent_vec_a=tangent_vec_a, tangent_vec_b=tangent_vec_b, tangent_vec_c=tangent_vec_c
        )
        if self._constant is not None:
            return curvature.constant_curvature(self._constant, self._factored(w).matrix, a, b, c)
        return curvature.curvature(self._factored(w), self._along(w), a, b, c)

    @in_float64
    def curvature_derivative(
        self, tangent_vec_a, tangent_vec_b, tangent_vec_c, tangent_vec_d, base_point=None
    ):
        """(∇_a R)(b, c) d, from ∇⁴R: shapes=[..., dim] -> shape=[..., dim]."""
        w = self._point(base_point)
        a, b, c, d = self._vectors(
            w,
            tangent_vec_a=tangent_vec_a,
            tangent_vec_b=tangent_vec_b,
            tangent_vec_c=tangent_vec_c,
            tangent_vec_d=tangent_vec_d,
        )
        if self._constant is not None:
            return 0.0 * curvature.constant_curvature(0.0, self._factored(w).matrix, a + d, b, c)
        fourth = self._derivative(4, w)

        def along_two(u, v):
            return anp.einsum("...ijkl,...k,...l->...ij", fourth, u, v)

        return curvature.curvature_derivative(self._factored(w), self._along(w), along_two, a, b, c, d)

    @in_float64
    def sectional_curvature(self, tangent_vec_a, tangent_vec_b, base_point=None):
        """g(R(a, b) b, a) / (‖a‖² ‖b‖² - g(a, b)²), 0 for parallel vectors: shapes=[..., dim] -> [...]."""
        w = self._point(base_point)
        a, b = self._vectors(w, tangent_vec_a=tangent_vec_a, tangent_vec_b=tangent_vec_b)
        return curvature.sectional(self._factored(w), self._along(w), a, b, self._constant)

    def geodesic_equation(self, state):
        """(w, v) -> (v, -Γ(v, v)): shape=[..., 2, dim] -> shape=[..., 2, dim]."""
        state = state if is_traced(state) else as_points("state", state, self._space.dim)
        if state.ndim < 2 or state.shape[-2] != 2:
            raise ShapeError(
                f"state has shape {state.shape}, but must be [..., 2, {self._space.dim}]: (w, v)."
            )
        w, v = self._point(state[..., 0, :]), state[..., 1, :]
        force = times(self._along(w)(v), v)[..., None]
        return anp.stack([v, -0.5 * self._factored(w).solve(force)[..., 0]], axis=-2)


class _Finite:
    """w -> ∇ᵏR(w), refused where float64 does not hold it. To be pickled it is a class."""

    def __init__(self, R: LegendreFunction, order: int):
        self._R, self._order = R, order

    def __call__(self, w: np.ndarray) -> np.ndarray:
        R = self._R
        with np.errstate(all="ignore"):
            value = (R._hessian, R._third, R._fourth)[self._order - 2](w)
        return _require_finite(R, self._order, w, value)


def _require_finite(R: LegendreFunction, order: int, w: np.ndarray, value: np.ndarray) -> np.ndarray:
    if not np.isfinite(value).all():
        bad = ~np.isfinite(value).reshape(*w.shape[:-1], -1).all(axis=-1)
        raise DomainError(
            f"base_point = {short(w[bad][0] if w.ndim > 1 else w)}: the derivatives of order {order} of "
            f"{R.name} are not finite there in float64: move it away from the boundary."
        )
    return value
