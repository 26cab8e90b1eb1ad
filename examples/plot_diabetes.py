"""
Implicit bias on real data
==========================

40 patients of the diabetes table, ten features expanded to degree two: 66 unknowns, 40 equations.
``w = u² - v²`` is trained by gradient flow. Corollary 4.17 of Li, Wang, Lee and Arora (2022) says
where it ends: at the interpolating w with the least hyperbolic entropy. Both are computed here.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

import riemflow as rf

table = load_diabetes()
features = StandardScaler().fit_transform(table.data)[:40]
Z = PolynomialFeatures(degree=2).fit_transform(features)
Y = StandardScaler().fit_transform(table.target[:, None])[:40, 0]
n, d = Z.shape
print(f"{n} samples, {d} unknowns")

# %%
# Gradient flow on the parameters, until it stops moving. (Without ``formulation=`` the limit would be had by
# Newton's method, as it is below.)
alpha = 0.1
G = rf.parametrizations.HadamardDifference(d)
x_init = np.full(2 * d, alpha)
flow = rf.gradient_flow(G, rf.losses.LeastSquares(Z, Y), x_init, np.inf, formulation="parameters", rtol=1e-9)
print(flow)

# %%
# The predicted limit: the minimiser of R among interpolating solutions.
R = rf.legendre.HyperbolicEntropy(x_init[:d], x_init[d:])
best = rf.minimize_bregman(R, np.zeros(d), Z, Y)
limit = flow.w[-1]
gap = np.abs(limit - best.w).max() / np.abs(best.w).max()
print(f"relative gap between the limits {gap:.1e}, largest residual {np.abs(Z @ limit - Y).max():.1e}")
assert gap < 1e-6

# %%
# The limit is sparser than the solution of least Euclidean norm.
order = np.argsort(-np.abs(best.w))
plt.semilogy(np.abs(best.w[order]), "k-", label="minimiser of R, Cor. 4.17")
plt.semilogy(np.abs(limit[order]), "r.", label="limit of the gradient flow")
plt.semilogy(np.sort(np.abs(np.linalg.pinv(Z) @ Y))[::-1], "b:", label="least norm")
plt.xlabel("coordinate, sorted")
plt.ylabel("|w|")
plt.legend()
plt.show()
