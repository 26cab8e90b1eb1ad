"""Condition (9) is enough for complete analytic fields: each step of the proof on docs/conjecture_4_10.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from zoo_conjecture import (
    smooth_counterexample,
    softmax_gradient,
    softmax_hessian,
    twisted,
    vertical_blow_up,
)
from zoo_parametrizations import hopf_potential

import riemflow as rf
from riemflow.commuting import check_brackets_in_kernel, coordinate_flow, flow_domain
from riemflow.parametrizations import HopfCone, MatrixFactorization, Parametrization, ScrewQuotient


@dataclass(frozen=True)
class Complete:
    """A complete analytic G with (9) that does not commute, a start, and ∇R and H = (∇²R)⁻¹ by hand."""

    name: str
    make: Callable[[], Parametrization]
    x: np.ndarray
    slope: Callable[[np.ndarray], Callable[[np.ndarray], np.ndarray]]  # x -> (w -> ∇R(w))
    cometric: Callable[[np.ndarray, np.ndarray], np.ndarray]  # x, μ -> H

    def __str__(self) -> str:
        return self.name


def hopf_cometric(x, mu):
    """16 diag w - 12 wwᵀ/S where ∇R(w) = μ.

    There (1/16) ln(w/w0) + (3/16) ln(S/S0) = μ, so w = w0 e^{16 μ} (S/S0)^{-3}; its sum gives S.
    """
    w0 = HopfCone()(x)
    growth = (w0 * np.exp(16 * mu)).sum() / w0.sum()  # (S/S0)⁴
    w = w0 * np.exp(16 * mu) * growth**-0.75
    return 16 * np.diag(w) - 12 * np.outer(w, w) / w.sum()


CASES = [
    Complete(
        "HopfCone",
        HopfCone,
        np.array([1.0, 0.5, 0.3, 0.7]),
        lambda x: hopf_potential(x).gradient,
        hopf_cometric,
    ),
    Complete(
        "twisted",
        twisted,
        np.array([0.1, -0.3, 0.5]),
        lambda x: lambda w: dual_of_softmax(w) - x[:2],
        lambda x, mu: softmax_hessian(x[:2] + mu),
    ),
    Complete(
        "vertical blow-up",
        vertical_blow_up,
        np.array([0.2, -0.1, 0.5, 0.4]),
        lambda x: lambda w: w - x[:2],
        lambda x, mu: np.eye(2),
    ),
]
everyone = pytest.mark.parametrize("case", CASES, ids=str)


def dual_of_softmax(w):
    """The μ with ∇Q(μ) = w for `twisted`, by Newton's method."""
    mu = np.zeros(2)
    for _ in range(50):
        mu = mu - np.linalg.solve(softmax_hessian(mu), softmax_gradient(mu) - w)
    return mu


def random_words(total, rng, n):
    """n words of coordinate flows, as lists of (i, time), with the total time μ_i along ∇G_i."""
    d = len(total)
    for _ in range(n):
        letters = rng.permutation(np.repeat(np.arange(d), 3))
        times = rng.uniform(-0.3, 0.3, len(letters)) * np.abs(total).max()
        for i in range(d):
            mine = np.flatnonzero(letters == i)
            times[mine[-1]] += total[i] - times[mine].sum()
        yield list(zip(letters.tolist(), times.tolist(), strict=True))


def follow_word(G, x, word):
    for i, time in word:
        x = coordinate_flow(G, x, i, time)
    return x


def control_of(case):
    """A total μ of moderate size for the case's start."""
    return (
        0.6
        * np.array([1.0, -0.7, 0.5])[: case.make().dim]
        / max(1.0, np.abs(case.make().cometric(case.x)).max())
    )


@everyone
def test_condition_9_holds_and_the_fields_do_not_commute(case):
    G = case.make()
    assert check_brackets_in_kernel(G, case.x).passed
    assert np.abs(rf.lie_bracket(G, case.x)).max() > 0.1


