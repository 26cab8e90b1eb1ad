"""Checks of a computed flow: what Theorem 4.13 says about its way and about its limit."""

from __future__ import annotations

from typing import Any

import numpy as np

from riemflow.commuting.checks import Check
from riemflow.errors import DomainError, ShapeError
from riemflow.flows.solution import Flow
from riemflow.legendre.function import EPS, LegendreFunction
from riemflow.legendre.rays import longest, unit_directions
from riemflow.losses import LinearModelLoss, Loss, Piecewise, as_loss
from riemflow.validation import as_count, as_number, as_points, require_kind, short

INWARDS = 1e-9  # of the way to a point inside: from there directions along a face can be followed
RESOLVED = 1e-9  # of ∇R(w): what rounding of w may do to it where it is compared


def check_bregman_decrease(
    R: LegendreFunction, flow: Flow, w_star: Any, *, tol: float = 1e-6, n_points: int = 400
) -> Check:
    """Check that ``D_R(w*, w(t))`` never grows, as Theorem 4.13 needs it along a mirror flow of R.

    Along ``d∇R(w) = -∇L(w) dt`` its derivative is ``-∇L(w)·(w - w*)``, which is not positive for a
    quasi-convex L and every w* with L(w*) ≤ L(w(t)), the minimisers of L over dom R above all. A
    time-dependent loss needs one w* for all its pieces. Defect: the largest growth over the least value so
    far, divided by the total change.

    Parameters
    ----------
    R : LegendreFunction
    flow : Flow
        Any, on the weights of R: of R itself, or of a parametrization.
    w_star : array, shape=[d]
        In the closure of dom R.
    tol : float
        The largest defect that passes.
    n_points : int
        Times looked at; between the integrator's steps by its dense output.

    Raises
    ------
    DomainError
        If w_star is outside the closure of dom R, or the flow leaves its interior.
    ShapeError
        If the dimensions differ, or w_star is not one point.
    """
    require_kind("R", R, LegendreFunction)
    tol, w_star = as_number("tol", tol, above=0.0), as_points("w_star", w_star, R.dim)
    if w_star.ndim != 1:
        raise ShapeError(f"w_star has shape {w_star.shape}, but must be one point of shape ({R.dim},).")
    if not R._belongs(w_star + INWARDS * (R.domain.interior - w_star)):
        raise DomainError(f"w_star = {short(w_star)} is outside dom {R.name}: give a point of its closure.")
    t, w = _points(flow, R.dim, n_points)
    w = R._inside(w, "the flow's w")
    value, slope = R._value(w), R._gradient(w) * (w - w_star)
    # D_R(w*, w(t)) but for the constant R(w*), which need not be known.
    divergence, terms = slope.sum(axis=-1) - value, np.abs(slope).sum(axis=-1) + np.abs(value)
    k, growth, scale = _largest_growth(divergence, terms)
    passed = growth <= tol * scale
    what = "never grows" if passed else "grows"
    message = (
        f"D(w*, w(t)) of {R.name} {what} towards w* = {short(w_star)}: by {growth / scale:.3g} of its change "
        f"{scale:.3g} at the most (bound {tol:.0e}), at t = {t[k]:.4g}, the worst of {len(t)} times"
    )
    details = {"t": t, "divergence": divergence - divergence.min(), "scale": scale}
    return Check(bool(passed), float(growth / scale), tol, w[k].copy(), len(t), message, details)


