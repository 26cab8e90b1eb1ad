"""The embedding benchmark runs, and its peers do embed: one against what does not work says nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parent / "embedding"


@pytest.fixture
def siblings(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))


@pytest.mark.slow
def test_the_cloud_relaxes(siblings):
    import metrics
    import peers

    row = metrics.ROWS[1]
    trace = peers.riemannian_relaxation(row.make(), row.region, 5.0, 5, n_points=400)
    assert trace[-1][1] < 0.2 * trace[0][1] and trace[-1][1] < 0.1


def test_the_rows_are_convex_and_their_metrics_those_of_their_names(siblings):
    import metrics

    for row in metrics.ROWS:
        R, w = row.make(), row.region.sample(5, np.random.default_rng(0))
        assert np.linalg.eigvalsh(R.hessian(w)).min() > 0
    beta = metrics.dirichlet(2)
    # At a = b = 1 the Beta family's Fisher matrix has ψ'(1) - ψ'(2) = 1 on its diagonal.
    np.testing.assert_allclose(np.diag(beta.hessian([1.0, 1.0])), 1.0, rtol=1e-12)
    np.testing.assert_allclose(
        metrics.log_det().hessian([1.0, 0.0, 1.0]), np.diag([1.0, 2.0, 1.0]), atol=1e-14
    )


@pytest.mark.slow
def test_a_quick_run_writes_its_table(tmp_path):
    command = [sys.executable, str(FOLDER / "run.py"), "--quick", "--budget", "2", "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    results = json.loads((tmp_path / "results.json").read_text())
    assert len(results["rows"]) >= 11 and len(results["peers"]) >= 2
    for row in results["rows"]:
        assert row["defect"] <= 2 * row["wanted"], row["name"]
    assert "| metric | D |" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "defect_against_time.png").stat().st_size > 10_000
