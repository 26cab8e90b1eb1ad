"""The forms of a flow agree at every scale of the start, and with an ODE written out by hand."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.sparse import csc_matrix, csr_array
from zoo_parametrizations import COMMUTING

import riemflow as rf
from riemflow.commuting import joint_flow
from riemflow.errors import DomainError, NoClosedFormError, ShapeError
from riemflow.flows import dual_forms
from riemflow.flows.dual_forms import RowSpace

CLOSED = [
    case for case in COMMUTING if case.make()._joint_flow(case.start(), np.zeros(case.make().dim)) is not None
]


def data(d=30, n=6, seed=0):
    rng = np.random.default_rng(seed)
    Z = rng.standard_normal((n, d))
    w = np.zeros(d)
    w[:2] = [1.0, -0.7]
    return Z, Z @ w


def test_the_catalogue_has_closed_joint_flows():
    names = {case.make().name.partition("(")[0] for case in CLOSED}
    assert names == {
        "Identity", "Hadamard", "HadamardDifference", "HadamardProduct", "Exponential",
        "DiagonalMeasurements", "Spherical",
    }  # fmt: skip


@pytest.mark.parametrize("case", CLOSED, ids=str)
def test_closed_joint_flow_is_the_integrated_one(case):
    G, rng = case.make(), np.random.default_rng(3)
    x, mu, rows = case.start(), 0.02 * rng.standard_normal((4, G.dim)), rng.standard_normal((2, G.dim))
    np.testing.assert_allclose(G._joint_flow(x, mu), joint_flow(G, x, mu), rtol=1e-10, atol=1e-12)
    gram = rows @ G.cometric(x) @ rows.T
    np.testing.assert_allclose(G._gram(x, rows), gram, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(G._gram(x, csr_array(rows)), gram, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("case", CLOSED, ids=str)
def test_forms_of_the_gradient_flow_agree(case):
    G = case.make()
    Z = np.random.default_rng(1).standard_normal((1, G.dim))
    loss = rf.losses.LeastSquares(Z, Z @ G(case.start()) + 0.1)
    times = np.linspace(0.0, 1.0, 5)
    flows = [
        rf.gradient_flow(G, loss, case.start(), times, formulation=form, rtol=1e-10)
        for form in ("parameters", "dual", "row-space")
    ]
    assert [flow.stats["formulation"] for flow in flows] == ["parameters", "dual", "row-space"]
    assert np.abs(flows[0].w[-1] - flows[0].w[0]).max() > 1e-3
    for flow in flows[1:]:
        np.testing.assert_allclose(flow.x, flows[0].x, atol=1e-8)
        np.testing.assert_allclose(flow.w, flows[0].w, atol=1e-8)


@pytest.mark.parametrize("power", [3, 4])
def test_joint_flow_ends_where_it_blows_up(power):
    """|x|^{2-k} falls at the rate k(k - 2), so that x = 1 is at infinity for μ = 1 / (k(k - 2))."""
    G, end = rf.parametrizations.Hadamard(1, power=power), 1.0 / (power * (power - 2))
    assert np.isfinite(G._joint_flow(np.ones(1), np.array([0.999 * end])))
    assert np.isnan(G._joint_flow(np.ones(1), np.array([1.001 * end])))


def by_hand(Z, Y, alpha, times):
    """w = u² - v² from u = v = α: ν' = (Zw - Y)/n, w = -2α² sinh(4Zᵀν), by an implicit Runge-Kutta method."""

    def rhs(t, nu):
        return (Z @ (-2 * alpha**2 * np.sinh(4 * (nu @ Z))) - Y) / len(Y)

    def jac(t, nu):
        return -(Z * (8 * alpha**2 * np.cosh(4 * (nu @ Z)))) @ Z.T / len(Y)

    with np.errstate(all="ignore"):  # trial steps overflow
        run = solve_ivp(
            rhs, (0, times[-1]), np.zeros(len(Y)), "Radau", times, rtol=1e-11, atol=1e-12, jac=jac
        )
    return -2 * alpha**2 * np.sinh(4 * (run.y.T @ Z))


