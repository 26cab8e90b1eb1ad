"""Embeddings in files: one .npz of plain arrays and a JSON header, written at once and checked when read."""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from math import comb
from pathlib import Path
from typing import Any

import numpy as np

from riemflow.embedding.archive import read_archive
from riemflow.embedding.certificate import SupBound
from riemflow.embedding.closed_form import ClosedFormEmbedding, closed_form
from riemflow.embedding.coordinates import Axis
from riemflow.embedding.embedding import Fit, IsometricEmbedding, SampledDefect
from riemflow.embedding.identity import Identity, OtherMetric, identity_of, other_metric
from riemflow.embedding.metric import Metric, as_metric
from riemflow.embedding.region import Ball, Box, Region
from riemflow.embedding.spectral import MAX_DIM, SpectralEmbedding
from riemflow.embedding.spectral_basis import ChebyshevBasis
from riemflow.embedding.star import Polytope
from riemflow.embedding.tube import Tube
from riemflow.errors import DomainError, FileFormatError, ShapeError
from riemflow.legendre.function import LegendreFunction
from riemflow.legendre.recipes import from_recipe, recipe
from riemflow.validation import short

FORMAT, VERSION, SUFFIX = "riemflow embedding", 1, ".npz"
METHODS = ("closed-form", "spectral")
# The regions that files hold: those that numbers alone describe.
REGIONS: dict[str, type[Region]] = {kind.__name__: kind for kind in (Box, Ball, Polytope, Tube)}


def save_embedding(F: IsometricEmbedding, path: Any) -> Path:
    """Write F to a file that appears complete or not at all; see `IsometricEmbedding.save`."""
    if not isinstance(F, SpectralEmbedding | ClosedFormEmbedding):
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
        "region": None if F.region is None else type(F.region).__name__,
    }
    arrays = dict(vars(F._identity if F.metric is None else identity_of(F, F.metric)))
    if F.region is not None:
        arrays |= {f"region_{name}": array for name, array in region_arrays(F.region).items()}
    if isinstance(F, SpectralEmbedding):
        axes = F.basis.axes
        header |= {"coordinates": F.coordinates, "degree": F.basis.degree}
        header["axes"] = [{"center": axis.center, "half": axis.half, "tail": axis.tail} for axis in axes]
        header["certificate"] = _plain(F.certificate)
        arrays["coefficients"] = F.coefficients
        arrays |= {f"axis_{i}": axis.series for i, axis in enumerate(axes) if not axis.affine}
    path = with_suffix(path)
    text = json.dumps(header, ensure_ascii=False).encode()
    _write(path, {"header": np.frombuffer(text, np.uint8), **arrays}, F)
    return path


def load_embedding(path: Any, R: Any = None) -> IsometricEmbedding:
    """Return the embedding that `F.save(path)` wrote.

    A closed form is built again from R; a spectral F is its coefficients. Either must give the F(w) that the
    file holds for a few points.

    Parameters
    ----------
    path : path
        .npz is appended if there is no such file.
    R : LegendreFunction, geomstats space, or callable, optional
        What F embeds, as for `embed`. It may be left out if R is of the catalogue, or made from it by sums,
        multiples, compositions and products: the file then says how to build it. A spectral F can be loaded
        without any R; only what needs the metric then fails, such as `F.metric_defect`.

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
    path = Path(path) if Path(path).is_file() else with_suffix(path)
    arrays = read_archive(path)
    with _damage(path):
        header = _header(arrays)
        identity = _stored_identity(header, arrays)
        region = _region(header, arrays)
        recipe_of = header["recipe"]
        own = None if recipe_of is None else as_metric(from_recipe(recipe_of, header["dim"]))
        if own is not None and identity.differs(own):
            raise FileFormatError("damaged: the R it describes does not have the metric stored with it.")
    given = None if R is None else as_metric(R, region)
    if given is not None:
        _require_defined(given, identity, f"{path} holds an embedding for {header['name']}")
    if header["method"] == "spectral":
        with _damage(path):
            F: Any = _spectral(header, arrays, region, given if own is None else own)
    else:
        what = f"{path} holds a closed form for {header['name']}"
        made_for = _require_same(given, identity, what) if own is None else own.legendre
        with _damage(path):
            F = closed_form(made_for, region)
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
    F.metric, F.name = given, given.name
    return F


def region_arrays(region: Region) -> dict[str, np.ndarray]:
    """Return the arguments that build a region again: arrays by name.

    Raises
    ------
    DomainError
        If it is not one of numbers alone.
    """
    if REGIONS.get(type(region).__name__) is not type(region):
        raise DomainError(
            f"{region!r} cannot be saved, since a {type(region).__name__} is not made of numbers alone: "
            f"embed on one of {', '.join(REGIONS)}."
        )
    return region._arrays()


def with_suffix(path: Any) -> Path:
    """Return the path that an embedding is saved to: with .npz appended, unless it ends so."""
    path = Path(path)
    return path if path.suffix == SUFFIX else path.with_name(path.name + SUFFIX)


def _write(path: Path, arrays: dict[str, np.ndarray], F: IsometricEmbedding) -> None:
    scratch = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        try:
            with scratch.open("wb") as file:
                np.savez(file, allow_pickle=False, **arrays)
            os.replace(scratch, path)
        finally:
            scratch.unlink(missing_ok=True)
    except OSError as error:
        told: Any = type(error)(error.errno, f"The embedding was not saved: {error.strerror}", str(path))
        told.partial = F
        raise told from error


def _plain(found: SampledDefect) -> dict[str, Any]:
    """Return a certificate's figures as JSON knows them."""
    figures = {name: value for name, value in vars(found).items() if name not in ("worst_point", "bound")}
    bound = None if found.bound is None else vars(found.bound)
    return {**figures, "worst_point": found.worst_point.tolist(), "bound": bound}


