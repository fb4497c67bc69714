"""Calls to the admin routes of a gateway that runs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from disrouter.agents.addresses import server_problem
from disrouter.errors import RunError, UsageError

__all__ = ["ask_gateway"]

SECONDS = 30.0
LARGEST_REPLY = 16 * 1024 * 1024


def ask_gateway(
    url: str, key_variable: str, method: str, path: str, body: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return what a gateway replies to an administrator's call.

    Raises:
        UsageError: The address or the key is not usable, or the gateway says that the call is wrong.
        RunError: It cannot be reached, or cannot do it.
    """
    import http.client

    if problem := server_problem(url):
        raise UsageError(f"--url '{url}' is not usable: {problem}.")
    key = os.environ.get(key_variable)
    if not key:
        raise UsageError(
            f"This needs an administrator's key, and the variable {key_variable} is not set.",
            hint=f"disrouter keys create NAME --admin, then export {key_variable}=…",
        )
    place = urlsplit(url)
    kind = http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
    connection = kind(place.hostname or "", place.port, timeout=SECONDS)
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json", "accept": "application/json"}
    try:
        connection.request(method, place.path.rstrip("/") + path, json.dumps(body) if body else None, headers)
        reply = connection.getresponse()
        found = json.loads(reply.read(LARGEST_REPLY))
    except (OSError, http.client.HTTPException) as exc:
        raise RunError(f"The gateway at {url} cannot be reached.", hint="is it running? give --url") from exc
    except (ValueError, RecursionError):
        raise RunError(
            f"What answers at {url} is no gateway of ours.", hint="give the address of one with --url"
        ) from None
    finally:
        connection.close()
    if reply.status == 200 and isinstance(found, dict):
        return found
    error = found.get("error") if isinstance(found, dict) else None
    message = str(error.get("message")) if isinstance(error, dict) else f"HTTP {reply.status}"
    failed = RunError if reply.status >= 500 else UsageError
    raise failed(f"The gateway refuses: {message[:500]}")
