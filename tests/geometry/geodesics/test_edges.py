"""Edges: equal, near and far points, boundaries, geodesics that leave, arguments that are none."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
import pytest

import riemflow as rf
from riemflow.errors import ConvergenceError, DomainError, ShapeError
from riemflow.geometry import HessianManifold, HessianMetric
from riemflow.legendre import (
    Beta,
    BurgEntropy,
    Dirichlet,
    FermiDirac,
    Gamma,
    LegendreFunction,
    LogDet,
    LogSumExp,
    LorentzBarrier,
    NegativeEntropy,
    Normal,
    SimplexEntropy,
    SquaredNorm,
    TsallisEntropy,
    product,
)


def metric_of(R, closed_form=True):
    space = HessianManifold(R, equip=False)
    space.equip_with_metric(HessianMetric, closed_form=closed_form)
    return space.metric


both_ways = pytest.mark.parametrize("closed_form", [True, False], ids=["closed form", "integrated"])
KINDS = {
    "entropy": (NegativeEntropy(2), [0.3, 2.0]),
    "Fermi-Dirac": (FermiDirac(2), [1e-3, 0.999]),
    "squared norm": (SquaredNorm(2), [1e3, 1.0]),
    "simplex": (SimplexEntropy(2), [0.2, 0.5]),
    "log-sum-exp": (LogSumExp(2), [1.0, -3.0]),
    "half plane": (LorentzBarrier(2), [0.4, 1.0]),
    "conjugate half plane": (LorentzBarrier(2).conjugate, [0.4, -1.0]),
    "log det": (LogDet(2), [2.0, 0.3, 1.0]),
    "Gamma": (Gamma(), [1.5, -0.7]),
    "Dirichlet": (Dirichlet(3), [0.5, 1.0, 3.0]),
    "product": (product(BurgEntropy(1), Gamma()), [2.0, 1.0, -1.0]),
}
each_kind = pytest.mark.parametrize(("R", "w"), KINDS.values(), ids=KINDS.keys())


@each_kind
@both_ways
def test_equal_points_and_zero_vectors_are_exact(R, w, closed_form):
    metric, w = metric_of(R, closed_form), np.array(w)
    zero = np.zeros(R.dim)
    np.testing.assert_array_equal(metric.log(w, w), zero)
    np.testing.assert_array_equal(metric.exp(zero, w), w)
    assert metric.dist(w, w) == 0.0
    u = np.ones(R.dim)
    np.testing.assert_array_equal(metric.parallel_transport(u, w, direction=zero), u)
    np.testing.assert_array_equal(metric.parallel_transport(zero, w, direction=0.01 * u), zero)
    np.testing.assert_array_equal(metric.geodesic(w, end_point=w)(np.array([-1.0, 0.5])), [w, w])


@each_kind
@both_ways
@pytest.mark.parametrize("size", [1e-5, 1e-9, 1e-13])
def test_distances_of_near_points_keep_their_digits(R, w, closed_form, size):
    """|q - w| at the middle point and δ + Γ(δ, δ)/2 differ from them by (Γ(δ))² relative."""
    metric, w = metric_of(R, closed_form), np.array(w)
    q = w * (1.0 + size * np.linspace(1.0, -0.7, R.dim))
    step = q - w
    gamma = 0.5 * np.linalg.solve(R.hessian(w), R._third_along(w, step))
    rtol = 1e-10 + np.linalg.norm(gamma, 2) ** 2
    middle = w + 0.5 * step
    expected = np.sqrt(step @ R.hessian(middle) @ step)
    np.testing.assert_allclose(metric.dist(w, q), expected, rtol=rtol)
    straight = step + 0.5 * gamma @ step
    np.testing.assert_allclose(metric.log(q, w), straight, rtol=0, atol=rtol * np.abs(step).max())


def test_far_points():
    """Closed forms hold over the range of float64; lengths from elementary integrals."""
    np.testing.assert_allclose(
        metric_of(BurgEntropy(1)).dist([1e-150], [1e150]), 300 * np.log(10), rtol=1e-14
    )
    np.testing.assert_allclose(metric_of(NegativeEntropy(1)).dist([1e-300], [1e10]), 2e5, rtol=1e-14)
    half = metric_of(LorentzBarrier(2))
    up = half.log([0.0, 1e150], [0.0, 1e-150])
    np.testing.assert_allclose(half.norm(up, np.array([0.0, 1e-150])), 300 * np.log(10), rtol=1e-13)
    np.testing.assert_allclose(half.exp(up, [0.0, 1e-150]), [0.0, 1e150], rtol=1e-11)
    # Across: cosh(d/2) = 1 + Δx²/(2y²) at y = 2√s.
    across = half.dist([-1e6, 0.5e12 + 1.0], [1e6, 0.5e12 + 1.0])
    np.testing.assert_allclose(across, 2 * np.arccosh(1 + (2e6) ** 2 / 8), rtol=1e-12)
    corners = metric_of(LogSumExp(1)).dist([-600.0], [600.0])
    np.testing.assert_allclose(corners, np.pi, rtol=1e-14)


def test_an_overflow_is_an_error():
    """Where ∇²R is infinite in float64 no vector has a length: not 0, not NaN."""
    with pytest.raises(ConvergenceError, match="too near its boundary"):
        metric_of(BurgEntropy(1)).log([1e200], [1e-200])
    with pytest.raises((ConvergenceError, DomainError), match="float64"):
        metric_of(LogSumExp(1)).dist([-1400.0], [1400.0])


def test_far_points_of_what_is_integrated():
    """Lengths of six to seven: many degrees, still the same both ways."""
    metric = metric_of(Dirichlet(2))
    w, q = np.array([[0.02, 50.0], [0.05, 0.08]]), np.array([[60.0, 0.03], [80.0, 40.0]])
    there, back = metric.dist(w, q), metric.dist(q, w)
    assert (there > 5).all()
    np.testing.assert_allclose(there, back, rtol=1e-9)
    end = metric.exp(metric.log(q, w), w)
    miss = np.einsum("ni,nij,nj->n", end - q, metric.metric_matrix(q), end - q)
    np.testing.assert_array_less(np.sqrt(miss) / there, 1e-8)


@pytest.mark.parametrize(
    ("R", "w", "v", "fraction"),
    [
        # √w' = -1; 2 arcsin √w falls at speed |v|/√(w(1-w)); w^(q/2) for Tsallis; circles of radius 2.
        (NegativeEntropy(1), [1.0], [-4.0], 0.5),
        (FermiDirac(1), [0.5], [-np.pi / 2], 0.5),
        (TsallisEntropy(1, 3.0), [1.0], [-4.0 / 3.0], 0.5),
        pytest.param(SimplexEntropy(1), [0.5], [np.pi / 2], 0.5, marks=pytest.mark.slow),
        (LogSumExp(1), [0.0], [-2 * np.pi], 0.5),
        (NegativeEntropy(1) + TsallisEntropy(1, 3.0), [1.0], [-6.0], None),
    ],
)
def test_geodesics_that_leave(R, w, v, fraction):
    """The fraction from the flat coordinate or the angle, worked out by hand."""
    fractions = []
    for closed_form in (True, False):
        metric = metric_of(R, closed_form)
        with pytest.raises(ConvergenceError, match="of the time: shorten") as caught:
            metric.exp(np.array(v), np.array(w))
        assert R.domain.belongs(caught.value.partial)
        fractions.append(float(str(caught.value).split("fraction ")[1].split(" of")[0]))
        with pytest.raises(ConvergenceError):
            metric.parallel_transport(np.array(v), np.array(w), direction=np.array(v))
        with pytest.raises(ConvergenceError):
            metric.geodesic(np.array(w), initial_tangent_vec=np.array(v))([0.1, 0.9])
    np.testing.assert_allclose(*fractions, rtol=2e-5)
    if fraction is not None:
        np.testing.assert_allclose(fractions, fraction, rtol=2e-5)
        almost = 0.999 * fraction * np.array(v)
        np.testing.assert_allclose(
            metric_of(R).exp(almost, np.array(w)), metric.exp(almost, np.array(w)), rtol=1e-7
        )


FAR = {  # Complete spaces, and a vector whose geodesic ends where float64 has no numbers.
    "e^2000": (BurgEntropy(2), [1.0, 0.1], [2000.0, 0.0]),
    "e^-2000": (BurgEntropy(2), [1.0, 0.1], [-2000.0, 0.0]),
    "half plane, down": (Normal(), [0.0, -1.0], [0.0, 2000.0]),
    "half plane, up": (Normal(), [0.0, -1.0], [0.0, -2000.0]),
    "half plane, across": (Normal(), [0.0, -1.0], [1e6, 1.0]),
    "matrices, up": (LogDet(2), [1.0, 0.1, 1.0], [2000.0, 0.0, 0.0]),
    "matrices, down": (LogDet(2), [1.0, 0.1, 1.0], [-2000.0, 0.0, 0.0]),
    "in a product": (product(BurgEntropy(1), SquaredNorm(1)), [1.0, 0.0], [-2000.0, 1.0]),
}


@pytest.mark.parametrize(("R", "w", "v"), FAR.values(), ids=FAR.keys())
def test_what_float64_cannot_hold_is_an_error_and_no_boundary(R, w, v):
    """No NaN, no number cut off at the last one that there is, and no warning; half the way there is none."""
    metric, w, v = metric_of(R), np.array(w), np.array(v)
    with pytest.raises(ConvergenceError, match=r"outruns float64 in .* shorten"):
        metric.exp(v, w)
    with pytest.raises(ConvergenceError, match=r"outruns float64 in .* shorten"):
        metric.parallel_transport(np.ones(R.dim), w, direction=v)
    near = v / np.sqrt(metric.squared_norm(v, w))
    np.testing.assert_allclose(metric.norm(near, w), 1.0)
    carried = metric.parallel_transport(np.ones(R.dim), w, direction=near)
    expected = metric.norm(np.ones(R.dim), w)
    np.testing.assert_allclose(metric.norm(carried, metric.exp(near, w)), expected, rtol=1e-10)


def test_logarithmic_coordinates_reach_as_far_as_float64():
    """w' /w is constant on BurgEntropy: e^±690 is there, and exact."""
    metric = metric_of(BurgEntropy(1))
    for power in (-690.0, 690.0):
        reached = metric.exp(np.array([power]), np.array([1.0]))
        np.testing.assert_allclose(np.log(reached), power, rtol=1e-14)


