"""Results on implicit bias from before the general theorem, as instances of it: their R, Q, domain and class.

The formulas of R are those of `potentials`, and of Q those below, found by hand from the flows of the ∇G_i. A
linear change of w, and the constants, are those of each paper up to its normalisation of G.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from zoo_parametrizations import COMMUTING, NOT_MIRROR, PROJECTABLE

import riemflow as rf
from riemflow.commuting import flow_domain, quadratic_legendre
from riemflow.parametrizations import (
    AsymmetricFactorization,
    CircularConvolution,
    Hadamard,
    HadamardDifference,
    Quadratic,
)

Growth = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
ZOO = {case.name: case for case in [*COMMUTING, *PROJECTABLE, *NOT_MIRROR]}


def exponentials(w0: np.ndarray, mu: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """w0 (e^{rate μ} - 1) / rate and its derivative, for each entry."""
    return w0 * np.expm1(rate * mu) / rate, w0 * np.exp(rate * mu)


def difference_of_squares(x, mu):
    """u = u0 e^{2μ}, v = v0 e^{-2μ}."""
    u, v = np.split(x**2, 2)
    (up, du), (down, dv) = exponentials(u, mu, 4.0), exponentials(v, -mu, 4.0)
    return (up + down).sum(), du - dv


def difference_of_powers(k: int) -> Growth:
    """u^{2-k} falls by k(k-2)μ and v^{2-k} grows by as much; Q = (u² + v² - u0² - v0²) / 2k."""

    def growth(x, mu):
        u0, v0 = np.split(x, 2)
        u = (u0 ** (2 - k) - k * (k - 2) * mu) ** (1 / (2 - k))
        v = (v0 ** (2 - k) + k * (k - 2) * mu) ** (1 / (2 - k))
        return (u**2 + v**2 - u0**2 - v0**2).sum() / (2 * k), u**k - v**k

    return growth


def power(k: int) -> Growth:
    """x^{2-k} falls by k(k-2)μ, for x > 0; a negative x is that of the other sign, with -μ for odd k."""

    def growth(x, mu):
        size, sign = np.abs(x), np.sign(x) ** k
        there = (size ** (2 - k) - sign * k * (k - 2) * mu) ** (1 / (2 - k))
        return (there**2 - size**2).sum() / (2 * k), sign * there**k

    return growth


def square(x, mu):
    value, slope = exponentials(x**2, mu, 4.0)
    return value.sum(), slope


def rows_of_two(x, mu):
    value, slope = exponentials((x.reshape(-1, 2) ** 2).sum(axis=1), mu, 4.0)
    return value.sum(), slope


def products(x, mu):
    """p = (u + v)/√2 grows like e^μ, q = (u - v)/√2 falls like e^{-μ}, w = ½(p² - q²)."""
    u, v = np.split(x, 2)
    (up, dp), (down, dq) = (exponentials((u + s * v) ** 2 / 4, s * mu, 2.0) for s in (1, -1))
    return (up + down).sum(), dp - dq


def even_convolution(x, mu):
    """For length 3, K = [[1, √2], [√2, -1]] / √3 and c = (√3, √(3/2)); the products c_k p_k q_k are K w."""
    K, c = np.array([[1.0, np.sqrt(2)], [np.sqrt(2), -1.0]]) / np.sqrt(3), np.sqrt([3.0, 1.5])
    value, slope = products(np.concatenate([K @ x[:2], K @ x[2:]]), c * (K @ mu))
    return value, K @ (c * slope)


def burg(x, mu):
    """e^{-x} falls by μ: w = w0 / (1 - w0 μ)."""
    w0 = np.exp(x)
    return -np.log1p(-w0 * mu).sum(), w0 / (1 - w0 * mu)


CLOSED: dict[str, Growth] = {
    "HadamardDifference-2": difference_of_squares,
    "HadamardDifference-3": difference_of_powers(3),
    "HadamardDifference-4": difference_of_powers(4),
    "HadamardProduct": products,
    "DiagonalMeasurements": rows_of_two,
    "CircularConvolution-even": even_convolution,
    "Hadamard-2": square,
    "Exponential": burg,
    "Hadamard-3": power(3),
    "Hadamard-4": power(4),
}


def dual_points(name: str, x: np.ndarray, dim: int) -> np.ndarray:
    """Points a third of the way to the nearest blow-up, or up to 0.3."""
    rng = np.random.default_rng(7)
    reach = 0.3
    if name.startswith("Hadamard") and name[-1] in "34":
        k = int(name[-1])
        reach = (np.abs(x) ** (2 - k)).min() / (k * (k - 2)) / 3
    elif name == "Exponential":
        reach = np.exp(-x).min() / 3
    return reach * rng.uniform(-1, 1, (4, dim))


@pytest.mark.parametrize("name", CLOSED)
def test_potentials_are_the_closed_forms(name):
    """R, ∇R, Q and ∇Q of the horizontal lift and the flow to 1e-9."""
    case, closed = ZOO[name], CLOSED[name]
    G, x = case.make(), case.start()
    assert case.potential is not None
    R, known = rf.legendre_from_parametrization(G, x), case.potential(x)
    for mu in dual_points(name, x, G.dim):
        value, w = closed(x, mu)
        scale = 1 + np.abs(w).max()
        assert R.conjugate(mu) == pytest.approx(value, abs=1e-9 * scale)
        np.testing.assert_allclose(R.conjugate.gradient(mu), w, rtol=0, atol=1e-9 * scale)
        assert R(w) == pytest.approx(known.value(w), abs=1e-9 * scale)
        np.testing.assert_allclose(R.gradient(w), mu, rtol=0, atol=1e-9)
        np.testing.assert_allclose(known.gradient(w), mu, rtol=0, atol=1e-9)
        # A value of Q that is off by a thousandth would be seen.
        assert abs(1.001 * value - R.conjugate(mu)) > 1e-9 * scale


@pytest.mark.slow
def test_difference_of_cubes_lives_on_an_interval():
    """u³ - v³ from u, v > 0: U(x) = (-1/(3 v0), 1/(3 u0)), where v and u blow up, to 1e-8."""
    u0, v0 = np.array([0.7, 1.3]), np.array([1.1, 0.4])
    U = flow_domain(HadamardDifference(2, power=3), np.concatenate([u0, v0]))
    np.testing.assert_allclose(U.upper, 1 / (3 * u0), rtol=1e-8)
    np.testing.assert_allclose(U.lower, -1 / (3 * v0), rtol=1e-8)
    assert set(U.upper_reason + U.lower_reason) == {"blow-up"}
    # u² - v² is complete.
    assert flow_domain(HadamardDifference(1), [0.7, 1.1]).is_complete


@pytest.mark.parametrize("k", [3, 4, 6])
def test_tempered_updates_are_tsallis_entropies(k):
    """Amid and Warmuth's temperature τ is 2 - 2/k: R'' = w^{-τ}/k², Tsallis's q = 2/k, factor 1/2k."""
    x, w = np.array([0.8, 1.2]), np.array([[0.5, 1.7], [1.1, 0.9]])
    R = rf.legendre_from_parametrization(Hadamard(2, power=k), x)
    tsallis = (1 / (2 * k)) * rf.legendre.TsallisEntropy(2, 2 / k)
    np.testing.assert_allclose(R.hessian(w), tsallis.hessian(w), rtol=0, atol=1e-9)
    np.testing.assert_allclose(R.hessian(w), w[:, :, None] ** (2 / k - 2) / k**2 * np.eye(2), atol=1e-9)
    np.testing.assert_allclose(
        R.bregman_divergence(w[0], w[1]), tsallis.bregman_divergence(w[0], w[1]), atol=1e-9
    )


def test_commuting_measurements_of_a_product():
    """⟨A_i, U Uᵀ⟩ with A_i = V diag(λ_i) Vᵀ (Gunasekar et al.): Q = ¼ Σ_k |v_k·U|² (e^{4 λ_k·μ} - 1)."""
    rng = np.random.default_rng(3)
    V, rates = np.linalg.qr(rng.standard_normal((4, 4)))[0], rng.uniform(-1, 1, (2, 4))
    A, U = np.einsum("ak,ik,bk->iab", V, rates, V), rng.standard_normal((4, 3))
    # In x = U.ravel(), ⟨A, U Uᵀ⟩ = ½ xᵀ (2 A ⊗ 1) x.
    G = Quadratic([np.kron(a + a.T, np.eye(3)) for a in A])
    x = U.ravel()
    np.testing.assert_allclose(G(x), np.einsum("iab,ab->i", A, U @ U.T), atol=1e-12)
    assert rf.classify(G, x).verdict == "commuting"
    weights = ((V.T @ U) ** 2).sum(axis=1)
    for R in (rf.legendre_from_parametrization(G, x), quadratic_legendre(G, x)):
        for mu in 0.2 * rng.uniform(-1, 1, (3, 2)):
            growth = weights * np.exp(4 * rates.T @ mu)
            w, value = rates @ growth, (growth - weights).sum() / 4
            assert R.conjugate(mu) == pytest.approx(value, abs=1e-9)
            np.testing.assert_allclose(R.gradient(w), mu, atol=1e-9)
            assert R(w) == pytest.approx(w @ mu - value, abs=1e-9)
    # Measurements that do not commute are no mirror flow.
    other = Quadratic([np.kron(a, np.eye(3)) for a in (A[0], np.diag([1.0, -1.0, 0.5, 2.0]))])
    assert rf.classify(other, x).verdict == "not-mirror"


@pytest.mark.parametrize(
    ("length", "layers", "symmetric", "verdict"),
    [
        (2, 2, False, "commuting"),
        (3, 2, False, "not-mirror"),
        pytest.param(4, 2, True, "commuting", marks=pytest.mark.slow),
        pytest.param(5, 3, True, "commuting", marks=pytest.mark.slow),
        pytest.param(4, 3, False, "not-mirror", marks=pytest.mark.slow),
    ],
)
def test_convolutions_commute_where_their_spectra_are_real(length, layers, symmetric, verdict):
    G = CircularConvolution(length, layers=layers, symmetric=symmetric)
    x = np.random.default_rng(1).uniform(0.5, 1.5, G.dim_in)
    found = rf.classify(G, x)
    assert found.verdict == verdict, found
    if verdict == "commuting":
        assert found.orbit_dim == G.dim


def test_even_convolutions_are_those_of_the_filters():
    """Against NumPy's convolution, wrapped round, for any number of layers."""
    for length, layers in ((1, 2), (2, 3), (5, 2), (6, 4)):
        G = CircularConvolution(length, layers=layers, symmetric=True)
        x = np.random.default_rng(length).standard_normal(G.dim_in)
        filters = G.filters(x)
        np.testing.assert_allclose(filters, filters[:, -np.arange(length) % length], atol=1e-15)
        product = np.eye(length)[0]
        for f in filters:
            long = np.convolve(product, f)
            product = np.array([long[i::length].sum() for i in range(length)])
        basis = CircularConvolution(length, layers=1, symmetric=True).filters(np.eye(G.dim))[:, 0]
        np.testing.assert_allclose(basis @ basis.T, np.eye(G.dim), atol=1e-15)
        np.testing.assert_allclose(G(x) @ basis, product, atol=1e-13)


