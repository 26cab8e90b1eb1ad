"""Every function that takes a G or an R says so when it is given something else, most often the other one."""

from __future__ import annotations

import inspect

import pytest

import riemflow as rf
from riemflow import commuting, flows
from riemflow.errors import DomainError

R, G = rf.legendre.NegativeEntropy(2), rf.parametrizations.Hadamard(2)


def takers(kind: str):
    """The public functions whose first argument is called `kind`, from all public modules."""
    found = {}
    for module in (rf, commuting, flows):
        for name in module.__all__:
            item = getattr(module, name)
            if inspect.isfunction(item) and next(iter(inspect.signature(item).parameters)) == kind:
                found[name] = item
    return [pytest.param(item, id=name) for name, item in sorted(found.items())]


def call(function, first):
    parameters = inspect.signature(function).parameters.values()
    required = [p for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    return function(first, *([[1.0, 1.0]] * (len(required) - 1)))


@pytest.mark.parametrize("wrong", [R, lambda x: x, None], ids=["R", "function", "None"])
@pytest.mark.parametrize("function", takers("G"))
def test_needs_a_parametrization(function, wrong):
    with pytest.raises(DomainError, match=r"[Pp]arametrization"):
        call(function, wrong)


@pytest.mark.parametrize("wrong", [G, lambda w: w, None], ids=["G", "function", "None"])
@pytest.mark.parametrize("function", takers("R"))
def test_needs_a_legendre_function(function, wrong):
    with pytest.raises(DomainError, match="LegendreFunction"):
        call(function, wrong)


def test_the_other_one_is_told_how_to_become_it():
    with pytest.raises(DomainError, match=r"legendre_from_parametrization\(G, x_init\)"):
        rf.maximum_margin(G, [[1.0, 1.0]], [1])
    with pytest.raises(DomainError, match=r"parametrization_from_legendre\(R, region\)"):
        rf.gradient_flow(R, rf.losses.Linear([1.0, 1.0]), [1.0, 1.0], 1.0)
    with pytest.raises(DomainError, match=r"wrap a function as LegendreFunction\(fun"):
        rf.mirror_flow(sum, rf.losses.Linear([1.0, 1.0]), [1.0, 1.0], 1.0)
    with pytest.raises(DomainError, match=r"the class Gamma, but .* call it"):
        rf.HessianManifold(rf.legendre.Gamma)
    with pytest.raises(DomainError, match=r"make one by HessianManifold\(R\)"):
        rf.canonical_divergence(R, [1.0, 1.0], [1.0, 1.0])
    with pytest.raises(DomainError, match=r"as legendre\.Gamma\(\)"):
        rf.NaturalToGeomstats(R)
    with pytest.raises(DomainError, match='method="atlas"'):
        rf.atlas_flow(R, rf.losses.Linear([1.0, 1.0]), [1.0, 1.0], 1.0)


def test_there_are_many():
    assert len(takers("G")) >= 12 and len(takers("R")) >= 8
