"""The Levi-Civita connection of a Hessian metric and its curvature, from ∇²R, ∇³R and ∇⁴R as arrays.

Indices as in geomstats. All curvature comes from ``A_ij,kl = ¼ ∂_ijp R g^{pq} ∂_qkl R``: on a Hessian
manifold the fourth derivatives cancel. The arrays may be ones that autograd traces.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotrs

from riemflow.autodiff import anp, is_traced, untraced


def numpy_for(*arrays: Any) -> Any:
    """NumPy, or autograd's, which costs as much as the work itself, where autograd traces."""
    return anp if any(map(is_traced, arrays)) else np


def _is_one(matrix: Any) -> bool:
    """Whether it is one matrix, of plain numbers: LAPACK itself then takes a tenth of NumPy's time."""
    return not is_traced(matrix) and matrix.ndim == 2


def _one_lower(matrix: np.ndarray) -> np.ndarray:
    lower, failed = dpotrf(matrix, lower=1, clean=1)
    if failed:
        raise np.linalg.LinAlgError("Matrix is not positive definite")
    return lower


class FactoredMetric:
    """A positive definite g = ∇²R, shape=[..., d, d], factored as ``S⁻¹ L Lᵀ S⁻¹`` with S = diag(g)^{-1/2}.

    With the scale S units of w that differ by orders cost no digits.

    Raises
    ------
    numpy.linalg.LinAlgError
        If g is not positive definite up to rounding.
    """

    def __init__(self, g: Any):
        diagonal = np.diagonal(untraced(g), axis1=-2, axis2=-1)
        if not (diagonal > 0).all():
            raise np.linalg.LinAlgError("Matrix is not positive definite")
        # The result does not depend on the scale, so to autograd it is a constant.
        self._scale = (1.0 / np.sqrt(diagonal))[..., None]
        self._scaled = self._scale * g * np.swapaxes(self._scale, -1, -2)
        self._lower = _one_lower(self._scaled) if _is_one(g) else numpy_for(g).linalg.cholesky(self._scaled)
        self._upper = numpy_for(g).swapaxes(self._lower, -1, -2)
        self.matrix = g

    def whiten(self, b: Any) -> Any:
        """L⁻¹ S b for columns b, shape=[..., d, m]: whiten(b)ᵀ whiten(c) = bᵀ g⁻¹ c."""
        return numpy_for(self._lower, b).linalg.solve(self._lower, self._scale * b)

    def colour(self, b: Any) -> Any:
        """S L⁻ᵀ b for columns b, shape=[..., d, m], the transpose of `whiten`."""
        return self._scale * numpy_for(self._upper, b).linalg.solve(self._upper, b)

    def solve(self, b: Any) -> Any:
        """g⁻¹ b for columns b: shape=[..., d, m]."""
        if _is_one(self._lower) and _is_one(b):
            return self._scale * dpotrs(self._lower, self._scale * b, lower=1)[0]
        return self._scale * numpy_for(self._scaled, b).linalg.solve(self._scaled, self._scale * b)

    def root(self, v: Any) -> Any:
        """Lᵀ S⁻¹ v for vectors v, shape=[..., d]: its square is g(v, v)."""
        return times(self._upper, v / self._scale[..., 0])


def times(matrix: Any, vector: Any) -> Any:
    """shapes=[..., m, n], [..., n] -> shape=[..., m]."""
    return (matrix @ vector[..., None])[..., 0]


def christoffels(g: FactoredMetric, third: Any) -> Any:
    """Γ^k_ij = ½ g^{kl} ∂_lij R: shape=[..., d, d, d], k first, exactly symmetric in i and j."""
    xp = numpy_for(third)
    gamma = _on_first_axis(g.solve, 0.5 * third, 3)
    return 0.5 * (gamma + xp.swapaxes(gamma, -1, -2))


def christoffels_jacobian(g: FactoredMetric, third: Any, fourth: Any) -> Any:
    """∂_m Γ^k_ij = g^{kp} (½ ∂_pijm R - ∂_pqm R Γ^q_ij): shape=[..., d, d, d, d], m last."""
    xp = numpy_for(third)
    d, batch = third.shape[-1], third.shape[:-3]
    gamma = xp.reshape(christoffels(g, third), (*batch, d, d * d))
    change = xp.reshape(xp.reshape(third, (*batch, d * d, d)) @ gamma, (*batch, d, d, d, d))
    jacobian = _on_first_axis(g.solve, 0.5 * fourth - xp.moveaxis(change, -3, -1), 4)
    return 0.5 * (jacobian + xp.swapaxes(jacobian, -2, -3))


