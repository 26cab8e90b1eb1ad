"""α-connections, the Legendre transform and the canonical divergence against autograd on plain formulas."""

from __future__ import annotations

import itertools
import os
import warnings

import autograd.numpy as anp
import geomstats.backend as gs
import numpy as np
import pytest
import zoo_legendre
from autograd import hessian as autograd_hessian
from autograd import jacobian
from geomstats.geometry.connection import Connection
from geomstats.geometry.diffeo import Diffeo
from geomstats.numerics.geodesic import ExpODESolver
from geomstats.numerics.ivp import ScipySolveIVP
from geomstats.test_cases.geometry.connection import ConnectionTestCase
from geomstats.test_cases.geometry.diffeo import DiffeoTestCase
from geomstats_suites import Inside, on_numpy, run, run_again_on_autograd, suite
from scipy.integrate import solve_ivp

from riemflow import autodiff
from riemflow.errors import ConvergenceError, DomainError, ShapeError
from riemflow.geometry import (
    AlphaConnection,
    HessianManifold,
    LegendreTransform,
    amari_chentsov_tensor,
    canonical_divergence,
)
from riemflow.geometry.geodesics.shooting import shoot_at
from riemflow.legendre import Dirichlet, LogSumExp, NegativeEntropy, Normal, SimplexEntropy, SquaredNorm
from riemflow.legendre.conjugate import NumericalConjugate
from riemflow.legendre.function import LegendreFunction

CASES = {case.name: case for case in zoo_legendre.CASES}
ALPHAS = (-1.0, -0.6, 0.0, 0.3, 1.0, 2.5)
each_case = pytest.mark.parametrize("case", CASES.values(), ids=str)
each_alpha = pytest.mark.parametrize("alpha", ALPHAS)
in_planes = pytest.mark.parametrize("case", [c for c in CASES.values() if c.make().dim > 1], ids=str)
# One each: flat, curved, of an exponential family, on a cone, with a numerical conjugate.
SOME = ["NegativeEntropy", "SimplexEntropy", "Normal", "LorentzBarrier", "LogBarrier"]
some_cases = pytest.mark.parametrize("case", [CASES[name] for name in SOME], ids=str)


@pytest.fixture(params=["primal", "dual"])
def side(request):
    return request.param


def on_side(case, side, n=5, seed=0):
    """A space and points of it: of R, or of R*, where ∇R takes them."""
    R, w = case.make(), case.points(n, seed)
    return (HessianManifold(R), w) if side == "primal" else (HessianManifold(R.conjugate), R.gradient(w))


def plain_metric(case, w):
    return np.stack([autograd_hessian(case.plain)(x) for x in w])


def plain_third(case, w):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Output seems independent")  # of a quadratic: it is 0
        return np.stack([jacobian(autograd_hessian(case.plain))(x) for x in w])


def close(value, reference, tol=1e-9):
    """Relative to the largest entry of each row of the batch."""
    assert np.shape(value) == np.shape(reference)
    assert zoo_legendre.relative_defect(np.asarray(value), np.asarray(reference)) < tol


# Tensors


@each_case
def test_amari_chentsov_tensor(case):
    """The third derivatives of the formula, in any order of the indices, on any batch."""
    space, w = on_side(case, "primal", 4)
    T = amari_chentsov_tensor(space, w)
    close(T[:1], plain_third(case, w[:1]))
    for order in itertools.permutations((1, 2, 3)):
        close(T.transpose(0, *order), T, 1e-12)
    np.testing.assert_array_equal(amari_chentsov_tensor(space, w.reshape(2, 2, -1)).reshape(T.shape), T)


@each_case
def test_amari_chentsov_is_the_difference_of_the_flat_connections(case, side):
    space, w = on_side(case, side)
    lowered = [
        np.einsum("nkl,nlij->nijk", space.metric.metric_matrix(w), AlphaConnection(space, a).christoffels(w))
        for a in (-1.0, 1.0)
    ]
    close(lowered[0] - lowered[1], amari_chentsov_tensor(space, w), 1e-8)
    assert not lowered[1].any()


def test_amari_chentsov_is_the_third_cumulant():
    """Of a categorical variable with probabilities p and natural parameters: E[(x - p)⊗(x - p)⊗(x - p)]."""
    w = np.array([0.3, -1.0, 0.7])
    p = np.exp(np.append(w, 0.0))
    p /= p.sum()
    centred = np.eye(4)[:, :3] - p[:3]
    expected = np.einsum("a,ai,aj,ak->ijk", p, centred, centred, centred)
    np.testing.assert_allclose(
        amari_chentsov_tensor(HessianManifold(LogSumExp(3)), w), expected, rtol=0, atol=1e-15
    )


