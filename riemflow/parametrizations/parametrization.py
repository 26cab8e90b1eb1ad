"""Parametrizations w = G(x) of weights by parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from riemflow import autodiff
from riemflow.errors import DomainError
from riemflow.validation import (
    as_count,
    as_points,
    check_output,
    check_vectorised,
    membership,
    require_inside,
    short,
)

if TYPE_CHECKING:
    from riemflow.legendre.function import LegendreFunction
    from riemflow.parametrizations.submanifold import Submanifold

Function = Callable[[np.ndarray], np.ndarray]

SINGULAR = 1e-14  # an eigenvalue of an inverse metric with a unit diagonal that may be rounding


class ParameterDomain:
    """The set M on which a parametrization lives: an open set of R^D, or a submanifold in one."""

    def __init__(self, dim: int, belongs: Function):
        self.dim = dim
        self._belongs = belongs

    def belongs(self, x: Any) -> np.ndarray:
        """Tell whether each point lies in M: shape=[..., D] -> bool, shape=[...]."""
        return self._belongs(as_points("x", x, self.dim))


class Parametrization:
    """A map G : M -> R^d from a submanifold M of R^D (an open set, unless one is given).

    Gradient flow on the parameters, ``x' = -∂G(x)ᵀ ∇L(G(x))``, moves the weights by
    ``w' = -∂G ∂Gᵀ ∇L(w)`` (equation 2 of Li, Wang, Lee and Arora, 2022).

    Parameters
    ----------
    fun : callable, shape=[..., D] -> shape=[..., d]
        G, written with ``autograd.numpy`` unless both derivatives are given.
    dim_in, dim : int
        D and d.
    jacobian : callable, shape=[..., D] -> shape=[..., d, D], optional
    hessian : callable, shape=[..., D] -> shape=[..., d, D, D], optional
        Derivatives of `fun` as a function on R^D. Automatic if left out; the Hessian of a given Jacobian by
        differences where autograd does not see through that.
    manifold : optional
        A geomstats manifold embedded in R^D, or a callable constraint h with M = {h = 0},
        shape=[..., D] -> shape=[..., m], or a `Submanifold`.
    inverse_metric : callable, shape=[..., D] -> shape=[..., D, D], optional
        K(x), positive definite: M is the open set with the Riemannian metric K⁻¹ instead of that of R^D.
        Then ``∇G_i = K ∂G_i`` and the cometric is ``∂G K ∂Gᵀ``. Not together with `manifold`.
    domain : callable, shape=[..., D] -> bool, shape=[...], optional
        Membership in the open set on which G is defined.
    name : str, optional

    Raises
    ------
    ShapeError
        When called at points of the wrong shape, or if a callable is not vectorised.
    DomainError
        When called outside M, if a given derivative is not that of `fun` by differences at the first point,
        if K is not positive definite, or if both `manifold` and `inverse_metric` are given.
    """

    dim_in: int
    dim: int
    name: str
    manifold: Submanifold | None
    domain: ParameterDomain
    _membership: Function | None = None
    _inverse_metric: Function | None = None
    _hessian_is_automatic = False
    _complete = False  # whether ψ(x; μ) is known to exist for all μ: U(x) = R^d (Assumption 3.5)
    _unchecked: frozenset[str] | None = None  # the given derivatives, until the first point is seen

    def __init__(
        self,
        fun: Function,
        dim_in: int,
        dim: int,
        *,
        jacobian: Function | None = None,
        hessian: Function | None = None,
        manifold: Any = None,
        inverse_metric: Function | None = None,
        domain: Function | None = None,
        name: str | None = None,
    ):
        if manifold is not None and inverse_metric is not None:
            raise DomainError(
                "manifold and inverse_metric are both given: a submanifold has the metric of R^D. Give one."
            )
        self._inverse_metric = inverse_metric
        self._callables = {
            "fun": fun,
            "jacobian": jacobian or autodiff.jacobian(fun),
            "hessian": hessian or autodiff.jacobian(jacobian or autodiff.jacobian(fun), 2),
        }
        self._hessian_is_automatic = jacobian is None and hessian is None
        given = {"jacobian": jacobian, "hessian": hessian}
        self._unchecked = frozenset(what for what, derivative in given.items() if derivative is not None)
        self._membership = domain
        self._define(as_count("dim_in", dim_in), as_count("dim", dim), name=name or "G", manifold=manifold)

    def _define(self, dim_in: int, dim: int, *, name: str, manifold: Any = None) -> None:
        """Set what every parametrization has; constructors of the catalogue call this."""
        self.dim_in, self.dim, self.name = dim_in, dim, name
        self.manifold = None
        if manifold is not None:
            from riemflow.parametrizations.submanifold import as_submanifold

            self.manifold = as_submanifold(manifold, dim_in)
        self.domain = ParameterDomain(dim_in, self._on_manifold)

    # Raw methods: float64 arrays inside the domain, no checks. The catalogue overrides them.

    def _fun(self, x: np.ndarray) -> np.ndarray:
        return self._callables["fun"](x)

    def _jacobian(self, x: np.ndarray) -> np.ndarray:
        return self._callables["jacobian"](x)

    def _hessian(self, x: np.ndarray) -> np.ndarray:
        return self._callables["hessian"](x)

    def _belongs(self, x: np.ndarray) -> np.ndarray:
        """Membership in the open set of R^D, the submanifold left aside."""
        finite = np.asarray(np.isfinite(x).all(axis=-1))
        if self._membership is None:
            return finite
        return finite & membership(self.name, self._membership, x)

    def _on_manifold(self, x: np.ndarray) -> np.ndarray:
        inside = self._belongs(x)
        return inside if self.manifold is None else inside & self.manifold.belongs(x)

    def _frame(self, x: np.ndarray) -> np.ndarray:
        """C with C Cᵀ = K: its columns are an orthonormal frame of M; NaN where K is not positive."""
        K = np.asarray(self._inverse_metric(x))  # type: ignore[misc]
        # With a unit diagonal, so that coordinates in very different units do not hide that K is positive.
        with np.errstate(all="ignore"):
            units = np.sqrt(np.diagonal(K, axis1=-2, axis2=-1))
            scaled = K / units[..., :, None] / units[..., None, :]
        good = np.array(np.isfinite(scaled).all(axis=(-2, -1)))
        good[good] = np.linalg.eigvalsh(scaled[good])[..., 0] > SINGULAR
        frame = np.full(K.shape, np.nan)
        frame[good] = units[good][..., None] * np.linalg.cholesky(scaled[good])
        return frame

    def _tangential_jacobian(self, x: np.ndarray) -> np.ndarray:
        """∂G in orthonormal frames of M, so that its rows have the inner products ∂G∂Gᵀ."""
        jacobian = self._jacobian(x)
        if self._inverse_metric is not None:
            return jacobian @ self._frame(x)
        return jacobian if self.manifold is None else jacobian @ self.manifold.projector(x)

    def _raised(self, x: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Tangent vectors in the coordinates of R^D, from orthonormal frames: shape=[..., k, D]."""
        if self._inverse_metric is None:
            return rows
        return rows @ np.swapaxes(self._frame(x), -1, -2)

    def _gradients(self, x: np.ndarray) -> np.ndarray:
        """The vector fields ∇G_i on M in the coordinates of R^D: shape=[..., d, D]."""
        if self._inverse_metric is None:
            return self._tangential_jacobian(x)
        frame = self._frame(x)
        return self._jacobian(x) @ frame @ np.swapaxes(frame, -1, -2)

    def _hessian_along(self, x: np.ndarray, mu: np.ndarray) -> np.ndarray:
        """Σ_i μ_i ∇²G_i(x): shapes=[n, D], [n, d] -> shape=[n, D, D]. One scalar's Hessian if automatic."""
        if self._hessian_is_automatic:
            fun = self._fun
            return autodiff.hessian(lambda y: (mu * fun(y)).sum(axis=-1))(x)
        return np.einsum("ni,niab->nab", mu, self._hessian(x))

    def _joint_flow(self, x: np.ndarray, mu: np.ndarray) -> np.ndarray | None:
        """ψ(x; μ) in closed form, NaN for μ outside U(x): shapes=[D] or [..., D], [..., d] -> shape=[..., D].

        None if there is no closed form. Subclasses of the catalogue that commute have one (equation 4).
        """
        return None

    def _closed_legendre(self, x: np.ndarray) -> LegendreFunction | None:
        """R from the start x, shape=[D], up to an affine function; None if it is not of the catalogue."""
        return None

    def _joint_weights(self, x: np.ndarray, mu: np.ndarray) -> np.ndarray:
        """G(ψ(x; μ)), the same shapes: what a flow evaluates most, for subclasses to do at once."""
        place: Any = self._joint_flow(x, mu)
        return self._fun(place)

    def _gram(self, x: np.ndarray, rows: Any) -> np.ndarray:
        """rows ∂G∂Gᵀ rowsᵀ at one x, shape=[n, n]: for many weights no d x D matrix where ∂G is sparse."""
        root = rows @ self._tangential_jacobian(x)
        return root @ root.T

    def _evaluator(self) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
        """Return x -> (G(x), the rows ∇G_i(x)) for the use of one flow, which may keep a warm start."""
        return lambda x: (self._fun(x), self._gradients(x))

    # Public methods: checked arguments.

    def _inside(self, x: Any, name: str = "x") -> np.ndarray:
        x = as_points(name, x, self.dim_in)
        remedy = "move it inside." if self.manifold is None else "project it onto the submanifold."
        require_inside(name, x, self._on_manifold, f"the domain of {self.name}", remedy)
        if self._unchecked is not None and x.size:
            self._check_callables(x.reshape(-1, self.dim_in)[0])
        return x

    def _check_callables(self, x: np.ndarray) -> None:
        """Check what the user gave, once, at the first point x [D]: shapes, and derivatives against `fun`."""
        given, d, D = self._unchecked or (), self.dim, self.dim_in
        kinds = {"fun": (d,), "jacobian": (d, D), "hessian": (d, D, D)}
        remedy = "it must be vectorised over the leading axes, [..., D] -> [..., {}]; index with [..., i]."
        with np.errstate(all="ignore"):
            for what, trailing in kinds.items():
                if what == "fun" or what in given:
                    text = remedy.format(", ".join(["d", "D", "D"][: len(trailing)]))
                    check_vectorised(f"{self.name}: {what}", self._callables[what], x, trailing, text)
            if self._inverse_metric is not None:
                text = remedy.format("D, D")
                check_vectorised(f"{self.name}: inverse_metric", self._inverse_metric, x, (D, D), text)
                K = np.asarray(self._inverse_metric(x))
                gap = np.abs(K - K.T).max()
                if gap > 1e-8 * np.abs(K).max():
                    raise DomainError(
                        f"{self.name}: inverse_metric is not symmetric at x = {short(x)}: it differs from "
                        f"its transpose by {gap:.3g}. Symmetrise it."
                    )
        # Off a submanifold G need not be what its derivatives say.
        flat = self.manifold is None
        points = autodiff.points_near(x, self._belongs) if flat else x[None]
        tangent = None if self.manifold is None else self.manifold.projector(points)
        for lower, what in (("fun", "jacobian"), ("jacobian", "hessian")):
            # Automatic derivatives are checked once as well: autograd sees nothing of plain numpy functions.
            if what in given or what == "jacobian":
                functions = self._callables[lower], self._callables[what]
                name = f"{self.name}: {what if what in given else autodiff.automatic(what)}"
                autodiff.check_derivative(name, *functions, points, self._belongs, tangent)
        if flat and "jacobian" in given and "hessian" not in given:
            pair = self._callables["jacobian"], self._callables["hessian"]
            self._callables["hessian"] = autodiff.seen_through(*pair, points, self._belongs, 2)
        self._unchecked = None

    def _finite(self, what: str, value: Any, x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        check_output(
            f"{self.name}: {what}",
            value,
            x.shape[:-1] + shape,
            "it must be vectorised over the leading axes.",
        )
        if not np.isfinite(value).all():
            raise DomainError(f"{what} of {self.name} is not finite at the given x: restrict its domain=.")
        return np.asarray(value)

    def __call__(self, x: Any) -> np.ndarray:
        """G(x): shape=[..., D] -> shape=[..., d]."""
        x = self._inside(x)
        with np.errstate(all="ignore"):
            return self._finite("value", self._fun(x), x, (self.dim,))

    def jacobian(self, x: Any) -> np.ndarray:
        """The gradients ∇G_i on M, as rows: shape=[..., D] -> shape=[..., d, D].

        On an open set of R^D this is ∂G(x). On a submanifold the rows are tangential, as in Sec. 3.1 of
        the paper; with an inverse metric K they are K ∂G_i.
        """
        x = self._inside(x)
        with np.errstate(all="ignore"):
            return self._finite("jacobian", self._gradients(x), x, (self.dim, self.dim_in))

    def hessian(self, x: Any) -> np.ndarray:
        """Second derivatives of G as a function on R^D: shape=[..., D] -> shape=[..., d, D, D]."""
        x = self._inside(x)
        with np.errstate(all="ignore"):
            return self._finite("hessian", self._hessian(x), x, (self.dim, self.dim_in, self.dim_in))

    def cometric(self, x: Any) -> np.ndarray:
        """∂G(x) ∂G(x)ᵀ, the inverse of ∇²R(G(x)) for a mirror flow: shape=[..., D] -> shape=[..., d, d]."""
        x = self._inside(x)
        with np.errstate(all="ignore"):
            jacobian = self._finite("jacobian", self._tangential_jacobian(x), x, (self.dim, self.dim_in))
        return jacobian @ np.swapaxes(jacobian, -1, -2)

    def __repr__(self) -> str:
        place = "" if self.manifold is None else " (on a submanifold)"
        place = place if self._inverse_metric is None else " (with a metric of its own)"
        return f"{self.name}: R^{self.dim_in}{place} -> R^{self.dim}"
