"""Linear convolutional networks: products of circulant matrices, which one Fourier basis diagonalises."""

from __future__ import annotations

from functools import reduce

import numpy as np

from riemflow.errors import DomainError
from riemflow.parametrizations.parametrization import Parametrization
from riemflow.validation import as_count


class CircularConvolution(Parametrization):
    """``G(f_1, …, f_L) = f_1 ⊛ ⋯ ⊛ f_L``, circular convolution of filters of full length n.

    It is a linear network whose layers are circulant (Gunasekar et al., 2018b; Yun, Krishnan and Mobahi,
    2021). In Fourier space it is a product for each frequency, `ŵ_k = Π_l f̂_lk`, and commutes exactly where
    these are real: for n ≤ 2, or for even filters, f_j = f_{n-j}. At a complex frequency G is a product of
    complex numbers as a map of their real and imaginary parts, which is no mirror flow: the bracket of the
    two fields turns all phases at once, and w with them.

    With `symmetric` the filters are even, and x and w their coordinates in the orthonormal basis of even
    filters: ``f_0 = x_0, f_j = f_{n-j} = x_j / √2``, and ``f_{n/2} = x_{n/2}`` for even n. Then with K the
    orthogonal cosine transform, ``(K w)_k = c_k^{L-1} Π_l (K x_l)_k`` with c_k = √n for k = 0 and k = n/2,
    else √(n/2), and R is a sum of functions of the (K w)_k: for two layers, hyperbolic entropies of
    (K w)_k / c_k as for `HadamardProduct`.

    Regular where at every frequency at most one factor vanishes, which no flow leaves; no point is excluded
    from the domain, `check_regular` tells.

    Parameters
    ----------
    length : int
        n. d = n, or ⌊n/2⌋ + 1 for even filters.
    layers : int
        L; D = L·d.
    symmetric : bool
        Whether the filters are even.

    Raises
    ------
    DomainError
        If a number is not whole, at least 1, or `symmetric` is no bool.
    """

    def __init__(self, length: int, layers: int = 2, symmetric: bool = False):
        self.length, self.layers = as_count("length", length), as_count("layers", layers)
        if not isinstance(symmetric, bool | np.bool_):
            raise DomainError(f"symmetric is {symmetric!r}, but must be True or False.")
        self.symmetric = bool(symmetric)
        n = self.length
        self._basis = _even_filters(n) if symmetric else np.eye(n)  # [n, d]
        d, j = self._basis.shape[1], np.arange(n)
        self._shift = (j[:, None] - j) % n
        name = f"CircularConvolution({n}, layers={self.layers}{', symmetric=True' * self.symmetric})"
        self._define(self.layers * d, d, name=name)

    def filters(self, x: np.ndarray) -> np.ndarray:
        """The filters f_1, …, f_L: shape=[..., D] -> shape=[..., L, n]."""
        return x.reshape(*x.shape[:-1], self.layers, self.dim) @ self._basis.T

    def _convolved(self, filters: np.ndarray, *left_out: int) -> np.ndarray:
        """The convolution of all filters but some: shape=[..., L, n] -> shape=[..., n]."""
        rest = [filters[..., k, :] for k in range(self.layers) if k not in left_out]
        if not rest:
            return np.broadcast_to(np.eye(self.length)[0], (*filters.shape[:-2], self.length))
        return reduce(lambda f, g: (f[..., self._shift] @ g[..., None])[..., 0], rest)

    def _fun(self, x):
        return self._convolved(self.filters(x)) @ self._basis

    def _jacobian(self, x):
        filters, B = self.filters(x), self._basis
        return np.concatenate(
            [B.T @ self._convolved(filters, k)[..., self._shift] @ B for k in range(self.layers)], axis=-1
        )

    def _hessian(self, x):
        filters, B, j, d = self.filters(x), self._basis, np.arange(self.length), self.dim
        shift = (j[:, None, None] - j[:, None] - j) % self.length
        hessian = np.zeros((*x.shape[:-1], d, self.layers, d, self.layers, d))
        for k in range(self.layers):
            for m in range(k):
                block = self._convolved(filters, k, m)[..., shift]
                block = np.einsum("...abc,ai,bj,ck->...ijk", block, B, B, B, optimize=True)
                hessian[..., k, :, m, :] = block
                hessian[..., m, :, k, :] = np.swapaxes(block, -1, -2)
        return hessian.reshape(*x.shape[:-1], d, self.dim_in, self.dim_in)


def _even_filters(n: int) -> np.ndarray:
    """An orthonormal basis of the filters with f_j = f_{n-j}: shape=[n, ⌊n/2⌋ + 1]."""
    basis = np.zeros((n, n // 2 + 1))
    for j in range(n // 2 + 1):
        basis[[j, -j % n], j] = 1.0
    return basis / np.linalg.norm(basis, axis=0)
