"""Legendre functions: their algebra, their conjugates, and a catalogue with analytic derivatives."""

from riemflow.legendre.algebra import product
from riemflow.legendre.barriers import LogDet, LorentzBarrier
from riemflow.legendre.entropies import (
    BurgEntropy,
    FermiDirac,
    HyperbolicEntropy,
    NegativeEntropy,
    TsallisEntropy,
)
from riemflow.legendre.exponential_family import ExponentialFamily
from riemflow.legendre.families import Beta, Dirichlet, Gamma, Normal
from riemflow.legendre.function import LegendreFunction
from riemflow.legendre.partition import LogPartition, LogSumExp, SimplexEntropy
from riemflow.legendre.quadratic import Quadratic, SquaredNorm
from riemflow.legendre.ridge import LogBarrier, SoftplusSum

__all__ = [
    "Beta",
    "BurgEntropy",
    "Dirichlet",
    "ExponentialFamily",
    "FermiDirac",
    "Gamma",
    "HyperbolicEntropy",
    "LegendreFunction",
    "LogBarrier",
    "LogDet",
    "LogPartition",
    "LogSumExp",
    "LorentzBarrier",
    "NegativeEntropy",
    "Normal",
    "Quadratic",
    "SimplexEntropy",
    "SoftplusSum",
    "SquaredNorm",
    "TsallisEntropy",
    "product",
]
