"""Build an outcome table: every agent of a network looks at and answers every query.

Work is cut into parts (agent, scenario, chunk of queries). With a folder, each finished part is written there whole,
so that an interruption loses one part at most, and the parts never depend on where a run was interrupted, nor on
which engine ran them.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from disrouter.engines.contract import Engine
from disrouter.engines.jobs import Job, Progress
from disrouter.errors import AgentError, DataError
from disrouter.evaluation.outcomes import CELLS, Outcome, OutcomeTable
from disrouter.types import Agent, Completion, Look, Query, Sampling, Scenario, Usage

__all__ = ["CHUNK", "CONCURRENCY", "Grade", "build", "progress_bar"]

Grade = Callable[[Query, str], float]

CHUNK = 500
"""Queries per part: what an interruption loses at most."""

CONCURRENCY = 32
"""Queries at once to an agent that has no batched methods."""

Seen = tuple[Look | None, Completion | None, str | None]
"""Look, answer and failure of one agent on one query."""


def build(
    agents: Mapping[str, Agent],
    queries: Sequence[Query],
    grade: Grade,
    scenarios: Sequence[Scenario],
    *,
    domain: str | None = None,
    seed: int = 0,
    parts: Path | None = None,
    chunk: int = CHUNK,
    concurrency: int = CONCURRENCY,
    advance: Callable[[int], None] | None = None,
    engine: Engine | None = None,
) -> OutcomeTable:
    """Return the outcomes of every agent on every query in every scenario, answered greedily.

    An agent without a scenario in its prompt (``scenario_prompt = False``) runs once for all scenarios. An agent that
    breaks on a query gets a row that says so. Must not be called inside a running event loop.

    Args:
        agents: The agents by name. Batched methods are used where an agent has them.
        queries: What to ask; ids must differ.
        grade: Quality in [0, 1] of an answer to a query. What it raises stops the run: it is never a score of 0.
        scenarios: Under which scenarios.
        domain: Recorded in the table.
        seed: Seed of the sampling (greedy answers do not depend on it).
        parts: Folder of finished parts; those already there are not run again. None keeps them in memory.
        chunk: Queries per part.
        concurrency: Queries at once to an agent that has no batched methods.
        advance: Told the number of outcomes just finished.
        engine: Runs parts side by side, with the same result; None runs one after the other in this process.

    Raises:
        DataError: No queries or scenarios; two queries of one id; a part of other queries.
        DisrouterError: The engine could not finish a part; those that are finished are kept.
    """
    _check(agents, queries, scenarios)
    chunks = [queries[start : start + chunk] for start in range(0, len(queries), chunk)]
    plan = [
        _Part(name=name, agent=agent, scenario=scenario, queries=some, key=(a, s, c))
        for a, (name, agent) in enumerate(agents.items())
        for s, scenario in enumerate(scenarios[:1] if _shared(agent) else scenarios)
        for c, some in enumerate(chunks)
    ]
    advance = advance or (lambda count: None)
    found: dict[tuple[int, int, int], OutcomeTable] = {}

    def keep(part: _Part, seen: Sequence[Seen] | None) -> None:
        """Take a part that has just run; None: one that an earlier run finished."""
        path = None if parts is None else parts / part.file
        if seen is None:
            kept = _kept(path, part.name, part.queries, part.scenario)
            if kept is None:
                return
            found[part.key] = kept
        else:
            outcomes = _outcomes(part.agent, part.queries, part.scenario, domain, grade, seen)
            found[part.key] = OutcomeTable.of(outcomes)
            if path is not None:
                found[part.key].write(path)
        advance(len(part.queries) * (len(scenarios) if _shared(part.agent) else 1))

    for part in plan:
        keep(part, None)
    due = [part for part in plan if part.key not in found]
    for part, seen in _run_here(due, seed, concurrency) if engine is None else _run_on(engine, due, seed, concurrency):
        keep(part, seen)
    cells = [
        [
            [replace(found[a, 0 if _shared(agent) else s, c], scenarios=(scenario,)) for c in range(len(chunks))]
            for s, scenario in enumerate(scenarios)
        ]
        for a, agent in enumerate(agents.values())
    ]
    return _joined(cells, scenarios, list(agents))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
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


def _shared(agent: Agent) -> bool:
    """Return whether an agent does the same in all scenarios."""
    return not getattr(agent, "scenario_prompt", True)


def _run_here(due: Sequence[_Part], seed: int, concurrency: int) -> Iterator[tuple[_Part, Sequence[Seen]]]:
    for part in due:
        yield part, _run(part.agent, part.queries, part.scenario, Sampling(seed=seed), concurrency)


def _run_on(
    engine: Engine, due: Sequence[_Part], seed: int, concurrency: int
) -> Iterator[tuple[_Part, Sequence[Seen]]]:
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


def _seen_elsewhere(agent: str, part: _Part, seed: int, concurrency: int, progress: Progress) -> list[Seen]:
    """Run a part in a process of an engine, with the agent's weights that are loaded there already."""
    if agent not in _here:
        _here.clear()  # two large models may not find room
        _here[agent] = part.agent
    return _run(_here[agent], part.queries, part.scenario, Sampling(seed=seed), concurrency)


