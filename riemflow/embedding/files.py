"""Embeddings in files: one .npz of plain arrays and a JSON header, written at once and checked when read."""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from riemflow.embedding.archive import read_archive, write_archive
from riemflow.embedding.atlas import Atlas
from riemflow.embedding.closed_form import ClosedFormEmbedding, closed_form
from riemflow.embedding.compressed import CompressedEmbedding
from riemflow.embedding.contents import (
    array_of,
    atlas_of,
    compressed_of,
    contents,
    mixed_of,
    needs_its_own,
    region_contents,
    region_of,
    spectral_of,
)
from riemflow.embedding.embedding import IsometricEmbedding
from riemflow.embedding.identity import Identity, OtherMetric, identity_of, other_metric
from riemflow.embedding.metric import Metric, as_metric
from riemflow.embedding.mixed import MixedEmbedding
from riemflow.embedding.spectral import SpectralEmbedding
from riemflow.errors import DomainError, FileFormatError, ShapeError
from riemflow.legendre.function import LegendreFunction
from riemflow.legendre.recipes import from_recipe, recipe
from riemflow.validation import short

FORMAT, SUFFIX = "riemflow embedding", ".npz"
VERSION, READ = 2, (1, 2)  # the first knew neither atlases nor regions made of a Legendre function
# What builds an embedding of each method again from a header, arrays, region and metric.
BUILDERS = {"spectral": spectral_of, "mixed": mixed_of, "atlas": atlas_of}
METHODS = ("closed-form", "compressed", *BUILDERS)


def save_embedding(F: IsometricEmbedding | Atlas, path: Any) -> Path:
    """Write F to a file that appears complete or not at all; see `IsometricEmbedding.save`."""
    if not isinstance(
        F, SpectralEmbedding | ClosedFormEmbedding | CompressedEmbedding | MixedEmbedding | Atlas
    ):
        raise DomainError(f"An embedding of the kind {type(F).__name__} cannot be saved: no format holds it.")
    if isinstance(F.certificate, OtherMetric):
        raise DomainError(
            f"This embedding was made for {F.certificate.made_for} and loaded for {F.name}, which it does "
            "not embed: copy the file that it came from."
        )
    header: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "method": F.method,
        "dim": F.dim,
        "ambient_dim": F.ambient_dim,
        "name": F.name,
        "recipe": recipe(F.R),
    }
    arrays = dict(vars(F._identity if F.metric is None else identity_of(F, F.metric)))
    for own, more in (region_contents(F.region, F.R), contents(F)):
        header, arrays = header | own, arrays | more
    path = with_suffix(path)
    text = json.dumps(header, ensure_ascii=False).encode()
    _write(path, {"header": np.frombuffer(text, np.uint8), **arrays}, F)
    return path


def load_embedding(path: Any, R: Any = None) -> Any:
    """Return the embedding, or the atlas, that `F.save(path)` wrote.

    A closed form is built again from R, and projected if it was; a spectral F is its coefficients. Either
    must give the F(w) that the file holds for a few points.

    Parameters
    ----------
    path : path
        .npz is appended if there is no such file.
    R : LegendreFunction, geomstats space, or callable, optional
        What F embeds, as for `embed`. It may be left out if R is of the catalogue, or made from it by sums,
        multiples, compositions and products: the file then says how to build it. A spectral F, or an atlas,
        can be loaded without any R, unless its region is a `BregmanBall` or `SublevelSet` of this R; only
        what needs the metric then fails, such as `F.metric_defect`.

    Returns
    -------
    IsometricEmbedding, or Atlas

    Warns
    -----
    UserWarning
        If the metric of the R given is not the one in the file. F is then the one that was saved, with a
        certificate that says how far it is from embedding this R.

    Raises
    ------
    FileFormatError
        If the file is damaged, foreign, from a newer version, or holds pickled objects.
    DomainError
        If R is needed and not given, or is not defined on the region.
    ShapeError
        If R has another dimension.
    OSError
        If the file cannot be read.
    """
    named = with_suffix(path)
    path = Path(path) if Path(path).is_file() else named
    arrays = read_archive(path)
    with _damage(path):
        header = _header(arrays)
        identity = _stored_identity(header, arrays)
        recipe_of = header["recipe"]
        own = None if recipe_of is None else as_metric(from_recipe(recipe_of, header["dim"]))
        if own is not None and identity.differs(own):
            raise FileFormatError("damaged: the R it describes does not have the metric stored with it.")
        unknown = needs_its_own(header) and own is None
        region = None if unknown else region_of(header, arrays, own and own.legendre)
    given = None if R is None else as_metric(R, region)
    if given is not None:
        _require_defined(given, identity, f"{path} holds an embedding for {header['name']}")
    if unknown:
        what = f"{path} holds an embedding on a {header['region']} of {header['name']}"
        region = _region_made_of(_require_same(given, identity, what), header, arrays, path)
    if header["method"] in BUILDERS:
        with _damage(path):
            F: Any = BUILDERS[header["method"]](header, arrays, region, given if own is None else own)
    else:
        what = f"{path} holds a closed form for {header['name']}"
        made_for = _require_same(given, identity, what) if own is None else own.legendre
        with contextlib.nullcontext() if own is None else _damage(path):
            F = closed_form(made_for, region)
        if header["method"] == "compressed":
            with _damage(path):
                F = compressed_of(header, arrays, region, F)
    if not identity.is_that_of(F):
        raise FileFormatError(
            f"{path} is damaged, or was written by a version of riemflow with another closed form: F(w) is "
            "not what was stored when it was saved."
        )
    F._identity = identity
    if given is None:
        return F
    difference = identity.differs(given)
    if difference:
        warnings.warn(
            f"{path} holds an embedding for {header['name']}, whose metric differs from that of {given.name} "
            f"by {difference:.1e} (relative, at {len(identity.points)} points): it does not embed the R "
            "given.",
            UserWarning,
            stacklevel=2,
        )
        F.certificate = other_metric(F, given, identity)
    for one in (F, *getattr(F, "charts", ())):
        one.metric, one.name = given, given.name
        one.certificate = F.certificate if difference else one.certificate
    return F


