"""Structure first: closed forms and blocks split off, and only the rest solved."""

from __future__ import annotations

from itertools import pairwise

import autograd.numpy as anp
import numpy as np
import pytest
from scipy.stats import ortho_group

import riemflow as rf
from riemflow.embedding import Ball, Box, embed
from riemflow.embedding.blocks import find_blocks
from riemflow.embedding.metric import as_metric
from riemflow.errors import FileFormatError, NoClosedFormError
from riemflow.legendre import (
    BurgEntropy,
    LegendreFunction,
    LorentzBarrier,
    NegativeEntropy,
    SquaredNorm,
    product,
)


def coupled(w):
    return anp.log(1 + anp.sum(anp.exp(w), axis=-1)) + 0.05 * anp.sum(w**2, axis=-1)


def plain(dim=2):
    return LegendreFunction(coupled, dim, name="plain")


def cube(dim, half=1.0):
    return Box(np.full(dim, -half), np.full(dim, half))


def mix(dim, seed=0):
    rng = np.random.default_rng(seed)
    return np.eye(dim) + rng.standard_normal((dim, dim)) / (2 * np.sqrt(dim))


def accurate(F, tol):
    w = np.concatenate([F.region._boundary(200, np.random.default_rng(7)), F.region.sample(500)])
    np.testing.assert_allclose(F.inverse(F(w[:20])), w[:20], atol=1e-9)
    return F.certificate.passed and F.metric_defect(w).max() <= 2 * tol


CASES = {
    # name: R, region, D
    "sum": (lambda: plain() + 0.5 * SquaredNorm(2), cube(2), 7),
    "sum near a boundary": (lambda: plain() + BurgEntropy(2), Box([1e-4, 1e-4], [1.0, 1.0]), 7),
    "blocks": (lambda: product(plain(), NegativeEntropy(3)), Box([-1.0] * 2 + [0.1] * 3, [1.0] * 5), 8),
    "mixed blocks": (lambda: 3.0 * product(plain(), plain()).compose(mix(4)), cube(4, 0.4), 10),
    "with a hyperbolic part": (
        lambda: product(plain(), LorentzBarrier(2)),
        Box([-1.0, -1.0, -0.3, 1.0], [1.0, 1.0, 0.3, 2.0]),
        8,
    ),
    "on a ball": (lambda: plain() + NegativeEntropy(2), Ball([1.0, 1.0], 0.7), 7),
}


@pytest.mark.parametrize("name", CASES)
def test_what_has_a_closed_form_keeps_it(name):
    make, region, D = CASES[name]
    F = embed(make(), region, tol=1e-9)
    assert F.method == "mixed" and F.ambient_dim == D
    assert accurate(F, 1e-9)


def test_where_everything_or_nothing_has_one_nothing_is_mixed():
    assert embed(NegativeEntropy(2) + SquaredNorm(2), Box([0.1, 0.1], [1.0, 1.0])).method == "closed-form"
    assert embed(plain(), cube(2), tol=1e-6).method == "spectral"
    assert embed(plain() + SquaredNorm(2), cube(2), tol=1e-6, ambient_dim=5).method == "spectral"
    assert embed(plain() + SquaredNorm(2), cube(2), tol=1e-6, method="spectral").ambient_dim == 5


def separate(A, blocks):
    """Σ_k of the coupled function of the blocks of y = A w, as a plain callable."""

    def value(w):
        y, at, total = anp.dot(w, A.T), 0, 0.0
        for m in blocks:
            total = total + coupled((1.0 + 0.3 * at) * y[..., at : at + m])
            at += m
        return total

    return LegendreFunction(value, len(A), name="separate")


