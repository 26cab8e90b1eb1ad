"""Discrete steps: exact iterates, and first-order agreement with one another and with the flow."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from riemflow import legendre, losses
from riemflow.errors import ConvergenceError, DomainError, ShapeError
from riemflow.flows import Backtracking, gradient_descent, mirror_descent, mirror_flow
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
        ({"step_size": [0.1, 0.2]}, ShapeError, r"one for each step, shape \(3,\)"),
        ({"step_size": [0.1, -0.2, 0.1]}, DomainError, "must be > 0"),
        ({"step_size": lambda k: 0.1 - 0.1 * k}, DomainError, r"step_size\(1\) is 0"),
        ({"batch_size": 3}, DomainError, "only 2 samples"),
        ({"batch_size": 0}, DomainError, "batch_size is 0"),
        ({"batch_size": 1, "seed": "x"}, DomainError, "seed is 'x'"),
        ({"batch_size": 1, "loss": losses.Linear(START)}, DomainError, "no samples to draw"),
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
    a = {"loss": LOSS, "start": START, "step_size": 0.1, "n_steps": 3, "batch_size": None, "seed": 0} | change
    with pytest.raises(error, match=words):
        method(subject, *list(a.values())[:4], batch_size=a["batch_size"], seed=a["seed"])


def test_schedules_are_followed_and_times_are_their_sums():
    """On squares every step is a linear map, whatever its size."""
    etas = 0.5 / (1.0 + np.arange(12))
    from_array = gradient_descent(Identity(3), LOSS, START, etas, 12)
    from_function = gradient_descent(Identity(3), LOSS, START, lambda k: 0.5 / (1 + k), 12)
    np.testing.assert_array_equal(from_array.x, from_function.x)
    best, A, left = np.linalg.pinv(LOSS.Z) @ LOSS.Y, LOSS.hessian(START), np.eye(3)
    for eta in etas:
        left = (np.eye(3) - eta * A) @ left
    np.testing.assert_allclose(from_array.x[-1], best + left @ (START - best), atol=1e-14)
    np.testing.assert_array_equal(from_array.step_sizes, etas)
    np.testing.assert_allclose(from_array.t[[0, -1]], [0.0, etas.sum()], rtol=1e-15)
    assert "step sizes 0.0417 to 0.5" in repr(from_array)


@pytest.mark.parametrize("rule", [Backtracking(), Backtracking(50.0, 0.7, 0.3)], ids=repr)
def test_backtracking_takes_the_longest_step_that_armijo_allows(rule):
    """Every step keeps the promise, recomputed here, and the one tried before it breaks it or leaves."""
    G, x = HadamardDifference(3), np.repeat([0.8, 0.6], 3)
    R = legendre.HyperbolicEntropy(x[:3], x[3:])
    by_gradient = gradient_descent(G, LOSS, x, rule, 25)
    by_mirror = mirror_descent(R, LOSS, G(x), rule, 25)
    assert by_gradient.status == by_mirror.status == "finished"

    def kept(before, after, promised):
        return after <= before - rule.decrease * promised + 1e-14

    first = 0
    for method in (by_gradient, by_mirror):
        assert (np.diff(LOSS(method.w)) <= 1e-15).all() and LOSS(method.w[-1]) < 1e-3 * LOSS(method.w[0])
        tried = rule.initial
        for k, eta in enumerate(method.step_sizes):
            for length in (eta, eta / rule.shrink):
                if method.x is not None:
                    slope = G.jacobian(method.x[k]).T @ LOSS.gradient(method.w[k])
                    new, promised = G(method.x[k] - length * slope), length * slope @ slope
                else:
                    new = R.conjugate.gradient(method.mu[k] - length * LOSS.gradient(method.w[k]))
                    promised = LOSS.gradient(method.w[k]) @ (method.w[k] - new)
                good = kept(LOSS(method.w[k]), LOSS(new), promised)
                if length == eta:
                    np.testing.assert_allclose(new, method.w[k + 1], rtol=1e-9, atol=1e-12)
                    assert good
                elif length <= tried * (1 + 1e-12) and LOSS(method.w[k]) > 1e-10:
                    assert not good
                    first += 1
            tried = eta / rule.shrink
    assert first > 0


def test_backtracking_stays_inside_the_domain():
    """-ln w with a slope that would leave the range of ∇R at once: the step is shortened, not refused."""
    loss = losses.Loss(lambda w: ((w - 3.0) ** 2).sum(axis=-1), 1, gradient=lambda w: 2 * (w - 3.0))
    descent = mirror_descent(legendre.BurgEntropy(1), loss, [1.0], Backtracking(100.0), 60)
    np.testing.assert_allclose(descent.w[-1], 3.0, atol=1e-6)
    with pytest.raises(ConvergenceError, match="range of the gradient"):
        mirror_descent(legendre.BurgEntropy(1), loss, [1.0], 100.0, 60)


def test_backtracking_that_finds_no_step_says_so():
    """A loss whose gradient points uphill, given so after its check at points of size one."""
    wrong = losses.Loss(
        lambda w: (w**2).sum(axis=-1), 2, gradient=lambda w: np.where(np.abs(w) < 5, 2, -2) * w
    )
    with pytest.raises(ConvergenceError, match="Armijo") as caught:
        gradient_descent(Identity(2), wrong, [6.0, 7.0], Backtracking(), 5)
    assert caught.value.partial.status == "stopped" and len(caught.value.partial.w) == 1
    for bad in ({"initial": 0.0}, {"shrink": 1.0}, {"decrease": 0.0}):
        with pytest.raises(DomainError, match=next(iter(bad))):
            Backtracking(**bad)


RNG = np.random.default_rng(3)
DATA = losses.LeastSquares(RNG.standard_normal((12, 3)), RNG.standard_normal(12))
LABELS = losses.Logistic(DATA.Z, np.sign(DATA.Y))


@pytest.mark.parametrize("loss", [DATA, LABELS], ids=repr)
def test_minibatches_estimate_the_gradient_without_bias(loss):
    """The mean over all subsets of 4 of 12 samples is the gradient of the whole."""
    from itertools import combinations

    slopes = [loss._of_samples(np.array(rows)).gradient(START) for rows in combinations(range(12), 4)]
    np.testing.assert_allclose(np.mean(slopes, axis=0), loss.gradient(START), rtol=1e-13)


def test_one_seed_draws_the_same_minibatches_for_both_descents():
    """On ½‖w‖² and x both are one recursion; it is redone here with draws of the generator."""
    options = {"batch_size": 4, "seed": 7}
    by_gradient = gradient_descent(Identity(3), DATA, START, 0.2, 30, **options)
    by_mirror = mirror_descent(legendre.SquaredNorm(3), DATA, START, 0.2, 30, **options)
    np.testing.assert_allclose(by_gradient.w, by_mirror.w, atol=1e-15)
    rng, w = np.random.default_rng(7), START
    for k in range(30):
        np.testing.assert_allclose(by_gradient.w[k], w, atol=1e-12)
        rows = rng.choice(12, 4, replace=False)
        w = w - 0.2 * DATA.Z[rows].T @ (DATA.Z[rows] @ w - DATA.Y[rows]) / 4
    other = gradient_descent(Identity(3), DATA, START, 0.2, 30, batch_size=4, seed=8)
    assert np.abs(other.w - by_gradient.w).max() > 1e-2
    whole = gradient_descent(Identity(3), DATA, START, 0.2, 30, batch_size=12)
    np.testing.assert_allclose(whole.w, gradient_descent(Identity(3), DATA, START, 0.2, 30).w, atol=1e-13)


def test_on_the_same_minibatches_both_descents_stay_within_the_step():
    G, x = HadamardDifference(3), np.repeat([0.8, 0.6], 3)
    R = legendre.HyperbolicEntropy(x[:3], x[3:])
    gaps, counts = [], (200, 800)
    for n in counts:
        apart = []
        for seed in range(4):
            options = {"batch_size": 3, "seed": seed}
            by_gradient = gradient_descent(G, DATA, x, 1.0 / n, n, **options)
            by_mirror = mirror_descent(R, DATA, G(x), 1.0 / n, n, **options)
            apart.append(np.abs(by_gradient.w - by_mirror.w).max())
        gaps.append(np.mean(apart))
    # Gap over step: the noise of the draws leaves O(√η) of it open. A gap of O(√η) would make it 2, O(1) 4.
    assert 0.5 < gaps[1] * counts[1] / (gaps[0] * counts[0]) < 1.5
    strangers = mirror_descent(R, DATA, G(x), 1.0 / 800, 800, batch_size=3, seed=99)
    assert np.abs(strangers.w - by_gradient.w).max() > 5 * gaps[1]


@pytest.mark.parametrize("throw", [True, False])
def test_an_interrupt_keeps_the_iterates(throw):
    class Interrupted(losses.LeastSquares):
        n_gradients = 0

        def _gradient(self, w):
            self.n_gradients += 1
            if self.n_gradients == 6:
                raise KeyboardInterrupt
            return super()._gradient(w)

    loss, whole = Interrupted(LOSS.Z, LOSS.Y), gradient_descent(Hadamard(3), LOSS, START, 0.1, 5)
    if throw:
        with pytest.raises(KeyboardInterrupt, match="before step 6 of 9") as caught:
            gradient_descent(Hadamard(3), loss, START, 0.1, 9)
        partial = caught.value.partial
    else:
        partial = gradient_descent(Hadamard(3), loss, START, 0.1, 9, throw=False)
    assert partial.status == "interrupted"
    np.testing.assert_array_equal(partial.x, whole.x)


def test_a_loss_that_ends_is_named_as_what_ends():
    """√w has no slope at w < 0, where ½‖w‖² has one."""
    root = losses.Loss(
        lambda w: np.sqrt(w).sum(-1),
        3,
        lambda w: 0.5 / np.sqrt(w),
        lambda w: -0.25 * w[..., None] ** -1.5 * np.eye(3),
    )
    with pytest.raises(ConvergenceError, match="gradient of the loss is not finite"):
        mirror_descent(legendre.SquaredNorm(3), root, START, 0.2, 20)
    with pytest.raises(ConvergenceError, match="gradient of the loss is not finite"):
        gradient_descent(Identity(3), root, START, 0.2, 20)
