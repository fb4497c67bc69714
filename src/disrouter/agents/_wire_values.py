"""Reading JSON values from the wire: nothing is believed before its shape is checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from disrouter.errors import RunError

__all__ = [
    "Json",
    "WireError",
    "is_number",
    "is_whole",
    "maybe",
    "number",
    "object_of",
    "row",
    "short",
    "text",
    "whole",
]

LONGEST_NAME = 400

Json = dict[str, Any]
T = TypeVar("T")

_NUMBERS = (int, float)
"""A tuple: a union would be made anew at every look, and there are dozens in a call."""


class WireError(RunError):
    """What came over the wire makes no sense."""


def object_of(value: Any, what: str) -> Json:
    if not isinstance(value, dict):
        raise WireError(f"There is no {what.removeprefix('a ').removeprefix('the ')}: it must be a JSON object.")
    return value


def row(value: Any, length: int, what: str) -> Sequence[Any]:
    if not isinstance(value, list) or len(value) != length:
        raise WireError(f"{what[0].upper()}{what[1:]} is a list of {length}.")
    return value


def maybe(body: Mapping[str, Any], key: str, read: Callable[[Mapping[str, Any], str], T]) -> T | None:
    return None if body.get(key) is None else read(body, key)


def text(body: Mapping[str, Any], key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_NAME:
        raise WireError(f"'{key}' must be a text of 1 to {LONGEST_NAME} characters.")
    return value


def number(body: Mapping[str, Any], key: str) -> float:
    value = body.get(key)
    if not is_number(value):
        raise WireError(f"'{key}' must be a number.")
    return value  # type: ignore[return-value]  # just looked at; a whole number stays one


def whole(body: Mapping[str, Any], key: str) -> int:
    value = body.get(key)
    if not is_whole(value):
        raise WireError(f"'{key}' must be a whole number from 0.")
    return value  # type: ignore[return-value]  # just looked at


def is_number(value: Any) -> bool:
    return isinstance(value, _NUMBERS) and not isinstance(value, bool) and math.isfinite(value)


def is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def short(value: Any) -> str | None:
    return value[:100] if isinstance(value, str) else None
