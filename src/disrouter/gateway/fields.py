"""Fields of a request: those that we read ourselves, refused where no server would understand them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from disrouter.gateway.errors import invalid, shown

__all__ = ["MOST_CHOICES", "MOST_COUNT", "MOST_STOPS", "MOST_TOP_LOGPROBS", "check", "flag", "number", "whole"]

MOST_CHOICES = 64
MOST_STOPS = 16
MOST_TOP_LOGPROBS = 20
MOST_COUNT = 2**31 - 1


def check(body: Mapping[str, Any]) -> None:
    """Refuse what no server would understand in the fields that we read ourselves."""
    for name in body:
        of_this = _CHECKS.get(name)
        if of_this is not None:
            of_this(body, name)


def _check_choices(body: Mapping[str, Any], name: str) -> None:
    whole(body, name, lambda v: 1 <= v <= MOST_CHOICES, f"a whole number from 1 to {MOST_CHOICES}")


def _check_temperature(body: Mapping[str, Any], name: str) -> None:
    number(body, name, lambda v: 0 <= v <= 2, "a number from 0 to 2")


def _check_share(body: Mapping[str, Any], name: str) -> None:
    number(body, name, lambda v: 0 <= v <= 1, "a number from 0 to 1")


def _check_penalty(body: Mapping[str, Any], name: str) -> None:
    number(body, name, lambda v: -2 <= v <= 2, "a number from -2 to 2")


def _check_stop(body: Mapping[str, Any], name: str) -> None:
    stop = body[name]
    texts = [stop] if isinstance(stop, str) else stop
    if stop is not None and not (
        isinstance(texts, list) and len(texts) <= MOST_STOPS and all(isinstance(text, str) for text in texts)
    ):
        raise invalid(f"stop must be a text or a list of at most {MOST_STOPS}; it is {shown(stop)}.", param="stop")


def _check_top_logprobs(body: Mapping[str, Any], name: str) -> None:
    allowed = f"a whole number from 0 to {MOST_TOP_LOGPROBS}"
    top = whole(body, name, lambda v: 0 <= v <= MOST_TOP_LOGPROBS, allowed)
    if not flag(body, "logprobs") and top is not None:
        raise invalid("top_logprobs goes with logprobs: true only.", param="top_logprobs")


def _check_functions(body: Mapping[str, Any], name: str) -> None:
    if body[name] is not None and not isinstance(body[name], list):
        raise invalid(f"{name} must be a list; it is {shown(body[name])}.", param=name)


def _check_tools(body: Mapping[str, Any], name: str) -> None:
    _check_functions(body, name)
    for i, tool in enumerate(body[name] or ()):
        _check_tool(tool, f"tools[{i}]")


def _check_tool(tool: Any, where: str) -> None:
    """Refuse a function without a name; other types of tools are for models to understand."""
    if not isinstance(tool, dict) or not isinstance(tool.get("type"), str):
        raise invalid(f"{where} must be an object with a type; it is {shown(tool)}.", param=where)
    function = tool.get("function")
    if tool["type"] == "function" and not (isinstance(function, dict) and isinstance(function.get("name"), str)):
        raise invalid(f"{where}.function must be an object with a name; it is {shown(function)}.", param=where)


def _check_format(body: Mapping[str, Any], name: str) -> None:
    """Refuse a format without a type, and a JSON schema without a name; other types are for models to understand."""
    wanted = body[name]
    if wanted is None:
        return
    if not isinstance(wanted, dict) or not isinstance(wanted.get("type"), str):
        raise invalid(f"response_format must be an object with a type; it is {shown(wanted)}.", param="response_format")
    schema = wanted.get("json_schema")
    if wanted["type"] == "json_schema" and not (isinstance(schema, dict) and isinstance(schema.get("name"), str)):
        where = "response_format.json_schema"
        raise invalid(f"{where} must be an object with a name; it is {shown(schema)}.", param=where)


def flag(body: Mapping[str, Any], name: str) -> bool:
    """Return a field that is true or false; false where it is missing.

    Raises:
        ProblemError: It is something else.
    """
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise invalid(f"{name} must be true or false; it is {shown(value)}.", param=name)
    return bool(value)


def number(body: Mapping[str, Any], name: str, usable: Callable[[float], bool], allowed: str) -> float | None:
    """Return a field that is a number; None where it is missing.

    Raises:
        ProblemError: It is something else, or not ``usable``: ``allowed`` says what is.
    """
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not usable(value):
        raise invalid(f"{name} must be {allowed}; it is {shown(value)}.", param=name)
    return float(value)


def whole(body: Mapping[str, Any], name: str, usable: Callable[[int], bool], allowed: str) -> int | None:
    """Return a field that is a whole number; None where it is missing.

    Raises:
        ProblemError: It is something else, or not ``usable``: ``allowed`` says what is.
    """
    value = body.get(name)
    if value is None:
        return None
    whole = value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:  # to JSON 4.0 is whole
        whole = int(value)
    if isinstance(whole, bool) or not isinstance(whole, int) or not usable(whole):
        raise invalid(f"{name} must be {allowed}; it is {shown(value)}.", param=name)
    return whole


_CHECKS: dict[str, Callable[[Mapping[str, Any], str], object]] = {
    "n": _check_choices,
    "temperature": _check_temperature,
    "top_p": _check_share,
    "presence_penalty": _check_penalty,
    "frequency_penalty": _check_penalty,
    "stop": _check_stop,
    "logprobs": flag,
    "top_logprobs": _check_top_logprobs,
    "functions": _check_functions,
    "tools": _check_tools,
    "response_format": _check_format,
}
