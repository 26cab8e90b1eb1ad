"""Closed-form embeddings: isometry, inverse and derivatives for every leaf and for nested compositions."""

from __future__ import annotations

import numpy as np
import pytest

from riemflow.embedding import Ball, Box, bracket_defect, embed
from riemflow.embedding.maps import RidgeMap
from riemflow.embedding.metric import as_metric
from riemflow.errors import DomainError, NoClosedFormError
from riemflow.legendre import (
    Binomial,
    BurgEntropy,
    CenteredNormal,
    Exponential,
    FermiDirac,
    Geometric,
    HyperbolicEntropy,
    LegendreFunction,
    LogBarrier,
    LogDet,
    LogPartition,
    LogSumExp,
    LorentzBarrier,
    Multinomial,
    NegativeBinomial,
    NegativeEntropy,
    Normal,
    Poisson,
    Quadratic,
    SimplexEntropy,
    SoftplusSum,
    SquaredNorm,
    TsallisEntropy,
    product,
)

_rng = np.random.default_rng(5)
A32 = _rng.standard_normal((3, 2))
SYMMETRIC = np.eye(4) + 0.3
POLYTOPE = np.vstack([np.eye(3), -np.eye(3), _rng.standard_normal((2, 3))])
SUPPORT = _rng.standard_normal((7, 3))
RIDGES = _rng.standard_normal((5, 3))
SHIFT = np.array([0.5, 3.0, 0.1])


def ball(R, radius=0.2):
    return Ball(R.domain.interior, radius)


def _polytope():
    return LogBarrier(POLYTOPE, np.full(8, 2.0))


# name -> (R, the region it is embedded on or None, the region points are drawn from, D)
CASES = {
    "norm": (SquaredNorm(50), None, Box(np.full(50, -2.0), np.full(50, 2.0)), 50),
    "quadratic": (Quadratic(SYMMETRIC), None, Ball(np.zeros(4), 3.0), 4),
    "entropy": (NegativeEntropy(50), None, Box(np.full(50, 0.01), np.full(50, 5.0)), 50),
    "simplex": (SimplexEntropy(50), None, Ball(np.full(50, 1 / 51), 0.002), 51),
    "burg": (BurgEntropy(5), None, Box(np.full(5, 1e-6), np.full(5, 9.0)), 5),
    "fermi-dirac": (FermiDirac(5), None, Box(np.full(5, 0.001), np.full(5, 0.999)), 5),
    "hyperbolic": (HyperbolicEntropy([1.0, 0.5], [0.3, 2.0]), None, Box([-9.0, -9.0], [9.0, 9.0]), 2),
    "tsallis 3/2": (TsallisEntropy(3, 1.5), None, Box(np.full(3, 0.1), np.full(3, 5.0)), 3),
    "tsallis 1/2": (TsallisEntropy(3, 0.5), None, Box(np.full(3, 0.1), np.full(3, 5.0)), 3),
    "log-barrier": (_polytope(), None, ball(_polytope()), 8),
    "softplus": (SoftplusSum(RIDGES, np.ones(5)), None, Ball(np.zeros(3), 3.0), 5),
    "log-partition": (LogPartition(SUPPORT, np.arange(1.0, 8.0)), None, Ball(np.zeros(3), 3.0), 7),
    "log-sum-exp": (LogSumExp(50), None, Ball(np.zeros(50), 5.0), 51),
    "conjugate": (NegativeEntropy(3).conjugate, None, Ball(np.zeros(3), 2.0), 3),
    "circle": (LorentzBarrier(2), Box([-0.5, 1.0], [0.5, 2.0]), None, 3),
    "torus curve": (LorentzBarrier(2), Box([-5.0, 13.0], [5.0, 14.0]), None, 5),
    "hyperbolic 4": (LorentzBarrier(4), Ball([0.0, 0.3, 0.0, 2.0], 0.8), None, 7),
    "one-dimensional barrier": (LorentzBarrier(1), None, Box([0.1], [3.0]), 1),
    "normal family": (Normal(), Box([-1.0, -2.0], [1.0, -0.5]), None, 3),
    "normal family, wide": (Normal(), Box([-9.0, -0.6], [9.0, -0.5]), None, 5),
    "centred normals": (CenteredNormal(2), Box([-2.0, -0.3, -1.5], [-1.0, 0.5, -0.5]), None, 4),
    "exponential family": (Exponential(), None, Box([-3.0], [-0.1]), 1),
    "Poisson": (Poisson(), None, Box([-3.0], [3.0]), 1),
    "binomial": (Binomial(7), None, Box([-4.0], [4.0]), 1),
    "multinomial": (Multinomial(5, 4), None, Ball(np.zeros(3), 3.0), 4),
    "geometric": (Geometric(), None, Box([-3.0], [-0.01]), 1),
    "negative binomial": (NegativeBinomial(2.5), None, Box([-3.0], [-0.01]), 1),
    "dual of hyperbolic 3": (
        LorentzBarrier(3).conjugate,
        Box([-0.3, -0.3, -2.0], [0.3, 0.3, -1.0]),
        None,
        5,
    ),
    "determinant": (LogDet(2), Box([1.0, -0.3, 0.5], [2.0, 0.5, 1.5]), None, 4),
    "wide determinant": (LogDet(2), Box([0.1, -0.4, 3.0], [1.0, 0.4, 4.0]), None, 6),
    "1x1 determinant": (LogDet(1), None, Box([0.1], [3.0]), 1),
    "sum in a subspace": (
        (LogSumExp(3) + 0.1 * SquaredNorm(3)).compose(A32, [1.0, 2.0, 3.0]),
        None,
        Ball(np.zeros(2), 3.0),
        7,
    ),
    "product": (
        product(_polytope(), 2.0 * NegativeEntropy(4)),
        None,
        ball(product(_polytope(), NegativeEntropy(4))),
        12,
    ),
    "deep": (
        product(LogDet(2) + 0.5 * BurgEntropy(3).compose(np.eye(3), SHIFT), LorentzBarrier(2)),
        Box([1.0, -0.3, 0.5, -0.3, 1.0], [2.0, 0.5, 1.5, 0.3, 2.0]),
        None,
        10,
    ),
}


