"""The geometry benchmark: tensors, geodesics and descents, one after the other.

    python tests/benchmarks/geometry/run.py

Each is a script of its own, since geomstats' backend is chosen once a process. The numbers are written to
benchmark-geometry/, with the machine and the versions.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path("benchmark-geometry")


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name in ("tensors", "geodesics", "descents"):
        script = Path(__file__).with_name(f"{name}.py")
        print(f"\n{name}", flush=True)
        subprocess.run([sys.executable, "-W", "ignore", script, "--out", FOLDER / f"{name}.json"], check=True)


if __name__ == "__main__":
    main()
