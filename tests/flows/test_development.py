import autograd.numpy as anp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import riemflow as rf
from riemflow.errors import ConvergenceError, DomainError, ShapeError
from riemflow.flows import development
from riemflow.losses import LeastSquares, Linear, Piecewise


def least_squares(d, n, seed=0, size=1.0):
    rng = np.random.default_rng(seed)
    return LeastSquares(size * rng.standard_normal((n, d)) / np.sqrt(d), rng.standard_normal(n))


def test_where_the_metric_is_flat_it_is_an_isometry():
    """∫√(1/w) = 2√w, and the frame starts as diag √w: nothing turns."""
    R, w0 = rf.legendre.NegativeEntropy(3), np.array([0.5, 1.0, 2.0])
    flow = rf.cartan_development(R, least_squares(3, 2), w0, 5.0, rtol=1e-11)
    assert np.abs(flow.w - w0).max() > 0.1
    np.testing.assert_allclose(flow.x, 2 * np.sqrt(flow.w) - 2 * np.sqrt(w0), atol=1e-11)
    t = np.linspace(0, 5, 7)
    frames = flow.sol(t, of="frame")
    np.testing.assert_allclose(frames, np.sqrt(flow.sol(t))[..., None] * np.eye(3), atol=1e-10)


def test_mixed_by_a_linear_map_it_is_turned_by_the_start():
    A = np.array([[1.0, 0.4], [-0.3, 1.2]])
    R, w0 = rf.legendre.NegativeEntropy(2).compose(A), np.linalg.solve(A, [0.5, 2.0])
    flow = rf.cartan_development(R, Linear([1.0, -0.5]), w0, 1.0, rtol=1e-11)
    # E(0) = g^{-1/2} is symmetric, so x is F turned by an orthogonal matrix: distances agree.
    F = 2 * np.sqrt(flow.w @ A.T)
    gaps = [np.linalg.norm(a[:, None] - a[None], axis=-1) for a in (F, flow.x)]
    np.testing.assert_allclose(*gaps, atol=1e-10)


def test_on_a_sphere_against_parallel_transport_in_space():
    """2√p is an isometry onto a sphere of radius 2, where parallel vectors obey ē' = -(ē·F') F / 4."""
    R, loss, w0 = rf.legendre.SimplexEntropy(2), least_squares(2, 2, seed=3), np.array([0.2, 0.5])

    def image(w):
        p = np.append(w, 1 - w.sum())
        return 2 * np.sqrt(p), np.vstack([np.eye(2), [-1.0, -1.0]]) / np.sqrt(p)[:, None]

    def rhs(t, y):
        w, frame = y[:2], y[4:].reshape(3, 2)
        F, J = image(w)
        dw = -np.linalg.solve(J.T @ J, loss.gradient(w))
        return np.concatenate([dw, frame.T @ (J @ dw), (-np.outer(F, (J @ dw) @ frame) / 4).ravel()])

    J = image(w0)[1]
    values, vectors = np.linalg.eigh(J.T @ J)
    start = J @ (vectors / np.sqrt(values)) @ vectors.T
    other = solve_ivp(
        rhs, (0, 4), np.concatenate([w0, [0, 0], start.ravel()]), rtol=1e-12, atol=1e-13, method="DOP853"
    )
    flow = rf.cartan_development(R, loss, w0, [1.0, 4.0], rtol=1e-11)
    np.testing.assert_allclose(flow.w[-1], other.y[:2, -1], atol=1e-10)
    np.testing.assert_allclose(flow.x[-1], other.y[2:4, -1], atol=1e-10)
    frame = image(flow.w[-1])[1] @ flow.sol(4.0, of="frame")
    np.testing.assert_allclose(frame, other.y[4:, -1].reshape(3, 2), atol=1e-9)
    assert flow.stats["defect"] < 1e-11


def two_orders(R, w0):
    """Two linear losses, one after the other, in both orders: a mirror flow ends at the same w."""
    c, e = Linear([1.0, -0.3]), Linear([-0.4, 0.9])
    runs = [
        rf.cartan_development(R, Piecewise([1.0], losses), w0, [2.0], rtol=1e-11)
        for losses in ([c, e], [e, c])
    ]
    np.testing.assert_allclose(runs[0].w, runs[1].w, atol=1e-9)
    return [(run.x[-1], run.sol(2.0, of="frame")) for run in runs]


