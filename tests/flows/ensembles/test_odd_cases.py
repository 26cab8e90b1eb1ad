"""Cases of unusual arguments, results and exceptions: none is mistaken for another, none stops the rest."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pandas
import pytest

import riemflow as rf
from riemflow.errors import DomainError

LARGE = 2**60


def test_a_file_tells_large_integers_apart(tmp_path):
    """They are one number as float64; a seed or a hash is such an integer."""

    def last(k):
        return {"last": float(k - LARGE)}

    path = tmp_path / "sweep.npz"
    rf.ensemble(last, [{"k": LARGE}], path=path)
    for cases in (
        [{"k": LARGE + j} for j in range(3)],
        [{"k": np.int64(LARGE + j)} for j in range(3)],
        {"k": np.arange(LARGE, LARGE + 3)},
    ):
        found = rf.ensemble(last, cases, path=path)
        assert found["last"].tolist() == [0.0, 1.0, 2.0] and found.stats["n_loaded"] >= 1
    huge = rf.ensemble(lambda k: {"last": float(k - 2**70)}, [2**70, 2**70 + 2**20], path=path)
    assert huge["last"].tolist() == [0.0, 2.0**20]


def test_cases_of_different_shapes():
    starts = [np.zeros(3), np.ones(4)]
    assert rf.ensemble(lambda x: {"n": len(x)}, starts)["n"].tolist() == [3.0, 4.0]
    assert rf.ensemble(lambda x: {"n": len(x)}, {"x": starts})["n"].tolist() == [3.0, 4.0]


def test_columns_of_a_table_are_taken_by_place():
    table = pandas.DataFrame({"x": [1.0, 2.0, 3.0]})[::-1].iloc[:2]
    assert rf.ensemble(lambda x: {"x": x}, {"x": table["x"]})["x"].tolist() == [3.0, 2.0]


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no text")


def strange(k):
    if k == 1:
        sys.exit(3)
    if k == 2:
        raise Unprintable
    if k == 3:
        error: BaseException = RuntimeError("with what cannot be kept")
        error.partial = {"lock": object()}  # type: ignore[attr-defined]
        raise error
    return {"k": k}


@pytest.mark.parametrize("backend", [None, "threading", "loky"])
def test_exits_and_odd_exceptions_are_reported(backend):
    found = rf.ensemble(strange, [0, 1, 2, 3, 4], backend=backend, n_jobs=2)
    assert found["status"].tolist() == ["finished", "raised", "raised", "raised", "finished"]
    assert found[1].message == "SystemExit: 3" and "Unprintable" in found[2].message
    assert found[3].message == "RuntimeError: with what cannot be kept"


def test_texts_that_are_no_unicode_are_kept(tmp_path):
    path = tmp_path / "sweep.npz"
    for n_loaded in (0, 2):
        found = rf.ensemble(lambda k: {"name": f"\udc80{k}"}, [1, 2], path=path)
        assert found["name"].tolist() == ["\udc801", "\udc802"] and found.stats["n_loaded"] == n_loaded


def test_several_processes_fill_one_file(tmp_path):
    """Each used to write what it alone had, over what the others had written."""
    path = tmp_path / "sweep.npz"
    code = (
        "import sys, time, riemflow as rf\n"
        "def slow(k):\n    time.sleep(0.1)\n    return {'k': k}\n"
        "first = int(sys.argv[1])\n"
        "rf.ensemble(slow, list(range(first, first + 12)), path=sys.argv[2])\n"
    )
    runs = [subprocess.Popen([sys.executable, "-c", code, str(first), str(path)]) for first in (0, 100)]
    assert [run.wait() for run in runs] == [0, 0]
    cases = [*range(12), *range(100, 112)]
    found = rf.ensemble(lambda k: {"k": -1.0}, cases, path=path)
    assert found.stats["n_loaded"] == 24 and found["k"].tolist() == cases


def overwrite(x):
    x[0, 0] = 7.0
    return {"sum": x.sum()}


def test_large_arguments_can_be_written_to_as_small_ones_can():
    cases = [np.ones((600, 400)), np.ones((600, 400))]
    there = rf.ensemble(overwrite, cases, backend="loky", n_jobs=2)
    assert there["sum"].tolist() == [240006.0] * 2 and cases[0].sum() == 240000.0


def test_a_case_that_cannot_be_sent_is_named():
    lock = threading.Lock()
    with pytest.raises(DomainError, match="A case cannot be sent to other processes"):
        rf.ensemble(lambda x: {"k": 1}, [lock, lock], backend="loky", n_jobs=2)


def test_a_result_called_case_has_a_place_in_a_dataset():
    table = rf.ensemble(lambda k: {"case": 2.0 * k}, [1, 2]).to_xarray()
    assert table["case_value"].values.tolist() == [2.0, 4.0] and table["case"].values.tolist() == [0, 1]