@everyone
def test_flows_carry_the_fields_into_themselves_up_to_the_kernel(case):
    """Lemma 2: the push-forward of ∇G_j by a flow is ∇G_j plus a vertical field, which is not zero."""
    G, x, h = case.make(), case.x, 1e-4
    t, fields = control_of(case)[0], G.jacobian(x)
    there = coordinate_flow(G, x, 0, t)
    for j in range(1, G.dim):
        ahead, behind = coordinate_flow(G, x + h * np.array([[1], [-1]]) * fields[j], 0, t)
        change = (ahead - behind) / (2 * h) - G.jacobian(there)[j]
        slope = G._jacobian(there)
        assert np.abs(slope @ change).max() < 1e-6 * (1 + np.abs(slope).max() * np.abs(fields[j]).max())
        assert np.abs(change).max() > 1e-2


@everyone
def test_every_word_of_flows_ends_at_the_gradient_of_q(case):
    """The theorem for piecewise constant controls: G = ∇Q(μ) and H = ∇²Q(μ) at the end of every word."""
    G, total = case.make(), control_of(case)
    ends = np.array(
        [follow_word(G, case.x, word) for word in random_words(total, np.random.default_rng(1), 3)]
    )
    # The words end at different x ...
    assert np.linalg.norm(ends - ends.mean(axis=0), axis=-1).max() > 1e-3
    for end in ends:
        # ... over one w, the one where ∇R is μ.
        np.testing.assert_allclose(case.slope(case.x)(G(end)), total, atol=1e-9)
        expected = case.cometric(case.x, total)
        np.testing.assert_allclose(G.cometric(end), expected, rtol=1e-8, atol=1e-8 * np.abs(expected).max())


@everyone
def test_every_gradient_flow_is_the_mirror_flow(case):
    """The theorem for a control that is no word: x' = Σ u_i(t) ∇G_i, integrated with SciPy."""
    G, size = case.make(), np.abs(control_of(case)).max()
    rate = np.arange(1, G.dim + 1)

    def control(t):
        return size * np.cos(rate * 3 * t + rate)

    def velocity(t, x):
        return control(t) @ G._gradients(x)

    end = solve_ivp(velocity, (0, 2), case.x, method="DOP853", rtol=1e-11, atol=1e-12)
    assert end.success
    total = size * (np.sin(rate * 6 + rate) - np.sin(rate)) / (3 * rate)
    np.testing.assert_allclose(case.slope(case.x)(G(end.y[:, -1])), total, atol=1e-8)