@pytest.mark.parametrize("R", [Gamma(), Beta(), Dirichlet(3), product(Beta(), BurgEntropy(1))])
def test_families_of_negative_curvature_are_complete(R):
    """Cartan and Hadamard: exp is a diffeomorphism of each tangent space."""
    space = HessianManifold(R)
    w = space.random_point(3)
    np.testing.assert_array_equal(space.metric.injectivity_radius(w), np.inf)
    planes = np.eye(R.dim)
    assert (space.metric.sectional_curvature(planes[0], planes[1], w) < 0).all()
    with pytest.raises(ConvergenceError, match="outruns float64"):
        space.metric.exp(np.full(R.dim, 1e6), R.domain.interior)


def test_a_product_leaves_with_its_first_part():
    metric = metric_of(product(NegativeEntropy(1), Gamma()))
    with pytest.raises(ConvergenceError, match=r"fraction 0\.5 ") as caught:
        metric.exp(np.array([-4.0, 0.1, 0.1]), np.array([1.0, 1.0, -1.0]))
    assert caught.value.partial.shape == (3,)
    assert 0 < caught.value.partial[0] < 1e-10


def test_of_a_batch_the_others_are_kept():
    metric = metric_of(NegativeEntropy(1))
    with pytest.raises(ConvergenceError) as caught:
        metric.exp(np.array([[1.0], [-4.0], [2.0]]), np.array([1.0]))
    np.testing.assert_allclose(caught.value.partial[[0, 2], 0], [1.5**2, 2.0**2], rtol=1e-12)