def covariant_riemann(g: FactoredMetric, third: Any) -> Any:
    """R_ijkl = A_il,jk - A_ik,jl: shape=[..., d, d, d, d], with exact symmetries."""
    xp = numpy_for(third)
    d = third.shape[-1]
    rows, columns = np.triu_indices(d)
    pair = np.zeros((d, d), int)
    pair[rows, columns] = pair[columns, rows] = np.arange(len(rows))
    half = 0.5 * g.whiten(third[..., rows, columns])
    A = xp.swapaxes(half, -1, -2) @ half
    A = 0.5 * (A + xp.swapaxes(A, -1, -2))
    product = A[..., pair[:, None, None, :], pair[None, :, :, None]]
    return product - xp.swapaxes(product, -1, -2)


def riemann(g: FactoredMetric, third: Any) -> Any:
    """R_ijk^l = dw^l(R(∂_j, ∂_k) ∂_i): shape=[..., d, d, d, d], exactly skew in j and k."""
    xp = numpy_for(third)
    raised = xp.moveaxis(_on_first_axis(g.solve, covariant_riemann(g, third), 4), -4, -1)
    return 0.5 * (raised - xp.swapaxes(raised, -2, -3))


def ricci(g: FactoredMetric, third: Any) -> Any:
    """Ric_ik = R_ijk^j = Γ^j_km Γ^m_ji - Γ^j_jm Γ^m_ik, summed over j and m: shape=[..., d, d]."""
    xp = numpy_for(third)
    d, batch = third.shape[-1], third.shape[:-3]
    gamma = christoffels(g, third)
    turned = xp.swapaxes(gamma, -3, -2)
    product = xp.reshape(turned, (*batch, d, d * d)) @ xp.reshape(turned, (*batch, d * d, d))
    ricci = product - xp.sum(_trace(gamma)[..., :, None, None] * gamma, axis=-3)
    return 0.5 * (ricci + xp.swapaxes(ricci, -1, -2))


def scalar(g: FactoredMetric, third: Any) -> Any:
    """¼ (‖∇³R‖² - ‖tr ∇³R‖²), norms and trace those of the metric: shape=[...]."""
    xp = numpy_for(third)
    for _ in range(3):
        # Whitens the first axis and puts it last: three turns do all of them.
        third = xp.moveaxis(_on_first_axis(g.whiten, third, 3), -3, -1)
    return 0.25 * (xp.sum(third**2, axis=(-3, -2, -1)) - xp.sum(_trace(third) ** 2, axis=-1))


def curvature(g: FactoredMetric, along: Callable[[Any], Any], x: Any, y: Any, z: Any) -> Any:
    """R(x, y) z = ¼ g⁻¹ (T_y g⁻¹ T_x - T_x g⁻¹ T_y) z with T_x = ∇³R[x] = along(x): shapes=[..., d]."""
    Tx, Ty = along(x), along(y)
    xz, yz = _solve_vector(g, times(Tx, z)), _solve_vector(g, times(Ty, z))
    return 0.25 * _solve_vector(g, times(Ty, xz) - times(Tx, yz))


def curvature_derivative(
    g: FactoredMetric,
    along: Callable[[Any], Any],
    along_two: Callable[[Any, Any], Any],
    h: Any,
    x: Any,
    y: Any,
    z: Any,
) -> Any:
    """(∇_h R)(x, y) z: shapes=[..., d]. `along` is ∇³R[x], `along_two` ∇⁴R[h, x], both [..., d, d].

    The metric is parallel, so only T = ∇³R is differentiated:
    ``(∇_h T)_x = ∇⁴R[h, x] - ½ (T_h g⁻¹ T_x + T_x g⁻¹ T_h) - T_{Γ(h, x)}``.
    """
    Th, Tx, Ty = along(h), along(x), along(y)
    raised = g.solve(Th)

    def change(v, Tv):
        cross = Tv @ raised
        moved = along(0.5 * times(raised, v))
        return along_two(h, v) - 0.5 * (cross + anp.swapaxes(cross, -1, -2)) - moved

    Ux, Uy = change(x, Tx), change(y, Ty)
    xz, yz = _solve_vector(g, times(Tx, z)), _solve_vector(g, times(Ty, z))
    xz_change, yz_change = _solve_vector(g, times(Ux, z)), _solve_vector(g, times(Uy, z))
    force = times(Uy, xz) + times(Ty, xz_change) - times(Ux, yz) - times(Tx, yz_change)
    return 0.25 * _solve_vector(g, force)


