"""Pictures of flows: reports, schedules of losses and witnesses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from riemflow.embedding import IsometricEmbedding
from riemflow.errors import DomainError, RiemflowError, ShapeError
from riemflow.flows import gradient_flow
from riemflow.plotting.embeddings import draw_surface
from riemflow.plotting.figure import pyplot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from riemflow.commuting.witness import Witness
    from riemflow.equivalence import EquivalenceReport
    from riemflow.flows import Flow
    from riemflow.losses import Piecewise
    from riemflow.parametrizations.parametrization import Parametrization


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
    plt = pyplot()
    F = report.embedding
    surface = isinstance(F, IsometricEmbedding) and F.dim == 2  # an atlas has one for every chart
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
    if isinstance(F, IsometricEmbedding) and surface:
        flow = next(flow for flow in report.flows.values() if flow.x is not None)
        panel = figure.add_subplot(1, 2, 2, projection="3d")
        colours = draw_surface(panel, F, flow)
        if colours is not None:
            figure.colorbar(colours, ax=panel, shrink=0.7, label="log₁₀ of the metric defect")
    return figure


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
