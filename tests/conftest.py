"""What every test shares."""

from __future__ import annotations

import os

# Before matplotlib is imported by anything: tests draw, but there is no screen.
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np
import pytest


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed, new for each test, so that tests do not depend on their order."""
    return np.random.default_rng(20220703)
