"""What a step of a flow must not jump over: gaps of the domain of G, and cuts across which G jumps."""

from __future__ import annotations

import numpy as np

from riemflow.parametrizations.parametrization import Parametrization

BETWEEN = np.linspace(0.0, 1.0, 17)[1:-1]  # where on a step membership in the domain is asked for
JUMP = 1e-6  # relative to G: far above the error of a step, far below the jump at a branch cut


class StepGuard:
    """Rejects steps that cross the edge of the domain between two points inside it.

    A step of the integrator can pass over a hole: so membership is asked for along its chord. A
    branch cut has no inside at all; there G(x) jumps, while its integral along the flow does not. A
    sum of the G_j, the "height", is therefore carried along with x, and must agree with G(x). Sets thinner
    than a sixteenth of a step, across which G is continuous, are not seen.

    Parameters
    ----------
    x : array, shape=[n, D]
        The starts.
    scale : array, shape=[n]
        The distance over which the field changes.
    """

    def __init__(self, G: Parametrization, x: np.ndarray, scale: np.ndarray):
        self.G, self.last = G, x.copy()
        with np.errstate(all="ignore"):
            slopes = np.linalg.norm(G._jacobian(x), axis=-1) * scale[:, None]
        # Uneven weights, so that two jumps do not cancel.
        uneven = 1.0 + 1.0 / (2.0 + np.arange(G.dim))
        self.weights = uneven / np.where(slopes > 0, slopes, 1.0)
        self.height = self._height(x, np.arange(len(x)))

    def _height(self, x: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return (self.G._fun(x) * self.weights[rows]).sum(axis=-1)

    def height_rate(
        self, x: np.ndarray, fields: np.ndarray, velocity: np.ndarray, rows: np.ndarray
    ) -> np.ndarray:
        """The rate of the height at x [k, D] for the fields [k, d, D] there and a velocity [k, D] along M."""
        # Under a metric of M's own the fields are not the differential of G.
        own_metric = getattr(self.G, "_inverse_metric", None) is not None
        J = self.G._jacobian(x) if own_metric else fields
        # Weighted first: it may be as large as float64 goes.
        slope = (J * self.weights[rows][..., None]).sum(axis=-2)
        return (slope * velocity).sum(axis=-1)

    def passed(self, x: np.ndarray, height: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the height of G at the new points x [k, D], NaN for a step that must not be accepted."""
        ahead = self._height(x, rows)
        before = self.last[rows]
        chord = before[:, None] + BETWEEN[:, None] * (x - before)[:, None]
        inside = np.asarray(self.G._belongs(chord)).all(axis=-1) & np.asarray(self.G._belongs(x))
        good = inside & ~(np.abs(ahead - height) > JUMP * (1.0 + np.abs(ahead) + np.abs(height)))
        self.last[rows[good]] = x[good]
        return np.where(good, ahead, np.nan)

    def edge_ahead(self, x: np.ndarray, step: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Tell whether the short steps from x [k, D] end outside the domain or across a cut: bool [k]."""
        there = x + step
        with np.errstate(all="ignore"):
            expected = self._height(x, rows)
            expected = expected + self.height_rate(x, self.G._jacobian(x), step, rows)
            ahead = self._height(there, rows)
            outside = ~np.asarray(self.G._belongs(there)) | np.isnan(ahead)
            bound = JUMP * (1.0 + np.abs(ahead) + np.abs(expected))
            return outside | (np.abs(ahead - expected) > bound)
