"""Building blocks of closed-form embeddings: maps with two derivatives, a rough inverse and a validity set.

Raw, like all private methods: float64 arrays inside the domain, no checks.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.linalg import solve_triangular

ROOT_FLOOR = 1e-3  # a component of 2√p that is not positive is replaced by this share of the largest


class Map:
    """A map [..., d] -> [..., D] with its first two derivatives."""

    dim: int
    ambient_dim: int
    is_local = False  # whether the map is valid on a part of dom R only

    def fun(self, w: np.ndarray) -> np.ndarray:
        """F(w): shape=[..., D]."""
        raise NotImplementedError

    def jacobian(self, w: np.ndarray) -> np.ndarray:
        """∂F(w): shape=[..., D, d]."""
        raise NotImplementedError

    def hessian(self, w: np.ndarray) -> np.ndarray:
        """∂²F(w): shape=[..., D, d, d]."""
        raise NotImplementedError

    def start(self, x: np.ndarray) -> np.ndarray:
        """A left inverse, exact on the image: shape=[..., D] -> shape=[..., d]."""
        raise NotImplementedError

    def belongs(self, w: np.ndarray) -> np.ndarray:
        """Where in dom R the map is a valid, injective embedding: shape=[..., d] -> bool, shape=[...]."""
        return np.ones(w.shape[:-1], bool)


class RidgeMap(Map):
    """F_k = f(a_k·w + b_k) with f' = √r'': the flat coordinates of Σ_k r(a_k·w + b_k)."""

    def __init__(self, A: np.ndarray, b: np.ndarray, scalar: Any):
        self.A, self.b, self.scalar = A, b, scalar
        self.ambient_dim, self.dim = A.shape
        self._left = np.linalg.pinv(A)

    def fun(self, w):
        return self.scalar._flat(w @ self.A.T + self.b)

    def jacobian(self, w):
        return np.sqrt(self.scalar._r2(w @ self.A.T + self.b))[..., None] * self.A

    def hessian(self, w):
        t = w @ self.A.T + self.b
        second = 0.5 * self.scalar._r3(t) / np.sqrt(self.scalar._r2(t))
        return second[..., None, None] * (self.A[:, :, None] * self.A[:, None, :])

    def start(self, x):
        return (self.scalar._flat_inverse(x) - self.b) @ self._left.T


class LinearMap(Map):
    """F = U w with UᵀU = A, the upper Cholesky factor, for ½wᵀAw."""

    def __init__(self, A: np.ndarray):
        self.upper = np.linalg.cholesky(A).T.copy()
        self.dim = self.ambient_dim = len(A)

    def fun(self, w):
        return w @ self.upper.T

    def jacobian(self, w):
        return np.broadcast_to(self.upper, (*w.shape, self.dim)).copy()

    def hessian(self, w):
        return np.zeros((*w.shape, self.dim, self.dim))

    def start(self, x):
        return solve_triangular(self.upper, x.reshape(-1, self.dim).T).T.reshape(x.shape)


class SphereMap(Map):
    """F = 2√p for the probabilities p_k ∝ c_k exp(a_k·w), on the sphere of radius 2."""

    def __init__(self, R: Any):
        self.R = R
        self.ambient_dim, self.dim = R.A.shape
        # a_k·w - ψ = ln p_k - ln c_k is linear in (w, ψ).
        self._left = np.linalg.pinv(np.hstack([R.A, -np.ones((self.ambient_dim, 1))]))[:-1]

    def _roots(self, w: np.ndarray) -> np.ndarray:
        # √p from half the exponents, so that a tiny p does not underflow.
        t = self.R._exponents(w)
        t = 0.5 * (t - t.max(axis=-1, keepdims=True))
        return np.exp(t) / np.linalg.norm(np.exp(t), axis=-1, keepdims=True)

    def fun(self, w):
        return 2.0 * self._roots(w)

    def jacobian(self, w):
        q = self._roots(w)
        return q[..., None] * (self.R.A - ((q * q) @ self.R.A)[..., None, :])

    def hessian(self, w):
        q = self._roots(w)
        centred = self.R.A - ((q * q) @ self.R.A)[..., None, :]
        weighted = q[..., None] * centred
        covariance = np.swapaxes(weighted, -1, -2) @ weighted
        outer = 0.5 * centred[..., :, None] * centred[..., None, :]
        return q[..., None, None] * (outer - covariance[..., None, :, :])

    def start(self, x):
        floor = ROOT_FLOOR * np.maximum(x.max(axis=-1, keepdims=True), 1e-300)
        roots = np.where(x > 0, x, floor)
        return (2.0 * np.log(roots) - self.R.log_weights) @ self._left.T


