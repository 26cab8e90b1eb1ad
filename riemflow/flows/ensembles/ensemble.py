"""Many cases of one computation: on one or many machines, with what failed reported and the rest kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from riemflow.errors import DomainError
from riemflow.flows.ensembles.backends import check_backend, run_cases
from riemflow.flows.ensembles.case_file import CaseFile
from riemflow.flows.ensembles.cases import MISSING, CaseResult, as_cases, fingerprint
from riemflow.validation import as_count

if TYPE_CHECKING:
    import pandas
    import xarray


@dataclass(frozen=True)
class Ensemble:
    """The results of many cases, in their order.

    ``ens[k]`` is the `CaseResult` of case k, ``ens["w"]`` what all have under that name, shape=[m, …]:
    shorter arrays are filled up with NaN, and so are cases without.

    Attributes
    ----------
    cases : tuple
        The arguments of each case.
    results : tuple of CaseResult
    status : str
        "finished"; "partly-failed": some case is not good; "interrupted": by the user, some not run.
    message : str
    stats : mapping
        backend, n_loaded (cases taken from the file), seconds.
    """

    cases: tuple[Any, ...]
    results: tuple[CaseResult, ...]
    status: str
    message: str
    stats: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[CaseResult]:
        return iter(self.results)

    def __getitem__(self, key: int | str) -> Any:
        if not isinstance(key, str):
            return self.results[key]
        if key in ("status", "message", "traceback", "seconds"):
            return np.array([getattr(r, key) for r in self.results])
        if any(key in r.texts for r in self.results):
            return np.array([r.texts.get(key, "") for r in self.results])
        arrays = [r.values.get(key) for r in self.results]
        found = [a for a in arrays if a is not None]
        if not found:
            raise KeyError(f"no case has {key!r}, only {', '.join(self.names) or 'nothing'}")
        if len({a.ndim for a in found}) > 1:
            raise DomainError(f"{key} has {sorted({a.ndim for a in found})} axes in different cases.")
        shape = np.max([a.shape for a in found], axis=0, initial=0).astype(int) if found[0].ndim else ()
        table = np.full((len(arrays), *shape), np.nan)
        for k, array in enumerate(arrays):
            if array is not None:
                table[(k, *map(slice, array.shape))] = array
        return table

    @property
    def names(self) -> tuple[str, ...]:
        """What the cases have, in order of appearance."""
        return tuple(dict.fromkeys(name for r in self.results for name in (*r.values, *r.texts)))

    @property
    def good(self) -> np.ndarray:
        """Whether each case did what was asked: bool, shape=[m]."""
        return np.array([r.good for r in self.results])

    def to_pandas(self) -> pandas.DataFrame:
        """A table with one row a case: what of its arguments and results is one number or text.

        Needs pandas: ``pip install 'riemflow[tables]'``.
        """
        from riemflow.flows.ensembles.tables import to_pandas

        return to_pandas(self)

    def to_xarray(self) -> xarray.Dataset:
        """All results as a dataset over the axis "case", with the arguments as its coordinates.

        A flow's t, w, x and mu have the axes step, i (weights) and j (parameters); an argument called like a
        result is ``case_`` and its name. Needs xarray: ``pip install 'riemflow[tables]'``.
        """
        from riemflow.flows.ensembles.tables import to_xarray

        return to_xarray(self)

    def __repr__(self) -> str:
        backend = self.stats["backend"] or "this process"
        return f"Ensemble({self.status}: {self.message}; {backend}, {self.stats['seconds']:.2f} s)"


def ensemble(
    flow_function: Callable[..., Any],
    cases: Any,
    *,
    backend: str | None = None,
    n_jobs: int = -1,
    seed: int | None = None,
    path: Any = None,
    progress: bool = False,
) -> Ensemble:
    """Call ``flow_function(**case)`` for all cases, side by side, and gather the results.

    A case that raises is reported and the others go on. The cases whose worker process died are run again, in
    the end each by itself; a case whose worker has died three times is given up. BLAS is held to one thread,
    so that results are the same to the last bit on every backend of one kind of machine.

    Parameters
    ----------
    flow_function : callable
        Returns a `Flow` or another result, or a mapping of names to numbers, arrays and texts. What is kept
        are numbers and texts: flows lose their dense output.
    cases : list of mappings, mapping of arrays, or list of single arguments
        Keyword arguments of each case; arrays (or lists) by name, with one entry for each case; or a list of
        anything else, such as starts of shape [m, d], passed as the only argument.
    backend : None, "loky", "threading" or "dask"
        This process, one case after the other; processes on this machine; threads, which gain little, since
        Python runs one at a time, but start at once and share memory; the cluster of the current Dask client.
    n_jobs : int
        How many cases run at once; -1: one a core, or all threads of the cluster. One job of "loky" or
        "threading" is this process.
    seed : int, optional
        Gives each case a ``numpy.random.Generator`` of its own as the argument ``rng``, child k of the seed:
        the same whatever the backend, the order or the other cases.
    path : path, optional
        An .npz file for the results, written while they come in and read at the start: only what is missing
        is run. It knows cases by their arguments (and place, with a seed), not the function: for another
        one take another file. Cases that raised without a partial result count as missing.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Ensemble

    Raises
    ------
    DomainError, ShapeError
        For bad input, a function that cannot be sent to other processes, or no Dask client.
    FileFormatError
        If path is a file that no ensemble wrote, or a damaged one.
    OSError
        If the file cannot be written; `partial` is the ensemble, if it came to that.
    ImportError
        If what the backend needs is not installed.
    KeyboardInterrupt
        On an interrupt, with the ensemble so far as `partial`.
    """
    if not callable(flow_function):
        raise DomainError(f"flow_function is a {type(flow_function).__name__}, but must be callable.")
    found = as_cases(cases)
    check_backend(backend, flow_function)
    if n_jobs != -1:
        as_count("n_jobs", n_jobs)
    seeds: list[Any] = [None] * len(found)
    if seed is not None:
        entropy = as_count("seed", seed, least=0)
        seeds = [(entropy, k) for k in range(len(found))]
    results = [CaseResult("not-run") for _ in found]
    file = None
    if path is not None:
        keys = [fingerprint(case, child) for case, child in zip(found, seeds, strict=True)]
        file = CaseFile(path, keys)
        results = [file.results.get(key, unknown) for key, unknown in zip(keys, results, strict=True)]
    tasks = {k: (found[k], seeds[k]) for k, r in enumerate(results) if r.status in MISSING}
    n_loaded = len(found) - len(tasks)
    began, interrupted = time.perf_counter(), False

    def so_far() -> Ensemble:
        stats = {"backend": backend, "n_loaded": n_loaded, "seconds": time.perf_counter() - began}
        return gathered(found, results, interrupted, stats)

    try:
        with tqdm(
            total=len(found), initial=n_loaded, disable=not progress, desc="ensemble", unit=" cases"
        ) as bar:
            for k, result in run_cases(flow_function, tasks, backend, n_jobs):
                if result.status == "interrupted":
                    raise KeyboardInterrupt
                results[k] = result
                bar.update()
                if not result.good:
                    bar.set_postfix_str(f"{sum(not r.good for r in results if r.status != 'not-run')} failed")
                if file is not None:
                    file.add(k, result)
        if file is not None:
            file.save()
    except KeyboardInterrupt as interrupt:
        interrupted = True
        if file is not None:
            file.save()
        told: Any = KeyboardInterrupt(str(so_far().message))
        told.partial = so_far()
        raise told from interrupt
    except BaseException as error:
        error.partial = so_far()  # type: ignore[attr-defined]
        if file is not None and not isinstance(error, OSError):
            file.save()
        raise
    return so_far()


def gathered(cases: list[Any], results: list[CaseResult], interrupted: bool, stats: dict) -> Ensemble:
    """Put results together and say how it went."""
    bad = [k for k, r in enumerate(results) if not r.good]
    message = f"{len(results) - len(bad)} of {len(results)} cases good"
    if bad:
        first = results[bad[0]]
        what = f": {first.message}" if first.message else ""
        message += f"; case {bad[0]} is {first.status!r}{what}"
    if stats["n_loaded"]:
        message += f"; {stats['n_loaded']} from the file"
    status = "interrupted" if interrupted else "partly-failed" if bad else "finished"
    return Ensemble(tuple(cases), tuple(results), status, message, stats)
