"""Riemannian gradient descent against closed forms, geomstats' Fréchet mean and pymanopt."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
import pymanopt
import pytest
from geomstats.geometry.euclidean import Euclidean
from geomstats.geometry.hyperboloid import Hyperboloid
from geomstats.geometry.hypersphere import Hypersphere
from geomstats.geometry.spd_matrices import SPDAffineMetric, SPDMatrices
from geomstats.geometry.stiefel import Stiefel
from geomstats.learning.frechet_mean import FrechetMean
from pymanopt.manifolds import Sphere
from pymanopt.optimizers import SteepestDescent
from scipy.linalg import inv, logm, sqrtm

import riemflow as rf
from riemflow.errors import ConvergenceError, DomainError, ShapeError
from riemflow.flows import Backtracking

SPREAD = np.diag([1.0, 2.0, 3.5, 4.0])
START = np.full(4, 0.5)


def rayleigh(x):
    return 0.5 * anp.dot(x, SPREAD @ x)


def affine_spd(n):
    space = SPDMatrices(n, equip=False)
    space.equip_with_metric(SPDAffineMetric)
    return space


def test_one_step_goes_along_the_great_circle():
    run = rf.riemannian_gradient_descent(Hypersphere(3), rayleigh, START, 0.1, 1)
    gradient = SPREAD @ START - (START @ SPREAD @ START) * START
    speed = 0.1 * np.linalg.norm(gradient)
    expected = np.cos(speed) * START - np.sin(speed) * gradient / np.linalg.norm(gradient)
    np.testing.assert_allclose(run.w[1], expected, atol=1e-14)
    assert run.w.shape == (2, 4) and run.x is None and run.mu is None


@pytest.mark.parametrize("step", ["exp", "retraction", lambda x, v: (x + v) / np.linalg.norm(x + v)])
def test_steps_follow_the_flow_to_first_order(step):
    end = rf.riemannian_gradient_flow(Hypersphere(3), rayleigh, START, [1.0], rtol=1e-11).w[-1]
    gaps = []
    for n in (50, 100, 200):
        run = rf.riemannian_gradient_descent(Hypersphere(3), rayleigh, START, 1 / n, n, step=step)
        gaps.append(np.abs(run.w[-1] - end).max())
    slopes = np.log2(np.array(gaps[:-1]) / gaps[1:])
    np.testing.assert_allclose(slopes, 1.0, atol=0.05)


def test_retraction_in_dual_coordinates_is_not_the_exponential_map():
    """Control: the two kinds of steps differ, by O(η²) a step."""
    runs = [
        rf.riemannian_gradient_descent(Hypersphere(3), rayleigh, START, 0.3, 1, step=step)
        for step in ("exp", "retraction")
    ]
    assert np.abs(runs[0].w[1] - runs[1].w[1]).max() > 1e-4


def test_against_pymanopt_on_the_sphere():
    manifold = Sphere(4)

    @pymanopt.function.autograd(manifold)
    def cost(x):
        return rayleigh(x)

    theirs = SteepestDescent(max_iterations=500, min_gradient_norm=1e-9, verbosity=0).run(
        pymanopt.Problem(manifold, cost), initial_point=START
    )
    ours = rf.riemannian_gradient_descent(
        Hypersphere(3), rayleigh, START, Backtracking(), 200, step="retraction"
    )
    np.testing.assert_allclose(np.abs(ours.w[-1]), [1, 0, 0, 0], atol=1e-7)
    assert ours.status == "finished"
    np.testing.assert_allclose(np.abs(theirs.point), np.abs(ours.w[-1]), atol=1e-6)
    values = [rayleigh(w) for w in ours.w]
    assert (np.diff(values) <= 1e-14).all()


def test_frechet_mean_of_spd_matrices_against_geomstats(rng):
    """With η = 1 the descent of Σ d²/2n by exp is the fixed point iteration of the Karcher mean."""
    A = rng.standard_normal((5, 3, 3))
    samples = A @ np.swapaxes(A, -1, -2) + 0.5 * np.eye(3)
    space = affine_spd(3)

    def loss(X):
        half = inv(sqrtm(X)).real
        return np.mean([0.5 * np.linalg.norm(logm(half @ S @ half)) ** 2 for S in samples])

    def gradient(X):
        log = np.mean([space.metric.log(S, X) for S in samples], axis=0)
        return -np.linalg.solve(X, np.linalg.solve(X, log).T)

    run = rf.riemannian_gradient_descent(space, loss, samples[0], 1.0, 40, gradient=gradient)
    mean = FrechetMean(space)
    mean.set(max_iter=200, epsilon=1e-12)
    # geomstats stops at a squared step of 1e-12 times the dimension 6, a step of 2.4e-6.
    np.testing.assert_allclose(run.w[-1], mean.fit(samples).estimate_, atol=1e-5)
    np.testing.assert_allclose(gradient(run.w[-1]), 0.0, atol=1e-10)
    slow = rf.riemannian_gradient_descent(
        space, loss, samples[0], Backtracking(), 60, gradient=gradient, step="retraction"
    )
    np.testing.assert_allclose(slow.w[-1], run.w[-1], atol=1e-6)


def test_exp_steps_on_a_hessian_manifold_follow_mirror_flow():
    """An affine loss on the entropy's manifold: steps along geodesics, straight in √w."""
    R, c = rf.legendre.NegativeEntropy(2), np.array([0.5, -0.3])
    space = rf.HessianManifold(R)
    run = rf.riemannian_gradient_descent(space, rf.losses.Linear(c), [1.0, 2.0], 1e-3, 1000)
    flow = rf.mirror_flow(R, rf.losses.Linear(c), [1.0, 2.0], [1.0])
    np.testing.assert_allclose(run.w[-1], flow.w[-1], rtol=1e-3)
    root = np.sqrt([1.0, 2.0]) - 0.5e-3 * c * np.sqrt([1.0, 2.0])
    np.testing.assert_allclose(run.w[1], root**2, rtol=1e-12)


