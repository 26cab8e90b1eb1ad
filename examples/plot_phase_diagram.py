"""
Phase diagram of sparse regression
==================================

``w = u² - v²``, started at u = v = α, is trained on n random measurements of a k-sparse vector of length d.
Woodworth et al. (2020) found that the scale α of the start decides how many measurements are needed. By
Corollary 4.17 of Li, Wang, Lee and Arora (2022) the flow ends where the hyperbolic entropy R_α is least:
nearly an ℓ₁ norm for small α, which finds sparse vectors from few measurements, and nearly an ℓ₂ norm for
large α, which does not. Every point of the diagram is the median of eight cases of an ensemble.
"""

import matplotlib.pyplot as plt
import numpy as np

import riemflow as rf

D, SPARSITY, DRAWS = 40, 3, 8


# %%
# One case
# --------
# The limit comes from the convex problem in R^n instead of the flow. ``rng`` belongs to the case: the same
# numbers on every machine. Data are made inside, so that a case is two numbers and travels light.
def regression(n, alpha, rng):
    Z, truth = rng.standard_normal((n, D)) / np.sqrt(n), np.zeros(D)
    truth[rng.choice(D, SPARSITY, replace=False)] = rng.choice([-1.0, 1.0], SPARSITY)
    R = rf.legendre.HyperbolicEntropy(np.full(D, alpha), np.full(D, alpha))
    limit = rf.minimize_bregman(R, np.zeros(D), Z, Z @ truth)
    error = np.linalg.norm(limit.w - truth) / np.linalg.norm(truth)
    return {"status": limit.status, "error": error, "residual": limit.residual}


# %%
# All cases on two cores
# ----------------------
# ``backend="loky"`` runs them in processes on this machine. On many machines only the backend changes: inside
# ``with distributed.Client(address):`` it is ``backend="dask"``. With ``path="sweep.npz"`` the sweep could be
# interrupted and taken up again.
samples, scales = np.arange(4, 40, 3), np.logspace(-4, 1, 11)
cases = [{"n": int(n), "alpha": alpha} for n in samples for alpha in scales for _ in range(DRAWS)]
found = rf.ensemble(regression, cases, backend="loky", n_jobs=2, seed=0)
print(found)
error = found["error"].reshape(len(samples), len(scales), DRAWS)
table = np.nanmedian(error, axis=-1)
assert found.good.all() and found["residual"].max() < 1e-9

# %%
# The diagram
# -----------
# Small starts recover the vector from a third of d measurements, large ones not even from 37 of 40.
recovered = table < 0.05
needed = [int(samples[np.argmax(column)]) if column.any() else D for column in recovered.T]
print("measurements needed, by α:", {f"{alpha:.0e}": n for alpha, n in zip(scales, needed, strict=True)})
assert needed[0] <= 0.5 * D < needed[-1] and table[5, 0] < 0.1 * table[5, -1]

figure, axes = plt.subplots(figsize=(6.5, 4.2), layout="constrained")
image = axes.pcolormesh(scales, samples, np.log10(np.maximum(table, 1e-4)), shading="nearest")
axes.set(xscale="log", xlabel="scale of the start α", ylabel="measurements n")
axes.set_title(f"median error of the limit, d = {D}, {SPARSITY} nonzeros")
figure.colorbar(image, label="log₁₀ relative error")
axes.contour(scales, samples, table, levels=[0.05], colors="white")
plt.show()
