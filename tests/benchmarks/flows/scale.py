"""How time and memory of a row-space flow grow with d, n, T and 1/α, one quantity at a time.

    python tests/benchmarks/flows/scale.py [--largest 1000000] [--plot scale.png]

The problem is sparse regression by w = u² - v²: Z sparse with 1,000 entries a row (dense where d is at most
1,000), started at u = v = α, least squares until T. Every case runs in a process of its own, whose peak of
resident memory is compared with what it has when riemflow is imported, and with the size of the data.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time

BASE = {"d": 1000, "n": 50, "T": 1e3, "alpha": 1e-4}
SERIES = {
    "d": [100, 1000, 10_000, 100_000, 1_000_000],
    "n": [10, 30, 100, 300, 1000],
    "T": [1e1, 1e2, 1e3, 1e4, 1e5],
    "alpha": [1e-1, 1e-2, 1e-4, 1e-8, 1e-12],
}


def resident() -> float:
    """The peak of this process's memory, in MB."""
    import resource

    unit = 1e6 if sys.platform == "darwin" else 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def run(d: int, n: int, T: float, alpha: float) -> dict[str, float]:
    """Solve one case; return seconds, MB and counts."""
    import numpy as np
    from scipy.sparse import csr_array

    import riemflow as rf

    before = resident()
    rng = np.random.default_rng(0)
    if d <= 1000:
        Z = rng.standard_normal((n, d))
        size, seen = Z.nbytes, np.arange(d)
    else:
        places = np.sort(rng.integers(0, d, (n, 1000)), axis=1).ravel()
        Z = csr_array((rng.standard_normal(n * 1000), places, 1000 * np.arange(n + 1)), shape=(n, d))
        size = Z.data.nbytes + Z.indices.nbytes + Z.indptr.nbytes
        seen = np.unique(places)
    w = np.zeros(d)
    w[rng.choice(seen, max(1, n // 10), replace=False)] = 1.0
    loss = rf.losses.LeastSquares(Z, Z @ w)
    R = rf.legendre.HyperbolicEntropy(np.full(d, alpha), np.full(d, alpha))
    began = time.perf_counter()
    flow = rf.mirror_flow(R, loss, np.zeros(d), [T])
    return {
        "seconds": time.perf_counter() - began,
        "MB": resident() - before,
        "data MB": (size + 8 * d) / 1e6,
        "steps": flow.stats["n_steps"],
        "right sides": flow.stats["n_rhs"],
        "loss": float(loss(flow.w[-1])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=int, default=1_000_000, help="the largest d and the largest 1000 n")
    parser.add_argument("--plot", help="file for a picture")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(run(**json.loads(arguments.case))))
        return
    print(f"base case {BASE}\n")
    print(f"{'':>18} {'s':>8} {'MB':>8} {'data MB':>8} {'steps':>6} {'sides':>6} {'loss':>8}")
    results: dict[str, list] = {}
    for name, values in SERIES.items():
        for value in values:
            if (name == "d" and value > arguments.largest) or (
                name == "n" and 1000 * value > arguments.largest
            ):
                continue
            case = json.dumps(BASE | {name: value})
            out = subprocess.run(
                [sys.executable, __file__, "--case", case], check=True, capture_output=True, text=True
            )
            r = json.loads(out.stdout)
            results.setdefault(name, []).append((value, r))
            print(
                f"{name:>8} {value:9g} {r['seconds']:8.3f} {r['MB']:8.1f} {r['data MB']:8.1f} "
                f"{r['steps']:6d} {r['right sides']:6d} {r['loss']:8.1e}",
                flush=True,
            )
    if arguments.plot:
        draw(results, arguments.plot)


def draw(results: dict[str, list], path: str) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(results), figsize=(3.2 * len(results), 3), layout="constrained")
    for ax, (name, rows) in zip(axes, results.items(), strict=True):
        x = [1 / value if name == "alpha" else value for value, _ in rows]
        for what in ("seconds", "MB", "data MB"):
            ax.loglog(x, [max(r[what], 1e-4) for _, r in rows], "o-", label=what)
        ax.set_xlabel("1/α" if name == "alpha" else name)
    axes[0].legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
