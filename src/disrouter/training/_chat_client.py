"""A client of OpenAI-compatible servers: one chat completion at a time, asked for again when the server stumbles.

What may pass by itself (a lost connection, a timeout, 408, 409, 425, 429 and 5xx) is tried again after a pause; what
will not (a refused key, an unknown model, a reply that is no completion) is said at once. The key is sent to the named
server only, redirects are not followed, and no error, nor what caused it, holds the key.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from pydantic import ValidationError
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from disrouter.errors import AgentError, ConfigError, DisrouterError, RunError, UnknownNameError
from disrouter.training._chat_replies import ChatReply, ModelList, Reply, first_problem
from disrouter.types import Completion, Usage

__all__ = ["ChatClient", "check_server"]

_MOST_BYTES = 8 * 1024 * 1024
"""Of a reply; a completion of a hundred thousand tokens has less than one million."""

_MOST_WORDS = 300
"""Characters of a server's own message that an error quotes."""

_MOST_NAMES = 20
"""Models of a server that an error lists: those most like the name that was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatClient:
    """One server, asked through a pool of connections that the caller opens and closes."""

    session: aiohttp.ClientSession = field(repr=False)
    base_url: str
    """Up to and including the version, say ``http://127.0.0.1:8000/v1``."""

    api_key: str | None = field(default=None, repr=False)
    connect_timeout: float
    """Seconds until a connection is there."""

    timeout: float
    """Seconds until an answer is complete, connecting included; each attempt has its own."""

    retries: int
    """Attempts after the first."""

    backoff: float
    """Seconds: before retry n lies a random pause of up to ``backoff * 2 ** (n - 1)``."""

    longest_pause: float
    """Seconds: limits the random pause, and how much of a server's ``Retry-After`` is waited for before it."""

    async def complete(self, body: Mapping[str, Any]) -> Completion:
        """Return the first choice that the server gives for a request, with the tokens that it counted.

        A ``finish_reason`` of ``length`` is passed on; every other one is ``stop``. A missing content, as of a model
        that spent its tokens on reasoning, is an empty text. Seconds are those of the attempt that succeeded.

        Raises:
            ConfigError: The server refuses the key, sends us elsewhere, or has no such address.
            UnknownNameError: The server does not know the model of the request.
            AgentError: The server refuses this request.
            RunError: The server cannot be reached, keeps failing, or its reply is not a completion.
        """
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_PassingError),
            stop=stop_after_attempt(1 + self.retries),
            wait=self._pause,
            reraise=True,
        )
        try:
            completion: Completion = await retrying(self._attempt, body)
        except _PassingError as exc:
            tried = f"It was asked {1 + self.retries} times." if self.retries else ""
            raise RunError(f"{exc.message} {tried}".rstrip(), hint=exc.hint) from exc.__cause__
        return completion

    async def _attempt(self, body: Mapping[str, Any]) -> Completion:
        started = time.perf_counter()
        reply = await self._exchange("POST", "chat/completions", self.timeout, body)
        if reply.status != 200:
            raise await self._refusal(reply, str(body.get("model")))
        try:
            found = ChatReply.model_validate_json(reply.body)
        except ValidationError as exc:
            raise RunError(
                f"{self._name} sent no chat completion but {reply.kind}: {first_problem(exc)}.",
                hint="is it the base URL of an OpenAI-compatible server? Most end in /v1",
            ) from exc
        choice = found.choices[0]
        return Completion(
            text=choice.message.content or "",
            usage=Usage(found.usage.prompt_tokens, found.usage.completion_tokens),
            finish_reason="length" if choice.finish_reason == "length" else "stop",
            seconds=time.perf_counter() - started,
        )

    async def _exchange(self, method: str, path: str, timeout: float, body: Mapping[str, Any] | None = None) -> Reply:
        """Send one request and return the whole reply, whatever its status."""
        url = f"{self.base_url.rstrip('/')}/{path}"
        limits = aiohttp.ClientTimeout(total=timeout, sock_connect=self.connect_timeout)
        headers = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        try:
            async with self.session.request(
                method, url, json=body, headers=headers, timeout=limits, allow_redirects=False
            ) as response:
                content = bytearray()
                async for chunk in response.content.iter_any():
                    content += chunk
                    if len(content) > _MOST_BYTES:
                        raise RunError(
                            f"{self._name} sent a reply of more than {_MOST_BYTES // 2**20} MiB.",
                            hint="is it the base URL of an OpenAI-compatible server?",
                        )
                return Reply(response.status, response.headers, bytes(content))
        except aiohttp.ConnectionTimeoutError as exc:
            raise _PassingError(f"{self._name} did not connect in {self.connect_timeout:g} s.", hint=_RUNNING) from exc
        except TimeoutError as exc:
            raise _PassingError(
                f"{self._name} did not answer in {timeout:g} s.", hint="allow more time, or ask fewer at once"
            ) from exc
        except aiohttp.ClientSSLError as exc:
            raise ConfigError(f"{self._name} cannot be trusted: {exc}.", hint="check its certificate") from exc
        except aiohttp.ClientResponseError as exc:
            fault = exc.message  # no cause of ours: this exception shows the headers that were sent, the key among them
        except aiohttp.ClientError as exc:
            raise _PassingError(f"{self._name} cannot be reached: {exc}.", hint=_RUNNING) from exc
        raise _PassingError(f"{self._name} does not speak HTTP: {self._quoted(fault)}.", hint=_RUNNING)

    async def _refusal(self, reply: Reply, model: str) -> DisrouterError:
        """Return the error for a reply that is not a success."""
        code, words = reply.error()
        said = f" {self._quoted(words)}" if words else ""
        if reply.may_pass:
            fault = f"{self._name} fails with {reply.kind}.{said}"
            return _PassingError(fault, hint=_LOG, retry_after=reply.retry_after)
        if reply.status == 429 or reply.status >= 500:
            return RunError(f"{self._name} fails with {reply.kind} and will go on failing.{said}", hint=_LOG)
        if 300 <= reply.status < 400:
            return ConfigError(f"{self._name} sends us elsewhere ({reply.kind}).", hint="name the final address")
        if reply.status in (401, 403):
            given = "the API key" if self.api_key else "a request without an API key"
            return ConfigError(
                f"{self._name} refuses {given} ({reply.kind}).{said}", hint="is it the key of this server?"
            )
        if reply.status == 404 or code == "model_not_found":
            known = await self._models()
            if known and model not in known:
                nearest = get_close_matches(model, known, n=_MOST_NAMES, cutoff=0.0)
                return UnknownNameError.of("model", model, nearest, where=f"server '{self.base_url}'")
            hint = f"check the model's name, '{model}', and the base URL; most end in /v1"
            return ConfigError(f"{self._name} has no such model or address ({reply.kind}).{said}", hint=hint)
        return AgentError(f"{self._name} refuses a request ({reply.kind}).{said}", hint=_LOG)

    async def _models(self) -> list[str]:
        """Return the names of the models that the server offers; none if it does not say."""
        try:
            reply = await self._exchange("GET", "models", self.connect_timeout)
            found = ModelList.model_validate_json(reply.body)
        except (DisrouterError, ValidationError):
            return []
        return [self._quoted(model.id) for model in found.data]

    def _quoted(self, text: str) -> str:
        """Return a server's words on one short line; some servers repeat the key that they were sent."""
        clean = text.replace(self.api_key, "…") if self.api_key else text
        return " ".join(clean.split())[:_MOST_WORDS]

    def _pause(self, state: RetryCallState) -> float:
        """Return the seconds before the next attempt: what the server asks for, and a random part on top of it.

        Without that part all who were sent away together would come back together.
        """
        error = state.outcome.exception() if state.outcome is not None else None
        asked = error.retry_after if isinstance(error, _PassingError) else 0.0
        jitter = wait_random_exponential(multiplier=self.backoff, max=self.longest_pause)
        return min(asked, self.longest_pause) + jitter(state)

    @property
    def _name(self) -> str:
        return f"Server '{self.base_url}'"


