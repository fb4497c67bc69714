"""The gateway that is tried, as a plain HTTP client sees it: bytes, statuses and headers, nothing made nicer."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from disrouter.conformance.events import Event, events_of

__all__ = ["Reply", "Stream", "Target"]

MAX_BYTES = 32 * 2**20
"""No answer of a case is longer."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def content_type(self) -> str:
        """The media type without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def json(self) -> Any:
        """Return the body as JSON, or None if it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Stream(Reply):
    """A streamed answer, read to its end."""

    arrivals: Sequence[float] = ()
    """When each piece came, in seconds since the request was sent."""
    broken: bool = False
    """The connection ended without the end of the body."""

    def events(self) -> list[Event]:
        """Return the server-sent events."""
        return events_of(self.body)

    def chunks(self) -> list[Any]:
        """Return the events that hold JSON."""
        return [event.json for event in self.events() if event.json is not None]


@dataclass
class Target:
    """Where the gateway is and how to ask it. Used as an async context manager."""

    url: str
    """The base URL with the version, as clients take it."""
    model: str
    key: str | None = field(default=None, repr=False)
    timeout: float = 60.0
    """Seconds that an answer may take."""
    _session: aiohttp.ClientSession | None = field(default=None, repr=False)

    async def __aenter__(self) -> Target:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self.timeout), auto_decompress=True, trust_env=False
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._session is not None:
            await self._session.close()

    # -- what most cases ask -------------------------------------------------------------------------------------------

    def chat_body(self, text: str | None = None, **fields: Any) -> dict[str, Any]:
        """Return a chat request with one user message; ``fields`` add to it and replace."""
        messages = [{"role": "user", "content": text or "Say hello."}]
        return {"model": self.model, "messages": messages, **fields}

    async def chat(self, text: str | None = None, **fields: Any) -> Reply:
        """Ask for a whole chat completion."""
        return await self.post("/chat/completions", self.chat_body(text, **fields))

    async def chat_stream(self, text: str | None = None, **fields: Any) -> Stream:
        """Ask for a streamed chat completion."""
        return await self.stream("/chat/completions", self.chat_body(text, stream=True, **fields))

    # -- the wire ------------------------------------------------------------------------------------------------------

    async def post(self, path: str, body: object, headers: Mapping[str, str | None] | None = None) -> Reply:
        """Send a body, as JSON unless it is bytes; a header that is None is left out."""
        return await self.send("POST", path, body, headers)

    async def get(self, path: str, headers: Mapping[str, str | None] | None = None) -> Reply:
        """Get a path below the base URL."""
        return await self.send("GET", path, None, headers)

    async def send(
        self, method: str, path: str, body: object, headers: Mapping[str, str | None] | None = None
    ) -> Reply:
        """Send any request and return the whole answer."""
        async with self._request(method, path, body, headers) as response:
            pieces = [piece async for piece in _limited(response)]
            return Reply(response.status, lower(response.headers), b"".join(pieces))

    async def stream(self, path: str, body: object) -> Stream:
        """Send a body and read the answer piece by piece."""
        started = time.monotonic()
        pieces: list[bytes] = []
        arrivals: list[float] = []
        broken = False
        async with self._request("POST", path, body, None) as response:
            try:
                async for piece in _limited(response):
                    pieces.append(piece)
                    arrivals.append(time.monotonic() - started)
            except aiohttp.ClientPayloadError:
                broken = True
            return Stream(response.status, lower(response.headers), b"".join(pieces), tuple(arrivals), broken)

    async def hang_up(self, path: str, body: object) -> None:
        """Send a body, wait for the first piece of the answer, and close the connection."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=self.timeout)) as session:
            response = await session.post(self._url(path), data=_bytes(body), headers=self._headers(None))
            await response.content.readany()
            response.close()

    async def talk(self, head: Sequence[str], body: bytes = b"", *, seconds: float = 10.0) -> bytes:
        """Send raw header lines and a body over a new connection, and return the first that comes back, or nothing.

        ``{path}`` in a line becomes the path of the base URL. A request whose headers promise more is left unfinished.
        """
        parts = urlsplit(self.url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=parts.scheme == "https" or None)
        own = [f"Host: {parts.netloc}"] + ([f"Authorization: Bearer {self.key}"] if self.key else [])
        lines = [line.replace("{path}", parts.path.rstrip("/")) for line in head]
        try:
            writer.write("\r\n".join([lines[0], *own, *lines[1:], "", ""]).encode() + body)
            async with asyncio.timeout(seconds):
                return await reader.read(2**16)
        except (TimeoutError, ConnectionError):
            return b""
        finally:
            writer.close()

    def _request(self, method: str, path: str, body: object, headers: Mapping[str, str | None] | None) -> Any:
        if self._session is None:
            raise RuntimeError("a target is used inside `async with`")
        return self._session.request(
            method,
            self._url(path),
            data=None if body is None else _bytes(body),
            headers=self._headers(headers),
            allow_redirects=False,
        )

    def _url(self, path: str) -> str:
        return self.url.rstrip("/") + path

    def _headers(self, changes: Mapping[str, str | None] | None) -> dict[str, str]:
        own: dict[str, str | None] = {"Content-Type": "application/json", "Accept": "*/*"}
        if self.key is not None:
            own["Authorization"] = f"Bearer {self.key}"
        return {name: value for name, value in {**own, **(changes or {})}.items() if value is not None}


def lower(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers with their names in lower case."""
    return {name.lower(): value for name, value in headers.items()}


async def _limited(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield what comes, up to a limit: a target must not fill the memory of whoever tries it."""
    size = 0
    async for piece in response.content.iter_any():
        size += len(piece)
        if size > MAX_BYTES:
            raise aiohttp.ClientPayloadError(f"an answer of more than {MAX_BYTES // 2**20} MiB")
        yield piece


def _bytes(body: object) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()
