"""Isometric embeddings for tests, in closed form and by the solver, of mirror maps and their conjugates."""

from __future__ import annotations

from functools import cache

import autograd.numpy as anp
import numpy as np

import riemflow as rf
from riemflow import legendre
from riemflow.geometry import EmbeddedSubmanifold


def quartic():
    """A mirror map without closed form whose curvature takes both signs."""
    return rf.LegendreFunction(
        lambda w: (
            anp.log(anp.exp(w[..., 0]) + anp.exp(w[..., 1] - w[..., 0]) + anp.exp(-w[..., 1]))
            + 0.1 * anp.sum(w**4 + w**2, axis=-1)
        ),
        2,
    )


def box(d, low=-0.5, high=0.5):
    return rf.Box(np.full(d, low), np.full(d, high))


CLOSED = {
    "entropy": lambda: rf.embed(legendre.NegativeEntropy(3)),
    "Burg's conjugate": lambda: rf.embed(legendre.BurgEntropy(2).conjugate),
    "log-sum-exp": lambda: rf.embed(legendre.LogSumExp(3)),
    "simplex": lambda: rf.embed(legendre.LogSumExp(2).conjugate),
    "sum": lambda: rf.embed(legendre.LogSumExp(2) + 0.3 * legendre.SquaredNorm(2)),
    "Lorentz": lambda: rf.embed(legendre.LorentzBarrier(2), rf.Box([-0.6, 0.5], [0.6, 1.6])),
    "Lorentz dual": lambda: rf.embed(
        legendre.LorentzBarrier(3).conjugate, rf.Box([-0.3, -0.3, -1.6], [0.3, 0.3, -1.0])
    ),
    "log det": lambda: rf.embed(legendre.LogDet(2), rf.Box([0.8, -0.2, 0.8], [1.2, 0.2, 1.2])),
}
SOLVED = {
    "log-sum-exp, solved": lambda: rf.embed(legendre.LogSumExp(2), box(2), method="spectral"),
    "quartic": lambda: rf.embed(quartic(), box(2)),
    "quartic's dual": lambda: rf.embed(quartic().conjugate, box(2, -0.2, 0.25)),
    "Gamma": lambda: rf.embed(legendre.Gamma(), rf.Box([0.5, -2.0], [2.0, -1.0])),
    "mixed": lambda: rf.embed(legendre.product(legendre.NegativeEntropy(1), quartic()), box(3, 0.1, 0.9)),
    "Dirichlet": lambda: rf.embed(legendre.Dirichlet(3), box(3, 1.5, 2.0)),
}


@cache
def submanifold(name):
    """F(K), solved for once."""
    return EmbeddedSubmanifold({**SOLVED, **CLOSED}[name]())
