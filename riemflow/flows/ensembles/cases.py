"""One case of an ensemble: how its function is called, and what is kept of the result."""

from __future__ import annotations

import hashlib
import os
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from riemflow.errors import DomainError, ShapeError
from riemflow.flows.solution import GOOD

# Without a result worth keeping: run again on resumption.
MISSING = ("not-run", "raised", "worker-died", "interrupted")


@dataclass(frozen=True)
class CaseResult:
    """What came of one case. Its quantities are attributes as well: ``case.w``.

    Attributes
    ----------
    status : str
        That of the flow; "finished" if the result has none. "raised": the function raised, with nothing
        attached; "worker-died": so did the process it ran in, time after time; "not-run".
    message : str
    traceback : str
        What was raised: its type, text and the lines it came through. Empty if nothing was.
    values : mapping of str to float64 array
        The numbers of the result, by name: t, w, x, mu and the stats of a flow.
    texts : mapping of str to str
        Its texts, such as formulation.
    seconds : float
    """

    status: str
    message: str = ""
    traceback: str = ""
    values: Mapping[str, np.ndarray] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        """Whether the case did what was asked."""
        return self.status in GOOD

    def __getattr__(self, name: str) -> np.ndarray:
        if not name.startswith("_") and name != "values" and name in self.values:
            return self.values[name]
        raise AttributeError(f"this case has no {name!r}: its status is {self.__dict__.get('status')!r}")

    def __repr__(self) -> str:
        names = ", ".join(self.values)
        return f"CaseResult({self.status}: {self.message}; {names or 'nothing kept'}, {self.seconds:.2f} s)"


def as_cases(cases: Any) -> list[Any]:
    """Return a list of cases: mappings of arguments, or single arguments.

    Raises
    ------
    DomainError
        If it is neither a sequence nor a mapping of columns, or empty.
    ShapeError
        If the columns' lengths differ.
    """
    if isinstance(cases, Mapping):
        cases = {name: _column(column) for name, column in cases.items()}
        lengths = {name: None if column is None else len(column) for name, column in cases.items()}
        if len(set(lengths.values())) != 1 or None in lengths.values():
            raise ShapeError(
                f"cases is a mapping of columns, which need one entry for each case, but have lengths "
                f"{lengths} (None: no array or list)."
            )
        n = next(iter(lengths.values())) or 0
        found: list[Any] = [{name: column[k] for name, column in cases.items()} for k in range(n)]
    elif (
        isinstance(cases, Sequence) or (isinstance(cases, np.ndarray) and cases.ndim != 0)
    ) and not isinstance(cases, str | bytes):
        found = list(cases)
    else:
        raise DomainError(
            f"cases is a {type(cases).__name__}, but must be a list of mappings (or of single arguments), or "
            "a mapping of arrays with an entry for each case."
        )
    if not found:
        raise DomainError("cases is empty: there is nothing to run.")
    return found


def _column(column: Any) -> Any:
    """A list, tuple or array as it is, another column of a table, such as a pandas Series, as an array."""
    if isinstance(column, list | tuple):
        return column
    array = np.asarray(column)
    return array if array.ndim else None


def fingerprint(case: Any, seed: tuple[int, int] | None) -> str:
    """Return a digest of a case's arguments, the same in every process, by which a file knows it.

    Raises
    ------
    DomainError
        If an argument is neither numbers, text nor a collection of them.
    """
    digest = hashlib.sha256(b"" if seed is None else repr(seed).encode())

    def feed(name: str, value: Any) -> None:
        if value is None or isinstance(value, str):
            digest.update(f"{name}:{value!r};".encode())
        elif isinstance(value, Mapping):
            digest.update(f"{name}:{{".encode())
            for key in sorted(value, key=str):
                feed(str(key), value[key])
            digest.update(b"}")
        else:
            array = numeric(value)
            if array is not None:
                digest.update(f"{name}:{array.shape};".encode() + np.ascontiguousarray(array).tobytes())
                exact = np.asarray(value)
                if exact.dtype.kind in "iu" and (np.abs(array) >= 2.0**53).any():
                    digest.update(repr(exact.tolist()).encode())  # float64 does not tell them apart
            elif isinstance(value, int):
                digest.update(f"{name}:{value};".encode())
            elif isinstance(value, list | tuple):
                digest.update(f"{name}:[".encode())
                for k, item in enumerate(value):
                    feed(str(k), item)
                digest.update(b"]")
            else:
                raise DomainError(
                    f"The argument {name} of a case is a {type(value).__name__}, by which a file cannot tell "
                    "cases apart: pass numbers, arrays or names, and make it inside the function."
                )

    feed("case", case)
    return digest.hexdigest()


