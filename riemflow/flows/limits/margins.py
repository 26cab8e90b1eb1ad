"""Where mirror flows of the logistic loss go on separable data: the maximum margin in the norm of R."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Any

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import csr_array, hstack, issparse

from riemflow.errors import ConvergenceError, DomainError
from riemflow.flows.limits.dual_newton import Dual, Newton, minimise
from riemflow.legendre.algebra import Composed, Product, Scaled, Sum, Tilted
from riemflow.legendre.entropies import HyperbolicEntropy, NegativeEntropy
from riemflow.legendre.function import LegendreFunction, times_transposed
from riemflow.legendre.quadratic import Quadratic, SquaredNorm
from riemflow.legendre.separable import scale_columns
from riemflow.losses import Logistic
from riemflow.validation import require_kind

FAR = 1e7  # the radius at which R is taken for its homogeneous limit
DEGREE = 1e-3  # how far the degrees of growth in several directions may differ
TIGHT = 1e-9  # of a margin or a slack, what passes for zero
APART = 1e-8  # an eigenvalue of a Gram matrix of unit rows, far above rounding: the rows are independent


@dataclass(frozen=True)
class MaximumMargin:
    """The direction of largest margin: argmax of min_i y_i z_i·w over ‖w‖ ≤ 1.

    Attributes
    ----------
    direction : array, shape=[d]
        Of norm one in `norm`.
    margin : float
        Its smallest y_i z_i·w.
    norm : str
        Which norm R decides on, for example "l1".
    multipliers : array, shape=[n]
        α ≥ 0, zero off the support vectors, with ``Σ α_i y_i z_i`` a subgradient of the norm at `direction`;
        Σα is 1/margin.
    rate : float
        The flow's direction tends to this one like (ln t)^(-rate). For the l1 norm that may set in beyond any
        t within reach, where some support vectors have small multipliers.
    unique : bool
        If not, the flow may tend to another direction with the same margin.
    residual : float
        How far the optimality conditions are violated, relative to the norm.
    status : "converged"
    """

    direction: np.ndarray
    margin: float
    norm: str
    multipliers: np.ndarray
    rate: float
    unique: bool
    residual: float
    status: str

    def __repr__(self) -> str:
        support = int((self.multipliers > TIGHT * self.multipliers.max()).sum())
        return (
            f"MaximumMargin({self.status}: {self.norm} margin {self.margin:.6g}, {support} support vectors, "
            f"approached like (ln t)^-{self.rate:.3g}, residual {self.residual:.1e})"
        )


@dataclass(frozen=True)
class _Cost:
    """What R is like far out: Σ c_i |w_i|, on w ≥ 0 if `positive`, or homogeneous of a degree p > 1."""

    norm: str
    weights: np.ndarray | None = None
    positive: np.ndarray | None = None
    degree: float = 2.0


def maximum_margin(R: LegendreFunction, Z: Any, labels: Any) -> MaximumMargin:
    """Return the direction of ``max min_i y_i z_i·w`` over ‖w‖ ≤ 1, to which w/‖w‖ tends under mirror flow.

    On separable data the logistic loss has no minimiser, and w runs to infinity. Its direction is that of
    largest margin in the norm whose balls the sublevel sets of R resemble far out: ℓ₂ for ½‖w‖², √(wᵀAw) for
    ½wᵀAw, ℓ_p for functions that grow like Σ|w_i|^p, ℓ₁ for the hyperbolic entropy, and for the negative
    entropy, there with w ≥ 0. It is approached like a power of ln t: from integration alone it would not be
    known to two digits.

    Parameters
    ----------
    R : LegendreFunction
        One of the above, their multiples, sums or products, or one that grows like a power p > 1 of |w|.
    Z : array or scipy.sparse array, shape=[n, d]
    labels : array, shape=[n]
        -1 or +1.

    Raises
    ------
    DomainError, ShapeError
        For bad input, or an R whose growth tells no norm.
    ConvergenceError
        If no w (in dom R) separates the labels: then the flow may have a finite limit.
    """
    require_kind("R", R, LegendreFunction)
    loss = Logistic(Z, labels)
    if loss.dim != R.dim:
        raise DomainError(f"Z has {loss.dim} columns, but {R.name} is on R^{R.dim}.")
    cost = _far_out(R)
    if cost is None:
        raise DomainError(
            f"{R.name} tells no norm: it neither is one of the functions that do nor grows like one power "
            "p > 1 of |w| in all directions."
        )
    rows = signed_rows(loss)
    size = float(abs(rows).max()) or 1.0  # margins are proportional to it: the solvers' tolerances are not
    found = (
        _linear_margin(rows / size, cost)
        if cost.weights is not None
        else _smooth_margin(R, rows / size, cost)
    )
    return replace(found, margin=found.margin * size, multipliers=found.multipliers / size)


def signed_rows(loss: Logistic) -> Any:
    """Return y_i z_i, shape=[n, d]."""
    if issparse(loss.Z):
        return csr_array(loss.Z.multiply(loss.labels[:, None]))
    return loss.Z * loss.labels[:, None]


def separation(rows: Any, positive: Any = False) -> str:
    """Tell whether some w has rows·w > 0 ("all"), ≥ 0 but not = 0 ("some"), or neither ("none")."""
    n, d = rows.shape
    # Positive factors of rows and columns decide nothing, but HiGHS drops coefficients below 1e-9.
    rows = scale_columns(rows.T, 1.0 / largest(rows)).T
    rows = scale_columns(rows, 1.0 / largest(rows.T))
    # max Σ t with t ≤ rows·w and 0 ≤ t ≤ 1: what is positive at all can be made 1.
    eye = csr_array((np.ones(n), (np.arange(n), np.arange(n))), shape=(n, n))
    matrix = hstack([csr_array(-rows), eye]) if issparse(rows) else np.hstack([-rows, np.eye(n)])
    signs = np.broadcast_to(positive, d)
    bounds = [(0.0 if sign else None, None) for sign in signs] + [(0.0, 1.0)] * n
    found = linprog(np.append(np.zeros(d), -np.ones(n)), A_ub=matrix, b_ub=np.zeros(n), bounds=bounds)
    if found.status != 0:
        raise ConvergenceError(f"Whether the labels are separable was not found out: {found.message}")
    reached = found.x[d:]
    return "all" if reached.min() > 0.5 else "some" if reached.max() > 0.5 else "none"


def largest(rows: Any) -> np.ndarray:
    """The largest entry of each row, 1 where it is zero: shape=[n, d] -> shape=[n]."""
    size = abs(rows).max(axis=1)
    size = size.toarray().ravel() if issparse(size) else size
    return np.where(size > 0, size, 1.0)


@singledispatch
def _far_out(R: LegendreFunction) -> _Cost | None:
    """A power of |w|, the same in all directions, by values at two radii far out."""
    rng = np.random.default_rng(0)
    directions = np.concatenate([np.eye(R.dim), -np.eye(R.dim), rng.standard_normal((8, R.dim))])
    near, far = FAR * directions, 10.0 * FAR * directions
    if not (R._belongs(near).all() and R._belongs(far).all()):
        return None
    with np.errstate(all="ignore"):
        degrees = np.log10(R._value(far) / R._value(near))
    if not np.isfinite(degrees).all() or np.ptp(degrees) > DEGREE or degrees.min() <= 1.0 + 10 * DEGREE:
        return None
    degree = float(np.round(degrees.mean(), 6))
    scale = R._value(near) / (np.abs(near) ** degree).sum(axis=-1)
    return _Cost(f"l{degree:g}" if np.ptp(scale) <= DEGREE * scale.max() else "R^(1/p)", degree=degree)


@_far_out.register
def _(R: SquaredNorm) -> _Cost:
    return _Cost("l2")


@_far_out.register
def _(R: Quadratic) -> _Cost:
    return _Cost("quadratic")


@_far_out.register(HyperbolicEntropy)
@_far_out.register(NegativeEntropy)
def _(R) -> _Cost:
    return _Cost("l1", np.ones(R.dim), np.full(R.dim, isinstance(R, NegativeEntropy)))


@_far_out.register
def _(R: Scaled) -> _Cost | None:
    cost = _far_out(R.base)
    if cost is None or cost.weights is None:
        return cost
    return _Cost("l1", R.factor * cost.weights, cost.positive)


@_far_out.register
def _(R: Tilted) -> _Cost | None:
    return _far_out(R.base)


@_far_out.register
def _(R: Composed) -> _Cost | None:
    cost = _far_out(R.base)
    return _Cost("quadratic") if cost is not None and cost.norm in ("l2", "quadratic") else _far_out_plain(R)


@_far_out.register
def _(R: Sum) -> _Cost | None:
    costs = [_far_out(term) for term in R.terms]
    linear = [cost for cost in costs if cost is not None and cost.weights is not None]
    if len(linear) == len(costs):
        weights = np.sum([cost.weights for cost in linear], axis=0)
        return _Cost("l1", weights, np.any([cost.positive for cost in linear], axis=0))
    return _far_out_plain(R)


@_far_out.register
def _(R: Product) -> _Cost | None:
    costs = [_far_out(part) for part in R.parts]
    known = [cost for cost in costs if cost is not None]
    if len(known) == len(costs) and all(cost.weights is not None for cost in known):
        weights: Any = [cost.weights for cost in known]
        positive: Any = [cost.positive for cost in known]
        return _Cost("l1", np.concatenate(weights), np.concatenate(positive))
    return _far_out_plain(R)


_far_out_plain = _far_out.dispatch(LegendreFunction)


def _linear_margin(rows: Any, cost: _Cost) -> MaximumMargin:
    """min Σ c_i |w_i| subject to rows·w ≥ 1, a linear programme in the positive and the negative parts."""
    n, d = rows.shape
    weights: Any = cost.weights
    free = np.flatnonzero(~cost.positive)  # type: ignore[operator]
    stack = hstack if issparse(rows) else np.hstack
    units = largest(rows.T)  # in which w is looked for: HiGHS drops coefficients below 1e-9
    scaled, price = scale_columns(rows, 1.0 / units), weights / units
    matrix = stack([-scaled, scaled[:, free]])
    found = linprog(np.append(price, price[free]), A_ub=matrix, b_ub=-np.ones(n), method="highs")
    if found.status == 2 and separation(rows, cost.positive) != "all":
        within = "w ≥ 0" if len(free) == 0 else "w" if len(free) == d else "w with some w_j ≥ 0"
        _refuse(f"no {within} has y_i z_i·w > 0 for all i")
    if found.status != 0:
        raise ConvergenceError(f"The maximum margin was not found: {found.message}")
    w = found.x[:d].copy()
    w[free] -= found.x[d:]
    w /= units
    alpha = np.maximum(-found.ineqlin.marginals, 0.0)
    pull = rows.T @ alpha
    pull[free] = np.abs(pull[free])
    slack = 1.0 - pull / weights  # in each coordinate; zero where w_i may differ from zero
    used = slack <= TIGHT
    norm = float(weights @ np.abs(w))
    tight = rows[np.flatnonzero(alpha > TIGHT * alpha.max())][:, np.flatnonzero(used)]
    tight = tight.toarray() if issparse(tight) else tight
    unique = np.linalg.matrix_rank(tight) == used.sum()
    off = slack[~used]
    residual = max(
        0.0,
        float(-slack.min()),
        abs(alpha.sum() / norm - 1.0),
        float((1.0 - rows @ w).max()),
        -float(alpha.min()),
    )
    _require_solved(residual)
    return MaximumMargin(
        w / norm,
        float((rows @ w).min()) / norm,
        cost.norm,
        alpha,
        float(min(1.0, off.min(initial=1.0))),
        bool(unique),
        residual,
        "converged",
    )


def _smooth_margin(R: LegendreFunction, rows: Any, cost: _Cost) -> MaximumMargin:
    """min R(w) subject to rows·w ≥ m for a huge m, by Lawson and Hanson's active sets (1974) on the dual.

    A row that is violated most enters; with those entered as equations Newton's method solves for their
    multipliers; those that would become negative leave. The dual value grows each time, so that it ends.
    """
    if separation(rows) != "all":
        _refuse("no w has y_i z_i·w > 0 for all i")
    n, Q = rows.shape[0], R.conjugate
    lengths = np.sqrt(np.asarray((rows * rows).sum(axis=1)).ravel())
    start, alpha, active = np.zeros(R.dim), np.zeros(n), np.zeros(n, bool)
    w = Q._gradient(start)
    for _ in range(10 * n + 10):
        missed = (FAR - rows @ w) / FAR
        missed[active] = 0.0
        if missed.max() <= TIGHT:
            break
        active[np.argmax(missed / lengths)] = True
        while True:
            part = np.flatnonzero(active)
            null = _dependence(rows[part])
            if null is not None:
                # Along it w stays and the dual value grows, by as much as the row that entered was missed:
                # until a multiplier is zero, whose row leaves.
                falling = null < 0
                if not falling.any():
                    _refuse("a positive combination of y_i z_i vanishes")
                steps = np.where(falling, alpha[part] / np.where(falling, -null, 1.0), np.inf)
                alpha[part] = np.maximum(alpha[part] + steps.min() * null, 0.0)
                alpha[part[np.argmin(steps)]] = 0.0
                active[part[np.argmin(steps)]] = False
                continue
            dual = Dual(Q, start, rows[part], np.full(len(part), FAR))
            with np.errstate(all="ignore"):
                state = minimise(dual, Newton(alpha[part], w))
            new = state.nu
            if (new > 0).all():
                alpha[part], w = new, state.w
                break
            leaving = new <= 0
            share = (alpha[part] / (alpha[part] - new))[leaving].min()
            alpha[part] = np.maximum(alpha[part] + share * (new - alpha[part]), 0.0)
            alpha[part[leaving & (alpha[part] <= TIGHT * alpha.max())]] = 0.0
            active = alpha > 0
            w = Q._gradient(rows.T @ alpha)
    margins = rows @ w
    kkt = np.abs(R._gradient(w) - rows.T @ alpha).max() / np.abs(rows.T @ alpha).max()
    residual = float(max((1.0 - margins / FAR).max(), np.abs(margins[active] / FAR - 1.0).max(), kkt))
    _require_solved(residual)
    norm = _norm(R, w, cost)
    total = float(alpha @ margins) / norm
    return MaximumMargin(
        w / norm,
        float(margins.min()) / norm,
        cost.norm,
        alpha / total,
        float(min(1.0, cost.degree - 1.0)),
        True,
        residual,
        "converged",
    )


def _dependence(rows: Any) -> np.ndarray | None:
    """v with vᵀ rows = 0 and Σ v_i > 0, shape=[k]; None if the rows are independent."""
    scale = np.sqrt(np.asarray((rows * rows).sum(axis=1)).ravel())
    gram = times_transposed(rows, rows) / np.outer(scale, scale)
    if np.linalg.eigvalsh(gram)[0] > APART:
        return None
    if issparse(rows):  # columns of zeros change no singular value
        rows = rows[:, np.unique(rows.indices)].toarray()
    # More rows than columns are dependent: then U has to be square. V of shape [d, d] is never needed.
    U, singular, _ = np.linalg.svd(rows / scale[:, None], full_matrices=len(rows) > rows.shape[1])
    if len(singular) == len(rows) and singular[-1] > 1e-12:
        return None
    null = U[:, -1] / scale
    return null * np.copysign(1.0, null.sum())


def _norm(R: LegendreFunction, w: np.ndarray, cost: _Cost) -> float:
    """‖w‖_p, or (p R(w))^{1/p} where R is no multiple of its power."""
    p = cost.degree
    return float(((np.abs(w) ** p).sum() if cost.norm.startswith("l") else p * R._value(w)) ** (1.0 / p))


def _require_solved(residual: float) -> None:
    if not residual <= 1e-6:
        raise ConvergenceError(
            f"The maximum margin was not found: its conditions hold to {residual:.1e} only."
        )


def _refuse(why: str) -> None:
    raise ConvergenceError(f"No direction of dom R separates the labels ({why}): drop or relabel samples.")
