"""Flows from many starts at once against exact solutions and against the flows one by one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import expm

import riemflow as rf
from riemflow.autodiff import anp
from riemflow.errors import DomainError, ShapeError
from riemflow.flows.ensembles import many_starts
from riemflow.parametrizations import (
    DiagonalMeasurements,
    Exponential,
    Hadamard,
    HadamardDifference,
    HadamardProduct,
    Identity,
    MatrixFactorization,
    Spherical,
)

RNG = np.random.default_rng(4)
Z = RNG.standard_normal((2, 4))
FEW = rf.losses.LeastSquares(Z, Z @ [0.5, 0.2, 0.1, 0.4])
MANY = rf.losses.Logistic(RNG.standard_normal((6, 4)), [1, -1, 1, 1, -1, 1])
TIMES = np.array([0.0, 0.4, 1.0, 3.0])


def test_linear_flows_are_exponentials():
    x = RNG.standard_normal((7, 4))
    found = rf.gradient_flows(Identity(4), FEW, x, TIMES, rtol=1e-10)
    best, A = np.linalg.pinv(Z) @ FEW.Y, Z.T @ Z / 2
    for k, t in enumerate(TIMES):
        np.testing.assert_allclose(found["w"][:, k], best + (x - best) @ expm(-A * t), atol=1e-9)
    assert found.stats["n_one_by_one"] == 0 and found["formulation"].tolist() == ["row-space"] * 7
    np.testing.assert_array_equal(found["t"], np.tile(TIMES, (7, 1)))


def test_a_linear_loss_multiplies_squares():
    """x⊙x down c·w: w = w0 exp(-4ct), in the dual form."""
    c, x = np.array([1.0, -0.5, 0.2, 0.0]), RNG.uniform(0.1, 2.0, (5, 4))
    found = rf.gradient_flows(Hadamard(4), rf.losses.Linear(c), x, TIMES)
    np.testing.assert_allclose(found["w"], x[:, None] ** 2 * np.exp(-4 * c * TIMES[:, None]), rtol=1e-7)
    assert found["formulation"][0] == "dual" and found.stats["n_one_by_one"] == 0


POSITIVE = RNG.uniform(0.4, 1.2, (4, 8))
CASES = [
    (Hadamard(4), POSITIVE[:, :4]),
    (Hadamard(4, 3), POSITIVE[:, :4]),
    (HadamardDifference(4), np.concatenate([1e-6 * POSITIVE[:2], POSITIVE[2:]])),
    (HadamardDifference(4, 3), POSITIVE),
    (HadamardProduct(4), POSITIVE * [1, -1, 1, 1, -1, 1, 1, 1]),
    (Exponential(4), -POSITIVE[:, :4]),
    (DiagonalMeasurements(4, 2), POSITIVE),
    (Spherical(4), POSITIVE[:, :5] / np.linalg.norm(POSITIVE[:, :5], axis=1, keepdims=True)),
]


@pytest.mark.parametrize("loss", [FEW, MANY], ids=["row-space", "dual"])
@pytest.mark.parametrize(("G", "x"), CASES, ids=[G.name for G, _ in CASES])
def test_gradient_flows_are_those_one_by_one(G, x, loss):
    """In the parameters, which is another differential equation."""
    found = rf.gradient_flows(G, loss, x, TIMES, rtol=1e-9)
    assert found.status == "finished"
    assert found.stats["n_one_by_one"] == 0
    for k in range(len(x)):
        one = rf.gradient_flow(G, loss, x[k], TIMES, rtol=1e-11, formulation="parameters")
        np.testing.assert_allclose(found["w"][k], one.w, rtol=1e-7, atol=1e-7 * np.abs(one.w).max())
        np.testing.assert_allclose(found["x"][k], one.x, rtol=1e-6, atol=1e-6 * np.abs(one.x).max())


@pytest.mark.parametrize(
    "R",
    [
        rf.legendre.NegativeEntropy(4),
        rf.legendre.SimplexEntropy(4),
        rf.legendre.BurgEntropy(4),
        rf.legendre.HyperbolicEntropy(np.full(4, 0.3), np.full(4, 0.5)),
        rf.legendre.Quadratic(np.diag([1.0, 2.0, 3.0, 4.0])),
    ],
    ids=lambda R: R.name,
)
@pytest.mark.parametrize("loss", [FEW, MANY], ids=["row-space", "dual"])
def test_mirror_flows_are_those_one_by_one(R, loss):
    w = RNG.uniform(0.05, 0.2, (4, 4))
    found = rf.mirror_flows(R, loss, w, TIMES, rtol=1e-9)
    assert found.status == "finished" and found.stats["n_one_by_one"] == 0
    for k in range(4):
        one = rf.mirror_flow(R, loss, w[k], TIMES, rtol=1e-11, formulation="primal")
        np.testing.assert_allclose(found["w"][k], one.w, rtol=1e-7, atol=1e-8)
        np.testing.assert_allclose(found["mu"][k], one.mu, rtol=1e-6, atol=1e-7)


def test_stiff_starts_go_one_by_one(monkeypatch):
    """With few rounds allowed, the starts that need more are those of large curvature."""
    G, x = HadamardDifference(4), np.repeat([[0.1], [0.2], [6.0], [9.0]], 8, axis=1)
    together = rf.gradient_flows(G, FEW, x, TIMES, rtol=1e-9)
    assert together.stats["n_one_by_one"] == 0
    monkeypatch.setattr(many_starts, "MOST_ROUNDS", 60)
    split = rf.gradient_flows(G, FEW, x, TIMES, rtol=1e-9)
    assert split.stats["n_one_by_one"] == 2 and split["method"].tolist()[2:] == ["CVODE"] * 2
    np.testing.assert_allclose(split["w"], together["w"], rtol=1e-7, atol=1e-7)


def test_a_flow_that_ends_early_is_reported_and_the_rest_kept():
    """-ln w along -w: w = 1/(1/w0 - t) runs to infinity at t = 1/w0."""
    w0 = np.array([[0.1], [0.25], [2.0]])
    found = rf.mirror_flows(rf.legendre.BurgEntropy(1), rf.losses.Linear([-1.0]), w0, [0.3, 2.0])
    assert found["status"].tolist() == ["finished", "finished", "left-domain"]
    exact = 1 / (1 / w0 - np.array([0.3, 2.0]))
    np.testing.assert_allclose(found["w"][:2, :, 0], exact[:2], rtol=1e-7)
    np.testing.assert_allclose(found["w"][2, 0, 0], exact[2, 0], rtol=1e-7)
    # x³ blows up in finite time as well.
    cubes = rf.gradient_flows(Hadamard(1, 3), rf.losses.Linear([-1.0]), [[0.1], [2.0]], 1.0)
    assert list(cubes.good) == [True, False]


def test_what_has_no_closed_form_goes_one_by_one():
    numerical = rf.LegendreFunction(lambda w: anp.sum(anp.exp(w) + w**2, axis=-1), 4)
    starts, pieces = RNG.standard_normal((2, 4)), rf.losses.Piecewise([0.5], [FEW, MANY])
    for found, one in [
        (rf.mirror_flows(numerical, FEW, starts, TIMES), lambda w: rf.mirror_flow(numerical, FEW, w, TIMES)),
        (
            rf.gradient_flows(Identity(4), pieces, starts, TIMES),
            lambda x: rf.gradient_flow(Identity(4), pieces, x, TIMES),
        ),
        (
            rf.gradient_flows(MatrixFactorization(2, 2), rf.losses.Linear([1.0, 0.2, 0.3]), starts, TIMES),
            lambda x: rf.gradient_flow(
                MatrixFactorization(2, 2), rf.losses.Linear([1.0, 0.2, 0.3]), x, TIMES
            ),
        ),
    ]:
        np.testing.assert_array_equal(found["w"], [one(start).w for start in starts])


def test_limits_of_many_starts():
    x = RNG.uniform(0.3, 1.0, (3, 8))
    found = rf.gradient_flows(HadamardDifference(4), FEW, x, np.inf)
    assert found["status"].tolist() == ["converged"] * 3
    for k in range(3):
        R = rf.legendre.HyperbolicEntropy(x[k, :4], x[k, 4:])
        limit = rf.minimize_bregman(R, x[k, :4] ** 2 - x[k, 4:] ** 2, Z, FEW.Y).w
        np.testing.assert_allclose(found[k].w[-1], limit, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: rf.gradient_flows(Identity(4), FEW, np.ones(4), 1.0), ShapeError, "many points"),
        (lambda: rf.gradient_flows(Identity(4), FEW, np.ones((2, 3)), 1.0), ShapeError, "x_init has shape"),
        (lambda: rf.gradient_flows(Hadamard(4), FEW, np.eye(4), 1.0), DomainError, "and 3 more"),
        (lambda: rf.gradient_flows(Identity(4), FEW, np.ones((2, 4)), -1.0), DomainError, "t is -1"),
        (
            lambda: rf.gradient_flows(Identity(4), FEW, np.ones((2, 4)), 1.0, rtol=0.0),
            DomainError,
            "rtol is 0",
        ),
        (
            lambda: rf.mirror_flows(rf.legendre.SquaredNorm(4), FEW, np.empty((0, 4)), 1.0),
            ShapeError,
            "many points",
        ),
    ],
)
def test_bad_input_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call()
