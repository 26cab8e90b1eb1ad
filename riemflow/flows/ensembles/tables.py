"""An ensemble as a table: pandas for one number a case, xarray for arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from riemflow.flows.ensembles.cases import numeric

if TYPE_CHECKING:
    from riemflow.flows.ensembles.ensemble import Ensemble

# The axes of what flows and descents give, by name and number of axes.
STEP, WEIGHT, PARAMETER = "step", "i", "j"
AXES = {
    ("t", 1): (STEP,),
    ("steps", 1): (STEP,),
    ("w", 2): (STEP, WEIGHT),
    ("mu", 2): (STEP, WEIGHT),
    ("x", 2): (STEP, PARAMETER),
    ("w", 1): (WEIGHT,),
}
OWN = ("status", "message", "traceback", "seconds")


def to_pandas(ensemble: Ensemble) -> Any:
    """Return the table of `Ensemble.to_pandas`."""
    import pandas

    columns: dict[str, Any] = {}
    for name, column in _arguments(ensemble).items():
        if column.ndim == 1:
            columns[name] = column
    for name in (*OWN, *_results(ensemble)):
        column = ensemble[name]
        if column.ndim == 1:
            columns[name] = column
    return pandas.DataFrame(columns, index=pandas.RangeIndex(len(ensemble), name="case"))


def to_xarray(ensemble: Ensemble) -> Any:
    """Return the dataset of `Ensemble.to_xarray`."""
    import xarray

    lengths = {"case": len(ensemble)}

    def with_axes(name: str, array: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
        axes = AXES.get((name, array.ndim - 1), tuple(f"{name}_{k}" for k in range(array.ndim - 1)))
        if any(lengths.setdefault(axis, n) != n for axis, n in zip(axes, array.shape[1:], strict=True)):
            axes = tuple(f"{name}_{k}" for k in range(array.ndim - 1))
        return ("case", *axes), array

    coordinates = {name: with_axes(name, column) for name, column in _arguments(ensemble).items()}
    # "case" is the axis.
    variables = {
        name if name != "case" else "case_value": with_axes(name, ensemble[name])
        for name in (*OWN, *_results(ensemble))
    }
    coordinates["case"] = (("case",), np.arange(len(ensemble)))
    return xarray.Dataset(variables, coordinates)


def _results(ensemble: Ensemble) -> list[str]:
    return [name for name in ensemble.names if name not in OWN]


def _arguments(ensemble: Ensemble) -> dict[str, np.ndarray]:
    """The arguments that all cases have and that are numbers of one shape, or texts, over the cases."""
    cases = [case if isinstance(case, Mapping) else {"argument": case} for case in ensemble.cases]
    taken, found = {*OWN, *ensemble.names, "case"}, {}
    for name in cases[0]:
        column = [case.get(name) for case in cases]
        arrays = [numeric(value) for value in column]
        label = f"case_{name}" if name in taken else str(name)
        if all(isinstance(value, str) for value in column):
            found[label] = np.array(column)
        elif all(a is not None for a in arrays) and len({a.shape for a in arrays if a is not None}) == 1:
            found[label] = np.array(arrays)
    return found
