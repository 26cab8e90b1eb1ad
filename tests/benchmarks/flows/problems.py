"""The problems of the flows benchmark, what a peer has to be told of them, and their reference solutions.

All are least squares, L(w) = ‖Zw - Y‖²/2n. The generator is NumPy's, of seed 0, and draws in the order given.

- Regression, w = u² - v² from u = v = α: Z (n, d) standard normal; the places of the nonzeros, without
  replacement; their sizes, uniform in [0.5, 1.5]; their signs. Y = Zw for that w.
- Simplex, the entropy of d + 1 probabilities from the uniform one: Z (n, d) standard normal; d + 1 numbers g,
  standard normal. Y is that of the weights in proportion to e^{2g}. Peers integrate on the sphere w_i = x_i².
- Matrices, -log det from the identity: n symmetric measurements (B + Bᵀ)/2, B standard normal; C (m, 2m),
  standard normal. Y is that of CCᵀ/2m. Peers integrate W' = -W ∇L(W) W.

The outputs are t = 0 and 25 times, spaced evenly in ln t from T/1000 to T. References integrate the equation
in the row space, ν' = (Z w(ν) - Y)/n, written here by hand: DOP853 at 1e-13; Radau at 1e-10 has to agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

import riemflow as rf

N_TIMES = 25
AGREE = 1e-8  # what the two integrators of a reference may differ by


def error(w: np.ndarray, reference: np.ndarray) -> float:
    """max |w - w_ref| / max |w_ref|, infinite if w is not finite."""
    with np.errstate(all="ignore"):
        largest = float(np.abs(w - reference).max() / np.abs(reference).max())
    return largest if np.isfinite(largest) else np.inf


@dataclass(frozen=True)
class Problem:
    """A loss, a Legendre function and a start. A peer integrates x' = velocity(x) from x_init.

    Attributes
    ----------
    name : str
    d, n : int
        Weights (rows, for matrices) and samples.
    T : float
        The end time.
    """

    name: str
    d: int
    n: int
    T: float

    @cached_property
    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Z and Y."""
        raise NotImplementedError

    @property
    def scale(self) -> float:
        """The size of x_init, for a peer's absolute tolerance."""
        return 1.0

    @property
    def times(self) -> np.ndarray:
        return np.append(0.0, np.geomspace(1e-3 * self.T, self.T, N_TIMES))

    @property
    def loss(self) -> rf.losses.LeastSquares:
        return rf.losses.LeastSquares(*self.data)

    def legendre(self) -> tuple[Any, np.ndarray]:
        """R and w_init."""
        raise NotImplementedError

    def parametrization(self) -> tuple[Any, Any, np.ndarray] | None:
        """G, the loss whose gradient flow is this flow, and x_init; None if there is no such G."""
        return None

    # For the peers. `xp` is NumPy, autograd's, JAX's or torch; `data` are arrays of its own.

    @property
    def x_init(self) -> np.ndarray:
        raise NotImplementedError

    @property
    def peer_data(self) -> tuple[np.ndarray, np.ndarray]:
        return self.data

    def weights_of(self, x: Any) -> Any:
        """Weights from a peer's states: shape=[..., D] -> shape=[..., d]."""
        raise NotImplementedError

    def velocity(self, xp: Any, x: Any, Z: Any, Y: Any) -> Any:
        """The right side, with the gradient by hand."""
        raise NotImplementedError

    def value(self, x: Any, Z: Any, Y: Any) -> Any:
        """The loss of a peer's state, to be differentiated automatically."""
        raise NotImplementedError

    def along(self, x: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """The right side from the gradient of `value`."""
        return -gradient

    # The reference.

    def weights(self, nu: np.ndarray) -> np.ndarray:
        """w = ∇R*(∇R(w_init) - Zᵀν)."""
        raise NotImplementedError

    def gram(self, nu: np.ndarray) -> np.ndarray:
        """Z ∇²R* Zᵀ there."""
        raise NotImplementedError

    @cached_property
    def reference(self) -> np.ndarray:
        """w at the output times."""
        Z, Y = self.data

        def rhs(t, nu):
            return (Z @ self.weights(nu) - Y) / self.n

        def jac(t, nu):
            return -self.gram(nu) / self.n

        span, start = (0.0, self.T), np.zeros(self.n)
        options = {"t_eval": self.times}
        with np.errstate(all="ignore"):  # a stage too far out is refused by the step's error
            tight = solve_ivp(rhs, span, start, method="DOP853", rtol=1e-13, atol=1e-15, **options)
            check = solve_ivp(rhs, span, start, method="Radau", rtol=1e-10, atol=1e-13, jac=jac, **options)
        if not (tight.success and check.success):
            raise RuntimeError(f"{self.name}: no reference ({tight.message} {check.message})")
        w, other = (np.array([self.weights(nu) for nu in run.y.T]) for run in (tight, check))
        if not error(other, w) <= AGREE:
            raise RuntimeError(f"{self.name}: DOP853 and Radau differ by {error(other, w):.1e}")
        return w


@dataclass(frozen=True)
class Regression(Problem):
    """Sparse regression by the diagonal linear network w = u² - v²."""

    alpha: float = 1e-4
    n_nonzero: int = 4

    @property
    def scale(self):
        return self.alpha

    @cached_property
    def data(self):
        rng = np.random.default_rng(0)
        Z = rng.standard_normal((self.n, self.d))
        places = rng.choice(self.d, self.n_nonzero, replace=False)
        w = np.zeros(self.d)
        w[places] = rng.uniform(0.5, 1.5, self.n_nonzero) * rng.choice([-1.0, 1.0], self.n_nonzero)
        return Z, Z @ w

    def legendre(self):
        start = np.full(self.d, self.alpha)
        return rf.legendre.HyperbolicEntropy(start, start), np.zeros(self.d)

    def parametrization(self):
        return rf.parametrizations.HadamardDifference(self.d), self.loss, self.x_init

    @property
    def x_init(self):
        return np.full(2 * self.d, self.alpha)

    def weights_of(self, x):
        return x[..., : self.d] ** 2 - x[..., self.d :] ** 2

    def velocity(self, xp, x, Z, Y):
        u, v = x[: self.d], x[self.d :]
        slope = ((Z @ (u * u - v * v) - Y) / self.n) @ Z
        return xp.concatenate([-2.0 * u * slope, 2.0 * v * slope])

    def value(self, x, Z, Y):
        gap = Z @ (x[: self.d] ** 2 - x[self.d :] ** 2) - Y
        return 0.5 * (gap @ gap) / self.n

    def weights(self, nu):
        return 2.0 * self.alpha**2 * np.sinh(-4.0 * (nu @ self.data[0]))

    def gram(self, nu):
        Z = self.data[0]
        return (Z * (8.0 * self.alpha**2 * np.cosh(4.0 * (nu @ Z)))) @ Z.T


@dataclass(frozen=True)
class Simplex(Problem):
    """The entropy on the simplex: replicator dynamics."""

    @property
    def scale(self):
        return (self.d + 1.0) ** -0.5

    @cached_property
    def data(self):
        rng = np.random.default_rng(0)
        Z = rng.standard_normal((self.n, self.d))
        p = np.exp(2.0 * rng.standard_normal(self.d + 1))
        return Z, Z @ (p / p.sum())[:-1]

    def legendre(self):
        return rf.legendre.SimplexEntropy(self.d), np.full(self.d, 1.0 / (self.d + 1))

    def parametrization(self):
        # The sphere's R is the entropy with the factor ¼, so its clock runs four times as fast.
        Z, Y = self.data
        return rf.parametrizations.Spherical(self.d), rf.losses.LeastSquares(Z / 2, Y / 2), self.x_init

    @property
    def x_init(self):
        return np.full(self.d + 1, self.scale)

    @property
    def peer_data(self):
        Z, Y = self.data
        return np.column_stack([Z, np.zeros(self.n)]), Y

    def weights_of(self, x):
        return x[..., :-1] ** 2

    def velocity(self, xp, x, Z, Y):
        w = x * x
        slope = ((Z @ w - Y) / self.n) @ Z
        return -0.5 * x * (slope - w @ slope)

    def value(self, x, Z, Y):
        gap = Z @ x**2 - Y
        return 0.5 * (gap @ gap) / self.n

    def along(self, x, gradient):
        return -0.25 * (gradient - x * (x @ gradient))

    def weights(self, nu):
        mu = -(nu @ self.data[0])
        top = max(mu.max(), 0.0)
        p = np.exp(mu - top)
        return p / (np.exp(-top) + p.sum())

    def gram(self, nu):
        Z, w = self.data[0], self.weights(nu)
        return (Z * w) @ Z.T - np.outer(Z @ w, Z @ w)


@dataclass(frozen=True)
class Matrices(Problem):
    """-log det on positive definite matrices, d x d, measured n times; w is the upper triangle."""

    @cached_property
    def measurements(self) -> np.ndarray:
        """Shape=[n, d²]."""
        return self._draws[0]

    @cached_property
    def _draws(self) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(0)
        B = rng.standard_normal((self.n, self.d, self.d))
        A = (0.5 * (B + np.swapaxes(B, 1, 2))).reshape(self.n, -1)
        C = rng.standard_normal((self.d, 2 * self.d))
        return A, A @ (C @ C.T / (2 * self.d)).ravel()

    @cached_property
    def data(self):
        A, Y = self._draws
        rows, columns = np.triu_indices(self.d)
        return self._triangle(A) * np.where(rows == columns, 1.0, 2.0), Y

    def _triangle(self, x: np.ndarray) -> np.ndarray:
        rows, columns = np.triu_indices(self.d)
        return np.asarray(x)[..., rows * self.d + columns]

    def legendre(self):
        return rf.legendre.LogDet(self.d), self._triangle(self.x_init)

    @property
    def x_init(self):
        return np.eye(self.d).ravel()

    @property
    def peer_data(self):
        return self._draws

    def weights_of(self, x):
        return self._triangle(x)

    def velocity(self, xp, x, Z, Y):
        W = x.reshape(self.d, self.d)
        slope = (((Z @ x - Y) / self.n) @ Z).reshape(self.d, self.d)
        return -(W @ slope @ W).reshape(-1)

    def value(self, x, Z, Y):
        gap = Z @ x - Y
        return 0.5 * (gap @ gap) / self.n

    def along(self, x, gradient):
        W = x.reshape(self.d, self.d)
        return -(W @ gradient.reshape(self.d, self.d) @ W).reshape(-1)

    def _matrix(self, nu: np.ndarray) -> np.ndarray:
        return np.linalg.inv(np.eye(self.d) + (nu @ self.measurements).reshape(self.d, self.d))

    def weights(self, nu):
        return self._triangle(self._matrix(nu).ravel())

    def gram(self, nu):
        W, A = self._matrix(nu), self.measurements.reshape(self.n, self.d, self.d)
        return (W @ A @ W).reshape(self.n, -1) @ self.measurements.T


def sparse(name: str, d: int, n: int, alpha: float, T: float, n_nonzero: int | None = None) -> Regression:
    return Regression(name, d, n, T, alpha=alpha, n_nonzero=n_nonzero or n // 5)


PROBLEMS: list[Problem] = [
    sparse("A", 100, 20, 1e-2, 160.0),
    sparse("B", 100, 20, 1e-4, 500.0),
    sparse("C", 100, 20, 1e-8, 1600.0),
    sparse("D", 1000, 100, 1e-4, 640.0),
    sparse("E", 10_000, 100, 1e-4, 640.0),
    sparse("slow-1", 100, 40, 1e-2, 1e4, 2),
    sparse("slow-2", 100, 40, 1e-3, 1e5, 2),
    Simplex("simplex-200", 200, 10, 3e4),
    Simplex("simplex-2000", 2000, 40, 3e4),
    Matrices("SPD-10", 10, 15, 1e3),
    Matrices("SPD-30", 30, 60, 1e3),
]
