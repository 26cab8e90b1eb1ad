"""Both directions end to end, with negative controls."""

from fractions import Fraction

import autograd.numpy as anp
import numpy as np
import pytest

import riemflow as rf
from riemflow.embedding import Atlas
from riemflow.equivalence import EquivalenceReport, forward, passage, reverse
from riemflow.equivalence.report import relative, rounding_of

Z = np.array([[1.0, 2.0, -1.0]])
SCHEDULE = rf.losses.Piecewise(
    [1.0, 2.5],
    [rf.losses.LeastSquares(Z, [1.0]), rf.losses.Logistic(Z, [1.0]), rf.losses.Linear([0.1, -0.2, 0.05])],
)


def coupled(w):
    """Return log-sum-exp + 0.05‖w‖², written so that no structure is visible."""
    return anp.log(1 + anp.sum(anp.exp(w), axis=-1)) + 0.05 * anp.sum(w**2, axis=-1)


@pytest.mark.parametrize(
    "loss",
    [rf.losses.LeastSquares(Z, [1.0]), rf.losses.Logistic(Z, [-1.0]), SCHEDULE],
    ids=["least squares", "logistic", "three pieces"],
)
def test_reverse_with_a_closed_form(loss):
    report = rf.verify_reverse(rf.legendre.NegativeEntropy(3), loss, [0.5, 1.0, 2.0], 5.0)
    assert report.passed, str(report)
    assert max(report.deviations.values()) <= 1e-7
    assert report.flows["parameters"].x.shape == (41, 3)


