"""Embeddings of metrics that are no Hessians: callables and geomstats spaces."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from geomstats.geometry.euclidean import Euclidean
from geomstats.geometry.hypersphere import Hypersphere
from geomstats.geometry.poincare_ball import PoincareBall
from geomstats.geometry.poincare_half_space import PoincareHalfSpace
from geomstats.geometry.riemannian_metric import RiemannianMetric
from geomstats.information_geometry.beta import BetaDistributions

import riemflow as rf
from riemflow.embedding import bracket_defect
from riemflow.embedding.metric import as_metric
from riemflow.errors import DomainError, NoClosedFormError, ShapeError
from riemflow.geometry import HessianManifold, InducedManifold
from riemflow.spaces import RiemannianSpace

EYE = np.eye(2)
DOWNHILL = rf.losses.Linear([0.3, -0.5, 0.2])


def sphere(w):
    """The round sphere in stereographic coordinates: conformal, not Hessian, curvature 1."""
    return (2 / (1 + (w**2).sum(axis=-1))[..., None, None]) ** 2 * EYE


def half_plane(w):
    return EYE / w[..., 1, None, None] ** 2


def beta_family(w):
    """Fisher metric of the Beta distributions, which is the Hessian of their log-partition."""
    from scipy.special import polygamma

    common = polygamma(1, w.sum(axis=-1))
    return polygamma(1, w)[..., None] * EYE - common[..., None, None]


def poincare(w):
    return (2 / (1 - (w**2).sum(axis=-1))[..., None, None]) ** 2 * EYE


DISC = rf.Ball([0.0, 0.0], 0.5)
SMALL = rf.Ball([0.0, 0.0], 0.35)
FAMILY = rf.Box([1.0, 1.0], [2.0, 2.0])
UPPER = rf.Box([-0.5, 0.7], [0.5, 1.6])
# What is embedded, where, the metric by hand, where a flow starts and aims, whether the metric is a Hessian.
CASES = {
    "sphere": (sphere, DISC, sphere, [0.2, -0.3], [-0.1, 0.2], False),
    "half plane": (half_plane, UPPER, half_plane, [0.2, 1.3], [0.0, 1.0], False),
    "Poincaré ball": (PoincareBall(2), SMALL, poincare, [0.2, -0.2], [-0.1, 0.2], False),
    "Beta distributions": (BetaDistributions(), FAMILY, beta_family, [1.4, 1.6], [1.6, 1.5], True),
}


class Flat(Euclidean):
    """A space with a metric of our own, for the Riemannian flow to compare with."""

    def __init__(self, matrix, belongs):
        super().__init__(2)
        self.metric.metric_matrix = lambda base_point=None: matrix(base_point)
        self.belongs = lambda point, atol=0.0: belongs(point)


@pytest.fixture(scope="module", params=CASES)
def case(request):
    given, region, *rest = CASES[request.param]
    return rf.embed(given, region, tol=1e-9), *rest


def test_isometric_where_no_point_was_fitted(case):
    F, by_hand, *_ = case
    w = F.region.sample(2000, np.random.default_rng(99))
    J = F.jacobian(w)
    gap = np.swapaxes(J, -1, -2) @ J - by_hand(w)
    assert np.abs(gap).max() <= 1e-8 * np.abs(by_hand(w)).max()
    assert F.metric_defect(w).max() <= 1e-9 and F.certificate.passed
    assert F.metric_defect(w).max() <= F.certificate.bound.value
    np.testing.assert_allclose(F.metric(w), by_hand(w), rtol=1e-12)
    np.testing.assert_allclose(F.inverse(F(w)), w, atol=1e-10)


def test_gradient_flow_through_G_is_riemannian_gradient_flow(case):
    F, by_hand, start, goal, _ = case
    G, loss = F.parametrization(), rf.losses.LeastSquares(EYE, goal)
    t = np.linspace(0.0, 1.0, 11)
    through = rf.gradient_flow(G, loss, F(start), t, rtol=1e-10)
    space = Flat(by_hand, lambda w: np.asarray(F.region.belongs(w)))
    riemannian = rf.riemannian_gradient_flow(space, loss, start, t, rtol=1e-10)
    assert np.abs(through.w - start).max() > 0.01  # it moves
    np.testing.assert_allclose(through.w, riemannian.w, atol=1e-8)
    np.testing.assert_allclose(
        G.cometric(through.x) @ by_hand(through.w), np.tile(EYE, (11, 1, 1)), atol=1e-8
    )
    # Plain gradient flow, of the flat metric, goes elsewhere.
    assert np.abs(through.w - rf.riemannian_gradient_flow(Euclidean(2), loss, start, t).w).max() > 0.01


def test_the_bracket_on_the_image_tells_hessian_metrics(case):
    F, *_, hessian = case
    w = F.region.sample(200, np.random.default_rng(5))
    defect = bracket_defect(F, w).max()
    assert defect < 1e-5 if hessian else defect > 0.1
    assert F.R is None


def test_repr_and_parametrization_name_the_metric(case):
    F, *_ = case
    assert F.metric.name in repr(F) and F.metric.name in repr(F.parametrization())
    assert F.metric.name in repr(F.metric)


def test_a_wrong_metric_is_seen():
    F = rf.embed(sphere, DISC, tol=1e-6)
    F.metric = as_metric(lambda w: 1.01 * sphere(w), DISC)
    assert F.metric_defect(DISC.sample(50)).min() > 0.5e-2


def test_in_a_file(tmp_path):
    F = rf.embed(sphere, DISC, tol=1e-6)
    path = F.save(tmp_path / "sphere")
    alone, known = rf.load_embedding(path), rf.load_embedding(path, sphere)
    w = DISC.sample(20)
    np.testing.assert_array_equal(alone(w), F(w))
    np.testing.assert_array_equal(known.metric_defect(w), F.metric_defect(w))
    assert alone.metric is None and alone.name == known.metric.name == "sphere"
    with pytest.raises(DomainError, match="metric is not known"):
        alone.metric_defect(w)
    with pytest.warns(UserWarning, match="does not embed the R given"):
        rf.load_embedding(path, poincare)


def test_a_hessian_manifold_is_its_legendre_function():
    R = rf.legendre.SimplexEntropy(3)
    F = rf.embed(HessianManifold(R))
    assert F.R is R and F.method == "closed-form"


def test_an_induced_manifold():
    """UUᵀ is no mirror flow, and its weights still follow the Bures-Wasserstein gradient flow."""
    G = rf.parametrizations.MatrixFactorization(2, 2)
    space = InducedManifold(G, np.eye(2).ravel())
    region = rf.Box([0.9, -0.1, 0.9], [1.1, 0.1, 1.1])
    F = rf.embed(space, region, tol=1e-4, coordinates="raw")
    w = region.sample(50)
    J = F.jacobian(w)
    # At W = [[a, b], [b, c]] the cometric is 4 times the symmetrised W: by hand, in coordinates (a, b, c).
    a, b, c = np.moveaxis(w, -1, 0)
    rows = [[4 * a, 2 * b, 0 * a], [2 * b, a + c, 2 * b], [0 * a, 2 * b, 4 * c]]
    cometric = np.moveaxis(np.array(rows), -1, 0)
    assert np.abs(np.swapaxes(J, -1, -2) @ J @ cometric - np.eye(3)).max() <= 1e-3
    assert F.certificate.passed and F.R is None
    flow = rf.gradient_flow(F.parametrization(), DOWNHILL, F([1.0, 0.0, 1.0]), 0.05)
    original = rf.gradient_flow(G, DOWNHILL, np.eye(2).ravel(), 0.05)
    np.testing.assert_allclose(flow.w[-1], original.w[-1], atol=1e-5)


def test_one_dimension_is_the_arc_length():
    F = rf.embed(lambda w: 1 / w[..., None] ** 2, rf.Box([0.5], [2.0]), tol=1e-12)
    np.testing.assert_allclose(np.abs(F([2.0]) - F([0.5])), np.log(4.0), atol=1e-12)


def test_without_a_region_or_structure():
    with pytest.raises(DomainError, match=r"half_plane is a callable: .* needs a region"):
        rf.embed(half_plane)
    with pytest.raises(NoClosedFormError, match="not for the metric half_plane"):
        rf.embed(half_plane, UPPER, method="closed-form")
    with pytest.raises(NoClosedFormError, match="not for the metric PoincareBall"):
        rf.embed(PoincareBall(2))
    with pytest.raises(DomainError, match="needs a region"):
        rf.embed(PoincareBall(2), method="spectral")
    with pytest.raises(DomainError, match="LegendreFunction, a geomstats space"):
        rf.embed(rf.parametrizations.Hadamard(2), UPPER)
    with pytest.raises(DomainError, match="must be a LegendreFunction"):
        rf.parametrization_from_legendre(half_plane, UPPER)


def skew(w):
    return EYE + w[..., :1, None] * np.array([[0.0, 0.1], [0.0, 0.0]])


def indefinite(w):
    return EYE - 2.0 * w[..., :1, None] * EYE


def undefined(w):
    return np.sqrt(0.4 - w[..., :1, None]) * EYE + 1.0


@pytest.mark.parametrize(
    ("g", "error", "message"),
    [
        (
            skew,
            DomainError,
            r"skew is not symmetric: at w = .* differs from its transpose by 0\.0\d+ of its size",
        ),
        (indefinite, DomainError, r"indefinite is not positive definite: at w = .* eigenvalue is -"),
        (undefined, DomainError, r"undefined is not finite at w = "),
        (lambda w: w, ShapeError, r"\[\.\.\., d\] to \[\.\.\., d, d\]"),
        (lambda w: np.array([[1.0, 0.0], [0.0, 1 + w[0] ** 2]]), ShapeError, "np.vectorize"),
        (lambda w: EYE * (1 + 1j) * w[..., :1, None], DomainError, "complex"),
    ],
)
def test_what_is_no_metric_is_named(g, error, message):
    with pytest.raises(error, match=message):
        rf.embed(g, rf.Box([-0.6, -0.6], [0.6, 0.6]))


def test_the_remedy_for_a_loop_works():
    def one(w):
        return np.diag([1.0, 1 + w[0] ** 2])

    F = rf.embed(np.vectorize(one, signature="(d)->(d,d)"), UPPER, tol=1e-6)
    assert F.certificate.passed


def test_a_region_that_leaves_the_space():
    with pytest.raises(DomainError, match=r"not inside the space PoincareBall: it contains w = "):
        rf.embed(PoincareBall(2), rf.Ball([0.0, 0.0], 1.2))
    with pytest.raises(ShapeError, match="dimension 2, but PoincareBall has dimension 3"):
        rf.embed(PoincareBall(3), DISC)


def test_a_metric_without_a_matrix_is_had_from_its_inner_products():
    F = rf.embed(PoincareHalfSpace(2), UPPER)
    w = F.region.sample(500, np.random.default_rng(3))
    J = F.jacobian(w)
    np.testing.assert_allclose(np.swapaxes(J, -1, -2) @ J, half_plane(w), rtol=0, atol=1e-9)


def test_spaces_that_will_not_do():
    unmeasured = Flat(half_plane, lambda w: w[..., 1] > 0)
    unmeasured.metric = RiemannianMetric(unmeasured)
    with pytest.raises(DomainError, match="no metric matrix"):
        rf.embed(unmeasured, UPPER)
    with pytest.raises(ShapeError, match=r"points of shape \(3,\)"):
        rf.embed(Hypersphere(2), UPPER)
    with pytest.raises(DomainError, match="equip it"):
        rf.embed(PoincareBall(2, equip=False), DISC)


def test_a_space_that_takes_no_batches_is_asked_point_by_point():
    space = Flat(lambda w: np.diag([1.0, 1.0 + float(w[0]) ** 2]), lambda w: bool(w[0] < 5.0))
    g = RiemannianSpace(space)
    w = np.array([[[1.0, 0.0], [6.0, 0.0]], [[3.0, 0.0], [0.0, 0.0]]])
    assert g.matrix(w).shape == (2, 2, 2, 2) and g.matrix(w)[0, 1, 1, 1] == 37.0
    assert g.belongs(w).tolist() == [[True, False], [True, True]]
    assert g.belongs(w[0, 0]) and g.matrix(w[0, 0]).shape == (2, 2)


def test_geomstats_is_loaded_only_for_spaces():
    code = (
        "import sys, numpy as np, riemflow as rf\n"
        "rf.embed(lambda w: np.eye(2) * (2 + w[..., :1, None]), rf.Box([0, 0], [.1, .1]), tol=1e-3)\n"
        "print('geomstats' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


EYE = np.eye(2)


def fails_beyond(n, how):
    """A metric that is right at up to n points and goes wrong with more."""

    def g(w):
        right = (1 + 0.3 * w[..., 0] ** 2)[..., None, None] * EYE
        return how(right) if w.ndim == 2 and len(w) > n else right

    return g


def divided(g):
    raise ZeroDivisionError("division by zero")


def spoilt(g):
    g[5] = np.nan
    return g


@pytest.mark.parametrize("n", [0, 2500])
def test_a_callable_that_fails_is_named_and_its_error_kept(n):
    """At the points that check the region, and at those of the solver alone."""
    with pytest.raises(DomainError, match=r"the metric g raised ZeroDivisionError .* Mend it") as caught:
        rf.embed(fails_beyond(n, divided), rf.Box([-1.0, -1.0], [1.0, 1.0]))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    with pytest.raises(ShapeError, match=r"returned shape \(3,\) where"):
        rf.embed(fails_beyond(n, lambda g: np.ones(3)), rf.Box([-1.0, -1.0], [1.0, 1.0]))
    with pytest.raises(DomainError, match=r"not finite at w = "):
        rf.embed(fails_beyond(n, spoilt), rf.Box([-1.0, -1.0], [1.0, 1.0]))
    with pytest.raises(DomainError, match="ZeroDivisionError"):
        rf.embed(lambda w: 1 / 0, rf.Box([-1.0, -1.0], [1.0, 1.0]))
    good = rf.embed(fails_beyond(10**9, divided), rf.Box([-1.0, -1.0], [1.0, 1.0]), tol=1e-6)
    assert good.certificate.passed
