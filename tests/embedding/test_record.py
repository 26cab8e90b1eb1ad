"""Long solves: what they have reached survives interrupts and killed processes, and is shown on the way."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from itertools import pairwise

import autograd.numpy as anp
import numpy as np
import pytest

import riemflow as rf
from riemflow.embedding.levenberg import IsometryEquations
from riemflow.embedding.spectral_moments import TensorEquations
from riemflow.errors import ConvergenceError

SQUARE = rf.Box([-1.0, -1.0], [1.0, 1.0])


def plain(w):
    return anp.log(1 + anp.sum(anp.exp(w), axis=-1)) + 0.05 * anp.sum(w**2, axis=-1)


R = rf.LegendreFunction(plain, 2, name="plain")


@pytest.fixture
def interrupted_at(monkeypatch):
    """Return a function that has the k-th normal matrix raise KeyboardInterrupt, as Ctrl-C would."""

    def arrange(k, equations=TensorEquations):
        calls = []
        original = equations.normal_matrix

        def counting(self, frames):
            calls.append(self.N)
            if len(calls) == k:
                raise KeyboardInterrupt
            return original(self, frames)

        monkeypatch.setattr(equations, "normal_matrix", counting)
        return calls

    return arrange


def defect(F, n=2000):
    inside = SQUARE.sample(n, np.random.default_rng(9))
    return F.metric_defect(np.concatenate([SQUARE.corners(), inside])).max()


def test_an_interrupt_keeps_the_best_so_far(interrupted_at):
    whole = rf.embed(R, SQUARE, tol=1e-9)
    degrees = [fit.degree for fit in whole.certificate.history]
    assert degrees[:2] == [4, 8] and degrees[-1] >= 12
    calls = interrupted_at(10**9)
    rf.embed(R, SQUARE, tol=1e-9)
    # In the first step of the highest degree.
    interrupted_at(calls.index(max(calls)) + 1)
    with pytest.raises(KeyboardInterrupt) as caught:
        rf.embed(R, SQUARE, tol=1e-9)
    F = caught.value.partial
    best = min(fit.defect for fit in whole.certificate.history if fit.degree < degrees[-1])
    assert F.certificate.defect == best and F.certificate.degree < degrees[-1]
    assert not F.certificate.passed and F.certificate.bound is None
    assert defect(F) <= 1.2 * best and len(F.certificate.history) == len(degrees) - 1


def test_the_iterate_of_an_unfinished_degree_is_kept_too(interrupted_at):
    interrupted_at(8)
    with pytest.raises(KeyboardInterrupt) as caught:
        rf.embed(R, SQUARE, tol=1e-9)
    early = caught.value.partial
    assert early.degree == 4 and early.certificate.history == ()
    # Seven steps leave less than three.
    assert defect(early) <= 1.2 * early.certificate.defect
    interrupted_at(4)
    with pytest.raises(KeyboardInterrupt) as caught:
        rf.embed(R, SQUARE, tol=1e-9)
    assert early.certificate.defect < 0.5 * caught.value.partial.certificate.defect


def test_an_interrupt_before_the_first_step_has_nothing_to_keep(interrupted_at):
    interrupted_at(1)
    with pytest.raises(KeyboardInterrupt) as caught:
        rf.embed(R, SQUARE, tol=1e-9)
    assert caught.value.partial is None


def test_a_ball_too(interrupted_at):
    interrupted_at(12, IsometryEquations)
    with pytest.raises(KeyboardInterrupt) as caught:
        rf.embed(R, rf.Ball([0.0, 0.0], 1.0), tol=1e-9)
    assert caught.value.partial.certificate.defect < 0.1


@pytest.mark.parametrize("k", [3, 12])
def test_of_a_sum_only_a_part_is_solved_but_the_whole_is_kept(interrupted_at, tmp_path, k):
    both = R + 0.5 * rf.legendre.SquaredNorm(2)
    interrupted_at(k)
    with pytest.raises(KeyboardInterrupt) as caught:
        rf.embed(both, SQUARE, tol=1e-9, save=tmp_path / "F")
    F = caught.value.partial
    assert F.method == "mixed" and F.ambient_dim == 7 and not F.certificate.passed
    w = SQUARE.sample(500, np.random.default_rng(1))
    assert F.metric_defect(w).max() <= 1.2 * F.certificate.defect < 1
    np.testing.assert_array_equal(rf.load_embedding(tmp_path / "F", both)(w), F(w))


def test_the_first_of_two_parts_alone_is_no_embedding_to_keep(interrupted_at, tmp_path):
    two = rf.legendre.product(R, R)
    place = rf.Box(-np.ones(4), np.ones(4))
    calls = interrupted_at(10**9)
    rf.embed(two, place, tol=1e-4)
    for k, kept in ((2, False), (len(calls), True)):
        interrupted_at(k)
        with pytest.raises(KeyboardInterrupt) as caught:
            rf.embed(two, place, tol=1e-4, save=tmp_path / f"F{k}")
        F = caught.value.partial
        assert (F is not None) == kept == (tmp_path / f"F{k}.npz").exists()
    assert F is not None and F.dim == 4 and F.ambient_dim == 10


def test_an_interrupt_while_the_bound_is_computed_keeps_what_was_found(monkeypatch):
    def interrupt(F):
        raise KeyboardInterrupt

    monkeypatch.setattr("riemflow.embedding.spectral.sup_bound", interrupt)
    with pytest.raises(KeyboardInterrupt) as caught:
        rf.embed(R, SQUARE, tol=1e-6)
    assert caught.value.partial.certificate.passed


def test_each_gain_is_saved_on_the_way(interrupted_at, monkeypatch, tmp_path):
    path, kept = tmp_path / "F.npz", []
    save = rf.IsometricEmbedding.save

    def noting(F, to):
        save(F, to)
        kept.append(rf.load_embedding(path, R).certificate.defect)

    monkeypatch.setattr(rf.IsometricEmbedding, "save", noting)
    interrupted_at(18)
    with pytest.raises(KeyboardInterrupt) as caught:
        rf.embed(R, SQUARE, tol=1e-12, save=path)
    F, L = caught.value.partial, rf.load_embedding(path, R)
    fits = [fit.defect for fit in F.certificate.history]
    # Each fit that gained something, then the iterate that was interrupted.
    assert kept[:-1] == fits and kept[-1] == F.certificate.defect < fits[-1]
    assert L.certificate.defect == F.certificate.defect and defect(L) <= 1.2 * L.certificate.defect


def test_what_is_saved_in_the_end_is_what_is_returned(tmp_path):
    F = rf.embed(R, SQUARE, tol=1e-6, save=tmp_path / "F")
    assert repr(rf.load_embedding(tmp_path / "F")) == repr(F) and F.certificate.bound is not None
    G = rf.embed(rf.legendre.NegativeEntropy(2), save=tmp_path / "G")
    np.testing.assert_array_equal(rf.load_embedding(tmp_path / "G")([1.0, 2.0]), G([1.0, 2.0]))


def test_a_failed_solve_leaves_the_best_in_its_file(tmp_path):
    kink = rf.LegendreFunction(
        lambda w: anp.sum(w**2 + 3 * anp.abs(w - 0.1) ** 3, axis=-1) + w[..., 0] * w[..., 1], 2
    )
    with pytest.raises(ConvergenceError) as caught:
        rf.embed(kink, SQUARE, tol=1e-9, save=tmp_path / "F")
    L = rf.load_embedding(tmp_path / "F", kink)
    assert L.certificate.defect == caught.value.partial.certificate.defect and not L.certificate.passed


def test_history_tells_every_fit(tmp_path):
    F = rf.embed(R, SQUARE, tol=1e-9)
    fits = F.certificate.history
    assert [fit.degree for fit in fits] == sorted(fit.degree for fit in fits)
    assert min(fit.defect for fit in fits) == F.certificate.defect
    assert all(a.seconds < b.seconds for a, b in pairwise(fits))
    # The residual is the mean over the points fitted, so below the largest at others.
    assert all(0 < fit.residual < fit.defect for fit in fits)
    many = rf.embed(R, SQUARE, tol=1e-12, ambient_dim=3, method="spectral")
    starts = [fit.start for fit in many.certificate.history]
    assert starts == sorted(starts) and starts[0] == 0
    assert rf.embed(rf.LegendreFunction(plain, 1), rf.Box([0.0], [1.0])).certificate.history == ()


def test_progress_shows_degree_residual_and_defect(capsys):
    rf.embed(R, SQUARE, tol=1e-6, progress=True)
    shown = capsys.readouterr().err
    assert "degree 4, residual" in shown and "best defect" in shown
    rf.embed(R, SQUARE, tol=1e-6)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("ambient_dim", [3, 5])
def test_a_seed_gives_the_same_embedding_and_another_one_another(ambient_dim):
    options = {"tol": 1e-6, "ambient_dim": ambient_dim}
    first, again, other = (rf.embed(R, SQUARE, seed=seed, **options) for seed in (3, 3, 4))
    w = SQUARE.sample(100, np.random.default_rng(1))
    np.testing.assert_allclose(again(w), first(w), rtol=0, atol=1e-13 * np.abs(first(w)).max())

    def distances(F):  # invariant under motions of R^D, under which F is never unique
        x = F(w)
        return np.linalg.norm(x[:, None] - x, axis=-1)

    assert np.abs(distances(other) - distances(first)).max() > 1e-3 * distances(first).max()


SOLVE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell runs in the background
import autograd.numpy as anp, riemflow as rf
R = rf.LegendreFunction(lambda w: anp.log(1 + anp.sum(anp.exp(w), -1)) + 0.05 * anp.sum(w**2, -1), 3)
try:
    rf.embed(R, rf.Box([-1.0] * 3, [1.0] * 3), tol=1e-13, save={path!r})
except KeyboardInterrupt as interrupt:
    F = interrupt.partial
    F.save({path!r} + "-interrupted")
    print("kept", F.certificate.defect, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["SIGINT", "SIGKILL"])
def test_a_process_that_is_interrupted_or_killed_leaves_its_best(how, tmp_path):
    path = tmp_path / "F.npz"
    process = subprocess.Popen(
        [sys.executable, "-c", SOLVE.format(path=str(path))], stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.0)
    process.send_signal(getattr(signal, how))
    out, _ = process.communicate(timeout=300)
    own = rf.LegendreFunction(plain, 3)
    assert rf.load_embedding(path, own).certificate.defect < 0.1
    if how == "SIGINT":
        L = rf.load_embedding(f"{path}-interrupted", own)
        assert process.returncode == 0 and f"kept {L.certificate.defect}" in out
