"""One OpenAI-compatible server as an agent's backend: sending, trying again where that is safe, naming what failed.

The key goes to the named server only, redirects are not followed, and no error holds a key or an address.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson
from yarl import URL

from disrouter.agents._listing import names_in
from disrouter.agents.faults import FaultError
from disrouter.agents.hops import Signer, Travel
from disrouter.agents.wire import fault_from
from disrouter.errors import AgentError

__all__ = ["AT_ONCE", "FIRST_PAUSE", "PATIENCE", "Patience", "Server", "new_session"]

LARGEST_REPLY = 64 * 1024 * 1024
"""Bytes of a reply that does not stream; a completion of a hundred thousand tokens has less than one million."""

LARGEST_REFUSAL = 64 * 1024
MOST_WORDS = 300
LONGEST_PAUSE = 2.0
"""Seconds. A server that asks for a longer one is not waited for: another agent may be free now."""

FIRST_PAUSE = 0.05
AT_ONCE = 0.25
"""Seconds. A connection that ends sooner was closed before the request came: a kept one, say, that had timed out."""

UNCONFIRMED = 8.0
"""Seconds for which what was sent may go without the other machine confirming it: six attempts, say, on a bad line."""

_PASSING = (429, 503)
"""Statuses of servers that have not begun with the request. Behind a 502 or a 504 one may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a server may take, in seconds, and how often it is asked again."""

    connect: float = 5.0
    first_token: float = 60.0
    """Until a look is done, or the first token of a streamed answer is there."""

    stall: float = 60.0
    """Between two pieces of an answer; never less than ``first_token``."""

    total: float = 600.0
    retries: int = 1
    """Further attempts where the server has not begun: it refused the connection, or said it had no room."""


PATIENCE = Patience()


class Server:
    """A server that speaks OpenAI's dialect.

    Between :meth:`open` and :meth:`aclose` connections are kept; without them every request has its own.

    Args:
        agent: Name of the agent it serves, for messages.
        base_url: Up to and including the version, say ``http://127.0.0.1:8000/v1``.
        api_key_env: Environment variable that holds the key, read at every request; None sends none.
        hop_secret_env: Environment variable with the secret that hop headers are signed with, read at every request.
        patience: How long it may take.
        chance: Draws the pauses between attempts.
    """

    def __init__(
        self,
        agent: str,
        base_url: str,
        *,
        api_key_env: str | None = None,
        hop_secret_env: str | None = None,
        patience: Patience = PATIENCE,
        chance: random.Random | None = None,
    ) -> None:
        self.agent = agent
        self.base_url = base_url.rstrip("/")
        self.api_key_env = api_key_env
        self.hop_secret_env = hop_secret_env
        self.patience = patience
        self.signer = Signer(lambda: os.environ.get(hop_secret_env) if hop_secret_env else None)
        self._chance = chance or random.Random()
        self._session: aiohttp.ClientSession | None = None
        self._urls: dict[str, URL] = {}

    def open(self) -> None:
        """Keep connections from now on; call it inside the event loop that will use them."""
        if self._session is None:
            self._session = new_session()

    async def aclose(self) -> None:
        """Let go of every connection."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def json(self, path: str, body: Mapping[str, Any], *, timeout: float, travel: Travel) -> dict[str, Any]:
        """Return the JSON object that the server replies.

        Raises:
            FaultError: There is none.
        """
        kept = self._session
        session = kept or new_session()
        try:
            response = await self._sent(session, path, body, timeout, None, travel)
            try:
                content = await self._read(response, LARGEST_REPLY)
            finally:
                response.close()  # one read to its end has given its connection back already
        finally:
            if kept is None:
                await session.close()
        try:
            found = orjson.loads(content)
        except orjson.JSONDecodeError:
            raise self._malformed(_what(response, content)) from None
        if not isinstance(found, dict):
            raise self._malformed(f"a JSON {type(found).__name__}")
        if "choices" not in found and found.get("error"):
            raise self.error_in(found["error"])
        return found

    async def models(self, timeout: float) -> frozenset[str] | None:
        """Return the names of the models that the server lists; none if it does not say, None if it is not there."""
        kept = self._session
        session = kept or new_session()
        limits = aiohttp.ClientTimeout(total=timeout, sock_connect=self.patience.connect)
        asked = session.get(self._url("models"), headers=self._headers(), timeout=limits, allow_redirects=False)
        try:
            async with asked as response:
                if response.status in _PASSING:
                    return None
                content = await self._read(response, LARGEST_REPLY) if response.status == 200 else b"null"
            return names_in(orjson.loads(content))
        except orjson.JSONDecodeError:
            return frozenset()
        except (FaultError, aiohttp.ClientError, TimeoutError, OSError):
            return None
        finally:
            if kept is None:
                await session.close()

    @asynccontextmanager
    async def replying(
        self, path: str, body: Mapping[str, Any], *, total: float, stall: float, travel: Travel
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        """Send a request and hold the reply, whose status is 200, for as long as the block runs.

        Raises:
            FaultError: The server cannot be reached, or refuses.
        """
        kept = self._session
        session = kept or new_session()
        try:
            response = await self._sent(session, path, body, total, stall, travel)
            try:
                yield response
            finally:
                response.close()
        finally:
            if kept is None:
                await session.close()

    def error_in(self, error: Any) -> FaultError:
        """Return the fault for an error object that came with a status of success."""
        message, code, _ = _error_parts(error)
        return FaultError(f"Agent '{self.agent}' failed.{self.said(message)}", kind="status", code=code)

    def fault_of(self, error: Exception) -> FaultError:
        """Return the fault that an exception of the connection stands for."""
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return FaultError(f"Agent '{self.agent}' did not connect in {self.patience.connect:g} s.", kind="connect")
        if isinstance(error, TimeoutError):
            return FaultError(f"Agent '{self.agent}' took too long.", kind="timeout")
        if isinstance(error, aiohttp.ClientSSLError):
            return FaultError(f"The certificate of agent '{self.agent}' cannot be trusted.", kind="connect")
        if isinstance(error, aiohttp.ClientConnectorError):
            return FaultError(f"Agent '{self.agent}' cannot be reached.", kind="connect")
        if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError):
            return FaultError(f"Agent '{self.agent}' closed the connection.", kind="cut")
        if isinstance(error, aiohttp.ClientPayloadError):
            return FaultError(f"The reply of agent '{self.agent}' broke off.", kind="cut")
        return FaultError(f"The server of agent '{self.agent}' does not speak HTTP.", kind="malformed")

    async def _sent(
        self,
        session: aiohttp.ClientSession,
        path: str,
        body: Mapping[str, Any],
        total: float,
        stall: float | None,
        travel: Travel,
    ) -> aiohttp.ClientResponse:
        """Return a reply of status 200, trying again where the server has not begun with the request."""
        try:
            data = orjson.dumps(body)
        except TypeError:  # what can be read cannot always be written: nesting, say
            raise FaultError(
                f"The request cannot be sent to agent '{self.agent}': it is nested too deeply.", kind="request"
            ) from None
        begun = time.monotonic()
        until = begun + total
        attempt, told_the_time = 0, False
        while True:
            limits = aiohttp.ClientTimeout(
                total=max(0.001, until - time.monotonic()), sock_connect=self.patience.connect, sock_read=stall
            )
            fault: AgentError
            sent = time.monotonic()
            # Every attempt is signed anew: what was sent once is not taken again.
            left = None if travel.seconds is None else max(0.0, travel.seconds - (sent - begun))
            hop = self.signer.headers(path, data, replace(travel, seconds=left))
            try:
                response = await session.post(
                    self._url(path),
                    data=data,
                    headers={**self._headers(), **hop},
                    timeout=limits,
                    allow_redirects=False,
                )
                if response.status == 200:
                    return response
                if response.status == 401 and not told_the_time and self.signer.learn(hop, response.headers):
                    told_the_time = True
                    await self._dismiss(response)
                    continue
                try:
                    fault = await self._refusal(response)
                finally:
                    response.close()
                passing = response.status in _PASSING and response.headers.get("x-should-retry") != "false"
            except (aiohttp.ClientError, TimeoutError, OSError) as exc:
                fault = broken = self.fault_of(exc)
                at_once = broken.kind == "cut" and time.monotonic() - sent < AT_ONCE
                passing = (broken.kind == "connect" and not isinstance(exc, TimeoutError)) or at_once
            pause = (getattr(fault, "retry_after", None) or 0.0) + self._chance.uniform(0, FIRST_PAUSE * 2**attempt)
            attempt += 1
            if not passing or attempt > self.patience.retries or pause > min(LONGEST_PAUSE, until - time.monotonic()):
                raise fault from None  # what aiohttp raises may show the request, the key among its headers
            await asyncio.sleep(pause)

    async def _dismiss(self, response: aiohttp.ClientResponse) -> None:
        """Read what is left of a refusal, so that its connection can be used again."""
        try:
            await response.content.read(LARGEST_REFUSAL)
        finally:
            response.close()

    def _url(self, path: str) -> URL:
        text = f"{self.base_url}/{path}"
        return self._urls.get(text) or self._urls.setdefault(text, URL(text))

    def _headers(self) -> dict[str, str]:
        headers = {"content-type": "application/json"}
        if key := self._key():
            headers["authorization"] = f"Bearer {key}"
        return headers

    def _key(self) -> str | None:
        return os.environ.get(self.api_key_env) if self.api_key_env else None

    async def _read(self, response: aiohttp.ClientResponse, most: int) -> bytes:
        """Return the body of a reply that has a bounded size."""
        content = bytearray()
        try:
            async for piece in response.content.iter_any():
                content += piece
                if len(content) > most:
                    raise self._malformed(f"more than {most // 2**20} MiB")
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise self.fault_of(exc) from None
        return bytes(content)

    async def _refusal(self, response: aiohttp.ClientResponse) -> AgentError:
        """Return the fault of a reply that is no success."""
        status, name = response.status, f"Agent '{self.agent}'"
        message, code, param = "", None, None
        content = await response.content.read(LARGEST_REFUSAL)
        try:
            found = orjson.loads(content)
            if isinstance(found, dict) and isinstance(found.get("fault"), dict):  # an agent of ours, in our words
                return fault_from(found["fault"], self.agent)
            message, code, param = _error_parts(found.get("error", found) if isinstance(found, dict) else found)
        except orjson.JSONDecodeError:
            pass
        said, after = self.said(message), _retry_after(response.headers)
        if 300 <= status < 400:
            return FaultError(
                f"{name} sends us elsewhere (HTTP {status}), and redirects are not followed.", kind="status"
            )
        if code is not None and code.startswith("hop_"):
            return FaultError(f"{name} refuses our signature.{said}", kind="status", status=status, code=code)
        if status in (401, 403):
            return FaultError(f"{name} refuses the key it was sent (HTTP {status}).", kind="status", status=status)
        if status == 429:
            return FaultError(
                f"{name} has no room (HTTP 429).{said}", kind="busy", status=status, code=code, retry_after=after
            )
        if status in (400, 413, 422):
            too_long = code == "context_length_exceeded" or _about_context(message)
            return FaultError(
                f"{name} refuses this request (HTTP {status}).{said}",
                kind="context" if too_long else "request",
                status=status,
                code=code,
                param=param,
            )
        return FaultError(
            f"{name} fails with HTTP {status}.{said if status < 500 else ''}",
            kind="status",
            status=status,
            code=code,
            retry_after=after,
            own=status >= 500,  # a wrong model name is the operator's mistake and no breakdown
        )

    def _malformed(self, what: str) -> FaultError:
        return FaultError(f"Agent '{self.agent}' sent {what} instead of a completion.", kind="malformed")

    def said(self, message: str) -> str:
        """Return a server's words on one short line, without what they may give away."""
        clean = message
        for secret in (self._key(), self.base_url, urlsplit(self.base_url).netloc):
            if secret:
                clean = clean.replace(secret, "…")
        clean = " ".join(clean.split())
        if len(clean) > MOST_WORDS:
            clean = clean[: MOST_WORDS - 1] + "…"
        return f" {clean}" if clean else ""


