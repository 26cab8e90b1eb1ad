"""Atlases: charts that cover a region to the tolerance, and agree where they overlap."""

from __future__ import annotations

import re

import autograd.numpy as anp
import joblib
import numpy as np
import pytest

import riemflow as rf
from riemflow.embedding import bisection as module
from riemflow.embedding.atlas import Atlas
from riemflow.embedding.metric import as_metric
from riemflow.errors import ConvergenceError, DomainError


def parabola(w):
    """The hyperbolic plane as a Hessian metric: -ln(t - x²/2)."""
    return -anp.log(w[..., 1] - w[..., 0] ** 2 / 2)


R = rf.LegendreFunction(
    parabola, 2, domain=lambda w: w[..., 1] > w[..., 0] ** 2 / 2, interior=[0.0, 1.0], name="parabola"
)
NEAR = rf.Box([-1.0, 0.6], [1.0, 2.0])  # two corners with a slack of .1


def normal(w):
    """The hyperbolic plane in normal coordinates, dr² + sinh²r dθ²."""
    r = np.maximum(np.linalg.norm(w, axis=-1), 1e-9)[..., None, None]
    outward = w[..., :, None] * w[..., None, :] / r**2
    return outward + (np.sinh(r) / r) ** 2 * (np.eye(2) - outward)


@pytest.fixture(scope="module")
def near():
    return rf.embed(R, NEAR, method="atlas", tol=1e-5)


def points(region, n, seed=99):
    return np.concatenate(
        [region.sample(n, np.random.default_rng(seed)), region._boundary(n, np.random.default_rng(1))]
    )


def test_the_region_is_covered_to_the_tolerance(near):
    assert len(near.charts) > 1 and near.ambient_dim == 5 and near.R is R
    w = points(NEAR, 3000)
    k = near.chart(w)
    assert set(np.unique(k)) <= set(range(len(near.charts)))
    # By hand: the chart that F_k belongs to, its metric, and the Hessian of the logarithm.
    slack = w[:, 1] - w[:, 0] ** 2 / 2
    g = np.empty((len(w), 2, 2))
    g[:, 0, 0] = 1 / slack + w[:, 0] ** 2 / slack**2
    g[:, 0, 1] = g[:, 1, 0] = -w[:, 0] / slack**2
    g[:, 1, 1] = 1 / slack**2
    for chart in np.unique(k):
        F, rows = near.charts[chart], k == chart
        assert F.region.belongs(w[rows]).all()
        J = F.jacobian(w[rows])
        gap = np.swapaxes(J, -1, -2) @ J - g[rows]
        assert np.abs(np.linalg.solve(g[rows], gap)).max() < 1e-3
    assert near.metric_defect(w).max() <= 1e-5 and near.metric_defect(w[:6].reshape(2, 3, 2)).shape == (2, 3)


def test_the_certificate_is_that_of_the_worst_chart(near):
    found = near.certificate
    assert (
        found.passed and found.defect == max(F.certificate.defect for F in near.charts) <= found.tol == 1e-5
    )
    worst = near.charts[found.worst_chart]
    assert worst.metric_defect(found.worst_point) == pytest.approx(found.defect, rel=1e-6)
    assert found.is_bound and found.bound >= near.metric_defect(points(NEAR, 5000, 3)).max()
    assert "not one F" in repr(near) and f"{len(near.charts)} charts" in repr(near)


def test_overlapping_charts_agree(near):
    assert 0 < near.transition_defect() <= 2 * near.certificate.defect
    # One chart spoilt: the overlaps tell, and so does the defect.
    spoilt = list(near.charts)
    F = spoilt[0]
    spoilt[0] = type(F)(F.metric, F.region, F.basis, 1.001 * F.coefficients, F.coordinates)
    spoilt[0].certificate = F.certificate
    wrong = Atlas(near.metric, NEAR, spoilt, near.shares)
    assert wrong.transition_defect() > 1e-3
    assert wrong.metric_defect(F.region.center) > 1e-3


def test_one_chart_where_one_is_enough():
    A = rf.embed(R, rf.Box([-0.1, 1.0], [0.1, 1.2]), method="atlas", tol=1e-6)
    assert len(A.charts) == 1 and A.transition_defect() == 0.0
    assert A.charts[0].certificate.passed


