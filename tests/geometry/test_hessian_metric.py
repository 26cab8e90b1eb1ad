"""The Hessian metric and its curvature against geomstats: its general formulas, and its own spaces."""

from __future__ import annotations

import inspect
import itertools
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from geomstats.geometry.connection import Connection
from geomstats.geometry.riemannian_metric import RiemannianMetric
from zoo_legendre import CASES, relative_defect

from riemflow import autodiff
from riemflow.errors import DomainError, ShapeError
from riemflow.geometry import HessianManifold, HessianMetric
from riemflow.legendre import (
    BurgEntropy,
    LegendreFunction,
    LogSumExp,
    LorentzBarrier,
    NegativeEntropy,
    SimplexEntropy,
)

BY_NAME = {case.name: case for case in CASES}
CURVED = ("LogBarrier", "SoftplusSum", "LogPartition", "SimplexEntropy", "LorentzBarrier", "LogDet")
CURVED += ("Gamma", "Dirichlet")


def spaces():
    """(space, points) for primal and dual."""
    for name in CURVED:
        R, w = BY_NAME[name].make(), BY_NAME[name].points(3)
        yield f"{name}", HessianManifold(R), w
        if name != "LogDet":
            yield f"{name}*", HessianManifold(R.conjugate), R.gradient(w)


SPACES = {name: (space, w) for name, space, w in spaces()}
each = pytest.mark.parametrize(("space", "w"), SPACES.values(), ids=SPACES)


def vectors(w, n, seed=3):
    return np.random.default_rng(seed).standard_normal((n, *w.shape))


def slope(function, w, step=1e-4):
    """The derivative by differences of fourth order, its index last."""
    size = step * np.abs(w).max(axis=-1)
    columns = []
    for e in np.eye(w.shape[-1]):
        h = size[:, None] * e
        value = 8 * (function(w + h) - function(w - h)) - function(w + 2 * h) + function(w - 2 * h)
        columns.append(value / (12 * size).reshape(-1, *(1,) * (value.ndim - 1)))
    return np.stack(columns, axis=-1)


def textbook_riemann(metric, w):
    """All four terms of geomstats' formula, with differences for the derivatives of the symbols."""
    gamma, change = metric.christoffels(w), slope(metric.christoffels, w)
    # R_ijk^l = ∂_j Γ^l_ki - ∂_k Γ^l_ji + Γ^l_jm Γ^m_ki - Γ^l_km Γ^m_ji
    half = np.einsum("nlkij->nijkl", change) + np.einsum("nljm,nmki->nijkl", gamma, gamma)
    return half - np.swapaxes(half, 2, 3)


@each
def test_the_symbols_are_koszuls(space, w):
    metric = space.metric
    assert relative_defect(metric.christoffels(w), RiemannianMetric.christoffels(metric, w)) < 1e-11


@each
def test_riemann_is_the_textbooks(space, w):
    """Though fourth derivatives stand in that formula and not in ours."""
    expected = textbook_riemann(space.metric, w)
    scale = np.abs(slope(space.metric.christoffels, w)).max(axis=(1, 2, 3, 4))
    defect = np.abs(space.metric.riemann_tensor(w) - expected).max(axis=(1, 2, 3, 4))
    assert (defect < 1e-8 * scale).all()


@each
def test_the_jacobian_of_the_symbols(space, w):
    jacobian = space.metric.jacobian_christoffels(w)
    assert relative_defect(jacobian, slope(space.metric.christoffels, w)) < 1e-8


@each
def test_everything_else_follows_from_riemann_as_geomstats_says(space, w):
    metric, (a, b, c) = space.metric, vectors(w, 3)
    riemann = metric.riemann_tensor(w)
    g, inverse = metric.metric_matrix(w), metric.cometric_matrix(w)
    lower = np.einsum("nij,nklmj->niklm", g, riemann)
    ricci = np.einsum("nijkj->nik", riemann)
    # What is summed may cancel, so deviations count against the largest terms.
    size = np.abs(metric.christoffels(w)).max() ** 2
    np.testing.assert_allclose(metric.covariant_riemann_tensor(w), lower, atol=1e-12 * size * np.abs(g).max())
    np.testing.assert_allclose(metric.ricci_tensor(w), ricci, atol=1e-12 * size)
    np.testing.assert_allclose(
        metric.scalar_curvature(w),
        np.einsum("nij,nij->n", inverse, ricci),
        rtol=1e-10,
        atol=1e-12 * size * np.abs(inverse).max(),
    )
    expected = np.einsum("nijkl,nj,nk,ni->nl", riemann, a, b, c)
    np.testing.assert_allclose(metric.curvature(a, b, c, w), expected, atol=1e-11 * size)
    expected = Connection.directional_curvature(metric, a, b, w)
    np.testing.assert_allclose(metric.directional_curvature(a, b, w), expected, rtol=1e-14)


