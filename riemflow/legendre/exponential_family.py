"""Log-partition functions that are integrals, as finite families on the nodes of a quadrature rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import expit, log_expit

from riemflow.errors import ConvergenceError, DomainError, ShapeError
from riemflow.legendre.partition import LogPartition
from riemflow.validation import as_count, as_matrix, as_number, evaluate, short

FEWEST = 16  # steps of the first rule tried
# Nodes by which the densities are found, and how often the search goes on between those that hold them.
SCAN, ZOOMS = 512, 8
# Exponents at which the substitutions end: e^690 is nearly the largest number.
LARGEST = 690.0
# Nodes whose share of R and of its derivatives is below this at every point change no digit: left out.
NEGLIGIBLE = 1e-24
REMEDY = "map an array [n] of x to one, T(x) to [n, d]: np.stack([x, x**2], axis=-1) for (x, x²)."


class ExponentialFamily(LogPartition):
    """R(θ) = ln ∫ exp(θ·T(x)) h(x) dx over an interval, by a quadrature rule.

    The rule's nodes x_k and weights c_k make it a finite exponential family, ``ln Σ_k c_k exp(θ·T(x_k))``,
    with all that a `LogPartition` has. This is another function than the integral, though one that agrees
    with it to `tol` at the points given. It is defined on all of R^d, also where the integral is infinite:
    `quadrature_error` tells where it can be trusted.

    The rule is the trapezoidal one after a double exponential substitution (Takahasi and Mori, 1974), which
    heeds no singularity at an end of the interval, on that part of it which holds the densities at the points
    given. Its step is halved until it agrees with the rule of half that step, in R, ∇R and ∇²R, at them all.
    For rules of your own, with x in many dimensions, say, there is ``LogPartition(T(nodes), weights)``.

    Parameters
    ----------
    statistics : callable
        T: shape=[n] -> shape=[n, d].
    points : array, shape=[n, d]
        Natural parameters θ at which the rules are compared: those of a region, its corners above all.
    interval : (number, number)
        Its ends, which may be infinite.
    log_density : callable, optional
        ln h: shape=[n] -> shape=[n], -inf where h = 0; h = 1 if left out.
    tol : float
        The largest `quadrature_error` accepted at the points.
    max_nodes : int
        Of the rule that is used; those without a share are then left out.

    Attributes
    ----------
    nodes : array, shape=[K]
    error : float
        The largest `quadrature_error` at the points.
    tol : float

    Raises
    ------
    ConvergenceError
        If the rules do not agree to `tol` with `max_nodes`, or mass is left at an end of the numbers: names
        the point, where the integral may be infinite.
    DomainError, ShapeError
        If a callable does not return finite real numbers of that shape, or T(x) lies in a hyperplane.
    """

    def __init__(
        self,
        statistics: Callable[[np.ndarray], Any],
        points: Any,
        *,
        interval: tuple[float, float] = (-np.inf, np.inf),
        log_density: Callable[[np.ndarray], Any] | None = None,
        tol: float = 1e-12,
        max_nodes: int = 2048,
    ):
        points = as_matrix("points", points, (None, None))
        self.tol, most = as_number("tol", tol, above=0.0), as_count("max_nodes", max_nodes, least=4)
        family, n = (statistics, log_density, _ends(interval), points), min(FEWEST, most)
        with np.errstate(all="ignore"):
            span = _span(family)
            rule = _Rule(*family, n, span)
            while True:
                finer = _Rule(*family, 2 * n, span)
                last = 2 * n > most
                if last:
                    finer.require_no_mass_at_ends(points, self.tol)
                # Rules too coarse for the densities may hold a node or two of them.
                if last or (rule.spans and finer.spans and finer.left.max() <= self.tol):
                    coarse, fine = rule.family(), finer.family()
                    errors = _difference(coarse, fine, points)
                    k = int(np.argmax(errors))
                    if errors[k] <= self.tol:
                        break
                    if last:
                        raise ConvergenceError(
                            f"At θ = {short(points[k])} the quadrature rules of {n} and {2 * n} nodes differ "
                            f"by {errors[k]:.1e}, more than tol = {self.tol:g}: raise max_nodes, leave that "
                            "point out, or write the family in a variable in which its densities are smooth, "
                            "and not so narrow and far from 0 that rounding tells."
                        )
                rule, n = finer, 2 * n
        super().__init__(coarse.A, coarse.weights)
        self.nodes, self.error, self._finer = rule.nodes, float(errors[k]), fine
        self.name = f"ExponentialFamily({len(self.nodes)} nodes)"
        self.domain.interior = points.mean(axis=0)

    def quadrature_error(self, w: Any) -> np.ndarray:
        """Compare R, ∇R and ∇²R with the rule of half the step: shape=[..., d] -> shape=[...].

        The largest of the difference of R, that of ∇R in the norm of g^{-1}, the Frobenius norm of
        ``g^{-1/2} Δg g^{-1/2}``, g = ∇²R, and what the first and last nodes have of the three, beyond which
        mass would be missed. Such rules gain digits so fast that this is the error of the coarser one.
        """
        w = self._inside(w)
        with np.errstate(all="ignore"):
            return _difference(self, self._finer, w)

    def _require_accurate(self, w: np.ndarray) -> None:
        """Raise a `DomainError` where the quadrature error is above the tolerance; shape=[n, d]."""
        with np.errstate(all="ignore"):
            errors = _difference(self, self._finer, w)
        k = int(np.argmax(errors))
        if not errors[k] <= self.tol:
            raise DomainError(
                f"{self.name} has a quadrature error of {errors[k]:.1e} at θ = {short(w[k])}, above its "
                f"tol = {self.tol:g}: build it with points of the whole region."
            )

    def __repr__(self) -> str:
        return f"{self.name} on R^{self.dim}, quadrature error at most {self.error:.1e} at its points"


class _Rule:
    """The trapezoidal rule of n steps, as the finite family of those nodes that count at the points."""

    def __init__(self, statistics, log_density, ends, points: np.ndarray, n: int, span: tuple[float, float]):
        t = np.linspace(*span, n + 1)
        x, log_weights = _double_exponential(ends, t)
        d = points.shape[1]
        T = evaluate("statistics", statistics, x, (len(x), d), REMEDY).astype(float)
        if log_density is not None:
            log_weights = log_weights + evaluate("log_density", log_density, x, x.shape, REMEDY)
        # Next to an end they may overflow, or x lose its distance from it to rounding; inside they may not.
        sound = np.isfinite(T).all(axis=-1) & (log_weights < np.inf)
        usable = np.flatnonzero(sound)
        if len(usable) <= d:
            raise DomainError(
                f"statistics are finite, and log_density is below infinity, at {len(usable)} of {len(x)} "
                f"nodes only: {REMEDY}"
            )
        inside = slice(usable[0], usable[-1] + 1)
        if not sound[inside].all():
            raise DomainError(
                f"statistics are not finite, or log_density is not below infinity, at x = "
                f"{x[inside][~sound[inside]][0]:.6g}, inside the interval: give one that ends there."
            )
        x, T, log_weights = x[usable], T[usable], log_weights[usable]
        shares = _shares(T, log_weights, points)
        self.left, self.ends = shares[:, [0, -1]], x[[0, -1]]
        keep = shares.max(axis=0) > NEGLIGIBLE
        self.nodes, self.T, self.log_weights = x[keep], T[keep], log_weights[keep]
        self.spans = bool(keep.sum() > d and np.linalg.matrix_rank(self.T[1:] - self.T[0]) == d)
        held = usable[keep]
        self.held = (t[max(held[0] - 1, 0)], t[min(held[-1] + 1, n)]) if keep.any() else span

    def family(self) -> LogPartition:
        weights = np.exp(self.log_weights)
        if not (np.isfinite(weights) & (weights > 0)).all():
            raise DomainError("h exceeds what numbers hold: add a constant to log_density.")
        return LogPartition(self.T, weights)

    def require_no_mass_at_ends(self, points: np.ndarray, tol: float) -> None:
        row, end = np.unravel_index(np.argmax(self.left), self.left.shape)
        if self.left[row, end] <= tol:
            return
        raise ConvergenceError(
            f"At θ = {short(points[row])} the integral has mass, more than tol = {tol:g} of it, at "
            f"x = {self.ends[end]:.6g}, the last number at which the statistics are finite: it is infinite, "
            "or its mass lies next to an end that rounding blurs. Leave that point out, or integrate over "
            "another variable, such as ln x or ln x - ln(1 - x)."
        )


def _ends(interval: Any) -> tuple[float, float]:
    try:
        a, b = (float(end) for end in interval)
    except (TypeError, ValueError) as error:
        raise ShapeError(f"interval is {interval!r}, but must be two numbers, which may be ±inf.") from error
    if not a < b:
        raise DomainError(f"interval is ({a}, {b}), but its first end must be less than its second.")
    return a, b


def _span(family: tuple) -> tuple[float, float]:
    """Return between which t the densities lie, for all points, from the nodes of finer and finer rules."""
    span = (-1.0, 1.0)
    for _ in range(ZOOMS):
        held = _Rule(*family, SCAN, span).held
        if held[1] - held[0] > 0.5 * (span[1] - span[0]):
            break
        span = held
    return span


def _double_exponential(ends: tuple[float, float], t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return x(t), increasing on [-1, 1], and ln(x'(t) Δt) for equidistant t."""
    a, b = ends
    finite = np.isfinite(a) and np.isfinite(b)
    rate = np.pi if finite else 0.5 * np.pi
    largest = np.arcsinh(LARGEST / rate)
    s = rate * np.sinh(largest * t)
    log_slope = np.log(rate * np.cosh(largest * t) * largest * (t[1] - t[0]))
    if finite:
        # From the nearer end, so that x - a keeps its digits if a is 0.
        x = np.where(t < 0, a + (b - a) * expit(s), b - (b - a) * expit(-s))
        return x, log_slope + np.log(b - a) + log_expit(s) + log_expit(-s)
    if np.isfinite(a):
        return a + np.exp(s), log_slope + s
    if np.isfinite(b):
        return b - np.exp(-s), log_slope - s
    return np.sinh(s), log_slope + np.logaddexp(s, -s) - np.log(2.0)


