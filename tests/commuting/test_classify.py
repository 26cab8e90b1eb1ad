"""The three verdicts against what is known: derived by hand, or a property of matrices."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
import pytest
from zoo_parametrizations import CASES, NOT_MIRROR, PROJECTABLE

import riemflow as rf
from riemflow.commuting import classify
from riemflow.commuting.defect import Defect
from riemflow.errors import DomainError, ShapeError
from riemflow.parametrizations import (
    AsymmetricFactorization,
    DeepLinear,
    Hadamard,
    HadamardDifference,
    MatrixFactorization,
    Parametrization,
    Quadratic,
    ScrewQuotient,
)


def seeds(few: int, many: int = 20):
    """The first few in the default suite, the rest when everything runs."""
    return [k if k < few else pytest.param(k, marks=pytest.mark.slow) for k in range(many)]


@pytest.mark.parametrize("seed", seeds(1))
@pytest.mark.parametrize("case", CASES, ids=str)
def test_catalogue(case, seed):
    x = case.start(seed)
    found = classify(case.make(), x)
    assert found.verdict == case.verdict, found
    assert (found.witness is not None) == (case.verdict == "not-mirror")
    if case.verdict != "not-mirror":
        assert found.regular and found.intrinsic
    if case.verdict == "commuting":
        assert found.orbit_dim == case.make().dim


@pytest.mark.parametrize("seed", seeds(3))
def test_order_two_of_a_quotient_in_other_coordinates(seed):
    """Projectable G composed with rotations of R^D and of w, and an idle coordinate."""
    rng = np.random.default_rng(seed)
    case = PROJECTABLE[seed % 2]
    inner = case.make()
    D, d = inner.dim_in + 1, inner.dim
    turn, mix = (np.linalg.qr(rng.standard_normal((n, n)))[0] for n in (D, d))

    def jacobian(x):
        idle = np.zeros((*x.shape[:-1], d, 1))
        return mix @ np.concatenate([inner._jacobian((x @ turn)[..., :-1]), idle], axis=-1) @ turn.T

    def hessian(x):
        full = np.zeros((*x.shape[:-1], d, D, D))
        full[..., :-1, :-1] = inner._hessian((x @ turn)[..., :-1])
        return np.einsum("ij,...jab->...iab", mix, turn @ full @ turn.T)

    G = Parametrization(
        lambda x: inner._fun((x @ turn)[..., :-1]) @ mix.T,
        D,
        d,
        jacobian=jacobian,
        hessian=hessian,
        domain=lambda x: inner._belongs((x @ turn)[..., :-1]),
    )
    found = classify(G, turn @ np.append(case.start(seed), 0.3))
    assert found.verdict == "projectable", found
    assert found.n_conserved == 1  # the idle coordinate


def quadratic(seed: int, perturbation: float) -> tuple[Quadratic, np.ndarray]:
    """Commuting symmetric matrices, d ≤ 4 and D ≤ 8, plus a perturbation that does not commute."""
    rng = np.random.default_rng([seed, 7])
    d = int(rng.integers(2, 5))
    D = int(rng.integers(max(d, 3), 9))
    basis = np.linalg.qr(rng.standard_normal((D, D)))[0]
    A = np.einsum("ak,ik,bk->iab", basis, rng.uniform(-1, 1, (d, D)), basis)
    B = rng.standard_normal((d, D, D))
    return Quadratic(A + perturbation * (B + np.swapaxes(B, 1, 2))), rng.standard_normal(D)


@pytest.mark.parametrize("seed", seeds(2, 50))
@pytest.mark.parametrize("perturbation", [0.0, 0.5, 5e-7])
def test_quadratics_commute_if_their_matrices_do(perturbation, seed):
    found = classify(*quadratic(seed, perturbation))
    if perturbation == 0.0:
        assert found.verdict == "commuting", found
    elif perturbation == 0.5:
        assert found.verdict == "not-mirror", found
    else:  # a near miss may be undecided, but never wrong
        assert found.verdict in ("not-mirror", "undecided"), found


@pytest.mark.parametrize("seed", seeds(1, 20))
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("n", [2, 3])
def test_symmetric_factorization(n, rank, seed):
    """Corollary 4.11; intrinsic at any rank; the orbit under GL(n) is all of the matrices of this rank."""
    found = classify(MatrixFactorization(n, rank), np.random.default_rng(seed).standard_normal(n * rank))
    assert found.verdict == "not-mirror" and found.intrinsic
    assert found.regular == (rank >= n)
    # GL(n) moves U within the n × r matrices: freely for r ≤ n, and by its own dimension n² beyond.
    assert found.orbit_dim == n * min(n, rank)


def test_pointwise_brackets_mislead_at_the_identity():
    """There the bracket of order 2 lies in ker ∂G, and still it is no mirror flow."""
    G, x = MatrixFactorization(2, 2), np.eye(2).ravel()
    bracket, J = rf.lie_bracket(G, x), G.jacobian(x)
    assert np.abs(bracket).max() > 0.5
    np.testing.assert_allclose(bracket @ J.T, 0.0, atol=1e-14)
    assert classify(G, x).verdict == "not-mirror"


@pytest.mark.parametrize(("n", "m", "rank"), [(2, 2, 2), (3, 2, 1), (2, 1, 2), (2, 3, 3)])
def test_asymmetric_factorization_conserves_the_imbalance(n, m, rank):
    """UᵀU - VᵀV has r(r+1)/2 entries, as long as r ≤ n + m."""
    x = np.random.default_rng(1).standard_normal((n + m) * rank)
    found = classify(AsymmetricFactorization(n, m, rank), x)
    assert found.verdict == "not-mirror"
    assert found.n_conserved == rank * (rank + 1) // 2
    assert found.intrinsic == (rank == 1)


def test_deep_linear_counts():
    """Layers add up, but for the scalar chain: its 3 + 3 balances are joined by a seventh function."""
    rng = np.random.default_rng(3)
    assert classify(DeepLinear([(2, 2), (2, 2), (2, 2)]), rng.standard_normal(12)).n_conserved == 6
    assert classify(DeepLinear([(2, 1), (2, 2), (1, 2)]), rng.uniform(0.5, 1.5, 8)).n_conserved == 7


@pytest.mark.parametrize("case", NOT_MIRROR, ids=str)
def test_witness_holds_in_an_independent_integration(case):
    """Equal ∫∇L, other weights: gradient_flow on the two schedules finds the gap the witness states."""
    G, x = case.make(), case.start(1)
    witness = classify(G, x).witness
    assert witness.gap > 100 * witness.error
    integrals, ends = [], []
    for schedule in witness.losses:
        edges = np.concatenate([[0.0], schedule.breakpoints, [witness.t_end]])
        pieces = zip(np.diff(edges), schedule.losses, strict=True)
        integrals.append(sum(length * piece.c for length, piece in pieces))
        ends.append(rf.gradient_flow(G, schedule, x, witness.t_end, rtol=1e-11).w[-1])
    np.testing.assert_allclose(integrals[0], integrals[1], atol=1e-14 * np.abs(integrals[0]).max())
    distance = max(np.linalg.norm(end - G(x)) for end in ends)
    gap = np.linalg.norm(ends[0] - ends[1]) / distance
    assert gap == pytest.approx(witness.gap, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("seed", seeds(1, 3))
def test_a_small_generic_cubic_breaks_commutation(seed):
    rng = np.random.default_rng(seed)
    cubic = rng.standard_normal((2, 4, 4, 4))

    def fun(x):
        squares = anp.stack([x[..., 0] ** 2 - x[..., 2] ** 2, x[..., 1] ** 2 - x[..., 3] ** 2], axis=-1)
        return squares + 1e-3 * anp.einsum("iabc,...a,...b,...c->...i", cubic, x, x, x)

    found = classify(Parametrization(fun, 4, 2), rng.uniform(0.5, 1.5, 4))
    assert found.verdict == "not-mirror", found


@pytest.mark.slow
@pytest.mark.parametrize("y", [0.01, -0.02])
def test_start_beside_the_slit(y):
    """Crossing it makes G jump by 2π, which must not pass for a witness."""
    assert classify(ScrewQuotient(), [-1.0, y, 0.3]).verdict == "projectable"


def test_too_large_for_pull_backs(monkeypatch):
    """The loops alone decide; the orbit's dimension follows from the verdict."""
    monkeypatch.setattr("riemflow.commuting.classification.ENTRIES", 1000)
    found = classify(HadamardDifference(12), np.full(24, 0.7))
    assert found.verdict == "commuting" and found.orbit_dim == 12
    assert not any("pull-back" in name for name in found.defects)