class Warped:
    """The potential of one hidden linear neuron, w = a u with a² - |u|² = δ (Azulay et al.).

    ``H = a² 1 + u uᵀ`` has the eigenvalues a² + r² along w and a² across, r = |u|. For q a function of
    ρ = |w| = |a| r with q' = r: q'/ρ = 1/|a|, and from dρ/dr = (a² + r²)/|a| also q'' = |a|/(a² + r²). So
    ∇²q = |a| H⁻¹. Integrated, q = (2/3)|a|³ - δ|a|.
    """

    def __init__(self, x):
        self.delta = x[-1] ** 2 - x[:-1] @ x[:-1]

    def squares(self, w):
        """a² and r², the roots of a² r² = |w|² and a² - r² = δ."""
        root = np.sqrt(self.delta**2 / 4 + (w**2).sum(axis=-1))
        return root + self.delta / 2, root - self.delta / 2

    def value(self, w):
        a = np.sqrt(self.squares(w)[0])
        return 2 / 3 * a**3 - self.delta * a

    def gradient(self, w):
        return w / np.sqrt(self.squares(w)[0])[..., None]


@pytest.mark.parametrize("neuron", [0.6, 1.9, -1.2], ids=["δ < 0", "δ > 0", "a < 0"])
def test_two_layers_and_one_neuron_are_a_warped_mirror_flow(neuron):
    """Not a mirror flow, but intrinsic; ∇q(w) moves by -∫|a|∇L dt, a mirror flow in the time ∫|a| dt."""
    G, x = AsymmetricFactorization(3, 1, 1), np.array([0.5, -0.7, 0.8, neuron])
    found = rf.classify(G, x)
    assert found.verdict == "not-mirror" and found.intrinsic and found.n_conserved == 1, found
    warped = Warped(x)
    R = rf.LegendreFunction(
        lambda w: 2 / 3 * _root(w, warped.delta) ** 1.5 - warped.delta * _root(w, warped.delta) ** 0.5,
        3,
        interior=np.array([0.3, 0.2, 0.1]),
        domain=lambda w: (w != 0).any(axis=-1),
    )
    loss = rf.losses.LeastSquares([[1.0, 0.5, -1.0], [0.3, 1.0, 0.4]], [1.0, -0.5])
    t = np.linspace(0.0, 2.0, 9)
    flow = rf.gradient_flow(G, loss, x, t, rtol=1e-12)
    assert flow.x is not None
    a = flow.x[:, -1]
    np.testing.assert_allclose(a**2, warped.squares(flow.w)[0], rtol=1e-9)
    np.testing.assert_allclose(R(flow.w), warped.value(flow.w), rtol=1e-12)
    np.testing.assert_allclose(R.gradient(flow.w), warped.gradient(flow.w), atol=1e-9)
    product = R.hessian(flow.w) @ G.cometric(flow.x)
    np.testing.assert_allclose(product, np.abs(a)[:, None, None] * np.eye(3), atol=1e-9)
    # Gauss's rule on each interval, 12 nodes.
    nodes, weights = np.polynomial.legendre.leggauss(12)
    times = t[:-1, None] + 0.5 * np.diff(t)[:, None] * (nodes + 1)
    speed = np.abs(flow.sol(times.ravel(), of="x")[:, -1])
    pulls = (speed[:, None] * loss.gradient(flow.sol(times.ravel()))).reshape(*times.shape, 3)
    moved = 0.5 * np.diff(t)[:, None] * np.einsum("k,ikj->ij", weights, pulls)
    np.testing.assert_allclose(np.diff(warped.gradient(flow.w), axis=0), -moved, atol=1e-9)
    # Without the warp the integral is another.
    plain = (
        0.5 * np.diff(t)[:, None] * np.einsum("k,ikj->ij", weights, pulls / speed.reshape(*times.shape, 1))
    )
    assert np.abs(np.diff(warped.gradient(flow.w), axis=0) + plain).max() > 1e-2


def _root(w, delta):
    return rf.autodiff.anp.sqrt(delta**2 / 4 + rf.autodiff.anp.sum(w**2, axis=-1)) + delta / 2
