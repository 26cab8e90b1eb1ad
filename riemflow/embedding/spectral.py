"""Embeddings found numerically: polynomials F with ∂Fᵀ∂F = ∇²R on a region, to a measured accuracy."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
from numpy.polynomial import chebyshev
from scipy.spatial import cKDTree
from tqdm import tqdm

from riemflow.embedding.embedding import IsometricEmbedding, SampledDefect, relative_defect
from riemflow.embedding.levenberg import IsometryEquations, solve_isometry
from riemflow.embedding.spectral_basis import ChebyshevBasis
from riemflow.embedding.spectral_points import check_points, fitting_points
from riemflow.embedding.spectral_start import starting_coefficients
from riemflow.errors import ConvergenceError, DomainError
from riemflow.validation import short

if TYPE_CHECKING:
    from riemflow.embedding.region import Region
    from riemflow.legendre.function import LegendreFunction

MAX_DIM = 3
LADDER = {2: (4, 8, 12, 16, 20, 24, 28), 3: (4, 6, 8, 10, 12, 14)}
LADDER_1D = (8, 16, 32, 64, 128, 256, 512)
N_CHECK = 4000
# Equations per unknown: below 1.5 the defect grows between the points, above 2 nothing is gained.
OVERSAMPLING = 1.7
# Coefficients of degree n enter scaled by RHO^-n, as those of an analytic F decay.
RHO = 1.7
# Relative damping of the first stage, of later ones, and of those with many unknowns and few iterations.
FIRST_DAMPING, LATER_DAMPING, LARGE_DAMPING = 1e-3, 1e-8, 1e-6
# With fewer unknowns than this an iteration is cheap, and the next stage gains from a finished one.
SMALL = 2500
# The fit aims below the tolerance, since its points' mean is smaller than the largest defect elsewhere.
AIM = 0.05
# A defect this large is no embedding to work with, whatever the tolerance.
WORST = 1e-4
MARGIN = 0.02  # Newton's iterates may leave the region by this share of its half-width


class SpectralEmbedding(IsometricEmbedding):
    """F = Σ_α c_α T_α(u), a polynomial of bounded total degree on the region's bounding box."""

    def __init__(self, R: LegendreFunction, region: Region, basis: ChebyshevBasis, coefficients: np.ndarray):
        self.basis, self.coefficients = basis, coefficients
        self._tree: cKDTree | None = None
        self._define(R, coefficients.shape[1], region=region, method="spectral", certificate=None)

    def _fun(self, w):
        return self.basis.values(w) @ self.coefficients

    def _jacobian(self, w):
        return np.swapaxes(self.basis.gradients(w) @ self.coefficients, -1, -2)

    def _hessian(self, w):
        return np.moveaxis(self.basis.hessians(w) @ self.coefficients, -1, -3)

    def _belongs(self, w):
        return np.asarray(self.region._belongs(w))

    def _admits(self, w):
        return np.asarray(self.region._belongs(w, MARGIN))

    def _start(self, x):
        # The nearest of a cloud of image points, close enough for Newton's method.
        if self._tree is None:
            self._cloud = check_points(self.region, 1000 * self.dim, seed=0)
            self._tree = cKDTree(self._fun(self._cloud))
        finite = np.where(np.isfinite(x), x, 0.0)
        return self._cloud[self._tree.query(finite)[1]]


