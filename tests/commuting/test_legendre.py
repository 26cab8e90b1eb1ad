"""R from G by the horizontal lift, against potentials derived by hand."""

from __future__ import annotations

import itertools

import autograd.numpy as anp
import numpy as np
import pytest
from zoo_parametrizations import COMMUTING, NOT_MIRROR, PROJECTABLE

from riemflow.commuting import check_regular, legendre_from_parametrization
from riemflow.commuting.checks import reachable_points
from riemflow.commuting.lift import natural_scales
from riemflow.errors import DomainError, NotMirrorFlowError, ShapeError
from riemflow.legendre import HyperbolicEntropy
from riemflow.legendre.function import LegendreFunction
from riemflow.parametrizations import (
    AsymmetricFactorization,
    DeepLinear,
    Exponential,
    Hadamard,
    HadamardDifference,
    MatrixFactorization,
    Parametrization,
    Quadratic,
    Spherical,
)

MIRROR = [case for case in [*COMMUTING, *PROJECTABLE] if case.potential is not None]
each_mirror = pytest.mark.parametrize("case", MIRROR, ids=str)


def lifted(case, n: int = 7):
    """Return R from the case's start, its potential, and reachable weights w [n, d]."""
    G, x = case.make(), case.start()
    w = G(reachable_points(G, x, natural_scales(G, x), n, seed=3))
    return legendre_from_parametrization(G, x), case.potential(x), w


@each_mirror
def test_value_gradient_and_verdict(case):
    R, potential, w = lifted(case)
    assert R.verdict == case.verdict
    expected = np.array([potential.gradient(point) for point in w])
    scale = np.abs(expected).max()
    np.testing.assert_allclose(R.gradient(w), expected, rtol=1e-10, atol=1e-10 * scale)
    values = np.array([potential.value(point) for point in w])
    np.testing.assert_allclose(R(w), values, rtol=1e-10, atol=1e-10 * np.abs(values).max())
    start = R.domain.interior
    np.testing.assert_allclose(R.gradient(start), 0.0, atol=1e-13)
    assert abs(R(start)) < 1e-13


@each_mirror
def test_hessian_and_third_are_derivatives(case):
    """Differences of the potential's gradient, and of the Hessian, with errors of order h⁴."""
    R, potential, w = lifted(case, n=3)
    hessian, third = R.hessian(w), R.third(w)
    for order in itertools.permutations((1, 2, 3)):
        np.testing.assert_allclose(third, third.transpose(0, *order), rtol=1e-10, atol=1e-12)
    h = 2e-4 * np.abs(w).min(initial=1.0)
    for k, e in enumerate(h * np.eye(R.dim)):
        slope = difference(lambda v: np.array([potential.gradient(point) for point in v]), w, e, h)
        np.testing.assert_allclose(hessian[..., k], slope, rtol=1e-7, atol=1e-7 * np.abs(hessian).max())
        slope = difference(R.hessian, w, e, h)
        np.testing.assert_allclose(third[..., k], slope, rtol=1e-5, atol=1e-6 * np.abs(third).max())


def difference(f, w, e, h):
    return (8 * (f(w + e) - f(w - e)) - f(w + 2 * e) + f(w - 2 * e)) / (12 * h)


@each_mirror
def test_conjugate(case):
    """R(w) + Q(μ) = w·μ, ∇Q∘∇R = id, ∇²Q∇²R = I, and the pair is linked both ways."""
    R, _, w = lifted(case)
    Q, mu = R.conjugate, R.gradient(w)
    assert Q.conjugate is R
    inner = (w * mu).sum(axis=-1)
    np.testing.assert_allclose(R(w) + Q(mu), inner, rtol=1e-9, atol=1e-9 * np.abs(inner).max())
    np.testing.assert_allclose(Q.gradient(mu), w, rtol=1e-9, atol=1e-10 * np.abs(w).max())
    np.testing.assert_allclose(
        Q.hessian(mu) @ R.hessian(w), np.broadcast_to(np.eye(R.dim), (len(w), R.dim, R.dim)), atol=1e-8
    )
    contracted = np.einsum("nabc,nai,nbj,nck->nijk", R.third(w), *[Q.hessian(mu)] * 3, optimize=True)
    np.testing.assert_allclose(Q.third(mu), -contracted, rtol=1e-6, atol=1e-8 * np.abs(contracted).max())


@each_mirror
def test_preimage_lies_over_w(case):
    R, _, w = lifted(case)
    np.testing.assert_allclose(R.parametrization(R.preimage(w)), w, rtol=1e-12, atol=1e-12)


def test_preimage_is_the_reachable_point():
    """For a commuting G the joint flow to μ ends at the preimage; there u v stays constant."""
    x = np.array([0.3, 1.0, 0.5, 0.2])
    R = legendre_from_parametrization(HadamardDifference(2), x)
    w = np.array([[2.0, -3.0], [-0.5, 0.1]])
    u, v = np.split(R.preimage(w), 2, axis=-1)
    np.testing.assert_allclose(u * v, np.broadcast_to(x[:2] * x[2:], w.shape), rtol=1e-10)


