"""Bregman functions and functions that are none, each known by hand."""

from __future__ import annotations

import numpy as np
import pytest

from riemflow import legendre
from riemflow.autodiff import anp
from riemflow.commuting import classify, legendre_from_parametrization, quadratic_legendre
from riemflow.errors import DomainError
from riemflow.flows import check_bregman_function
from riemflow.legendre import LegendreFunction
from riemflow.parametrizations import HadamardDifference, Quadratic

SQUARE = np.vstack([np.eye(2), -np.eye(2)])

BREGMAN = [
    legendre.SquaredNorm(3),
    legendre.NegativeEntropy(3),
    legendre.SimplexEntropy(3),
    legendre.FermiDirac(3),
    legendre.HyperbolicEntropy(np.full(3, 0.2), np.full(3, 0.1)),
    legendre.TsallisEntropy(3, 0.5),
    legendre.product(legendre.NegativeEntropy(2), legendre.SquaredNorm(1)),
]
NO_BREGMAN = [
    # Infinite on the boundary, so that dom R is open.
    (legendre.BurgEntropy(3), "closed"),
    (legendre.LogBarrier(SQUARE, np.ones(4)), "closed"),
    (legendre.LorentzBarrier(2), "closed"),
    (legendre.LogDet(2), "closed"),
    # ∇R is bounded and R* finite at the boundary of its range.
    (legendre.SoftplusSum(np.eye(2), np.zeros(2)), "level sets"),
    (legendre.LogSumExp(2), "level sets"),
]


@pytest.mark.parametrize("R", BREGMAN, ids=[R.name for R in BREGMAN])
def test_bregman_functions_pass(R):
    check = check_bregman_function(R)
    assert check.passed and check.defect < 0.5 and check.details["n_left"] == 0, check
    assert "no sign" in check.message and check.details["failed"] == ()


@pytest.mark.parametrize(("R", "failed"), NO_BREGMAN, ids=[R.name for R, _ in NO_BREGMAN])
def test_others_fail_for_the_right_reason(R, failed):
    check = check_bregman_function(R)
    assert not check.passed and check.details["failed"] == (failed,), check


def half_ball(dim):
    return LegendreFunction(
        lambda w: -anp.sqrt(1 - anp.sum(w**2, axis=-1)), dim, domain=lambda w: (w**2).sum(axis=-1) < 1
    )


@pytest.mark.parametrize("dim", [2, 3])
def test_legendre_on_a_ball_but_not_bregman(dim):
    """R = -√(1 - ‖w‖²) is Legendre and continuous on the closed ball.

    For unit b and w = (1 - δ) b' with b' a unit vector at the angle θ from b, 1 - ‖w‖² is about 2δ and
    D_R(b, w) = (1 - b·w) / √(1 - ‖w‖²) about (δ + θ²/2) / √(2δ): with δ = θ⁴, w tends to b and D_R to 1/√8.
    """
    R, theta = half_ball(dim), 1e-3
    b = np.eye(dim)[0]
    w = (1 - theta**4) * (np.cos(theta) * b + np.sin(theta) * np.eye(dim)[1])
    divergence = -R(w) - R.gradient(w) @ (b - w)
    assert divergence == pytest.approx(1 / np.sqrt(8), rel=1e-2)
    check = check_bregman_function(R)
    assert not check.passed and check.details["failed"] == ("consistency",), check


def test_on_an_interval_the_same_function_is_bregman():
    """On a line w can only tend to b straight."""
    assert check_bregman_function(half_ball(1)).passed


