"""geomstats' own reusable test suites, run against our spaces.

To add a space to a suite, add a line to the dictionary of `suite`, which returns a pytest function:

    test_open_set = suite(VectorSpaceOpenSetTestCase, {"entropy": lambda: {"space": HessianManifold(R)}})
    test_metric = suite(RiemannianMetricTestCase, {...}, atol=1e-9, skip={"injectivity_radius_vec"})

The dictionary's functions return what geomstats' suites want as attributes: `space`, for diffeomorphisms also
`diffeo` and `image_space`, and if wanted a `data_generator` with `random_point(n_points)`,
`random_tangent_vec(base_point)` and `point_to_project(n_points)`; see `Inside`. Every test of a suite that
makes its own data is run, and every method is tried on batches. What does not apply is named in `skip`.

Unlike geomstats' parametrizers, this has no retries, swallows no `NotImplementedError` and no missing
automatic derivative, fixes the seed of each test, and compares with a relative tolerance other than 1e-5.

geomstats' backend is fixed per process. `run_again_on_autograd(__file__)` runs a test file once more, in a
new process, on its autograd backend; call it from a test that `on_numpy` marks.
"""

from __future__ import annotations

import functools
import inspect
import os
import subprocess
import sys
import zlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

import geomstats.backend as gs
import numpy as np
import pytest
from geomstats.test.random import EmbeddedSpaceRandomDataGenerator
from geomstats.test.vectorization import KNOWN_ARGS
from geomstats.test.vectorization import test_vectorization as on_batches

MAKES_ITS_DATA = {"random", "vec", "shape", "mathprop"}  # geomstats' marks of the tests that do
N_POINTS, N_REPS, N_TIMES = (1, 3), 2, (1, 3)
RTOL, ATOL = 1e-9, 1e-10

on_numpy = pytest.mark.skipif(
    os.environ.get("GEOMSTATS_BACKEND", "numpy") != "numpy", reason="starts the other backend itself"
)


class Inside(EmbeddedSpaceRandomDataGenerator):
    """Points that a function (rng, n) -> [n, dim] draws, tangent vectors of norm about 1 / amplitude."""

    def __init__(self, space: Any, sample: Callable[[np.random.Generator, int], np.ndarray], amplitude=2.0):
        super().__init__(space, amplitude=amplitude)
        self._sample = sample

    def random_point(self, n_points=1):
        seed = int(1e9 * gs.random.rand(1)[0])  # drawn from the seed that `run` sets
        points = self._sample(np.random.default_rng(seed), n_points)
        return points[0] if n_points == 1 else points


def checks(case: type) -> dict[str, dict[str, Any]]:
    """The names and arguments of a suite's tests: those that make their data, and batches for the others."""
    found: dict[str, dict[str, Any]] = {}
    for attribute in sorted(name for name in dir(case) if name.startswith("test_")):
        name, fun = attribute[len("test_") :], getattr(case, attribute)
        parameters = inspect.signature(fun).parameters
        marks = {mark.name for mark in getattr(fun, "pytestmark", [])}
        if marks & MAKES_ITS_DATA:
            for n in N_POINTS if "n_points" in parameters else (None,):
                for n_times in N_TIMES if "n_times" in parameters else (None,):
                    given = {"n_points": n, "n_times": n_times, "n_reps": N_REPS}
                    given = {key: value for key, value in given.items() if key in parameters and value}
                    label = "-".join([name, *(str(value) for value in given.values())])
                    found[label] = {"attribute": attribute, **given}
        elif "expected" in parameters:
            needed = {p.name for p in parameters.values() if p.default is p.empty} - {
                "self",
                "expected",
                "atol",
            }
            if needed and needed <= set(KNOWN_ARGS) and not hasattr(case, f"{attribute}_vec"):
                found[f"{name}_vec"] = {"attribute": attribute, "n_reps": N_REPS, "vectorised": True}
    return found


def run(
    case: type, name: str, attributes: Mapping[str, Any], *, atol: float = ATOL, rtol: float = RTOL
) -> None:
    """Run one of `checks(case)` with the given attributes; it fails as the test does."""
    arguments = dict(checks(case)[name])
    test, vectorised = arguments.pop("attribute"), arguments.pop("vectorised", False)
    strict = type(
        case.__name__, (case,), {"assertAllClose": functools.partialmethod(_all_close, tolerance=rtol)}
    )
    instance = strict()
    instance.tangent_to_multiple = True  # one vector at many points is allowed
    for key, value in attributes.items():
        setattr(instance, key, value)
    instance.setup_method()
    gs.random.seed(zlib.crc32(name.encode()))
    bound = getattr(instance, test)
    if vectorised:
        on_batches(instance, bound, arguments["n_reps"], atol)
    elif "atol" in inspect.signature(bound).parameters:
        bound(**arguments, atol=atol)
    else:
        bound(**arguments)


def _all_close(
    self: Any, a: Any, b: Any, rtol: float = RTOL, atol: float = ATOL, *, tolerance: float
) -> None:
    """geomstats' comparison of shapes and values, whose own rtol is 1e-5."""
    assert np.shape(a) == np.shape(b)
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=atol)


def suite(
    case: type,
    spaces: Mapping[str, Callable[[], Mapping[str, Any]]],
    *,
    atol: float = ATOL,
    rtol: float = RTOL,
    skip: Collection[str] = (),
    only: Callable[[str], bool] = lambda name: True,
) -> Callable:
    """Return a pytest function that runs every test of a suite on every space.

    Parameters
    ----------
    case : type
        A class of `geomstats.test_cases`.
    spaces : mapping from names to functions
        They return the attributes that the suite wants. Each is called once.
    atol, rtol : float
    skip : collection of str
        Names, without the numbers behind them, of tests that do not apply; unknown ones are refused.
    only : callable
        Which of the names to run.
    """
    names = {name: name.split("-")[0] for name in checks(case)}
    unknown = set(skip) - set(names.values())
    if unknown:
        raise ValueError(f"{case.__name__} has no tests {sorted(unknown)}: correct skip=.")
    chosen = [name for name, plain in names.items() if plain not in skip and only(plain)]
    made = functools.cache(lambda name: spaces[name]())

    @pytest.mark.parametrize("name", chosen)
    @pytest.mark.parametrize("space", spaces)
    def test_suite(space, name):
        run(case, name, made(space), atol=atol, rtol=rtol)

    return test_suite


def run_again_on_autograd(file: str, *options: str) -> None:
    """Run the tests of a file, default markers and all, in a process on geomstats' autograd backend."""
    environment = {**os.environ, "GEOMSTATS_BACKEND": "autograd"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *options, file]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
