"""Options of commands that listen at an address: where, and how long requests have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from disrouter.cli._options import at_least

__all__ = ["deadline_option", "drain_option", "host_option", "port_option", "store_options"]

F = TypeVar("F", bound=Callable[..., Any])


def host_option(help: str = "Where to listen.") -> Callable[[F], F]:
    """Add --host, by default this machine only."""
    return click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help=help)


def port_option(default: int, help: str = "Port; 0 takes a free one.") -> Callable[[F], F]:
    """Add --port."""
    return click.option("--port", type=click.IntRange(0, 65535), default=default, show_default=True, help=help)


def store_options(function: F) -> F:
    """Add --store and --require-keys."""
    function = click.option(
        "--require-keys", is_flag=True, help="Let nobody in without a key, even while there is none."
    )(function)
    return click.option(
        "--store", metavar="FILE|URL", help="Where routes and keys are kept: a SQLite file, or postgresql://…."
    )(function)


def deadline_option(function: F) -> F:
    """Add --deadline."""
    return _seconds("--deadline", 600.0, 0.001, "Most time of a request.")(function)


def drain_option(help: str = "Time that requests have to end at SIGTERM.") -> Callable[[F], F]:
    """Add --drain."""
    return _seconds("--drain", 60.0, 0.0, help)


def _seconds(name: str, default: float, least: float, help: str) -> Callable[[F], F]:
    return click.option(
        name, type=float, default=default, show_default=True, metavar="SECONDS", callback=at_least(least), help=help
    )
