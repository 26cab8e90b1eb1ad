"""Where flows end, and Assumption 3.5."""

from __future__ import annotations

import numpy as np
import pytest
from zoo_parametrizations import COMMUTING

from riemflow.commuting.coordinate_flows import coordinate_flow, joint_flow
from riemflow.commuting.flow_domain import check_flow_domain, flow_domain
from riemflow.errors import DomainError, ShapeError
from riemflow.parametrizations import (
    DeepLinear,
    Exponential,
    Hadamard,
    HadamardDifference,
    Parametrization,
    Quadratic,
    ScrewQuotient,
    Spherical,
)

COMPLETE = "complete as far as followed"


def on(domain):
    """The identity on a part of the plane."""
    return Parametrization(
        lambda x: 1.0 * x, 2, 2, jacobian=lambda x: np.eye(2) + 0 * x[..., None], domain=domain, name="cut"
    )


def line(fun, slope):
    """G on x > 0 with its derivative."""
    return Parametrization(
        fun, 1, 1, jacobian=lambda x: slope(x)[..., None], domain=lambda x: x[..., 0] > 0, name="line"
    )


def slightly_faster():
    """x' = x (1 + ln² x), the gradient of x² (3/4 - s/2 + s²/2) with s = ln x."""
    return line(
        lambda x: x**2 * (0.75 - np.log(x) / 2 + np.log(x) ** 2 / 2), lambda x: x * (1 + np.log(x) ** 2)
    )


@pytest.mark.parametrize("scale", [1e-3, pytest.param(1.0, marks=pytest.mark.slow), 1e3])
@pytest.mark.parametrize("k", [3, 4])
def test_blow_up_of_powers(k, scale):
    """x' = k x^{k-1} ends at x^{2-k}/(k(k-2)), forwards for x > 0."""
    x = scale * np.array([1.0, 1.3])
    U = flow_domain(Hadamard(2, k), x)
    assert U.upper_reason == ("blow-up", "blow-up") and U.lower_reason == (COMPLETE, COMPLETE)
    expected = x ** (2.0 - k) / (k * (k - 2))
    np.testing.assert_allclose(U.upper, expected, rtol=1e-13)
    assert (np.abs(U.upper - expected) <= U.upper_accuracy).all()
    assert (U.upper_accuracy <= 1e-11 * U.upper).all()
    assert (U.lower == -np.inf).all() and (U.lower_accuracy == 0).all()
    # Complete means followed far: x falls like t^{1/(2-k)}.
    assert (U.lower_followed < -1e12 * expected).all()
    assert U.is_complete is False


@pytest.mark.slow
def test_negative_entries_blow_up_backwards():
    U = flow_domain(Hadamard(2, 3), [-1.0, 1.0])
    np.testing.assert_allclose([U.lower[0], U.upper[1]], [-1 / 3, 1 / 3], rtol=1e-13)
    assert U.upper[0] == np.inf and U.lower[1] == -np.inf


@pytest.mark.parametrize("x", [pytest.param((1.0, 0.7), marks=pytest.mark.slow), (1e-3, 1e3), (-2.0, -0.5)])
def test_blow_up_of_differences_of_cubes(x):
    """u' = 3u² and v' = -3v²: forwards max(u, -v) decides, backwards max(-u, v)."""
    u, v = x
    U = flow_domain(HadamardDifference(1, 3), x)
    np.testing.assert_allclose(
        [U.lower[0], U.upper[0]], [-1 / (3 * max(-u, v)), 1 / (3 * max(u, -v))], rtol=1e-11
    )
    assert (U.lower_reason, U.upper_reason) == (("blow-up",), ("blow-up",))


@pytest.mark.parametrize("x", [*(pytest.param(x, marks=pytest.mark.slow) for x in (-5.0, 20.0)), 0.3, 600.0])
def test_blow_up_of_the_exponential(x):
    """x' = e^x ends at t = e^{-x} although ‖x‖ has not grown by much when e^x overflows."""
    U = flow_domain(Exponential(1), [x])
    assert U.upper_reason == ("blow-up",) and U.lower_reason == (COMPLETE,)
    np.testing.assert_allclose(U.upper[0], np.exp(-x), rtol=1e-11)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("units", [1e-4, 1.0, 1e4])
