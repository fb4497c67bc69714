from __future__ import annotations

import json
import resource
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from statistics import median

import pytest

import disrouter

ROOT = Path(__file__).parents[1]
HEAVY = {
    "accelerate",
    "datasets",
    "matplotlib",
    "peft",
    "pyarrow",
    "ray",
    "scipy",
    "sklearn",
    "torch",
    "transformers",
    "trl",
}
HELP = "import sys; sys.argv = ['disrouter', '--help']; from disrouter.cli import main; main()"


def loaded_after(code: str) -> set[str]:
    """Names of the top-level modules that a fresh interpreter holds after running ``code``."""
    report = "import atexit, json, sys; atexit.register(lambda: print(json.dumps(list(sys.modules)), file=sys.stderr))"
    done = subprocess.run([sys.executable, "-c", f"{report}\n{code}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    names: list[str] = json.loads(done.stderr.splitlines()[-1])
    return {name.partition(".")[0] for name in names}


def seconds_of(code: str) -> float:
    """Median processor seconds of a fresh interpreter running ``code``; a busy machine does not change them."""
    taken = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return median(taken)


def test_importing_the_package_loads_neither_numpy_nor_pydantic_nor_anything_heavy() -> None:
    loaded = loaded_after("import disrouter")

    assert not loaded & (HEAVY | {"numpy", "pydantic", "yaml", "click", "rich"})


def test_help_loads_nothing_heavy() -> None:
    assert not loaded_after(HELP) & HEAVY


@pytest.mark.parametrize("code", ["import disrouter", HELP], ids=["import", "help"])
def test_starting_takes_less_than_half_a_second_more_than_the_bare_interpreter(code: str) -> None:
    assert seconds_of(code) - seconds_of("pass") < 0.5


@pytest.mark.parametrize("name", disrouter.__all__)
def test_every_public_name_arrives_on_first_use(name: str) -> None:
    assert getattr(disrouter, name) is not None
    assert name in dir(disrouter)


def test_a_public_name_is_the_one_its_module_holds() -> None:
    types = import_module("disrouter.types")

    assert disrouter.Query is types.Query


def test_an_unknown_name_is_an_attribute_error_that_names_it() -> None:
    with pytest.raises(AttributeError, match="'disrouter' has no attribute 'rout'"):
        _ = disrouter.rout


def test_the_versions_that_are_pinned_satisfy_what_the_project_asks_for() -> None:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = {
        canonicalize_name(name): version
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
        for name, _, version in [line.partition("==")]
    }
    used = [
        *project["dependencies"],
        *(r for e in ("local", "eval", "train", "gateway", "dev") for r in project["optional-dependencies"][e]),
    ]
    asked = {canonicalize_name(r.name): r.specifier for r in map(Requirement, used) if r.name != "disrouter"}

    unpinned = [name for name in asked if name not in pins]
    refused = [name for name, allowed in asked.items() if name in pins and not allowed.contains(pins[name])]

    assert unpinned == []
    assert refused == []
    assert pins[canonicalize_name("torch")] == "2.13.0"  # the version that scripts/setup.sh installs first


def test_the_package_carries_its_marker_of_types() -> None:
    assert (ROOT / "src" / "disrouter" / "py.typed").is_file()
