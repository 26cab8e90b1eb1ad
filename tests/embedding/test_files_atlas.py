"""Files of atlases, and of embeddings on regions made of a Legendre function."""

from __future__ import annotations

import json
import warnings

import autograd.numpy as anp
import numpy as np
import pytest
from saved_files import OWN, edited, points_of, rewrite, same

import riemflow as rf
from riemflow.embedding import bisection
from riemflow.embedding.closed_form import embedding_map
from riemflow.embedding.maps import LinearMap
from riemflow.errors import ConvergenceError, DomainError, FileFormatError, NoClosedFormError, ShapeError
from riemflow.legendre import LogSumExp, NegativeEntropy, SquaredNorm
from riemflow.legendre.function import LegendreFunction

SQUARE = rf.Box([-3.0, -3.0], [3.0, 3.0])
CATALOGUE = LogSumExp(2) + 0.1 * SquaredNorm(2)


class Mine(SquaredNorm):
    """A Legendre function that no file describes, with a closed form."""


embedding_map.register(Mine, lambda R, extremes: LinearMap(np.eye(R.dim)))
MINE = Mine(2)
# Name: (R, region made of it, options). The solver takes many points of the region, and these are dear.
QUICK = {
    "own closed form": (MINE, rf.BregmanBall(MINE, [0.1, 0.2], 0.05), {}),
    "closed form": (NegativeEntropy(2), rf.BregmanBall(NegativeEntropy(2), [1.0, 2.0], 0.2), {}),
}
MADE_OF_R = QUICK | {
    "own ball": (OWN, rf.BregmanBall(OWN, [0.1, 0.2], 0.05), {"tol": 1e-4}),
    "own level": (OWN, rf.SublevelSet(OWN, 0.9), {"tol": 1e-4}),
    "catalogue": (OWN, rf.SublevelSet(SquaredNorm(2), 0.2), {"tol": 1e-4}),
    "both of the catalogue": (CATALOGUE, rf.SublevelSet(CATALOGUE, 0.8), {"tol": 1e-4, "method": "spectral"}),
    "a part on the whole": (
        NegativeEntropy(2) + OWN,
        rf.BregmanBall(NegativeEntropy(2), [1.0, 1.0], 0.05),
        {"tol": 1e-4},
    ),
    "atlas": (OWN, rf.SublevelSet(OWN, 0.9), {"tol": 1e-4, "method": "atlas"}),
}


