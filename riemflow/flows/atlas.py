"""Gradient flow through an atlas: from chart to chart, each time put exactly onto the next one's image."""

from __future__ import annotations

from typing import Any

import numpy as np

from riemflow.embedding.atlas import Atlas
from riemflow.embedding.region import Box, Region
from riemflow.embedding.spectral import SpectralEmbedding
from riemflow.errors import DomainError, ShapeError
from riemflow.flows.gradient import gradient_flow
from riemflow.flows.solution import GOOD, Flow, output_times, require_good
from riemflow.losses import Loss, Piecewise, as_loss
from riemflow.validation import require_kind, short

# A flow stays with a chart until it has crossed this share of the overlap, so that it does not go to and fro.
CROSSED = 0.5
MOST_SWITCHES = 100_000
ROUNDED = 1 + 1e-14  # of times that are sums of the charts' own


def atlas_flow(
    atlas: Atlas,
    loss: Any,
    w_init: Any,
    t: Any,
    *,
    rtol: float = 1e-8,
    atol: Any = None,
    method: str = "auto",
    progress: bool = False,
    throw: bool = True,
) -> Flow:
    """Integrate ``x' = -∂G_k(x)ᵀ ∇L(G_k(x))``, G_k = F_k^{-1}, in one chart k after the other.

    When w = G_k(x) is about to leave a chart's box, the flow goes on from F_j(w) in the chart j in which w
    lies deepest. In every chart w follows the Riemannian gradient flow of the atlas's metric g, the mirror
    flow for g = ∇²R.

    Parameters
    ----------
    atlas : Atlas
    loss : Loss, Piecewise, or callable, shape=[..., d] -> shape=[...]
    w_init : array, shape=[d]
    t : float, increasing array, or np.inf
        End time, output times, or the limit.
    rtol, atol, method, progress, throw
        As for `gradient_flow`.

    Returns
    -------
    Flow
        With w, and x in the chart then in use. ``stats["charts"]`` is that chart's index at each output time,
        ``stats["switches"]`` lists (t, chart before, chart after).

    Raises
    ------
    DomainError, ShapeError
        For input of the wrong kind or shape, outside the region, or not finite.
    ConvergenceError
        If the flow leaves the region, does not converge (t = inf), or the integrator fails.
    """
    require_kind("atlas", atlas, Atlas, 'make one by embed(R, region, method="atlas")')
    loss = as_loss(loss, atlas.dim)
    w = atlas._inside(w_init)
    if w.ndim != 1:
        raise ShapeError(f"w_init has shape {w.shape}, but must be one point of shape ({atlas.dim},).")
    end, times = output_times(t)
    options = {"rtol": rtol, "atol": atol, "method": method, "progress": progress, "throw": False}
    route = _Route(atlas)
    k, start = int(atlas._chart(w)), 0.0
    while True:
        view = _view(atlas, k)
        left = np.inf if end == np.inf else end - start
        flow = gradient_flow(view.parametrization(), _later(loss, start), view._fun(w), left, **options)
        route.add(k, start, flow)
        start, w = start + flow.t[-1], flow.w[-1]
        if flow.status != "left-region" or not start < end:
            break
        following = int(atlas._chart(w))
        stuck = following < 0 or following == k or not _view(atlas, following).region._belongs(w)
        if stuck or len(route.flows) > MOST_SWITCHES or route.is_idle():
            break
        k = following
    result = route.flow(times, flow.status)
    return require_good(result) if throw else result


class _Part(Region):
    """What a flow may see of a chart: the part of its box up to the middle of the overlap, in the region."""

    def __init__(self, box: Box, region: Region):
        self.box, self.region = box, region
        self.dim, self.center = box.dim, box.center

    def bounding_box(self):
        return self.box.bounding_box()

    def _belongs(self, w, slack=1e-12):
        return self.box._belongs(w, slack) & self.region._belongs(w, slack)

    def __repr__(self) -> str:
        return f"{self.box!r} in {self.region!r}"


def _view(atlas: Atlas, k: int) -> SpectralEmbedding:
    """Return chart k confined to the part that a flow crosses in it."""
    F, share = atlas.charts[k], atlas.shares[k]
    low, high = F.region.bounding_box()
    box = Box(share.lower + CROSSED * (low - share.lower), share.upper + CROSSED * (high - share.upper))
    place = _Part(box, atlas.region)
    view = SpectralEmbedding(F.metric, place, F.basis, F.coefficients, F.coordinates, name=F.name)
    F._start(np.zeros(F.ambient_dim))  # makes the cloud of starting points, which is that of the whole chart
    view._cloud, view.certificate = F._cloud, F.certificate
    return view


