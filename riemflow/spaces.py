"""What flows, descents and embeddings ask of any geomstats space, vectorised whether the space is or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from riemflow.errors import DomainError, RiemflowError, ShapeError
from riemflow.validation import MISUSE, as_float, require_inside, short

N_WITNESSES = 3  # random tangent vectors that show a covector not represented, but for a set of measure 0
AGREEMENT = 1e-11  # of the lengths: inner products are rounded, and few spaces keep all digits
NEARBY = 1e-6  # relative: how far off a space its projection is tried
INDEPENDENT = 1e-8  # of the largest: a singular value of the tangent projection below is 0


class RiemannianSpace:
    """A geomstats space with a metric, in coordinates: its tangent spaces, its metric there, its gradients.

    An open set of a linear space, matrices say, gets orthonormal coordinates c of that space and the metric
    g(c) in them; those of R^d are c itself. Any other space is seen in the array that holds its points, and
    its tangent spaces are the images of `to_tangent`. Not every space that users bring takes batches: one
    that does not is asked point by point.

    Parameters
    ----------
    space : geomstats manifold, equipped with a metric

    Attributes
    ----------
    shape, size : the shape of one point and the number of its entries.
    dim : int
    frame : array, shape=[dim, size], or None
        The orthonormal basis of the coordinates; None if the tangent space turns from point to point.

    Raises
    ------
    DomainError
        If the space has no metric, or its tangent space is not had.
    """

    def __init__(self, space: Any):
        self.space, self.name = space, type(space).__name__
        metric = getattr(space, "metric", None)
        if not (hasattr(metric, "inner_product") or hasattr(metric, "metric_matrix")):
            raise DomainError(f"The space {self.name} has no metric: equip it with one.")
        self.dim, self.shape = int(space.dim), tuple(int(n) for n in space.shape)
        self.size = int(np.prod(self.shape))
        self.frame = _constant_frame(space, self.dim, self.size)
        self._one_by_one: set[str] = set()  # what does not take batches, or is not there
        self.projects = False  # whether near its points the space has a projection, tried by `as_point`
        self._induced = True  # whether the metric was the ambient one so far

    @property
    def has_vectors(self) -> bool:
        """Whether points are their own coordinates: arrays of shape (dim,)."""
        return self.shape == (self.dim,)

    def require_vectors(self) -> None:
        """Raise a `ShapeError` unless points are vectors of length dim."""
        if not self.has_vectors:
            raise ShapeError(
                f"The space {self.name} has points of shape {self.shape}, but must have vectors of length "
                f"{self.dim}."
            )

    def as_point(self, name: str, value: Any) -> np.ndarray:
        """Return `value` as one point of the space, or raise a `ShapeError` or `DomainError`."""
        point = as_float(name, value)
        if point.shape != self.shape:
            raise ShapeError(f"{name} has shape {point.shape}, but must be one point of shape {self.shape}.")
        remedy = "move it inside." if self.frame is not None else f"project it: space.projection({name})."
        require_inside(name, point.ravel(), self._belongs, f"the space {self.name}", remedy)
        if self.frame is None:
            self.projects = self._projects_near(point)
        return point

    def _projects_near(self, point: np.ndarray) -> bool:
        """Whether the space's projection takes points near one of its points to near it, as not all do."""
        size = float(np.abs(point).max()) or 1.0
        shift = NEARBY * size * np.random.default_rng(0).uniform(-1.0, 1.0, (N_WITNESSES, self.size))
        near = point.ravel() + shift
        try:
            projected = self._ask("projection", self.space.projection, near, self.shape)
        except (NotImplementedError, AttributeError, DomainError):
            return False
        moved = np.abs(projected.reshape(near.shape) - near)
        return bool(
            (moved <= 10 * NEARBY * size).all() and self._belongs(projected.reshape(near.shape)).all()
        )

    def coordinates(self, points: np.ndarray) -> np.ndarray:
        """c of points, shape=[..., point_shape] -> [..., dim]; where it is curved its entries, [size]."""
        flat = points.reshape(*points.shape[: points.ndim - len(self.shape)], self.size)
        return flat if self.frame is None or self.has_vectors else flat @ self.frame.T

    def points(self, coordinates: np.ndarray) -> np.ndarray:
        """The inverse of `coordinates`; onto a curved space also from nearby, if it `projects`."""
        if self.has_vectors:
            return coordinates
        if self.frame is not None:
            return (coordinates @ self.frame).reshape(*coordinates.shape[:-1], *self.shape)
        if self.projects:
            return self._ask("projection", self.space.projection, coordinates, self.shape)
        return coordinates.reshape(*coordinates.shape[:-1], *self.shape)

    def belongs(self, coordinates: np.ndarray) -> np.ndarray:
        """Membership: shape=[..., dim] -> bool, shape=[...]. Near a curved space every point is projected."""
        if self.frame is None:
            return np.isfinite(coordinates).all(axis=-1)
        return self._belongs(coordinates if self.has_vectors else coordinates @ self.frame)

    def _belongs(self, flat: np.ndarray) -> np.ndarray:
        return self._ask("belongs", self.space.belongs, flat, ()).astype(bool)

    def matrix(self, coordinates: np.ndarray) -> np.ndarray:
        """g(c), shape=[..., dim] -> shape=[..., dim, dim], of a space with a `frame`.

        Raises
        ------
        DomainError
            If the metric has no inner product there.
        """
        d, flat = self.dim, coordinates if self.has_vectors else coordinates @ self.frame
        if self.has_vectors and "no matrix" not in self._one_by_one:
            try:
                return self._ask("g", lambda w: self.space.metric.metric_matrix(base_point=w), flat, (d, d))
            except NotImplementedError:
                self._one_by_one.add("no matrix")
        return self.gram(self.frame, flat.reshape(-1, self.size)).reshape(*flat.shape[:-1], d, d)

    def gram(self, vectors: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Inner products of vectors, shape=[k, size], tangent at all of n points: shape=[n, k, k]."""
        n, k = len(points), len(vectors)
        rows, columns = np.triu_indices(k)
        pairs = (np.tile(vectors[some], (n, 1)) for some in (rows, columns))
        products = self._products(*pairs, np.repeat(points, len(rows), axis=0)).reshape(n, -1)
        gram = np.empty((n, k, k))
        gram[:, rows, columns] = gram[:, columns, rows] = products
        return gram

    def _products(self, a: np.ndarray, b: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Inner products of pairs of tangent vectors at points, all of shape=[m, size]: shape=[m]."""
        a, b, at = (x.reshape(-1, *self.shape) for x in (a, b, points))
        product = self.space.metric.inner_product
        try:
            if "products" not in self._one_by_one:
                try:
                    found = np.asarray(product(a, b, at), dtype=np.float64)
                except NotImplementedError:
                    raise
                except MISUSE:
                    found = None
                if found is not None and found.shape == (len(a),):
                    return found
                self._one_by_one.add("products")
            each = [product(*three) for three in zip(a, b, at, strict=True)]
        except NotImplementedError as error:
            raise DomainError(
                f"The metric of {self.name} has no metric matrix and no inner product ({error}): give g(w) "
                "as a callable."
            ) from error
        return np.array([float(np.reshape(value, ())) for value in each])

    def tangent_frame(self, point: np.ndarray) -> np.ndarray:
        """An orthonormal basis of the tangent space at a point: shape=[point_shape] -> [dim, size]."""
        if self.frame is not None:
            return self.frame
        onto = self._tangent(np.eye(self.size), point)
        if not np.isfinite(onto).all():
            raise DomainError(f"to_tangent of {self.name} gives no finite vectors at {short(point)}.")
        _, values, vectors = np.linalg.svd(onto)
        rank = int((values > INDEPENDENT * values[0]).sum())
        if rank != self.dim:
            raise DomainError(
                f"The tangent space of {self.name} at {short(point)} has dimension {rank} by its to_tangent, "
                f"but the space has dimension {self.dim}."
            )
        return vectors[:rank]

    def _tangent(self, flat: np.ndarray, point: np.ndarray) -> np.ndarray:
        """`to_tangent` of vectors, shape=[k, size], at one point."""
        at = point.reshape(self.shape)

        def to_tangent(v):
            base = np.broadcast_to(at, v.shape).copy()
            return self.space.to_tangent(v, base_point=base)

        return self._ask("to_tangent", to_tangent, flat, self.shape).reshape(-1, self.size)

    def gradient(self, point: np.ndarray, slope: np.ndarray, solve: Callable) -> np.ndarray:
        """The tangent vector v with ``g(v, u) = slope·u`` for all tangent u: all of shape [point_shape].

        Where the metric is the ambient one, that is slope's tangent part, which random tangent vectors
        confirm at the point. Else ``solve(gram, right side)`` solves in a basis of the tangent space.
        """
        flat = slope.ravel()
        if self.frame is None and self._induced:
            witnesses = np.random.default_rng(0).standard_normal((N_WITNESSES, self.size))
            part, *tangents = self._tangent(np.concatenate([flat[None], witnesses]), point)
            tangents = np.array(tangents)
            pair = (np.broadcast_to(part, tangents.shape).copy(), tangents)
            found = self._products(*pair, np.tile(point.ravel(), (len(tangents), 1)))
            lengths = np.linalg.norm(flat) * np.linalg.norm(tangents, axis=-1)
            if (np.abs(found - tangents @ flat) <= AGREEMENT * lengths).all():
                return part.reshape(self.shape)
            self._induced = False
        frame = self.tangent_frame(point)
        if self.frame is not None:
            gram = self.matrix(self.coordinates(point))
        else:
            gram = self.gram(frame, point.reshape(1, -1))[0]
        return (solve(gram, frame @ flat) @ frame).reshape(self.shape)

    def tangent_part(self, point: np.ndarray, slope: np.ndarray) -> np.ndarray:
        """The part of a covector that tangent vectors see: two [point_shape] -> [point_shape]."""
        frame = self.tangent_frame(point)
        return ((frame @ slope.ravel()) @ frame).reshape(self.shape)

    def _ask(self, what: str, function: Callable, flat: np.ndarray, trailing: tuple[int, ...]) -> np.ndarray:
        """A function of points, given flat, shape=[..., size], in one call or, if it takes none, in many."""
        batch = flat.shape[:-1]
        if batch and what not in self._one_by_one:
            try:
                value = np.asarray(function(flat.reshape(*batch, *self.shape)))
            except NotImplementedError:
                raise
            except MISUSE:
                value = None
            if value is not None and value.shape == (*batch, *trailing):
                return value
            self._one_by_one.add(what)
        points = flat.reshape(-1, *self.shape)
        try:
            values = [np.reshape(function(point), trailing) for point in points]
        except (RiemflowError, NotImplementedError, AttributeError):
            raise
        except MISUSE as error:
            raise DomainError(
                f"{what} of the space {self.name} raised {type(error).__name__} ({error}) at a point of "
                f"shape {self.shape}: check the space by space.{what}."
            ) from error
        return np.array(values).reshape((*batch, *trailing))


def _constant_frame(space: Any, dim: int, size: int) -> np.ndarray | None:
    """An orthonormal basis, [dim, size], of the linear space a space is open in; None if it is curved."""
    if dim == size:
        return np.eye(dim)
    for linear in (space, getattr(space, "embedding_space", None)):
        # Linear spaces of geomstats, and they alone, have a basis.
        if linear is None or int(linear.dim) != dim or not hasattr(linear, "basis"):
            continue
        basis = np.asarray(linear.basis, dtype=np.float64).reshape(dim, size)
        return np.linalg.qr(basis.T)[0].T
    return None
