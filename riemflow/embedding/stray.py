"""How far the flow that an imperfect embedding defines can stray from the mirror flow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from riemflow.legendre.function import LegendreFunction


def stray_bound(R: LegendreFunction, loss: Any, t: np.ndarray, w: np.ndarray, defect: float) -> np.ndarray:
    """Bound the distance of the two flows in the metric g = ∇²R: shape=[T].

    With ``δ = sup ‖g^{-1/2} ĝ g^{-1/2} - I‖₂ < 1`` the flow of ĝ = ∂Fᵀ∂F has a velocity that differs from
    the mirror flow's by at most ``δ/(1-δ) |∇L|_{g^{-1}}`` in the g-norm. The mirror flow spreads distances at
    the rate ``ν = -λ_min(g^{-1/2} (∇²L - ½∇³R[g^{-1}∇L]) g^{-1/2})`` at most, the Riemannian Hessian of L.
    So Gronwall's inequality gives ``ρ' ≤ νρ + δ/(1-δ) |∇L|_{g^{-1}}``, ρ(0) = 0.

    ν and the source are taken on the mirror flow, hence to first order in δ, and the larger of their values
    at both ends of each interval between the times is used.

    Parameters
    ----------
    loss : Loss or Piecewise
    t : array, shape=[T]
    w : array, shape=[T, d]
        The mirror flow's points at these times.
    defect : float
        δ. From 1 on nothing is bounded: inf is returned.
    """
    bound = np.zeros(len(t))
    if not defect < 1:
        return np.where(np.arange(len(t)) > 0, np.inf, 0.0)
    g = R._hessian(w)
    inverse_factor = np.linalg.solve(np.linalg.cholesky(g), np.eye(R.dim))
    for k in range(1, len(t)):
        pieces = {id(piece): piece for piece in _pieces(loss, t[k - 1], t[k])}.values()
        rates, sources = [], []
        for piece in pieces:
            for j in (k - 1, k):
                slope = inverse_factor[j] @ piece._gradient(w[j])
                natural = inverse_factor[j].T @ slope
                hessian = piece._hessian(w[j]) - 0.5 * R._third_along(w[j], natural)
                rates.append(-np.linalg.eigvalsh(inverse_factor[j] @ hessian @ inverse_factor[j].T)[0])
                sources.append(defect / (1 - defect) * np.linalg.norm(slope))
        rate, step = max(rates), t[k] - t[k - 1]
        # ρ' = νρ + s over the step; expm1(x)/x → 1 at 0.
        growth = np.expm1(rate * step) / rate if abs(rate * step) > 1e-12 else step
        bound[k] = bound[k - 1] * np.exp(rate * step) + max(sources) * growth
    return bound


def _pieces(loss: Any, start: float, end: float) -> list[Any]:
    """Return the losses in force at some time of (start, end)."""
    if not hasattr(loss, "breakpoints"):
        return [loss]
    inside = [b for b in loss.breakpoints if start < b < end]
    return [loss.at(b) for b in (start, *inside)]