def cut_entropy() -> LegendreFunction:
    """Σ w ln w on w₁ + w₂ > 1: in the flat coordinates 2√w the outside of a circle, which is not convex."""
    return LegendreFunction(
        lambda w: anp.sum(w * anp.log(w), axis=-1),
        2,
        domain=lambda w: (w > 0).all(axis=-1) & (w.sum(axis=-1) > 1),
        interior=[1.0, 1.0],
        name="cut entropy",
    )


@pytest.mark.slow
def test_no_geodesic_between_points():
    metric = metric_of(cut_entropy())
    w, hidden, seen = np.array([1.05, 0.01]), np.array([0.01, 1.05]), np.array([2.0, 0.5])
    expected = 2 * np.linalg.norm(np.sqrt(seen) - np.sqrt(w))
    np.testing.assert_allclose(metric.dist(w, seen), expected, rtol=1e-10)
    with pytest.raises(ConvergenceError, match="may leave the space") as caught:
        metric.log(hidden, w)
    assert np.isfinite(caught.value.partial).all()
    with pytest.raises(ConvergenceError, match="1 of 2 pairs"):
        metric.dist(np.array([seen, hidden]), w)


def test_a_vector_far_too_long_ends_in_an_error():
    with pytest.raises(ConvergenceError, match="shorten"):
        metric_of(Dirichlet(2)).exp(np.array([1e6, -1e6]), np.array([1.0, 1.0]))
    with pytest.raises(ConvergenceError, match="shorten"):
        metric_of(LorentzBarrier(2)).exp(np.array([0.0, -1e6]), np.array([0.0, 1.0]))
    with pytest.raises(ConvergenceError, match="shorten"):
        metric_of(LogDet(2)).exp(np.array([-1e6, 0.0, 1.0]), np.array([1.0, 0.0, 1.0]))