def test_exponential_growth_is_no_blow_up(scale, units):
    """x' = Ax overflows at t = 350, 35,000 or 0.035, and is complete."""
    A = units * np.array([np.diag([2.0, -1.0, 0.5]), np.diag([1.0, 1.0, -40.0])])
    U = flow_domain(Quadratic(A), scale * np.array([1.0, 0.5, -0.8]))
    assert U.is_complete is True
    assert U.belongs([1e9, -1e9])
    assert {*U.lower_reason, *U.upper_reason} == {COMPLETE}
    assert (U.upper_followed > 0).all() and (U.lower_followed < 0).all()
    # Followed over twenty times the natural time at least.
    assert (U.upper_followed[0] * units > 10) and (U.lower_followed[0] * units < -10)


@pytest.mark.parametrize("power", [pytest.param(1.2, marks=pytest.mark.slow), 2.0])
def test_growth_faster_than_linear_is_a_blow_up(power):
    """x' = x^p ends at x^{1-p}/(p-1): also when ‖x‖ has to grow by 1e85 before t stops moving."""
    U = flow_domain(line(lambda x: x ** (power + 1) / (power + 1), lambda x: x**power), [2.0])
    assert U.upper_reason == ("blow-up",)
    np.testing.assert_allclose(U.upper[0], 2.0 ** (1 - power) / (power - 1), rtol=1e-11)


def test_growth_slightly_faster_than_linear_is_not_called_complete():
    """x' = x (1 + ln² x) ends at π/2 for x = 1, where ln x = tan t. At 1e300 it is only at arctan 690."""
    U = flow_domain(slightly_faster(), [1.0])
    assert U.upper_reason == ("undecided",)
    assert np.arctan(100.0) < U.upper[0] < np.pi / 2
    assert not U.belongs([1.6]) and U.belongs([1.5])
    # Backwards ln x = tan t as well: x falls to 0 within π/2, the edge of the domain.
    assert U.is_complete in (None, False)


def test_flow_that_leaves_an_open_domain():
    """x' = ∇x on x > 0: the edge is reached at a finite x, which Assumption 3.5 excludes."""
    U = flow_domain(on(lambda x: x[..., 0] > 0), [2.0, 0.5])
    assert U.lower_reason == ("left-domain", COMPLETE) and U.upper_reason == (COMPLETE, COMPLETE)
    assert abs(U.lower[0] + 2.0) <= U.lower_accuracy[0] <= 1e-12
    np.testing.assert_allclose(U.lower_x[0], [0.0, 0.5], atol=1e-13)
    assert U.is_complete is False


@pytest.mark.parametrize(
    ("fun", "slope", "time"),
    [
        (np.log, lambda x: 1 / x, 0.5),  # backwards x² = 1 - 2t
        pytest.param(lambda x: -1 / x, lambda x: 1 / x**2, 1 / 3, marks=pytest.mark.slow),  # x³ = 1 - 3t
        (lambda x: 2 / 3 * x**1.5, np.sqrt, 2.0),  # √x = 1 - t/2
    ],
)
def test_singular_fields_at_a_finite_edge_are_no_blow_up(fun, slope, time):
    U = flow_domain(line(fun, slope), [1.0])
    assert U.lower_reason == ("left-domain",)
    np.testing.assert_allclose(U.lower[0], -time, rtol=1e-9)


@pytest.mark.slow
def test_slit_of_the_screw_quotient():
    """Along ±∇φ the radius stays, and the slit is met at the angle ±π; ∇G_2 sends r² = s by s' = (1 + s)²."""
    U = flow_domain(ScrewQuotient(), [1.0, 0.5, 0.2])
    angle = np.arctan2(0.5, 1.0)
    assert U.lower_reason == ("left-domain", "blow-up") and U.upper_reason == ("left-domain", "left-domain")
    np.testing.assert_allclose(
        [U.lower[0], U.upper[0]], [-1.25 * (np.pi + angle), 1.25 * (np.pi - angle)], rtol=1e-10
    )
    np.testing.assert_allclose(U.lower[1], -1 / 2.25, rtol=1e-11)
    assert abs(U.upper_x[1][1]) < 1e-9 and U.upper_x[1][0] < 0


