"""Where the cases of an ensemble run: here, in threads, in other processes, or on a Dask cluster."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from pickle import PicklingError
from typing import Any

from joblib import Parallel, delayed
from joblib.externals.loky.backend.reduction import dumps

from riemflow.errors import DomainError
from riemflow.flows.ensembles.cases import CaseResult, run_case

BACKENDS = (None, "loky", "threading", "dask")
ALONE = 2  # deaths of a worker that a case may have caused, after which it is run by itself
AHEAD = 2  # cases handed out for each worker
Function = Callable[..., Any]
Task = tuple[Any, Any]  # a case and its seed
Numbered = Iterator[tuple[int, CaseResult]]


def check_backend(backend: Any, function: Function) -> None:
    """Raise a `DomainError` or ImportError if the function cannot be run there."""
    if backend not in BACKENDS:
        names = ", ".join(map(repr, BACKENDS))
        raise DomainError(f"backend is {backend!r}, but must be one of {names}.")
    if backend == "dask":
        if importlib.util.find_spec("distributed") is None:
            raise ImportError("backend='dask' needs the package distributed: pip install 'riemflow[dask]'.")
        from distributed import default_client

        try:
            default_client()
        except ValueError as error:
            raise DomainError(
                "backend='dask' runs on the cluster of the current Dask client, but there is none: make one "
                "with distributed.Client(...)."
            ) from error
    if backend in ("loky", "dask"):
        try:
            dumps(function)
        except Exception as error:
            raise DomainError(
                f"The function cannot be sent to other processes ({type(error).__name__}: {error}). Make "
                "what it holds inside of it, or use backend='threading'."
            ) from error


def run_cases(function: Function, tasks: dict[int, Task], backend: str | None, n_jobs: int) -> Numbered:
    """Run all tasks; give out their numbers and results as they are done, in any order."""
    if backend is None:
        return ((k, run_case(function, case, seed)) for k, (case, seed) in tasks.items())
    if backend == "dask":
        return _on_dask(function, tasks, n_jobs)
    return _with_joblib(function, tasks, backend, n_jobs)


def _with_joblib(function: Function, tasks: dict[int, Task], backend: str, n_jobs: int) -> Numbered:
    left, deaths = dict(tasks), Counter()
    while left:
        # When a worker dies the whole pool goes down, and the cases that were in it are all suspects. They
        # are run again in a new one, and by themselves when that has not cleared them.
        suspects = [k for k in left if deaths[k] >= ALONE]
        handed: list[int] = []

        def calls(batch: Iterable[int], handed: list[int] = handed):
            for k in batch:
                handed.append(k)
                yield delayed(_numbered)(function, k, *tasks[k])

        # Without batches or long queues, so that a death throws suspicion on few.
        pool = Parallel(
            n_jobs,
            backend=backend,
            return_as="generator_unordered",
            batch_size=1,
            mmap_mode="c",  # a large argument can be written to as a small one can, without effect elsewhere
            pre_dispatch=f"{AHEAD}*n_jobs",
        )
        try:
            for k, result in pool(calls(suspects[:1] or list(left))):
                del left[k]
                yield k, result
        except PicklingError as error:
            raise DomainError(
                f"A case cannot be sent to other processes ({error}). Make what it holds inside of the "
                "function, or use backend='threading'."
            ) from error
        except BrokenProcessPool as error:
            for k in left.keys() & set(handed):
                deaths[k] += 1
            if suspects:
                del left[suspects[0]]
                yield suspects[0], _died(f"its worker died {deaths[suspects[0]]} times", error)


def _on_dask(function: Function, tasks: dict[int, Task], n_jobs: int) -> Numbered:
    """Run tasks on the current client's cluster.

    Not by joblib's backend for Dask, which waits forever for a task whose worker died too often. The
    scheduler itself runs a task again when its worker dies, and gives it up at the fourth time, although the
    death may have been another's fault: such tasks are tried once more, each by itself.
    """
    from distributed import default_client

    client = default_client()
    window = AHEAD * max(1, sum(client.ncores().values())) if n_jobs == -1 else n_jobs
    killed = []
    for k, result in _in_window(client, function, tasks, window):
        if result.status == "worker-died":
            killed.append(k)
        else:
            yield k, result
    yield from _in_window(client, function, {k: tasks[k] for k in killed}, 1)


def _in_window(client: Any, function: Function, tasks: dict[int, Task], window: int) -> Numbered:
    """Run tasks with no more than so many handed to the scheduler at a time."""
    from distributed import KilledWorker, as_completed

    left, running = list(tasks.items())[::-1], {}

    def submit() -> Any:
        k, (case, seed) = left.pop()
        future = client.submit(run_case, function, case, seed, pure=False)
        running[future] = k
        return future

    done = as_completed([submit() for _ in range(min(window, len(left)))])
    try:
        for future in done:
            k = running.pop(future)
            try:
                result = future.result()
            except KilledWorker as error:
                result = _died("its worker died time after time", error)
            future.release()
            if left:
                done.add(submit())
            yield k, result
    finally:
        client.cancel(list(running))


def _died(message: str, error: Exception) -> CaseResult:
    return CaseResult("worker-died", message, f"{type(error).__name__}: {error}")


def _numbered(function: Function, k: int, case: Any, seed: Any) -> tuple[int, CaseResult]:
    return k, run_case(function, case, seed)
