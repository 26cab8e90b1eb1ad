"""The algebra: values and derivatives against plain formulas, conjugates against definitions."""

import numpy as np
import pytest

from riemflow.errors import DomainError, ShapeError
from riemflow.legendre import BurgEntropy, LogBarrier, LogSumExp, NegativeEntropy, SquaredNorm, product
from riemflow.legendre.algebra import Sum, Tilted

RNG = np.random.default_rng(0)
A3 = RNG.standard_normal((3, 3))
TALL = RNG.standard_normal((4, 2))
SHIFT = RNG.standard_normal(4)


def trees():
    """Yield (tree, plain value, points)."""
    w2, w3 = RNG.uniform(0.2, 2.0, (6, 2)), RNG.uniform(0.2, 2.0, (6, 3))

    def plain_lse(w):
        return np.log(1 + np.exp(w).sum(-1))

    def plain_entropy(w):
        return (w * np.log(w) - w).sum(-1)

    yield LogSumExp(3) + 0.1 * SquaredNorm(3), lambda w: plain_lse(w) + 0.05 * (w**2).sum(-1), w3
    yield 2.5 * NegativeEntropy(2), lambda w: 2.5 * plain_entropy(w), w2
    yield SquaredNorm(3).compose(A3), lambda w: 0.5 * ((w @ A3.T) ** 2).sum(-1), w3
    yield (
        (LogSumExp(4) + 0.1 * SquaredNorm(4)).compose(TALL, SHIFT),
        lambda w: plain_lse(w @ TALL.T + SHIFT) + 0.05 * ((w @ TALL.T + SHIFT) ** 2).sum(-1),
        w2,
    )
    yield (
        product(NegativeEntropy(1), 3 * BurgEntropy(2)),
        lambda w: plain_entropy(w[..., :1]) - 3 * np.log(w[..., 1:]).sum(-1),
        w3,
    )
    yield Tilted(NegativeEntropy(2), [1.0, -2.0], 0.5), lambda w: plain_entropy(w) + w @ [1, -2] + 0.5, w2


TREES = list(trees())


@pytest.mark.parametrize(("R", "plain", "w"), TREES, ids=[tree[0].name for tree in TREES])
def test_values_and_derivatives(R, plain, w):
    np.testing.assert_allclose(R(w), plain(w), rtol=1e-13)
    h = 1e-5  # central differences: error h² times a derivative of order one, plus rounding eps / h
    for k, e in enumerate(np.eye(R.dim)):
        np.testing.assert_allclose(
            R.gradient(w)[:, k], (plain(w + h * e) - plain(w - h * e)) / (2 * h), rtol=1e-7, atol=1e-8
        )
        np.testing.assert_allclose(
            R.hessian(w)[..., k],
            (R.gradient(w + h * e) - R.gradient(w - h * e)) / (2 * h),
            rtol=1e-7,
            atol=1e-8,
        )
        np.testing.assert_allclose(
            R.third(w)[..., k], (R.hessian(w + h * e) - R.hessian(w - h * e)) / (2 * h), rtol=1e-7, atol=1e-8
        )
        np.testing.assert_allclose(
            R._third_along(w, np.broadcast_to(e, w.shape)), R.third(w)[..., k], rtol=1e-12, atol=1e-12
        )


@pytest.mark.parametrize(("R", "plain", "w"), TREES, ids=[tree[0].name for tree in TREES])
def test_conjugates(R, plain, w):
    mu = R.gradient(w)
    np.testing.assert_allclose(R.conjugate.gradient(mu), w, rtol=1e-10)
    np.testing.assert_allclose(R.conjugate(mu) + plain(w), (w * mu).sum(-1), rtol=1e-10, atol=1e-12)
    product_of_hessians = R.conjugate.hessian(mu) @ R.hessian(w)
    np.testing.assert_allclose(
        product_of_hessians, np.broadcast_to(np.eye(R.dim), product_of_hessians.shape), atol=1e-8
    )


def test_changes_of_units_are_those_of_their_matrix():
    factors, shift = np.array([2.0, -0.5, 0.3]), np.array([0.1, 0.2, -0.1])
    w, rows = np.array([0.4, -0.3, 0.2]), np.random.default_rng(0).standard_normal((2, 3))
    for base in (LogSumExp(3), SquaredNorm(3) + LogSumExp(3)):
        R = base.compose(np.diag(factors), shift)
        # The same function, its matrix no longer diagonal to the eye.
        whole = base.compose(np.diag(factors) + 1e-300 * (1.0 - np.eye(3)), shift)
        assert R._factors is not None and whole._factors is None
        for name in ("_value", "_gradient", "_hessian", "_third"):
            np.testing.assert_allclose(getattr(R, name)(w), getattr(whole, name)(w), rtol=1e-14, atol=1e-16)
        np.testing.assert_allclose(R._times_hessian(w, rows), rows @ whole._hessian(w), rtol=1e-13)
        batch = np.stack([w, -w])
        np.testing.assert_allclose(R._gradient(batch), whole._gradient(batch), rtol=1e-14)
    assert np.abs(R._gradient(w) - base.compose(np.diag(-factors), shift)._gradient(w)).max() > 0.1


def test_sums_flatten_and_know_when_they_are_mirror_maps():
    R = NegativeEntropy(2) + LogSumExp(2) + SquaredNorm(2)
    assert isinstance(R, Sum) and len(R.terms) == 3 and R.is_mirror_map is True
    assert (LogSumExp(2) + LogSumExp(2)).is_mirror_map is None
    assert (2 * LogSumExp(2)).is_mirror_map is False
    assert product(SquaredNorm(1), LogSumExp(2)).is_mirror_map is False


def test_interior_points_of_composed_domains_are_found():
    sub = NegativeEntropy(3).compose([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]], [0.0, 0.0, 1.0])
    assert sub.domain.belongs(sub.domain.interior)
    narrow = NegativeEntropy(3).compose([[1.0], [1.0], [-1.0]], [-5.0, 0.0, 5.001])  # 5 < w < 5.001
    assert 5 < narrow.domain.interior[0] < 5.001
    wedge = LogBarrier(-np.eye(2), [0.0, 0.0]) + LogBarrier(
        [[1.0, 1.0], *np.eye(2).tolist()], [1.0, 9.0, 9.0]
    )
    assert wedge.domain.belongs(wedge.domain.interior)


def test_errors():
    with pytest.raises(ShapeError, match="one dimension"):
        SquaredNorm(2) + SquaredNorm(3)
    with pytest.raises(DomainError, match="factor of a Legendre function"):
        -1.0 * SquaredNorm(2)
    with pytest.raises(DomainError, match="rank 1 < 2"):
        SquaredNorm(2).compose([[1.0, 1.0], [1.0, 1.0]])
    with pytest.raises(DomainError, match="affine subspace"):
        NegativeEntropy(2).compose([[1.0], [-1.0]], [0.0, -1.0])  # w > 0 and -w - 1 > 0
    with pytest.raises(ShapeError, match="at least one factor"):
        product()
    with pytest.raises(TypeError):
        SquaredNorm(2) + 1.0


def test_division_by_a_positive_number():
    R, w = NegativeEntropy(2), np.array([0.3, 2.0])
    np.testing.assert_allclose((R / 4)(w), R(w) / 4, rtol=1e-15)
    for divisor in (0.0, -2.0, np.nan):
        with pytest.raises(DomainError, match="divisor"):
            _ = R / divisor
