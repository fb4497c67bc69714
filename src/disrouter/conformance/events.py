"""Server-sent events, read by the letter of the HTML standard: lines, fields, blank lines between events."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

__all__ = ["Event", "events_of"]

_LINE_END = re.compile(rb"\r\n|\n|\r")


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream."""

    data: str
    name: str = ""
    """What its ``event:`` line says."""

    @property
    def done(self) -> bool:
        """Whether it is OpenAI's mark at the end of a stream."""
        return self.data == "[DONE]"

    @property
    def json(self) -> Any:
        """What it holds, or None if that is no JSON."""
        try:
            return json.loads(self.data)
        except ValueError:
            return None


def events_of(body: bytes) -> list[Event]:
    """Return the events of a stream; comments are passed over, and an event without its blank line was never sent.

    https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
    """
    found: list[Event] = []
    data: list[str] = []
    name = ""
    for line in _LINE_END.split(body)[:-1]:
        field, _, value = line.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                found.append(Event("\n".join(data), name))
            data, name = [], ""
        elif field == "data":
            data.append(value)
        elif field == "event":
            name = value
    return found
