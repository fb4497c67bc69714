"""Agent cards: measure a network's agents on a suite's validation queries, and keep what they can do beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from disrouter.agents.folders import agent_digest
from disrouter.competence import Competence
from disrouter.errors import DataError, UnknownNameError
from disrouter.evaluation.build import build
from disrouter.evaluation.difficulty import measure
from disrouter.evaluation.outcomes import OutcomeTable
from disrouter.evaluation.suites import Suite, replay_of
from disrouter.network import Network
from disrouter.seeds import seed_of
from disrouter.types import Query
from disrouter.utility import BALANCE

__all__ = ["measured", "replay_table", "together", "validation_table"]


def validation_table(
    network: Network,
    suite: Suite,
    *,
    domain: str,
    seed: int,
    queries: int,
    parts: Path | None = None,
    advance: Callable[[int], None] | None = None,
) -> OutcomeTable:
    """Return the outcomes of a network's agents on validation queries, in one scenario.

    Args:
        network: Whose agents are asked.
        suite: Where queries and grades come from.
        domain: Of the suite.
        seed: Which validation queries are drawn.
        queries: How many.
        parts: Folder of finished parts; those already there are not run again.
        advance: Told the number of outcomes just finished.
    """
    drawn = suite.queries(domain, seed_of(seed, "cards") % 2**31, queries, split="validation")
    return build(network.agents, drawn, suite.grade, [BALANCE], domain=domain, seed=seed, parts=parts, advance=advance)


def replay_table(
    network: Network,
    suite: Suite,
    *,
    seed: int,
    problems: int,
    parts: Path | None = None,
    advance: Callable[[int], None] | None = None,
) -> OutcomeTable:
    """Return the outcomes of a network's agents on pretraining problems, in one scenario.

    An agent is right that recites the solution word for word. That takes no grader and no queries but what the models
    were pretrained on, and lets cards know of skills outside the suite's domain.

    Args:
        network: Whose agents are asked.
        suite: Where the problems come from.
        seed: Which problems are drawn.
        problems: How many.
        parts: Folder of finished parts; those already there are not run again.
        advance: Told the number of outcomes just finished.

    Raises:
        UsageError: The suite has no pretraining problems.
    """
    drawn = replay_of(suite)(problems, seed_of(seed, "cards", "replay") % 2**31)
    solutions = {query.id: solution for query, solution in drawn}

    def recites(query: Query, text: str) -> float:
        return float(text == solutions[query.id])

    queries = [query for query, _ in drawn]
    return build(network.agents, queries, recites, [BALANCE], seed=seed, parts=parts, advance=advance)


def together(first: OutcomeTable, second: OutcomeTable) -> OutcomeTable:
    """Return one table of the queries of two, of the same agents and scenarios."""
    return OutcomeTable.of([*first.rows(), *second.rows()])


def measured(
    network: Network,
    table: OutcomeTable,
    *,
    only: Iterable[str] = (),
    seed: int = 0,
    provenance: Mapping[str, object] | None = None,
) -> dict[str, Competence]:
    """Return the competences of a network's agents, with the digests of their files.

    Args:
        network: Its agents must be in the table.
        table: Outcomes on queries that no agent was trained or calibrated on.
        only: Agents to measure on the scale of the others' cards; all of them, on a new scale, if left out.
        seed: Seed of the fit.
        provenance: Kept in every card.

    Raises:
        UnknownNameError: The network has no such agent.
        DataError: The table lacks an agent or tells nothing about one; the others have no cards.
    """
    new = list(only)
    for name in new:
        if name not in network.agents:
            raise UnknownNameError.of("agent", name, network.agents, where=f"network '{network.name}'")
    missing = [name for name in network.agents if name not in table.agents]
    if missing:
        raise DataError(
            f"The outcome table has no outcomes of {', '.join(map(repr, missing))} of network '{network.name}'.",
            hint="measure the network itself, without --table",
        )
    known: dict[str, Competence] = {}
    for name, agent in network.agents.items():
        if new and name not in new:
            if agent.card.competence is None:
                raise DataError(
                    f"Agent '{name}' has no card, so there is no scale to measure {', '.join(map(repr, new))} on.",
                    hint="measure all agents together: leave --agents out",
                )
            known[name] = agent.card.competence
    found = measure(table.select(agents=list(network.agents)), known=known or None, seed=seed, provenance=provenance)
    return {name: replace(competence, model=_digest(network, name)) for name, competence in found.items()}


def _digest(network: Network, name: str) -> str | None:
    """Return the digest of an agent's files, if they lie on this machine."""
    folder = getattr(network.agents[name], "model_path", None)
    return agent_digest(folder) if isinstance(folder, Path) else None
