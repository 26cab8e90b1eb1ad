"""Bounds on the defect between the points, and on how far the flow strays because of it."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
import pytest

import riemflow as rf
from riemflow.embedding import Ball, Box, certificate, embed, spectral, stray_bound
from riemflow.embedding.embedding import relative_defect
from riemflow.embedding.metric import as_metric
from riemflow.errors import DomainError
from riemflow.flows import mirror_flow, riemannian_gradient_flow
from riemflow.geometry import HessianManifold
from riemflow.legendre import LegendreFunction, LogSumExp, NegativeEntropy, Quadratic, SquaredNorm
from riemflow.losses import LeastSquares, Linear, Piecewise


def beta(w):
    return anp.sum(w * anp.log(w), axis=-1) + 0.5 * anp.sum(w, axis=-1) ** 2


POSITIVE = LegendreFunction(beta, 2, domain=lambda w: (w > 0).all(axis=-1), name="entropy and square")
CASES = {
    "interval": (LegendreFunction(lambda w: anp.sum(anp.log(anp.cosh(w)), -1), 1), Box([-2.0], [2.0])),
    "square": (LogSumExp(2) + 0.1 * SquaredNorm(2), Box([-1.0, -1.0], [1.0, 1.0])),
    "near the boundary": (POSITIVE, Box([0.05, 0.1], [1.0, 2.0])),
}


def independent_points(region, n):
    """Corners, edges and interior, denser towards the edges: none of the solver's own."""
    rng = np.random.default_rng(1234)
    u = rng.uniform(-1.0, 1.0, (n, region.dim))
    u = np.where(rng.random((n, 1)) < 0.5, np.sin(0.5 * np.pi * u), u)
    u = np.where(rng.random((n, region.dim)) < 0.2, np.sign(u), u)
    return np.concatenate([region.corners(), region.center + 0.5 * (region.upper - region.lower) * u])


