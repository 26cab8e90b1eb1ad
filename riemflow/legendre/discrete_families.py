"""Log-partition functions of families of counts, in their natural parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats
from scipy.special import gammaln, logit

from riemflow.errors import ShapeError
from riemflow.legendre.algebra import Scaled, Tilted
from riemflow.legendre.distribution import DistributionFamily
from riemflow.legendre.entropies import ExponentialSum, FermiDirac, NegativeEntropy
from riemflow.legendre.partition import LogSumExp
from riemflow.legendre.separable import HUGE, TINY, Separable, SeparableConjugate
from riemflow.validation import as_count, as_number


class Counts(DistributionFamily):
    """Families of one whole number x ≥ 0 with statistic x."""

    _support = "whole numbers x ≥ 0"

    def _statistics(self, x):
        return x[..., None]

    def _supports(self, x):
        return (x >= 0) & (x == np.floor(x))


class Poisson(Counts, ExponentialSum):
    """R(θ) = e^θ: the Poisson family of mean e^θ, with R* = η (ln η - 1)."""

    def __init__(self):
        super().__init__(NegativeEntropy(1))
        self.name = "Poisson"

    _scipy = stats.poisson

    def _log_base(self, x):
        return -gammaln(x + 1.0)

    def _to_arguments(self, theta):
        return {"mu": np.exp(theta[..., 0])}

    def _from_arguments(self, *, mu, loc):
        self._require_equal("loc", loc, 0.0)
        return np.log(mu)[..., None]


class Binomial(Counts, Scaled):
    """R(θ) = n ln(1 + e^θ): the number of successes in n trials, of probability ``p = 1/(1 + e^{-θ})`` each.

    R* is n times the negative entropy of p = η/n.

    Parameters
    ----------
    n : int
        Number of trials.
    """

    def __init__(self, n: int):
        self.n = as_count("n", n)
        super().__init__(self.n, FermiDirac(1).conjugate)
        self.name = "Binomial"
        self._support = f"whole numbers 0 ≤ x ≤ {self.n}"

    _scipy = stats.binom

    def _log_base(self, x):
        return gammaln(self.n + 1.0) - gammaln(x + 1.0) - gammaln(self.n - x + 1.0)

    def _supports(self, x):
        return super()._supports(x) & (x <= self.n)

    def _to_arguments(self, theta):
        return {"n": self.n, "p": self.base._gradient(theta)[..., 0]}

    def _from_arguments(self, *, p, loc, n=1):
        self._require_equal("loc", loc, 0.0)
        self._require_equal("n", n, self.n)
        return logit(p)[..., None]


class Bernoulli(Binomial):
    """R(θ) = ln(1 + e^θ): success (1) or not (0), of probability ``p = 1/(1 + e^{-θ})``."""

    def __init__(self):
        super().__init__(1)
        self.name = "Bernoulli"

    _scipy = stats.bernoulli

    def _to_arguments(self, theta):
        return {"p": self.base._gradient(theta)[..., 0]}


class Multinomial(DistributionFamily, Scaled):
    """R(θ) = n ln(1 + Σ e^{θ_i}): counts x of k outcomes in n trials, ``θ_i = ln(p_i / p_k)``.

    The statistics are all counts but the last. Its metric is that of a sphere of radius 2√n.

    Parameters
    ----------
    n : int
        Number of trials.
    k : int
        Number of outcomes, at least 2; d = k - 1.
    """

    def __init__(self, n: int, k: int):
        self.n, self.k = as_count("n", n), as_count("k", k, least=2)
        super().__init__(self.n, LogSumExp(self.k - 1))
        self.name = "Multinomial"
        self.sample_shape = (self.k,)
        self._support = f"{self.k} whole numbers ≥ 0 of sum {self.n}"

    _scipy = stats.multinomial

    def _probabilities(self, theta: np.ndarray) -> np.ndarray:
        """(p_1, …, p_k): shape=[..., k - 1] -> shape=[..., k]."""
        return np.roll(self.base._probabilities(theta), -1, axis=-1)

    def _statistics(self, x):
        return x[..., :-1]

    def _log_base(self, x):
        return gammaln(self.n + 1.0) - gammaln(x + 1.0).sum(axis=-1)

    def _supports(self, x):
        return ((x >= 0) & (x == np.floor(x))).all(axis=-1) & (x.sum(axis=-1) == self.n)

    def _to_arguments(self, theta):
        return {"n": self.n, "p": self._probabilities(theta)}

    def _from_arguments(self, *, n, p):
        self._require_equal("n", n, self.n)
        if np.shape(p) != (self.k,):
            raise ShapeError(f"p has shape {np.shape(p)}, but {self.name} has {self.k} outcomes.")
        return np.log(p[:-1]) - np.log(p[-1])


class Categorical(Multinomial):
    """R(θ) = ln(1 + Σ e^{θ_i}), a `LogSumExp`: one of k outcomes, ``θ_i = ln(p_i / p_k)``.

    An x is a row of the identity matrix, as in scipy.stats.multinomial: ``np.eye(k)[labels]``.

    Parameters
    ----------
    k : int
        Number of outcomes, at least 2; d = k - 1.
    """

    def __init__(self, k: int):
        super().__init__(1, k)
        self.name = "Categorical"


class BoseEinstein(Separable):
    """R(w) = Σ w_i ln w_i - (1 + w_i) ln(1 + w_i) on w > 0, with gradient ln(w / (1 + w)) < 0."""

    def __init__(self, dim: int):
        self._define(as_count("dim", dim), name="BoseEinstein", interior=1.0, is_mirror_map=False)

    def _r(self, w):
        return -w * np.log1p(1.0 / w) - np.log1p(w)

    def _r1(self, w):
        return -np.log1p(1.0 / w)

    def _r2(self, w):
        return 1.0 / w / (1.0 + w)

    def _r3(self, w):
        return -(1.0 / w + 1.0 / (1.0 + w)) / w / (1.0 + w)

    def _r4(self, w):
        return 2.0 / w / w / w - 2.0 / (1.0 + w) ** 3

    def _admits(self, w):
        return w > 0

    def _flat(self, w):
        return 2.0 * np.arcsinh(np.sqrt(w))

    def _flat_inverse(self, z):
        half = np.sinh(0.5 * np.clip(z, 0.0, np.log(HUGE)))
        return np.maximum(half * half, TINY)

    @property
    def _flat_range(self):
        return np.zeros(self.dim), np.full(self.dim, np.inf)

    def _make_conjugate(self):
        return GeometricSeries(self)


class GeometricSeries(SeparableConjugate):
    """R*(θ) = -Σ ln(1 - e^{θ_i}) on θ < 0, the conjugate of `BoseEinstein`."""

    def __init__(self, base: BoseEinstein):
        super().__init__(base, "GeometricSeries", is_mirror_map=False)

    def _r(self, w):
        return -np.log(-np.expm1(w))

    def _r1(self, w):
        return 1.0 / np.expm1(-w)

    def _r2(self, w):
        return (0.5 / np.sinh(0.5 * w)) ** 2

    def _r3(self, w):
        return -self._r2(w) / np.tanh(0.5 * w)

    def _r4(self, w):
        second = self._r2(w)
        return second * (1.0 + 6.0 * second)

    def _admits(self, w):
        return w < 0


class NegativeBinomial(Counts, Scaled):
    """R(θ) = -r ln(1 - e^θ) on θ < 0: failures before the r-th success, of probability ``p = 1 - e^θ`` each.

    Parameters
    ----------
    r : float
        Positive.
    """

    def __init__(self, r: Any):
        self.r = as_number("r", r, above=0.0)
        super().__init__(self.r, BoseEinstein(1).conjugate)
        self.name = "NegativeBinomial"

    _scipy = stats.nbinom

    def _log_base(self, x):
        return gammaln(x + self.r) - gammaln(self.r) - gammaln(x + 1.0)

    def _to_arguments(self, theta):
        return {"n": self.r, "p": -np.expm1(theta[..., 0])}

    def _from_arguments(self, *, n, p, loc):
        self._require_equal("loc", loc, 0.0)
        self._require_equal("n", n, self.r)
        return np.log1p(-np.asarray(p))[..., None]


class Geometric(Counts, Tilted):
    """R(θ) = θ - ln(1 - e^θ) on θ < 0: trials until the first success, of probability ``p = 1 - e^θ``."""

    def __init__(self):
        super().__init__(BoseEinstein(1).conjugate, [1.0])
        self.name = "Geometric"

    _scipy, _support = stats.geom, "whole numbers x ≥ 1"

    def _log_base(self, x):
        return np.zeros(x.shape)

    def _supports(self, x):
        return super()._supports(x) & (x >= 1)

    def _to_arguments(self, theta):
        return {"p": -np.expm1(theta[..., 0])}

    def _from_arguments(self, *, p, loc):
        self._require_equal("loc", loc, 0.0)
        return np.log1p(-np.asarray(p))[..., None]
