"""Results of an ensemble in a file, written while they come in: an .npz of plain arrays, a JSON header."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np

from riemflow.embedding.archive import read_archive, write_archive
from riemflow.embedding.files import with_suffix
from riemflow.errors import FileFormatError
from riemflow.flows.ensembles.cases import MISSING, CaseResult

FORMAT, VERSION = "riemflow ensemble", 1
PAUSE = 1.0  # seconds between two writings, at the least
SHARE = 0.05  # of the time, at the most, goes into writing


class CaseFile:
    """The file of an ensemble whose cases have the given keys.

    It keeps what it holds of other cases: a sweep may grow, or be run in parts, also by several processes at
    a time, each of which adds to what the others have written.

    Attributes
    ----------
    results : dict of CaseResult by key

    Raises
    ------
    FileFormatError
        If the file exists and is no such file, or damaged.
    OSError
        If it cannot be written.
    """

    def __init__(self, path: Any, keys: list[str]):
        self.path, self.keys = with_suffix(path), keys
        self.results: dict[str, CaseResult] = {}
        self.due, self.written = 0.0, None
        self.save()  # what cannot be written should be known before the work is done

    def add(self, k: int, result: CaseResult) -> None:
        """Take in the result of case k; write now and then."""
        if result.status not in MISSING:
            self.results[self.keys[k]] = result
            if time.perf_counter() > self.due:
                self.save()

    def save(self) -> None:
        """Write all there is, at once or not at all."""
        began = time.perf_counter()
        if self.path.exists() and self.written != _version(self.path):
            self.results = {**_read(self.path), **self.results}
        write_archive(self.path, _packed(self.results))
        self.written = _version(self.path)
        now = time.perf_counter()
        self.due = now + max(PAUSE, (now - began) / SHARE)


def _version(path: Any) -> tuple[int, int, int] | None:
    if not path.exists():
        return None
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


def _packed(results: dict[str, CaseResult]) -> dict[str, np.ndarray]:
    """All numbers of one name end to end, and their shapes: few arrays however many cases."""
    records, names = list(results.values()), []
    arrays: dict[str, np.ndarray] = {"seconds": np.array([r.seconds for r in records], dtype=float)}
    for name in dict.fromkeys(name for r in records for name in r.values):
        values = [r.values.get(name) for r in records]
        axes = max(v.ndim for v in values if v is not None)
        shapes = np.full((len(values), axes + 1), -1.0)  # number of axes (-1: no such value), lengths
        for row, value in zip(shapes, values, strict=True):
            if value is not None:
                row[0], row[1 : 1 + value.ndim] = value.ndim, value.shape
        arrays[f"shapes_{len(names)}"] = shapes
        arrays[f"values_{len(names)}"] = np.concatenate([v.ravel() for v in values if v is not None])
        names.append(name)
    header = {
        "format": FORMAT,
        "version": VERSION,
        "names": names,
        "keys": list(results),
        "records": [[r.status, r.message, r.traceback, dict(r.texts)] for r in records],
    }
    text = json.dumps(header, ensure_ascii=False).encode(errors="surrogatepass")
    return {"header": np.frombuffer(text, np.uint8), **arrays}


def _read(path: Any) -> dict[str, CaseResult]:
    arrays = read_archive(path)
    try:
        return _unpacked(arrays)
    except FileFormatError as error:
        raise FileFormatError(f"{path} is {error}") from error
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise FileFormatError(f"{path} is damaged: {error!r}. Remove it to begin anew.") from error


def _unpacked(arrays: dict[str, np.ndarray]) -> dict[str, CaseResult]:
    text = arrays["header"].tobytes().decode(errors="surrogatepass") if "header" in arrays else "null"
    header = json.loads(text)
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise FileFormatError("an .npz file, but none that an ensemble wrote.")
    if header["version"] != VERSION:
        raise FileFormatError(
            f"of version {header['version']}, but this riemflow reads version {VERSION}: update riemflow."
        )
    values: list[dict[str, np.ndarray]] = [{} for _ in header["keys"]]
    for k, name in enumerate(header["names"]):
        flat, start = arrays[f"values_{k}"], 0
        for found, (axes, *lengths) in zip(values, arrays[f"shapes_{k}"].astype(int).tolist(), strict=True):
            if axes >= 0:
                shape = tuple(lengths[:axes])
                size = int(np.prod(shape))
                found[str(name)] = flat[start : start + size].reshape(shape)
                start += size
        if start != len(flat):
            raise FileFormatError(f"damaged: {name} has {len(flat)} numbers where {start} are described.")
    results = {}
    for key, (status, message, trace, texts), found, seconds in zip(
        header["keys"], header["records"], values, arrays["seconds"].ravel().tolist(), strict=True
    ):
        if not all(isinstance(text, str) for text in (key, status, message, trace, *texts, *texts.values())):
            raise FileFormatError("damaged: a text of it is none.")
        results[key] = CaseResult(status, message, trace, found, texts, seconds)
    return results
