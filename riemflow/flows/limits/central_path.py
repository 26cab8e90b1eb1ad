"""Linear objectives: the central path of R, their mirror flow, and the linear programme at its end."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from riemflow.errors import ConvergenceError, DomainError, ShapeError
from riemflow.flows.limits.dual_newton import Dual, Newton, minimise
from riemflow.flows.solution import Flow
from riemflow.legendre.function import LegendreFunction
from riemflow.losses import Linear
from riemflow.validation import as_matrix, as_points, require_kind

RATIO = 4.0  # of times at which the limit is extrapolated
MOST_TIMES = 60
AGREED = 1e-12  # of two extrapolations, relative to w
DONE = 1e-8  # what the best two may differ by at the most
NEAR = 1e-4  # up to here there is a limit, if not to all digits; paths that run away differ by far more
LONGEST = 1e15  # times the first time
N_SHOWN = 61  # output times of a closed flow to one end time


@dataclass(frozen=True)
class CentralPath:
    """The minimisers w(t) of t c·w + D_R(w, w_init) subject to Aw = b, and their limit.

    Attributes
    ----------
    t : array, shape=[k]
    w : array, shape=[k, d]
    multipliers : array, shape=[k, m]
        λ(t) with ∇R(w) = ∇R(w_init) - tc + Aᵀλ; -λ/t tends to a solution of the dual programme.
    limit : array, shape=[d], or None
        w(∞), a minimiser of c·w over dom R and Aw = b, if it was asked for.
    value : float
        c·w at the limit, or at the last time.
    error : float
        How far the last two extrapolations to t = ∞ differ, relative to w; 0 without a limit.
    residual : float
        max |Aw - b| at the limit, or at the last time, relative to the size of its terms.
    n_iterations : int
        Newton steps.
    status : "converged" or "finished"
    """

    t: np.ndarray
    w: np.ndarray
    multipliers: np.ndarray
    limit: np.ndarray | None
    value: float
    error: float
    residual: float
    n_iterations: int
    status: str

    def __repr__(self) -> str:
        return (
            f"CentralPath({self.status}: c·w = {self.value:.10g}, {len(self.t)} times up to "
            f"{self.t[-1]:.3g}, error {self.error:.1e}, {self.n_iterations} Newton steps)"
        )


def central_path(
    R: LegendreFunction, c: Any, w_init: Any, A: Any = None, b: Any = None, *, t: Any = np.inf
) -> CentralPath:
    """Return ``w(t) = argmin t c·w + D_R(w, w_init)`` subject to ``Aw = b``, and its limit at t = ∞.

    Without constraints it is the mirror flow of c·w, ``∇R(w(t)) = ∇R(w_init) - tc``; with them that flow on
    the affine subspace, a curve of affine scaling. The limit solves the linear programme ``min c·w`` over
    dom R and Aw = b: with `LogBarrier` over a polytope, with `BurgEntropy` or `NegativeEntropy` over w ≥ 0.
    By duality each w(t) takes Newton's method for m numbers.

    The limit is extrapolated from times in geometric progression by Romberg's scheme in 1/t, in which paths
    of barriers are analytic; those of entropies arrive exponentially fast.

    Parameters
    ----------
    R : LegendreFunction
    c : array, shape=[d]
    w_init : array, shape=[d]
        In the interior of dom R; Aw = b need not hold.
    A : array, shape=[m, d], of rank m, optional
    b : array, shape=[m], optional
    t : increasing array of times ≥ 0, or np.inf

    Raises
    ------
    DomainError, ShapeError
        For bad input.
    ConvergenceError
        If no interior point satisfies Aw = b, or the path runs to infinity: the programme is unbounded; or if
        two extrapolations differ by more than 1e-8, when `.partial.limit` is the best one.
    """
    require_kind("R", R, LegendreFunction)
    c, w_init = as_points("c", c, R.dim), R._inside(w_init, "w_init")
    if c.ndim != 1 or w_init.ndim != 1:
        raise ShapeError(f"c has shape {c.shape}, w_init {w_init.shape}, but both must be ({R.dim},).")
    if (A is None) != (b is None):
        raise DomainError("A and b belong together: give both or neither.")
    A = np.zeros((0, R.dim)) if A is None else as_matrix("A", A, (None, R.dim))
    b = np.zeros(0) if b is None else as_points("b", b, len(A))
    if np.linalg.matrix_rank(A) < len(A) if len(A) else False:
        raise DomainError(f"A, of shape {A.shape}, has dependent rows: drop some.")
    if np.ndim(t) == 0 and t == np.inf:
        with np.errstate(all="ignore"):
            return _Walk(R, c, w_init, A, b).to_the_end()
    times = np.atleast_1d(np.asarray(as_points("t", np.atleast_1d(t), np.size(t))))
    if times.ndim != 1 or len(times) == 0:
        raise ShapeError(f"t has shape {times.shape}, but must be a time, a list of times or inf.")
    if times[0] < 0 or (np.diff(times) <= 0).any():
        raise DomainError(f"t must be increasing from 0 or later, but starts {times[:3]}.")
    with np.errstate(all="ignore"):
        walk = _Walk(R, c, w_init, A, b)
        for s in times:
            walk.reach(float(s))
        return walk.result(times, None, 0.0, "finished")


class _Walk:
    """The path, followed from t = 0 on."""

    def __init__(self, R: LegendreFunction, c: np.ndarray, w_init: np.ndarray, A: np.ndarray, b: np.ndarray):
        self.R, self.c, self.A, self.b = R, c, A, b
        self.mu_init, self.n_iterations = R._gradient(w_init), 0
        self.t, self.nu, self.w = 0.0, np.zeros(len(A)), w_init
        self.points: dict[float, tuple[np.ndarray, np.ndarray]] = {}
        self._solve(0.0, self.nu)
        self.size = float(np.abs(self.w).max())  # what errors of w are relative to
        # The first time: μ has moved as far as changes w by its own size.
        along = R._times_hessian(self.w, self.w[None])[0]
        unit = max(float(np.abs(along).max()), float(np.abs(R._gradient(self.w)).max())) or 1.0
        self.first = unit / (float(np.abs(c).max()) or 1.0)

    def _dual(self, t: float) -> Dual:
        return Dual(self.R.conjugate, self.mu_init - t * self.c, self.A, self.b)

    def _solve(self, t: float, nu: np.ndarray) -> bool:
        """Find w(t) from multipliers; tell whether they were inside the domain and it was found."""
        dual = self._dual(t)
        here = dual.slope(nu)
        if here is None:
            return False
        state = minimise(dual, Newton(nu, here[0]), 60)
        self.n_iterations += state.n_iterations
        if not np.isfinite(state.w).all() or self._missed(state.w) > 1e-8:
            if t == 0.0:
                raise ConvergenceError(
                    f"No interior point of dom {self.R.name} with Aw = b was found: the residual is "
                    f"{self._missed(state.w):.1e}."
                )
            return False
        self.t, self.nu, self.w = t, state.nu, state.w
        self.points[t] = (state.w, state.nu)
        return True

    def _missed(self, w: np.ndarray) -> float:
        terms = np.abs(self.A) @ np.abs(w) + np.abs(self.b)
        return float((np.abs(self.A @ w - self.b) / np.where(terms > 0, terms, 1.0)).max(initial=0.0))

    def reach(self, t: float) -> None:
        """Go on to a time, by steps as long as the prediction stays in the domain."""
        before: tuple[float, np.ndarray] | None = None
        step = min(t - self.t, max(self.first, 3.0 * self.t))  # in proportion to the time there is
        for _ in range(2000):
            if self.t >= t:
                return
            ahead = min(t, self.t + step)
            nu, old = self.nu, (self.t, self.nu)
            if before is not None:
                nu = nu + (nu - before[1]) * ((ahead - self.t) / (self.t - before[0]))
            if self._solve(ahead, nu) or self._solve(ahead, self.nu):
                before, step = old, 4.0 * step
            else:
                step *= 0.25
                if step <= 1e-14 * self.t:
                    break
        raise ConvergenceError(
            f"The path stopped at t = {self.t:.6g} of {t:.6g}: the programme may be unbounded.",
            partial=self.result(np.array(list(self.points)), None, 0.0, "failed"),
        )

    def to_the_end(self) -> CentralPath:
        size = float(np.abs(self.c).max())
        if size == 0:
            return self.result(np.zeros(1), self.w, 0.0, "converged")
        t = self.first
        rows: list[list[np.ndarray]] = []
        since = 0  # times without a better agreement
        times, best, error, latest = [0.0], self.w, np.inf, np.full(len(self.c), np.inf)
        while len(times) < MOST_TIMES and t < LONGEST * self.first:
            try:
                self.reach(t)
            except ConvergenceError:
                break
            times.append(t)
            # Romberg: each column removes one more power of 1/t.
            row = [self.w]
            for k, old in enumerate(rows[-1] if rows else []):
                row.append(row[k] + (row[k] - old) / (RATIO ** (k + 1) - 1.0))
            scale = max(self.size, float(np.abs(self.w).max())) or 1.0
            if len(row) > 1:
                changes = [np.abs(row[k] - row[k - 1]).max() for k in range(1, len(row))]
                k = 1 + int(np.argmin(changes))
                # Within a row, neighbours may agree by accident; two rows as well seldom do.
                change = max(changes[k - 1], float(np.abs(row[k] - latest).max())) / scale
                latest = row[k]
                since = 0 if change <= error else since + 1
                if change <= error:
                    best, error = row[k], float(change)
            rows.append(row[:8])
            # Late times lose digits: μ = ∇R(w_init) - tc + Aᵀλ cancels.
            if error <= AGREED or (error <= DONE and since >= 2):
                break
            t *= RATIO
        if not error <= DONE:
            told = f"by t = {times[-1]:.3g} (two extrapolations differ by {error:.1e}, bound {DONE:.0e})"
            near = error <= NEAR
            raise ConvergenceError(
                f"The limit of the path was not had to the digits asked for {told}, since late multipliers "
                "cancel: `.partial.limit` is the best one, and the path of an entropy arrives sooner."
                if near
                else f"The path had no limit {told}: the programme is unbounded, or its solutions are.",
                partial=self.result(np.array(times), best if near else None, error, "failed"),
            )
        # On a face w_i = 0 the extrapolation is not to make w_i < 0.
        crossed = (best * np.sign(self.points[0.0][0]) < 0) & (np.abs(best) <= max(AGREED, error) * scale)
        return self.result(np.array(times), np.where(crossed, 0.0, best), error, "converged")

    def result(self, times: np.ndarray, limit: np.ndarray | None, error: float, status: str) -> CentralPath:
        w = np.array([self.points[float(t)][0] for t in times])
        multipliers = np.array([self.points[float(t)][1] for t in times])
        last = self.w if limit is None else limit
        value, missed = float(self.c @ last), self._missed(last)
        return CentralPath(times, w, multipliers, limit, value, error, missed, self.n_iterations, status)


def linear_flow(
    R: LegendreFunction, loss: Linear, w_init: np.ndarray, end: float, times: np.ndarray | None
) -> Flow | None:
    """The mirror flow of c·w, ``w(t) = ∇R*(∇R(w_init) - tc)``; None if it may leave dom R or has no limit."""
    if not R.is_mirror_map:
        return None
    begin, mu_init, Q = time.perf_counter(), R._gradient(w_init), R.conjugate

    def to_mu(t: np.ndarray) -> np.ndarray:
        return mu_init - np.asarray(t)[..., None] * loss.c

    stats: dict[str, Any] = {"formulation": "closed", "method": "∇R*", "n_steps": 0}
    if end == np.inf:
        try:
            path = central_path(R, loss.c, w_init)
        except (ConvergenceError, DomainError):
            return None
        limit: Any = path.limit
        stats |= {"n_rhs": len(path.t), "residual": path.error, "remaining": path.error}
        stats["seconds"] = time.perf_counter() - begin
        t, w = np.append(path.t, np.inf), np.concatenate([path.w, limit[None]])
        mu = np.concatenate([to_mu(path.t), to_mu(path.t[-1:])])
        return Flow(t, w, None, mu, "converged", f"limit c·w = {path.value:.10g} at t = inf", stats)
    shown = np.append(0.0, end * np.geomspace(1e-4, 1.0, N_SHOWN - 1)) if times is None else times
    mu = to_mu(shown)
    with np.errstate(all="ignore"):
        try:
            w = Q._gradient(mu)
        except DomainError:
            return None
    if not np.isfinite(w).all():
        return None
    stats |= {"n_rhs": len(shown), "seconds": time.perf_counter() - begin}
    line: Any = _Line(end, to_mu)
    maps = {"w": Q._gradient, "mu": lambda mu: mu}
    return Flow(shown, w, None, mu, "finished", f"reached t = {end:g}", stats, line, maps)


@dataclass(frozen=True)
class _Line:
    """What `Solution` is for an integration: the dual point at any time in [0, end]."""

    end: float
    to_mu: Any

    def sol(self, t: np.ndarray) -> np.ndarray:
        if (t < 0).any() or (t > self.end).any() or not np.isfinite(t).all():
            raise DomainError(f"t must lie in [0, {self.end:g}], the times that were asked for.")
        return self.to_mu(t)
