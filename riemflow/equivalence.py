"""Both directions of the equivalence, and both round trips, checked numerically.

Forward (Thm 4.8): gradient flow through a commuting G is mirror flow for an R made from G alone.
Reverse (Thm 5.1): mirror flow for R is gradient flow through the inverse of an isometric embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from riemflow.commuting import check_commuting, check_regular, legendre_from_parametrization
from riemflow.embedding import Box, IsometricEmbedding, Tube, embed, stray_bound
from riemflow.embedding.embedding import bracket_defect
from riemflow.errors import DomainError, NoClosedFormError, NotMirrorFlowError
from riemflow.flows import Flow, gradient_flow, mirror_flow, riemannian_gradient_flow
from riemflow.geometry import HessianManifold
from riemflow.legendre.function import LegendreFunction
from riemflow.losses import as_loss
from riemflow.parametrizations.parametrization import Parametrization
from riemflow.validation import as_number, as_points

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_TIMES = 41  # output times at which flows are compared
N_REGION = 2000  # points of the region at which the isometry defect is sampled
ULPS = 4.0 * np.finfo(float).eps  # relative accuracy with which F, G and ∇R are taken to be evaluated


@dataclass(frozen=True)
class EquivalenceReport:
    """What a verification found.

    Attributes
    ----------
    direction : "forward" or "reverse"
    subject : name of the G or R that was verified
    deviations : name -> relative deviation; each should vanish in exact arithmetic
    tolerance : the bound on every deviation
    passed : whether all deviations are below the tolerance
    notes : what each check rests on, one line each
    flows : name -> Flow, the same flow in its formulations
    legendre, parametrization, embedding : R, G and F (or None), those given and those constructed
    """

    direction: str
    subject: str
    deviations: Mapping[str, float]
    tolerance: float
    notes: tuple[str, ...] = ()
    flows: Mapping[str, Flow] = field(default_factory=dict, repr=False)
    legendre: LegendreFunction | None = field(default=None, repr=False)
    parametrization: Parametrization | None = field(default=None, repr=False)
    embedding: IsometricEmbedding | None = field(default=None, repr=False)

    @property
    def passed(self) -> bool:
        """Whether every deviation is finite and at most the tolerance."""
        return bool(self.deviations) and all(value <= self.tolerance for value in self.deviations.values())

    def __str__(self) -> str:
        width = max(map(len, self.deviations), default=0)
        lines = [f"{self.direction} equivalence of {self.subject}: {'PASSED' if self.passed else 'FAILED'}"]
        for name, value in self.deviations.items():
            mark = "ok" if value <= self.tolerance else "TOO LARGE"
            lines.append(f"  {name:<{width}}  {value:9.2e}  <= {self.tolerance:.0e}  {mark}")
        return "\n".join(lines + [f"  {note}" for note in self.notes])

    def to_dict(self) -> dict[str, Any]:
        """Return the report's figures as plain Python values, ready for JSON."""
        return {
            "direction": self.direction,
            "subject": self.subject,
            "passed": self.passed,
            "tolerance": self.tolerance,
            "deviations": dict(self.deviations),
            "notes": list(self.notes),
        }

    def plot(self) -> Figure:
        """Draw the trajectories one over another and, for d = 2, the embedded surface with the flow on it."""
        from riemflow.plotting import plot_report

        return plot_report(self)


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
    _require(Parametrization, "verify_forward", G)
    loss = as_loss(loss, G.dim)
    times, rtol = _times(t), as_number("rtol", rtol, above=0.0, below=1e-2)
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
    rounding = _rounding(G, flows["parameters"].x, w, mu, hessian)
    deviations = _flow_deviations(flows, "parameters", rounding.w)
    deviations["∇R(w(t)) against -∫∇L dt"] = _relative(mu, flows["dual"].mu, rounding.mu)
    deviations["∇R*(∇R(w)) against w"] = _relative(R.conjugate.gradient(mu), w, rounding.w)
    cometric = G.cometric(flows["parameters"].x)
    product = hessian @ cometric - np.eye(G.dim)
    deviations["∇²R ∂G∂Gᵀ against I"] = float(np.abs(product).max())
    commuting = check_commuting(G, x_init)
    notes = [commuting.message, f"flows compared at {len(times)} times in [0, {times[-1]:g}]"]
    notes += _unresolved(w, mu, rounding, tolerance)
    return EquivalenceReport(
        "forward", G.name, deviations, tolerance, tuple(notes), flows, legendre=R, parametrization=G
    )


