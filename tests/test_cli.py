"""The command line: what it prints, and the status it ends with."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import riemflow as rf
from riemflow.cli import app
from riemflow.embedding.spectral_moments import TensorEquations

OWN = """
import autograd.numpy as np
import riemflow as rf

R = rf.LegendreFunction(lambda w: np.sum(w * np.log(w), axis=-1), 2, domain=lambda w: (w > 0).all(axis=-1))
E = rf.legendre.NegativeEntropy(2)
G = rf.parametrizations.Identity(2)
U = rf.parametrizations.MatrixFactorization(2, 2)
number = 3
"""

# Functions that do as they are told once the objects are made.
TRAP = """
import autograd.numpy as np
import riemflow as rf

armed = False

def trap():
    if armed:
        raise {error}

def value(w):
    trap()
    return np.sum(np.exp(w), axis=-1)

def fun(x):
    trap()
    return x**2

R = rf.LegendreFunction(value, 2)
G = rf.Parametrization(fun, 2, 2)
armed = True
"""

# A header is a first row without a single number; a byte order mark is no part of a cell.
TABLES = {
    "plain": b"1.0,2.0,2.5\n",
    "mark": b"\xef\xbb\xbf1.0,2.0,2.5\n",
    "mark and header": b"\xef\xbb\xbfa,b,target\n1.0,2.0,2.5\n",
}


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
        (["own.py:E", "--data", "missing.csv"], "'NA' is not a number"),
        (["own.py:E", "--data", "latin.csv"], "not a CSV file in UTF-8"),
        (["own.py:E", "--data", "wide.csv"], "not a CSV file in UTF-8"),
        (["own.py:E", "--json", "nowhere/out.json"], "nowhere/out.json"),
        (["own.py:E", "--json", "."], "directory"),
        (["--json", "nowhere/out.json"], "nowhere/out.json"),
        (["broken.py:R"], "does not run: ZeroDivisionError"),
        (["leaving.py:R"], "does not run: SystemExit"),
        (["--at", "1,2"], "need a target"),
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments, message, own, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.csv").write_text("1.0,2.0,3.0\n1.0,many,3.0\n")
    (tmp_path / "short.csv").write_text("1.0,2.0\n")
    (tmp_path / "missing.csv").write_text("NA,2.0,3.0\n1.0,2.0,3.0\n")
    (tmp_path / "latin.csv").write_bytes(b"a,b,\xe9\n1.0,2.0,3.0\n")
    (tmp_path / "wide.csv").write_bytes("1.0,2.0,3.0\n".encode("utf-16"))
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "leaving.py").write_text("import sys\nsys.exit(0)\n")
    result = run("verify", *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert len(result.output.strip().splitlines()) == 1


def figures_of(table, own, tmp_path):
    path, out = tmp_path / "table.csv", tmp_path / "out.json"
    path.write_bytes(table)
    result = run("verify", f"{own}:E", "--at", "0.5,0.8", "--data", path, "--time", "0.5", "--json", out)
    assert result.exit_code == 0, result.output
    return json.loads(out.read_text())["reports"][0]["deviations"]


def test_no_row_of_numbers_is_taken_for_a_header(own, tmp_path):
    expected, *others = (figures_of(table, own, tmp_path) for table in TABLES.values())
    for figures in others:
        assert figures == expected
    rows = b"1.0,2.0,2.5\n0.5,-1.0,0.3\n"
    assert figures_of(rows, own, tmp_path) != expected


@pytest.mark.parametrize(
    "error", ["RuntimeError('no\\nluck')", "ValueError('no luck')", "SystemExit('no luck')"]
)
@pytest.mark.parametrize(
    "arguments", [("verify", "R"), ("verify", "G"), ("classify", "G"), ("embed", "R")], ids=" ".join
)
def test_an_error_in_the_users_code_is_one_line_and_status_2(arguments, error, tmp_path, monkeypatch):
    command, name = arguments
    monkeypatch.chdir(tmp_path)
    source = TRAP.format(error=error)
    (tmp_path / "trap.py").write_text(source)
    where = ["--lower", "0,0", "--upper", "1,1"] if command == "embed" else ["--at", "1,0.8"]
    result = run(command, f"trap.py:{name}", *where)
    assert result.exit_code == 2, result.output
    line = 1 + next(k for k, text in enumerate(source.splitlines()) if "raise" in text)
    kind = error.partition("(")[0]
    # A ValueError of G itself is taken for a failure to vectorise, and says so.
    wrapped = f"fun raised {kind} (no luck)" in result.output
    assert f"{kind}: no luck (trap.py, line {line})" in result.output or (wrapped and kind == "ValueError")
    assert len(result.stderr.strip().splitlines()) == 1 and "PASSED" not in result.output


@pytest.mark.parametrize("command", ["verify", "classify"])
def test_a_function_that_is_not_vectorised_is_one_line_and_status_2(command, tmp_path):
    path = tmp_path / "single.py"
    path.write_text(
        "import autograd.numpy as np\nimport riemflow as rf\n"
        "G = rf.Parametrization(lambda x: np.array([x[0], x[1]]), 2, 2)\n"
    )
    result = run(command, f"{path}:G", "--at", "1,1")
    assert result.exit_code == 2, result.output
    assert len(result.output.strip().splitlines()) == 1


def test_an_interrupt_is_one_line_and_status_130(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trap.py").write_text(TRAP.format(error="KeyboardInterrupt"))
    result = run("verify", "trap.py:R", "--at", "1,0.8")
    assert (result.exit_code, result.output) == (130, "interrupted\n")


def test_a_fault_of_riemflows_own_is_not_put_down_to_the_input(monkeypatch):
    def broken(*arguments, **options):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("riemflow.cli._verify_built_in", broken)
    assert isinstance(run("verify").exception, ZeroDivisionError)


def test_json_is_tried_before_the_work_and_left_alone_if_that_fails(own, tmp_path, monkeypatch):
    def never(*arguments, **options):
        raise AssertionError("the work was begun")

    monkeypatch.setattr(rf, "verify_reverse", never)
    assert run("verify", f"{own}:E", "--json", tmp_path / "nowhere" / "out.json").exit_code == 2
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text("kept")
    for path in (old, new):
        result = run("verify", f"{own}:E", "--json", path)
        assert result.exit_code == 2 and "the work was begun" in result.output
    assert old.read_text() == "kept" and not new.exists()


def test_embed_ends_with_status_1_if_the_tolerance_is_not_reached(tmp_path):
    path = tmp_path / "plain.py"
    path.write_text(
        "import autograd.numpy as np\nimport riemflow as rf\n"
        "R = rf.LegendreFunction(lambda w: np.sum(np.exp(w) + w**4, axis=-1), 1)\n"
    )
    box = ["--lower=-1", "--upper", "1"]
    met, missed = (run("embed", f"{path}:R", *box, "--tol", tol) for tol in (1e-7, 1e-18))
    assert met.exit_code == 0 and " within tol" in met.output
    assert missed.exit_code == 1 and "NOT within tol" in missed.output
    assert missed.stdout.count("SampledDefect") == 1


PLAIN = """
import autograd.numpy as np
import riemflow as rf

