"""Every example in the README and the documentation runs, or says beside it why it does not.

Python blocks of a page run one after the other, as a reader would type them. Commands in console blocks must succeed.
Network files must load. An HTML comment ``<!-- not run: reason -->`` right before a block opts it out.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from disrouter.config import load
from disrouter.evaluation.overhead import RejectionRow
from disrouter.evaluation.summary import AgentRow, MethodRow, PairedRow, SingleRow, Summary

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(
    r"(?:<!-- not run: (?P<reason>[^>]+?) -->\n)?^```(?P<language>\w+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Example:
    """One fenced block of a page."""

    page: Path
    line: int
    language: str
    body: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def examples(language: str) -> Iterator[Example]:
    """Every block of a language that has not opted out."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            if match["language"] == language and match["reason"] is None:
                line = text.count("\n", 0, match.start("body")) + 1
                yield Example(page, line, language, match["body"])


def commands() -> dict[str, str]:
    """Every different ``$ …`` line with the place where it first stands."""
    places: dict[str, str] = {}
    for example in examples("console"):
        for offset, line in enumerate(example.body.splitlines()):
            if line.startswith("$ "):
                places.setdefault(line.removeprefix("$ "), f"{example.page.relative_to(ROOT)}:{example.line + offset}")
    return places


@pytest.mark.parametrize("page", sorted({e.page for e in examples("python")}), ids=lambda p: p.name)
def test_python_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__example__"}

    for example in (e for e in examples("python") if e.page == page):
        padded = "\n" * (example.line - 1) + example.body  # so that a traceback names the page's own line
        exec(compile(padded, str(page), "exec"), names)


@pytest.mark.parametrize(("command", "place"), commands().items(), ids=lambda text: text)
def test_commands_succeed(command: str, place: str, tmp_path: Path) -> None:
    program, *arguments = shlex.split(command)
    assert program == "disrouter", f"{place}: only disrouter's own commands are run; opt the block out"
    start = "import sys; from disrouter.cli import main; sys.exit(main())"

    done = subprocess.run(
        [sys.executable, "-c", start, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, f"{place}: {done.stderr}"


@pytest.mark.parametrize("example", list(examples("yaml")), ids=lambda e: e.place)
def test_network_files_load(example: Example, tmp_path: Path) -> None:
    path = tmp_path / "network.yaml"
    path.write_text(example.body, encoding="utf-8")

    network = load(path)

    assert network.card.name


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_between_files_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))

    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]

    assert missing == []


@pytest.mark.parametrize("part", [Summary, MethodRow, PairedRow, SingleRow, AgentRow, RejectionRow])
def test_the_json_of_an_evaluation_is_documented_key_by_key(part: type[Any]) -> None:
    page = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    described = page.partition("## JSON")[2].partition("\n## ")[0]

    missing = [field.name for field in fields(part) if f'"{field.name}"' not in described]

    assert missing == []
