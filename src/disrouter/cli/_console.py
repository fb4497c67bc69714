"""Where the program writes: results to standard output, talk to standard error. Complete without colour."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["ASCII", "UNICODE", "Glyphs", "bars", "glyphs_of", "print_json", "printable", "results", "table", "talk"]


FILE_WIDTH = 160
"""Columns where the output is no terminal."""


def results() -> Console:
    """Return the console of standard output."""
    return _console(stderr=False)


def talk() -> Console:
    """Return the console of standard error."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    class Quiet(Console):
        def on_broken_pipe(self) -> None:
            raise  # the program ends the same way whoever was writing

    # Nothing that a user or a model wrote may be taken for markup, emoji or something to highlight.
    console = Quiet(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = FILE_WIDTH  # a file has no edge to wrap at
    return console


@dataclass(frozen=True, slots=True)
class Glyphs:
    """What routes and bars are drawn with."""

    start: str
    line: str
    passes: str
    answers: str
    fails: str
    full: str
    empty: str
    dot: str
    dash: str
    alpha: str


UNICODE = Glyphs("◇", "│", "○", "●", "✕", "█", "░", "·", "–", "α")
ASCII = Glyphs("?", "|", "o", "*", "x", "#", ".", "-", "-", "alpha")


def glyphs_of(console: Console) -> Glyphs:
    """Return what the console's encoding can show."""
    try:
        "".join(getattr(UNICODE, name) for name in UNICODE.__slots__).encode(console.encoding)
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return UNICODE


def printable(text: str) -> str:
    """Return a text with every control character but line breaks and tabs made visible.

    What a model wrote must not steer the terminal.
    """
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)


def print_json(value: object) -> None:
    """Print one JSON value to standard output, and nothing else."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def table(*columns: str, title: str | None = None) -> Table:
    """Return an empty table; a column whose name starts with '>' is set flush right."""
    from rich import box
    from rich.table import Table

    made = Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, title=title, title_justify="left", title_style="bold"
    )
    for column in columns:
        right = column.startswith(">")
        # Folded rather than cut: output must be complete.
        made.add_column(column.removeprefix(">"), justify="right" if right else "left", no_wrap=right, overflow="fold")
    return made


@contextmanager
def bars(unit: str = "") -> Iterator[Callable[[str, int, int, str], None]]:
    """Yield ``show(name, done, total, note)``: one progress bar per name on standard error.

    Where that is no terminal, each name gets a plain line at its start, at every quarter and at its end.
    """
    console = talk()
    if not console.is_terminal:
        yield _lines(unit)
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns: tuple[Any, ...] = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        tasks: dict[str, Any] = {}

        def show(name: str, done: int, total: int, note: str) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=total, note=note)
            progress.update(tasks[name], completed=done, total=total, note=note)

        yield show


def _lines(unit: str) -> Callable[[str, int, int, str], None]:
    said: dict[str, int] = {}

    def show(name: str, done: int, total: int, note: str) -> None:
        quarter = 4 * done // total if total else 4
        if said.get(name) != quarter:
            said[name] = quarter
            click.echo(" ".join(part for part in (name, f"{done}/{total}", unit, note) if part), file=sys.stderr)

    return show