def test_reaching_all_of_space_does_not_make_a_bregman_function():
    """Cor. 4.14 as printed: Ω_w = R^d, yet the level sets of D_R in its second argument are unbounded.

    R = √(1 + w²) + 1/ln(e² + w²) has R'' ~ 1/(2 w² ln²w), so that x = ∫√R'' ~ ln ln w / √2 fills R: G, its
    inverse, is defined on all of R, regular, and commutes as every G with d = 1; it reaches all of R.
    D_R(0, w) = R(0) - R(w) + w R'(w) has the limit R(0) = 3/2.
    """

    def value(w):
        return anp.sum(anp.sqrt(1 + w**2) + 1 / anp.log(anp.e**2 + w**2), axis=-1)

    R = LegendreFunction(value, 1)
    far = np.concatenate([-(10.0 ** np.arange(9.0)), 10.0 ** np.arange(9.0)])[:, None]
    near = np.linspace(-20, 20, 4001)[:, None]
    assert (R.hessian(near) > 0).all() and (R.hessian(far) > 0).all()
    divergences = R.bregman_divergence([0.0], [[1e2], [1e4], [1e8]])
    assert (np.diff(divergences) > 0).all() and (divergences < 1.5).all()
    # √R'' w ln w falls to 1/√2, so that ∫√R'' diverges like ln ln w.
    w = np.array([1e3, 1e5, 1e7])
    constant = np.sqrt(R.hessian(w[:, None])[:, 0, 0]) * w * np.log(w)
    assert (np.diff(constant) < 0).all() and (constant > np.sqrt(0.5)).all() and constant[-1] < 0.76
    check = check_bregman_function(R)
    assert not check.passed and check.details["failed"] == ("level sets",), check
    # With a tail whose slope is not bounded it is one.
    assert check_bregman_function(LegendreFunction(lambda w: value(w) + anp.sum(w**2, axis=-1), 1)).passed


def test_a_domain_of_dual_points_that_is_bounded_can_do():
    """u³ - v³: ∇R is bounded, but R* is infinite at the ends of its range, and R a Bregman function."""
    R = legendre_from_parametrization(HadamardDifference(1, power=3), [1.0, 0.8])
    assert check_bregman_function(R, n_points=1).passed


RAYS = {
    "all of the plane": [[1.0, 0.2], [-0.4, 1.0], [-0.5, -0.8]],
    "a half-plane": [[1.0, 0.0], [-1.0, 0.0], [0.3, 1.0]],
    "a narrow cone": [[1.0, 0.3], [1.0, 0.1], [0.9, 0.2]],
}


@pytest.mark.parametrize(
    "rays",
    [
        pytest.param(rays, id=name, marks=[pytest.mark.slow] * (name == "a narrow cone"))
        for name, rays in RAYS.items()
    ],
)
def test_commuting_quadratic_parametrization_has_a_bregman_function(rays):
    """Theorem 4.15(d), on cones of each kind; dom R is the closed cone of the rays."""
    basis = np.linalg.qr(np.random.default_rng(4).standard_normal((3, 3)))[0]
    A = np.einsum("ak,ki,bk->iab", basis, np.array(rays), basis)
    G = Quadratic((A + A.swapaxes(-1, -2)) / 2)
    x = basis @ [0.8, 1.1, 0.7]
    assert classify(G, x).verdict == "commuting"
    check = check_bregman_function(quadratic_legendre(G, x), n_points=1)
    assert check.passed and check.details["n_left"] <= 2 and check.details["n_rays"] > 0, check
    assert (check.details["n_boundary"] > 0) == (rays is not RAYS["all of the plane"])


def test_units_do_not_matter():
    for size in (1e-6, 1e6):
        scaled = np.full((1, 1), 1 / size)
        assert check_bregman_function(legendre.NegativeEntropy(1).compose(scaled)).passed
        assert not check_bregman_function(legendre.BurgEntropy(1).compose(scaled)).passed


def test_bad_input_is_refused():
    with pytest.raises(DomainError, match="n_points"):
        check_bregman_function(legendre.SquaredNorm(2), n_points=0)
    with pytest.raises(DomainError, match="reach"):
        check_bregman_function(legendre.SquaredNorm(2), reach=10.0)
