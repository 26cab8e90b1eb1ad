"""Submanifolds: membership, projectors and nearest points, from constraints and from geomstats spaces."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
import pytest
from scipy.optimize import minimize

from riemflow.errors import ConvergenceError, DomainError, ShapeError
from riemflow.parametrizations import Parametrization, Submanifold
from riemflow.parametrizations.submanifold import as_submanifold

AXES = np.array([1.0, 2.0, 5.0])


def ellipsoid(x):
    return anp.sum(AXES * x**2, axis=-1) - 1


def tilted_circle(x):
    """The unit sphere cut by a plane."""
    return anp.stack([anp.sum(x**2, axis=-1) - 1, x[..., 0] + x[..., 1] - 0.5 * x[..., 2] - 0.3], axis=-1)


def orthogonal(x):
    """All nine entries of XXᵀ = 1, three of them twice."""
    X = anp.reshape(x, (*x.shape[:-1], 3, 3))
    gram = anp.einsum("...ij,...kj->...ik", X, X) - np.eye(3)
    return anp.reshape(gram, x.shape)


def unit_sphere(x):
    return anp.sum(x**2, axis=-1, keepdims=True) - 1


class Rotations:
    """SO(2) as geomstats would write it, in plain numpy: a space of matrices."""

    shape, dim = (2, 2), 1

    def belongs(self, point, atol=1e-6):
        gram = point @ np.swapaxes(point, -1, -2) - np.eye(2)
        return (np.abs(gram).max(axis=(-2, -1)) <= atol) & (np.linalg.det(point) > 0)

    def to_tangent(self, vector, base_point):
        skew = np.swapaxes(base_point, -1, -2) @ vector
        return base_point @ (skew - np.swapaxes(skew, -1, -2)) / 2

    def projection(self, point):
        cosine, sine = point[..., 0, 0] + point[..., 1, 1], point[..., 1, 0] - point[..., 0, 1]
        r = np.hypot(cosine, sine)
        first = np.stack([cosine / r, -sine / r], axis=-1)
        return np.stack([first, np.stack([sine / r, cosine / r], axis=-1)], axis=-2)


MANIFOLDS = [
    ("sphere", lambda: Submanifold.sphere(3), 2),
    ("small sphere", lambda: Submanifold.sphere(4, radius=0.25), 3),
    ("ellipsoid", lambda: Submanifold.from_constraint(ellipsoid, 3), 2),
    ("tilted circle", lambda: Submanifold.from_constraint(tilted_circle, 3), 1),
    ("orthogonal matrices", lambda: Submanifold.from_constraint(orthogonal, 9), 3),
    ("rotations", lambda: Submanifold.from_geomstats(Rotations()), 1),
]
every = pytest.mark.parametrize(
    ("make", "dim"), [pytest.param(make, dim, id=name) for name, make, dim in MANIFOLDS]
)


def points(M, rng, n=6):
    """Random points of M."""
    return M.project(rng.standard_normal((n, M.dim_in)))


@every
def test_projection_lands_on_the_manifold_and_stays(make, dim, rng):
    M = make()
    y = points(M, rng)
    assert M.belongs(y, atol=1e-13).all()
    assert np.abs(M.project(y) - y).max() <= 1e-14 * (1 + np.abs(y).max())
    assert not M.belongs(y + 0.01 * rng.standard_normal(y.shape)).any()


@every
def test_the_residual_of_the_projection_is_normal(make, dim, rng):
    M = make()
    x = points(M, rng) + 0.05 * rng.standard_normal((6, M.dim_in))
    y = M.project(x)
    tangential = M.projector(y) @ (x - y)[..., None]
    assert np.abs(tangential).max() <= 1e-14
    assert np.abs(x - y).max() > 1e-3


@every
def test_projectors_are_orthogonal_and_of_the_right_rank(make, dim, rng):
    M = make()
    P = M.projector(points(M, rng))
    assert P.shape == (6, M.dim_in, M.dim_in)
    assert np.abs(P - np.swapaxes(P, -1, -2)).max() <= 1e-14
    assert np.abs(P @ P - P).max() <= 1e-14
    np.testing.assert_allclose(np.trace(P, axis1=-2, axis2=-1), dim, atol=1e-13)
    assert M.dim == dim


@every
def test_the_projector_is_the_derivative_of_the_projection(make, dim, rng):
    M = make()
    y = points(M, rng, 1)[0]
    h, v = 1e-5, rng.standard_normal(M.dim_in)
    # Central differences: h² times the curvature, and eps/h.
    slope = (M.project(y + h * v) - M.project(y - h * v)) / (2 * h)
    assert np.abs(slope - M.projector(y) @ v).max() <= 1e-7


@every
def test_batches(make, dim, rng):
    M = make()
    y = points(M, rng)
    grid = y.reshape(2, 3, M.dim_in)
    assert M.belongs(grid).shape == (2, 3) and M.belongs(y[0]).shape == ()
    assert M.projector(grid).shape == (2, 3, M.dim_in, M.dim_in)
    np.testing.assert_allclose(M.project(grid)[1, 2], M.project(y[5]), atol=1e-14)
    np.testing.assert_allclose(M.projector(grid)[1, 2], M.projector(y[5]), atol=1e-14)
    assert M.project(np.empty((0, M.dim_in))).shape == (0, M.dim_in)


@every
def test_what_is_not_finite_does_not_belong(make, dim):
    M = make()
    assert not M.belongs(np.full(M.dim_in, np.nan)) and not M.belongs(np.full(M.dim_in, np.inf))


def test_constraint_and_closed_form_agree_on_the_sphere(rng):
    given, built_in = Submanifold.from_constraint(unit_sphere, 4), Submanifold.sphere(4)
    x = rng.standard_normal((20, 4))
    y = built_in.project(x)
    assert np.abs(given.project(x) - y).max() <= 1e-13
    assert np.abs(given.projector(y) - built_in.projector(y)).max() <= 1e-14


def test_the_nearest_orthogonal_matrix_is_the_polar_factor(rng):
    # Near the manifold: farther away several stationary points compete.
    M = Submanifold.from_constraint(orthogonal, 9)
    X = M.project(rng.standard_normal((10, 9))).reshape(10, 3, 3) + 0.2 * rng.standard_normal((10, 3, 3))
    U, _, Vt = np.linalg.svd(X)
    assert np.abs(M.project(X.reshape(10, 9)).reshape(10, 3, 3) - U @ Vt).max() <= 1e-13


def test_the_nearest_point_of_an_ellipsoid(rng):
    M = Submanifold.from_constraint(ellipsoid, 3)
    x = 2 * rng.standard_normal((8, 3))
    x = x[AXES @ (x**2).T > 1]  # outside the ellipsoid, a convex body, the nearest point is unique
    for point, found in zip(x, M.project(x), strict=True):
        body = {"type": "ineq", "fun": lambda y: 1 - AXES @ y**2, "jac": lambda y: -2 * AXES * y}
        best = minimize(
            lambda y, point=point: ((y - point) ** 2).sum(),
            np.zeros(3),
            jac=lambda y, point=point: 2 * (y - point),
            constraints=[body],
            method="SLSQP",
            options={"ftol": 1e-14},
        )
        assert np.abs(best.x - found).max() <= 1e-6


def test_belongs_measures_the_distance_not_the_constraint():
    steep = Submanifold.from_constraint(lambda x: 1e6 * (anp.sum(x**2, axis=-1) - 1), 2)
    assert steep.belongs([1 + 5e-9, 0.0]) and not steep.belongs([1 + 5e-8, 0.0])


def test_failures_of_the_projection_are_errors():
    empty = Submanifold.from_constraint(lambda x: anp.sum(x**2, axis=-1) + 1, 2)
    with pytest.raises(ConvergenceError, match="did not reach"):
        empty.project([1.0, 0.3])
    with pytest.raises(ConvergenceError, match="equally far"):
        Submanifold.sphere(3).project(np.zeros(3))
    cone = Submanifold.from_constraint(lambda x: x[..., 0] ** 2 + x[..., 1] ** 2 - x[..., 2] ** 2, 3)
    with pytest.raises(DomainError, match="no tangent space"):
        cone.projector(np.zeros(3))
    # On the long axis: the two nearest points mirror each other, and the vertex is no minimum.
    ellipse = Submanifold.from_constraint(lambda x: x[..., 0] ** 2 / 4 + x[..., 1] ** 2 - 1, 2)
    with pytest.raises(ConvergenceError, match="not unique"):
        ellipse.project([0.1, 0.0])


def test_geomstats_failures_are_errors():
    class Stuck(Rotations):
        def projection(self, point):
            return point

    with pytest.raises(ConvergenceError, match="projection did not reach"):
        Submanifold.from_geomstats(Stuck()).project(np.ones(4))

    class Oblique(Rotations):
        def to_tangent(self, vector, base_point):
            return vector @ np.array([[1.0, 1.0], [0.0, 0.0]])

    with pytest.raises(DomainError, match="no orthogonal projection"):
        Submanifold.from_geomstats(Oblique()).projector(np.eye(2).ravel())
    with pytest.raises(DomainError, match="no method belongs"):
        Submanifold.from_geomstats(object())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Submanifold.sphere(0), DomainError, "dim_in"),
        (lambda: Submanifold.sphere(3, radius=0.0), DomainError, "radius"),
        (lambda: Submanifold.from_constraint(3.0, 3), DomainError, "callable"),
        (lambda: Submanifold.sphere(3).belongs(np.zeros(2)), ShapeError, r"\[..., 3\]"),
        (lambda: Submanifold.sphere(3).project([np.nan, 0.0, 1.0]), DomainError, "finite"),
        (
            lambda: Submanifold.from_constraint(lambda x: x.sum(), 2).project(np.ones((4, 2))),
            ShapeError,
            "vecto",
        ),
        (lambda: as_submanifold(3.0, 3), DomainError, "constraint"),
        (lambda: as_submanifold(Submanifold.sphere(3), 4), ShapeError, "R\\^3"),
        (lambda: as_submanifold(Rotations(), 3), ShapeError, "R\\^4"),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_as_submanifold_accepts_all_three():
    sphere = Submanifold.sphere(3)
    assert as_submanifold(sphere, 3) is sphere
    assert as_submanifold(unit_sphere, 3).belongs([0.6, 0.0, 0.8])
    assert as_submanifold(Rotations(), 4).belongs(np.eye(2).ravel())


def test_real_geomstats_spaces(rng):
    # The package's own door to geomstats fixes the backend; tests may come in by the side.
    hypersphere = pytest.importorskip("geomstats.geometry.hypersphere")
    orthogonal_group = pytest.importorskip("geomstats.geometry.special_orthogonal")
    M, sphere = as_submanifold(hypersphere.Hypersphere(2), 3), Submanifold.sphere(3)
    y = sphere.project(rng.standard_normal((5, 3)))
    assert M.dim == 2 and M.belongs(y).all() and not M.belongs(1.01 * y).any()
    assert np.abs(M.projector(y) - sphere.projector(y)).max() <= 1e-14
    assert np.abs(M.project(1.3 * y) - y).max() <= 1e-14
    group = as_submanifold(orthogonal_group.SpecialOrthogonal(3), 9)
    given = Submanifold.from_constraint(orthogonal, 9)
    X = np.linalg.qr(rng.standard_normal((5, 3, 3)))[0]
    X = (X * np.linalg.det(X)[:, None, None]).reshape(5, 9)
    assert group.belongs(X).all() and group.dim == 3
    assert np.abs(group.projector(X) - given.projector(X)).max() <= 1e-13


def test_a_parametrization_on_a_constraint_has_tangential_gradients(rng):
    G = Parametrization(lambda x: x[..., :2] ** 2, 3, 2, manifold=unit_sphere)
    y = Submanifold.sphere(3).project(rng.standard_normal((4, 3)))
    assert np.abs(np.einsum("...ia,...a->...i", G.jacobian(y), y)).max() <= 1e-14
    with pytest.raises(DomainError, match="project it onto the submanifold"):
        G(1.01 * y)
