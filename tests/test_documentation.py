"""The documentation runs, names what exists, and leaves no public name out."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

import riemflow as rf

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    page
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "guides").glob("*.md")]
    if "```python" in page.read_text(encoding="utf-8")
)


def python_blocks(page: Path) -> list[str]:
    """Return the page's Python, each block moved down to its own line for readable tracebacks."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return ["\n" * text[: block.start(1)].count("\n") + block[1] for block in found]


# These solve for many flows; the others take a second.
LONG = {"README.md", "forward.md", "index.md"}


@pytest.mark.parametrize(
    "page",
    [pytest.param(p, marks=pytest.mark.slow) if p.name in LONG else p for p in PAGES],
    ids=[p.relative_to(ROOT).as_posix() for p in PAGES],
)
def test_code_on_the_page_runs(page):
    """Blocks of a page run in order and share their names; their assertions hold."""
    names: dict = {"__name__": "documentation"}
    for block in python_blocks(page):
        exec(compile(block, str(page), "exec"), names)
    plt.close("all")


def test_pages_with_code_are_found():
    assert {"README.md", "forward.md", "reverse.md", "index.md"} <= {page.name for page in PAGES}


@pytest.mark.parametrize(
    "module", [rf.legendre, rf.parametrizations, rf.losses, rf.commuting, rf], ids=lambda m: m.__name__
)
def test_every_public_name_is_in_the_reference(module):
    reference = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    listed = {line.strip() for line in reference.splitlines() if line.startswith("   ")}
    modules = {"legendre", "parametrizations", "losses", "commuting"}
    missing = {name for name in module.__all__ if name not in modules} - listed
    assert not missing, f"docs/api.md leaves out {sorted(missing)}"


def test_theory_map_names_existing_tests_and_examples():
    text = (ROOT / "docs" / "theory_map.md").read_text(encoding="utf-8")
    tests = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    examples = re.findall(r"`(examples/\w+\.py)`", text)
    assert len(tests) >= 10
    assert examples
    for path, name in tests:
        source = (ROOT / path).read_text(encoding="utf-8")
        assert re.search(rf"^\s*def {name}\(", source, re.MULTILINE), f"{path} has no {name}"
    for path in examples:
        assert (ROOT / path).is_file(), path
