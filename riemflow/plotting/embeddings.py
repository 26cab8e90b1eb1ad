"""Pictures of isometric embeddings: their images, and how they were found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from riemflow.embedding import Box, IsometricEmbedding
from riemflow.errors import DomainError, RiemflowError, ShapeError
from riemflow.flows import Flow
from riemflow.plotting.figure import pyplot
from riemflow.validation import as_points

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

    from riemflow.embedding.region import Region

GRID = 60  # points a side of the drawn surface
LEAST_DEFECT = 1e-17  # for a logarithm of what may be 0
LABELS = {
    "defect": "log₁₀ of the metric defect",
    "curvature": "Gauss curvature",
    "mean curvature": "length of the mean curvature vector",
}
COLOURS = ("crimson", "black", "darkorange", "darkgreen")  # of paths, in turn


def plot_embedding(F: IsometricEmbedding, paths: Any = (), *, color: str = "defect") -> Figure:
    """Draw the image M = F(K) of a region K ⊂ R^d, d ≤ 2, coloured, and paths on it.

    An image in more than three dimensions is drawn in its best three-dimensional projection; the title says
    how much that shows. All axes have one scale, since what an isometric image shows is lengths.

    Parameters
    ----------
    F : IsometricEmbedding
        An F without a region is drawn around the paths.
    paths : Flow, array, shape=[T, d], or a sequence of these
        Curves w(t) in the region.
    color : {"defect", "curvature", "mean curvature"}
        The metric defect, the Gauss curvature (d = 2) by the Gauss equation, red where positive, or the
        length of the mean curvature vector ``g^{ij} II_ij``; see `EmbeddedSubmanifold`.

    Raises
    ------
    ShapeError
        If d > 2, a path has another dimension, F has no region and there are no paths, or the Gauss curvature
        of a curve is asked for.
    DomainError
        If a path leaves the region, or the colour is none of the three.
    """
    if F.dim > 2:
        raise ShapeError(f"A surface or curve needs d ≤ 2, but this embedding has d = {F.dim}.")
    if color not in LABELS:
        raise DomainError(f"color is {color!r}, but must be one of {', '.join(map(repr, LABELS))}.")
    plt = pyplot()
    figure = plt.figure(figsize=(7.5, 5.5), layout="constrained")
    try:
        solid = F.dim == 2 or F.ambient_dim > 2
        axes = figure.add_subplot(projection="3d" if solid else None)
        draw = draw_surface if F.dim == 2 else _draw_curve
        colours = draw(axes, F, paths, color)
    except BaseException:
        plt.close(figure)
        raise
    if colours is not None:
        figure.colorbar(colours, ax=axes, shrink=0.7, label=LABELS[color])
    return figure


def plot_convergence(F: IsometricEmbedding) -> Figure:
    """Draw the metric defect of each fit of the spectral solver against its degree, and against the time.

    Raises
    ------
    RiemflowError
        If F holds no history of fits: closed forms and d = 1 are not fitted.
    """
    history = getattr(F.certificate, "history", ())
    if not history:
        raise RiemflowError(
            f"There is no convergence to draw: a {F.method} embedding of d = {F.dim} is not fitted in steps."
        )
    plt = pyplot()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4), sharey=True, layout="constrained")
    # Each start has a ladder of its own, so has each part of an F put together from several, and after a fit
    # was refined at higher degrees the next fit begins another.
    ladders: list[list] = []
    for fit in history:
        last = ladders[-1][-1] if ladders else None
        if last is None or fit.start != last.start or fit.seconds < last.seconds or fit.degree < last.degree:
            ladders.append([])
        ladders[-1].append(fit)
    for k, fits in enumerate(ladders):
        degrees, seconds = [fit.degree for fit in fits], [fit.seconds for fit in fits]
        defects, color = [fit.defect for fit in fits], f"C{k}"
        name = f", ladder {k + 1}" if len(ladders) > 1 else ""
        left.semilogy(degrees, defects, "o-", color=color, label="largest defect off the points" + name)
        left.semilogy(degrees, [fit.residual for fit in fits], "x--", color=color, label="residual" + name)
        right.semilogy(seconds, defects, "o-", color=color)
    for axes, what in ((left, "degree"), (right, "seconds")):
        axes.axhline(F.certificate.tol, color="grey", linewidth=1)
        axes.set(xlabel=what)
    left.set(ylabel="metric defect", title=f"{F.name} in $\\mathrm{{R}}^{{{F.ambient_dim}}}$")
    left.xaxis.get_major_locator().set_params(integer=True)
    right.set(title=f"tolerance {F.certificate.tol:g}")
    left.legend()
    return figure


def draw_surface(
    axes, F: IsometricEmbedding, paths: Any = (), color: str = "defect"
) -> ScalarMappable | None:
    """Draw a two-dimensional F on three-dimensional axes; return the colours' scale, for a colour bar.

    As `plot_embedding`, which see. None is returned if the defect is not known, F being loaded without R.
    """
    if F.dim != 2:
        raise ShapeError(f"A surface needs d = 2, but this embedding has d = {F.dim}.")
    lines = _lines(F, paths)
    w = _grid(F, lines)
    x = F(w)
    project, shown = _projection(F, w)
    scale, colours = _colours(F, w, color)
    # Drawn in this order, whatever is nearer: lines on the far side stay visible.
    axes.computed_zorder = False
    look = {"color": "lightsteelblue"} if scale is None else {"facecolors": colours}
    axes.plot_surface(
        *np.moveaxis(project(x), -1, 0), **look, alpha=0.7, rstride=1, cstride=1, shade=False, zorder=1
    )
    for k, line in enumerate(lines):
        _draw_line(axes, project(F(line)), k)
    axes.set_aspect("equal")
    axes.locator_params(nbins=4)
    axes.set_title(f"F(K) in $\\mathrm{{R}}^{{{F.ambient_dim}}}${shown}")
    return scale


def _draw_curve(axes, F: IsometricEmbedding, paths: Any, color: str) -> ScalarMappable | None:
    """Draw a one-dimensional F: against w for D = 1, in the plane for D = 2, projected to space for more."""
    lines = _lines(F, paths)
    w = _grid(F, lines)
    scale, colours = _colours(F, w, color)
    project, shown = _projection(F, w)

    def place(w):
        x = F(w)
        if F.ambient_dim == 1:
            return np.concatenate([w, x], axis=-1)
        return x if F.ambient_dim == 2 else project(x)

    axes.plot(*place(w).T, color="lightsteelblue", zorder=1)
    if scale is not None:
        axes.scatter(*place(w).T, c=colours, s=9, zorder=2)
    for k, line in enumerate(lines):
        _draw_line(axes, place(line), k)
    if F.ambient_dim == 1:
        axes.set(xlabel="w", ylabel="F(w)")
    else:
        axes.set_aspect("equal")
    axes.set_title(f"F(K) in $\\mathrm{{R}}^{{{F.ambient_dim}}}${shown}")
    return scale


def _draw_line(axes, line: np.ndarray, k: int) -> None:
    """Draw a path from a square to a dot."""
    color = COLOURS[k % len(COLOURS)]
    axes.plot(*line.T, color=color, linewidth=2, zorder=3)
    axes.plot(*line[:1].T, "s", color=color, markersize=4, zorder=3)
    axes.plot(*line[-1:].T, "o", color=color, markersize=5, zorder=3)


def _projection(F: IsometricEmbedding, w: np.ndarray) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
    """Return the map onto the first three principal axes of F(w), and what to say of it."""
    x = F(w).reshape(-1, F.ambient_dim)
    centre = x.mean(axis=0)
    _, singular, principal = np.linalg.svd(x - centre, full_matrices=False)
    frame = np.zeros((3, F.ambient_dim))
    frame[: min(3, len(principal))] = principal[:3]

    def project(x):
        return (x - centre) @ frame.T

    if F.ambient_dim <= 3:
        return project, ""
    variance = (singular[:3] ** 2).sum() / (singular**2).sum()
    # The mean over the directions of what is left of a length's square: tr(ĝ^{-1} JᵀPᵀP J)/d.
    J = F.jacobian(w.reshape(-1, F.dim))
    seen = frame @ J
    metric = np.swapaxes(J, -1, -2) @ J
    kept = np.linalg.solve(metric, np.swapaxes(seen, -1, -2) @ seen)
    lengths = np.trace(kept, axis1=-2, axis2=-1).mean() / F.dim
    return project, (
        f", projected to its first 3 principal axes:\n{100 * variance:.1f} % of its variance, "
        f"{100 * lengths:.1f} % of squared lengths"
    )


def _colours(
    F: IsometricEmbedding, w: np.ndarray, color: str
) -> tuple[ScalarMappable | None, np.ndarray | None]:
    """Return the scale and the colours at w; None for the metric defect if the metric is not known."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    if color == "defect":
        if F.metric is None:
            return None, None
        values = np.log10(np.maximum(F.metric_defect(w), LEAST_DEFECT))
        # A spread of rounding errors is no picture: at least one order of magnitude.
        scale = ScalarMappable(Normalize(values.min(), max(values.max(), values.min() + 1)), "viridis")
    elif color == "curvature":
        if F.dim == 1:
            raise ShapeError('A curve has no Gauss curvature: pass color="mean curvature".')
        values = 0.5 * _metric(F).scalar_curvature(w)
        most = np.abs(values).max() or 1.0
        scale = ScalarMappable(Normalize(-most, most), "coolwarm")
    else:
        values = np.linalg.norm(_metric(F).mean_curvature_vector(w), axis=-1)
        scale = ScalarMappable(Normalize(0.0, values.max() or 1.0), "viridis")
    return scale, scale.to_rgba(values)


