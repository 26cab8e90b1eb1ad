"""Central paths and their limits against linear programmes, integrated flows and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog

from riemflow import legendre, losses
from riemflow.errors import ConvergenceError, DomainError, ShapeError
from riemflow.flows import central_path, mirror_flow

RNG = np.random.default_rng(0)
NORMALS, SIDES = np.vstack([np.eye(3), -np.eye(3), RNG.standard_normal((6, 3))]), np.ones(12)
POLYTOPE = legendre.LogBarrier(NORMALS, SIDES)


def standard_form(seed, m=4, d=12):
    """A, b, c with bounded solutions of min c·w, Aw = b, w ≥ 0."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((m, d))
    return A, A @ rng.uniform(0.5, 2.0, d), A.T @ rng.standard_normal(m) + rng.uniform(0.1, 2.0, d)


@pytest.mark.parametrize("seed", range(5))
def test_log_barrier_ends_at_the_vertex(seed):
    c = np.random.default_rng(seed).standard_normal(3)
    path = central_path(POLYTOPE, c, POLYTOPE.domain.interior)
    program = linprog(c, A_ub=NORMALS, b_ub=SIDES, bounds=[(None, None)] * 3)
    assert path.status == "converged" and path.error < 1e-9
    np.testing.assert_allclose(path.limit, program.x, atol=1e-8)
    flow = mirror_flow(POLYTOPE, losses.Linear(c), POLYTOPE.domain.interior, np.inf)
    assert flow.status == "converged" and flow.t[-1] == np.inf
    np.testing.assert_array_equal(flow.w[-1], path.limit)
    # From its analytic centre the path's duality gap is (number of faces)/t.
    centre = POLYTOPE.conjugate.gradient(np.zeros(3))
    late = central_path(POLYTOPE, c, centre, t=[1e3])
    assert 0 < late.value - program.fun <= 12.0 / 1e3


@pytest.mark.parametrize("name", ["BurgEntropy", "NegativeEntropy"])
@pytest.mark.parametrize("seed", range(4))
def test_standard_form(name, seed):
    A, b, c = standard_form(seed)
    path = central_path(getattr(legendre, name)(12), c, np.ones(12), A, b)
    program = linprog(c, A_eq=A, b_eq=b)
    assert path.value == pytest.approx(program.fun, abs=2e-8)
    np.testing.assert_allclose(path.limit, program.x, atol=2e-8)
    assert path.residual < 1e-9
    # -λ/t tends to the dual solution.
    np.testing.assert_allclose(-path.multipliers[-1] / path.t[-1], -program.eqlin.marginals, atol=1e-2)


def test_it_minimises_on_the_way():
    A, b, c = standard_form(0)
    R, start = legendre.NegativeEntropy(12), np.linspace(0.5, 2.0, 12)
    path = central_path(R, c, start, A, b, t=[0.0, 0.5, 3.0])
    for t, w in zip(path.t, path.w, strict=True):
        np.testing.assert_allclose(A @ w, b, atol=1e-11)
        gradient = t * c + R.gradient(w) - R.gradient(start)
        kernel = np.linalg.svd(A)[2][4:]
        np.testing.assert_allclose(kernel @ gradient, 0.0, atol=1e-10)
    assert (np.diff(path.w @ c) < 0).all()


HYPERBOLIC = legendre.HyperbolicEntropy(*np.full((2, 3), 0.1))


