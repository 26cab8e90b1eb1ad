"""The geometry's benchmarks run, and both sides compute the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "geometry"


def rows_of(script: str, out: Path, *options: str) -> list[dict]:
    command = [sys.executable, "-W", "ignore", str(FOLDER / script), "--out", str(out), *options]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    return json.loads(out.read_text(encoding="utf-8"))["rows"]


@pytest.mark.slow
def test_geodesics(tmp_path):
    rows = rows_of("geodesics.py", tmp_path / "numbers.json", "--quick")
    tight = [row for row in rows if "DOP853" in row["what"]]
    assert len(tight) == 2
    for row in tight:
        assert row["errors"]["riemflow"] < 1e-11
    # What comes by default is of its own accuracy: worse, and still the same geodesic.
    for row in rows:
        assert row["errors"]["geomstats"] < 2e-2


@pytest.mark.slow
def test_tensors(tmp_path):
    rows = rows_of("tensors.py", tmp_path / "numbers.json", "--quick")
    assert {row["what"] for row in rows} >= {"metric", "Christoffel", "Riemann", "sectional curvature"}
    assert max(row["defect"] for row in rows) < 1e-9


@pytest.mark.slow
def test_descents(tmp_path):
    rows = rows_of("descents.py", tmp_path / "numbers.json")
    for what in {row["what"] for row in rows}:
        found = [row["loss"] for row in rows if row["what"] == what]
        assert len(found) >= 2
        assert max(found) - min(found) < 1e-6 * abs(min(found))
