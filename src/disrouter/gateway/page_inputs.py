"""What clients send to the pages: read strictly, refused by the field."""

from __future__ import annotations

import json
import math
from typing import Any

from starlette.requests import Request

from disrouter.errors import DisrouterError

__all__ = ["BadRequestError", "feedback_of", "json_body", "number", "whole"]

MAX_FEEDBACK = 4_096
"""Bytes of a feedback body; it needs a hundred."""


class BadRequestError(DisrouterError):
    """A request that cannot be understood."""

    def __init__(self, message: str, *, param: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.param = param
        self.status = status


async def json_body(request: Request) -> Any:
    """Return the small JSON body of a request.

    Raises:
        BadRequestError: It has none, or a large one, or calls it something else.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # anything else is what a foreign page may send without asking
        raise BadRequestError("The body must be JSON, sent as application/json.", status=415)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FEEDBACK:
            raise BadRequestError(f"The body is larger than {MAX_FEEDBACK} bytes.", status=413)
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequestError("The body is no JSON.") from None


def feedback_of(body: Any) -> tuple[str, float]:
    """Return trace id and score, from 0 to 1, of a feedback's body.

    Raises:
        BadRequestError: It says something else.
    """
    if not isinstance(body, dict):
        raise BadRequestError("The body must be a JSON object with trace_id and score or thumb.")
    if unknown := sorted(set(body) - {"trace_id", "score", "thumb"}):
        raise BadRequestError(
            f"Unknown field '{unknown[0][:40]}'. Known: trace_id, score, thumb.", param=unknown[0][:40]
        )
    trace_id = body.get("trace_id")
    if not isinstance(trace_id, str) or not 0 < len(trace_id) <= 64:
        raise BadRequestError("trace_id must be the id of a route: a text of 1 to 64 characters.", param="trace_id")
    if ("score" in body) == ("thumb" in body):
        raise BadRequestError("Give either score, from 0 to 1, or thumb, 'up' or 'down'.", param="score")
    if "thumb" in body:
        if body["thumb"] not in ("up", "down"):
            raise BadRequestError("thumb must be 'up' or 'down'.", param="thumb")
        return trace_id, 1.0 if body["thumb"] == "up" else 0.0
    score = body["score"]
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        raise BadRequestError("score must be a number from 0 to 1.", param="score")
    return trace_id, float(score)


def whole(request: Request, name: str, *, default: int, most: int) -> int:
    """Return a whole number of the request's query.

    Raises:
        BadRequestError: It is none, or larger than ``most``.
    """
    given = request.query_params.get(name)
    if given is None:
        return default
    if not (given.isascii() and given.isdigit()) or len(given) > 16 or int(given) > most:
        raise BadRequestError(f"{name} '{given[:40]}' is not usable: give a whole number up to {most}.", param=name)
    return int(given)


def number(request: Request, name: str) -> float | None:
    """Return a moment of the request's query, or None without one.

    Raises:
        BadRequestError: It is no number.
    """
    given = request.query_params.get(name)
    if given is None:
        return None
    try:
        value = float(given)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadRequestError(f"{name} '{given[:40]}' is not usable: give seconds since 1970.", param=name)
    return value
