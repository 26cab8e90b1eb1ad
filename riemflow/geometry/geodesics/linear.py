"""Systems of equations by the batch, where one that is singular must not stop the others."""

from __future__ import annotations

import numpy as np


def solve(A: np.ndarray, b: np.ndarray) -> np.ndarray:
    """A⁻¹b for columns b: shapes=[..., d, d], [..., d, m] -> shape=[..., d, m]; NaN where A is singular."""
    try:
        return np.linalg.solve(A, b)
    except np.linalg.LinAlgError:
        rows = A.reshape(-1, *A.shape[-2:])
        columns = np.broadcast_to(b, (*A.shape[:-2], *b.shape[-2:])).reshape(len(rows), *b.shape[-2:])
        out = np.full(columns.shape, np.nan)
        for k, (row, column) in enumerate(zip(rows, columns, strict=True)):
            try:
                out[k] = np.linalg.solve(row, column)
            except np.linalg.LinAlgError:
                continue
        return out.reshape(*A.shape[:-2], *b.shape[-2:])