@pytest.mark.parametrize("alpha", [1e-2, 1e-4, 1e-8, 1e-12])
def test_small_starts_are_accurate_from_every_entry_point(alpha):
    Z, Y = data()
    loss, d = rf.losses.LeastSquares(Z, Y), Z.shape[1]
    times = np.concatenate([[0.0], np.geomspace(0.1, 40.0 * np.log(1 / alpha), 12)])
    exact = by_hand(Z, Y, alpha, times)
    assert np.abs(exact[-1]).max() > 0.3  # it has left the start
    a = np.full(d, alpha)
    R, G = rf.legendre.HyperbolicEntropy(a, a), rf.parametrizations.HadamardDifference(d)
    flows = {
        "mirror": rf.mirror_flow(R, loss, np.zeros(d), times),
        "dual": rf.mirror_flow(R, loss, np.zeros(d), times, formulation="dual"),
        "primal": rf.mirror_flow(R, loss, np.zeros(d), times, formulation="primal"),
        "gradient": rf.gradient_flow(G, loss, np.full(2 * d, alpha), times),
        "parameters": rf.gradient_flow(G, loss, np.full(2 * d, alpha), times, formulation="parameters"),
    }
    assert flows["mirror"].stats["formulation"] == flows["gradient"].stats["formulation"] == "row-space"
    for name, flow in flows.items():
        error = np.abs(flow.w - exact).max() / np.abs(exact).max()
        assert error < 1e-5, f"{name}: {error:.1e}"