def with_suffix(path: Any) -> Path:
    """Return the path to save to, with .npz appended unless it ends so; a `DomainError` if it is none."""
    if not isinstance(path, str | os.PathLike) or not Path(path).name or "\0" in str(path):
        raise DomainError(f"path is {path!r}, but must name a file.")
    path = Path(path)
    return path if path.suffix == SUFFIX else path.with_name(path.name + SUFFIX)


def _write(path: Path, arrays: dict[str, np.ndarray], F: IsometricEmbedding | Atlas) -> None:
    try:
        write_archive(path, arrays)
    except OSError as error:
        why = f"The embedding was not saved: {error.strerror or error}"
        told: Any = type(error)(error.errno, why, str(path)) if error.errno else type(error)(why)
        told.partial = F
        raise told from error


@contextlib.contextmanager
def _damage(path: Path):
    """Turn whatever goes wrong in making sense of a file's contents into one error."""
    try:
        with np.errstate(all="ignore"):
            yield
    except FileFormatError as error:
        raise FileFormatError(f"{path} is {error}") from error
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError) as error:
        what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise FileFormatError(f"{path} is damaged: {what}") from error


def _header(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    header = json.loads(arrays["header"].tobytes()) if "header" in arrays else None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise FileFormatError("an .npz file, but none that F.save wrote.")
    if header["version"] not in READ:
        raise FileFormatError(
            f"of version {header['version']}, but this riemflow reads versions up to {VERSION}: update "
            "riemflow."
        )
    for name in ("dim", "ambient_dim"):
        if type(header[name]) is not int or header[name] < 1:
            raise FileFormatError(f"damaged: its {name} is {header[name]!r}.")
    if header["method"] not in METHODS or not isinstance(header["name"], str):
        raise FileFormatError(f"damaged: its method is {header['method']!r}.")
    return header


def _stored_identity(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Identity:
    n, d, D = len(arrays["points"]), header["dim"], header["ambient_dim"]
    shapes = {"points": (n, d), "metric": (n, d, d), "values": (n, D)}
    if n == 0:
        raise FileFormatError("damaged: it holds no points.")
    identity = Identity(**{name: array_of(arrays, name, shape) for name, shape in shapes.items()})
    np.linalg.cholesky(identity.metric)  # raises unless it is positive definite
    return identity


def _region_made_of(R: LegendreFunction, header: dict[str, Any], arrays: dict[str, np.ndarray], path: Path):
    """Return the region made of the R given, which has the metric in the file."""
    try:
        with _damage(path):
            return region_of(header, arrays, R)
    except FileFormatError as error:
        raise FileFormatError(f"{error} If it is whole, R is not the one that it was made for.") from error


def _require_defined(metric: Metric, identity: Identity, what: str) -> None:
    d = identity.points.shape[1]
    if metric.dim != d:
        raise ShapeError(f"R has dimension {metric.dim}, but {what} on R^{d}.")
    inside = np.asarray(metric._belongs(identity.points))
    if not inside.all():
        raise DomainError(
            f"{what} that is defined at w = {short(identity.points[~inside][0])}, which is outside "
            f"{metric.place}: pass the R that it was made for."
        )


def _require_same(metric: Metric | None, identity: Identity, what: str) -> LegendreFunction:
    """Return the R given, which must be the file's own, since F is built again from it."""
    if metric is None or metric.legendre is None:
        raise DomainError(
            f"{what}, which is neither of the catalogue nor made from it: pass R=, from which it is built "
            "again."
        )
    difference = identity.differs(metric)
    if difference:
        raise DomainError(
            f"{what}, which can only be built again from its R, but the metric of the R given differs by "
            f"{difference:.1e}: pass the R that it was made for."
        )
    return metric.legendre
