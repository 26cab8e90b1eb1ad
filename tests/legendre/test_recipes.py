"""Recipes of Legendre functions: what they describe is R again, and nothing else is built from them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from zoo_legendre import CASES

from riemflow.errors import RiemflowError
from riemflow.legendre import (
    HyperbolicEntropy,
    LegendreFunction,
    LogSumExp,
    NegativeEntropy,
    Quadratic,
    SquaredNorm,
    TsallisEntropy,
    product,
)
from riemflow.legendre.algebra import Tilted
from riemflow.legendre.recipes import LEAVES, from_recipe, recipe

ALGEBRA = {
    "sum": LogSumExp(2) + 0.3 * SquaredNorm(2) + NegativeEntropy(2),
    "product": product(TsallisEntropy(2, 0.7), Quadratic([[2.0, 0.3], [0.3, 1.0]]), NegativeEntropy(1)),
    "composed": product(NegativeEntropy(2), SquaredNorm(1)).compose(
        [[1.0, 0.0], [0.0, 1.0], [0.2, 1.0 / 3.0]], [0.1, 0.2, 0.3]
    ),
    "tilted": Tilted(HyperbolicEntropy([0.3, 1.5], [0.7, 0.4]), [0.1, -1.0], 2.0),
    "nested": 2.0 * (0.1 * SquaredNorm(2) + LogSumExp(2).compose([[1.0, 2.0], [-1.0, 1.0]])),
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_member_of_the_catalogue_comes_back(case):
    R = case.make()
    data = json.loads(json.dumps(recipe(R)))
    again, w = from_recipe(data, R.dim), case.points()
    assert type(again) is type(R) and repr(again) == repr(R)
    for fun in ("__call__", "gradient", "hessian"):
        np.testing.assert_array_equal(getattr(again, fun)(w), getattr(R, fun)(w))
    assert recipe(again) == recipe(R)


def test_all_of_the_catalogue_has_a_recipe():
    assert {type(case.make()) for case in CASES} == set(LEAVES)


@pytest.mark.parametrize("R", ALGEBRA.values(), ids=ALGEBRA)
def test_algebra_comes_back(R):
    again = from_recipe(json.loads(json.dumps(recipe(R))), R.dim)
    w = R.domain.interior * np.linspace(0.9, 1.1, 5)[:, None]
    assert again.name == R.name
    np.testing.assert_array_equal(again(w), R(w))
    np.testing.assert_array_equal(again.hessian(w), R.hessian(w))
    np.testing.assert_allclose(again.conjugate.gradient(again.gradient(w)), w, rtol=1e-8)


def test_functions_of_the_users_have_none():
    own = LegendreFunction(lambda w: (w**4 + w**2).sum(-1), 2)

    class Renamed(SquaredNorm):
        pass

    for R in (own, SquaredNorm(2) + own, 2.0 * own, product(own, own), own.compose(np.eye(2)), Renamed(2)):
        assert recipe(R) is None
    assert recipe(NegativeEntropy(2).conjugate) is None and recipe(None) is None


BAD = {
    "no dictionary": [1],
    "no class": {"dim": 2},
    "unknown": {"class": "os.system", "dim": 2},
    "a module": {"class": "LegendreFunction", "dim": 2},
    "other dimension": {"class": "SquaredNorm", "dim": 10**12},
    "a list for a number": {"class": "SquaredNorm", "dim": [2]},
    "true for a number": {"class": "SquaredNorm", "dim": True},
    "superfluous": {"class": "SquaredNorm", "dim": 2, "name": "x"},
    "missing": {"class": "TsallisEntropy", "dim": 2},
    "a text for a number": {"class": "TsallisEntropy", "dim": 2, "q": "0.5"},
    "large LogDet": {"class": "LogDet", "n": 10**6},
    "matrix of another size": {"class": "Quadratic", "A": [[1.0]]},
    "ragged": {"class": "Quadratic", "A": [[1.0, 0.0], [0.0]]},
    "infinite": {"class": "Quadratic", "A": [[float("inf"), 0.0], [0.0, 1.0]]},
    "negative factor": {"class": "Scaled", "factor": -1.0, "base": {"class": "SquaredNorm", "dim": 2}},
    "no parts": {"class": "Sum", "parts": [], "dims": []},
    "dims that do not add up": {
        "class": "Product",
        "parts": [{"class": "SquaredNorm", "dim": 1}] * 3,
        "dims": [1, 1, 1],
    },
    "a sum of two dimensions": {
        "class": "Sum",
        "parts": [{"class": "SquaredNorm", "dim": 1}, {"class": "SquaredNorm", "dim": 2}],
        "dims": [1, 2],
    },
    "A that is no matrix": {
        "class": "Composed",
        "base": {"class": "SquaredNorm", "dim": 2},
        "A": 1,
        "b": [0],
    },
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_what_describes_no_legendre_function_is_refused(data):
    with pytest.raises(RiemflowError):
        from_recipe(data, 2)