def test_sparse_data_give_the_flow_of_dense_data():
    Z, Y = data()
    Z[np.abs(Z) < 1.0] = 0.0
    R = rf.legendre.HyperbolicEntropy(np.full(30, 0.1), np.full(30, 0.1))
    for kind in (csr_array, csc_matrix):
        sparse, dense = rf.losses.LeastSquares(kind(Z), Y), rf.losses.LeastSquares(Z, Y)
        w = np.random.default_rng(0).standard_normal((2, 3, 30))
        np.testing.assert_allclose(sparse(w), dense(w), rtol=1e-13)
        np.testing.assert_allclose(sparse.gradient(w), dense.gradient(w), rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(sparse.hessian(w), dense.hessian(w), rtol=1e-12, atol=1e-14)
        flows = [rf.mirror_flow(R, loss, np.zeros(30), [1.0, 50.0]) for loss in (sparse, dense)]
        np.testing.assert_allclose(flows[0].w, flows[1].w, atol=1e-7)


def test_bad_sparse_data_are_refused():
    with pytest.raises(DomainError, match="1 entries that are not finite"):
        rf.losses.LeastSquares(csr_array(np.array([[1.0, np.nan]])), [1.0])
    with pytest.raises(DomainError, match="complex"):
        rf.losses.LeastSquares(csr_array(np.array([[1j, 0.0]])), [1.0])
    with pytest.raises(ShapeError, match="Y has"):
        rf.losses.LeastSquares(csr_array(np.eye(2)), [1.0])


def test_a_form_that_is_not_there_is_refused():
    G, loss = rf.parametrizations.MatrixFactorization(2, 2), rf.losses.Linear(np.ones(3))
    with pytest.raises(NoClosedFormError, match="closed form"):
        rf.gradient_flow(G, loss, np.eye(2).ravel(), 1.0, formulation="dual")
    with pytest.raises(DomainError, match="ℓ"):
        rf.gradient_flow(rf.parametrizations.Hadamard(3), loss, np.ones(3), 1.0, formulation="row-space")
    with pytest.raises(DomainError, match="'primal'"):
        rf.gradient_flow(G, loss, np.eye(2).ravel(), 1.0, formulation="primal")


def test_own_parametrizations_stay_in_their_parameters():
    G = rf.Parametrization(lambda x: x**2, 4, 4)
    loss = rf.losses.LeastSquares(np.ones((1, 4)), [2.0])
    assert rf.gradient_flow(G, loss, np.full(4, 0.5), 1.0).stats["formulation"] == "parameters"


def test_many_weights_take_memory_of_the_data():
    """No d x d matrix for d = 50,000, which would take 20 GB."""
    rng, d, n = np.random.default_rng(0), 50_000, 20
    Z = csr_array(
        (rng.standard_normal(40 * n), (np.repeat(np.arange(n), 40), rng.integers(0, d, 40 * n))), (n, d)
    )
    Y, alpha = np.ones(n), np.full(d, 1e-3)
    loss = rf.losses.LeastSquares(Z, Y)
    flow = rf.mirror_flow(rf.legendre.HyperbolicEntropy(alpha, alpha), loss, np.zeros(d), [1e4])
    assert loss(flow.w[-1]) < 1e-10
    x = rf.gradient_flow(rf.parametrizations.HadamardDifference(d), loss, np.full(2 * d, 1e-3), [1e4])
    np.testing.assert_allclose(x.w, flow.w, atol=1e-7)


@pytest.mark.slow
def test_many_equations_need_no_jacobian():
    """The dual form in 3,000 dimensions, stiff: by GMRES, and as the row-space form has it."""
    rng, d = np.random.default_rng(0), 3000
    Z = rng.standard_normal((5, d))
    loss, R = rf.losses.LeastSquares(Z, np.ones(5)), rf.legendre.HyperbolicEntropy(np.ones(d), np.ones(d))
    flows = [
        rf.mirror_flow(R, loss, np.zeros(d), [0.001, 1.0], formulation=form, method="CVODE")
        for form in ("dual", "row-space")
    ]
    assert flows[0].stats["n_jac"] == 0 < flows[1].stats["n_jac"]
    # Without a start to be measured by, atol of the dual form is rtol itself.
    np.testing.assert_allclose(flows[0].w, flows[1].w, atol=5e-8)


def test_small_movements_are_as_accurate_as_large_ones():
    """From u = v = 100 a weight moves by 1e-3 only: min-norm, to first order, and to many digits."""
    Z, Y = data()
    loss, a = rf.losses.LeastSquares(Z, 1e-3 * Y), np.full(30, 100.0)
    R = rf.legendre.HyperbolicEntropy(a, a)
    times = [1e-6, 1e-5, 1e-4]
    flow, fine = (rf.mirror_flow(R, loss, np.zeros(30), times, rtol=rtol) for rtol in (1e-6, 1e-12))
    assert 1e-5 < np.abs(fine.w).max() < 1e-3
    assert np.abs(flow.w - fine.w).max() < 1e-5 * np.abs(fine.w).max()


WITH_R = [case for case in CLOSED if case.make()._closed_legendre(case.start()) is not None]


@pytest.mark.parametrize("case", WITH_R, ids=str)
def test_closed_legendre_function_is_that_of_the_parametrization(case):
    """∇²R(G(x)) = (∂G∂Gᵀ)⁻¹ at the start and along the joint flow from it."""
    G, mu = case.make(), 0.1 * np.random.default_rng(5).standard_normal((3, case.make().dim))
    R = G._closed_legendre(case.start())
    points = G._joint_flow(case.start(), np.concatenate([0.0 * mu[:1], mu]))
    inverse = np.linalg.inv(G.cometric(points))
    np.testing.assert_allclose(R.hessian(G(points)), inverse, rtol=1e-9, atol=1e-9)
    slopes = R.gradient(G(points))
    np.testing.assert_allclose(slopes[1:] - slopes[0], mu, atol=1e-10)


def test_there_are_closed_legendre_functions_to_test():
    assert len(WITH_R) >= 6


@pytest.mark.parametrize("case", WITH_R, ids=str)
def test_limit_of_the_gradient_flow_is_where_its_parameters_come_to_rest(case):
    G = case.make()
    Z = np.random.default_rng(1).standard_normal((1, G.dim))
    loss = rf.losses.LeastSquares(Z, Z @ G(case.start()) + 0.05)
    limit = rf.gradient_flow(G, loss, case.start(), np.inf)
    flown = rf.gradient_flow(G, loss, case.start(), np.inf, formulation="parameters", rtol=1e-10)
    assert limit.stats["formulation"] == "limit" and limit.status == flown.status == "converged"
    np.testing.assert_allclose(limit.x[-1], flown.x[-1], atol=1e-7)
    np.testing.assert_allclose(limit.w[-1], G(limit.x[-1]), atol=1e-12)


class Downhill(rf.losses.LinearModelLoss):
    """-Σ (Zw)_i: its flow moves μ at a constant rate, out of any bounded range."""

    def _outer_value(self, s):
        return -s.sum(axis=-1)

    def _outer_gradient(self, s):
        return -np.ones_like(s)

    def _outer_hessian(self, s):
        return np.zeros((*s.shape, s.shape[-1]))


def test_a_right_side_that_refuses_spares_the_looks_at_steps(monkeypatch):
    """LogDet's ∇R* raises outside its domain, M > 0, so that CVODE may stride; the edge is found still."""
    R, start, times = rf.legendre.LogDet(2), [1.0, 0.0, 1.0], [0.5, 0.999]
    Z = [[1.0, 0.0, 0.5]]
    asked = []
    belongs = rf.legendre.LogDet._belongs
    monkeypatch.setattr(rf.legendre.LogDet, "_belongs", lambda self, w: asked.append(1) or belongs(self, w))
    flow = rf.mirror_flow(R, Downhill(Z), start, times, rtol=1e-9)
    # M = diag(1, 1) - t diag(1, 1/2), and W = M^{-1}.
    expected = np.stack([1 / (1 - flow.t), 0 * flow.t, 1 / (1 - 0.5 * flow.t)], axis=-1)
    np.testing.assert_allclose(flow.w, expected, rtol=1e-6, atol=1e-12)
    assert len(asked) < 0.5 * flow.stats["n_steps"]
    out = rf.mirror_flow(R, Downhill(Z), start, [0.5, 3.0], throw=False)
    assert out.status == "left-domain" and out.t[-1] == pytest.approx(1.0, abs=1e-12)
    assert belongs(R, out.w[-1]) and len(out.t) == 2


@pytest.mark.parametrize("form", [np.asarray, csr_array])
@pytest.mark.parametrize("t", [1e2, 1e8, 1e15])
def test_dependent_rows_that_contradict_themselves(form, t):
    """ν grows like t in the null space of Zᵀ, but w rests at the least-squares fit next to the start."""
    basis = np.random.default_rng(6).standard_normal((2, 6))
    Z = np.vstack([basis, basis[0] + basis[1], basis[0], np.zeros(6)])
    loss = rf.losses.LeastSquares(form(Z), [1.0, -0.5, 2.0, 0.3, 1.0])
    flow = rf.mirror_flow(rf.legendre.SquaredNorm(6), loss, np.zeros(6), [t])
    assert flow.stats["formulation"] == "row-space"
    np.testing.assert_allclose(flow.w[-1], np.linalg.pinv(Z) @ loss.Y, atol=1e-7)
    many = rf.mirror_flows(rf.legendre.SquaredNorm(6), loss, np.zeros((2, 6)), [t])
    np.testing.assert_allclose(many["w"][1, -1], np.linalg.pinv(Z) @ loss.Y, atol=1e-7)


def test_logistic_flow_comes_to_rest_on_more_samples_than_weights():
    """The weights were off by 6e-5 at τ = 30, and none were found at 40."""
    Z, labels = np.random.default_rng(6).standard_normal((20, 4)), np.where(np.arange(20) % 2, 1.0, -1.0)
    R, loss = rf.legendre.SquaredNorm(4), rf.losses.Logistic(Z, labels)
    flow = rf.logistic_flow(R, loss, np.zeros(4), [20.0, 30.0, 60.0])
    np.testing.assert_allclose(loss.gradient(flow.w), 0.0, atol=1e-9)


def test_the_null_space_is_that_of_the_rows_not_of_their_products():
    """Rows 1e-9 apart are independent, although their products say 1e-18; a copy of a row is not."""
    rows = np.random.default_rng(6).standard_normal((4, 7))
    near = np.vstack([rows[:3], rows[0] + 1e-9 * rows[3]])
    assert dual_forms.RowSpace(near).dim == 4
    space = dual_forms.RowSpace(np.vstack([near, 3.0 * rows[2]]))
    assert space.dim == 4
    nu = np.random.default_rng(6).standard_normal(5)
    np.testing.assert_allclose(
        space.lift(space.drop(nu)) @ np.vstack([near, 3 * rows[2]]),
        nu @ np.vstack([near, 3 * rows[2]]),
        atol=1e-12,
    )


def test_independent_sparse_rows_are_told_without_a_copy_of_the_data():
    """scipy.sparse turns a transpose to rows again, which is all the data once more."""
    rng = np.random.default_rng(0)
    n, per_row, d = 256, 5_000, 50_000
    columns = np.concatenate([np.sort(rng.choice(d, per_row, replace=False)) for _ in range(n)])
    entries = rng.standard_normal(n * per_row)
    Z = csr_array((entries, columns, per_row * np.arange(n + 1)), shape=(n, d))
    size = Z.data.nbytes + Z.indices.nbytes
    tracemalloc.start()
    try:
        space = RowSpace(Z)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert space.basis is None and space.dim == n
    assert peak < 0.5 * size
