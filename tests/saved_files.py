"""What tests of saved embeddings share: an R, comparisons, and files with members changed."""

from __future__ import annotations

import io
import json
import zipfile

import autograd.numpy as anp
import numpy as np

import riemflow as rf

SQUARE = rf.Box([-1.0, -0.8], [1.0, 0.9])


def plain(w):
    return anp.log(1 + anp.sum(anp.exp(w), axis=-1)) + 0.05 * anp.sum(w**2, axis=-1)


OWN = rf.LegendreFunction(plain, 2, name="my own")


def points_of(F):
    if F.region is not None:
        return F.region.sample(50, np.random.default_rng(5))
    return F.domain.interior * np.linspace(0.8, 1.2, 7)[:, None]


def same(F, L, *, rtol=0.0):
    w = points_of(F)
    for name in ("__call__", "jacobian", "hessian"):
        np.testing.assert_allclose(getattr(L, name)(w), getattr(F, name)(w), rtol=rtol)
    np.testing.assert_allclose(L.inverse(F(w)), w, rtol=1e-7, atol=1e-9)
    assert (L.dim, L.ambient_dim, L.method, L.name) == (F.dim, F.ambient_dim, F.method, F.name)
    assert repr(L) == repr(F)


def rewrite(source, target, *, method=zipfile.ZIP_STORED, **members):
    """Copy an .npz with some members replaced (bytes), changed (functions of arrays) or left out (None)."""
    with zipfile.ZipFile(source) as archive:
        kept = {info.filename: archive.read(info) for info in archive.infolist()}
    for name, change in members.items():
        data = kept.pop(f"{name}.npy", None)
        if callable(change):
            stream = io.BytesIO()
            array = np.load(io.BytesIO(data), allow_pickle=False) if data else None
            np.lib.format.write_array(stream, np.asarray(change(array)), allow_pickle=True)
            change = stream.getvalue()
        if change is not None:
            kept[f"{name}.npy"] = change
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, data in kept.items():
            archive.writestr(name, data)
    return target


def edited(**changes):
    """Return a change of the header."""

    def change(array):
        header = json.loads(array.tobytes())
        for name, value in changes.items():
            place, _, key = name.rpartition("__")
            spot = header[place] if place else header
            if value is ...:
                del spot[key]
            else:
                spot[key] = value
        return np.frombuffer(json.dumps(header).encode(), np.uint8)

    return change
