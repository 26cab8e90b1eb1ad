"""The flows benchmark: riemflow and its peers on the problems of `problems.py`, in one run.

    pip install -e '.[bench]'
    python tests/benchmarks/flows/run.py             # everything
    python tests/benchmarks/flows/run.py --quick     # under a minute: problem A, a limit, a small start
    python tests/benchmarks/flows/run.py --only A --only SPD-10 --only ensemble --only limits --only small

Every method runs at its loosest tolerance, by decades, for which max |w - w_ref| / max |w_ref| ≤ 1e-6 over
the output times. Then all run in turn, and the medians of the rounds are compared. riemflow is called as its
readers call it, in a line after those that state the problem, with no option but rtol. Written are the
numbers, table.md next to them, and a picture, with the machine and versions.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

# One thread for everyone. This has to be said before NumPy and XLA are loaded.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1", MPLBACKEND="Agg")
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
sys.path.append(str(Path(__file__).parents[1]))

import conic
import many_starts
import matplotlib.pyplot as plt
import small_starts
import typer
from machine import machine
from problems import PROBLEMS
from race import Entry, race
from solvers import COMPILED, HAS_DIFFRAX, HAS_TORCHDIFFEQ, METHODS, NO_DIFFRAX, NO_TORCHDIFFEQ, OURS
from tqdm import tqdm

PACKAGES = (
    *("riemflow", "numpy", "scipy", "autograd", "scikit-sundae"),
    *("jax", "diffrax", "torchdiffeq", "cvxpy", "clarabel"),
)
PARTS = ("ensemble", "limits", "small")
Races = dict[str, dict[str, Entry]]


def figure(number: float | None) -> str:
    if number is None:
        return ""
    return f"{number:.3g}" if number < 1000 else f"{number:.0f}"


def race_table(races: Races, cap: float) -> str:
    lines = [f"| seconds relative to {OURS} | {' | '.join(races)} |", "|---" * (len(races) + 1) + "|"]
    rows: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for entries in races.values() for name in entries):
        for label, what in ((name, "seconds"), *([(f"{name}, cold", "cold")] if name in COMPILED else [])):
            rows[label] = [_cell(entries, name, what, cap) for entries in races.values()]
    lines += [f"| {label} | {' | '.join(cells)} |" for label, cells in rows.items()]
    tolerances = [
        f"- {problem}: "
        + ", ".join(
            f"{name} {entry.rtol:.0e} ({entry.error:.0e})" for name, entry in entries.items() if entry.rtol
        )
        for problem, entries in races.items()
    ]
    return "\n".join([*lines, "", "Tolerances (and errors):", "", *tolerances])


def _cell(entries: dict[str, Entry], name: str, what: str, cap: float) -> str:
    entry, ours = entries.get(name), entries[OURS].seconds
    if entry is None:
        return "–"
    value = getattr(entry, what)
    if value is not None and ours is not None:
        return f"1 ({1e3 * ours:.1f} ms)" if name == OURS else figure(value / ours)
    if entry.status == "missed":
        return f"missed ({min(entry.tried.values()):.0e})"
    return f"> {figure(cap / ours)}" if ours and entry.status == "capped" else "–"


def limits_table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| limit | Newton | steps | residual | KKT | Clarabel / Newton (with CVXPY) | status | error |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        times = ""
        if "conic seconds" in row:
            times = " (".join(
                figure(row[k] / row["seconds"]) for k in ("conic seconds", "conic seconds with CVXPY")
            )
            times += ")"
        off = "" if row.get("conic error") is None else f"{row['conic error']:.0e}"
        lines.append(
            f"| {row['problem']} | {1e3 * row['seconds']:.1f} ms | {row['iterations']} "
            f"| {row['residual']:.0e} | {row['kkt']:.0e} | {times} | {row['conic status']} | {off} |"
        )
    return "\n".join(lines)


def small_table(columns: dict[str, dict[str, dict[str, float]]]) -> str:
    lines = [f"| error at α = | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name in next(iter(columns.values())):
        errors = [f"{column[name]['error']:.0e}" for column in columns.values()]
        lines.append(f"| {name} | {' | '.join(errors)} |")
    return "\n".join(lines)


def picture(races: Races, path: Path) -> None:
    fig, axes = plt.subplots(figsize=(1.5 + 1.1 * len(races), 4.5), layout="constrained")
    for name in dict.fromkeys(name for entries in races.values() for name in entries):
        points = [
            (k, entries[name].seconds / entries[OURS].seconds)
            for k, entries in enumerate(races.values())
            if name in entries and entries[name].seconds and entries[OURS].seconds
        ]
        if points:
            axes.semilogy(*zip(*points, strict=True), "o-", label=name)
    axes.set(xticks=range(len(races)), ylabel=f"seconds relative to {OURS}")
    axes.set_xticklabels(races, rotation=30, ha="right")
    axes.legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(path, dpi=150)
    plt.close(fig)


def main(
    quick: Annotated[bool, typer.Option(help="A small subset, under a minute.")] = False,
    only: Annotated[list[str] | None, typer.Option(help="Problems, ensemble, limits, small.")] = None,
    rounds: Annotated[int, typer.Option(help="Rounds of all methods in turn.")] = 7,
    cap: Annotated[float, typer.Option(help="Seconds that one solve may take.")] = 60.0,
    json_file: Annotated[Path, typer.Option("--json", help="File of numbers.")] = Path(
        "benchmark-flows/results.json"
    ),
    plot: Annotated[
        Path | None, typer.Option(help="Picture; ratios.png next to the numbers if left out.")
    ] = None,
) -> None:
    """Run the benchmark and write its tables, numbers and picture."""
    names = [p.name for p in PROBLEMS] + list(PARTS)
    wanted = only or (["A", "limits", "small"] if quick else names)
    if set(wanted) - set(names):
        raise typer.BadParameter(f"{set(wanted) - set(names)} not in {', '.join(names)}")
    rounds, cap = (3, min(cap, 10.0)) if quick else (rounds, cap)
    json_file.parent.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {"machine": machine(PACKAGES), "cap": cap, "rounds": rounds}
    texts = [
        text for text, there in ((NO_TORCHDIFFEQ, HAS_TORCHDIFFEQ), (NO_DIFFRAX, HAS_DIFFRAX)) if not there
    ]
    races: Races = {}
    tables: dict[str, str] = {}
    bar = tqdm(wanted)

    def write(part: str, found: Any, table: str) -> None:
        """Keep what there is: a run that is stopped is no loss."""
        results[part], tables[part] = found, table
        json_file.write_text(json.dumps(results, indent=1, default=str))
        notes = [*texts, *(f"- {key}: {value}" for key, value in machine(PACKAGES).items()), ""]
        (json_file.parent / "table.md").write_text("\n\n".join([*tables.values(), "\n".join(notes)]))

    for name in bar:
        say: Callable[[str], None] = lambda text, name=name: bar.set_description(f"{name}: {text}")  # noqa: E731
        chosen = [p for p in PROBLEMS if p.name == name]
        if chosen or name == "ensemble":
            say("reference")
            if chosen:
                makers = {method: partial(make, chosen[0], cap) for method, make in METHODS.items()}
                races[name] = race(makers, chosen[0].reference, rounds, say)
            else:
                races[name] = race(many_starts.makers(cap), many_starts.reference(), rounds, say)
            found = {
                n: {m: dataclasses.asdict(e) for m, e in entries.items()} for n, entries in races.items()
            }
            write("races", found, race_table(races, cap))
        elif name == "limits":
            rows = []
            for problem in PROBLEMS[:2] if quick else PROBLEMS:
                say(problem.name)
                rows.append(conic.compare(problem, cap))
                write("limits", rows, limits_table(rows))
        else:
            columns = {}
            for start in small_starts.STARTS[:1] if quick else small_starts.STARTS:
                say(start.name)
                columns[start.name] = small_starts.measure(start, cap)
                write("small", columns, small_table(columns))
    if races:
        picture(races, plot or json_file.parent / "ratios.png")
    print((json_file.parent / "table.md").read_text())


if __name__ == "__main__":
    typer.run(main)