def spectral(
    R: LegendreFunction,
    region: Region,
    *,
    ambient_dim: int | None = None,
    tol: float = 1e-10,
    seed: int = 0,
    progress: bool = False,
) -> SpectralEmbedding:
    """Solve ∂Fᵀ∂F = ∇²R for polynomials F of growing degree until the defect at a check set is within `tol`.

    The equations, whitened by ∇²R^{-1/2}, are exactly quadratic in F's coefficients; each degree starts from
    the last one's solution and is solved by Levenberg–Marquardt. D = d(d+3)/2 by default, where the
    equations have free solutions (1 for d = 1, where F = ∫√R'').

    Raises
    ------
    DomainError
        If d > 3 or D < d.
    ConvergenceError
        If the best defect found exceeds max(tol, 1e-4); `.partial` is that embedding.
    """
    d = R.dim
    if d > MAX_DIM:
        raise DomainError(
            f"The spectral solver works for d ≤ {MAX_DIM}, but {R.name} has d = {d}: "
            "use a closed form, or split R into blocks."
        )
    D = ambient_dim if ambient_dim is not None else 1 if d == 1 else d * (d + 3) // 2
    if D < d:
        raise DomainError(f"ambient_dim = {D} is less than d = {d}: no such embedding exists.")
    started = time.perf_counter()
    check = _Check(R, region, tol, seed, started)
    candidates = _quadrature(R, region, D) if d == 1 else _ladder(R, region, D, tol, seed)
    degrees = LADDER_1D if d == 1 else LADDER[d]
    best: SpectralEmbedding | None = None
    with tqdm(candidates, total=len(degrees), disable=not progress, desc="degree", unit="stage") as bar:
        for F in bar:
            F.certificate = check(F)
            bar.set_postfix_str(f"degree {F.basis.degree}, defect {F.certificate.defect:.1e}")
            better = best is None or F.certificate.defect < best.certificate.defect
            # A second stage without gain has met the floor that rounding or the metric sets.
            stalled = best is not None and F.certificate.defect > 0.5 * best.certificate.defect < 1e-6
            best = F if better else best
            if best.certificate.passed or stalled:
                break
    assert best is not None  # every ladder has a step
    defect = best.certificate.defect
    if not defect <= max(tol, WORST):
        raise ConvergenceError(
            f"The embedding of {R.name} on {region!r} in R^{D} reached a defect of {defect:.2g} only, at "
            f"w = {short(best.certificate.worst_point)} and degree {best.certificate.degree}: shrink the "
            "region, keep it away from the boundary of dom R, or raise ambient_dim.",
            partial=best,
        )
    return best


class _Check:
    """The defect at points that no fit has seen."""

    def __init__(self, R, region, tol, seed, started):
        self.points = check_points(region, N_CHECK, seed)
        self.metric = R._hessian(self.points)
        self.tol, self.started = tol, started

    def __call__(self, F: SpectralEmbedding) -> SampledDefect:
        defects = relative_defect(F._jacobian(self.points), self.metric)
        k = int(np.argmax(defects))
        seconds = time.perf_counter() - self.started
        point = self.points[k].copy()
        return SampledDefect(float(defects[k]), len(self.points), point, self.tol, F.basis.degree, seconds)


def _ladder(R, region, D, tol, seed):
    """Yield an embedding for each degree, each started from the one before."""
    d = R.dim
    previous = None
    for degree in LADDER[d]:
        basis = ChebyshevBasis(*region.bounding_box(), degree)
        scale = RHO ** -basis.indices.sum(axis=1, keepdims=True).astype(float)
        n_points = int(np.ceil(OVERSAMPLING * basis.size * D / (d * (d + 1) / 2)))
        points = fitting_points(region, degree, n_points, seed)
        whitener = _inverse_root(R._hessian(points))
        rows = np.ascontiguousarray(np.moveaxis(whitener @ basis.gradients(points), 1, 0))
        rows *= scale[:, 0]
        if previous is None:
            start = starting_coefficients(basis, R._hessian(region.center), D, seed)
            damping, iterations, patience = FIRST_DAMPING, 40, 3
        else:
            start = np.zeros((basis.size, D))
            start[: len(previous)] = previous
            small = basis.size * D < SMALL
            damping, iterations, patience = (LATER_DAMPING, 12, 3) if small else (LARGE_DAMPING, 5, 2)
        equations = IsometryEquations(rows)
        stage = solve_isometry(
            equations,
            start / scale,
            damping=damping,
            goal=AIM * tol,
            max_iterations=iterations,
            patience=patience,
        )
        previous = stage.coefficients * scale
        yield SpectralEmbedding(R, region, basis, previous)


def _quadrature(R, region, D):
    """Yield F = ∫√R'' as the integral of √R'''s Chebyshev interpolants, for d = 1."""
    low, high = region.bounding_box()
    center, half = 0.5 * (low + high), 0.5 * (high - low)
    for degree in LADDER_1D:

        def speed(u):
            return np.sqrt(R._hessian(center + half * u[:, None])[:, 0, 0]) * half[0]

        integral = chebyshev.chebint(chebyshev.chebinterpolate(speed, degree - 1))
        coefficients = np.zeros((degree, D))
        coefficients[:, 0] = integral[1:]
        yield SpectralEmbedding(R, region, ChebyshevBasis(low, high, degree), coefficients)


def _inverse_root(metric: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(metric)
    return (vectors / np.sqrt(values)[..., None, :]) @ np.swapaxes(vectors, -1, -2)
