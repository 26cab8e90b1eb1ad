"""Geodesics between two points: the path of least energy among piecewise polynomials, by a Newton method.

The discrete energy ½ Σ_k ω_k |w'(t_k)|²_g is minimised, which is collocation of the geodesic equation at the
inner nodes of each element. Its Hessian in covariant form, ``∫ |D_t δ|² - ⟨R(δ, w')w', δ⟩``, takes third
derivatives of R only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from riemflow.geometry.geodesics.elements import Elements, elements
from riemflow.geometry.geodesics.linear import solve

# Numbers of elements and their degrees, each finer than the one before.
LADDER = ((1, 10), (1, 15), (1, 22), (2, 22), (4, 22), (8, 22), (16, 22))
# Where two rungs agree to this, relative to the length, the finer one is far better yet: errors fall
# geometrically in the degree, and twice as many elements about square them. Then what is left is rounding.
AGREED, AGREED_HALVED = 1e-10, 2e-9
ROUNDING = 1e-13  # of an energy
SETTLED = 1e-9  # Newton decrement, relative to the length, after which one step more is below rounding
MOST_STEPS, MOST_HALVINGS = 60, 40
MANY = 8  # elements
ENTRIES = 20_000_000  # numbers held at once


class Paths:
    """n paths w0 + t δ + u(t) on one grid, with their energies: infinite where a node lies outside dom R.

    What belongs to nodes is kept element by element, those at joints twice: shape=[n, E, N+1, ...].
    Another metric than ∇²R overrides `_metric`, `_change` and `_bilinear`.
    """

    arrays: tuple[str, ...] = ("w0", "step", "u", "w", "v", "g", "p", "energy")

    def __init__(self, R: Any, grid: Elements, w0: np.ndarray, step: np.ndarray, u: np.ndarray):
        self.R, self.grid, self.w0, self.step, self.u = R, grid, w0, step, u
        inner = u[:, grid.index]
        self.w = w0[:, None, None] + grid.t[grid.index][..., None] * step[:, None, None] + inner
        self.v = step[:, None, None] + grid.D @ inner
        inside = np.asarray(R._belongs(self.w)).all(axis=(1, 2))
        self.g = np.full((*self.w.shape, w0.shape[-1]), np.inf)
        self.g[inside] = self._metric(inside)
        self.p = (self.g @ self.v[..., None])[..., 0]
        energy = 0.5 * np.einsum("k,neki,neki->n", grid.weights, self.v, self.p)
        self.energy = np.where(inside & np.isfinite(energy), energy, np.inf)

    def _metric(self, inside: np.ndarray) -> np.ndarray:
        """g along the paths that are inside."""
        return self.R._hessian(self.w[inside])

    def _change(self) -> tuple[np.ndarray, np.ndarray]:
        """How g changes along the paths, for `_bilinear`, and the derivatives of ½ g(w', w') by w."""
        change = self.R._third_along(self.w, self.v)
        return change, 0.5 * (change @ self.v[..., None])[..., 0]

    def _bilinear(self, change: np.ndarray, curved: bool) -> tuple[np.ndarray, np.ndarray]:
        """A and B of the second variation ``∫ g(δ', δ') + 2 δ'ᵀA δ + δᵀB δ``, curvature left out or not."""
        if curved:
            # The squared part of |D_t δ|² and the curvature's, -¼ ∇³R[v] g⁻¹ ∇³R[v], cancel.
            force = change @ self.v[..., None]
            bend = self.R._third_along(self.w, solve(self.g, force)[..., 0])
        else:
            bend = change @ solve(self.g, change)
        return 0.5 * change, 0.25 * bend

    def __getitem__(self, rows: np.ndarray) -> Paths:
        part = object.__new__(type(self))
        part.R, part.grid = self.R, self.grid
        for name in self.arrays:
            setattr(part, name, getattr(self, name)[rows])
        return part

    def replace(self, rows: np.ndarray, other: Paths) -> None:
        """Take over the rows of another set of paths."""
        for name in self.arrays[2:]:
            getattr(self, name)[rows] = getattr(other, name)

    def forces(self) -> tuple[np.ndarray, np.ndarray]:
        """How g changes along the paths, and the energy's derivatives by the nodes, [n, E N + 1, d]."""
        change, force = self._change()
        weights = self.grid.weights[:, None]
        local = self.grid.D.T @ (weights * self.p) + weights * force
        slope = np.zeros(self.u.shape)
        for k, nodes in enumerate(self.grid.index):
            slope[:, nodes] += local[:, k]
        return change, slope

    def newton_step(self) -> tuple[np.ndarray, np.ndarray]:
        """The Newton step, [n, E N + 1, d], and its decrement: its length, relative to that of the path."""
        change, slope = self.forces()
        inner = slope[:, 1:-1].reshape(len(slope), -1, 1)
        step = -solve(self._hessian(change, curved=True), inner)
        decrement = -(step * inner).sum(axis=(1, 2))
        bad = ~(decrement > 0) & (inner != 0).any(axis=(1, 2))
        if bad.any():
            # Beyond a conjugate point, or far from a geodesic: what is left without curvature is positive.
            part = self[bad]
            step[bad] = -solve(part._hessian(change[bad], curved=False), inner[bad])
            decrement[bad] = -(step[bad] * inner[bad]).sum(axis=(1, 2))
        full = np.zeros(self.u.shape)
        full[:, 1:-1] = step.reshape(full[:, 1:-1].shape)
        return full, np.sqrt(np.maximum(decrement, 0.0) / (2.0 * self.energy))

    def _hessian(self, change: np.ndarray, curved: bool) -> np.ndarray:
        """By the inner nodes, shape=[n, (E N - 1) d, (E N - 1) d]."""
        grid, (n, _, m, d), total = self.grid, self.w.shape, len(self.grid.t)
        across, square = self._bilinear(change, curved)
        mixed = np.einsum("lj,nelab->nejalb", grid.weights[:, None] * grid.D, across)
        local = (grid.products @ self.g.reshape(n, -1, m, d * d)).reshape(n, -1, m, m, d, d).swapaxes(3, 4)
        local = local + mixed + mixed.transpose(0, 1, 4, 5, 2, 3)
        i = np.arange(m)
        local[:, :, i, :, i] += np.moveaxis(grid.weights[:, None, None] * square, 2, 0)
        if grid.count == 1:
            H = local[:, 0]
        else:
            H = np.zeros((n, total, d, total, d))
            for k, nodes in enumerate(grid.index):
                part = slice(nodes[0], nodes[-1] + 1)
                H[:, part, :, part] += local[:, k]
        return H[:, 1:-1, :, 1:-1].reshape(n, (total - 2) * d, (total - 2) * d)

    def initial_velocity(self) -> np.ndarray:
        """w'(0) from the momentum -∂E/∂w(0), which is more accurate than the polynomial's derivative."""
        _, slope = self.forces()
        return -solve(self.g[:, 0, 0], slope[:, 0, :, None])[..., 0]