@each
def test_sectional_curvature(space, w):
    metric, (a, b) = space.metric, vectors(w, 2)
    expected = RiemannianMetric.sectional_curvature(metric, a, b, w)
    scale = np.abs(metric.christoffels(w)).max() ** 2
    np.testing.assert_allclose(metric.sectional_curvature(a, b, w), expected, rtol=1e-9, atol=1e-13 * scale)
    # It depends on the plane only, and parallel vectors span none.
    np.testing.assert_allclose(
        metric.sectional_curvature(1e200 * a, b + 3 * a, w), expected, rtol=1e-9, atol=1e-12 * scale
    )
    assert (metric.sectional_curvature(a, -2 * a, w) == 0).all()
    assert (metric.sectional_curvature(0 * a, b, w) == 0).all()


@each
def test_the_covariant_derivative_of_curvature(space, w):
    """(∇_h R)(x, y) z = ∂_h R … less R with each argument, plus its value, turned by the connection."""
    metric, (h, x, y, z) = space.metric, vectors(w, 4)
    riemann, gamma = metric.riemann_tensor(w), metric.christoffels(w)

    def turned(v):
        return np.einsum("nkij,ni,nj->nk", gamma, h, v)

    def R(x, y, z):
        return np.einsum("nijkl,nj,nk,ni->nl", riemann, x, y, z)

    change = np.einsum("nijklm,nm,nj,nk,ni->nl", slope(metric.riemann_tensor, w), h, x, y, z)
    expected = change + turned(R(x, y, z)) - R(turned(x), y, z) - R(x, turned(y), z) - R(x, y, turned(z))
    scale = np.abs(gamma).max() ** 3
    found = metric.curvature_derivative(h, x, y, z, w)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8 * scale)


def test_symmetric_spaces_have_parallel_curvature(rng):
    """Hyperbolic space, the sphere and the positive matrices; a log-barrier is none, which controls it."""
    for name, space in {
        "LorentzBarrier": HessianManifold(LorentzBarrier(3)),
        "SimplexEntropy": HessianManifold(SimplexEntropy(3)),
        "LogDet": HessianManifold(BY_NAME["LogDet"].make()),
    }.items():
        w = BY_NAME[name].points(2)
        v = vectors(w, 4)
        metric = HessianMetric(space, closed_form=False)
        size = np.abs(metric.curvature(v[0], v[1], v[2], w)).max()
        assert np.abs(metric.curvature_derivative(*v, w)).max() < 1e-10 * size
    w = BY_NAME["LogBarrier"].points(2)
    metric = HessianManifold(BY_NAME["LogBarrier"].make()).metric
    assert np.abs(metric.curvature_derivative(*vectors(w, 4), w)).max(axis=-1).min() > 1e-3


@each
def test_symmetries_hold_to_the_last_digit(space, w):
    metric = space.metric
    lower, riemann = metric.covariant_riemann_tensor(w), metric.riemann_tensor(w)
    gamma = metric.christoffels(w)
    np.testing.assert_array_equal(lower, -np.swapaxes(lower, -1, -2))
    np.testing.assert_array_equal(lower, -np.swapaxes(lower, -3, -4))
    np.testing.assert_array_equal(lower, np.moveaxis(lower, (1, 2, 3, 4), (3, 4, 1, 2)))
    np.testing.assert_array_equal(riemann, -np.swapaxes(riemann, 2, 3))
    np.testing.assert_array_equal(gamma, np.swapaxes(gamma, -1, -2))
    for matrix in (metric.ricci_tensor(w), metric.cometric_matrix(w)):
        np.testing.assert_array_equal(matrix, np.swapaxes(matrix, -1, -2))
    bianchi = sum(np.moveaxis(lower, (2, 3, 4), order) for order in ((2, 3, 4), (3, 4, 2), (4, 2, 3)))
    assert np.abs(bianchi).max() <= 1e-14 * np.abs(lower).max()


