"""geomstats' suites for immersed sets and pullback metrics on embedded submanifolds, on both backends."""

from __future__ import annotations

import numpy as np
import pytest
from geomstats.test_cases.geometry.base import ImmersedSetTestCase
from geomstats.test_cases.geometry.pullback_metric import PullbackMetricTestCase
from geomstats_suites import Inside, on_numpy, run, run_again_on_autograd, suite
from zoo_embeddings import CLOSED, SOLVED, submanifold

from riemflow.geometry import EmbeddedSubmanifold, SubmanifoldMetric


class NearSubmanifold(Inside):
    """Points near the middle of K, tangent vectors shorter than the way to its edge, points off M."""

    def __init__(self, space):
        F = space.embedding
        centre, half = F.domain.interior, 0.3
        if F.region is not None:
            low, high = F.region.bounding_box()
            centre, half = F.region.center, (high - low) / 2
        self.half = np.broadcast_to(half, centre.shape)
        super().__init__(
            space, lambda rng, n: centre + 0.2 * self.half * rng.uniform(-1, 1, (n, len(centre)))
        )

    def random_tangent_vec(self, base_point):
        return 0.1 * self.half * np.tanh(self.space.random_tangent_vec(base_point))

    def point_to_project(self, n_points=1):
        x = self.space.immersion(self.random_point(n_points))
        return x + 1e-3 * np.cos(np.arange(x.size)).reshape(x.shape)


def attributes(name):
    space = submanifold(name)
    return {"space": space, "data_generator": NearSubmanifold(space)}


every = {name: lambda name=name: attributes(name) for name in CLOSED | SOLVED}
few = {name: every[name] for name in ("sum", "Lorentz", "quartic")}

# There is no such method, but a test of another one's norm.
NO_METHOD = {"mean_curvature_vector_norm_vec"}
NOT_OFFERED = {"injectivity_radius_vec", "curvature_derivative_vec", "directional_curvature_derivative_vec"}

test_immersed_set = suite(ImmersedSetTestCase, few)
test_metric = suite(PullbackMetricTestCase, few, skip=NOT_OFFERED | NO_METHOD)
test_every_immersed_set = pytest.mark.slow(suite(ImmersedSetTestCase, every))
test_every_metric = pytest.mark.slow(suite(PullbackMetricTestCase, every, skip=NOT_OFFERED | NO_METHOD))


# Negative controls.


class Bent(SubmanifoldMetric):
    """The second fundamental form with a skew part: the curvature of no metric."""

    def _normal(self, Q, R, second):
        return super()._normal(Q, R, second) + Q[..., :1, None] * np.arange(9.0).reshape(3, 3) ** 2


def test_a_broken_metric_fails():
    space = EmbeddedSubmanifold(submanifold("Lorentz dual").embedding, equip=False)
    space.equip_with_metric(Bent)
    given = {"space": space, "data_generator": NearSubmanifold(space)}
    with pytest.raises(AssertionError):
        run(PullbackMetricTestCase, "covariant_riemann_tensor_bianchi_identity-3", given)


def test_an_immersed_set_that_projects_nowhere_fails():
    given = attributes("Lorentz")
    space = EmbeddedSubmanifold(given["space"].embedding)
    space.projection = lambda point: np.full((*np.shape(point)[:-1], 2), 9.0)
    given = {"space": space, "data_generator": NearSubmanifold(space)}
    with pytest.raises(AssertionError):
        run(ImmersedSetTestCase, "projection_belongs-3", given)


@on_numpy
@pytest.mark.slow
def test_suites_pass_on_the_autograd_backend():
    run_again_on_autograd(__file__, "-m", "slow or not slow")
