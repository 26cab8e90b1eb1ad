"""Closed forms in many dimensions, projected onto the few that their image numerically spans."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import i0, i1, log_expit

import riemflow as rf
from riemflow.embedding import Ball, Box, ClosedForm, bracket_defect, embed
from riemflow.embedding.embedding import relative_defect
from riemflow.errors import ConvergenceError, DomainError, FileFormatError, NoClosedFormError
from riemflow.legendre import (
    Beta,
    ExponentialFamily,
    Gamma,
    LegendreFunction,
    LogPartition,
    LogSumExp,
    SoftplusSum,
    SquaredNorm,
    product,
)


def family(statistics, region, **options):
    points = np.concatenate([region.corners(), region.sample(100, np.random.default_rng(0))])
    return ExponentialFamily(statistics, points, **options)


def powers(x):
    return np.stack([x, x**2], axis=-1)


def quartic(region, statistics=powers, **options):
    return family(statistics, region, log_density=lambda x: -(x**4), **options)


def gamma(region):
    statistics = lambda x: np.stack([np.log(x), x], axis=-1)  # noqa: E731
    return family(statistics, region, interval=(0.0, np.inf), log_density=lambda x: -np.log(x))


def beta(region):
    return family(lambda y: np.stack([log_expit(y), log_expit(-y)], axis=-1), region)


def von_mises(region):
    statistics = lambda x: np.stack([np.cos(x), np.sin(x)], axis=-1)  # noqa: E731
    return family(statistics, region, interval=(-np.pi, np.pi))


def von_mises_metric(w):
    """∇² ln I₀(|w|), by hand: A' along w and A/|w| across, A = I₁/I₀."""
    kappa = np.linalg.norm(w, axis=-1)
    A = i1(kappa) / i0(kappa)
    along = (w / kappa[:, None])[:, :, None] * (w / kappa[:, None])[:, None, :]
    across = np.eye(2) - along
    return (1 - A / kappa - A**2)[:, None, None] * along + (A / kappa)[:, None, None] * across


def quartic_metric(w):
    """Covariances by adaptive quadrature, point by point."""
    return np.array([quartic_covariance(*point) for point in w])


def quartic_covariance(a, b):
    def moment(k):
        density = lambda x: x**k * np.exp(a * x + b * x**2 - x**4)  # noqa: E731
        return quad(density, -8.0, 8.0, epsabs=1e-13, epsrel=1e-12, limit=400)[0]

    m = [moment(k) / moment(0) for k in range(5)]
    return [[m[2] - m[1] ** 2, m[3] - m[1] * m[2]], [m[3] - m[1] * m[2], m[4] - m[2] ** 2]]


SQUARE = Box([-1.5, -1.0], [1.5, 1.0])
CASES = {
    # name: R, region, the metric by other means, points compared, most dimensions
    "Gamma": (gamma, Box([1.0, -3.0], [3.0, -1.0]), Gamma().hessian, 2000, 20),
    "Beta": (beta, Box([0.4, 0.4], [3.6, 3.6]), Beta().hessian, 2000, 26),
    "von Mises": (von_mises, Box([-2.0, -2.0], [2.0, 2.0]), von_mises_metric, 2000, 17),
    "quartic": (quartic, SQUARE, quartic_metric, 30, 15),
}


@pytest.fixture(scope="module")
def found():
    return {name: (make(region), embed(make(region), region)) for name, (make, region, *_) in CASES.items()}


def scattered(region, n, seed=3):
    """Points that the embedding has not seen, corners among them."""
    return np.concatenate([region.corners(), region.sample(n, np.random.default_rng(seed))])


@pytest.mark.parametrize("name", CASES)
def test_a_family_by_quadrature_needs_few_dimensions(found, name):
    (R, F), (_, region, metric, n, most) = found[name], CASES[name]
    w = scattered(region, n)
    assert F.method == "compressed" and F.ambient_dim <= most < len(R.nodes) / 3
    assert F.certificate.passed and F.certificate.full_dim == len(R.nodes)
    assert F.metric_defect(w).max() <= 1e-10
    # The metric of the integral itself, not of the rule.
    assert relative_defect(F.jacobian(w), metric(w)).max() <= 1.1e-10
    np.testing.assert_allclose(F.inverse(F(w[:50])), w[:50], atol=1e-12)
    G, x = F.parametrization(), F(w[:10])
    np.testing.assert_allclose(
        G.cometric(x) @ metric(w[:10]), np.broadcast_to(np.eye(2), (10, 2, 2)), atol=1e-7
    )
    assert bracket_defect(F, w[:50]).max() < 1e-8


@pytest.mark.parametrize("name", CASES)
def test_fewer_dimensions_than_were_kept_do_not_do(found, name):
    (R, F), region = found[name], CASES[name][1]
    less = embed(R, region, method="compressed", ambient_dim=F.ambient_dim - 3)
    assert less.ambient_dim == F.ambient_dim - 3 and not less.certificate.passed
    assert less.metric_defect(scattered(region, 500)).max() > 1e-10
    assert "NOT within" in repr(less)


