"""Atlases: charts that cover a region to the tolerance, and agree where they overlap."""

from __future__ import annotations

import autograd.numpy as anp
import joblib
import numpy as np
import pytest

import riemflow as rf
from riemflow.embedding import atlas as module
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
    wrong = module.Atlas(near.metric, NEAR, spoilt, near.shares)
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


def test_what_no_atlas_can_do(monkeypatch):
    kinked = rf.LegendreFunction(lambda w: anp.sum(w**2 + anp.abs(w - 0.21) ** 3, axis=-1), 2, name="kinked")
    monkeypatch.setattr(module, "MOST_HALVINGS", 3)
    with pytest.raises(ConvergenceError, match=r"kinked needs more than .* its defect is") as caught:
        rf.embed(kinked, rf.Box([0.0, 0.0], [1.0, 1.0]), method="atlas", tol=1e-9)
    assert caught.value.partial is None or caught.value.partial.certificate.passed
    with pytest.raises(DomainError, match="needs a region"):
        rf.embed(R, method="atlas")
    with pytest.raises(DomainError, match="atlas_flow"):
        rf.parametrization_from_legendre(R, NEAR, method="atlas")
    with pytest.raises(DomainError, match="leave save="):
        rf.embed(R, NEAR, method="atlas", save="F.npz")


@pytest.mark.slow
def test_hyperbolic_disc_of_radius_3():
    """Its circumference is 63: charts of degree 24 at most, in R^5."""
    region = rf.Ball([0.0, 0.0], 3.0)
    A = rf.embed(normal, region, method="atlas", tol=1e-6)
    assert A.certificate.passed and A.ambient_dim == 5
    assert A.metric_defect(points(region, 10_000)).max() <= 1e-6
