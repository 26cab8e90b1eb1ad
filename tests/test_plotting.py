"""Pictures of schedules and witnesses show the flows they say they show."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

import riemflow as rf
from riemflow import plotting
from riemflow.commuting.classification import classify
from riemflow.losses import Linear, Piecewise
from riemflow.plotting import draw_schedules, draw_witness

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


@pytest.mark.parametrize(
    "region",
    [
        rf.Box([0.5, 0.5], [1.0, 1.0]),
        rf.Ball([1.0, 1.0], 0.5),
        rf.Polytope([[-1.0, 0.0], [0.0, -1.0], [1.0, 1.0]], [-0.1, -0.1, 1.1]),
        rf.BregmanBall(rf.legendre.NegativeEntropy(2), [1.0, 1.0], 0.2),
    ],
    ids=["box", "ball", "polytope", "Bregman ball"],
)
def test_the_grid_of_a_picture_covers_the_region(region):
    grid = plotting._grid(rf.embed(rf.legendre.NegativeEntropy(2), region), None)
    assert region.belongs(grid).all()
    low, high = region.bounding_box()
    np.testing.assert_allclose(grid.min(axis=(0, 1)), low, atol=0.1 * (high - low).max())
    np.testing.assert_allclose(grid.max(axis=(0, 1)), high, atol=0.1 * (high - low).max())
