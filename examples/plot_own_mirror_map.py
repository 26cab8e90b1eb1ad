"""
A mirror map of your own
========================

R below has no structure riemflow could see, so its embedding is found by the spectral solver.
From a shell, the same check is ``riemflow verify examples/plot_own_mirror_map.py:R``.
"""

import autograd.numpy as np
import matplotlib.pyplot as plt

import riemflow as rf


def value(w):
    """Return a smooth convex function on R²: shape=[..., 2] -> shape=[...]."""
    u, v = w[..., 0], w[..., 1]
    return np.log(1 + np.exp(u) + np.exp(v - 0.5 * u)) + 0.1 * (u**2 + v**2) + 0.05 * np.exp(0.5 * (u - v))


R = rf.LegendreFunction(value, dim=2, name="my mirror map")

if __name__ == "__main__":
    loss = rf.losses.Logistic([[1.0, 2.0], [-0.5, 1.0], [1.0, -1.0]], [1, -1, 1])
    report = rf.verify_reverse(R, loss, [0.2, -0.1], t=3.0)
    print(report)
    assert report.passed
    report.plot()
    plt.show()
