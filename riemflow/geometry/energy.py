"""Geodesics between two points: the path of least energy among polynomials, by a Newton method.

Paths are polynomials of degree N through the Lobatto nodes; the discrete energy ½ Σ_k ω_k |w'(t_k)|²_g is
minimised, which is collocation of the geodesic equation at the inner nodes. Its Hessian in covariant form,
``∫ |D_t δ|² - ⟨R(δ, w')w', δ⟩``, takes third derivatives of R only.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.polynomial.legendre import Legendre

from riemflow.geometry.linear import solve
from riemflow.legendre.function import LegendreFunction

DEGREES = (10, 15, 22, 33, 50, 75, 112, 168)
# Errors fall geometrically in the degree: two degrees, one half larger, that agree to this leave the 1.5th
# power of it in the second.
AGREED = 1e-10
ROUNDING = 1e-13  # of an energy
SETTLED = 1e-9  # Newton decrement, relative to the length, after which one step more is below rounding
MOST_STEPS, MOST_HALVINGS = 60, 40
ENTRIES = 20_000_000  # numbers held at once


class Grid(NamedTuple):
    """Lobatto nodes on [0, 1], their weights, the derivative's matrix and products of its rows."""

    t: np.ndarray
    weights: np.ndarray
    D: np.ndarray
    products: np.ndarray  # ω_k D_kj D_kl over inner nodes j, l: shape=[(N-1)², N+1]


@cache
def lobatto(degree: int) -> Grid:
    """Return the grid of N + 1 nodes."""
    P = Legendre.basis(degree)
    slope, bend = P.deriv(), P.deriv(2)
    inner = np.cos(np.pi * np.arange(degree - 1, 0, -1) / degree)
    for _ in range(20):
        # (1 - x²)P'' = 2xP' - N(N+1)P gives P'' at the roots of P' without cancellation.
        inner = inner - slope(inner) / bend(inner)
    x = np.concatenate([[-1.0], inner, [1.0]])
    values = P(x)
    gaps = x[:, None] - x + np.eye(degree + 1)
    D = values[:, None] / values / gaps
    np.fill_diagonal(D, 0.0)
    np.fill_diagonal(D, -D.sum(axis=1))
    D, weights = 2.0 * D, 1.0 / (degree * (degree + 1) * values**2)
    E = D[:, 1:-1]
    products = np.einsum("k,kj,kl->jlk", weights, E, E).reshape(-1, degree + 1)
    return Grid(0.5 * (x + 1.0), weights, D, products)


