"""Discrete steps: exact iterates, and first-order agreement with one another and with the flow."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from riemflow import legendre, losses
from riemflow.errors import ConvergenceError, DomainError, ShapeError
from riemflow.flows import gradient_descent, mirror_descent, mirror_flow
from riemflow.parametrizations import Hadamard, HadamardDifference, Identity, Parametrization, Spherical

LOSS = losses.LeastSquares([[1.0, 0.5, -0.3], [0.2, -1.0, 0.8]], [0.4, 0.3])
START = np.array([0.5, 0.4, 0.7])
EXPONENTIATED = 0.25 * legendre.NegativeEntropy(3)  # of x⊙x


def test_gradient_descent_on_squares_is_a_linear_recursion():
    A, eta = LOSS.hessian(START), 0.3
    descent = gradient_descent(Identity(3), LOSS, START, eta, 20)
    best = np.linalg.pinv(LOSS.Z) @ LOSS.Y
    factor = np.linalg.matrix_power(np.eye(3) - eta * A, 20)
    np.testing.assert_allclose(descent.x[20], best + factor @ (START - best), atol=1e-14)
    np.testing.assert_array_equal(descent.steps, np.arange(21))
    np.testing.assert_allclose(descent.t, 0.3 * np.arange(21))


def test_mirror_descent_with_entropy_is_exponentiated_gradient():
    eta, w = 0.2, START
    descent = mirror_descent(legendre.NegativeEntropy(3), LOSS, START, eta, 15)
    for k in range(16):
        np.testing.assert_allclose(descent.w[k], w, rtol=1e-13)
        w = w * np.exp(-eta * LOSS.gradient(w))
    np.testing.assert_allclose(descent.mu, np.log(descent.w), atol=1e-13)


def test_both_descents_agree_to_first_order_in_the_step():
    """Slope one of the gap in the step size, for x⊙x and for u² - v²."""
    hyperbolic = legendre.HyperbolicEntropy(np.full(3, 0.8), np.full(3, 0.6))
    for G, x_init, R in [
        (Hadamard(3), np.sqrt(START), EXPONENTIATED),
        (HadamardDifference(3), np.repeat([0.8, 0.6], 3), hyperbolic),
    ]:
        gaps, steps = [], np.array([64, 128, 256, 512])
        for n in steps:
            x = gradient_descent(G, LOSS, x_init, 1.0 / n, n)
            w = mirror_descent(R, LOSS, x.w[0], 1.0 / n, n)
            gaps.append(np.abs(x.w[-1] - w.w[-1]).max())
        slope = -np.polyfit(np.log(steps), np.log(gaps), 1)[0]
        assert abs(slope - 1.0) < 0.05, (G.name, slope)


@pytest.mark.parametrize("method", ["gradient", "mirror"])
def test_descents_approach_the_flow_to_first_order(method):
    end = mirror_flow(EXPONENTIATED, LOSS, START, 1.0, rtol=1e-11).w[-1]
    gaps, steps = [], np.array([64, 128, 256, 512])
    for n in steps:
        if method == "gradient":
            descent = gradient_descent(Hadamard(3), LOSS, np.sqrt(START), 1.0 / n, n)
        else:
            descent = mirror_descent(EXPONENTIATED, LOSS, START, 1.0 / n, n)
        gaps.append(np.abs(descent.w[-1] - end).max())
    assert abs(-np.polyfit(np.log(steps), np.log(gaps), 1)[0] - 1.0) < 0.05


def test_iterates_stay_on_the_sphere():
    loss = losses.LeastSquares([[1.0, -1.0]], [-0.2])
    descent = gradient_descent(Spherical(2), loss, np.sqrt([0.5, 0.2, 0.3]), 0.1, 50)
    assert np.abs((descent.x**2).sum(axis=-1) - 1.0).max() < 1e-14
    assert loss(descent.w[-1]) < 1e-3 * loss(descent.w[0])


def test_step_out_of_the_domain_stops_before_it():
    G = Parametrization(lambda x: 1.0 * x, 1, 1, domain=lambda x: x[..., 0] > 0)
    with pytest.raises(ConvergenceError, match="before step 4 of 9") as caught:
        gradient_descent(G, losses.Linear([1.0]), [1.0], 0.3, 9)
    np.testing.assert_allclose(caught.value.partial.x[:, 0], [1.0, 0.7, 0.4, 0.1])
    descent = gradient_descent(G, losses.Linear([1.0]), [1.0], 0.3, 9, throw=False)
    assert descent.status == "left-domain" and "before step 4" in repr(descent)


def test_dual_step_out_of_the_range_stops_before_it():
    """-ln w: μ = -1 + 0.3k has to stay negative."""
    descent = mirror_descent(legendre.BurgEntropy(1), losses.Linear([-1.0]), [1.0], 0.3, 9, throw=False)
    assert descent.status == "left-domain"
    np.testing.assert_allclose(descent.w[:, 0], 1 / (1 - 0.3 * np.arange(4)))
    with pytest.raises(ConvergenceError, match="range of the gradient of BurgEntropy"):
        mirror_descent(legendre.BurgEntropy(1), losses.Linear([-1.0]), [1.0], 0.3, 9)


def test_divergence_is_no_success():
    with pytest.raises(ConvergenceError, match="before step"):
        gradient_descent(Hadamard(3), LOSS, START, 1e3, 50)


def test_result_is_frozen_and_tells_what_happened():
    descent = mirror_descent(EXPONENTIATED, LOSS, START, 0.1, 5)
    assert "finished: 5 steps" in repr(descent) and "mirror descent" in repr(descent)
    with pytest.raises(dataclasses.FrozenInstanceError):
        descent.status = "converged"


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"step_size": 0.0}, DomainError, "step_size"),
        ({"step_size": np.nan}, DomainError, "step_size"),
        ({"n_steps": 0}, DomainError, "n_steps"),
        ({"n_steps": 2.5}, DomainError, "n_steps"),
        ({"loss": losses.Piecewise([1.0], [LOSS, LOSS])}, DomainError, "Piecewise loss needs a flow"),
        ({"loss": losses.Linear([1.0])}, ShapeError, r"R\^1"),
        ({"start": START[:2]}, ShapeError, "_init has shape"),
        ({"start": START[None]}, ShapeError, "one point"),
    ],
)
@pytest.mark.parametrize(
    ("method", "subject"), [(gradient_descent, Hadamard(3)), (mirror_descent, EXPONENTIATED)]
)
def test_bad_input_is_named(method, subject, change, error, words):
    a = {"loss": LOSS, "start": START, "step_size": 0.1, "n_steps": 3} | change
    with pytest.raises(error, match=words):
        method(subject, a["loss"], a["start"], a["step_size"], a["n_steps"])
