"""The conjugate of a Legendre function for which no closed form is known."""

from __future__ import annotations

import numpy as np

from riemflow.errors import DomainError
from riemflow.legendre.function import LegendreFunction
from riemflow.validation import short

EPS = np.finfo(np.float64).eps


class NumericalConjugate(LegendreFunction):
    """R*(μ) = max_w μ·w - R(w), by a damped Newton method for ∇R(w) = μ.

    With w = ∇R*(μ): ``∇²R*(μ) = ∇²R(w)^{-1}`` and ``∇³R* = -∇³R`` contracted with it three times (Lemma 4.7
    of Li, Wang, Lee and Arora, 2022). A whole batch is solved at once. The domain is the range of ∇R,
    decided by convergence: next to its boundary, within rounding, the answer is no.

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

    # Newton converges quadratically: a step this small, once taken, leaves an error below rounding.
    tolerance = 1e-9
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
            w, converged = _newton(self.base, rows, w, self.tolerance, self.max_iterations)
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
        third = self.base._third(primal)
        for _ in range(3):
            # Contracts the first index and puts the new one last: three turns do all of them in order.
            third = np.einsum("...ijk,...ia->...jka", third, K, optimize=True)
        return -third

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


def _newton(R: LegendreFunction, mu: np.ndarray, w: np.ndarray, tol: float, max_iterations: int):
    """Minimise R(w) - μ·w in each row of shape [N, d]; return w and which rows converged.

    A row is done when residual and step are both small in their own units. Either alone deceives in a tail:
    for e^w the residual vanishes long before w has arrived, for w ln w the step does.
    """
    converged = np.zeros(len(mu), bool)
    active = np.flatnonzero(np.isfinite(mu).all(axis=-1))
    gradient = np.full(mu.shape, np.nan)
    gradient[active] = R._gradient(w[active]) - mu[active]
    for _ in range(max_iterations):
        if len(active) == 0:
            break
        here, residual = w[active], gradient[active]
        H = R._hessian(here)
        regular = np.isfinite(residual).all(axis=-1) & np.isfinite(H).all(axis=(-2, -1))
        regular &= (np.diagonal(H, axis1=-2, axis2=-1) > 0).all(axis=-1)
        active, here, residual, H = active[regular], here[regular], residual[regular], H[regular]
        scaled, scale = _scaled(H)
        # The shift, at rounding level, keeps the matrix regular and does not move the solution.
        shifted = scaled + 8 * EPS * H.shape[-1] * np.eye(H.shape[-1])
        step = -scale * np.linalg.solve(shifted, (scale * residual)[..., None])[..., 0]
        usable = np.isfinite(step).all(axis=-1)
        active, here, residual, step = active[usable], here[usable], residual[usable], step[usable]
        shifted, scale, H = shifted[usable], scale[usable], H[usable]
        slope = (residual * step).sum(axis=-1)

        target = mu[active]
        # Rounding of w and of μ sets a floor to what residual and step can become.
        floor = 4 * EPS * (np.abs(H) @ np.abs(here)[..., None])[..., 0].max(axis=-1)
        done = np.abs(residual).max(axis=-1) <= tol * (1.0 + np.abs(target).max(axis=-1)) + floor
        near = np.flatnonzero(done)
        if len(near):
            spread, determined = _spread(shifted[near], scale[near], target[near], here[near])
            small = tol * (1.0 + np.abs(here[near]).max(axis=-1)) + 4 * spread
            done[near] = np.abs(step[near]).max(axis=-1) <= small
            final = here[done] + step[done]
            w[active[done]] = np.where(R._belongs(final)[:, None], final, here[done])
            converged[active[done]] = determined[done[near]]
        go = ~done
        active, here, target, step, slope = active[go], here[go], target[go], step[go], slope[go]
        moved, w[active], gradient[active] = _line_search(R, here, target, step, slope)
        active = active[moved]
    return w, converged


def _spread(scaled: np.ndarray, scale: np.ndarray, mu: np.ndarray, w: np.ndarray):
    """Return how far rounding of μ moves w in each row, and whether that leaves w determined.

    It does not at the boundary of the range of ∇R: there the minimiser is at infinity, and the residual only
    seems to vanish because it is below rounding.
    """
    regular = np.linalg.eigvalsh(scaled)[..., 0] > 64 * EPS * w.shape[-1]
    K = np.linalg.solve(scaled, np.broadcast_to(np.eye(w.shape[-1]), scaled.shape))
    K = scale[..., :, None] * K * scale[..., None, :]
    spread = (np.abs(K) @ (EPS * np.abs(mu))[..., None])[..., 0]
    return spread.max(axis=-1), regular & (spread <= 1e-3 * (1.0 + np.abs(w))).all(axis=-1)


def _line_search(R: LegendreFunction, w: np.ndarray, mu: np.ndarray, step: np.ndarray, slope: np.ndarray):
    """Move along Newton steps: halve until inside and lower, double while the slope stays steep.

    Return which rows moved, the new points and the new residuals ∇R - μ.
    """
    n = len(w)
    length = np.ones(n)
    new, residual, accepted = w.copy(), np.full(w.shape, np.nan), np.zeros(n, bool)
    value = R._value(w) - (mu * w).sum(axis=-1)
    # Once the expected decrease drowns in the rounding of the value, only the slope tells. Once that drowns
    # too, with a tiny component of ∇R still to be reached, Newton is trusted while the residual stays small.
    drowned = -slope <= 1e-9 * (1.0 + np.abs(value))
    small = 1e-12 * (1.0 + np.abs(mu).max(axis=-1))
    new_slope = np.full(n, np.nan)
    for trials in range(60):
        rows = np.flatnonzero(~accepted)
        if len(rows) == 0:
            break
        trial = w[rows] + length[rows, None] * step[rows]
        good = R._belongs(trial)
        rows, trial = rows[good], trial[good]
        trial_residual = R._gradient(trial) - mu[rows]
        trial_slope = (trial_residual * step[rows]).sum(axis=-1)
        trial_value = R._value(trial) - (mu[rows] * trial).sum(axis=-1)
        # A convex function that still falls at the end of the step has only fallen along it.
        lower = (trial_slope <= 0) | (trial_value <= value[rows] + 1e-4 * length[rows] * slope[rows])
        size = np.abs(trial_residual).max(axis=-1)
        lower |= drowned[rows] & ((trial_slope <= -0.1 * slope[rows]) | (size <= small[rows]))
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
    return accepted, new, residual