def check_server(base_url: str, api_key: str | None) -> None:
    """Raise a ConfigError unless requests can be sent to this address with this key."""
    if "@" in base_url.partition("://")[2].partition("/")[0]:
        raise ConfigError("The base URL holds a user name or a password.", hint="give the server an API key instead")
    shown = base_url.partition("?")[0]  # behind it may stand a key
    try:
        url = urlsplit(base_url)
        plain = url.scheme in ("http", "https") and url.hostname and url.port != 0 and not (url.query or url.fragment)
    except ValueError as exc:
        raise ConfigError(f"The base URL '{shown}' cannot be read: {exc}.", hint=_EXAMPLE) from exc
    if not plain:
        raise ConfigError(f"The base URL '{shown}' is not a plain http or https address.", hint=_EXAMPLE)
    if api_key and not (api_key.isascii() and api_key.isprintable()):
        raise ConfigError("The API key has characters that cannot be sent.", hint="is there a line break in it?")


_EXAMPLE = "an example: http://127.0.0.1:8000/v1"
_LOG = "the server's log may say more"
_RUNNING = "is the server running, and does it listen there?"


class _PassingError(RunError):
    """A fault that may pass by itself."""

    def __init__(self, message: str, *, hint: str, retry_after: float = 0.0) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after
        """Seconds that the server asks us to wait."""
