"""Hessian manifolds of families of distributions against geomstats' own information geometry.

The map from natural parameters to those of geomstats carries metric, curvature, geodesics and distances over.
geomstats' spaces share no line with ours: closed forms on the half plane, the sphere, the line and the SPD
cone, and for Gamma, Beta and Dirichlet Christoffel symbols of their own, whose solvers are tightened here:
left alone they integrate to 1e-3 and solve boundary values to 5e-6.
"""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from geomstats.numerics.bvp import ScipySolveBVP
from geomstats.numerics.geodesic import ExpODESolver, LogODESolver
from geomstats.numerics.ivp import ScipySolveIVP
from geomstats.test_cases.geometry.diffeo import DiffeoTestCase
from geomstats_suites import Inside, on_numpy, run, run_again_on_autograd, suite
from scipy.linalg import eigh
from scipy.stats import multivariate_normal

import riemflow as rf
from riemflow.errors import DomainError, ShapeError
from riemflow.geometry import HessianManifold, NaturalToGeomstats
from riemflow.legendre import (
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    CenteredNormal,
    Dirichlet,
    Exponential,
    Gamma,
    Geometric,
    Multinomial,
    MultivariateNormal,
    NegativeBinomial,
    Normal,
    Poisson,
)

# family, name of geomstats' space
TABLE = {
    "Normal": (Normal(), "UnivariateNormalDistributions"),
    "CenteredNormal(3)": (CenteredNormal(3), "CenteredNormalDistributions"),
    "Gamma": (Gamma(), "GammaDistributions"),
    "Beta": (Beta(), "BetaDistributions"),
    "Dirichlet(3)": (Dirichlet(3), "DirichletDistributions"),
    "Categorical(4)": (Categorical(4), "CategoricalDistributions"),
    "Multinomial(5, 3)": (Multinomial(5, 3), "MultinomialDistributions"),
    "Poisson": (Poisson(), "PoissonDistributions"),
    "Exponential": (Exponential(), "ExponentialDistributions"),
    "Geometric": (Geometric(), "GeometricDistributions"),
    "Bernoulli": (Bernoulli(), "BinomialDistributions"),
    "Binomial(7)": (Binomial(7), "BinomialDistributions"),
}
ODE = ("Gamma", "Beta", "Dirichlet(3)")
each = pytest.mark.parametrize("name", TABLE)


def make(name):
    """Return the map, with geomstats' solvers tightened, points and tangent vectors of length 1/2."""
    family, _ = TABLE[name]
    phi = NaturalToGeomstats(family)
    if name in ODE:
        space = phi.image_space
        ivp = ScipySolveIVP(method="DOP853", rtol=1e-13, atol=1e-14)
        space.metric.exp_solver = ExpODESolver(space, integrator=ivp)
        bvp = ScipySolveBVP(tol=1e-11, max_nodes=50_000)
        space.metric.log_solver = LogODESolver(space, n_nodes=100, integrator=bvp)
    rng = np.random.default_rng(4)
    eta = family.gradient(family.domain.interior)
    theta = family.domain.interior * rng.uniform(0.7, 1.4, (3, family.dim))
    theta = theta + rng.uniform(-0.05, 0.05, theta.shape)
    if not family.domain.interior.any():
        theta = rng.uniform(-1.0, 1.0, theta.shape)
    assert family.domain.belongs(theta).all() and np.isfinite(eta).all()
    v = rng.standard_normal(theta.shape)
    v *= 0.5 / phi.space.metric.norm(v, theta)[:, None]
    return phi, theta, v


def relative(value, expected):
    value, expected = np.ravel(value), np.ravel(expected)
    return np.abs(value - expected).max() / np.abs(expected).max()


@each
def test_the_map_goes_to_geomstats_space_and_back(name):
    phi, theta, v = make(name)
    assert type(phi.image_space).__name__ == TABLE[name][1]
    assert isinstance(phi.space, HessianManifold)
    point = phi(theta)
    assert phi.image_space.belongs(point).all()
    assert relative(phi.inverse(point), theta) < 1e-14
    u = phi.tangent(v, theta)
    assert phi.image_space.is_tangent(u, point, atol=1e-12).all()
    np.testing.assert_array_equal(phi.tangent(v, image_point=point, base_point=theta), u)
    for back in (phi.inverse_tangent(u, point), phi.inverse_tangent(u, base_point=theta)):
        assert relative(back, v) < 1e-13
    # The tangent map is the derivative, by differences of fourth order in h.
    h = 1e-3
    near, far = phi(theta + h * v) - phi(theta - h * v), phi(theta + 2 * h * v) - phi(theta - 2 * h * v)
    assert relative((8 * near - far) / (12 * h), u) < 1e-8


