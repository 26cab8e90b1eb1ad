"""The dual and the row-space form of mirror flows, and of parametrizations with a closed joint flow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import cholesky, qr

from riemflow.flows.rest import EPS, MOST, Linearised, along, terms, under_cometric
from riemflow.flows.solution import Flow, run_flow
from riemflow.legendre.function import LegendreFunction, times_transposed
from riemflow.legendre.separable import Separable
from riemflow.losses import LinearModelLoss, Loss, Piecewise
from riemflow.parametrizations.parametrization import Parametrization

Map = Callable[[np.ndarray], np.ndarray]

# Training on data is stiff: from this tolerance on CVODE takes fewer right sides than DOP853 (measured).
LOOSE = 1e-9
MOST_ROWS = 2_000  # of more no null space is computed
INDEPENDENT = 1e-6  # on the diagonal of a Cholesky factor of unit rows
SQUARED = 1e-10  # eigenvalues of ZZᵀ, over the largest, that may be zero


@dataclass(frozen=True)
class DualMap:
    """w = ∇Q(μ) and its derivative, from μ = `start` on.

    Attributes
    ----------
    weights : callable, shape=[..., d] -> shape=[..., d]
        ∇Q.
    hessian : callable, shape=[d] -> shape=[d, d]
        ∇²Q.
    gram : callable, (shape=[d], rows of shape=[n, d]) -> shape=[n, n]
        rows ∇²Q(μ) rowsᵀ.
    belongs : callable, shape=[d] -> bool
        Membership in dom Q.
    everywhere : bool
        Whether that is known to be R^d.
    start : array, shape=[d]
        The dual point at t = 0.
    outputs : mapping
        What a flow gives out, from dual points: "w", and "mu" or "x".
    refuses : bool
        Whether ∇Q raises outside dom Q, so that no step needs to be looked at.
    """

    weights: Map
    hessian: Map
    gram: Callable[[np.ndarray, Any], np.ndarray]
    belongs: Map
    everywhere: bool
    start: np.ndarray
    outputs: Mapping[str, Map]
    refuses: bool = False


def of_legendre(R: LegendreFunction, w_init: np.ndarray) -> DualMap:
    """∇R* and ∇²R*. Where ∇R is onto R^d no dual point can leave its range."""
    Q = R.conjugate
    # Flows switch warnings off once, where a separable function's gradient does so in every call.
    weights = Q._r1 if isinstance(Q, Separable) else Q._gradient
    outputs = {"w": Q._gradient, "mu": lambda mu: mu}
    onto = bool(R.is_mirror_map)
    return DualMap(weights, Q._hessian, Q._gram, Q._belongs, onto, R._gradient(w_init), outputs, Q._refuses)


def of_parametrization(G: Parametrization, x_init: np.ndarray) -> DualMap | None:
    """∇Q(μ) = G(ψ(x_init; μ)) and ∇²Q = ∂G∂Gᵀ there (Lemma 4.7), if ψ has a closed form."""
    if G._joint_flow(x_init, np.zeros(G.dim)) is None:
        return None

    def place(mu: np.ndarray) -> Any:
        return G._joint_flow(x_init, mu)

    def hessian(mu: np.ndarray) -> np.ndarray:
        rows = G._tangential_jacobian(place(mu))
        return rows @ np.swapaxes(rows, -1, -2)

    return DualMap(
        lambda mu: G._fun(place(mu)),
        hessian,
        lambda mu, rows: G._gram(place(mu), rows),
        lambda mu: np.isfinite(place(mu)).all(axis=-1),
        G._complete,
        np.zeros(G.dim),
        {"w": lambda mu: G._fun(place(mu)), "x": place},
    )


def common_rows(loss: Loss | Piecewise) -> Any:
    """Return the Z of a loss ℓ(Zw), if it is one for all pieces; None otherwise."""
    pieces = loss.losses if isinstance(loss, Piecewise) else [loss]
    data = [piece.Z for piece in pieces if isinstance(piece, LinearModelLoss)]
    if len(data) < len(pieces) or not all(_same(Z, data[0]) for Z in data[1:]):
        return None
    return data[0]


def _same(A: Any, B: Any) -> bool:
    if A is B:
        return True
    return isinstance(A, np.ndarray) and isinstance(B, np.ndarray) and np.array_equal(A, B)


def dual_flow(Q: DualMap, loss: Loss | Piecewise, t: Any, options: dict) -> Flow:
    """Integrate ``μ' = -∇L(∇Q(μ))``."""

    def velocity(piece, mu):
        return -piece._gradient(Q.weights(mu))

    def jacobian(piece, mu):
        return -piece._hessian(Q.weights(mu)) @ Q.hessian(mu)

    return run_flow(
        velocity,
        Q.start,
        t,
        loss,
        Q.outputs,
        formulation="dual",
        inside=None if Q.everywhere else Q.belongs,
        refuses=Q.refuses,
        scale=float(np.abs(Q.start).max()) or 1.0,
        origin=not Q.start.any(),
        jac=jacobian,
        linearise=_linearised(Q, lambda mu: mu) if len(Q.start) <= MOST else None,
        **options,
    )


