"""The pool of the experiment: three of the lab's agents, who say again what they said, found by a query's text."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import disrouter
from disrouter.agents.recorded import RecordedAgent
from disrouter.config.parts import recordings_of
from disrouter.errors import AgentError
from disrouter.evaluation.outcomes import OutcomeTable
from disrouter.lab.suite import LabSuite
from disrouter.network import Network
from disrouter.policies import policy_of
from disrouter.types import Agent, AgentCard, Completion, Look, Query, Sampling, Scenario, Serving, Trace
from disrouter.utility import BALANCE

__all__ = ["AGENTS", "BREAKER", "Pool", "TextAgent"]

AGENTS = ("agent-1", "agent-3", "agent-5")
BREAKER = Serving(failures=3, pause=1.0)


class TextAgent:
    """A recorded agent that knows queries by their text: over HTTP every request has an id of its own."""

    def __init__(self, recorded: RecordedAgent, ids: dict[str, str]) -> None:
        self._recorded = recorded
        self._ids = ids

    @property
    def card(self) -> AgentCard:
        return self._recorded.card

    async def look(self, query: Query, scenario: Scenario) -> Look:
        return await self._recorded.look(self._known(query), scenario)

    async def answer(
        self, query: Query, scenario: Scenario, look: Look | None, sampling: Sampling
    ) -> AsyncIterator[str | Completion]:
        async for piece in self._recorded.answer(self._known(query), scenario, look, sampling):
            yield piece

    def _known(self, query: Query) -> Query:
        return replace(query, id=self._ids[query.text])


class Broken:
    """An agent that cannot be asked."""

    def __init__(self, card: AgentCard) -> None:
        self.card = card

    async def look(self, query: Query, scenario: Scenario) -> Look:
        raise AgentError("It is gone.")

    async def answer(
        self, query: Query, scenario: Scenario, look: Look | None, sampling: Sampling
    ) -> AsyncIterator[str | Completion]:
        raise AgentError("It is gone.")
        yield ""


@dataclass(frozen=True)
class Pool:
    """What is known of the queries and the agents.

    Args:
        table: An outcome table of the lab's queries, as `benchmarks/lab_tables.py` writes it.
    """

    table: Path

    @cached_property
    def outcomes(self) -> OutcomeTable:
        return OutcomeTable.read(self.table)

    @cached_property
    def queries(self) -> list[Query]:
        ids = self.outcomes.query_ids
        domain, split, seed, _ = ids[0].split("-")
        queries = LabSuite().queries(domain, int(seed), len(ids), split=split)  # type: ignore[arg-type]
        assert [query.id for query in queries] == list(ids), "the table holds other queries than the suite draws"
        return queries

    @cached_property
    def cards(self) -> dict[str, AgentCard]:
        agents = disrouter.load("lab").agents
        return {name: replace(agents[name].card, serving=BREAKER) for name in AGENTS}

    def agent(self, name: str) -> Agent:
        """Return an agent as its node serves it."""
        recorded = RecordedAgent(self.cards[name], recordings_of(self.table, name))
        return TextAgent(recorded, {query.text: query.id for query in self.queries})

    def network(self, agents: list[Agent], *, dispatch: str = "caller") -> Network:
        """Return the network over some form of the agents."""
        policy = policy_of("value-of-forwarding")
        return Network("apart", agents, policy=policy, scenario=BALANCE, dispatch=dispatch)  # type: ignore[arg-type]

    def predicted(self, gone: Collection[str] = ()) -> dict[str, Trace]:
        """Return the traces that the policy makes of all queries while some agents cannot be asked, by query."""
        agents = [Broken(self.cards[name]) if name in gone else self.agent(name) for name in AGENTS]
        network = self.network(agents)
        return {query.id: network.ask(query) for query in self.queries}

    def score(self, query_id: str, agent: str) -> float:
        """Return the score of an agent's answer."""
        row, column = self.outcomes.agent_index(agent), self.outcomes.query_ids.index(query_id)
        return float(self.outcomes.score[0, row, column])

    def utility(self, query_id: str, agent: str | None, cost: float) -> float:
        """Return what an answer was worth, every look paid."""
        return (0.0 if agent is None else self.score(query_id, agent)) - BALANCE.alpha * cost