@pytest.mark.parametrize(
    "region",
    [
        rf.Ball([0.0, 0.0], 1.6),
        rf.Polytope([[-1.0, 0.0], [0.0, -1.0], [1.0, 1.0]], [1.2, 1.2, 0.5]),
        rf.Tube([[-1.5, 0.0], [0.0, 0.3], [1.5, 1.5]], 0.1),
    ],
    ids=["ball", "polytope", "tube"],
)
def test_boxes_that_miss_the_region_are_dropped(region):
    A = rf.embed(normal, region, method="atlas", tol=1e-4)
    w = points(region, 3000)
    assert A.metric_defect(w).max() <= 1.1e-4
    for share in A.shares:
        assert share.belongs(w).any()
    with pytest.raises(DomainError, match="the atlas of"):
        A.chart([1.7, 1.7])


@pytest.mark.slow
def test_in_parallel_the_same():
    region = rf.Ball([0.0, 0.0], 1.6)
    one = rf.embed(normal, region, method="atlas", tol=1e-5)
    with joblib.parallel_config(n_jobs=2):
        two = rf.embed(normal, region, method="atlas", tol=1e-5)
    assert len(one.charts) == len(two.charts)
    for F, G in zip(one.charts, two.charts, strict=True):
        np.testing.assert_allclose(F.coefficients, G.coefficients, atol=1e-12)


def test_an_interrupt_keeps_the_fitted_charts(monkeypatch):
    real, count = module._fit, []

    def interrupted(metric, box, options):
        found = real(metric, box, options)
        count.append(found[-1].passed)
        if sum(count) == 3:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(module, "_fit", interrupted)
    monkeypatch.setitem(module.MOST_DEGREE, 2, 8)
    with pytest.raises(KeyboardInterrupt) as caught:
        rf.embed(normal, rf.Box([-1.2, -1.2], [1.2, 1.2]), method="atlas", tol=1e-4)
    partial = caught.value.partial
    assert len(partial.charts) == 2
    inside = partial.charts[0].region.center
    assert partial.metric_defect(inside) <= 1e-4


UNIT = rf.Box([0.0, 0.0], [1.0, 1.0])
KINKED = rf.LegendreFunction(
    lambda w: anp.sum(w**2 + anp.abs(w - 0.21) ** 3, axis=-1) + 0.3 * w[..., 0] * w[..., 1], 2, name="kinked"
)


def test_a_kink_is_given_up_soon_and_named(monkeypatch):
    monkeypatch.setitem(module.MOST_DEGREE, 2, 12)
    with pytest.raises(
        ConvergenceError, match=r"not smooth there.*: end the region there\. Or raise"
    ) as caught:
        rf.embed(KINKED, UNIT, method="atlas", tol=1e-9)
    text = str(caught.value)
    halvings = int(re.search(r"after (\d+) halvings", text)[1])
    assert "kinked is out of reach" in text and halvings <= 16 and "ambient_dim" not in text
    # The place: w₁ = .21 or w₂ = .21.
    w = np.array([float(x) for x in re.search(r"at w = \[([^]]*)\]", text)[1].split(",")])
    assert np.abs(w - 0.21).min() < 0.07


def plain(w):
    return anp.log(1 + anp.sum(anp.exp(w), axis=-1)) + 0.05 * anp.sum(w**2, axis=-1)


def test_too_few_dimensions_for_a_curved_metric_are_given_up_soon():
    curved, flat = (rf.LegendreFunction(f, 2, name=f.__name__) for f in (plain, separate))
    with pytest.raises(
        ConvergenceError, match=r"ambient_dim = 2 is less than d\(d\+1\)/2 = 3.*D = d being flat"
    ) as caught:
        rf.embed(curved, UNIT, method="atlas", ambient_dim=2)
    assert caught.value.partial is None and "leave it out for d(d+3)/2 = 5" in str(caught.value)
    A = rf.embed(flat, UNIT, method="atlas", ambient_dim=2)
    assert A.certificate.passed and A.ambient_dim == 2


def separate(w):
    return anp.sum(anp.exp(w) + w**4 + w**2, axis=-1)


def narrow(w):
    """A smooth metric with a feature of width .05: defects stay as they are until boxes are that small."""
    g = np.zeros((*w.shape, 2))
    g[..., 0, 0] = 1 + 0.05 * np.exp(-((w - 0.3) ** 2).sum(-1) / 0.05**2)
    g[..., 1, 1] = 1.0
    return g


