"""Mirror flow d∇R(w) = -∇L(w) dt in its row-space, dual and primal forms."""

from __future__ import annotations

from typing import Any

import numpy as np

from riemflow.errors import DomainError, ShapeError
from riemflow.flows.solution import Flow, run_flow
from riemflow.legendre.conjugate import NumericalConjugate
from riemflow.legendre.function import LegendreFunction
from riemflow.losses import LinearModelLoss, Loss, Piecewise, as_loss

FORMULATIONS = ("auto", "row-space", "dual", "primal")


def mirror_flow(
    R: LegendreFunction,
    loss: Any,
    w_init: Any,
    t: Any,
    *,
    formulation: str = "auto",
    rtol: float = 1e-8,
    atol: Any = None,
    method: str = "auto",
    progress: bool = False,
    throw: bool = True,
) -> Flow:
    """Integrate the mirror flow of R from w_init (equation 8 of the paper).

    The forms agree and differ in cost: "primal" ``w' = -∇²R(w)^{-1} ∇L(w)``; "dual"
    ``μ' = -∇L(∇R*(μ))``; "row-space", for L(w) = ℓ(Zw) with Z of shape [n, d],
    ``μ = ∇R(w_init) - Zᵀν``, ``ν' = ∇ℓ(Z ∇R*(μ))``, n equations instead of d.

    Parameters
    ----------
    R : LegendreFunction
    loss : Loss, Piecewise, or callable, shape=[..., d] -> shape=[...]
    w_init : array, shape=[d]
    t : float, increasing array, or np.inf
        End time, output times, or the limit.
    formulation : "auto", "row-space", "dual" or "primal"
        "auto": row-space if the data have fewer rows than columns, else dual; primal where R* is
        numerical.
    rtol, atol : float
        Tolerances on the state of the formulation; atol is rtol times its size if left out.
    method, progress, throw
        As for `gradient_flow`.

    Returns
    -------
    Flow
        With w and mu; ``stats["formulation"]`` says what was solved.

    Raises
    ------
    DomainError, ShapeError
        For input of the wrong shape, outside dom R, or not finite.
    ConvergenceError
        If the flow reaches the boundary of dom R or the integrator fails.
    """
    if formulation not in FORMULATIONS:
        raise DomainError(f"formulation is {formulation!r}, but must be one of {', '.join(FORMULATIONS)}.")
    loss = as_loss(loss, R.dim)
    w_init = R._inside(w_init, "w_init")
    if w_init.ndim != 1:
        raise ShapeError(f"w_init has shape {w_init.shape}, but must be one point of shape ({R.dim},).")
    Z = _common_rows(loss)
    if formulation == "auto":
        cheap = not isinstance(R.conjugate, NumericalConjugate)
        formulation = "primal" if not cheap else "row-space" if Z is not None and len(Z) < R.dim else "dual"
    if formulation == "row-space" and Z is None:
        raise DomainError("The row-space form needs a loss of the form ℓ(Zw), one Z for all pieces.")
    options = {"rtol": rtol, "atol": atol, "method": method, "progress": progress, "throw": throw}
    if formulation == "primal":
        return _primal(R, loss, w_init, t, options)
    return _dual(R, loss, w_init, t, Z if formulation == "row-space" else None, options)


def _common_rows(loss: Loss | Piecewise) -> np.ndarray | None:
    pieces = loss.losses if isinstance(loss, Piecewise) else [loss]
    if not all(isinstance(piece, LinearModelLoss) for piece in pieces):
        return None
    first = pieces[0].Z
    return first if all(np.array_equal(piece.Z, first) for piece in pieces) else None


def _primal(R, loss, w_init, t, options) -> Flow:
    def velocity(piece, w):
        if not R._belongs(w):
            return np.full_like(w, np.nan)
        return -np.linalg.solve(R._hessian(w), piece._gradient(w))

    return run_flow(
        velocity,
        w_init,
        t,
        loss,
        {"w": lambda w: w, "mu": R._gradient},
        formulation="primal",
        inside=R._belongs,
        scale=float(np.abs(w_init).max()) or 1.0,
        **options,
    )


def _dual(R, loss, w_init, t, Z, options) -> Flow:
    Q, mu_init = R.conjugate, R._gradient(w_init)

    def primal(mu):
        try:
            return Q._gradient(mu)
        except DomainError:  # outside the range of ∇R: the integrator takes a smaller step
            return np.full_like(mu, np.nan)

    if Z is None:

        def to_mu(mu):
            return mu

        def velocity(piece, mu):
            return -piece._gradient(primal(mu))

        def jacobian(piece, mu):
            return -piece._hessian(primal(mu)) @ Q._hessian(mu)

        start, scale = mu_init, float(np.abs(mu_init).max()) or 1.0
    else:

        def to_mu(nu):
            return mu_init - nu @ Z

        def velocity(piece, nu):
            return piece._outer_gradient(Z @ primal(to_mu(nu)))

        def jacobian(piece, nu):
            mu = to_mu(nu)
            return -piece._outer_hessian(Z @ primal(mu)) @ Z @ Q._hessian(mu) @ Z.T

        start, scale = np.zeros(len(Z)), 1.0
    return run_flow(
        velocity,
        start,
        t,
        loss,
        {"w": lambda state: Q._gradient(to_mu(state)), "mu": to_mu},
        formulation="dual" if Z is None else "row-space",
        # Where ∇R is onto R^d no dual point can leave its range.
        inside=None if R.is_mirror_map else lambda state: Q._belongs(to_mu(state)),
        scale=scale,
        jac=jacobian,
        **options,
    )
