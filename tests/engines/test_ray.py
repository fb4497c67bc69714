"""The Ray engine on real clusters of this machine: same traces, faults, deadlines, and nothing left behind.

`make test-ray` makes an environment with Ray and runs this; elsewhere it is skipped.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from cluster_agents import LIGHT, Cluster, Sleeping, Telling, Unstartable, query
from disrouter.agents import ScriptedAgent
from disrouter.agents.faults import FaultError
from disrouter.config import load
from disrouter.engines.ray_app import agent as application
from disrouter.engines.ray_app import application_name
from disrouter.errors import ContextError, RunError
from disrouter.evaluation.suites import suite_of
from disrouter.evaluation.traces import trace_line
from disrouter.network import Network
from disrouter.utility import BALANCE

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: make test-ray"),
    pytest.mark.filterwarnings("ignore"),  # what Ray's own code does is not ours to mend
]


def appears(path: Path, seconds: float = 20.0) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if path.exists():
            return True
        time.sleep(0.02)
    return False


def test_agents_on_a_cluster_decide_fail_and_answer_as_they_do_here(cluster: Cluster) -> None:
    agents = [
        ScriptedAgent("first", cost=0.1, fails="look", error=ContextError("too long for me")),
        ScriptedAgent("second", cost=0.3, fails="answer", error=FaultError("no room", kind="busy")),
        ScriptedAgent("third", cost=0.5, confidence=0.25, accepts=False),
        ScriptedAgent("fourth", cost=0.7, reply="an answer of many words, in order " * 20),
    ]
    network = cluster.host(agents)

    async def stream() -> list[Any]:
        return [event async for event in network.stream(query("q"))]

    events = cluster.ask(network, stream)

    here = asyncio.run(Network("on-ray", agents).route(query("q")))
    assert trace_line(events[-1]) == trace_line(here)
    assert "".join(event for event in events if isinstance(event, str)) == here.answer


def test_a_replica_that_is_killed_is_a_failure_at_once_and_another_one_takes_its_place(
    cluster: Cluster, tmp_path: Path
) -> None:
    network = cluster.host([Sleeping("small", tmp_path), ScriptedAgent("large", cost=0.9)])

    async def kill() -> tuple[Any, float]:
        task = asyncio.create_task(network.route(query("killed")))
        assert await asyncio.to_thread(appears, tmp_path / "killed.pid")
        killed = time.monotonic()
        os.kill(int((tmp_path / "killed.pid").read_text()), signal.SIGKILL)
        return await task, time.monotonic() - killed

    trace, seconds = cluster.ask(network, kill)

    assert [(hop.agent, hop.decision) for hop in trace.hops] == [("small", "failure"), ("large", "answer")]
    cause = trace.hops[0].cause
    assert isinstance(cause, FaultError) and cause.kind in ("connect", "cut")
    assert seconds < 30

    async def again() -> Any:
        task = asyncio.create_task(network.route(query("again", deadline=60.0)))
        assert await asyncio.to_thread(appears, tmp_path / "again.pid", 60.0)
        task.cancel()
        return await asyncio.gather(task, return_exceptions=True)

    cluster.ask(network, again)
    assert (tmp_path / "again.pid").read_text() != (tmp_path / "killed.pid").read_text()


def test_an_answer_whose_replica_dies_in_the_middle_has_broken_off(cluster: Cluster, tmp_path: Path) -> None:
    network = cluster.host([Sleeping("small", tmp_path), ScriptedAgent("large", cost=0.9)])
    agent = network.agents["small"]

    async def kill() -> list[Any]:
        from disrouter.types import Sampling

        looking = asyncio.create_task(agent.look(query("pid"), BALANCE))
        assert await asyncio.to_thread(appears, tmp_path / "pid.pid")
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        pieces: list[Any] = []
        with pytest.raises(FaultError) as error:
            async for piece in agent.answer(query("q"), BALANCE, None, Sampling()):
                pieces.append(piece)
                os.kill(int((tmp_path / "pid.pid").read_text()), signal.SIGKILL)
        return [*pieces, error.value.kind]

    assert cluster.ask(network, kill) == ["a first word ", "cut"]


def test_a_deadline_ends_the_call_here_and_the_work_there(cluster: Cluster, tmp_path: Path) -> None:
    network = cluster.host([Sleeping("small", tmp_path), ScriptedAgent("large", cost=0.9)])

    trace = cluster.ask(network, lambda: network.route(query("late", deadline=2.0)))

    cause = trace.hops[0].cause
    assert isinstance(cause, FaultError) and cause.kind == "timeout"
    assert appears(tmp_path / "late.cancelled")


def test_a_caller_that_leaves_ends_the_work_there(cluster: Cluster, tmp_path: Path) -> None:
    network = cluster.host([Sleeping("small", tmp_path), ScriptedAgent("large", cost=0.9)])

    async def leave() -> None:
        task = asyncio.create_task(network.route(query("left")))
        assert await asyncio.to_thread(appears, tmp_path / "left.pid")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    cluster.ask(network, leave)

    assert appears(tmp_path / "left.cancelled")


def test_more_calls_than_a_replica_and_its_queue_take_are_turned_away(cluster: Cluster, tmp_path: Path) -> None:
    busy = Sleeping("small", tmp_path, seconds=2.0)
    busy.card = replace(busy.card, serving=replace(busy.card.serving, queue=2))
    network = cluster.host([busy, ScriptedAgent("large", cost=0.9)], replace(LIGHT, max_ongoing=2))

    async def crowd() -> list[Any]:
        looks = (network.agents["small"].look(query(f"q{n}"), BALANCE) for n in range(12))
        return await asyncio.gather(*looks, return_exceptions=True)

    found = cluster.ask(network, crowd)

    kinds = [error.kind for error in found if isinstance(error, FaultError)]
    assert set(kinds) == {"busy"}
    assert len(kinds) + sum(1 for one in found if not isinstance(one, Exception)) == 12


def test_an_answer_goes_to_the_replica_that_has_looked(cluster: Cluster) -> None:
    network = cluster.host([Telling("small", cost=0.1), ScriptedAgent("large", cost=0.9)], replace(LIGHT, replicas=3))

    async def some() -> list[str]:
        return [str((await network.route(query(f"q{n}"))).answer) for n in range(24)]

    answers = cluster.ask(network, some)

    assert len({answer.split()[0] for answer in answers}) > 1  # all of them work
    assert [answer for answer in answers if not answer.endswith("True")] == []


def test_an_agent_that_cannot_start_is_told_and_leaves_nothing(cluster: Cluster) -> None:
    from ray import serve

    before = set(serve.status().applications)

    with pytest.raises(RunError, match=r"Agent 'broken' cannot be started on the cluster: .*damaged"):
        cluster.host([Unstartable("broken", cost=0.1), ScriptedAgent("large", cost=0.9)])

    until = time.monotonic() + 20
    while set(serve.status().applications) - before and time.monotonic() < until:
        time.sleep(0.1)
    assert set(serve.status().applications) <= before


def test_agents_that_stay_as_they_are_keep_their_replicas_when_a_network_is_read_anew(cluster: Cluster) -> None:
    stays, goes = Telling("stays", cost=0.1), Telling("goes", cost=0.9)
    first = cluster.host([stays, goes])
    pid = cluster.ask(first, lambda: first.route(query("q"))).answer

    second = cluster.host([stays, Telling("comes", cost=0.9)])

    async def leave() -> None:
        for agent in first.agents.values():
            await agent.aclose()  # type: ignore[attr-defined]  # agents on a cluster have it

    asyncio.run(leave())
    assert cluster.ask(second, lambda: second.route(query("q"))).answer == pid


def test_applications_that_are_there_already_are_used_and_left(cluster: Cluster, tmp_path: Path) -> None:
    from ray import serve

    file = tmp_path / "network.yaml"
    model = 'backend: transformers, model: "lab:agent-1", self_assessment: head, scenario_prompt: false'
    file.write_text(f"name: given\nagents:\n  - {{name: small, {model}, price: {{cost: 0.1}}, ray: {{cpus: 0.1}}}}\n")
    name = application_name("given", "small")
    serve.run(application({"network": str(file), "agent": "small"}), name=name, route_prefix=None)
    cluster.read = lambda: (load(file), {"small": LIGHT})
    network = cluster.hosted()

    async def ask() -> str | None:
        answer = (await network.route(query("q"))).answer
        await network.agents["small"].aclose()  # type: ignore[attr-defined]  # agents on a cluster have it
        return answer

    assert cluster.ask(network, ask) == asyncio.run(load(file).route(query("q"))).answer
    assert network.agents["small"].app == name  # type: ignore[attr-defined]
    assert name in serve.status().applications
    serve.delete(name)


def test_whoever_has_no_token_is_not_let_into_our_cluster(cluster: Cluster) -> None:
    import ray

    address = ray.get_runtime_context().gcs_address
    script = f"import ray; ray.init(address={address!r}, logging_level='ERROR'); print('let in')"
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "f" * 64}
    try:
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=30, check=False
        )
    except subprocess.TimeoutExpired:
        return
    assert "let in" not in done.stdout
    assert done.returncode != 0


def test_the_lab_takes_the_same_two_hundred_routes_in_one_process_and_on_a_cluster(cluster: Cluster) -> None:
    queries = suite_of("lab").queries("in", 11, 200)
    here = load("lab")
    cluster.read = lambda: (load("lab"), dict.fromkeys(here.agents, LIGHT))
    there = cluster.hosted()

    async def lines(network: Network) -> list[str]:
        return [trace_line(await network.route(query)) for query in queries]

    assert cluster.ask(there, lambda: lines(there)) == asyncio.run(lines(here))