@pytest.mark.parametrize("blocks", [(1, 1, 1, 1, 1, 1, 1), (2, 1, 1), (2, 2)])
def test_blocks_of_a_plain_callable_are_found(blocks):
    d = sum(blocks)
    A = mix(d, seed=3)
    R, region = separate(A, blocks), cube(d, 0.5)
    found, left = find_blocks(as_metric(R), region, 1e-11)
    assert sorted(len(block.P) for block in found) == sorted(blocks) and left < 1e-11
    # The rows of each block span those of A, up to order.
    spans = [np.linalg.qr(block.P.T)[0] for block in found]
    edges = np.cumsum([0, *blocks])
    for a, b in pairwise(edges):
        rows = np.linalg.qr(A[a:b].T)[0]
        distances = [np.linalg.norm(rows - Q @ (Q.T @ rows)) for Q in spans if Q.shape == rows.shape]
        assert min(distances) < 1e-9
    F = embed(R, region, tol=1e-9)
    assert F.method == "mixed" and F.ambient_dim == sum(m * (m + 3) // 2 if m > 1 else 1 for m in blocks)
    assert accurate(F, 1e-9)


def test_a_weak_coupling_is_no_block():
    """Negative control: 1e-6 of coupling is seen, and the metric solved in one piece."""
    A = mix(2, seed=3)

    def value(w):
        y = anp.dot(w, A.T)
        return anp.sum(anp.log(anp.cosh(y)) + 0.3 * y**2, axis=-1) + 1e-6 * anp.sin(y[..., 0] * y[..., 1])

    R = LegendreFunction(value, 2)
    assert len(find_blocks(as_metric(R), cube(2), 1e-11)[0]) == 1
    assert embed(R, cube(2, 0.5), tol=1e-8).method == "spectral"
    assert len(find_blocks(as_metric(R), cube(2), 1e-4)[0]) == 2


def test_turned_isotropic_blocks(rng):
    """Equal eigenvalues do not hide a block: a constant part may be cut anywhere."""
    U = ortho_group.rvs(4, random_state=0)

    def value(w):
        y = anp.dot(w, U.T)
        return coupled(y[..., :2]) + 0.5 * anp.sum(y[..., 2:] ** 2, axis=-1)

    F = embed(LegendreFunction(value, 4), cube(4, 0.5), tol=1e-9)
    assert F.method == "mixed" and F.ambient_dim == 5 + 1 + 1 and accurate(F, 1e-9)


def test_a_part_that_does_not_fit_into_its_box_is_solved_in_one_piece():
    """To y = (w_0, w_0 + 3w_1) = (0, 4) belongs (0, 4/3), outside the domain; the region itself is inside."""
    A = np.array([[1.0, 0.0], [1.0, 3.0]])

    def value(w):
        return anp.sum(anp.log(anp.cosh(0.3 * anp.dot(w, A.T))) + anp.dot(w, A.T) ** 2, axis=-1)

    square = LegendreFunction(value, 2, domain=lambda w: (np.abs(w) < 1.01).all(axis=-1))
    F = embed(square, cube(2), tol=1e-6)
    assert F.method == "spectral" and accurate(F, 1e-6)


def test_too_many_variables_without_blocks_are_refused_by_name():
    with pytest.raises(NoClosedFormError, match=r"plain.* R|plain"):
        embed(plain(6), cube(6))
    with pytest.raises(NoClosedFormError, match=r"The part plain of .* but 6"):
        embed(plain(6) + SquaredNorm(6), cube(6))


def test_the_certificate_is_measured_on_the_whole_and_bounded_by_the_parts():
    F = embed(plain() + 0.5 * SquaredNorm(2), cube(2), tol=1e-8)
    found = F.certificate
    w = F.region.sample(100_000, np.random.default_rng(3))
    assert F.metric_defect(w).max() <= found.bound.value and found.bound.is_bound
    # Against another R it fails.
    F.metric = as_metric(plain() + 0.6 * SquaredNorm(2))
    assert F.metric_defect(w[:100]).min() > 1e-2


def test_its_flow_is_the_mirror_flow():
    R = product(plain(), NegativeEntropy(2))
    loss = rf.losses.LeastSquares(np.array([[1.0, -0.5, 0.4, 0.8]]), [0.7])
    report = rf.verify_reverse(R, loss, [0.1, -0.2, 0.5, 0.9], 2.0)
    assert report.passed and report.embedding.method == "mixed"


def test_file_and_back(tmp_path):
    R = product(plain(), NegativeEntropy(2))
    F = embed(R, Box([-1.0, -1.0, 0.2, 0.2], [1.0, 1.0, 2.0, 2.0]), tol=1e-8)
    path = F.save(tmp_path / "mixed")
    w = F.region.sample(50)
    for loaded in (rf.load_embedding(path), rf.load_embedding(path, R)):
        np.testing.assert_array_equal(loaded(w), F(w))
        np.testing.assert_allclose(loaded.inverse(F(w)), w, atol=1e-9)
        assert loaded.method == "mixed" and loaded.certificate.defect == F.certificate.defect
    assert rf.load_embedding(path, R).metric_defect(w).max() < 1e-7
    with pytest.warns(UserWarning, match="differs"):
        other = rf.load_embedding(path, product(plain(), 2.0 * NegativeEntropy(2)))
    assert not other.certificate.passed
    data = path.read_bytes()
    (tmp_path / "short.npz").write_bytes(data[: len(data) // 2])
    with pytest.raises(FileFormatError):
        rf.load_embedding(tmp_path / "short.npz")


def test_blocks_are_seen_at_points_and_nothing_is_proved_of_them():
    """A coupling of width .015 between the points: what is claimed is claimed at points."""
    center, width = np.array([0.37, -0.41]), 0.015

    def value(w):
        bump = 5e-5 * width**2 * anp.exp(-anp.sum((w - center) ** 2, axis=-1) / width**2)
        return anp.sum(anp.log(anp.cosh(w)) + 0.1 * w**2, axis=-1) + bump

    F = embed(LegendreFunction(value, 2), cube(2), tol=1e-4)
    assert F.method == "mixed" and not F.certificate.bound.is_bound
    assert "not bounded between them" in repr(F)


def test_one_function_in_several_places():
    """The same R in a term of full rank and in one that sees two of four variables."""
    R4, A = plain(4), np.zeros((4, 3))
    A[:3] = np.eye(3)
    R = R4.compose(A) + product(plain(2), SquaredNorm(1))
    F = embed(R, cube(3, 0.3), tol=1e-6)
    assert F.method == "mixed" and accurate(F, 1e-6)
