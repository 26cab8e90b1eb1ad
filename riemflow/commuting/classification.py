"""Which flow the weights of a parametrization follow: the verdicts, and whether it is intrinsic."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from riemflow.commuting.checks import one_point
from riemflow.commuting.defect import Defect
from riemflow.commuting.lift import Scales, natural_scales
from riemflow.commuting.loops import LoopTest, loop_test
from riemflow.commuting.pull_back import RANK, PullBack, pull_back_test
from riemflow.commuting.smoothness import require_smooth
from riemflow.commuting.witness import Witness, find_witness
from riemflow.errors import DomainError
from riemflow.parametrizations.parametrization import Parametrization
from riemflow.validation import as_count, as_number, require_kind, short

ENTRIES = 30_000_000  # of second derivatives and pull-backs held at once; above it only loops are lifted
PROOF = 100.0  # times its integration error: what the gap of a witness must exceed


@dataclass(frozen=True)
class Classification:
    """What the weights w = G(x) do under gradient flow on x, for the start and region looked at.

    Attributes
    ----------
    verdict : "commuting", "projectable", "not-mirror" or "undecided"
        "commuting": the fields ∇G_i commute, so w is a mirror flow (Thm 4.8). "projectable": brackets do
        not vanish but lie in ker ∂G, as a mirror flow needs (Thm 4.9) and, for complete analytic fields,
        suffices. "not-mirror": there is a witness. All but the last are statements about sampled points.
    regular : bool
        Whether ∂G has rank d at all points looked at.
    intrinsic : bool or None
        Whether ``∂G∂Gᵀ`` is a function of w on the orbit, so that w obeys a Riemannian gradient flow of its
        own, a mirror flow or not; None if undecided.
    orbit_dim : int or None
        The dimension of the set reachable from x_init, the rank of the Lie algebra of {∇G_i} there
        (Sussmann, 1973); None if undecided.
    n_conserved : int or None
        dim M - orbit_dim, the number of independent functions of x that every such flow conserves.
    defect : float
        The size of what decided: for "commuting" the largest pull-back minus field, relative to the
        field; otherwise its part orthogonal to ker ∂G.
    noise : float
        The part of `defect` that is numerical error, measured.
    point : array, shape=[D]
        Where the defect is largest.
    witness : Witness or None
        For "not-mirror": two loss schedules with equal ∫∇L dt that end at different w.
    x_init : array, shape=[D]
    reach : float
        The length of each random move, in natural lengths of G.
    region : array, shape=[2, D]
        The corners of the box around all points that were looked at.
    n_points : int
    defects : mapping of name to Defect
        Every defect measured, by the test it comes from.
    reason : str
        One sentence.
    """

    verdict: str
    regular: bool
    intrinsic: bool | None
    orbit_dim: int | None
    n_conserved: int | None
    defect: float
    noise: float
    point: np.ndarray = field(repr=False)
    witness: Witness | None = field(repr=False)
    x_init: np.ndarray = field(repr=False)
    reach: float
    region: np.ndarray = field(repr=False)
    n_points: int
    defects: dict[str, Defect] = field(repr=False)
    reason: str = ""

    def __str__(self) -> str:
        known = {True: "yes", False: "no", None: "undecided"}
        orbit = "undecided" if self.orbit_dim is None else str(self.orbit_dim)
        conserved = "undecided" if self.n_conserved is None else str(self.n_conserved)
        lines = [
            f"{self.verdict}: {self.reason}",
            f"  regular      {known[self.regular]}",
            f"  intrinsic    {known[self.intrinsic]}",
            f"  orbit        dimension {orbit}, conserved functions: {conserved}",
            f"  looked at    {self.n_points} points, up to {np.abs(self.region - self.x_init).max():.3g} "
            f"from x_init = {short(self.x_init)}",
        ]
        if self.witness is not None:
            lines.append(f"  witness      {self.witness}")
        return "\n".join(lines)


def classify(G: Parametrization, x_init: Any, *, reach: float = 1.0, seed: int = 0) -> Classification:
    """Decide whether gradient flow through G from x_init is a mirror flow on w = G(x), numerically.

    Random paths along the fields ∇G_i pull them back to the start and push them forward to their ends
    (`commuting.pull_back`), and small parallelograms in w are lifted to closed loops (`commuting.loops`).
    Every defect is compared with noise measured by the same computation on quantities that vanish for
    every G; between 30 and 300 times the noise it is called undecided. "not-mirror" is only said with a
    `Witness`.

    Parameters
    ----------
    G : Parametrization
    x_init : array, shape=[D]
    reach : float
        How long each leg of the random paths may be, in natural lengths (over which ∂G changes by its
        own size). The verdict speaks of the region reached: raise it to see further.
    seed : int

    Returns
    -------
    Classification

    Raises
    ------
    DomainError
        If x_init is outside the domain, ∂G has lower rank there than nearby, or G is not finite or not
        C² nearby.
    ShapeError
        If x_init is not one point of R^D.
    """
    require_kind("G", G, Parametrization)
    reach, seed = as_number("reach", reach, above=0.0), as_count("seed", seed, least=0)
    x = one_point(G, x_init, "x_init")
    G.jacobian(x)  # refuses derivatives that are not finite, or of the wrong shape
    scales = natural_scales(G, x)
    rank = _constant_rank(G, x, scales, seed)
    require_smooth(G, x, scales, reach, seed)
    pulled, looped = None, None
    if G.dim_in**2 * (G.dim + 10) <= ENTRIES:
        pulled = pull_back_test(G, x, scales, reach, seed)
    if rank == G.dim:
        looped = loop_test(G, x, seed=seed)
    return _conclude(G, x, scales, reach, rank, pulled, looped)


def _constant_rank(G: Parametrization, x: np.ndarray, scales: Scales, seed: int) -> int:
    """Return the rank of ∂G at x; raise a `DomainError` if it is larger nearby."""
    rng = np.random.default_rng([seed, 5])
    near = x + 0.1 * scales.x * rng.standard_normal((8, G.dim_in)) / np.sqrt(G.dim_in)
    if G.manifold is not None:
        near = G.manifold.project(near)
    near = near[np.asarray(G._belongs(near))]
    with np.errstate(all="ignore"):
        around = G._tangential_jacobian(near)
    around = around[np.isfinite(around).all(axis=(-2, -1))]
    J = G._tangential_jacobian(x)
    largest = np.linalg.norm(J, ord=2)
    rank = int((np.linalg.svd(J, compute_uv=False) > RANK * largest).sum()) if largest > 0 else 0
    sizes = np.linalg.svd(around, compute_uv=False) if len(around) else np.zeros((1, 1))
    generic = int((sizes > 1e-6 * sizes.max()).sum(axis=-1).max()) if sizes.max() > 0 else 0
    if rank < generic:
        raise DomainError(
            f"∂{G.name} is singular at x_init = {short(x)}: its rank is {rank}, but {generic} nearby. A "
            "flow that starts there cannot move the weights as one from a point nearby does; start from "
            "another point."
        )
    return rank


def _conclude(
    G: Parametrization,
    x: np.ndarray,
    scales: Scales,
    reach: float,
    rank: int,
    pulled: PullBack | None,
    looped: LoopTest | None,
) -> Classification:
    defects: dict[str, Defect] = {}
    for test, found in (("pull-back", pulled), ("loops", looped)):
        for name in ("commuting", "mirror", "intrinsic"):
            if found is not None and getattr(found, name) is not None:
                defects[f"{name}, {test}"] = getattr(found, name)
    if pulled is not None:
        defects["mirror, push-forward"] = pulled.pushed
    commutes, mirror = _agree(defects, "commuting"), _agree(defects, "mirror")
    main = "pull-back" if pulled is not None else "loops"
    witness = None
    names = ("mirror, pull-back", "mirror, push-forward") if pulled is not None else ("mirror, loops",)
    across = [defects.get(name, Defect(np.inf, np.inf, x)) for name in names]
    decided = max(across, key=lambda found: found.value / found.noise)
    if pulled is not None and mirror is False:
        witness = find_witness(G, x, scales, pulled.worst)
        if witness is not None and witness.gap <= PROOF * witness.error:
            witness = None
    if witness is not None:
        verdict = "not-mirror"
        reason = f"moves along the fields of {G.name}, taken in another order, leave ker ∂G: {decided}"
    elif commutes and mirror is not False:
        verdict, decided = "commuting", defects[f"commuting, {main}"]
        reason = f"the fields of {G.name} commute: pulled back along paths they change by {decided}"
    elif commutes is False and mirror and _agree(defects, "intrinsic") is not False:
        verdict = "projectable"
        seen = defects[f"commuting, {main}"]
        reason = f"the fields of {G.name} do not commute ({seen}), but only in ker ∂G: {decided} leaves it"
    else:
        verdict = "undecided"
        reason = _why_undecided(G, decided, mirror, pulled)
    points = x[None] if pulled is None else pulled.points
    regular = rank == G.dim and _regular_at(G, points)
    orbit = None if pulled is None else pulled.orbit_dim
    if orbit is None and verdict == "commuting" and regular:
        orbit = G.dim  # the reachable set of a commuting regular G has the weights as coordinates
    dim = _dimension(G, x)
    return Classification(
        verdict,
        regular,
        _agree(defects, "intrinsic") if verdict not in ("commuting", "projectable") else True,
        orbit,
        None if orbit is None else dim - orbit,
        decided.value,
        decided.noise,
        decided.point,
        witness,
        x.copy(),
        reach,
        np.array([points.min(axis=0), points.max(axis=0)]),
        len(points) + (0 if looped is None else looped.n_loops),
        defects,
        reason,
    )


def _agree(defects: dict[str, Defect], name: str) -> bool | None:
    """Whether a defect vanishes: False as soon as one test sees it, True if all say so."""
    answers = [defect.vanishes for key, defect in defects.items() if key.startswith(name)]
    if False in answers:
        return False
    return True if answers and None not in answers else None


def _why_undecided(G: Parametrization, decided: Defect, mirror: bool | None, pulled: PullBack | None) -> str:
    if mirror is False and pulled is None:
        return f"loops in w do not close ({decided}), but {G.name} is too large for a search for a witness"
    if mirror is False:
        return f"brackets of {G.name} leave ker ∂G ({decided}), but no witness stands out of its own error"
    if mirror:
        return f"moves of {G.name} stay in ker ∂G, yet ∂G∂Gᵀ changes along it, as it does for no mirror flow"
    return f"the defects of {G.name} are too near the noise to tell: {decided}"


def _regular_at(G: Parametrization, points: np.ndarray) -> bool:
    J = G._tangential_jacobian(points)
    sizes = np.linalg.svd(J, compute_uv=False)
    return G.dim <= G.dim_in and bool((sizes[:, -1] > RANK * sizes[:, 0]).all())


def _dimension(G: Parametrization, x: np.ndarray) -> int:
    """The dimension of M."""
    return G.dim_in if G.manifold is None else round(float(np.trace(G.manifold.projector(x))))
