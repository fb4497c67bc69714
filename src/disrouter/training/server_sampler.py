"""Answers of any OpenAI-compatible server (vLLM, Ollama, llama.cpp, ``transformers serve``), many asked for at once.

Every sample is a request of its own, and ``n`` is never sent: some servers ignore it (Ollama, ``transformers serve``),
and none says which of its choices took which tokens. Asked one by one, sample k of a query has a seed of its own, so
it is the same in every order and at every concurrency where the server honours ``seed``, and the server's ``usage``
is exact. The price is a prompt read N times; servers with a prefix cache read it once, paid ones charge for it.

A server's own defaults stay in force where a request says nothing: vLLM takes ``top_k`` from the model's
``generation_config.json``, and ``transformers serve`` samples only if that file has ``"do_sample": true``. It also
keeps one random state for all requests, so that its samples can be repeated at a concurrency of 1 only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import aiohttp
from anyio import create_memory_object_stream, create_task_group
from anyio.from_thread import start_blocking_portal
from anyio.streams.memory import MemoryObjectSendStream

from disrouter.agents.prompts import chat_messages
from disrouter.errors import AgentError, ConfigError
from disrouter.seeds import seed_of
from disrouter.training._chat_client import ChatClient, check_server
from disrouter.types import Completion, Query

__all__ = ["ServerSampler"]

_Outcome: TypeAlias = tuple[Query, Sequence[Completion]] | Exception


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSampler:
    """Answers of a model behind an OpenAI-compatible server, which is told no scenario."""

    base_url: str
    """Up to and including the version, say ``http://127.0.0.1:8000/v1``."""

    model: str
    """The name that the server knows the model by."""

    temperature: float
    seed: int
    max_tokens: int
    """Most tokens of an answer."""

    api_key: str | None = field(default=None, repr=False)
    """Sent to the server and shown nowhere."""

    concurrency: int = 16
    """Most requests under way at any time."""

    connect_timeout: float = 10.0
    """Seconds until a connection is there."""

    timeout: float = 600.0
    """Seconds until an answer is complete, the server's own queue included."""

    retries: int = 5
    """Attempts after the first, where a fault may pass by itself."""

    backoff: float = 0.5
    """Seconds: before retry n lies a random pause of up to ``backoff * 2 ** (n - 1)``."""

    longest_pause: float = 60.0
    """Seconds: limits the random pause, and how much of a server's ``Retry-After`` is waited for before it."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """The model's name, and how answers are drawn.

        Not the address: a server may come back at another one. Nobody but the caller can know whether two servers
        mean the same weights by one name.
        """
        return {
            "model": self.model,
            "temperature": self.temperature,
            "seed": self.seed,
            "max_tokens": self.max_tokens,
        }

    def sample(self, queries: Sequence[Query], samples: int) -> Iterator[tuple[Query, Sequence[Completion]]]:
        """Yield every query with its answers as they are finished; closing the iterator cancels what is under way.

        Raises:
            ConfigError: Address or key cannot be used, or the server refuses them.
            UnknownNameError: The server does not know the model.
            AgentError: The server refuses a query, say because it is too long.
            RunError: The server cannot be reached, keeps failing, or sends what is no completion with its usage.
        """
        check_server(self.base_url, self.api_key)
        if self.concurrency < 1:
            raise ConfigError(f"A concurrency of {self.concurrency} asks nothing.", hint="ask for at least 1")
        # Requests run in an event loop in a thread, so that they go on while the caller grades, and so that the caller
        # may itself be called from an event loop. They wait when the caller falls behind by this many queries.
        outbox, inbox = create_memory_object_stream[_Outcome](self.concurrency)
        with outbox, inbox, start_blocking_portal() as portal:  # left by an exception, it cancels its tasks
            portal.start_task_soon(self._ask_all, queries, samples, outbox)
            for _ in queries:
                outcome = portal.call(inbox.receive)
                if isinstance(outcome, Exception):
                    raise outcome
                yield outcome

    async def _ask_all(self, queries: Sequence[Query], samples: int, outbox: MemoryObjectSendStream[_Outcome]) -> None:
        """Send out every query when its answers are complete, or the first error."""
        jobs = ((query, k) for query in queries for k in range(samples))  # shared: whoever is free takes the next
        answers: defaultdict[str, dict[int, Completion]] = defaultdict(dict)

        async def work(client: ChatClient) -> None:
            for query, k in jobs:
                found = answers[query.id]
                found[k] = await self._ask(client, query, k)
                if len(found) == samples:
                    del answers[query.id]
                    await outbox.send((query, [found[k] for k in range(samples)]))

        try:
            connector = aiohttp.TCPConnector(limit=self.concurrency)
            async with aiohttp.ClientSession(connector=connector) as session, create_task_group() as workers:
                client = self._client(session)
                for _ in range(min(self.concurrency, len(queries) * samples)):
                    workers.start_soon(work, client)
        except* Exception as failed:
            await outbox.send(failed.exceptions[0])

    async def _ask(self, client: ChatClient, query: Query, k: int) -> Completion:
        body = {
            "model": self.model,
            "messages": chat_messages(query, None),
            "temperature": self.temperature,
            "top_p": 1.0,  # the whole distribution, as agents in this process sample
            "max_tokens": self.max_tokens,
            # 31 bits: llama.cpp reads 32, and a JSON number above 2^53 is not safe everywhere.
            "seed": seed_of(self.seed, query.id, str(k)) >> 32,
        }
        try:
            return await client.complete(body)
        except AgentError as exc:
            raise AgentError(f"Query '{query.id}': {exc.message}", hint=exc.hint) from exc

    def _client(self, session: aiohttp.ClientSession) -> ChatClient:
        return ChatClient(
            session=session,
            base_url=self.base_url,
            api_key=self.api_key,
            connect_timeout=self.connect_timeout,
            timeout=self.timeout,
            retries=self.retries,
            backoff=self.backoff,
            longest_pause=self.longest_pause,
        )
