"""
Three kinds of straight lines, and a flow
=========================================

A mirror map R makes three kinds of straight lines between two points of its domain: straight in w, straight
in ∇R(w), and the geodesic of the metric ∇²R, which is the shortest. A mirror flow follows none of them in
general; but that of the divergence ``D_R(q, ·)`` is straight in w, that of ``D_R(·, q)`` straight in ∇R(w),
and that of half the squared distance to q runs along the geodesic.
"""

# %%
# Probabilities of three outcomes (`SimplexEntropy`), and normal distributions in natural parameters.

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Ellipse

import riemflow as rf

TIMES = np.linspace(0.0, 1.0, 201)


def lines(R, p, q):
    """The three lines from p to q, and the mirror flow of ½‖w - q‖² from p."""
    space = rf.HessianManifold(R)
    primal, dual = rf.AlphaConnection(space, 1.0), rf.AlphaConnection(space, -1.0)
    times = np.concatenate([[0.0], np.geomspace(1e-2, 1e3, 300)])
    flow = rf.mirror_flow(R, rf.losses.LeastSquares(np.eye(R.dim), q), p, times)
    return {
        "straight in w": primal.geodesic(p, end_point=q)(TIMES),
        "straight in ∇R(w)": dual.geodesic(p, end_point=q)(TIMES),
        "geodesic of ∇²R": space.metric.geodesic(p, end_point=q)(TIMES),
        "mirror flow of ½‖w - q‖²": flow.w,
    }


def length(R, path):
    """The length of a curve, by the midpoint rule."""
    step, middle = np.diff(path, axis=0), 0.5 * (path[1:] + path[:-1])
    return np.sqrt(np.einsum("ni,nij,nj->n", step, R.hessian(middle), step)).sum()


simplex, p, q = rf.legendre.SimplexEntropy(2), np.array([0.9, 0.07]), np.array([0.05, 0.1])
normal, a, b = rf.legendre.Normal(), np.array([-2.0, -0.7]), np.array([2.0, -0.9])

fig, axes = plt.subplots(1, 2, figsize=(10, 4.2), constrained_layout=True)
corners = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [1.0, 0.0]])


def triangle(w):
    """Barycentric coordinates drawn in an equilateral triangle."""
    return np.stack([w[..., 0] + 0.5 * w[..., 1], np.sqrt(0.75) * w[..., 1]], axis=-1)


def half_plane(w):
    """Mean and standard deviation of a normal distribution with natural parameters w."""
    return np.stack([-0.5 * w[..., 0] / w[..., 1], np.sqrt(-0.5 / w[..., 1])], axis=-1)


for ax, R, ends, place, title in (
    (axes[0], simplex, (p, q), triangle, "probabilities"),
    (axes[1], normal, (a, b), half_plane, "normal distributions"),
):
    print(title)
    for name, path in lines(R, *ends).items():
        ax.plot(*place(path).T, label=name, ls="--" if "flow" in name else "-")
        print(f"  {name:<26} length {length(R, path):.4f}")
    ax.plot(*place(np.array(ends)).T, "ko", ms=4)
    ax.set_title(title)
axes[0].plot(*triangle(corners).T, color="0.6", lw=1)
axes[0].set_aspect("equal")
axes[0].axis("off")
axes[1].set(xlabel="mean", ylabel="standard deviation")
axes[1].legend(loc="lower center", fontsize=8)

# %%
# Positive definite matrices (`LogDet`), drawn as ellipses. Straight in w is the arithmetic mean on the way,
# straight in ∇R = -W⁻¹ the harmonic one, and the geodesic the geometric mean of the two.

R, upper = rf.legendre.LogDet(2), np.triu_indices(2)
start = np.array([[4.0, 0.0], [0.0, 0.25]])[upper]
end = np.array([[0.5, 0.4], [0.4, 2.0]])[upper]


def matrix(w):
    return np.array([[w[0], w[1]], [w[1], w[2]]])


fig, axes = plt.subplots(4, 1, figsize=(9, 5.5), constrained_layout=True)
for k, (name, path) in enumerate(lines(R, start, end).items()):
    # Nine points at equal lengths: the flow never arrives.
    steps = np.diff(path, axis=0)
    middles = 0.5 * (path[1:] + path[:-1])
    along = np.cumsum(np.sqrt(np.einsum("ni,nij,nj->n", steps, R.hessian(middles), steps)))
    shown = np.concatenate([[0], 1 + np.searchsorted(along, along[-1] * np.linspace(0.125, 1.0, 8) - 1e-12)])
    for i, w in enumerate(path[np.minimum(shown, len(path) - 1)]):
        values, vectors = np.linalg.eigh(matrix(w))
        width, height = 2 * np.sqrt(values[::-1])
        angle = np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1]))
        axes[k].add_patch(Ellipse((4.2 * i, 0), width, height, angle=angle, fill=False, color=f"C{k}"))
    axes[k].set(xlim=(-2.5, 36), ylim=(-1.8, 1.8), aspect="equal", xticks=[], yticks=[])
    axes[k].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)

middle = rf.HessianManifold(R).metric.geodesic(start, end_point=end)(np.array([0.5]))[0]
print("det at the half of the geodesic", np.linalg.det(matrix(middle)))
print("geometric mean of the dets     ", np.sqrt(np.linalg.det(matrix(start)) * np.linalg.det(matrix(end))))

# %%
# The flows of the two divergences and of half the squared distance are the three lines, to the integrator's
# tolerance. Their gradients are known: ∇²R(w)(w - q), ∇R(w) - ∇R(q) and -∇²R(w) log_w(q).

space = rf.HessianManifold(normal)
metric, primal, dual = space.metric, rf.AlphaConnection(space, 1.0), rf.AlphaConnection(space, -1.0)
losses = {
    "D_R(q, w), straight in w": (
        lambda w: rf.canonical_divergence(space, b, w),
        lambda w: normal.hessian(w) @ (w - b),
        primal,
    ),
    "D_R(w, q), straight in ∇R(w)": (
        lambda w: rf.canonical_divergence(space, w, b),
        lambda w: normal.gradient(w) - normal.gradient(b),
        dual,
    ),
    "½ d(w, q)², the geodesic": (
        lambda w: 0.5 * metric.squared_dist(w, b),
        lambda w: -normal.hessian(w) @ metric.log(b, w),
        metric,
    ),
}
for name, (loss, gradient, connection) in losses.items():
    flow = rf.riemannian_gradient_flow(space, loss, a, np.linspace(0.0, 3.0, 31), gradient=gradient)
    line = connection.geodesic(b, end_point=a)(np.exp(-flow.t))
    gap = np.abs(flow.w - line).max()
    print(f"flow of {name:<29} off its line by {gap:.1e}")
    assert gap < 1e-5
