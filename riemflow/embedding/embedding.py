"""Isometric embeddings F of a Riemannian metric, ∇²R or another, in a Euclidean space."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from riemflow.embedding.inverse import nearest_point, require_converged
from riemflow.embedding.reach import Injectivity, Reach, Shape, reach_of, shape_of
from riemflow.errors import DomainError
from riemflow.legendre.function import Domain, least_eigenvalue
from riemflow.validation import as_points, require_inside, short

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from riemflow.embedding.certificate import SupBound
    from riemflow.embedding.compressed import Projected
    from riemflow.embedding.identity import Identity, OtherMetric
    from riemflow.embedding.metric import Metric
    from riemflow.embedding.parametrization import EmbeddedParametrization
    from riemflow.embedding.region import Region
    from riemflow.legendre.function import LegendreFunction

UNSEEN = 10.0  # times the tolerance: a bound above it has met what the points checked have missed
NEAR = 1e-3  # points nearer to M than this share of |F| are within every reach worth the name


@dataclass(frozen=True)
class ClosedForm:
    """A certificate that rests on a formula: the isometry holds exactly, up to rounding.

    Attributes
    ----------
    structure : str
        The Legendre function whose structure gave the formula.
    """

    structure: str
    defect: float = 0.0
    passed: bool = True

    def __repr__(self) -> str:
        return f"ClosedForm({self.structure}: exact up to rounding)"


class Fit(NamedTuple):
    """One fit of the spectral solver: what it left of the equations, and F's defect off their points."""

    start: int  # which of the ladders it belongs to
    degree: int
    residual: float  # root mean square of the whitened ∂Fᵀ∂F - g at the points fitted
    defect: float
    seconds: float  # since the solver began


@dataclass(frozen=True)
class SampledDefect:
    """A certificate that rests on a sample: ‖g^{-1/2} ∂Fᵀ∂F g^{-1/2} - I‖₂ at points F was not fitted to.

    Attributes
    ----------
    defect : float
        The largest found.
    n_points : int
    worst_point : array, shape=[d]
    tol : float
        What was asked for.
    degree : int
        Total degree of F's polynomials; for d = 1, of √g's.
    seconds : float
    coordinates : str
        In which F is a polynomial.
    tail : float
        F's largest coefficient of the two highest degrees, relative to its largest.
    bound : SupBound or None
        What holds on all of the region; None if the defect found is no less than 1, or the solve was
        interrupted.
    history : tuple of Fit
        All fits made, in order; none for d = 1, where nothing is fitted.
    """

    defect: float
    n_points: int
    worst_point: np.ndarray = field(repr=False)
    tol: float
    degree: int
    seconds: float
    coordinates: str
    tail: float
    bound: SupBound | None = None
    history: tuple[Fit, ...] = field(default=(), repr=False)

    @property
    def resolved(self) -> bool:
        """Whether F's degree was enough, off the points fitted: the same as `passed`.

        The tail alone cannot tell. F is not unique, so its high coefficients need not vanish where its metric
        is right, and those of a fit that is stuck may decay.
        """
        return self.passed

    @property
    def passed(self) -> bool:
        """Whether the largest defect found is within the tolerance, and the bound is of its order.

        Where all is resolved a bound is at most some three times the defect. One of more than ten times the
        tolerance has met on its finer grid what the points checked have missed.
        """
        seen = self.bound is None or self.bound.value <= UNSEEN * self.tol
        return bool(self.defect <= self.tol and seen)

    def __repr__(self) -> str:
        verdict = " within" if self.passed else " NOT within"
        if self.defect <= self.tol and not self.passed:
            verdict = " but not between them within"
        resolved = "resolved" if self.resolved else "NOT resolved"
        return (
            f"SampledDefect(at worst {self.defect:.1e} at {self.n_points} points,{verdict} tol={self.tol:g} "
            f"(at w={short(self.worst_point)}), {resolved} at degree {self.degree} in {self.coordinates} "
            f"coordinates, tail {self.tail:.0e}, {self.seconds:.1f} s"
            + (")" if self.bound is None else f"; {self.bound})")
        )


