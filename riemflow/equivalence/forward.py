"""From G to R: the gradient flow of L∘G against the mirror flow of the R that G defines (Thm 4.8)."""

from __future__ import annotations

from typing import Any

import numpy as np

from riemflow.commuting import check_commuting, check_regular, legendre_from_parametrization
from riemflow.equivalence.report import (
    EquivalenceReport,
    comparison_times,
    flow_deviations,
    relative,
    require,
    rounding_of,
    unresolved,
)
from riemflow.errors import DomainError, NotMirrorFlowError
from riemflow.flows import gradient_flow, mirror_flow, riemannian_gradient_flow
from riemflow.geometry import HessianManifold
from riemflow.losses import as_loss
from riemflow.parametrizations.parametrization import Parametrization
from riemflow.validation import as_number, as_points


def verify_forward(
    G: Parametrization, loss: Any, x_init: Any, t: float, *, rtol: float = 1e-8
) -> EquivalenceReport:
    """Check that the gradient flow of L∘G is the mirror flow of the R that G and x_init define.

    ``x' = -∂G(x)ᵀ∇L(G(x))`` against ``d∇R(w) = -∇L(w) dt`` in its dual, primal and Riemannian
    forms, and the integral form ``∇R(w(t)) = -∫∇L dt`` of Lemma 4.6 (Thm 4.8 of Li, Wang, Lee and
    Arora, 2022). R comes from the horizontal lift.

    Parameters
    ----------
    G : Parametrization
    loss : Loss, or callable, shape=[..., d] -> shape=[...]
    x_init : array, shape=[D]
    t : float
        End time.
    rtol : float
        The flows are integrated to a tenth of it and must agree to ten times it.

    Returns
    -------
    EquivalenceReport
        Not passed, with the bracket's size and place in its notes, if G does not commute and is not
        projectable.

    Raises
    ------
    DomainError, ShapeError
        For input outside its domain, a G that is no Parametrization, or ∂G singular at x_init.
    ConvergenceError
        If a flow fails or leaves the domain before t.
    """
    require(Parametrization, "verify_forward", G)
    loss = as_loss(loss, G.dim)
    times, rtol = comparison_times(t), as_number("rtol", rtol, above=0.0, below=1e-2)
    x_init = as_points("x_init", x_init, G.dim_in)
    tolerance = 10 * rtol
    regular = check_regular(G, x_init)
    if not regular.passed:
        raise DomainError(regular.message)
    try:
        R = legendre_from_parametrization(G, x_init)
    except NotMirrorFlowError as refusal:
        check = refusal.check if refusal.check is not None else check_commuting(G, x_init)
        return EquivalenceReport(
            "forward",
            G.name,
            {"Lie bracket": check.defect},
            check.tolerance,
            (str(refusal),),
            parametrization=G,
        )

    fine: dict[str, Any] = {"rtol": rtol / 10}
    flows = {"parameters": gradient_flow(G, loss, x_init, times, formulation="parameters", **fine)}
    w_init = flows["parameters"].w[0]
    flows["dual"] = mirror_flow(R, loss, w_init, times, formulation="dual", **fine)
    flows["primal"] = mirror_flow(R, loss, w_init, times, formulation="primal", **fine)
    flows["Riemannian"] = riemannian_gradient_flow(HessianManifold(R), loss, w_init, times, **fine)

    w = flows["parameters"].w
    mu, hessian = R.gradient(w), R.hessian(w)
    rounding = rounding_of(G, flows["parameters"].x, w, mu, hessian)
    deviations = flow_deviations(flows, "parameters", rounding.w)
    deviations["∇R(w(t)) against -∫∇L dt"] = relative(mu, flows["dual"].mu, rounding.mu)
    deviations["∇R*(∇R(w)) against w"] = relative(R.conjugate.gradient(mu), w, rounding.w)
    cometric = G.cometric(flows["parameters"].x)
    product = hessian @ cometric - np.eye(G.dim)
    deviations["∇²R ∂G∂Gᵀ against I"] = float(np.abs(product).max())
    commuting = check_commuting(G, x_init)
    notes = [commuting.message, f"flows compared at {len(times)} times in [0, {times[-1]:g}]"]
    notes += unresolved(w, mu, rounding, tolerance)
    return EquivalenceReport(
        "forward", G.name, deviations, tolerance, tuple(notes), flows, legendre=R, parametrization=G
    )
