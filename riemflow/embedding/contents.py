"""What a file holds of an embedding: plain arrays by name, and figures that JSON knows, both ways."""

from __future__ import annotations

from math import comb
from typing import Any

import numpy as np

from riemflow.embedding.atlas import Atlas
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
from riemflow.embedding.star import BregmanBall, Polytope, SublevelSet
from riemflow.embedding.tube import Tube
from riemflow.errors import DomainError, FileFormatError
from riemflow.legendre.function import LegendreFunction
from riemflow.legendre.recipes import from_recipe, recipe

# The regions that files hold: numbers describe them, for some of them together with a Legendre function.
REGIONS: dict[str, type[Region]] = {
    kind.__name__: kind for kind in (Box, Ball, Polytope, Tube, BregmanBall, SublevelSet)
}
ITSELF = "R"  # stands for the R that is embedded, where a region is made of it
WHOLE = "whole"  # stands for the region of the whole, where a part was solved on it


def contents(F: IsometricEmbedding | Atlas) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the figures and the arrays that F is made of; none for a closed form, which R gives again."""
    if isinstance(F, SpectralEmbedding):
        return _spectral_header(F), _spectral_arrays(F)
    if isinstance(F, CompressedEmbedding):
        return {"certificate": _plain(F.certificate)}, {"basis": F.map.basis, "center": F.map.center}
    if isinstance(F, Atlas):
        return _atlas_contents(F)
    if not isinstance(F, MixedEmbedding):
        return {}, {}
    arrays = {}
    for k, part in enumerate(F.parts):
        own = {"A": part.A, "b": part.b}
        if part.solved is not None:
            own |= _spectral_arrays(part.solved)
            if part.solved.region is not F.region:
                own |= region_contents(part.solved.region, None)[1]
        arrays |= {f"part_{k}_{name}": array for name, array in own.items()}
    parts = [_part_header(part, F.region) for part in F.parts]
    return {"certificate": _plain(F.certificate), "parts": parts}, arrays


def region_contents(
    region: Region | None, R: LegendreFunction | None
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return what builds a region again: its kind and the function that it is made of, and its arrays.

    `R` is what is embedded on it, which whoever loads the file can give.

    Raises
    ------
    DomainError
        If the region is of another kind, or made of another function, than a file can describe.
    """
    if region is None:
        return {"region": None}, {}
    kind = type(region).__name__
    if REGIONS.get(kind) is not type(region):
        raise DomainError(
            f"{region!r} cannot be saved, since no file describes a {kind}: embed on one of "
            f"{', '.join(REGIONS)}."
        )
    header: dict[str, Any] = {"region": kind}
    if isinstance(region, BregmanBall):
        header["region_of"] = ITSELF if region.R is R else recipe(region.R)
        if header["region_of"] is None:
            raise DomainError(
                f"{region!r} cannot be saved, since {region.R.name} is neither what is embedded nor of the "
                "catalogue, so that no file can describe it: embed on a region of numbers alone, such as a "
                "Ball."
            )
    return header, {f"region_{name}": array for name, array in region._arrays().items()}


def _atlas_contents(A: Atlas) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    arrays = {
        name: np.array([box.bounding_box() for box in boxes]).reshape(-1, 2, A.dim)
        for name, boxes in (("shares", A.shares), ("missing", A.missing))
    }
    for k, F in enumerate(A.charts):
        own = _spectral_arrays(F) | region_contents(F.region, None)[1]
        arrays |= {f"chart_{k}_{name}": array for name, array in own.items()}
    return {"charts": [_spectral_header(F) for F in A.charts]}, arrays


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


def _part_header(part: Part, whole: Region) -> dict[str, Any]:
    if part.solved is None:
        of = recipe(part.term)
        if of is None:
            raise DomainError(
                f"{part.term!r}, whose closed form is a part of this embedding, is not of the catalogue, so "
                "that no file can describe it."
            )
        return {"factor": part.factor, "recipe": of}
    F = part.solved
    own = {"dim": F.dim, "ambient_dim": F.ambient_dim, "name": F.name}
    own |= {"region": WHOLE} if F.region is whole else region_contents(F.region, None)[0]
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


def needs_its_own(header: dict[str, Any]) -> bool:
    """Tell whether the region is made of the R that is embedded."""
    return header.get("region_of") == ITSELF


def region_of(
    header: dict[str, Any], arrays: dict[str, np.ndarray], R: LegendreFunction | None = None
) -> Region | None:
    """Return the region; R is what is embedded, needed if the region `needs_its_own`."""
    kind, of = header["region"], header.get("region_of")
    if kind is None:
        return None
    if kind not in REGIONS:
        raise FileFormatError(f"damaged: its region is a {kind!r}.")
    given = {name.removeprefix("region_"): a for name, a in arrays.items() if name.startswith("region_")}
    if of is not None and of != ITSELF:
        R = from_recipe(of, header["dim"])
    region = REGIONS[kind]._from_arrays(R, given)
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


def atlas_of(header, arrays, region: Region | None, metric: Metric | None) -> Atlas:
    if region is None:
        raise FileFormatError("damaged: it has no region.")
    d, charts = header["dim"], []
    common = {name: header[name] for name in ("dim", "ambient_dim", "name")} | {"region": "Box"}
    held = _held(arrays, "chart")
    for k, own in enumerate(header["charts"]):
        own = own | common
        charts.append(spectral_of(own, held[k], region_of(own, held[k]), metric))
    shares = array_of(arrays, "shares", (len(charts), 2, d))
    missing = array_of(arrays, "missing", (len(arrays["missing"]), 2, d))
    boxes = ([Box(*ends) for ends in part] for part in (shares, missing))
    return Atlas(metric, region, charts, *boxes, name=header["name"])


def _held(arrays: dict[str, np.ndarray], kind: str) -> dict[int, dict[str, np.ndarray]]:
    """Return the arrays of each part or chart by its number: those called kind_number_name."""
    held: dict[int, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        if name.startswith(f"{kind}_"):
            _, k, own = name.split("_", 2)
            held.setdefault(int(k), {})[own] = array
    return held


def mixed_of(header, arrays, region: Region | None, metric: Metric | None) -> MixedEmbedding:
    if region is None:
        raise FileFormatError("damaged: it has no region.")
    d, parts, all_held = header["dim"], [], _held(arrays, "part")
    for k, own in enumerate(header["parts"]):
        held = all_held[k]
        m = len(held["b"])
        A, b, factor = array_of(held, "A", (m, d)), array_of(held, "b", (m,)), float(own["factor"])
        term = solved = None
        if own["recipe"] is not None:
            term = from_recipe(own["recipe"], m)
        elif own["dim"] == m:
            place = region if own["region"] == WHOLE else region_of(own, held)
            solved = spectral_of(own, held, place, None)
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