@pytest.mark.slow
def test_metric_of_its_own():
    """x ↦ x² under the inverse metric 4x² is x ↦ e^{..} in the flat coordinate: commuting, H = 16 w²."""
    G = Parametrization(
        lambda x: x**2,
        2,
        2,
        domain=lambda x: (x > 0).all(axis=-1),
        inverse_metric=lambda x: 4 * x[..., None] ** 2 * np.eye(2),
    )
    x = np.array([0.7, 1.2])
    np.testing.assert_allclose(G.cometric(x), np.diag(16 * x**4), rtol=1e-12)
    assert classify(G, x).verdict == "commuting"
    R = rf.legendre_from_parametrization(G, x)
    w = np.array([0.4, 2.0])
    # ∇²R = 1/(16 w²): a sixteenth of the Burg entropy.
    np.testing.assert_allclose(R.gradient(w), (1 / x**2 - 1 / w) / 16, rtol=1e-10)
    np.testing.assert_allclose(R.third(w)[[0, 1], [0, 1], [0, 1]], -1 / (8 * w**3), rtol=1e-7)


def test_noise_decides_between_zero_and_undecided():
    point = np.zeros(1)
    assert Defect(2.9e-12, 1e-13, point).vanishes is True
    assert Defect(1e-11, 1e-13, point).vanishes is None
    assert Defect(3.1e-11, 1e-13, point).vanishes is False
    assert Defect(1e-11, 1e-12, point).vanishes is True
    assert Defect(np.inf, np.inf, point).vanishes is None