def test_compact_manifolds_are_complete():
    assert flow_domain(Spherical(2), np.array([0.6, 0.48, 0.64])).is_complete is True


def test_a_point_where_the_field_vanishes_stays():
    U = flow_domain(Quadratic([np.diag([1.0, 0.0])]), [0.0, 1.0])
    assert U.is_complete is True


@pytest.mark.slow
def test_belongs_agrees_with_the_flows(rng):
    """μ is in U(x) exactly if the flows can be followed, in any order (Lemma C.1)."""
    G, x = Hadamard(2, 3), np.array([1.0, -0.8])
    U = flow_domain(G, x)
    mu = rng.uniform(-0.8, 0.8, (40, 2))
    expected = (mu[:, 0] < 1 / 3) & (mu[:, 1] > -1 / 2.4)
    assert expected.any() and (~expected).any()
    np.testing.assert_array_equal(U.belongs(mu), expected)
    corner = np.array([1 / 3, -1 / 2.4]) * (1 - 1e-6)
    assert U.belongs(corner)
    assert np.isfinite(joint_flow(G, x, corner, order=(1, 0))).all()
    with pytest.raises(DomainError, match="blows up"):
        coordinate_flow(G, x, 0, U.upper[0] * (1 + 1e-6))
    assert not U.belongs([[U.upper[0], 0.0], [0.0, U.lower[1]]]).any()


def test_repr_and_arguments():
    U = flow_domain(Hadamard(2, 3), [1.0, 2.0])
    assert (
        repr(U) == "FlowDomain(x = [1., 2.]: (-inf, 0.333333333333 blow-up) × (-inf, 0.166666666667 blow-up))"
    )
    with pytest.raises(AttributeError):
        U.lower = U.upper
    with pytest.raises(ShapeError):
        U.belongs([0.1])
    with pytest.raises(ShapeError):
        flow_domain(Hadamard(2), [[1.0, 2.0]])
    with pytest.raises(DomainError):
        flow_domain(Hadamard(2), [1.0, 0.0])


# Assumption 3.5.

QUICK = ("Hadamard-4", "HadamardDifference-2", "Quadratic-square", "Spherical")


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, id=str(c), marks=() if c.name in QUICK else pytest.mark.slow) for c in COMMUTING],
)
def test_assumption_holds_for_the_commuting_catalogue(case):
    check = check_flow_domain(case.make(), case.start(), n_points=2)
    assert check.passed, check
    assert check.defect == 0 and check.details["undecided"] == 0 and check.details["violations"] == []
    assert check.details["ends"]["left-domain"] == 0
    assert "at 2 points" in check.message


def test_assumption_fails_on_the_plane_with_a_hole():
    """Round the disc in one order, into it in the other: both halves fail, and the pair is a true witness."""
    holed = on(lambda x: (x**2).sum(axis=-1) > 1.0)
    check = check_flow_domain(holed, [-2.0, 0.5], n_points=3)
    assert not check.passed and 0 < check.defect <= 1 and check.details["ends"]["left-domain"] > 0
    pairs = [v for v in check.details["violations"] if "pair" in v]
    assert pairs
    for v in pairs:
        # By geometry: j for t and then i for s stays outside the disc, the other way round meets it.
        (i, j), moves = v["pair"], {v["pair"][0]: v["s"], v["pair"][1]: v["t"]}
        assert not _meets_disc(v["point"], (j, i), moves)
        assert _meets_disc(v["point"], (i, j), moves)
    assert "is defined and" in check.message and "3.5 fails" in check.message


def _meets_disc(point, order, moves):
    x = point.copy()
    for k in order:
        y = x.copy()
        y[k] += moves[k]
        low, high = sorted((x[k], y[k]))
        nearest = np.clip(0.0, low, high)
        if nearest**2 + x[1 - k] ** 2 <= 1.0:
            return True
        x = y
    return False


