"""Arrays in .npz files: written whole or not at all, read so that a hostile one costs no memory or safety."""

from __future__ import annotations

import io
import math
import os
import zipfile
from pathlib import Path

import numpy as np

from riemflow.errors import FileFormatError

KINDS = ("<f8", "|u1")  # dtypes that riemflow writes


def read_archive(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays in an .npz file by name.

    Members must be stored uncompressed, as `numpy.savez` does it, and each array's shape must account for its
    member's bytes: nothing larger than the file is ever allocated, and nothing is unpickled.

    Raises
    ------
    FileFormatError
        Unless the file is such an archive, whole, of arrays of float64 numbers and bytes.
    OSError
        If it cannot be read.
    """
    data = path.read_bytes()  # what fails from here on is the file's fault
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {
                info.filename.removesuffix(".npy"): _array(path, archive, info) for info in archive.infolist()
            }
    except zipfile.BadZipFile as error:
        raise FileFormatError(f"{path} is no .npz file, or is cut short or damaged: {error}") from error
    except (OSError, EOFError, ValueError, RuntimeError, NotImplementedError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"{path} is damaged: {error}") from error


def write_archive(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays to an .npz file, which appears complete or not at all; an OSError if it cannot be."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path} cannot be written: there is no folder {path.parent}. Make it first.")
    scratch = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with scratch.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def _array(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    if info.compress_type != zipfile.ZIP_STORED:
        raise FileFormatError(f"{path} holds {info.filename} compressed, as no file of riemflow does.")
    data = io.BytesIO(archive.read(info))
    version = np.lib.format.read_magic(data)
    if version != (1, 0):
        raise FileFormatError(f"{path}: {info.filename} has the .npy version {version}, not (1, 0).")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(data)
    if dtype.hasobject:
        raise FileFormatError(f"{path}: {info.filename} is pickled, which is never read.")
    if dtype.str not in KINDS:
        raise FileFormatError(f"{path}: {info.filename} holds dtype {dtype}, not float64 numbers or bytes.")
    content = data.read()
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(content):
        raise FileFormatError(
            f"{path}: {info.filename} has shape {shape}, but {len(content)} bytes: it is damaged."
        )
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C").copy()