@both_ways
def test_arguments(closed_form):
    metric = metric_of(NegativeEntropy(2), closed_form)
    w, v = np.ones(2), np.zeros(2)
    for bad in ([1.0, 0.0], [1.0, -1.0]):
        with pytest.raises(DomainError, match="boundary of dom NegativeEntropy"):
            metric.exp(v, np.array(bad))
        with pytest.raises(DomainError, match="point = "):
            metric.log(np.array(bad), w)
        with pytest.raises(DomainError, match="base_point = "):
            metric.log(w, np.array(bad))
        with pytest.raises(DomainError, match="end_point = "):
            metric.parallel_transport(v, w, end_point=np.array(bad))
        with pytest.raises(DomainError):
            metric.geodesic(w, end_point=np.array(bad))
    for nothing in (np.nan, np.inf):
        with pytest.raises(DomainError, match="finite"):
            metric.exp(np.array([nothing, 0.0]), w)
        with pytest.raises(DomainError, match="finite"):
            metric.log(np.array([nothing, 1.0]), w)
        with pytest.raises(DomainError, match="finite"):
            metric.geodesic(w, initial_tangent_vec=v)([nothing])
    with pytest.raises(ShapeError, match="length 2"):
        metric.exp(np.zeros(3), w)
    with pytest.raises(ShapeError, match="broadcast"):
        metric.log(np.ones((3, 2)), np.ones((4, 2)))
    with pytest.raises(ShapeError, match="list of times"):
        metric.geodesic(w, initial_tangent_vec=v)(np.zeros((2, 2)))
    for arguments in ({}, {"direction": v, "end_point": w}):
        with pytest.raises(DomainError, match="one of them"):
            metric.parallel_transport(v, w, **arguments)
        with pytest.raises(ValueError, match=r"end point|both"):
            metric.geodesic(
                w, **dict(zip(("initial_tangent_vec", "end_point"), arguments.values(), strict=False))
            )


