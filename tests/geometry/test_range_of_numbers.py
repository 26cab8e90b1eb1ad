"""Where float64 ends, and where shapes do not fit: errors, never NaN, and no error of NumPy's."""

from __future__ import annotations

import numpy as np
import pytest

from riemflow import legendre
from riemflow.errors import ConvergenceError, DomainError, ShapeError
from riemflow.geometry import AlphaConnection, HessianManifold, LegendreTransform
from riemflow.geometry.hessian_metric import HessianMetric


def test_exponential_map_where_the_metric_vanishes_is_an_error():
    space = HessianManifold(legendre.NegativeEntropy(2).conjugate)
    with pytest.raises(ConvergenceError):
        space.metric.exp(np.array([-3e-5, 1.6e-5]), np.array([6.9e7, -7.2e7]))


def test_curvature_that_overflows_is_an_error():
    raw = HessianMetric(HessianManifold(legendre.NegativeEntropy(2)), closed_form=False)
    assert np.abs(raw.covariant_riemann_tensor(np.ones(2))).max() < 1e-15  # a flat metric
    w = np.full(2, 1e-150)
    for method in ("covariant_riemann_tensor", "riemann_tensor"):
        with pytest.raises(DomainError, match="range of float64"):
            getattr(raw, method)(w)
    exponential = HessianManifold(legendre.NegativeEntropy(2).conjugate).metric
    with pytest.raises(DomainError, match="range of float64"):
        exponential.cometric_matrix(np.array([689.4, -724.4]))


def test_divergence_of_points_whose_values_overflow():
    R = legendre.Quadratic(np.diag([1.0, 2.0]))
    w, w0 = np.array([1e160, 1e160]), np.array([1e160 - 1e150, 1e160])
    # R = ½ wᵀAw is beyond all numbers at both points, their divergence is not.
    assert R.bregman_divergence(w, w0) == pytest.approx(0.5 * (w[0] - w0[0]) ** 2, rel=1e-12)
    assert R.bregman_divergence(w, -w) == np.inf
    E = legendre.NegativeEntropy(1).conjugate
    assert E.bregman_divergence([0.0], [1e8]) == np.inf
    assert E.bregman_divergence([1000.0], [0.0]) == np.inf


def test_divergence_next_to_the_boundary_of_the_cone():
    R = legendre.LogDet(2)
    w0 = np.array([1.3303073292472507, -1.6867046940497001, 2.13858306451571])
    assert R.domain.belongs(w0)
    with np.errstate(all="ignore"):
        assert R.bregman_divergence(np.array([1e-150, 0.0, 1e-150]), w0) > 0


def test_logarithm_whose_line_rounds_out_of_the_domain():
    metric = HessianMetric(HessianManifold(legendre.LogDet(2)), closed_form=False)
    q, w = np.array([1e-150, 0.0, 1e-150]), np.array([1.0, -1.98e-16, 1.0])
    with pytest.raises(ConvergenceError, match="No geodesic"):
        metric.log(q, w)


def test_alpha_beyond_the_root_of_the_largest_number():
    connection = AlphaConnection(HessianManifold(legendre.NegativeEntropy(2)), 1e200)
    assert not connection.riemann_tensor(np.ones(2)).any()
    with pytest.raises(DomainError, match="range of float64"):
        AlphaConnection(HessianManifold(legendre.Beta()), 1e200).riemann_tensor(np.ones(2))


def test_legendre_transform_that_overflows_is_an_error():
    phi = LegendreTransform(legendre.NegativeEntropy(2))
    assert np.allclose(phi.inverse([0.0, 1.0]), [1.0, np.e])
    with pytest.raises(DomainError, match="range of float64"):
        phi.inverse([1e5, 1.0])


TWO, THREE, FOUR = np.ones((2, 2)), np.ones((3, 2)), np.ones((4, 2))


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("inner_product", (THREE, TWO, np.ones(2))),
        ("inner_product", (THREE, THREE, TWO)),
        ("squared_norm", (THREE, TWO)),
        ("norm", (THREE, TWO)),
        ("inner_coproduct", (THREE, TWO, TWO)),
        ("curvature", (THREE, THREE, np.ones(2), FOUR)),
        ("curvature_derivative", (THREE, THREE, np.ones(2), np.ones(2), FOUR)),
        ("sectional_curvature", (THREE, TWO, np.ones(2))),
        ("geodesic_equation", (np.ones(2),)),
        ("geodesic_equation", (THREE,)),
    ],
)
def test_batches_that_do_not_fit(method, arguments):
    metric = HessianManifold(legendre.NegativeEntropy(2)).metric
    with pytest.raises(ShapeError):
        getattr(metric, method)(*arguments)


def test_batches_that_do_not_fit_elsewhere():
    R = legendre.NegativeEntropy(2)
    phi = LegendreTransform(R)
    for call in (R.bregman_divergence, phi.tangent, phi.inverse_tangent):
        with pytest.raises(ShapeError, match="broadcast"):
            call(THREE, TWO)
