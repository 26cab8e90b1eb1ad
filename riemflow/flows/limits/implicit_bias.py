"""Where training ends: predicted by R (Thm 3.8, Cor. 4.17), flown, and as the scale of the start varies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import hstack, issparse

from riemflow.commuting.legendre import legendre_from_parametrization
from riemflow.errors import ConvergenceError, DomainError, ShapeError
from riemflow.flows.gradient import gradient_flow
from riemflow.flows.limits.bregman_minimum import BregmanMinimum, minimize_bregman
from riemflow.flows.limits.margins import largest
from riemflow.flows.solution import Flow
from riemflow.legendre.entropies import HyperbolicEntropy
from riemflow.legendre.function import LegendreFunction
from riemflow.legendre.quadratic import SquaredNorm
from riemflow.legendre.separable import scale_columns
from riemflow.losses import LeastSquares
from riemflow.parametrizations.parametrization import Parametrization
from riemflow.validation import as_float, require_kind


@dataclass(frozen=True)
class ImplicitBias:
    """The limit of gradient flow on least squares, predicted and flown.

    Attributes
    ----------
    predicted : BregmanMinimum
        argmin D_R(w, G(x_init)) subject to Zw = Y.
    flow : Flow
        Of the parameters, from x_init until it comes to rest.
    gap : float
        max |w_flown - w_predicted|, relative to max |w_predicted|.
    misfit : float
        max |Zw - Y| at the end of the flow, relative to max |Y|.
    tolerance : float
        1000 rtol, since errors at rest are those of the whole way.
    passed : bool
        Whether the gap is below it.
    """

    predicted: BregmanMinimum
    flow: Flow
    gap: float
    misfit: float
    tolerance: float
    passed: bool

    def __repr__(self) -> str:
        verdict = "passed" if self.passed else "FAILED"
        return (
            f"ImplicitBias({verdict}: flown and predicted limit differ by {self.gap:.1e} of w, tolerance "
            f"{self.tolerance:.0e}; misfit {self.misfit:.1e}, {self.flow.stats['formulation']} form)"
        )


def implicit_bias(
    G: Parametrization,
    Z: Any,
    Y: Any,
    x_init: Any,
    *,
    R: LegendreFunction | None = None,
    formulation: str = "parameters",
    rtol: float = 1e-9,
) -> ImplicitBias:
    """Compare the limit of gradient flow of ``‖ZG(x) - Y‖²/2n`` with the minimiser of D_R (Thm 3.8, 4.16).

    A commuting G chooses, of all w with Zw = Y, the one of least ``D_R(w, G(x_init))``. The prediction knows
    nothing of the flow, and the flow, in the parameters, nothing of R.

    Parameters
    ----------
    G : Parametrization
        Commuting; a G that is not is refused while R is made, and with an R of your own it fails the check.
    Z : array, shape=[n, d]
    Y : array, shape=[n]
    x_init : array, shape=[D]
    R : LegendreFunction, optional
        That of G from x_init. If left out it is the catalogue's for the commuting part of the catalogue, else
        by horizontal lift, which takes tens of seconds from d = 100 on.
    formulation : str
        Of the flow, as for `gradient_flow`.
    rtol : float
        Tolerance of the flow.

    Raises
    ------
    DomainError, ShapeError, NotMirrorFlowError
        For bad input, or a G that has no R.
    ConvergenceError
        If nothing fits, or the flow does not come to rest.
    """
    require_kind("G", G, Parametrization)
    x_init = G._inside(x_init, "x_init")
    if x_init.ndim != 1:
        raise ShapeError(f"x_init has shape {x_init.shape}, but must be one point of shape ({G.dim_in},).")
    loss = LeastSquares(Z, Y)
    if R is None:
        R = G._closed_legendre(x_init)
    if R is None:
        R = legendre_from_parametrization(G, x_init)
    predicted = minimize_bregman(R, G._fun(x_init), loss.Z, loss.Y)
    # A forced method integrates: the limit is not to be computed in the same way twice.
    flow = gradient_flow(G, loss, x_init, np.inf, formulation=formulation, method="CVODE", rtol=rtol)
    w = flow.w[-1]
    size = float(np.abs(predicted.w).max()) or 1.0
    gap, tolerance = float(np.abs(w - predicted.w).max()) / size, 1e3 * rtol
    misfit = float(np.abs(loss._model(w) - loss.Y).max() / (np.abs(loss.Y).max() or 1.0))
    return ImplicitBias(predicted, flow, gap, misfit, tolerance, gap <= tolerance)


@dataclass(frozen=True)
class RegularizationPath:
    """The limits of training as the scale α of the start varies.

    Attributes
    ----------
    scales : array, shape=[k]
    w : array, shape=[k, d]
    l1, l2 : array, shape=[k]
        Norms of w.
    least_l1, least_l2 : array, shape=[d]
        The interpolating points of least norm: the ends of the path at α = 0 and α = ∞ for w = u² - v².
    results : tuple of BregmanMinimum
    """

    scales: np.ndarray
    w: np.ndarray
    l1: np.ndarray
    l2: np.ndarray
    least_l1: np.ndarray
    least_l2: np.ndarray
    results: tuple[BregmanMinimum, ...]

    @property
    def excess_l1(self) -> np.ndarray:
        """‖w‖₁ over the least, minus 1: shape=[k]. Near 0 in the rich regime."""
        return _excess(self.l1, np.abs(self.least_l1).sum())

    @property
    def excess_l2(self) -> np.ndarray:
        """‖w‖₂ over the least, minus 1: shape=[k]. Near 0 in the kernel regime."""
        return _excess(self.l2, np.linalg.norm(self.least_l2))

    def __repr__(self) -> str:
        return (
            f"RegularizationPath({len(self.scales)} scales, {self.scales[0]:.3g} to {self.scales[-1]:.3g}; "
            f"ℓ₁ norm {self.excess_l1[0]:.1e} to {self.excess_l1[-1]:.1e} above the least, "
            f"ℓ₂ norm {self.excess_l2[0]:.1e} to {self.excess_l2[-1]:.1e})"
        )


def _excess(norms: np.ndarray, least: Any) -> np.ndarray:
    """norms / least - 1; for Y = 0, where the least is 0, it is 0 for w = 0 and else infinite."""
    if least > 0:
        return norms / least - 1.0
    return np.where(norms > 0, np.inf, 0.0)


def regularization_path(
    Z: Any,
    Y: Any,
    scales: Any,
    *,
    entropy: Callable[[float], LegendreFunction] | None = None,
) -> RegularizationPath:
    """Return ``w_α = argmin D_{R_α}(w, ∇R_α*(0))`` subject to ``Zw = Y`` for scales α.

    Without an `entropy` R_α is the `HyperbolicEntropy` of w = u² - v² started at u = v = α, where w = 0: from
    the kernel regime at large α, of least ℓ₂ norm, to the rich one at small α, of least ℓ₁ norm, as
    1/ln(1/α) only (Woodworth et al., 2020).

    Parameters
    ----------
    Z : array or scipy.sparse array, shape=[n, d]
        A sparse one stays sparse.
    Y : array, shape=[n]
    scales : number, or array, shape=[k]
        Positive.
    entropy : callable, α -> LegendreFunction, optional

    Raises
    ------
    DomainError, ShapeError
        For bad input.
    ConvergenceError
        If nothing fits.
    """
    loss = LeastSquares(Z, Y)
    scales = np.atleast_1d(as_float("scales", scales))
    if scales.ndim != 1 or not len(scales) or not (scales > 0).all():
        raise DomainError(f"scales must be a list of positive numbers, but start {scales.ravel()[:3]}.")
    if not (entropy is None or callable(entropy)):
        raise DomainError(f"entropy is a {type(entropy).__name__}, but must map α to a LegendreFunction.")
    results = []
    for alpha in scales:
        width = np.full(loss.dim, alpha)
        R = HyperbolicEntropy(width, width) if entropy is None else entropy(float(alpha))
        require_kind(f"entropy({alpha:g})", R, LegendreFunction)
        results.append(minimize_bregman(R, R.conjugate.gradient(np.zeros(R.dim)), loss.Z, loss.Y))
    w = np.array([result.w for result in results])
    # HiGHS's tolerances are absolute: rows and answers of size one.
    size = largest(loss.Z)
    rows, answers = scale_columns(loss.Z.T, 1.0 / size).T, loss.Y / size
    unit = float(np.abs(answers).max()) or 1.0
    both = hstack([rows, -rows], format="csr") if issparse(rows) else np.hstack([rows, -rows])
    program = linprog(np.ones(2 * loss.dim), A_eq=both, b_eq=answers / unit)
    if program.status != 0:
        raise ConvergenceError(f"The interpolating point of least ℓ₁ norm was not found: {program.message}")
    least_l1 = unit * (program.x[: loss.dim] - program.x[loss.dim :])
    least_l2 = minimize_bregman(SquaredNorm(loss.dim), np.zeros(loss.dim), loss.Z, loss.Y).w
    norms = np.abs(w).sum(axis=1), np.linalg.norm(w, axis=1)
    return RegularizationPath(scales, w, *norms, least_l1, least_l2, tuple(results))
