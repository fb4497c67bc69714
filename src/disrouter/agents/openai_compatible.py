"""Agents behind servers: any model that an OpenAI-compatible server offers, near or far.

How such an agent judges itself depends on what its server can say:

- ``token``: one token is asked for with its log-probabilities; the confidence is 1 − P(rejection).
- ``text``: the answer is begun; if it begins with the rejection text, the server is stopped at once.
- ``prompt``: the model is asked for its confidence in words, for closed models that were never trained to reject.
- ``none``: it answers whatever it is asked.

With ``token`` and ``text`` another model of the same server may decide (``decides_with``): usually the agent's LoRA
adapter, while the model below it, which no training has touched, answers. The prompt is then read twice, by other
weights each time, and paid for twice.

A query that came in over HTTP is forwarded with every field it had, and what the server sends comes back whole.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Literal, TypeAlias

from disrouter.agents._assessing import asking_for_confidence, confidence_said, token_look
from disrouter.agents._begun import Begun
from disrouter.agents._chunks import Answer, assembled, completion_of, estimated_tokens, usage_of
from disrouter.agents._listing import not_listed
from disrouter.agents._server import PATIENCE, Patience, Server
from disrouter.agents.faults import FaultError
from disrouter.agents.hops import travel_of
from disrouter.agents.prompts import chat_messages, named_scenario
from disrouter.types import AgentCard, Completion, Delta, Look, Query, Sampling, Scenario, Usage

__all__ = ["Assessment", "OpenAICompatibleAgent", "Patience"]

Assessment: TypeAlias = Literal["token", "text", "prompt", "none"]

TOP_LOGPROBS = 20
"""The most that OpenAI's API and vLLM give."""

BEFORE_WORDS = 8
"""Tokens of space and markup that may stand before a rejection, each of whose letters may be a token."""

CONFIDENCE_TOKENS = 16
"""Enough for a number and the words that some models cannot keep to themselves."""

NETWORK = "disrouter"
"""The model's name by which a DiSRouter offers its whole network."""

_PATH = "chat/completions"