def sectional(
    g: FactoredMetric, along: Callable[[Any], Any], x: Any, y: Any, constant: float | None = None
) -> Any:
    """¼ (‖T(x, y)‖² - T(x, x)·T(y, y)) / (‖x‖² ‖y‖²) for y made orthogonal to x: shapes=[..., d] -> [...].

    It is 0 where x and y are parallel to rounding, as in geomstats; else `constant`, if that is known.
    """
    x, y = _of_size_one(x), _of_size_one(y)
    root = g.root(x)
    xx = anp.sum(root**2, axis=-1, keepdims=True)
    x_vanishes = untraced(xx) == 0
    xx = anp.where(x_vanishes, 1.0, xx)
    before = anp.sum(g.root(y) ** 2, axis=-1, keepdims=True)
    for _ in range(2):
        y = y - anp.sum(root * g.root(y), axis=-1, keepdims=True) / xx * x
    yy = anp.sum(g.root(y) ** 2, axis=-1, keepdims=True)
    rounding = 16 * x.shape[-1] * np.finfo(float).eps
    parallel = x_vanishes | (untraced(yy) <= rounding**2 * untraced(before))
    if constant is not None:
        return np.where(parallel[..., 0], 0.0, constant)
    area = xx * anp.where(parallel, 1.0, yy)
    Tx, Ty = along(x), along(y)
    Txx, Txy, Tyy = (g.whiten(force[..., None]) for force in (times(Tx, x), times(Tx, y), times(Ty, y)))
    product = anp.sum(Txy**2 - Txx * Tyy, axis=(-2, -1))
    return anp.where(parallel[..., 0], 0.0, 0.25 * product / area[..., 0])


def constant_riemann(K: float, g: Any) -> Any:
    """R_ijk^l = K (g_ik δ_j^l - g_ij δ_k^l), for the same sectional curvature K of all planes."""
    d = g.shape[-1]
    product = g[..., :, None, :, None] * np.eye(d)[None, :, None, :]
    return K * (product - anp.swapaxes(product, -3, -2))


def constant_covariant_riemann(K: float, g: Any) -> Any:
    """R_ijkl = K (g_ik g_jl - g_il g_jk), with exact symmetries."""
    g = 0.5 * (g + anp.swapaxes(g, -1, -2))
    product = g[..., :, None, :, None] * g[..., None, :, None, :]
    return K * (product - anp.swapaxes(product, -1, -2))


def constant_scalar(K: float, g: Any) -> Any:
    """K d (d - 1), one for each metric."""
    d = g.shape[-1]
    return np.full(g.shape[:-2], K * d * (d - 1))


def constant_curvature(K: float, g: Any, x: Any, y: Any, z: Any) -> Any:
    """R(x, y) z = K (g(y, z) x - g(x, z) y)."""
    lowered = times(g, z)
    return K * (anp.sum(lowered * y, axis=-1)[..., None] * x - anp.sum(lowered * x, axis=-1)[..., None] * y)


def _of_size_one(v: Any) -> Any:
    """v over its largest entry, which sectional curvatures do not notice: no square of it overflows."""
    size = np.abs(untraced(v)).max(axis=-1, keepdims=True)
    return v / np.where(size > 0, size, 1.0)


def _solve_vector(g: FactoredMetric, v: Any) -> Any:
    return g.solve(v[..., None])[..., 0]


def _trace(tensor: Any) -> Any:
    """Over the first two of the last three axes."""
    return numpy_for(tensor).sum(tensor * np.eye(tensor.shape[-1])[:, :, None], axis=(-3, -2))


def _on_first_axis(apply: Callable[[Any], Any], tensor: Any, order: int) -> Any:
    """A map of columns [..., d, m] on the first of the last `order` axes, all of length d."""
    d, batch = tensor.shape[-1], tensor.shape[: tensor.ndim - order]
    return numpy_for(tensor).reshape(
        apply(numpy_for(tensor).reshape(tensor, (*batch, d, d ** (order - 1)))), tensor.shape
    )
