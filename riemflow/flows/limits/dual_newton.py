"""Newton on the dual of min D_R(w, w_init) subject to Zw = Y, and the path to limits on the boundary."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.linalg import cholesky, qr, solve_triangular
from scipy.sparse import issparse

from riemflow.legendre.function import LegendreFunction

EPS = np.finfo(float).eps
HUGE = 1e300  # what passes for overflow
MAX_ITERATIONS = 500
MAX_TRIALS = 100
PATIENCE = 20  # steps without a smaller residual
# Of the slope along a Newton step, what a line search may leave: near-exact, since slopes are cheap.
LEFT = 0.2
CONDITION = 1e-6  # of a Cholesky factor's diagonal, below which the step is taken by QR
# The penalty, in units of Y: its first and last value, the steps' largest and smallest factor.
FIRST, LAST, LONGEST, SHORTEST = 0.1, 1e-14, 1e-5, 0.1
LOOSE, TIGHT = 3.0, 0.01  # of the penalty's own gradient, what is left on the way and at its end
BEYOND = 1e-40  # a limit on the boundary is where the path leads when followed to this penalty
MOVING = 1e-3  # of the dual point, in a unit of ln ε, at the path's end: then the limit is on the boundary


@dataclass(frozen=True)
class Dual:
    """The convex function Q(mu_init + νᵀ rows) - target·ν + ½ penalty ‖ν‖² of ν, shape=[n]."""

    Q: LegendreFunction
    mu_init: np.ndarray
    rows: Any
    target: np.ndarray
    penalty: float = 0.0

    def at(self, nu: np.ndarray) -> np.ndarray:
        """The dual point: shape=[n] -> shape=[d]."""
        return self.mu_init + self.rows.T @ nu

    def slope(self, nu: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Return w and the gradient rows·w - target + penalty ν; None outside dom Q or at overflow."""
        mu = self.at(nu)
        if not (np.isfinite(mu).all() and self.Q._belongs(mu)):
            return None
        w = self.Q._gradient(mu)
        gap = self.rows @ w - self.target + self.penalty * nu
        # An overflow may as well show as the largest number, and a slope's sign drown in it.
        return (w, gap) if (np.abs(w) < HUGE).all() and (np.abs(gap) < HUGE).all() else None

    def sizes(self, nu: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the size of the gradient's terms, and what rounding of the dual point does to them.

        Near the boundary both fall with w, so that w ≈ 0 does not pass for a solution of w = 0.
        """
        size = abs(self.rows)
        terms = size @ np.abs(w) + np.abs(self.target)
        spread = np.abs(self.mu_init) + size.T @ np.abs(nu)
        return terms, EPS * (abs(self.Q._times_hessian(self.at(nu), self.rows)) @ spread)

    def newton_step(self, nu: np.ndarray, gap: np.ndarray) -> np.ndarray | None:
        """-(rows ∇²Q rowsᵀ + penalty)^{-1} gap; None if nothing finite comes out.

        By Cholesky, and where that has lost too many digits by QR of a root of the matrix, whose condition is
        that of the matrix itself, squared: with small initialisation the curvatures of w's entries spread
        over twenty orders.
        """
        mu = self.at(nu)
        gram = self.Q._gram(mu, self.rows)
        gram[np.diag_indices_from(gram)] += self.penalty
        lengths = np.sqrt(np.diagonal(gram))
        if not (np.isfinite(gram).all() and (lengths > 0).all()):
            return None
        right = -gap / lengths
        try:
            upper = cholesky(gram / lengths[:, None] / lengths, check_finite=False)
            if np.diagonal(upper).min() < CONDITION:
                raise np.linalg.LinAlgError
            pivot = np.arange(len(gap))
        except np.linalg.LinAlgError:
            upper, pivot = self._qr(mu, lengths)
            if not (np.isfinite(upper).all() and np.diagonal(upper).all()):
                return None
        scaled = np.empty(len(gap))
        half = solve_triangular(upper, right[pivot], trans="T", check_finite=False)
        scaled[pivot] = solve_triangular(upper, half, check_finite=False)
        step = scaled / lengths
        return step if np.isfinite(step).all() and step @ gap < 0 else None

    def _qr(self, mu: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        root = self.Q._gram_root(mu, self.rows)
        root = root.toarray() if issparse(root) else root
        if self.penalty:
            root = np.concatenate([root, np.sqrt(self.penalty) * np.eye(len(lengths))])
        root = root / lengths
        if not np.isfinite(root).all():
            return np.zeros((1, 1)), np.arange(1)
        # Rows in order of size, columns pivoted: then QR loses no digits to the spread.
        root = root[np.argsort(-np.abs(root).max(axis=1))]
        _, upper, pivot = qr(root, mode="economic", pivoting=True, check_finite=False)
        return upper, pivot


@dataclass
class Newton:
    """A minimisation in progress: the point ν, the w and the gradient that belong to it, steps so far."""

    nu: np.ndarray
    w: np.ndarray
    n_iterations: int = 0
    at_rest: bool = False


def minimise(dual: Dual, state: Newton, most: int = MAX_ITERATIONS) -> Newton:
    """Minimise the dual function from `state` on, as far as rounding allows."""
    nu, w, n_iterations = state.nu, state.w, state.n_iterations
    gap = dual.rows @ w - dual.target
    best, stalled = np.inf, 0
    for _ in range(most):
        terms, rounding = dual.sizes(nu, w)
        allowed = 1e-14 * terms + rounding
        size = float((np.abs(gap) / np.where(allowed > 0, allowed, 1.0)).max(initial=0.0))
        stalled = 0 if size < best else stalled + 1
        best = min(best, size)
        fits = np.abs(gap).max(initial=0.0) <= allowed.max(initial=0.0)
        if size <= 1.0 or stalled == (1 if fits else PATIENCE):
            return Newton(nu, w, n_iterations, True)
        step = dual.newton_step(nu, gap)
        if step is None:
            break
        if fits:
            # Rows with small terms gain from full steps, of which the slope may drown in that of the others.
            here = dual.slope(nu + step)
            new = None if here is None else (nu + step, *here)
        else:
            new = _search(dual, nu, step, gap)
        if new is None:
            break
        nu, w, gap = new
        n_iterations += 1
    return Newton(nu, w, n_iterations)


def follow(dual: Dual, state: Newton) -> tuple[Newton, np.ndarray, float]:
    """Minimise along penalties ε from FIRST down to LAST; return the end, dν/d ln ε there, and the last ε.

    Each minimum starts where the secant through the last two, linear in ln ε, leads: along the boundary of an
    entropy's domain the path becomes linear. It stops early where the misfit has ceased to fall.
    """
    unit = float(np.abs(dual.target).max(initial=0.0)) or 1.0
    epsilon, factor = FIRST, SHORTEST
    nu, w, n_iterations = state.nu, state.w, state.n_iterations
    if len(nu) == 0:
        return state, nu, LAST
    points: list[tuple[float, np.ndarray, float]] = []
    while n_iterations < MAX_ITERATIONS:
        here = replace(dual, penalty=epsilon * unit)
        nu, inner = _predicted(here, epsilon, points, nu), 0
        start = here.slope(nu)
        if start is None:
            break
        w, gap = start
        while inner < 30:
            terms, rounding = dual.sizes(nu, w)
            floor = 1e-14 * terms.max() + rounding.max()
            share = LOOSE if epsilon > LAST else TIGHT
            if inner and np.abs(gap).max() <= max(share * here.penalty * np.abs(nu).max(), floor):
                break
            step = here.newton_step(nu, gap)
            new = None if step is None else _search(here, nu, step, gap)
            if new is None:
                break
            nu, w, gap = new
            inner += 1
        n_iterations += inner
        misfit = float(np.abs(dual.rows @ w - dual.target).max())
        points.append((np.log(epsilon), nu, misfit))
        if epsilon <= LAST or (epsilon < 1e-6 and _is_stuck(points)):
            break
        factor = factor ** (2.0 if inner <= 2 else 1.3 if inner <= 4 else 0.7)
        factor = min(SHORTEST, max(LONGEST, factor))
        epsilon = max(LAST, epsilon * factor)
    slope = np.zeros_like(nu)
    if len(points) > 1:
        (a, x, _), (b, y, _) = points[-2:]
        slope = (y - x) / (b - a)
    return Newton(nu, w, n_iterations), slope, epsilon


def _predicted(dual: Dual, epsilon: float, points: list, nu: np.ndarray) -> np.ndarray:
    if len(points) < 2:
        return nu
    (a, x, _), (b, y, _) = points[-2:]
    ahead = y + (y - x) * ((np.log(epsilon) - b) / (b - a))
    there, stay = dual.slope(ahead), dual.slope(nu)
    better = there is not None and (stay is None or np.abs(there[1]).max() < np.abs(stay[1]).max())
    return ahead if better else nu


def _is_stuck(points: list) -> bool:
    """Tell whether the misfit has stayed nearly the same over two decades of the penalty."""
    last = points[-1]
    before = [point for point in points if point[0] >= last[0] + np.log(100.0)]
    return bool(before) and last[2] > 0.9 * before[-1][2]


def is_moving(dual: Dual, state: Newton, slope: np.ndarray) -> bool:
    """Tell whether the dual point runs to infinity as the penalty falls: the limit is on the boundary."""
    size = max(1.0, float(np.abs(dual.at(state.nu)).max()))
    return float(np.abs(dual.rows.T @ slope).max()) > MOVING * size


def on_face(dual: Dual, state: Newton, slope: np.ndarray, epsilon: float) -> tuple[np.ndarray, bool]:
    """Return the limit on the boundary, and whether it is the only point there that interpolates.

    Along the slope the penalty is followed down to BEYOND, where w is in the boundary's face to all digits;
    a Newton step for w itself, in the metric of that face, makes it interpolate.
    """
    mu = dual.at(state.nu + slope * np.log(BEYOND / epsilon))
    if not dual.Q._belongs(mu):
        mu = dual.at(state.nu)
    face, root = dual.Q._gradient(mu), dual.Q._gram_root(mu, dual.rows)
    _, singular, turn = np.linalg.svd(root.toarray() if issparse(root) else root, full_matrices=False)
    # In a vertex nothing but rounding is left of the metric: it is measured against that at the start.
    kept = singular > 1e-9 * max(singular[0], np.sqrt(np.linalg.norm(dual.Q._gram(dual.mu_init, dual.rows))))
    moves, w = dual.Q._times_hessian(mu, dual.rows), face
    for _ in range(2):
        misfit = turn[kept] @ (dual.target - dual.rows @ w)
        w = w + moves.T @ (turn[kept].T @ (misfit / singular[kept] ** 2))
    # On a face w_i = 0 rounding is not to make w_i < 0.
    crossed = (w * face < 0) & (np.abs(w) <= 1e-14 * np.abs(w).max())
    return np.where(crossed, 0.0, w), is_alone(dual, mu)


def is_alone(dual: Dual, mu: np.ndarray) -> bool:
    """Tell whether the rows see every direction of the face that w = ∇Q(μ) lies in."""
    # A seed that no one uses for data, of which the probe must not be a row.
    probe = np.random.default_rng(1_618_033_988).standard_normal((1, dual.Q.dim))
    root, extra = dual.Q._gram_root(mu, dual.rows), dual.Q._gram_root(mu, probe)[:, 0]
    root = root.toarray() if issparse(root) else root
    left = extra - root @ np.linalg.lstsq(root, extra, rcond=1e-9)[0]
    size = max(np.linalg.norm(extra), np.sqrt(dual.Q._gram(dual.mu_init, probe)[0, 0]))
    return bool(np.linalg.norm(left) <= 1e-9 * size)


def _search(
    dual: Dual, nu: np.ndarray, step: np.ndarray, gap: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return (ν, w, gradient) at a point along the step where the slope has all but vanished, or None.

    A convex function's slope along a line only grows, and counts as +∞ outside the domain: the point is
    bracketed by doubling or by ever faster shrinking, then by bisection, geometric while the bracket is
    wide. No values of the function are needed, whose differences drown in rounding near the minimum.
    """
    unit = step / np.abs(step).max()
    first = unit @ gap
    low, high, length = 0.0, np.inf, 1.0
    shrink, found = 0.5, None
    for _ in range(MAX_TRIALS):
        trial = nu + length * step
        here = dual.slope(trial)
        if here is None:
            high = length
        else:
            along = unit @ here[1]
            if abs(along) <= LEFT * abs(first):
                return trial, *here
            if along < 0:
                low, found = length, (trial, *here)
            else:
                high = length
        if high == np.inf:
            length *= 2.0
        elif low == 0.0:
            length, shrink = length * shrink, shrink**2
        elif high <= low * (1 + 4 * EPS):
            break
        else:
            length = np.sqrt(low) * np.sqrt(high) if high > 2.0 * low else 0.5 * (low + high)
    # The slope jumps to the edge of the domain, or within rounding: what still descends is kept.
    return found
