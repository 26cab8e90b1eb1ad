"""What a file holds of an embedding: plain arrays by name, and figures that JSON knows, both ways."""

from __future__ import annotations

from math import comb
from typing import Any

import numpy as np

from riemflow.embedding.certificate import SupBound
from riemflow.embedding.closed_form import ClosedFormEmbedding
from riemflow.embedding.compressed import CompressedEmbedding, Projected
from riemflow.embedding.coordinates import Axis
from riemflow.embedding.embedding import Fit, IsometricEmbedding, SampledDefect
from riemflow.embedding.metric import Metric
from riemflow.embedding.mixed import MixedEmbedding, Part
from riemflow.embedding.region import Ball, Box, Region
from riemflow.embedding.spectral import MAX_DIM, SpectralEmbedding
from riemflow.embedding.spectral_basis import ChebyshevBasis
from riemflow.embedding.star import Polytope
from riemflow.embedding.tube import Tube
from riemflow.errors import DomainError, FileFormatError
from riemflow.legendre.recipes import from_recipe, recipe

# The regions that files hold: those that numbers alone describe.
REGIONS: dict[str, type[Region]] = {kind.__name__: kind for kind in (Box, Ball, Polytope, Tube)}


def contents(F: IsometricEmbedding) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the figures and the arrays that F is made of; none for a closed form, which R gives again."""
    if isinstance(F, SpectralEmbedding):
        return _spectral_header(F), _spectral_arrays(F)
    if isinstance(F, CompressedEmbedding):
        return {"certificate": _plain(F.certificate)}, {"basis": F.map.basis, "center": F.map.center}
    if not isinstance(F, MixedEmbedding):
        return {}, {}
    arrays = {}
    for k, part in enumerate(F.parts):
        own = {"A": part.A, "b": part.b}
        if part.solved is not None:
            own |= _spectral_arrays(part.solved)
            own |= {f"region_{name}": array for name, array in region_arrays(part.solved.region).items()}
        arrays |= {f"part_{k}_{name}": array for name, array in own.items()}
    return {"certificate": _plain(F.certificate), "parts": [_part_header(part) for part in F.parts]}, arrays


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


def _spectral_header(F: SpectralEmbedding) -> dict[str, Any]:
    axes = [{"center": axis.center, "half": axis.half, "tail": axis.tail} for axis in F.basis.axes]
    return {
        "coordinates": F.coordinates,
        "degree": F.basis.degree,
        "axes": axes,
        "certificate": _plain(F.certificate),
    }


def _spectral_arrays(F: SpectralEmbedding) -> dict[str, np.ndarray]:
    series = {f"axis_{i}": axis.series for i, axis in enumerate(F.basis.axes) if not axis.affine}
    return {"coefficients": F.coefficients, **series}


def _part_header(part: Part) -> dict[str, Any]:
    if part.solved is None:
        of = recipe(part.term)
        if of is None:
            raise DomainError(
                f"{part.term!r}, whose closed form is a part of this embedding, is not of the catalogue, so "
                "that no file can describe it."
            )
        return {"factor": part.factor, "recipe": of}
    F = part.solved
    own = {"dim": F.dim, "ambient_dim": F.ambient_dim, "name": F.name, "region": type(F.region).__name__}
    return {"factor": part.factor, "recipe": None, **own, **_spectral_header(F)}


def _plain(found: SampledDefect | Projected) -> dict[str, Any]:
    """Return a certificate's figures as JSON knows them."""
    figures = {name: value for name, value in vars(found).items() if name not in ("worst_point", "bound")}
    bound = None if found.bound is None else vars(found.bound)
    return {**figures, "worst_point": found.worst_point.tolist(), "bound": bound}