def check_loss_decrease(loss: Any, flow: Flow, *, tol: float = 1e-6, n_points: int = 400) -> Check:
    """Check that ``L(w(t))`` never grows, as along every gradient flow: ``dL/dt = -∇Lᵀ H ∇L``, H ≥ 0.

    Defect: the largest growth over the least value so far, divided by the total change.

    Parameters
    ----------
    loss : Loss, or callable, shape=[..., d] -> shape=[...]
        One that does not change in time.
    flow : Flow
    tol, n_points
        As for `check_bregman_decrease`.

    Raises
    ------
    DomainError
        If the loss changes in time.
    ShapeError
        If the dimensions differ.
    """
    tol, loss = as_number("tol", tol, above=0.0), _one_loss(loss, flow.w.shape[1])
    t, w = _points(flow, loss.dim, n_points)
    value = np.asarray(loss._value(w))
    k, growth, scale = _largest_growth(value, np.abs(value))
    passed = growth <= tol * scale
    what = "never grows" if passed else "grows"
    message = (
        f"the loss {what} along the flow: by {growth / scale:.3g} of its change {scale:.3g} at the most "
        f"(bound {tol:.0e}), at t = {t[k]:.4g}, the worst of {len(t)} times"
    )
    details = {"t": t, "loss": value, "scale": scale}
    return Check(bool(passed), float(growth / scale), tol, w[k].copy(), len(t), message, details)


def check_limit_optimality(
    R: LegendreFunction, loss: Any, flow: Flow, *, tol: float = 1e-6, n_points: int = 200, seed: int = 0
) -> Check:
    """Check the end w∞ of a flow: ``∇L(w∞)·(w - w∞) ≥ 0`` on dom R (Thm 4.13), and KKT (Thm 3.8).

    The first is tried along sampled directions, the axes and -∇L, each as far as dom R and the size of w
    reach: what L falls at first order, divided by the size of ∇L on the way and that length. In the interior
    it says ∇L(w∞) = 0; for a convex L it says that w∞ minimises L over dom R.

    The second, for a loss ℓ(Zw), is ``∇R(w∞) - ∇R(w(0)) ∈ range Zᵀ``, which says that w∞ minimises
    D_R(·, w(0)) among all w with Zw = Zw∞: the part outside the range, divided by the whole. Where w∞ lies on
    the boundary of dom R, ∇R has no limit, but every point of a mirror flow satisfies the condition: it is
    then looked at where w still resolves ∇R in float64.

    Parameters
    ----------
    R : LegendreFunction
    loss : Loss, or callable, shape=[..., d] -> shape=[...]
        One that does not change in time.
    flow : Flow
        Its last point is taken for the limit: integrate to t = np.inf.
    tol : float
        The largest defect that passes, the larger of the two.
    n_points : int
        Random directions tried.
    seed : int

    Returns
    -------
    check : Check
        With details "variational", "kkt" (None unless the loss is ℓ(Zw)), "kkt_time", "status" of the flow.

    Raises
    ------
    DomainError
        If the loss changes in time, w∞ is outside the closure of dom R, or no point of the flow resolves ∇R.
    ShapeError
        If the dimensions differ.
    """
    require_kind("R", R, LegendreFunction)
    tol, n_points = as_number("tol", tol, above=0.0), as_count("n_points", n_points)
    loss = _one_loss(loss, R.dim)
    if flow.w.shape[1] != R.dim:
        raise ShapeError(f"The flow is in R^{flow.w.shape[1]}, but {R.name} is on R^{R.dim}.")
    variational, n_tried = _variational_gap(R, loss, flow, n_points, seed)
    kkt, time = _kkt_gap(R, loss, flow) if isinstance(loss, LinearModelLoss) else (None, None)
    defect = max(variational, kkt or 0.0)
    passed, w = bool(defect <= tol), flow.w[-1]
    message = (
        f"the end w = {short(w)} of the flow ({flow.status}) {'is' if passed else 'is NOT'} optimal: the "
        f"loss falls at the rate {variational:.3g} along {n_tried} directions into dom {R.name}"
    )
    if kkt is not None:
        message += f", and {kkt:.3g} of ∇R(w) - ∇R(w(0)) is outside range Zᵀ"
    details = {"variational": variational, "kkt": kkt, "kkt_time": time, "status": flow.status}
    return Check(passed, defect, tol, w.copy(), n_tried, f"{message} (bound {tol:.0e})", details)


def _one_loss(loss: Any, dim: int) -> Loss:
    found = as_loss(loss, dim)
    if isinstance(found, Piecewise):
        raise DomainError("The loss changes in time: check one piece, with the flow from its breakpoint on.")
    return found


