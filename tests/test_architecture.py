"""The package's layers and doors, read off the import statements.

Imports go downwards only, third-party machinery comes in through one door each, and no modules
import one another in a circle. Each rule is also shown to catch a violation planted in a package
made for the purpose.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "riemflow"

# From low to high. The package itself, which only gathers the public names, is imported by the
# command line alone.
LAYERS = (
    "errors",
    "validation",
    "autodiff",
    "integration",
    "losses",
    "legendre",
    "parametrizations",
    "commuting",
    "spaces",
    "embedding",
    "geometry",
    "flows",
    "equivalence",
    "plotting",
    "",
    "cli",
    "__main__",
)

# What may be imported where: (root of the third-party module, the layer that may, why).
DOORS = (
    ("autograd", "autodiff"),
    ("geomstats", "geometry"),
    ("scipy.integrate", "integration"),
    ("sksundae", "integration"),
    ("matplotlib", "plotting"),
)

# `report.plot()` and `F.plot()` are methods of what is drawn, and pictures are drawn in a layer above. These
# calls alone may look up, and only when they are made.
DEFERRED_UPWARD = {("equivalence", "plotting"), ("embedding", "plotting")}


@dataclass(frozen=True)
class Import:
    """One imported module: who imports what, on which line, and when."""

    module: str
    target: str
    line: int
    deferred: bool  # inside a function
    typing: bool  # under `if TYPE_CHECKING:`, so never executed


class _Collector(ast.NodeVisitor):
    def __init__(self, module: str, is_package: bool, modules: set[str]):
        self.module, self.modules = module, modules
        self.package = module if is_package else module.rpartition(".")[0]
        self.deferred = self.typing = False
        self.found: list[Import] = []

    def add(self, target: str, node: ast.AST) -> None:
        self.found.append(Import(self.module, target, node.lineno, self.deferred, self.typing))  # type: ignore[attr-defined]

    def visit_FunctionDef(self, node):
        outer, self.deferred = self.deferred, True
        self.generic_visit(node)
        self.deferred = outer

    visit_AsyncFunctionDef = visit_Lambda = visit_FunctionDef

    def visit_If(self, node):
        if not ast.unparse(node.test).endswith("TYPE_CHECKING"):
            self.generic_visit(node)
            return
        outer, self.typing = self.typing, True
        for child in node.body:
            self.visit(child)
        self.typing = outer
        for child in node.orelse:
            self.visit(child)

    def visit_Import(self, node):
        for alias in node.names:
            self.add(alias.name, node)

    def visit_ImportFrom(self, node):
        base = node.module or ""
        if node.level:
            parents = self.package.split(".")
            base = ".".join(parents[: len(parents) - node.level + 1] + ([base] if base else []))
        for alias in node.names:
            full = f"{base}.{alias.name}"
            # A name taken from a package is a module of its own, or something defined in the package.
            is_module = full in self.modules or any(full == door for door, _ in DOORS)
            self.add(full if is_module else base, node)

    def visit_Attribute(self, node):
        # `import scipy` loads scipy.integrate on first use.
        if ast.unparse(node) == "scipy.integrate":
            self.add("scipy.integrate", node)
        self.generic_visit(node)

    def visit_Call(self, node):
        name = ast.unparse(node.func).rpartition(".")[2]
        if name in ("import_module", "__import__") and node.args and isinstance(node.args[0], ast.Constant):
            self.add(str(node.args[0].value), node)
        self.generic_visit(node)


def imports_of(root: Path) -> list[Import]:
    """Collect every import in the package at `root`, wherever it stands."""
    names = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root.parent).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        names[".".join(parts[:-1] if is_package else parts)] = (path, is_package)
    found = []
    for module, (path, is_package) in names.items():
        collector = _Collector(module, is_package, set(names))
        collector.visit(ast.parse(path.read_text(encoding="utf-8"), filename=str(path)))
        found += collector.found
    return found


def layer_of(module: str) -> str:
    """Return the layer of a module of the package: the first name below the package's own."""
    return [*module.split("."), ""][1]


def violations(root: Path) -> list[str]:
    """Return one line, beginning with the rule's name, for each rule broken in the package at `root`."""
    found = imports_of(root)
    within = [i for i in found if i.target.split(".")[0] == root.name]
    return _upward(within) + _doors(found) + _cycles(within)


def _upward(imports: list[Import]) -> list[str]:
    broken = []
    for i in imports:
        low, high = layer_of(i.module), layer_of(i.target)
        unknown = [name for name in (low, high) if name not in LAYERS]
        if unknown:
            broken.append(f"layer: {unknown[0]!r} has no layer ({i.module}:{i.line})")
        elif (low, high) in DEFERRED_UPWARD and i.deferred:
            continue
        elif LAYERS.index(high) > LAYERS.index(low):
            broken.append(f"upward: {i.module}:{i.line} imports {i.target}")
    return broken


def _doors(imports: list[Import]) -> list[str]:
    broken = []
    for i in imports:
        for door, layer in DOORS:
            if i.target != door and not i.target.startswith(door + "."):
                continue
            at_the_door = layer_of(i.module) == layer
            if door == "matplotlib":
                # An optional dependency: named in annotations anywhere, loaded only by a call.
                at_the_door = i.typing or (at_the_door and i.deferred)
            if not at_the_door:
                broken.append(f"{door}: {i.module}:{i.line} imports {i.target}")
    return broken