def test_it_holds_along_its_path_alone():
    """On a curved manifold two paths between the same points end in different frames and places."""
    (x1, E1), (x2, E2) = two_orders(rf.legendre.SimplexEntropy(2), [0.2, 0.5])
    assert np.abs(x1 - x2).max() > 1e-3 and np.abs(E1 - E2).max() > 1e-3
    (x1, E1), (x2, E2) = two_orders(rf.legendre.NegativeEntropy(2), [0.2, 0.5])
    np.testing.assert_allclose(x1, x2, atol=1e-9)
    np.testing.assert_allclose(E1, E2, atol=1e-9)


def test_of_a_plain_callable():
    def value(w):
        return anp.log(1 + anp.sum(anp.exp(w), -1)) + 0.05 * anp.sum(w**2, -1)

    R = rf.legendre.LogSumExp(4) + 0.1 * rf.legendre.SquaredNorm(4)
    loss, w0 = least_squares(4, 2), np.array([0.1, 0.0, -0.2, 0.3])
    plain = rf.cartan_development(rf.LegendreFunction(value, 4), loss, w0, 3.0, rtol=1e-10)
    known = rf.cartan_development(R, loss, w0, 3.0, rtol=1e-10)
    np.testing.assert_allclose(plain.x[-1], known.x[-1], atol=1e-9)
    np.testing.assert_allclose(plain.sol(3.0, of="frame"), known.sol(3.0, of="frame"), atol=1e-9)


@pytest.mark.parametrize("d", [20, 200])
def test_against_the_dual_flow_in_many_dimensions(d):
    # Some weights grow or fall ten times and more.
    R, loss = rf.legendre.SimplexEntropy(d), least_squares(d, 10, size=3 * np.sqrt(d))
    w0 = np.random.default_rng(1).dirichlet(np.ones(d + 1))[:-1]
    t = np.linspace(0.5, 5.0, 4)
    flow = rf.cartan_development(R, loss, w0, t, rtol=1e-10)
    dual = rf.mirror_flow(R, loss, w0, t, formulation="dual", rtol=1e-12)
    assert np.abs(np.log(dual.w[-1] / w0)).max() > 2
    assert np.abs(flow.w - dual.w).max() < 1e-9 and flow.stats["defect"] < 1e-9
    # The development is as long as the flow in the metric.
    lengths = np.linalg.norm(np.diff(flow.sol(np.linspace(0, 5, 501), of="x"), axis=0), axis=1).sum()
    path = flow.sol(np.linspace(0, 5, 501))
    middle, step = 0.5 * (path[1:] + path[:-1]), np.diff(path, axis=0)
    metric = np.array([step[k] @ R.hessian(middle[k]) @ step[k] for k in range(500)])
    np.testing.assert_allclose(lengths, np.sqrt(metric).sum(), rtol=1e-3)


def test_a_small_start_keeps_its_digits():
    R, w0 = rf.legendre.HyperbolicEntropy(np.full(3, 1e-3), np.full(3, 1e-3)), np.full(3, 1e-9)
    loss, t = LeastSquares(np.array([[1.0, 0.5, -0.3]]), [0.3]), [5.0, 40.0]
    flow = rf.cartan_development(R, loss, w0, t, rtol=1e-10)
    dual = rf.mirror_flow(R, loss, w0, t, formulation="dual", rtol=1e-12)
    np.testing.assert_allclose(flow.w, dual.w, rtol=1e-7, atol=1e-12)


def test_refusals():
    R, loss = rf.legendre.NegativeEntropy(2), Linear([1.0, 1.0])
    with pytest.raises(DomainError, match="finite end time"):
        rf.cartan_development(R, loss, [1.0, 1.0], np.inf)
    with pytest.raises(DomainError, match="w_init"):
        rf.cartan_development(R, loss, [1.0, -1.0], 1.0)
    with pytest.raises(ShapeError, match="one point"):
        rf.cartan_development(R, loss, [[1.0, 1.0]], 1.0)
    with pytest.raises(DomainError, match="LegendreFunction"):
        rf.cartan_development(lambda w: w, loss, [1.0, 1.0], 1.0)
    with pytest.raises(DomainError, match="rtol"):
        rf.cartan_development(R, loss, [1.0, 1.0], 1.0, rtol=np.nan)


