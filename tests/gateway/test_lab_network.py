"""The embedded network behind the gateway: real models, from the request to the route."""

from __future__ import annotations

import asyncio
import json

from disrouter.agents import TransformersAgent
from disrouter.config import load
from disrouter.network import Network
from disrouter.types import Query
from gateway.running import running


async def test_the_lab_answers_as_it_does_without_the_gateway() -> None:
    lab = load("lab")
    small = Network("lab", [lab.agents["agent-1"], lab.agents["agent-2"]], policy=lab.policy)
    expected = await small.route(Query.from_text("357+246"), 0.2)

    async with running(network=small) as gateway:
        _, body, _ = await gateway.post(text="357+246", alpha=0.2)
        events = await gateway.events(text="357+246", alpha=0.2, disrouter={"trace": True, "alpha": 0.2})

    hops = [(hop.agent, hop.decision, hop.confidence) for hop in expected.hops]
    chunks = [json.loads(event) for event in events[:-1]]
    streamed = "".join(c["delta"].get("content") or "" for chunk in chunks for c in chunk["choices"])
    assert body["choices"][0]["message"]["content"] == streamed == expected.answer
    for trace in (body["disrouter"], chunks[-1]["disrouter"]):
        assert [(hop["agent"], hop["decision"], hop["confidence"]) for hop in trace["hops"]] == hops
    assert body["usage"]["prompt_tokens"] == expected.hops[-1].usage.prompt_tokens


async def test_models_are_loaded_from_the_start_where_that_is_wanted() -> None:
    agent = load("lab").agents["agent-1"]
    assert isinstance(agent, TransformersAgent)

    async with running(agent, warm=True):
        async with asyncio.timeout(60):
            while agent._loaded is None:
                await asyncio.sleep(0.01)

    assert agent._loaded is not None
