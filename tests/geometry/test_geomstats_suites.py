"""geomstats' suites on Hessian manifolds, on both of its backends."""

from __future__ import annotations

import numpy as np
import pytest
import zoo_legendre
from geomstats.geometry.riemannian_metric import RiemannianMetric
from geomstats.test_cases.geometry.base import VectorSpaceOpenSetTestCase
from geomstats.test_cases.geometry.riemannian_metric import RiemannianMetricTestCase
from geomstats_suites import Inside, checks, on_numpy, run, run_again_on_autograd, suite

from riemflow.geometry import HessianManifold
from riemflow.geometry.hessian_metric import HessianMetric

CASES = {case.name: case for case in zoo_legendre.CASES}


def attributes(case, dual=False, metric=None):
    R = case.make()
    space = HessianManifold(R.conjugate if dual else R)
    if metric is not None:
        space.equip_with_metric(metric)

    def sample(rng, n):
        w = case.sample(rng, n)
        return R.gradient(w) if dual else w

    return {"space": space, "data_generator": Inside(space, sample, amplitude=8.0)}


SOME = ["SimplexEntropy", "LorentzBarrier", "Dirichlet"]
primal = {name: lambda case=case: attributes(case) for name, case in CASES.items()}
dual = {f"{name}*": lambda case=case: attributes(case, True) for name, case in CASES.items()}
few = {name: make for name, make in (primal | dual).items() if name.rstrip("*") in SOME}

NOT_OFFERED = {"injectivity_radius_vec"}

GEODESICS = ("exp", "log", "dist", "geodesic_", "parallel", "squared_dist")


def is_pointwise(name):
    return not name.startswith(GEODESICS) or name.startswith("geodesic_equation")


test_open_set = suite(VectorSpaceOpenSetTestCase, few)
test_metric = suite(RiemannianMetricTestCase, few, atol=1e-12, skip=NOT_OFFERED, only=is_pointwise)
test_geodesics = suite(
    RiemannianMetricTestCase, few, atol=1e-9, skip=NOT_OFFERED, only=lambda name: not is_pointwise(name)
)
test_every_open_set = pytest.mark.slow(suite(VectorSpaceOpenSetTestCase, primal | dual))
test_every_metric = pytest.mark.slow(
    suite(
        RiemannianMetricTestCase,
        primal | dual,
        atol=1e-12,
        skip=NOT_OFFERED,
        only=is_pointwise,
    )
)
test_every_geodesic = pytest.mark.slow(
    suite(
        RiemannianMetricTestCase,
        primal | dual,
        atol=1e-9,
        skip=NOT_OFFERED,
        only=lambda name: not is_pointwise(name),
    )
)


# Negative controls: what is broken must show, in every one of these suites, whatever the seed.


class Skew(HessianMetric):
    """Not symmetric."""

    def metric_matrix(self, base_point=None):
        return super().metric_matrix(base_point) + np.triu(np.ones((self._space.dim,) * 2), 1)

    def inner_product(self, tangent_vec_a, tangent_vec_b, base_point=None):
        matrix = self.metric_matrix(base_point)
        return np.einsum("...i,...ij,...j->...", tangent_vec_a, matrix, tangent_vec_b)


class Foreign(HessianMetric):
    """The curvature of a connection that is not the metric's."""

    def riemann_tensor(self, base_point=None):
        gamma = self.christoffels(base_point) + np.arange(1.0, self._space.dim + 1)[:, None]
        product = np.einsum("...lkm,...mji->...ijkl", gamma, gamma)
        return product - np.swapaxes(product, -2, -3)

    covariant_riemann_tensor = RiemannianMetric.covariant_riemann_tensor


class Loop(HessianMetric):
    """The batch axis is lost."""

    def scalar_curvature(self, base_point=None):
        return np.asarray(super().scalar_curvature(base_point)).sum()


class Short(HessianMetric):
    """Geodesics that end too early, by one part in a million."""

    def exp(self, tangent_vec, base_point):
        return super().exp((1 - 1e-6) * np.asarray(tangent_vec), base_point)


class Missing(HessianMetric):
    def christoffels(self, base_point=None):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("metric", "name"),
    [
        (Skew, "metric_matrix_is_spd-3"),
        (Skew, "inner_product_is_symmetric-1"),
        (Foreign, "covariant_riemann_tensor_is_skew_symmetric_2-1"),
        (Loop, "scalar_curvature_vec"),
        (Short, "log_after_exp-1"),
    ],
)
def test_a_broken_metric_fails(metric, name):
    with pytest.raises(AssertionError):
        run(RiemannianMetricTestCase, name, attributes(CASES["LorentzBarrier"], metric=metric))


def test_what_is_not_implemented_is_not_swallowed():
    given = attributes(CASES["LorentzBarrier"], metric=Missing)
    with pytest.raises(NotImplementedError):
        run(RiemannianMetricTestCase, "christoffels_vec", given)


def test_an_open_set_with_points_outside_fails():
    given = attributes(CASES["BurgEntropy"])
    given["space"].projection = lambda point: point
    with pytest.raises(AssertionError):
        run(VectorSpaceOpenSetTestCase, "projection_belongs-3", given)


def test_a_test_runs_once():
    """geomstats itself tries three times."""
    calls = []

    class Flaky(RiemannianMetricTestCase):
        @pytest.mark.random
        def test_flaky(self, n_points, atol):
            calls.append(n_points)
            assert len(calls) > 1

    with pytest.raises(AssertionError):
        run(Flaky, "flaky-3", attributes(CASES["BurgEntropy"]))
    assert calls == [3]


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="no_such_test"):
        suite(RiemannianMetricTestCase, few, skip={"no_such_test"})
    assert {"curvature_vec", "geodesic_bvp_reverse-3-1"} <= set(checks(RiemannianMetricTestCase))


@on_numpy
def test_suites_pass_on_the_autograd_backend():
    run_again_on_autograd(__file__)


@on_numpy
@pytest.mark.slow
def test_the_whole_catalogue_passes_on_the_autograd_backend():
    run_again_on_autograd(__file__, "-m", "slow")
