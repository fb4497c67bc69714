"""Request bodies: read as far as they are bearable, and no longer than a client may take."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import Receive

from disrouter.gateway.errors import ProblemError, invalid
from disrouter.gateway.settings import Settings
from disrouter.gateway.watch import GoneError, Watch

__all__ = ["GoneError", "read_body"]


async def read_body(receive: Receive, headers: Mapping[str, str], settings: Settings) -> bytes:
    """Return the JSON body of a request, not yet parsed.

    Raises:
        ProblemError: It is too large, too slow, or not sent as plain JSON.
        GoneError: The client hung up before it was whole.
    """
    try:
        with Watch(settings.body_seconds):
            return await _read(receive, headers, settings.largest_body)
    except TimeoutError:
        raise ProblemError(
            408,
            f"The body was not here in {settings.body_seconds:g} s.",
            code="request_timeout",
            headers={"connection": "close"},
        ) from None


async def _read(receive: Receive, headers: Mapping[str, str], most: int) -> bytes:
    kind = headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise invalid(
            f"The body must be sent as application/json, not {kind[:60] or 'without a type'}.",
            code="unsupported_media_type",
            status=415,
        )
    if headers.get("content-encoding", "identity") != "identity":
        raise invalid("The body must not be compressed.", code="unsupported_media_type", status=415)
    length = headers.get("content-length", "0")
    received: list[bytes] = []
    size = int(length) if length.isdecimal() and len(length) < 20 else 0
    if size <= most:
        size = 0
        while size <= most:
            event = await receive()
            if event["type"] == "http.disconnect":
                raise GoneError
            received.append(event.get("body", b""))
            size += len(received[-1])
            if not event.get("more_body", False):
                return received[0] if len(received) == 1 else b"".join(received)
    raise invalid(f"The body is larger than {most:,} bytes.", code="request_too_large", status=413)