# Connections


@each_case
@each_alpha
def test_christoffels_from_the_formula(case, alpha):
    """(1 - α)/2 g⁻¹∇³R, and without torsion."""
    space, w = on_side(case, "primal", 1)
    gamma = AlphaConnection(space, alpha).christoffels(w)
    T = plain_third(case, w).reshape(1, space.dim, -1)
    expected = 0.5 * (1 - alpha) * np.linalg.solve(plain_metric(case, w), T).reshape(gamma.shape)
    np.testing.assert_allclose(gamma, expected, rtol=1e-8, atol=1e-8 * np.abs(gamma).max())
    np.testing.assert_allclose(gamma, np.swapaxes(gamma, -1, -2), rtol=0, atol=1e-11 * np.abs(gamma).max())


def fields(rng, d):
    """Three vector fields w -> a + sin(Bw)."""
    made = [(rng.standard_normal(d), rng.standard_normal((d, d))) for _ in range(3)]
    return [lambda w, a=a, B=B: a + anp.sin(anp.dot(B, w)) for a, B in made]


def duality_gap(case, first, second, w, rng):
    """X g(Y, Z) - g(∇_X Y, Z) - g(Y, ∇'_X Z), relative to its terms, by autograd of g(Y, Z) as a function."""
    X, Y, Z = fields(rng, len(w))

    def product(x):
        return anp.dot(Y(x), anp.dot(autograd_hessian(case.plain)(x), Z(x)))

    def covariant(connection, V):
        turn = np.einsum("kij,i,j->k", connection.christoffels(w), X(w), V(w))
        return jacobian(V)(w) @ X(w) + turn

    g = autograd_hessian(case.plain)(w)
    terms = (
        jacobian(product)(w) @ X(w),
        covariant(first, Y) @ g @ Z(w),
        Y(w) @ g @ covariant(second, Z),
    )
    return abs(terms[0] - terms[1] - terms[2]) / max(np.abs(terms))


@each_case
def test_conjugate_connections_are_dual(case, rng):
    space, w = on_side(case, "primal", 1)
    for alpha in (1.0, 0.4, -2.0):
        connection = AlphaConnection(space, alpha)
        assert connection.conjugate.alpha == -alpha
        assert duality_gap(case, connection, connection.conjugate, w[0], rng) < 1e-9


def test_other_pairs_are_not_dual(rng):
    case = CASES["SimplexEntropy"]
    space, w = on_side(case, "primal", 1)
    one, other = AlphaConnection(space, 0.4), AlphaConnection(space, -0.5)
    assert duality_gap(case, one, other, w[0], rng) > 1e-3


@each_case
@each_alpha
def test_riemann_tensor_by_differences_of_the_symbols(case, alpha):
    """The definition, with ∂Γ by differences: blind to the cancellation that the formula rests on."""
    space, w = on_side(case, "primal", 2)
    connection, d = AlphaConnection(space, alpha), space.dim
    step = 1e-3 * np.abs(w).max()
    slopes = []
    for e in step * np.eye(d):
        near = connection.christoffels(w + e) - connection.christoffels(w - e)
        far = connection.christoffels(w + 2 * e) - connection.christoffels(w - 2 * e)
        slopes.append((8 * near - far) / (12 * step))
    slope, gamma = np.stack(slopes, axis=1), connection.christoffels(w)  # [n, derivative, l, i, j]
    half = np.einsum("njlki->nijkl", slope) + np.einsum("nljm,nmki->nijkl", gamma, gamma)
    expected = half - np.einsum("nijkl->nikjl", half)
    # Fourth order in the step; derivatives grow towards the boundary, some 20 steps away.
    scale = np.abs(half).max() + np.abs(gamma).max() ** 2 + 1e-12
    np.testing.assert_allclose(connection.riemann_tensor(w), expected, rtol=0, atol=3e-6 * scale)


def test_curvature_is_seen():
    """1 - α² times the metric's, which is not flat here: 1/4, the curvature of a sphere of radius 2."""
    space, w = on_side(CASES["SimplexEntropy"], "primal", 3)
    for alpha in ALPHAS:
        riemann = AlphaConnection(space, alpha).riemann_tensor(w)
        lowered = np.einsum("nijkm,nml->nijkl", riemann, space.metric.metric_matrix(w))
        g = space.metric.metric_matrix(w)
        sphere = 0.25 * (np.einsum("njl,nki->nijkl", g, g) - np.einsum("nkl,nji->nijkl", g, g))
        np.testing.assert_allclose(
            lowered, (1 - alpha**2) * sphere, rtol=0, atol=1e-10 * np.abs(sphere).max()
        )


