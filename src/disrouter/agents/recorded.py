"""Recorded agents: what an agent once said, said again without its model."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass

from disrouter.agents.prompts import named_scenario
from disrouter.errors import AgentError
from disrouter.types import AgentCard, Completion, Look, Query, Sampling, Scenario, Usage

__all__ = ["RecordedAgent", "Recording"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What one agent said about one query under one scenario: a row of an outcome table."""

    query_id: str
    scenario: str
    """Name of the scenario it was recorded under."""

    confidence: float | None = None
    accepts: bool | None = None
    answer: str | None = None
    """Its answer, recorded whether or not it would have rejected; None if it gave none."""

    prompt_tokens: int = 0
    answer_tokens: int = 0
    look_seconds: float = 0.0
    answer_seconds: float = 0.0
    failure: str | None = None
    """The message of the failure, where the agent broke on this query: at the look if no confidence and no word is
    recorded, else at the answer."""


class RecordedAgent:
    """An agent that repeats its recordings: same confidence, words, tokens and seconds, without waiting for them.

    A scenario that was not recorded is served from the named scenario nearest to it, which is also the one whose name
    a live agent would have read in its prompt.
    """

    def __init__(self, card: AgentCard, recordings: Iterable[Recording]) -> None:
        self._card = card
        self._recordings: dict[str, dict[str, Recording]] = {}
        for recording in recordings:
            self._recordings.setdefault(recording.query_id, {})[recording.scenario] = recording

    @property
    def card(self) -> AgentCard:
        """What others may know about this agent."""
        return self._card

    async def look(self, query: Query, scenario: Scenario) -> Look:
        """Return the recorded confidence, word, tokens and seconds.

        Raises:
            AgentError: Nothing is recorded for this query, or a failure is.
        """
        return self._look(self._find(query, scenario))

    async def answer(
        self, query: Query, scenario: Scenario, look: Look | None, sampling: Sampling
    ) -> AsyncIterator[str | Completion]:
        """Stream the recorded answer word by word; ``sampling`` changes nothing.

        Raises:
            AgentError: Nothing is recorded for this query, or a failure is.
        """
        completion = self._completion(self._find(query, scenario), look)
        for word in re.findall(r"\s*\S+|\s+", completion.text):
            yield word
        yield completion

    async def complete(self, query: Query, scenario: Scenario, look: Look | None, sampling: Sampling) -> Completion:
        """Return the recorded answer.

        Raises:
            AgentError: Nothing is recorded for this query, or a failure is.
        """
        return self._completion(self._find(query, scenario), look)

    def look_many(self, queries: Sequence[Query], scenario: Scenario) -> list[Look]:
        """Return what :meth:`look` returns, for many queries."""
        return [self._look(self._find(query, scenario)) for query in queries]

    def answer_many(
        self, queries: Sequence[Query], scenario: Scenario, looks: Sequence[Look] | None, sampling: Sampling
    ) -> list[Completion]:
        """Return what :meth:`answer` ends in, for many queries."""
        known = looks if looks is not None else [None] * len(queries)
        return [self._completion(self._find(query, scenario), look) for query, look in zip(queries, known, strict=True)]

    def _look(self, recording: Recording) -> Look:
        # An agent without self-assessment does not run to look: it reads the prompt only when it answers.
        looked = recording.confidence is not None or recording.accepts is not None
        if recording.failure is not None and not looked:
            raise AgentError(recording.failure)
        return Look(
            confidence=recording.confidence,
            accepts=recording.accepts,
            usage=Usage(prompt_tokens=recording.prompt_tokens if looked else 0),
            seconds=recording.look_seconds,
        )

    def _completion(self, recording: Recording, look: Look | None) -> Completion:
        if recording.failure is not None:
            raise AgentError(recording.failure)
        if recording.answer is None:
            raise AgentError(
                f"Agent '{self._card.name}' has no recorded answer to query '{recording.query_id}' "
                f"in scenario '{recording.scenario}'.",
                hint="record it again: an outcome table holds an answer of every agent to every query",
            )
        unread = recording.prompt_tokens - (look.usage.prompt_tokens if look else 0)
        return Completion(
            text=recording.answer,
            usage=Usage(max(unread, 0), recording.answer_tokens),
            seconds=recording.answer_seconds,
        )

    def _find(self, query: Query, scenario: Scenario) -> Recording:
        known = self._recordings.get(query.id)
        if known is None:
            raise AgentError(
                f"Agent '{self._card.name}' has nothing recorded for query '{query.id}' "
                f"({len(self._recordings)} other queries are recorded).",
                hint="ask a query of the outcome table, or use an agent that runs its model",
            )
        recording = known.get(scenario.name) or known.get(named_scenario(scenario).name)
        if recording is None:
            raise AgentError(
                f"Agent '{self._card.name}' has query '{query.id}' recorded, but not in scenario "
                f"'{scenario.name}'. Recorded: {', '.join(repr(name) for name in known)}.",
                hint="use a recorded scenario, or record this one",
            )
        return recording