@pytest.mark.slow
def test_a_narrow_feature_is_not_given_up():
    A = rf.embed(narrow, rf.Box([-1.0, -1.0], [1.0, 1.0]), method="atlas", tol=1e-8)
    assert A.certificate.passed and A.metric_defect([0.3, 0.33]) <= 1e-8


def jump(w):
    g = np.zeros((*w.shape, 2))
    g[..., 0, 0] = 1 + 0.5 * (w[..., 0] > 0.3)
    g[..., 1, 1] = 1.0
    return g


def test_halving_goes_on_beyond_the_points_that_were_drawn():
    part = rf.Box([0.3, 0.3], [0.3 + 1e-6, 0.3 + 2e-6])
    places = UNIT.sample(1000, np.random.default_rng(0))
    metric = as_metric(narrow, UNIT)
    for region in (UNIT, rf.Ball([0.3, 0.3], 0.5)):
        halves = module._halves(metric, region, part, places)
        assert len(halves) == 2 and all(half.upper[1] - half.lower[1] < 1.1e-6 for half in halves)
    assert module._halves(metric, rf.Ball([0.8, 0.8], 0.1), part, places) == []


def test_what_no_atlas_can_do(monkeypatch):
    monkeypatch.setattr(module, "MOST_HALVINGS", 3)
    with pytest.raises(
        ConvergenceError, match=r"jump needs more than 3 halvings\. On .*Keep the region"
    ) as caught:
        rf.embed(jump, UNIT, method="atlas", tol=1e-9)
    partial = caught.value.partial
    if partial is not None:
        assert partial.missing and not partial.certificate.passed and partial.certificate.defect <= 1e-9
    with pytest.raises(DomainError, match="needs a region"):
        rf.embed(R, method="atlas")
    with pytest.raises(DomainError, match="atlas_flow"):
        rf.parametrization_from_legendre(R, NEAR, method="atlas")


def test_a_cap_on_the_number_of_charts_keeps_those_found(monkeypatch):
    monkeypatch.setattr(module, "MOST_CHARTS", 8)
    monkeypatch.setitem(module.MOST_DEGREE, 2, 8)
    with pytest.raises(ConvergenceError, match="needs more than 8 charts") as caught:
        rf.embed(normal, rf.Box([-1.2, -1.2], [1.2, 1.2]), method="atlas", tol=1e-6)
    partial = caught.value.partial
    assert partial.missing and f"{len(partial.missing)} parts of the region have NO chart" in repr(partial)
    assert partial.certificate.defect <= 1e-6 and not partial.certificate.passed
    assert partial.metric_defect(partial.shares[0].center) <= 1e-6
    with pytest.raises(DomainError, match="the atlas of"):
        partial.chart(partial.missing[0].center)


@pytest.mark.parametrize("method", ["spectral", "atlas"])
@pytest.mark.parametrize(("d", "most"), [(1, 14), (2, 20), (3, 28)])
def test_a_bound_on_the_ambient_dimension(method, d, most):
    R = rf.LegendreFunction(separate, d)
    for D in (most + 1, 10**6):
        with pytest.raises(DomainError, match=f"ambient_dim = {D} is more than {most}.*Leave it out"):
            rf.embed(R, rf.Box(np.zeros(d), np.full(d, 0.3)), method=method, ambient_dim=D)
    if d == 1:
        assert rf.embed(R, rf.Box([0.0], [0.3]), method="spectral", ambient_dim=most).ambient_dim == most


def test_no_bound_on_the_dimension_of_a_closed_form():
    R = rf.legendre.LogPartition(np.random.default_rng(0).standard_normal((50, 2)))
    assert rf.embed(R, ambient_dim=50).ambient_dim == 50


@pytest.mark.slow
def test_hyperbolic_disc_of_radius_3():
    """Its circumference is 63: charts of degree 24 at most, in R^5."""
    region = rf.Ball([0.0, 0.0], 3.0)
    A = rf.embed(normal, region, method="atlas", tol=1e-6)
    assert A.certificate.passed and A.ambient_dim == 5
    assert A.metric_defect(points(region, 10_000)).max() <= 1e-6
