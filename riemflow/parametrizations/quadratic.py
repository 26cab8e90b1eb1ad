"""Quadratic parametrizations w_i = ½ xᵀA_i x, among them the factorizations of matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from riemflow.errors import DomainError, ShapeError
from riemflow.parametrizations.parametrization import Parametrization
from riemflow.validation import as_float


class Quadratic(Parametrization):
    """``G_i(x) = ½ xᵀ A_i x`` on R^D, with ∇G_i = A_i x.

    The bracket of ∇G_i and ∇G_j is ``(A_j A_i - A_i A_j) x``, so G commutes when the matrices do
    (Sec. 4.1 of Li, Wang, Lee and Arora, 2022); then ``ψ(x; μ) = exp(Σ μ_i A_i) x`` and
    ``Q(μ) = ¼‖ψ‖²``. G is regular where the vectors A_i x are linearly independent; no point is
    excluded from the domain, `check_regular` tells.

    Parameters
    ----------
    matrices : array, shape=[d, D, D]
        Symmetric, up to 1e-12 of the largest entry.

    Raises
    ------
    ShapeError
        If `matrices` is not a stack of square matrices.
    DomainError
        If a matrix is not symmetric, or not finite.
    """

    def __init__(self, matrices: Any):
        A = as_float("matrices", matrices)
        if A.ndim != 3 or A.shape[1] != A.shape[2] or 0 in A.shape:
            raise ShapeError(
                f"matrices has shape {A.shape}, but must be a stack of square matrices: shape [d, D, D]."
            )
        skew = np.abs(A - np.swapaxes(A, -1, -2)).max(axis=(-2, -1))
        worst, allowed = int(np.argmax(skew)), 1e-12 * np.abs(A).max()
        if skew[worst] > allowed:
            raise DomainError(
                f"matrices[{worst}] is not symmetric: it differs from its transpose by {skew[worst]:.3g}, "
                f"more than {allowed:.3g}. Use (A + A.T)/2, which gives the same xᵀAx."
            )
        self.matrices = (A + np.swapaxes(A, -1, -2)) / 2
        self._define(A.shape[1], A.shape[0], name=f"Quadratic({A.shape[0]} matrices of size {A.shape[1]})")

    def _fun(self, x):
        return 0.5 * (self._jacobian(x) @ x[..., None])[..., 0]

    def _jacobian(self, x):
        d, D = self.dim, self.dim_in
        return (x @ self.matrices.reshape(d * D, D).T).reshape(*x.shape[:-1], d, D)

    def _hessian(self, x):
        return np.broadcast_to(self.matrices, (*x.shape[:-1], *self.matrices.shape)).copy()
