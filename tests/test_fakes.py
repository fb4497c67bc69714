from __future__ import annotations

import pytest

from disrouter.agents import Script, ScriptedAgent
from disrouter.errors import AgentError, ContextError
from disrouter.types import Agent, Completion, Query, QueryPrice, Sampling, Usage
from disrouter.utility import BALANCE

QUERY = Query.from_text("what is 2 + 2?", id="q1")


async def said(agent: ScriptedAgent, query: Query = QUERY) -> list[str | Completion]:
    return [piece async for piece in agent.answer(query, BALANCE, None, Sampling())]


def test_a_scripted_agent_is_an_agent() -> None:
    agent = ScriptedAgent("a", cost=0.3, look_share=0.2)

    assert isinstance(agent, Agent)
    assert agent.card.price == QueryPrice(cost=0.3, look_share=0.2)


async def test_a_scripted_agent_looks_and_answers_as_written() -> None:
    agent = ScriptedAgent("a", confidence=0.4, accepts=True, reply=" it is  four\n")

    look = await agent.look(QUERY, BALANCE)
    *deltas, end = await said(agent)

    assert (look.confidence, look.accepts, look.usage) == (0.4, True, Usage(5, 0))
    assert "".join(str(delta) for delta in deltas) == " it is  four\n"
    assert end == Completion(text=" it is  four\n", usage=Usage(0, 3))


async def test_a_script_for_one_query_goes_before_the_general_one() -> None:
    agent = ScriptedAgent("a", reply="no", scripts={"q1": Script(reply="yes", confidence=0.1)})

    assert (await agent.look(QUERY, BALANCE)).confidence == 0.1
    assert (await said(agent))[0] == "yes"
    assert (await said(agent, Query.from_text("hi", id="q2")))[0] == "no"


async def test_a_scripted_agent_remembers_whom_it_served() -> None:
    agent = ScriptedAgent("a")

    await agent.look(QUERY, BALANCE)
    await said(agent)

    assert (agent.looked, agent.answered) == (["q1"], ["q1"])


async def test_a_scripted_agent_breaks_where_its_script_says() -> None:
    with pytest.raises(AgentError, match="'a' broke"):
        await ScriptedAgent("a", fails="look").look(QUERY, BALANCE)
    with pytest.raises(TimeoutError):
        await said(ScriptedAgent("a", fails="answer", error=TimeoutError()))
    with pytest.raises(AgentError):
        await said(ScriptedAgent("a", fails="midway"))


async def test_a_scripted_agent_refuses_a_query_that_is_too_long() -> None:
    with pytest.raises(ContextError, match="takes 4 words; the query has 5"):
        await ScriptedAgent("a", context_length=4).look(QUERY, BALANCE)


def test_a_misspelt_script_is_refused() -> None:
    with pytest.raises(TypeError, match="confidenec"):
        ScriptedAgent("a", confidenec=0.3)
