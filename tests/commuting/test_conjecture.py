"""Conjecture 4.10: condition (9) is not enough for a C^∞ parametrization, and order 2 of it for none."""

from __future__ import annotations

import numpy as np
import pytest
from zoo_counterexamples import third_order, third_order_start

import riemflow as rf
from riemflow.commuting import classify
from riemflow.parametrizations import Parametrization


def bump(t, a, b):
    """A smooth function that vanishes outside (a, b), 1 in the middle."""
    s = (2 * t - a - b) / (b - a)
    inside = np.abs(s) < 1
    safe = np.where(inside, 1 - s**2, 1.0)
    return np.where(inside, np.exp(1 - 1 / safe), 0.0)


def smooth_counterexample(strength: float = 1.0) -> Parametrization:
    """G(w₁, w₂, z) = (w₁, w₂) on R³ with inverse metric [[H, b], [bᵀ, 1 + bᵀH⁻¹b]].

    H = diag(1 + ½β(w₁; 1, 2) sin z, 1) depends on z only where b = (0, β(w₁; -2, -1)) vanishes. So all
    brackets are vertical, along ∂_z; but z can be shifted on the left and felt on the right.
    """

    def inverse_metric(x):
        K = np.zeros((*x.shape[:-1], 3, 3))
        b = strength * bump(x[..., 0], -2.0, -1.0)
        K[..., 0, 0] = 1 + 0.5 * bump(x[..., 0], 1.0, 2.0) * np.sin(x[..., 2])
        K[..., 1, 1] = 1.0
        K[..., 1, 2] = K[..., 2, 1] = b
        K[..., 2, 2] = 1 + b**2
        return K

    return Parametrization(
        lambda x: x[..., :2],
        3,
        2,
        jacobian=lambda x: np.broadcast_to(np.eye(2, 3), (*x.shape[:-1], 2, 3)),
        hessian=lambda x: np.zeros((*x.shape[:-1], 2, 3, 3)),
        inverse_metric=inverse_metric,
        name="smooth counterexample",
    )


def test_brackets_are_vertical_everywhere():
    """Condition (9) at order 2, on both bumps, between and outside; on the left they are not zero."""
    G = smooth_counterexample()
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform([-2, -1, -3], [2, 1, 3], (200, 3)), [[-1.7, 0.0, 0.4]]])
    bracket = rf.lie_bracket(G, x)
    assert np.abs(bracket[..., :2]).max() < 1e-9
    assert np.abs(bracket[-1]).max() > 0.1


@pytest.mark.slow
def test_near_the_start_it_is_projectable():
    found = classify(smooth_counterexample(), [-1.6, 0.0, 0.3], reach=0.2)
    assert found.verdict == "projectable", found


@pytest.mark.slow
@pytest.mark.parametrize(("w1", "reach"), [(0.0, 2.0), (-1.5, 2.0), (1.5, 2.0), (2.5, 2.0), (0.0, 3.0)])
def test_a_larger_region_refutes_it(w1, reach):
    """Whichever bump is nearer, and neither: what hides from pull-backs is seen by push-forwards."""
    found = classify(smooth_counterexample(), [w1, 0.0, 0.3], reach=reach)
    assert found.verdict == "not-mirror" and found.intrinsic is False, found
    assert found.witness is not None and found.witness.gap > 100 * found.witness.error


@pytest.mark.parametrize(("strength", "least"), [(1.0, 0.05), (0.0, 0.0)])
def test_moves_reordered_end_elsewhere(strength, least):
    """Left, shift z by moving w₂ there, and right into the other bump; or the shift elsewhere.

    Both have the same ∫∇L. Without b, the negative control, nothing shifts z and they end together.
    """
    G = smooth_counterexample(strength)
    left, shift, right = ([1.5, 0.0], [0.0, -1.5], [-3.3, 0.0])
    ends = []
    for order in ((left, shift, right), (left, right, shift)):
        schedule = rf.losses.Piecewise([1.0, 2.0], [rf.losses.Linear(c) for c in order])
        ends.append(rf.gradient_flow(G, schedule, [0.0, 0.0, 0.0], 3.0, rtol=1e-10).w[-1])
    gap = np.linalg.norm(ends[0] - ends[1])
    if strength:
        assert gap > least
    else:
        assert gap < 1e-7


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1))
def test_order_two_alone_misleads(seed):
    """All brackets of order 2 lie in ker ∂G, one of order 3 does not: no mirror flow."""
    found = classify(third_order(), third_order_start(np.random.default_rng(seed)))
    assert found.verdict == "not-mirror" and found.intrinsic is False and found.orbit_dim == 3, found
