"""Parts of an outcome table: what one agent does with some queries in one scenario, here or where an engine runs it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from disrouter.engines.contract import Engine
from disrouter.engines.jobs import Job, Progress
from disrouter.errors import AgentError
from disrouter.types import Agent, Completion, Look, Query, Sampling, Scenario

__all__ = ["Part", "Seen", "is_shared", "run_here", "run_on", "travels"]

Seen = tuple[Look | None, Completion | None, str | None]
"""Look, answer and failure of one agent on one query."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one agent does with one chunk of queries in one scenario."""

    name: str
    agent: Agent
    scenario: Scenario
    queries: Sequence[Query]
    key: tuple[int, int, int]
    """Places of agent, scenario and chunk."""

    @property
    def file(self) -> str:
        a, s, c = self.key
        return f"a{a:02d}-s{s:02d}-c{c:05d}.parquet"


def is_shared(agent: Agent) -> bool:
    """Return whether an agent does the same in all scenarios."""
    return not getattr(agent, "scenario_prompt", True)


def travels(agent: Agent) -> bool:
    """Return whether another process may do an agent's work: one behind a server is asked from here."""
    return agent.card.details.get("backend") not in ("openai", "node") and not hasattr(agent, "agents")


def run_here(due: Sequence[Part], seed: int, concurrency: int) -> Iterator[tuple[Part, Sequence[Seen]]]:
    """Run parts one after the other in this process."""
    for part in due:
        yield part, _run(part.agent, part.queries, part.scenario, Sampling(seed=seed), concurrency)


def run_on(engine: Engine, due: Sequence[Part], seed: int, concurrency: int) -> Iterator[tuple[Part, Sequence[Seen]]]:
    """Have an engine run parts, those of the largest agents first: they take longest."""
    by_name = {f"{part.name} {part.file}": part for part in due}
    largest = sorted(by_name, key=lambda name: by_name[name].agent.card.parameters or 0, reverse=True)
    jobs = [
        Job(name, partial(_seen_elsewhere, _key_of(by_name[name].agent), by_name[name], seed, concurrency), pure=True)
        for name in largest
    ]
    for job, seen in engine.work_off(jobs, lambda *_: None) if jobs else ():
        yield by_name[job.name], seen


_here: dict[str, Agent] = {}
"""The agent that this process has loaded last, for parts that come from elsewhere."""

_SELF = secrets.token_hex(8)
"""Tells this process from others."""


def _key_of(agent: Agent) -> str:
    """Return what tells an agent from all others of this process and of others."""
    return f"{_SELF} {id(agent)} {agent.card.name}"


def _seen_elsewhere(agent: str, part: Part, seed: int, concurrency: int, progress: Progress) -> list[Seen]:
    """Run a part in a process of an engine, with the agent's weights that are loaded there already."""
    if agent not in _here:
        _here.clear()  # two large models may not find room
        _here[agent] = part.agent
    return _run(_here[agent], part.queries, part.scenario, Sampling(seed=seed), concurrency)


def _run(
    agent: Agent, queries: Sequence[Query], scenario: Scenario, sampling: Sampling, concurrency: int
) -> list[Seen]:
    """Let an agent look at and answer queries, in batches if it can."""
    batched: Any = agent
    if hasattr(agent, "look_and_answer_many"):

        def both(some: Sequence[Query]) -> list[Seen]:
            return [(look, answer, None) for look, answer in batched.look_and_answer_many(some, scenario, sampling)]

    elif hasattr(agent, "look_many") and hasattr(agent, "answer_many"):

        def both(some: Sequence[Query]) -> list[Seen]:
            looks = batched.look_many(some, scenario)
            answers = batched.answer_many(some, scenario, looks, sampling)
            return [(look, answer, None) for look, answer in zip(looks, answers, strict=True)]

    else:
        return asyncio.run(_ask_all(agent, queries, scenario, sampling, concurrency))
    try:
        return both(queries)
    except AgentError:
        # Somewhere in the batch the agent broke. One by one finds the query without charging its neighbours.
        return asyncio.run(_ask_all(agent, queries, scenario, sampling, 1))


async def _ask_all(
    agent: Agent, queries: Sequence[Query], scenario: Scenario, sampling: Sampling, concurrency: int
) -> list[Seen]:
    free = asyncio.Semaphore(concurrency)

    async def ask(query: Query) -> Seen:
        async with free:
            return await _ask(agent, query, scenario, sampling)

    return list(await asyncio.gather(*(ask(query) for query in queries)))


async def _ask(agent: Agent, query: Query, scenario: Scenario, sampling: Sampling) -> Seen:
    look: Look | None = None
    try:
        look = await agent.look(query, scenario)
        async for piece in agent.answer(query, scenario, look, sampling):
            if isinstance(piece, Completion):
                return replace(look, state=None), piece, None
    except AgentError as exc:
        return look, None, exc.message
    return look, None, "the answer ended without a completion"
