"""Predicted limits against flown ones, on random and real data; regularisation paths against their ends."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.sparse import random_array, vstack
from sklearn.datasets import load_diabetes

from riemflow import Parametrization, legendre, legendre_from_parametrization, parametrizations
from riemflow.errors import DomainError, NotMirrorFlowError, ShapeError
from riemflow.flows import implicit_bias, regularization_path

RNG = np.random.default_rng(2)
D = 8
Z = RNG.standard_normal((3, D))
Y = Z @ np.where(np.arange(D) < 2, 1.0, 0.1)


@pytest.mark.parametrize(
    ("G", "x_init"),
    [
        (parametrizations.HadamardDifference(D), np.full(2 * D, 0.1)),
        (parametrizations.HadamardDifference(D), np.linspace(0.2, 0.9, 2 * D)),
        (parametrizations.Hadamard(D), np.full(D, 0.3)),
        (parametrizations.Identity(D), np.zeros(D)),
    ],
    ids=["difference", "uneven start", "squares", "identity"],
)
def test_random_data(G, x_init):
    """Thm 3.8 and 4.16, with R by horizontal lift and in closed form; Cor. 4.17 for the first two."""
    lifted = implicit_bias(G, Z, Y, x_init, R=legendre_from_parametrization(G, x_init))
    closed = implicit_bias(G, Z, Y, x_init)
    for bias in (lifted, closed):
        assert bias.passed and bias.gap < 1e-7 and bias.misfit < 1e-8 and "passed" in repr(bias)
        assert bias.flow.stats["formulation"] == "parameters"
    np.testing.assert_allclose(lifted.predicted.w, closed.predicted.w, rtol=0, atol=1e-9)


def test_a_parametrization_of_ones_own_is_lifted():
    def squares(x):
        return x[..., :D] ** 2 - x[..., D:] ** 2

    G = Parametrization(squares, dim_in=2 * D, dim=D, domain=lambda x: (x > 0).all(axis=-1))
    bias = implicit_bias(G, Z, Y, np.full(2 * D, 0.3))
    assert bias.passed and bias.gap < 1e-7


def test_real_data():
    """Cor. 4.17 on the diabetes table: ten features, five patients."""
    table = load_diabetes()
    data, target = 10 * table.data[:5], (table.target[:5] - 150.0) / 80.0
    alpha = np.full(10, 0.1)
    R = legendre.HyperbolicEntropy(alpha, alpha)
    G = parametrizations.HadamardDifference(10)
    bias = implicit_bias(G, data, target, np.full(20, 0.1), R=R)
    assert bias.passed and bias.gap < 1e-7


def test_another_r_fails():
    """Negative control: the entropy of another start predicts another limit."""
    G, x_init = parametrizations.HadamardDifference(D), np.full(2 * D, 0.1)
    other = legendre.HyperbolicEntropy(np.full(D, 0.1), np.full(D, 0.2))
    bias = implicit_bias(G, Z, Y, x_init, R=other)
    assert not bias.passed and bias.gap > 1e-3 and "FAILED" in repr(bias)
    with pytest.raises(NotMirrorFlowError):
        implicit_bias(parametrizations.MatrixFactorization(2, 2), Z[:, :3], Y, [1.0, 0.2, 0.3, 0.5])
    with pytest.raises(ShapeError, match="one point"):
        implicit_bias(G, Z, Y, x_init[None])


def test_from_kernel_to_rich():
    rng = np.random.default_rng(0)
    data, truth = rng.standard_normal((25, 60)) / 5, np.zeros(60)
    truth[:4] = [1.0, -1.0, 0.7, -0.5]
    target = data @ truth
    path = regularization_path(data, target, [1e-12, 1e-6, 1e-3, 1e-1, 1e2])
    pinv = np.linalg.pinv(data) @ target
    program = linprog(np.ones(120), A_eq=np.hstack([data, -data]), b_eq=target)
    np.testing.assert_allclose(path.w[-1], pinv, atol=1e-7)
    np.testing.assert_allclose(path.least_l2, pinv, atol=1e-12)
    assert np.abs(path.least_l1).sum() == pytest.approx(program.fun)
    assert (np.diff(path.l1) > 0).all() and (np.diff(path.l2) < 0).all()
    # Least ℓ₁ norm finds the truth here, and small starts arrive there like a power of α.
    np.testing.assert_allclose(path.w[0], truth, atol=1e-9)
    assert path.excess_l1[0] < 1e-9 < 1e-5 < path.excess_l1[2] < 0.3 < path.excess_l1[-1]
    assert all(result.residual < 1e-12 and result.n_iterations <= 25 for result in path.results)


def test_other_families_and_bad_scales():
    flat = regularization_path(Z, Y, [1.0, 2.0], entropy=lambda alpha: alpha * legendre.SquaredNorm(D))
    np.testing.assert_allclose(flat.w, np.tile(np.linalg.pinv(Z) @ Y, (2, 1)), atol=1e-12)
    nothing = regularization_path(Z, np.zeros(len(Y)), [1.0, 2.0])
    assert (nothing.w == 0).all() and (nothing.excess_l1 == 0).all() and (nothing.excess_l2 == 0).all()
    with pytest.raises(DomainError, match="scales"):
        regularization_path(Z, Y, [0.0, 1.0])


def test_sparse_data_stay_sparse():
    rng = np.random.default_rng(3)
    data = random_array((200, 20000), density=0.002, rng=rng, data_sampler=rng.standard_normal, format="csr")
    target = rng.standard_normal(200)
    tracemalloc.start()
    sparse = regularization_path(data, target, [1e-3, 1.0])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The linear programme alone would take twice this, were it dense.
    assert peak < 8 * data.shape[0] * data.shape[1]
    gram = (data @ data.T).toarray()
    np.testing.assert_allclose(sparse.least_l2, data.T @ np.linalg.solve(gram, target), rtol=0, atol=1e-12)
    # Strong duality: min ‖w‖₁ with Zw = Y is max Y·ν with |Zᵀν| ≤ 1.
    both = vstack([data.T, -data.T])
    dual = linprog(-target, A_ub=both, b_ub=np.ones(both.shape[0]), bounds=(None, None))
    assert np.abs(sparse.least_l1).sum() == pytest.approx(-dual.fun, rel=1e-9)
    for w, alpha in zip(sparse.w, sparse.scales, strict=True):
        np.testing.assert_allclose(data @ w, target, rtol=0, atol=1e-11)
        # ∇R(w) = ¼ arcsinh(w / 2α²) lies in the range of Zᵀ.
        dual_point = np.arcsinh(w / (2 * alpha**2)) / 4
        off = dual_point - data.T @ np.linalg.solve(gram, data @ dual_point)
        assert np.abs(off).max() < 1e-10 * np.abs(dual_point).max()


@pytest.mark.parametrize("size", [1e-12, 1e-8, 1e8])
def test_least_norms_of_small_and_large_answers(size):
    """HiGHS takes answers below its tolerance for zero."""
    one, scaled = regularization_path(Z, Y, [1e-3]), regularization_path(Z, size * Y, [1e-3])
    np.testing.assert_allclose(scaled.least_l1, size * one.least_l1, rtol=1e-9, atol=1e-12 * size)
    assert scaled.excess_l1[0] >= 0
    smaller = regularization_path(size * Z, Y, [1e-3])
    np.testing.assert_allclose(smaller.least_l1 * size, one.least_l1, rtol=1e-9, atol=1e-12)


def test_regularization_path_of_nothing():
    path = regularization_path(Z, 0.0 * Y, [1.0])
    assert path.excess_l1.tolist() == [0.0] and path.excess_l2.tolist() == [0.0]
    with pytest.raises(DomainError, match="scales"):
        regularization_path(Z, Y, [])
    with pytest.raises(DomainError, match="entropy"):
        regularization_path(Z, Y, [1.0], entropy=3)
    with pytest.raises(DomainError, match=r"entropy\(1\) is a int"):
        regularization_path(Z, Y, [1.0], entropy=lambda alpha: 3)
