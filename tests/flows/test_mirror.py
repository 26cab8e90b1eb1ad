"""Mirror flow: exact solutions, agreement of its forms, and its limits."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
import pytest
from scipy.linalg import expm

from riemflow import legendre, losses
from riemflow.errors import ConvergenceError, DomainError, ShapeError
from riemflow.flows import gradient_flow, minimize_bregman, mirror_flow
from riemflow.parametrizations import Hadamard, HadamardDifference

FORMS = ("row-space", "dual", "primal")
TIMES = np.linspace(0.0, 3.0, 13)
RNG = np.random.default_rng(11)
Z = RNG.standard_normal((2, 4))
TRUE = np.array([0.15, 0.3, 0.1, 0.2])
LOSSES = {
    "squares": losses.LeastSquares(Z, Z @ TRUE),
    "logistic": losses.Logistic(Z, [1.0, -1.0]),
    "schedule": losses.Piecewise(
        [0.7, 2.0],
        [
            losses.LeastSquares(Z, Z @ TRUE),
            losses.Logistic(Z, [1, -1]),
            losses.LeastSquares(Z, np.zeros(2)),
        ],
    ),
}
SPD = np.array([[2.0, 0.3, 0.0, 0.1], [0.3, 1.0, 0.2, 0.0], [0.0, 0.2, 1.5, 0.4], [0.1, 0.0, 0.4, 1.0]])
FUNCTIONS = {
    "squared norm": legendre.SquaredNorm(4),
    "quadratic": legendre.Quadratic(SPD),
    "entropy": legendre.NegativeEntropy(4),
    "simplex": legendre.SimplexEntropy(4),
    "Burg": legendre.BurgEntropy(4),
    "Fermi-Dirac": legendre.FermiDirac(4),
    "hyperbolic": legendre.HyperbolicEntropy(np.full(4, 0.3), np.full(4, 0.5)),
    "sum": legendre.NegativeEntropy(4) + 0.5 * legendre.SquaredNorm(4),
}
START = np.array([0.2, 0.1, 0.15, 0.25])


@pytest.mark.parametrize("form", FORMS)
def test_quadratic_is_the_matrix_exponential(form):
    """w' = -A^{-1}ZᵀZ(w - w*)/n for R = ½wᵀAw."""
    M = np.linalg.solve(SPD, Z.T @ Z / 2)
    flow = mirror_flow(FUNCTIONS["quadratic"], LOSSES["squares"], START, TIMES, formulation=form, rtol=1e-11)
    exact = np.array([TRUE + expm(-M * t) @ (START - TRUE) for t in TIMES])
    np.testing.assert_allclose(flow.w, exact, atol=1e-10)
    np.testing.assert_allclose(flow.mu, exact @ SPD, atol=1e-10)
    assert flow.stats["formulation"] == form
    assert flow.x is None


@pytest.mark.parametrize("form", ("dual", "primal"))
@pytest.mark.parametrize(
    ("R", "exact"),
    [
        # μ = ∇R(w_0) - tc: w_0 e^{-ct}, w_0/(1 + w_0ct), the logistic curve.
        (legendre.NegativeEntropy(2), lambda w, ct: w * np.exp(-ct)),
        (legendre.BurgEntropy(2), lambda w, ct: w / (1 + w * ct)),
        (legendre.FermiDirac(2), lambda w, ct: w / (w + (1 - w) * np.exp(ct))),
    ],
    ids=["entropy", "Burg", "Fermi-Dirac"],
)
def test_linear_loss_moves_the_dual_point_on_a_line(R, exact, form):
    c, start = np.array([0.8, -0.4]), np.array([0.3, 0.6])
    flow = mirror_flow(R, losses.Linear(c), start, TIMES, formulation=form, rtol=1e-11)
    np.testing.assert_allclose(flow.w, exact(start, TIMES[:, None] * c), rtol=1e-9)
    np.testing.assert_allclose(flow.mu, R.gradient(start) - TIMES[:, None] * c, atol=1e-9)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_forms_agree(name, loss):
    R = FUNCTIONS[name]
    flows = {form: mirror_flow(R, LOSSES[loss], START, TIMES, formulation=form, rtol=1e-10) for form in FORMS}
    between = np.linspace(0.0, 3.0, 41)
    for form in ("dual", "primal"):
        np.testing.assert_allclose(flows[form].w, flows["row-space"].w, atol=3e-9)
        np.testing.assert_allclose(flows[form].sol(between), flows["row-space"].sol(between), atol=3e-8)
        np.testing.assert_allclose(flows[form].mu, R.gradient(flows[form].w), rtol=1e-7, atol=1e-8)


def test_perturbed_function_does_not_agree():
    """The negative control: one part in 1e4 of R is seen at these tolerances."""
    options = {"loss": LOSSES["squares"], "w_init": START, "t": TIMES, "rtol": 1e-10}
    mine = mirror_flow(FUNCTIONS["entropy"], **options)
    other = mirror_flow(FUNCTIONS["entropy"] + 1e-4 * legendre.SquaredNorm(4), **options)
    assert np.abs(mine.w - other.w).max() > 1e-7


