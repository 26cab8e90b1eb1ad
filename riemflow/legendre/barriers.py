"""Logarithmic barriers of a paraboloid and of the positive definite matrices."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.sparse import issparse

from riemflow.legendre.algebra import Tilted
from riemflow.legendre.function import LegendreFunction, pairings
from riemflow.validation import as_count


class LorentzBarrier(LegendreFunction):
    """R(w) = -ln(w_d - ½ Σ_{i<d} w_i²) above the paraboloid; its metric is hyperbolic space.

    Its gradient fills μ_d < 0, so it is no mirror map. The conjugate is
    ``-‖μ_{<d}‖² / (2μ_d) - 1 - ln(-μ_d)``.

    Parameters
    ----------
    dim : int
        d.
    """

    def __init__(self, dim: int):
        dim = as_count("dim", dim)
        self._flat_part = np.diag(np.append(np.ones(dim - 1), 0.0))
        top = np.append(np.zeros(dim - 1), 1.0)
        self._define(dim, name="LorentzBarrier", interior=top, is_mirror_map=False)

    def _height(self, w: np.ndarray) -> np.ndarray:
        return w[..., -1] - 0.5 * (w[..., :-1] ** 2).sum(axis=-1)

    def _normal(self, w: np.ndarray) -> np.ndarray:
        """The gradient of the height divided by it, shape=[..., d]."""
        normal = np.concatenate([-w[..., :-1], np.ones((*w.shape[:-1], 1))], axis=-1)
        return normal / self._height(w)[..., None]

    def _value(self, w):
        return -np.log(self._height(w))

    def _gradient(self, w):
        return -self._normal(w)

    def _hessian(self, w):
        n = self._normal(w)
        return n[..., :, None] * n[..., None, :] + self._flat_part / self._height(w)[..., None, None]

    def _third(self, w):
        n, P = self._normal(w), self._flat_part
        mixed = np.einsum("ij,...k->...ijk", P, n)
        mixed = mixed + np.einsum("ik,...j->...ijk", P, n) + np.einsum("jk,...i->...ijk", P, n)
        cube = n[..., :, None, None] * n[..., None, :, None] * n[..., None, None, :]
        return -2.0 * cube - mixed / self._height(w)[..., None, None, None]

    def _fourth(self, w):
        n, P = self._normal(w), self._flat_part / self._height(w)[..., None, None]
        nn = n[..., :, None] * n[..., None, :]
        # The pairings of nn with itself are all n⊗n⊗n⊗n.
        return 2.0 * pairings(nn, nn) + 2.0 * (pairings(nn, P) + pairings(P, nn)) + pairings(P, P)

    def _third_along(self, w, v):
        n, P = self._normal(w), self._flat_part
        along = (n * v).sum(axis=-1)[..., None, None]
        cross = (v @ P)[..., :, None] * n[..., None, :]
        mixed = along * P + cross + np.swapaxes(cross, -1, -2)
        return -2.0 * along * n[..., :, None] * n[..., None, :] - mixed / self._height(w)[..., None, None]

    def _belongs(self, w):
        with np.errstate(all="ignore"):
            return np.isfinite(w).all(axis=-1) & (self._height(w) > 0)

    def _make_conjugate(self):
        return LorentzConjugate(self)


class LorentzConjugate(LegendreFunction):
    """R*(μ) = -‖y‖² / (2m) - 1 - ln(-m) on m < 0, for μ = (y, m): the conjugate of `LorentzBarrier`."""

    def __init__(self, base: LorentzBarrier):
        self.base = base
        bottom = base._gradient(base.domain.interior)
        self._define(base.dim, name="LorentzConjugate", interior=bottom, is_mirror_map=False)

    def _make_conjugate(self):
        return self.base

    @staticmethod
    def _split(w: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return y [..., d-1], v = -1/m [...] (the height of the primal point) and ‖y‖² [...]."""
        y = w[..., :-1]
        return y, -1.0 / w[..., -1], (y * y).sum(axis=-1)

    def _value(self, w):
        _, v, y2 = self._split(w)
        return 0.5 * v * y2 - 1.0 + np.log(v)

    def _gradient(self, w):
        y, v, y2 = self._split(w)
        return np.concatenate([v[..., None] * y, (v * (0.5 * v * y2 + 1.0))[..., None]], axis=-1)

    def _hessian(self, w):
        y, v, y2 = self._split(w)
        hessian = v[..., None, None] * self.base._flat_part
        cross = (v * v)[..., None] * y
        hessian[..., :-1, -1] = cross
        hessian[..., -1, :-1] = cross
        hessian[..., -1, -1] = v * v * (v * y2 + 1.0)
        return hessian

    def _third(self, w):
        y, v, y2 = self._split(w)
        third = np.zeros((*w.shape, self.dim, self.dim))
        block = (v * v)[..., None, None] * np.eye(self.dim - 1)
        cross = 2.0 * (v**3)[..., None] * y
        third[..., :-1, :-1, -1] = block
        third[..., :-1, -1, :-1] = block
        third[..., -1, :-1, :-1] = block
        third[..., :-1, -1, -1] = cross
        third[..., -1, :-1, -1] = cross
        third[..., -1, -1, :-1] = cross
        third[..., -1, -1, -1] = v**3 * (3.0 * v * y2 + 2.0)
        return third

    def _fourth(self, w):
        y, v, y2 = self._split(w)
        fourth = np.zeros((*w.shape, self.dim, self.dim, self.dim))
        block = 2.0 * (v**3)[..., None, None] * np.eye(self.dim - 1)
        cross = 6.0 * (v**4)[..., None] * y
        rest = slice(None, -1)
        for i, j in combinations(range(4), 2):
            # ∂²/∂m² of the part δ_ij v of the Hessian, with y in the places i and j.
            fourth[(..., *(rest if k in (i, j) else -1 for k in range(4)))] = block
        for i in range(4):
            fourth[(..., *(rest if k == i else -1 for k in range(4)))] = cross
        fourth[..., -1, -1, -1, -1] = v**4 * (12.0 * v * y2 + 6.0)
        return fourth

    def _belongs(self, w):
        return np.isfinite(w).all(axis=-1) & (w[..., -1] < 0)