def test_corollary_4_17_over_many_scales():
    """Small starts and large weights: hyperbolic entropy, whose scales are 1e-6 and 1e3 here."""
    u0, v0 = np.array([1e-3, 0.5]), np.array([1e-3, 0.2])
    R = legendre_from_parametrization(HadamardDifference(2), np.concatenate([u0, v0]))
    exact = HyperbolicEntropy(u0, v0)
    w = np.array([[1e3, -5.0], [-1.0, 1e-4], [1e-7, 0.3]])
    np.testing.assert_allclose(R.gradient(w), exact.gradient(w) - exact.gradient(R.w_init), rtol=1e-10)


def test_boundary_is_approached_accurately():
    R = legendre_from_parametrization(Hadamard(2), [1.0, 2.0])
    w = np.array([[1e-9, 3.0], [1e-6, 1e6]])
    np.testing.assert_allclose(R.gradient(w), 0.25 * np.log(w / [1.0, 4.0]), rtol=1e-9)


def test_outside_the_domain():
    """The error gives the fraction of the segment that was reached, which is exact."""
    R = legendre_from_parametrization(Hadamard(2), [1.0, 1.0])
    w = np.array([[-1.0, 1.0], [1.0, 2.0], [0.0, 1.0], [np.nan, 1.0]])
    np.testing.assert_array_equal(R._belongs(w), [False, True, False, False])
    with pytest.raises(DomainError, match=r"s\* = 0\.5,"):
        R.gradient(w[0])
    with pytest.raises(DomainError, match=r"and 1 more"):
        R(w[[0, 1, 2]])
    with pytest.raises(DomainError, match="finite"):
        R(w[3])
    with pytest.raises(ShapeError):
        R.gradient(np.ones(3))
    assert np.isnan(R._hessian(w[0])).all()


def test_edge_of_the_joint_flow():
    """x' = 3x²μ from 1 blows up at μ = 1/3 (Assumption 3.5's example)."""
    Q = legendre_from_parametrization(Hadamard(1, 3), [1.0]).conjugate
    assert Q.domain.belongs([[0.33], [0.34]]).tolist() == [True, False]
    np.testing.assert_allclose(Q.gradient([0.2]), [(1 - 0.6) ** -3.0], rtol=1e-10)
    with pytest.raises(DomainError, match=r"s\* = 0\.333333 of mu"):
        Q([1.0])


def test_batch_shapes(rng):
    R = legendre_from_parametrization(Exponential(2), [0.0, 0.3])
    w = rng.uniform(0.5, 2.0, (2, 3, 2))
    assert R(w).shape == (2, 3)
    assert R.gradient(w).shape == (2, 3, 2)
    assert R.hessian(w).shape == (2, 3, 2, 2)
    assert R.third(w).shape == (2, 3, 2, 2, 2)
    assert R.preimage(w).shape == (2, 3, 2)
    assert R(w[0, 0]).shape == ()
    assert R.gradient(w[:0]).shape == (0, 3, 2)
    np.testing.assert_allclose(R.gradient(w)[1, 2], R.gradient(w[1, 2]), rtol=1e-11)
    mu = 0.1 * w
    assert R.conjugate(mu).shape == (2, 3)
    assert R.conjugate.third(mu).shape == (2, 3, 2, 2, 2)


def test_point_after_point_is_as_good_as_at_once(rng):
    """Single points start from states met before; that must not be seen beyond the tolerance."""
    x = np.array([0.3, 1.0, 0.5, 0.2])
    one, other = (legendre_from_parametrization(HadamardDifference(2), x) for _ in range(2))
    w = one.w_init + np.linspace(0, 1, 40)[:, None] * np.array([3.0, -2.0])
    singly = np.array([one.gradient(point) for point in w])
    np.testing.assert_allclose(singly, other.gradient(w), rtol=1e-10, atol=1e-12)


def test_algebra_applies_to_lifted_functions():
    R = legendre_from_parametrization(Hadamard(2), [1.0, 1.0])
    assert isinstance(2.0 * R, LegendreFunction)
    np.testing.assert_allclose((2.0 * R).gradient([2.0, 3.0]), 0.5 * np.log([2.0, 3.0]), rtol=1e-11)


@pytest.mark.parametrize("case", NOT_MIRROR, ids=str)
def test_refused(case):
    """Cor. 4.11: matrix factorizations are no mirror flows; G regular at the start, or said not to be."""
    with pytest.raises((NotMirrorFlowError, DomainError)) as caught:
        legendre_from_parametrization(case.make(), case.start())
    if isinstance(caught.value, NotMirrorFlowError):
        assert not caught.value.check.passed
        assert caught.value.check.details["loop"] > 1e-3
    else:
        assert "singular at x_init" in str(caught.value)