def run_case(function: Callable[..., Any], case: Any, seed: tuple[int, int] | None) -> CaseResult:
    """Call the function on a case, with a generator of its own if there is a seed; keep what can be kept.

    Whatever it raises is reported, interrupts excepted; an exit is that of the case.
    """
    began = time.perf_counter()
    extra = {}
    if seed is not None:
        # Child number k of the seed, as SeedSequence.spawn makes it: it depends on no other case.
        entropy, k = seed
        extra = {"rng": np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=(k,)))}
    try:
        with _one_thread():
            result = function(**case, **extra) if isinstance(case, Mapping) else function(case, **extra)
        status, message, values, texts = _kept(result)
        trace = ""
    except (Exception, SystemExit) as raised:
        trace = "".join(traceback.format_exception(raised)).rstrip()
        status, message, values, texts = _partly_kept(getattr(raised, "partial", None))
        if status in GOOD:  # of a result that was raised
            status = "raised"
        message = message or f"{type(raised).__name__}: {_text(raised)}"
    return CaseResult(status, message, trace, values, texts, time.perf_counter() - began)


def _partly_kept(partial: Any) -> tuple[str, str, dict[str, np.ndarray], dict[str, str]]:
    """`_kept` of what an exception carries, nothing if it can not be kept."""
    if partial is not None and not isinstance(partial, np.ndarray):
        with suppress(DomainError):
            return _kept(partial)
    return "raised", "", {}, {}


def _text(raised: BaseException) -> str:
    try:
        return str(raised)
    except Exception:  # an exception that cannot be printed is still reported
        return "(its text cannot be made)"


def _kept(result: Any) -> tuple[str, str, dict[str, np.ndarray], dict[str, str]]:
    """Take apart a flow, another dataclass, a mapping, or numbers: status, message, numbers, texts."""
    if result is None:
        raise DomainError("The function returned None, of which nothing is kept: is a `return` missing?")
    given = isinstance(result, Mapping)
    if given:
        items = dict(result)
    elif is_dataclass(result) and not isinstance(result, type):
        items = {f.name: getattr(result, f.name) for f in fields(result) if not f.name.startswith("_")}
        stats = items.pop("stats", {})
        items = {**{k: v for k, v in stats.items() if k != "seconds"}, **items}
    else:
        items, given = {"value": result}, True
    status, message = str(items.pop("status", "finished")), str(items.pop("message", ""))
    values, texts = {}, {}
    taken = [name for name in ("traceback", "seconds") if name in items]
    if taken and given:
        raise DomainError(f"The function returned {taken[0]}, which is what a case itself has: rename it.")
    for name, value in items.items():
        array = numeric(value)
        if array is not None:
            values[str(name)] = array
        elif isinstance(value, str):
            texts[str(name)] = value
        elif given and value is not None:
            raise DomainError(
                f"The function returned {name} of type {type(value).__name__}, but an ensemble keeps "
                "numbers, arrays of them, and texts: return a Flow, another result, or a mapping of those."
            )
    return status, message, values, texts


def numeric(value: Any) -> np.ndarray | None:
    """Return numbers as a float64 array, None for anything else."""
    if value is None or isinstance(value, str | bytes | Mapping):
        return None
    try:
        array = np.asarray(value)
    except ValueError:
        return None
    return array.astype(np.float64) if array.dtype.kind in "fiub" else None


@cache
def _controller(process: int) -> ThreadpoolController:
    return ThreadpoolController()


class _Users:
    """How many cases this process is running, and what gives BLAS its threads back after the last."""

    def __init__(self):
        self.lock, self.count, self.limiter = threading.Lock(), 0, None


@cache
def _users(process: int) -> _Users:
    return _Users()


@contextmanager
def _one_thread():
    """Keep BLAS to one thread: cases run side by side, and sums are to come out alike on every backend."""
    users = _users(os.getpid())
    with users.lock:
        users.count += 1
        if users.count == 1:
            users.limiter = _controller(os.getpid()).limit(limits=1)
    try:
        yield
    finally:
        with users.lock:
            users.count -= 1
            if users.count == 0:
                users.limiter.restore_original_limits()