@contextlib.contextmanager
def _damage(path: Path):
    """Turn whatever goes wrong in making sense of a file's contents into one error."""
    try:
        with np.errstate(all="ignore"):
            yield
    except FileFormatError as error:
        raise FileFormatError(f"{path} is {error}") from error
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise FileFormatError(f"{path} is damaged: {what}") from error


def _header(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    header = json.loads(arrays["header"].tobytes()) if "header" in arrays else None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise FileFormatError("an .npz file, but none that F.save wrote.")
    if header["version"] != VERSION:
        raise FileFormatError(
            f"of version {header['version']}, but this riemflow reads version {VERSION}: update riemflow."
        )
    for name in ("dim", "ambient_dim"):
        if type(header[name]) is not int or header[name] < 1:
            raise FileFormatError(f"damaged: its {name} is {header[name]!r}.")
    if header["method"] not in METHODS or not isinstance(header["name"], str):
        raise FileFormatError(f"damaged: its method is {header['method']!r}.")
    return header


def _array(arrays: dict[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
    array = arrays[name]
    if array.shape != shape or array.dtype != np.float64 or not np.isfinite(array).all():
        raise FileFormatError(
            f"damaged: its {name} must be finite float64 numbers of shape {shape}, but have shape "
            f"{array.shape} and dtype {array.dtype}."
        )
    return array


def _stored_identity(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Identity:
    n, d, D = len(arrays["points"]), header["dim"], header["ambient_dim"]
    shapes = {"points": (n, d), "metric": (n, d, d), "values": (n, D)}
    if n == 0:
        raise FileFormatError("damaged: it holds no points.")
    identity = Identity(**{name: _array(arrays, name, shape) for name, shape in shapes.items()})
    np.linalg.cholesky(identity.metric)  # raises unless it is positive definite
    return identity


def _region(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Region | None:
    kind = header["region"]
    if kind is None:
        return None
    if kind not in REGIONS:
        raise FileFormatError(f"damaged: its region is a {kind!r}.")
    given = {name.removeprefix("region_"): a for name, a in arrays.items() if name.startswith("region_")}
    region = REGIONS[kind](**given)
    if region.dim != header["dim"]:
        raise FileFormatError(f"damaged: its region has dimension {region.dim}, not {header['dim']}.")
    return region


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


def _spectral(header, arrays, region: Region | None, metric: Metric | None) -> SpectralEmbedding:
    d, degree, N = header["dim"], header["degree"], len(arrays["coefficients"])
    # Checked before the basis is made, whose size this is.
    if region is None or d > MAX_DIM or type(degree) is not int or degree < 1 or N != comb(d + degree, d) - 1:
        raise FileFormatError(f"damaged: {N} coefficients are not those of degree {degree!r} in R^{d}.")
    coefficients = _array(arrays, "coefficients", (N, header["ambient_dim"]))
    axes = []
    for i, axis in enumerate(header["axes"]):
        series = arrays.get(f"axis_{i}")
        if series is not None:
            series = _array(arrays, f"axis_{i}", (len(series), 3))
        axes.append(Axis.from_series(float(axis["center"]), float(axis["half"]), series, float(axis["tail"])))
    if len(axes) != d or not isinstance(header["coordinates"], str):
        raise FileFormatError(f"damaged: it has {len(axes)} axes in R^{d}.")
    F = SpectralEmbedding(
        metric, region, ChebyshevBasis(axes, degree), coefficients, header["coordinates"], name=header["name"]
    )
    F.certificate = _certificate(header["certificate"], d)
    return F


def _certificate(figures: dict[str, Any], d: int) -> SampledDefect:
    bound = figures["bound"]
    worst_point = np.array(figures["worst_point"], dtype=float)
    if worst_point.shape != (d,):
        raise FileFormatError(f"damaged: its worst point has shape {worst_point.shape}, not ({d},).")
    if bound is not None:
        parts = [None if bound[name] is None else float(bound[name]) for name in ("polynomial", "tail")]
        bound = SupBound(float(bound["value"]), *parts, int(bound["n_points"]))
    return SampledDefect(
        defect=float(figures["defect"]),
        n_points=int(figures["n_points"]),
        worst_point=worst_point,
        tol=float(figures["tol"]),
        degree=int(figures["degree"]),
        seconds=float(figures["seconds"]),
        coordinates=str(figures["coordinates"]),
        tail=float(figures["tail"]),
        bound=bound,
        history=tuple(
            Fit(int(start), int(degree), float(residual), float(defect), float(seconds))
            for start, degree, residual, defect, seconds in figures["history"]
        ),
    )