# Geodesics


@each_case
@pytest.mark.parametrize("alpha", [-1.0, 1.0])
def test_flat_geodesics_are_straight(case, side, alpha):
    space, w = on_side(case, side, 6)
    p, q = w[:3], w[3:]
    connection, times = AlphaConnection(space, alpha), np.array([0.0, 0.25, 1.0])
    path = connection.geodesic(initial_point=p, end_point=q)(times)
    R = space.legendre_function
    to, back = (R.gradient, R.conjugate.gradient) if alpha < 0 else (np.array, np.array)
    straight = to(p)[:, None] + times[:, None] * (to(q) - to(p))[:, None]
    close(path, back(straight), 1e-8)
    close(connection.exp(connection.log(q, p), p), q, 1e-8)


def reference_exp(case, alpha, v, w):
    """The geodesic equation with symbols from autograd of the formula, by SciPy."""

    def rhs(t, y):
        x, u = y.reshape(2, -1)
        third = jacobian(autograd_hessian(case.plain))(x)
        force = np.linalg.solve(autograd_hessian(case.plain)(x), third @ u @ u)
        return np.concatenate([u, -0.5 * (1 - alpha) * force])

    done = solve_ivp(rhs, (0, 1), np.concatenate([w, v]), method="DOP853", rtol=1e-11, atol=1e-12)
    assert done.success
    return done.y[: len(w), -1]


@some_cases
@pytest.mark.parametrize("alpha", [-1.0, -0.6, 0.3, 2.5])
def test_exp_follows_its_own_symbols(case, alpha, rng):
    space, w = on_side(case, "primal", 1)
    v = rng.standard_normal(space.dim)
    v *= 0.2 / space.metric.norm(v, w[0])
    end = AlphaConnection(space, alpha).exp(tangent_vec=v, base_point=w[0])
    close(end[None], reference_exp(case, alpha, v, w[0])[None], 1e-8)


def test_geomstats_solver_would_follow_the_metric():
    """Why there is an integration of our own: ExpODESolver takes the symbols of `space.metric`."""
    case = CASES["SimplexEntropy"]
    space, w = on_side(case, "primal", 1)
    v = np.array([0.1, -0.05, 0.02])
    connection = AlphaConnection(space, -0.6)
    own = connection.exp(v, w[0])
    connection.exp_solver = ExpODESolver(space, ScipySolveIVP(rtol=1e-11, atol=1e-12))
    generic = Connection.exp(connection, v, w[0])
    close(generic[None], space.metric.exp(v, w[0])[None], 1e-8)
    assert np.abs(generic - own).max() > 1e-4


@each_case
def test_alpha_zero_is_levi_civita(case, side, rng):
    space, w = on_side(case, side, 2)
    connection = AlphaConnection(space, 0.0)
    np.testing.assert_array_equal(connection.christoffels(w), space.metric.christoffels(w))
    np.testing.assert_array_equal(connection.riemann_tensor(w), space.metric.riemann_tensor(w))
    v = rng.standard_normal(w.shape)
    v *= 0.2 / space.metric.norm(v, w)[:, None]
    end = connection.exp(v, w)
    close(end, space.metric.exp(v, w), 1e-9)
    # The length of the velocity is kept by no other α.
    u = connection.parallel_transport(v, w, direction=v)
    np.testing.assert_allclose(space.metric.norm(u, end), 0.2, rtol=1e-9)


@some_cases
@pytest.mark.parametrize("alpha", [-0.6, 0.3])
def test_log_inverts_exp(case, side, alpha):
    space, w = on_side(case, side, 2)
    p, q = w[:1], w[1:]
    connection = AlphaConnection(space, alpha)
    v = connection.log(point=q, base_point=p)
    close(connection.exp(v, p), q, 1e-8)
    close(connection.geodesic(initial_point=p, end_point=q)([0.0, 1.0])[:, 1], q, 1e-8)
    np.testing.assert_array_equal(connection.log(p, p), 0.0)


@pytest.mark.slow
@each_case
@each_alpha
def test_every_log_inverts_exp(case, side, alpha):
    """Random pairs over each whole sample, on every space."""
    space, w = on_side(case, side, 8, seed=1)
    connection = AlphaConnection(space, min(alpha, 1.0))
    v = connection.log(w[4:], w[:4])
    end, g = connection.exp(v, w[:4]), space.metric
    assert (g.norm(end - w[4:], w[4:]) <= 1e-8 * g.norm(v, w[:4])).all()


