"""Gradient flow through the inverse of F, or of an atlas's charts one after the other, and R̂ made of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from riemflow.commuting import legendre_from_parametrization
from riemflow.embedding import Atlas, IsometricEmbedding
from riemflow.equivalence.report import Rounding, relative, rounding_of
from riemflow.flows import Flow, atlas_flow, gradient_flow
from riemflow.legendre.function import LegendreFunction


@dataclass(frozen=True)
class Stretch:
    """The part of a flow that runs through one F: w and x, shapes=[n, d], [n, D]; and which chart F is."""

    F: IsometricEmbedding
    w: np.ndarray
    x: np.ndarray
    chart: int | None = None


@dataclass(frozen=True)
class Passage:
    """A flow through one F or many.

    Attributes
    ----------
    flow : Flow
    stretches : tuple of Stretch
        One for each F.
    notes : tuple of str
    """

    flow: Flow
    stretches: tuple[Stretch, ...]
    notes: tuple[str, ...] = ()

    def drift(self) -> float:
        """Return how far x is off M, relatively."""
        return max(relative(part.x, part.F(part.w)) for part in self.stretches)

    def rounding(self, R: LegendreFunction) -> Rounding:
        """Return what rounding makes of w and of ∇R(w), the most of all parts."""
        found = [
            rounding_of(part.F.parametrization(), part.x, part.w, R.gradient(part.w), R.hessian(part.w))
            for part in self.stretches
        ]
        return Rounding(max(one.w for one in found), max(one.mu for one in found))

    def round_trip(self, R: LegendreFunction, rounding: float) -> float:
        """Return the largest |∇R̂ - ∇R| beyond rounding, R̂ made of each G from where the flow enters it."""
        worst = 0.0
        for part in self.stretches:
            R_hat = legendre_from_parametrization(part.F.parametrization(), part.F(part.w[0]), check=False)
            true = R.gradient(part.w) - R.gradient(part.w[0])
            gap = np.abs(R_hat.gradient(part.w) - true).max()
            worst = max(worst, float(gap - rounding)) if np.isfinite(gap) else np.inf
        return worst

    def injectivity(self) -> list[str]:
        """Return a note on each F that has a region."""
        known = [part for part in self.stretches if part.F.region is not None]
        names = ["" if part.chart is None else f"chart {part.chart}: " for part in known]
        return [
            f"{name}{part.F.injectivity}; {part.F.reach}" for name, part in zip(names, known, strict=True)
        ]


def through(F: Any, loss: Any, w_init: np.ndarray, times: np.ndarray, fine: dict[str, Any]) -> Passage:
    """Return the gradient flow through the inverse of F, or through an atlas."""
    if not isinstance(F, Atlas):
        fine = fine | {"formulation": "parameters"}
        flow = gradient_flow(F.parametrization(), loss, F(w_init), times, **fine)
        return Passage(flow, (Stretch(F, flow.w, required(flow.x)),))
    flow = atlas_flow(F, loss, w_init, times, **fine)
    switches, own = flow.stats["switches"], flow.stats["charts"]
    crossed = list(dict.fromkeys([int(own[0]), *(after for _, _, after in switches)]))
    places = flow.sol(np.array([t for t, _, _ in switches])) if switches else np.zeros((0, F.dim))
    stretches = []
    for k in crossed:
        # At a change of chart the w belongs to both.
        shared = np.array([k in (before, after) for _, before, after in switches], dtype=bool)
        w = np.concatenate([flow.w[own == k], places[shared]])
        x = np.concatenate([required(flow.x)[own == k], F.charts[k](places[shared])])
        stretches.append(Stretch(F.charts[k], w, x, k))
    notes = (
        f"an atlas: the flow crosses {len(crossed)} of {len(F.charts)} charts with {len(switches)} changes; "
        "that is not one F, and there is no one G",
        "∇R̂ is that of each chart crossed, along the flow in it",
    )
    return Passage(flow, tuple(stretches), notes)


def required(x: np.ndarray | None) -> np.ndarray:
    """Return the x of a flow that has one."""
    assert x is not None  # a gradient flow's
    return x
