"""Pictures show the flows, witnesses and embeddings they say they show."""

import autograd.numpy as anp
import matplotlib.pyplot as plt
import numpy as np
import pytest

import riemflow as rf
from riemflow.commuting.classification import classify
from riemflow.legendre import NegativeEntropy
from riemflow.losses import Linear, Piecewise
from riemflow.plotting import draw_schedules, draw_witness, plot_convergence
from riemflow.plotting.embeddings import _grid

A, B = np.array([0.3, -0.2]), np.array([-0.1, 0.4])
ORDERS = [Piecewise([1.0], [Linear(A), Linear(B)]), Piecewise([1.0], [Linear(B), Linear(A)])]


@pytest.fixture
def axes():
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


def test_two_orders_of_a_commuting_parametrization_are_drawn_to_one_end(axes):
    """w = x² under the losses a·w and b·w, in either order: w(t) = w0 exp(-4 ∫∇L dt)."""
    x_init = np.array([1.0, 0.5])
    flows = draw_schedules(axes, rf.parametrizations.Hadamard(2), ORDERS, x_init, 2.0)
    first, first_end, second, second_end, start = (line.get_xydata() for line in axes.lines)
    np.testing.assert_allclose(start[0], x_init**2)
    for path, end, c in ((first, first_end, A), (second, second_end, B)):
        np.testing.assert_allclose(path[0], start[0])
        np.testing.assert_allclose(path[200], x_init**2 * np.exp(-4 * c), rtol=1e-8)  # after one unit of time
        np.testing.assert_allclose(path[-1], x_init**2 * np.exp(-4 * (A + B)), rtol=1e-8)
        np.testing.assert_allclose(end[0], path[-1])
    assert len(flows) == 2 and np.abs(first - second).max() > 0.1


def test_a_witness_is_drawn_with_its_gap(axes):
    G, x_init = rf.parametrizations.MatrixFactorization(2, 2), [1.0, 0.2, -0.3, 0.8]
    witness = classify(G, x_init).witness
    assert witness is not None
    flows = draw_witness(axes, G, witness, x_init)
    for k, flow in enumerate(flows):
        np.testing.assert_allclose(axes.lines[2 * k + 1].get_xydata()[0], witness.w[k, :2], atol=1e-7)
        np.testing.assert_allclose(flow.w[-1], witness.w[k], atol=1e-7)
    assert f"{witness.gap:.2g} apart" in axes.get_title()


def test_a_witness_of_another_start_or_parametrization_is_refused(axes):
    G, x_init = rf.parametrizations.MatrixFactorization(2, 2), [1.0, 0.2, -0.3, 0.8]
    witness = classify(G, x_init).witness
    assert witness is not None
    with pytest.raises(rf.DomainError, match="that it was found with"):
        draw_witness(axes, G, witness, [1.0, 0.2, -0.3, 0.81])
    with pytest.raises(rf.ShapeError, match="d = 1"):
        draw_schedules(axes, rf.parametrizations.Hadamard(1), [Linear([1.0])], [1.0], 1.0)  # type: ignore


# Embeddings.

SQUARE = rf.Box([-1.0, -0.5], [1.0, 0.5])


def plain(w):
    return anp.log(1 + anp.sum(anp.exp(w), axis=-1)) + 0.05 * anp.sum(w**2, axis=-1)


R = rf.LegendreFunction(plain, 2, name="plain")


@pytest.fixture(scope="module")
def surface():
    return rf.embed(R, SQUARE, tol=1e-7)


@pytest.fixture
def drawn():
    """Return a function that closes all figures in the end and returns a figure's axes."""
    yield lambda figure: figure.axes
    plt.close("all")


def lines_of(axes):
    """The paths drawn on the axes, without their ends."""
    lines = [line.get_data_3d() if hasattr(line, "get_data_3d") else line.get_data() for line in axes.lines]
    return [np.transpose(line) for line in lines if len(line[0]) > 1]


def length(line):
    return np.linalg.norm(np.diff(line, axis=0), axis=1).sum()