def test_log_far_away():
    """A start that overshoots by orders: ends 1e3 apart in ratio, where the flat coordinate is √w."""
    connection = AlphaConnection(HessianManifold(NegativeEntropy(2)), 0.0)
    p, q = np.array([1e-3, 2.0]), np.array([1.0, 1e-3])
    np.testing.assert_allclose(connection.log(q, p), 2 * np.sqrt(p) * (np.sqrt(q) - np.sqrt(p)), rtol=1e-8)


@each_alpha
def test_separable_closed_form(alpha):
    """One coordinate at a time h' = r''^{(1-α)/2} is affine: for w ln w it is w^{(1+α)/2}, or ln w."""
    connection = AlphaConnection(HessianManifold(NegativeEntropy(2)), alpha)
    p, q = np.array([0.5, 2.0]), np.array([1.2, 0.7])
    power = 0.5 * (1 + alpha)
    h = np.log if power == 0 else lambda w: w**power
    slope = 1 / p if power == 0 else power * p ** (power - 1)
    np.testing.assert_allclose(connection.log(q, p), (h(q) - h(p)) / slope, rtol=1e-8)
    if alpha != -1.0:  # e^w, where the connection has the other sign: h is an exponential
        connection, p, q = AlphaConnection(connection._space.dual, alpha), np.zeros(2), np.array([-0.5, 0.4])
        rate = 0.5 * (1 - alpha)
        expected = q if rate == 0 else (np.exp(rate * q) - 1) / rate
        np.testing.assert_allclose(connection.log(q, p), expected, rtol=1e-8)


@some_cases
@each_alpha
def test_parallel_transport(case, side, alpha, rng):
    """Along a geodesic; its own velocity stays its own; ODE in the definition, and the same by end points."""
    space, w = on_side(case, side, 2)
    connection = AlphaConnection(space, alpha)
    v, x = rng.standard_normal((2, *w.shape))
    v *= 0.15 / space.metric.norm(v, w)[:, None]
    end, times = connection.exp(v, w), np.array([1 - 1e-3, 1 + 1e-3])
    here = connection.parallel_transport(x, w, direction=v)
    # (∇_γ' X)(1) = 0 by central differences of second order, the step being 1e-3 of the whole.
    before, after = (connection.parallel_transport(x, w, direction=t * v) for t in times)
    # The velocity of t ↦ exp(t v) at 1 is that of the transported v.
    velocity = connection.parallel_transport(v, w, direction=v)
    path = connection.geodesic(initial_point=w, initial_tangent_vec=v)(times)
    close(velocity, (path[:, 1] - path[:, 0]) / 2e-3, 1e-5)
    turn = np.einsum("nkij,ni,nj->nk", connection.christoffels(end), velocity, here)
    scale = np.abs(turn).max() + np.abs(here).max()
    np.testing.assert_allclose((after - before) / 2e-3, -turn, rtol=0, atol=1e-5 * scale)
    if abs(alpha) <= 1:
        again = connection.parallel_transport(x, w, end_point=end)
        np.testing.assert_allclose(again, here, rtol=0, atol=1e-7 * np.abs(here).max())


@each_case
def test_flat_transports_preserve_the_metric_together(case, side, rng):
    """g_q(P^(1) X, P^(-1) Y) = g_p(X, Y), whatever the ways; one of them alone does not."""
    space, w = on_side(case, side, 2)
    (p, q), (x, y) = w, rng.standard_normal((2, space.dim))
    e = AlphaConnection(space, 1.0).parallel_transport(x, p, end_point=q)
    m = AlphaConnection(space, -1.0).parallel_transport(y, p, end_point=q)
    g = space.metric
    scale = g.norm(x, p) * g.norm(y, p)
    assert abs(g.inner_product(e, m, q) - g.inner_product(x, y, p)) < 1e-8 * scale
    if "Norm" not in case.name and case.name != "Quadratic":
        assert abs(g.inner_product(e, e, q) - g.inner_product(x, x, p)) > 1e-3 * g.norm(x, p) ** 2


