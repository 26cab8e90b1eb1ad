"""The horizontal lift: from a segment in w-space to the parameters above it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from riemflow.commuting.brackets import field_derivative
from riemflow.errors import ConvergenceError, DomainError
from riemflow.integration import solve_batched
from riemflow.integration.batched import SMALLEST_STEP
from riemflow.parametrizations.parametrization import Parametrization

RTOL = 1e-12
ATOL = 1e-14  # in the units of `Scales`
SLIP = 1e-4  # a correction this large, in units of x, is no rounding: the lift has jumped
DEPENDENT = 1e-10  # a field this close to the span of the others, relative to its length, is dependent
FIRST = 0.1  # natural lengths that a first step may cover
DIRECT = 6  # fields: up to so many, loops over entries are faster than LAPACK's batches
ENTRIES = 10_000_000  # of ∇²G, which is not formed if it has more
RAY_ROUNDS = 20_000  # parameters may grow by many orders on the way
MOST_ROUNDS = 1500  # boundary points take up to 500; beyond, rounding errors are all that is resolved


@dataclass(frozen=True)
class Scales:
    """Natural units of the parameters x and of the dual point μ near a start.

    Attributes
    ----------
    x : float
        The smallest of the lengths ℓ_i over which the fields change along X_i = ∇G_i:
        ``ℓ_i = min_j ‖X_j‖/‖∂X_j·X_i/‖X_i‖‖``, at most 1 + ‖x‖.
    mu : array, shape=[d]
        ℓ_i / ‖X_i‖, the time in which a flow along X_i covers that length.
    """

    x: float
    mu: np.ndarray


@dataclass(frozen=True)
class Lift:
    """Where the lifts of a batch of segments ended.

    Attributes
    ----------
    x : array, shape=[n, D]
    mu : array, shape=[n, d]
    value : array, shape=[n]
        ∫ μ·dw along the segment.
    reached : array, shape=[n]
        The fraction s* of the segment covered, 1 if all.
    """

    x: np.ndarray
    mu: np.ndarray
    value: np.ndarray
    reached: np.ndarray


def natural_scales(G: Parametrization, x: np.ndarray) -> Scales:
    """Return the units of x and μ at one point x, shape=[D]."""
    fields = G._gradients(x)
    norms = np.linalg.norm(fields, axis=-1)
    size = 1.0 + np.linalg.norm(x)
    unit = fields / np.where(norms > 0, norms, 1.0)[:, None]
    with np.errstate(all="ignore"):
        if G.manifold is None and G._inverse_metric is None and G.dim * G.dim_in**2 <= ENTRIES:
            change = field_derivative(G, x, unit)
        else:  # a rough size is all that is needed: one-sided differences
            step = 1e-6 * size
            points = x + step * unit if G.manifold is None else G.manifold.project(x + step * unit)
            change = (G._gradients(points) - fields) / step
        lengths = norms / np.linalg.norm(change, axis=-1)  # [i, j]: X_j along X_i
    lengths = np.where(np.isfinite(lengths) & (lengths > 0), lengths, size)
    lengths = np.minimum(lengths.min(axis=-1), size)
    return Scales(float(lengths.min()), lengths / np.where(norms > 0, norms, 1.0))


def horizontal_lift(
    G: Parametrization,
    x: np.ndarray,
    mu: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    scales: Scales,
    *,
    most_rounds: int = MOST_ROUNDS,
    smallest_step: float = SMALLEST_STEP,
) -> Lift:
    """Lift the segments from start to end: ``x' = ∂Gᵀ H⁻¹ Δ, μ' = H⁻¹ Δ, R' = μ·Δ``, H = ∂G ∂Gᵀ.

    After each accepted step x is put back over its w, ``x += ∂Gᵀ H⁻¹ δ`` and ``μ += H⁻¹ δ`` for
    ``δ = w_s - G(x)``, which gains two orders near the boundary of dom R.

    Parameters
    ----------
    x : array, shape=[n, D]
        Parameters over `start`.
    mu : array, shape=[n, d]
    start, end : array, shape=[n, d]
    most_rounds : int
        Steps tried before a segment is given up.
    smallest_step : float
        Share of a segment below which it is given up as well.
    """
    D, d = G.dim_in, G.dim
    delta = end - start
    unit = (scales.mu * np.abs(delta)).sum(axis=-1)
    unit = np.where(unit > 0, unit, 1.0)
    first, _ = _horizontal(G, x, _frame_jacobian(G, x), delta)
    length = np.linalg.norm(first, axis=-1) / scales.x
    share, speed = _graded(length)

    def split(y):
        return y[:, :D] * scales.x, y[:, D : D + d] * scales.mu

    def rhs(s, y, rows):
        x, mu = split(y)
        moved = speed(s, rows)[:, None] * delta[rows]
        lifted, velocity = _horizontal(G, x, _frame_jacobian(G, x), moved)
        out = np.empty_like(y)
        out[:, :D] = lifted / scales.x
        out[:, D : D + d] = velocity / scales.mu
        out[:, -1] = (mu * moved).sum(axis=-1) / unit[rows]
        return out

    def project(s, y, rows):
        x, mu = split(y)
        gap = start[rows] + share(s, rows)[:, None] * delta[rows] - G._fun(x)
        step, back = _horizontal(G, x, _frame_jacobian(G, x), gap)
        # A step across a cut or a singular set of G ends over another w; it must not be accepted.
        slipped = ~(np.linalg.norm(step, axis=-1) <= SLIP * (scales.x + np.linalg.norm(x, axis=-1)))
        out = np.empty_like(y)
        out[:, :D] = _onto(G, x + step) / scales.x
        out[:, D : D + d] = (mu + back) / scales.mu
        out[:, -1] = y[:, -1] + (mu * gap).sum(axis=-1) / unit[rows]
        out[slipped] = np.nan
        return out

    y0 = np.concatenate([x / scales.x, mu / scales.mu, np.zeros((len(x), 1))], axis=-1)
    limits = {"most_rounds": most_rounds, "smallest_step": smallest_step, "first_step": _first_step(length)}
    y, reached, _ = solve_batched(rhs, y0, 1.0, rtol=RTOL, atol=ATOL, project=project, **limits)
    x, mu = split(y)
    value = y[:, -1] * unit
    # Rounding of s shifts w_s by eps |Δ|, which next to the boundary is much in units of w: end at `end`.
    done = np.flatnonzero(reached == 1.0)
    gap = end[done] - G._fun(x[done])
    step, back = _horizontal(G, x[done], _frame_jacobian(G, x[done]), gap)
    value[done] += (mu[done] * gap).sum(axis=-1)
    x[done], mu[done] = _onto(G, x[done] + step), mu[done] + back
    return Lift(x, mu, value, np.where(reached == 1.0, 1.0, share(reached, np.arange(len(x)))))


def _first_step(length: np.ndarray) -> np.ndarray:
    """The share of a way, so many natural lengths long, that a first step may try."""
    with np.errstate(all="ignore"):
        return np.where(length > 0, np.clip(FIRST / length, 0.05, 1.0), 0.05)


def _graded(length: np.ndarray) -> tuple[Callable, Callable]:
    """s ↦ (e^{κs} - 1)/(e^κ - 1), the share of a segment covered at s, and its derivative, row by row.

    Seen from a start near the boundary of dom R, a segment may be 1e16 natural lengths long, and a lift
    begins by steps of one such length: κ = ln(1 + length) makes room for them.
    """
    kappa = np.log1p(np.where(np.isfinite(length), length, 0.0)) + 1e-8
    total = np.expm1(kappa)

    def share(s: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return np.expm1(kappa[rows] * s) / total[rows]

    def speed(s: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return kappa[rows] * np.exp(kappa[rows] * s) / total[rows]

    return share, speed


def joint_ray(G: Parametrization, x: np.ndarray, mu: np.ndarray, scales: Scales) -> Lift:
    """Follow ``x' = ∂G(x)ᵀ μ, Q' = G(x)·μ`` for unit time from every x: the joint flow ψ(x; μ).

    Shapes: x [n, D], mu [n, d]. The result's `value` is the increment of Q; a `reached` below 1 means
    that the flow blew up, or left the domain of G, at that fraction of μ.
    """
    D = G.dim_in
    weights = np.linalg.norm(G._gradients(x), axis=-1) * scales.x
    unit = (np.abs(mu) * (np.abs(G._fun(x)) + weights)).sum(axis=-1)
    unit = np.where(unit > 0, unit, 1.0)

    def rhs(s, y, rows):
        x = y[:, :D] * scales.x
        J = _fields(G, x)
        out = np.empty_like(y)
        out[:, :D] = np.einsum("nid,ni->nd", J, mu[rows]) / scales.x
        out[:, -1] = (G._fun(x) * mu[rows]).sum(axis=-1) / unit[rows]
        return out

    def project(s, y, rows):
        out = y.copy()
        out[:, :D] = _onto(G, y[:, :D] * scales.x) / scales.x
        return out

    y0 = np.concatenate([x / scales.x, np.zeros((len(x), 1))], axis=-1)
    back = None if G.manifold is None else project
    length = np.linalg.norm(np.einsum("nid,ni->nd", _fields(G, x), mu), axis=-1) / scales.x
    limits = {"most_rounds": RAY_ROUNDS, "first_step": _first_step(length)}
    y, reached, _ = solve_batched(rhs, y0, 1.0, rtol=RTOL, atol=ATOL, project=back, **limits)
    return Lift(y[:, :D] * scales.x, mu, y[:, -1] * unit, reached)


def _fields(G: Parametrization, x: np.ndarray) -> np.ndarray:
    """The vector fields ∇G_i, shape=[n, d, D], with NaN outside M's open set, so that steps are rejected."""
    return G._raised(x, _frame_jacobian(G, x))


