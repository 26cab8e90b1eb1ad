"""From R to G: the mirror flow of R against the gradient flow through an embedding's inverse (Thm 5.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from riemflow.embedding import Atlas, Box, Tube, bracket_defect, embed, stray_bound
from riemflow.equivalence.passage import through
from riemflow.equivalence.report import (
    EquivalenceReport,
    comparison_times,
    flow_deviations,
    require,
    unresolved,
)
from riemflow.errors import DomainError, NoClosedFormError
from riemflow.flows import Flow, mirror_flow, riemannian_gradient_flow
from riemflow.geometry import HessianManifold
from riemflow.legendre.function import LegendreFunction
from riemflow.losses import as_loss
from riemflow.validation import as_number, as_points

N_REGION = 2000  # points of the region at which the isometry defect is sampled


def verify_reverse(
    R: LegendreFunction,
    loss: Any,
    w_init: Any,
    t: float,
    *,
    region: Any = None,
    rtol: float = 1e-8,
    **embed_options: Any,
) -> EquivalenceReport:
    """Check that the mirror flow of R is the gradient flow of L∘G, G the inverse of an embedding F.

    F is isometric, ``∂Fᵀ∂F = ∇²R``, so ``x' = -∂G(x)ᵀ∇L(G(x))`` from F(w_init) stays on the image
    of F and its ``w = G(x)`` obeys ``d∇R(w) = -∇L(w) dt`` (Thm 5.1 of Li, Wang, Lee and Arora, 2022).

    With ``method="atlas"`` the same in every chart F_k that the flow crosses: from F_k(w) through
    ``G_k = F_k^{-1}``, and on from F_j(w) in the next. Of each such G_k the round trip is made. That is not
    the theorem's one F, and the report says so.

    Parameters
    ----------
    R : LegendreFunction
    loss : Loss, or callable, shape=[..., d] -> shape=[...]
    w_init : array, shape=[d]
    t : float
        End time.
    region : Region, optional
        Where F is needed if it has no closed form; a box around the trajectory if left out, or a tube where
        no box fits inside dom R.
    rtol : float
        The flows are integrated to a tenth of it and must agree to ten times it.
    **embed_options
        As for `embed`: method, ambient_dim, tol (a hundredth of rtol if left out), coordinates, seed,
        progress, save.

    Returns
    -------
    EquivalenceReport

    Raises
    ------
    DomainError, ShapeError
        For input outside its domain, an R that is no LegendreFunction or not convex on the trajectory,
        or a region not inside dom R.
    ConvergenceError
        If a flow fails or leaves the region before t, or the embedding does not converge.
    """
    require(LegendreFunction, "verify_reverse", R)
    loss = as_loss(loss, R.dim)
    times, rtol = comparison_times(t), as_number("rtol", rtol, above=0.0, below=1e-2)
    w_init = as_points("w_init", w_init, R.dim)
    fine: dict[str, Any] = {"rtol": rtol / 10}
    flows = {"dual": mirror_flow(R, loss, w_init, times, formulation="dual", **fine)}
    trajectory = flows["dual"].w
    R._check_convex(trajectory)
    F = _embedding(R, region, trajectory, {"tol": rtol / 100} | embed_options)
    passage = through(F, loss, w_init, times, fine)
    flows["parameters"] = passage.flow
    flows["primal"] = mirror_flow(R, loss, w_init, times, formulation="primal", **fine)
    flows["Riemannian"] = riemannian_gradient_flow(HessianManifold(R), loss, w_init, times, **fine)

    rounding = passage.rounding(R)
    deviations = flow_deviations(flows, "dual", rounding.w)
    deviations["drift off M"] = passage.drift()
    deviations["isometry on the trajectory"] = float(F.metric_defect(trajectory).max())
    deviations["Lie bracket on M"] = float(
        np.max(F.bracket_defect(trajectory) if isinstance(F, Atlas) else bracket_defect(F, trajectory))
    )
    dual = R.gradient(trajectory) - R.gradient(w_init)
    size = max(np.abs(dual).max(), np.finfo(float).tiny)
    deviations["∇R̂ against ∇R, round trip"] = passage.round_trip(R, rounding.mu) / size
    notes = [f"{F!r}", *passage.notes, f"flows compared at {len(times)} times in [0, {times[-1]:g}]"]
    notes += unresolved(trajectory, dual, rounding, 10 * rtol)
    if F.region is not None:
        points = F.region.sample(N_REGION, np.random.default_rng(0))
        worst = float(F.metric_defect(points).max())
        bound, is_bound = _bound(F)
        if bound is not None and is_bound:
            deviations["isometry on the region"] = max(worst, bound)
            notes.append(f"isometry bounded on {F.region}; the metric's tail in it is estimated, not proved")
        else:
            deviations["isometry on the region"] = worst
            notes.append(f"isometry sampled at {N_REGION} points of {F.region}, not proved between them")
    notes += passage.injectivity()
    if isinstance(F, Atlas):
        deviations["metrics of overlapping charts"] = F.transition_defect()
    notes += _stray(R, loss, F, flows)
    return EquivalenceReport(
        "reverse",
        R.name,
        deviations,
        10 * rtol,
        tuple(notes),
        flows,
        legendre=R,
        parametrization=None if isinstance(F, Atlas) else F.parametrization(),
        embedding=F,
    )


def _stray(R: LegendreFunction, loss: Any, F: Any, flows: Mapping[str, Flow]) -> list[str]:
    """Return a note on how far F's defect allows its flow to stray, and how far it did, if F is not exact."""
    bound, _ = _bound(F)
    if bound is None:
        return []
    mirror, through = flows["dual"], flows["parameters"]
    allowed = stray_bound(R, loss, mirror.t, mirror.w, bound).max()
    gap = through.w - mirror.w
    strayed = np.sqrt(np.einsum("ti,tij,tj->t", gap, R.hessian(mirror.w), gap).max())
    return [
        f"by Gronwall's inequality the defect of {bound:.1e} lets the flow stray {allowed:.1e} at most "
        f"in the norm of ∇²R, to first order; it strayed {strayed:.1e}, both integrators' errors included"
    ]


