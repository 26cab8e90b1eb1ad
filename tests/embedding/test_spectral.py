"""The spectral solver: accuracy off the points it was fitted to, honest reports, clear errors."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
import pytest
from autograd.scipy.special import gammaln
from numpy.polynomial import chebyshev
from scipy.linalg import cho_factor
from threadpoolctl import threadpool_info, threadpool_limits

from riemflow.embedding import Ball, Box, SublevelSet, bracket_defect, embed, levenberg, spectral
from riemflow.embedding.coordinates import Axis, choose_axes
from riemflow.embedding.levenberg import IsometryEquations
from riemflow.embedding.metric import as_metric
from riemflow.embedding.spectral_basis import ChebyshevBasis, multi_indices
from riemflow.embedding.spectral_moments import TensorEquations
from riemflow.embedding.spectral_points import chebyshev_grid
from riemflow.embedding.spectral_series import ChebyshevSeries
from riemflow.errors import ConvergenceError, DomainError, NoClosedFormError, ShapeError
from riemflow.legendre import (
    LegendreFunction,
    LogBarrier,
    LogSumExp,
    LorentzBarrier,
    NegativeEntropy,
    SquaredNorm,
)


def smooth(dim):
    return LogSumExp(dim) + 0.1 * SquaredNorm(dim)


def unit_box(dim, half=1.0):
    return Box(np.full(dim, -half), np.full(dim, half))


@pytest.fixture(scope="module")
def plane():
    return embed(smooth(2), unit_box(2), method="spectral")


def test_two_dimensions_to_the_default_tolerance(plane):
    assert plane.method == "spectral" and plane.ambient_dim == 5
    assert plane.certificate.passed and plane.certificate.defect <= 1e-10
    # Points of our own, none of the solver's.
    rng = np.random.default_rng(99)
    w = np.concatenate([plane.region.corners(), plane.region.sample(4000, rng)])
    assert plane.metric_defect(w).max() <= 2e-10
    assert "within tol" in repr(plane)


def test_the_janet_cartan_like_dimension_reaches_rounding():
    F = embed(smooth(2), unit_box(2), method="spectral", ambient_dim=4, tol=1e-12)
    assert F.ambient_dim == 4
    assert F.metric_defect(F.region.sample(4000, np.random.default_rng(99))).max() <= 1e-12


def test_ball():
    F = embed(smooth(2), Ball([0.2, 0.0], 1.0), method="spectral", tol=1e-8)
    assert F.certificate.passed
    assert F.metric_defect(F.region.sample(1000, np.random.default_rng(99))).max() <= 1e-8


def test_three_dimensions():
    F = embed(smooth(3), unit_box(3), method="spectral", tol=1e-4)
    assert F.ambient_dim == 9 and F.certificate.passed
    w = np.concatenate([F.region.corners(), F.region.sample(4000, np.random.default_rng(99))])
    assert F.metric_defect(w).max() <= 1e-4
    np.testing.assert_allclose(F.inverse(F(w[:100])), w[:100], atol=1e-12)


@pytest.mark.slow
def test_three_dimensions_accurately():
    F = embed(smooth(3), unit_box(3), method="spectral", tol=1e-10)
    assert F.certificate.passed
    assert F.metric_defect(F.region.sample(4000, np.random.default_rng(99))).max() <= 1e-10


def test_one_dimension_is_the_arc_length():
    F = embed(NegativeEntropy(1), Box([0.5], [4.0]), method="spectral")
    assert F.ambient_dim == 1 and F.certificate.passed
    w = np.linspace(0.5, 4.0, 30)[:, None]
    distance = np.abs(F(w) - F(w[:1]))
    np.testing.assert_allclose(distance, 2 * np.sqrt(w) - 2 * np.sqrt(w[0]), atol=1e-10)
    assert embed(NegativeEntropy(1), Box([0.5], [4.0]), method="spectral", ambient_dim=2)(w).shape == (30, 2)


def test_a_function_without_structure_is_solved_numerically():
    R = LegendreFunction(lambda w: (w**2).sum(axis=-1) + 0.1 * (w[..., 0] - w[..., 1] ** 2) ** 2, 2)
    F = embed(R, unit_box(2, 0.5), tol=1e-8)
    assert F.method == "spectral" and F.certificate.passed


def test_derivatives_and_inverse(plane, rng):
    w = 0.9 * plane.region.sample(50, rng)
    h = 1e-5
    for i in range(2):
        shift = h * np.eye(2)[i]
        first = (plane(w + shift) - plane(w - shift)) / (2 * h)
        second = (plane.jacobian(w + shift) - plane.jacobian(w - shift)) / (2 * h)
        np.testing.assert_allclose(plane.jacobian(w)[..., i], first, atol=1e-8)
        np.testing.assert_allclose(plane.hessian(w)[..., i], second, atol=1e-7)
    np.testing.assert_allclose(plane.inverse(plane(w)), w, atol=1e-12)
    corners = plane.region.corners()
    np.testing.assert_allclose(plane.inverse(plane(corners)), corners, atol=1e-12)
    G, x = plane.parametrization(), plane(w)
    np.testing.assert_allclose(G.jacobian(x), np.linalg.pinv(plane.jacobian(w)), atol=1e-11)
    assert bracket_defect(plane, w).max() <= 1e-7


def test_leaving_the_region_is_an_error(plane):
    outside = plane._fun(np.array([1.5, 0.0]))
    with pytest.raises((ConvergenceError, DomainError)):
        plane.inverse(outside)
    with pytest.raises(DomainError, match="embedding's region"):
        plane([1.5, 0.0])


def test_the_same_seed_gives_the_same_embedding(plane):
    again = embed(smooth(2), unit_box(2), method="spectral")
    np.testing.assert_array_equal(again.coefficients, plane.coefficients)


def test_a_wrong_metric_has_a_large_defect(plane, rng):
    F = embed(smooth(2), unit_box(2), method="spectral", tol=1e-6)
    F.metric = as_metric(LogSumExp(2) + 0.2 * SquaredNorm(2))
    assert F.metric_defect(F.region.sample(100, rng)).min() > 1e-2


def test_an_under_resolved_embedding_says_so(monkeypatch):
    monkeypatch.setitem(spectral.LADDER, 2, (8,))
    F = embed(smooth(2), unit_box(2), method="spectral", tol=1e-12)
    assert not F.certificate.passed and not F.certificate.resolved and F.certificate.defect > 1e-12
    assert "NOT within" in repr(F)
    assert F.metric_defect(F.certificate.worst_point) == pytest.approx(F.certificate.defect, rel=1e-6)
    monkeypatch.setitem(spectral.LADDER, 2, (4,))
    with pytest.raises(ConvergenceError, match="shrink the region") as caught:
        embed(smooth(2), unit_box(2, 2.0), method="spectral")
    assert caught.value.partial.certificate.defect > 1e-4


def test_errors_name_what_is_wrong():
    R, box = smooth(2), unit_box(2)
    with pytest.raises(DomainError, match="needs a region"):
        embed(R, method="spectral")
    with pytest.raises(DomainError, match=r"not inside dom NegativeEntropy: it contains w = "):
        embed(NegativeEntropy(2), unit_box(2), method="spectral")
    with pytest.raises(DomainError, match="d ≤ 5"):
        embed(smooth(6), unit_box(6), method="spectral")
    with pytest.raises(DomainError, match="ambient_dim = 1 is less than d = 2"):
        embed(R, box, ambient_dim=1)
    with pytest.raises(ShapeError, match="dimension 3"):
        embed(R, unit_box(3))
    with pytest.raises(DomainError, match="must be one of"):
        embed(R, box, method="magic")
    with pytest.raises(DomainError, match="must be a region, such as Box"):
        embed(R, [0, 1])
    with pytest.raises(ShapeError, match="LegendreFunction"):
        embed(lambda w: w, box)
    saddle = LegendreFunction(lambda w: w[..., 0] ** 2 + w[..., 1] ** 2 - w[..., 0] ** 4, 2, name="saddle")
    with pytest.raises(DomainError, match=r"saddle is not strictly convex: at w = .* eigenvalue"):
        embed(saddle, box)
    with pytest.raises(NoClosedFormError):
        embed(
            LegendreFunction(lambda w: anp.log(1 + anp.sum(anp.exp(w), -1)) + anp.sum(w**2, -1), 6),
            unit_box(6),
        )


def test_a_region_that_leaves_a_polytope_at_one_corner_is_caught():
    R = LogBarrier(np.vstack([-np.eye(2), np.ones(2)]), np.array([0.0, 0.0, 1.0]))
    with pytest.raises(DomainError, match="contains w"):
        embed(R, Box([0.1, 0.1], [0.51, 0.51]))
    assert embed(R, Box([0.1, 0.1], [0.49, 0.49])).method == "closed-form"


def test_basis_and_series_against_polynomials_and_differences(rng, monkeypatch):
    curved = Axis(0.0, 0.5, lambda t: 1 / (1 + t))  # u = log(1 + w), scaled to [-1, 1]
    basis = ChebyshevBasis([Axis(-1.0, 2.0), curved], 6)
    assert basis.size == 27 and len(multi_indices(3, 4)) == 34
    c = rng.standard_normal((27, 3))
    series = ChebyshevSeries(basis, c)
    w = np.stack([rng.uniform(-0.9, 1.9, 40), rng.uniform(0.05, 0.45, 40)], axis=-1).reshape(8, 5, 2)
    F, J, H = series.jet(w)
    dense = np.zeros((7, 7, 3))
    dense[tuple(basis.indices.T)] = c
    u = np.stack([(w[..., 0] - 0.5) / 1.5, 2 * np.log1p(w[..., 1]) / np.log(1.5) - 1], axis=-1)
    expected = chebyshev.chebval2d(u[..., 0], u[..., 1], dense)
    np.testing.assert_allclose(np.moveaxis(F, -1, 0), expected, atol=1e-12)
    np.testing.assert_allclose(np.swapaxes(basis.gradients(w) @ c, -1, -2), J, atol=1e-11)
    for i, e in enumerate(np.eye(2)):
        h = 1e-5
        first = (series.jet(w + h * e)[0] - series.jet(w - h * e)[0]) / (2 * h)
        second = (series.jet(w + h * e)[1] - series.jet(w - h * e)[1]) / (2 * h)
        np.testing.assert_allclose(J[..., i], first, atol=1e-5 * np.abs(J).max())
        np.testing.assert_allclose(H[..., i], second, atol=1e-5 * np.abs(H).max())
    monkeypatch.setattr("riemflow.embedding.spectral_series.CHUNK", 100)
    for whole, parts in zip((F, J, H), series.jet(w), strict=True):
        np.testing.assert_allclose(parts, whole, atol=1e-12)
    assert series.jet(w[:0])[2].shape == (0, 5, 3, 2, 2)
    v = rng.uniform(-1.0, 1.0, (50, 2))
    np.testing.assert_allclose(basis.coordinates(basis.points(v))[0], v, atol=1e-14)


def test_coordinates_against_their_formulas():
    w = np.linspace(0.1, 4.0, 30)

    def unit(v):
        return 2 * (v - v[0]) / (v[-1] - v[0]) - 1

    R, region = NegativeEntropy(1), Box([0.1], [4.0])
    formulas = {"raw": w, "log-slack": np.log(w), "arc-length": np.sqrt(w), "dual": np.log(w)}
    for kind, formula in formulas.items():
        used, [axis], _ = choose_axes(as_metric(R), region, kind)
        assert used == kind
        np.testing.assert_allclose(axis.to_unit(w)[0], unit(formula), atol=1e-13)
        np.testing.assert_allclose(axis.from_unit(unit(formula)), w, atol=1e-13)


def test_coordinates_are_chosen_by_the_decay_of_the_metric():
    box = Box([0.1, 0.1], [1.0, 1.0])
    near = LegendreFunction(
        lambda w: -anp.sum(anp.log(w), axis=-1) + anp.sum(w, axis=-1) ** 2,
        2,
        domain=lambda w: (w > 0).all(axis=-1),
    )
    polynomial = LegendreFunction(lambda w: anp.sum(w**2 + w**4 / 12, axis=-1), 2)
    assert choose_axes(as_metric(near), box, "auto")[0] == "log-slack"
    assert choose_axes(as_metric(polynomial), unit_box(2), "auto")[0] == "raw"
    tails = {kind: choose_axes(as_metric(near), box, kind)[2] for kind in ("raw", "log-slack")}
    assert tails["log-slack"] < 1e-3 * tails["raw"]


@pytest.mark.parametrize(("d", "D", "degree", "m"), [(1, 2, 5, 7), (2, 5, 6, 8), (3, 9, 3, 5), (4, 4, 2, 4)])
def test_moments_give_the_normal_matrix_of_the_sums(d, D, degree, m, rng):
    """Against `IsometryEquations`, which sums over the points and is itself checked below."""
    basis = ChebyshevBasis([Axis(-1.0, 1.0)] * d, degree)
    u = chebyshev_grid(d, m)
    whitener = rng.standard_normal((len(u), d, d))
    scale = rng.uniform(0.5, 1.0, basis.size)
    rows = np.moveaxis(whitener @ basis.gradients(u), 1, 0) * scale
    plain = IsometryEquations(np.ascontiguousarray(rows))
    tensor = TensorEquations(basis.indices, scale, m, whitener, plain.B)
    frames = plain.frames(rng.standard_normal((basis.size, D)))
    expected = plain.normal_matrix(frames)
    np.testing.assert_allclose(tensor.normal_matrix(frames), expected, atol=1e-13 * np.abs(expected).max())


def test_normal_equations_against_the_dense_jacobian(rng):
    equations = IsometryEquations(rng.standard_normal((2, 7, 5)))
    c = rng.standard_normal((5, 3))

    def residuals(c):
        return equations.residuals(equations.frames(c)).ravel()

    # The residuals are quadratic in c, so central differences are exact up to rounding.
    columns = [(residuals(c + e) - residuals(c - e)) / 2 for e in np.eye(15).reshape(15, 5, 3)]
    dense = np.stack(columns, axis=-1)
    order = np.arange(15).reshape(5, 3).T.ravel()  # by component, then basis function
    frames = equations.frames(c)
    np.testing.assert_allclose(
        equations.normal_matrix(frames), (dense.T @ dense / 7)[np.ix_(order, order)], atol=1e-11
    )
    gradient = equations.gradient(frames, equations.residuals(frames))
    np.testing.assert_allclose(gradient.ravel(), dense.T @ residuals(c) / 7, atol=1e-11)


def test_no_spare_dimension_is_refused_by_its_defect():
    """With D = d = 2 only a flat metric embeds, and this one is curved."""
    R = LegendreFunction(
        lambda w: anp.sum(w * anp.log(w), axis=-1) + anp.sum(w, axis=-1) ** 2,
        2,
        domain=lambda w: (w > 0).all(axis=-1),
    )
    with pytest.raises(ConvergenceError, match=r"in R\^2 reached a defect") as caught:
        embed(R, Box([0.3, 0.3], [2.0, 2.0]), ambient_dim=2)
    assert caught.value.partial.ambient_dim == 2


def ridge_without_a_fourth_derivative(w):
    return anp.sum(w**2, axis=-1) + 0.3 * anp.abs(w[..., 0] + 0.4 * w[..., 1] - 0.1) ** 3


def test_a_metric_with_a_kink_is_not_resolved(monkeypatch):
    monkeypatch.setitem(spectral.LADDER, 2, (4, 8, 12, 16))  # it is not resolved at degree 40 either
    R = LegendreFunction(ridge_without_a_fourth_derivative, 2, name="kinked")
    try:
        found = embed(R, unit_box(2), tol=1e-8, method="spectral").certificate
    except ConvergenceError as error:
        assert "not resolved" in str(error)
        found = error.partial.certificate
    assert not found.passed and not found.resolved and found.tail > 1e-8
    assert "NOT within" in repr(found) and "NOT resolved" in repr(found)
    # The same ridge, smoothed, is resolved.
    smoothed = LegendreFunction(
        lambda w: anp.sum(w**2, axis=-1) + 0.3 * (3.0 + (w[..., 0] + 0.4 * w[..., 1] - 0.1) ** 2) ** 1.5, 2
    )
    found = embed(smoothed, unit_box(2), tol=1e-8).certificate
    assert found.passed and found.resolved


def test_a_kink_in_one_dimension_is_not_resolved():
    R = LegendreFunction(lambda w: anp.sum(w**2 + anp.abs(w - 0.2) ** 3, axis=-1), 1, name="kinked")
    with pytest.raises(ConvergenceError, match="not resolved at degree 4096"):
        embed(R, Box([-1.0], [1.0]))


@pytest.mark.parametrize(
    ("value", "speed", "low", "high"),
    [
        (lambda w: anp.sum(w * anp.log(w), axis=-1), lambda w: w**-0.5, 0.1, 4.0),
        (lambda w: -anp.sum(anp.log(w), axis=-1), lambda w: 1 / w, 0.01, 1.0),
        (lambda w: anp.sum(anp.log(anp.cosh(w)), axis=-1), lambda w: 1 / np.cosh(w), -2.0, 2.0),
        (lambda w: anp.sum(w**4 / 12 + w**2, axis=-1), lambda w: np.sqrt(w**2 + 2), -2.0, 5.0),
    ],
    ids=["entropy", "Burg", "log cosh", "quartic"],
)
def test_one_dimension_to_rounding(value, speed, low, high):
    positive = (lambda w: (w > 0).all(axis=-1)) if low > 0 else None
    F = embed(LegendreFunction(value, 1, domain=positive), Box([low], [high]), tol=1e-13)
    assert F.certificate.passed and F.certificate.resolved and F.method == "spectral"
    w = np.linspace(low, high, 1000)[:, None]
    np.testing.assert_allclose(F.jacobian(w)[:, 0], speed(w), rtol=5e-14)
    np.testing.assert_allclose(F.inverse(F(w)), w, rtol=1e-12)


def test_one_dimension_near_both_ends_of_a_barrier():
    """√(1/w² + 1/(1-w)²): next to w = 1 the user's 1 - w has twelve digits."""
    R = LegendreFunction(
        lambda w: -anp.sum(anp.log(w) + anp.log1p(-w), axis=-1),
        1,
        domain=lambda w: ((w > 0) & (w < 1)).all(-1),
    )
    F = embed(R, Box([1e-4], [1 - 1e-4]))
    assert F.certificate.passed
    w = np.linspace(1e-4, 1 - 1e-4, 1001)[:, None]
    np.testing.assert_allclose(F.jacobian(w)[:, 0], np.sqrt(1 / w**2 + 1 / (1 - w) ** 2), rtol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize(("d", "ambient_dim", "tol"), [(4, 14, 1e-9), (5, 20, 1e-5)])
def test_four_and_five_dimensions(d, ambient_dim, tol):
    F = embed(smooth(d), unit_box(d, 0.5), method="spectral", tol=tol)
    assert F.ambient_dim == ambient_dim and F.certificate.passed
    w = np.concatenate([F.region.corners(), F.region.sample(4000, np.random.default_rng(99))])
    assert F.metric_defect(w).max() <= 2 * tol


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("ambient_dim", [4, 5])
def test_every_start_converges(seed, ambient_dim):
    F = embed(smooth(2), unit_box(2), method="spectral", tol=1e-12, ambient_dim=ambient_dim, seed=seed)
    assert F.certificate.passed, repr(F)


def test_a_region_up_to_the_boundary_is_refused():
    R = NegativeEntropy(2)
    with pytest.raises(DomainError, match="contains w"):
        embed(R, Box([0.0, 0.5], [1.0, 1.0]), method="spectral")
    with pytest.raises(DomainError, match="contains w"):
        embed(R, Ball([0.5, 0.7], 0.5001), method="spectral")


def fermi(w):
    """The hyperbolic plane in Fermi coordinates (along a geodesic, distance from it): curvature -1."""
    return np.stack([np.cosh(w[..., 1]) ** 2, np.ones(w.shape[:-1])], axis=-1)[..., None] * np.eye(2)


def test_a_metric_that_grows_fast_is_embedded_from_a_wound_start():
    F = embed(fermi, unit_box(2, 1.5), tol=1e-7)
    assert F.ambient_dim == 5 and F.certificate.passed
    w = np.concatenate([F.region.corners(), F.region.sample(2000, np.random.default_rng(99))])
    assert F.metric_defect(w).max() <= 1e-7
    # The slightly bent start, the first ladder, is orders off.
    fits = {start: [fit for fit in F.certificate.history if fit.start == start] for start in (0, 1)}
    assert min(fit.defect for fit in fits[0]) > 1e-4 and len(fits[1]) > 0


def test_a_wound_start_is_nearly_isometric_and_free():
    region = unit_box(2, 1.5)
    basis = ChebyshevBasis([Axis(-1.5, 1.5)] * 2, 24)
    w = region.sample(800, np.random.default_rng(3))
    start = spectral.WoundStart(basis, as_metric(fermi, region), w, np.zeros(2))
    coefficients, is_resolved = start.coefficients(5, 0)
    F = spectral.SpectralEmbedding(as_metric(fermi, region), region, basis, coefficients, "raw")
    J, second = F.jacobian(w), F.hessian(w)
    assert is_resolved and not start_of_degree(4).coefficients(5, 0)[1]
    # By hand: max sinh(ρ) / 0.7 turns along the geodesic, the least angle across it.
    turns = [np.sinh(np.abs(w[:, 1]).max()) / 0.7, 1.2 / np.abs(w[:, 1]).max()]
    np.testing.assert_allclose(start.frequency, turns, rtol=1e-2)
    vectors = [J[..., 0], J[..., 1], second[..., 0, 0], second[..., 0, 1], second[..., 1, 1]]
    frame = np.stack([v / np.linalg.norm(v, axis=-1, keepdims=True) for v in vectors], axis=-1)
    # Free everywhere: with ζ_jζ_k alone as the last component this falls to 1e-4.
    assert np.linalg.svd(frame, compute_uv=False)[:, -1].min() > 0.02
    assert F.metric_defect(w).max() < 1.0


def start_of_degree(degree):
    region = unit_box(2, 1.5)
    basis = ChebyshevBasis([Axis(-1.5, 1.5)] * 2, degree)
    return spectral.WoundStart(basis, as_metric(fermi, region), region.sample(200), np.zeros(2))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_hyperbolic_disc_of_radius_2_in_one_chart(seed):
    """In Fermi coordinates the box [-2, 2]² contains the geodesic disc of radius 2."""
    F = embed(fermi, unit_box(2, 2.0), tol=1e-8, seed=seed)
    assert F.ambient_dim == 5 and F.certificate.passed
    w = np.concatenate([F.region.corners(), F.region.sample(4000, np.random.default_rng(99))])
    assert F.metric_defect(w).max() <= 1e-8


def test_large_matrices_are_factored_on_one_thread(monkeypatch):
    """OpenBLAS's parallel Cholesky crashes on them; smaller ones keep what threads there are."""
    seen = []

    def spy(matrix, **options):
        threads = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
        seen.append((len(matrix), max(threads)))
        return cho_factor(matrix, **options)

    monkeypatch.setattr(levenberg, "cho_factor", spy)
    monkeypatch.setattr(levenberg, "MOST_PARALLEL", 100)
    with threadpool_limits(2, user_api="blas"):
        embed(smooth(2), unit_box(2), method="spectral", tol=1e-5)
    assert {threads for n, threads in seen if n <= 100} == {2}
    assert {threads for n, threads in seen if n > 100} == {1}


def geodesic_disc(radius):
    """cosh r = cosh s cosh ρ in Fermi coordinates: the disc is a sublevel set."""
    potential = LegendreFunction(lambda w: anp.sum(anp.log(anp.cosh(w)), axis=-1), 2)
    return SublevelSet(potential, np.log(np.cosh(radius)))


def test_the_box_around_a_body_is_fitted_where_the_metric_is_one_on_it():
    disc = Ball([0.0, 0.0], 1.0)
    box = spectral._box_around(as_metric(fermi, disc), disc)
    assert box is not None and (box.lower == -1.0).all() and (box.upper == 1.0).all()
    assert spectral._box_around(as_metric(fermi, disc), unit_box(2)) is None  # a box is one itself
    assert spectral._box_around(as_metric(NegativeEntropy(2)), Ball([1.0, 1.0], 0.9)) is not None
    assert spectral._box_around(as_metric(LorentzBarrier(2)), Ball([0.0, 1.0], 0.8)) is None
    assert spectral._box_around(as_metric(NegativeEntropy(4)), Ball(np.ones(4), 0.5)) is None

    def on_the_disc(w):
        return np.where(disc.belongs(w)[..., None, None], fermi(w), np.nan)

    def divides(w):
        return fermi(w) if disc.belongs(w).all() else 1 / 0

    for g in (on_the_disc, divides):
        assert spectral._box_around(as_metric(g, disc), disc) is None


@pytest.mark.slow
def test_a_hyperbolic_disc_of_radius_2_to_eight_digits():
    disc = geodesic_disc(2.0)
    F = embed(fermi, disc, tol=1e-8)
    rng = np.random.default_rng(5)
    assert F.ambient_dim == 5 and F.certificate.passed and F.region is disc
    with pytest.raises(DomainError, match="region"):
        F([1.9, 1.9])
    assert F.metric_defect(np.concatenate([disc._boundary(9000, rng), disc.sample(9000, rng)])).max() <= 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("seed", [6, 13])
def test_beta_near_its_boundary_whatever_the_seed(seed):
    """Most starts of these seeds end in a bad local minimum."""
    R = LegendreFunction(
        lambda w: anp.sum(gammaln(w), -1) - gammaln(anp.sum(w, -1)),
        2,
        domain=lambda w: (w > 0).all(axis=-1),
        interior=[2.0, 2.0],
    )
    F = embed(R, Box([0.4, 0.4], [3.6, 3.6]), tol=1e-12, seed=seed)
    assert F.certificate.passed and F.certificate.history[-1].start > 0
