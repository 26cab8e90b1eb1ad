"""Lie brackets of the gradient vector fields ∇G_i, on open sets and on submanifolds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from riemflow.parametrizations.parametrization import Parametrization
from riemflow.validation import require_kind

Function = Callable[[np.ndarray], np.ndarray]

# Weights of the central difference of order 4 at the offsets -2, -1, 1, 2.
_OFFSETS = np.array([-2.0, -1.0, 1.0, 2.0])
_WEIGHTS = np.array([1.0, -8.0, 8.0, -1.0]) / 12.0


def lie_bracket(G: Parametrization, x: Any) -> np.ndarray:
    """[∇G_i, ∇G_j](x) = ∇²G_j ∇G_i - ∇²G_i ∇G_j, the commutators of the gradient fields.

    On a submanifold M it is the bracket of the vector fields ``X_i = P ∇G_i`` on M (P the tangent
    projector), which the ambient formula does not give: X_j is differentiated along X_i by central
    differences of order 4 on M, to about 1e-10 of its own size.

    Parameters
    ----------
    x : array, shape=[..., D]

    Returns
    -------
    bracket : array, shape=[..., d, d, D]
        Antisymmetric in the first two of the last three axes; zero for a commuting parametrization
        (Def. 4.1 of Li, Wang, Lee and Arora, 2022).

    Raises
    ------
    DomainError
        If x is not finite or not in the domain of G.
    ShapeError
        If the last axis of x does not have length D.
    """
    require_kind("G", G, Parametrization)
    x = G._inside(x)
    with np.errstate(all="ignore"):
        bracket = _bracket(G, x, G._gradients(x))
        return G._finite("lie bracket", bracket, x, (G.dim, G.dim, G.dim_in))


def _bracket(G: Parametrization, x: np.ndarray, fields: np.ndarray) -> np.ndarray:
    along = field_derivative(G, x, fields)
    return along - np.swapaxes(along, -3, -2)


def field_derivative(G: Parametrization, x: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Differentiate the fields X_j = ∇G_j (tangential) along V_i: raw, no checks.

    Parameters
    ----------
    x : array, shape=[..., D]
    directions : array, shape=[..., k, D]
        V_i, tangent to M.

    Returns
    -------
    derivative : array, shape=[..., k, d, D]
        D_{V_i} X_j in R^D. On open sets ``∇²G_j V_i``; on submanifolds, and under a metric of M's own,
        central differences of order 4.
    """
    if G.manifold is None and G._inverse_metric is None:
        return np.einsum("...jab,...ib->...ija", G._hessian(x), directions)
    return derivative_along(G, G._gradients, x, directions)


def cometric_derivative(G: Parametrization, x: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """The derivative of ∂G ∂Gᵀ along V_k, shape=[..., k, D] and tangent to M: shape=[..., k, d, d]."""
    if G._inverse_metric is not None:
        return derivative_along(G, lambda y: gram(G._tangential_jacobian(y)), x, directions)
    J = G._tangential_jacobian(x)
    half = field_derivative(G, x, directions) @ np.swapaxes(J, -1, -2)[..., None, :, :]
    return half + np.swapaxes(half, -1, -2)


def gram(J: np.ndarray) -> np.ndarray:
    """J Jᵀ: shape=[..., d, D] -> shape=[..., d, d]."""
    return J @ np.swapaxes(J, -1, -2)


def derivative_along(G: Parametrization, matrix: Function, x: np.ndarray, directions: np.ndarray):
    """Differentiate a matrix-valued function along tangent vectors by central differences on M."""
    length = np.linalg.norm(directions, axis=-1, keepdims=True)
    unit = directions / np.where(length > 0, length, 1.0)
    # The function's own scale is not known beforehand: shrink the step until two steps agree.
    size = 1.0 + np.linalg.norm(x, axis=-1)[..., None, None]
    best, gap = np.zeros(0), np.inf
    coarse = _difference(G, matrix, x, unit, 2e-3 * size)
    value = float(np.nan_to_num(np.abs(matrix(x[..., None, :]))).max(initial=0.0))
    least = 1e-3 * value / float(np.max(size, initial=1.0))  # a derivative far below this is none
    for step in (1e-3, 2e-4, 4e-5, 8e-6):
        fine = _difference(G, matrix, x, unit, step * size)
        change = float(np.nan_to_num(np.abs(fine - coarse), nan=np.inf).max(initial=0.0))
        scale = float(np.abs(fine).max(initial=0.0, where=np.isfinite(fine)))
        if change < gap:
            best, gap = fine, change
        if best.size and gap <= 1e-9 * (least + scale):
            break
        coarse = fine
    return length[..., None] * (best if best.size else coarse)


def _difference(G: Parametrization, matrix: Function, x: np.ndarray, unit: np.ndarray, step: np.ndarray):
    # Any curve on M with the right velocity will do; the projection of a straight line is one.
    total = 0.0
    for offset, weight in zip(_OFFSETS, _WEIGHTS, strict=True):
        points = x[..., None, :] + offset * step * unit
        if G.manifold is not None:
            points = G.manifold.project(points)
        total = total + weight * matrix(points)
    return total / step[..., None]