def _metric(F: IsometricEmbedding) -> Any:
    # geomstats takes a second to import.
    from riemflow.geometry import EmbeddedSubmanifold

    return EmbeddedSubmanifold(F).metric


def _lines(F: IsometricEmbedding, paths: Any) -> list[np.ndarray]:
    """Return each path's points in order, dense between the output times of a flow: shapes=[T, d]."""
    single = isinstance(paths, Flow) or (isinstance(paths, np.ndarray) and paths.ndim == 2)
    lines = []
    for path in (paths,) if single else paths:
        if isinstance(path, Flow):
            steps = np.linspace(0.0, 1.0, 10)[1:-1, None] * np.diff(path.t)
            fine = np.unique(np.concatenate([path.t, (path.t[:-1] + steps).ravel()]))
            path = path.w if path._solution is None else path.sol(fine)
        line = as_points("path", path, F.dim)
        if line.ndim != 2 or len(line) == 0:
            raise ShapeError(f"A path has shape {line.shape}, but must be a Flow or have shape [T, {F.dim}].")
        lines.append(line)
    return lines


def _grid(F: IsometricEmbedding, lines: list[np.ndarray]) -> np.ndarray:
    """Return a grid of w on F's region, or around the lines if F is global: shape=[GRID, …, GRID, d]."""
    region, s = F.region, np.linspace(0, 1, GRID)
    if region is None and not lines:
        raise ShapeError("This embedding is global: pass paths, so that the picture knows where to look.")
    if region is not None and F.dim == 2 and not isinstance(region, Box):
        share, angle = np.meshgrid(s, 2 * np.pi * s, indexing="ij")
        rays = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        grid = region.center + (share * _radii(region, rays[0]))[..., None] * rays
        if not region._belongs(grid).all():
            raise ShapeError(
                f"F(K) is drawn along rays from K's center, which leave {region!r} and come back: embed a "
                "box or a convex region around it."
            )
        return grid
    if region is not None:
        lower, upper = region.bounding_box()
    else:
        points = np.concatenate(lines)
        lower, upper = points.min(axis=0), points.max(axis=0)
        margin = 0.1 * np.maximum(upper - lower, 1e-3)
        lower, upper = lower - margin, upper + margin
    grid = lower + np.stack(np.meshgrid(*[s] * F.dim, indexing="ij"), axis=-1) * (upper - lower)
    if region is None:
        # The lines lie in a convex domain, the corners of a box around them perhaps not.
        middle = np.concatenate(lines).mean(axis=0)
        for _ in range(60):
            if F._belongs(grid).all():
                break
            grid = middle + 0.9 * (grid - middle)
    return grid


def _radii(region: Region, rays: np.ndarray) -> np.ndarray:
    """Return how far a region reaches from its center along each ray, by bisection: shape=[n]."""
    lower, upper = region.bounding_box()
    inside, outside = np.zeros(len(rays)), np.full(len(rays), 2 * np.linalg.norm(upper - lower))
    for _ in range(60):
        middle = 0.5 * (inside + outside)
        belongs = region._belongs(region.center + middle[:, None] * rays)
        inside, outside = np.where(belongs, middle, inside), np.where(belongs, outside, middle)
    return inside
