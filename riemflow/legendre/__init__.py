"""Legendre functions: their algebra, their conjugates, and a catalogue with analytic derivatives."""

from riemflow.legendre.algebra import product
from riemflow.legendre.barriers import LogDet, LorentzBarrier
from riemflow.legendre.discrete_families import (
    Bernoulli,
    Binomial,
    Categorical,
    Geometric,
    Multinomial,
    NegativeBinomial,
    Poisson,
)
from riemflow.legendre.entropies import (
    BurgEntropy,
    FermiDirac,
    HyperbolicEntropy,
    NegativeEntropy,
    TsallisEntropy,
)
from riemflow.legendre.exponential_family import ExponentialFamily
from riemflow.legendre.families import Beta, Dirichlet, Exponential, Gamma
from riemflow.legendre.function import LegendreFunction
from riemflow.legendre.normal_families import CenteredNormal, MultivariateNormal, Normal
from riemflow.legendre.partition import LogPartition, LogSumExp, SimplexEntropy
from riemflow.legendre.quadratic import Quadratic, SquaredNorm
from riemflow.legendre.ridge import LogBarrier, SoftplusSum

__all__ = [
    "Bernoulli",
    "Beta",
    "Binomial",
    "BurgEntropy",
    "Categorical",
    "CenteredNormal",
    "Dirichlet",
    "Exponential",
    "ExponentialFamily",
    "FermiDirac",
    "Gamma",
    "Geometric",
    "HyperbolicEntropy",
    "LegendreFunction",
    "LogBarrier",
    "LogDet",
    "LogPartition",
    "LogSumExp",
    "LorentzBarrier",
    "Multinomial",
    "MultivariateNormal",
    "NegativeBinomial",
    "NegativeEntropy",
    "Normal",
    "Poisson",
    "Quadratic",
    "SimplexEntropy",
    "SoftplusSum",
    "SquaredNorm",
    "TsallisEntropy",
    "product",
]
