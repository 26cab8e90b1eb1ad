"""Embeddings in files: what comes back is what was saved, for its own R, and nothing else is accepted."""

from __future__ import annotations

import io
import json
import os
import pickle
import warnings
import zipfile

import autograd.numpy as anp
import numpy as np
import pytest
from saved_files import OWN, SQUARE, edited, plain, points_of, rewrite, same

import riemflow as rf
from riemflow.embedding.closed_form import embedding_map
from riemflow.embedding.maps import LinearMap
from riemflow.errors import DomainError, FileFormatError, ShapeError
from riemflow.legendre import (
    HyperbolicEntropy,
    LogDet,
    LogSumExp,
    LorentzBarrier,
    NegativeEntropy,
    SimplexEntropy,
    SquaredNorm,
    product,
)
from riemflow.legendre.function import LegendreFunction

POSITIVE = LegendreFunction(
    lambda w: anp.sum(w * anp.log(w), axis=-1) + anp.sum(w, axis=-1) ** 2,
    2,
    domain=lambda w: (w > 0).all(axis=-1),
    name="positive",
)
SCALAR = LegendreFunction(lambda w: (w * anp.log(w)).sum(-1), 1, domain=lambda w: w[..., 0] > 0)
# Name: (R, region, options).
SPECTRAL = {
    "raw": (OWN, SQUARE, {"tol": 1e-5, "coordinates": "raw"}),
    "polytope": (OWN, rf.Polytope([[-1.0, 0.0], [0.0, -1.0], [1.0, 1.0]], [0.5, 0.5, 1.0]), {"tol": 1e-4}),
    "tube": (OWN, rf.Tube([[0.0, 0.0], [0.3, 0.0], [0.3, 0.3]], 0.1), {"tol": 1e-4}),
    "ball": (OWN, rf.Ball([0.1, 0.0], 0.8), {"tol": 1e-4}),
    "curved axes": (POSITIVE, rf.Box([0.05, 0.1], [1.0, 1.5]), {"tol": 1e-5, "coordinates": "log-slack"}),
    "d = 1": (SCALAR, rf.Box([0.1], [4.0]), {}),
    "catalogue": (LogSumExp(2) + 0.1 * SquaredNorm(2), SQUARE, {"tol": 1e-5, "method": "spectral"}),
}
CLOSED = {
    "entropy": (NegativeEntropy(3), None),
    "Lorentz": (LorentzBarrier(2), rf.Box([-0.5, 1.0], [0.5, 2.0])),
    "log-det on a ball": (LogDet(2), rf.Ball([1.0, 0.0, 1.0], 0.3)),
    "algebra": (
        2.0 * product(HyperbolicEntropy([0.3], [0.7]), SimplexEntropy(2)).compose(np.eye(3), [0.0, 0.1, 0.1]),
        None,
    ),
}


@pytest.fixture(scope="module")
def spectral():
    return {name: rf.embed(R, region, **options) for name, (R, region, options) in SPECTRAL.items()}


@pytest.fixture(scope="module")
def saved(spectral, tmp_path_factory):
    return spectral["raw"].save(tmp_path_factory.mktemp("saved") / "F")


@pytest.mark.parametrize("name", SPECTRAL)
def test_a_spectral_embedding_comes_back_to_the_last_bit(spectral, name, tmp_path):
    F = spectral[name]
    path = F.save(tmp_path / "F.npz")
    for L in (rf.load_embedding(path), rf.load_embedding(path, F.R)):
        same(F, L)
        assert vars(L.certificate.bound) == vars(F.certificate.bound)
        assert L.certificate.history == F.certificate.history
        assert L.certificate.tail == F.certificate.tail and L.degree == F.degree and L.tail == F.tail
        np.testing.assert_array_equal(L.certificate.worst_point, F.certificate.worst_point)
    np.testing.assert_array_equal(L.metric_defect(points_of(F)), F.metric_defect(points_of(F)))


@pytest.mark.parametrize("name", CLOSED)
def test_a_closed_form_comes_back_from_its_recipe(name, tmp_path):
    R, region = CLOSED[name]
    F = rf.embed(R, region, method="closed-form")
    L = rf.load_embedding(F.save(tmp_path / "F.npz"))
    same(F, L)
    assert L.metric_defect(points_of(F)).max() < 1e-12
    assert L.R is not None and L.R.name == R.name


def test_many_dimensions_take_no_more_than_some_megabytes(tmp_path):
    F = rf.embed(NegativeEntropy(400))
    path = F.save(tmp_path / "F")
    w = np.linspace(0.1, 2.0, 400)
    np.testing.assert_array_equal(rf.load_embedding(path)(w), F(w))
    assert path.stat().st_size < 2e7