BAD = {
    "singular": (MatrixFactorization(2, 2), [1.0, 0.5, 2.0, 1.0], DomainError, "rank is 2, but 3 nearby"),
    "outside": (Hadamard(2), [0.0, 1.0], DomainError, "outside the boundary of the domain"),
    "kink": (
        Parametrization(lambda x: anp.stack([anp.abs(x[..., 0]) + x[..., 1], x[..., 1]], axis=-1), 2, 2),
        [0.05, 1.0],
        DomainError,
        "not C²",
    ),
    "C¹ only": (
        Parametrization(lambda x: x * anp.abs(x) + x, 2, 2),
        [0.05, 1.0],
        DomainError,
        "not C²",
    ),
    "not finite nearby": (
        Parametrization(lambda x: anp.where(x > 0.9, x, anp.nan * x), 2, 2),
        [1.0, 1.0],
        DomainError,
        "not finite",
    ),
    "not finite": (Parametrization(anp.sqrt, 2, 2), [0.0, 1.0], DomainError, "not finite"),
    "batch": (Hadamard(2), [[1.0, 1.0]], ShapeError, "one point"),
    "no parametrization": (lambda x: x, [1.0], DomainError, "must be a Parametrization"),
}


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning", "ignore:divide by zero:RuntimeWarning")
@pytest.mark.parametrize(("G", "x", "error", "words"), BAD.values(), ids=BAD.keys())
def test_bad_input(G, x, error, words):
    with pytest.raises(error, match=words):
        classify(G, x)


def test_printed_verdict():
    text = str(classify(MatrixFactorization(2, 2), [1.0, 0.2, -0.3, 0.8]))
    assert text.startswith("not-mirror: ") and "witness" in text and "conserved functions: 0" in text