def test_leaving_the_domain():
    """Straight in w from 1 with velocity -4, to 0 at a quarter; straight in the dual from -1/w = -1."""
    space = HessianManifold(NegativeEntropy(1))
    with pytest.raises(ConvergenceError, match=r"leaves .* fraction 0\.25 of the time") as caught:
        AlphaConnection(space, 1.0).exp([-4.0], [1.0])
    assert 0 < caught.value.partial[0] < 1e-6  # just inside
    burg = HessianManifold(CASES["BurgEntropy"].make())
    with pytest.raises(ConvergenceError, match=r"fraction 0\.5 of the time"):
        AlphaConnection(burg, -1.0).exp([2.0, 0.0, 0.0], [1.0, 1.0, 1.0])
    # √w reaches 0 at half the time.
    with pytest.raises(ConvergenceError, match=r"fraction 0\.5 of the time"):
        AlphaConnection(space, 0.0).exp([[-4.0], [1.0]], [1.0])


def test_bad_input():
    space = HessianManifold(SimplexEntropy(2))
    connection = AlphaConnection(space, 0.5)
    inside = np.array([0.2, 0.3])
    with pytest.raises(DomainError, match="alpha"):
        AlphaConnection(space, np.nan)
    with pytest.raises(DomainError, match="HessianManifold"):
        AlphaConnection(SimplexEntropy(2), 0.5)  # type: ignore[arg-type]
    for call in (connection.exp, connection.log):
        with pytest.raises(DomainError, match="base_point"):
            call(inside, np.array([0.5, 0.5]))
    for call in (connection.christoffels, connection.riemann_tensor):
        with pytest.raises(DomainError):
            call(np.array([0.5, 0.5]))
    with pytest.raises(DomainError):
        amari_chentsov_tensor(space, [0.5, 0.5])
    with pytest.raises(DomainError, match="HessianManifold"):
        amari_chentsov_tensor(SimplexEntropy(2), inside)  # type: ignore[arg-type]
    with pytest.raises(DomainError, match="HessianManifold"):
        canonical_divergence(SimplexEntropy(2), inside, inside)  # type: ignore[arg-type]
    with pytest.raises(DomainError, match="point"):
        connection.log([0.7, 0.3], inside)
    with pytest.raises(ShapeError, match="tangent_vec"):
        connection.exp(np.zeros(3), inside)
    with pytest.raises(ValueError, match="direction"):
        connection.parallel_transport(inside, inside)


def test_ends_out_of_reach_are_not_found():
    start, end = np.zeros((3, 1)), np.array([[0.5], [1.5], [0.0]])
    velocity, found = shoot_at(
        lambda x, v: x + np.tanh(v), start, end, lambda x, y: [y - x], lambda x: np.ones((*x.shape, 1))
    )
    assert found.tolist() == [True, False, True]
    np.testing.assert_allclose(velocity[[0, 2], 0], [np.arctanh(0.5), 0.0], rtol=1e-9)


# Duality


@each_case
@each_alpha
def test_legendre_transform_exchanges_connections(case, alpha):
    """The law of symbols under change of coordinates, with ∂²w/∂μ² = ∇³R*."""
    space, w = on_side(case, "primal", 3)
    R = space.legendre_function
    mu, g = R.gradient(w), R.hessian(w)
    K = np.linalg.solve(g, np.broadcast_to(np.eye(space.dim), g.shape))
    gamma = AlphaConnection(space, alpha).christoffels(w)
    bent = np.einsum("nkij,nib,njc->nkbc", gamma, K, K) + R.conjugate.third(mu)
    pushed = np.einsum("nak,nkbc->nabc", g, bent)
    expected = AlphaConnection(space.dual, -alpha).christoffels(mu)
    scale = np.abs(np.einsum("nak,nkbc->nabc", np.abs(g), np.abs(R.conjugate.third(mu)))).max() + 1e-300
    np.testing.assert_allclose(pushed, expected, rtol=0, atol=1e-9 * scale)


@some_cases
@pytest.mark.parametrize("alpha", [1.0, 0.3, -0.6])
def test_legendre_transform_exchanges_geodesics(case, alpha, rng):
    space, w = on_side(case, "primal", 2)
    phi, v = LegendreTransform(space.legendre_function), rng.standard_normal(w.shape)
    v *= 0.3 / space.metric.norm(v, w)[:, None]
    end = AlphaConnection(space.dual, -alpha).exp(phi.tangent(v, w), phi(w))
    close(phi(AlphaConnection(space, alpha).exp(v, w)), end, 1e-8)
    other = AlphaConnection(space.dual, alpha).exp(phi.tangent(v, w), phi(w))
    assert np.abs(other - end).max() > 1e-3 * np.abs(end).max()


