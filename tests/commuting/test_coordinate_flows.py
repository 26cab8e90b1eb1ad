"""Coordinate flows and the joint flow, against closed forms."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy.linalg import expm
from zoo_parametrizations import COMMUTING

from riemflow.commuting.coordinate_flows import coordinate_flow, joint_flow
from riemflow.errors import ConvergenceError, DomainError, ShapeError
from riemflow.parametrizations import (
    Exponential,
    Hadamard,
    HadamardDifference,
    Identity,
    MatrixFactorization,
    Parametrization,
    Quadratic,
    ScrewQuotient,
    Spherical,
)

# Steps of tolerance 1e-12: a few hundred of them keep ten digits.
RTOL = 1e-10


def power_flow(x, k, t):
    """x' = k x^{k-1}: exponential for k = 2, else x^{2-k} falls linearly."""
    return x * np.exp(2 * t) if k == 2 else (x ** (2.0 - k) - k * (k - 2) * t) ** (1 / (2.0 - k))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("k", [2, 3, 4])
def test_powers(rng, k, scale):
    x = scale * rng.uniform(0.5, 1.5, (7, 3))
    end = (x[:, 1] ** (2 - k) / (k * (k - 2))) if k > 2 else np.ones(7)
    for share in (-30.0, -0.5, 0.0, 0.5, 0.999):
        expected = x.copy()
        expected[:, 1] = power_flow(x[:, 1], k, share * end)
        # Near a blow-up, at the share s of its time, an error of t counts 1/(1 - s)-fold.
        tol = 1e3 * RTOL if share == 0.999 else RTOL
        y = coordinate_flow(Hadamard(3, k), x, 1, share * end)
        np.testing.assert_allclose(y, expected, rtol=tol, atol=1e-15 * scale)


def test_exponential(rng):
    """x' = e^x has e^{-x} = e^{-x0} - t."""
    x = rng.standard_normal((5, 2))
    t = np.exp(-x[:, 0]) * np.array([-5.0, -1.0, 0.3, 0.9, 0.99])
    y = coordinate_flow(Exponential(2), x, 0, t)
    np.testing.assert_allclose(y[:, 0], -np.log(np.exp(-x[:, 0]) - t), atol=1e-9)
    np.testing.assert_array_equal(y[:, 1], x[:, 1])


def test_quadratic_against_the_matrix_exponential(rng):
    A = rng.standard_normal((3, 4, 4))
    A = A + np.swapaxes(A, -1, -2)
    x, t = rng.standard_normal((6, 4)), rng.uniform(-1.5, 1.5, 6)
    y = coordinate_flow(Quadratic(A), x, 2, t)
    expected = np.array([expm(t[k] * A[2]) @ x[k] for k in range(6)])
    np.testing.assert_allclose(y, expected, rtol=0, atol=RTOL * np.abs(expected).max())


def test_on_the_sphere(rng):
    """∇(x_i²) on the sphere scales the ratio of x_i to the others by e^{2t}."""
    x = rng.standard_normal((4, 3))
    x /= np.linalg.norm(x, axis=-1, keepdims=True)
    t = rng.uniform(-2, 2, 4)
    y = coordinate_flow(Spherical(2), x, 0, t)
    expected = x * np.exp(2 * t[:, None] * np.array([1.0, 0.0, 0.0]))
    expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
    np.testing.assert_allclose(y, expected, atol=RTOL)
    np.testing.assert_allclose(np.linalg.norm(y, axis=-1), 1.0, atol=1e-14)


@pytest.mark.parametrize("case", COMMUTING, ids=str)
def test_one_parameter_group(case):
    """φ^{s+t} = φ^s ∘ φ^t, and φ^{-t} undoes φ^t."""
    G, x = case.make(), case.points(3)
    t = 0.05 / np.linalg.norm(G.jacobian(x)[:, 0], axis=-1)
    there = coordinate_flow(G, x, 0, t)
    assert np.linalg.norm(there - x, axis=-1).min() > 1e-2
    np.testing.assert_allclose(coordinate_flow(G, there, 0, -t), x, atol=RTOL)
    np.testing.assert_allclose(
        coordinate_flow(G, there, 0, t), coordinate_flow(G, x, 0, 2 * t), rtol=RTOL, atol=RTOL
    )


def test_batches_broadcast(rng):
    G, x = Hadamard(2), rng.uniform(0.5, 1.5, (3, 1, 2))
    y = coordinate_flow(G, x, 1, np.array([0.1, -0.2, 0.0, 0.4]))
    assert y.shape == (3, 4, 2)
    np.testing.assert_allclose(y[2, 1], coordinate_flow(G, x[2, 0], 1, -0.2), rtol=1e-12)
    np.testing.assert_array_equal(y[:, 2], x[:, 0])
    assert joint_flow(G, x[:, 0], np.zeros((5, 1, 2))).shape == (5, 3, 2)


def test_joint_flow_of_commuting_matrices_is_one_exponential(rng):
    """ψ(x; μ) = exp(Σ μ_i A_i) x for commuting A_i (Thm 4.15), in any order."""
    Q = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    A = np.einsum("ak,ik,bk->iab", Q, rng.uniform(-1, 1, (3, 4)), Q)
    x, mu = rng.standard_normal(4), rng.uniform(-1, 1, (2, 3))
    expected = np.array([expm(np.tensordot(m, A, 1)) @ x for m in mu])
    for order in permutations(range(3)):
        np.testing.assert_allclose(joint_flow(Quadratic(A), x, mu, order=order), expected, atol=RTOL)


