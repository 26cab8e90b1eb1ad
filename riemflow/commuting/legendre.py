"""From a parametrization to its Legendre function, by the horizontal lift (Lemma 4.7, Theorem 4.8)."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np

from riemflow.autodiff import differences
from riemflow.commuting.anchors import Anchors, State
from riemflow.commuting.brackets import cometric_derivative
from riemflow.commuting.checks import Check, check_commuting, check_regular, one_point
from riemflow.commuting.lift import Lift, horizontal_lift, inverse_positive, joint_ray, natural_scales
from riemflow.commuting.loops import loop_test
from riemflow.errors import DomainError, NotMirrorFlowError
from riemflow.legendre.function import LegendreFunction
from riemflow.parametrizations.parametrization import Parametrization
from riemflow.validation import as_number, as_points, require_kind, short

LOOP_FACTOR = 0.03  # loops are more accurate than brackets are sensitive: they get a tighter bound
KEPT = 4  # evaluations remembered: value, gradient and Hessian are mostly wanted at one point in turn


def legendre_from_parametrization(
    G: Parametrization, x_init: Any, *, check: bool = True, tol: float = 1e-8
) -> LiftedLegendre:
    """The R with which gradient flow on the parameters of G, from x_init, is mirror flow on w.

    ``∇²R(G(x)) = (∂G(x) ∂G(x)ᵀ)⁻¹`` on the set reachable from x_init, with ``∇R(w_init) = 0`` and
    ``R(w_init) = 0`` at w_init = G(x_init) (Theorem 4.8 of Li, Wang, Lee and Arora, 2022). It exists
    when the fields ∇G_i commute. It may exist although they do not ("projectable", when brackets of
    order ≥ 2 lie in the kernel of ∂G); then μ still returns to its value around closed loops in w,
    which is what is tested when the brackets do not vanish. Either test looks at sampled points.

    Parameters
    ----------
    G : Parametrization
    x_init : array, shape=[D]
        A point of its domain where ∂G has rank d.
    check : bool
        Whether to test that G induces a mirror flow. Regularity at x_init is always tested.
    tol : float
        The largest scaled Lie bracket that counts as zero. Loops must close to 0.03 `tol`.

    Returns
    -------
    R : LiftedLegendre
        With attributes `verdict` ("commuting", "projectable" or "unchecked") and `check`.

    Raises
    ------
    DomainError
        If x_init is outside the domain of G or ∂G(x_init) is singular.
    ShapeError
        If x_init is not one point of R^D.
    NotMirrorFlowError
        If brackets do not vanish and loops do not close; its `check` holds the figures.
    """
    require_kind("G", G, Parametrization)
    tol = as_number("tol", tol, above=0.0)
    x = one_point(G, x_init, "x_init")
    regular = check_regular(G, x)
    if not regular.passed:
        if G.dim > G.dim_in:
            raise DomainError(f"{regular.message}.")
        raise DomainError(
            f"∂{G.name} is singular at x_init = {short(x)}: its smallest singular value is "
            f"{regular.details['smallest_singular_value']:.3g}, the largest "
            f"{regular.details['largest_singular_value']:.3g}, so the weights cannot move in every "
            "direction; start from another point."
        )
    if not check:
        return LiftedLegendre(G, x, verdict="unchecked")
    found = check_commuting(G, x, tol)
    if found.passed:
        return LiftedLegendre(G, x, verdict="commuting", check=found)
    return LiftedLegendre(G, x, verdict="projectable", check=_require_closed_loops(G, x, found, tol))


def _require_closed_loops(G: Parametrization, x: np.ndarray, brackets: Check, tol: float) -> Check:
    """Return the check of the loops, or raise `NotMirrorFlowError` when they do not close."""
    bound = LOOP_FACTOR * tol
    loops = loop_test(G, x)
    loop = loops.mirror
    details = {**brackets.details, "bracket": brackets.defect, "loop": loop.value, "loop noise": loop.noise}
    if loop.value <= bound:
        message = (
            f"the fields of {G.name} do not commute (scaled bracket {brackets.defect:.3g}), but the dual "
            f"point closed around {loops.n_loops} sampled loops: {loop.value:.3g} (bound {bound:.0e})"
        )
        return Check(True, loop.value, bound, loop.point, loops.n_loops, message, details)
    i, j = brackets.details["pair"]
    message = (
        f"{G.name} is not commuting: the Lie bracket of ∇G_{i + 1} and ∇G_{j + 1} has scaled size "
        f"{brackets.defect:.3g} (bound {tol:.0e}) at x = {short(brackets.point)}, the worst of "
        f"{brackets.n_points} points. A non-commuting G may still be projectable, but "
        + (
            f"the dual point did not return around {loops.n_loops} sampled loops in w: {loop.value:.3g} "
            f"(bound {bound:.0e}) from x = {short(loop.point)}."
            if loops.n_loops
            else "no sampled loop in w could be lifted all the way round, so it is not known to be."
        )
    )
    failed = Check(False, brackets.defect, tol, brackets.point, brackets.n_points, message, details)
    raise NotMirrorFlowError(message, failed)


class LiftedLegendre(LegendreFunction):
    """The Legendre function of a parametrization, evaluated by the horizontal lift.

    Each w is reached along the segment from w_init, carrying ``x' = ∂Gᵀ H⁻¹ Δ``, ``μ' = H⁻¹ Δ`` and
    ``R' = μ·Δ`` for ``Δ = w - w_init`` and ``H = ∂G ∂Gᵀ``. At its end ``∇R(w) = μ``, ``∇²R(w) = H(x)⁻¹``,
    and ∇³R is H's derivative along the lifts of the axes. Relative accuracy is about 1e-11 away
    from the boundary. Batches are solved together, each row with a step of its own.

    Where w lies outside dom R, H degenerates before the end of the segment: the lift stops at a
    fraction s*, which the error reports.

    Attributes
    ----------
    parametrization, x_init, w_init : G, the start, and G(x_init).
    verdict : "commuting", "projectable" or "unchecked"
    check : the check it rests on, or None.
    """

    def __init__(
        self,
        G: Parametrization,
        x_init: np.ndarray,
        *,
        verdict: str = "unchecked",
        check: Check | None = None,
    ):
        self.parametrization, self.x_init = G, x_init.copy()
        self.w_init = np.array(G._fun(x_init), dtype=np.float64)
        self.verdict, self.check = verdict, check
        self._scales = natural_scales(G, x_init)
        self._define(G.dim, name=f"R[{G.name}]", interior=self.w_init, is_mirror_map=None)
        self._kept: tuple[tuple[np.ndarray, Lift], ...] = ()
        J = G._tangential_jacobian(x_init)
        start = State(self.w_init.copy(), x_init.copy(), np.zeros(G.dim), 0.0, J @ J.T)
        self._anchors = Anchors(G, start, self._scales.x)

    def preimage(self, w: Any) -> np.ndarray:
        """The parameters over w at the end of the lift from x_init: shape=[..., d] -> shape=[..., D].

        For a commuting G it is the one point of the reachable set over w.
        """
        w = self._inside(w)
        lift = self._anchors.reach(w.reshape(-1, self.dim), self._way, from_start=True)
        return lift.x.reshape(*w.shape[:-1], -1)

    def _inside(self, w, name="w"):
        w = as_points(name, w, self.dim)
        lift = self._lift(w)
        if (lift.reached < 1.0).any():
            rows, k = w.reshape(-1, self.dim), int(np.argmin(lift.reached))
            J = self.parametrization._tangential_jacobian(lift.x[k])
            more = int((lift.reached < 1.0).sum()) - 1
            raise DomainError(
                f"{name} = {short(rows[k])}{f' (and {more} more)' if more else ''} lies on or outside the "
                f"boundary of dom {self.name}: the lift of the segment from w_init = {short(self.w_init)} "
                f"stopped at the fraction s* = {_fraction(lift.reached[k])}, where ∂G∂Gᵀ has condition "
                f"{np.linalg.cond(J) ** 2:.1e}; move it towards w_init."
            )
        return w

    def _lift(self, w: np.ndarray) -> Lift:
        """Lift every row of w, shape=[..., d], remembering the last few batches."""
        for key, lift in self._kept:
            if key.shape == w.shape and np.array_equal(key, w):
                return lift
        lift = self._anchors.reach(w.reshape(-1, self.dim), self._way, from_start=False)
        self._kept = ((w.copy(), lift), *self._kept[: KEPT - 1])
        return lift

    def _way(self, x: np.ndarray, w: np.ndarray, mu: np.ndarray, ends: np.ndarray) -> Lift:
        return horizontal_lift(self.parametrization, x, mu, w, ends, self._scales)

    def _at(self, w: np.ndarray, quantity: str) -> np.ndarray:
        """One quantity of the lift, NaN for rows outside the domain, with the batch axes of w."""
        lift = self._lift(w)
        rows = getattr(lift, quantity).copy()
        rows[lift.reached < 1.0] = np.nan
        return rows.reshape(w.shape[:-1] + rows.shape[1:])

    def _value(self, w):
        return self._at(w, "value")

    def _gradient(self, w):
        return self._at(w, "mu")

    def _hessian(self, w):
        J = self.parametrization._tangential_jacobian(self._at(w, "x"))
        return inverse_positive(J @ np.swapaxes(J, -1, -2))

    def _metric_derivative(self, w: np.ndarray) -> np.ndarray:
        """∂_k (H⁻¹)_ij along the lifts of the axes e_k: shape=[..., d] -> shape=[..., d, d, d], k first."""
        G, x = self.parametrization, self._at(w, "x")
        J = G._tangential_jacobian(x)
        K = inverse_positive(J @ np.swapaxes(J, -1, -2))
        change = cometric_derivative(G, x, K @ G._raised(x, J))
        return -np.einsum("...ia,...kab,...bj->...kij", K, change, K, optimize=True)

    def _third(self, w):
        return symmetrised(self._metric_derivative(w))

    def _fourth(self, w):
        return differences(self._third, 3)(w)

    def _belongs(self, w):
        return (self._lift(w).reached == 1.0).reshape(w.shape[:-1])

    def _make_conjugate(self):
        return LiftedConjugate(self)


class LiftedConjugate(LegendreFunction):
    """Q = R*, by the joint flow along rays: ``x' = ∂G(x)ᵀ μ``, ``Q' = G(x)·μ`` over unit time.

    Parameters are known to 1e-14 of their size at the start: what decays below that has no digits left.

    ``∇Q(μ) = G(ψ(x_init; μ))`` and ``∇²Q(μ) = ∂G ∂Gᵀ`` there (Lemma 4.7). Its domain is U(x_init), where
    the flow exists; at the edge it blows up, and the fraction s* of μ that was reached is reported.
    """

    def __init__(self, base: LiftedLegendre):
        self.base, self.parametrization = base, base.parametrization
        self._define(base.dim, name=f"{base.name}*", interior=np.zeros(base.dim), is_mirror_map=None)
        self._anchors = Anchors(self.parametrization, base._anchors.start, base._scales.x, dual=True)
        self._kept: tuple[tuple[np.ndarray, Lift], ...] = ()

    def _make_conjugate(self):
        return self.base

    def _inside(self, w, name="mu"):
        mu = as_points("mu" if name == "w" else name, w, self.dim)
        lift = self._ray(mu)
        if (lift.reached < 1.0).any():
            rows, k = mu.reshape(-1, self.dim), int(np.argmin(lift.reached))
            raise DomainError(
                f"mu = {short(rows[k])} lies on or beyond the edge of U(x_init) = dom {self.name}: the joint "
                f"flow of {self.parametrization.name} from x_init blew up or left its domain at the fraction "
                f"s* = {_fraction(lift.reached[k])} of mu; move it towards 0."
            )
        return mu

    def _ray(self, mu: np.ndarray) -> Lift:
        for key, lift in self._kept:
            if key.shape == mu.shape and np.array_equal(key, mu):
                return lift
        # Rays from other points than x_init reach the same w if the flow is a mirror flow, not otherwise.
        unchecked = self.base.verdict == "unchecked"
        lift = self._anchors.reach(mu.reshape(-1, self.dim), self._way, from_start=unchecked)
        self._kept = ((mu.copy(), lift), *self._kept[: KEPT - 1])
        return lift

    def _way(self, x: np.ndarray, w: np.ndarray, mu: np.ndarray, ends: np.ndarray) -> Lift:
        return replace(joint_ray(self.parametrization, x, ends - mu, self.base._scales), mu=ends)

    def _at(self, mu: np.ndarray, quantity: str) -> np.ndarray:
        lift = self._ray(mu)
        rows = getattr(lift, quantity).copy()
        rows[lift.reached < 1.0] = np.nan
        return rows.reshape(mu.shape[:-1] + rows.shape[1:])

    def _value(self, w):
        return self._at(w, "value")

    def _gradient(self, w):
        return np.asarray(self.parametrization._fun(self._at(w, "x")))

    def _hessian(self, w):
        J = self.parametrization._tangential_jacobian(self._at(w, "x"))
        return J @ np.swapaxes(J, -1, -2)

    def _third(self, w):
        x = self._at(w, "x")
        return symmetrised(cometric_derivative(self.parametrization, x, self.parametrization._gradients(x)))

    def _fourth(self, w):
        return differences(self._third, 3)(w)

    def _belongs(self, w):
        return (self._ray(w).reached == 1.0).reshape(w.shape[:-1])


def symmetrised(third: np.ndarray) -> np.ndarray:
    """The mean over the permutations of the last three axes, which a third derivative equals."""
    batch = tuple(range(third.ndim - 3))
    last = range(third.ndim - 3, third.ndim)
    return np.mean([third.transpose(*batch, *order) for order in permutations(last)], axis=0)


def _fraction(s: float) -> str:
    """Write a fraction below 1 so that it is not rounded to 1."""
    return f"{s:.6g}" if s < 0.999 else f"1 - {1.0 - s:.1e}"
