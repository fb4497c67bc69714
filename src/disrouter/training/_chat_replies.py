"""What OpenAI-compatible servers reply, and what we read of it: completions, model lists, errors, pauses."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

__all__ = ["ChatReply", "ModelList", "Reply", "first_problem"]


@dataclass(frozen=True, slots=True)
class Reply:
    """One whole HTTP reply; names of headers in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def kind(self) -> str:
        """Status and media type, for people."""
        media_type = self.headers.get("Content-Type", "").partition(";")[0]
        return f"HTTP {self.status}, {media_type}" if media_type else f"HTTP {self.status}"

    @property
    def may_pass(self) -> bool:
        """Whether the same request may succeed a little later; a server can deny that (as when a budget is used up)."""
        passing = self.status in (408, 409, 425, 429) or self.status >= 500
        return passing and self.headers.get("x-should-retry") != "false"

    @property
    def retry_after(self) -> float:
        """Seconds from now that the server asks to wait, given as a number or as a date; 0 if it does not, readably."""
        value = self.headers.get("Retry-After", "0")
        try:
            return max(0.0, float(value))
        except ValueError:
            pass
        try:
            return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
        except ValueError:
            return 0.0

    def error(self) -> tuple[str | None, str]:
        """Return the code and the message of an error, in whichever form it stands there; no message is empty.

        OpenAI's form is ``{"error": {"message", "code"}}``; others send ``{"error": "…"}``, ``{"message": "…"}`` or
        FastAPI's ``{"detail": …}``.
        """
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            return None, ""
        error = found.get("error", found) if isinstance(found, dict) else found
        if not isinstance(error, dict):
            return None, error if isinstance(error, str) else ""
        message = error.get("message", error.get("detail", ""))
        return str(error.get("code")), message if isinstance(message, str) else json.dumps(message)


class _Part(BaseModel):
    """A part of a reply: what we do not read is ignored, and errors do not repeat what was sent."""

    model_config = ConfigDict(hide_input_in_errors=True)


class _Message(_Part):
    content: str | None = None


class _Choice(_Part):
    message: _Message
    finish_reason: str | None = None


class _Usage(_Part):
    prompt_tokens: NonNegativeInt
    completion_tokens: NonNegativeInt


class ChatReply(_Part):
    """A chat completion that is not streamed."""

    choices: Annotated[list[_Choice], Field(min_length=1)]
    usage: _Usage


class _Model(_Part):
    id: str


class ModelList(_Part):
    """The models that a server offers."""

    data: list[_Model]


def first_problem(error: ValidationError) -> str:
    """Return where a reply is first wrong, and how."""
    problem = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    return f"{where}: {problem['msg']}" if where else problem["msg"]
