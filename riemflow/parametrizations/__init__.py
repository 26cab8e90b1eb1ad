"""Parametrizations w = G(x), and a catalogue with analytic Jacobians and Hessians."""

from riemflow.parametrizations.convolution import CircularConvolution
from riemflow.parametrizations.matrices import (
    AsymmetricFactorization,
    DeepLinear,
    DiagonalMeasurements,
    MatrixFactorization,
)
from riemflow.parametrizations.parametrization import Parametrization
from riemflow.parametrizations.quadratic import Quadratic
from riemflow.parametrizations.quotients import HopfCone, ScrewQuotient
from riemflow.parametrizations.separable import (
    Exponential,
    Hadamard,
    HadamardDifference,
    HadamardProduct,
    Identity,
)
from riemflow.parametrizations.spherical import Spherical
from riemflow.parametrizations.submanifold import Submanifold

__all__ = [
    "AsymmetricFactorization",
    "CircularConvolution",
    "DeepLinear",
    "DiagonalMeasurements",
    "Exponential",
    "Hadamard",
    "HadamardDifference",
    "HadamardProduct",
    "HopfCone",
    "Identity",
    "MatrixFactorization",
    "Parametrization",
    "Quadratic",
    "ScrewQuotient",
    "Spherical",
    "Submanifold",
]