def _later(loss: Loss | Piecewise, start: float) -> Loss | Piecewise:
    """Return the loss as seen by a clock that starts at this time."""
    if not isinstance(loss, Piecewise):
        return loss
    ahead = loss.breakpoints > start
    pieces = [loss.at(start), *loss.losses[len(loss.losses) - int(ahead.sum()) :]] if ahead.any() else []
    return Piecewise(loss.breakpoints[ahead] - start, pieces) if pieces else loss.at(start)


class _Route:
    """The flows through the charts, one after the other."""

    def __init__(self, atlas: Atlas):
        self.atlas = atlas
        self.charts: list[int] = []
        self.starts: list[float] = []
        self.flows: list[Flow] = []

    def add(self, k: int, start: float, flow: Flow) -> None:
        self.charts.append(k)
        self.starts.append(start)
        self.flows.append(flow)

    def is_idle(self) -> bool:
        """Tell whether the last changes of chart took no time, as when w only grazes their boxes."""
        return len(self.flows) > 4 and all(flow.t[-1] == 0 for flow in self.flows[-4:])

    @property
    def end(self) -> float:
        return self.starts[-1] + float(self.flows[-1].t[-1])

    def sol(self, t: np.ndarray) -> np.ndarray:
        """Return x and the chart's index at times: shape=[...] -> shape=[..., D + 1]."""
        t = np.asarray(t, float)
        if (t < 0).any() or (t > self.end * ROUNDED).any() or not np.isfinite(t).all():
            raise DomainError(f"t must lie in [0, {self.end:g}], the times that were integrated.")
        flat = t.ravel()
        which = np.maximum(np.searchsorted(self.starts, flat, side="right") - 1, 0)
        out = np.empty((flat.size, self.atlas.ambient_dim + 1))
        for leg in np.unique(which):
            rows = which == leg
            clock = np.clip(flat[rows] - self.starts[leg], 0.0, self.flows[leg].t[-1])
            out[rows, :-1], out[rows, -1] = self.flows[leg].sol(clock, of="x"), self.charts[leg]
        return out.reshape(*t.shape, -1)

    def weights(self, state: np.ndarray) -> np.ndarray:
        """Return G_k(x) for states (x, k)."""
        flat = state.reshape(-1, state.shape[-1])
        out = np.empty((len(flat), self.atlas.dim))
        for k in np.unique(flat[:, -1]):
            rows = flat[:, -1] == k
            out[rows] = self.atlas.charts[int(k)]._inverse(flat[rows, :-1])
        return out.reshape(*state.shape[:-1], -1)

    def flow(self, times: np.ndarray | None, status: str) -> Flow:
        last = self.flows[-1]
        if times is None:
            ends = [flow.t + start for flow, start in zip(self.flows, self.starts, strict=True)]
            # The point at a change of chart is the next leg's first.
            kept = [slice(None, -1)] * (len(ends) - 1) + [slice(None)]
            parts = list(zip(self.flows, kept, strict=True))
            t = np.concatenate([end[s] for end, s in zip(ends, kept, strict=True)])
            w = np.concatenate([flow.w[s] for flow, s in parts])
            x = np.concatenate([flow.x[s] for flow, s in parts])  # type: ignore[index]
            sizes = [len(end[s]) for end, s in zip(ends, kept, strict=True)]
            charts = np.repeat(self.charts, sizes)
        else:
            t = times[times <= self.end * ROUNDED]
            if status not in GOOD and (len(t) == 0 or t[-1] < self.end):
                t = np.append(t, self.end)
            state = self.sol(t)
            w, x, charts = self.weights(state), state[:, :-1], state[:, -1].astype(int)
        switches = [
            (float(start), before, after)
            for start, before, after in zip(self.starts[1:], self.charts, self.charts[1:], strict=False)
        ]
        stats = {
            name: sum(flow.stats[name] for flow in self.flows) for name in ("n_steps", "n_rhs", "seconds")
        }
        methods = dict.fromkeys(flow.stats["method"] for flow in self.flows)
        stats |= {"formulation": "atlas", "method": "+".join(methods), "charts": charts, "switches": switches}
        for name in ("residual", "remaining"):
            if name in last.stats:
                stats[name] = last.stats[name]
        return Flow(t, w, x, None, status, self._message(last), stats, self, self._maps())  # type: ignore[arg-type]

    def _maps(self) -> dict[str, Any]:
        return {"w": self.weights, "x": lambda state: state[..., :-1]}

    def _message(self, last: Flow) -> str:
        if last.status == "left-region":
            return f"reached the boundary of the region at t = {self.end:.10g}, w = {short(last.w[-1])}"
        changes = len(self.flows) - 1
        if last.status == "finished":
            return f"reached t = {self.end:.10g} with {changes} changes of chart"
        if last.status == "converged":
            return f"came to rest at t = {self.end:.6g} after {changes} changes of chart"
        return f"{last.message}, by a clock started at the last change of chart, t = {self.starts[-1]:.10g}"