class LogDet(LegendreFunction):
    """R(w) = -ln det S(w) on positive definite S, with w the upper triangle of S row by row.

    That is ``w = S[np.triu_indices(n)]``. A measurement tr(A S) with symmetric A is z·w, z that of A with the
    entries off the diagonal doubled.

    d = n(n+1)/2. An off-diagonal coordinate stands in two entries of S, so its gradient is
    ``-2 (S^{-1})_{ij}``, and the conjugate is ``-n - ln det M(μ)`` with ``M_ii = -μ_ii`` and
    ``M_ij = -μ_ij / 2``. The gradient fills M > 0 only, so R is no mirror map.

    Parameters
    ----------
    n : int
        Size of the matrix.
    """

    def __init__(self, n: int):
        self.n = as_count("n", n)
        self._rows, self._columns = np.triu_indices(self.n)
        self._diagonal = self._rows == self._columns
        self._entries = np.where(self._diagonal, 1.0, 2.0)  # how many of S a coordinate stands in
        places = np.zeros((self.n, self.n), int)
        places[self._rows, self._columns] = np.arange(len(self._rows))
        self._places = np.maximum(places, places.T)
        interior = self._diagonal.astype(float)
        self._define(len(interior), name="LogDet", interior=interior, is_mirror_map=False)

    def _matrix(self, w: np.ndarray) -> np.ndarray:
        """S(w), symmetric: shape=[..., d] -> shape=[..., n, n]."""
        return w[..., self._places]

    def _whitening(self, w: np.ndarray) -> np.ndarray:
        """L^{-1} for S = L Lᵀ: shape=[..., d] -> shape=[..., n, n]."""
        return np.linalg.solve(np.linalg.cholesky(self._matrix(w)), np.eye(self.n))

    def _whitened_basis(self, w: np.ndarray) -> np.ndarray:
        """L^{-1} B_a L^{-T} for the coordinates' matrices B_a, with one or two entries: [..., d, n, n]."""
        inverse = self._whitening(w)
        left = np.swapaxes(inverse[..., self._rows], -1, -2)
        right = np.swapaxes(inverse[..., self._columns], -1, -2)
        C = left[..., :, None] * right[..., None, :]
        return np.where(self._diagonal[:, None, None], C, C + np.swapaxes(C, -1, -2))

    def _value(self, w):
        factor = np.linalg.cholesky(self._matrix(w))
        return -2.0 * np.log(np.diagonal(factor, axis1=-2, axis2=-1)).sum(axis=-1)

    def _gradient(self, w):
        if w.ndim == 1:  # one matrix, as in a flow: LAPACK itself, a third of the time
            factor, failed = dpotrf(self._matrix(w), lower=1)
            if failed:
                raise np.linalg.LinAlgError("Matrix is not positive definite")
            return dpotri(factor, lower=1)[0][self._columns, self._rows] * -self._entries
        inverse = self._whitening(w)
        inverse = np.swapaxes(inverse, -1, -2) @ inverse
        return inverse[..., self._rows, self._columns] * -self._entries

    def _gram_root(self, w, rows):
        rows = rows.toarray() if issparse(rows) else rows
        inverse = self._whitening(w)
        # The rows as symmetric matrices: Σ_a z_a B_a has the entries of z.
        return (inverse @ self._matrix(rows) @ inverse.T).reshape(len(rows), -1).T

    def _gram(self, w, rows):
        root = self._gram_root(w, rows)
        return root.T @ root

    def _hessian(self, w):
        C = self._whitened_basis(w).reshape(*w.shape, self.n * self.n)
        return C @ np.swapaxes(C, -1, -2)

    def _third(self, w):
        C = self._whitened_basis(w)
        return -2.0 * np.einsum("...aij,...bjk,...cki->...abc", C, C, C, optimize=True)

    def _fourth(self, w):
        # tr(C_a C_b C_c C_d) over the six cyclic orders, which are pairwise the same read backwards.
        C = self._whitened_basis(w)
        d, n2 = self.dim, self.n * self.n
        product = C[..., :, None, :, :] @ C[..., None, :, :, :]
        left = product.reshape(*w.shape[:-1], d * d, n2)
        right = np.swapaxes(product, -1, -2).reshape(*w.shape[:-1], d * d, n2)
        trace = (left @ np.swapaxes(right, -1, -2)).reshape(*w.shape, d, d, d)
        abdc, acbd = np.swapaxes(trace, -1, -2), np.swapaxes(trace, -2, -3)
        return 2.0 * (trace + abdc + acbd)

    def _third_along(self, w, v):
        C = self._whitened_basis(w)
        flat = C.reshape(*w.shape, self.n * self.n)
        # tr(C_a V C_b) + tr(V C_a C_b), V = Σ v_c C_c: each is half of it, since all are symmetric.
        turned = (np.einsum("...c,...cij->...ij", v, C)[..., None, :, :] @ C).reshape(flat.shape)
        change = flat @ np.swapaxes(turned, -1, -2)
        return -(change + np.swapaxes(change, -1, -2))

    def _belongs(self, w):
        with np.errstate(all="ignore"):
            # Scaled to ones on the diagonal, so that matrices of any units are judged alike.
            S = self._matrix(w)
            diagonal = np.diagonal(S, axis1=-2, axis2=-1)
            scale = 1.0 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
            S = scale[..., :, None] * S * scale[..., None, :]
            finite = np.isfinite(S).all(axis=(-2, -1))
            # Below rounding the sign of an eigenvalue, and whether Cholesky succeeds, is an accident.
            least = np.linalg.eigvalsh(np.where(finite[..., None, None], S, 0.0))[..., 0]
            return finite & (diagonal > 0).all(axis=-1) & (least > self.n * np.finfo(float).eps)

    def _make_conjugate(self):
        dual = LogDet(self.n).compose(np.diag(np.where(self._diagonal, -1.0, -0.5)))
        return Tilted(dual, np.zeros(self.dim), -float(self.n))