def minimise(paths: Paths) -> np.ndarray:
    """Move paths, in place, to where their energy is least; return which arrived, bool, shape=[n].

    A path that its degree cannot follow creeps, so that low degrees are left soon.
    """
    settled = np.zeros(len(paths.u), bool)
    active = np.flatnonzero(np.isfinite(paths.energy))
    for _ in range(min(len(paths.grid.t), MOST_STEPS)):
        if len(active) == 0:
            break
        here = paths if len(active) == len(paths.u) else paths[active]
        step, decrement = here.newton_step()
        usable = np.isfinite(step).all(axis=(1, 2))
        length, left = np.ones(len(active)), np.flatnonzero(usable)
        for _ in range(MOST_HALVINGS):
            if len(left) == 0:
                break
            moved = here.u[left] + length[left, None, None] * step[left]
            trial = type(paths)(paths.R, paths.grid, here.w0[left], here.step[left], moved)
            drop = 1e-4 * length[left] * decrement[left] ** 2
            # At the end the energy's own rounding would decide.
            low = trial.energy <= here.energy[left] * (1.0 - drop + ROUNDING)
            good = low | ((decrement[left] <= SETTLED) & np.isfinite(trial.energy))
            paths.replace(active[left[good]], trial if good.all() else trial[good])
            left = left[~good]
            length[left] *= 0.5
        stuck = ~usable
        stuck[left] = True
        done = (decrement <= SETTLED) & (length == 1.0) & ~stuck
        settled[active[done]] = True
        active = active[~done & ~stuck]
    return settled


def joined(R: Any, q: np.ndarray, w: np.ndarray, kind: type[Paths] = Paths) -> tuple[np.ndarray, np.ndarray]:
    """Return initial velocities at w of geodesics to q, [n, d], and which were found, bool, [n].

    R is a LegendreFunction for `Paths`, and what other kinds of paths are made from.
    """
    found, velocity, step = np.zeros(len(w), bool), np.full(w.shape, np.inf), q - w
    active, before = np.arange(len(w)), None
    u = np.zeros((len(w), 1, w.shape[-1]))
    with np.errstate(all="ignore"):
        for count, degree in LADDER:
            grid = elements(count, degree)
            # The straight line first, which stays inside; then what the rung before has found.
            onto = np.ones((len(grid.t), 1)) if before is None else before.interpolation(grid.t)
            settled, u = np.zeros(len(active), bool), onto @ u
            size = max(1, ENTRIES // (len(grid.t) * w.shape[-1]) ** 2)
            for first in range(0, len(active), size):
                part = slice(first, first + size)
                rows = active[part]
                settled[part], agreed = _climb(
                    kind(R, grid, w[rows], step[rows], u[part]), u[part], velocity, rows
                )
                found[rows[agreed]] = True
            # Where many elements cannot follow, more would not.
            again = ~found[active] & (settled | (count < MANY))
            u, before = np.where(settled[:, None, None], u, 0.0)[again], grid
            active = active[again]
            if len(active) == 0:
                break
    return velocity, found


def _climb(
    paths: Paths, u: np.ndarray, velocity: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Minimise on one rung, in place in u and velocity[rows]; return what settled, and agrees with before."""
    lost = np.flatnonzero(~np.isfinite(paths.energy))
    if len(lost):
        # A coarse path may leave dom R between its nodes.
        line = np.zeros(u[lost].shape)
        paths.replace(lost, type(paths)(paths.R, paths.grid, paths.w0[lost], paths.step[lost], line))
    settled = minimise(paths)
    # Next to the boundary rounding may leave even the line outside.
    new, inside = np.full(velocity[rows].shape, np.inf), np.isfinite(paths.energy)
    new[inside] = paths[inside].initial_velocity()
    change = new - velocity[rows]
    gap = np.sqrt(np.einsum("ni,nij,nj->n", change, paths.g[:, 0, 0], change))
    u[:], velocity[rows] = paths.u, new
    agreed = AGREED if paths.grid.count == 1 else AGREED_HALVED
    return settled, settled & (gap <= agreed * np.sqrt(2.0 * paths.energy))
