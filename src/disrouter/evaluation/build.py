"""Build an outcome table: every agent of a network looks at and answers every query.

Work is cut into parts (agent, scenario, chunk of queries). With a folder, each finished part is written there whole,
so that an interruption loses one part at most, and the parts never depend on where a run was interrupted, nor on
which engine ran them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from disrouter.engines.contract import Engine
from disrouter.errors import DataError
from disrouter.evaluation.outcomes import CELLS, Outcome, OutcomeTable
from disrouter.evaluation.parts import Part, Seen, is_shared, run_here, run_on, travels
from disrouter.types import Agent, Query, Scenario, Usage

__all__ = ["CHUNK", "CONCURRENCY", "Grade", "build", "progress_bar"]

Grade = Callable[[Query, str], float]

CHUNK = 500
"""Queries per part: what an interruption loses at most."""

CONCURRENCY = 32
"""Queries at once to an agent that has no batched methods."""


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
        Part(name=name, agent=agent, scenario=scenario, queries=some, key=(a, s, c))
        for a, (name, agent) in enumerate(agents.items())
        for s, scenario in enumerate(scenarios[:1] if is_shared(agent) else scenarios)
        for c, some in enumerate(chunks)
    ]
    advance = advance or (lambda count: None)
    found: dict[tuple[int, int, int], OutcomeTable] = {}

    def keep(part: Part, seen: Sequence[Seen] | None) -> None:
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
        advance(len(part.queries) * (len(scenarios) if is_shared(part.agent) else 1))

    for part in plan:
        keep(part, None)
    due = [part for part in plan if part.key not in found]
    away = [] if engine is None else [part for part in due if travels(part.agent)]
    for part, seen in run_on(engine, away, seed, concurrency) if engine is not None else ():
        keep(part, seen)
    for part, seen in run_here([part for part in due if part.key not in found], seed, concurrency):
        keep(part, seen)
    cells = [
        [
            [replace(found[a, 0 if is_shared(agent) else s, c], scenarios=(scenario,)) for c in range(len(chunks))]
            for s, scenario in enumerate(scenarios)
        ]
        for a, agent in enumerate(agents.values())
    ]
    return _joined(cells, scenarios, list(agents))


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
