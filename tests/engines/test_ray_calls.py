"""What a call to a replica takes: no choosing where it is clear, and no other program before it."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import pytest

from cluster_agents import LIGHT, Cluster, Telling, query
from disrouter.agents import ScriptedAgent
from disrouter.utility import BALANCE

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: make test-ray"),
    pytest.mark.filterwarnings("ignore"),  # what Ray's own code does is not ours to mend
]


def test_calls_that_find_room_are_sent_at_once_and_others_wait_their_turn(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.serve._private.request_router.pow_2_router import PowerOfTwoChoicesRequestRouter as Usual

    network = cluster.host([ScriptedAgent("small", confidence=0.5, delay=0.2)], replace(LIGHT, max_ongoing=4))
    small, chosen = network.agents["small"], Usual._choose_replica_for_request
    usual: list[Any] = []

    async def counted(self: Any, request: Any, **more: Any) -> Any:
        usual.append(request)
        return await chosen(self, request, **more)

    async def look(times: int) -> int:
        before = len(usual)
        await asyncio.gather(*(small.look(query(f"q{n}"), BALANCE) for n in range(times)))
        return len(usual) - before

    monkeypatch.setattr(Usual, "_choose_replica_for_request", counted)

    async def counts() -> list[int]:
        return [await look(times) for times in (1, 1, 2, 9)]

    first, second, both, crowd = cluster.ask(network, counts)

    assert (first, second, both) == (1, 0, 0)  # how busy a replica is must be known first
    assert crowd >= 3


def test_a_replica_is_no_less_urgent_than_the_gateway(cluster: Cluster) -> None:
    network = cluster.host([Telling("small", cost=0.1)])

    pid = str(cluster.ask(network, lambda: network.route(query("q"))).answer).split()[0]

    assert os.getpriority(os.PRIO_PROCESS, int(pid)) == os.getpriority(os.PRIO_PROCESS, 0)
