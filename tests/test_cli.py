"""The command line: what it prints, and the status it ends with."""

import json

import pytest
from typer.testing import CliRunner

from riemflow.cli import app

OWN = """
import autograd.numpy as np
import riemflow as rf

R = rf.LegendreFunction(lambda w: np.sum(w * np.log(w), axis=-1), 2, domain=lambda w: (w > 0).all(axis=-1))
E = rf.legendre.NegativeEntropy(2)
G = rf.parametrizations.Identity(2)
U = rf.parametrizations.MatrixFactorization(2, 2)
number = 3
"""


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return path


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_verify_a_mirror_map_with_data_and_json(own, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("a,b,target\n1.0,2.0,2.5\n")
    out = tmp_path / "out.json"
    result = run("verify", f"{own}:E", "--at", "0.5,0.8", "--data", table, "--time", "1", "--json", out)
    assert result.exit_code == 0, result.output
    assert "PASSED" in result.output
    report = json.loads(out.read_text())
    assert report["passed"] and report["reports"][0]["direction"] == "reverse"


def test_a_parametrization_that_does_not_commute_ends_with_status_1(own):
    result = run("verify", f"{own}:U", "--at", "1.0,0.2,-0.3,0.8", "--time", "1")
    assert result.exit_code == 1, result.output
    assert "not commuting" in result.output


def test_list_shows_the_catalogue():
    result = run("list")
    assert result.exit_code == 0
    for name in ("NegativeEntropy(dim)", "HadamardDifference(dim, power)", "LeastSquares(Z, Y)"):
        assert name in result.output


def test_embed_prints_dimension_and_defect(own):
    result = run("embed", f"{own}:E")
    assert result.exit_code == 0 and "R^2" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.py:R"], "missing.py is not a file"),
        (["own.py:nothing"], "defines no 'nothing'"),
        (["own.py"], "write FILE.py:NAME"),
        (["own.py:number"], "neither a LegendreFunction nor a Parametrization"),
        (["own.py:E", "--at", "1,x"], "numbers separated by commas"),
        (["own.py:E", "--at", "0,1"], "on or outside the boundary"),
        (["own.py:E", "--at", "1,2,3"], "last axis must have length 2"),
        (["own.py:E", "--time", "-1"], "t is -1"),
        (["own.py:G"], "pass --at"),
        (["own.py:E", "--data", "text.csv"], "'many' is not a number"),
        (["own.py:E", "--data", "short.csv"], "2 features and a target"),
        (["own.py:E", "--data", "none.csv"], "none.csv"),
        (["broken.py:R"], "does not run: ZeroDivisionError"),
        (["--at", "1,2"], "need a target"),
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments, message, own, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.csv").write_text("1.0,2.0,3.0\n1.0,many,3.0\n")
    (tmp_path / "short.csv").write_text("1.0,2.0\n")
    (tmp_path / "broken.py").write_text("1 / 0\n")
    result = run("verify", *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert len(result.output.strip().splitlines()) == 1