@pytest.mark.parametrize(
    ("G", "x"),
    [
        (MatrixFactorization(2, 2), np.eye(2).ravel()),
        (AsymmetricFactorization(2, 2, 2), np.tile(np.eye(2).ravel(), 2)),
        (DeepLinear([(2, 2)] * 3), np.tile(np.array([1.0, 0.3, -0.2, 0.8]), 3)),
    ],
    ids=["UUᵀ at I", "UVᵀ balanced", "three layers"],
)
def test_refusal_names_the_bracket(G, x):
    """At U = I the bracket of UUᵀ is vertical at the start itself; the loops are not deceived."""
    with pytest.raises(NotMirrorFlowError, match=r"Lie bracket of ∇G_\d and ∇G_\d has scaled size") as caught:
        legendre_from_parametrization(G, x)
    assert "projectable" in str(caught.value)
    check = caught.value.check
    assert check.defect > 0.01
    assert check.details["loop"] > 0.01
    R = legendre_from_parametrization(G, x, check=False)
    assert R.verdict == "unchecked"


def perturbed(size: float) -> Parametrization:
    """A commuting quadratic G plus `size` times a generic cubic."""
    rng = np.random.default_rng(5)
    V = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    A = V @ (rng.standard_normal((2, 4))[:, :, None] * V.T)
    C = rng.standard_normal((2, 4, 4, 4))

    def fun(x):
        cubic = anp.einsum("kabc,...a,...b,...c->...k", C, x, x, x)
        return 0.5 * anp.einsum("kab,...a,...b->...k", A, x, x) + size * cubic

    return Parametrization(fun, 4, 2)


@pytest.mark.parametrize("size", [1e-3, 1e-6])
def test_slightly_perturbed_is_refused(size):
    x = np.array([0.9, -0.4, 0.6, 1.1])
    assert legendre_from_parametrization(perturbed(0.0), x).verdict == "commuting"
    with pytest.raises(NotMirrorFlowError) as caught:
        legendre_from_parametrization(perturbed(size), x)
    assert 0.01 * size < caught.value.check.defect < 100 * size


def test_singular_start():
    with pytest.raises(DomainError, match=r"singular at x_init.*smallest singular value is 0,"):
        legendre_from_parametrization(Quadratic([np.diag([1.0, 0.0]), np.diag([0.0, 1.0])]), [0.0, 1.0])


@pytest.mark.parametrize(
    ("x", "error"),
    [
        ([1.0, 2.0, 3.0], ShapeError),
        ([[1.0, 2.0], [3.0, 4.0]], ShapeError),
        ([1.0, np.nan], DomainError),
        ([1.0, 0.0], DomainError),
    ],
)
def test_bad_start(x, error):
    with pytest.raises(error, match="x_init"):
        legendre_from_parametrization(Hadamard(2), x)


def test_start_off_the_submanifold():
    with pytest.raises(DomainError, match="x_init"):
        legendre_from_parametrization(Spherical(2), [0.6, 0.6, 0.6])


def test_needs_a_parametrization_and_a_positive_tolerance():
    with pytest.raises(DomainError, match="must be a Parametrization"):
        legendre_from_parametrization(np.square, [1.0])
    with pytest.raises(DomainError, match="tol"):
        legendre_from_parametrization(Hadamard(1), [1.0], tol=0.0)


def test_four_thousand_points_at_once(rng):
    R = legendre_from_parametrization(Hadamard(3), [1.0, 0.5, 2.0])
    w = np.exp(rng.uniform(-3, 3, (4000, 3)))
    np.testing.assert_allclose(R.gradient(w), 0.25 * np.log(w / R.w_init), rtol=0, atol=1e-11)


def test_fewer_parameters_than_weights():
    """No start is regular, so none is recommended."""
    G = Parametrization(lambda x: anp.concatenate([x, x**2], axis=-1), 1, 2)
    with pytest.raises(DomainError, match=r"rank d = 2 nowhere: there are only D = 1"):
        legendre_from_parametrization(G, [1.0])
    assert not check_regular(G, [1.0]).passed


def test_a_state_next_to_the_boundary_is_no_way_to_the_interior():
    """What was asked before must not matter: from 8e-13 the lift to 0.2 lost four digits."""
    R = legendre_from_parametrization(Hadamard(2), [1.0, 1.0])
    R.gradient([8e-13, 1.0])
    assert R.gradient([0.2, 1.0])[0] == pytest.approx(np.log(0.2) / 4, rel=1e-11)


@pytest.mark.parametrize(("mu", "rtol"), [(-10.0, 1e-5), (150.0, 1e-9)])
def test_conjugate_over_hundreds_of_orders(mu, rtol):
    """∇Q = e^{4μ} from x = 1: some digits when x has decayed to 1e-9, and a growth that is no blow-up."""
    Q = legendre_from_parametrization(Hadamard(1), [1.0]).conjugate
    assert Q.gradient([mu])[0] == pytest.approx(np.exp(4 * mu), rel=rtol)
