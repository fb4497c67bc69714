"""The process of a gateway: it gets ready, reads its file again, ends softly, and can be killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from disrouter.agents import ScriptedAgent
from disrouter.network import Network
from gateway.mock_backend import MockBackend
from gateway.running import ask, behind, running


@pytest.fixture
async def backend() -> AsyncIterator[MockBackend]:
    async with MockBackend() as backend:
        yield backend


async def wait_until(true: Callable[[], Any], timeout: float = 10.0) -> None:
    async with asyncio.timeout(timeout):
        while not true():
            await asyncio.sleep(0.005)


NETWORK = """
name: one
agents:
  - {{name: {name}, backend: openai, model: m, base_url: "{url}", price: {{cost: 0.5}}}}
"""


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    code = "from disrouter.cli import main; main()"
    arguments = ["serve", "--network", "n.yaml", "--port", "0", "--store", "s.db", *options]
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=folder, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )


@contextmanager
def started(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A gateway's process, and its end whatever happens."""
    process = start(folder, *options)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


async def address_of(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    line = await asyncio.to_thread(process.stderr.readline)
    assert "is served at" in line, line + process.stderr.read()
    return line.rpartition(" ")[2].strip().removesuffix("/v1")


async def test_sigterm_answers_what_was_accepted_and_sighup_reads_the_file_again(
    backend: MockBackend, tmp_path: Path
) -> None:
    (tmp_path / "n.yaml").write_text(NETWORK.format(name="first", url=backend.url))
    with started(tmp_path, "--no-dashboard") as process:
        url = await address_of(process)
        async with aiohttp.ClientSession() as http:

            async def post() -> tuple[int, Any]:
                async with http.post(url + "/v1/chat/completions", json=ask()) as reply:
                    return reply.status, await reply.json()

            async def models() -> list[str]:
                async with http.get(url + "/v1/models") as reply:
                    return [model["id"] for model in (await reply.json())["data"]]

            assert (await post())[1]["model"] == "first"
            (tmp_path / "n.yaml").write_text("name: [")
            process.send_signal(signal.SIGHUP)
            assert process.stderr is not None
            refused = await asyncio.to_thread(process.stderr.readline)
            while "not reloaded" not in refused:
                refused = await asyncio.to_thread(process.stderr.readline)
            assert (await post())[1]["model"] == "first"

            (tmp_path / "n.yaml").write_text(NETWORK.format(name="second", url=backend.url))
            process.send_signal(signal.SIGHUP)
            async with asyncio.timeout(20):
                while "second" not in await models():
                    await asyncio.sleep(0.02)

            backend.first = 1.0
            seen = len(backend.received)
            slow = [asyncio.create_task(post()) for _ in range(20)]
            await wait_until(lambda: len(backend.received) == seen + 20)
            process.send_signal(signal.SIGTERM)
            results = await asyncio.gather(*slow)
        assert [status for status, _ in results] == [200] * 20
        assert {body["model"] for _, body in results} == {"second"}
        assert await asyncio.to_thread(process.wait, 20) == 0


async def test_a_second_signal_ends_the_gateway_at_once_and_without_a_traceback(
    backend: MockBackend, tmp_path: Path
) -> None:
    (tmp_path / "n.yaml").write_text(NETWORK.format(name="slow", url=backend.url))
    with started(tmp_path, "--no-dashboard") as process:
        url = await address_of(process)
        backend.first = 60.0
        async with aiohttp.ClientSession() as http:

            async def is_ready() -> bool:
                async with http.get(url + "/health/ready") as reply:
                    return reply.status == 200

            slow = asyncio.create_task(http.post(url + "/v1/chat/completions", json=ask()))
            await wait_until(lambda: len(backend.received) == 1)
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(20):
                while await is_ready():
                    await asyncio.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 20) == 0
            await asyncio.gather(slow, return_exceptions=True)
        assert process.stderr is not None
        assert "Traceback" not in await asyncio.to_thread(process.stderr.read)


