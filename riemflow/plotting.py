"""Pictures of flows, embeddings and reports. Matplotlib is imported when one is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from riemflow.embedding import Ball, Box, IsometricEmbedding, Tube
from riemflow.embedding.star import Star
from riemflow.errors import DomainError, RiemflowError, ShapeError
from riemflow.flows import gradient_flow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from riemflow.commuting.witness import Witness
    from riemflow.equivalence import EquivalenceReport
    from riemflow.flows import Flow
    from riemflow.losses import Piecewise
    from riemflow.parametrizations.parametrization import Parametrization

GRID = 60  # points a side of the drawn surface


def plot_report(report: EquivalenceReport) -> Figure:
    """Draw w(t) from every formulation, one over another; for d = 2 also the surface and the flow on it.

    Raises
    ------
    RiemflowError
        If the report compared no flows (a G refused before any was run).
    """
    if not report.flows:
        raise RiemflowError(
            f"There is nothing to draw: {report.subject} was refused before any flow was run."
        )
    plt = _pyplot()
    F = report.embedding
    surface = F is not None and F.dim == 2
    figure = plt.figure(figsize=(11 if surface else 6.5, 4.5), layout="constrained")
    axes = figure.add_subplot(1, 2 if surface else 1, 1)
    styles = ["-", "--", ":", "-."]
    for k, (name, flow) in enumerate(report.flows.items()):
        for i in range(flow.w.shape[1]):
            axes.plot(
                flow.t,
                flow.w[:, i],
                styles[k % len(styles)],
                color=f"C{i}",
                linewidth=5 - k if k < 4 else 1,
                alpha=0.35 + 0.2 * min(k, 3),
                label=name if i == 0 else None,
            )
    axes.set(xlabel="t", ylabel="w(t)", title=f"{report.subject}: one flow, {len(report.flows)} ways")
    axes.legend()
    if F is not None and surface:
        flow = next(flow for flow in report.flows.values() if flow.x is not None)
        draw_surface(figure.add_subplot(1, 2, 2, projection="3d"), F, flow)
    return figure


def draw_surface(axes, F: IsometricEmbedding, flow: Flow | None = None) -> None:
    """Draw the image of a two-dimensional F in its best three-dimensional projection, and a flow on it.

    The projection is onto the first three principal axes of the surface; the title says how much of
    its variance they show. Colour is log10 of the metric defect.
    """
    if F.dim != 2:
        raise ShapeError(f"A surface needs d = 2, but this embedding has d = {F.dim}.")
    w = _grid(F, flow)
    x = F(w.reshape(-1, 2))
    centre = x.mean(axis=0)
    _, singular, axes_of_surface = np.linalg.svd(x - centre, full_matrices=False)
    frame = np.zeros((3, F.ambient_dim))
    frame[: min(3, len(axes_of_surface))] = axes_of_surface[:3]
    shown = (singular[:3] ** 2).sum() / (singular**2).sum()
    points = ((x - centre) @ frame.T).reshape(GRID, GRID, 3)
    defect = np.log10(np.maximum(F.metric_defect(w.reshape(-1, 2)), 1e-17)).reshape(GRID, GRID)
    plt = _pyplot()
    low, high = defect.min(), max(defect.max(), defect.min() + 1)
    colors = plt.get_cmap("viridis")((defect - low) / (high - low))
    axes.plot_surface(
        *np.moveaxis(points, -1, 0), facecolors=colors, alpha=0.6, rstride=1, cstride=1, shade=False
    )
    if flow is not None:
        line = (F(flow.w) - centre) @ frame.T
        axes.plot(*line.T, color="crimson", linewidth=2.5)
        axes.scatter(*line[-1], color="crimson")
    axes.set_title(
        f"F(K) in R^{F.ambient_dim}, {100 * shown:.0f} % of its variance\n"
        f"log10 defect {low:.0f} to {high:.0f}"
    )


def draw_schedules(
    axes, G: Parametrization, losses: Sequence[Piecewise], x_init: Any, t_end: float
) -> list[Flow]:
    """Draw the first two weights under gradient flow from x_init, a path for each schedule of losses.

    The start is a square, the ends are dots. Returns the flows.
    """
    if G.dim < 2:
        raise ShapeError(f"Paths are drawn in a plane, but {G.name} has d = {G.dim}: it needs d ≥ 2.")
    flows = [gradient_flow(G, loss, x_init, float(t_end), rtol=1e-10) for loss in losses]
    for k, flow in enumerate(flows):
        path = flow.sol(np.linspace(0.0, t_end, 401))
        # Paths retraced, or shared with another schedule, stay visible: later ones are thinner.
        axes.plot(*path[:, :2].T, color=f"C{k}", linewidth=max(4.5 - 2 * k, 1.0), alpha=0.8)
        axes.plot(*flow.w[-1, :2], "o", color=f"C{k}", markersize=max(11 - 4 * k, 4))
    axes.plot(*flows[0].w[0, :2], "ks", markersize=5)
    axes.set(xlabel="w₁", ylabel="w₂")
    return flows


def draw_witness(axes, G: Parametrization, witness: Witness, x_init: Any) -> list[Flow]:
    """Draw the two schedules of a `Witness`: equal ∫∇L dt from x_init, and ends that differ.

    The flows are computed afresh, and must end where the witness says. Only the first two weights are
    drawn; the gap in the title is that of all.

    Returns
    -------
    list of Flow

    Raises
    ------
    DomainError
        If the flows end elsewhere: the witness belongs to another x_init, or another G.
    ShapeError
        If d = 1.
    """
    flows = draw_schedules(axes, G, witness.losses, x_init, witness.t_end)
    ends = np.array([flow.w[-1] for flow in flows])
    off = np.abs(ends - witness.w).max() / np.abs(ends - flows[0].w[0]).max()
    if not off <= 1e-6:
        raise DomainError(
            f"From x_init the schedules of the witness end {off:.1e} away from where it says, relative to "
            "how far they go: pass the G and the x_init that it was found with."
        )
    axes.set_title(f"equal ∫∇L dt, w {witness.gap:.2g} apart (error {witness.error:.0e})")
    return flows


def _grid(F: IsometricEmbedding, flow: Flow | None) -> np.ndarray:
    """Return a grid of w, shape=[GRID, GRID, 2], on F's region, or around the flow if F is global."""
    region = F.region
    s = np.linspace(0, 1, GRID)
    if isinstance(region, Ball | Star):
        radius, angle = np.meshgrid(s, 2 * np.pi * s, indexing="ij")
        circle = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        length = region.radius if isinstance(region, Ball) else region.rays(circle)[..., None]
        return region.center + length * radius[..., None] * circle
    if isinstance(region, Tube):
        raise ShapeError(
            "A tube has no grid of two coordinates to draw: embed a Box or a Polytope around it."
        )
    if isinstance(region, Box):
        lower, upper = region.lower, region.upper
    elif flow is not None:
        # The flow lies in the convex domain, and so does the smallest box around it for a product domain;
        # for others the grid is pulled towards the flow's mean until it is inside.
        lower, upper = flow.w.min(axis=0), flow.w.max(axis=0)
        size = np.maximum(upper - lower, 1e-3)
        lower, upper = lower - 0.1 * size, upper + 0.1 * size
    else:
        raise ShapeError("This embedding is global: pass a flow, so that the picture knows where to look.")
    corner = np.stack(np.meshgrid(s, s, indexing="ij"), axis=-1)
    grid = lower + corner * (upper - lower)
    middle = grid.mean(axis=(0, 1)) if flow is None else flow.w.mean(axis=0)
    for _ in range(60):
        if F.R is None or F.R._belongs(grid).all():
            break
        grid = middle + 0.9 * (grid - middle)
    return grid


def _pyplot():
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise RiemflowError("Pictures need matplotlib: pip install 'riemflow[plot]'.") from error
    return plt
