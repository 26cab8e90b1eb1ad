"""
The Beta family
===============

The log-partition function of the Beta distributions, ``R(a, b) = lnΓ(a) + lnΓ(b) - lnΓ(a + b)``, has the
Fisher information as its Hessian. riemflow knows no closed form of an embedding, so the spectral solver finds
one in R⁵. Maximum likelihood by natural gradient flow is mirror flow of R, and gradient flow in R⁵.
"""

import autograd.numpy as anp
import matplotlib.pyplot as plt
import numpy as np
from autograd.scipy.special import gammaln

import riemflow as rf
from riemflow.plotting import plot_convergence


def log_partition(w):
    """Log of the Beta function: shape=[..., 2] -> shape=[...]."""
    return gammaln(w[..., 0]) + gammaln(w[..., 1]) - gammaln(w[..., 0] + w[..., 1])


R = rf.LegendreFunction(log_partition, 2, domain=lambda w: (w > 0).all(axis=-1), name="Beta family")
K = rf.Box([0.5, 0.5], [3.5, 3.5])
F = rf.embed(R, K, tol=1e-9)
print(F)
assert F.certificate.passed
print(F.certificate.bound)

# %%
# The solver climbs a ladder of degrees until the defect off the fitted points is within the tolerance.
plot_convergence(F)

# %%
# Maximum likelihood
# ------------------
# For data z in (0, 1) the negative log-likelihood is R(w) - w·t, up to a constant, with t the mean of
# (ln z, ln(1 - z)). Its natural gradient flow starts from the uniform distribution, w = (1, 1).
z = np.random.default_rng(0).beta(2.5, 1.2, 400)
t = np.array([np.log(z).mean(), np.log(1 - z).mean()])
likelihood = rf.losses.Loss(lambda w: log_partition(w) - anp.sum(w * t, axis=-1), 2)
mirror = rf.mirror_flow(R, likelihood, [1.0, 1.0], 8.0)
G = F.parametrization()
through = rf.gradient_flow(G, likelihood, F([1.0, 1.0]), 8.0)
gap = np.abs(through.w[-1] - mirror.w[-1]).max()
print(f"estimate {mirror.w[-1]}, by gradient flow in R⁵ {gap:.0e} from it")
# At the maximum ∇R(w) = t; the dual flow approaches it as μ(t) - t = e^{-t} (μ(0) - t).
left = (R.gradient(mirror.w[-1]) - t) / (R.gradient([1.0, 1.0]) - t)
print(f"of ∇R(w) - t is left {left}, and e^(-8) is {np.exp(-8):.3e}")
assert gap < 1e-6 and np.allclose(left, np.exp(-8), rtol=1e-3)

# %%
# The statistical manifold with the path of the estimate, as far as three dimensions show it.
F.plot([mirror])
plt.show()