def _frame_jacobian(G: Parametrization, x: np.ndarray) -> np.ndarray:
    """∂G in orthonormal frames, shape=[n, d, D], with NaN outside the open set on which G is defined."""
    J = np.full((len(x), G.dim, G.dim_in), np.nan)
    _fill_rows(J, G._tangential_jacobian, x, np.flatnonzero(np.asarray(G._belongs(x))))
    return J


def _fill_rows(out: np.ndarray, function: Callable, x: np.ndarray, rows: np.ndarray) -> None:
    """Set out[rows] = function(x[rows]), leaving alone the rows for which it is refused."""
    if len(rows) == 0:
        return
    try:
        out[rows] = function(x[rows])
    except (ConvergenceError, DomainError, np.linalg.LinAlgError):
        if len(rows) > 1:
            for k in rows:
                _fill_rows(out, function, x, np.array([k]))


def _horizontal(G: Parametrization, x: np.ndarray, J: np.ndarray, b: np.ndarray):
    """∇Gᵀ H⁻¹ b, shape=[n, D], and H⁻¹ b, shape=[n, d], for J from `_frame_jacobian`."""
    lifted, velocity = RowFactors(J).horizontal(b)
    return G._raised(x, lifted[:, None, :])[:, 0], velocity


def _onto(G: Parametrization, x: np.ndarray) -> np.ndarray:
    """Project the rows of x [n, D] onto M; rows without a nearest point come out NaN."""
    if G.manifold is None:
        return x
    out = np.full(x.shape, np.nan)
    _fill_rows(out, G.manifold.project, x, np.flatnonzero(np.isfinite(x).all(axis=-1)))
    return out


