"""The parametrization that inverts an isometric embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from riemflow.embedding.inverse import distance_hessian, require_converged
from riemflow.parametrizations.parametrization import Parametrization

if TYPE_CHECKING:
    from riemflow.embedding.embedding import IsometricEmbedding

# Fourth-order central differences err by h⁴ in truncation and ε/h in rounding: balanced near ε^{1/5}.
STEP = 1e-3


class EmbeddedParametrization(Parametrization):
    """G(x) = argmin_w |F(w) - x|² near M = F(K), the inverse of F on M (proof of Thm 5.1).

    With r = x - F(w) at w = G(x), ``∂G(x) = (JᵀJ - Σ_a r_a ∂²F_a)^{-1} Jᵀ``. On M this is the
    pseudo-inverse of J = ∂F, so ∂G∂Gᵀ = (∂Fᵀ∂F)^{-1} = ∇²R^{-1}, the gradients ∇G_i are tangent to M and M
    is invariant under gradient flow.

    Attributes
    ----------
    embedding : IsometricEmbedding

    Raises
    ------
    ConvergenceError
        If x has no nearest point in the region, for instance when a flow has left it.
    """

    def __init__(self, embedding: IsometricEmbedding):
        self.embedding = embedding
        self._define(embedding.ambient_dim, embedding.dim, name=f"G inverting F for {embedding.R.name}")

    def _fun(self, x):
        return self.embedding._inverse(x)

    def _jacobian(self, x):
        return self._jacobian_at(x, self.embedding._inverse(x))

    def _jacobian_at(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        F = self.embedding
        J = F._jacobian(w)
        matrix = distance_hessian(J, F._hessian(w), F._fun(w) - x)
        return np.linalg.solve(matrix, np.swapaxes(J, -1, -2))

    def _hessian(self, x):
        """Second derivatives by fourth-order central differences of the analytic jacobian.

        The step is 1e-3 of the smallest radius of curvature of M at the nearest point; relative errors
        are of the order of 1e-11.
        """
        F = self.embedding
        w = F._inverse(x)
        J, second = F._jacobian(w), F._hessian(w)
        inverse_factor = np.linalg.solve(np.linalg.cholesky(np.swapaxes(J, -1, -2) @ J), np.eye(F.dim))
        left = inverse_factor[..., None, :, :]
        bend = left @ second @ np.swapaxes(left, -1, -2)
        curvature = np.sqrt((bend**2).sum(axis=(-3, -2, -1)))
        h = STEP / np.maximum(curvature, STEP)
        result = np.empty((*x.shape[:-1], self.dim, self.dim_in, self.dim_in))
        for k in range(self.dim_in):
            shift = h[..., None] * np.eye(self.dim_in)[k]
            # Started from w, and with it on the same branch of the inverse.
            plus, minus, plus2, minus2 = (self._near(x + m * shift, w) for m in (1, -1, 2, -2))
            slope = (8.0 * (plus - minus) - (plus2 - minus2)) / (12.0 * h[..., None, None])
            result[..., k] = slope
        return 0.5 * (result + np.swapaxes(result, -1, -2))

    def _near(self, x, w):
        found, converged = self.embedding._nearest(x, w)
        require_converged(self.embedding, x, found, converged)
        return self._jacobian_at(x, found)

    def _belongs(self, x):
        finite = np.isfinite(x).all(axis=-1)
        F = self.embedding
        with np.errstate(all="ignore"):
            x = np.where(finite[..., None], x, 0.0)
            w, converged = F._nearest(x)
            return finite & converged & F._belongs(w)

    def _evaluator(self):
        """Return x -> (G(x), ∂G(x)) that starts from the last point's w, for the use of one flow."""
        last: list[np.ndarray] = []

        def evaluate(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            F = self.embedding
            with np.errstate(all="ignore"):
                w, converged = F._nearest(x, last[0] if last else None)
                if not converged.all():
                    w, converged = F._nearest(x)
                require_converged(F, x, w, converged)
                last[:] = [w]
                return w, self._jacobian_at(x, w)

        return evaluate
