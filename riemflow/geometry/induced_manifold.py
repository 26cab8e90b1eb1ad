"""The weights of a parametrization with the metric that its gradient flow induces, Hessian or not."""

from __future__ import annotations

from typing import Any

import geomstats.backend as gs
import numpy as np
from geomstats.geometry.base import VectorSpaceOpenSet
from geomstats.geometry.euclidean import Euclidean
from geomstats.geometry.riemannian_metric import RiemannianMetric

from riemflow.commuting import classify, legendre_from_parametrization
from riemflow.errors import NotMirrorFlowError
from riemflow.geometry.geodesics.integrated import Integrated
from riemflow.geometry.geodesics.solver import GeodesicMetric, GeodesicSolver
from riemflow.parametrizations.parametrization import Parametrization
from riemflow.validation import as_points


class InducedManifold(VectorSpaceOpenSet):
    """The weights reached from x_init with the metric ``g(w) = (∂G ∂Gᵀ)⁻¹``, as a geomstats space.

    It exists where ``H = ∂G∂Gᵀ`` is a function of w on the orbit of x_init ("intrinsic"), whether w is a
    mirror flow or not. Then gradient flow on x moves w by the Riemannian gradient flow on this space:
    ``w' = -H(w) ∇L(w)``. For G(U) = UUᵀ the metric is Bures-Wasserstein; for a mirror flow it is ∇²R and
    `HessianManifold` is the better choice. Points are reached by a horizontal lift from x_init.

    Parameters
    ----------
    G : Parametrization
    x_init : array, shape=[D]
    check : bool
        Whether to `classify` G first and refuse it if it is not intrinsic.
    equip : bool
        Whether to equip the space with its `InducedMetric`.

    Attributes
    ----------
    parametrization, x_init : G and the start.

    Raises
    ------
    NotMirrorFlowError
        If H is not a function of w on the orbit, or it could not be decided.
    DomainError, ShapeError
        If ∂G is singular at x_init, or x_init is not one point of the domain.
    """

    def __init__(self, G: Parametrization, x_init: Any, *, check: bool = True, equip: bool = True):
        # The lift carries ∂G, hence H, over every w; no potential is needed for that.
        self._lifted = legendre_from_parametrization(G, x_init, check=False)
        self.parametrization, self.x_init = G, self._lifted.x_init
        if check:
            found = classify(G, x_init)
            if not found.intrinsic:
                known = "is undecided" if found.intrinsic is None else "is refuted"
                change = found.defects.get("intrinsic, pull-back", "unknown")
                raise NotMirrorFlowError(
                    f"That ∂G∂Gᵀ of {G.name} is a function of w on the orbit of x_init {known}: its "
                    f"relative change along the fibres of G is {change}. The weights alone do not "
                    "determine their flow; start elsewhere.",
                    found,
                )
        super().__init__(dim=G.dim, embedding_space=Euclidean(G.dim, equip=False), equip=equip)

    def __str__(self) -> str:
        return f"the weights of {self.parametrization.name} reached from x_init"

    def default_metric(self) -> type[RiemannianMetric]:
        """Return `InducedMetric`."""
        return InducedMetric

    def belongs(self, point, atol=gs.atol):
        """Tell whether the segment from G(x_init) to each point can be lifted.

        Parameters
        ----------
        point : array-like, shape=[..., dim]
        atol : float
            Unused: the set is open.

        Returns
        -------
        belongs : array-like, shape=[...,]
        """
        point = np.asarray(point, dtype=np.float64)
        if point.ndim == 0 or point.shape[-1] != self.dim:
            return gs.zeros(point.shape[:-1], dtype=bool)
        return np.asarray(self._lifted._belongs(point))

    def projection(self, point):
        """Move points outside along the segment to G(x_init) until inside; keep the others.

        Parameters
        ----------
        point : array-like, shape=[..., dim]

        Returns
        -------
        projected : array-like, shape=[..., dim]
        """
        point = as_points("point", point, self.dim)
        reached = self._lifted._lift(point).reached.reshape(point.shape[:-1])
        share = np.where(reached == 1.0, 1.0, 0.99 * reached)[..., None]
        return self._lifted.w_init + share * (point - self._lifted.w_init)

    def random_point(self, n_samples=1, bound=1.0):
        """Sample points inside: uniform in a box about G(x_init), pulled inside along rays.

        Parameters
        ----------
        n_samples : int
        bound : float
            Half the box's side.

        Returns
        -------
        point : array-like, shape=[..., dim]
        """
        offset = bound * (2.0 * np.asarray(gs.random.rand(n_samples, self.dim)) - 1.0)
        points = self.projection(self._lifted.w_init + offset)
        return points[0] if n_samples == 1 else points


class InducedMetric(GeodesicMetric, RiemannianMetric):
    """``g = (∂G ∂Gᵀ)⁻¹`` on an `InducedManifold`, with derivatives along horizontal lifts.

    Parameters
    ----------
    space : InducedManifold
    """

    def __init__(self, space: InducedManifold):
        super().__init__(space=space)
        lifted = space._lifted
        self.exp_solver = GeodesicSolver(space, Integrated(lifted._hessian, lifted._belongs, self._spread))
        self.log_solver = self.exp_solver

    def metric_matrix(self, base_point=None):
        """g(w): shape=[..., dim] -> shape=[..., dim, dim].

        Raises
        ------
        DomainError
            If a base point cannot be reached from x_init.
        """
        return self._space._lifted.hessian(base_point)

    def cometric_matrix(self, base_point=None):
        """∂G∂Gᵀ over w: shape=[..., dim] -> shape=[..., dim, dim]."""
        lifted = self._space._lifted
        return lifted.parametrization.cometric(lifted.preimage(base_point))

    def inner_product_derivative_matrix(self, base_point=None):
        """∂_k g_ij, the derivative index last: shape=[..., dim] -> shape=[..., dim, dim, dim]."""
        lifted = self._space._lifted
        return np.moveaxis(lifted._metric_derivative(lifted._inside(base_point, "base_point")), -3, -1)

    def _spread(self, w: np.ndarray, v: np.ndarray, u: np.ndarray) -> np.ndarray:
        """-Γ(v, u), with ∂_k g_ij in the order kij: ``2g Γ(v, u) = ∂_v g u + ∂_u g v - ∇⟨v, u⟩``."""
        derivative = self._space._lifted._metric_derivative(w)
        turned = np.einsum("...kij,...k,...j->...i", derivative, v, u)
        turned = turned + np.einsum("...kij,...k,...j->...i", derivative, u, v)
        force = turned - np.einsum("...kij,...i,...j->...k", derivative, v, u)
        return -0.5 * np.linalg.solve(self._space._lifted._hessian(w), force[..., None])[..., 0]