def row_space_flow(Q: DualMap, loss: Loss | Piecewise, Z: Any, t: Any, options: dict) -> Flow:
    """Integrate ``ν' = ∇ℓ(Z∇Q(μ))`` with μ = start - Zᵀν, n equations whatever d is."""
    first: Any = loss.losses[0] if isinstance(loss, Piecewise) else loss
    start = Q.start

    weights, space = Q.weights, RowSpace(Z)

    def to_mu(c):
        return start - first._combine(space.lift(c))

    def velocity(piece, c):
        return space.drop(piece._outer_gradient(piece._model(weights(to_mu(c)))))

    def jacobian(piece, c):
        mu = to_mu(c)
        return -space.within(piece._outer_hessian(piece._model(Q.weights(mu))) @ Q.gram(mu, Z))

    if options["method"] == "auto" and options["rtol"] >= LOOSE:
        options = {**options, "method": "CVODE"}
    return run_flow(
        velocity,
        np.zeros(space.dim),
        t,
        loss,
        {name: _after(to_mu, output) for name, output in Q.outputs.items()},
        formulation="row-space",
        inside=None if Q.everywhere else lambda c: Q.belongs(to_mu(c)),
        refuses=Q.refuses,
        # μ is to be as accurate as in the dual form.
        scale=(float(np.abs(start).max()) or 1.0) / (_norm(Z) or 1.0),
        origin=not start.any(),
        jac=jacobian,
        linearise=_linearised(Q, to_mu) if len(start) <= MOST else None,
        **options,
    )


def _after(first: Map, then: Map) -> Map:
    return lambda state: then(first(state))


def _linearised(Q: DualMap, to_mu: Map) -> Callable[[Any, np.ndarray], Linearised]:
    """Return (loss, state) -> the flow of w linearised there; `to_mu` takes states to dual points."""

    def linearise(piece, state):
        mu = to_mu(state)
        w = Q.weights(mu)
        slope = piece._gradient(w)
        change = along(Q.hessian, Q.belongs, mu, -slope)
        return under_cometric(Q.hessian(mu), change, slope, terms(piece, w), piece._hessian(w), w, mu)

    return linearise


class RowSpace:
    """Coordinates of the ν that matter, ν = Uc with orthonormal columns of U that span the range of Z.

    Where rows are dependent and cannot all be fitted ν itself runs on for ever without moving
    μ = start - Zᵀν, which at last drowns in the rounding of ν. U is the identity, and not formed, where rows
    are independent, and of more than 2,000 rows.
    """

    def __init__(self, Z: Any):
        null = _null_space(Z) if Z.shape[0] <= MOST_ROWS else None
        self.basis = None if null is None else qr(null)[0][:, null.shape[1] :]
        self.dim: int = Z.shape[0] if self.basis is None else self.basis.shape[1]

    def lift(self, c: np.ndarray) -> np.ndarray:
        """ν: shape=[..., r] -> shape=[..., n]."""
        return c if self.basis is None else c @ self.basis.T

    def drop(self, nu: np.ndarray) -> np.ndarray:
        """Its coordinates, Uᵀν: shape=[..., n] -> shape=[..., r]."""
        return nu if self.basis is None else nu @ self.basis

    def within(self, matrix: np.ndarray) -> np.ndarray:
        """UᵀMU: shape=[n, n] -> shape=[r, r]."""
        return matrix if self.basis is None else self.basis.T @ matrix @ self.basis


def _null_space(Z: Any) -> np.ndarray | None:
    """Orthonormal ν with Zᵀν = 0 to rounding, shape=[n, k], or None."""
    gram = times_transposed(Z, Z)
    lengths = np.sqrt(np.diagonal(gram))
    if not lengths.any() or not np.isfinite(gram).all():
        return None
    if lengths.all() and _are_independent(gram / lengths[:, None] / lengths):
        return None
    size = float(lengths.max())
    values, vectors = np.linalg.eigh(gram / size**2)
    # Products of rows square their condition: of the candidates Z itself decides.
    vectors = vectors[:, values < SQUARED]
    images = np.asarray(Z.T @ vectors)
    images = np.concatenate([images, np.zeros((max(0, vectors.shape[1] - len(images)), vectors.shape[1]))])
    _, singular, turn = np.linalg.svd(images, full_matrices=False)
    null = vectors @ turn[singular <= max(Z.shape) * EPS * size].T
    return null if null.shape[1] else None


def _are_independent(gram: np.ndarray) -> bool:
    """Whether unit rows are, by far, as their Gram matrix tells; a False may be for its rounding."""
    try:
        return bool(np.diagonal(cholesky(gram)).min() > INDEPENDENT)
    except np.linalg.LinAlgError:
        return False


def _norm(Z: Any) -> float:
    """‖Z‖₂ to about a tenth, from below, by the power method."""
    v = np.random.default_rng(0).standard_normal(Z.shape[0])
    for _ in range(8):
        size = np.linalg.norm(v)
        if not size > 0:
            return 0.0
        v = Z @ ((v / size) @ Z)
    return float(np.sqrt(np.linalg.norm(v)))