class Paths:
    """n paths w0 + t δ + u(t) on one grid, with their energies: infinite where a node lies outside dom R."""

    arrays: tuple[str, ...] = ("w0", "step", "u", "w", "v", "g", "p", "energy")

    def __init__(self, R: LegendreFunction, grid: Grid, w0: np.ndarray, step: np.ndarray, u: np.ndarray):
        self.R, self.grid, self.w0, self.step, self.u = R, grid, w0, step, u
        self.w = w0[:, None] + grid.t[:, None] * step[:, None] + u
        self.v = step[:, None] + grid.D @ u
        inside = np.asarray(R._belongs(self.w)).all(axis=-1)
        self.g = np.full((*self.w.shape, w0.shape[-1]), np.inf)
        self.g[inside] = self._metric(inside)
        self.p = (self.g @ self.v[..., None])[..., 0]
        energy = 0.5 * np.einsum("k,nki,nki->n", grid.weights, self.v, self.p)
        self.energy = np.where(inside & np.isfinite(energy), energy, np.inf)

    def _metric(self, inside: np.ndarray) -> np.ndarray:
        return self.R._hessian(self.w[inside])

    def replaced(self, rows: np.ndarray, other: Paths) -> None:
        """Take over the rows of another set of paths."""
        for name in self.arrays[2:]:
            getattr(self, name)[rows] = getattr(other, name)

    def __getitem__(self, rows: np.ndarray) -> Paths:
        part = object.__new__(type(self))
        part.R, part.grid = self.R, self.grid
        for name in self.arrays:
            setattr(part, name, getattr(self, name)[rows])
        return part

    def forces(self) -> tuple[np.ndarray, np.ndarray]:
        """How g changes along the paths, [n, N+1, d, d], and the energy's derivatives, [n, N+1, d]."""
        change = self.R._third_along(self.w, self.v)
        force = (change @ self.v[..., None])[..., 0]
        weights = self.grid.weights[:, None]
        return change, self.grid.D.T @ (weights * self.p) + 0.5 * weights * force

    def newton_step(self) -> tuple[np.ndarray, np.ndarray]:
        """The Newton step, [n, N+1, d], and its decrement: its length, relative to that of the path."""
        change, slope = self.forces()
        inner = slope[:, 1:-1].reshape(len(slope), -1, 1)
        step = -solve(self._hessian(change, curved=True), inner)
        decrement = -(step * inner).sum(axis=(1, 2))
        bad = ~(decrement > 0) & (inner != 0).any(axis=(1, 2))
        if bad.any():
            # Beyond a conjugate point, or far from a geodesic: what is left without curvature is positive.
            rows = np.flatnonzero(bad)
            part = self[rows]
            step[rows] = -solve(part._hessian(change[rows], curved=False), inner[rows])
            decrement[rows] = -(step[rows] * inner[rows]).sum(axis=(1, 2))
        full = np.zeros(self.u.shape)
        full[:, 1:-1] = step.reshape(full[:, 1:-1].shape)
        return full, np.sqrt(np.maximum(decrement, 0.0) / (2.0 * self.energy))

    def _hessian(self, change: np.ndarray, curved: bool) -> np.ndarray:
        weights, D, products = self.grid.weights, self.grid.D, self.grid.products
        n, m, d = self.w.shape
        across, square = self._bilinear(change, curved)
        mixed = np.einsum("lj,nlab->njalb", weights[1:-1, None] * D[1:-1, 1:-1], across[:, 1:-1])
        H = (products @ self.g.reshape(n, m, d * d)).reshape(n, m - 2, m - 2, d, d).swapaxes(2, 3)
        H = H + mixed + mixed.transpose(0, 3, 4, 1, 2)
        i = np.arange(m - 2)
        H[:, i, :, i] += (weights[1:-1, None, None] * square[:, 1:-1]).swapaxes(0, 1)
        return H.reshape(n, (m - 2) * d, (m - 2) * d)

    def _bilinear(self, change: np.ndarray, curved: bool) -> tuple[np.ndarray, np.ndarray]:
        """A and B of the second variation ``∫ g(δ', δ') + 2 δ'ᵀA δ + δᵀB δ``, curvature left out or not."""
        if curved:
            # The squared part of |D_t δ|² and the curvature's, -¼ ∇³R[v] g⁻¹ ∇³R[v], cancel.
            force = change @ self.v[..., None]
            bend = self.R._third_along(self.w, solve(self.g, force)[..., 0])
        else:
            bend = change @ solve(self.g, change)
        return 0.5 * change, 0.25 * bend

    def initial_velocity(self) -> np.ndarray:
        """w'(0) from the momentum -∂E/∂w(0), which is more accurate than the polynomial's derivative."""
        _, slope = self.forces()
        return -solve(self.g[:, 0], slope[:, 0, :, None])[..., 0]


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
            good = trial.energy <= here.energy[left] * (1.0 - drop + ROUNDING)
            paths.replaced(active[left[good]], trial if good.all() else trial[good])
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
    n, d = w.shape
    velocity, found = q - w, np.zeros(n, bool)
    size = max(1, ENTRIES // (DEGREES[2] * d) ** 2)
    for first in range(0, n, size):
        rows = slice(first, first + size)
        velocity[rows], found[rows] = _joined(R, q[rows], w[rows], kind)
    return velocity, found


def _joined(R: Any, q: np.ndarray, w: np.ndarray, kind: type[Paths]) -> tuple[np.ndarray, np.ndarray]:
    found, velocity, step = np.zeros(len(w), bool), np.full(w.shape, np.inf), q - w
    active = np.arange(len(w))
    grid = lobatto(DEGREES[0])
    u = np.zeros((len(w), len(grid.t), w.shape[-1]))  # the straight line, which stays inside
    with np.errstate(all="ignore"):
        for degree in DEGREES:
            finer = lobatto(degree)
            paths = kind(R, finer, w[active], step[active], _interpolation(grid.t, finer.t) @ u)
            lost = np.flatnonzero(~np.isfinite(paths.energy))
            if len(lost):
                # A coarse path may leave dom R between its nodes.
                line = np.zeros(paths.u[lost].shape)
                paths.replaced(lost, kind(R, finer, w[active[lost]], step[active[lost]], line))
            settled = minimise(paths)
            new = paths.initial_velocity()
            change, metric = new - velocity[active], paths.g[:, 0]
            gap = np.sqrt(np.einsum("ni,nij,nj->n", change, metric, change))
            agreed = settled & (gap <= AGREED * np.sqrt(2.0 * paths.energy))
            velocity[active] = new
            found[active[agreed]] = True
            u, grid = np.where(settled[:, None, None], paths.u, 0.0)[~agreed], finer
            active = active[~agreed]
            if len(active) == 0:
                break
    return velocity, found


@cache
def _weights_of(degree: int) -> np.ndarray:
    """Barycentric weights of the Lobatto nodes, up to a factor."""
    x = 2.0 * lobatto(degree).t - 1.0
    return 1.0 / Legendre.basis(degree)(x)


def _interpolation(t: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """The matrix from values at Lobatto nodes t to those at the nodes of another degree."""
    if len(t) == len(onto):
        return np.eye(len(t))
    gaps = onto[:, None] - t
    same = gaps == 0.0
    terms = _weights_of(len(t) - 1) / np.where(same, 1.0, gaps)
    return np.where(same.any(axis=1, keepdims=True), same, terms / terms.sum(axis=1, keepdims=True))