@each
def test_batches_of_points(name):
    phi, theta, v = make(name)
    grid, vectors = np.stack([theta, theta[::-1]]), np.stack([v, v[::-1]])
    assert phi(grid).shape == (2, 3, *phi.image_space.shape)
    np.testing.assert_allclose(phi(grid)[1, 0], phi(theta[2]), rtol=1e-14)
    pushed = phi.tangent(vectors, grid)
    np.testing.assert_allclose(pushed[1, 0], phi.tangent(v[2], theta[2]), rtol=1e-13)
    np.testing.assert_allclose(phi.inverse(phi(grid)), grid, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(phi.inverse_tangent(pushed, phi(grid)), vectors, rtol=1e-12, atol=1e-14)
    # One vector at many points.
    assert phi.tangent(v[0], theta).shape == phi(theta).shape


@each
def test_the_distributions_are_the_same(name):
    """geomstats' own densities at geomstats' parameters, ours at θ."""
    phi, theta, _ = make(name)
    for row in theta:
        x = phi.family.sample(row, 6, rng=0)
        pdf = phi.image_space.point_to_pdf(phi(row))
        if name == "Dirichlet(3)":
            # For several x it hands scipy.stats the transpose: one by one.
            density = np.ravel([pdf(one[None])[0] for one in x])
        else:
            density = np.ravel(pdf(x))
        assert relative(density, np.exp(phi.family.log_prob(x, row))) < 1e-12


@each
def test_metric(name):
    phi, theta, _ = make(name)
    for row in theta:
        basis = np.eye(phi.family.dim)
        pushed, point = [phi.tangent(e, row) for e in basis], phi(row)
        inner = phi.image_space.metric.inner_product
        gram = [[np.squeeze(inner(a, b, point)) for b in pushed] for a in pushed]
        assert relative(gram, phi.space.metric.metric_matrix(row)) < 1e-12


def test_another_map_is_no_isometry():
    """Negative control: geomstats' Gamma space at (shape, rate) instead of (shape, mean)."""
    phi, theta, v = make("Gamma")
    wrong = theta * np.array([1.0, -1.0])
    pushed = v * np.array([1.0, -1.0])
    ours = phi.space.metric.squared_norm(v, theta)
    assert relative(phi.image_space.metric.squared_norm(pushed, wrong), ours) > 1e-2


def attributes(name):
    """What geomstats' suite of diffeomorphisms wants: the map, and points on both sides."""
    phi, theta, _ = make(name)

    def sample(rng, n):
        low, high = theta.min(axis=0), theta.max(axis=0)
        return rng.uniform(low, high, (n, phi.family.dim))

    return {
        "diffeo": phi,
        "space": phi.space,
        "image_space": phi.image_space,
        "data_generator": Inside(phi.space, sample),
        "image_data_generator": Inside(phi.image_space, lambda rng, n: phi(sample(rng, n))),
    }


test_geomstats_suite_of_diffeomorphisms = suite(
    DiffeoTestCase, {name: lambda name=name: attributes(name) for name in TABLE}, atol=1e-12
)


def test_a_wrong_map_fails_the_suite():
    given = attributes("Normal")
    given["diffeo"].inverse_tangent = lambda vec, image_point=None, base_point=None: vec
    with pytest.raises(AssertionError):
        run(DiffeoTestCase, "tangent_after_inverse_tangent-3", given)


# Curvature.


def orthogonal(phi, v, theta):
    """Vectors orthogonal to v: next to parallel ones the area would lose digits in any formula."""
    w, metric = np.random.default_rng(5).standard_normal(theta.shape), phi.space.metric
    share = metric.inner_product(v, w, theta) / metric.squared_norm(v, theta)
    return w - share[:, None] * v


def sectional_by_general_formula(metric, a, b, base):
    """<R(a, b)b, a> over the area, from geomstats' Γ and ∂Γ; its own formula differentiates automatically."""
    gamma, slope = metric.christoffels(base), metric.jacobian_christoffels(base)
    g = metric.metric_matrix(base)
    half = np.einsum("lkij->lijk", slope) + np.einsum("ljm,mki->lijk", gamma, gamma)
    tensor = half - np.swapaxes(half, -1, -2)  # R(∂_j, ∂_k)∂_i in components l
    turned = np.einsum("lijk,i,j,k->l", tensor, b, a, b)
    return turned @ g @ a / ((a @ g @ a) * (b @ g @ b) - (a @ g @ b) ** 2)


@pytest.mark.parametrize("name", ["Normal", *ODE])
def test_sectional_curvature(name):
    phi, theta, v = make(name)
    w = orthogonal(phi, v, theta)
    for k in range(len(theta)):
        ours = phi.space.metric.sectional_curvature(v[k], w[k], theta[k])
        metric, pushed = phi.image_space.metric, [phi.tangent(a[k], theta[k]) for a in (v, w)]
        if name == "Normal":
            theirs = metric.sectional_curvature(*pushed, phi(theta[k]))
        else:
            theirs = sectional_by_general_formula(metric, *pushed, phi(theta[k]))
        assert relative(theirs, ours) < 1e-12


def test_curvature_of_the_gamma_family_in_closed_form():
    """K = (ψ'(κ) + κ ψ''(κ)) / (4 (κ ψ'(κ) - 1)²), Arwini and Dodson; evaluated to 40 digits."""
    phi, theta, v = make("Gamma")
    ours = phi.space.metric.sectional_curvature(v, np.array([0.3, 1.0]), theta)
    with mpmath.workdps(40):
        expected = [
            float((mpmath.psi(1, k) + k * mpmath.psi(2, k)) / (4 * (k * mpmath.psi(1, k) - 1) ** 2))
            for k in map(mpmath.mpf, theta[:, 0])
        ]
    assert relative(ours, expected) < 1e-12


def test_curvature_of_centred_normals_in_closed_form():
    """At Σ = I the metric is ½ tr UV, and ``<R(U, V)V, U> = -⅛ ‖[U, V]‖²``; geomstats has no curvature."""
    phi, theta, v = make("CenteredNormal(3)")
    w = np.random.default_rng(5).standard_normal(theta.shape)
    ours = phi.space.metric.sectional_curvature(v, w, theta)
    for k in range(len(theta)):
        covariance = phi(theta[k])
        left = np.linalg.inv(np.linalg.cholesky(covariance))
        U, V = (left @ phi.tangent(a[k], theta[k]) @ left.T for a in (v, w))
        bracket = U @ V - V @ U
        area = 0.25 * ((U * U).sum() * (V * V).sum() - (U * V).sum() ** 2)
        assert relative(ours[k], -0.125 * (bracket**2).sum() / area) < 1e-12


@pytest.mark.parametrize(("name", "n"), [("Categorical(4)", 1), ("Multinomial(5, 3)", 5)])
def test_curvature_of_multinomials_is_that_of_a_sphere(name, n):
    """The sphere of radius 2√n has curvature 1/4n. geomstats says 2√n, though its metric is that sphere's."""
    phi, theta, v = make(name)
    w = np.random.default_rng(5).standard_normal(theta.shape)
    assert relative(phi.space.metric.sectional_curvature(v, w, theta), np.full(3, 0.25 / n)) < 1e-12
    pushed = [phi.tangent(a[0], theta[0]) for a in (v, w)]
    assert np.isclose(phi.image_space.metric.sectional_curvature(*pushed, phi(theta[0])), 2 * np.sqrt(n))


# Geodesics, 1/2 long. Ours are solved to 1e-12, geomstats' to 1e-13 and, between points, 1e-11.


@each
def test_exp(name):
    phi, theta, v = make(name)
    ours = phi(phi.space.metric.exp(v, theta))
    theirs = phi.image_space.metric.exp(phi.tangent(v, theta), phi(theta))
    assert relative(theirs, ours) < 1e-11


@each
def test_log_and_distance(name):
    phi, theta, v = make(name)
    end = phi.space.metric.exp(v, theta)
    log = phi.space.metric.log(end, theta)
    assert relative(log, v) < 1e-11
    # One by one, since geomstats' 1-D distances drop axes.
    for k in range(len(theta)):
        points = phi(end[k]), phi(theta[k])
        theirs = np.reshape(phi.image_space.metric.log(*points), phi.image_space.shape)
        assert relative(theirs, phi.tangent(log[k], theta[k])) < 1e-11
        assert relative(phi.space.metric.dist(end[k], theta[k]), 0.5) < 1e-11
        assert relative(phi.image_space.metric.dist(*points), 0.5) < 1e-11


@each
def test_geodesics(name):
    phi, theta, v = make(name)
    t = np.array([0.0, 0.3, 0.7, 1.0])
    ours = phi(phi.space.metric.geodesic(initial_point=theta[0], initial_tangent_vec=v[0])(t))
    theirs = phi.image_space.metric.geodesic(
        initial_point=phi(theta[0]), initial_tangent_vec=phi.tangent(v[0], theta[0])
    )(t)
    assert relative(theirs, ours) < 1e-11


def test_multivariate_normals_in_closed_form(rng):
    """geomstats' general normal distributions have no Fisher metric. Two totally geodesic sets are known.

    Of one mean: d² = ½ Σ ln² λ, λ the eigenvalues of one covariance by the other. Of one covariance: the half
    plane, cosh(d/√2) = 1 + δ²/4 with δ the Mahalanobis distance.
    """
    R = MultivariateNormal(3)
    metric, factors = HessianManifold(R).metric, 0.3 * rng.standard_normal((2, 3, 3)) + np.eye(3)
    S, T = factors @ np.swapaxes(factors, -1, -2)
    m, n = rng.standard_normal((2, 3))

    def theta(mean, covariance):
        return R.from_scipy(multivariate_normal(mean, covariance))

    expected = np.sqrt(0.5 * (np.log(eigh(S, T, eigvals_only=True)) ** 2).sum())
    assert relative(metric.dist(theta(m, S), theta(m, T)), expected) < 1e-11
    delta2 = (m - n) @ np.linalg.solve(S, m - n)
    expected = np.sqrt(2.0) * np.arccosh(1 + 0.25 * delta2)
    # They are 3 apart: geodesics solved to 1e-12 diverge by e^{3/√2}, and S has a condition number.
    assert relative(metric.dist(theta(m, S), theta(n, S)), expected) < 1e-10
    # The geodesic's covariance leaves S on the way.
    middle = R.to_scipy(metric.geodesic(initial_point=theta(m, S), end_point=theta(n, S))(np.array([0.5]))[0])
    assert relative(middle.cov, S) > 1e-2


# Wrong arguments.


def test_families_without_a_space_of_geomstats():
    for family in (
        NegativeBinomial(2.0),
        MultivariateNormal(2),
    ):  # the latter is there without Fisher's metric
        with pytest.raises(DomainError, match=family.name):
            NaturalToGeomstats(family)
    with pytest.raises(DomainError, match="DistributionFamily"):
        NaturalToGeomstats(rf.legendre.NegativeEntropy(2))


def test_wrong_points_are_refused():
    normal, centred = NaturalToGeomstats(Normal()), NaturalToGeomstats(CenteredNormal(2))
    simplex = NaturalToGeomstats(Categorical(3))
    for phi, point in (
        (normal, [0.0, -1.0]),
        (normal, [0.0, 0.0]),
        (centred, [[1.0, 2.0], [2.0, 1.0]]),
        (centred, [[1.0, 0.5], [0.2, 1.0]]),
        (simplex, [0.5, 0.4, 0.3]),
        (simplex, [0.5, 0.5, 0.0]),
    ):
        with pytest.raises(DomainError):
            phi.inverse(np.array(point))
    with pytest.raises(DomainError):
        normal(np.array([0.0, 1.0]))
    with pytest.raises(ShapeError):
        centred.inverse(np.ones(2))
    with pytest.raises(ShapeError):
        simplex.inverse_tangent(np.ones(2), base_point=np.zeros(2))
    with pytest.raises(DomainError, match="base point"):
        normal.tangent(np.ones(2))


@on_numpy
@pytest.mark.slow
def test_all_holds_on_the_autograd_backend():
    run_again_on_autograd(__file__)