def test_a_path_is_drawn_with_its_riemannian_length(drawn):
    """In R³ nothing is lost by the picture: ∫√(ẇᵀ∇²R ẇ) dt, from R alone, is the length of what is drawn."""
    F = rf.embed(R, SQUARE, tol=1e-7, ambient_dim=3)
    s = np.linspace(0, 1, 2001)[:, None]
    w = np.concatenate([-0.9 + 1.7 * s, 0.4 * np.cos(4 * s)], axis=1)
    axes, bar = drawn(F.plot(w))
    (line,) = lines_of(axes)
    step, middle = np.diff(w, axis=0), 0.5 * (w[1:] + w[:-1])
    expected = np.sqrt(np.einsum("ni,nij,nj->n", step, R.hessian(middle), step)).sum()
    assert length(line) == pytest.approx(expected, rel=1e-5)
    assert "projected" not in axes.get_title() and "metric defect" in bar.get_ylabel()


def test_a_projection_says_how_much_it_shows(surface, drawn):
    axes, _ = drawn(surface.plot())
    x = surface(grid := np.stack(np.meshgrid(*SQUARE_SIDES, indexing="ij"), axis=-1)).reshape(-1, 5)
    spread = np.linalg.eigvalsh(np.cov(x.T))[::-1]
    assert f"{100 * spread[:3].sum() / spread.sum():.1f} % of its variance" in axes.get_title()
    # The share of squared lengths, from differences of what is drawn along random directions.
    _, vectors = np.linalg.eigh(np.cov(x.T))
    frame = vectors[:, -3:]
    w = grid.reshape(-1, 2) * 0.999
    rng, h, rooted = np.random.default_rng(0), 1e-5, np.swapaxes(np.linalg.cholesky(R.hessian(w)), -1, -2)
    shares = []
    for _ in range(10):
        v = np.linalg.solve(rooted, rng.standard_normal((*w.shape, 1)))[..., 0]
        v /= np.sqrt(np.einsum("ni,nij,nj->n", v, R.hessian(w), v))[:, None]
        moved = (surface._fun(w + h * v) - surface._fun(w - h * v)) / (2 * h)
        shares.append(((moved @ frame) ** 2).sum(axis=1) / (moved**2).sum(axis=1))
    said = float(axes.get_title().rpartition(", ")[2].split(" %")[0])
    assert said == pytest.approx(100 * np.mean(shares), abs=0.3) and said < 99.5


SQUARE_SIDES = [np.linspace(a, b, 60) for a, b in zip(SQUARE.lower, SQUARE.upper, strict=True)]


def test_flows_are_drawn_on_the_surface(surface, drawn):
    loss = rf.losses.Linear([0.2, -0.1])
    flows = [rf.mirror_flow(R, loss, start, 0.5) for start in ([0.2, 0.1], [-0.2, -0.3])]
    axes = drawn(surface.plot(flows))[0]
    lines = lines_of(axes)
    # Projected, they are not longer than they are; dense between few output times.
    for flow, line in zip(flows, lines, strict=True):
        assert len(line) > 5 * len(flow.t)
        assert 0.3 * length(surface(flow.w)) < length(line) <= 1.001 * length(surface(flow.sol(flow.t)))
    single = drawn(surface.plot(flows[0]))[0]
    np.testing.assert_allclose(lines_of(single)[0], lines[0])


@pytest.mark.parametrize(
    "region",
    [
        rf.Box([0.5, 0.5], [1.0, 1.0]),
        rf.Ball([1.0, 1.0], 0.5),
        rf.Polytope([[-1.0, 0.0], [0.0, -1.0], [1.0, 1.0]], [-0.1, -0.1, 1.1]),
        rf.BregmanBall(NegativeEntropy(2), [1.0, 1.0], 0.2),
    ],
    ids=["box", "ball", "polytope", "Bregman ball"],
)
def test_the_grid_fills_the_region(region):
    F = rf.embed(NegativeEntropy(2), region)
    w = _grid(F, []).reshape(-1, 2)
    assert region.belongs(w).all()
    low, high = region.bounding_box()  # its sides are reached, corners only nearly
    np.testing.assert_allclose([w.min(axis=0), w.max(axis=0)], [low, high], atol=0.1 * (high - low).max())


@pytest.mark.parametrize("ambient_dim", [1, 2, 4])
def test_curves(ambient_dim, drawn):
    R1 = rf.legendre.NegativeEntropy(1)
    F = rf.embed(R1, rf.Box([0.25], [4.0]), method="spectral", ambient_dim=ambient_dim)
    axes = drawn(F.plot(np.linspace(1.0, 2.0, 50)[:, None]))[0]
    whole, part = lines_of(axes)
    if ambient_dim == 1:  # F against w; F = 2√w up to a constant and the sign
        np.testing.assert_allclose(np.ptp(whole, axis=0), [3.75, 3.0], rtol=1e-9)
    else:
        assert length(whole) == pytest.approx(3.0) and length(part) == pytest.approx(2 * np.sqrt(2) - 2)