class OpenAICompatibleAgent:
    """An agent behind an OpenAI-compatible server.

    Args:
        card: The agent's name, price and context length.
        model: The model's name on the server: it answers.
        base_url: The server's address up to and including the version, say ``http://127.0.0.1:8000/v1``.
        api_key_env: Environment variable with the server's key; None sends none.
        self_assessment: How the agent judges itself (see above).
        decides_with: The model of the same server that decides, by ``token`` or ``text``; None leaves it to ``model``.
        rejection: What the model was trained to say instead of an answer.
        scenario_prompt: Whether the model reads the scenario's name in a system message. Where another one decides,
            that one alone reads it: the answering model was not trained with it, and must not answer otherwise for it.
        max_tokens: Most tokens of an answer where the query names no bound; None leaves it to the server.
        patience: How long the server may take, and how often it is asked again.
        hop_secret_env: Environment variable with the secret shared with a server that is a DiSRouter itself.
    """

    def __init__(
        self,
        card: AgentCard,
        *,
        model: str,
        base_url: str,
        api_key_env: str | None = None,
        self_assessment: Assessment = "none",
        decides_with: str | None = None,
        rejection: str = "I don't know",
        scenario_prompt: bool = False,
        max_tokens: int | None = None,
        patience: Patience = PATIENCE,
        hop_secret_env: str | None = None,
    ) -> None:
        self._card = card
        self.model = model
        self.self_assessment = self_assessment
        self.decides_with = decides_with
        self.rejection = rejection
        self.scenario_prompt = scenario_prompt
        self.max_tokens = max_tokens
        self.patience = patience
        self._server = Server(
            card.name, base_url, api_key_env=api_key_env, hop_secret_env=hop_secret_env, patience=patience
        )
        self._has_models = decides_with is None

    @property
    def card(self) -> AgentCard:
        """What others may know about this agent."""
        return self._card

    @property
    def api_key_env(self) -> str | None:
        """Environment variable that holds the server's key."""
        return self._server.api_key_env

    @property
    def hop_secret_env(self) -> str | None:
        """Environment variable that holds the secret shared with the server."""
        return self._server.hop_secret_env

    @property
    def forwards_requests(self) -> bool:
        """That a query's whole request reaches the model: tools, images, formats and fields nobody here knows."""
        return True

    def open(self) -> None:
        """Keep connections to the server from now on, in the running event loop, until :meth:`aclose`."""
        self._server.open()

    async def aclose(self) -> None:
        """Let go of every connection."""
        await self._server.aclose()

    async def look(self, query: Query, scenario: Scenario) -> Look:
        """Judge the own chance of answering right, as far as the server lets us.

        Raises:
            FaultError: The server broke, or refused.
        """
        if self.self_assessment == "none":
            return Look(confidence=None)
        started = time.perf_counter()
        timeout = min(self.patience.first_token, self._total(query))
        if not self._has_models:
            await self._require_models(timeout)
        if self.self_assessment == "text":
            return await self._text_look(query, scenario, started)
        model = self.decides_with or self.model
        body = {"model": model, "stream": False, "temperature": 0, **self._looking(query, scenario)}
        reply = await self._server.json(_PATH, body, timeout=timeout, travel=travel_of(query))
        seconds = time.perf_counter() - started
        usage = usage_of(reply.get("usage")) or Usage(estimated_tokens(_words(query)), 1)
        if self.self_assessment == "token":
            look = token_look(reply, self.rejection, usage, seconds)
            if look is None:
                raise FaultError(
                    f"The server of agent '{self._card.name}' gives no log-probabilities, which self_assessment token "
                    "needs; use text or none.",
                    kind="malformed",
                )
            return look
        said = completion_of(self._server, reply, _words(query), seconds)
        return Look(confidence=confidence_said(said.text), usage=usage, seconds=seconds)

    async def answer(
        self, query: Query, scenario: Scenario, look: Look | None, sampling: Sampling
    ) -> AsyncGenerator[Delta | Completion, None]:
        """Stream the answer with all that the server sends, ending in a :class:`Completion`.

        A query whose request does not stream is not streamed from the server either: its completion holds the
        server's whole reply. Whoever stops listening ends the connection, and so the server's work.

        Raises:
            FaultError: The server broke, or refused.
        """
        started = time.perf_counter()
        begun = self._begun_in(look, query, sampling)
        if begun is None and not _streams(query):
            yield await self._whole(query, scenario, sampling)
            return
        if begun is None:
            begun = await self._begin(query, self._body(query, scenario, sampling, streaming=True), streaming=True)
        streaming = begun.streaming
        chunks: list[dict[str, Any]] = []
        try:
            delta = await begun.next()
            while delta is not None:
                if streaming:
                    yield delta
                else:
                    chunks.extend(delta.chunks)
                delta = await begun.next()
        finally:
            await begun.aclose()
        completion = begun.answer.completion(_words(query), time.perf_counter() - started)
        if streaming:
            yield completion
        else:
            yield Completion(
                text=completion.text,
                usage=completion.usage,
                finish_reason=completion.finish_reason,
                seconds=completion.seconds,
                body=assembled(chunks),
            )

    async def complete(self, query: Query, scenario: Scenario, look: Look | None, sampling: Sampling) -> Completion:
        """Return the answer as a whole, with the server's whole reply where the query's request does not stream.

        Raises:
            FaultError: The server broke, or refused.
        """
        if not _streams(query) and self._begun_in(look, query, sampling) is None:
            return await self._whole(query, scenario, sampling)
        async with aclosing(self.answer(query, scenario, look, sampling)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Completion):
                    return piece
        raise AssertionError("an answer ends in a completion")

    async def _whole(self, query: Query, scenario: Scenario, sampling: Sampling) -> Completion:
        """Ask the server for an answer that does not stream."""
        started = time.perf_counter()
        body = self._body(query, scenario, sampling, streaming=False)
        reply = await self._server.json(_PATH, body, timeout=self._total(query), travel=travel_of(query))
        return completion_of(self._server, reply, _words(query), time.perf_counter() - started)

    def _begun_in(self, look: Look | None, query: Query, sampling: Sampling) -> Begun | None:
        """Return the answer that a look has begun and that can be used."""
        begun = look.state if look is not None else None
        as_asked = query.request is not None or sampling == Sampling()  # a look knows no sampling
        return begun if isinstance(begun, Begun) and not begun.closed and as_asked else None

    async def _require_models(self, timeout: float) -> None:
        """Do nothing if the server has both models, as far as it says; it is asked until it once has.

        A server of one model answers with it by whatever name it is asked, and what it says would be no decision.
        """
        assert self.decides_with is not None
        listed = await self._server.models(min(timeout, self.patience.connect))  # a list is told at once
        named = {"decides_with": self.decides_with, "model": self.model}
        if listed and (missing := not_listed(named, listed)):
            # Which ones it has is not for clients to read, who are told what a hop failed of.
            count = f"{len(listed)} models" if len(listed) > 1 else "one model"
            raise FaultError(
                f"The server of agent '{self._card.name}' lists {count}, but not {missing}.", kind="status", own=False
            )
        self._has_models = listed is not None

    async def _text_look(self, query: Query, scenario: Scenario, started: float) -> Look:
        """Begin the answer and read on until it is clear whether it is a rejection.

        What another model has begun is no answer of ours: it is stopped, whatever it says.
        """
        if self.decides_with is None:
            body = self._body(query, scenario, Sampling(), streaming=True)
        else:
            body = {"model": self.decides_with, "stream": True, "temperature": 0, **self._looking(query, scenario)}
        begun = await self._begin(query, body, streaming=_streams(query))
        try:
            async with asyncio.timeout(self.patience.first_token):
                rejects = await begun.settle(self.rejection)
        except TimeoutError:
            await begun.aclose()
            raise self._slow() from None
        except BaseException:
            await begun.aclose()
            raise
        seconds = time.perf_counter() - started
        if not rejects and self.decides_with is None:
            return Look(confidence=None, accepts=True, seconds=seconds, state=begun)
        await begun.aclose()
        usage = begun.answer.usage or Usage(estimated_tokens(_words(query)), begun.answer.written)
        return Look(confidence=None, accepts=not rejects, usage=usage, seconds=seconds)

    async def _begin(self, query: Query, body: Mapping[str, Any], *, streaming: bool) -> Begun:
        """Return an answer whose first piece has arrived."""
        answer = Answer(self._server)
        begun = Begun(answer, self._deltas(answer, query, body), streaming=streaming)
        try:
            async with asyncio.timeout(self.patience.first_token):
                await begun.more()
        except TimeoutError:
            await begun.aclose()
            raise self._slow() from None
        except BaseException:
            await begun.aclose()
            raise
        return begun

    async def _deltas(self, answer: Answer, query: Query, body: Mapping[str, Any]) -> AsyncGenerator[Delta, None]:
        stall = max(self.patience.stall, self.patience.first_token)
        total = self._total(query)
        async with (
            self._server.replying(_PATH, body, total=total, stall=stall, travel=travel_of(query)) as response,
            aclosing(answer.deltas(response)) as deltas,
        ):
            async for delta in deltas:
                yield delta

    def _body(self, query: Query, scenario: Scenario, sampling: Sampling, *, streaming: bool) -> dict[str, Any]:
        """Return the request to answer a query: its own fields where it came in over HTTP, else ours."""
        body: dict[str, Any]
        if query.request is not None:
            body = dict(query.request.body)
        else:
            body = {"temperature": sampling.temperature, "seed": sampling.seed}
            if sampling.max_tokens is not None:
                body["max_tokens"] = sampling.max_tokens
        if self.max_tokens is not None and not body.get("max_tokens") and not body.get("max_completion_tokens"):
            body["max_tokens"] = self.max_tokens
        body |= {"model": self.model, "messages": self._messages(query, scenario), "stream": streaming}
        if self.model == NETWORK:  # a network behind a network weighs cost as the one before it
            body["alpha"] = scenario.alpha
        if streaming:  # usage is always asked for: whoever does not want it need not pass it on
            body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
        else:
            body.pop("stream_options", None)
        return body

    def _looking(self, query: Query, scenario: Scenario) -> dict[str, Any]:
        """Return the fields of a request that looks."""
        messages = self._messages(query, scenario, deciding=True)
        if self.self_assessment == "prompt":
            asked = {"role": "user", "content": asking_for_confidence(scenario)}
            return {"messages": [*messages, asked], "max_tokens": CONFIDENCE_TOKENS}
        # Tools change the prompt, so they belong to it; what forces a form of answer would forbid the rejection.
        tools = {"tools": query.request.body["tools"]} if query.request and query.request.body.get("tools") else {}
        if self.self_assessment == "text":
            most = len(self.rejection) + BEFORE_WORDS
            return {"messages": messages, "max_tokens": most, "stream_options": {"include_usage": True}, **tools}
        return {"messages": messages, "max_tokens": 1, "logprobs": True, "top_logprobs": TOP_LOGPROBS, **tools}

    def _messages(self, query: Query, scenario: Scenario, *, deciding: bool = False) -> list[Any]:
        told = self.scenario_prompt and (deciding or self.decides_with is None)
        if query.request is None:
            return list(chat_messages(query, scenario if told else None))
        messages = list(query.request.body["messages"])
        if not told:
            return messages
        name = named_scenario(scenario).name
        first = messages[0] if messages and isinstance(messages[0], dict) else {}
        if first.get("role") in ("system", "developer") and isinstance(first.get("content"), str):
            return [{**first, "content": f"{name}\n{first['content']}"}, *messages[1:]]
        return [{"role": "system", "content": name}, *messages]

    def _total(self, query: Query) -> float:
        left = self._left(query)
        return self.patience.total if left is None else max(0.001, min(self.patience.total, left))

    def _left(self, query: Query) -> float | None:
        deadline = query.request.deadline if query.request is not None else None
        return None if deadline is None else deadline - time.monotonic()

    def _slow(self) -> FaultError:
        return FaultError(f"Agent '{self._card.name}' said nothing in {self.patience.first_token:g} s.", kind="timeout")


def _streams(query: Query) -> bool:
    """Return whether the server is asked to stream: always, unless the query came in a request that does not."""
    return query.request is None or query.request.streaming


def _words(query: Query) -> str:
    """Return all that a query says, to estimate its tokens."""
    return "\n".join(message.content for message in query.messages)
