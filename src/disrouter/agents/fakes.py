"""Fakes: agents that follow a script, for tests and examples that need no model."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from disrouter.errors import AgentError, ContextError
from disrouter.types import AgentCard, Completion, Look, Price, Query, QueryPrice, Sampling, Scenario, Usage

__all__ = ["Script", "ScriptedAgent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What a scripted agent does with one query."""

    confidence: float | None = 1.0
    accepts: bool | None = None
    """The agent's own word; None if it has none."""

    reply: str = "yes"
    """The answer; streamed word by word, one token each."""

    fails: Literal["look", "answer", "midway"] | None = None
    """Where the agent breaks: while looking, before its answer's first word, or after it."""

    error: Exception | None = None
    """What it raises then; None for an :class:`~disrouter.errors.AgentError`."""

    delay: float = 0.0
    """Seconds that the look takes, and again the answer."""


class ScriptedAgent:
    """An agent that does as its script says; it counts a token per word and remembers whom it served.

    Args:
        name: Name of the agent.
        cost: Normalised price per query.
        look_share: Share of ``cost`` that a look alone costs.
        price: Another price, instead of ``cost`` and ``look_share``.
        context_length: Most words of a query it can take; a longer one is a ContextError.
        scripts: Scripts for single queries, by query id, instead of the general one.
        script: Fields of the general :class:`Script`: ``confidence``, ``accepts``, ``reply``, ``fails``, ``error``,
            ``delay``.
    """

    def __init__(
        self,
        name: str,
        *,
        cost: float = 0.5,
        look_share: float = 0.1,
        price: Price | None = None,
        context_length: int | None = None,
        scripts: Mapping[str, Script] | None = None,
        **script: Any,
    ) -> None:
        self.card = AgentCard(
            name=name,
            price=price or QueryPrice(cost=cost, look_share=look_share),
            context_length=context_length,
            details={"backend": "scripted"},
        )
        self.script = replace(Script(), **script)
        self.scripts = dict(scripts or {})
        self.looked: list[str] = []
        """Ids of the queries it has looked at, in order."""
        self.answered: list[str] = []
        """Ids of the queries it was asked to answer, in order."""

    async def look(self, query: Query, scenario: Scenario) -> Look:
        """Return the scripted confidence and word."""
        script = self.scripts.get(query.id, self.script)
        self.looked.append(query.id)
        await asyncio.sleep(script.delay)
        words = sum(len(message.content.split()) for message in query.messages)
        if self.card.context_length is not None and words > self.card.context_length:
            raise ContextError(
                f"Agent '{self.card.name}' takes {self.card.context_length} words; the query has {words}."
            )
        if script.fails == "look":
            raise self._error(script)
        return Look(
            confidence=script.confidence,
            accepts=script.accepts,
            usage=Usage(prompt_tokens=words),
            seconds=script.delay,
        )

    async def answer(
        self, query: Query, scenario: Scenario, look: Look | None, sampling: Sampling
    ) -> AsyncIterator[str | Completion]:
        """Stream the scripted reply."""
        script = self.scripts.get(query.id, self.script)
        self.answered.append(query.id)
        await asyncio.sleep(script.delay)
        if script.fails == "answer":
            raise self._error(script)
        words = re.findall(r"\s*\S+\s*", script.reply)
        for word in words:
            yield word
            if script.fails == "midway":
                raise self._error(script)
        yield Completion(text=script.reply, usage=Usage(completion_tokens=len(words)), seconds=script.delay)

    def _error(self, script: Script) -> Exception:
        return script.error or AgentError(f"Agent '{self.card.name}' broke, as its script says.")
