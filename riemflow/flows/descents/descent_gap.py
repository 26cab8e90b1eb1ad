"""How far gradient descent on L∘G and mirror descent are apart: by O(η), if R belongs to G."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from riemflow.commuting.checks import Check
from riemflow.errors import DomainError
from riemflow.flows.descents.descent import gradient_descent, mirror_descent
from riemflow.legendre.function import EPS, LegendreFunction
from riemflow.parametrizations.parametrization import Parametrization
from riemflow.validation import as_count, as_number, require_kind

N_STEPS = (64, 128, 256, 512)


def check_descents(
    G: Parametrization,
    R: LegendreFunction,
    loss: Any,
    x_init: Any,
    t: float,
    *,
    n_steps: Sequence[int] = N_STEPS,
    tol: float = 0.1,
) -> Check:
    """Check that gradient descent on L∘G and mirror descent of R differ by O(η).

    Both are Euler's method, in x and in μ, for one flow where R belongs to G (Thm 4.8), so that over a time t
    the largest gap ``max_k |G(x_k) - w_k|`` falls like the step size η = t / n. For any other pair it tends
    to the gap between two flows. Defect: how far the slope of ln gap in ln η, by least squares, is from 1.

    Parameters
    ----------
    G : Parametrization
    R : LegendreFunction
        On the weights of G; mirror descent starts at G(x_init).
    loss : Loss, or callable, shape=[..., d] -> shape=[...]
    x_init : array, shape=[D]
    t : float
        n steps of size t / n are taken.
    n_steps : increasing whole numbers, at least two
    tol : float
        The largest defect that passes.

    Returns
    -------
    Check
        Its `details` hold step_sizes, gaps and slope (NaN if the gaps are rounding, as for ½‖w‖²: then the
        check passes).

    Raises
    ------
    DomainError, ShapeError
        For bad input.
    ConvergenceError
        If a step leaves the domain.
    """
    require_kind("G", G, Parametrization)
    require_kind("R", R, LegendreFunction)
    t, tol = as_number("t", t, above=0.0), as_number("tol", tol, above=0.0)
    counts = [as_count("n_steps", n) for n in np.ravel(np.asarray(n_steps, dtype=object))]
    if len(counts) < 2 or (np.diff(counts) <= 0).any():
        raise DomainError(f"n_steps is {n_steps}, but must hold two or more increasing numbers.")
    gaps, rounding, moved, worst = [], 0.0, 0.0, np.empty(0)
    for n in counts:
        x = gradient_descent(G, loss, x_init, t / n, n)
        w = mirror_descent(R, loss, x.w[0], t / n, n).w
        apart = np.abs(x.w - w).max(axis=-1)
        gaps.append(float(apart.max()))
        rounding = max(rounding, 100 * EPS * n * float(np.abs(w).max()))
        moved = max(moved, float(np.abs(w - w[0]).max()))
        worst = w[int(np.argmax(apart))]
    etas = t / np.array(counts)
    details = {"step_sizes": etas, "gaps": np.array(gaps), "slope": np.nan}
    pair = f"gradient descent on {G.name} and mirror descent of {R.name}"
    if moved <= 10 * rounding:
        raise DomainError(
            f"Within t = {t:g} the weights move by {moved:.1e}, which rounding does too: start elsewhere, "
            "or take a larger t."
        )
    if max(gaps) <= rounding:
        message = f"{pair} agree to rounding, {max(gaps):.1e}, at {len(counts)} step sizes"
        return Check(True, 0.0, tol, worst, len(counts), message, details)
    slope = float(np.polyfit(np.log(etas), np.log(gaps), 1)[0])
    details["slope"] = slope
    message = (
        f"the gap between {pair} falls like η^{slope:.3f} over {len(counts)} step sizes, from {gaps[0]:.2e} "
        f"at η = {etas[0]:.2e} to {gaps[-1]:.2e} at η = {etas[-1]:.2e} (bound on |slope - 1|: {tol:g})"
    )
    return Check(abs(slope - 1.0) <= tol, abs(slope - 1.0), tol, worst, len(counts), message, details)
