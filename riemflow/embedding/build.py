"""`embed`: from a Legendre function or another metric to an isometric embedding and its parametrization."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from riemflow.embedding.bisection import atlas
from riemflow.embedding.closed_form import ClosedFormEmbedding, closed_form
from riemflow.embedding.compressed import check_quadrature, compress, integrals
from riemflow.embedding.contents import region_contents
from riemflow.embedding.coordinates import KINDS
from riemflow.embedding.metric import as_metric
from riemflow.embedding.mixed import mixed
from riemflow.embedding.region import check_region, require_region
from riemflow.embedding.spectral import MAX_DIM, spectral
from riemflow.errors import ConvergenceError, DomainError, NoClosedFormError
from riemflow.legendre.function import LegendreFunction
from riemflow.validation import as_count, as_number, require_kind

if TYPE_CHECKING:
    from riemflow.embedding.metric import Metric
    from riemflow.embedding.parametrization import EmbeddedParametrization
    from riemflow.embedding.region import Region

METHODS = ("auto", "closed-form", "compressed", "spectral", "atlas")
COORDINATES = ("auto", *KINDS)


def embed(
    R: Any,
    region: Any = None,
    *,
    ambient_dim: int | None = None,
    tol: float = 1e-10,
    method: str = "auto",
    coordinates: str = "auto",
    seed: int = 0,
    progress: bool = False,
    save: Any = None,
) -> Any:
    """Return F with ∂F(w)ᵀ ∂F(w) = g(w), g = ∇²R (Thm 5.1) or any Riemannian metric (Nash's theorem).

    Gradient flow through ``G = F.parametrization()`` is then the Riemannian gradient flow of g,
    ``w' = -g(w)^{-1}∇L(w)``. It is a mirror flow, and G commuting on M = F(region), exactly where g is a
    Hessian metric: `bracket_defect` tells.

    Parameters
    ----------
    R : LegendreFunction, geomstats space, or callable
        A LegendreFunction stands for g = ∇²R, as does its `HessianManifold`. A geomstats space of vectors,
        such as `InducedManifold` or a Fisher metric, has ``g = space.metric.metric_matrix``. A callable is
        g itself, shape=[..., d] -> shape=[..., d, d].
    region : Region, optional
        A compact region inside the domain of g: a `Box`, `Ball`, `Polytope`, `BregmanBall`, `SublevelSet` or
        `Tube`. Needed by the spectral solver and by hyperbolic closed forms.
    ambient_dim : int, optional
        D ≥ d. By default what the closed form has, or d(d+3)/2 (1 for d = 1) for the spectral solver. A
        number given makes "auto" use a closed form only if it has exactly this D.
    tol : float
        For the spectral solver and "compressed": the largest ‖g^{-1/2} ∂Fᵀ∂F g^{-1/2} - I‖₂ accepted at 4,000
        points it was not fitted to. If only 1e-4 or better is reached, F is returned with
        ``F.certificate.passed`` False.
    method : {"auto", "closed-form", "compressed", "spectral", "atlas"}
        "auto" reads a closed form off R's structure where it can. Of an R that has none it splits off the
        parts that have one, and blocks that separate after a linear change of variables (``F.method`` is then
        "mixed"), and solves for the rest. "compressed" projects a closed form onto the dimensions that its
        image of the region needs for `tol`, or onto `ambient_dim`; for d ≥ 2 "auto" does so where a part of R
        is an `ExponentialFamily`, whose closed form has one for each node of a quadrature rule. "spectral"
        solves for all in one piece. "atlas" covers the region by many charts, each with an F of its own, and
        returns an `Atlas`: not one F.
    coordinates : {"auto", "raw", "log-slack", "arc-length", "dual"}
        Of each axis, in which the spectral solver's F is a polynomial; see `coordinates.choose_axes`.
    seed : int
        Of the random parts of the spectral solver's start and points.
    progress : bool
        Whether to show the spectral solver's degree, residual and least defect so far.
    save : path, optional
        Where to save F, as `IsometricEmbedding.save` does. The spectral solver saves each F that is better
        than those before it, and "atlas" the charts so far as their number grows by a tenth, so that they are
        kept should the process be killed.

    Returns
    -------
    IsometricEmbedding, or Atlas for method="atlas"

    Raises
    ------
    DomainError
        If R is none of the three, the region leaves its domain, g is not finite, symmetric and positive
        definite on it, ambient_dim < d, or beyond all use, d > 5 for the spectral solver, the spectral solver
        has no region, an option is unknown, or an `ExponentialFamily`'s rule is not accurate on all of the
        region.
    ShapeError
        If g does not map [..., d] to [..., d, d], or the region has another dimension.
    NoClosedFormError
        If a closed form is needed and some part of R has none; names the part.
    ConvergenceError
        If the defect of the spectral solver, or of the projection to `ambient_dim`, exceeds max(tol, 1e-4);
        `.partial` is what it reached. If an atlas needs too many charts, as at a kink of the metric;
        `.partial` has those found.
    KeyboardInterrupt
        If the user interrupts the spectral solver; `.partial` is the best F so far, the iterate of an
        unfinished degree included, or None.
    OSError
        If F cannot be written; `.partial` is F.
    """
    for name, value, allowed in (("method", method, METHODS), ("coordinates", coordinates, COORDINATES)):
        if value not in allowed:
            raise DomainError(f"{name} is {value!r}, but must be one of {', '.join(map(repr, allowed))}.")
    tol = as_number("tol", tol, above=0.0)
    seed = as_count("seed", seed, least=0)
    if region is not None:
        require_region(region)
    metric = as_metric(R, region)
    if ambient_dim is not None and as_count("ambient_dim", ambient_dim) < metric.dim:
        raise DomainError(
            f"ambient_dim = {ambient_dim} is less than d = {metric.dim}: no such embedding exists."
        )
    if region is not None:
        check_region(region, metric)
        check_quadrature(region, metric.legendre)
        if save is not None:
            region_contents(region, metric.legendre)  # raises now if the region cannot be saved
    F = _embed(metric, region, ambient_dim, tol, method, coordinates, seed, progress, save)
    if save is not None:
        try:
            F.save(save)
        except DomainError as error:
            told: Any = error
            told.partial = F
            raise
    return F


def _embed(metric, region, ambient_dim, tol, method, coordinates, seed, progress, save) -> Any:
    missing: NoClosedFormError | None = None
    if method not in ("spectral", "atlas"):
        try:
            F = _closed_form(metric, region)
            if method == "compressed":
                return compress(F, _needed(region, metric), tol=tol, ambient_dim=ambient_dim)
            many = method == "auto" and ambient_dim is None and region is not None and integrals(F.R)
            if many and metric.dim > 1:
                return compress(F, region, tol=tol)
            # One variable has its arc length, in one dimension.
            if ambient_dim in (None, F.ambient_dim) and not many:
                return F
            if method == "closed-form":
                raise NoClosedFormError(
                    f"The closed form for {metric.name} has ambient_dim = {F.ambient_dim}, not {ambient_dim}:"
                    ' leave ambient_dim out, or use method="spectral".'
                )
        except NoClosedFormError as error:
            if method in ("closed-form", "compressed") or region is None:
                raise
            missing = error
    region = _needed(region, metric)
    if missing is not None and ambient_dim is None:
        options = {"tol": tol, "coordinates": coordinates, "seed": seed, "progress": progress, "save": save}
        try:
            F = mixed(metric, region, **options)
            if F is not None:
                return F
        except (DomainError, ConvergenceError) as error:
            # In one piece it may do, on the region itself.
            if metric.dim > MAX_DIM:
                raise error from missing
    if missing is not None and metric.dim > MAX_DIM:
        raise missing
    return (atlas if method == "atlas" else spectral)(
        metric,
        region,
        ambient_dim=ambient_dim,
        tol=tol,
        coordinates=coordinates,
        seed=seed,
        progress=progress,
        keep=None if save is None else lambda F: F.save(save),
    )


def _needed(region: Region | None, metric: Metric) -> Region:
    if region is None:
        raise DomainError(
            f"Embedding {metric.name} by a solver or a projection needs a region: pass region=, such as "
            "Box(lower, upper)."
        )
    return region


def _closed_form(metric: Metric, region: Region | None) -> ClosedFormEmbedding:
    if metric.legendre is None:
        raise NoClosedFormError(
            f"Closed forms are known for Legendre functions only, not for the metric {metric.name}: pass "
            "region= for the spectral solver (d ≤ 5)."
        )
    return closed_form(metric.legendre, region)


def parametrization_from_legendre(
    R: LegendreFunction, region: Any = None, **embed_options: Any
) -> EmbeddedParametrization:
    """Return G with ∂G∂Gᵀ = ∇²R^{-1}, commuting on M = F(region), so that its flow is R's mirror flow.

    G is the inverse of the isometric embedding ``embed(R, region, **embed_options)`` (Thm 5.1), which is its
    attribute `embedding`. Start flows at x = G.embedding(w).

    Raises
    ------
    DomainError, NoClosedFormError, ConvergenceError
        As `embed`.
    """
    require_kind("R", R, LegendreFunction)
    if embed_options.get("method") == "atlas":
        raise DomainError("An atlas is many charts, without one G: follow flows through it by atlas_flow.")
    return embed(R, region, **embed_options).parametrization()
