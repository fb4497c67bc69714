"""Recorded agents repeat what an agent once said."""

from __future__ import annotations

import pytest

from disrouter.agents.recorded import RecordedAgent, Recording
from disrouter.errors import AgentError
from disrouter.types import Agent, AgentCard, Completion, Look, Query, QueryPrice, Sampling, Scenario, Usage
from disrouter.utility import BALANCE, COST_FIRST, scenario_of

CARD = AgentCard(name="small", price=QueryPrice(cost=0.1))
QUERY = Query.from_text("2 + 2?", id="q1")
RECORDING = Recording(
    query_id="q1",
    scenario="balance",
    confidence=0.75,
    accepts=True,
    answer="2 + 2 = 4",
    prompt_tokens=7,
    answer_tokens=9,
    look_seconds=0.5,
    answer_seconds=2.0,
)


async def answer_of(
    agent: RecordedAgent, look: Look | None = None, scenario: Scenario = BALANCE
) -> tuple[list[str], Completion]:
    pieces = [piece async for piece in agent.answer(QUERY, scenario, look, Sampling())]
    *deltas, completion = pieces
    assert isinstance(completion, Completion)
    return [str(delta) for delta in deltas], completion


def test_a_recorded_agent_is_an_agent() -> None:
    assert isinstance(RecordedAgent(CARD, []), Agent)


async def test_a_look_returns_what_was_recorded() -> None:
    look = await RecordedAgent(CARD, [RECORDING]).look(QUERY, BALANCE)

    assert look == Look(confidence=0.75, accepts=True, usage=Usage(prompt_tokens=7), seconds=0.5)


async def test_an_answer_streams_the_recorded_text_and_ends_in_its_completion() -> None:
    agent = RecordedAgent(CARD, [RECORDING])

    deltas, completion = await answer_of(agent, await agent.look(QUERY, BALANCE))

    assert deltas == ["2", " +", " 2", " =", " 4"]
    # The look has paid for the 7 prompt tokens.
    assert completion == Completion(text="2 + 2 = 4", usage=Usage(0, 9), seconds=2.0)


async def test_an_answer_without_a_look_pays_for_reading_the_prompt() -> None:
    _, completion = await answer_of(RecordedAgent(CARD, [RECORDING]))

    assert completion.usage == Usage(7, 9)


async def test_an_agent_recorded_without_self_assessment_reads_the_prompt_when_it_answers() -> None:
    agent = RecordedAgent(
        CARD, [Recording(query_id="q1", scenario="balance", answer="4", prompt_tokens=7, answer_tokens=1)]
    )

    look = await agent.look(QUERY, BALANCE)
    _, completion = await answer_of(agent, look)

    assert look == Look(confidence=None)
    assert completion.usage == Usage(7, 1)


async def test_a_scenario_without_a_recording_is_served_by_the_nearest_named_one() -> None:
    agent = RecordedAgent(CARD, [RECORDING])

    look = await agent.look(QUERY, scenario_of(0.45))

    assert look.confidence == 0.75


async def test_a_scenario_recorded_under_its_own_alpha_is_preferred() -> None:
    own = Recording(query_id="q1", scenario="alpha=0.45", confidence=0.25, accepts=False, answer="5")
    agent = RecordedAgent(CARD, [RECORDING, own])

    look = await agent.look(QUERY, scenario_of(0.45))

    assert look.confidence == 0.25


async def test_a_scenario_that_was_not_recorded_is_refused_by_name() -> None:
    with pytest.raises(AgentError, match=r"not in scenario 'cost-first'\. Recorded: 'balance'"):
        await RecordedAgent(CARD, [RECORDING]).look(QUERY, COST_FIRST)


async def test_a_query_that_was_not_recorded_is_refused_by_name() -> None:
    stranger = Query.from_text("?", id="q2")

    with pytest.raises(AgentError, match="Agent 'small' has nothing recorded for query 'q2'"):
        await RecordedAgent(CARD, [RECORDING]).look(stranger, BALANCE)


async def test_a_failure_recorded_at_the_look_fails_again() -> None:
    agent = RecordedAgent(CARD, [Recording(query_id="q1", scenario="balance", failure="out of memory")])

    with pytest.raises(AgentError, match=r"^out of memory$"):
        await agent.look(QUERY, BALANCE)


async def test_a_failure_recorded_at_the_answer_fails_only_there() -> None:
    broke = Recording(query_id="q1", scenario="balance", confidence=0.75, accepts=True, failure="out of memory")
    agent = RecordedAgent(CARD, [broke])

    look = await agent.look(QUERY, BALANCE)

    assert look.confidence == 0.75
    with pytest.raises(AgentError, match=r"^out of memory$"):
        await answer_of(agent, look)


async def test_an_answer_that_was_not_recorded_is_missed_by_name() -> None:
    agent = RecordedAgent(CARD, [Recording(query_id="q1", scenario="balance", confidence=0.1, accepts=False)])

    with pytest.raises(AgentError, match="has no recorded answer to query 'q1' in scenario 'balance'"):
        await answer_of(agent)


async def test_many_queries_are_served_as_one_by_one() -> None:
    agent = RecordedAgent(CARD, [RECORDING])
    look = await agent.look(QUERY, BALANCE)

    looks = agent.look_many([QUERY], BALANCE)
    completions = agent.answer_many([QUERY], BALANCE, looks, Sampling())

    assert looks == [look]
    assert completions == [(await answer_of(agent, look))[1]]
