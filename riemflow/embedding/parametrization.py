"""The parametrization that inverts an isometric embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from riemflow.embedding.inverse import distance_hessian, require_converged
from riemflow.parametrizations.parametrization import Parametrization

if TYPE_CHECKING:
    from riemflow.embedding.embedding import IsometricEmbedding

# Fourth-order central differences err by h⁴ in truncation and ε/h in rounding: balanced near ε^{1/5}. Steps
# are shares of the length over which ∂F changes by as much as it is.
STEP = 1e-3


class EmbeddedParametrization(Parametrization):
    """G(x) = argmin_w |F(w) - x|² near M = F(K), the inverse of F on M (proof of Thm 5.1).

    With r = x - F(w) at w = G(x), ``∂G(x) = (JᵀJ - Σ_a r_a ∂²F_a)^{-1} Jᵀ``. On M this is the
    pseudo-inverse of J = ∂F, so ∂G∂Gᵀ = (∂Fᵀ∂F)^{-1} = g^{-1}, the gradients ∇G_i are tangent to M and M
    is invariant under gradient flow, whose w follows the Riemannian gradient flow of
    g: the mirror flow if g = ∇²R.

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
        self._kept: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
        self._define(embedding.ambient_dim, embedding.dim, name=f"G inverting F for {embedding.name}")

    def _nearest(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The nearest points' w and whether they were found, kept for the same x asked again."""
        kept = self._kept
        if kept is None or kept[0].shape != x.shape or not np.array_equal(kept[0], x, equal_nan=True):
            with np.errstate(all="ignore"):
                self._kept = kept = (x.copy(), *self.embedding._nearest(x))
        return kept[1:]

    def _inverse(self, x: np.ndarray) -> np.ndarray:
        w, converged = self._nearest(x)
        require_converged(self.embedding, x, w, converged)
        return w.copy()

    def _fun(self, x):
        return self._inverse(x)

    def _jacobian(self, x):
        return self._jacobian_at(x, self._inverse(x))

    def _jacobian_at(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        F = self.embedding
        image, J, second = F._jet(w)
        matrix = distance_hessian(J, second, image - x)
        return np.linalg.solve(matrix, np.swapaxes(J, -1, -2))

    def _hessian(self, x):
        """Second derivatives: with w_k = ∂_kG and A = JᵀJ - r·∂²F, differentiating Jᵀ(F - x) = 0 twice,

        ``A ∂_k∂_lG = ∂²F_k w_l + ∂²F_l w_k - ∂A[w_k, w_l]``.

        Of ∂A, the part r·∂³F alone, zero on M, takes differences: of ∂²F along the axes of w, with relative
        errors of the order of 1e-11.
        """
        F = self.embedding
        w = self._inverse(x)
        image, J, second = F._jet(w)
        gap = image - x
        matrix = distance_hessian(J, second, gap)
        first = np.linalg.solve(matrix, np.swapaxes(J, -1, -2))  # [i, k] = ∂_k G_i
        bend = np.einsum("...aij,...ak->...ijk", second, J, optimize=True)
        change = bend + np.swapaxes(bend, -1, -2) + np.moveaxis(bend, -1, -3) + _third(F, w, second, gap)
        pulled = np.einsum("...ijm,...jk,...ml->...ikl", change, first, first, optimize=True)
        crossed = np.swapaxes(second @ first[..., None, :, :], -3, -2)  # [i, k, l] = (∂²F_k w_l)_i
        right = crossed + np.swapaxes(crossed, -1, -2) - pulled
        flat = right.reshape(*right.shape[:-2], self.dim_in**2)
        return np.linalg.solve(matrix, flat).reshape(right.shape)

    def _belongs(self, x):
        finite = np.isfinite(x).all(axis=-1)
        w, converged = self._nearest(x if finite.all() else np.where(finite[..., None], x, 0.0))
        with np.errstate(all="ignore"):
            return finite & converged & self.embedding._belongs(w)

    def _evaluator(self):
        """Return x -> (G(x), ∂G(x)) that starts from the last point's tangent, for the use of one flow."""
        last: list[np.ndarray] = []

        def evaluate(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            F = self.embedding
            with np.errstate(all="ignore"):
                start = None
                if last:
                    there, w, slope = last
                    start = w + slope @ (x - there)
                    start = start if F._admits(start) else w
                w, converged = F._nearest(x, start)
                if not converged.all():
                    w, converged = F._nearest(x)
                require_converged(F, x, w, converged)
                slope = self._jacobian_at(x, w)
                last[:] = [x.copy(), w, slope]
                return w, slope

        return evaluate


def _third(F: IsometricEmbedding, w: np.ndarray, second: np.ndarray, gap: np.ndarray) -> np.ndarray:
    """Σ_a gap_a ∂³F_a by fourth-order central differences: shape=[..., d, d, d]."""

    def bend(points):
        return np.einsum("...a,...aij->...ij", gap, F._hessian(points), optimize=True)

    speed = np.linalg.norm(F._jacobian(w), axis=-2)
    columns = []
    for i in range(F.dim):
        turn = np.linalg.norm(second[..., i, i], axis=-1)
        step = STEP * speed[..., i] / np.maximum(turn, STEP * speed[..., i])
        # Next to the edge of where F is defined a shorter step costs digits of a term that is small near M.
        for _ in range(40):
            shift = step[..., None] * np.eye(F.dim)[i]
            inside = F._admits(w + 2 * shift) & F._admits(w - 2 * shift)
            if inside.all():
                break
            step = np.where(inside, step, 0.5 * step)
        plus, minus, plus2, minus2 = (bend(w + m * shift) for m in (1, -1, 2, -2))
        columns.append((8.0 * (plus - minus) - (plus2 - minus2)) / (12.0 * step[..., None, None]))
    return np.stack(columns, axis=-1)
