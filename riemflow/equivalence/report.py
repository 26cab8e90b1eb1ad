"""What a verification found, and how deviations are measured: beyond what rounding alone makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from riemflow.embedding import Atlas, IsometricEmbedding
from riemflow.errors import DomainError
from riemflow.flows import Flow
from riemflow.legendre.function import LegendreFunction
from riemflow.parametrizations.parametrization import Parametrization
from riemflow.validation import as_number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_TIMES = 41  # output times at which flows are compared
ULPS = 4.0 * np.finfo(float).eps  # relative accuracy with which F, G and ∇R are taken to be evaluated


@dataclass(frozen=True)
class EquivalenceReport:
    """What a verification found.

    Attributes
    ----------
    direction : "forward" or "reverse"
    subject : name of the G or R that was verified
    deviations : name -> relative deviation; each should vanish in exact arithmetic
    tolerance : the bound on every deviation
    passed : whether all deviations are below the tolerance
    notes : what each check rests on, one line each
    flows : name -> Flow, the same flow in its formulations
    legendre, parametrization, embedding : R, G and F (or None), those given and those constructed; through an
        atlas there is no one G, and `embedding` is the `Atlas`
    """

    direction: str
    subject: str
    deviations: Mapping[str, float]
    tolerance: float
    notes: tuple[str, ...] = ()
    flows: Mapping[str, Flow] = field(default_factory=dict, repr=False)
    legendre: LegendreFunction | None = field(default=None, repr=False)
    parametrization: Parametrization | None = field(default=None, repr=False)
    embedding: IsometricEmbedding | Atlas | None = field(default=None, repr=False)

    @property
    def passed(self) -> bool:
        """Whether every deviation is finite and at most the tolerance."""
        return bool(self.deviations) and all(value <= self.tolerance for value in self.deviations.values())

    def __str__(self) -> str:
        width = max(map(len, self.deviations), default=0)
        lines = [f"{self.direction} equivalence of {self.subject}: {'PASSED' if self.passed else 'FAILED'}"]
        for name, value in self.deviations.items():
            mark = "ok" if value <= self.tolerance else "TOO LARGE"
            lines.append(f"  {name:<{width}}  {value:9.2e}  <= {self.tolerance:.0e}  {mark}")
        return "\n".join(lines + [f"  {note}" for note in self.notes])

    def to_dict(self) -> dict[str, Any]:
        """Return the report's figures as plain Python values, ready for JSON."""
        return {
            "direction": self.direction,
            "subject": self.subject,
            "passed": self.passed,
            "tolerance": self.tolerance,
            "deviations": dict(self.deviations),
            "notes": list(self.notes),
        }

    def plot(self) -> Figure:
        """Draw the trajectories one over another and, for d = 2, the embedded surface with the flow on it."""
        from riemflow.plotting import plot_report

        return plot_report(self)


def comparison_times(t: Any) -> np.ndarray:
    """Return the times from 0 to t at which flows are compared."""
    return np.linspace(0.0, as_number("t", t, above=0.0), N_TIMES)


@dataclass(frozen=True)
class Rounding:
    """How far rounding alone moves a difference of two weights, and of two dual points, on a trajectory."""

    w: float
    mu: float


def rounding_of(
    G: Parametrization, x: np.ndarray, w: np.ndarray, mu: np.ndarray, hessian: np.ndarray
) -> Rounding:
    """Bound the rounding of w = G(x) and μ = ∇R(w) to first order, each at both ends of a difference.

    x is rounded by ε|x|, hence w by ε(|w| + |∂G||x|) and μ by ε|μ| + |∇²R| times that. Where the flow
    is so short that μ hardly changes, or w is a small difference of large numbers, no more is known.
    """
    sizes = np.abs(w) + np.einsum("nij,nj->ni", np.abs(G.jacobian(x)), np.abs(x))
    dual_sizes = np.abs(mu) + np.einsum("nij,nj->ni", np.abs(hessian), sizes)
    bounds = [2 * ULPS * float(size.max()) for size in (sizes, dual_sizes)]
    return Rounding(*(bound if np.isfinite(bound) else 0.0 for bound in bounds))  # no excuse for overflow


def relative(a: np.ndarray | None, b: np.ndarray | None, rounding: float = 0.0) -> float:
    """Largest difference beyond rounding, over the largest entry of b: one number for two trajectories."""
    a, b = np.asarray(a), np.asarray(b)
    beyond = np.maximum(np.abs(a - b) - rounding, 0.0)
    return float(beyond.max() / max(np.abs(b).max(), np.finfo(float).tiny))


def unresolved(w: np.ndarray, dual: np.ndarray, rounding: Rounding, tolerance: float) -> list[str]:
    """Return a note for each quantity that is too small next to its rounding for the tolerance to be seen."""
    known = {"w": (w, rounding.w), "the change of ∇R": (dual, rounding.mu)}
    return [
        f"{name} is {np.abs(values).max():.1e} at most and, by rounding, known to {error:.0e} only: a longer "
        "t or another start shows more"
        for name, (values, error) in known.items()
        if error > tolerance * np.abs(values).max()
    ]


def require(kind: type, function: str, given: Any) -> None:
    """Raise a `DomainError` unless `given` is of this kind; the usual slip is to swap R and G."""
    if not isinstance(given, kind):
        other = {"verify_forward": "verify_reverse", "verify_reverse": "verify_forward"}[function]
        swapped = isinstance(given, LegendreFunction | Parametrization)
        remedy = f"use {other} for it" if swapped else f"wrap a function as {kind.__name__}(…)"
        raise DomainError(f"{function} needs a {kind.__name__}, but got a {type(given).__name__}: {remedy}.")


def flow_deviations(flows: Mapping[str, Flow], reference: str, rounding: float) -> dict[str, float]:
    """Return how far each flow's w(t) is from that of the reference."""
    return {
        f"w(t): {name} against {reference}": relative(flow.w, flows[reference].w, rounding)
        for name, flow in flows.items()
        if name != reference
    }