@both_ways
def test_batches(closed_form, rng):
    """Every pair of a batch is that pair alone; batch axes broadcast; lists do for arrays."""
    metric = metric_of(LogDet(2), closed_form)
    w = np.array([2.0, 0.3, 1.0]) + rng.uniform(-0.2, 0.2, (2, 3, 3))
    q = np.array([1.0, -0.2, 1.5]) + rng.uniform(-0.2, 0.2, (3, 3))
    v = metric.log(q, w)
    assert v.shape == (2, 3, 3)
    np.testing.assert_allclose(v[1, 2], metric.log(q[2].tolist(), w[1, 2].tolist()), rtol=1e-9, atol=1e-10)
    end = metric.exp(v, w)
    np.testing.assert_allclose(end, np.broadcast_to(q, v.shape), rtol=1e-9, atol=1e-10)
    times = [-0.5, 0.0, 1.0, 1.5]
    path = metric.geodesic(w, initial_tangent_vec=v)(times)
    assert path.shape == (2, 3, 4, 3)
    np.testing.assert_allclose(path[:, :, 1:3], np.stack([w, end], axis=2), rtol=1e-10, atol=1e-10)
    between = metric.geodesic(w, end_point=q)(times)
    np.testing.assert_allclose(between, path, rtol=1e-9, atol=1e-9)
    assert metric.geodesic(w[0, 0], end_point=q[0])(0.5).shape == (1, 3)
    moved = metric.parallel_transport(v[0, 0], w, direction=v)
    np.testing.assert_allclose(
        moved[1, 1], metric.parallel_transport(v[0, 0], w[1, 1], direction=v[1, 1]), rtol=1e-9, atol=1e-10
    )


def test_injectivity_radius():
    for R in (LorentzBarrier(3), LogDet(2), SquaredNorm(2), BurgEntropy(2), 2.0 * BurgEntropy(2)):
        radius = metric_of(R).injectivity_radius(np.ones((4, R.dim)))
        np.testing.assert_array_equal(radius, np.full(4, np.inf))
    for R in (NegativeEntropy(2), SimplexEntropy(2), Gamma() + SquaredNorm(2)):
        with pytest.raises(NotImplementedError, match="not known"):
            metric_of(R).injectivity_radius(np.ones(2))


def test_induced_metrics_transport_too():
    """Lengths and angles are kept where the metric is no Hessian: Bures-Wasserstein."""
    G = rf.parametrizations.MatrixFactorization(2, 2)
    x = np.array([1.0, 0.2, -0.1, 0.8])
    metric = rf.InducedManifold(G, x, check=False).metric
    w, v, u = G(x), np.array([0.2, -0.1, 0.1]), np.array([0.1, 0.3, -0.2])
    end = metric.exp(v, w)
    moved, along = (metric.parallel_transport(a, w, direction=v) for a in (u, v))
    for a, b, a1, b1 in ((u, u, moved, moved), (u, v, moved, along), (v, v, along, along)):
        np.testing.assert_allclose(
            metric.inner_product(a1, b1, end), metric.inner_product(a, b, w), rtol=1e-9, atol=1e-10
        )
    back = metric.exp(-along, end)
    np.testing.assert_allclose(back, w, atol=1e-9)


def test_a_distance_is_had_from_either_end():
    """Between these Gamma distributions only one way is found; the length is that of both."""
    metric = metric_of(Gamma())
    a, b = np.array([0.03, -32.0]), np.array([32.0, -0.03])
    distance = metric.norm(metric.log(b, a), a)
    with pytest.raises(ConvergenceError, match="No geodesic"):
        metric.log(a, b)
    assert float(metric.dist(a, b)) == float(metric.dist(b, a)) == float(distance)
    pairs = metric.dist(np.array([a, b, a]), np.array([b, a, a]))
    np.testing.assert_array_equal(pairs, [distance, distance, 0.0])
