"""While nobody needs a key, only this machine may ask: neither a foreign page in its browser nor a foreign name for it.

A page from elsewhere can make a browser send requests to loopback (and, through a name of its own that points there,
read the replies). Browsers cannot hide it: such a request carries a foreign ``Origin`` or a foreign ``Host``.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["LocalOnly", "is_local"]


class LocalOnly:
    """An ASGI app before another one that turns foreign requests away as long as the gateway is open.

    Args:
        app: What is behind it.
        open_to_all: Whether nobody needs a key at this moment.
    """

    def __init__(self, app: ASGIApp, open_to_all: Callable[[], bool]) -> None:
        self._app = app
        self._open_to_all = open_to_all

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it."""
        if scope["type"] == "http" and self._open_to_all() and (message := _foreign(scope)):
            await _refuse(send, message)
        else:
            await self._app(scope, receive, send)


@lru_cache(maxsize=256)
def is_local(host: str) -> bool:
    """Return whether a host, with or without port, is a name or address of loopback."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or name.endswith(".localhost") or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _foreign(scope: Scope) -> str | None:
    host = origin = None
    for name, value in scope["headers"]:
        if name == b"host":
            host = value.decode("latin-1")
        elif name == b"origin":
            origin = value.decode("latin-1")
    if host is not None and not is_local(host):
        return "This gateway has no keys, so it answers under the names of this machine only, such as localhost."
    if origin is not None and not is_local(origin.partition("://")[2]):  # "null" is no address either
        return "This gateway has no keys, so it answers no page from elsewhere."
    return None


async def _refuse(send: Send, message: str) -> None:
    error = {"message": f"{message} Create a key to open it.", "type": "invalid_request_error", "param": None}
    body = json.dumps({"error": {**error, "code": "foreign_request"}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})
