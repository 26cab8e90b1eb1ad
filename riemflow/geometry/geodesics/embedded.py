"""Geodesics of a submanifold of R^D, whose acceleration in R^D is normal, from its embedding."""

from __future__ import annotations

import numpy as np

from riemflow.embedding import IsometricEmbedding
from riemflow.geometry.geodesics.energy import Paths, joined
from riemflow.geometry.geodesics.integrated import Integrated


def tangent_frame(jacobian: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Q and R with J = QR and QᵀQ = 1: shape=[..., D, d] -> shapes=[..., D, d] and [..., d, d].

    The columns of Q span the tangent space; ``J⁺ = R⁻¹Qᵀ``, whose condition is that of J and not, as by
    (JᵀJ)⁻¹Jᵀ, its square.
    """
    Q, R = np.linalg.qr(jacobian)
    return Q, R


class EmbeddedGeodesics(Integrated):
    """Geodesics ``w'' = -J⁺∂²F(w', w')`` of ∂Fᵀ∂F, from F alone, whether its metric is a Hessian or not."""

    def __init__(self, F: IsometricEmbedding):
        self.embedding = F
        super().__init__(self._metric, F._belongs, self._spread)

    def _metric(self, w):
        J = self.embedding._jacobian(w)
        return np.swapaxes(J, -1, -2) @ J

    def _spread(self, w, v, u):
        _, J, second = self.embedding._jet(w)
        Q, R = tangent_frame(J)
        turn = (second @ v[..., None, :, None])[..., 0] @ u[..., None]
        return -np.linalg.solve(R, np.swapaxes(Q, -1, -2) @ turn)[..., 0]

    def log(self, q, w):
        return joined(self.embedding, q, w, EmbeddedPaths)


class EmbeddedPaths(Paths):
    """Paths x(t) = F(w(t)) of M with the energy ``½ ∫ |x'|²``, whose second variation is

    ``∫ |(∂F δ)'|² - II(δ, δ)·II(w', w')``, with ``(∂F δ)' = ∂F δ' + ∂²F(w', δ)``.
    """

    arrays = (*Paths.arrays, "J", "second")

    def _metric(self, inside):
        F, shape = self.R, (*self.w.shape[:-1], self.R.ambient_dim, self.w.shape[-1])
        self.J, self.second = np.full(shape, np.nan), np.full((*shape, shape[-1]), np.nan)
        _, self.J[inside], self.second[inside] = F._jet(self.w[inside])
        return np.swapaxes(self.J[inside], -1, -2) @ self.J[inside]

    def _change(self):
        """∂²F(w', ·) along the paths, [..., D, d], and the derivatives of ½ |x'|² by w."""
        change = (self.second @ self.v[..., None, :, None])[..., 0]
        speed = self.J @ self.v[..., None]
        return change, (np.swapaxes(change, -1, -2) @ speed)[..., 0]

    def _bilinear(self, change, curved):
        across = np.swapaxes(self.J, -1, -2) @ change
        square = np.swapaxes(change, -1, -2) @ change
        if curved:
            Q = tangent_frame(self.J)[0]
            turn = change @ self.v[..., None]
            normal = turn - Q @ (np.swapaxes(Q, -1, -2) @ turn)
            square = square - np.einsum("...a,...aij->...ij", normal[..., 0], self.second)
        return across, square