@pytest.mark.parametrize("scale", [1e-12, pytest.param(1e8, marks=pytest.mark.slow)])
def test_verdict_of_a_homogeneous_parametrization_has_no_scale(scale):
    """A product of three layers: a length found by a step of fixed size is far too short at tiny weights."""
    G, x = DeepLinear([(1, 2), (2, 1), (1, 2)]), np.array([0.7, 0.5, -0.4, 0.6, 0.9, -0.8])
    one, other = classify(G, x), classify(G, scale * x)
    assert (other.verdict, other.orbit_dim, other.intrinsic) == (one.verdict, one.orbit_dim, one.intrinsic)
    assert one.verdict == "not-mirror"
    assert other.defect == pytest.approx(one.defect, rel=1e-6)


def with_a_small_weight(x):
    a, b, c, d, y = (x[..., i] for i in range(5))
    return anp.stack([a * a + b * b, a * c + b * d, c * c + d * d, y * y], axis=-1)


@pytest.mark.slow
@pytest.mark.parametrize("small", [1e-6, 1e-12])
def test_a_tiny_weight_beside_does_not_hide_the_others(small):
    """UUᵀ and y²: each field has a length of its own."""
    found = classify(Parametrization(with_a_small_weight, 5, 4), [1.0, 0.2, -0.3, 0.8, small])
    assert found.verdict == "not-mirror" and found.intrinsic and found.orbit_dim == 5
    assert found.witness is not None and found.witness.gap > 0.01


@pytest.mark.slow
def test_error_of_a_witness_knows_of_rounding():
    """An offset in G costs its digits: the same near miss is seen less sharply, and says so."""
    G, x = quadratic(0, 1e-5)
    plain = classify(G, x)
    away = Parametrization(
        lambda y: G._fun(y) + 1e6, G.dim_in, G.dim, jacobian=G._jacobian, hessian=G._hessian
    )
    offset = classify(away, x)
    assert plain.witness is not None and plain.witness.error < 1e-11
    if offset.witness is not None:
        assert offset.witness.error > 1e-11 and offset.witness.gap > 100 * offset.witness.error


@pytest.mark.parametrize("reach", [15.0, pytest.param(100.0, marks=pytest.mark.slow)])
def test_far_out_nothing_wrong_is_said_of_the_orbit(reach):
    found = classify(MatrixFactorization(2, 2), [1.0, 0.2, -0.3, 0.8], reach=reach)
    assert found.verdict in ("not-mirror", "undecided") and found.orbit_dim in (4, None)


def test_a_far_reach_that_no_leg_completes_is_no_reason_to_break():
    for G, x in ((Hadamard(2), [1.0, 1.0]), (ScrewQuotient(), [1.0, 0.5, 0.3])):
        assert classify(G, x, reach=1e3).verdict in ("commuting", "projectable", "undecided")


@pytest.mark.parametrize("factor", [1e-10, 1e-4, pytest.param(1e4, marks=pytest.mark.slow)])
def test_units_of_the_metric_do_not_count(factor):
    G = Parametrization(
        lambda x: x**2, 2, 2, inverse_metric=lambda x: factor * np.broadcast_to(np.eye(2), (*x.shape, 2))
    )
    assert classify(G, [1.0, 0.5]).verdict == "commuting"


def test_a_metric_has_to_be_symmetric():
    K = np.array([[1.0, 0.5], [0.0, 1.0]])
    G = Parametrization(lambda x: x**2, 2, 2, inverse_metric=lambda x: np.broadcast_to(K, (*x.shape, 2)))
    with pytest.raises(DomainError, match="not symmetric"):
        classify(G, [1.0, 0.5])


def test_plain_numpy_is_invisible_to_autograd_and_is_refused():
    """np.einsum gives the right value and a derivative of 0, on which every field would commute."""
    A = np.array([[1.0, 0.3], [0.3, 1.0]])
    blind = Parametrization(lambda x: np.einsum("ij,...j->...i", A, x**2), 2, 2)
    with pytest.raises(DomainError, match=r"autograd\.numpy"):
        classify(blind, [1.0, 2.0])
    with pytest.raises(DomainError, match=r"autograd\.numpy"):
        rf.gradient_flow(blind, rf.losses.Linear([1.0, 1.0]), [1.0, 2.0], 1.0)


def test_loud_noise_decides_nothing():
    assert Defect(0.5, 0.4, np.zeros(1)).vanishes is None
    assert Defect(1e-9, 1e-3, np.zeros(1)).vanishes is None
