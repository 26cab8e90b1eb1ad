"""Piecewise polynomials, and the energy's derivatives by differences."""

from __future__ import annotations

import numpy as np
import pytest

from riemflow.geometry.geodesics.elements import elements
from riemflow.geometry.geodesics.energy import Paths, joined, minimise
from riemflow.geometry.geodesics.linear import solve
from riemflow.legendre import Dirichlet, LorentzBarrier


@pytest.mark.parametrize(("count", "degree"), [(1, 10), (1, 22), (3, 7)])
def test_derivatives_integrals_and_values_are_exact_for_polynomials(count, degree):
    grid = elements(count, degree)
    k = degree - 1
    values = grid.t**k
    local = grid.t[grid.index]
    np.testing.assert_allclose(values[grid.index] @ grid.D.T, k * local ** (k - 1), atol=1e-11)
    # Lobatto's rule is exact up to degree 2N - 1.
    np.testing.assert_allclose((local ** (2 * degree - 1) @ grid.weights).sum(), 1 / (2 * degree), rtol=1e-13)
    if degree == 10:
        assert abs((local ** (2 * degree) @ grid.weights).sum() * (2 * degree + 1) - 1) > 1e-12
    t = np.linspace(0, 1, 31)
    np.testing.assert_allclose(grid.interpolation(t) @ values, t**k, atol=1e-13)
    np.testing.assert_allclose(grid.interpolation(grid.t), np.eye(len(grid.t)), atol=1e-14)


@pytest.mark.parametrize("R", [LorentzBarrier(2), Dirichlet(2)], ids=str)
@pytest.mark.parametrize("count", [1, 2])
def test_slope_and_hessian_are_the_energys(R, count):
    """The Hessian is that on the manifold, equal to second differences where the slope vanishes."""
    grid = elements(count, 12)
    w, step = np.array([[0.3, 1.0]]), np.array([[0.4, 0.8]])
    paths = Paths(R, grid, w, step, np.zeros((1, len(grid.t), 2)))
    h, rng = 1e-5, np.random.default_rng(0)

    def energy(u):
        return Paths(R, grid, w, step, u).energy[0]

    direction = np.zeros(paths.u.shape)
    direction[:, 1:-1] = rng.standard_normal(direction[:, 1:-1].shape) * 0.1
    direction = (grid.interpolation(grid.t) @ direction).copy()
    slope = paths.forces()[1]
    by_difference = (energy(h * direction) - energy(-h * direction)) / (2 * h)
    np.testing.assert_allclose((slope * direction).sum(), by_difference, rtol=1e-6)

    assert minimise(paths).all()
    u = paths.u.copy()
    smooth = np.zeros(u.shape)
    smooth[0] = np.sin(np.pi * grid.t)[:, None] * [0.03, -0.02]
    second = (energy(u + 0.1 * smooth) + energy(u - 0.1 * smooth) - 2 * energy(u)) / 0.01
    flat = smooth[:, 1:-1].reshape(1, -1)
    change = paths.forces()[0]
    H = paths._hessian(change, curved=True)[0]
    np.testing.assert_allclose(flat @ H @ flat.T, second, rtol=1e-3)
    without = paths._hessian(change, curved=False)[0]
    assert np.linalg.eigvalsh(without)[0] > 0
    assert abs(flat @ without @ flat.T - flat @ H @ flat.T) > 1e-3 * second


def test_rungs_do_not_mix_rows():
    """A batch of easy and hard pairs gives what each pair gives alone."""
    R = Dirichlet(2)
    w = np.array([[1.0, 1.0], [0.02, 30.0], [2.0, 1.0], [0.1, 0.1]])
    q = np.array([[1.2, 0.9], [20.0, 0.5], [2.0, 1.5], [10.0, 8.0]])
    together, found = joined(R, q, w)
    assert found.all()
    for k in range(4):
        alone, _ = joined(R, q[k : k + 1], w[k : k + 1])
        np.testing.assert_allclose(together[k], alone[0], rtol=1e-9)


def test_singular_systems_stay_alone():
    A = np.array([np.eye(2), np.zeros((2, 2)), 2 * np.eye(2)])
    x = solve(A, np.ones((3, 2, 1)))
    np.testing.assert_array_equal(x[[0, 2], :, 0], [[1, 1], [0.5, 0.5]])
    assert np.isnan(x[1]).all()
