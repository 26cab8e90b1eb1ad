"""The metric that R^D induces on an embedded submanifold, and how the submanifold bends in R^D."""

from __future__ import annotations

import numpy as np
from geomstats.geometry.pullback_metric import PullbackMetric

from riemflow.autodiff import anp
from riemflow.geometry.geodesics.embedded import EmbeddedGeodesics, tangent_frame
from riemflow.geometry.geodesics.solver import GeodesicMetric, GeodesicSolver


class SubmanifoldMetric(GeodesicMetric, PullbackMetric):
    """The metric ``g = JᵀJ``, J = ∂F, on an `EmbeddedSubmanifold`, from F's own two derivatives.

    ``Γ = J⁺∂²F``; what is left, ``II = (1 - JJ⁺)∂²F``, is the second fundamental form, and by the Gauss
    equation its products are the curvature. Geodesics are integrated by DOP853 with relative tolerance
    1e-12, and those between two points are paths of least energy among piecewise polynomials, to 1e-9 or
    better.

    Parameters
    ----------
    space : EmbeddedSubmanifold
    """

    def _instantiate_solvers(self):
        geodesics = EmbeddedGeodesics(self._space.embedding)
        self.exp_solver = self.log_solver = GeodesicSolver(self._space, geodesics)

    def _split(self, base_point) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return Q and R of J = QR, and ∂²F."""
        F = self._space.embedding
        _, J, second = F._jet(F._inside(base_point))
        return *tangent_frame(J), second

    def metric_matrix(self, base_point=None):
        """g_ij = ∂_i F · ∂_j F.

        Parameters
        ----------
        base_point : array-like, shape=[..., dim]

        Returns
        -------
        mat : array-like, shape=[..., dim, dim]

        Raises
        ------
        DomainError
            If a base point lies outside the region.
        """
        J = self._space.jacobian_immersion(base_point)
        # Through autograd's NumPy, so that geomstats' automatic derivatives of the metric pass through.
        return anp.swapaxes(J, -1, -2) @ J

    def cometric_matrix(self, base_point=None):
        """g⁻¹ = R⁻¹R⁻ᵀ for J = QR: shape=[..., dim] -> shape=[..., dim, dim]."""
        return _cometric(tangent_frame(self._space.jacobian_immersion(base_point))[1])

    def christoffels(self, base_point=None):
        """Γ^k_ij, the components of ∂_i∂_j F's tangential part.

        Parameters
        ----------
        base_point : array-like, shape=[..., dim]

        Returns
        -------
        christoffels : array-like, shape=[..., dim, dim, dim]
            The contravariant index k first.
        """
        Q, R, second = self._split(base_point)
        d = second.shape[-1]
        flat = np.swapaxes(Q, -1, -2) @ second.reshape(*second.shape[:-2], d * d)
        return np.linalg.solve(R, flat).reshape(*flat.shape[:-1], d, d)

    def second_fundamental_form(self, base_point):
        """II_ij, the normal part of ∂_i∂_j F.

        Parameters
        ----------
        base_point : array-like, shape=[..., dim]

        Returns
        -------
        second_fundamental_form : array-like, shape=[..., D, dim, dim]
            The index of R^D first.
        """
        return self._normal(*self._split(base_point))

    def _normal(self, Q, R, second) -> np.ndarray:
        flat = second.reshape(*second.shape[:-2], -1)
        return (flat - Q @ (np.swapaxes(Q, -1, -2) @ flat)).reshape(second.shape)

    def mean_curvature_vector(self, base_point):
        """H = g^{ij} II_ij, the trace: of length d/r on a sphere of radius r, and not divided by d.

        So does geomstats compute it, whose formula has another factor 1/d.

        Parameters
        ----------
        base_point : array-like, shape=[..., dim]

        Returns
        -------
        mean_curvature_vector : array-like, shape=[..., D]
        """
        parts = self._split(base_point)
        return np.einsum("...ij,...aij->...a", _cometric(parts[1]), self._normal(*parts))

    def riemann_tensor(self, base_point=None):
        """The curvature by the Gauss equation, ``⟨R(∂_j, ∂_k)∂_i, ∂_m⟩ = II_jm · II_ki - II_ji · II_km``.

        Where F is isometric it equals the intrinsic curvature of g (Theorema egregium), for g = ∇²R that of
        `HessianMetric`, which comes from ∇³R alone.

        Parameters
        ----------
        base_point : array-like, shape=[..., dim]

        Returns
        -------
        riemann_tensor : array-like, shape=[..., dim, dim, dim, dim]
            R_ijk^l = dw^l(R(∂_j, ∂_k) ∂_i), the contravariant index last, as in geomstats.
        """
        Q, R, second = self._split(base_point)
        bend = self._normal(Q, R, second)
        d = bend.shape[-1]
        flat = bend.reshape(*bend.shape[:-2], d * d)
        gram = (np.swapaxes(flat, -1, -2) @ flat).reshape(*bend.shape[:-3], d, d, d, d)  # [j, m, k, i]
        product = np.moveaxis(gram, (-1, -4, -2, -3), (-4, -3, -2, -1))
        lowered = product - np.swapaxes(product, -3, -2)
        return lowered @ _cometric(R)[..., None, None, :, :]


def _cometric(R: np.ndarray) -> np.ndarray:
    half = np.linalg.solve(R, np.broadcast_to(np.eye(R.shape[-1]), R.shape))
    return half @ np.swapaxes(half, -1, -2)
