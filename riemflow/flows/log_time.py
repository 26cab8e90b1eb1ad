"""Mirror flow of the logistic loss in the time ln(1 + t), for times far beyond float64."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import log_expit

from riemflow.errors import DomainError, ShapeError
from riemflow.flows.dual_forms import RowSpace, of_legendre
from riemflow.flows.first_length import first_lengths
from riemflow.flows.solution import GOOD, Flow, output_times, require_good
from riemflow.integration import solve_ode
from riemflow.legendre.function import LegendreFunction
from riemflow.losses import Logistic
from riemflow.validation import as_number, require_kind

RESTED = 20.0  # from here on e^τ magnifies rounding to what the tolerance sees


def logistic_flow(
    R: LegendreFunction,
    loss: Logistic,
    w_init: Any,
    log_t: Any,
    *,
    rtol: float = 1e-8,
    progress: bool = False,
    throw: bool = True,
) -> Flow:
    """Integrate the mirror flow of a logistic loss in τ = ln(1 + t): ``dν/dτ = e^τ ∇ℓ(Z∇R*(μ_0 - Zᵀν))``.

    On separable data w grows like ln t, so that in τ the flow moves at a steady pace, while the factor e^τ
    and the vanishing gradient are multiplied as logarithms: t = exp(1e6) is in reach. Still the direction of
    w settles like a power of τ only; for its limit see `maximum_margin`. On other data w comes to rest while
    e^τ makes the flow stiffer and stiffer: take `mirror_flow`.

    Parameters
    ----------
    R : LegendreFunction
    loss : Logistic
    w_init : array, shape=[d]
    log_t : float, or increasing array
        End time or output times, in τ = ln(1 + t).
    rtol, progress, throw
        As for `mirror_flow`.

    Returns
    -------
    Flow
        Its times, and those its `sol` takes, are values of τ; ``stats["clock"]`` says so.

    Raises
    ------
    DomainError, ShapeError
        For bad input.
    ConvergenceError
        If the integrator fails.
    """
    require_kind("R", R, LegendreFunction)
    require_kind("loss", loss, Logistic, "make one of data, losses.Logistic(Z, labels)")
    if loss.dim != R.dim:
        raise ShapeError(f"The loss is on R^{loss.dim}, but {R.name} on R^{R.dim}.")
    w_init = R._inside(w_init, "w_init")
    if w_init.ndim != 1:
        raise ShapeError(f"w_init has shape {w_init.shape}, but must be one point of shape ({R.dim},).")
    end, times = output_times(log_t)
    if end == np.inf:
        raise DomainError("log_t is inf: maximum_margin and mirror_flow tell where the flow ends.")
    rtol = as_number("rtol", rtol, above=0.0, below=0.1)
    Q, n, signs = of_legendre(R, w_init), len(loss.labels), loss.labels
    space = RowSpace(loss.Z)

    def to_mu(c: np.ndarray) -> np.ndarray:
        return Q.start - loss._combine(space.lift(c))

    def margins(c: np.ndarray) -> np.ndarray:
        return signs * loss._model(Q.weights(to_mu(c)))

    def velocity(tau: float, c: np.ndarray) -> np.ndarray:
        return space.drop(-signs * np.exp(tau + log_expit(-margins(c))) / n)

    def jacobian(tau: float, c: np.ndarray) -> np.ndarray:
        m = margins(c)
        curvature = np.exp(tau + log_expit(m) + log_expit(-m)) / n
        return -space.within(curvature[:, None] * Q.gram(to_mu(c), loss.Z))

    size = float(np.abs(Q.start).max())
    scale = (size or 1.0) / (float(np.linalg.norm(np.asarray(abs(loss.Z).sum(axis=1)), np.inf)) or 1.0)
    if not size:
        with np.errstate(all="ignore"):
            origin = np.zeros((1, space.dim))
            scale = first_lengths(lambda c: velocity(0.0, c[0])[None], origin, end, scale)[0]
    solution = solve_ode(
        velocity,
        np.zeros(space.dim),
        (0.0, end),
        rtol=rtol,
        atol=rtol * scale,
        t_eval=times,
        jac=jacobian,
        events=[] if Q.everywhere else [lambda tau, c: bool(Q.belongs(to_mu(c)))],
        method="CVODE",
        progress=progress,
    )
    maps = {name: _after(to_mu, output) for name, output in Q.outputs.items()}
    values = {name: np.asarray(to(solution.y)) for name, to in maps.items()}
    status, message = solution.status, solution.message.replace(" t = ", " ln(1 + t) = ")
    if status == "event":
        status, message = "left-domain", f"reached the boundary of the domain: {message}"
    elif status in GOOD and not np.isfinite(values["w"]).all():
        status, message = "failed", "the weights overflow float64"
    elif status == "failed" and solution.t[-1] > RESTED:
        message = (
            f"stopped at ln(1 + t) = {solution.t[-1]:.6g}; if no w in dom R separates the labels, the flow "
            "has come to rest by then and rounding times e^τ moves it: see mirror_flow to t = inf"
        )
    stats = {"formulation": "row-space", "clock": "ln(1 + t)", **solution.stats}
    flow = Flow(solution.t, values["w"], None, values["mu"], status, message, stats, solution, maps)
    return require_good(flow) if throw else flow


def _after(first: Any, then: Any) -> Any:
    return lambda state: then(first(state))
