"""Legendre functions as plain data, and back: names of the catalogue and the algebra, and their numbers."""

from __future__ import annotations

from typing import Any

from riemflow.errors import DomainError
from riemflow.legendre.algebra import Composed, Product, Scaled, Sum, Tilted
from riemflow.legendre.barriers import LogDet, LorentzBarrier
from riemflow.legendre.discrete_families import (
    Bernoulli,
    Binomial,
    Categorical,
    Geometric,
    Multinomial,
    NegativeBinomial,
    Poisson,
)
from riemflow.legendre.entropies import (
    BurgEntropy,
    FermiDirac,
    HyperbolicEntropy,
    NegativeEntropy,
    TsallisEntropy,
)
from riemflow.legendre.exponential_family import ExponentialFamily
from riemflow.legendre.families import Beta, Dirichlet, Exponential, Gamma
from riemflow.legendre.function import LegendreFunction
from riemflow.legendre.normal_families import CenteredNormal, MultivariateNormal, Normal
from riemflow.legendre.partition import LogPartition, LogSumExp, SimplexEntropy
from riemflow.legendre.quadratic import Quadratic, SquaredNorm
from riemflow.legendre.ridge import LogBarrier, SoftplusSum

# The constructors' arguments, each with the attribute that holds it; sizes are checked against d.
LEAVES: dict[type[LegendreFunction], dict[str, str]] = {
    **{
        leaf: {"dim": "dim"}
        for leaf in (
            *(SquaredNorm, NegativeEntropy, SimplexEntropy, BurgEntropy, FermiDirac, LogSumExp),
            *(LorentzBarrier, Dirichlet),
        )
    },
    **{leaf: {} for leaf in (Normal, Gamma, Beta, Exponential, Poisson, Bernoulli, Geometric)},
    **{leaf: {"n": "n"} for leaf in (LogDet, CenteredNormal, MultivariateNormal, Binomial)},
    Categorical: {"k": "k"},
    Multinomial: {"n": "n", "k": "k"},
    NegativeBinomial: {"r": "r"},
    TsallisEntropy: {"dim": "dim", "q": "q"},
    Quadratic: {"A": "A"},
    HyperbolicEntropy: {"u0": "u0", "v0": "v0"},
    LogBarrier: {"A": "normals", "b": "b"},
    SoftplusSum: {"A": "A", "b": "b"},
    LogPartition: {"A": "A", "weights": "weights"},
}
# An integral is kept as the finite family that its quadrature rule makes of it.
KEPT_AS: dict[type[LegendreFunction], type[LegendreFunction]] = {ExponentialFamily: LogPartition}
NAMES = {leaf.__name__: leaf for leaf in LEAVES}


def recipe(R: Any) -> dict[str, Any] | None:
    """Return R as numbers and names, for JSON; None if a part of it is neither of the catalogue nor algebra.

    ``from_recipe(recipe(R), R.dim)`` is R again; for an `ExponentialFamily` it is its `LogPartition`.
    """
    kind = KEPT_AS.get(type(R), type(R))
    if kind in LEAVES:
        numbers = {name: _plain(getattr(R, attribute)) for name, attribute in LEAVES[kind].items()}
        return {"class": kind.__name__, **numbers}
    if kind is Sum or kind is Product:
        parts = R.terms if kind is Sum else R.parts
        recipes = [recipe(part) for part in parts]
        if None in recipes:
            return None
        return {"class": kind.__name__, "parts": recipes, "dims": [part.dim for part in parts]}
    if kind not in (Scaled, Tilted, Composed):
        return None
    base = recipe(R.base)
    if base is None:
        return None
    names = {Scaled: ("factor",), Tilted: ("slope", "constant"), Composed: ("A", "b")}[kind]
    return {"class": kind.__name__, "base": base, **{name: _plain(getattr(R, name)) for name in names}}


def from_recipe(data: Any, dim: int) -> LegendreFunction:
    """Return the Legendre function of dimension `dim` that a recipe describes. Nothing is evaluated.

    Raises
    ------
    DomainError, ShapeError
        If it describes none: an unknown name, a missing or superfluous argument, one of the wrong kind, or
        another dimension. Recipes may come from anywhere, and the dimension bounds what is allocated.
    """
    if not isinstance(data, dict) or not isinstance(data.get("class"), str):
        raise DomainError(f"A recipe names a class of Legendre functions, but this one is {_short(data)}.")
    name, given = data["class"], {key: value for key, value in data.items() if key != "class"}
    if name in NAMES:
        leaf = NAMES[name]
        _require_names(name, given, LEAVES[leaf])
        size = given.get("dim", dim)
        if leaf in (LogDet, CenteredNormal):
            size = given["n"] * (given["n"] + 1) // 2 if isinstance(given["n"], int) else None
        elif leaf is MultivariateNormal:
            size = given["n"] * (given["n"] + 3) // 2 if isinstance(given["n"], int) else None
        elif "k" in given:
            size = given["k"] - 1 if isinstance(given["k"], int) else None
        _require_dim(name, size, dim)
        return _of_dim(leaf(**given), dim)
    if name in ("Sum", "Product"):
        _require_names(name, given, ("parts", "dims"))
        parts, dims = given["parts"], given["dims"]
        if not (isinstance(parts, list) and isinstance(dims, list) and len(parts) == len(dims) > 0):
            raise DomainError(f"{name}'s recipe needs as many parts as dims, and at least one.")
        if not all(isinstance(d, int) and d > 0 for d in dims):
            raise DomainError(f"{name}'s recipe has dims = {_short(dims)}, which must be positive integers.")
        _require_dim(name, sum(dims) if name == "Product" else max(dims), dim)
        built = [from_recipe(part, d) for part, d in zip(parts, dims, strict=True)]
        return _of_dim(Sum(built) if name == "Sum" else Product(built), dim)
    if name == "Scaled":
        _require_names(name, given, ("base", "factor"))
        return Scaled(given["factor"], from_recipe(given["base"], dim))
    if name == "Tilted":
        _require_names(name, given, ("base", "slope", "constant"))
        return Tilted(from_recipe(given["base"], dim), given["slope"], given["constant"])
    if name == "Composed":
        _require_names(name, given, ("base", "A", "b"))
        rows = given["A"]
        if not isinstance(rows, list) or not rows:
            raise DomainError(f"Composed's recipe has A = {_short(rows)}, which must be a matrix.")
        return _of_dim(Composed(from_recipe(given["base"], len(rows)), rows, given["b"]), dim)
    raise DomainError(f"{_short(name)} is no Legendre function of the catalogue.")


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def _require_names(name: str, given: dict[str, Any], wanted: Any) -> None:
    if set(given) != set(wanted):
        raise DomainError(f"{name}'s recipe has {_short(sorted(given))}, but needs {sorted(wanted)}.")


def _require_dim(name: str, found: Any, dim: int) -> None:
    if isinstance(found, bool) or found != dim:
        raise DomainError(f"{name}'s recipe has dimension {_short(found)}, not {dim}.")


def _of_dim(R: LegendreFunction, dim: int) -> LegendreFunction:
    _require_dim(R.name, R.dim, dim)
    return R


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