def test_without_r_all_but_the_metric_is_there(spectral, saved):
    F, L = spectral["raw"], rf.load_embedding(saved)
    w = points_of(F)
    assert L.R is None and L.name == "my own" and "my own" in repr(L)
    with pytest.raises(DomainError, match=r"pass R= to load_embedding"):
        L.metric_defect(w)
    G, H = L.parametrization(), F.parametrization()
    x = F(w[:5])
    np.testing.assert_allclose(G.cometric(x), H.cometric(x), rtol=1e-12)
    loss = rf.losses.Linear([0.3, -0.2])
    flow = rf.gradient_flow(G, loss, F([0.1, 0.2]), 0.3)
    np.testing.assert_allclose(flow.w, rf.gradient_flow(H, loss, F([0.1, 0.2]), 0.3).w, rtol=1e-9)


def test_a_loaded_embedding_is_saved_again_as_it_was(saved, tmp_path):
    again = rf.load_embedding(saved).save(tmp_path / "again.npz")
    assert again.read_bytes() == saved.read_bytes()


def test_another_r_is_warned_of_and_the_certificate_claims_nothing(saved):
    other = OWN + 0.02 * SquaredNorm(2)
    with pytest.warns(UserWarning, match="does not embed the R given") as warned:
        L = rf.load_embedding(saved, other)
    assert warned[0].filename == __file__
    w = SQUARE.sample(400, np.random.default_rng(8))
    # ‖g^{-1/2}(h - g)g^{-1/2}‖ for g = h + .02 I, written out.
    least = np.linalg.eigvalsh(OWN.hessian(w))[:, 0]
    expected = 0.02 / (least + 0.02)
    assert L.R is other and not L.certificate.passed
    np.testing.assert_allclose(L.metric_defect(w), expected, rtol=1e-3)
    assert expected.max() <= 1.01 * L.certificate.defect and L.certificate.defect < 1.3 * expected.max()
    assert "made for my own" in repr(L) and f"{L.certificate.difference:.1e}" in str(warned[0].message)
    with pytest.raises(DomainError, match="copy the file"):
        L.save("unused")


@pytest.mark.parametrize("size", [1e-9, 1e-6])
def test_small_differences_of_the_metric_are_noticed(saved, size):
    with pytest.warns(UserWarning, match="differs from that of"):
        rf.load_embedding(saved, OWN + size * SquaredNorm(2))