def _bound(F: Any) -> tuple[float | None, bool]:
    """Return the largest defect on F's region that its certificate knows, and whether that bounds it."""
    found = getattr(F.certificate, "bound", None)
    if isinstance(F, Atlas):
        return found, F.certificate.is_bound
    return (None, False) if found is None else (found.value, found.is_bound)


def _embedding(R: LegendreFunction, region: Any, trajectory: np.ndarray, options: dict[str, Any]) -> Any:
    if region is None and options.get("method", "auto") in ("auto", "closed-form"):
        try:
            return embed(R, **(options | {"method": "closed-form"}))
        except (NoClosedFormError, DomainError):
            pass  # what needs a region, or has no closed form, is tried around the trajectory
    return embed(R, _region_around(R, trajectory) if region is None else region, **options)


def _region_around(R: LegendreFunction, trajectory: np.ndarray) -> Box | Tube:
    """Return a box around a trajectory inside dom R, roomy by 25 % on each side or less, or else a tube."""
    lower, upper = trajectory.min(axis=0), trajectory.max(axis=0)
    size = np.maximum(upper - lower, 0.1 * (upper - lower).max() + 1e-3 * (1 + np.abs(trajectory).max()))
    for room in (0.25, 0.1, 0.05, 0.01, 0.0):
        low, high = lower - room * size, upper + room * size
        corners = np.stack(np.meshgrid(*zip(low, high, strict=True), indexing="ij"), axis=-1).reshape(
            -1, R.dim
        )
        if R._belongs(corners).all():
            return Box(low, high)
    for room in (0.2, 0.1, 0.05, 0.02):
        tube = Tube(trajectory, room * float(size.min()))
        if R._belongs(tube._boundary(2000, np.random.default_rng(0))).all():
            return tube
    raise DomainError(
        f"Neither a box nor a tube around the trajectory fits inside dom {R.name}: pass region=, a smaller "
        "t, or both."
    )
