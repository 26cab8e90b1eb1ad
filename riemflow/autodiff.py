"""The only door to autograd: derivatives of functions that a user wrote without giving them.

Those that he does give are compared with differences once.

Functions are batched: they map arrays of shape [..., m] to [...] or [..., k, ...], each batch
row independently, and so do their derivatives. A derivative can be differentiated again.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.core import make_jvp, make_vjp
from autograd.extend import defjvp, defvjp, primitive, vspace
from autograd.tracer import getval, isbox

from riemflow.errors import DomainError
from riemflow.validation import MISUSE, short

Function = Callable[[np.ndarray], np.ndarray]

EPS = np.finfo(np.float64).eps
STEPS = 10.0 ** -np.arange(2.0, 13.0, 2.0)  # relative to each coordinate
AGREEMENT = 1e-4  # relative; differences are better by orders where the step suits

_TRACING = threading.RLock()


def _alone() -> threading.RLock:  # type: ignore[valid-type]
    """The lock under which autograd traces: it counts nested derivatives for all threads together, and one
    thread would take another's for its own. A function gives it out, so that pickles hold no lock."""
    return _TRACING


def _vjp(fun: Function, x: np.ndarray) -> tuple[Callable, Any]:
    with warnings.catch_warnings():
        # A derivative that vanishes identically (the Hessian of a linear function) is no mistake.
        warnings.filterwarnings("ignore", message="Output seems independent of input")
        pair: Any = make_vjp(fun, x)
        return pair


def gradient(fun: Function) -> Function:
    """Return x [..., m] -> ∇f(x) [..., m] for a batched scalar function f: [..., m] -> [...]."""

    def gradient_of_fun(x):
        with _alone():
            pull_back, value = _vjp(fun, x)
            return pull_back(vspace(value).ones())

    return gradient_of_fun


def jacobian(fun: Function, output_axes: int = 1) -> Function:
    """Return the derivative of a batched function with `output_axes` trailing output axes.

    For f: [..., m] -> [..., k] it is [..., k, m]; for f: [..., m] -> [..., k, l], [..., k, l, m].
    One reverse sweep for each output component serves all batch rows.
    """

    def jacobian_of_fun(x):
        with _alone():
            pull_back, value = _vjp(fun, x)
            shape = anp.shape(value)
            batch, out = shape[: len(shape) - output_axes], shape[len(shape) - output_axes :]
            columns = []
            for index in np.ndindex(*out):
                seed = np.zeros(shape)
                seed[(..., *index)] = 1.0
                columns.append(pull_back(seed))
            return anp.reshape(anp.stack(columns, axis=len(batch)), (*batch, *out, x.shape[-1]))

    return jacobian_of_fun


def hessian(fun: Function) -> Function:
    """Return x [..., m] -> ∇²f(x) [..., m, m] for a batched scalar function."""
    return jacobian(gradient(fun))


def third(fun: Function) -> Function:
    """Return x [..., m] -> ∇³f(x) [..., m, m, m] for a batched scalar function."""
    return jacobian(hessian(fun), output_axes=2)