def _points(flow: Flow, dim: int, n_points: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return about n_points times and w there, evenly spread over the flow's own steps."""
    n_points = as_count("n_points", n_points, least=2)
    if flow.w.shape[1] != dim:
        raise ShapeError(f"The flow is in R^{flow.w.shape[1]}, but w_star and R are in R^{dim}.")
    if flow._solution is None or len(flow.t) >= n_points:
        return flow.t, flow.w
    steps = np.arange(len(flow.t), dtype=float)
    t = np.union1d(np.interp(np.linspace(0.0, steps[-1], n_points), steps, flow.t), flow.t)
    return t, flow.sol(t)


def _largest_growth(values: np.ndarray, terms: np.ndarray) -> tuple[int, float, float]:
    """Where values exceed the least of those before most, by how much, and the scale to measure it by."""
    growth = values - np.minimum.accumulate(values)
    k = int(np.argmax(growth))
    # A change within 1e8 roundings of the terms is not told from none.
    scale = max(float(values.max() - values.min()), 1e8 * EPS * float(terms.max()))
    return k, float(growth[k]), scale or 1.0


def _variational_gap(
    R: LegendreFunction, loss: Loss, flow: Flow, n_points: int, seed: int
) -> tuple[float, int]:
    """The largest -∇L(w∞)·v over displacements v into dom R, over max ‖∇L‖ times the longest allowed ‖v‖."""
    w, center = flow.w[-1], R.domain.interior
    start = w + INWARDS * (center - w)
    if not R._belongs(start):
        raise DomainError(f"The flow ends at w = {short(w)}, outside dom {R.name}: is it a flow on dom R?")
    slope, steepest = loss._gradient(w), float(np.linalg.norm(loss._gradient(flow.w), axis=-1).max())
    length = float(np.linalg.norm(w) + np.linalg.norm(w - flow.w[0]))
    if steepest == 0.0 or length == 0.0:
        return 0.0, 0
    directions = unit_directions(R.dim, n_points, seed)
    # Towards points spread over dom R: in a corner of it, few directions of any kind lead inwards.
    across = center + 0.999 * longest(R, center, directions, length)[:, None] * directions - start
    down = -slope / (np.linalg.norm(slope) or 1.0)
    tried = np.concatenate([directions, across, down[None]])
    tried = tried / np.maximum(np.linalg.norm(tried, axis=-1, keepdims=True), np.finfo(float).tiny)
    steps = longest(R, start, tried, length)[:, None] * tried
    return max(0.0, float((-steps @ slope).max())) / (steepest * length), len(tried)


def _kkt_gap(R: LegendreFunction, loss: LinearModelLoss, flow: Flow) -> tuple[float, float]:
    """The share of ∇R(w) - ∇R(w(0)) outside range Zᵀ where the flow last resolves it, and that time."""
    inside = np.asarray(R._belongs(flow.w), bool)
    mu = np.full(flow.w.shape, np.nan)
    with np.errstate(all="ignore"):
        mu[inside] = R._gradient(flow.w[inside])
        change = mu - mu[0]
        size = np.linalg.norm(change, axis=-1)
        rounding = np.full(len(mu), np.inf)
        hessian = np.abs(R._hessian(flow.w[inside]))
        rounding[inside] = EPS * (hessian @ np.abs(flow.w[inside])[..., None])[..., 0].max(axis=-1)
    resolved = np.flatnonzero(np.isfinite(size) & (rounding <= RESOLVED * np.maximum(size, 1.0)))
    if len(resolved) == 0:
        raise DomainError(
            f"No point of the flow determines ∇R of {R.name} in float64: they lie on the boundary of dom R."
        )
    k = int(resolved[-1])
    _, singular, rows = np.linalg.svd(loss.Z, full_matrices=False)
    rows = rows[singular > singular[0] * max(loss.Z.shape) * EPS]
    rest = change[k] - rows.T @ (rows @ change[k])
    return float(np.linalg.norm(rest) / (size[k] or 1.0)), float(flow.t[k])
