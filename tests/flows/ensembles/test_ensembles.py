"""Ensembles: the same results everywhere, failures reported, deaths and interrupts survived, work resumed."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest

import riemflow as rf
from riemflow.autodiff import anp
from riemflow.errors import DomainError, FileFormatError, ShapeError

Z = np.random.default_rng(5).standard_normal((3, 6))
LOSS = rf.losses.LeastSquares(Z, Z[:, 0] - 0.5 * Z[:, 2])
TIMES = np.array([0.5, 1.0, 2.0])
ALPHAS = np.array([0.01, 0.1, 0.5, 1.0, 2.0])


def trained(alpha):
    G = rf.parametrizations.HadamardDifference(6)
    return rf.gradient_flow(G, LOSS, np.full(12, alpha), TIMES)


def automatic(scale, rng):
    """A flow whose every derivative is automatic, from a random start."""
    R = rf.LegendreFunction(lambda w: anp.sum(anp.exp(scale * w) + w**2, axis=-1), 2)
    loss = rf.losses.Loss(lambda w: anp.sum((w - 1.0) ** 4, axis=-1), 2)
    return rf.mirror_flow(R, loss, rng.standard_normal(2), TIMES)


def same(one, other):
    """Bit by bit the same, the time taken aside."""
    assert one.cases == other.cases or str(one.cases) == str(other.cases)
    for a, b in zip(one, other, strict=True):
        assert (a.status, a.message, a.traceback, a.texts) == (b.status, b.message, b.traceback, b.texts)
        assert a.values.keys() == b.values.keys()
        for name in a.values:
            np.testing.assert_array_equal(a.values[name], b.values[name])
    return True


def test_results_are_those_of_a_loop():
    found = rf.ensemble(trained, {"alpha": ALPHAS})
    assert found.status == "finished" and found.good.all() and len(found) == 5
    for k, alpha in enumerate(ALPHAS):
        flow = trained(alpha)
        np.testing.assert_array_equal(found["w"][k], flow.w)
        np.testing.assert_array_equal(found[k].x, flow.x)
        assert found[k].message == flow.message and found["n_rhs"][k] == flow.stats["n_rhs"]
        assert found["formulation"][k] == flow.stats["formulation"]
    assert found["w"].shape == (5, 3, 6) and "5 of 5 cases good" in repr(found)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.status = "converged"
    with pytest.raises(AttributeError, match="no 'mu'"):
        found[0].mu  # noqa: B018
    with pytest.raises(KeyError, match="no case has 'mu', only"):
        found["mu"]


@pytest.mark.parametrize(
    "cases", [[{"alpha": a} for a in ALPHAS], {"alpha": list(ALPHAS)}, ALPHAS, list(ALPHAS)]
)
def test_cases_are_rows_columns_or_single_arguments(cases):
    np.testing.assert_array_equal(
        rf.ensemble(trained, cases)["w"], np.array([trained(alpha).w for alpha in ALPHAS])
    )


@pytest.mark.parametrize("function", [trained, automatic])
def test_threads_give_the_same(function):
    cases = {"alpha": ALPHAS} if function is trained else {"scale": [0.5, 1.0, 1.5, 2.0]}
    seed = None if function is trained else 3
    here = rf.ensemble(function, cases, seed=seed)
    assert here.good.all()
    assert same(here, rf.ensemble(function, cases, backend="threading", n_jobs=4, seed=seed))


@pytest.mark.slow
def test_processes_give_the_same():
    for function, cases, seed in (
        (trained, {"alpha": ALPHAS}, None),
        (automatic, {"scale": [0.5, 1.0, 2.0]}, 3),
    ):
        here = rf.ensemble(function, cases, seed=seed)
        there = rf.ensemble(function, cases, seed=seed, backend="loky", n_jobs=2)
        assert here.good.all() and same(here, there)


def draw(rng, n=3):
    return {"drawn": rng.standard_normal(n), "worker": os.getpid()}


def test_every_case_has_a_generator_of_its_own():
    """Child k of the seed, by SeedSequence.spawn itself: no matter how many cases there are."""
    found = rf.ensemble(draw, [{}] * 6, seed=11)["drawn"]
    children = np.random.SeedSequence(11).spawn(6)
    np.testing.assert_array_equal(found, [np.random.default_rng(c).standard_normal(3) for c in children])
    assert len(np.unique(found)) == 18
    np.testing.assert_array_equal(rf.ensemble(draw, [{}] * 2, seed=11)["drawn"], found[:2])
    assert np.abs(rf.ensemble(draw, [{}] * 6, seed=12)["drawn"] - found).min() > 0


def sometimes(k):
    if k == 1:
        raise ValueError("one is not wanted")
    R, loss = rf.legendre.BurgEntropy(1), rf.losses.Linear([-1.0])
    # Along this loss the flow of -ln w is 1/(1 - t): it ends at t = 1.
    return rf.mirror_flow(R, loss, [1.0], [0.5, 2.0 if k == 2 else 0.75])


def test_failing_cases_are_reported_and_the_rest_is_kept():
    found = rf.ensemble(sometimes, {"k": range(4)})
    assert found.status == "partly-failed" and list(found.good) == [True, False, False, True]
    assert found.message == "2 of 4 cases good; case 1 is 'raised': ValueError: one is not wanted"
    assert "ValueError: one is not wanted" in found[1].traceback and "in sometimes" in found[1].traceback
    # A flow that ended early leaves what it reached.
    assert found[2].status == "left-domain" and "ConvergenceError" in found[2].traceback
    np.testing.assert_allclose(found[2].w[0], 2.0, rtol=1e-7)
    w = found["w"]
    np.testing.assert_allclose(w[[0, 3], :, 0], [[2.0, 4.0]] * 2, rtol=1e-6)
    assert np.isnan(w[1]).all()


def test_results_of_other_kinds():
    assert rf.ensemble(lambda x: x**2, [1.0, 3.0])["value"].tolist() == [1.0, 9.0]
    found = rf.ensemble(
        lambda d: rf.minimize_bregman(rf.legendre.NegativeEntropy(d), np.ones(d), np.ones((1, d)), [1.0]),
        [2, 3],
    )
    assert found["kkt_residual"].max() < 1e-12 and found["status"].tolist() == ["converged"] * 2
    np.testing.assert_allclose(found["w"], [[0.5, 0.5, np.nan], [1 / 3] * 3])
    bad = rf.ensemble(lambda k: {"fine": 1.0, "odd": object()}, [0])
    assert bad[0].status == "raised" and "returned odd of type object" in bad[0].message
    nothing = rf.ensemble(lambda k: None, [0])
    assert nothing[0].status == "raised" and "a `return` missing" in nothing[0].message
    taken = rf.ensemble(lambda k: {"seconds": 1.0}, [0])
    assert taken[0].status == "raised" and "rename it" in taken[0].message
    given = rf.ensemble(lambda k: {"status": "stopped", "message": "why", "n": k}, [4])
    assert given.status == "partly-failed" and given[0].message == "why" and given["n"] == [4.0]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"flow_function": 3}, DomainError, "flow_function is a int"),
        ({"cases": []}, DomainError, "empty"),
        ({"cases": 4}, DomainError, "cases is a int"),
        ({"cases": "abc"}, DomainError, "cases is a str"),
        ({"cases": {"a": [1.0], "b": [1.0, 2.0]}}, ShapeError, "'b': 2"),
        ({"cases": {"a": 1.0}}, ShapeError, "None"),
        ({"backend": "mpi"}, DomainError, "'mpi'.* None, 'loky', 'threading', 'dask'"),
        ({"n_jobs": 0}, DomainError, "n_jobs is 0"),
        ({"seed": -1}, DomainError, "seed is -1"),
        (
            {"backend": "loky", "flow_function": partial(print, file=sys.stdout)},
            DomainError,
            "cannot be sent",
        ),
        ({"path": "x.npz", "cases": [{"alpha": object()}]}, DomainError, "alpha of a case is a object"),
    ],
)
def test_bad_input_is_named(change, error, words):
    given = {"flow_function": trained, "cases": {"alpha": ALPHAS}} | change
    with pytest.raises(error, match=words):
        rf.ensemble(given.pop("flow_function"), given.pop("cases"), **given)


def mortal(k, folder, deadly=()):
    """Kills its worker: case 2 the first time, those of `deadly` always."""
    mark = os.path.join(folder, f"{k}.dead")
    if k in deadly or (k == 2 and not os.path.exists(mark)):
        open(mark, "w").close()
        os._exit(1)
    return {"k": k}


@pytest.mark.slow
def test_cases_of_a_killed_worker_are_run_again_unless_they_always_kill_it(tmp_path):
    cases = [{"k": k, "folder": str(tmp_path), "deadly": (5,)} for k in range(8)]
    found = rf.ensemble(mortal, cases, backend="loky", n_jobs=2)
    assert (tmp_path / "2.dead").exists()
    assert found[5].status == "worker-died" and "died 3 times" in found[5].message
    assert found.status == "partly-failed" and list(found.good) == [k != 5 for k in range(8)]
    assert found["k"][found.good].tolist() == [0, 1, 2, 3, 4, 6, 7]


@dataclasses.dataclass
class Counted:
    """Squares its argument; counts its calls, raises at those given."""

    raises: dict = dataclasses.field(default_factory=dict)
    calls: list = dataclasses.field(default_factory=list)

    def __call__(self, k, **more):
        self.calls.append(k)
        if k in self.raises:
            raise self.raises[k]
        return {"square": k**2, "who": f"case {k}", "row": np.arange(k)}


def test_an_interrupt_keeps_what_was_done_and_the_file_resumes(tmp_path):
    path = tmp_path / "sweep"
    cases = [{"k": k} for k in range(6)]
    with pytest.raises(KeyboardInterrupt, match="3 of 6 cases good") as caught:
        rf.ensemble(Counted({3: KeyboardInterrupt()}), cases, path=path)
    partial = caught.value.partial
    assert (
        partial.status == "interrupted" and partial["status"].tolist() == ["finished"] * 3 + ["not-run"] * 3
    )
    again = Counted()
    found = rf.ensemble(again, cases, path=path)
    assert again.calls == [3, 4, 5] and found.stats["n_loaded"] == 3 and "3 from the file" in found.message
    assert same(found, rf.ensemble(Counted(), cases))
    assert [p.name for p in tmp_path.iterdir()] == ["sweep.npz"]
    done = Counted()
    assert same(rf.ensemble(done, cases, path=path), found) and done.calls == []


def test_a_flow_that_was_interrupted_interrupts_the_ensemble():
    class Interrupted(rf.losses.LeastSquares):
        n_calls = 0

        def _outer_gradient(self, s):
            self.n_calls += 1
            if self.n_calls == 20:
                raise KeyboardInterrupt
            return super()._outer_gradient(s)

    def case(k):
        loss = (Interrupted if k == 1 else rf.losses.LeastSquares)(Z, LOSS.Y)
        return rf.mirror_flow(rf.legendre.SquaredNorm(6), loss, np.ones(6), 1.0, throw=False)

    with pytest.raises(KeyboardInterrupt) as caught:
        rf.ensemble(case, [0, 1, 2])
    assert caught.value.partial["status"].tolist() == ["finished", "not-run", "not-run"]


def test_a_sweep_may_grow_be_reordered_and_be_run_in_parts(tmp_path):
    path = tmp_path / "sweep.npz"
    rf.ensemble(Counted(), [{"k": k} for k in (0, 1, 2)], path=path)
    more = Counted()
    found = rf.ensemble(more, [{"k": k} for k in (4, 1, 3)], path=path)
    assert more.calls == [4, 3] and found["square"].tolist() == [16.0, 1.0, 9.0]
    whole = Counted()
    assert rf.ensemble(whole, {"k": np.arange(5)}, path=path)["square"].tolist() == [0, 1, 4, 9, 16]
    assert whole.calls == []
    # Another argument, or a seed, makes another case.
    other = Counted()
    rf.ensemble(other, [{"k": 0, "scale": 2.0}], path=path)
    assert other.calls == [0]


def test_with_a_seed_a_case_is_known_by_its_place_too(tmp_path):
    path = tmp_path / "draws.npz"
    whole = rf.ensemble(draw, [{}] * 4, seed=1)["drawn"]
    rf.ensemble(draw, [{}] * 2, seed=1, path=path)
    found = rf.ensemble(draw, [{}] * 4, seed=1, path=path)
    np.testing.assert_array_equal(found["drawn"], whole)
    assert found.stats["n_loaded"] == 2
    assert rf.ensemble(draw, [{}] * 4, seed=2, path=path).stats["n_loaded"] == 0


def test_cases_without_a_result_count_as_missing(tmp_path):
    path = tmp_path / "sweep.npz"
    first = rf.ensemble(Counted({1: ValueError("no")}), [{"k": k} for k in range(3)], path=path)
    assert first[1].status == "raised"
    again = Counted()
    assert rf.ensemble(again, [{"k": k} for k in range(3)], path=path).good.all() and again.calls == [1]


def test_files_damaged_or_foreign_are_refused(tmp_path):
    path = tmp_path / "sweep.npz"
    rf.ensemble(Counted(), [{"k": k} for k in range(3)], path=path)
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    header = json.loads(arrays["header"].tobytes())

    def rewritten(change, **more):
        text = np.frombuffer(json.dumps(header | change).encode(), np.uint8)
        np.savez(path, **(arrays | more | {"header": text}))

    for change, more, words in [
        ({"format": "riemflow embedding"}, {}, "none that an ensemble wrote"),
        ({"version": 2}, {}, "version 2.*update"),
        ({"keys": header["keys"][:2]}, {}, "damaged"),
        ({"names": [*header["names"], "more"]}, {}, "damaged"),
        ({"records": [[1, 2, 3, {}]] * 3}, {}, "damaged"),
        ({}, {"values_0": np.ones(7)}, "damaged"),
        ({}, {"shapes_0": np.array([[1.0, 1e6]] * 3)}, "damaged"),
    ]:
        rewritten(change, **more)
        before, function = path.read_bytes(), Counted()
        with pytest.raises(FileFormatError, match=words):
            rf.ensemble(function, [{"k": 0}], path=path)
        assert function.calls == [] and path.read_bytes() == before
    path.write_bytes(b"no archive")
    with pytest.raises(FileFormatError, match=r"no \.npz file"):
        rf.ensemble(Counted(), [{"k": 0}], path=path)


def test_a_file_that_cannot_be_written_is_known_before_the_work(tmp_path):
    function = Counted()
    with pytest.raises(OSError):
        rf.ensemble(function, [{"k": 0}], path=tmp_path / "no" / "folder")
    assert function.calls == []


def test_a_disk_that_fills_up_loses_nothing(tmp_path, monkeypatch):
    def full(path, arrays):
        if "shapes_0" in arrays:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("riemflow.flows.ensembles.case_file.write_archive", full)
    with pytest.raises(OSError, match="No space") as caught:
        rf.ensemble(Counted(), [{"k": 0}], path=tmp_path / "sweep")
    assert caught.value.partial["square"].tolist() == [0.0]


@pytest.mark.slow
def test_a_killed_run_loses_a_second_at_most(tmp_path):
    """SIGKILL, which nothing can catch: the file has what was done until a second before."""
    path = tmp_path / "sweep.npz"
    code = (
        "import sys, time, riemflow as rf\n"
        "def slow(k):\n    time.sleep(0.25)\n    return {'k': k}\n"
        f"rf.ensemble(slow, [{{'k': k}} for k in range(100)], path={str(path)!r})\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    while not path.exists() or path.stat().st_size < 1500:
        assert process.poll() is None
        time.sleep(0.05)
    began = time.monotonic()
    while time.monotonic() - began < 3.5:
        time.sleep(0.1)
    process.kill()
    process.wait()
    function = Counted()
    found = rf.ensemble(function, [{"k": k} for k in range(100)], path=path)
    assert 8 <= found.stats["n_loaded"] < 100 and len(function.calls) == 100 - found.stats["n_loaded"]


def test_table_of_pandas():
    found = rf.ensemble(
        lambda k, name, start: trained(k), {"k": ALPHAS, "name": list("abcde"), "start": np.eye(5)}
    )
    table = found.to_pandas()
    assert table.index.name == "case" and len(table) == 5
    assert table.k.tolist() == list(ALPHAS) and table.name.tolist() == list("abcde") and "start" not in table
    assert table.status.tolist() == ["finished"] * 5 and "w" not in table
    np.testing.assert_array_equal(table.n_steps, found["n_steps"])


def test_dataset_of_xarray():
    found = rf.ensemble(
        lambda alpha, t, start: trained(alpha), {"alpha": ALPHAS, "t": ALPHAS, "start": np.eye(5)}
    )
    data = found.to_xarray()
    assert data.w.dims == ("case", "step", "i") and data.x.dims == ("case", "step", "j")
    assert dict(data.sizes) == {"case": 5, "step": 3, "i": 6, "j": 12, "start_0": 5}
    np.testing.assert_array_equal(data.case_t, ALPHAS)
    np.testing.assert_array_equal(data.w.sel(case=3, step=1), found[3].w[1])
    np.testing.assert_array_equal(data.start, np.eye(5))


def test_progress_is_shown_when_asked_for(capsys):
    rf.ensemble(Counted({1: ValueError("no")}), [{"k": k} for k in range(3)], progress=True)
    shown = capsys.readouterr().err
    assert "3/3" in shown and "1 failed" in shown
    rf.ensemble(Counted(), [{"k": 0}])
    assert capsys.readouterr().err == ""


def test_dask_needs_a_client():
    pytest.importorskip("distributed")
    with pytest.raises(DomainError, match="none: make one"):
        rf.ensemble(trained, {"alpha": ALPHAS}, backend="dask")


@pytest.fixture
def cluster(tmp_path):
    """A scheduler and two workers, processes of their own, as on three machines."""
    distributed = pytest.importorskip("distributed")
    address = tmp_path / "scheduler.json"
    started = []

    def start(*arguments):
        command = [sys.executable, "-m", "distributed.cli." + arguments[0], *arguments[1:]]
        with (tmp_path / f"{len(started)}.log").open("wb") as log:
            started.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path))

    start(
        "dask_scheduler",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--scheduler-file",
        str(address),
        "--no-dashboard",
    )
    for _ in range(2):
        start("dask_worker", "--scheduler-file", str(address), "--nthreads", "1", "--no-dashboard")
    try:
        with distributed.Client(scheduler_file=str(address), timeout=60) as client:
            client.wait_for_workers(2, timeout=60)
            yield client
            client.shutdown()
    finally:
        for process in started:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.mark.slow
def test_on_a_dask_cluster_results_are_the_same_and_deaths_are_survived(cluster, tmp_path):
    here = rf.ensemble(trained, {"alpha": ALPHAS})
    assert same(here, rf.ensemble(trained, {"alpha": ALPHAS}, backend="dask"))
    seeded = {"seed": 3}
    here = rf.ensemble(automatic, {"scale": [0.5, 1.0, 2.0]}, **seeded)
    assert same(here, rf.ensemble(automatic, {"scale": [0.5, 1.0, 2.0]}, backend="dask", **seeded))
    drawn = rf.ensemble(lambda rng: (time.sleep(0.2), draw(rng))[1], [{}] * 8, backend="dask", seed=11)
    np.testing.assert_array_equal(drawn["drawn"], rf.ensemble(draw, [{}] * 8, seed=11)["drawn"])
    workers = set(drawn["worker"])
    assert len(workers) == 2 and os.getpid() not in workers

    cases = [{"k": k, "folder": str(tmp_path)} for k in range(8)]
    found = rf.ensemble(mortal, cases, backend="dask", path=tmp_path / "sweep")
    assert (tmp_path / "2.dead").exists()
    assert found.status == "finished" and found["k"].tolist() == list(range(8))
    assert rf.ensemble(mortal, cases, backend="dask", path=tmp_path / "sweep").stats["n_loaded"] == 8
    cases = [{"k": k, "folder": str(tmp_path), "deadly": (5,)} for k in range(8)]
    found = rf.ensemble(mortal, cases, backend="dask")
    assert found[5].status == "worker-died" and "KilledWorker" in found[5].traceback
    assert found.good.sum() == 7
