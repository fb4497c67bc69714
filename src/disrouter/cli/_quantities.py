"""Quantities on the command line: seconds, rates and money, and options of the form NAME=VALUE."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

from disrouter.errors import UsageError

__all__ = ["money", "named", "rate", "seconds", "seconds_option"]

T = TypeVar("T")

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


def seconds(text: str, what: str) -> float:
    """Return the seconds of ``2s``, ``500ms``, ``10m``, ``24h`` or a plain number.

    Raises:
        UsageError: It is none of these, or not above 0.
    """
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*(ms|s|m|h|d)?", text.strip())
    value = float(found[1]) * _UNITS[found[2] or "s"] if found else math.nan
    if not 0 < value < math.inf:
        raise UsageError(f"{what} '{text}' is not usable.", hint="give a time above 0: 500ms, 2s, 10m, 24h")
    return value


def rate(text: str, what: str) -> float:
    """Return how many a second ``500``, ``500/s``, ``30/m`` or ``1000/h`` are.

    Raises:
        UsageError: It is none of these, or not above 0.
    """
    number, _, unit = text.strip().partition("/")
    per = _UNITS.get(unit or "s") if unit in ("", "s", "m", "h", "d") else None
    try:
        value = float(number) / per if per else math.nan
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise UsageError(f"{what} '{text}' is not usable.", hint="give a rate above 0: 500 (a second), 30/m, 1000/h")
    return value


def money(text: str, what: str) -> float:
    """Return the amount of ``2.50``, ``€2.50`` or ``$2.50``.

    Raises:
        UsageError: It is none of these, or below 0.
    """
    try:
        value = float(text.strip().lstrip("€$£").strip())
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise UsageError(f"{what} '{text}' is not usable.", hint="give an amount from 0: 2.50")
    return value


def named(
    read: Callable[[str, str], T], *, default: bool = False
) -> Callable[[Any, Any, tuple[str, ...]], dict[str, T]]:
    """Return a callback for an option that may be repeated: NAME=VALUE, and with ``default`` also VALUE (name "").

    ``read`` is given the value and what it is called in messages.
    """

    def split(_context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, T]:
        option, found = parameter.opts[0], {}
        for given in values:
            name, equals, value = given.rpartition("=")
            if not (equals or default) or (equals and not name):
                raise UsageError(f"{option} '{given}' names no agent.", hint=f"write {option} NAME=VALUE")
            if name in found:
                raise UsageError(f"{option} is given twice for '{name or given}'.")
            found[name] = read(value, f"{option} {given!r}:" if name else option)
        return found

    return split


def seconds_option(name: str, what: str, **settings: Any) -> Callable[..., Any]:
    """Return an option that takes a time."""

    def check(_context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
        return None if value is None else seconds(value, parameter.opts[0])

    return click.option(name, metavar="TIME", callback=check, help=what, **settings)