def new_session(
    timeout: aiohttp.ClientTimeout | None = None, middlewares: Sequence[aiohttp.ClientMiddlewareType] = ()
) -> aiohttp.ClientSession:
    """Return a session whose connections die with whoever is at their other end."""
    return aiohttp.ClientSession(
        timeout=timeout or aiohttp.ClientTimeout(),
        middlewares=middlewares,
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=15.0, socket_factory=_mortal_socket),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"user-agent": "disrouter", "accept-encoding": "identity"},
        trust_env=False,
        read_bufsize=2**18,
    )


def _mortal_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """Return a socket that dies soon after the machine at its other end has gone without a word."""
    family, kind, protocol, _, _ = address
    sock = socket.socket(family, kind, protocol)
    sock.setblocking(False)
    # A kept connection that a partition has cut looks well, and what is sent on it is never confirmed.
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(UNCONFIRMED * 1000))
    # One that waits for its answer sends nothing, and so asks from time to time.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, seconds in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 2)):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), seconds)
    return sock


def _what(response: aiohttp.ClientResponse, content: bytes) -> str:
    if not content:
        return "an empty reply"
    media_type = response.headers.get("content-type", "").partition(";")[0]
    return f"a reply of type '{media_type[:60]}' that is no JSON"


def _error_parts(error: Any) -> tuple[str, str | None, str | None]:
    """Return message, code and param of an error in whichever form servers send it."""
    if isinstance(error, str):
        return error, None, None
    if not isinstance(error, dict):
        return "", None, None
    message, code, param = error.get("message", error.get("detail")), error.get("code"), error.get("param")
    return (
        message if isinstance(message, str) else "",
        code[:100] if isinstance(code, str) else None,
        param[:100] if isinstance(param, str) else None,
    )


def _about_context(message: str) -> bool:
    words = message.lower()
    return any(w in words for w in ("context length", "context window", "context size", "maximum context", "too long"))


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a server asks to wait, given as a number or as a date."""
    milliseconds, value = headers.get("retry-after-ms"), headers.get("retry-after")
    for text, unit in ((milliseconds, 0.001), (value, 1.0)):
        try:
            if text is not None:
                return min(86_400.0, max(0.0, float(text) * unit))
        except ValueError:
            pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time()) if value else None
    except ValueError:
        return None
