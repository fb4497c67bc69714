"""Sentences: what pydantic finds wrong with a file, said so that its writer can mend it.

A sentence names the place, the bad value, what is allowed and the next step. What a field allows is its description.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

__all__ = ["Spec", "problems_with", "shown"]

LONGEST_VALUE = 60
"""Characters of a bad value that a message repeats."""


class Spec(BaseModel):
    """A part of a file: unknown keys are refused, and nothing is guessed into another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def problems_with(content: Mapping[Any, Any], root: type[BaseModel]) -> list[str]:
    """Return what is wrong with single keys and values of a file's content, each as one sentence."""
    try:
        root.model_validate(content)
    except ValidationError as exc:
        return [_sentence(error, root) for error in exc.errors(include_url=False)]
    return []


def shown(value: object) -> str:
    """Return a value as a message repeats it."""
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"


def _sentence(error: ErrorDetails, root: type[BaseModel]) -> str:
    loc = error["loc"]
    if not loc:
        return f"the file: {error['msg'].removeprefix('Value error, ')}"
    if error["type"] == "invalid_key" or loc[-1] == "[key]":
        holder = _place(loc[:-1] if error["type"] == "invalid_key" else loc[:-2], root)[0]
        return f"{holder or 'the file'}: key {shown(error['input'])} is not text; put it in quotes"
    where, model, field = _place(loc, root)
    if error["type"] == "extra_forbidden":
        known = list(model.model_fields)
        close = get_close_matches(str(loc[-1]), known, n=1)
        suggestion = f"; did you mean '{close[0]}'?" if close else ""
        return f"{where}: unknown key; known: {', '.join(known)}{suggestion}"
    if error["type"] == "value_error":  # a check of the spec's own: its message is a sentence already
        return f"{where}: {error['msg'].removeprefix('Value error, ')}"
    allowed = field.description if field else f"a mapping with {', '.join(model.model_fields)}"
    if error["type"] == "missing":
        return f"{where}: missing; give {allowed}"
    return f"{where}: {shown(error['input'])} is not allowed; give {allowed}"


def _place(loc: Sequence[str | int], root: type[BaseModel]) -> tuple[str, type[BaseModel], FieldInfo | None]:
    """Return a location as text, the spec it lies in, and its field where the location is one."""
    text = ""
    spec: type[BaseModel] = root
    field: FieldInfo | None = None
    inner: type[BaseModel] | None = root  # the spec that the next key belongs to
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
            continue
        text += f".{part}" if text else part
        if inner is not None:
            spec, field = inner, inner.model_fields.get(part)
            inner = _spec_in(field.annotation) if field else None
    if loc and isinstance(loc[-1], int) and inner is not None:  # a whole element of a list, not one of its keys
        return text, inner, None
    return text, spec, field


def _spec_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((spec for part in get_args(annotation) if (spec := _spec_in(part))), None)