class StackMap(Map):
    """(F_1(w), F_2(w), …), for a sum of metrics."""

    def __init__(self, maps: Sequence[Map]):
        self.maps = list(maps)
        self.dim = maps[0].dim
        self.ambient_dim = sum(part.ambient_dim for part in maps)
        self.is_local = any(part.is_local for part in maps)
        self._edges = np.cumsum([part.ambient_dim for part in maps])[:-1]

    def fun(self, w):
        return np.concatenate([part.fun(w) for part in self.maps], axis=-1)

    def jacobian(self, w):
        return np.concatenate([part.jacobian(w) for part in self.maps], axis=-2)

    def hessian(self, w):
        return np.concatenate([part.hessian(w) for part in self.maps], axis=-3)

    def start(self, x):
        # Each part inverts alone; off the image they disagree, and the closest serves.
        pieces = np.split(x, self._edges, axis=-1)
        found = np.stack([part.start(piece) for part, piece in zip(self.maps, pieces, strict=True)])
        distance = np.linalg.norm(self.fun(found) - x, axis=-1)
        best = np.argmin(np.where(np.isfinite(distance), distance, np.inf), axis=0)
        return np.take_along_axis(found, best[None, ..., None], axis=0)[0]

    def belongs(self, w):
        return np.all([part.belongs(w) for part in self.maps], axis=0)


class ScaledMap(Map):
    """√c F(w), for a multiple of a metric."""

    def __init__(self, factor: float, base: Map):
        self.root, self.base = np.sqrt(factor), base
        self.dim, self.ambient_dim, self.is_local = base.dim, base.ambient_dim, base.is_local

    def fun(self, w):
        return self.root * self.base.fun(w)

    def jacobian(self, w):
        return self.root * self.base.jacobian(w)

    def hessian(self, w):
        return self.root * self.base.hessian(w)

    def start(self, x):
        return self.base.start(x / self.root)

    def belongs(self, w):
        return self.base.belongs(w)


class AffineMap(Map):
    """F(A w + b) for an injective A."""

    def __init__(self, base: Map, A: np.ndarray, b: np.ndarray):
        self.base, self.A, self.b = base, A, b
        self.dim, self.ambient_dim, self.is_local = A.shape[1], base.ambient_dim, base.is_local
        self._left = np.linalg.pinv(A)

    def fun(self, w):
        return self.base.fun(w @ self.A.T + self.b)

    def jacobian(self, w):
        return self.base.jacobian(w @ self.A.T + self.b) @ self.A

    def hessian(self, w):
        return self.A.T @ self.base.hessian(w @ self.A.T + self.b) @ self.A

    def start(self, x):
        return (self.base.start(x) - self.b) @ self._left.T

    def belongs(self, w):
        return self.base.belongs(w @ self.A.T + self.b)


class BlockMap(Map):
    """(F_1(w_(1)), F_2(w_(2)), …) on separate blocks of variables."""

    def __init__(self, maps: Sequence[Map]):
        self.maps = list(maps)
        self.dim = sum(part.dim for part in maps)
        self.ambient_dim = sum(part.ambient_dim for part in maps)
        self.is_local = any(part.is_local for part in maps)
        inner = np.cumsum([0] + [part.dim for part in maps])
        outer = np.cumsum([0] + [part.ambient_dim for part in maps])
        self._in = [slice(a, b) for a, b in pairwise(inner)]
        self._out = [slice(a, b) for a, b in pairwise(outer)]

    def fun(self, w):
        return np.concatenate(
            [part.fun(w[..., s]) for part, s in zip(self.maps, self._in, strict=True)], axis=-1
        )

    def jacobian(self, w):
        result = np.zeros((*w.shape[:-1], self.ambient_dim, self.dim))
        for part, s, out in zip(self.maps, self._in, self._out, strict=True):
            result[..., out, s] = part.jacobian(w[..., s])
        return result

    def hessian(self, w):
        result = np.zeros((*w.shape[:-1], self.ambient_dim, self.dim, self.dim))
        for part, s, out in zip(self.maps, self._in, self._out, strict=True):
            result[..., out, s, s] = part.hessian(w[..., s])
        return result

    def start(self, x):
        parts = zip(self.maps, self._out, strict=True)
        return np.concatenate([part.start(x[..., out]) for part, out in parts], axis=-1)

    def belongs(self, w):
        return np.all([part.belongs(w[..., s]) for part, s in zip(self.maps, self._in, strict=True)], axis=0)
