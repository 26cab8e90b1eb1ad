"""Newton's method on ∂Fᵀ∂F = g, linearised equations solved by Nash's algebra, filtered by degree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from riemflow.embedding.spectral_basis import ChebyshevBasis
from riemflow.embedding.twin_grid import TwinGrid

if TYPE_CHECKING:
    from riemflow.embedding.metric import Metric

# Total degrees: the first tried and the highest, by d.
DEGREES = {2: (16, 40), 3: (16, 32), 4: (12, 22), 5: (12, 20)}
GAP = 4  # the residual is corrected up to this many degrees below F's
STEPS = 6
SLOW = 0.3  # a step that leaves more than this of the defect has met the degree's floor
CONVERGENT = 0.1  # no start with a larger defect is tried
FARTHEST = 1.5  # times the degrees left: no more are tried if more than this seem to be needed
GOAL = 0.5  # of the tolerance, on the grid


def refine(
    metric: Metric, basis: ChebyshevBasis, coefficients: np.ndarray, tol: float
) -> Iterator[tuple[ChebyshevBasis, np.ndarray, float]]:
    """Yield (basis, coefficients, residual) of rising degree, each from the same start.

    The residual is the root mean square over the grid of ‖g^{-1/2} ∂Fᵀ∂F g^{-1/2} - I‖_F.

    Where F is *free*, that is where its first and second derivatives are linearly independent, the linearised
    equations ``∂_iF·∂_jδ + ∂_jF·∂_iδ = h_ij`` are solved pointwise, by algebra, by the shortest δ with
    ``∂_iF·δ = 0`` and ``-2 ∂_i∂_jF·δ = h_ij`` (Nash). Newton's steps with it lose derivatives: among
    polynomials of degree n, what the degree cuts off from δ comes back magnified in the next residual. So
    only h's part of degree ≤ n - 4 is corrected, whose δ decays before the degree n. The steps then converge,
    quadratically, down to g's and ∂Fᵀ∂F's own coefficients above n - 4. A step is one small solve at each
    point of a grid, and n can be far higher than where all coefficients are solved for at once.
    """
    low, top = DEGREES[basis.dim]
    degree = max(low, basis.degree + GAP + 2)
    before: tuple[int, float] | None = None
    while degree <= top:
        higher = ChebyshevBasis(basis.axes, degree)
        start = np.zeros((higher.size, coefficients.shape[1]))
        start[: len(coefficients)] = coefficients
        c, defect, residual = _newton(metric, higher, start, GOAL * tol)
        if c is start:
            return  # not free, or far from a solution: no step helped
        yield higher, c, residual
        if defect <= GOAL * tol:
            return
        # A degree gains a factor; from the second on it is known, and how many are needed.
        step = 2 if basis.dim > 2 else 4
        if before is not None:
            rate = np.log(before[1] / defect) / (degree - before[0])
            needed = np.log(defect / (GOAL * tol)) / rate if rate > 0 else np.inf
            if needed > FARTHEST * (top - degree):
                return
            step = max(1, int(np.ceil(needed)))
        before = degree, defect
        degree = min(degree + step, top) if degree < top else top + 1


def _newton(
    metric: Metric, basis: ChebyshevBasis, c: np.ndarray, goal: float
) -> tuple[np.ndarray, float, float]:
    """Return the best iterate, the start itself if no step helped, its largest defect and its residual."""
    # The series of the grid have a constant term, which the basis leaves out.
    indices = np.vstack([np.zeros((1, basis.dim), int), basis.indices])
    grid = TwinGrid(indices, basis.degree)
    targets = [basis.metric(metric, basis.points(grid.points(half))) for half in (0, 1)]
    if not all(np.isfinite(g).all() and (np.linalg.eigvalsh(g) > 0).all() for g in targets):
        return c, np.inf, np.inf  # the box that the axes span leaves the metric's domain
    kept = (indices.sum(axis=1) <= basis.degree - GAP)[:, None]
    best, least, left = c, np.inf, np.inf
    for _ in range(STEPS):
        systems, residuals, defect, mean = _linearised(
            grid, np.vstack([np.zeros((1, c.shape[1])), c]), targets
        )
        if not defect < CONVERGENT:
            break
        slow = defect > SLOW * least
        if defect < least:
            best, least, left = c, defect, mean
        if least <= goal or slow:
            break
        filtered = grid.project(residuals) * kept
        try:
            step = [_solved(A, grid.derivatives(filtered, k, 0)) for k, A in enumerate(systems)]
        except np.linalg.LinAlgError:
            break  # F is not free at some point
        c = c + grid.project((step[0], step[1]))[1:]
    return best, least, left


def _linearised(grid: TwinGrid, c: np.ndarray, targets: list[np.ndarray]):
    """Return the rows ∂_iF and ∂_i∂_jF, [Q, d(d+3)/2, D], and h_ij on each half, the defect, the residual."""
    d = grid.dim
    unit, upper = np.eye(d, dtype=int), np.triu_indices(d)
    orders = [tuple(row) for row in unit] + [tuple(unit[i] + unit[j]) for i, j in zip(*upper, strict=True)]
    systems, residuals, gaps = [], [], []
    for half, g in enumerate(targets):
        found = grid.derivatives(c, half, 2)
        rows = np.stack([found[order] for order in orders], axis=1)
        J = rows[:, :d]
        frame = np.linalg.solve(np.linalg.cholesky(g), J)
        gaps.append(frame @ np.swapaxes(frame, -1, -2) - np.eye(d))
        systems.append(rows)
        residuals.append((g - J @ np.swapaxes(J, -1, -2))[:, upper[0], upper[1]])
    gap = np.concatenate(gaps)
    worst = float(np.abs(np.linalg.eigvalsh(gap)).max())
    return systems, (residuals[0], residuals[1]), worst, float(np.sqrt((gap**2).sum() / len(gap)))


def _solved(rows: np.ndarray, residual: dict[tuple[int, ...], np.ndarray]) -> np.ndarray:
    """Return the shortest δ with ∂_iF·δ = 0 and -2 ∂_i∂_jF·δ = h_ij at each point: shape=[Q, D]."""
    (h,) = residual.values()
    Q, n, D = rows.shape
    right = np.concatenate([np.zeros((Q, n - h.shape[1])), -0.5 * h], axis=1)[..., None]
    if n == D:
        return np.linalg.solve(rows, right)[..., 0]
    turned = np.swapaxes(rows, -1, -2)
    return (turned @ np.linalg.solve(rows @ turned, right))[..., 0]