def directional(fun: Function) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return (x, v) -> the derivative of f at x along v, of the shape of f(x), by one forward sweep."""

    def derivative_of_fun(x, v):
        with _alone(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Output seems independent of input")
            return make_jvp(fun, x)(v)[1]

    return derivative_of_fun


def is_traced(x: Any) -> bool:
    """Tell whether autograd is differentiating with respect to x."""
    return isbox(x)


def untraced(x: Any) -> Any:
    """The array that x stands for."""
    while isbox(x):
        x = getval(x)
    return x


@primitive
def chain(x: Any, functions: tuple[Function, ...]) -> Any:
    """functions[0](x), whose derivative is to autograd functions[1](x), and so on down the chain.

    It takes functions that autograd cannot see into to it; they map [..., m] to [..., k, l], say, and then to
    [..., k, l, m] and so on. At the end of the chain autograd is refused.
    """
    if not functions:
        raise NotImplementedError("A derivative of higher order was asked for than is known.")
    return functions[0](x)


def _pull_back(ans: Any, x: Any, functions: tuple[Function, ...]) -> Function:
    def pull_back(g):
        derivative, n = _slope_matrix(g, x, functions)
        flat = anp.reshape(g, (*x.shape[:-1], 1, n))
        return anp.reshape(flat @ derivative, x.shape)

    return pull_back


def _push_forward(v: Any, ans: Any, x: Any, functions: tuple[Function, ...]) -> Any:
    derivative, _ = _slope_matrix(ans, x, functions)
    return anp.reshape(derivative @ v[..., None], anp.shape(ans))


def _slope_matrix(like: Any, x: Any, functions: tuple[Function, ...]) -> tuple[Any, int]:
    """The next function of the chain as matrices, shape=[..., n, m], for n numbers in each value."""
    n = int(np.prod(anp.shape(like)[x.ndim - 1 :]))
    return anp.reshape(chain(x, functions[1:]), (*x.shape[:-1], n, x.shape[-1])), n


defvjp(chain, _pull_back, argnums=[0])
defjvp(chain, _push_forward, argnums=[0])


def has_forward(fun: Function, x: np.ndarray) -> bool:
    """Tell whether autograd has a forward sweep for all that f is made of."""
    try:
        directional(fun)(x, np.ones_like(x))
    except NotImplementedError:
        return False
    return True


def hessian_along(slope: Function) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return (x, v) -> the derivative of ∇²f along v from slope = ∇f: two [..., m] -> [..., m, m].

    Row k is the gradient of (∇²f v)_k, that of f's slope along v; all rows are swept at once. Reverse sweeps
    only: not all of autograd's functions, gammaln for one, know the forward ones.
    """

    def derivative_of_hessian(x, v):
        units = np.broadcast_to(np.eye(x.shape[-1]), (*x.shape, x.shape[-1]))
        rows, along = (np.broadcast_to(a[..., None, :], units.shape).copy() for a in (x, v))
        product = gradient(lambda y: anp.sum(slope(y) * along, axis=-1))
        return gradient(lambda y: anp.sum(product(y) * units, axis=-1))(rows)

    return derivative_of_hessian


def differences(fun: Function, output_axes: int = 1) -> Function:
    """Return x -> the derivative of f: [..., m] -> [..., k] by central differences, shape=[..., k, m].

    For functions that autograd cannot see through; to about 1e-10 of the values where f is smooth.
    """

    def derivative_of_fun(x):
        size = np.abs(x).max(axis=-1, keepdims=True)
        steps = np.cbrt(EPS) * np.maximum(np.abs(x), 0.1 * np.where(size > 0, size, 1.0))
        columns = []
        for i in range(x.shape[-1]):
            shift = np.zeros_like(x)
            shift[..., i] = steps[..., i]
            width = 2 * steps[..., i].reshape(x.shape[:-1] + (1,) * output_axes)
            columns.append((fun(x + shift) - fun(x - shift)) / width)
        return np.stack(columns, axis=-1)

    return derivative_of_fun


def seen_through(
    fun: Function, derivative: Function, points: np.ndarray, belongs: Function, output_axes: int = 1
) -> Function:
    """Return autograd's derivative of a given f, or differences if f is not written for autograd.

    That shows at points, shape=[n, m], where autograd fails or finds another derivative than differences do.
    """
    try:
        check_derivative("", fun, derivative, points, belongs)
    except (DomainError, *MISUSE):
        return differences(fun, output_axes)
    return derivative


def automatic(what: str) -> str:
    """What an automatic derivative is called where it is refused."""
    return f"the automatic {what} (autograd sees only what is written with autograd.numpy)"


