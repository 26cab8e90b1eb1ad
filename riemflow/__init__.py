"""riemflow: gradient flow on a parametrization is mirror flow, and the other way round, numerically."""

from riemflow import legendre
from riemflow.errors import (
    ConvergenceError,
    DomainError,
    NoClosedFormError,
    NotMirrorFlowError,
    RiemflowError,
    ShapeError,
)
from riemflow.legendre.function import LegendreFunction

__version__ = "0.1.0"

__all__ = [
    "ConvergenceError",
    "DomainError",
    "LegendreFunction",
    "NoClosedFormError",
    "NotMirrorFlowError",
    "RiemflowError",
    "ShapeError",
    "legendre",
]