@pytest.mark.parametrize("name", ["entropy", "hyperbolic"])
def test_gradient_flow_of_the_parametrization_agrees(name):
    """x⊙x with ¼ entropy, and u² - v² with hyperbolic entropy (Cor. 4.17)."""
    if name == "entropy":
        G, x_init, R = Hadamard(4), np.sqrt(START), 0.25 * FUNCTIONS["entropy"]
    else:
        u, v = np.full(4, 0.3), np.full(4, 0.5)
        G, x_init, R = HadamardDifference(4), np.concatenate([u, v]), FUNCTIONS["hyperbolic"]
    loss = LOSSES["schedule"]
    parameters = gradient_flow(G, loss, x_init, TIMES, rtol=1e-10)
    weights = mirror_flow(R, loss, parameters.w[0], TIMES, rtol=1e-10)
    np.testing.assert_allclose(weights.w, parameters.w, atol=3e-9)


def test_auto_takes_the_cheapest_form():
    loss, wide = LOSSES["squares"], losses.LeastSquares(np.eye(4), TRUE)

    def chosen(R, loss):
        return mirror_flow(R, loss, START, 0.1).stats["formulation"]

    assert chosen(FUNCTIONS["entropy"], loss) == "row-space"
    assert chosen(FUNCTIONS["entropy"], LOSSES["schedule"]) == "row-space"
    assert chosen(FUNCTIONS["entropy"], wide) == "dual"
    assert chosen(FUNCTIONS["entropy"], losses.Linear(TRUE)) == "closed"
    assert chosen(FUNCTIONS["sum"], loss) == "primal"
    part = legendre.product(FUNCTIONS["sum"].compose(np.eye(4)), legendre.SquaredNorm(1))
    flow = mirror_flow(part, losses.Linear(np.ones(5)), [*START, 0.0], 0.1, method="CVODE")
    assert flow.stats["formulation"] == "primal"
    other = losses.Piecewise([1.0], [loss, losses.LeastSquares(Z + 1.0, np.zeros(2))])
    assert chosen(FUNCTIONS["entropy"], other) == "dual"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["squared norm", "entropy", "simplex", "hyperbolic"])
def test_limit_is_the_bregman_minimum(name, form):
    """Thm 4.16, with the minimum found by duality and not by any flow."""
    R = FUNCTIONS[name]
    flow = mirror_flow(R, LOSSES["squares"], START, np.inf, formulation=form)
    assert flow.status == "converged" and "came to rest" in flow.message
    assert flow.stats["residual"] < 1e-10
    minimum = minimize_bregman(R, START, Z, Z @ TRUE)
    np.testing.assert_allclose(flow.w[-1], minimum.w, atol=1e-7)


@pytest.mark.parametrize("form", FORMS)
def test_ill_conditioned_data_still_converge(form):
    """Eigenvalues of ZᵀZ from 1 to 1e-6: the slow directions arrive as well."""
    U, _ = np.linalg.qr(RNG.standard_normal((5, 5)))
    V, _ = np.linalg.qr(RNG.standard_normal((12, 5)))
    data, true = U * np.geomspace(1.0, 1e-3, 5) @ V.T, RNG.uniform(0.2, 1.0, 12)
    flow = mirror_flow(
        legendre.SquaredNorm(12),
        losses.LeastSquares(data, data @ true),
        np.zeros(12),
        np.inf,
        formulation=form,
    )
    np.testing.assert_allclose(flow.w[-1], V @ (V.T @ true), atol=1e-8)
    assert "CVODE" in flow.stats["method"]


@pytest.mark.parametrize("form", FORMS)
def test_separable_logistic_never_converges(form):
    """w runs to infinity like ln t: "stopped", not "converged"."""
    loss = losses.Logistic([[1.0, 0.3], [0.5, -1.0]], [1.0, -1.0])
    flow = mirror_flow(legendre.SquaredNorm(2), loss, np.zeros(2), np.inf, formulation=form, throw=False)
    assert flow.status == "stopped" and "still moving" in flow.message
    # Both points are support vectors here, so Zw = ln t + const up to O(1): margins grow like ln t.
    margins = flow.w @ loss.Z.T * loss.labels
    late = flow.t > 1e4
    slope = np.polyfit(np.log(flow.t[late]), margins[late], 1)[0]
    np.testing.assert_allclose(slope, 1.0, atol=0.02)
    with pytest.raises(ConvergenceError, match="'stopped'"):
        mirror_flow(legendre.SquaredNorm(2), loss, np.zeros(2), np.inf, formulation=form)


@pytest.mark.parametrize("form", ["row-space", "dual"])
@pytest.mark.parametrize("name", ["entropy", "simplex", "hyperbolic"])
def test_analytic_jacobian_is_right(name, form):
    """CVODE's Newton iteration takes one or two right sides a step, many more with a wrong Jacobian."""
    flow = mirror_flow(
        FUNCTIONS[name], LOSSES["squares"], START, 300.0, formulation=form, method="CVODE", rtol=1e-9
    )
    assert flow.stats["n_jac"] > 0
    assert flow.stats["n_rhs"] < 1.5 * flow.stats["n_steps"]


