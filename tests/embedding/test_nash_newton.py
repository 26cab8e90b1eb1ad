"""Newton's method by Nash's algebraic solution: it converges from a free map, and only with the filter."""

from __future__ import annotations

import numpy as np
import pytest

from riemflow.embedding import nash_newton
from riemflow.embedding.coordinates import Axis
from riemflow.embedding.embedding import relative_defect
from riemflow.embedding.metric import Metric
from riemflow.embedding.nash_newton import refine
from riemflow.embedding.spectral_basis import ChebyshevBasis
from riemflow.embedding.spectral_series import ChebyshevSeries


def free_map(d):
    """Return w and all products ½w_iw_j, a free map, as a series on [-1, 1]^d."""
    basis = ChebyshevBasis([Axis(-1.0, 1.0)] * d, 2)
    pairs = [(i, j) for i in range(d) for j in range(i, d)]
    c = np.zeros((basis.size, d + len(pairs)))
    position = {tuple(a): k for k, a in enumerate(basis.indices)}
    unit = np.eye(d, dtype=int)
    for i in range(d):
        c[position[tuple(unit[i])], i] = 1.0
    for column, (i, j) in enumerate(pairs, start=d):
        # T_2 = 2u² - 1
        c[position[tuple(unit[i] + unit[j])], column] = 0.25 if i == j else 0.5
    return basis, c


def near(basis, c, amount):
    """Return the metric of the map plus `amount` times a wave in each component, derived by hand."""
    d, D = basis.dim, c.shape[1]
    waves = np.random.default_rng(5).uniform(-1.0, 1.0, (D, d))
    F = ChebyshevSeries(basis, c)

    def matrix(w):
        J = F.jet(w, order=1)[1] + amount * np.cos(w @ waves.T + 0.3)[..., None] * waves
        return np.swapaxes(J, -1, -2) @ J

    return Metric(matrix, lambda w: np.ones(w.shape[:-1], bool), d, name="near", place="R^d")


def largest_defect(metric, basis, c):
    w = np.random.default_rng(7).uniform(-1.0, 1.0, (500, basis.dim))
    w[:8] = np.sign(w[:8])
    return relative_defect(ChebyshevSeries(basis, c).jet(w, order=1)[1], metric._matrix(w)).max()


@pytest.mark.parametrize(("d", "spare"), [(2, 0), (3, 0), (3, 2)])
def test_a_metric_near_that_of_a_free_map(d, spare):
    basis, c = free_map(d)
    c = np.hstack([c, np.zeros((len(c), spare))])
    metric = near(basis, c, 0.005)
    assert largest_defect(metric, basis, c) > 3e-3
    *_, (higher, found, residual) = refine(metric, basis, c, 1e-11)
    assert residual <= 0.5e-11 * d**0.5
    assert largest_defect(metric, higher, found) <= 1e-11


def test_steps_are_quadratic():
    """The defect after one step is of the order of its square before: a tenth of it gives a hundredth."""
    basis, c = free_map(2)
    left = []
    for amount in (4e-2, 4e-3, 4e-4):
        metric = near(basis, c, amount)
        higher = ChebyshevBasis(basis.axes, 20)
        start = np.zeros((higher.size, c.shape[1]))
        start[: len(c)] = c
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(nash_newton, "STEPS", 2)  # the second only measures
            left.append(nash_newton._newton(metric, higher, start, 0.0)[1])
    slopes = np.log10(np.divide(left[:-1], left[1:]))
    assert (slopes > 1.8).all() and (slopes < 2.2).all()


def test_without_the_filter_steps_lose_derivatives(monkeypatch):
    basis, c = free_map(3)
    metric = near(basis, c, 0.005)
    monkeypatch.setattr(nash_newton, "DEGREES", {3: (20, 20)})
    found = {}
    for gap in (0, 4):
        monkeypatch.setattr(nash_newton, "GAP", gap)
        *_, (_, _, found[gap]) = refine(metric, basis, c, 1e-13)
    assert found[4] < 0.1 * found[0]


def test_a_flat_map_is_not_free():
    basis, c = free_map(2)
    metric = near(basis, c, 0.02)
    flat = c.copy()
    flat[:, 2:] = 0.0
    assert list(refine(metric, basis, flat, 1e-8)) == []


def test_a_box_that_leaves_the_domain_is_left_alone():
    basis, c = free_map(2)
    metric = near(basis, c, 0.02)
    inner = metric._matrix
    metric._matrix = lambda w: np.where((w[..., 0] < 0.9)[..., None, None], inner(w), np.nan)
    assert list(refine(metric, basis, c, 1e-8)) == []
