"""Parametrizations w = G(x) of weights by parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from riemflow import autodiff
from riemflow.errors import DomainError
from riemflow.validation import as_count, as_points, check_output, require_inside

if TYPE_CHECKING:
    from riemflow.parametrizations.submanifold import Submanifold

Function = Callable[[np.ndarray], np.ndarray]


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
        Derivatives of `fun` as a function on R^D. Automatic if left out.
    manifold : optional
        A geomstats manifold embedded in R^D, or a callable constraint h with M = {h = 0},
        shape=[..., D] -> shape=[..., m], or a `Submanifold`.
    domain : callable, shape=[..., D] -> bool, shape=[...], optional
        Membership in the open set on which G is defined.
    name : str, optional

    Raises
    ------
    ShapeError
        When called at points of the wrong shape, or if `fun` is not vectorised.
    DomainError
        When called outside M.
    """

    dim_in: int
    dim: int
    name: str
    manifold: Submanifold | None
    domain: ParameterDomain
    _membership: Function | None = None

    def __init__(
        self,
        fun: Function,
        dim_in: int,
        dim: int,
        *,
        jacobian: Function | None = None,
        hessian: Function | None = None,
        manifold: Any = None,
        domain: Function | None = None,
        name: str | None = None,
    ):
        self._callables = {
            "fun": fun,
            "jacobian": jacobian or autodiff.jacobian(fun),
            "hessian": hessian or autodiff.jacobian(jacobian or autodiff.jacobian(fun), 2),
        }
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
        with np.errstate(all="ignore"):
            return finite & np.asarray(self._membership(x))

    def _on_manifold(self, x: np.ndarray) -> np.ndarray:
        inside = self._belongs(x)
        return inside if self.manifold is None else inside & self.manifold.belongs(x)

    def _tangential_jacobian(self, x: np.ndarray) -> np.ndarray:
        jacobian = self._jacobian(x)
        return jacobian if self.manifold is None else jacobian @ self.manifold.projector(x)

    def _evaluator(self) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
        """Return x -> (G(x), ∂G(x)) for the use of one flow, which may keep a warm start."""
        return lambda x: (self._fun(x), self._tangential_jacobian(x))

    # Public methods: checked arguments.

    def _inside(self, x: Any, name: str = "x") -> np.ndarray:
        x = as_points(name, x, self.dim_in)
        remedy = "move it inside." if self.manifold is None else "project it onto the submanifold."
        require_inside(name, x, self._on_manifold, f"the domain of {self.name}", remedy)
        return x

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
        """∂G(x), whose rows are the gradients ∇G_i on M: shape=[..., D] -> shape=[..., d, D].

        On a submanifold the rows are tangential, as in Sec. 3.1 of the paper.
        """
        x = self._inside(x)
        with np.errstate(all="ignore"):
            return self._finite("jacobian", self._tangential_jacobian(x), x, (self.dim, self.dim_in))

    def hessian(self, x: Any) -> np.ndarray:
        """Second derivatives of G as a function on R^D: shape=[..., D] -> shape=[..., d, D, D]."""
        x = self._inside(x)
        with np.errstate(all="ignore"):
            return self._finite("hessian", self._hessian(x), x, (self.dim, self.dim_in, self.dim_in))

    def cometric(self, x: Any) -> np.ndarray:
        """∂G(x) ∂G(x)ᵀ, the inverse of ∇²R(G(x)) for a mirror flow: shape=[..., D] -> shape=[..., d, d]."""
        jacobian = self.jacobian(x)
        return jacobian @ np.swapaxes(jacobian, -1, -2)

    def __repr__(self) -> str:
        place = "" if self.manifold is None else " (on a submanifold)"
        return f"{self.name}: R^{self.dim_in}{place} -> R^{self.dim}"
