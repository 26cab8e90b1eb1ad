"""A number that should vanish, next to the noise it was measured in."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

FLOOR = 1e-13  # no noise is taken to be smaller: rounding in G itself
ZERO, CLEAR = 30.0, 300.0  # times the noise: below is zero, above is not
LOUD = 1e-4  # with more noise than this nothing is said


@dataclass(frozen=True)
class Defect:
    """A relative size that vanishes in exact arithmetic if a property holds.

    Attributes
    ----------
    value : float
    noise : float
        What the computation itself leaves, measured on quantities that vanish for every G.
    point : array, shape=[D]
        Where it is largest.
    """

    value: float
    noise: float
    point: np.ndarray = field(repr=False)

    @property
    def vanishes(self) -> bool | None:
        """True up to 30 times the noise, False from 300 times on, None between: the numbers cannot tell."""
        noise = max(self.noise, FLOOR)
        if not np.isfinite(self.value) or not noise <= LOUD:
            return None
        return True if self.value <= ZERO * noise else False if self.value >= CLEAR * noise else None

    def __str__(self) -> str:
        return f"{self.value:.2g} (noise {max(self.noise, FLOOR):.0e})"