def verify_reverse(
    R: LegendreFunction, loss: Any, w_init: Any, t: float, *, region: Any = None, rtol: float = 1e-8
) -> EquivalenceReport:
    """Check that the mirror flow of R is the gradient flow of L∘G, G the inverse of an embedding F.

    F is isometric, ``∂Fᵀ∂F = ∇²R``, so ``x' = -∂G(x)ᵀ∇L(G(x))`` from F(w_init) stays on the image
    of F and its ``w = G(x)`` obeys ``d∇R(w) = -∇L(w) dt`` (Thm 5.1 of Li, Wang, Lee and Arora, 2022).

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
    _require(LegendreFunction, "verify_reverse", R)
    loss = as_loss(loss, R.dim)
    times, rtol = _times(t), as_number("rtol", rtol, above=0.0, below=1e-2)
    w_init = as_points("w_init", w_init, R.dim)
    fine: dict[str, Any] = {"rtol": rtol / 10}
    flows = {"dual": mirror_flow(R, loss, w_init, times, formulation="dual", **fine)}
    trajectory = flows["dual"].w
    R._check_convex(trajectory)
    F = _embedding(R, region, trajectory, rtol)
    G = F.parametrization()
    flows["parameters"] = gradient_flow(G, loss, F(w_init), times, formulation="parameters", **fine)
    flows["primal"] = mirror_flow(R, loss, w_init, times, formulation="primal", **fine)
    flows["Riemannian"] = riemannian_gradient_flow(HessianManifold(R), loss, w_init, times, **fine)

    through = flows["parameters"]
    mu = R.gradient(trajectory)
    rounding = _rounding(G, F(trajectory), trajectory, mu, R.hessian(trajectory))
    deviations = _flow_deviations(flows, "dual", rounding.w)
    deviations["drift off M"] = _relative(through.x, F(through.w))
    deviations["isometry on the trajectory"] = float(F.metric_defect(trajectory).max())
    deviations["Lie bracket on M"] = float(np.max(bracket_defect(F, trajectory)))
    R_hat = legendre_from_parametrization(G, F(w_init), check=False)
    dual = mu - R.gradient(w_init)
    deviations["∇R̂ against ∇R, round trip"] = _relative(R_hat.gradient(trajectory), dual, rounding.mu)
    notes = [f"{F!r}", f"flows compared at {len(times)} times in [0, {times[-1]:g}]"]
    notes += _unresolved(trajectory, dual, rounding, 10 * rtol)
    if F.region is not None:
        points = F.region.sample(N_REGION, np.random.default_rng(0))
        worst = float(F.metric_defect(points).max())
        bound = getattr(F.certificate, "bound", None)
        if bound is not None and bound.is_bound:
            deviations["isometry on the region"] = max(worst, bound.value)
            notes.append(f"isometry bounded on {F.region}; the metric's tail in it is estimated, not proved")
        else:
            deviations["isometry on the region"] = worst
            notes.append(f"isometry sampled at {N_REGION} points of {F.region}, not proved between them")
        notes.append(f"{F.injectivity}; {F.reach}")
    notes += _stray(R, loss, F, flows)
    return EquivalenceReport(
        "reverse",
        R.name,
        deviations,
        10 * rtol,
        tuple(notes),
        flows,
        legendre=R,
        parametrization=G,
        embedding=F,
    )


def _stray(R: LegendreFunction, loss: Any, F: IsometricEmbedding, flows: Mapping[str, Flow]) -> list[str]:
    """Return a note on how far F's defect allows its flow to stray, and how far it did, if F is not exact."""
    bound = getattr(F.certificate, "bound", None)
    if bound is None:
        return []
    mirror, through = flows["dual"], flows["parameters"]
    allowed = stray_bound(R, loss, mirror.t, mirror.w, bound.value).max()
    gap = through.w - mirror.w
    strayed = np.sqrt(np.einsum("ti,tij,tj->t", gap, R.hessian(mirror.w), gap).max())
    return [
        f"by Gronwall's inequality the defect of {bound.value:.1e} lets the flow stray {allowed:.1e} at most "
        f"in the norm of ∇²R, to first order; it strayed {strayed:.1e}, both integrators' errors included"
    ]