@pytest.mark.parametrize(
    "loss",
    [
        rf.losses.LeastSquares(Z[:, :2], [0.7]),
        pytest.param(rf.losses.Logistic(Z[:, :2], [-1.0]), marks=pytest.mark.slow),
        pytest.param(
            rf.losses.Piecewise(
                [1.0, 2.5],
                [
                    rf.losses.LeastSquares(Z[:, :2], [0.7]),
                    rf.losses.Logistic(Z[:, :2], [1.0]),
                    rf.losses.Linear([0.02, -0.03]),
                ],
            ),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["least squares", "logistic", "three pieces"],
)
def test_reverse_without_a_closed_form(loss):
    R = rf.LegendreFunction(coupled, 2)
    report = rf.verify_reverse(R, loss, [0.1, -0.3], 5.0)
    assert report.passed, str(report)
    assert report.embedding.ambient_dim <= 5
    assert "not proved" in str(report)


def test_forward_of_a_commuting_parametrization():
    G = rf.parametrizations.Hadamard(2)
    report = rf.verify_forward(G, rf.losses.LeastSquares([[1.0, 2.0]], [1.5]), [0.9, 0.6], 1.0)
    assert report.passed, str(report)
    w = np.array([0.3, 1.1])
    expected = np.log(w / [0.81, 0.36]) / 4  # ¼ Σ w (ln(w / w0) - 1), the oracle derived by hand
    np.testing.assert_allclose(report.legendre.gradient(w), expected, atol=1e-8)


@pytest.mark.parametrize(
    ("G", "x_init"),
    [
        (rf.parametrizations.MatrixFactorization(2, 2), [1.0, 0.2, -0.3, 0.8]),
        (
            rf.parametrizations.AsymmetricFactorization(2, 2, 2),
            np.array([1.0, 0.2, -0.3, 0.8, 0.7, 0.1, 0.4, -0.9]),
        ),
        (
            rf.parametrizations.DeepLinear([(2, 2), (2, 2)]),
            np.array([1.0, 0.2, -0.3, 0.8, 0.7, 0.1, 0.4, -0.9]),
        ),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_factorizations_are_refused_with_size_and_place(G, x_init):
    report = rf.verify_forward(G, lambda w: anp.sum(w, axis=-1), x_init, 1.0)
    assert not report.passed
    assert report.deviations["Lie bracket"] > 1e-3
    assert "not commuting" in str(report) and "at x = [" in str(report)


def test_a_wrong_metric_does_not_pass():
    """The embedding of 1.01 R, checked as if it were R's: the defect is 1 %, and the report would fail."""
    R = rf.legendre.NegativeEntropy(2)
    F = rf.embed(1.01 * R)
    J = F.jacobian([1.0, 2.0])
    defect = np.abs(np.diag([1.0, np.sqrt(2)]) @ J.T @ J @ np.diag([1.0, np.sqrt(2)]) - np.eye(2)).max()
    assert defect == pytest.approx(0.01, rel=1e-6)
    assert not EquivalenceReport("reverse", R.name, {"isometry": defect}, 1e-7).passed


def test_a_nan_or_an_empty_report_never_passes():
    assert not EquivalenceReport("reverse", "R", {"isometry": float("nan")}, 1e-7).passed
    assert not EquivalenceReport("reverse", "R", {}, 1e-7).passed


def test_bad_input_is_refused():
    R, loss = rf.legendre.NegativeEntropy(2), rf.losses.Linear([1.0, 1.0])
    with pytest.raises(rf.DomainError, match="on or outside the boundary"):
        rf.verify_reverse(R, loss, [0.0, 1.0], 1.0)
    with pytest.raises(rf.DomainError, match="t is -1"):
        rf.verify_reverse(R, loss, [1.0, 1.0], -1.0)
    with pytest.raises(rf.ShapeError, match="R\\^2"):
        rf.verify_reverse(R, rf.losses.Linear([1.0, 1.0, 1.0]), [1.0, 1.0], 1.0)
    with pytest.raises(rf.DomainError, match="nan"):
        rf.verify_reverse(R, loss, [np.nan, 1.0], 1.0)
    with pytest.raises(rf.DomainError, match="singular"):
        rf.verify_forward(
            rf.Parametrization(lambda x: x**2, 2, 2), loss, [0.0, 1.0], 1.0
        )  # ∂G is singular where an x is zero


def test_swapped_or_other_objects_are_refused():
    R, G, loss = rf.legendre.NegativeEntropy(2), rf.parametrizations.Hadamard(2), rf.losses.Linear([1.0, 1.0])
    with pytest.raises(rf.DomainError, match="a NegativeEntropy: use verify_reverse"):
        rf.verify_forward(R, loss, [1.0, 1.0], 1.0)
    with pytest.raises(rf.DomainError, match="a Hadamard: use verify_forward"):
        rf.verify_reverse(G, loss, [1.0, 1.0], 1.0)
    for other in (coupled, 3, None):
        with pytest.raises(rf.DomainError, match=r"needs a Parametrization.*Parametrization\("):
            rf.verify_forward(other, loss, [1.0, 1.0], 1.0)
        with pytest.raises(rf.DomainError, match=r"needs a LegendreFunction.*LegendreFunction\("):
            rf.verify_reverse(other, loss, [1.0, 1.0], 1.0)


# w = u² - v² vanishes at its start but for rounding, BurgEntropy's ∇R is a thousand times its change.
SHORT = [
    (rf.verify_reverse, rf.legendre.NegativeEntropy(2), [0.3, 5.0]),
    (rf.verify_reverse, rf.legendre.BurgEntropy(2), [1e-3, 50.0]),
    (rf.verify_reverse, rf.legendre.LogSumExp(2), [0.1, 1.0]),
    (rf.verify_reverse, rf.LegendreFunction(coupled, 2), [0.1, -0.3]),
    (rf.verify_forward, rf.parametrizations.HadamardDifference(2), [1.0, 1.0, 1.0, 1.0]),
    (rf.verify_forward, rf.parametrizations.Exponential(2), [0.0, 2.0]),
    (rf.verify_forward, rf.parametrizations.ScrewQuotient(), [1.0, 0.5, 0.3]),
]


@pytest.mark.parametrize("t", [1e-15, 1e-12, 1e-9])
@pytest.mark.parametrize(("verify", "subject", "start"), SHORT, ids=[case[1].name for case in SHORT])
def test_rounding_alone_fails_no_flow_however_short(verify, subject, start, t):
    report = verify(subject, rf.losses.LeastSquares([[1.0, 2.0]], [0.3]), start, t)
    assert report.passed, str(report)
    assert ("by rounding" in str(report)) or t > 1e-12


@pytest.mark.parametrize(
    ("verify", "subject", "name"),
    [
        (rf.verify_reverse, rf.legendre.NegativeEntropy(2), "∇R̂ against ∇R, round trip"),
        (rf.verify_forward, rf.parametrizations.Hadamard(2), "∇R(w(t)) against -∫∇L dt"),
    ],
    ids=["reverse", "forward"],
)
@pytest.mark.parametrize("t", [1e-6, 1e-3])
def test_rounding_excuses_no_wrong_legendre_function(verify, subject, name, t, monkeypatch):
    """R̂ made 0.1 % too large, on flows nearly too short to tell."""
    loss, start = rf.losses.LeastSquares([[1.0, 2.0]], [0.3]), [0.5, 0.8]
    assert verify(subject, loss, start, t).passed
    module = forward if verify is rf.verify_forward else passage
    built = module.legendre_from_parametrization
    monkeypatch.setattr(
        module, "legendre_from_parametrization", lambda *args, **options: 1.001 * built(*args, **options)
    )
    report = verify(subject, loss, start, t)
    assert report.deviations[name] == pytest.approx(1e-3, rel=0.01)
    assert not report.passed, str(report)


def test_the_bound_on_rounding_holds_and_is_no_larger_than_it_must_be():
    """Against w = u² - v² in rational arithmetic."""
    rng = np.random.default_rng(0)
    G = rf.parametrizations.HadamardDifference(1)
    x = rng.uniform(0.5, 2.0, (400, 2))
    exact = np.array(
        [
            float(Fraction(u) ** 2 - Fraction(v) ** 2 - Fraction(float(w)))
            for (u, v), (w,) in zip(x, G(x), strict=True)
        ]
    )
    mu, hessian = np.zeros((400, 1)), np.zeros((400, 1, 1))
    bound = rounding_of(G, x, G(x), mu, hessian).w
    assert np.abs(exact).max() <= bound <= 100 * np.abs(exact).max()


def test_rounding_excuses_neither_nan_nor_infinity():
    a = np.array([1.0, np.nan])
    assert np.isnan(relative(a, np.ones(2), rounding=10.0))
    assert relative(np.array([np.inf, 1.0]), np.ones(2), rounding=10.0) == np.inf
    G, one = rf.parametrizations.Identity(1), np.ones((1, 1))
    assert rounding_of(G, one, one, one, np.full((1, 1, 1), np.inf)).mu == 0.0


@pytest.mark.parametrize("calls", [1, 40, 200])
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_an_interrupt_ends_the_verification(direction, calls):
    """Ctrl-C at any call of the loss, whichever flow makes it, comes through."""
    seen, started = 0, False

    def gradient(w):
        nonlocal seen
        seen += started  # the loss is looked at once when it is made
        if seen == calls:
            raise KeyboardInterrupt
        return w - 0.3

    loss = rf.losses.Loss(lambda w: 0.5 * ((w - 0.3) ** 2).sum(axis=-1), 2, gradient)
    started = True
    with pytest.raises(KeyboardInterrupt):
        if direction == "forward":
            rf.verify_forward(rf.parametrizations.Hadamard(2), loss, [0.5, 0.8], 1.0)
        else:
            rf.verify_reverse(rf.legendre.NegativeEntropy(2), loss, [0.5, 0.8], 1.0)
    assert seen == calls  # and nothing went on


def test_the_report_as_text_dictionary_and_picture():
    report = rf.verify_reverse(rf.legendre.NegativeEntropy(2), rf.losses.Linear([0.3, -0.2]), [0.5, 1.0], 1.0)
    assert "PASSED" in str(report) and report.to_dict()["passed"] is True
    figure = report.plot()
    assert len(figure.axes) == 3  # w(t), the surface, its colours
    assert len(figure.axes[0].lines) == 2 * len(report.flows)
    import matplotlib.pyplot as plt

    plt.close(figure)


def test_where_no_box_fits_a_tube_around_the_trajectory_does():
    """Along the parabola that bounds dom R every box sticks out."""
    R = rf.legendre.LorentzBarrier(2)
    s = np.linspace(-1.0, 1.0, 50)
    trajectory = np.stack([s, 0.5 * s**2 + 0.1], axis=-1)
    region = reverse._region_around(R, trajectory)
    assert isinstance(region, rf.Tube) and region.belongs(trajectory).all()
    assert isinstance(reverse._region_around(R, trajectory + np.array([0.0, 2.0])), rf.Box)
    with pytest.raises(rf.DomainError, match="Neither a box nor a tube"):
        reverse._region_around(R, np.stack([s, 0.5 * s**2 + 1e-6], axis=-1))


# Through an atlas.

TRUE = rf.legendre.LorentzBarrier(2)
PARABOLA = rf.LegendreFunction(
    lambda w: -anp.log(w[..., 1] - w[..., 0] ** 2 / 2),
    2,
    hessian=TRUE.hessian,
    domain=lambda w: w[..., 1] > w[..., 0] ** 2 / 2,
    interior=[0.0, 1.0],
    name="parabola",
)
REGION, START = rf.Box([-1.0, 0.6], [1.0, 4.0]), [-0.9, 3.5]
GOAL = rf.losses.LeastSquares(np.eye(2), [0.8, 0.9])


@pytest.fixture(scope="module")
def atlas():
    return rf.embed(PARABOLA, REGION, method="atlas", tol=1e-6)


def through(atlas, monkeypatch, rtol=1e-6):
    monkeypatch.setattr(reverse, "embed", lambda R, region, **options: atlas)
    return rf.verify_reverse(PARABOLA, GOAL, START, 2.0, region=REGION, rtol=rtol, method="atlas")


def test_reverse_through_an_atlas(atlas, monkeypatch):
    report = through(atlas, monkeypatch)
    assert report.passed, str(report)
    assert report.embedding is atlas and report.parametrization is None
    changes = report.flows["parameters"].stats["switches"]
    assert len(changes) >= 2 and "not one F" in str(report)
    assert f"{len(changes)} changes" in str(report) and f"of {len(atlas.charts)} charts" in str(report)
    for k in {changes[0][1], *(after for _, _, after in changes)}:
        assert f"chart {k}: F is " in str(report)
    for name in (
        "∇R̂ against ∇R, round trip",
        "metrics of overlapping charts",
        "Lie bracket on M",
        "drift off M",
    ):
        assert 0 < report.deviations[name] < 1e-5
    # Against the conjugate in closed form, which the report does not know.
    flow = report.flows["parameters"]
    true = rf.mirror_flow(TRUE, GOAL, START, flow.t, formulation="dual", rtol=1e-10)
    np.testing.assert_allclose(flow.w, true.w, atol=1e-6)
    figure = report.plot()
    assert len(figure.axes) == 1
    import matplotlib.pyplot as plt

    plt.close(figure)


@pytest.mark.slow
def test_one_wrong_chart_fails_the_verification(atlas, monkeypatch):
    crossed = rf.atlas_flow(atlas, GOAL, START, 2.0).stats["switches"][0][2]
    charts = list(atlas.charts)
    F = charts[crossed]
    charts[crossed] = type(F)(F.metric, F.region, F.basis, 1.001 * F.coefficients, F.coordinates)
    charts[crossed].certificate = F.certificate
    report = through(Atlas(atlas.metric, REGION, charts, atlas.shares), monkeypatch)
    assert not report.passed
    # ĝ = 1.001² g there.
    for name in ("isometry on the trajectory", "metrics of overlapping charts", "isometry on the region"):
        assert report.deviations[name] == pytest.approx(2e-3, rel=0.1)
    for name in ("w(t): parameters against dual", "∇R̂ against ∇R, round trip"):
        assert report.deviations[name] > 1e-5


@pytest.mark.slow
def test_a_wrong_legendre_function_of_a_chart_fails_the_round_trip(atlas, monkeypatch):
    built = passage.legendre_from_parametrization
    monkeypatch.setattr(
        passage, "legendre_from_parametrization", lambda *args, **options: 1.001 * built(*args, **options)
    )
    report = through(atlas, monkeypatch)
    assert not report.passed and report.deviations["∇R̂ against ∇R, round trip"] > 1e-4


@pytest.mark.slow
def test_options_of_embed_are_passed_on():
    R, loss = rf.LegendreFunction(coupled, 2), rf.losses.LeastSquares(Z[:, :2], [0.7])
    report = rf.verify_reverse(
        R, loss, [0.1, -0.3], 1.0, rtol=1e-4, method="spectral", ambient_dim=4, tol=1e-5
    )
    assert report.passed and report.embedding.ambient_dim == 4 and report.embedding.certificate.tol == 1e-5
    with pytest.raises(rf.DomainError, match="method is 'magic'"):
        rf.verify_reverse(R, loss, [0.1, -0.3], 1.0, method="magic")
    one = rf.verify_reverse(R, loss, [0.1, -0.3], 1.0, rtol=1e-4, method="atlas")
    assert one.passed and len(one.embedding.charts) == 1 and "0 changes" in str(one)