def value(w):
    return np.log(1 + np.sum(np.exp(w), axis=-1)) + 0.05 * np.sum(w**2, axis=-1)

R = rf.LegendreFunction(value, 2, name="plain")
K = rf.Ball([0.0, 0.0], 0.7)
kink = rf.LegendreFunction(lambda w: np.sum(w**2 + 3 * np.abs(w - 0.1) ** 3, axis=-1) + w[..., 0] ** 2, 2)
"""


@pytest.fixture
def plain(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plain.py").write_text(PLAIN)
    return tmp_path


def test_embed_saves_what_it_prints(plain):
    result = run("embed", "plain.py:R", "--lower=-1,-1", "--upper", "1,1", "--tol", "1e-6", "--save", "F",
                 "--json", "F.json", "--seed", "3")  # fmt: skip
    assert result.exit_code == 0, result.output
    F = rf.load_embedding("F")
    assert repr(F) in result.stdout and "It is in F.npz" in result.stdout
    figures = json.loads((plain / "F.json").read_text())
    assert figures["seed"] == 3 and figures["ambient_dim"] == 5 and figures["method"] == "spectral"
    assert figures["certificate"]["defect"] == F.certificate.defect and figures["certificate"]["passed"]
    assert figures["certificate"]["bound"]["value"] == F.certificate.bound.value
    assert [fit["defect"] for fit in figures["certificate"]["history"]][-1] == F.certificate.defect


@pytest.mark.parametrize("region", ["plain.py:K", "Ball([0, 0.0], 0.7)", "embedding.Ball([0,0], radius=.7)"])
def test_embed_takes_a_region_by_name_or_in_numbers(plain, region):
    result = run("embed", "plain.py:R", "--region", region, "--tol", "1e-3", "--ambient-dim", "4")
    assert result.exit_code == 0 and "of Ball([0., 0.], 0.7)" in result.stdout and "R^4" in result.stdout


def test_embed_draws_the_image(plain):
    box = ["--lower=-1,-1", "--upper", "1,1"]
    result = run("embed", "plain.py:R", *box, "--tol", "1e-4", "--plot", "F.png")
    assert result.exit_code == 0 and "F(K) is drawn in F.png" in result.stdout
    assert (plain / "F.png").read_bytes()[:4] == b"\x89PNG"
    for arguments in (["SquaredNorm(2)"], ["SquaredNorm(3)", "--region", "Ball([0,0,0], 1)"]):
        refused = run("embed", *arguments, "--plot", "no.png")
        assert refused.exit_code == 2 and "--plot draws" in refused.stderr
    assert not (plain / "no.png").exists()


def test_embed_saves_a_miss_and_a_failure_too_and_ends_with_status_1(plain):
    box = ["--lower=-1,-1", "--upper", "1,1"]
    line = ["--region", "Box([-1], [1])", "--method", "spectral", "--save", "missed.npz"]
    missed = run("embed", "SoftplusSum([[1]], [0])", *line, "--tol", "1e-18")
    assert missed.exit_code == 1 and "NOT within tol" in missed.stdout
    assert rf.load_embedding("missed").certificate.defect < 1e-4
    failed = run("embed", "plain.py:kink", *box, "--save", "failed")
    assert failed.exit_code == 1 and "It is in failed.npz" in failed.stdout and "failed: " in failed.stderr
    assert rf.load_embedding("failed").certificate.defect > 1e-4


def test_embed_keeps_the_best_so_far_if_it_is_interrupted(plain, monkeypatch):
    original, calls = TensorEquations.normal_matrix, []

    def counting(equations, frames):
        calls.append(frames)
        if len(calls) == 15:
            raise KeyboardInterrupt
        return original(equations, frames)

    monkeypatch.setattr(TensorEquations, "normal_matrix", counting)
    result = run("embed", "plain.py:R", "--lower=-1,-1", "--upper", "1,1", "--save", "F")
    assert result.exit_code == 130 and result.stderr.rstrip().endswith("interrupted")
    assert "It is in F.npz" in result.stdout and repr(rf.load_embedding("F")) in result.stdout
    calls[:] = [None] * 14
    nothing = run("embed", "plain.py:R", "--lower=-1,-1", "--upper", "1,1", "--save", "nothing")
    assert nothing.exit_code == 130 and nothing.stdout == "" and not (plain / "nothing.npz").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--region", "Sphere(2)"], "There is no 'Sphere' in riemflow.embedding"),
        (["--region", "plain.py:R"], "must be a region, such as Box"),
        (["--region", "plain.py:K", "--lower", "0,0", "--upper", "1,1"], "either --region or a box"),
        (["--region", "Ball([0, 0], -1)"], "must lie strictly between"),
        (["--region", "plain.py:K", "--save", "nowhere/F"], "No such file"),
        (["--region", "plain.py:K", "--method", "guess"], "method is 'guess'"),
        (["--region", "plain.py:K", "--ambient-dim", "1"], "less than d = 2"),
    ],
)
def test_bad_options_of_embed_are_one_line_and_status_2(plain, arguments, message):
    result = run("embed", "plain.py:R", *arguments)
    assert result.exit_code == 2 and message in result.stderr and result.stdout == ""
    assert not list(plain.glob("*.npz"))


def test_a_flow_too_short_to_resolve_passes_and_says_so(own):
    result = run("verify", f"{own}:E", "--time", "1e-12")
    assert result.exit_code == 0, result.output
    assert "the change of ∇R is" in result.output and "by rounding" in result.output
    assert "by rounding" not in run("verify", f"{own}:E", "--time", "1").output


CLASSIFIED = [
    ("HadamardDifference(2)", "1,0.8,0.7,1.2", "commuting", 0),
    ("HadamardDifference(1, power=3)", "1,0.8", "commuting", 0),
    ("ScrewQuotient()", "1,0.5,0.3", "projectable", 0),
    ("parametrizations.MatrixFactorization(2, 2)", "1,0,0,1", "not-mirror", 1),
    # Fields that all but commute: their defect is among the rounding errors.
    ("Quadratic([[[1, 0], [0, -0.6]], [[-0.5, 2.5e-14], [2.5e-14, 1]]])", "1,0.8", "undecided", 1),
]


@pytest.mark.parametrize(("name", "at", "verdict", "status"), CLASSIFIED, ids=[c[0] for c in CLASSIFIED])
def test_classify_a_parametrization_of_the_catalogue(name, at, verdict, status, tmp_path):
    out = tmp_path / "out.json"
    result = run("classify", name, "--at", at, "--json", out)
    assert result.exit_code == status, result.output
    assert result.output.startswith(f"{verdict}: ")
    figures = json.loads(out.read_text())
    assert figures["verdict"] == verdict and figures["x_init"] == [float(x) for x in at.split(",")]
    assert (figures["witness"] is not None) == (verdict == "not-mirror")


def test_the_witness_in_the_json_can_be_replayed(own, tmp_path):
    out = tmp_path / "out.json"
    x_init = [1.0, 0.2, -0.3, 0.8]
    run(
        "classify", f"{own}:U", "--at", ",".join(map(str, x_init)), "--json", out, "--seed", 1, "--reach", 0.5
    )
    figures = json.loads(out.read_text())
    assert (figures["seed"], figures["reach"], figures["intrinsic"]) == (1, 0.5, True)
    slopes = [np.array(one) for one in figures["witness"]["slopes"]]
    np.testing.assert_allclose(slopes[0].sum(axis=0), slopes[1].sum(axis=0), atol=1e-15)
    G = rf.parametrizations.MatrixFactorization(2, 2)
    for controls, w in zip(slopes, figures["witness"]["w"], strict=True):
        loss = rf.losses.Piecewise(np.arange(1, len(controls)), [rf.losses.Linear(c) for c in controls])
        flow = rf.gradient_flow(G, loss, x_init, figures["witness"]["t_end"], rtol=1e-10)
        np.testing.assert_allclose(flow.w[-1], w, atol=1e-8)
    assert np.linalg.norm(np.subtract(*figures["witness"]["w"])) > 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["NegativeEntropy(2)"], "There is no 'NegativeEntropy' in riemflow.parametrizations"),
        (["legendre.Quadratic([[1]])"], "There is no 'legendre.Quadratic'"),
        (["Parametrization(1, 2, 2)"], "There is no 'Parametrization'"),
        (["Hadamard.mro()"], "There is no 'Hadamard.mro'"),
        (["Hadamard()"], "missing 1 required positional argument"),
        (["Hadamard(0)"], "dim is 0"),
        (["Hadamard(2"], "write FILE.py:NAME"),
        (["Hadamard(open('made', 'w'))"], "does not name an object"),
        (["(open('made', 'w'))"], "There is no 'open'"),
        (["(lambda: open('made', 'w'))()"], "There is no"),
        (["own.py:E"], "but classify needs a Parametrization"),
        (["Hadamard(2)", "--at", "1,2,3"], "last axis must have length 2"),
        (["Hadamard(2)", "--at", "1,0"], "on or outside the boundary"),
        (["Hadamard(2)", "--reach", "0"], "reach is 0"),
        (["Hadamard(2)", "--json", "nowhere/out.json"], "nowhere/out.json"),
    ],
)
def test_classify_refuses_bad_input_and_evaluates_nothing(arguments, message, own, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    result = run("classify", *arguments, *([] if "--at" in arguments else ["--at", "1,2"]))
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before


def test_names_of_the_catalogue_are_verified_and_embedded():
    assert "R^3" in run("embed", "SimplexEntropy(2)").output
    forward = run("verify", "Hadamard(1)", "--at", "1.5", "--time", "0.5")
    assert forward.exit_code == 0 and "forward equivalence" in forward.output
    reverse = run("verify", "NegativeEntropy(1)", "--time", "0.5")
    assert reverse.exit_code == 0 and "reverse equivalence" in reverse.output
    both = run("verify", "Quadratic([[2.0]])")
    assert (
        both.exit_code == 2 and "write legendre.Quadratic(…) or parametrizations.Quadratic(…)" in both.output
    )
    assert run("verify", "legendre.Quadratic([[2.0]])", "--time", "0.5").exit_code == 0


def test_an_atlas_from_the_command_line(plain):
    box = ("--lower=-1,-1", "--upper", "1,1")
    made = run(
        "embed", "plain.py:R", *box, "--method", "atlas", "--tol", "1e-4", "--save", "A", "--json", "A.json"
    )
    assert made.exit_code == 0, made.output
    A = rf.load_embedding("A")
    assert isinstance(A, rf.Atlas) and repr(A) in made.stdout
    figures = json.loads(Path("A.json").read_text())
    assert figures["method"] == "atlas" and figures["certificate"]["n_charts"] == len(A.charts)
    refused = run("embed", "plain.py:R", *box, "--method", "atlas", "--plot", "no.png")
    assert refused.exit_code == 2 and "many charts" in refused.stderr
    own = ("--method", "atlas")
    checked = run("verify", "plain.py:R", "--at", "0.1,0.2", "--time", "0.5", "--rtol", "1e-4", *own)
    assert checked.exit_code == 0 and "not one F" in checked.stdout
    for arguments in (("verify", *own), ("verify", "Hadamard(2)", "--at", "1,1", *own)):
        refused = run(*arguments)
        assert refused.exit_code == 2 and "--method" in refused.stderr