class RowFactors:
    """J = L Q for batched J [n, d, D] with d ≤ D, L lower triangular and Q with orthonormal rows.

    Working on J rather than on ∂G ∂Gᵀ keeps twice the digits near the boundary of dom R. For few fields
    LAPACK's batched routines cost more in calls than in arithmetic: loops run over entries, each vectorised
    over the batch. Rows of numerically dependent fields come out NaN.
    """

    def __init__(self, J: np.ndarray):
        self.L, self.q = _by_entries(J) if J.shape[1] <= DIRECT else _by_lapack(J)

    def horizontal(self, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return Jᵀ H⁻¹ b [n, D] and H⁻¹ b [n, d], H = J Jᵀ, for b [n, d]."""
        L, d = self.L, b.shape[-1]
        with np.errstate(all="ignore"):
            if d > DIRECT:
                inner = _solve_rows(L, b)
                outer = _solve_rows(np.swapaxes(L, -1, -2), inner)
                return np.einsum("ni,nia->na", inner, self.q), outer
            z: list[np.ndarray] = []
            for i in range(d):
                z.append((b[:, i] - sum(L[:, i, k] * z[k] for k in range(i))) / L[:, i, i])
            lifted = sum(z[i][:, None] * self.q[:, i] for i in range(d))
            v = list(z)
            for i in reversed(range(d)):
                v[i] = (v[i] - sum(L[:, k, i] * v[k] for k in range(i + 1, d))) / L[:, i, i]
        return np.asarray(lifted), np.stack(v, axis=-1)


def _by_entries(J: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """L and Q [n, d, D] by modified Gram-Schmidt."""
    d = J.shape[1]
    L, q = np.zeros((len(J), d, d)), np.empty(J.shape)
    with np.errstate(all="ignore"):
        for i in range(d):
            rest = J[:, i]
            norm = np.sqrt(np.einsum("nd,nd->n", rest, rest))
            for j in range(i):
                L[:, i, j] = np.einsum("nd,nd->n", q[:, j], rest)
                rest = rest - L[:, i, j, None] * q[:, j]
            pivot = np.sqrt(np.einsum("nd,nd->n", rest, rest))
            pivot = np.where(pivot > DEPENDENT * norm, pivot, np.nan)
            L[:, i, i] = pivot
            q[:, i] = rest / pivot[:, None]
    return L, q


def _by_lapack(J: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """L and Q by Householder reflections; NaN for rows of numerically dependent fields."""
    L, q = np.full((*J.shape[:2], J.shape[1]), np.nan), np.full(J.shape, np.nan)
    good = np.flatnonzero(np.isfinite(J).all(axis=(-2, -1)))
    if J.shape[1] <= J.shape[2] and len(good):
        Q, R = np.linalg.qr(np.swapaxes(J[good], -1, -2))
        pivots = np.abs(np.diagonal(R, axis1=-2, axis2=-1))
        kept = (pivots > DEPENDENT * np.linalg.norm(J[good], axis=-1)).all(axis=-1)
        L[good[kept]], q[good[kept]] = np.swapaxes(R[kept], -1, -2), np.swapaxes(Q[kept], -1, -2)
    return L, q


def _solve_rows(L: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Solve L z = b row by row, NaN where L is: shapes [n, d, d], [n, d] -> [n, d]."""
    out = np.full(b.shape, np.nan)
    good = np.isfinite(L).all(axis=(-2, -1))
    out[good] = np.linalg.solve(L[good], b[good, :, None])[..., 0]
    return out


def inverse_positive(H: np.ndarray) -> np.ndarray:
    """H⁻¹ itself, which is ∇²R: by a solve against the identity, scaled to a unit diagonal; [..., d, d]."""
    scale = 1.0 / np.sqrt(np.diagonal(H, axis1=-2, axis2=-1))
    scaled = scale[..., :, None] * H * scale[..., None, :]
    K = np.linalg.solve(scaled, np.broadcast_to(np.eye(H.shape[-1]), H.shape))
    return scale[..., :, None] * (0.5 * (K + np.swapaxes(K, -1, -2))) * scale[..., None, :]