def test_the_same_r_written_otherwise_is_not_warned_of(saved):
    # Analytic derivatives against autograd's: they differ by rounding.
    again = LogSumExp(2) + 0.1 * SquaredNorm(2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        L = rf.load_embedding(saved, again)
    assert L.certificate.passed and L.R is again


def test_a_closed_form_loaded_for_another_r_is_still_the_one_saved(tmp_path):
    F = rf.embed(NegativeEntropy(2))
    path = F.save(tmp_path / "F")
    with pytest.warns(UserWarning, match="does not embed"):
        L = rf.load_embedding(path, SquaredNorm(2))
    np.testing.assert_array_equal(L([0.3, 2.0]), F([0.3, 2.0]))
    assert not L.certificate.passed and L.metric_defect([0.25, 1.0]) == pytest.approx(3.0)
    with pytest.raises(DomainError):  # outside the domain of what it was made for
        L([-1.0, 1.0])


def test_an_r_of_another_dimension_kind_or_domain_is_refused(saved, tmp_path):
    with pytest.raises(ShapeError, match="R has dimension 3"):
        rf.load_embedding(saved, SquaredNorm(3))
    with pytest.raises(ShapeError, match="wrapped as LegendreFunction"):
        rf.load_embedding(saved, plain)
    with pytest.raises(DomainError, match="must be a LegendreFunction"):
        rf.load_embedding(saved, 3.0)
    with pytest.raises(DomainError, match="outside dom NegativeEntropy"):
        rf.load_embedding(saved, NegativeEntropy(2))


class Mine(SquaredNorm):
    """A Legendre function of the user's own, with a closed form that he has registered."""


embedding_map.register(Mine, lambda R, extremes: LinearMap(np.eye(R.dim)))


def test_a_closed_form_of_the_users_own_needs_its_r(tmp_path):
    F = rf.embed(Mine(2))
    path = F.save(tmp_path / "F")
    with pytest.raises(DomainError, match="pass R="):
        rf.load_embedding(path)
    same(F, rf.load_embedding(path, Mine(2)))
    with pytest.raises(DomainError, match="can only be built again from its R"):
        rf.load_embedding(path, 2.0 * SquaredNorm(2))


# Files: their names, what is written, and what is refused.


def test_the_suffix_is_appended_unless_it_is_there(spectral, tmp_path):
    F = spectral["raw"]
    assert F.save(tmp_path / "a").name == "a.npz" and F.save(str(tmp_path / "b.npz")).name == "b.npz"
    assert F.save(tmp_path / "c.1").name == "c.1.npz"
    assert sorted(os.listdir(tmp_path)) == ["a.npz", "b.npz", "c.1.npz"]
    os.rename(tmp_path / "a.npz", tmp_path / "renamed")
    for name in ("renamed", "b", "b.npz", "c.1"):
        same(F, rf.load_embedding(tmp_path / name))


def test_a_file_that_cannot_be_written_is_an_oserror_and_nothing_is_left(spectral, tmp_path, monkeypatch):
    F = spectral["raw"]
    with pytest.raises(FileNotFoundError, match=r"was not saved.*none") as caught:
        F.save(tmp_path / "none" / "F.npz")
    assert caught.value.partial is F
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(OSError, match="was not saved"):
        F.save(tmp_path / "folder")
    path = F.save(tmp_path / "F")
    before = path.read_bytes()

    def full(file, **arrays):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space left") as caught:
        F.save(path)
    assert path.read_bytes() == before and caught.value.partial is F
    assert sorted(os.listdir(tmp_path)) == ["F.npz", "folder.npz"]
    with pytest.raises(OSError) as caught:  # F, just found, is not lost
        rf.embed(NegativeEntropy(2), save=path)
    assert caught.value.partial([1.0, 4.0]).tolist() == [2.0, 4.0]


def test_a_file_that_is_not_there_is_an_oserror(tmp_path):
    with pytest.raises(FileNotFoundError):
        rf.load_embedding(tmp_path / "nothing")


def test_a_region_that_no_file_can_describe_is_refused_before_the_solve(monkeypatch):
    class Odd(rf.Box):
        pass

    other = rf.SublevelSet(LegendreFunction(plain, 2, name="another"), 1.2)
    monkeypatch.setattr("riemflow.embedding.build._embed", lambda *a: pytest.fail("it solved"))
    with pytest.raises(DomainError, match="no file describes a Odd: embed on one of Box, "):
        rf.embed(OWN, Odd([0.0, 0.0], [1.0, 1.0]), save="unused")
    with pytest.raises(DomainError, match="another is neither what is embedded nor of the catalogue"):
        rf.embed(OWN, other, save="unused")


def npy(descr, shape, body=b"", version=(1, 0)):
    stream = io.BytesIO()
    writer = np.lib.format.write_array_header_1_0
    writer(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    text = stream.getvalue() + body
    return text[:6] + bytes(version) + text[8:]


DEEP = "[" * 100_000 + "]" * 100_000
BAD = {
    "newer": ({"header": edited(version=3)}, "version 3, but this riemflow reads versions up to 2"),
    "foreign header": ({"header": edited(format="other")}, "none that F.save wrote"),
    "no header": ({"header": None}, "none that F.save wrote"),
    "header is no JSON": ({"header": lambda a: a[:50]}, "damaged"),
    "header too deep": ({"header": lambda a: np.frombuffer(DEEP.encode(), np.uint8)}, "damaged"),
    "header is a list": ({"header": lambda a: np.frombuffer(b"[]", np.uint8)}, "none that F.save wrote"),
    "no degree": ({"header": edited(degree=...)}, "it has no 'degree'"),
    "huge degree": ({"header": edited(degree=10**9)}, "coefficients are not those of degree"),
    "other degree": ({"header": edited(degree=5)}, "coefficients are not those of degree"),
    "text for degree": ({"header": edited(degree="16")}, "coefficients are not those of degree"),
    "other method": ({"header": edited(method="exec")}, "its method is 'exec'"),
    "other dimension": ({"header": edited(dim=3)}, "points must be"),
    "negative dimension": ({"header": edited(dim=-2)}, "its dim is -2"),
    "other ambient dimension": ({"header": edited(ambient_dim=4)}, "values must be"),
    "unknown region": ({"header": edited(region="Sphere")}, "its region is a 'Sphere'"),
    "no region": ({"header": edited(region=None)}, "coefficients are not those"),
    "half a region": ({"region_upper": None}, "damaged"),
    "region upside down": ({"region_upper": lambda a: a - 5}, "A box needs lower < upper"),
    "an axis too few": ({"header": lambda a: edited(axes=json.loads(a.tobytes())["axes"][:1])(a)}, "1 axes"),
    "certificate": ({"header": edited(certificate__defect="small")}, "damaged"),
    "no certificate": ({"header": edited(certificate=None)}, "damaged"),
    "worst point": ({"header": edited(certificate__worst_point=[1.0])}, "its worst point has shape"),
    "recipe of nothing": ({"header": edited(recipe={"class": "eval"})}, "is no Legendre function"),
    "recipe of another R": (
        {"header": edited(recipe={"class": "SquaredNorm", "dim": 2})},
        "does not have the metric stored",
    ),
    "no coefficients": ({"coefficients": None}, "it has no 'coefficients'"),
    "another shape": ({"coefficients": lambda a: a.T}, "coefficients are not those"),
    "a flat array": ({"coefficients": lambda a: a.ravel()}, "coefficients are not those"),
    "NaN": ({"coefficients": lambda a: a * np.nan}, "must be finite"),
    "other coefficients": ({"coefficients": lambda a: 1.01 * a}, "F\\(w\\) is not what was stored"),
    "float32": ({"coefficients": lambda a: a.astype("f4")}, "holds dtype float32"),
    "no points": ({"points": lambda a: a[:0]}, "holds no points"),
    "metric not positive": ({"metric": lambda a: -a, "header": edited(recipe=None)}, "damaged"),
    "pickled": ({"coefficients": lambda a: np.array([a, None], dtype=object)}, "is pickled"),
    "shape without bytes": ({"coefficients": npy("<f8", (10**12, 5))}, "it is damaged"),
    "negative shape": ({"coefficients": npy("<f8", (-1, -5), b"0" * 40)}, "it is damaged"),
    "zero-width dtype": ({"coefficients": npy("|V0", (10**15,))}, "holds dtype"),
    "newer .npy": ({"coefficients": npy("<f8", (1, 5), b"0" * 40, (3, 0))}, r"version \(3, 0\)"),
    "no .npy": ({"coefficients": b"nonsense"}, "damaged"),
}


@pytest.mark.parametrize(("members", "message"), BAD.values(), ids=BAD)
def test_a_wrong_file_is_one_clear_error(saved, tmp_path, members, message):
    path = rewrite(saved, tmp_path / "bad.npz", **members)
    with pytest.raises(FileFormatError, match=message) as caught:
        rf.load_embedding(path, None if "recipe" in message else OWN)
    assert "bad.npz" in str(caught.value)


def test_the_rewritten_file_itself_is_good(saved, tmp_path):
    same(rf.load_embedding(saved), rf.load_embedding(rewrite(saved, tmp_path / "good.npz")))


def test_a_file_of_the_first_version_is_read(saved, tmp_path):
    same(
        rf.load_embedding(saved),
        rf.load_embedding(rewrite(saved, tmp_path / "old", header=edited(version=1))),
    )


def test_compressed_members_are_refused_whatever_they_swell_to(saved, tmp_path):
    bomb = npy("<f8", (10**6, 5), b"\0" * (40 * 10**6))
    path = rewrite(saved, tmp_path / "bomb.npz", method=zipfile.ZIP_DEFLATED, coefficients=bomb)
    assert path.stat().st_size < 200_000
    with pytest.raises(FileFormatError, match="compressed"):
        rf.load_embedding(path)


@pytest.mark.parametrize("kept", [0, 1, 100, 0.5, 0.99, -1])
def test_truncated_files(saved, tmp_path, kept):
    data = saved.read_bytes()
    (tmp_path / "cut.npz").write_bytes(data[: int(kept * len(data)) if isinstance(kept, float) else kept])
    with pytest.raises(FileFormatError, match=r"cut\.npz"):
        rf.load_embedding(tmp_path / "cut")


def test_a_flipped_byte_anywhere_is_noticed_or_harmless(saved, spectral, tmp_path):
    data, rng = saved.read_bytes(), np.random.default_rng(0)
    F, refused, path = spectral["raw"], 0, tmp_path / "flipped.npz"
    for place in rng.choice(len(data), 200, replace=False):
        path.write_bytes(data[:place] + bytes([data[place] ^ (1 << rng.integers(8))]) + data[place + 1 :])
        try:
            L = rf.load_embedding(path)
        except FileFormatError:
            refused += 1
        else:  # in a time stamp, say
            w = points_of(F)
            np.testing.assert_array_equal(L(w), F(w))
    assert refused > 150


def test_other_files_are_foreign(tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "sprung"),))

    (tmp_path / "pickled.npz").write_bytes(pickle.dumps(Trap()))
    np.savez(tmp_path / "trap.npz", header=np.array([Trap()], dtype=object))
    np.savez(tmp_path / "plain.npz", a=np.eye(2))
    np.save(tmp_path / "array.npy", np.eye(2))
    (tmp_path / "text.npz").write_text("w,x\n1,2\n")
    for name in ("pickled.npz", "trap.npz", "plain.npz", "array.npy", "text.npz"):
        with pytest.raises(FileFormatError, match=name):
            rf.load_embedding(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


def test_a_missing_folder_is_named(spectral, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"not saved.* there is no folder .*nowhere\. Make it first"):
        spectral["raw"].save(tmp_path / "nowhere" / "F")
