"""The catalogue: derivatives, conjugates, domains and the ends of domains."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
import pytest
from scipy import stats
from zoo_legendre import (
    CASES,
    PENTAGON,
    SIDES,
    fenchel_young_defect,
    hessian_defect,
    inverse_defect,
    relative_defect,
)

import riemflow.legendre as catalogue
from riemflow import autodiff
from riemflow.errors import DomainError, ShapeError
from riemflow.legendre.ridge import RidgeSum
from riemflow.legendre.separable import Separable

each = pytest.mark.parametrize("case", CASES, ids=str)
WITH_CONJUGATE = [case for case in CASES if case.plain_conjugate is not None]
each_closed = pytest.mark.parametrize("case", WITH_CONJUGATE, ids=str)


def check_derivatives(R, plain, w):
    # Sums of a few terms of size one: rounding is some 1e-15, magnified by cancellation in the plain formula.
    assert relative_defect(R(w), plain(w)) < 1e-12 or np.abs(R(w) - plain(w)).max() < 1e-13
    assert relative_defect(R.gradient(w), autodiff.gradient(plain)(w)) < 1e-12
    assert relative_defect(R.hessian(w), autodiff.hessian(plain)(w)) < 1e-12
    third = autodiff.third(plain)(w)
    assert np.abs(R.third(w) - third).max() <= 1e-11 * np.abs(third).max() + 1e-13
    v = np.random.default_rng(5).standard_normal(w.shape)
    along = autodiff.hessian_along(autodiff.gradient(plain))(w, v)
    assert np.abs(R._third_along(w, v) - along).max() <= 1e-11 * np.abs(third).max() * np.abs(v).max() + 1e-13


@each
def test_derivatives_against_autograd(case):
    check_derivatives(case.make(), case.plain, case.points())


@each_closed
def test_conjugate_derivatives_against_autograd(case):
    R = case.make()
    check_derivatives(R.conjugate, case.plain_conjugate, R.gradient(case.points()))


@each
def test_hessian_against_differences_of_the_gradient(case):
    # Fourth-order differences: 1e-12 times a fifth derivative (some 1e3), and rounding 1e-16/1e-3.
    assert hessian_defect(case.make(), case.points()) < 1e-8


@each
def test_hessian_is_positive_definite_and_derivatives_symmetric(case):
    R, w = case.make(), case.points()
    assert (np.linalg.eigvalsh(R.hessian(w)) > 0).all()
    third = R.third(w)
    assert np.allclose(third, np.moveaxis(third, 1, 3), rtol=1e-12, atol=1e-13)
    assert np.allclose(third, np.swapaxes(third, 1, 2), rtol=1e-12, atol=1e-13)


@each
def test_gradients_of_conjugates_are_inverse(case):
    R, w = case.make(), case.points()
    assert inverse_defect(R, w) < 1e-11
    assert inverse_defect(R.conjugate, R.gradient(w)) < 1e-11


@each
def test_fenchel_young(case):
    R, w = case.make(), case.points(20)
    assert fenchel_young_defect(R, w) < 1e-13
    # Away from μ = ∇R(w) it is a strict inequality.
    mu = R.gradient(w[::-1])
    assert (R(w) + R.conjugate(mu) - (w * mu).sum(axis=-1) > 0).all()


@each
def test_conjugate_of_the_conjugate_is_the_original(case):
    R = case.make()
    assert R.conjugate.conjugate is R


@each
def test_hessians_of_conjugates_are_inverse(case):
    R, w = case.make(), case.points()
    product = R.hessian(w) @ R.conjugate.hessian(R.gradient(w))
    assert np.abs(product - np.eye(R.dim)).max() < 1e-10


@each
def test_batch_axes(case):
    R, w = case.make(), case.points(6)
    grid = w.reshape(2, 3, R.dim)
    for method in (R, R.gradient, R.hessian, R.third, R.domain.belongs):
        whole = method(grid)
        assert whole.shape[:2] == (2, 3)
        assert np.allclose(whole[1, 0], method(w[3]), rtol=1e-13, atol=1e-14)
    assert R.gradient(w[:0]).shape == (0, R.dim)


@each
def test_domain(case):
    R = case.make()
    assert R.domain.belongs(R.domain.interior)
    assert R.domain.belongs(case.points()).all()
    for point in case.outside:
        assert not R.domain.belongs(point)
        with pytest.raises(DomainError, match="boundary"):
            R.gradient(point)
    for mu in case.outside_conjugate:
        assert not R.conjugate.domain.belongs(mu)
        with pytest.raises(DomainError):
            R.conjugate.gradient(mu)


@each
def test_is_mirror_map(case):
    assert case.make().is_mirror_map is case.mirror_map


@pytest.mark.parametrize("case", [c for c in CASES if c.mirror_map], ids=str)
def test_mirror_maps_reach_every_dual_point(case):
    R = case.make()
    mu = np.random.default_rng(1).uniform(-6, 6, (10, R.dim))
    assert R.conjugate.domain.belongs(mu).all()
    # At the far ends w has lost digits against the boundary; what is left of μ is tested.
    assert np.abs(R.gradient(R.conjugate.gradient(mu)) - mu).max() < 1e-9


def flat_cases():
    for case in CASES:
        R = case.make()
        if isinstance(R, Separable):
            yield pytest.param(R, case.points(), id=case.name)
            yield pytest.param(R.conjugate, R.gradient(case.points()), id=f"{case.name}*")
        elif isinstance(R, RidgeSum):
            yield pytest.param(R, R._ridges(case.points()), id=case.name)


@pytest.mark.parametrize(("R", "t"), list(flat_cases()))
def test_flat_coordinate(R, t):
    h = 1e-3
    slope = (8 * (R._flat(t + h) - R._flat(t - h)) - (R._flat(t + 2 * h) - R._flat(t - 2 * h))) / (12 * h)
    assert np.abs(slope / np.sqrt(R._r2(t)) - 1).max() < 1e-8
    assert np.abs(R._flat_inverse(R._flat(t)) - t).max() < 1e-13 * (1 + np.abs(t).max())
    low, high = R._flat_range
    assert ((low < R._flat(t)) & (R._flat(t) < high)).all()
    beyond = np.where(np.isfinite(low), low - 1, -1e3), np.where(np.isfinite(high), high + 1, 1e3)
    for z in beyond:
        assert R._admits(R._flat_inverse(z)).all()
        assert np.isfinite(R._flat_inverse(z)).all()


@pytest.mark.parametrize("case", [c for c in CASES if isinstance(c.make(), RidgeSum)], ids=str)
def test_ridges_embed_the_metric(case):
    R, w = case.make(), case.points()
    slopes = np.sqrt(R._r2(R._ridges(w)))[..., None] * R.A
    assert relative_defect(np.swapaxes(slopes, -1, -2) @ slopes, R.hessian(w)) < 1e-13


def test_probabilities_embed_the_metric():
    case = next(c for c in CASES if c.name == "LogPartition")
    R, w = case.make(), case.points()
    slopes = autodiff.jacobian(
        lambda w: 2 * anp.sqrt(softmax(anp.dot(w, R.A.T) + R.log_weights))  # 2√p, on a sphere of radius 2
    )(w)
    assert np.allclose(np.linalg.norm(2 * np.sqrt(R._probabilities(w)), axis=-1), 2, rtol=1e-15)
    assert relative_defect(np.swapaxes(slopes, -1, -2) @ slopes, R.hessian(w)) < 1e-12


def softmax(t):
    weights = anp.exp(t)
    return weights / anp.sum(weights, axis=-1, keepdims=True)


# The ends of the domains. Warnings are errors, so nothing may overflow or divide by zero here.


@pytest.mark.parametrize("size", [1e-300, 1e-8, 1e8, 1e300])
@pytest.mark.parametrize("name", ["NegativeEntropy", "BurgEntropy", "TsallisEntropy"])
def test_entropies_at_the_ends(name, size):
    R = catalogue.TsallisEntropy(1, 0.5) if name == "TsallisEntropy" else getattr(catalogue, name)(1)
    w = np.array([size])
    value, gradient, magnified = {
        "NegativeEntropy": (size * (np.log(size) - 1), np.log(size), np.abs(np.log(size))),
        "BurgEntropy": (-np.log(size), -1 / size, 1.0),
        "TsallisEntropy": (-2 * (np.sqrt(size) - size), 2 - 1 / np.sqrt(size), 4 * np.sqrt(size) + 2),
    }[name]
    assert np.allclose(R(w), value, rtol=1e-13, atol=0)
    assert np.allclose(R.gradient(w), gradient, rtol=1e-13, atol=0)
    # The way back may lose the rounding of μ, magnified by μ/w dw/dμ (Tsallis' μ tends to 2 and loses w), and
    # that of ln w, of which powers are made.
    if magnified < 1e10:
        back = R.conjugate.gradient(R.gradient(w))
        assert np.allclose(back, w, rtol=1e-14 + 4e-16 * (magnified + np.abs(np.log(size))), atol=0)


def test_fermi_dirac_and_softplus_at_the_ends():
    R = catalogue.FermiDirac(1)
    below_one = np.nextafter(1.0, 0.0)
    gap = 1 - below_one
    w = np.array([[1e-300], [below_one]])
    assert np.allclose(R(w), [1e-300 * (np.log(1e-300) - 1), gap * (np.log(gap) - 1)], rtol=1e-14, atol=0)
    assert np.allclose(R.gradient(w)[:, 0], [np.log(1e-300), -np.log(gap)], rtol=1e-14, atol=0)
    mu = np.array([[-700.0], [700.0]])
    assert np.allclose(R.conjugate(mu), [np.exp(-700.0), 700.0], rtol=1e-13, atol=0)
    assert np.allclose(R.conjugate.hessian(mu)[:, 0, 0], np.exp(-700.0), rtol=1e-13, atol=0)
    assert np.allclose(
        R.conjugate.third(mu)[:, 0, 0, 0], [np.exp(-700.0), -np.exp(-700.0)], rtol=1e-13, atol=0
    )
    # 2 arcsin √w = π - 2 arcsin √(1 - w), and 1 - w is exact.
    flat = R._flat(np.array([below_one]))
    assert np.allclose(flat, np.pi - 2 * np.sqrt(gap), rtol=1e-15)
    assert np.isclose(R._flat(np.array([1e-300]))[0], 2e-150, rtol=1e-14, atol=0)


def test_softplus_sum_far_out():
    R = catalogue.SoftplusSum(np.eye(2), np.zeros(2))
    w = np.array([700.0, -700.0])
    assert np.isclose(R(w), 700.0, rtol=1e-15)
    assert np.allclose(R.gradient(w), [1.0, np.exp(-700.0)], rtol=1e-13, atol=0)
    assert np.allclose(np.diag(R.hessian(w)), np.exp(-700.0), rtol=1e-13, atol=0)


def test_log_sum_exp_far_out():
    R = catalogue.LogSumExp(2)
    w = np.array([[1e4, 0.0], [-1e4, -1e4], [1e4, 1e4], [-700.0, -720.0]])
    exact = [1e4, 0.0, 1e4 + np.log(2), np.exp(-700.0) * (1 + np.exp(-20.0))]
    assert np.allclose(R(w), exact, rtol=1e-13, atol=0)
    assert np.allclose(R.gradient(w)[:3], [[1, 0], [0, 0], [0.5, 0.5]], rtol=1e-13, atol=0)
    general = catalogue.LogPartition(np.vstack([np.zeros(2), np.eye(2)]))
    assert np.allclose(general(w[:3]), exact[:3], rtol=1e-13, atol=0)
    for method in (R, R.gradient, R.hessian, R.third):
        assert np.isfinite(method(w)).all()


def test_simplex_entropy_near_a_vertex():
    R = catalogue.SimplexEntropy(2)
    w = np.array([1e-300, 1e-20])
    assert np.isclose(R(w), 1e-20 * (np.log(1e-20) - 1), rtol=1e-4)  # s ln s = -1e-20 is lost in 1 - 1e-20
    assert np.allclose(R.gradient(w), np.log(w), rtol=1e-15)
    assert np.allclose(R.conjugate.gradient(R.gradient(w)), w, rtol=1e-12, atol=0)


@pytest.mark.parametrize("ratio", [0.0, 1e-300, 1e-8, 0.3, 1.0, 40.0, 1e8, 1e100])
def test_hyperbolic_entropy_over_all_scales(ratio):
    u0, v0 = np.array([1e-3]), np.array([2e-2])
    R = catalogue.HyperbolicEntropy(u0, v0)
    c = 2e-5
    for w in (np.array([ratio * c]), np.array([-ratio * c])):
        mu = R.gradient(w)
        # w = u² - v² along the flow of the parameters.
        reached = u0**2 * np.exp(4 * mu) - v0**2 * np.exp(-4 * mu)
        size = u0**2 * np.exp(4 * mu) + v0**2 * np.exp(-4 * mu)
        assert np.abs(reached - w) <= 1e-12 * size
        assert np.abs(R.conjugate.gradient(mu) - w) <= 1e-12 * size
        assert np.abs(R._flat_inverse(R._flat(w)) - w) <= 2e-15 * np.abs(w)


def test_hyperbolic_flat_coordinate_against_known_values():
    # With 2 u0 v0 = 1 the flat coordinate is ½ ∫_0^w (1 + t²)^{-1/4} dt. Far out it is √w less Gauss' second
    # lemniscate constant, ∫_0^1 y²/√(1 - y⁴) dy = 0.599070117367796….
    R = catalogue.HyperbolicEntropy([1.0], [0.5])
    assert np.isclose(R._flat(np.array([1e16]))[0], 1e8 - 0.5990701173677961, rtol=1e-15)
    assert np.isclose(R._flat(np.array([1e-5]))[0], 0.5e-5 * (1 - 1e-10 / 12), rtol=1e-15)
    nodes, weights = np.polynomial.legendre.leggauss(60)
    for w in (0.5, 2.0):
        t = 0.5 * w * (nodes + 1)
        assert np.isclose(R._flat(np.array([w]))[0], 0.25 * w * weights @ (1 + t**2) ** -0.25, rtol=1e-14)


def test_tsallis_tends_to_the_entropy():
    w = np.random.default_rng(0).uniform(0.1, 3, (5, 2))
    # Σ w ln w and its gradient, to first order in q - 1 = 1e-9 with coefficients below ln² 10.
    near, mu = catalogue.TsallisEntropy(2, 1 + 1e-9), np.log(w) + 1
    assert np.allclose(near(w), (w * np.log(w)).sum(axis=-1), atol=1e-7, rtol=0)
    assert np.allclose(near.gradient(w), mu, atol=1e-7, rtol=0)
    assert np.allclose(near.conjugate.gradient(near.gradient(w)), w, rtol=1e-13)


def test_burg_derivatives_overflow_quietly():
    R = catalogue.BurgEntropy(1)
    assert R.hessian(np.array([1e-200]))[0, 0] == np.inf


# Wrong arguments.


@pytest.mark.parametrize("make", [catalogue.NegativeEntropy, catalogue.LogSumExp, catalogue.LogDet])
@pytest.mark.parametrize("dim", [0, -1, 2.0, True])
def test_dimension_must_be_a_positive_whole_number(make, dim):
    with pytest.raises(DomainError):
        make(dim)


def test_quadratic_refuses_indefinite_matrices():
    with pytest.raises(DomainError, match="smallest eigenvalue is -1"):
        catalogue.Quadratic([[1.0, 2.0], [2.0, 1.0]])
    with pytest.raises(DomainError, match="smallest eigenvalue"):
        catalogue.Quadratic([[1.0, 1.0], [1.0, 1.0]])
    with pytest.raises(DomainError, match="symmetric"):
        catalogue.Quadratic([[1.0, 0.5], [0.0, 1.0]])
    with pytest.raises(ShapeError):
        catalogue.Quadratic([[1.0, 0.5]])


def test_flat_sums_are_refused():
    flat = np.array([[1.0, 1.0], [2.0, 2.0], [-1.0, -1.0]])
    for make in (
        lambda: catalogue.LogBarrier(flat, np.ones(3)),
        lambda: catalogue.SoftplusSum(flat, np.ones(3)),
        lambda: catalogue.LogPartition(flat),
        lambda: catalogue.LogPartition(np.eye(2)),  # two points span a line only
        lambda: catalogue.LogPartition([[1.0]]),
    ):
        with pytest.raises(DomainError, match="not be strictly convex"):
            make()


def test_log_barrier_of_empty_thin_and_unbounded_polytopes():
    with pytest.raises(DomainError, match="empty"):
        catalogue.LogBarrier([[1.0], [-1.0]], [-1.0, -1.0])
    with pytest.raises(DomainError, match="empty"):
        catalogue.LogBarrier([[1.0], [-1.0]], [1.0, -1.0])
    with pytest.raises(DomainError, match="Row 1"):
        catalogue.LogBarrier([[1.0], [0.0], [-1.0]], [1.0, 1.0, 1.0])
    orthant = catalogue.LogBarrier(-np.eye(3), np.zeros(3))
    assert orthant.is_mirror_map is False
    assert orthant.domain.belongs(orthant.domain.interior)
    assert np.allclose(orthant.gradient([1.0, 2.0, 4.0]), [-1.0, -0.5, -0.25])
    assert not orthant.conjugate.domain.belongs([1.0, -1.0, -1.0])
    assert catalogue.LogBarrier(PENTAGON[:3], SIDES[:3]).is_mirror_map is False


def test_lengths_and_signs_of_arguments():
    with pytest.raises(ShapeError):
        catalogue.LogBarrier(PENTAGON, SIDES[:4])
    with pytest.raises(ShapeError):
        catalogue.LogPartition(PENTAGON, np.ones(4))
    with pytest.raises(DomainError, match="positive"):
        catalogue.LogPartition(PENTAGON, np.zeros(5))
    with pytest.raises(ShapeError):
        catalogue.HyperbolicEntropy([1.0, 1.0], [1.0])
    with pytest.raises(DomainError, match="v0"):
        catalogue.HyperbolicEntropy([1.0], [0.0])
    with pytest.raises(DomainError, match="float64"):
        catalogue.HyperbolicEntropy([1e-200], [1e-200])
    with pytest.raises(DomainError, match="NegativeEntropy"):
        catalogue.TsallisEntropy(2, 1)
    with pytest.raises(DomainError):
        catalogue.TsallisEntropy(2, -1.0)


# Negative controls: a wrong R must fail the laws by far.


class WrongGradient(catalogue.SimplexEntropy):
    def _gradient(self, w):
        return super()._gradient(w) * (1 + 1e-6)


class WrongHessian(catalogue.SimplexEntropy):
    def _hessian(self, w):
        return super()._hessian(w) * (1 + 1e-6)


class WrongConjugate(catalogue.SimplexEntropy):
    def _make_conjugate(self):
        return 1.000001 * catalogue.LogSumExp(self.dim)


def test_laws_fail_for_a_wrong_function():
    w = next(case for case in CASES if case.name == "SimplexEntropy").points()
    assert inverse_defect(WrongGradient(3), w) > 1e-8
    assert hessian_defect(WrongHessian(3), w) > 5e-7
    assert inverse_defect(WrongConjugate(3), w) > 5e-7
    assert fenchel_young_defect(WrongConjugate(3), w) > 1e-8


@each
def test_an_empty_batch_is_an_empty_batch(case):
    R = case.make()
    for Q in (R, R.conjugate):
        empty, d = np.zeros((0, R.dim)), R.dim
        assert Q(empty).shape == (0,) and Q.gradient(empty).shape == (0, d)
        assert Q.hessian(empty).shape == (0, d, d) and Q.third(empty).shape == (0, d, d, d)


def test_hyperbolic_entropy_far_beyond_its_width():
    """arcsinh(w/2c) = ln(w/c) to all digits, though w/c overflows; and back."""
    R = catalogue.HyperbolicEntropy([1e-8], [1e-8])
    w = np.array([[1e300], [-1e300], [1e200], [3.0]])
    mu = np.sign(w) * (np.log(np.abs(w)) - 2 * np.log(1e-8)) / 4
    np.testing.assert_allclose(R.gradient(w), mu, rtol=1e-15)
    np.testing.assert_allclose(R(w), (np.abs(w) * (4 * np.abs(mu) - 1) / 4)[:, 0], rtol=1e-14)
    # e^{4μ} magnifies the rounding of 4μ = 728.
    np.testing.assert_allclose(R.conjugate.gradient(mu), w, rtol=1e-12)
    np.testing.assert_allclose(R.conjugate(mu), np.abs(w)[:, 0] / 4, rtol=1e-12)
    np.testing.assert_allclose(R._flat_inverse(R._flat(w)), w, rtol=1e-14)


def test_hyperbolic_flat_coordinate_is_continuous_where_its_formula_changes():
    R = catalogue.HyperbolicEntropy([1.0], [1.0])
    w = 2e100 * np.array([[1 - 1e-9], [1 + 1e-9]])
    z = R._flat(w)
    np.testing.assert_allclose(z, np.sqrt(w), rtol=1e-14)
    np.testing.assert_allclose(R._flat_inverse(z), w, rtol=1e-13)


def test_tsallis_entropy_of_order_two_has_no_third_derivative():
    assert catalogue.TsallisEntropy(1, 2).third([5e-324]) == 0.0


def moments(law, statistics):
    """The mean and the covariance of two statistics, by quadrature of SciPy's density."""

    def expect(*which):
        return law.expect(lambda x: np.prod([statistics(x)[i] for i in which]))

    mean = np.array([expect(0), expect(1)])
    second = np.array([[expect(0, 0), expect(0, 1)], [expect(0, 1), expect(1, 1)]])
    return mean, second - np.outer(mean, mean)


@pytest.mark.parametrize(
    ("R", "theta", "law", "statistics"),
    [
        (
            catalogue.Normal(),
            [0.7 / 1.3**2, -0.5 / 1.3**2],
            stats.norm(0.7, 1.3),
            lambda x: np.array([x, x * x]),
        ),
        (catalogue.Gamma(), [2.5, -1.7], stats.gamma(2.5, scale=1 / 1.7), lambda x: np.array([np.log(x), x])),
        (catalogue.Beta(), [1.5, 2.5], stats.beta(1.5, 2.5), lambda x: np.log([x, 1 - x])),
    ],
    ids=["Normal", "Gamma", "Beta"],
)
def test_families_have_the_moments_of_their_statistics(R, theta, law, statistics):
    mean, covariance = moments(law, statistics)
    np.testing.assert_allclose(R.gradient(theta), mean, rtol=1e-7)
    np.testing.assert_allclose(R.hessian(theta), covariance, rtol=1e-6)


def test_beta_is_the_smallest_dirichlet():
    a = [1.5, 2.5]
    np.testing.assert_array_equal(catalogue.Dirichlet(2).hessian(a), catalogue.Beta().hessian(a))
    with pytest.raises(DomainError, match="dim"):
        catalogue.Dirichlet(1)