def test_loss_on_a_small_scale_takes_its_time():
    """Scaling L by 1e-9 scales time by 1e9 and must not look like rest at the start."""
    small = losses.Loss(lambda w: 0.5e-9 * anp.sum((w - TRUE) ** 2, axis=-1), 4)
    flow = mirror_flow(FUNCTIONS["squared norm"], small, START, np.inf)
    np.testing.assert_allclose(flow.w[-1], TRUE, atol=1e-9)
    assert flow.t[-1] > 1e9


@pytest.mark.parametrize("form", FORMS)
def test_start_at_the_minimum_is_at_rest(form):
    flow = mirror_flow(FUNCTIONS["entropy"], LOSSES["squares"], TRUE, np.inf, formulation=form)
    assert flow.status == "converged"
    np.testing.assert_allclose(flow.w[-1], TRUE, atol=1e-12)


def test_schedule_converges_to_the_last_loss_limit():
    loss = losses.Piecewise([3.0, 50.0], [losses.Linear(-TRUE), LOSSES["logistic"], LOSSES["squares"]])
    flow = mirror_flow(FUNCTIONS["squared norm"], loss, START, np.inf)
    assert flow.t[-1] > 50.0
    np.testing.assert_allclose(Z @ flow.w[-1], Z @ TRUE, atol=1e-9)


def test_dual_point_that_runs_out_of_its_range_ends_the_flow():
    """-ln w with L = -w: μ = -1/w_0 + t reaches 0, the edge of the range of ∇R, at t = 1/w_0."""
    flow = mirror_flow(legendre.BurgEntropy(1), losses.Linear([-1.0]), [2.0], 3.0, throw=False)
    assert flow.status == "left-domain"
    assert flow.t[-1] == pytest.approx(0.5, abs=1e-12)
    assert np.isfinite(flow.w).all()
    primal = mirror_flow(
        legendre.BurgEntropy(1), losses.Linear([-1.0]), [2.0], 3.0, formulation="primal", throw=False
    )
    assert primal.status == "failed"
    assert primal.t[-1] == pytest.approx(0.5, abs=1e-8)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"w_init": START[:3]}, ShapeError, "w_init has shape"),
        ({"w_init": START[None]}, ShapeError, "one point"),
        ({"w_init": -START}, DomainError, "boundary of dom NegativeEntropy"),
        ({"w_init": [0.1, 0.1, 0.1, np.nan]}, DomainError, "finite"),
        ({"loss": losses.Linear([1.0])}, ShapeError, r"R\^1"),
        ({"loss": "squares"}, DomainError, "callable"),
        ({"loss": losses.Linear(TRUE), "formulation": "row-space"}, DomainError, "row-space form needs"),
        ({"formulation": "newton"}, DomainError, "formulation is 'newton'"),
        ({"method": "euler"}, DomainError, "method is 'euler'"),
        ({"rtol": 0.0}, DomainError, "rtol"),
        ({"rtol": 0.5}, DomainError, "rtol"),
        ({"atol": -1.0}, DomainError, "atol"),
        ({"atol": np.full(3, 1e-9)}, ShapeError, "atol has shape"),
    ],
)
def test_bad_input_is_named(change, error, words):
    arguments = {"loss": LOSSES["squares"], "w_init": START, "t": 1.0} | change
    with pytest.raises(error, match=words):
        mirror_flow(FUNCTIONS["entropy"], **arguments)


@pytest.mark.parametrize("alpha", [1e-4, 1e-6, 1e-8])
def test_primal_form_at_small_scales(alpha):
    """The metric changes over lengths of α², far below the weights; the dual form is the reference."""
    R = legendre.HyperbolicEntropy([alpha] * 2, [alpha] * 2)
    loss = losses.LeastSquares([[1.0, 2.0]], [1.0])
    end = 0.3 - 0.25 * np.log(alpha)
    dual, primal = (mirror_flow(R, loss, [0.0, 0.0], end, formulation=f) for f in ("dual", "primal"))
    assert np.abs(dual.w[-1]).max() > 0.1  # it has left the plateau
    np.testing.assert_allclose(primal.w[-1], dual.w[-1], rtol=1e-6, atol=1e-7)


def test_primal_form_from_beside_the_boundary():
    """w' = 4w(1 - w) from 1e-16: at half the time of the logistic curve's rise."""
    R = 0.25 * legendre.NegativeEntropy(2)
    loss = losses.LeastSquares(np.sqrt(2) * np.eye(2), np.sqrt(2) * np.ones(2))
    start, end = np.array([0.25, 1e-16]), np.log(1e16) / 4
    exact = 1 / (1 + (1 / start - 1) * np.exp(-4 * end))
    flow = mirror_flow(R, loss, start, end, formulation="primal")
    np.testing.assert_allclose(flow.w[-1], exact, rtol=1e-6)