def _shares(T: np.ndarray, log_weights: np.ndarray, points: np.ndarray) -> np.ndarray:
    """p_k (1 + |T_k - mean|²_{g^{-1}}), what node k has of R, ∇R and ∇²R: shape=[n, K]."""
    exponents = points @ T.T + log_weights
    p = np.exp(exponents - exponents.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    shares = np.full_like(p, np.inf)
    for k, row in enumerate(p):
        # Where p is 0, T may be so large that its square overflows.
        some = row > 0
        centred = T[some] - row[some] @ T[some]
        root = np.sqrt(row[some, None]) * centred
        size = np.linalg.norm(root, axis=0)
        if np.isfinite(size).all():
            root /= np.where(size > 0, size, 1.0)
            shares[k] = 0.0
            shares[k, some] = row[some] + (root * (root @ np.linalg.pinv(root.T @ root))).sum(axis=-1)
    return shares


def _difference(one: LogPartition, other: LogPartition, w: np.ndarray) -> np.ndarray:
    """What `quadrature_error` is: the largest of four, in the norms of the metric of `other`; shape=[...]."""
    g = other._hessian(w)
    size = np.sqrt(np.diagonal(g, axis1=-2, axis2=-1))
    scaled = g / (size[..., :, None] * size[..., None, :])
    finite = np.isfinite(scaled).all(axis=(-2, -1))
    values, vectors = np.linalg.eigh(np.where(finite[..., None, None], scaled, np.eye(other.dim)))
    # Rows orthonormal in the metric, found in units in which g has a unit diagonal.
    frame = np.swapaxes(vectors / np.sqrt(values)[..., None, :] / size[..., :, None], -1, -2)
    slope = (frame @ (one._gradient(w) - other._gradient(w))[..., None])[..., 0]
    gap = frame @ (one._hessian(w) - g) @ np.swapaxes(frame, -1, -2)
    ends = (other.A[[0, -1]] - other._gradient(w)[..., None, :]) @ np.swapaxes(frame, -1, -2)
    left = other._probabilities(w)[..., [0, -1]] * (1.0 + (ends**2).sum(axis=-1))
    sizes = (
        left.max(axis=-1),
        np.abs(one._value(w) - other._value(w)),
        np.linalg.norm(slope, axis=-1),
        np.linalg.norm(gap, axis=(-2, -1)),
    )
    largest = np.max(sizes, axis=0)
    return np.where(finite & np.isfinite(largest), largest, np.inf)
