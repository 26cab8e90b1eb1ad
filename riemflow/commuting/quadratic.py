"""Commuting quadratic parametrizations in closed form (Theorem 4.15)."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import nnls

from riemflow.commuting.checks import Check, check_regular, one_point
from riemflow.commuting.diagonalisation import EPS, Diagonalisation, diagonalise
from riemflow.errors import ConvergenceError, DomainError, NotMirrorFlowError
from riemflow.legendre.conjugate import NumericalConjugate
from riemflow.legendre.function import LegendreFunction
from riemflow.parametrizations.parametrization import Parametrization
from riemflow.parametrizations.quadratic import Quadratic
from riemflow.validation import as_number, as_points, short

LARGEST = 690.0  # e to this power, times eigenvalues and their squares, stays within float64
OUTSIDE = 1e-11  # relative to |w|: farther from the cone nothing is inside
MARGIN = 1e-12  # relative to |w|: as near to the boundary as the cone's membership is decided


def quadratic_legendre(G: Quadratic, x_init: Any, *, tol: float = 1e-10) -> QuadraticLegendre:
    """The R of ``G_i(x) = ½ xᵀ A_i x`` with commuting A_i, from their joint eigenvalues.

    With ``A_i = E diag(λ_i) Eᵀ`` and ``c = Eᵀ x_init`` (Theorem 4.15 of Li, Wang, Lee and Arora, 2022)

    - ``ψ(x_init; μ) = exp(Σ μ_i A_i) x_init``,
    - ``Q(μ) = ¼ (‖ψ‖² - ‖x_init‖²) = ¼ Σ_k c_k² (exp(2 Σ_i λ_ik μ_i) - 1)``, R its conjugate,
    - dom R is the closure of the cone ``{Σ_k a_k λ_k : a_k > 0}``, k over those with c_k ≠ 0.

    The theorem's Q is larger by the constant ¼‖x_init‖²; here R(w_init) = 0, as for
    `legendre_from_parametrization`.

    Parameters
    ----------
    G : Quadratic
    x_init : array, shape=[D]
        A point where the vectors A_i x_init are linearly independent.
    tol : float
        The largest commutator, and the largest off-diagonal rest after diagonalising, relative to the
        norms of the A_i.

    Returns
    -------
    R : QuadraticLegendre
        Its `conjugate` is Q in closed form; R itself takes Newton's method in R^d.

    Raises
    ------
    DomainError
        If G is not `Quadratic`, or the vectors A_i x_init are linearly dependent.
    ShapeError
        If x_init is not one point of R^D.
    NotMirrorFlowError
        If the A_i do not commute; its `check` holds the figures.
    """
    if not isinstance(G, Quadratic):
        name = G.name if isinstance(G, Parametrization) else f"a {type(G).__name__}"
        raise DomainError(
            f"G is {name}, but the closed form is for rf.parametrizations.Quadratic: use "
            "legendre_from_parametrization."
        )
    tol = as_number("tol", tol, above=0.0)
    x = one_point(G, x_init, "x_init")
    regular = check_regular(G, x)
    if not regular.passed:
        raise DomainError(
            f"The vectors A_i x_init are linearly dependent at x_init = {short(x)}: their matrix has the "
            f"smallest singular value {regular.details['smallest_singular_value']:.3g}, largest "
            f"{regular.details['largest_singular_value']:.3g}; start from another point."
        )
    joint = diagonalise(G.matrices)
    return _Growth(G, x, joint, _commuting(G, x, joint, tol)).conjugate  # type: ignore[return-value]


def _commuting(G: Quadratic, x: np.ndarray, joint: Diagonalisation, tol: float) -> Check:
    """Return the check that the matrices commute, or raise `NotMirrorFlowError`."""
    defect = max(joint.commutator, joint.off_diagonal)
    figures = (
        f"commutator {joint.commutator:.3g}, off-diagonal rest {joint.off_diagonal:.3g} in units of their "
        f"norms (bound {tol:.0e})"
    )
    details = {"pair": joint.pair, "commutator": joint.commutator, "off_diagonal": joint.off_diagonal}
    if defect <= tol:
        message = f"the {G.dim} matrices of {G.name} commute: {figures}"
        return Check(True, defect, tol, x, 1, message, details)
    i, j = joint.pair
    message = (
        f"the matrices of {G.name} do not commute, A_{i + 1} and A_{j + 1} the least: {figures}. For a start "
        "in a subspace on which they do, use legendre_from_parametrization, which looks at reachable points."
    )
    raise NotMirrorFlowError(message, Check(False, defect, tol, x, 1, message, details))


class _Growth(LegendreFunction):
    """Q(μ) = ¼ Σ_k c_k² (e^{2 λ_k·μ} - 1) on R^d, with all derivatives in closed form.

    Coefficients and exponentials are combined in logarithms, so neither a tiny c_k nor a large μ costs
    digits. Where Q or its derivatives leave float64, μ is refused.
    """

    def __init__(self, G: Quadratic, x_init: np.ndarray, joint: Diagonalisation, check: Check):
        c = joint.basis.T @ x_init
        # What rounding makes of a component that vanishes; on exact zeros of E there is none.
        rounding = 8 * G.dim_in * EPS * (np.abs(joint.basis).T @ np.abs(x_init))
        # A component on which every A_i vanishes never moves.
        grows = (np.abs(c) > rounding) & (np.abs(joint.eigenvalues) > 0).any(axis=0)
        self.parametrization, self.x_init, self.check = G, x_init.copy(), check
        self._basis, self._c, self._grows = joint.basis, c, grows
        self.rates = joint.eigenvalues[:, grows]  # [d, K]
        self._square, self._log = c[grows] ** 2, np.log(np.abs(c[grows]))
        self._define(G.dim, name=f"Q[{G.name}]", interior=np.zeros(G.dim), is_mirror_map=None)
        self._unit = self.rates / np.linalg.norm(self.rates, axis=0)
        self._middle = self._unit.mean(axis=1)
        # If minus the middle is a combination too, so is 0 with all weights positive: the cone is R^d.
        self.is_mirror_map = self._in_cone(-self._middle)

    def _make_conjugate(self):
        return QuadraticLegendre(self)

    def _inside(self, w, name="mu"):
        mu = as_points("mu" if name == "w" else name, w, self.dim)
        inside = self._belongs(mu)
        if not inside.all():
            bad = mu.reshape(-1, self.dim)[~inside.reshape(-1)][0]
            raise DomainError(
                f"mu = {short(bad)} makes {self.name} overflow: it grows like e to the power "
                f"{self._log_weights(bad).max():.4g}, and {LARGEST:g} is the most for float64; move mu "
                "towards 0."
            )
        return mu

    def _log_weights(self, mu: np.ndarray) -> np.ndarray:
        """ln(c_k² e^{2 λ_k·μ}): shape=[..., d] -> shape=[..., K]."""
        return 2 * (mu @ self.rates + self._log)

    def _belongs(self, w):
        with np.errstate(all="ignore"):
            return np.isfinite(w).all(axis=-1) & (self._log_weights(w).max(axis=-1) <= LARGEST)

    def _value(self, w):
        power = 2 * (w @ self.rates)
        near = self._square * np.expm1(np.minimum(power, 1.0))
        far = np.exp(self._log_weights(w)) - self._square
        return 0.25 * np.where(power <= 1.0, near, far).sum(axis=-1)

    def _gradient(self, w):
        return 0.5 * np.exp(self._log_weights(w)) @ self.rates.T

    def _hessian(self, w):
        return (np.exp(self._log_weights(w))[..., None, :] * self.rates) @ self.rates.T

    def _third(self, w):
        weights = 2 * np.exp(self._log_weights(w))
        return np.einsum("...k,ik,jk,lk->...ijl", weights, *[self.rates] * 3, optimize=True)

    def _fourth(self, w):
        weights = 4 * np.exp(self._log_weights(w))
        return np.einsum("...k,ik,jk,lk,mk->...ijlm", weights, *[self.rates] * 4, optimize=True)

    def joint_flow(self, mu: Any) -> np.ndarray:
        """ψ(x_init; μ) = exp(Σ μ_i A_i) x_init: shape=[..., d] -> shape=[..., D]."""
        return self._flow(self._inside(mu, "mu"))

    def _flow(self, mu: np.ndarray) -> np.ndarray:
        y = np.broadcast_to(self._c, (*mu.shape[:-1], len(self._c))).copy()
        y[..., self._grows] = np.sign(self._c[self._grows]) * np.exp(0.5 * self._log_weights(mu))
        return y @ self._basis.T

    def _combination(self, w: np.ndarray) -> tuple[np.ndarray, float]:
        """Write one w as Σ a_k λ_k with a_k ≥ 0 as nearly as possible: return a and the rest, over ‖w‖."""
        size = np.linalg.norm(w) or 1.0
        try:
            a, rest = nnls(self._unit, w / size, maxiter=100 * self._unit.shape[1])
        except RuntimeError as error:
            raise ConvergenceError(
                f"Whether {short(w)} lies in the cone of dom R was not decided: {error}."
            ) from error
        return a * size / np.linalg.norm(self.rates, axis=0), float(rest)

    def _in_cone(self, w: np.ndarray) -> bool:
        return self._combination(w)[1] <= 64 * EPS

    def _from_few_rays(self, w: np.ndarray) -> np.ndarray:
        """A μ at which few of the growing terms make up w by themselves."""
        a = self._combination(w)[0]
        few = a > 0
        return np.linalg.lstsq(self.rates[:, few].T, 0.5 * np.log(2 * a[few]) - self._log[few], rcond=None)[0]

    def _in_open_cone(self, w: np.ndarray) -> bool:
        """Tell whether one finite w lies in the cone with a margin towards its middle."""
        if self.is_mirror_map:
            return True
        return bool(w.any()) and self._in_cone(w - MARGIN * np.linalg.norm(w) * self._middle)


class QuadraticLegendre(NumericalConjugate):
    """R of a commuting quadratic parametrization: the conjugate of a closed form, on a polyhedral cone.

    ∇R(w) = μ solves ``½ Σ_k c_k² e^{2 λ_k·μ} λ_k = w`` by Newton's method, to rounding. The interior of dom
    R is decided by non-negative least squares, which write w as a combination of the λ_k, to 1e-12 of |w|,
    and nearer to the boundary by the solution itself, whose weights are such a combination. Points inside so
    near the boundary that Newton's method fails in float64 raise `DomainError` when evaluated.

    Attributes
    ----------
    parametrization, x_init, w_init : G, the start, and G(x_init).
    verdict : "commuting"
    check : the check of the commutators.
    rays : array, shape=[K, d]
        The eigenvalues λ_k with c_k ≠ 0, which generate dom R.
    """

    base: _Growth

    def __init__(self, base: _Growth):
        super().__init__(base)
        self.parametrization, self.x_init, self.check = base.parametrization, base.x_init, base.check
        self.verdict, self.rays, self.w_init = "commuting", base.rates.T.copy(), self.domain.interior
        self.name, self.is_mirror_map = f"R[{base.parametrization.name}]", True

    def _solve(self, mu, start=None):
        w, converged = super()._solve(mu, start)
        rows, solved, found = mu.reshape(-1, self.dim), w.reshape(-1, self.dim), converged.reshape(-1)
        again = ~found & np.isfinite(rows).all(axis=-1)
        again[again] = [self.base._in_open_cone(row) for row in rows[again]]
        if again.any():
            # Between two rays of very different c_k, Q is flat, and Newton from afar does not get across.
            guess = np.array([self.base._from_few_rays(row) for row in rows[again]])
            solved[again], found[again] = super()._solve(rows[again], guess)
            self._last = (mu.copy(), w.copy(), converged.copy())
        return w, converged

    def preimage(self, w: Any) -> np.ndarray:
        """The reachable parameters ψ(x_init; ∇R(w)) over w: shape=[..., d] -> shape=[..., D]."""
        return self.base._flow(self._primal(self._inside(w)))

    def _belongs(self, w):
        rows = w.reshape(-1, self.dim)
        inside = np.isfinite(rows).all(axis=-1)
        near = np.zeros(len(rows), bool)
        for k in np.flatnonzero(inside):
            inside[k] = self.base._in_open_cone(rows[k])
            near[k] = not inside[k] and self.base._combination(rows[k])[1] <= OUTSIDE
        if near.any():
            inside[near] = super()._belongs(rows[near])
        return inside.reshape(w.shape[:-1])