@pytest.fixture(scope="module")
def few():
    """Charts of low degree, so that there are many of them soon."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(bisection.MOST_DEGREE, 2, 8)
        yield


@pytest.fixture(scope="module")
def atlas(few):
    found = rf.embed(OWN, SQUARE, method="atlas", tol=1e-5)
    assert len(found.charts) > 3
    return found


@pytest.fixture(scope="module")
def saved(atlas, tmp_path_factory):
    return atlas.save(tmp_path_factory.mktemp("saved") / "atlas")


def same_atlas(A, L):
    assert repr(L) == repr(A) and len(L.charts) == len(A.charts) and L.missing == A.missing == ()
    assert vars(L.certificate).keys() == vars(A.certificate).keys()
    w = points_of(A)
    np.testing.assert_array_equal(L.chart(w), A.chart(w))
    np.testing.assert_array_equal(L.bracket_defect(w), A.bracket_defect(w))
    for F, G, share, other in zip(A.charts, L.charts, A.shares, L.shares, strict=True):
        same(F, G)
        np.testing.assert_array_equal(share.bounding_box(), other.bounding_box())


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in MADE_OF_R]
)
def test_regions_made_of_a_legendre_function(name, tmp_path):
    R, region, options = MADE_OF_R[name]
    F = rf.embed(R, region, save=tmp_path / "F", **options)
    L = rf.load_embedding(tmp_path / "F", R)
    if name == "atlas":
        same_atlas(F, L)
    else:
        same(F, L)
    assert type(L.region) is type(region)
    outer = region.center + 1.5 * (region._boundary(20, np.random.default_rng(0)) - region.center)
    w = np.concatenate([points_of(F), outer[np.asarray(R.domain.belongs(outer))]])
    np.testing.assert_array_equal(L.region.belongs(w), region.belongs(w))
    assert not L.region.belongs(w).all()
    if name.startswith("own") or name == "atlas":
        with pytest.raises(DomainError, match=rf"of {R.name}, which is neither of the catalogue.*: pass R="):
            rf.load_embedding(tmp_path / "F")
    else:
        assert repr(rf.load_embedding(tmp_path / "F")) == repr(F)


def test_a_region_is_not_made_of_another_r(tmp_path):
    path = rf.embed(MINE, rf.SublevelSet(MINE, 0.9)).save(tmp_path / "F")
    with pytest.raises(DomainError, match=r"can only be built again from its R.* differs by"):
        rf.load_embedding(path, 1.1 * SquaredNorm(2))
    with pytest.raises(ShapeError, match="dimension 3"):
        rf.load_embedding(path, SquaredNorm(3))
    # The same metric, but another minimum: another sublevel set. A ball of the divergence is the same.
    tilted = LegendreFunction(lambda w: 0.5 * anp.sum(w**2, axis=-1) + 0.1 * w[..., 0], 2, name="tilted")
    with pytest.raises(FileFormatError, match="R is not the one that it was made for"):
        rf.load_embedding(path, tilted)
    ball = rf.embed(MINE, rf.BregmanBall(MINE, [0.1, 0.2], 0.05)).save(tmp_path / "ball")
    with pytest.raises(NoClosedFormError):  # got as far as F itself
        rf.load_embedding(ball, tilted)


@pytest.mark.parametrize(
    "members",
    [
        {"region_level": lambda a: a + 0.1},
        {"region_level": lambda a: a * np.nan},
        {"region_level": None},
        {"region_ends": None},
        {"region_ends": lambda a: a[:1]},
        {"region_ends": lambda a: a + 1e-3},
        {"header": edited(region_of={"class": "eval"})},
        {"header": edited(region_of={"class": "SquaredNorm", "dim": 3})},
        {"header": edited(region_of=...)},
        {"header": edited(region="BregmanBall")},
    ],
)
def test_a_damaged_region(members, tmp_path):
    F = rf.embed(MINE, rf.SublevelSet(SquaredNorm(2), 0.2))
    path = rewrite(F.save(tmp_path / "F"), tmp_path / "bad.npz", **members)
    with pytest.raises(FileFormatError, match=r"bad\.npz is damaged"):
        rf.load_embedding(path, MINE)


# Atlases.


def test_an_atlas_comes_back_to_the_last_bit(atlas, saved):
    L = rf.load_embedding(saved, OWN)
    same_atlas(atlas, L)
    assert L.R is OWN and L.certificate.passed
    w = points_of(atlas)
    np.testing.assert_array_equal(L.metric_defect(w), atlas.metric_defect(w))
    assert L.transition_defect() == atlas.transition_defect()
    loss, t = rf.losses.LeastSquares(np.eye(2), [1.5, -1.0]), [1.0, 5.0]
    flows = [rf.atlas_flow(A, loss, [-2.0, 2.0], t) for A in (atlas, L)]
    np.testing.assert_array_equal(flows[0].w, flows[1].w)
    assert flows[0].stats["switches"]
    assert rf.load_embedding(saved).save(saved.with_name("again")).read_bytes() == saved.read_bytes()


def test_an_atlas_without_its_r_flows_all_the_same(atlas, saved):
    L = rf.load_embedding(saved)
    assert L.R is None and L.name == "my own"
    for needs_metric in (lambda: L.metric_defect([0.0, 0.0]), L.transition_defect):
        with pytest.raises(DomainError, match="pass R= to load_embedding"):
            needs_metric()
    loss = rf.losses.LeastSquares(np.eye(2), [1.5, -1.0])
    flow, true = (rf.atlas_flow(A, loss, [-2.0, 2.0], 5.0) for A in (L, atlas))
    np.testing.assert_array_equal(flow.w, true.w)


def test_an_atlas_of_the_catalogue_says_its_r(few, tmp_path):
    A = rf.embed(CATALOGUE, SQUARE, method="atlas", tol=1e-4, save=tmp_path / "A")
    L = rf.load_embedding(tmp_path / "A")
    same_atlas(A, L)
    assert L.R is not None and L.metric_defect(points_of(A)).max() <= 1.1e-4


def test_another_r_is_warned_of(atlas, saved):
    other = OWN + 0.02 * SquaredNorm(2)
    with pytest.warns(UserWarning, match="does not embed the R given") as warned:
        L = rf.load_embedding(saved, other)
    assert warned[0].filename == __file__
    w = SQUARE.sample(400, np.random.default_rng(8))
    expected = 0.02 / (np.linalg.eigvalsh(OWN.hessian(w))[:, 0] + 0.02)
    np.testing.assert_allclose(L.metric_defect(w), expected, rtol=1e-3)
    assert not L.certificate.passed and not L.charts[0].certificate.passed
    assert expected.max() <= 1.01 * L.certificate.defect
    with pytest.raises(DomainError, match="copy the file"):
        L.save("unused")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rf.load_embedding(saved, LogSumExp(2) + 0.1 * SquaredNorm(2))


def charts(change):
    """Return a change of the header's list of charts."""

    def changed(array):
        found = json.loads(array.tobytes())["charts"]
        return edited(charts=change(found))(array)

    return changed


