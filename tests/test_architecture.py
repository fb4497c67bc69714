"""Imports run one way: from the top layer down to the words everything is written in."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "disrouter"

# From the bottom up; docs/architecture.md draws the same. A part may import from lower layers and from itself only.
LAYERS = (
    {"errors", "files", "seeds", "_graph"},
    {"competence"},
    {"types"},
    {"utility", "limits", "steps"},
    {"policies"},
    {"routing"},
    {"peers"},
    {"network"},
    {"agents"},
    {"config", "networks"},
    {"engines"},
    {"evaluation"},
    {"baselines", "online"},
    {"training"},
    {"lab"},
    {"bench", "gateway", "conformance"},
    {"nodes", "planning"},
    {"cli"},
)
HEIGHT = {part: height for height, layer in enumerate(LAYERS) for part in layer}
CORE = (
    "competence",
    "errors",
    "files",
    "seeds",
    "types",
    "utility",
    "limits",
    "steps",
    "policies",
    "_graph",
    "routing",
    "peers",
    "network",
    "config",
)
HEAVY = {"matplotlib", "pyarrow", "ray", "scipy", "sklearn", "torch", "transformers", "trl", "peft", "datasets"}

# Names in files and on the command line are looked up on use, inside a function: there a part may reach upwards.
DOORS = {("config", "evaluation"), ("config", "lab"), ("evaluation", "lab"), ("training", "lab")}

Kind = Literal["load", "types", "use"]
"""When an import happens: with its file, for the type checker only, or when a function runs."""


def part_of(path: Path) -> str:
    """The module or sub-package directly under ``disrouter`` that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> Iterator[tuple[str, int, Kind]]:
    """Every imported module of a file: its full name, its line, and when it is imported."""

    def walk(node: ast.AST, kind: Kind) -> Iterator[tuple[str, int, Kind]]:
        for child in ast.iter_child_nodes(node):
            inner: Kind = kind
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                inner = "use"
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                inner = "types"
            if isinstance(child, ast.Import):
                yield from ((alias.name, child.lineno, kind) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{path}:{child.lineno}: a relative import hides where it points"
                for alias in child.names:
                    name = f"disrouter.{alias.name}" if child.module == "disrouter" else str(child.module)
                    yield name, child.lineno, kind
            yield from walk(child, inner)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")), "load")


def against_the_grain(path: Path) -> Iterator[str]:
    """Every import of a file that points sideways or up and is no door."""
    own = part_of(path)
    for name, line, kind in imports_of(path):
        if not name.startswith("disrouter.") or kind == "types":
            continue
        other = name.split(".")[1]
        through_a_door = kind == "use" and (own, other) in DOORS
        if other in HEIGHT and other != own and HEIGHT[other] >= HEIGHT[own] and not through_a_door:
            yield f"line {line}: {own} imports {name}"


FILES = sorted(p for p in PACKAGE.rglob("*.py") if p.parent != PACKAGE or p.name not in ("__init__.py", "__main__.py"))


def test_every_part_of_the_package_has_a_layer() -> None:
    assert {part_of(path) for path in FILES} <= set(HEIGHT)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_one_way(path: Path) -> None:
    assert list(against_the_grain(path)) == []


@pytest.mark.parametrize("path", [p for p in FILES if part_of(p) in CORE], ids=lambda p: p.name)
def test_the_core_imports_nothing_heavy(path: Path) -> None:
    loaded = {name.partition(".")[0] for name, _, kind in imports_of(path) if kind == "load"}

    assert not loaded & HEAVY