def test_dimensions_follow_the_tolerance():
    R, dims = quartic(SQUARE), []
    for tol in (1e-4, 1e-7, 1e-10, 1e-13):
        F = embed(R, SQUARE, tol=tol)
        assert F.certificate.passed and F.metric_defect(scattered(SQUARE, 2000)).max() <= tol
        assert F.certificate.defect <= F.certificate.bound.value and not F.certificate.bound.is_bound
        dims.append(F.ambient_dim)
    assert dims == sorted(set(dims))


def test_three_statistics():
    region = Box([-1.0, -1.0, -0.5], [1.0, 1.0, 0.5])
    R = quartic(region, lambda x: np.stack([x, x**2, x**3], axis=-1))
    F = embed(R, region)
    assert F.certificate.passed and F.ambient_dim <= 20
    assert F.metric_defect(scattered(region, 2000)).max() <= 1e-10


def test_derivatives_are_those_of_the_map(found):
    F = found["Gamma"][1]
    w, step = np.array([1.7, -2.1]), 1e-4
    for fun, derivative in ((F, F.jacobian(w)), (F.jacobian, F.hessian(w))):
        columns = [(fun(w + e) - fun(w - e)) / (2 * step) for e in step * np.eye(2)]
        np.testing.assert_allclose(np.stack(columns, axis=-1), derivative, atol=1e-7)


@pytest.mark.parametrize("name", ["von Mises", "quartic"])
def test_gradient_flow_through_it_is_the_mirror_flow(found, name):
    R, F = found[name]
    loss, start = rf.losses.LeastSquares([[1.0, 0.3], [0.2, 1.0]], [0.8, -0.5]), [-0.6, 0.5]
    through = rf.gradient_flow(F.parametrization(), loss, F(start), [1.0, 3.0], rtol=1e-10)
    mirror = rf.mirror_flow(R, loss, start, [1.0, 3.0], formulation="dual", rtol=1e-10)
    np.testing.assert_allclose(through.w, mirror.w, atol=1e-8)


@pytest.mark.slow
def test_the_reverse_direction_is_verified():
    loss = rf.losses.LeastSquares([[1.0, 0.3], [0.2, 1.0]], [0.8, -0.5])
    report = rf.verify_reverse(quartic(SQUARE), loss, [-0.6, 0.5], 3.0, region=SQUARE)
    assert report.passed and report.embedding.method == "compressed"


def test_it_comes_back_from_a_file(found, tmp_path):
    F = found["von Mises"][1]
    path = F.save(tmp_path / "F")
    w = scattered(F.region, 50)
    for L in (rf.load_embedding(path), rf.load_embedding(path, F.R)):
        np.testing.assert_array_equal(L(w), F(w))
        np.testing.assert_array_equal(L.hessian(w), F.hessian(w))
        np.testing.assert_allclose(L.inverse(F(w)), w, atol=1e-12)
        assert repr(L) == repr(F) and L.certificate.passed and L.method == "compressed"
    with pytest.warns(UserWarning, match="does not embed the R given"):
        other = rf.load_embedding(path, F.R + 0.1 * SquaredNorm(2))
    assert not other.certificate.passed


@pytest.mark.parametrize("name", ["basis", "center", "certificate"])
def test_a_damaged_file_is_refused(found, name, tmp_path):
    path = found["von Mises"][1].save(tmp_path / "F")
    with np.load(path) as file:
        arrays = dict(file)
    if name == "certificate":
        text = arrays["header"].tobytes().replace(b'"worst_point": [', b'"worst_point": [0.0, ')
        arrays["header"] = np.frombuffer(text, np.uint8)
    else:
        arrays[name] = arrays[name][1:]
    np.savez(path, **arrays)
    with pytest.raises(FileFormatError, match="damaged"):
        rf.load_embedding(path)
    if name != "certificate":
        arrays[name] = np.concatenate([arrays[name][:1], arrays[name]]) + 1e-3
        np.savez(path, **arrays)
        with pytest.raises(FileFormatError, match="damaged"):
            rf.load_embedding(path)


def test_an_integral_may_be_a_part():
    R = quartic(SQUARE)
    for whole, region in (
        (R + 0.5 * SquaredNorm(2), SQUARE),
        (2.0 * R.compose([[1.0, 0.2], [0.1, 0.8]], [0.1, 0.0]), Box([-0.5, -0.5], [0.5, 0.5])),
        (product(R, SquaredNorm(1)), Box([-1.5, -1.0, 0.0], [1.5, 1.0, 1.0])),
    ):
        F = embed(whole, region)
        assert F.method == "compressed" and F.ambient_dim < 20
        assert F.metric_defect(scattered(region, 500)).max() <= 1e-10