def test_a_projection_that_is_none_is_not_used():
    """geomstats' hyperboloid moves points 1e-12 off it by a finite distance."""
    space = Hyperboloid(2)
    start, loss = space.projection(np.array([1.0, 0.5, 0.2])), lambda x: 0.5 * anp.arccosh(x[0]) ** 2
    run = rf.riemannian_gradient_descent(space, loss, start, 0.5, 3)
    distance = np.arccosh(run.w[:, 0])
    np.testing.assert_allclose(distance, distance[0] * 0.5 ** np.arange(4), rtol=1e-9)
    with pytest.raises(DomainError, match="step='exp'"):
        rf.riemannian_gradient_descent(space, loss, start, 0.5, 3, step="retraction")


@pytest.mark.parametrize("step", ["exp", "retraction"])
def test_a_step_out_of_the_space_ends_the_descent(step):
    space = rf.HessianManifold(rf.legendre.NegativeEntropy(2))
    with pytest.raises(ConvergenceError, match="stopped before step 1 of 3") as caught:
        rf.riemannian_gradient_descent(space, rf.losses.Linear([9.0, 1.0]), [1.0, 1.0], 1.0, 3, step=step)
    assert caught.value.partial.status == "left-domain"
    assert caught.value.partial.w.shape == (1, 2)


@pytest.mark.parametrize("step", ["retraction", lambda point, vector: 0.0 * point])
def test_a_step_to_where_there_is_no_projection_ends_the_descent(step):
    # Projected to the sphere, points too long to have a norm, and its centre, are no points of it.
    with pytest.raises(ConvergenceError, match="does not project"):
        rf.riemannian_gradient_descent(
            Hypersphere(3), lambda x: 1e200 * rayleigh(x), START, 1.0, 3, step=step
        )


def test_tangent_vectors_that_are_not_finite_are_named():
    class Broken(Hypersphere):
        def to_tangent(self, vector, base_point):
            return np.nan * vector

    with pytest.raises(DomainError, match="to_tangent of Broken gives no finite vectors"):
        rf.riemannian_gradient_descent(Broken(3), rayleigh, START, 0.1, 3)


