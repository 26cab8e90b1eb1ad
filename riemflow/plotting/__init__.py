"""Pictures of flows, embeddings and reports. Matplotlib is imported when one is drawn."""

from riemflow.plotting.embeddings import draw_surface, plot_convergence, plot_embedding
from riemflow.plotting.flows import draw_schedules, draw_witness, plot_report

__all__ = [
    "draw_schedules",
    "draw_surface",
    "draw_witness",
    "plot_convergence",
    "plot_embedding",
    "plot_report",
]