def points_near(point: np.ndarray, belongs: Function, n: int = 2) -> np.ndarray:
    """Return up to n points inside a domain some 10 % of each coordinate from one inside it: shape=[k, m].

    A wrong derivative may be right at one point, such as the origin, but not at these.
    """
    rng = np.random.default_rng(0)
    size = np.where(point == 0, np.abs(point).max() or 1.0, np.abs(point))
    shift = 0.2 * size * rng.uniform(0.3, 1.0, (n, len(point))) * rng.choice([-1.0, 1.0], (n, len(point)))
    for _ in range(60):
        inside = np.asarray(belongs(point + shift))
        if inside.all():
            break
        shift[~inside] *= 0.5
    return (point + shift)[np.asarray(belongs(point + shift))]


def check_derivative(
    name: str, fun: Function, derivative: Function, points: np.ndarray, belongs: Function, tangent: Any = None
) -> None:
    """Raise a `DomainError` where a given derivative differs from central differences of its function.

    Along random directions v it compares ``∂f(x) v`` with ``(f(x + hv) - f(x - hv)) / 2h`` for the step h
    whose result changes least with h. What rounding, a large step, a pole or an edge make uncertain is
    allowed for, so that a right derivative passes; where nothing is finite nothing is said.

    Parameters
    ----------
    name : str
        What the derivative is called in the error.
    fun, derivative : callable
        shape=[n, m] -> [n, ...] and [n, ..., m].
    points : array, shape=[n, m]
    belongs : callable, shape=[n, m] -> bool, shape=[n]
    tangent : array, shape=[n, m, m], optional
        Projectors, if only tangential derivatives count.
    """
    n, m = points.shape
    if n == 0:
        return
    v = np.random.default_rng(1).standard_normal((n, m)) * np.where(points == 0, 1.0, np.abs(points))
    if tangent is not None:
        v = np.einsum("nij,nj->ni", tangent, v)
    with np.errstate(all="ignore"):
        given = np.einsum("nom,nm->no", np.asarray(derivative(points), float).reshape(n, -1, m), v)
        slopes, noise = zip(*(_slope(fun, points, h * v, belongs, h) for h in STEPS), strict=True)
        slopes, noise = np.stack(slopes), np.stack(noise)
        doubt = np.abs(np.diff(slopes, axis=0)) + noise[:-1]
        # A difference of exactly 0 beside others that are not has fallen below the values' last digit.
        doubt[(slopes[:-1] == 0) & (slopes != 0).any(axis=0)] = np.inf
        best = np.argmin(np.where(np.isnan(doubt), np.inf, doubt), axis=0)[None]
        slope, doubt = (np.take_along_axis(a, best, axis=0)[0] for a in (slopes[:-1], doubt))
        gap, size = np.abs(given - slope), np.maximum(np.abs(given), np.abs(slope))
        largest = np.nanmax(np.where(np.isnan(size), 0.0, size), axis=-1, keepdims=True)
        wrong = np.argwhere(gap > AGREEMENT * largest + 10 * doubt)
    if len(wrong):
        i, k = wrong[0]
        raise DomainError(
            f"{name} is not the derivative of its function: at {short(points[i])} along {short(v[i])} it "
            f"gives {given[i, k]:.6g}, but differences give {slope[i, k]:.6g}, a relative deviation of "
            f"{gap[i, k] / largest[i, 0]:.2g} (bound {AGREEMENT:.0e}): correct it, or leave it out."
        )


def _slope(fun: Function, points: np.ndarray, step: np.ndarray, belongs: Function, h: float):
    """Central differences and their rounding: shape=[n, m] -> two arrays [n, k]; NaN across an edge."""
    low, high = points - step, points + step
    inside = np.asarray(belongs(low)) & np.asarray(belongs(high))
    low, high = np.where(inside[:, None], low, points), np.where(inside[:, None], high, points)
    a, b = (np.asarray(fun(x), float).reshape(len(x), -1) for x in (low, high))
    noise = EPS * np.maximum(np.abs(a), np.abs(b)).max(axis=-1, keepdims=True) / h
    slope = np.where(inside[:, None], (b - a) / (2 * h), np.nan)
    return slope, np.broadcast_to(noise, slope.shape)
