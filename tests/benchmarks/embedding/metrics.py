"""The metrics of the benchmark: Legendre functions as plain callables, so that no structure is visible."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.scipy.special import gammaln

import riemflow as rf


@dataclass(frozen=True)
class Row:
    """One metric, where and in how many dimensions to embed it, and what is wanted of it.

    `slow` rows take more than about five seconds.
    """

    name: str
    make: Callable[[], rf.LegendreFunction]
    region: rf.Box
    tol: float
    seconds: float
    ambient_dim: int | None = None
    slow: bool = False

    def embed(self, **options: Any) -> rf.IsometricEmbedding:
        return rf.embed(self.make(), self.region, tol=self.tol, ambient_dim=self.ambient_dim, **options)


def box(dim: int, low: float, high: float) -> rf.Box:
    return rf.Box(np.full(dim, low), np.full(dim, high))


def positive(w):
    return (w > 0).all(axis=-1)


def log_sum_exp(dim: int) -> rf.LegendreFunction:
    def value(w):
        return anp.log(1 + anp.sum(anp.exp(w), axis=-1)) + 0.05 * anp.sum(w**2, axis=-1)

    return rf.LegendreFunction(value, dim, name="log-sum-exp + quadratic")


def mixed_entropy() -> rf.LegendreFunction:
    A = np.array([[1.0, 0.3], [-0.2, 0.8]])

    def value(w):
        y = anp.dot(w, A.T)
        return anp.sum(y * anp.log(y), axis=-1) + anp.logaddexp(0.0, anp.sum(w, axis=-1))

    return rf.LegendreFunction(
        value, 2, domain=lambda w: positive(w @ A.T), interior=[1.0, 1.0], name="entropy"
    )


def ridges() -> rf.LegendreFunction:
    rng = np.random.default_rng(0)
    A, b = rng.standard_normal((12, 2)), rng.standard_normal(12)

    def value(w):
        softplus = anp.sum(anp.logaddexp(0.0, anp.dot(w, A.T) + b), axis=-1)
        quartic = anp.sum(w**4, axis=-1) / 12
        return softplus + quartic + 0.1 * (w[..., 0] - w[..., 1] ** 2 / 2) ** 2 + 0.5 * anp.sum(w**2, axis=-1)

    return rf.LegendreFunction(value, 2, name="12 ridges + quartic + coupling")


def dirichlet(dim: int) -> rf.LegendreFunction:
    def value(w):
        return anp.sum(gammaln(w), axis=-1) - gammaln(anp.sum(w, axis=-1))

    name = "Beta" if dim == 2 else f"Dirichlet, d = {dim}"
    return rf.LegendreFunction(value, dim, domain=positive, interior=np.full(dim, 2.0), name=name)


def log_det() -> rf.LegendreFunction:
    def value(w):
        return -anp.log(w[..., 0] * w[..., 2] - w[..., 1] ** 2)

    def inside(w):
        return (w[..., 0] > 0) & (w[..., 0] * w[..., 2] > w[..., 1] ** 2)

    return rf.LegendreFunction(value, 3, domain=inside, interior=[1.0, 0.0, 1.0], name="-log det, 2 x 2")


def one_dimensional() -> rf.LegendreFunction:
    return rf.LegendreFunction(
        lambda w: anp.sum(anp.log(anp.cosh(w)) + 0.05 * w**2, axis=-1), 1, name="log cosh + quadratic"
    )


def around_identity(half: float) -> rf.Box:
    centre = np.array([1.0, 0.0, 1.0])
    return rf.Box(centre - half, centre + half)


ROWS = (
    Row("log cosh + quadratic, ±3", one_dimensional, box(1, -3.0, 3.0), 1e-13, 0.5),
    Row("log-sum-exp + quadratic, d=2, ±1", lambda: log_sum_exp(2), box(2, -1.0, 1.0), 1e-12, 10),
    Row("log-sum-exp + quadratic, d=2, ±2", lambda: log_sum_exp(2), box(2, -2.0, 2.0), 1e-12, 10),
    Row("mixed entropy + softplus, [.5, 1.5]²", mixed_entropy, box(2, 0.5, 1.5), 1e-12, 10),
    Row("ridges + quartic + coupling, ±1", ridges, box(2, -1.0, 1.0), 1e-12, 10),
    Row("Beta, [1, 3]²", lambda: dirichlet(2), box(2, 1.0, 3.0), 1e-12, 10),
    Row("Beta, [.4, 3.6]²", lambda: dirichlet(2), box(2, 0.4, 3.6), 1e-12, 30),
    Row("log-sum-exp + quadratic, d=2, ±1, D=3", lambda: log_sum_exp(2), box(2, -1.0, 1.0), 1e-9, 20, 3),
    Row("mixed entropy + softplus, D=3", mixed_entropy, box(2, 0.5, 1.5), 1e-9, 20, 3),
    Row("ridges + quartic + coupling, D=3", ridges, box(2, -1.0, 1.0), 1e-9, 20, 3),
    Row("Beta, [1, 3]², D=3", lambda: dirichlet(2), box(2, 1.0, 3.0), 1e-9, 20, 3),
    Row("-log det 2x2, ±.2", log_det, around_identity(0.2), 1e-11, 30, slow=True),
    Row("log-sum-exp + quadratic, d=3, ±1", lambda: log_sum_exp(3), box(3, -1.0, 1.0), 1e-11, 120, slow=True),
    Row("Dirichlet, d=3, [1, 3]³", lambda: dirichlet(3), box(3, 1.0, 3.0), 1e-11, 60, slow=True),
    Row("log-sum-exp + quadratic, d=4, ±.5", lambda: log_sum_exp(4), box(4, -0.5, 0.5), 1e-9, 240, slow=True),
    Row("log-sum-exp + quadratic, d=5, ±.5", lambda: log_sum_exp(5), box(5, -0.5, 0.5), 5e-8, 300, slow=True),
)