BAD = {
    "no charts": ({"header": edited(charts=...)}, "it has no 'charts'"),
    "none": ({"header": charts(lambda found: [])}, "damaged"),
    "one too few": ({"header": charts(lambda found: found[:-1])}, "its shares must be"),
    "one too many": ({"header": charts(lambda found: [*found, found[0]])}, "damaged"),
    "other degree": ({"header": charts(lambda found: [found[0] | {"degree": 5}, *found[1:]])}, "degree 5"),
    "no coefficients": ({"chart_1_coefficients": None}, "it has no 'coefficients'"),
    "NaN": ({"chart_1_coefficients": lambda a: a * np.nan}, "must be finite"),
    "one chart is another": ({"chart_2_coefficients": lambda a: 1.01 * a}, r"F\(w\) is not what was stored"),
    "a box upside down": ({"chart_1_region_upper": lambda a: a - 50}, "A box needs lower < upper"),
    "a share upside down": ({"shares": lambda a: a[:, ::-1]}, "A box needs lower < upper"),
    "no shares": ({"shares": None}, "it has no 'shares'"),
    "no missing": ({"missing": None}, "it has no 'missing'"),
    "missing flat": ({"missing": lambda a: a.ravel()}, "missing must be"),
    "no number": ({"chart_x_coefficients": lambda a: np.eye(2)}, "damaged"),
    "no region": ({"header": edited(region=None)}, "it has no region"),
    "another method": ({"header": edited(method="spectral")}, "it has no 'degree'"),
    "pickled": ({"chart_0_coefficients": lambda a: np.array([a, None], dtype=object)}, "is pickled"),
}


@pytest.mark.parametrize(("members", "message"), BAD.values(), ids=BAD)
def test_a_wrong_file_is_one_clear_error(saved, tmp_path, members, message):
    path = rewrite(saved, tmp_path / "bad.npz", **members)
    with pytest.raises(FileFormatError, match=message) as caught:
        rf.load_embedding(path, OWN)
    assert "bad.npz" in str(caught.value)


@pytest.mark.parametrize("kept", [1, 0.5, 0.99, -1])
def test_truncated_files(saved, tmp_path, kept):
    data = saved.read_bytes()
    (tmp_path / "cut.npz").write_bytes(data[: int(kept * len(data)) if isinstance(kept, float) else kept])
    with pytest.raises(FileFormatError, match=r"cut\.npz"):
        rf.load_embedding(tmp_path / "cut")


# Solves that do not end.


def test_what_was_reached_is_in_the_file(few, tmp_path, monkeypatch):
    real, passed = bisection._fit, []

    def interrupted(metric, box, options):
        if sum(passed) == 3:
            assert len(rf.load_embedding(tmp_path / "A").charts) == 3  # as a killed process leaves it
            raise KeyboardInterrupt
        found = real(metric, box, options)
        passed.append(found[-1].defect <= options["tol"])
        return found

    monkeypatch.setattr(bisection, "_fit", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        rf.embed(OWN, SQUARE, method="atlas", tol=1e-5, save=tmp_path / "A")
    A, L = caught.value.partial, rf.load_embedding(tmp_path / "A", OWN)
    assert len(L.charts) == 3 and repr(L) == repr(A)
    assert len(L.missing) == L.certificate.n_missing == len(A.missing) > 0 and "NO chart" in repr(L)
    assert L.certificate.defect <= 1e-5 and not L.certificate.passed
    # Charts and missing parts fill the region, and do not overlap.
    w = SQUARE.sample(2000, np.random.default_rng(0))
    count = sum(box.belongs(w).astype(int) for box in [*L.shares, *L.missing])
    assert (count == 1).all()
    with pytest.raises(DomainError, match="the atlas of"):
        L.metric_defect(L.missing[-1].center)


def test_a_failure_keeps_the_charts_in_the_file(few, tmp_path, monkeypatch):
    monkeypatch.setattr(bisection, "MOST_CHARTS", 6)
    with pytest.raises(ConvergenceError, match="needs more than 6 charts") as caught:
        rf.embed(OWN, SQUARE, method="atlas", tol=1e-5, save=tmp_path / "A")
    assert repr(rf.load_embedding(tmp_path / "A", OWN)) == repr(caught.value.partial)
