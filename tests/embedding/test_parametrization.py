"""The inverse of an embedding as a parametrization, on M and off it."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
import pytest

from riemflow import autodiff
from riemflow.embedding import Box, embed, parametrization_from_legendre
from riemflow.errors import ConvergenceError, DomainError, ShapeError
from riemflow.legendre import (
    LogBarrier,
    LogSumExp,
    LorentzBarrier,
    NegativeEntropy,
    SimplexEntropy,
    SquaredNorm,
)

FUNCTIONS = {
    "log-sum-exp plus norm": (LogSumExp(3) + 0.1 * SquaredNorm(3), None),
    "simplex": (SimplexEntropy(4), None),
    "polytope": (LogBarrier(np.vstack([np.eye(3), -np.ones(3)]), np.ones(4)), None),
    "hyperbolic": (LorentzBarrier(3), Box([-0.3, -0.3, 1.0], [0.3, 0.3, 2.0])),
}


@pytest.fixture(params=FUNCTIONS, ids=lambda name: name.replace(" ", "-"))
def inverted(request, rng):
    R, region = FUNCTIONS[request.param]
    G = parametrization_from_legendre(R, region)
    if region is None:
        w = R.domain.interior + 0.04 * rng.uniform(-1.0, 1.0, (20, R.dim))
    else:
        w = region.center + 0.5 * (region.sample(20, rng) - region.center)
    return G, w


def test_on_the_image_the_jacobian_is_the_pseudoinverse(inverted):
    G, w = inverted
    F = G.embedding
    x = F(w)
    np.testing.assert_allclose(G(x), w, atol=1e-12)
    np.testing.assert_allclose(G.jacobian(x), np.linalg.pinv(F.jacobian(w)), atol=1e-10)
    # ∂G∂Gᵀ = ∇²R^{-1}.
    identity = G.cometric(x) @ F.R.hessian(w)
    np.testing.assert_allclose(identity, np.broadcast_to(np.eye(F.dim), identity.shape), atol=1e-10)


def test_off_the_image_the_derivatives_are_those_of_the_nearest_point(inverted, rng):
    G, w = inverted
    F = G.embedding
    x = F(w[0]) + 0.01 * rng.standard_normal(F.ambient_dim)
    near = G(x)
    # The nearest point is where x - F(w) is normal to M.
    np.testing.assert_allclose((x - F(near)) @ F.jacobian(near), 0.0, atol=1e-11)
    h = 1e-5
    for k in range(F.ambient_dim):
        shift = h * np.eye(F.ambient_dim)[k]
        numerical = (G(x + shift) - G(x - shift)) / (2 * h)
        np.testing.assert_allclose(G.jacobian(x)[:, k], numerical, atol=1e-7)
        second = (G.jacobian(x + shift) - G.jacobian(x - shift)) / (2 * h)
        np.testing.assert_allclose(G.hessian(x)[..., k], second, atol=1e-6)


def test_evaluator_agrees_with_the_stateless_calls(inverted):
    G, w = inverted
    evaluate = G._evaluator()
    for x in G.embedding(w[:5]):
        point, jacobian = evaluate(x)
        np.testing.assert_allclose(point, G(x), atol=1e-12)
        np.testing.assert_allclose(jacobian, G.jacobian(x), atol=1e-10)


def test_points_without_a_nearest_point_are_reported():
    F = embed(NegativeEntropy(2))
    with pytest.raises(ConvergenceError, match="nearest point") as caught:
        F.inverse([[2.0, 2.0], [-1.0, 2.0]])
    assert caught.value.partial.shape == (2, 2)
    G = F.parametrization()
    assert G.domain.belongs([[2.0, 2.0], [-1.0, 2.0]]).tolist() == [True, False]
    with pytest.raises(DomainError):
        G([-1.0, 2.0])


def test_arguments_are_checked():
    F = embed(NegativeEntropy(2))
    with pytest.raises(ShapeError):
        F.inverse([1.0, 2.0, 3.0])
    with pytest.raises(DomainError, match="finite"):
        F([1.0, np.nan])
    with pytest.raises(ShapeError):
        F.metric_defect(1.0)


@pytest.mark.parametrize("distance", [0.0, 0.3])
def test_derivatives_on_and_off_a_sphere_against_the_radial_projection(rng, distance):
    """2√p lies on a sphere of radius 2, whose nearest point is radial: G_i(x) = x_i² / |x|²."""

    def radial(x):
        return x[..., :-1] ** 2 / anp.sum(x**2, axis=-1)[..., None]

    G = parametrization_from_legendre(SimplexEntropy(3))
    x = G.embedding(rng.dirichlet(np.full(4, 5.0), 30)[:, :-1])
    x = x * (1.0 + distance * rng.uniform(-1.0, 1.0, (30, 1)))
    first = autodiff.jacobian(radial)
    np.testing.assert_allclose(G(x), radial(x), atol=1e-13)
    np.testing.assert_allclose(G.jacobian(x), first(x), atol=1e-12)
    bound = 1e-12 if distance == 0.0 else 1e-9
    np.testing.assert_allclose(G.hessian(x), autodiff.jacobian(first, 2)(x), atol=bound)


def test_points_asked_again_are_found_anew_when_they_change():
    G = parametrization_from_legendre(SimplexEntropy(2))
    x = G.embedding([[0.2, 0.5], [0.3, 0.3]])
    first = G(x)
    first[:] = 0.0  # the caller's own
    np.testing.assert_allclose(G(x), [[0.2, 0.5], [0.3, 0.3]], atol=1e-13)
    x[0] = x[1]
    np.testing.assert_allclose(G(x), [[0.3, 0.3], [0.3, 0.3]], atol=1e-13)