@contextmanager
def progress_bar(total: int, what: str, *, shown: bool = True) -> Iterator[Callable[[int], None]]:
    """Show a bar of ``total`` outcomes on stderr and yield how to advance it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)


def _check(agents: Mapping[str, Agent], queries: Sequence[Query], scenarios: Sequence[Scenario]) -> None:
    if not queries:
        raise DataError("There are no queries to evaluate.", hint="raise --limit, or look into the suite")
    if not scenarios or not agents:
        raise DataError("An evaluation needs at least one agent and one scenario.")
    ids = [query.id for query in queries]
    if len(set(ids)) != len(ids):
        twice = next(i for i in ids if ids.count(i) > 1)
        raise DataError(f"Two queries have the id '{twice}'; ids name the rows of the outcome table.")
    names = [scenario.name for scenario in scenarios]
    if len(set(names)) != len(names):
        raise DataError(f"A scenario is given twice: {', '.join(names)}.", hint="name each scenario once")


def _kept(path: Path | None, agent: str, queries: Sequence[Query], scenario: Scenario) -> OutcomeTable | None:
    """Return a part that an earlier run finished, if there is one and it can be read."""
    if path is None or not path.is_file():
        return None
    try:
        part = OutcomeTable.read(path)
    except DataError:
        return None  # damaged since it was written: a part is cheap to run again, and ends the same
    expected = (agent,), tuple(query.id for query in queries), scenario.name
    if (part.agents, part.query_ids, part.scenarios[0].name) != expected:
        raise DataError(
            f"'{path}' holds outcomes of other queries than these.", hint="use another run folder, or delete this one"
        )
    return part


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


def _outcomes(
    agent: Agent,
    queries: Sequence[Query],
    scenario: Scenario,
    domain: str | None,
    grade: Grade,
    seen: Sequence[Seen],
) -> Iterator[Outcome]:
    """Yield the rows of one part."""
    price = agent.card.price
    for query, (look, answer, failure) in zip(queries, seen, strict=True):
        looked = look.usage if look is not None else Usage()
        used = looked + answer.usage if answer is not None else looked
        look_cost = price.of(looked, answered=False) if look is not None else 0.0
        yield Outcome(
            query_id=query.id,
            dataset=query.dataset,
            domain=domain,
            level=query.level,
            agent=agent.card.name,
            scenario=scenario.name,
            alpha=scenario.alpha,
            confidence=look.confidence if look is not None else None,
            accepts=look.accepts if look is not None else None,
            answer=answer.text if answer is not None else None,
            score=grade(query, answer.text) if answer is not None else 0.0,
            # An agent that runs nothing to look reads the prompt when it answers.
            prompt_tokens=looked.prompt_tokens or used.prompt_tokens,
            answer_tokens=answer.usage.completion_tokens if answer is not None else 0,
            look_cost=look_cost,
            answer_cost=price.of(used, answered=True) if answer is not None else look_cost,
            look_seconds=look.seconds if look is not None else 0.0,
            answer_seconds=answer.seconds if answer is not None else 0.0,
            failure=failure,
        )


def _joined(
    cells: list[list[list[OutcomeTable]]], scenarios: Sequence[Scenario], agents: Sequence[str]
) -> OutcomeTable:
    """Return the table of parts by agent, scenario and chunk."""
    first = cells[0][0]

    def cube(name: str) -> Any:
        rows = [
            [np.concatenate([getattr(part, name)[0, 0] for part in cells[a][s]]) for a in range(len(agents))]
            for s in range(len(scenarios))
        ]
        return np.array(rows, dtype=rows[0][0].dtype)

    return OutcomeTable(
        query_ids=tuple(query for part in first for query in part.query_ids),
        agents=tuple(agents),
        scenarios=tuple(Scenario(name=s.name, alpha=s.alpha) for s in scenarios),
        datasets=tuple(dataset for part in first for dataset in part.datasets),
        domains=tuple(domain for part in first for domain in part.domains),
        levels=tuple(level for part in first for level in part.levels),
        **{name: cube(name) for name in CELLS},
    )
