"""The embedding benchmark: the solver's table, and its peers on one of its metrics, in one run.

    python tests/benchmarks/embedding/run.py            # everything: some four minutes
    python tests/benchmarks/embedding/run.py --quick    # a minute, without the slow rows

It writes table.md, results.json and defect_against_time.png, with the machine and versions. The network needs
the extra `bench` (jax and optax); without it that peer is left out, and the table says so.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import matplotlib.pyplot as plt
import numpy as np
import peers
import typer
from metrics import ROWS, Row
from tqdm import tqdm

sys.path.append(str(Path(__file__).parents[1]))

from machine import machine

PEERS_ON = "log-sum-exp + quadratic, d=2, ±2"
VERSIONS = ("riemflow", "numpy", "scipy", "autograd", "jax", "optax")


def measured(row: Row) -> dict[str, Any]:
    """Embed a row's metric and measure the defect at 20,000 points of its own."""
    R = row.make()
    wall, cpu = time.perf_counter(), time.process_time()
    F = row.embed()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    rng = np.random.default_rng(12345)
    w = np.concatenate([row.region.corners(), row.region.sample(20_000, rng)])
    defect = max(float(F.metric_defect(part).max()) for part in np.array_split(w, 20))
    bound = F.certificate.bound
    return {
        "name": row.name,
        "dim": R.dim,
        "ambient_dim": F.ambient_dim,
        "degree": F.certificate.degree,
        "defect": defect,
        "bound": None if bound is None else bound.value,
        "wanted": row.tol,
        "seconds": wall,
        "cpu_seconds": cpu,
        "wanted_seconds": row.seconds,
        "trace": [(fit.seconds, fit.defect) for fit in F.certificate.history],
    }


def compared(row: Row, budget: float) -> dict[str, list[tuple[float, float]]]:
    """The peers' traces on one row."""
    R = row.make()
    found = {
        "Riemannian relaxation of 1,500 points, D = 5": peers.riemannian_relaxation(R, row.region, budget, 5)
    }
    if importlib.util.find_spec("jax") and importlib.util.find_spec("optax"):
        network = peers.multilayer_perceptron(R, row.region, budget)
        found["tanh network 64-64, D = 10, Adam and L-BFGS (JAX)"] = network
    return found


def table(results: list[dict[str, Any]], traces: dict[str, list], row: Row) -> str:
    lines = [
        "| metric | D | degree | defect | wanted | bound on the region | seconds (CPU) | wanted |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in results:
        bound = "" if r["bound"] is None else f"{r['bound']:.1e}"
        lines.append(
            f"| {r['name']} | {r['ambient_dim']} | {r['degree']} | {r['defect']:.1e} | {r['wanted']:g} "
            f"| {bound} | {r['seconds']:.1f} ({r['cpu_seconds']:.1f}) | {r['wanted_seconds']:g} |"
        )
    lines += ["", f"On {row.name}:", "", "| method | least defect | seconds |", "|---|---|---|"]
    for name, trace in traces.items():
        seconds, defect = min(trace, key=lambda pair: pair[1])
        lines.append(f"| {name} | {defect:.1e} | {seconds:.1f} |")
    if len(traces) < 3:
        lines += ["", "The network was left out: install the extra `bench` for it."]
    return "\n".join([*lines, "", *(f"- {key}: {value}" for key, value in machine(VERSIONS).items()), ""])


def picture(traces: dict[str, list], row: Row, path: Path) -> None:
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for name, trace in traces.items():
        seconds, defects = np.array(trace).T
        axes.loglog(seconds, np.minimum.accumulate(defects), marker=".", label=name)
    axes.set(xlabel="seconds", ylabel="largest metric defect so far", title=row.name)
    axes.legend()
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main(
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("benchmark-embedding"),
    quick: Annotated[bool, typer.Option(help="Leave out the slow rows.")] = False,
    budget: Annotated[float, typer.Option(help="Seconds for each peer.")] = 90.0,
) -> None:
    """Run the benchmark and write its table, numbers and picture."""
    out.mkdir(parents=True, exist_ok=True)
    rows = [row for row in ROWS if not (quick and row.slow)]
    results: list[dict[str, Any]] = []
    [shared] = [row for row in ROWS if row.name == PEERS_ON]
    for row in tqdm(rows, desc="metrics"):
        results.append(measured(row))
        (out / "results.json").write_text(
            json.dumps({"machine": machine(VERSIONS), "rows": results}, indent=1)
        )
    [own] = [r for r in results if r["name"] == PEERS_ON]
    traces = {"riemflow, D = 5": own["trace"], **compared(shared, min(budget, 20.0) if quick else budget)}
    text = table(results, traces, shared)
    (out / "table.md").write_text(text)
    everything = {"machine": machine(VERSIONS), "rows": results, "peers": traces}
    (out / "results.json").write_text(json.dumps(everything, indent=1))
    picture(traces, shared, out / "defect_against_time.png")
    print(text)


if __name__ == "__main__":
    typer.run(main)
