"""Log-partition integrals by quadrature, against adaptive quadrature and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import i0, i1, log_expit
from zoo_legendre import hessian_defect

from riemflow.errors import ConvergenceError, DomainError, ShapeError
from riemflow.legendre import Beta, ExponentialFamily, Gamma, LogPartition, Normal
from riemflow.legendre.recipes import from_recipe, recipe

INF = np.inf


def grid(lower, upper, n=4):
    axes = np.meshgrid(*(np.linspace(a, b, n) for a, b in zip(lower, upper, strict=True)), indexing="ij")
    return np.stack(axes, axis=-1).reshape(-1, len(lower))


def powers(x):
    return np.stack([x, x**2], axis=-1)


def logarithms(x):
    return np.stack([np.log(x), x], axis=-1)


def quartic(lower=(-1.5, -1.0), upper=(1.5, 1.0), **options):
    return ExponentialFamily(powers, grid(lower, upper), log_density=lambda x: -(x**4), **options)


def gamma(lower=(0.5, -3.0), upper=(4.0, -0.5), **options):
    half_line = {"interval": (0.0, INF), "log_density": lambda x: -np.log(x)}
    return ExponentialFamily(logarithms, grid(lower, upper), **(half_line | options))


def beta(lower=(0.4, 0.4), upper=(3.6, 3.6)):
    # In y = ln x - ln(1 - x), for which dy = dx / x(1 - x): no mass next to an end that rounding blurs.
    return ExponentialFamily(lambda y: np.stack([log_expit(y), log_expit(-y)], axis=-1), grid(lower, upper))


def test_a_quartic_family_against_adaptive_quadrature():
    R = quartic()
    assert R.error <= 1e-12 and "quadrature error at most" in repr(R)
    for a, b in [(-1.5, 1.0), (0.0, 0.0), (0.7, -0.4), (1.5, -1.0), (1.1, 0.9)]:

        def moment(f, a=a, b=b):
            density = lambda x: f(x) * np.exp(a * x + b * x**2 - x**4)  # noqa: E731
            return quad(density, -8.0, 8.0, epsabs=1e-14, epsrel=1e-13, limit=400)[0]

        Z = moment(lambda x: 1.0)
        mean = np.array([moment(lambda x: x), moment(lambda x: x**2)]) / Z
        centred = [lambda x, m=mean: x - m[0], lambda x, m=mean: x**2 - m[1]]
        covariance = [[moment(lambda x, f=f, g=g: f(x) * g(x)) / Z for g in centred] for f in centred]
        w = np.array([a, b])
        np.testing.assert_allclose(R(w), np.log(Z), atol=1e-12)
        np.testing.assert_allclose(R.gradient(w), mean, atol=1e-12)
        np.testing.assert_allclose(R.hessian(w), covariance, atol=1e-12)


@pytest.mark.parametrize(
    ("R", "exact", "lower", "upper"),
    [
        (gamma(), Gamma(), (0.5, -3.0), (4.0, -0.5)),
        (beta(), Beta(), (0.4, 0.4), (3.6, 3.6)),
        (
            ExponentialFamily(powers, grid((-2.0, -3.0), (2.0, -0.3))),
            Normal(),
            (-2.0, -3.0),
            (2.0, -0.3),
        ),
    ],
    ids=["Gamma", "Beta", "Normal"],
)
def test_families_with_a_formula(R, exact, lower, upper):
    w = np.random.default_rng(0).uniform(lower, upper, (50, 2))
    gap = R(w) - exact(w)  # constant: the base measure's normalisation
    assert np.ptp(gap) < 1e-12
    for derivative in ("gradient", "hessian", "third"):
        truth = getattr(exact, derivative)(w)
        size = np.abs(truth).max(axis=tuple(range(1, truth.ndim)), keepdims=True)
        np.testing.assert_allclose(getattr(R, derivative)(w) / size, truth / size, atol=2e-12)
    assert hessian_defect(R, w) < 1e-8
    np.testing.assert_allclose(R.conjugate.gradient(R.gradient(w)), w, rtol=1e-8)


def test_von_mises():
    circle = lambda x: np.stack([np.cos(x), np.sin(x)], axis=-1)  # noqa: E731
    R = ExponentialFamily(circle, grid((-2.0, -2.0), (2.0, 2.0)), interval=(-np.pi, np.pi))
    w = np.random.default_rng(1).uniform(-2, 2, (20, 2))
    kappa = np.linalg.norm(w, axis=-1)
    np.testing.assert_allclose(R(w), np.log(2 * np.pi * i0(kappa)), rtol=1e-13)
    np.testing.assert_allclose(R.gradient(w), (i1(kappa) / i0(kappa) / kappa)[:, None] * w, atol=1e-13)


def test_the_other_half_line_is_the_mirror_image():
    R = gamma()
    mirrored = ExponentialFamily(
        lambda x: logarithms(-x),
        grid((0.5, -3.0), (4.0, -0.5)),
        interval=(-INF, 0.0),
        log_density=lambda x: -np.log(-x),
    )
    w = [1.3, -2.0]
    np.testing.assert_allclose(mirrored(w), R(w), rtol=1e-13)
    np.testing.assert_allclose(mirrored.nodes, -R.nodes[::-1], rtol=1e-13)


def true_error(R, exact, w):
    g = exact.hessian(w)
    inverse = np.linalg.inv(np.linalg.cholesky(g))
    slope = np.einsum("nij,nj->ni", inverse, R.gradient(w) - exact.gradient(w))
    gap = inverse @ (R.hessian(w) - g) @ np.swapaxes(inverse, -1, -2)
    sizes = np.abs(R(w) - exact(w)), np.linalg.norm(slope, axis=-1), np.linalg.norm(gap, axis=(-2, -1))
    return np.max(sizes, axis=0)


@pytest.mark.parametrize("tol", [1e-1, 1e-3, 1e-5])
def test_the_error_reported_is_the_error(tol):
    R, w = gamma(tol=tol), grid((0.5, -3.0), (4.0, -0.5), 6)
    assert 1e-14 < R.error <= tol
    np.testing.assert_allclose(R.quadrature_error(w), true_error(R, Gamma(), w), rtol=0.1, atol=1e-13)


def test_the_error_beyond_the_points_is_seen_too():
    R, w = gamma(lower=(2.0, -2.0), upper=(3.0, -1.0)), grid((0.05, -20.0), (20.0, -0.05), 12)
    true, told = true_error(R, Gamma(), w), R.quadrature_error(w)
    assert true.min() < 1e-12 and true.max() > 0.5
    assert (true <= 20 * told + 1e-12).all()
    assert (told <= 20 * true + 1e-12).all()


def test_beyond_its_points_the_error_tells():
    R = gamma(lower=(1.0, -2.0), upper=(2.0, -1.0))
    assert R.quadrature_error([1.5, -1.5]) <= 1e-12
    assert R.quadrature_error([[-0.5, -1.5], [1.5, 0.1]]).min() > 0.1  # there the integral is infinite
    assert R.quadrature_error(np.ones((2, 3, 2)) * [1.5, -1.5]).shape == (2, 3)
    with pytest.raises(DomainError, match=r"quadrature error of .* build it with points of the whole region"):
        R._require_accurate(np.array([[1.5, -1.5], [0.01, -1.5]]))


@pytest.mark.parametrize(("mean", "sigma"), [(0.0, 1e-4), (0.0, 1e5), (1.0, 1e-3), (1e3, 1.0)])
def test_narrow_and_far_densities_are_found(mean, sigma):
    theta = [0.0, -0.5 / sigma**2]
    R = ExponentialFamily(lambda x: powers(x - mean), [theta], tol=1e-11)
    np.testing.assert_allclose(R(theta), np.log(np.sqrt(2 * np.pi) * sigma), atol=1e-10)
    np.testing.assert_allclose(
        R.hessian(theta), np.diag([sigma**2, 2 * sigma**4]), rtol=1e-9, atol=1e-10 * sigma**3
    )


def test_what_overflows_far_out_is_no_obstacle():
    w = [0.4, -0.2]
    R = ExponentialFamily(powers, grid((-1, -1), (1, 1)), log_density=lambda x: x**3 - x**4)  # inf - inf
    density = lambda x: np.exp(0.4 * x - 0.2 * x**2 + x**3 - x**4)  # noqa: E731
    np.testing.assert_allclose(R(w), np.log(quad(density, -8.0, 8.0, epsabs=1e-13, limit=400)[0]), atol=1e-12)


def test_too_few_nodes_are_refused():
    with pytest.raises(ConvergenceError, match=r"rules of 16 and 32 nodes differ by .* raise max_nodes"):
        quartic(max_nodes=16)
    # What was refused is wrong indeed.
    loose = quartic(max_nodes=16, tol=10.0)
    w = grid((-1.5, -1.0), (1.5, 1.0))
    assert np.abs(loose.hessian(w) - quartic().hessian(w)).max() > 1e-3
    with pytest.raises(ConvergenceError, match="variable in which its densities are smooth"):
        ExponentialFamily(
            powers, grid((-1, -1), (1, 1)), log_density=lambda x: np.where(x < 1.0, -(x**4), -INF)
        )


def test_where_the_integral_is_infinite_or_blurred_it_is_refused():
    with pytest.raises(ConvergenceError, match=r"At θ = \[-0.5.* has mass.* x = .*e-300"):
        gamma(lower=(-0.5, -3.0))
    with pytest.raises(ConvergenceError, match=r"has mass"):
        ExponentialFamily(powers, grid((-1, -1), (1, 1)))
    with pytest.raises(ConvergenceError, match=r"x = 1, the last number .* integrate over another variable"):
        ExponentialFamily(
            lambda x: np.stack([np.log(x), np.log1p(-x)], axis=-1),
            grid((0.4, 0.4), (3.6, 3.6)),
            interval=(0.0, 1.0),
            log_density=lambda x: -np.log(x) - np.log1p(-x),
        )


def test_what_makes_no_sense_is_refused():
    points = grid((-1, -1), (1, 1))
    for interval, error in (((1.0, 0.0), DomainError), ((0.0, np.nan), DomainError), (3.0, ShapeError)):
        with pytest.raises(error, match="interval"):
            ExponentialFamily(powers, points, interval=interval)
    with pytest.raises(ShapeError, match=r"statistics returned shape .* np.stack"):
        ExponentialFamily(lambda x: x, points, interval=(0.0, 1.0))
    with pytest.raises(ShapeError, match="log_density"):
        ExponentialFamily(powers, points, interval=(0.0, 1.0), log_density=lambda x: 0.0)
    with pytest.raises(DomainError, match="log_density is below infinity, at 0 of"):
        ExponentialFamily(powers, points, interval=(0.0, 1.0), log_density=lambda x: np.full_like(x, np.nan))
    with pytest.raises(DomainError, match=r"at x = 0, inside the interval: give one that ends there"):
        ExponentialFamily(lambda x: np.stack([x, np.log(np.abs(x))], axis=-1), points)
    with pytest.raises(DomainError, match="affine subspace of dimension 1"):
        ExponentialFamily(lambda x: np.stack([x, 2 * x], axis=-1), points, interval=(0.0, 1.0))
    with pytest.raises(DomainError, match=r"statistics are finite, .* at 0 of"):
        ExponentialFamily(lambda x: powers(np.nan * x), points, interval=(0.0, 1.0))
    with pytest.raises(DomainError, match="add a constant to log_density"):
        ExponentialFamily(powers, points, interval=(0.0, 1.0), log_density=lambda x: np.full_like(x, -2e3))
    with pytest.raises(DomainError, match="max_nodes"):
        quartic(max_nodes=0)
    with pytest.raises(ShapeError, match="points"):
        ExponentialFamily(powers, [0.0, 0.0])


def test_files_keep_it_as_the_finite_family_it_is():
    R = quartic()
    again = from_recipe(recipe(2.0 * R), 2)
    assert type(again.base) is LogPartition
    np.testing.assert_array_equal(again.hessian([0.3, 0.1]), 2.0 * R.hessian([0.3, 0.1]))
