"""Every Legendre function of the catalogue with an independent oracle: its formula, written out plainly.

The formulas serve autograd. They know nothing of stability, so points to be compared lie well inside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import autograd.numpy as anp
import numpy as np
from autograd.scipy.special import gammaln

from riemflow.legendre import (
    Bernoulli,
    Beta,
    Binomial,
    BurgEntropy,
    Categorical,
    CenteredNormal,
    Dirichlet,
    Exponential,
    FermiDirac,
    Gamma,
    Geometric,
    HyperbolicEntropy,
    LegendreFunction,
    LogBarrier,
    LogDet,
    LogPartition,
    LogSumExp,
    LorentzBarrier,
    Multinomial,
    MultivariateNormal,
    NegativeBinomial,
    NegativeEntropy,
    Normal,
    Poisson,
    Quadratic,
    SimplexEntropy,
    SoftplusSum,
    SquaredNorm,
    TsallisEntropy,
)

Formula = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class LegendreCase:
    """A Legendre function, the formula of R, that of R* where known, points inside and points outside."""

    name: str
    make: Callable[[], LegendreFunction]
    plain: Formula
    sample: Callable[[np.random.Generator, int], np.ndarray]
    mirror_map: bool
    plain_conjugate: Formula | None = None
    outside: tuple = ()
    outside_conjugate: tuple = ()

    def points(self, n: int = 7, seed: int = 0) -> np.ndarray:
        return self.sample(np.random.default_rng(seed), n)

    def __str__(self) -> str:
        return self.name


def uniform(low: float, high: float, dim: int):
    return lambda rng, n: rng.uniform(low, high, (n, dim))


SPD = np.array([[2.0, 0.5, 0.1], [0.5, 1.0, -0.3], [0.1, -0.3, 0.8]])
U0, V0 = np.array([0.3, 1.5, 2.0]), np.array([0.7, 0.4, 2.0])
# A pentagon around the origin, and ridges in three directions and more than there are variables.
ANGLES = 2 * np.pi * np.arange(5) / 5
PENTAGON, SIDES = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1), np.array([1.0, 1.2, 0.9, 1.1, 1.0])
RIDGES, SHIFTS = np.array([[1.0, 0.2], [-0.5, 1.0], [0.3, -2.0], [1.0, 1.0]]), np.array([0.1, -0.4, 0.0, 1.0])
SUPPORT, WEIGHTS = (
    np.array([[0.0, 0.0], [1.0, 0.0], [0.3, 2.0], [-1.0, 1.0], [0.2, 0.4]]),
    np.arange(1.0, 6.0),
)


def simplex(rng: np.random.Generator, n: int) -> np.ndarray:
    return 0.1 + 0.6 * rng.dirichlet(np.ones(4), n)[:, :3]


def paraboloid(rng: np.random.Generator, n: int) -> np.ndarray:
    w = rng.uniform(-1.5, 1.5, (n, 3))
    w[:, 2] = 0.5 * (w[:, :2] ** 2).sum(axis=1) + rng.uniform(0.3, 3.0, n)
    return w


def positive_matrices(rng: np.random.Generator, n: int) -> np.ndarray:
    factor = rng.standard_normal((n, 3, 3))
    matrices = factor @ np.swapaxes(factor, -1, -2) + 0.5 * np.eye(3)
    rows, columns = np.triu_indices(3)
    return matrices[:, rows, columns]


def determinant(w):
    """The 3×3 determinant by Sarrus, of the upper triangle row by row."""
    a, b, c, d, e, f = (w[..., k] for k in range(6))
    return a * d * f + 2 * b * c * e - a * e**2 - d * c**2 - f * b**2


def simplex_entropy(w):
    s = 1 - anp.sum(w, axis=-1)
    return anp.sum(w * anp.log(w), axis=-1) + s * anp.log(s)


def log_sum_exp(w):
    return anp.log(1 + anp.sum(anp.exp(w), axis=-1))


def normal_log_partition(w):
    h1, h2, a, b, c = (w[..., k] for k in range(5))
    det = a * c - b**2
    return -(c * h1**2 - 2 * b * h1 * h2 + a * h2**2) / (4 * det) - 0.5 * anp.log(4 * det)


def binary_entropy(p):
    return p * anp.log(p) + (1 - p) * anp.log(1 - p)


def hyperbolic(w):
    root = anp.sqrt(w**2 + 4 * U0**2 * V0**2)
    arcsinh = anp.log((w + root) / (2 * U0 * V0))
    return anp.sum(0.25 * (w * arcsinh - root - w * np.log(U0 / V0)), axis=-1)


def tsallis(name: str, q: float, outside_conjugate: list) -> LegendreCase:
    return LegendreCase(
        name,
        lambda: TsallisEntropy(2, q),
        lambda w: anp.sum((w**q - w) / (q - 1), axis=-1),
        uniform(0.2, 3.0, 2),
        False,
        lambda mu: anp.sum(((1 + (q - 1) * mu) / q) ** (q / (q - 1)), axis=-1),
        outside=([0.0, 1.0], [1.0, -1.0]),
        outside_conjugate=(outside_conjugate,),
    )


CASES = [
    LegendreCase(
        "SquaredNorm",
        lambda: SquaredNorm(3),
        lambda w: anp.sum(w**2, axis=-1) / 2,
        uniform(-2, 2, 3),
        True,
        lambda mu: anp.sum(mu**2, axis=-1) / 2,
    ),
    LegendreCase(
        "Quadratic",
        lambda: Quadratic(SPD),
        lambda w: anp.sum(w * anp.dot(w, SPD), axis=-1) / 2,
        uniform(-2, 2, 3),
        True,
        lambda mu: anp.sum(mu * anp.dot(mu, np.linalg.inv(SPD)), axis=-1) / 2,
    ),
    LegendreCase(
        "NegativeEntropy",
        lambda: NegativeEntropy(3),
        lambda w: anp.sum(w * anp.log(w) - w, axis=-1),
        uniform(0.2, 3, 3),
        True,
        lambda mu: anp.sum(anp.exp(mu), axis=-1),
        outside=([0.0, 1.0, 1.0], [1.0, -1e-9, 1.0]),
    ),
    LegendreCase(
        "SimplexEntropy",
        lambda: SimplexEntropy(3),
        simplex_entropy,
        simplex,
        True,
        log_sum_exp,
        outside=([0.2, 0.3, 0.5], [0.0, 0.1, 0.1], [0.5, 0.6, 0.1]),
    ),
    LegendreCase(
        "BurgEntropy",
        lambda: BurgEntropy(3),
        lambda w: -anp.sum(anp.log(w), axis=-1),
        uniform(0.2, 3, 3),
        False,
        lambda mu: -3 - anp.sum(anp.log(-mu), axis=-1),
        outside=([0.0, 1.0, 1.0], [1.0, -1.0, 1.0]),
        outside_conjugate=([0.0, -1.0, -1.0], [1.0, -1.0, -1.0]),
    ),
    LegendreCase(
        "FermiDirac",
        lambda: FermiDirac(3),
        lambda w: anp.sum(w * anp.log(w) + (1 - w) * anp.log(1 - w), axis=-1),
        uniform(0.1, 0.9, 3),
        True,
        lambda mu: anp.sum(anp.log(1 + anp.exp(mu)), axis=-1),
        outside=([0.0, 0.5, 0.5], [0.5, 1.0, 0.5], [0.5, 0.5, -1.0]),
    ),
    LegendreCase(
        "HyperbolicEntropy",
        lambda: HyperbolicEntropy(U0, V0),
        hyperbolic,
        uniform(-3, 3, 3),
        True,
        # u0² e^{4μ} and v0² e^{-4μ} are the squares of the parameters that reach μ.
        lambda mu: anp.sum(U0**2 * anp.exp(4 * mu) + V0**2 * anp.exp(-4 * mu), axis=-1) / 4,
    ),
    tsallis("TsallisEntropy(1/2)", 0.5, [2.0, 0.0]),
    tsallis("TsallisEntropy(3)", 3.0, [-0.5, 0.0]),
    LegendreCase(
        "LogBarrier",
        lambda: LogBarrier(PENTAGON, SIDES),
        lambda w: -anp.sum(anp.log(SIDES - anp.dot(w, PENTAGON.T)), axis=-1),
        uniform(-0.5, 0.5, 2),
        True,
        outside=([1.0, 0.0], [-3.0, 0.0]),
    ),
    LegendreCase(
        "SoftplusSum",
        lambda: SoftplusSum(RIDGES, SHIFTS),
        lambda w: anp.sum(anp.log(1 + anp.exp(anp.dot(w, RIDGES.T) + SHIFTS)), axis=-1),
        uniform(-2, 2, 2),
        False,
        # The sum of the rows' positive parts bounds the gradient.
        outside_conjugate=([2.3, 0.0], [5.0, 5.0]),
    ),
    LegendreCase(
        "LogPartition",
        lambda: LogPartition(SUPPORT, WEIGHTS),
        lambda w: anp.log(anp.dot(anp.exp(anp.dot(w, SUPPORT.T)), WEIGHTS)),
        uniform(-2, 2, 2),
        False,
        # A vertex of the convex hull, a point on an edge, a point outside.
        outside_conjugate=([1.0, 0.0], [0.5, 0.0], [2.0, 2.0]),
    ),
    LegendreCase(
        "LogSumExp",
        lambda: LogSumExp(3),
        log_sum_exp,
        uniform(-2, 2, 3),
        False,
        simplex_entropy,
        outside_conjugate=([0.2, 0.3, 0.5], [0.0, 0.1, 0.1]),
    ),
    LegendreCase(
        "LorentzBarrier",
        lambda: LorentzBarrier(3),
        lambda w: -anp.log(w[..., 2] - (w[..., 0] ** 2 + w[..., 1] ** 2) / 2),
        paraboloid,
        False,
        lambda mu: -(mu[..., 0] ** 2 + mu[..., 1] ** 2) / (2 * mu[..., 2]) - 1 - anp.log(-mu[..., 2]),
        outside=([2.0, 0.0, 2.0], [0.0, 0.0, -1.0]),
        outside_conjugate=([1.0, 1.0, 0.0], [0.0, 0.0, 1.0]),
    ),
    LegendreCase(
        "LogDet",
        lambda: LogDet(3),
        lambda w: -anp.log(determinant(w)),
        positive_matrices,
        False,
        lambda mu: -3 - anp.log(determinant(-mu * np.array([1, 0.5, 0.5, 1, 0.5, 1]))),
        outside=([1.0, 1.0, 0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 0.0, -1.0, 0.0, -1.0]),
        outside_conjugate=([1.0, 0.0, 0.0, 1.0, 0.0, 1.0], [-1.0, 2.0, 0.0, -1.0, 0.0, -1.0]),
    ),
    LegendreCase(
        "Normal",
        Normal,
        lambda w: -(w[..., 0] ** 2) / (4 * w[..., 1]) - 0.5 * anp.log(-2 * w[..., 1]),
        lambda rng, n: np.stack([rng.uniform(-2, 2, n), -rng.uniform(0.2, 3, n)], axis=1),
        False,
        lambda mu: -0.5 - 0.5 * anp.log(mu[..., 1] - mu[..., 0] ** 2),
        outside=([0.0, 0.0], [1.0, 0.5]),
        outside_conjugate=([1.0, 1.0 - 1e-9], [1.0, 0.0]),
    ),
    LegendreCase(
        "Gamma",
        Gamma,
        lambda w: gammaln(w[..., 0]) - w[..., 0] * anp.log(-w[..., 1]),
        lambda rng, n: np.stack([rng.uniform(0.3, 4, n), -rng.uniform(0.3, 3, n)], axis=1),
        False,
        outside=([0.0, -1.0], [1.0, 0.0], [-1.0, -1.0]),
    ),
    LegendreCase(
        "Beta",
        Beta,
        lambda w: anp.sum(gammaln(w), axis=-1) - gammaln(anp.sum(w, axis=-1)),
        uniform(0.3, 4.0, 2),
        False,
        outside=([0.0, 1.0], [1.0, -0.1]),
    ),
    LegendreCase(
        "Dirichlet",
        lambda: Dirichlet(3),
        lambda w: anp.sum(gammaln(w), axis=-1) - gammaln(anp.sum(w, axis=-1)),
        uniform(0.3, 4.0, 3),
        False,
        outside=([0.0, 1.0, 1.0], [1.0, -0.1, 2.0]),
    ),
    LegendreCase(
        "CenteredNormal",
        lambda: CenteredNormal(2),
        lambda w: -0.5 * anp.log(4 * (w[..., 0] * w[..., 2] - w[..., 1] ** 2)),
        lambda rng, n: -rng.uniform([0.7, -0.5, 0.7], [2.0, 0.5, 3.0], (n, 3)),
        False,
        # Σ has half the off-diagonal coordinate.
        lambda mu: -1 - 0.5 * anp.log(mu[..., 0] * mu[..., 2] - mu[..., 1] ** 2 / 4),
        outside=([-1.0, -1.0, -1.0], [1.0, 0.0, -1.0]),
        outside_conjugate=([-1.0, 0.0, -1.0], [1.0, 2.0, 1.0]),
    ),
    LegendreCase(
        "MultivariateNormal",
        lambda: MultivariateNormal(2),
        normal_log_partition,
        lambda rng, n: -rng.uniform([-1, -1, 0.7, -0.5, 0.7], [1, 1, 2.0, 0.5, 3.0], (n, 5)),
        False,
        lambda mu: (
            -1
            - 0.5
            * anp.log(
                (mu[..., 2] - mu[..., 0] ** 2) * (mu[..., 4] - mu[..., 1] ** 2)
                - (mu[..., 3] / 2 - mu[..., 0] * mu[..., 1]) ** 2
            )
        ),
        outside=([0.0, 0.0, -1.0, -1.0, -1.0], [0.0, 0.0, 1.0, 0.0, -1.0]),
        outside_conjugate=([1.0, 0.0, 1.0, 0.0, 1.0], [0.0, 0.0, 1.0, 2.0, 1.0]),
    ),
    LegendreCase(
        "Exponential",
        Exponential,
        lambda w: -anp.log(-w[..., 0]),
        uniform(-3.0, -0.2, 1),
        False,
        lambda mu: -1 - anp.log(mu[..., 0]),
        outside=([0.0], [1.0]),
        outside_conjugate=([0.0], [-1.0]),
    ),
    LegendreCase(
        "Poisson",
        Poisson,
        lambda w: anp.exp(w[..., 0]),
        uniform(-2.0, 2.0, 1),
        False,
        lambda mu: mu[..., 0] * (anp.log(mu[..., 0]) - 1),
        outside_conjugate=([0.0], [-1.0]),
    ),
    LegendreCase(
        "Bernoulli",
        Bernoulli,
        lambda w: anp.log(1 + anp.exp(w[..., 0])),
        uniform(-2.0, 2.0, 1),
        False,
        lambda mu: binary_entropy(mu[..., 0]),
        outside_conjugate=([0.0], [1.0]),
    ),
    LegendreCase(
        "Binomial",
        lambda: Binomial(7),
        lambda w: 7 * anp.log(1 + anp.exp(w[..., 0])),
        uniform(-2.0, 2.0, 1),
        False,
        lambda mu: 7 * binary_entropy(mu[..., 0] / 7),
        outside_conjugate=([0.0], [7.0]),
    ),
    LegendreCase(
        "Categorical",
        lambda: Categorical(4),
        log_sum_exp,
        uniform(-2, 2, 3),
        False,
        simplex_entropy,
        outside_conjugate=([0.2, 0.3, 0.5], [0.0, 0.1, 0.1]),
    ),
    LegendreCase(
        "Multinomial",
        lambda: Multinomial(5, 3),
        lambda w: 5 * log_sum_exp(w),
        uniform(-2, 2, 2),
        False,
        lambda mu: 5 * simplex_entropy(mu / 5),
        outside_conjugate=([2.0, 3.0], [0.0, 0.1]),
    ),
    LegendreCase(
        "Geometric",
        Geometric,
        lambda w: w[..., 0] - anp.log(1 - anp.exp(w[..., 0])),
        uniform(-3.0, -0.2, 1),
        False,
        lambda mu: (mu[..., 0] - 1) * anp.log(mu[..., 0] - 1) - mu[..., 0] * anp.log(mu[..., 0]),
        outside=([0.0], [1.0]),
        outside_conjugate=([1.0], [0.5]),
    ),
    LegendreCase(
        "NegativeBinomial",
        lambda: NegativeBinomial(2.5),
        lambda w: -2.5 * anp.log(1 - anp.exp(w[..., 0])),
        uniform(-3.0, -0.2, 1),
        False,
        lambda mu: (
            mu[..., 0] * anp.log(mu[..., 0] / (2.5 + mu[..., 0])) - 2.5 * anp.log(1 + mu[..., 0] / 2.5)
        ),
        outside=([0.0], [1.0]),
        outside_conjugate=([0.0], [-1.0]),
    ),
]


# Laws. Each returns the largest violation over points w [n, d], relative to the size of what is compared.


def inverse_defect(R: LegendreFunction, w: np.ndarray) -> float:
    """∇R*(∇R(w)) = w."""
    return relative_defect(R.conjugate.gradient(R.gradient(w)), w)


def fenchel_young_defect(R: LegendreFunction, w: np.ndarray) -> float:
    """R(w) + R*(μ) = w·μ at μ = ∇R(w)."""
    mu = R.gradient(w)
    product = (w * mu).sum(axis=-1)
    scale = 1.0 + np.abs(R(w)) + np.abs(product)
    return float((np.abs(R(w) + R.conjugate(mu) - product) / scale).max())


def hessian_defect(R: LegendreFunction, w: np.ndarray, step: float = 1e-3) -> float:
    """∇²R against differences of ∇R, of fourth order in the step."""
    columns = []
    for e in step * np.eye(R.dim):
        near, far = R.gradient(w + e) - R.gradient(w - e), R.gradient(w + 2 * e) - R.gradient(w - 2 * e)
        columns.append((8 * near - far) / (12 * step))
    return relative_defect(R.hessian(w), np.stack(columns, axis=-1))


def relative_defect(value: np.ndarray, reference: np.ndarray) -> float:
    """The largest deviation, relative to the largest entry of each batch row."""
    axes = tuple(range(1, reference.ndim))
    scale = np.abs(reference).max(axis=axes) if axes else np.abs(reference)
    deviation = np.abs(value - reference)
    deviation = deviation.max(axis=axes) if axes else deviation
    return float((deviation / np.maximum(scale, 1e-300)).max())