@pytest.mark.parametrize(
    ("G", "x", "total"),
    [
        (MatrixFactorization(2, 2), np.array([1.0, 0.2, -0.3, 0.8]), np.array([0.2, -0.3, 0.25])),
        (smooth_counterexample(), np.array([0.0, 0.0, 0.0]), None),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_words_end_apart_without_the_assumptions(G, x, total):
    """Complete, but without (9); complete with (9), but neither analytic nor of constant rank."""
    if total is None:
        words = [[(0, -1.5), (1, 1.5), (0, 3.3)], [(0, 1.8), (1, 1.5)]]
    else:
        words = list(random_words(total, np.random.default_rng(1), 2))
    one, other = (G(follow_word(G, x, word)) for word in words)
    assert np.linalg.norm(one - other) > 0.02


def test_bracket_of_the_hopf_cone(rng):
    """[∇G_i, ∇G_j] = ±32 p_1 p_2 p_3 ξ for (i, j, k) cyclic, ξ along the Hopf circles, p = v/‖x‖²."""
    x = rng.standard_normal((5, 4))
    a, b, c, d = np.moveaxis(x, -1, 0)
    v = np.stack([2 * (a * c + b * d), 2 * (b * c - a * d), a**2 + b**2 - c**2 - d**2], axis=-1)
    circle = np.stack([-b, a, -d, c], axis=-1)
    expected = 32 * (v / (x**2).sum(axis=-1, keepdims=True)).prod(axis=-1)[:, None] * circle
    bracket = rf.lie_bracket(HopfCone(), x)
    sign = np.sign((bracket[0, 0, 1] * expected[0]).sum())
    for i, j in ((0, 1), (1, 2), (2, 0)):
        np.testing.assert_allclose(bracket[:, i, j], sign * expected, atol=1e-11)


def test_the_hopf_cone_stays_off_its_edges():
    """Completeness: along ∇G_i, 4 ≤ (ln w_i)' ≤ 16 and -12 ≤ (ln w_j)' ≤ 0 for j ≠ i."""
    G, x, t = HopfCone(), CASES[0].x, 0.4
    start = np.log(G(x))
    for i in range(3):
        growth = np.log(G(coordinate_flow(G, x, i, t))) - start
        others = np.delete(growth, i)
        assert 4 * t <= growth[i] <= 16 * t and (others <= 1e-12).all() and (others >= -12 * t).all()


def test_bracket_of_the_screw_quotient(rng):
    """[∇G_1, ∇G_2] = -(1 + 1/r²) (∂_θ + ∂_z), along the screw motion."""
    x = np.stack([rng.uniform(0.3, 2, 5), rng.uniform(-1, 1, 5), rng.uniform(-1, 1, 5)], axis=-1)
    a, b, _ = x.T
    screw = np.stack([-b, a, np.ones(5)], axis=-1)
    expected = -(1 + 1 / (a**2 + b**2))[:, None] * screw
    np.testing.assert_allclose(rf.lie_bracket(ScrewQuotient(), x)[:, 0, 1], expected, rtol=1e-10)


@pytest.mark.slow
def test_the_screw_quotient_is_not_complete():
    """From (r, 0, 0) ∇G_2 is radial: at the axis after r²/(1 + r²), at infinity after -1/(1 + r²)."""
    r = 1.2
    U = flow_domain(ScrewQuotient(), [r, 0.0, 0.0])
    assert (U.lower_reason[1], U.upper_reason[1]) == ("blow-up", "left-domain")
    np.testing.assert_allclose([U.lower[1], U.upper[1]], [-1 / (1 + r**2), r**2 / (1 + r**2)], rtol=1e-9)


@pytest.mark.parametrize("case", [CASES[0]], ids=str)
def test_the_cometric_of_the_hopf_cone_is_a_function_of_w(case):
    """The direct test: H = (∇²R)⁻¹ at G(x), anywhere; here 16 diag w - 12 wwᵀ/S."""
    G, x = case.make(), np.random.default_rng(3).standard_normal((6, 4))
    w = G(x)
    expected = 16 * w[..., None] * np.eye(3) - 12 * w[:, :, None] * w[:, None, :] / w.sum(-1)[:, None, None]
    np.testing.assert_allclose(G.cometric(x), expected, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize(("x", "crosses"), [([-1.0, 0.3, 0.0], True), ([1.0, 0.3, 0.0], False)])
def test_crossing_the_cut_would_fake_a_witness(x, crosses):
    """Without the slit, an order that crosses it before ∇G_2 is followed ends elsewhere, also modulo 2π."""
    screw, x = ScrewQuotient(), np.array(x)
    unslit = Parametrization(screw._fun, 3, 2, jacobian=screw._jacobian, hessian=screw._hessian)
    turn, inwards = [0.8, 0.0], [0.0, 0.02]
    orders = [[turn, inwards], [inwards, turn]]
    ends = []
    for order in orders:
        losses = rf.losses.Piecewise([1.0], [rf.losses.Linear(-np.array(move)) for move in order])
        ends.append(rf.gradient_flow(unslit, losses, x, 2.0, rtol=1e-10).w[-1])
        slit = rf.gradient_flow(screw, losses, x, 2.0, rtol=1e-10, throw=False)
        assert (slit.status == "failed") == crosses
    turns = (ends[0] - ends[1])[0] / (2 * np.pi)
    assert (abs(turns - round(turns)) > 1e-3) == crosses
    assert (np.linalg.norm(ends[0] - ends[1]) < 1e-8) != crosses
