"""The flows benchmark runs, and states the problems it says it states to all methods alike."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from autograd import grad

FOLDER = Path(__file__).parent / "flows"


@pytest.fixture
def siblings(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))


@pytest.fixture
def small(siblings):
    import problems

    return [
        problems.sparse("regression", 12, 4, 1e-2, 5.0, 2),
        problems.Simplex("simplex", 9, 3, 5.0),
        problems.Matrices("matrices", 3, 4, 1.0),
    ]


def test_the_gradients_by_hand_are_those_of_the_losses(small):
    rng = np.random.default_rng(1)
    for problem in small:
        Z, Y = problem.peer_data
        x = problem.x_init * rng.uniform(0.8, 1.2, len(problem.x_init))
        if problem.name == "matrices":
            x = (x.reshape(3, 3) + 0.1).ravel()  # along() takes symmetric gradients, of symmetric points
        slope = grad(lambda x, problem=problem, Z=Z, Y=Y: problem.value(x, Z, Y))(x)
        np.testing.assert_allclose(
            problem.along(x, slope), problem.velocity(np, x, Z, Y), rtol=1e-12, atol=1e-14
        )
        np.testing.assert_allclose(problem.value(x, Z, Y), problem.loss(problem.weights_of(x)), rtol=1e-12)


def test_the_derivative_of_the_reference_is_that_of_its_weights(small):
    rng = np.random.default_rng(2)
    for problem in small:
        Z = problem.data[0]
        nu, step = 0.1 * rng.standard_normal(problem.n), 1e-6
        columns = [
            Z @ (problem.weights(nu - step * e) - problem.weights(nu + step * e)) / (2 * step)
            for e in np.eye(problem.n)
        ]
        np.testing.assert_allclose(problem.gram(nu), np.transpose(columns), rtol=1e-6, atol=1e-9)


def test_all_methods_reach_the_reference_and_a_loose_tolerance_does_not(small):
    import race
    import solvers

    for problem in small:
        for name in (solvers.OURS, "riemflow gradient_flow", "SciPy RK45 on x", "SciPy RK45 on x, autograd"):
            solve = solvers.METHODS[name](problem, 20.0)
            if solve is None:
                assert problem.name == "matrices"
                continue
            entry = race.loosest(solve, problem.reference, race.DECADES)
            assert entry.status == "ok" and entry.error <= race.TARGET < max(entry.tried.values()), name
        elsewhere = dataclasses.replace(problem, T=1.1 * problem.T)
        solve = solvers.METHODS["SciPy RK45 on x"](elsewhere, 20.0)
        assert race.loosest(solve, problem.reference, race.DECADES[-2:]).status == "missed"


def test_a_method_beyond_its_limit_is_capped(small):
    import race
    import solvers

    solve = solvers.METHODS["SciPy RK45 on x, autograd"](small[0], 1e-3)
    entry = race.loosest(solve, small[0].reference, race.DECADES)
    assert entry.status == "capped" and entry.rtol is None


def test_optimality_is_told_from_its_lack(small):
    import conic

    import riemflow as rf

    for problem in small:
        R, w_init = problem.legendre()
        w = rf.minimize_bregman(R, w_init, *problem.data).w
        assert max(conic.optimality(problem, w)) < 1e-10
        # Off along the data's kernel it still fits, and is no longer the nearest point.
        kernel = np.linalg.svd(problem.data[0])[2][-1]
        gap, off = conic.optimality(problem, w + 1e-3 * np.abs(w).min() * kernel)
        assert gap < 1e-10 and off > 1e-8


@pytest.mark.slow
def test_a_quick_run_writes_its_tables(tmp_path):
    command = [sys.executable, str(FOLDER / "run.py"), "--quick", "--json", str(tmp_path / "results.json")]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    results = json.loads((tmp_path / "results.json").read_text())
    for name, entry in results["races"]["A"].items():
        assert entry["status"] == "ok" and entry["error"] <= 1e-6 and len(entry["rounds"]) >= 1, name
        # What is timed is compiled, from the first round on.
        assert entry["cold"] is None or max(entry["rounds"]) < 0.5 * entry["cold"], name
    for row in results["limits"]:
        assert row["residual"] < 1e-12 and row["kkt"] < 1e-10
    [errors] = results["small"].values()
    assert all(row["error"] < 1e-5 for name, row in errors.items() if "flow" in name)
    assert errors["SciPy LSODA on w"]["error"] > 1e-5  # why the form matters
    table = (tmp_path / "table.md").read_text()
    assert "riemflow mirror_flow" in table and "Clarabel" in table and "- load:" in table
    assert (tmp_path / "ratios.png").stat().st_size > 10_000