@pytest.mark.slow
def test_assumption_fails_for_a_plane_without_a_slit():
    """A slit has no inside: the domain tells it only on {y = 0, x ≤ 0}; here G jumps across it."""

    def fun(x):
        return np.stack([np.arctan2(x[..., 1], x[..., 0]), (x**2).sum(axis=-1)], axis=-1)

    def jacobian(x):
        turned = np.stack([-x[..., 1], x[..., 0]], axis=-1) / (x**2).sum(axis=-1, keepdims=True)
        return np.stack([turned, 2 * x], axis=-2)

    G = Parametrization(
        fun, 2, 2, jacobian=jacobian, domain=lambda x: (x[..., 1] != 0) | (x[..., 0] > 0), name="polar"
    )
    check = check_flow_domain(G, [-1.0, 1.0], n_points=1, n_times=6)
    assert not check.passed
    assert check.details["ends"]["left-domain"] == 2
    # The angle turns at the rate 1/r² = 1/2 from 3π/4.
    times = [v["t"] for v in check.details["violations"] if "i" in v]
    np.testing.assert_allclose(times, [-3.5 * np.pi, 0.5 * np.pi], rtol=1e-9)


def test_first_half_alone_can_fail():
    """On a half-plane both orders leave together; what fails is that x stays finite."""
    check = check_flow_domain(on(lambda x: x[..., 0] > 0), [2.0, 0.5], n_points=2)
    assert not check.passed
    assert all("pair" not in v for v in check.details["violations"])
    assert "leaves the domain at t = -2" in check.message and "finite x" in check.message
    v = check.details["violations"][0]
    assert v["i"] == 0 and v["end"][0] < 1e-12
    np.testing.assert_array_equal(check.point, v["point"])


def test_second_half_alone_can_fail():
    """G = (x + y, y³): starting y later or earlier changes when it blows up, yet every end is a blow-up."""

    def fun(x):
        return np.stack([x[..., 0] + x[..., 1], x[..., 1] ** 3], axis=-1)

    def jacobian(x):
        one = np.ones_like(x[..., 0])
        rows = [np.stack([one, one], axis=-1), np.stack([0 * one, 3 * x[..., 1] ** 2], axis=-1)]
        return np.stack(rows, axis=-2)

    check = check_flow_domain(
        Parametrization(fun, 2, 2, jacobian=jacobian, name="shear"), [0.0, 1.0], n_points=1, n_times=24
    )
    assert not check.passed
    assert check.details["ends"]["left-domain"] == 0
    v = check.details["violations"][0]
    assert "pair" in v and v["reached"] < 1
    # φ_1^s moves y by s, and φ_2 blows up at 1/(3y), of the sign of y.
    s, t = (v["s"], v["t"]) if v["pair"] == (0, 1) else (v["t"], v["s"])
    y = v["point"][1]
    assert (3 * y * t < 1) != (3 * (y + s) * t < 1)


@pytest.mark.slow
def test_deep_linear_nets_break_the_second_half():
    check = check_flow_domain(
        DeepLinear([(2, 2), (1, 2), (2, 1)]), np.random.default_rng(3).standard_normal(8)
    )
    assert not check.passed and check.details["ends"]["left-domain"] == 0


@pytest.mark.slow
def test_undecided_does_not_pass():
    """x' = x² on x > 0 is complete backwards; x' = x (1 + ln² x) to the right of 1 cannot be decided."""
    fine = check_flow_domain(line(lambda x: x**3 / 3, lambda x: x**2), [1.0], n_points=1)
    assert fine.passed and fine.details["undecided"] == 0
    G = line(
        lambda x: np.where(x > 1, x**2 * (0.75 - np.log(x) / 2 + np.log(x) ** 2 / 2), 0.25 + x**2 / 2),
        lambda x: np.where(x > 1, x * (1 + np.log(x) ** 2), x),
    )
    check = check_flow_domain(G, [1.0], n_points=1)
    assert not check.passed and check.details["undecided"] == 1 and np.isnan(check.defect)
    assert "undecided" in check.message