def test_minibatches_come_from_the_seed(rng):
    loss = rf.losses.LeastSquares(rng.standard_normal((8, 3)), rng.standard_normal(8))
    args = (Euclidean(3), loss, np.zeros(3), 0.05, 20)
    runs = [rf.riemannian_gradient_descent(*args, batch_size=2, seed=s).w for s in (1, 1, 2)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert np.abs(runs[0] - runs[2]).max() > 1e-3
    plain = rf.mirror_descent(rf.legendre.SquaredNorm(3), *args[1:], batch_size=2, seed=1)
    np.testing.assert_allclose(runs[0], plain.w, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"step": np.ones(3)}, DomainError, "'exp', 'retraction' or a callable"),
        ({"step": "expo"}, DomainError, "'exp', 'retraction' or a callable"),
        ({"step_size": -1.0}, DomainError, "step_size"),
        ({"n_steps": 0}, DomainError, "n_steps"),
        ({"w_init": np.ones(3)}, ShapeError, r"shape \(4,\)"),
        ({"w_init": np.ones(4)}, DomainError, "lies on or outside"),
        ({"w_init": np.full(4, np.nan)}, DomainError, "finite"),
        ({"batch_size": 2}, DomainError, "no samples"),
        ({"space": Hypersphere(3, equip=False)}, DomainError, "equip"),
        ({"loss": rf.losses.Piecewise([1.0], [rf.losses.Linear(np.ones(4))] * 2)}, DomainError, "not time"),
        ({"step": lambda x, v: x[:2]}, ConvergenceError, "no finite point"),
    ],
    ids=["array", "step", "size", "steps", "shape", "off", "nan", "batch", "metric", "time", "callable"],
)
def test_bad_input_is_named(options, error, words):
    given = {"space": Hypersphere(3), "loss": rayleigh, "w_init": START, "step_size": 0.1, "n_steps": 2}
    given |= options
    with pytest.raises(error, match=words):
        rf.riemannian_gradient_descent(**given)


def test_stiefel_has_steps_of_both_kinds(rng):
    start = np.linalg.qr(rng.standard_normal((4, 2)))[0]

    def loss(X):
        return 0.5 * anp.trace(X.T @ SPREAD @ X @ np.diag([2.0, 1.0]))

    for step in ("exp", "retraction"):
        run = rf.riemannian_gradient_descent(Stiefel(4, 2), loss, start, 0.1, 400, step=step)
        np.testing.assert_allclose(np.abs(run.w[-1]), np.eye(4)[:, :2], atol=1e-6)


@pytest.mark.parametrize("kind", ["Riemannian", "gradient", "mirror"])
def test_goals_end_a_descent(kind, capsys):
    """f = ½|w - goal|² in the plane: steps of ½ halve the gradient, which is 5 at the start."""
    goal = np.array([3.0, 4.0])
    loss = rf.losses.LeastSquares(np.sqrt(2.0) * np.eye(2), np.sqrt(2.0) * goal)
    descend = {
        "Riemannian": lambda **kw: rf.riemannian_gradient_descent(
            Euclidean(2), loss, np.zeros(2), 0.5, 99, **kw
        ),
        "gradient": lambda **kw: rf.gradient_descent(
            rf.parametrizations.Identity(2), loss, np.zeros(2), 0.5, 99, **kw
        ),
        "mirror": lambda **kw: rf.mirror_descent(
            rf.legendre.SquaredNorm(2), loss, np.zeros(2), 0.5, 99, **kw
        ),
    }[kind]
    run = descend(until_gradient=0.7, progress=True)
    assert run.status == "reached" and len(run.steps) == 4  # 5, 2.5, 1.25, 0.625
    assert "descent" in capsys.readouterr().err
    assert "the gradient fell to 0.7 after 3 steps" in run.message
    assert len(descend(until_loss=12.6).steps) == 1
    assert descend().status == "finished"
    with pytest.raises(DomainError, match="until_gradient"):
        descend(until_gradient=-1.0)