def test_signs_are_those_of_the_half_plane():
    """(du² + ds²) / s² has curvature -1, and the metric of a LorentzBarrier is four times that."""
    w = np.array([[0.3, 0.9], [-1.0, 2.0]])
    metric = HessianManifold(LorentzBarrier(2)).metric
    e = np.broadcast_to(np.eye(2)[:, None], (2, 2, 2))
    g = metric.metric_matrix(w)
    np.testing.assert_allclose(metric.sectional_curvature(e[0], e[1], w), -0.25, rtol=1e-13)
    np.testing.assert_allclose(metric.ricci_tensor(w), -0.25 * g, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(metric.scalar_curvature(w), -0.5, rtol=1e-13)
    product = -0.25 * np.einsum("nik,njl->nijkl", g, g)
    expected = product - np.swapaxes(product, -1, -2)
    np.testing.assert_allclose(metric.covariant_riemann_tensor(w), expected, rtol=1e-11, atol=1e-13)


def test_the_simplex_is_a_sphere_of_radius_two(rng):
    w = 0.1 + 0.6 * rng.dirichlet(np.ones(4), 5)[:, :3]
    metric, (a, b) = HessianManifold(SimplexEntropy(3)).metric, rng.standard_normal((2, 5, 3))
    np.testing.assert_allclose(metric.sectional_curvature(a, b, w), 0.25, rtol=1e-11)
    np.testing.assert_allclose(metric.scalar_curvature(w), 6 * 0.25, rtol=1e-12)


def test_units_of_the_coordinates_cost_no_digits():
    """Curvature does not know units; those here differ by 12 orders."""
    units = np.array([1e6, 1.0, 1e-6])
    R, w = LogSumExp(3), np.array([0.3, -0.2, 0.5])
    plain, scaled = HessianManifold(R).metric, HessianManifold(R.compose(np.diag(units))).metric
    a, b = np.array([1.0, 2.0, -1.0]), np.array([0.0, 1.0, 1.0])
    for name, vectors in (("sectional_curvature", (a, b)), ("scalar_curvature", ()), ("norm", (a,))):
        expected = getattr(plain, name)(*vectors, w)
        moved = [v / units for v in vectors]
        np.testing.assert_allclose(getattr(scaled, name)(*moved, w / units), expected, rtol=1e-13)


def test_norms_bases_and_coproducts(rng):
    metric, w = HessianManifold(LorentzBarrier(3)).metric, np.array([0.2, -0.4, 1.0])
    a, b = rng.standard_normal((2, 3))
    g = metric.metric_matrix(w)
    np.testing.assert_allclose(metric.squared_norm(a, w), a @ g @ a, rtol=1e-14)
    np.testing.assert_allclose(metric.inner_product(a, b, w), a @ g @ b, rtol=1e-13)
    np.testing.assert_allclose(metric.inner_coproduct(g @ a, g @ b, w), a @ g @ b, rtol=1e-13)
    np.testing.assert_allclose(metric.hamiltonian((w, g @ a)), 0.5 * a @ g @ a, rtol=1e-13)
    basis = metric.normal_basis(np.eye(3), w)
    np.testing.assert_allclose(metric.norm(basis, w), 1.0, rtol=1e-15)
    np.testing.assert_allclose(basis, np.diag(np.diag(g) ** -0.5), rtol=1e-15)


def test_batches_and_their_broadcasting(rng):
    space, (n, m, d) = HessianManifold(LogSumExp(3)), (2, 4, 3)
    metric, w, v = space.metric, rng.standard_normal((n, 1, d)), rng.standard_normal((m, d))
    u = rng.standard_normal((n, m, d))
    for function, arguments in (
        (metric.inner_product, (u, v)),
        (metric.norm, (v,)),
        (metric.curvature, (u, v, v)),
        (metric.sectional_curvature, (u, v)),
        (metric.curvature_derivative, (u, v, u, v)),
    ):
        result = function(*arguments, w)
        assert result.shape[:2] == (n, m)
        for i, j in itertools.product(range(n), range(m)):
            one = function(*(x[i, j] if x.ndim == 3 else x[j] for x in arguments), w[i, 0])
            np.testing.assert_allclose(result[i, j], one, rtol=1e-12, atol=1e-14)
    assert metric.riemann_tensor(w).shape == (n, 1, d, d, d, d)
    assert metric.christoffels(np.empty((0, d))).shape == (0, d, d, d)


def test_flat_metrics_are_flat(rng):
    metric, w = HessianManifold(NegativeEntropy(3)).metric, rng.uniform(0.2, 3.0, (4, 3))
    for name in ("riemann_tensor", "covariant_riemann_tensor", "ricci_tensor", "scalar_curvature"):
        np.testing.assert_allclose(getattr(metric, name)(w), 0.0, atol=1e-14)


# Errors.


ON_POINTS = [
    "metric_matrix",
    "cometric_matrix",
    "inner_product_derivative_matrix",
    "christoffels",
    "jacobian_christoffels",
    "riemann_tensor",
    "covariant_riemann_tensor",
    "ricci_tensor",
    "scalar_curvature",
]
ON_VECTORS = [
    "inner_product",
    "inner_coproduct",
    "squared_norm",
    "norm",
    "curvature",
    "sectional_curvature",
    "directional_curvature",
    "curvature_derivative",
]


def call(metric, name, w, v):
    function = getattr(metric, name)
    n = sum("vec" in parameter for parameter in inspect.signature(function).parameters)
    return function(*[v] * n, base_point=w)


@pytest.mark.parametrize("name", ON_POINTS + ON_VECTORS)
def test_bad_points_are_errors(name):
    metric, v = HessianManifold(BurgEntropy(2)).metric, np.ones(2)
    for bad, message in (
        ([0.0, 1.0], r"base_point = \[0\., 1\.\] lies on or outside the boundary of dom BurgEntropy: move"),
        ([np.nan, 1.0], "must be finite"),
        ([np.inf, 1.0], "must be finite"),
        (None, "must hold real numbers"),
    ):
        with pytest.raises(DomainError, match=message):
            call(metric, name, bad if bad is None else np.array(bad), v)
    for bad in (np.ones(3), np.float64(1.0), np.ones((2, 3))):
        with pytest.raises(ShapeError, match="base_point has shape"):
            call(metric, name, bad, v)
    # Next to the boundary 1/w² overflows, or is 1e300 and no longer to be factored beside the other.
    with pytest.raises(DomainError, match="away from the boundary"):
        call(metric, name, np.array([1e-200, 1.0]), v)


@pytest.mark.parametrize("name", ON_VECTORS)
def test_bad_vectors_are_errors(name):
    metric, w = HessianManifold(BurgEntropy(2)).metric, np.ones(2)
    with pytest.raises(ShapeError, match=r"vec.* has shape"):
        call(metric, name, w, np.ones(3))
    with pytest.raises(DomainError, match=r"vec.* must be finite"):
        call(metric, name, w, np.array([np.nan, 1.0]))


def test_where_the_metric_is_singular_in_float64():
    """e^w underflows: neither 0/0 nor a huge number, but the name of the point."""
    metric = HessianManifold(NegativeEntropy(2).conjugate).metric
    with pytest.raises(DomainError, match=r"base_point = \[-800\., +0\.\]: .*not positive definite"):
        metric.christoffels(np.array([[0.0, 0.0], [-800.0, 0.0]]))


def test_a_space_is_pickled():
    space = pickle.loads(pickle.dumps(HessianManifold(LorentzBarrier(1))))
    np.testing.assert_allclose(space.metric.metric_matrix(np.array([0.5])), [[4.0]])


@each
def test_geodesics_are_pickled(space, w):
    """In closed form or integrated: joblib sends spaces to other processes."""
    copied = pickle.loads(pickle.dumps(space))
    v = 1e-3 * w[0]
    np.testing.assert_array_equal(copied.metric.exp(v, w[0]), space.metric.exp(v, w[0]))


# Derivatives by geomstats: its autograd sees ∇²R through ∇³R and ∇⁴R.


@each
def test_autograd_differentiates_the_metric(space, w):
    metric, w = space.metric, w[:2]
    for function, expected, axes in (
        (metric.metric_matrix, metric.inner_product_derivative_matrix(w), 2),
        (metric.christoffels, metric.jacobian_christoffels(w), 3),
    ):
        assert relative_defect(autodiff.jacobian(function, axes)(w), expected) < 1e-10
    for function in (metric.scalar_curvature, lambda w: metric.sectional_curvature(*vectors(w, 2), w)):
        expected = slope(function, w)
        deviation = np.abs(autodiff.gradient(function)(w) - expected).max()
        assert deviation < 1e-7 * np.abs(metric.christoffels(w)).max() ** 3


def test_autograd_checks_points_too():
    metric = HessianManifold(BurgEntropy(2)).metric
    with pytest.raises(DomainError, match="base_point = "):
        autodiff.jacobian(metric.metric_matrix, 2)(np.array([-1.0, 1.0]))
    fifth = autodiff.jacobian(metric.jacobian_christoffels, 4)
    with pytest.raises(NotImplementedError, match="higher order"):
        fifth(np.array([1.0, 1.0]))


def test_functions_without_derivatives_given(rng):
    import autograd.numpy as anp

    R = LegendreFunction(lambda w: anp.log(1 + anp.sum(anp.exp(w), axis=-1)), 3)
    own, exact = HessianManifold(R).metric, HessianManifold(LogSumExp(3)).metric
    w = rng.standard_normal((2, 3))
    for name in ON_POINTS:
        np.testing.assert_allclose(getattr(own, name)(w), getattr(exact, name)(w), rtol=1e-10, atol=1e-12)


BOTH = """
import os, sys
import numpy as np
import zoo_legendre
from geomstats.geometry.connection import Connection
from geomstats.geometry.riemannian_metric import RiemannianMetric
from riemflow.geometry import HessianManifold, HessianMetric

NAMES = ("metric_matrix", "cometric_matrix", "christoffels", "jacobian_christoffels", "riemann_tensor",
         "covariant_riemann_tensor", "ricci_tensor", "scalar_curvature")
results = {}

def run(name, R, w):
    space = HessianManifold(R)
    metric = space.metric
    u, v = np.random.default_rng(0).standard_normal((2, *w.shape))
    for method in NAMES:
        results[f"{name} {method}"] = np.asarray(getattr(metric, method)(w))
    results[f"{name} sectional"] = np.asarray(metric.sectional_curvature(u, v, w))
    results[f"{name} derivative"] = np.asarray(metric.curvature_derivative(u, v, u, v, w))
    results[f"{name} norm"] = np.asarray(metric.norm(u, w))
    np.random.seed(0)
    results[f"{name} random"] = np.asarray(space.random_point(3))
    results[f"{name} vectors"] = np.asarray(space.random_tangent_vec(w))
    if os.environ["GEOMSTATS_BACKEND"] == "autograd":
        generic = Connection.riemann_tensor(metric, w)
        size = abs(metric.jacobian_christoffels(w)).max()
        np.testing.assert_allclose(metric.riemann_tensor(w), generic, atol=1e-11 * size, err_msg=name)
        generic = RiemannianMetric.inner_product_derivative_matrix(metric, w)
        np.testing.assert_allclose(metric.inner_product_derivative_matrix(w), generic, rtol=1e-13, atol=1e-13)

for case in zoo_legendre.CASES:
    R, w = case.make(), case.points(2)
    run(case.name, R, w)
    run(case.name + "*", R.conjugate, R.gradient(w))
np.savez(sys.argv[1], **results)
"""


def test_both_backends_give_the_same_bits(tmp_path):
    """geomstats' backend is chosen once a process, so two are needed."""
    found = []
    for backend in ("numpy", "autograd"):
        file = tmp_path / f"{backend}.npz"
        environment = {**os.environ, "GEOMSTATS_BACKEND": backend}
        path = os.pathsep.join([os.path.dirname(os.path.dirname(__file__)), *sys.path])
        run = subprocess.run(
            [sys.executable, "-c", BOTH, str(file)],
            env={**environment, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert run.returncode == 0, run.stderr
        found.append(dict(np.load(file)))
    assert len(found[0]) == len(CASES) * 2 * 13
    for name, value in found[0].items():
        np.testing.assert_array_equal(value, found[1][name], err_msg=name)