@pytest.mark.parametrize("R", [POLYTOPE, HYPERBOLIC, legendre.FermiDirac(3)])
def test_closed_flow_is_the_integrated_one(R):
    c, start, times = np.array([1.0, -0.5, 0.2]), R.domain.interior, [0.0, 0.5, 2.0]
    closed = mirror_flow(R, losses.Linear(c), start, times)
    flown = mirror_flow(R, losses.Linear(c), start, times, method="CVODE", rtol=1e-11)
    assert closed.stats["formulation"] == "closed" and flown.stats["formulation"] != "closed"
    np.testing.assert_allclose(closed.w, flown.w, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(closed.sol([0.5, 2.0]), closed.w[1:], rtol=1e-9)
    with pytest.raises(DomainError, match="t must lie in"):
        closed.sol(2.1)


def test_a_face_of_solutions_is_shared_as_at_the_start():
    """Exponential weights: among equally good vertices of the simplex, shares stay those of the start."""
    start = np.array([0.1, 0.2, 0.1, 0.3])
    flow = mirror_flow(legendre.SimplexEntropy(4), losses.Linear([1.0, 1.0, -0.5, -0.5]), start, np.inf)
    np.testing.assert_allclose(flow.w[-1], [0.0, 0.0, 0.25, 0.75], atol=1e-12)


def test_what_has_no_solution_is_refused():
    A, b, c = standard_form(1)
    with pytest.raises(ConvergenceError, match="unbounded"):
        central_path(legendre.NegativeEntropy(12), -np.ones(12), np.ones(12))
    with pytest.raises(ConvergenceError, match="No interior point"):
        central_path(legendre.NegativeEntropy(3), np.ones(3), np.ones(3), np.ones((1, 3)), [-1.0])
    with pytest.raises(DomainError, match="dependent rows"):
        central_path(legendre.NegativeEntropy(12), c, np.ones(12), np.vstack([A, A[:1]]), np.append(b, b[0]))
    with pytest.raises(DomainError, match="belong together"):
        central_path(legendre.NegativeEntropy(12), c, np.ones(12), A)


def test_a_limit_short_of_digits_is_not_called_unbounded(monkeypatch):
    A, b, c = standard_form(1)
    monkeypatch.setattr("riemflow.flows.limits.central_path.DONE", 1e-17)
    monkeypatch.setattr("riemflow.flows.limits.central_path.AGREED", 1e-17)
    with pytest.raises(ConvergenceError, match="late multipliers") as told:
        central_path(legendre.BurgEntropy(12), c, np.ones(12), A, b)
    best = told.value.partial
    vertex = linprog(c, A_eq=A, b_eq=b).x
    assert best.status == "failed" and 1e-17 < best.error < 1e-7
    np.testing.assert_allclose(best.limit, vertex, atol=1e-7)
    with pytest.raises(ConvergenceError, match="unbounded") as told:
        central_path(legendre.BurgEntropy(3), [-1.0, -1.0, 0.0], np.ones(3), [[1.0, -1.0, 0.0]], [0.0])
    assert told.value.partial.limit is None


@pytest.mark.parametrize("size", [1e-12, 1e-8, 1e-3, 1e3])
def test_small_and_large_programmes(size):
    """Two extrapolations agree to the size of w: with small b they did before the path had begun to move."""
    A, b, c = standard_form(3)
    one = linprog(c, A_eq=A, b_eq=b)
    for R in (legendre.BurgEntropy(12), legendre.NegativeEntropy(12)):
        path = central_path(R, c, np.full(12, size), A, size * b)
        np.testing.assert_allclose(path.limit, size * one.x, atol=1e-6 * size)
        assert path.value == pytest.approx(size * one.fun, rel=1e-6) and (path.limit >= 0).all()


@pytest.mark.parametrize(
    "R", [legendre.SimplexEntropy(3), legendre.FermiDirac(3), legendre.NegativeEntropy(3)]
)
def test_extrapolations_do_not_cross_the_boundary(R):
    for c in ([1.0, 2.0, 0.5], [1.0, 1.0, 1.0], [1.0, 1.0 + 1e-9, 2.0]):
        assert (central_path(R, c, R.domain.interior).limit >= 0).all()


def test_times_out_of_reach_and_none():
    A, b, c = standard_form(3)
    with pytest.raises(ShapeError, match="t has shape"):
        central_path(legendre.BurgEntropy(12), c, np.ones(12), A, b, t=[])
    path = central_path(legendre.BurgEntropy(12), c, np.ones(12), A, b, t=[1e-300])
    np.testing.assert_allclose(A @ path.w[0], b)
    with pytest.raises(ConvergenceError, match=r"stopped at t = \d\.\d+e\+0[5-9]") as caught:
        central_path(legendre.BurgEntropy(12), c, np.ones(12), A, b, t=[1e20])
    assert len(caught.value.partial.t) > 5