def test_a_flow_that_leaves_the_domain_says_where():
    """-ln w under a linear loss reaches infinity at t = 1: w = 1 / (1 - t)."""
    R = rf.legendre.BurgEntropy(1)
    with pytest.raises(ConvergenceError, match="ended early") as caught:
        rf.cartan_development(R, Linear([-1.0]), [1.0], 2.0)
    partial = caught.value.partial
    assert partial.status in ("failed", "left-domain") and abs(partial.t[-1] - 1.0) < 1e-9
    np.testing.assert_allclose(partial.w[partial.t < 0.9, 0], 1 / (1 - partial.t[partial.t < 0.9]), rtol=1e-7)


def test_a_lost_frame_is_no_finished_flow():
    """Entropy under a constant slope: w = e^{-t}, and E = √w loses its digits long before t = 500."""
    R, loss = rf.legendre.NegativeEntropy(2), Linear([1.0, 1.0])
    early = rf.cartan_development(R, loss, [1.0, 1.0], 10.0)
    np.testing.assert_allclose(early.w[-1], np.exp(-10.0), rtol=1e-6)
    with pytest.raises(ConvergenceError, match="the frame was lost") as caught:
        rf.cartan_development(R, loss, [1.0, 1.0], 500.0)
    assert caught.value.partial.status == "failed"
    assert rf.cartan_development(R, loss, [1.0, 1.0], 500.0, throw=False).stats["defect"] > 1e-3


def test_a_flow_into_the_simplex_corner_ends_where_rounding_hides_the_metric():
    """s = 1 - Σw falls as e^{-t} and has only the digits of 1: DOP853 used to shorten its steps for ever."""
    R, loss, w0 = rf.legendre.SimplexEntropy(3), Linear([-1.0, 0.0, 0.0]), [0.999, 1e-5, 1e-5]
    flow = rf.cartan_development(R, loss, w0, 30.0, throw=False)
    assert flow.status == "failed" and flow.stats["n_steps"] < 200
    assert "one rounding" in flow.message and 'formulation="dual"' in flow.message
    slack = 1 - flow.w[-1].sum()
    assert 0.1 < np.finfo(float).eps / slack / 1e-7 < 10  # 10 rtol
    dual = rf.mirror_flow(R, loss, w0, flow.t, formulation="dual", rtol=1e-12)
    np.testing.assert_allclose(flow.w, dual.w, rtol=1e-6)
    with pytest.raises(ConvergenceError, match="too close to the boundary"):
        rf.cartan_development(R, loss, w0, 30.0)
    # What can be had is: a shorter flow, or the same to a looser tolerance.
    assert rf.cartan_development(R, loss, w0, 10.0).stats["defect"] < 1e-8
    assert rf.cartan_development(R, loss, w0, 15.0, rtol=1e-6).status == "finished"
    with pytest.raises(DomainError, match="one rounding of it"):
        rf.cartan_development(R, loss, [1 - 2e-12, 1e-12, 5e-13], 1.0)


def test_a_stiff_flow_is_handed_over():
    R, Z = rf.legendre.NegativeEntropy(3), np.diag([1.0, 1e3, 30.0])
    loss = LeastSquares(Z, Z @ [1.0, 2.0, 0.5])
    flow = rf.cartan_development(R, loss, [0.5, 0.5, 0.5], [1.0, 1e3])
    assert flow.stats["method"] == "DOP853+CVODE" and flow.stats["n_steps"] < 2000
    dual = rf.mirror_flow(R, loss, [0.5, 0.5, 0.5], [1.0, 1e3], formulation="dual", rtol=1e-10)
    np.testing.assert_allclose(flow.w, dual.w, rtol=1e-7)
    assert flow.stats["defect"] < 1e-7
    np.testing.assert_allclose(flow.x, 2 * np.sqrt(flow.w) - 2 * np.sqrt(0.5), atol=1e-7)  # flat


def test_a_stiff_flow_in_many_dimensions_is_bounded(monkeypatch):
    d = development.STIFF_DIM + 1
    R, Z = rf.legendre.NegativeEntropy(d), np.diag(np.geomspace(1.0, 300.0, d))
    monkeypatch.setattr(development, "MOST_STEPS", 100)
    flow = rf.cartan_development(R, LeastSquares(Z, Z @ np.ones(d)), np.full(d, 0.5), 1e3, throw=False)
    assert flow.status == "failed" and "stopped after 100 steps" in flow.message