def test_convergence_shows_every_fit_and_the_tolerance(surface, drawn):
    left, right = drawn(plot_convergence(surface))
    history = surface.certificate.history
    defects, residuals, tolerance = (line.get_ydata() for line in left.lines)
    assert list(defects) == [fit.defect for fit in history] and list(residuals) == [
        f.residual for f in history
    ]
    assert list(left.lines[0].get_xdata()) == [fit.degree for fit in history]
    assert set(tolerance) == {1e-7} and right.lines[0].get_xdata()[-1] == history[-1].seconds


def test_convergence_of_two_parts_is_two_ladders(drawn):
    F = rf.embed(rf.legendre.product(R, R), rf.Box(-np.ones(4), np.ones(4)), tol=1e-4)
    left = drawn(plot_convergence(F))[0]
    first, _, second, _, _ = (line.get_ydata() for line in left.lines)
    assert [*first, *second] == [fit.defect for fit in F.certificate.history] and len(second) == len(first)


def test_a_loaded_embedding_is_drawn_without_a_defect_it_cannot_know(surface, tmp_path, drawn):
    L = rf.load_embedding(surface.save(tmp_path / "F"))
    assert len(drawn(L.plot(np.array([[0.0, 0.0], [0.1, 0.1]])))) == 1  # no colour bar
    assert len(drawn(plot_convergence(L))) == 2


def test_curvature_is_drawn_as_colour(drawn):
    """The hyperbolic plane with metric 4(dx² + dy²)/y² has curvature -1/4; 3 ln Σe^w is a sphere, r² = 12."""
    plane = rf.embed(rf.legendre.LorentzBarrier(2), rf.Box([-0.6, 0.5], [0.6, 1.6]))
    axes, bar = drawn(plane.plot(color="curvature"))
    assert bar.get_ylabel() == "Gauss curvature"
    np.testing.assert_allclose(bar.get_ylim(), [-0.25, 0.25], rtol=1e-9)
    colours = axes.collections[0].get_facecolors()
    assert (colours[:, 2] > 0.7).all() and (colours[:, 0] < 0.3).all()  # blue, negative
    sphere = rf.embed(3 * rf.legendre.LogSumExp(2), SQUARE)
    axes, bar = drawn(sphere.plot(color="mean curvature"))
    np.testing.assert_allclose(bar.get_ylim(), [0.0, 2 / np.sqrt(12)], rtol=1e-9)
    arc = rf.embed(rf.legendre.LogSumExp(1), rf.Box([-1.0], [1.0]))
    np.testing.assert_allclose(drawn(arc.plot(color="mean curvature"))[1].get_ylim(), [0.0, 0.5], rtol=1e-9)
    with pytest.raises(rf.ShapeError, match="curve has no Gauss curvature"):
        arc.plot(color="curvature")
    with pytest.raises(rf.DomainError, match="'red', but must be one of 'defect'"):
        sphere.plot(color="red")


def test_what_cannot_be_drawn_is_refused(surface, drawn):
    entropy = rf.embed(rf.legendre.NegativeEntropy(2))
    with pytest.raises(rf.ShapeError, match="pass paths"):
        entropy.plot()
    assert len(drawn(entropy.plot(np.array([[0.1, 0.1], [2.0, 1.0]])))) == 2
    with pytest.raises(rf.ShapeError, match="d = 3"):
        rf.embed(rf.legendre.NegativeEntropy(3)).plot()
    with pytest.raises(rf.DomainError, match="outside the boundary"):
        surface.plot(np.array([[0.0, 0.0], [2.0, 0.0]]))
    with pytest.raises(rf.ShapeError, match="shape"):
        surface.plot([np.zeros(2)])
    horseshoe = rf.Tube([[1.0, 1.0], [2.0, 1.0], [2.0, 2.0], [1.0, 2.0]], 0.1)
    with pytest.raises(rf.ShapeError, match="embed a box or a convex region"):
        rf.embed(rf.legendre.NegativeEntropy(2), horseshoe).plot()
    with pytest.raises(rf.RiemflowError, match="no convergence to draw"):
        plot_convergence(entropy)
    open_figures = plt.get_fignums()
    with pytest.raises(rf.ShapeError):
        surface.plot([np.zeros((3, 3))])
    assert plt.get_fignums() == open_figures
