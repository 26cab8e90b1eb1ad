"""Other ways to embed a metric: a small neural network, and the relaxation of a point cloud.

Each returns its trace, (seconds, defect) pairs, the defect at points it was not fitted to; measuring is
not timed.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.spatial import cKDTree

import riemflow as rf
from riemflow.embedding.embedding import relative_defect

Trace = list[tuple[float, float]]


class Clock:
    """Seconds of work, without those spent measuring, and the defects measured."""

    def __init__(self, R: rf.LegendreFunction, region: rf.Box, n_points: int = 2000):
        rng = np.random.default_rng(99)
        self.points = np.concatenate([region.corners(), region.sample(n_points, rng)])
        self.metric = R.hessian(self.points)
        self.trace: Trace = []
        self.spent, self.began = 0.0, time.perf_counter()

    def seconds(self) -> float:
        return self.spent + time.perf_counter() - self.began

    def measure(self, jacobian: Callable[[np.ndarray], np.ndarray]) -> None:
        self.spent = self.seconds()
        defect = float(relative_defect(jacobian(self.points), self.metric).max())
        self.trace.append((self.spent, defect))
        self.began = time.perf_counter()


def multilayer_perceptron(
    R: rf.LegendreFunction,
    region: rf.Box,
    budget: float,
    ambient_dim: int = 10,
    width: int = 64,
    seed: int = 0,
) -> Trace:
    """Fit a tanh network with two hidden layers by Adam, then by L-BFGS, in JAX and float64.

    It minimises the mean of ‖g^{-1/2} JᵀJ g^{-1/2} - I‖²_F over 1,000 points; Adam has a third of the budget.
    """
    import jax
    import jax.numpy as jnp
    import optax

    jax.config.update("jax_enable_x64", True)
    rng = np.random.default_rng(seed)
    points = region.sample(1000, rng)
    half = 0.5 * (region.upper - region.lower)
    values, vectors = np.linalg.eigh(R.hessian(points))
    whitener = (vectors / np.sqrt(values)[:, None, :]) @ np.swapaxes(vectors, -1, -2)
    sizes = [R.dim, width, width, ambient_dim]
    params = [
        (jnp.asarray(rng.standard_normal((m, n)) / np.sqrt(m)), jnp.zeros(n))
        for m, n in itertools.pairwise(sizes)
    ]

    def network(params, w):
        y = (w - region.center) / half
        for A, b in params[:-1]:
            y = jnp.tanh(y @ A + b)
        return y @ params[-1][0] + params[-1][1]

    jacobians = jax.vmap(jax.jacfwd(network, argnums=1), (None, 0))

    def loss(params):
        J = jacobians(params, points) @ whitener
        gap = jnp.swapaxes(J, -1, -2) @ J - jnp.eye(R.dim)
        return jnp.mean(jnp.sum(gap**2, axis=(-2, -1)))

    value_and_grad = jax.jit(jax.value_and_grad(loss))
    at = jax.jit(jacobians)
    jax.block_until_ready(value_and_grad(params))  # compilation is not timed
    clock = Clock(R, region)
    optimiser = optax.adam(optax.cosine_decay_schedule(1e-2, 3000, 0.01))
    state: Any = optimiser.init(params)
    step = jax.jit(optimiser.update)
    for k in range(3000):
        _, slope = value_and_grad(params)
        change, state = step(slope, state)
        params = optax.apply_updates(params, change)
        if k % 100 == 99:
            clock.measure(lambda w, p=params: np.asarray(at(p, w)))
            if clock.seconds() > budget / 3:
                break
    flat, unravel = jax.flatten_util.ravel_pytree(params)

    def objective(flat):
        value, slope = value_and_grad(unravel(jnp.asarray(flat)))
        return float(value), np.asarray(jax.flatten_util.ravel_pytree(slope)[0])

    def callback(flat):
        counter[0] += 1
        if counter[0] % 50 == 0:
            clock.measure(lambda w: np.asarray(at(unravel(jnp.asarray(flat)), w)))
            if clock.seconds() > budget:
                raise StopIteration

    counter = [0]
    options = {"maxiter": 100_000, "maxfun": 200_000, "maxcor": 30, "ftol": 0.0, "gtol": 0.0}
    minimize(objective, np.asarray(flat), jac=True, method="L-BFGS-B", callback=callback, options=options)
    return clock.trace


def local_slopes(at: np.ndarray, w: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
    """d_qj such that Σ_j d_qj x_j is the slope at q of a quadratic fitted to its neighbours: [n, d, k]."""
    d, rows = w.shape[1], []
    for point, near in zip(at, neighbours, strict=True):
        gap = w[near] - point
        pairs = [gap[:, i] * gap[:, j] for i in range(d) for j in range(i, d)]
        rows.append(np.linalg.pinv(np.column_stack([np.ones(len(near)), gap, *pairs]))[1 : 1 + d])
    return np.array(rows)


def riemannian_relaxation(
    R: rf.LegendreFunction,
    region: rf.Box,
    budget: float,
    ambient_dim: int,
    n_points: int = 1500,
    seed: int = 0,
) -> Trace:
    """Relax the images of a point cloud until its estimated metric is g, as megaman does.

    The Jacobian at a point is the slope of a quadratic fitted to its neighbours' images, which is linear in
    them: J_q = Σ_j x_j d_qj. L-BFGS minimises the mean of ‖g^{-1/2} JᵀJ g^{-1/2} - I‖²_F over the images x_j.
    Between the points the defect is that of such a fit about the point.
    """
    rng = np.random.default_rng(seed)
    w = np.concatenate([region.corners(), region.sample(n_points - 2**R.dim, rng)])
    d, D = R.dim, ambient_dim
    n_terms = 1 + d + d * (d + 1) // 2
    size = region.upper - region.lower
    tree = cKDTree(w / size)
    neighbours = tree.query(w / size, 8 * n_terms)[1]
    slopes = local_slopes(w, w, neighbours)
    values, vectors = np.linalg.eigh(R.hessian(w))
    whitener = (vectors / np.sqrt(values)[:, None, :]) @ np.swapaxes(vectors, -1, -2)
    slopes = whitener @ slopes

    def objective(flat):
        x = flat.reshape(-1, D)
        J = slopes @ x[neighbours]  # [q, d, D]
        gap = J @ np.swapaxes(J, -1, -2) - np.eye(d)
        pull = np.swapaxes(slopes, -1, -2) @ (4 * gap @ J)
        slope = np.zeros_like(x)
        np.add.at(slope, neighbours, pull)
        return float((gap**2).sum() / len(w)), (slope / len(w)).ravel()

    centre = R.hessian(region.center)
    x = np.zeros((len(w), D))
    x[:, :d] = (w - region.center) @ np.linalg.cholesky(centre)
    spare = rng.standard_normal((d * d, D - d))
    outer = (w - region.center)[:, :, None] * (w - region.center)[:, None, :]
    x[:, d:] = 0.05 * np.sqrt(np.trace(centre) / d) * outer.reshape(len(w), -1) @ spare
    clock, counter = Clock(R, region), [0]

    around = tree.query(clock.points / size, 8 * n_terms)[1]
    there = local_slopes(clock.points, w, around)

    def jacobian(x):
        return np.swapaxes(there @ x[around], -1, -2)

    def callback(flat):
        counter[0] += 1
        if counter[0] % 100 == 0:
            clock.measure(lambda _: jacobian(flat.reshape(-1, D)))
            if clock.seconds() > budget:
                raise StopIteration

    clock.measure(lambda _: jacobian(x))
    options = {"maxiter": 100_000, "maxfun": 200_000, "maxcor": 30, "ftol": 0.0, "gtol": 0.0}
    found = minimize(objective, x.ravel(), jac=True, method="L-BFGS-B", callback=callback, options=options)
    clock.measure(lambda _: jacobian(found.x.reshape(-1, D)))
    return clock.trace
