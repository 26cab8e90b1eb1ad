"""Whether a Legendre function is a Bregman function, which Theorem 4.13 needs for convergence."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from riemflow.commuting.checks import Check
from riemflow.errors import RiemflowError
from riemflow.legendre.function import LegendreFunction
from riemflow.legendre.rays import longest, unit_directions
from riemflow.validation import as_count, as_number, require_kind, short

# Growth in the last of two steps, the second over twice the decades of the first, in units of the growth in
# the first: 2 for ln, 1 for ln ln, 1/2 for 1/ln. Below it, a quantity counts as bounded.
BOUNDED = 0.75
DEEPEST = 1e-10  # of the way from a boundary point to the interior point
DEPTHS = DEEPEST ** np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9, 1.0])
THIRDS = [4, 6, 8]  # of the depths, equal numbers of decades apart: there ln grows by 1, a power by less
STEADY = 0.9  # growth in the last of these steps over that in the first, from which on it counts as unbounded
SHIFTS = 10.0 ** -np.arange(1.0, 4.0)  # of a boundary point along the boundary, in units of that way
VANISHES = 0.7  # what a hundredth of a shift may leave of D_R at the most
N_SHIFTS = 3  # directions of shifts, for each boundary point


@dataclass
class _Findings:
    """The worst share found for each property, where, and how many samples could not be evaluated."""

    worst: dict[str, tuple[float, np.ndarray]] = field(default_factory=dict)
    n_samples: int = 0
    n_left: int = 0

    def add(self, name: str, share: float, point: np.ndarray) -> None:
        self.n_samples += 1
        if np.isnan(share):
            self.n_left += 1
        elif name not in self.worst or share > self.worst[name][0]:
            self.worst[name] = (share, point.copy())


def check_bregman_function(
    R: LegendreFunction, *, n_points: int = 8, reach: float = 1e8, seed: int = 0
) -> Check:
    """Look for a sign that R is no Bregman function in the sense of Censor and Lent (1981).

    A Bregman function has, beyond what every Legendre function has,

    - *closed*: a closed domain on which it is continuous;
    - *level sets*: ``{y : D_R(a, y) ≤ α}`` bounded for all a in dom R and α (those in the first argument
      are bounded for every Legendre function);
    - *consistency*: ``D_R(b, w_k) -> 0`` whenever w_k in the interior tends to b in dom R.

    This is a heuristic at sampled points, not a proof. *Closed* and *consistency* are tried at boundary
    points where random rays and the axes end: R must stay finite along the ray, D_R(b, w) must stay finite
    when w tends to another boundary point near b, and its largest value must fall as that point tends to b.
    *Level sets* are tried along the rays of dom R that go on to `reach`: they are star-shaped about a, so
    that an unbounded one contains a ray. A quantity counts as bounded if its growth on the last half of the
    decades is below 0.75 of that on the quarter before: ln ln passes for unbounded, 1/ln for bounded.

    It takes seconds, but minutes for an R by horizontal lift whose domain has a boundary, to which every ray
    is bisected: there `quadratic_legendre` or a closed form is the better R to ask.

    Parameters
    ----------
    R : LegendreFunction
    n_points : int
        Random directions; the 2d axes come in addition.
    reach : float
        How far unbounded rays are followed, in units of R's interior point, or of 1.
    seed : int

    Returns
    -------
    check : Check
        Its defect is the worst share found over the share allowed, at most 1 to pass; its details hold the
        shares by property ("closed", "level sets", "consistency"; a property with nothing to look at is left
        out), "failed", "n_boundary", "n_rays", and "n_left", samples too near the boundary for float64.
    """
    require_kind("R", R, LegendreFunction)
    n_points, reach = as_count("n_points", n_points), as_number("reach", reach, above=1e4)
    center = R.domain.interior
    reach *= max(1.0, float(np.linalg.norm(center)))
    directions = unit_directions(R.dim, n_points, seed)
    if center.any():
        # The rays of a cone: random directions seldom lie in a narrow one.
        directions = np.concatenate([directions, center[None] / np.linalg.norm(center)])
    lengths = longest(R, center, directions, reach)
    ends = lengths < reach
    boundary = center + lengths[ends, None] * directions[ends]
    found = _Findings()
    values = [_boundary_value(R, b, found) for b in boundary]
    with np.errstate(all="ignore"):
        for b, value in zip(boundary, values, strict=True):
            if np.isfinite(value) and R.dim > 1:
                _consistency(R, b, value, found, seed)
        anchors = [(center, float(R._value(center)))]
        anchors += [(b, v) for b, v in zip(boundary, values, strict=True) if np.isfinite(v)]
        for direction in directions[~ends]:
            for a, value in anchors:
                _level_set(R, a, value, direction, reach, found)
    allowed = {"closed": BOUNDED, "level sets": 1 / BOUNDED, "consistency": VANISHES}
    shares = {name: share / allowed[name] for name, (share, _) in found.worst.items()}
    failed = [name for name, share in shares.items() if not share <= 1.0]
    worst = max(shares, key=shares.__getitem__, default=None)
    point = center if worst is None else found.worst[worst][1]
    n_rays = int((~ends).sum())
    sampled = f"{len(boundary)} boundary points and {n_rays} unbounded rays"
    if found.n_left:
        sampled += f", {found.n_left} of {found.n_samples} samples left out"
    passed = not failed and found.n_left < max(found.n_samples, 1)
    if passed:
        message = f"{R.name} shows no sign of being other than a Bregman function at {sampled}"
    elif failed:
        message = f"{R.name} is no Bregman function by the sign of {', '.join(failed)} at w = {short(point)}"
        message += f", the worst of {sampled}"
    else:
        message = f"whether {R.name} is a Bregman function was not seen: {sampled}"
    details = {
        **{name: share for name, (share, _) in found.worst.items()},
        "failed": tuple(failed), "n_boundary": len(boundary), "n_rays": n_rays,
        "n_left": found.n_left,
    }  # fmt: skip
    defect = max(shares.values(), default=0.0 if passed else np.inf)
    return Check(passed, float(defect), 1.0, point.copy(), len(boundary) + n_rays, message, details)


def _growth(quantity: np.ndarray) -> float:
    """Growth of three values in their last step over that in the step before; NaN if one is not finite."""
    if not np.isfinite(quantity).all():
        return np.nan
    before, last = np.abs(np.diff(quantity))
    if last <= 1e-7 * np.abs(quantity).max():
        return 0.0
    return float(last) / max(float(before), 1e-300)


def _boundary_value(R: LegendreFunction, b: np.ndarray, found: _Findings) -> float:
    """R(b), the limit along the ray from the interior point: infinite if there is none, NaN if not seen."""
    depths = DEEPEST ** np.array([0.25, 0.5, 1.0])
    values = _evaluated(R, "_value", b + depths[:, None] * (R.domain.interior - b))
    growth = _growth(values)
    found.add("closed", growth, b)
    return float(values[-1]) if growth < BOUNDED or np.isnan(growth) else np.inf


def _divergence(R: LegendreFunction, a: np.ndarray, value: float, y: np.ndarray) -> np.ndarray:
    """D_R(a, y) for the given R(a), a in the closure of dom R: y of shape=[n, d] -> shape=[n]."""
    slopes = (_evaluated(R, "_gradient", y) * (a - y)).sum(axis=-1)
    return value - _evaluated(R, "_value", y) - slopes


def _consistency(R: LegendreFunction, b: np.ndarray, value: float, found: _Findings, seed: int) -> None:
    """How sup_ε D_R(b, b' + ε(c - b')) falls while the boundary point b' tends to b; infinite if it is so."""
    center = R.domain.interior
    distance = float(np.linalg.norm(b - center))
    for v in unit_directions(R.dim, N_SHIFTS, seed)[2 * R.dim :]:
        towards = b - center + distance * SHIFTS[:, None] * v
        towards /= np.linalg.norm(towards, axis=-1, keepdims=True)
        near = center + longest(R, center, towards, 4.0 * distance)[:, None] * towards
        largest = []
        for shift, point in zip(SHIFTS, near, strict=True):
            D = _divergence(R, b, value, point + DEPTHS[:, None] * (center - point))
            growing = D[THIRDS[-1]] > D[THIRDS[-2]] and _growth(D[THIRDS]) >= STEADY
            largest.append(np.inf if growing else float(D[shift >= DEPTHS].max()))
        first, last = largest[0], largest[-1]
        found.add("consistency", last / first if 0.0 < first and last < np.inf else last, b)


def _level_set(
    R: LegendreFunction, a: np.ndarray, value: float, v: np.ndarray, reach: float, found: _Findings
) -> None:
    """How D_R(a, y) grows along the ray from the interior point."""
    unit = max(1.0, float(np.linalg.norm(R.domain.interior)))
    lengths = unit * (reach / unit) ** np.array([0.25, 0.5, 1.0])
    growth = _growth(_divergence(R, a, value, R.domain.interior + lengths[:, None] * v))
    found.add("level sets", np.inf if growth == 0.0 else 1.0 / growth, a)


def _evaluated(R: LegendreFunction, what: str, points: np.ndarray) -> np.ndarray:
    """R or ∇R at points that are inside up to rounding, NaN for those that are refused."""
    try:
        return np.asarray(getattr(R, what)(points))
    except (RiemflowError, np.linalg.LinAlgError):
        if len(points) == 1:
            return np.full(points.shape if what == "_gradient" else len(points), np.nan)
        half = len(points) // 2
        return np.concatenate([_evaluated(R, what, part) for part in (points[:half], points[half:])])