async def test_whoever_was_connected_when_the_end_came_gets_an_answer(backend: MockBackend) -> None:
    backend.first = 0.02
    outcomes: list[Any] = []

    async def keep_asking(url: str, *, keeps: bool) -> None:
        connector = aiohttp.TCPConnector(force_close=not keeps)
        async with aiohttp.ClientSession(connector=connector) as http:
            while True:
                try:
                    async with http.post(url + "/v1/chat/completions", json=ask()) as reply:
                        outcomes.append(reply.status)
                        await reply.read()
                except aiohttp.ClientConnectorError as error:  # not connected: nothing was accepted
                    outcomes.append(type(error.os_error))
                    return

    async with running(behind("a", backend.url)) as gateway:
        asking = [asyncio.create_task(keep_asking(gateway.url, keeps=i % 2 == 0)) for i in range(12)]
        await wait_until(lambda: len(outcomes) > 20)
        gateway.server.handle_exit(signal.SIGTERM, None)
        await asyncio.wait_for(gateway.served, 20)
        await asyncio.wait_for(asyncio.gather(*asking), 20)

    assert set(outcomes) == {200, ConnectionRefusedError}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--host", "0.0.0.0"), "error: Host '0.0.0.0' can be reached from other machines"),
        (("--hop-secret-env", "NO_SUCH_VARIABLE"), "error: --hop-secret-env NO_SUCH_VARIABLE: that variable is not"),
    ],
)
def test_serve_says_what_is_wrong_in_two_lines(options: tuple[str, ...], message: str, tmp_path: Path) -> None:
    (tmp_path / "n.yaml").write_text(NETWORK.format(name="a", url="http://127.0.0.1:9/v1"))

    process = start(tmp_path, *options)
    _, said = process.communicate(timeout=60)

    assert said.startswith(message)
    assert said.count("\n") == 2
    assert process.returncode == 2


def test_serve_needs_the_keys_that_the_file_names(tmp_path: Path) -> None:
    text = NETWORK.format(name="a", url="http://127.0.0.1:9/v1").replace("}\n", ", api_key_env: NO_SUCH_KEY}\n")
    (tmp_path / "n.yaml").write_text(text)

    process = start(tmp_path)
    _, said = process.communicate(timeout=60)

    assert said.splitlines() == [
        "error: Agent 'a' needs a key, and the variable NO_SUCH_KEY is not set.",
        "hint: export NO_SUCH_KEY=…",
    ]


class Loading(ScriptedAgent):
    """An agent whose model takes until it is told to load."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.loads = asyncio.Event()
        self.may_load = asyncio.Event()

    async def warm(self) -> None:
        self.loads.set()
        await self.may_load.wait()


async def test_a_gateway_is_not_ready_before_its_models_are_loaded_and_says_when_they_are() -> None:
    agent, told = Loading("slow"), list[int]()
    async with running(agent, warm=True, on_warm=told.append) as gateway:

        async def health(path: str) -> tuple[int, str]:
            async with gateway.http.get(f"{gateway.url}/health/{path}") as reply:
                return reply.status, (await reply.json())["status"]

        before, alive = await health("ready"), await health("live")
        agent.may_load.set()
        await wait_until(lambda: told)
        after = await health("ready")

    assert (before, alive) == ((503, "models are being loaded"), (200, "ok"))
    assert (after, told) == ((200, "ready"), [1])


async def test_a_network_that_is_read_anew_is_served_when_its_models_are_loaded_and_the_old_one_until_then() -> None:
    new = Loading("new")
    async with running(ScriptedAgent("old"), warm=True, read=lambda: Network("n", [new])) as gateway:
        reloading = asyncio.create_task(gateway.gateway.reload_here())
        await asyncio.wait_for(new.loads.wait(), 10)
        _, meanwhile, _ = await gateway.post()
        new.may_load.set()
        await asyncio.wait_for(reloading, 10)
        _, afterwards, _ = await gateway.post()

    assert (meanwhile["model"], afterwards["model"]) == ("old", "new")


async def test_a_gateway_that_is_killed_under_load_loses_at_most_the_last_second_and_no_table(
    backend: MockBackend, tmp_path: Path
) -> None:
    (tmp_path / "n.yaml").write_text(NETWORK.format(name="a", url=backend.url))
    process = start(tmp_path, "--no-dashboard")
    answered: dict[str, float] = {}

    async def keep_asking(url: str) -> None:
        async with aiohttp.ClientSession() as http:
            while True:
                try:
                    async with http.post(url + "/v1/chat/completions", json=ask()) as reply:
                        await reply.read()
                        answered[reply.headers["x-disrouter-trace-id"]] = time.monotonic()
                except (aiohttp.ClientError, OSError):
                    return

    try:
        url = await address_of(process)
        asking = [asyncio.create_task(keep_asking(url)) for _ in range(4)]
        await wait_until(lambda: answered and time.monotonic() - min(answered.values()) > 1.5, 30)
        process.kill()
        killed = time.monotonic()
        await asyncio.wait_for(asyncio.gather(*asking), 20)
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()

    with sqlite3.connect(tmp_path / "s.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        kept = {row[0] for row in connection.execute("SELECT trace_id FROM disrouter_routes")}
        hops = {row[0] for row in connection.execute("SELECT trace_id FROM disrouter_hops")}
    connection.close()
    before_the_last_second = {trace_id for trace_id, at in answered.items() if at < killed - 1.0}
    assert len(before_the_last_second) > 10
    assert before_the_last_second <= kept
    assert hops == kept
