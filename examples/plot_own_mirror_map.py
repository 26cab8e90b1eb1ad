"""
A mirror map of your own
========================

R below has no structure riemflow could see, so its embedding is found by the spectral solver.
From a shell, the same check is ``riemflow verify examples/plot_own_mirror_map.py:R``; an embedding is kept by
``riemflow embed examples/plot_own_mirror_map.py:R --lower=-1,-1 --upper 1,1 --save F.npz``.
"""

import tempfile
from pathlib import Path

import autograd.numpy as np
import matplotlib.pyplot as plt

import riemflow as rf
from riemflow.plotting import plot_convergence


def value(w):
    """Return a smooth convex function on R²: shape=[..., 2] -> shape=[...]."""
    u, v = w[..., 0], w[..., 1]
    return np.log(1 + np.exp(u) + np.exp(v - 0.5 * u)) + 0.1 * (u**2 + v**2) + 0.05 * np.exp(0.5 * (u - v))


R = rf.LegendreFunction(value, dim=2, name="my mirror map")

# %%
# The flow through the embedding's inverse, against the mirror flow
# -----------------------------------------------------------------
if __name__ == "__main__":
    loss = rf.losses.Logistic([[1.0, 2.0], [-0.5, 1.0], [1.0, -1.0]], [1, -1, 1])
    report = rf.verify_reverse(R, loss, [0.2, -0.1], t=3.0)
    print(report)
    assert report.passed
    report.plot()
    plt.show()

# %%
# One embedding for many flows, kept in a file
# --------------------------------------------
# The file holds no code, so R is given again; its metric is compared with that in the file.
if __name__ == "__main__":
    F = rf.embed(R, rf.Box([-1.0, -1.0], [1.0, 1.0]), tol=1e-9)
    with tempfile.TemporaryDirectory() as folder:
        F = rf.load_embedding(F.save(Path(folder) / "F"), R)
    print(F.certificate)
    assert F.certificate.passed
    starts = [[-0.8, -0.6], [0.0, 0.7], [0.7, -0.7]]
    F.plot([rf.mirror_flow(R, loss, start, 0.3) for start in starts])
    plot_convergence(F)
    plt.show()
