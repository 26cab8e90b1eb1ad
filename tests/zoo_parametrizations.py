"""Every parametrization of the catalogue with independent oracles: G written out, and the R it induces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import autograd.numpy as anp
import numpy as np
from potentials import (
    Potential,
    burg_potential,
    corollary_4_17,
    diagonalised_potential,
    even_convolution_potential,
    hopf_potential,
    power_difference_potential,
    power_potential,
    product_potential,
    row_potential,
    screw_potential,
    simplex_potential,
    square_diagonalised_potential,
    squared_distance,
)

from riemflow.parametrizations import (
    AsymmetricFactorization,
    CircularConvolution,
    DeepLinear,
    DiagonalMeasurements,
    Exponential,
    Hadamard,
    HadamardDifference,
    HadamardProduct,
    HopfCone,
    Identity,
    MatrixFactorization,
    Parametrization,
    Quadratic,
    ScrewQuotient,
    Spherical,
)

Formula = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class ParametrizationCase:
    """A parametrization, its formula for autograd, starts, and the R it induces from a start.

    `verdict` is "commuting", "projectable" or "not-mirror"; `potential` is None for the last.
    """

    name: str
    make: Callable[[], Parametrization]
    plain: Formula
    sample: Callable[[np.random.Generator], np.ndarray]
    verdict: str
    potential: Callable[[np.ndarray], Potential] | None = None

    def start(self, seed: int = 0) -> np.ndarray:
        """One x_init, shape=[D]."""
        return self.sample(np.random.default_rng(seed))

    def points(self, n: int = 5, seed: int = 1) -> np.ndarray:
        """Points of the domain, shape=[n, D]."""
        rng = np.random.default_rng(seed)
        return np.array([self.sample(rng) for _ in range(n)])

    def __str__(self) -> str:
        return self.name


# The formulas of G, for autograd.


def plain_quadratic(matrices: np.ndarray) -> Formula:
    return lambda x: anp.stack([0.5 * anp.sum(x * anp.dot(x, A.T), axis=-1) for A in matrices], axis=-1)


def plain_symmetric(x):
    a, b, c, d, e, f = (x[..., k] for k in range(6))  # U = [[a, b], [c, d], [e, f]]
    products = [a * a + b * b, a * c + b * d, a * e + b * f, c * c + d * d, c * e + d * f, e * e + f * f]
    return anp.stack(products, axis=-1)


def plain_asymmetric(x):
    a, b, c, d = (x[..., k] for k in range(4))  # U = [[a, b], [c, d]]
    p, q, r, s, t, u = (x[..., k] for k in range(4, 10))  # V = [[p, q], [r, s], [t, u]]
    return anp.stack(
        [a * p + b * q, a * r + b * s, a * t + b * u, c * p + d * q, c * r + d * s, c * t + d * u], axis=-1
    )


def plain_deep(x):
    a, b, c, d = (x[..., k] for k in range(4))  # W_1 = [[a, b], [c, d]]
    e, f = x[..., 4], x[..., 5]  # W_2 = [[e, f]]
    g, h = x[..., 6], x[..., 7]  # W_3 = [[g], [h]]
    row = e * a + f * c, e * b + f * d
    return anp.stack([g * row[0], g * row[1], h * row[0], h * row[1]], axis=-1)


def plain_convolution(x):
    f, g = x[..., :3], x[..., 3:]
    return anp.stack([sum(f[..., j] * g[..., (i - j) % 3] for j in range(3)) for i in range(3)], axis=-1)


def plain_even_convolution(x):
    """Filters (a, b/√2, b/√2) of length 3: their convolution is even, with second entry times √2."""
    a, b, c, d = (x[..., k] for k in range(4))
    return anp.stack([a * c + b * d, a * d + b * c + b * d / anp.sqrt(2.0)], axis=-1)


def plain_screw(x):
    r = anp.sqrt(x[..., 0] ** 2 + x[..., 1] ** 2)
    phi = anp.arctan2(x[..., 1], x[..., 0]) - x[..., 2]
    return anp.stack([phi, phi**2 / 2 - (anp.log(r) / 2 + r**2 / 2 + r**4 / 8)], axis=-1)


def plain_hopf(x):
    a, b, c, d = (x[..., k] for k in range(4))
    v = anp.stack([2 * (a * c + b * d), 2 * (b * c - a * d), a**2 + b**2 - c**2 - d**2], axis=-1)
    return v**2 / anp.sum(x**2, axis=-1, keepdims=True)


# Starts.


def normal(dim: int):
    return lambda rng: rng.standard_normal(dim)


def signed(dim: int):
    """Away from zero, of either sign."""
    return lambda rng: rng.choice([-1.0, 1.0], dim) * rng.uniform(0.5, 1.5, dim)


def positive(dim: int):
    return lambda rng: rng.uniform(0.5, 1.5, dim)


def on_sphere(dim: int):
    def sample(rng):
        x = signed(dim)(rng)
        return x / np.linalg.norm(x)

    return sample


def before_the_slit(rng):
    """In the half-plane x > 0, so that flows of moderate length do not come round to the cut."""
    return np.array([rng.uniform(0.8, 1.4), rng.uniform(-0.5, 0.5), rng.uniform(-1, 1)])


def hopf_start(rng):
    while True:
        x = rng.standard_normal(4)
        # Away from the edges v_i = 0 of the domain.
        if (plain_hopf(x) > 0.1).all():
            return x


_RNG = np.random.default_rng(11)
BASIS = np.linalg.qr(_RNG.standard_normal((4, 4)))[0]
WIDE, SQUARE = _RNG.uniform(-1, 1, (2, 4)), np.eye(4) + 0.3 * _RNG.uniform(-1, 1, (4, 4))


def off_the_eigenspaces(rng):
    return BASIS @ signed(4)(rng)


def commuting_matrices(eigenvalues: np.ndarray) -> np.ndarray:
    return np.einsum("ak,ik,bk->iab", BASIS, eigenvalues, BASIS)


COMMUTING = [
    ParametrizationCase(
        "Identity", lambda: Identity(3), lambda x: 1.0 * x, normal(3), "commuting", squared_distance
    ),
    ParametrizationCase(
        "Hadamard-1",
        lambda: Hadamard(3, power=1),
        lambda x: 1.0 * x,
        normal(3),
        "commuting",
        squared_distance,
    ),
    ParametrizationCase(
        "Hadamard-2", lambda: Hadamard(3), lambda x: x * x, signed(3), "commuting", power_potential(2)
    ),
    ParametrizationCase(
        "Hadamard-3",
        lambda: Hadamard(3, power=3),
        lambda x: x * x * x,
        signed(3),
        "commuting",
        power_potential(3),
    ),
    ParametrizationCase(
        "Hadamard-4",
        lambda: Hadamard(2, power=4),
        lambda x: (x * x) ** 2,
        signed(2),
        "commuting",
        power_potential(4),
    ),
    ParametrizationCase(
        "HadamardDifference-2",
        lambda: HadamardDifference(3),
        lambda x: x[..., :3] ** 2 - x[..., 3:] ** 2,
        signed(6),
        "commuting",
        corollary_4_17,
    ),
    ParametrizationCase(
        "HadamardDifference-3",
        lambda: HadamardDifference(2, power=3),
        lambda x: x[..., :2] ** 3 - x[..., 2:] ** 3,
        positive(4),
        "commuting",
        power_difference_potential(3),
    ),
    ParametrizationCase(
        "HadamardDifference-4",
        lambda: HadamardDifference(2, power=4),
        lambda x: x[..., :2] ** 4 - x[..., 2:] ** 4,
        positive(4),
        "commuting",
        power_difference_potential(4),
    ),
    ParametrizationCase(
        "HadamardProduct",
        lambda: HadamardProduct(3),
        lambda x: x[..., :3] * x[..., 3:],
        signed(6),
        "commuting",
        product_potential,
    ),
    ParametrizationCase(
        "Exponential", lambda: Exponential(3), anp.exp, normal(3), "commuting", burg_potential
    ),
    ParametrizationCase(
        "Quadratic-wide",
        lambda: Quadratic(commuting_matrices(WIDE)),
        plain_quadratic(commuting_matrices(WIDE)),
        off_the_eigenspaces,
        "commuting",
        diagonalised_potential(BASIS, WIDE),
    ),
    ParametrizationCase(
        "Quadratic-square",
        lambda: Quadratic(commuting_matrices(SQUARE)),
        plain_quadratic(commuting_matrices(SQUARE)),
        off_the_eigenspaces,
        "commuting",
        square_diagonalised_potential(BASIS, SQUARE),
    ),
    ParametrizationCase(
        "DiagonalMeasurements",
        lambda: DiagonalMeasurements(3, 2),
        lambda x: anp.stack([x[..., 2 * i] ** 2 + x[..., 2 * i + 1] ** 2 for i in range(3)], axis=-1),
        signed(6),
        "commuting",
        row_potential(3, 2),
    ),
    ParametrizationCase(
        "CircularConvolution-even",
        lambda: CircularConvolution(3, symmetric=True),
        plain_even_convolution,
        signed(4),
        "commuting",
        even_convolution_potential(3),
    ),
    ParametrizationCase(
        "Spherical",
        lambda: Spherical(3),
        lambda x: x[..., :3] ** 2,
        on_sphere(4),
        "commuting",
        simplex_potential,
    ),
]
PROJECTABLE = [
    ParametrizationCase(
        "ScrewQuotient", ScrewQuotient, plain_screw, before_the_slit, "projectable", screw_potential
    ),
    ParametrizationCase("HopfCone", HopfCone, plain_hopf, hopf_start, "projectable", hopf_potential),
]
NOT_MIRROR = [
    ParametrizationCase(
        "MatrixFactorization", lambda: MatrixFactorization(3, 2), plain_symmetric, normal(6), "not-mirror"
    ),
    ParametrizationCase(
        "AsymmetricFactorization",
        lambda: AsymmetricFactorization(2, 3, 2),
        plain_asymmetric,
        normal(10),
        "not-mirror",
    ),
    ParametrizationCase(
        "CircularConvolution", lambda: CircularConvolution(3), plain_convolution, signed(6), "not-mirror"
    ),
    ParametrizationCase(
        "DeepLinear", lambda: DeepLinear([(2, 2), (1, 2), (2, 1)]), plain_deep, normal(8), "not-mirror"
    ),
]
CASES = [*COMMUTING, *PROJECTABLE, *NOT_MIRROR]
