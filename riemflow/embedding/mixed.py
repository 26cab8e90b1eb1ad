"""Embeddings of which only a part is solved for: R = Σ_k c_k R_k(A_k w + b_k), each R_k on its own."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from riemflow.embedding.blocks import block_metric, find_blocks
from riemflow.embedding.certificate import SupBound
from riemflow.embedding.closed_form import MapEmbedding, embedding_map, extreme_points
from riemflow.embedding.embedding import SampledDefect, relative_defect
from riemflow.embedding.maps import AffineMap, BlockMap, Map, ScaledMap
from riemflow.embedding.metric import Metric
from riemflow.embedding.region import Box, Region, check_region
from riemflow.embedding.spectral import MARGIN, MAX_DIM, SpectralEmbedding, spectral
from riemflow.embedding.spectral_points import check_points
from riemflow.errors import NoClosedFormError
from riemflow.legendre.algebra import Composed, Product, Scaled, Sum, Tilted
from riemflow.legendre.exponential_family import ExponentialFamily
from riemflow.legendre.function import LegendreFunction

N_CHECK = 4000
# Couplings between blocks below this share of the tolerance are left out, and none below rounding.
COUPLING, ROUNDING = 1e-2, 1e-12


@dataclass(frozen=True)
class Term:
    """c R(A w + b), a summand that is no sum, multiple or composition itself."""

    factor: float
    R: LegendreFunction
    A: np.ndarray
    b: np.ndarray


@dataclass(frozen=True)
class Part:
    """A summand with its own embedding F: √c F(A w + b). F is a closed form's map or a spectral embedding.

    Attributes
    ----------
    term : LegendreFunction or None
        What a closed form is of; None for a spectral part.
    """

    factor: float
    A: np.ndarray
    b: np.ndarray
    term: LegendreFunction | None
    solved: SpectralEmbedding | None


class SpectralMap(Map):
    """A spectral embedding as a building block."""

    is_local = True

    def __init__(self, F: SpectralEmbedding):
        self.embedding, self.dim, self.ambient_dim = F, F.dim, F.ambient_dim

    def fun(self, w):
        return self.embedding._fun(w)

    def jacobian(self, w):
        return self.embedding._jacobian(w)

    def hessian(self, w):
        return self.embedding._hessian(w)

    def start(self, x):
        return self.embedding._nearest(x)[0]

    def belongs(self, w):
        # The region of the whole decides; rounding may put its points just beyond a part's.
        return self.embedding._admits(w)


class MixedEmbedding(MapEmbedding):
    """F(w) = (√c_1 F_1(A_1 w + b_1), √c_2 F_2(A_2 w + b_2), …), some F_k in closed form, others spectral."""

    region: Region

    def __init__(
        self, metric: Metric | None, region: Region, parts: Sequence[Part], *, name: str | None = None
    ):
        self.parts = tuple(parts)
        maps: list[Map] = []
        for part in parts:
            if part.solved is not None:
                found: Map = SpectralMap(part.solved)
            else:
                found = embedding_map(part.term, extreme_points(region) @ part.A.T + part.b)
            maps.append(found if part.factor == 1.0 else ScaledMap(part.factor, found))
        A, b = np.vstack([part.A for part in parts]), np.concatenate([part.b for part in parts])
        self.map = AffineMap(BlockMap(maps), A, b)
        self._define(metric, self.map.ambient_dim, region=region, method="mixed", certificate=None, name=name)

    def _belongs(self, w):
        return np.asarray(self.region._belongs(w))

    def _admits(self, w):
        with np.errstate(all="ignore"):
            return np.asarray(self.region._belongs(w, MARGIN)) & self.map.belongs(w)


def mixed(
    metric: Metric,
    region: Region,
    *,
    tol: float,
    coordinates: str,
    seed: int,
    progress: bool,
    save: Any = None,
) -> MixedEmbedding | None:
    """Embed what has a closed form by it, the rest in blocks by the spectral solver; None if nothing splits.

    R is taken apart into terms c R_k(Aw + b). Those with a closed form keep it; those without whose A is
    injective are added up again, and what they add up to is split into the blocks that its metric shows.
    Every part is solved on the smallest box around its image of the region, or on the region itself. With
    ``g = Σ_k g_k`` the whole's defect is at most the largest of the parts'.

    Raises
    ------
    NoClosedFormError
        If a part that has no closed form has more than 5 variables.
    DomainError
        If the box around a part's image of the region is not inside its domain.
    ConvergenceError
        If a part is not solved to 1e-4.
    KeyboardInterrupt
        If the user interrupts it; `.partial` is the whole with the last part as far as it is solved, or None.
    """
    R = metric.legendre
    if R is None:
        return None
    terms = list(terms_of(R))
    closed, rest, parts = [], [], []
    for term in terms:
        (closed if _has_closed_form(term, region) else rest).append(term)
    together, apart = [], []
    for term in rest:
        (together if np.linalg.matrix_rank(term.A) == R.dim else apart).append(term)
    jobs: list[tuple[Metric, Region, np.ndarray, np.ndarray]] = []
    left, in_blocks = 0.0, False
    if together:
        whole = _sum(together) if len(together) < len(terms) else metric
        blocks, left = find_blocks(whole, region, max(COUPLING * tol, ROUNDING))
        in_blocks = len(blocks) > 1
        if not in_blocks and len(together) == len(terms):
            return None
        for block in blocks:
            if not in_blocks:
                jobs.append((whole, region, np.eye(R.dim), np.zeros(R.dim)))
            else:
                own = block_metric(whole, block, region.center)
                zero = np.zeros(own.dim)
                jobs.append((own, _image(region, block.P, zero), block.P, zero))
    for term in apart:
        own = _sum([Term(term.factor, term.R, np.eye(term.R.dim), np.zeros(term.R.dim))])
        jobs.append((own, _image(region, term.A, term.b), term.A, term.b))
    for own, place, _, _ in jobs:
        if own.dim > MAX_DIM:
            raise NoClosedFormError(
                f"The part {own.name} of {metric.name} has neither a closed form nor blocks of at most "
                f"{MAX_DIM} variables, but {own.dim}."
            )
        check_region(place, own)
    began = time.perf_counter()
    parts += [Part(term.factor, term.A, term.b, term.R, None) for term in closed]
    for k, (own, place, A, b) in enumerate(jobs):

        def assembled(F: SpectralEmbedding, A=A, b=b) -> MixedEmbedding:
            mix = MixedEmbedding(metric, region, [*parts, Part(1.0, A, b, None, F)])
            seconds = time.perf_counter() - began
            mix.certificate = _certificate(mix, tol, seconds, R.dim * left, in_blocks=in_blocks)
            return mix

        # Before the last part there is no whole that could be kept.
        last = k == len(jobs) - 1
        keep = (lambda F, assembled=assembled: assembled(F).save(save)) if last and save is not None else None
        options = {"tol": tol, "coordinates": coordinates, "seed": seed, "progress": progress}
        try:
            F = spectral(own, place, keep=keep, **options)
        except KeyboardInterrupt as error:
            interrupt: Any = error
            part = interrupt.partial
            interrupt.partial = assembled(part) if last and part is not None else None
            raise
        if last:
            return assembled(F)
        parts.append(Part(1.0, A, b, None, F))
    return None


def terms_of(R: LegendreFunction) -> Iterator[Term]:
    """Take R apart by its sums, multiples, compositions and products."""
    return _terms(R, 1.0, np.eye(R.dim), np.zeros(R.dim))


def _terms(R: LegendreFunction, c: float, A: np.ndarray, b: np.ndarray) -> Iterator[Term]:
    """Take R(Aw + b) apart."""
    if isinstance(R, Sum):
        for term in R.terms:
            yield from _terms(term, c, A, b)
    elif isinstance(R, Scaled):
        yield from _terms(R.base, c * R.factor, A, b)
    elif isinstance(R, Tilted):
        yield from _terms(R.base, c, A, b)
    elif isinstance(R, Composed):
        yield from _terms(R.base, c, R.A @ A, R.A @ b + R.b)
    elif isinstance(R, Product):
        for part, block in zip(R.parts, R.blocks, strict=True):
            yield from _terms(part, c, A[block], b[block])
    else:
        yield Term(c, R, A, b)


def _has_closed_form(term: Term, region: Region) -> bool:
    if isinstance(term.R, ExponentialFamily) and term.R.dim <= MAX_DIM:
        return False  # it has one, with a dimension for each node: far more than the solver needs
    try:
        embedding_map(term.R, extreme_points(region) @ term.A.T + term.b)
    except NoClosedFormError:
        return False
    return True


def _sum(terms: Sequence[Term]) -> Metric:
    """The metric Σ c Aᵀ ∇²R(Aw + b) A, shape=[..., m, m]."""

    def matrix(w):
        return np.sum([t.factor * (t.A.T @ t.R._hessian(w @ t.A.T + t.b) @ t.A) for t in terms], axis=0)

    def belongs(w):
        return np.all([t.R._belongs(w @ t.A.T + t.b) for t in terms], axis=0)

    name = " + ".join(term.R.name for term in terms)
    return Metric(matrix, belongs, terms[0].A.shape[1], name=name, place=f"dom {name}")


def _image(region: Region, A: np.ndarray, b: np.ndarray) -> Box:
    """The smallest box around A K + b if K is a box, and else around that of the box around K."""
    low, high = region.bounding_box()
    center, half = A @ (0.5 * (low + high)) + b, np.abs(A) @ (0.5 * (high - low))
    return Box(center - half, center + half)


def _certificate(
    F: MixedEmbedding, tol: float, seconds: float, left: float, *, in_blocks: bool
) -> SampledDefect:
    """Measure the whole and bound it by its parts; `left` is what couples blocks, where it was looked at.

    Blocks were found from points, so that what couples them elsewhere is not known, and nothing is proved.
    """
    points = check_points(F.region, N_CHECK, seed=42)
    defects = np.concatenate(
        [relative_defect(F._jacobian(part), F.metric._matrix(part)) for part in np.array_split(points, 20)]
    )
    k = int(np.argmax(np.where(np.isfinite(defects), defects, np.inf)))
    found: list[Any] = [part.solved.certificate for part in F.parts if part.solved is not None]
    bounds = [each.bound for each in found]
    bound = None
    if all(each is not None for each in bounds):
        proved = all(each.is_bound for each in bounds) and not in_blocks
        bound = SupBound(
            max(float(defects[k]), *(each.value + left for each in bounds)),
            max(each.polynomial for each in bounds) if proved else None,
            max(each.tail + left for each in bounds) if proved else None,
            min(each.n_points for each in bounds) if proved else len(points),
        )
    return SampledDefect(
        defect=float(defects[k]),
        n_points=len(points),
        worst_point=points[k].copy(),
        tol=tol,
        degree=max(each.degree for each in found),
        seconds=seconds,
        coordinates=", ".join(sorted({each.coordinates for each in found})),
        tail=max(each.tail for each in found),
        bound=bound,
        history=tuple(fit for each in found for fit in each.history),
    )