def largest(F, n):
    parts = np.array_split(independent_points(F.region, n), max(1, n // 5000))
    return max(F.metric_defect(part).max() for part in parts)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("n", [20_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("tol", [1e-4, 1e-8])
def test_bound_holds_and_is_sharp(name, n, tol):
    R, region = CASES[name]
    F = embed(R, region, method="spectral", tol=tol)
    bound, found = F.certificate.bound, largest(F, n)
    assert bound.is_bound and found <= bound.value
    assert bound.value <= (3 if n > 100_000 or F.dim > 1 else 4) * found  # few points miss rounding's worst
    assert "proved" in str(bound) and "estimated" in str(bound) and str(bound) in repr(F)


def test_three_dimensions_are_bounded_too():
    F = embed(LogSumExp(3) + 0.1 * SquaredNorm(3), Box(-np.ones(3), np.ones(3)), method="spectral", tol=1e-3)
    found = largest(F, 10_000)
    assert found <= F.certificate.bound.value <= 9 * found


def test_a_ball_is_sampled_and_says_so():
    F = embed(LogSumExp(2) + 0.1 * SquaredNorm(2), Ball([0.2, 0.0], 1.0), method="spectral", tol=1e-6)
    bound = F.certificate.bound
    assert not bound.is_bound and bound.value >= F.certificate.defect
    assert "not bounded between them" in repr(F)


def test_a_spoilt_embedding_is_bounded_by_its_own_defect():
    """The high coefficients are spoilt, the sampled defect is still the old one."""
    R, region = CASES["square"]
    F = embed(R, region, method="spectral", tol=1e-8)
    spoilt = F.coefficients.copy()
    spoilt[-20:] += 1e-4 * np.random.default_rng(0).standard_normal(spoilt[-20:].shape)
    G = spectral.SpectralEmbedding(as_metric(R), region, F.basis, spoilt, F.coordinates)
    G.certificate = F.certificate
    bound = spectral.sup_bound(G)
    found = largest(G, 20_000)
    assert F.certificate.bound.value < 1e-7 < found <= bound.value <= 3 * found


R2 = LogSumExp(2) + 0.1 * SquaredNorm(2)
LOSSES = {
    "least squares": LeastSquares([[1.0, 0.3], [0.2, -1.0]], [0.5, 0.4]),
    "linear": Linear([0.2, -0.3]),
    "two pieces": Piecewise([0.9], [Linear([0.2, -0.3]), LeastSquares([[1.0, 2.0]], [0.3])]),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("larger", [True, False])
def test_flow_of_a_wrong_metric_strays_within_the_bound(name, larger):
    """ĝ = ∇²R + ε A is itself a Hessian metric, so its flow can be had without an embedding."""
    epsilon, A = 1e-4, np.array([[1.0, 0.5], [0.5, 2.0]])
    t, start, loss = np.linspace(0.0, 2.0, 21), [0.3, -0.2], LOSSES[name]
    more = R2 + epsilon * Quadratic(A)
    right, wrong = (R2, more) if larger else (more, R2)
    true = mirror_flow(right, loss, start, t, rtol=1e-11)
    other = riemannian_gradient_flow(HessianManifold(wrong), loss, start, t, rtol=1e-11)
    g = right.hessian(true.w)
    relative = np.linalg.solve(g, wrong.hessian(true.w) - g)
    defect = np.abs(np.linalg.eigvals(relative)).max() * 1.01
    bound = stray_bound(right, loss, t, true.w, defect)
    gap = other.w - true.w
    strayed = np.sqrt(np.einsum("ti,tij,tj->t", gap, g, gap))
    # The dual form starts from ∇R*(∇R(w)), which is w but for rounding.
    assert strayed[0] <= 1e-14 and (strayed[1:] <= bound[1:]).all()
    assert strayed.max() > 0.02 * bound.max()  # not idle
    assert bound[0] == 0 and (stray_bound(right, loss, t, true.w, 1.0)[1:] == np.inf).all()


def test_quadratic_case_by_hand():
    """R = L = ½w²: w = e^{-t}, ν = -1 and |∇L| = e^{-t}, so ρ = δ/(1-δ) t e^{-t}."""
    t = np.linspace(0.0, 1.0, 201)
    w = np.exp(-t)[:, None]
    bound = stray_bound(SquaredNorm(1), LeastSquares([[1.0]], [0.0]), t, w, 1e-3)
    np.testing.assert_allclose(bound, 1e-3 / (1 - 1e-3) * t * np.exp(-t), rtol=0.02)


def test_report_prints_the_bound_and_what_happened():
    def hessian(w):
        return (1 / w)[..., None] * np.eye(2) + 1.0

    R = LegendreFunction(beta, 2, hessian=hessian, domain=lambda w: (w > 0).all(axis=-1))
    report = rf.verify_reverse(R, LeastSquares([[1.0, 2.0]], [1.5]), [0.5, 0.8], 0.3, rtol=1e-4)
    assert report.passed, str(report)
    [note] = [note for note in report.notes if "Gronwall" in note]
    assert "strayed" in note and f"{report.embedding.certificate.bound.value:.1e}" in note
    exact = rf.verify_reverse(NegativeEntropy(2), LeastSquares([[1.0, 2.0]], [1.5]), [0.5, 0.8], 0.3)
    assert not any("Gronwall" in note for note in exact.notes)


BUMP, WIDTH = np.array([0.3137, -0.4]), 0.008


@pytest.mark.parametrize("height", [0.0, 0.005])
def test_a_bump_between_the_points_is_met_by_the_bound(height):
    """A convex R whose Hessian changes by some percent within .008: no point checked may be near it."""

    def value(w):
        smooth = anp.log(1 + anp.sum(anp.exp(w), -1)) + 0.05 * anp.sum(w**2, -1)
        return smooth + height * WIDTH**2 * anp.exp(-anp.sum((w - BUMP) ** 2, -1) / WIDTH**2)

    F = embed(LegendreFunction(value, 2), Box([-1.0, -1.0], [1.0, 1.0]))
    true = F.metric_defect(BUMP)
    assert F.certificate.defect <= 1e-10
    assert (true > 1e-2) == (height > 0)
    assert F.certificate.passed == (height == 0) and F.certificate.bound.value >= true
    assert ("not between them" in repr(F)) == (height > 0)


def kink(power):
    """A metric whose derivative of this order less two jumps across a line (a point for d = 1)."""

    def value(w):
        slant = w[..., 0] + 0.3 * w[..., -1] - 0.123
        return anp.abs(slant) ** power + anp.log(1 + anp.sum(anp.exp(w), -1)) + 0.05 * anp.sum(w**2, -1)

    return value


@pytest.mark.slow
@pytest.mark.parametrize(("dim", "power"), [(1, 3.5), (2, 4.5)])
def test_a_metric_that_is_not_smooth_is_not_bounded_and_says_so(dim, power):
    R, region = LegendreFunction(kink(power), dim), Box(-np.ones(dim), 1.3 * np.ones(dim))
    try:
        bound = embed(R, region, method="spectral", tol=1e-6).certificate.bound
    except rf.ConvergenceError as error:
        bound = spectral.sup_bound(error.partial)
    assert not bound.is_bound and bound.tail > 0 and "not resolved" in str(bound)
    smooth = embed(LegendreFunction(kink(2.0), dim), region, method="spectral", tol=1e-6)
    assert smooth.certificate.bound.is_bound


@pytest.mark.parametrize("size", [1.0, 1e-3])
def test_rounding_is_measured_with_the_condition_of_the_metric(size):
    """exp(w1 + w2) + size |w|²: rounding g changes the defect by eps times its condition."""
    R = LegendreFunction(lambda w: anp.exp(w[..., 0] + w[..., 1]) + size * anp.sum(w**2, -1), 2)
    F = embed(R, Box([-1.0, -1.0], [1.3, 1.3]), method="spectral", tol=1e-4)
    rounding = certificate._rounding(F)
    values = np.linalg.eigvalsh(R.hessian([1.3, 1.3]))
    assert 0.05 < rounding / (np.finfo(float).eps * values[1] / values[0]) < 20
    assert largest(F, 20_000) <= F.certificate.bound.value


def test_a_nearly_singular_metric_is_refused_with_its_eigenvalue():
    def nearly(size):
        return LegendreFunction(lambda w: anp.exp(w[..., 0] + w[..., 1]) + size * anp.sum(w**2, -1), 2)

    box = Box([-1.0, -1.0], [1.3, 1.3])
    for method in ("auto", "spectral"):
        with pytest.raises(DomainError, match=r"nearly singular at w = .*above 2.2e-12.*add a multiple"):
            embed(nearly(1e-12), box, method=method)
    assert embed(nearly(1e-8), box, method="spectral", tol=1e-4).certificate.defect < 1e-3
    with pytest.raises(DomainError, match="not positive definite at some of 2 points"):
        relative_defect(np.eye(2)[None].repeat(2, 0), np.diag([1.0, -1.0])[None].repeat(2, 0))
    with pytest.raises(DomainError, match="rescale w"):
        embed(nearly(1.0), Box([0.0, 0.0], [1e-200, 1e-200]), method="spectral")