def _cycles(imports: list[Import]) -> list[str]:
    # Only what runs when a module is loaded can go round in a circle. A package that is merely on
    # the way to a submodule is no edge: it is loaded before, or is being loaded already.
    edges: dict[str, set[str]] = {}
    for i in imports:
        if not i.deferred and not i.typing and i.target != i.module:
            edges.setdefault(i.module, set()).add(i.target)
    broken, done = [], set()

    def walk(module: str, path: list[str]) -> None:
        if module in path:
            broken.append("cycle: " + " -> ".join([*path[path.index(module) :], module]))
        elif module not in done:
            for target in sorted(edges.get(module, ())):
                walk(target, [*path, module])
            done.add(module)

    for module in sorted(edges):
        walk(module, [])
    return broken


def test_package_keeps_its_layers_and_doors():
    assert violations(PACKAGE) == []


def test_walk_sees_the_package():
    """The rules would hold vacuously if the walk missed the files or what they import."""
    found = imports_of(PACKAGE)
    assert {layer_of(i.module) for i in found} <= set(LAYERS)
    assert any(i.module == "riemflow.autodiff" and i.target.startswith("autograd") for i in found)
    assert any(i.module.startswith("riemflow.legendre.") and i.target == "riemflow.errors" for i in found)


CLEAN = {
    "__init__": "from riemflow.flows import solve",
    "errors": "",
    "autodiff": "import autograd.numpy as anp\nfrom autograd import grad",
    "integration/sundae": "import sksundae",
    "integration/__init__": "from scipy import integrate\nfrom scipy.integrate import DOP853",
    "legendre/__init__": "from riemflow.legendre.function import R",
    "legendre/function": "from riemflow import autodiff\ndef R():\n    from riemflow.legendre import algebra",
    "legendre/algebra": "from .function import R\nfrom .. import errors",
    "geometry/metric": "import geomstats",
    "flows": "from riemflow import integration\nfrom riemflow.legendre import R\n\ndef solve(): ...",
    "equivalence": (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from matplotlib.figure import Figure\n"
        "def plot():\n    from riemflow.plotting import plot_report"
    ),
    "plotting": "def plot_report():\n    import matplotlib.pyplot as plt",
    "cli": "import riemflow as rf",
}


def write_package(folder: Path, files: dict[str, str]) -> Path:
    root = folder / "riemflow"
    for name, text in files.items():
        path = root / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
    return root


def test_clean_package_breaks_no_rule(tmp_path):
    assert violations(write_package(tmp_path, CLEAN)) == []


PLANTED = {
    "upward": ("upward", "legendre/algebra", "from riemflow.flows import solve"),
    "upward-relative": ("upward", "legendre/algebra", "from ..flows import solve"),
    "upward-deferred": ("upward", "legendre/algebra", "def f():\n    import riemflow.flows"),
    "upward-typing": (
        "upward",
        "errors",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import riemflow.flows",
    ),
    "upward-not-deferred": ("upward", "equivalence", "from riemflow.plotting import plot_report"),
    "upward-to-the-package": ("upward", "flows", "def f():\n    from riemflow import __version__"),
    "no-layer": ("layer", "helpers", "from riemflow import errors"),
    "autograd": ("autograd", "legendre/algebra", "import autograd.numpy as np"),
    "autograd-from": ("autograd", "losses", "from autograd import grad"),
    "autograd-deferred": ("autograd", "losses", "def f():\n    from autograd import grad"),
    "autograd-by-name": (
        "autograd",
        "losses",
        "from importlib import import_module\nimport_module('autograd')",
    ),
    "geomstats": ("geomstats", "embedding", "from geomstats.geometry.base import VectorSpace"),
    "solver": ("scipy.integrate", "flows", "from scipy.integrate import solve_ivp"),
    "solver-from-scipy": ("scipy.integrate", "flows", "from scipy import integrate"),
    "solver-as-attribute": ("scipy.integrate", "flows", "import scipy\nscipy.integrate.solve_ivp"),
    "quadrature": ("scipy.integrate", "legendre/algebra", "from scipy.integrate import quad"),
    "sundae": ("sksundae", "flows", "from sksundae.cvode import CVODE"),
    "matplotlib-on-top": ("matplotlib", "plotting", "import matplotlib.pyplot as plt"),
    "matplotlib-elsewhere": ("matplotlib", "flows", "def f():\n    import matplotlib"),
    "cycle": ("cycle", "legendre/function", "from riemflow.legendre import algebra"),
    "cycle-through-package": ("cycle", "legendre/function", "from riemflow.legendre import R"),
}


@pytest.mark.parametrize(("rule", "module", "text"), PLANTED.values(), ids=PLANTED.keys())
def test_planted_violation_is_caught(tmp_path, rule, module, text):
    broken = violations(write_package(tmp_path, CLEAN | {module: text}))
    assert broken, f"{rule} was broken in {module} and nothing noticed"
    assert all(line.startswith(rule + ":") for line in broken), broken