def test_order_is_read_as_the_composition_is_written(rng):
    """For matrices that do not commute, ψ = e^{μ_1 A_1} e^{μ_2 A_2} x by default: the last acts first."""
    A = rng.standard_normal((2, 3, 3))
    A = A + np.swapaxes(A, -1, -2)
    x, mu = rng.standard_normal(3), np.array([0.4, -0.3])
    first, second = expm(mu[0] * A[0]), expm(mu[1] * A[1])
    np.testing.assert_allclose(joint_flow(Quadratic(A), x, mu), first @ second @ x, atol=RTOL)
    swapped = joint_flow(Quadratic(A), x, mu, order=(1, 0))
    np.testing.assert_allclose(swapped, second @ first @ x, atol=RTOL)
    assert np.linalg.norm(first @ second @ x - swapped) > 1e-2


def test_gradient_of_the_joint_flow_in_w_is_the_cometric(rng):
    """∂(G ∘ ψ)/∂μ = ∂G ∂Gᵀ (Lemma 4.7), by central differences."""
    G, x, mu, h = (
        HadamardDifference(2, power=3),
        np.array([1.0, 0.8, 0.6, 1.2]),
        np.array([0.05, -0.02]),
        1e-5,
    )
    moved = G(joint_flow(G, x, mu + h * np.concatenate([np.eye(2), -np.eye(2)])))
    slope = ((moved[:2] - moved[2:]) / (2 * h)).T
    # Rounding and integration errors over h, and h² of truncation.
    np.testing.assert_allclose(slope, G.cometric(joint_flow(G, x, mu)), atol=1e-6)


@pytest.mark.slow
def test_error_names_the_time_of_the_blow_up():
    with pytest.raises(DomainError, match=r"∇G_2 .* blows up at t = 0\.166666666667, but t = 0\.5 was"):
        joint_flow(Hadamard(2, 3), [[1.0, 2.0], [1.0, 0.1]], [0.1, 0.5])


@pytest.mark.slow
def test_error_names_the_time_of_leaving_the_domain():
    half = Parametrization(lambda x: 1.0 * x, 2, 2, domain=lambda x: x[..., 0] > 0, name="half")
    with pytest.raises(DomainError, match=r"half .* leaves the domain at t = -2, but t = -3 was"):
        coordinate_flow(half, [2.0, 0.0], 0, -3.0)
    # r = √1.25 stays, and the angle goes from atan2(1/2, 1) to π at the rate 1/r².
    time = 1.25 * (np.pi - np.arctan2(0.5, 1.0))
    x = [1.0, 0.5, 0.2]
    with pytest.raises(DomainError, match="leaves the domain at t = ") as caught:
        coordinate_flow(ScrewQuotient(), x, 0, time + 0.01)
    named = float(str(caught.value).split("at t = ")[1].split(",")[0])
    assert abs(named - time) < 1e-9
    assert coordinate_flow(ScrewQuotient(), x, 0, time - 0.01)[1] > 0


def test_a_hole_is_not_jumped_over():
    """The flow of a constant field takes steps of any length; a disc in its way must be felt."""
    holed = Parametrization(lambda x: 1.0 * x, 2, 2, domain=lambda x: (x**2).sum(axis=-1) > 1.0)
    with pytest.raises(DomainError, match=r"leaves the domain at t = 7\.13397459622"):
        coordinate_flow(holed, [-8.0, 0.5], 0, 16.0)
    np.testing.assert_allclose(coordinate_flow(holed, [-8.0, 1.5], 0, 16.0), [8.0, 1.5], rtol=1e-14)


def test_a_flow_too_long_is_no_blow_up(monkeypatch):
    monkeypatch.setattr("riemflow.commuting.coordinate_flows.MOST_EVALUATIONS", 12 * 200)
    stiff = Quadratic([np.diag([-1.0, -1e6])])
    with pytest.raises(ConvergenceError, match="too long or too stiff"):
        coordinate_flow(stiff, [1.0, 1.0], 0, 1.0)


def test_bad_arguments():
    G = Hadamard(2)
    for i in (-1, 2, 0.0, True):
        with pytest.raises(DomainError, match="whole number from 0 to 1"):
            coordinate_flow(G, [1.0, 1.0], i, 0.1)
    with pytest.raises(DomainError, match="finite"):
        coordinate_flow(G, [1.0, 1.0], 0, np.nan)
    with pytest.raises(DomainError, match="domain"):
        coordinate_flow(G, [1.0, 0.0], 0, 0.1)
    with pytest.raises(DomainError, match="rtol"):
        coordinate_flow(G, [1.0, 1.0], 0, 0.1, rtol=0.0)
    with pytest.raises(ShapeError, match="broadcast"):
        coordinate_flow(G, [[1.0, 1.0], [1.0, 2.0]], 0, [0.1, 0.2, 0.3])
    with pytest.raises(ShapeError, match="broadcast"):
        joint_flow(G, np.ones((2, 2)), np.ones((3, 2)))
    with pytest.raises(ShapeError, match="permutation"):
        joint_flow(G, [1.0, 1.0], [0.1, 0.2], order=(0, 0))
    with pytest.raises(ShapeError, match="mu"):
        joint_flow(Identity(2), [1.0, 1.0], [0.1])
    with pytest.raises(ShapeError, match="last axis"):
        coordinate_flow(MatrixFactorization(2, 2), [1.0, 1.0], 0, 0.1)
