"""Levenberg–Marquardt on the isometry equations J̃ᵀJ̃ = I, which are exactly quadratic in F's coefficients."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from threadpoolctl import threadpool_limits

# Rows from which a matrix is factored on one thread. On some 15,000 and two threads OpenBLAS 0.3.30 crashes.
MOST_PARALLEL = 12_000


@dataclass(frozen=True)
class Stage:
    """How one run of the iteration ended."""

    coefficients: np.ndarray
    residual: float  # root mean square over the points of ‖J̃ᵀJ̃ - I‖_F
    iterations: int
    damping: float


class IsometryEquations:
    """The residuals r_ij(q) = J̃_i·J̃_j - δ_ij at points q, with J̃_i = Σ_α B_i,α c_α.

    Parameters
    ----------
    whitened : array, shape=[d, Q, N]
        B_i(q) = Σ_k (g(q)^{-1/2})_ik ∂_k T_α(q), columns scaled.
    """

    def __init__(self, whitened: np.ndarray):
        self.B = whitened
        self.d, self.Q, self.N = whitened.shape
        self.flat = whitened.reshape(self.d * self.Q, self.N)

    def frames(self, c: np.ndarray) -> np.ndarray:
        """J̃_i(q) for coefficients c, shape=[N, D]: shape=[d, Q, D]."""
        return (self.flat @ c).reshape(self.d, self.Q, -1)

    def residuals(self, frames: np.ndarray) -> np.ndarray:
        """r_ij(q): shape=[Q, d, d]."""
        J = np.swapaxes(frames, 0, 1)
        return J @ np.swapaxes(J, -1, -2) - np.eye(self.d)

    def cost(self, residuals: np.ndarray) -> float:
        """Return the mean over the points of ‖r‖_F²."""
        return float((residuals**2).sum() / self.Q)

    def gradient(self, frames: np.ndarray, residuals: np.ndarray) -> np.ndarray:
        """Half the derivative of the cost by the coefficients: shape=[N, D]."""
        pulled = np.einsum("qij,jqa->iqa", residuals, frames).reshape(self.d * self.Q, -1)
        return 2.0 * (self.flat.T @ pulled) / self.Q

    def normal_matrix(self, frames: np.ndarray) -> np.ndarray:
        """Return the Gauss–Newton matrix, ordered by component, then basis function: shape=[DN, DN].

        The derivative of r_ij by c_(α, a) is B_i,α J̃_ja + J̃_ia B_j,α, so the block of components (a, b) is
        ``2 Σ_q [Σ_i B_iᵀ (J̃_a·J̃_b) B_i + Y_bᵀ Y_a]`` with ``Y_a = Σ_j diag(J̃_ja) B_j``: products of
        matrices only, and the Jacobian itself is never stored.
        """
        D, N = frames.shape[-1], self.N
        H = np.empty((D * N, D * N))
        Y = [sum(frames[j, :, a, None] * self.B[j] for j in range(self.d)) for a in range(D)]
        dots = np.einsum("jqa,jqb->abq", frames, frames)
        for a in range(D):
            for b in range(a, D):
                block = self.flat.T @ (self.B * dots[a, b][:, None]).reshape(self.d * self.Q, N)
                block += Y[b].T @ Y[a]
                H[a * N : (a + 1) * N, b * N : (b + 1) * N] = block
                if b > a:
                    H[b * N : (b + 1) * N, a * N : (a + 1) * N] = block.T
        H *= 2.0 / self.Q
        return H


def solve_isometry(
    equations: IsometryEquations,
    c: np.ndarray,
    *,
    damping: float,
    goal: float,
    max_iterations: int,
    patience: int,
    slow_above: float = 0.7,
    watch: Callable[[np.ndarray, float], None] | None = None,
) -> Stage:
    """Minimise the mean of ‖J̃ᵀJ̃ - I‖_F² from c, until its root is below `goal` or progress ends.

    Progress ends after `patience` steps in a row that leave more than `slow_above` of the root, or if no step
    helps. `watch` is called with the coefficients and that root after each accepted step.

    The damping is relative to the mean diagonal of the normal matrix. It also settles the rotations of
    R^D, under which the equations do not change.
    """
    frames = equations.frames(c)
    residuals = equations.residuals(frames)
    cost = equations.cost(residuals)
    slow = iteration = 0
    for iteration in range(1, max_iterations + 1):
        if np.sqrt(cost) <= goal:
            return Stage(c, float(np.sqrt(cost)), iteration - 1, damping)
        H = equations.normal_matrix(frames)
        right = -equations.gradient(frames, residuals).T.ravel()
        diagonal = np.diagonal(H).copy()
        accepted = False
        for attempt in range(12):
            if attempt:
                _restore(H)
            step = _damped_step(H, diagonal, damping * diagonal.mean(), right)
            if step is not None:
                trial = c + step.reshape(c.shape[1], c.shape[0]).T
                new_frames = equations.frames(trial)
                new_residuals = equations.residuals(new_frames)
                new_cost = equations.cost(new_residuals)
                if new_cost < cost:
                    accepted = True
                    break
            damping *= 8.0
        if not accepted:
            break
        ratio = np.sqrt(new_cost / cost)
        damping *= 0.03 if ratio < 0.1 else 0.1
        damping = max(damping, 1e-15)
        c, frames, residuals, cost = trial, new_frames, new_residuals, new_cost
        if watch is not None:
            watch(c, float(np.sqrt(cost)))
        slow = slow + 1 if ratio > slow_above else 0
        if slow >= patience:
            break
    return Stage(c, float(np.sqrt(cost)), iteration, damping)


def _damped_step(H: np.ndarray, diagonal: np.ndarray, damping: float, right: np.ndarray) -> np.ndarray | None:
    """Solve (H + damping I) step = right, overwriting H's upper triangle, which `_restore` mends."""
    H[np.diag_indices(len(H))] = diagonal + damping
    try:
        # Seen from Fortran, the transpose's lower triangle is factored in place: no second large matrix.
        with _safe_threads(len(H)):
            factor = cho_factor(H.T, lower=True, overwrite_a=True, check_finite=False)
    except LinAlgError:
        return None  # rounding made the matrix indefinite: the caller damps more
    step = cho_solve(factor, right, check_finite=False)
    return step if np.isfinite(step).all() else None


def _safe_threads(n: int):
    """Keep large factorisations to one thread: OpenBLAS's parallel Cholesky crashes on them."""
    return threadpool_limits(1, user_api="blas") if n > MOST_PARALLEL else nullcontext()


def _restore(H: np.ndarray) -> None:
    """Copy the lower triangle over the upper one, a strip at a time."""
    for start in range(0, len(H), 256):
        stop = min(start + 256, len(H))
        corner = np.tril(H[start:stop, start:stop], -1)
        H[start:stop, start:stop] = corner + corner.T
        H[start:stop, stop:] = H[stop:, start:stop].T
