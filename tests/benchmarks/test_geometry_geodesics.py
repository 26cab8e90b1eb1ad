"""The geodesics' benchmark runs, and both sides compute the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "geometry" / "geodesics.py"


@pytest.mark.slow
def test_the_quick_run(tmp_path):
    out = tmp_path / "numbers.json"
    command = [sys.executable, "-W", "ignore", str(SCRIPT), "--quick", "--out", str(out)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    rows = json.loads(out.read_text(encoding="utf-8"))["rows"]
    tight = [row for row in rows if "DOP853" in row["what"]]
    assert len(tight) == 2
    for row in tight:
        assert row["errors"]["riemflow"] < 1e-11
    # What comes by default is of its own accuracy: worse, and still the same geodesic.
    for row in rows:
        assert row["errors"]["geomstats"] < 2e-2
    assert len(run.stdout.splitlines()) == len(rows)