def array_of(arrays: dict[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
    array = arrays[name]
    if array.shape != shape or array.dtype != np.float64 or not np.isfinite(array).all():
        raise FileFormatError(
            f"damaged: its {name} must be finite float64 numbers of shape {shape}, but have shape "
            f"{array.shape} and dtype {array.dtype}."
        )
    return array


def region_of(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Region | None:
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


def spectral_of(header, arrays, region: Region | None, metric: Metric | None) -> SpectralEmbedding:
    d, degree, N = header["dim"], header["degree"], len(arrays["coefficients"])
    # Checked before the basis is made, whose size this is.
    if region is None or d > MAX_DIM or type(degree) is not int or degree < 1 or N != comb(d + degree, d) - 1:
        raise FileFormatError(f"damaged: {N} coefficients are not those of degree {degree!r} in R^{d}.")
    coefficients = array_of(arrays, "coefficients", (N, header["ambient_dim"]))
    axes = []
    for i, axis in enumerate(header["axes"]):
        series = arrays.get(f"axis_{i}")
        if series is not None:
            series = array_of(arrays, f"axis_{i}", (len(series), 3))
        axes.append(Axis.from_series(float(axis["center"]), float(axis["half"]), series, float(axis["tail"])))
    if len(axes) != d or not isinstance(header["coordinates"], str):
        raise FileFormatError(f"damaged: it has {len(axes)} axes in R^{d}.")
    F = SpectralEmbedding(
        metric, region, ChebyshevBasis(axes, degree), coefficients, header["coordinates"], name=header["name"]
    )
    F.certificate = _certificate(header["certificate"], d)
    return F


def mixed_of(header, arrays, region: Region | None, metric: Metric | None) -> MixedEmbedding:
    if region is None:
        raise FileFormatError("damaged: it has no region.")
    d, parts = header["dim"], []
    for k, own in enumerate(header["parts"]):
        prefix = f"part_{k}_"
        held = {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
        m = len(held["b"])
        A, b, factor = array_of(held, "A", (m, d)), array_of(held, "b", (m,)), float(own["factor"])
        term = solved = None
        if own["recipe"] is not None:
            term = from_recipe(own["recipe"], m)
        elif own["dim"] == m:
            solved = spectral_of(own, held, region_of(own, held), None)
        else:
            raise FileFormatError(f"damaged: its part {k} has dimension {own['dim']!r}, not {m}.")
        if not factor > 0:
            raise FileFormatError(f"damaged: its part {k} has the factor {factor}.")
        parts.append(Part(factor, A, b, term, solved))
    F = MixedEmbedding(metric, region, parts, name=header["name"])
    F.certificate = _certificate(header["certificate"], d)
    return F


def compressed_of(header, arrays, region: Region | None, full: ClosedFormEmbedding) -> CompressedEmbedding:
    if region is None:
        raise FileFormatError("damaged: it has no region.")
    d, D, r = header["dim"], full.ambient_dim, header["ambient_dim"]
    basis, center = array_of(arrays, "basis", (D, r)), array_of(arrays, "center", (D,))
    F = CompressedEmbedding(full, region, basis, center, name=header["name"])
    figures = header["certificate"]
    F.certificate = Projected(F.name, D, bound=_bound(figures), **_sample(figures, d))
    return F


def _sample(figures: dict[str, Any], d: int) -> dict[str, Any]:
    """Return what certificates that rest on a sample share."""
    worst_point = np.array(figures["worst_point"], dtype=float)
    if worst_point.shape != (d,):
        raise FileFormatError(f"damaged: its worst point has shape {worst_point.shape}, not ({d},).")
    return {
        "defect": float(figures["defect"]),
        "n_points": int(figures["n_points"]),
        "worst_point": worst_point,
        "tol": float(figures["tol"]),
    }


def _bound(figures: dict[str, Any]) -> SupBound:
    bound = figures["bound"]
    parts = [None if bound[name] is None else float(bound[name]) for name in ("polynomial", "tail")]
    return SupBound(float(bound["value"]), *parts, int(bound["n_points"]))


def _certificate(figures: dict[str, Any], d: int) -> SampledDefect:
    return SampledDefect(
        **_sample(figures, d),
        degree=int(figures["degree"]),
        seconds=float(figures["seconds"]),
        coordinates=str(figures["coordinates"]),
        tail=float(figures["tail"]),
        bound=None if figures["bound"] is None else _bound(figures),
        history=tuple(
            Fit(int(start), int(degree), float(residual), float(defect), float(seconds))
            for start, degree, residual, defect, seconds in figures["history"]
        ),
    )