def test_with_a_part_to_be_solved_for_it_is_solved_for_too():
    plain = LegendreFunction(lambda w: anp.log(1 + anp.sum(anp.exp(w), axis=-1)) + anp.sum(w**2, axis=-1), 2)
    R, tol = quartic(SQUARE), 1e-8
    for whole, region, method, D in (
        (R + plain, SQUARE, "spectral", 5),
        (product(R, plain), Box([-1.5, -1.0] * 2, [1.5, 1.0] * 2), "mixed", 10),
    ):
        F = embed(whole, region, tol=tol)
        assert F.method == method and F.ambient_dim == D
        assert F.metric_defect(scattered(region, 500)).max() <= 2 * tol


def test_one_variable_needs_one_dimension():
    region = Box([-2.0], [2.0])
    R = quartic(region, lambda x: x[:, None])
    F = embed(R, region)
    assert F.method == "spectral" and F.ambient_dim == 1 and F.certificate.defect < 1e-13
    assert embed(R, region, method="compressed").ambient_dim > 1


def test_closed_forms_stay_exact_unless_asked():
    R, rng = quartic(SQUARE), np.random.default_rng(4)
    F = embed(R)  # no region: all nodes
    assert F.ambient_dim == len(R.nodes) and isinstance(F.certificate, ClosedForm)
    assert embed(R, SQUARE, method="closed-form").ambient_dim == len(R.nodes)
    many = LogPartition(rng.uniform(-1, 1, (200, 2)), rng.uniform(0.5, 1.5, 200))
    for exact in (many, LogSumExp(2)):
        F = embed(exact, SQUARE)
        assert F.method == "closed-form" and F.metric_defect(scattered(SQUARE, 200)).max() < 1e-13


@pytest.mark.parametrize("region", [SQUARE, Ball([0.0, 0.0], 1.0)], ids=["box", "ball"])
@pytest.mark.parametrize("kind", [LogPartition, SoftplusSum])
def test_any_closed_form_is_projected_on_request(kind, region):
    rng = np.random.default_rng(5)
    R = kind(rng.uniform(-1, 1, (200, 2)), rng.uniform(0.5, 1.5, 200))
    F = embed(R, region, method="compressed", tol=1e-8)
    assert F.method == "compressed" and 6 * F.ambient_dim < F.certificate.full_dim == 200
    assert F.metric_defect(region.sample(2000, rng)).max() <= 1e-8


def test_a_rule_of_ones_own_in_the_plane():
    # x in R², h normal, T = (xy, (x² + y²)/2): R = -½ ln((1 - θ₂)² - θ₁²).
    t, c = np.polynomial.hermite_e.hermegauss(20)
    x, y = (part.ravel() for part in np.meshgrid(t, t))
    weights = np.outer(c, c).ravel() / (2 * np.pi)
    R = LogPartition(np.stack([x * y, 0.5 * (x**2 + y**2)], axis=-1), weights)
    region = Box([-0.1, -0.1], [0.1, 0.1])
    F = embed(R, region, method="compressed")
    w = scattered(region, 500)
    a, b = w[:, 0], 1 - w[:, 1]
    size = (b**2 - a**2) ** 2
    metric = np.array([[(a**2 + b**2) / size, 2 * a * b / size], [2 * a * b / size, (a**2 + b**2) / size]])
    assert F.certificate.full_dim == 400 and F.ambient_dim < 30 and F.certificate.passed
    assert relative_defect(F.jacobian(w), np.moveaxis(metric, -1, 0)).max() <= 1.1e-10


def test_where_nothing_is_gained_the_closed_form_is_left():
    R = quartic(SQUARE)
    F = embed(R, SQUARE, tol=1e-17)  # no projection is as good
    assert F.method == "closed-form" and F.ambient_dim == len(R.nodes)
    assert embed(LogSumExp(2), SQUARE, method="compressed").method == "closed-form"
    assert embed(LogSumExp(2), SQUARE, method="compressed", ambient_dim=3).method == "closed-form"


def test_what_cannot_be_is_refused():
    R = quartic(SQUARE)
    with pytest.raises(DomainError, match="exceeds the"):
        embed(R, SQUARE, method="compressed", ambient_dim=len(R.nodes) + 1)
    with pytest.raises(ConvergenceError, match="leave ambient_dim out") as caught:
        embed(R, SQUARE, method="compressed", ambient_dim=3)
    assert caught.value.partial.ambient_dim == 3
    with pytest.raises(DomainError, match="pass region="):
        embed(R, method="compressed")
    with pytest.raises(NoClosedFormError):
        embed(LegendreFunction(lambda w: (w**4 + w**2).sum(-1), 2), SQUARE, method="compressed")


@pytest.mark.parametrize("method", ["auto", "closed-form", "spectral"])
def test_a_region_beyond_the_rule_is_refused(method):
    R = quartic(SQUARE)
    for whole in (R, R + SquaredNorm(2)):
        with pytest.raises(DomainError, match="build it with points of the whole region"):
            embed(whole, Box([-9.0, -9.0], [9.0, 9.0]), method=method)
