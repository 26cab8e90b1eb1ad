"""The conjugate of a Legendre function for which no closed form is known."""

from __future__ import annotations

import numpy as np

from riemflow.errors import DomainError
from riemflow.legendre.function import LegendreFunction
from riemflow.validation import short

EPS = np.finfo(np.float64).eps
# Newton converges quadratically: a step this small, once taken, leaves an error below rounding.
SMALL = 1e-8
ROUNDING = 16.0  # times the rounding of μ and w is what may pass for rounding
ENTRIES = 2_000_000  # numbers held at once


class NumericalConjugate(LegendreFunction):
    """R*(μ) = max_w μ·w - R(w), by a damped Newton method for ∇R(w) = μ.

    With w = ∇R*(μ): ``∇²R*(μ) = ∇²R(w)^{-1}`` and ``∇³R* = -∇³R`` contracted with it three times (Lemma 4.7
    of Li, Wang, Lee and Arora, 2022). A whole batch is solved at once. No bound is absolute: neither a factor
    on R nor the units of w matter. The domain is the range of ∇R: μ is in it if ∇R - μ points outwards on a
    small cross around w, in the directions and at the rate that ∇²R says, which by convexity encloses the
    maximum. Next to the range's boundary, within rounding, the answer is no.

    Some ten iterations at moderate μ, in proportion to |μ| in the tail of an entropy (700 for ln w = -690).
    Where R is the barrier of a curved set, points within 1e-8 of its boundary may be out of reach, and raise.

    Parameters
    ----------
    base : LegendreFunction
        R.

    Raises
    ------
    DomainError
        When evaluated at a μ outside the range of ∇R.
    """

    max_iterations = 1000

    def __init__(self, base: LegendreFunction):
        self.base = base
        self._last: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
        interior = base._gradient(base.domain.interior)
        self._define(base.dim, name=f"{base.name}*", interior=interior, is_mirror_map=None)

    def _make_conjugate(self):
        return self.base

    def _solve(self, mu: np.ndarray, start: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Solve ∇R(w) = μ: shape=[..., d] -> w, shape=[..., d], and convergence, bool, shape=[...].

        `start`, shape=[..., d], is a first guess; rows of it outside dom R are not used.
        """
        # Value, gradient and Hessian are mostly wanted at one point in turn, so the last solve is kept.
        last = self._last
        if start is None and last is not None and np.array_equal(last[0], mu):
            return last[1].copy(), last[2].copy()
        rows = mu.reshape(-1, self.dim)
        w = np.broadcast_to(self.base.domain.interior, rows.shape).copy()
        if start is not None:
            guess = np.broadcast_to(start, mu.shape).reshape(rows.shape)
            usable = self.base._belongs(guess)
            w[usable] = guess[usable]
        # Out in the tail of a μ without solution, anything may overflow: such rows end as not converged.
        with np.errstate(all="ignore"):
            w, converged = _newton(self.base, rows, w, self.max_iterations)
        w, converged = w.reshape(mu.shape), converged.reshape(mu.shape[:-1])
        self._last = (mu.copy(), w.copy(), converged.copy())
        return w, converged

    def _primal(self, mu: np.ndarray) -> np.ndarray:
        w, converged = self._solve(mu)
        if not converged.all():
            failed = np.argwhere(~converged)
            with np.errstate(all="ignore"):
                residual = np.abs(self.base._gradient(w) - mu).max(axis=-1)[~converged]
            worst = int(np.argmax(np.nan_to_num(residual, nan=np.inf)))
            raise DomainError(
                f"mu = {short(mu[tuple(failed[worst])])} ({len(failed)} of {converged.size} points failed) "
                f"is not in the range of the gradient of {self.base.name}, or too near its boundary for "
                f"float64: ∇R(w) = mu was left with residual {residual[worst]:.3g}; move mu inside."
            )
        return w

    def _value(self, w):
        primal = self._primal(w)
        return (w * primal).sum(axis=-1) - self.base._value(primal)

    def _gradient(self, w):
        return self._primal(w)

    def _hessian(self, w):
        return _inverse(self.base._hessian(self._primal(w)))

    def _third(self, w):
        primal = self._primal(w)
        K = _inverse(self.base._hessian(primal))
        return -_raised(self.base._third(primal), K, 3)

    def _fourth(self, w):
        # Differentiate -∇³R K K K along μ, K = ∇²R^{-1}: each K changes by -K ∇³R K, and w by K.
        primal = self._primal(w)
        K = _inverse(self.base._hessian(primal))
        third, d = self.base._third(primal), self.dim
        upper = _raised(third, K, 3).reshape(*w.shape, d * d)
        half = _raised(third, K, 2).reshape(*w.shape, d * d)  # the first axis not raised
        product = np.swapaxes(upper, -1, -2) @ half
        product = product.reshape(*w.shape, d, d, d)  # T^{abi} g_ij T^{jcd}
        swapped = np.swapaxes(product, -3, -2)
        product = product + swapped + np.swapaxes(swapped, -2, -1)
        return product - _raised(self.base._fourth(primal), K, 4)

    def _third_along(self, w, v):
        primal = self._primal(w)
        K = _inverse(self.base._hessian(primal))
        # ∇Q takes μ to w, so the metric's inverse changes along K v.
        return -K @ self.base._third_along(primal, (K @ v[..., None])[..., 0]) @ K

    def _belongs(self, w):
        finite = np.isfinite(w).all(axis=-1)
        if not finite.all():
            inside = np.zeros(finite.shape, bool)
            inside[finite] = self._solve(w[finite])[1]
            return inside
        return self._solve(w)[1]


def _scaled(H: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return H scaled to a unit diagonal and the scale: units of different coordinates cost no digits."""
    scale = 1.0 / np.sqrt(np.diagonal(H, axis1=-2, axis2=-1))
    return scale[..., :, None] * H * scale[..., None, :], scale


def _inverse(H: np.ndarray) -> np.ndarray:
    """∇²R* itself, which is an inverse: by a solve against the identity, symmetrised."""
    scaled, scale = _scaled(H)
    K = np.linalg.solve(scaled, np.broadcast_to(np.eye(H.shape[-1]), H.shape))
    return scale[..., :, None] * (0.5 * (K + np.swapaxes(K, -1, -2))) * scale[..., None, :]


def _raised(derivative: np.ndarray, K: np.ndarray, order: int) -> np.ndarray:
    """K in each of the last `order` axes of [..., d, d, …]."""
    K = K.reshape(*K.shape[:-2], *(1,) * (derivative.ndim - K.ndim), *K.shape[-2:])
    for axis in range(-order, 0):
        derivative = np.swapaxes(np.swapaxes(derivative, axis, -1) @ K, axis, -1)
    return derivative


def _newton(R: LegendreFunction, mu: np.ndarray, w: np.ndarray, max_iterations: int):
    """Minimise R(w) - μ·w in each row of shape [N, d]; return w and which rows converged.

    When to look is decided by the size of step or residual, but neither shows convergence: in a tail, for e^w
    the residual vanishes long before w has arrived, for w ln w the step does. `_encloses` does.
    """
    converged = np.zeros(len(mu), bool)
    active = np.flatnonzero(np.isfinite(mu).all(axis=-1))
    gradient = np.full(mu.shape, np.nan)
    gradient[active] = R._gradient(w[active]) - mu[active]
    least, idle = np.full(len(mu), np.inf), np.zeros(len(mu), int)
    for _ in range(max_iterations):
        if len(active) == 0:
            break
        here, residual = w[active], gradient[active]
        H = R._hessian(here)
        regular = np.isfinite(residual).all(axis=-1) & np.isfinite(H).all(axis=(-2, -1))
        regular &= (np.diagonal(H, axis1=-2, axis2=-1) > 0).all(axis=-1)
        active, here, residual, H = active[regular], here[regular], residual[regular], H[regular]
        local = _Local(mu[active], *_scaled(H), here)
        step = local.newton_step(residual)
        usable = np.isfinite(step).all(axis=-1)
        active, here, residual, step = active[usable], here[usable], residual[usable], step[usable]
        local = local[usable]

        arriving = (np.abs(step) <= SMALL * np.abs(here)).all(axis=-1)
        near = np.flatnonzero(
            arriving | (np.abs(local.scale * residual) <= ROUNDING * local.rounding).all(axis=-1)
        )
        done = np.zeros(len(active), bool)
        if len(near):
            final = here[near] + step[near]
            final = np.where(R._belongs(final)[:, None], final, here[near])
            done[near] = _encloses(R, local[near], final)
            w[active[near]] = final
            converged[active[done]] = True
        go = ~done
        active, here, residual, step, local = active[go], here[go], residual[go], step[go], local[go]
        moved, drowned, w[active], gradient[active] = _line_search(R, here, local, residual, step)
        # Rounding not to be seen from μ, w and ∇²R alone, such as that of e^w - 1 at 0, ends the progress.
        decrement = -(residual * step).sum(axis=-1)
        better = decrement < 0.5 * least[active]
        least[active] = np.where(better, decrement, least[active])
        idle[active] = np.where(better | ~drowned, 0, idle[active] + 1)
        stuck = ~moved | (idle[active] >= 5)
        if stuck.any():
            w[active[stuck]] = here[stuck]
            converged[active[stuck]] = _encloses(R, local[stuck], here[stuck], residual[stuck])
        active = active[~stuck]
    return w, converged


class _Local:
    """The quadratic models at N points: H scaled to a unit diagonal, the scale, and the rounding of ∇R - μ.

    The rounding is that of μ and of w, in the scaled units: ``ε (|μ| + |H| |w|)``.
    """

    def __init__(self, mu: np.ndarray, H: np.ndarray, scale: np.ndarray, w: np.ndarray):
        self.mu, self.H, self.scale = mu, H, scale
        self.rounding = EPS * (scale * np.abs(mu) + (np.abs(H) @ np.abs(w / scale)[..., None])[..., 0])

    def __getitem__(self, rows: np.ndarray) -> _Local:
        part = object.__new__(_Local)
        for name, value in vars(self).items():
            setattr(part, name, value[rows])
        return part

    def newton_step(self, residual: np.ndarray) -> np.ndarray:
        # The shift, at rounding level, keeps the matrix regular and does not move the solution.
        d = residual.shape[-1]
        shifted = self.H + 8 * EPS * d * np.eye(d)
        return -self.scale * np.linalg.solve(shifted, (self.scale * residual)[..., None])[..., 0]


def _encloses(R: LegendreFunction, local: _Local, w: np.ndarray, residual: np.ndarray | None = None):
    """Tell in each row whether the minimiser of R - μ·w is shown to lie next to w.

    Along each axis u of ∇²R, with uᵀHu = 1, ``(∇R(w ± tu) - μ)·(±u)`` must be t within a factor of 2. By
    convexity the minimiser is then between, and as far as t the quadratic model holds. It has to hold twice:
    where rounding allows, and 64 times as far, so that w is determined to some digits. At the boundary of the
    range of ∇R it does not: ∇R no longer changes, or its Hessian is singular.

    With the `residual` given, t starts from there and may grow: the accuracy is what there is to be had.
    """
    d = w.shape[-1]
    values, vectors = np.linalg.eigh(local.H)
    axes = vectors / np.sqrt(np.maximum(values, EPS))[..., None, :]
    t = ROUNDING * (np.swapaxes(np.abs(axes), -1, -2) @ local.rounding[..., None])[..., 0]
    if residual is not None:
        along = np.swapaxes(axes, -1, -2) @ (local.scale * residual)[..., None]
        t = np.maximum(t, 8 * np.abs(along[..., 0]))
    held = np.zeros(len(w), int)
    rows = np.flatnonzero(values[..., 0] > 64 * EPS * d)
    for trial in range(2 if residual is None else 80):
        if len(rows) == 0:
            break
        holds, within = _model_holds(R, local[rows], w[rows], axes[rows], t[rows])
        held[rows] = np.where(holds, held[rows] + 1, 0)
        rows = rows[within & (held[rows] < 2)]
        # Rounding that μ, w and ∇²R do not show may be any number of decades larger.
        t = (64.0 if trial == 0 else 1e4) * t
        if residual is None:
            rows = rows[held[rows] == 1]
    return held == 2


def _model_holds(R: LegendreFunction, local: _Local, w: np.ndarray, axes: np.ndarray, t: np.ndarray):
    """Tell whether ``(∇R(w ± t_k u_k) - μ)·(±u_k)`` is in [t_k/2, 2 t_k] for all k: bool, shape=[N].

    The second result tells whether all w ± t_k u_k are in dom R.
    """
    n, d = w.shape
    holds, within = np.ones(n, bool), np.ones(n, bool)
    width = max(1, ENTRIES // (2 * n * d))
    for first in range(0, d, width):
        u, size = np.swapaxes(axes[..., first : first + width], -1, -2), t[:, first : first + width]
        shift = local.scale[:, None] * u * size[..., None]
        for sign in (1.0, -1.0):
            points = w[:, None] + sign * shift
            inside = R._belongs(points)
            within &= inside.all(axis=-1)
            slopes = np.full(points.shape, np.nan)
            slopes[inside] = R._gradient(points[inside])
            outward = sign * (u * local.scale[:, None] * (slopes - local.mu[:, None])).sum(axis=-1)
            holds &= ((outward >= 0.5 * size) & (outward <= 2.0 * size)).all(axis=-1)
    return holds, within


def _line_search(R: LegendreFunction, w: np.ndarray, local: _Local, gradient: np.ndarray, step: np.ndarray):
    """Move along Newton steps: halve until inside and lower, double while the slope stays steep.

    Return which rows moved, which decreases drown in rounding, the new points and residuals ∇R - μ.
    """
    n, mu = len(w), local.mu
    slope = (gradient * step).sum(axis=-1)
    length = np.ones(n)
    new, residual, accepted = w.copy(), gradient.copy(), np.zeros(n, bool)
    at, product = R._value(w), mu * w
    value = at - product.sum(axis=-1)
    # Once the expected decrease drowns in the rounding of the value, only the slope tells. Once that drowns
    # too, with a tiny component of ∇R still to be reached, Newton is trusted while no component grows.
    drowned = -slope <= 1e-9 * (np.abs(at) + np.abs(product).sum(axis=-1))
    bound = 0.9 * np.abs(gradient) + ROUNDING * local.rounding / local.scale
    new_slope = np.full(n, np.nan)
    for trials in range(60):
        rows = np.flatnonzero(~accepted)
        if len(rows) == 0:
            break
        trial = w[rows] + length[rows, None] * step[rows]
        good = R._belongs(trial) & (trial != w[rows]).any(axis=-1)
        rows, trial = rows[good], trial[good]
        trial_residual = R._gradient(trial) - mu[rows]
        trial_slope = (trial_residual * step[rows]).sum(axis=-1)
        trial_value = R._value(trial) - (mu[rows] * trial).sum(axis=-1)
        # A convex function that still falls at the end of the step has only fallen along it.
        lower = (trial_slope <= 0) | (trial_value <= value[rows] + 1e-4 * length[rows] * slope[rows])
        small = (np.abs(trial_residual) <= bound[rows]).all(axis=-1)
        lower |= drowned[rows] & ((trial_slope <= -0.1 * slope[rows]) | small)
        lower &= np.isfinite(trial_residual).all(axis=-1)
        rows = rows[lower]
        new[rows], residual[rows], new_slope[rows] = trial[lower], trial_residual[lower], trial_slope[lower]
        accepted[rows] = True
        length[~accepted] *= 0.5 if trials < 10 else 1.0 / 16.0
    # In a tail such as that of e^w the Newton step is far too short, always by about the same length, while
    # the slope falls off: any step that still goes down is taken.
    growing = np.flatnonzero(accepted & (length == 1.0) & (new_slope < 0.1 * slope))
    for _ in range(40):
        if len(growing) == 0:
            break
        length[growing] *= 2.0
        trial = w[growing] + length[growing, None] * step[growing]
        good = R._belongs(trial)
        growing, trial = growing[good], trial[good]
        trial_residual = R._gradient(trial) - mu[growing]
        trial_slope = (trial_residual * step[growing]).sum(axis=-1)
        good = np.isfinite(trial_residual).all(axis=-1) & (trial_slope < 0)
        growing = growing[good]
        new[growing], residual[growing] = trial[good], trial_residual[good]
    return accepted, drowned, new, residual
