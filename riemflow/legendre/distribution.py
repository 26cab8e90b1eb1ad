"""Families of probability distributions: what their log-partition functions have beside R."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy import stats

from riemflow.errors import DomainError, ShapeError
from riemflow.legendre.function import LegendreFunction
from riemflow.losses import Loss
from riemflow.validation import as_count, as_float, short


class DistributionFamily(LegendreFunction):
    """R is the log-partition function of ``p(x; θ) = h(x) exp(θ·T(x) - R(θ))``.

    The natural parameters θ are the coordinates of R, the expectation parameters ``η = E T = ∇R(θ)`` its dual
    ones, and Fisher's information is ∇²R. An x has shape [...], or [..., k] where it is a vector.

    Attributes
    ----------
    sample_shape : tuple
        Shape of one x.
    """

    sample_shape: tuple[int, ...] = ()
    _support = "the real numbers"
    _scipy: Any  # the distribution of scipy.stats

    # Raw methods, given by the subclass.

    def _statistics(self, x: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _log_base(self, x: np.ndarray) -> np.ndarray:
        """ln h(x): shape=[..., sample_shape] -> shape=[...]."""
        raise NotImplementedError

    def _supports(self, x: np.ndarray) -> np.ndarray:
        """Tell whether p(x; θ) > 0: shape=[..., sample_shape] -> bool, shape=[...]."""
        raise NotImplementedError

    def _to_arguments(self, theta: np.ndarray) -> dict[str, Any]:
        """The arguments of the distribution of scipy.stats."""
        raise NotImplementedError

    def _from_arguments(self, **arguments: Any) -> np.ndarray:
        raise NotImplementedError

    # Public methods.

    def _samples(self, x: Any, name: str = "x") -> np.ndarray:
        x, own = as_float(name, x), len(self.sample_shape)
        if x.shape[x.ndim - own :] != self.sample_shape:
            raise ShapeError(
                f"{name} has shape {x.shape}, but a sample of {self.name} has shape {self.sample_shape}, the "
                f"last axes: {self._support}."
            )
        inside = np.asarray(self._supports(x))
        if not inside.all():
            raise DomainError(
                f"{name} = {short(x[~inside][0])} is not in the support of {self.name}, {self._support}: "
                "leave it out."
            )
        return x

    def statistics(self, x: Any) -> np.ndarray:
        """T(x), the sufficient statistics: shape=[..., sample_shape] -> shape=[..., d].

        Raises
        ------
        DomainError
            If an x is not in the support.
        """
        return self._statistics(self._samples(x))

    def log_prob(self, x: Any, theta: Any) -> np.ndarray:
        """ln p(x; θ) = θ·T(x) - R(θ) + ln h(x): shapes=[..., sample_shape], [..., d] -> shape=[...].

        The density for continuous x, the probability for discrete ones. Far out in θ its terms cancel; the
        normal families take x - m instead.

        Batches of x and of θ are broadcast: x[:, None] and θ of shape [k, d] give a table of all pairs.

        Raises
        ------
        DomainError
            If an x is not in the support, or a θ not inside dom R.
        ShapeError
            If the batches do not broadcast.
        """
        x, theta = self._samples(x), self._inside(theta, "theta")
        many, members = x.shape[: x.ndim - len(self.sample_shape)], theta.shape[:-1]
        try:
            np.broadcast_shapes(many, members)
        except ValueError as error:
            raise ShapeError(
                f"Batches of shape {many} of x and {members} of theta do not broadcast: for all pairs give x "
                "an axis of length 1 for theta's."
            ) from error
        return self._log_density(x, theta)

    def _log_density(self, x: np.ndarray, theta: np.ndarray) -> np.ndarray:
        return (self._statistics(x) * theta).sum(axis=-1) - self._value(theta) + self._log_base(x)

    def fit(self, data: Any) -> np.ndarray:
        """Maximise the likelihood: shape=[..., n, sample_shape] -> θ, shape=[..., d].

        It is ``θ = ∇R*(η)`` at the mean η of the statistics, the only maximum.

        Raises
        ------
        DomainError
            If there is no maximum: η is no expectation of any member, as with a single sample.
        """
        return self._fit(self._data(data))

    def _fit(self, x: np.ndarray) -> np.ndarray:
        eta = self._statistics(x).mean(axis=-2)
        self._require_expectation(np.asarray(self.conjugate._belongs(eta)), eta)
        return self.conjugate._gradient(eta)

    def _require_expectation(self, inside: np.ndarray, eta: np.ndarray) -> None:
        if not inside.all():
            raise DomainError(
                f"No member of {self.name} is the most likely one: the mean of the statistics, "
                f"{short(eta[~inside][0])}, is the expectation of none. Take samples that vary more."
            )

    def negative_log_likelihood(self, data: Any) -> NegativeLogLikelihood:
        """Return the loss ``L(θ) = -mean ln p(x; θ)`` of data, shape=[n, sample_shape].

        ``∇L = ∇R(θ) - η̄`` with η̄ the mean of the statistics. Its natural gradient flow, which is the mirror
        flow of R, is ``η(t) = η̄ + e^{-t}(η(0) - η̄)`` in expectation parameters.
        """
        return NegativeLogLikelihood(self, data)

    def _data(self, data: Any) -> np.ndarray:
        x = self._samples(data, "data")
        if x.ndim == len(self.sample_shape) or x.shape[x.ndim - len(self.sample_shape) - 1] == 0:
            raise ShapeError(
                f"data have shape {x.shape}, but must be samples: shape [..., n, *sample_shape]."
            )
        return x

    def to_scipy(self, theta: Any) -> Any:
        """Return the frozen distribution of scipy.stats with natural parameters θ, shape=[..., d].

        Raises
        ------
        ShapeError
            If θ is a batch and scipy.stats' distribution, of vectors, is not vectorised.
        """
        theta = self._inside(theta, "theta")
        if self.sample_shape and theta.ndim > 1:
            raise ShapeError(f"theta has shape {theta.shape}, but scipy.stats takes one {self.name} a time.")
        return self._scipy(**self._to_arguments(theta))

    def from_scipy(self, frozen: Any) -> np.ndarray:
        """Return the natural parameters θ, shape=[..., d], of a frozen distribution of scipy.stats.

        Raises
        ------
        DomainError
            If it is no member of this family, because it is shifted, say.
        """
        own = self._to_arguments(self.domain.interior)
        member = self._scipy(**own)
        kinds = [(type(one), getattr(getattr(one, "dist", None), "name", None)) for one in (frozen, member)]
        if kinds[0] != kinds[1]:
            found, wanted = (name or kind.__name__ for kind, name in kinds)
            raise DomainError(f"{found} is no {self.name}: pass a frozen {wanted} of scipy.stats.")
        with np.errstate(all="ignore"):
            theta = self._from_arguments(**_arguments(frozen, own))
        return self._inside(theta, "theta of this distribution,")

    def sample(self, theta: Any, n: int, rng: Any = None) -> np.ndarray:
        """Draw n samples of each member: θ, shape=[..., d] -> shape=[..., n, sample_shape].

        Parameters
        ----------
        theta : array, shape=[..., d]
        n : int
        rng : numpy Generator or seed, optional

        Raises
        ------
        DomainError
            If scipy.stats cannot draw from a member so near the edge of the family.
        """
        theta, n, rng = self._inside(theta, "theta"), as_count("n", n), np.random.default_rng(rng)
        rows = []
        for row in theta.reshape(-1, self.dim):
            try:
                rows.append(self.to_scipy(row).rvs(size=n, random_state=rng))
            except (ValueError, np.linalg.LinAlgError) as error:
                raise DomainError(
                    f"scipy.stats draws no samples of {self.name} at theta = {short(row)} ({error}): move it "
                    "away from the edge of the family."
                ) from error
        return np.reshape(rows, (*theta.shape[:-1], n, *self.sample_shape))

    def _require_equal(self, name: str, value: Any, wanted: float) -> None:
        """Raise unless an argument of scipy.stats has the value that this family fixes."""
        if np.any(np.asarray(value) != wanted):
            raise DomainError(f"{name} = {value}, but {self.name} has {name} = {wanted:g}.")


def _arguments(frozen: Any, names: Iterable[str]) -> dict[str, Any]:
    """The arguments that a distribution of scipy.stats was frozen with, by their names."""
    if not hasattr(frozen, "dist"):
        return {name: getattr(frozen, name) for name in names}
    shapes = frozen.dist.shapes.split(", ") if frozen.dist.shapes else []
    defaults = {"loc": 0.0} if isinstance(frozen.dist, stats.rv_discrete) else {"loc": 0.0, "scale": 1.0}
    return {**defaults, **dict(zip([*shapes, *defaults], frozen.args, strict=False)), **frozen.kwds}


class NegativeLogLikelihood(Loss):
    """L(θ) = R(θ) - θ·η̄ - mean ln h, minus the mean log-likelihood of data.

    Parameters
    ----------
    family : DistributionFamily
    data : array, shape=[n, sample_shape]

    Attributes
    ----------
    mean_statistics : array, shape=[d]
        η̄, where ``∇R(θ) = η̄`` at the minimum.
    """

    def __init__(self, family: DistributionFamily, data: Any):
        self.family, self.dim = family, family.dim
        x = family._data(data)
        self.mean_statistics = family._statistics(x).mean(axis=-2)
        if self.mean_statistics.ndim != 1:
            raise ShapeError(f"data have shape {x.shape}, but must be samples of one distribution.")
        self._constant = float(family._log_base(x).mean())

    def _value(self, w):
        return self.family._value(w) - w @ self.mean_statistics - self._constant

    def _gradient(self, w):
        return self.family._gradient(w) - self.mean_statistics

    def _hessian(self, w):
        return self.family._hessian(w)

    # Defined on dom R alone.

    def __call__(self, w):
        """L(θ): shape=[..., d] -> shape=[...]. Raises `DomainError` outside dom R."""
        return self._value(self.family._inside(w))

    def gradient(self, w):
        """∇L(θ): shape=[..., d] -> shape=[..., d]."""
        return self._gradient(self.family._inside(w))

    def hessian(self, w):
        """∇²L(θ) = ∇²R(θ): shape=[..., d] -> shape=[..., d, d]."""
        return self._hessian(self.family._inside(w))