@each_case
def test_legendre_transform_is_an_isometry(case, side, rng):
    space, w = on_side(case, side)
    phi = LegendreTransform(space.legendre_function)
    assert isinstance(phi, Diffeo)
    assert space.dual.dual.legendre_function is space.legendre_function
    a, b = rng.standard_normal((2, *w.shape))
    image = space.dual.metric.inner_product(phi.tangent(a, w), phi.tangent(b, w), phi(w))
    scale = space.metric.norm(a, w) * space.metric.norm(b, w)
    np.testing.assert_allclose(image / scale, space.metric.inner_product(a, b, w) / scale, rtol=0, atol=1e-9)
    close(phi.inverse_tangent(phi.tangent(a, w), base_point=w), a, 1e-8)


def diffeo_attributes(case, dual):
    R = case.make()
    phi = LegendreTransform(R.conjugate if dual else R)

    def image(rng, n):
        return R.gradient(case.sample(rng, n))

    first, second = (image, case.sample) if dual else (case.sample, image)
    return {
        "diffeo": phi,
        "space": phi.space,
        "image_space": phi.image_space,
        "data_generator": Inside(phi.space, first),
        "image_data_generator": Inside(phi.image_space, second),
    }


DIFFEOS = {case.name: lambda case=case: diffeo_attributes(case, False) for case in CASES.values()}
DIFFEOS |= {f"{case.name}*": lambda case=case: diffeo_attributes(case, True) for case in CASES.values()}
test_diffeo = suite(DiffeoTestCase, DIFFEOS, rtol=1e-8)


def connection_attributes(name, alpha):
    case = CASES[name]
    space = HessianManifold(case.make())
    space.equip_with_metric(AlphaConnection, alpha=alpha)
    return {"space": space, "data_generator": Inside(space, case.sample, amplitude=200.0)}


CONNECTIONS = {
    f"{name}, α = {alpha}": lambda name=name, alpha=alpha: connection_attributes(name, alpha)
    for name in ("SimplexEntropy", "Normal", "LogBarrier")
    for alpha in (-1.0, 0.4, 1.0)
}
test_connection = suite(
    ConnectionTestCase,
    CONNECTIONS,
    rtol=1e-7,
    atol=1e-8,
    skip={"curvature_derivative_vec", "directional_curvature_derivative_vec", "injectivity_radius_vec"},
)


def test_a_wrong_inverse_fails_the_suite():
    class Wrong(LegendreTransform):
        def inverse(self, image_point):
            return super().inverse(image_point) * (1 + 1e-6)

    given = diffeo_attributes(CASES["SquaredNorm"], False) | {"diffeo": Wrong(SquaredNorm(3))}
    with pytest.raises(AssertionError):
        run(DiffeoTestCase, "inverse_after_diffeomorphism-3", given)


def test_legendre_transform_needs_a_point():
    phi = LegendreTransform(Normal())
    with pytest.raises(DomainError, match="give one"):
        phi.tangent([1.0, 0.0])
    with pytest.raises(DomainError, match="base_point"):
        phi([0.0, 1.0])
    with pytest.raises(DomainError, match="image_point"):
        phi.inverse([1.0, 0.5])
    with pytest.raises(ShapeError, match="tangent_vec"):
        phi.tangent([1.0], base_point=[0.0, -1.0])


# Divergence


@each_case
def test_divergence_from_either_side(case):
    space, w = on_side(case, "primal", 6)
    p, q, R = w[:3], w[3:], space.legendre_function
    D = canonical_divergence(space, p, q)
    close(D, R.bregman_divergence(p, q), 1e-15)
    close(D, canonical_divergence(space.dual, R.gradient(q), R.gradient(p)), 1e-9)
    slope = np.stack([jacobian(case.plain)(x) for x in q])
    mixed = case.plain(p) - case.plain(q) - (slope * (p - q)).sum(axis=-1)
    close(D, mixed, 1e-9)
    assert (
        np.abs(D - canonical_divergence(space, q, p)).max() > 1e-3
        or "Norm" in case.name
        or (case.name == "Quadratic")
    )