def _embedding(R: LegendreFunction, region: Any, trajectory: np.ndarray, rtol: float) -> IsometricEmbedding:
    if region is not None:
        return embed(R, region, tol=rtol / 100)
    try:
        return embed(R, method="closed-form")
    except (NoClosedFormError, DomainError):
        return embed(R, _region_around(R, trajectory), tol=rtol / 100)


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


def _times(t: Any) -> np.ndarray:
    return np.linspace(0.0, as_number("t", t, above=0.0), N_TIMES)


@dataclass(frozen=True)
class _Rounding:
    """How far rounding alone moves a difference of two weights, and of two dual points, on a trajectory."""

    w: float
    mu: float


def _rounding(
    G: Parametrization, x: np.ndarray, w: np.ndarray, mu: np.ndarray, hessian: np.ndarray
) -> _Rounding:
    """Bound the rounding of w = G(x) and μ = ∇R(w) to first order, each at both ends of a difference.

    x is rounded by ε|x|, hence w by ε(|w| + |∂G||x|) and μ by ε|μ| + |∇²R| times that. Where the flow
    is so short that μ hardly changes, or w is a small difference of large numbers, no more is known.
    """
    sizes = np.abs(w) + np.einsum("nij,nj->ni", np.abs(G.jacobian(x)), np.abs(x))
    dual_sizes = np.abs(mu) + np.einsum("nij,nj->ni", np.abs(hessian), sizes)
    bounds = [2 * ULPS * float(size.max()) for size in (sizes, dual_sizes)]
    return _Rounding(*(bound if np.isfinite(bound) else 0.0 for bound in bounds))  # no excuse for overflow


def _relative(a: np.ndarray | None, b: np.ndarray | None, rounding: float = 0.0) -> float:
    """Largest difference beyond rounding, over the largest entry of b: one number for two trajectories."""
    a, b = np.asarray(a), np.asarray(b)
    beyond = np.maximum(np.abs(a - b) - rounding, 0.0)
    return float(beyond.max() / max(np.abs(b).max(), np.finfo(float).tiny))


def _unresolved(w: np.ndarray, dual: np.ndarray, rounding: _Rounding, tolerance: float) -> list[str]:
    """Return a note for each quantity that is too small next to its rounding for the tolerance to be seen."""
    known = {"w": (w, rounding.w), "the change of ∇R": (dual, rounding.mu)}
    return [
        f"{name} is {np.abs(values).max():.1e} at most and, by rounding, known to {error:.0e} only: a longer "
        "t or another start shows more"
        for name, (values, error) in known.items()
        if error > tolerance * np.abs(values).max()
    ]


def _require(kind: type, function: str, given: Any) -> None:
    """Raise a `DomainError` unless `given` is of this kind; the usual slip is to swap R and G."""
    if not isinstance(given, kind):
        other = {"verify_forward": "verify_reverse", "verify_reverse": "verify_forward"}[function]
        swapped = isinstance(given, LegendreFunction | Parametrization)
        remedy = f"use {other} for it" if swapped else f"wrap a function as {kind.__name__}(…)"
        raise DomainError(f"{function} needs a {kind.__name__}, but got a {type(given).__name__}: {remedy}.")


def _flow_deviations(flows: Mapping[str, Flow], reference: str, rounding: float) -> dict[str, float]:
    return {
        f"w(t): {name} against {reference}": _relative(flow.w, flows[reference].w, rounding)
        for name, flow in flows.items()
        if name != reference
    }
