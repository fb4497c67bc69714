"""Agents as processes: started together, asked, ended together, and nothing left however it ends."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from disrouter.cli import cli
from disrouter.config import load
from disrouter.errors import RunError
from disrouter.evaluation.traces import trace_line
from disrouter.nodes.fleet import Fleet
from disrouter.nodes.keeper import Keeper
from disrouter.types import Query
from planted import COSTS, planted_table

SECONDS = 180.0
"""Far more than anything here takes on an idle machine."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A network of three recorded agents."""
    planted_table(30).write(tmp_path / "table.parquet")
    entries = [
        f"  - {{name: {name}, backend: recorded, model: table.parquet, price: {{cost: {cost}}}}}"
        for name, cost in COSTS.items()
    ]
    path = tmp_path / "network.yaml"
    path.write_text("name: planted\npolicy: paper\nagents:\n" + "\n".join(entries) + "\n", encoding="utf-8")
    return path


@contextlib.contextmanager
def up(file: Path, store: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `disrouter network up` and give the process and the gateway's address."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "disrouter", "network", "up", "--network", str(file), "--port", "0"),
            *("--store", str(store / "store.db")),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        said = ""
        while (found := re.search(r"served at (http://\S+)", said)) is None:
            line = process.stderr.readline()
            assert line, said
            said += line
        yield process, found[1]
    finally:
        process.kill()
        process.communicate()


def nodes_of(pid: int) -> list[int]:
    """The processes that a process has started and that still run."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()]


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until_ended(pids: list[int]) -> None:
    until = time.monotonic() + SECONDS
    while any(runs(pid) for pid in pids):
        assert time.monotonic() < until, "something is left running"
        time.sleep(0.02)


def ask(url: str, text: str) -> Any:
    body = {"model": "disrouter", "messages": [{"role": "user", "content": text}], "max_tokens": 4}
    request = urllib.request.Request(
        f"{url}/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=SECONDS) as reply:
        return json.load(reply)


def test_a_fleet_routes_as_one_process_and_leaves_none_behind(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_SECRET", "of this test")
    near = load(file)
    with Fleet(file, list(COSTS), hop_secret_env="FLEET_SECRET") as fleet:
        far = load(file, nodes=fleet.urls, hop_secret_env="FLEET_SECRET")
        queries = [Query.from_text("x", id=f"test-0-{i}") for i in range(10)]
        lines = [trace_line(far.ask(query)) for query in queries]

    assert lines == [trace_line(near.ask(query)) for query in queries]
    assert [process.returncode for process in fleet.processes.values()] == [0, 0, 0]


def test_a_node_loads_neither_models_nor_stores_that_its_agent_does_not_need(tmp_path: Path) -> None:
    path = tmp_path / "network.yaml"
    entry = "{name: a, backend: openai, model: m, base_url: 'http://127.0.0.1:9/v1', price: {cost: 0.1}}"
    path.write_text(f"name: n\nagents:\n  - {entry}\n", encoding="utf-8")
    code = (
        "import sys; from disrouter.config import load_agent; from disrouter.nodes.app import Node; "
        "import disrouter.nodes.server; from pathlib import Path; "
        f"Node(load_agent({str(path)!r}, 'a')).app(); "
        "print({'torch', 'transformers', 'pyarrow', 'sqlalchemy', 'ray'} & set(sys.modules) or 'none')"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=SECONDS)

    assert (done.stdout.strip(), done.stderr) == ("none", "")


def test_if_one_does_not_start_all_are_ended(file: Path) -> None:
    fleet = Fleet(file, ["small", "nobody", "large"])

    with pytest.raises(RunError, match="Agent 'nobody' did not start: it ended with exit code 2"), fleet:
        pass

    assert all(process.poll() is not None for process in fleet.processes.values())


def test_if_one_takes_too_long_all_are_ended(file: Path) -> None:
    fleet = Fleet(file, ["small"], start_seconds=0.01)

    with pytest.raises(RunError, match=r"Agents small were not ready in 0\.01 s"), fleet:
        pass

    assert all(process.poll() is not None for process in fleet.processes.values())


def test_the_example_of_three_nodes_starts_answers_and_ends_with_one_command(tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "examples" / "nodes" / "three.yaml"
    with up(example, tmp_path) as (process, url):
        nodes = nodes_of(process.pid)
        answered = ask(url, "3+4")
        process.send_signal(signal.SIGTERM)
        process.wait(SECONDS)

        assert process.returncode == 0
        assert len(nodes) == 3
        assert not any(runs(pid) for pid in nodes)
        assert answered["disrouter"]["agent"] in ("agent-1", "agent-3", "agent-5")
        assert answered["disrouter"]["hops"][0]["confidence"] is not None


def test_ctrl_c_ends_gateway_and_nodes(file: Path) -> None:
    with up(file, file.parent) as (process, _):
        nodes = nodes_of(process.pid)
        process.send_signal(signal.SIGINT)
        process.wait(SECONDS)

        assert process.returncode == 0
        assert len(nodes) == 3
        assert not any(runs(pid) for pid in nodes)


def test_nodes_end_by_themselves_when_whoever_started_them_is_killed(file: Path) -> None:
    with up(file, file.parent) as (process, _):
        nodes = nodes_of(process.pid)
        process.kill()
        process.wait(SECONDS)

        assert len(nodes) == 3
        wait_until_ended(nodes)


def test_a_killed_node_takes_no_query_with_it(file: Path) -> None:
    with Fleet(file, list(COSTS)) as fleet:
        far = load(file, nodes=fleet.urls)
        fleet.processes["small"].kill()
        fleet.processes["small"].wait()
        traces = [far.ask(Query.from_text("x", id=f"test-0-{i}")) for i in range(5)]

    for trace in traces:
        assert trace.hops[0].reason == "FaultError: Agent 'small' cannot be reached."
        assert trace.agent in ("middle", "large")


def test_a_node_that_was_killed_is_started_again_at_its_address(file: Path) -> None:
    said: list[str] = []
    with Fleet(file, ["small"]) as fleet, Keeper(fleet, said.append, first_pause=0.05):
        url, first = fleet.urls["small"], fleet.processes["small"].pid
        far = load(file, nodes={"small": url})
        fleet.processes["small"].kill()
        until = time.monotonic() + SECONDS
        while len(said) < 2 and time.monotonic() < until:
            time.sleep(0.02)
        trace = far.ask(Query.from_text("x", id="test-0-0"))

        assert fleet.processes["small"].pid != first
        assert fleet.urls["small"] == url

    assert said == [
        "The node of agent 'small' ended with exit code -9; it is started again in 0.05 s.",
        f"The node of agent 'small' is back at {url}.",
    ]
    assert trace.hops[0].decision != "failure"
    assert fleet.processes["small"].returncode == 0


def test_a_node_that_does_not_come_back_is_tried_at_longer_and_longer_intervals(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    with Fleet(file, ["small"]) as fleet, Keeper(fleet, said.append, first_pause=0.05):
        monkeypatch.setattr(fleet, "_command", lambda _: [sys.executable, "-c", "raise SystemExit(3)"])
        fleet.processes["small"].kill()
        until = time.monotonic() + SECONDS
        while len(said) < 6 and time.monotonic() < until:
            time.sleep(0.02)

    assert [sentence.rpartition("in ")[2] for sentence in said[:6:2]] == ["0.05 s.", "0.1 s.", "0.2 s."]
    assert "Agent 'small' did not start: it ended with exit code 3." in said[1]


def test_a_port_that_is_taken_is_said_so_before_anybody_starts(file: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = CliRunner().invoke(cli, ["network", "up", "--network", str(file), "--port", str(port)])

    assert result.exit_code == 2
    assert f"Cannot listen at 127.0.0.1:{port}" in result.output


def test_nodes_that_pass_queries_on_must_know_where_the_others_are(file: Path) -> None:
    file.write_text(f"dispatch: peer\n{file.read_text(encoding='utf-8')}", encoding="utf-8")

    result = CliRunner().invoke(cli, ["network", "up", "--network", str(file), "--port", "0"])

    assert result.exit_code == 2
    assert "small, middle, large have no address" in result.output