@each_case
def test_divergence_to_third_order(case, rng):
    """½ g(v, v) + ⅙ T(v, v, v) in its first argument, ½ g + ⅓ T in the second: what is left is O(4)."""
    space, w = on_side(case, "primal", 1)
    w, u = w[0], rng.standard_normal(space.dim)
    u /= np.linalg.norm(u) / np.abs(w).max()
    g, T = plain_metric(case, w[None])[0], plain_third(case, w[None])[0]

    def left(size):
        v = size * u
        second, third = v @ g @ v / 2, np.einsum("ijk,i,j,k", T, v, v, v)
        D = canonical_divergence(space, np.stack([w + v, w]), np.stack([w, w + v]))
        return np.abs(D - [second + third / 6, second + third / 3]) / second

    # Relative to the second order that is O(size²): a quarter for half the size, to the next order.
    far, near = left(4e-3), left(2e-3)
    rounding = 1e-9
    assert (near < 0.3 * far + rounding).all()


@each_case
def test_pythagorean_theorem(case, side):
    """D(p, r) = D(p, q) + D(q, r) - g_q(X, Y) on random triples, with X and Y from geodesics."""
    space, w = on_side(case, side, 12)
    p, q, r = w[:4], w[4:8], w[8:]
    X, Y = AlphaConnection(space, 1.0).log(p, q), AlphaConnection(space, -1.0).log(r, q)
    D = [canonical_divergence(space, *pair) for pair in ((p, r), (p, q), (q, r))]
    angle = space.metric.inner_product(X, Y, q)
    size = np.abs(D).max() + np.abs(angle).max()
    np.testing.assert_allclose(D[0] - D[1] - D[2] + angle, 0.0, atol=1e-9 * size)
    # Not a right angle: no such equation.
    assert np.abs(D[0] - D[1] - D[2]).max() > 1e-3 * np.abs(D).max()


@in_planes
def test_pythagorean_theorem_at_a_right_angle(case, rng):
    """r is moved until the dual geodesic leaves q at a right angle to the primal one; the sides are not
    interchangeable: with primal and dual exchanged the equation fails."""
    space, w = on_side(case, "primal", 2)
    p, q = w
    R, g = space.legendre_function, space.metric.metric_matrix(w[1])
    X, Y = p - q, rng.standard_normal(space.dim)
    Y -= X * (X @ g @ Y) / (X @ g @ X)
    Y *= 0.1 / np.sqrt(Y @ g @ Y)
    r = AlphaConnection(space, -1.0).exp(Y, q)
    sides = canonical_divergence(space, np.stack([p, p, q]), np.stack([r, q, r]))
    assert abs(sides[0] - sides[1] - sides[2]) < 1e-9 * np.abs(sides).max()
    assert abs((R.gradient(q) - R.gradient(r)) @ X) < 1e-9 * np.sqrt(X @ g @ X)
    if "Norm" not in case.name and case.name != "Quadratic":
        other = canonical_divergence(space, np.stack([r, q, r]), np.stack([p, p, q]))
        assert abs(other[0] - other[1] - other[2]) > 1e-6 * np.abs(other).max()


def test_eguchi():
    """The divergence alone has it all: g, and both connections as -∂∂∂'D on the diagonal."""
    case = CASES["SimplexEntropy"]
    space, w = on_side(case, "primal", 1)
    w, d = w[0], space.dim

    def D(both):
        p, q = both[:d], both[d:]
        return case.plain(p) - case.plain(q) - anp.dot(jacobian(case.plain)(q), p - q)

    third = jacobian(autograd_hessian(D))(np.concatenate([w, w]))
    g = space.metric.metric_matrix(w)
    for alpha, block in ((1.0, third[:d, :d, d:]), (-1.0, third[d:, d:, :d])):
        lowered = np.einsum("kl,lij->ijk", g, AlphaConnection(space, alpha).christoffels(w))
        np.testing.assert_allclose(lowered, -block, rtol=0, atol=1e-9 * np.abs(third).max())


# Families of distributions


def test_geodesics_of_distributions():
    """Mixtures are m-geodesics, normalised geometric means are e-geodesics; in p and in log-odds alike."""
    p, q = np.array([0.2, 0.5, 0.1, 0.2]), np.array([0.4, 0.1, 0.2, 0.3])
    t = np.array([0.0, 0.3, 0.8, 1.0])[:, None]
    mixture = (1 - t) * p + t * q
    mean = p ** (1 - t) * q**t
    mean /= mean.sum(axis=1, keepdims=True)
    space = HessianManifold(SimplexEntropy(3))
    for alpha, expected in ((1.0, mixture), (-1.0, mean)):
        connection = AlphaConnection(space, alpha)
        path = connection.geodesic(initial_point=p[:3], end_point=q[:3])(t[:, 0])
        np.testing.assert_allclose(path, expected[:, :3], rtol=0, atol=1e-14)
    # In natural parameters, log p_i/p_4, e and m change places with the sign of α.
    odds = [np.log(x[:3] / x[3]) for x in (p, q)]
    for alpha, expected in ((1.0, mean), (-1.0, mixture)):
        connection = AlphaConnection(HessianManifold(LogSumExp(3)), alpha)
        path = connection.geodesic(initial_point=odds[0], end_point=odds[1])(t[:, 0])
        np.testing.assert_allclose(path, np.log(expected[:, :3] / expected[:, 3:]), rtol=0, atol=1e-13)