class IsometricEmbedding:
    """An embedding F with ∂F(w)ᵀ ∂F(w) = g(w), g = ∇²R in Thm 5.1 (Nash's theorem gives one).

    Attributes
    ----------
    metric : Metric or None
        g, a callable [..., d] -> [..., d, d] where it is defined; None if F was loaded from a file that does
        not tell it, and without it.
    name : str
        The metric's, or that of R.
    dim, ambient_dim : int
        d and D.
    region : Region or None
        The region asked for; None if F was built on the whole domain of g.
    domain : Domain
        Where F may be evaluated.
    method : str
        "closed-form", "compressed" if projected, "spectral", or "mixed" if only a part was solved for.
    certificate : ClosedForm, Projected, SampledDefect or OtherMetric
        What the isometry rests on; `OtherMetric` if F was loaded for an R that it was not made for.
    """

    metric: Metric
    region: Region | None
    certificate: ClosedForm | Projected | SampledDefect | OtherMetric
    _identity: Identity | None = None  # of a loaded F

    def _define(
        self,
        metric: Metric | None,
        ambient_dim: int,
        *,
        region: Any,
        method: str,
        certificate: Any,
        name: str | None = None,
    ) -> None:
        known: Any = metric
        self.metric, self.region, self.name = metric, region, name or known.name
        self.dim, self.ambient_dim = known.dim if region is None else region.dim, int(ambient_dim)
        self.method, self.certificate = method, certificate
        interior = known.interior if region is None else region.center
        self.domain = Domain(self.dim, self._belongs, interior)

    @cached_property
    def _shape(self) -> Shape:
        return shape_of(self)

    @property
    def injectivity(self) -> Injectivity:
        """Whether F is shown to be injective on its region; raises `DomainError` without one."""
        return Injectivity(self._shape.margin, self._shape.is_bound, self._shape.n_points)

    @cached_property
    def reach(self) -> Reach:
        """Bounds on the reach of M = F(region); raises `DomainError` without a region."""
        return reach_of(self, self._shape)

    # Raw methods: float64 arrays inside the domain, no checks.

    def _fun(self, w: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _jacobian(self, w: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _hessian(self, w: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _jet(self, w: np.ndarray) -> tuple[np.ndarray, ...]:
        """F, ∂F and ∂²F at once."""
        return self._fun(w), self._jacobian(w), self._hessian(w)

    def _start(self, x: np.ndarray) -> np.ndarray:
        """A rough left inverse inside the domain, from which Newton's method finds the nearest point."""
        raise NotImplementedError

    def _belongs(self, w: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _admits(self, w: np.ndarray) -> np.ndarray:
        """Tell where iterations may go: the domain, perhaps with a margin around it."""
        return self._belongs(w)

    def _nearest(self, x: np.ndarray, start: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the nearest point's w and whether the iteration converged, for x of shape [..., D]."""
        return nearest_point(self, x, self._start(x) if start is None else start)

    def _inverse(self, x: np.ndarray) -> np.ndarray:
        w, converged = self._nearest(x)
        require_converged(self, x, w, converged)
        return w

    def _where(self) -> str:
        if self.region is not None:
            return f"the embedding's region {self.region!r}"
        return f"dom {self.name}" if self.metric is None else self.metric.place

    @property
    def R(self) -> LegendreFunction | None:
        """R, if the metric is known as ∇²R."""
        return None if self.metric is None else self.metric.legendre

    # Public methods: checked arguments.

    def _inside(self, w: Any) -> np.ndarray:
        w = as_points("w", w, self.dim)
        require_inside("w", w, self._belongs, self._where(), "move it inside, or embed a larger region.")
        return w

    def __call__(self, w: Any) -> np.ndarray:
        """F(w): shape=[..., d] -> shape=[..., D]. Raises `DomainError` outside the region."""
        return self._fun(self._inside(w))

    def jacobian(self, w: Any) -> np.ndarray:
        """∂F(w): shape=[..., d] -> shape=[..., D, d]."""
        return self._jacobian(self._inside(w))

    def hessian(self, w: Any) -> np.ndarray:
        """∂²F(w): shape=[..., d] -> shape=[..., D, d, d]."""
        return self._hessian(self._inside(w))

    def inverse(self, x: Any) -> np.ndarray:
        """argmin_w |F(w) - x|, the w with F(w) = x when x lies on M: shape=[..., D] -> shape=[..., d].

        Far from M, a strict local minimum; beyond M's `reach`, if F has a region, a warning says so. A closed
        form holds, and finds its w, on all of dom g whatever region was asked for; a hyperbolic one on a
        neighbourhood of the region; a spectral one on the region. Those w are the ones that F itself takes.

        Raises
        ------
        ConvergenceError
            If the distance has no strict minimum there that is found: x is too far from M or beyond its
            edge, or the infimum is not attained.
        DomainError
            If the nearest point is found just outside a spectral embedding's region.
        """
        x = as_points("x", x, self.ambient_dim)
        with np.errstate(all="ignore"):
            w = self._inverse(x)
        w = self._inside(w)
        if self.region is not None:
            self._warn_far(x, w)
        return w

    def _warn_far(self, x: np.ndarray, w: np.ndarray) -> None:
        image = self._fun(w)
        distance = np.linalg.norm(x - image, axis=-1).ravel()
        k = int(np.argmax(distance)) if distance.size else 0
        # The reach takes a moment, and is never so small that points this near need it.
        if distance.size and distance[k] > NEAR * np.linalg.norm(image.reshape(-1, self.ambient_dim)[k]):
            if distance[k] > self.reach.upper:
                warnings.warn(
                    f"x = {short(x.reshape(-1, self.ambient_dim)[k])} lies {distance[k]:.3g} from M, whose "
                    f"reach is at most {self.reach.upper:.3g}: the point found is a local minimum of the "
                    "distance, but need not be the only one. Move x closer to M.",
                    stacklevel=3,
                )

    def metric_defect(self, w: Any) -> np.ndarray:
        """‖g^{-1/2} ∂Fᵀ∂F g^{-1/2} - I‖₂ with g = g(w): shape=[..., d] -> shape=[...].

        The velocities of g's Riemannian gradient flow (the mirror flow for g = ∇²R) and of the flow that F
        defines differ by at most δ/(1-δ), relatively.

        Raises
        ------
        DomainError
            Outside the region, or if F was loaded without its metric.
        """
        w = self._inside(w)
        require_metric(self)
        return relative_defect(self._jacobian(w), self.metric._matrix(w))

    def parametrization(self) -> EmbeddedParametrization:
        """Return G(x) = argmin_w |F(w) - x|², whose gradient flow is g's Riemannian one (Thm 5.1).

        For g = ∇²R that is R's mirror flow.
        """
        from riemflow.embedding.parametrization import EmbeddedParametrization

        return EmbeddedParametrization(self)

    def save(self, path: Any) -> Path:
        """Write F to `path`, with .npz appended unless it ends so, and return where; see `load_embedding`.

        The file holds arrays and a JSON header, nothing pickled: F's coefficients and coordinates, or how its
        closed form is built; the region; the certificate; and R's metric at a few points, by which R is known
        again. It appears complete or not at all.

        Raises
        ------
        DomainError
            If the region, or the kind of embedding, is not made of numbers alone.
        OSError
            If the file cannot be written; `.partial` is F.
        """
        from riemflow.embedding.files import save_embedding

        return save_embedding(self, path)

    def plot(self, paths: Any = (), *, color: str = "defect") -> Figure:
        """Draw M = F(region) for d ≤ 2, with paths w(t) on it; see `riemflow.plotting.plot_embedding`."""
        from riemflow.plotting import plot_embedding

        return plot_embedding(self, paths, color=color)

    def __repr__(self) -> str:
        place = "" if self.region is None else f" of {self.region!r}"
        return (
            f"Isometric embedding{place} for {self.name} in R^{self.ambient_dim}, {self.method}: "
            f"{self.certificate!r}"
        )


def require_metric(F: Any) -> None:
    """Raise a `DomainError` if an embedding or atlas was loaded without its metric."""
    if F.metric is None:
        raise DomainError(
            f"This embedding was loaded without {F.name}, so that its metric is not known: pass R= to "
            "load_embedding."
        )


def relative_defect(jacobian: np.ndarray, metric: np.ndarray) -> np.ndarray:
    """‖L^{-1} (JᵀJ - g) L^{-ᵀ}‖₂ for g = L Lᵀ, which is ‖g^{-1/2} JᵀJ g^{-1/2} - I‖₂."""
    return np.abs(np.linalg.eigvalsh(relative_gap(jacobian, metric))).max(axis=-1)


def relative_gap(jacobian: np.ndarray, metric: np.ndarray) -> np.ndarray:
    """L^{-1} (JᵀJ - g) L^{-ᵀ} for g = L Lᵀ: shape=[..., d, d]; a `DomainError` unless g > 0."""
    try:
        factor = np.linalg.cholesky(metric)
    except np.linalg.LinAlgError as error:
        least = least_eigenvalue(metric).min()
        raise DomainError(
            f"The metric is not positive definite at some of {metric[..., 0, 0].size} points: its smallest "
            f"eigenvalue is {least:.3g} once its diagonal is scaled to 1, which must be > 0. Keep the region "
            "where g is defined and not nearly singular."
        ) from error
    frame = np.linalg.solve(factor, np.swapaxes(jacobian, -1, -2))
    return frame @ np.swapaxes(frame, -1, -2) - np.eye(metric.shape[-1])


def bracket_defect(F: IsometricEmbedding, w: Any) -> np.ndarray:
    """Size of the Lie brackets of M's coordinate gradient fields: shape=[..., d] -> shape=[...].

    On M = F(K), with the metric ĝ = ∂Fᵀ∂F, the gradient field of w_i is X_i = ĝ^{ki} ∂_k, and
    ``[X_i, X_j]^k = ĝ^{li} ∂_l ĝ^{kj} - ĝ^{lj} ∂_l ĝ^{ki}``.
    All vanish exactly when ĝ is a Hessian metric, as for every exact F: ∂_l ĝ_kj is then symmetric. For an
    approximate F they measure the error's first derivatives.

    The fields are first combined with constant coefficients to Y_a, orthonormal at the point, so that the
    result ``(Σ_{a<b} ‖[Y_a, Y_b]‖²_ĝ)^{1/2}`` does not depend on the coordinates' units.
    """
    w = F._inside(w)
    J, second = F._jacobian(w), F._hessian(w)
    metric = np.swapaxes(J, -1, -2) @ J
    bend = np.einsum("...aij,...ak->...ijk", second, J, optimize=True)  # ∂_i∂_jF·∂_kF
    derivative = np.moveaxis(bend, -1, -2) + np.moveaxis(bend, -1, -3)  # [k, j, l]: ∂_l ĝ_kj
    # Lowering all indices, [X_i, X_j]^k becomes -(∂_i ĝ_kj - ∂_j ĝ_ki).
    lowered = np.moveaxis(derivative, -1, -3)  # [i, k, j]: ∂_i ĝ_kj
    lowered = lowered - np.swapaxes(lowered, -3, -1)
    half = np.linalg.solve(np.linalg.cholesky(metric), np.eye(F.dim))
    whitened = np.einsum("...ikj,...ai,...bk,...cj->...abc", lowered, half, half, half, optimize=True)
    return np.sqrt(0.5 * (whitened**2).sum(axis=(-3, -2, -1)))
