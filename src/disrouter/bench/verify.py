"""Numbers in documents, derived again from stored runs: a document that says something else is told, line by line.

A table stands between two comments; everything between them is written by this module:

    <!-- bench: RUN KIND -->
    | … |
    <!-- /bench -->

A number in a sentence is followed by a comment that names it: run, method, scenario, key, and how it is written:

    .626<!--= lab-in ours balance utility .3f -->
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from disrouter.bench.markdown import RENDERERS, compact
from disrouter.bench.stored import StoredRun, read_stored
from disrouter.errors import DataError

__all__ = ["Finding", "documents", "verify"]

BLOCK = re.compile(r"(<!-- bench: (?P<run>\S+) (?P<kind>\S+) -->\n)(?P<body>.*?)(<!-- /bench -->)", re.DOTALL)
INLINE = re.compile(
    r"(?P<number>[+−-]?[\d.,]+)<!--= (?P<run>\S+) (?P<method>\S+) (?P<scenario>\S+) (?P<key>\S+) (?P<format>\S+) -->"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One table or number of a document, and whether it is what the stored run says."""

    document: Path
    line: int
    what: str
    numbers: int
    """How many numbers were compared."""

    problem: str | None


def documents(root: Path) -> list[Path]:
    """Return the README and every page of the documentation under a checkout."""
    return [p for p in [root / "README.md", *sorted((root / "docs").rglob("*.md"))] if p.is_file()]


def verify(root: Path, runs: Path, *, write: bool = False) -> list[Finding]:
    """Derive every marked number of the documents again and say where a document differs; ``write`` corrects it.

    Raises:
        DataError: A marker names a run, method or table that does not exist, or a stored run is damaged.
    """
    held: dict[str, StoredRun] = {}

    def run_of(name: str) -> StoredRun:
        if name not in held:
            if not (runs / name).is_dir():
                raise DataError(
                    f"There is no stored run '{name}' in '{runs}'.", hint="keep one with `disrouter bench store`"
                )
            held[name] = read_stored(runs / name)
        return held[name]

    found: list[Finding] = []
    for page in documents(root):
        text = page.read_text(encoding="utf-8")
        new, findings = _checked(page, text, run_of)
        found += findings
        if write and new != text:
            page.write_text(new, encoding="utf-8", newline="\n")
    return found


def _checked(page: Path, text: str, run_of: Callable[[str], StoredRun]) -> tuple[str, list[Finding]]:
    found: list[Finding] = []

    def block(match: re.Match[str]) -> str:
        run, kind = run_of(match["run"]), match["kind"]
        if kind not in RENDERERS:
            raise DataError(
                f"{_place(page, text, match)}: there is no table '{kind}'.", hint=f"known: {', '.join(RENDERERS)}"
            )
        wanted = RENDERERS[kind](run)
        differing = [line for line in _different(match["body"], wanted)]
        problem = (
            None if match["body"] == wanted else f"differs from the run, first in: {differing[0] if differing else ''}"
        )
        numbers = len(re.findall(r"\d*\.\d+", wanted))
        found.append(_finding(page, text, match, f"{match['run']} {kind}", numbers, problem))
        return f"{match[1]}{wanted}{match[5]}"

    def inline(match: re.Match[str]) -> str:
        value = run_of(match["run"]).number(match["method"], match["scenario"], match["key"])
        wanted = compact(value, match["format"])
        problem = None if match["number"] == wanted else f"says {match['number']}, the run {wanted}"
        what = " ".join(match[name] for name in ("run", "method", "scenario", "key"))
        found.append(_finding(page, blocks, match, what, 1, problem))
        return match[0].replace(match["number"], wanted, 1)

    blocks = BLOCK.sub(block, text)
    return INLINE.sub(inline, blocks), found


def _different(there: str, wanted: str) -> Iterable[str]:
    held = set(there.splitlines())
    return (line for line in wanted.splitlines() if line not in held)


def _place(page: Path, text: str, match: re.Match[str]) -> str:
    return f"{page}:{text.count(chr(10), 0, match.start()) + 1}"


def _finding(page: Path, text: str, match: re.Match[str], what: str, numbers: int, problem: str | None) -> Finding:
    line = text.count("\n", 0, match.start()) + 1
    return Finding(document=page, line=line, what=what, numbers=numbers, problem=problem)


def summary_of(findings: Iterable[Finding]) -> Mapping[str, int]:
    """Return how many tables and numbers were compared, and how many differ."""
    listed = list(findings)
    return {
        "places": len(listed),
        "numbers": sum(f.numbers for f in listed),
        "differing": sum(f.problem is not None for f in listed),
    }