def test_geodesics_of_normal_distributions():
    """e: linear in (m/s², -1/2s²); m: linear in the moments (m, m² + s²)."""
    (m0, s0), (m1, s1) = (0.3, 1.2), (-1.0, 0.5)
    space = HessianManifold(Normal())
    p, q = (np.array([m / s**2, -0.5 / s**2]) for m, s in ((m0, s0), (m1, s1)))
    middle = AlphaConnection(space, 1.0).geodesic(initial_point=p, end_point=q)([0.5])[0]
    precision = 0.5 * (s0**-2 + s1**-2)
    np.testing.assert_allclose(middle, [0.5 * (m0 / s0**2 + m1 / s1**2), -0.5 * precision], rtol=1e-14)
    middle = AlphaConnection(space, -1.0).geodesic(initial_point=p, end_point=q)([0.5])[0]
    variance = -0.5 / middle[1]
    mean = middle[0] * variance
    np.testing.assert_allclose(mean, 0.5 * (m0 + m1), rtol=1e-12)
    np.testing.assert_allclose(
        variance, 0.5 * (s0**2 + s1**2) + 0.25 * (m0 - m1) ** 2, rtol=1e-12
    )  # within and between


def test_numerical_conjugates_are_followed_on_the_other_side():
    """The same geodesic with R* from Newton's method and by its formula."""
    given = SimplexEntropy(2)
    mu, v = np.array([[0.3, -0.4], [1.0, 0.2]]), np.array([[0.5, 0.1], [-0.2, 0.3]])
    numerical, formula = NumericalConjugate(given), given.conjugate
    for alpha in (0.0, 0.4, -0.4):
        ends = [AlphaConnection(HessianManifold(Q), alpha).exp(v, mu) for Q in (numerical, formula)]
        close(*ends, 1e-9)
        logs = [AlphaConnection(HessianManifold(Q), alpha).log(ends[1], mu) for Q in (numerical, formula)]
        close(*logs, 1e-8)


# Backends


def test_geomstats_own_curvature():
    """By automatic derivatives of our symbols, which its autograd backend alone has."""
    R = LegendreFunction(
        lambda w: (
            anp.log(anp.exp(w[..., 0]) + anp.exp(w[..., 1] - w[..., 0]) + anp.exp(-w[..., 1]))
            + 0.1 * anp.sum(w**4 + w**2, axis=-1)
        ),
        2,
    )
    space, w = HessianManifold(R), np.array([[0.3, -0.2], [0.9, 0.4]])
    for alpha in (0.0, 0.7, -1.0):
        connection = AlphaConnection(space, alpha)
        if os.environ.get("GEOMSTATS_BACKEND") == "autograd":
            generic = Connection.riemann_tensor(connection, w)
            np.testing.assert_allclose(connection.riemann_tensor(w), generic, rtol=0, atol=1e-12)
            slope = gs.autodiff.jacobian_vec(LegendreTransform(R))(w)
            np.testing.assert_allclose(slope, R.hessian(w), rtol=1e-12)
        else:
            with pytest.raises(RuntimeError):
                Connection.riemann_tensor(connection, w)


@pytest.mark.slow
@on_numpy
def test_the_autograd_backend_agrees():
    run_again_on_autograd(
        __file__, "-k", "diffeo or connection or own_curvature or (log_inverts and not every)"
    )


def test_autograd_differentiates_the_legendre_transform():
    """∇R is given in NumPy; autograd gets its derivatives from ∇²R and ∇³R, as differences of μ confirm."""
    transform, w = LegendreTransform(Dirichlet(3)), np.array([[0.7, 1.5, 2.0], [3.0, 0.4, 1.0]])
    once = autodiff.jacobian(transform)
    np.testing.assert_allclose(once(w), autodiff.differences(transform)(w), rtol=1e-8, atol=1e-9)
    twice = autodiff.jacobian(once, 2)(w)
    np.testing.assert_allclose(twice, autodiff.differences(once, 2)(w), rtol=1e-8, atol=1e-8)
    with pytest.raises(DomainError, match="lies on or outside"):
        once(-w)
