"""The command-line reference, written from the commands themselves while the documentation is built.

MkDocs calls :func:`on_page_markdown` for every page; the line ``<!-- commands -->`` becomes the reference.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

MARK = "<!-- commands -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return the page with the reference in place of its mark, if it has one."""
    return markdown.replace(MARK, reference()) if MARK in markdown else markdown


def reference() -> str:
    """Return the reference of every command as Markdown."""
    from disrouter.cli import cli

    return "\n".join(_sections(cli, click.Context(cli, info_name="disrouter")))


def _sections(command: click.Command, context: click.Context) -> Iterator[str]:
    path = context.command_path
    level = 2 + path.count(" ")
    yield f"{'#' * level} `{path}`\n"
    # The help is laid out for terminals, so it is shown as one.
    with context.scope(cleanup=False):
        yield f"```text\n{command.get_help(context).rstrip()}\n```\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None and not child.hidden:
                yield from _sections(child, click.Context(child, info_name=name, parent=context))