@pytest.fixture(params=CASES, ids=lambda name: name.replace(" ", "-"))
def case(request, rng):
    R, region, where, D = CASES[request.param]
    F = embed(R, region)
    assert F.method == "closed-form" and F.certificate.passed
    assert F.ambient_dim == D
    return F, (region or where).sample(100, rng)


def test_the_metric_is_exact(case):
    F, w = case
    assert F.metric_defect(w).max() <= 1e-12
    assert F.metric_defect(w.reshape(4, 25, F.dim)).shape == (4, 25)


def test_inverse_undoes_the_embedding(case):
    F, w = case
    np.testing.assert_allclose(F.inverse(F(w)), w, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(F.inverse(F(w[0])), w[0], rtol=1e-11, atol=1e-12)


def test_derivatives_agree_with_finite_differences(case):
    F, w = case
    # Steps of 1e-6 of each coordinate: errors h² and ε/h, both far below the bounds.
    for point in w[:3]:
        h = 1e-5 * np.maximum(np.abs(point), 1e-3)
        jacobian, hessian = F.jacobian(point), F.hessian(point)
        for i in range(F.dim):
            shift = h[i] * np.eye(F.dim)[i]
            first = (F(point + shift) - F(point - shift)) / (2 * h[i])
            second = (F.jacobian(point + shift) - F.jacobian(point - shift)) / (2 * h[i])
            assert np.abs(first - jacobian[:, i]).max() <= 1e-6 * np.abs(jacobian).max()
            assert np.abs(second - hessian[..., i]).max() <= 1e-6 * (
                np.abs(hessian).max() + np.abs(jacobian).max()
            )


def test_brackets_on_the_image_vanish(case):
    F, w = case
    assert bracket_defect(F, w[:20]).max() <= 1e-10


def test_the_embedding_of_another_function_is_not_isometric(rng):
    F = embed(LogSumExp(3))
    w = rng.standard_normal((50, 3))
    F.metric = as_metric(LogSumExp(3) + 0.1 * SquaredNorm(3))
    assert F.metric_defect(w).min() > 1e-2


def test_brackets_see_a_metric_that_is_not_hessian(rng):
    F = embed(NegativeEntropy(2))
    w = rng.uniform(0.5, 2.0, (30, 2))
    # w -> (w_1, w_2, w_1 w_2): its metric has ∂_1 ĝ_22 ≠ ∂_2 ĝ_12.
    F._jacobian = lambda w: np.stack(
        [np.broadcast_to([1.0, 0.0], w.shape), np.broadcast_to([0.0, 1.0], w.shape), w[..., ::-1]], axis=-2
    )
    constant = np.zeros((3, 2, 2))
    constant[2] = [[0.0, 1.0], [1.0, 0.0]]
    F._hessian = lambda w: np.broadcast_to(constant, (*w.shape[:-1], 3, 2, 2))
    assert bracket_defect(F, w).min() > 1e-2


def test_bracket_of_a_known_metric():
    """For ĝ = diag(1, f(w_1)²) the orthonormal gradient fields have |[Y_1, Y_2]| = 2|f'|/f."""
    F = embed(SquaredNorm(2))
    # Polar coordinates in the plane, f = w_1.
    F._jacobian = lambda w: np.stack(
        [
            np.stack([np.cos(w[..., 1]), -w[..., 0] * np.sin(w[..., 1])], axis=-1),
            np.stack([np.sin(w[..., 1]), w[..., 0] * np.cos(w[..., 1])], axis=-1),
        ],
        axis=-2,
    )

    def second(w):
        c, s = np.cos(w[..., 1]), np.sin(w[..., 1])
        H = np.zeros((*w.shape[:-1], 2, 2, 2))
        H[..., 0, 0, 1] = H[..., 0, 1, 0] = -s
        H[..., 0, 1, 1] = -w[..., 0] * c
        H[..., 1, 0, 1] = H[..., 1, 1, 0] = c
        H[..., 1, 1, 1] = -w[..., 0] * s
        return H

    F._hessian = second
    w = np.array([[0.5, 1.0], [2.0, -0.3]])
    np.testing.assert_allclose(bracket_defect(F, w), 2.0 / w[:, 0], rtol=1e-12)


def test_parts_without_closed_form_are_named():
    quartic = LegendreFunction(lambda w: (w**4 + w**2).sum(axis=-1), 2, name="quartic")
    with pytest.raises(NoClosedFormError, match="quartic"):
        embed((SquaredNorm(2) + 2.0 * quartic).compose(np.eye(2)))
    with pytest.raises(NoClosedFormError, match=r"LogDet \(LogDet, d = 6\)"):
        embed(LogDet(3))
    with pytest.raises(NoClosedFormError, match="compact region"):
        embed(LorentzBarrier(2))
    with pytest.raises(NoClosedFormError, match="ambient_dim = 2, not 4"):
        embed(SquaredNorm(2), ambient_dim=4, method="closed-form")


def test_a_hyperbolic_embedding_is_confined_to_its_region():
    F = embed(LorentzBarrier(2), Box([-0.5, 1.0], [0.5, 2.0]))
    with pytest.raises(DomainError, match="region"):
        F([0.0, 0.01])
    everywhere = embed(NegativeEntropy(2), Box([1.0, 1.0], [2.0, 2.0]))
    assert everywhere([5.0, 5.0]).shape == (2,)
    with pytest.raises(DomainError, match="dom NegativeEntropy"):
        everywhere([5.0, -5.0])


def test_new_closed_forms_can_be_registered():
    from riemflow.embedding.closed_form import embedding_map

    class MyEntropy(LegendreFunction):
        pass

    R = MyEntropy(lambda w: (w**2).sum(axis=-1), 2)
    with pytest.raises(NoClosedFormError, match="MyEntropy"):
        embed(R)
    embedding_map.register(MyEntropy)(
        lambda R, extremes: RidgeMap(np.sqrt(2.0) * np.eye(2), np.zeros(2), SquaredNorm(2))
    )
    assert embed(R).metric_defect([0.3, 0.4]) <= 1e-14
