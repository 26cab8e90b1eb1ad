"""The starting map of the spectral solver: linear and isometric at the centre, slightly curved."""

from __future__ import annotations

import numpy as np

from riemflow.embedding.spectral_basis import ChebyshevBasis


def starting_coefficients(
    basis: ChebyshevBasis, metric: np.ndarray, ambient_dim: int, seed: int
) -> np.ndarray:
    """Return F's first coefficients: shape=[N, D]; `metric` is g in the coordinates u, at u = 0.

    The first d components are g^{1/2} u. The spare ones bend: each holds one quadratic monomial
    of size 0.3 √(mean eigenvalue), since without curvature in the normal directions the linearised
    isometry equations cannot be solved (they are singular at a flat map). Small random cubics
    break what symmetry is left.
    """
    d = basis.dim
    rng = np.random.default_rng([seed, 2])
    values, vectors = np.linalg.eigh(metric)
    coefficients = np.zeros((basis.size, ambient_dim))
    position = {tuple(a): k for k, a in enumerate(basis.indices)}
    # The linear functions u_i have index e_i.
    linear = np.array([position[tuple(row)] for row in np.eye(d, dtype=int)])
    coefficients[linear, :d] = (vectors * np.sqrt(values)) @ vectors.T
    size = 0.3 * np.sqrt(values.mean())
    quadratic = [k for k, a in enumerate(basis.indices) if a.sum() == 2]
    spare = ambient_dim - d
    if spare:
        # T_2 = 2u² - 1 is halved so that all monomials enter with the same size.
        amount = np.array([0.5 if basis.indices[k].max() == 2 else 1.0 for k in quadratic])
        if spare >= len(quadratic):
            mix = np.eye(len(quadratic), spare)
        else:
            mix = np.linalg.qr(rng.standard_normal((len(quadratic), spare)))[0]
        coefficients[quadratic, d:] = size * amount[:, None] * mix
    cubic = [k for k, a in enumerate(basis.indices) if a.sum() == 3]
    coefficients[cubic] = 0.02 * size * rng.standard_normal((len(cubic), ambient_dim))
    return coefficients
