"""Commands on a Ray cluster, as a user gives them: they end, they say what is wrong, and they leave nothing behind."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from disrouter.engines.processes_of import Process, descendants, ended
from disrouter.engines.ray_checks import FLAGS

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: make test-ray"),
    pytest.mark.filterwarnings("ignore"),
]

PROGRAM = [sys.executable, "-m", "disrouter"]
NETWORK = """
name: two
agents:
  - {name: agent-1, backend: transformers, model: "lab:agent-1", self_assessment: head, scenario_prompt: false,
     price: {cost: 0.1}, ray: {cpus: 0.1, replicas: 2}}
  - {name: agent-2, backend: transformers, model: "lab:agent-2", self_assessment: head, scenario_prompt: false,
     price: {cost: 0.9}, ray: {cpus: 0.1}}
"""
EVAL = ("eval", "--network", "two.yaml", "--limit", "40", "--seed", "3")


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return {**kept, "RAY_USAGE_STATS_ENABLED": "0", **more}


def run(folder: Path, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *arguments],
        cwd=folder,
        env=dict(env or environment()),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "two.yaml").write_text(NETWORK)
    return tmp_path


@contextmanager
def serving(
    folder: Path, *more: str, env: Mapping[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A gateway on a cluster, and its address; in a session of its own, as a shell would start it."""
    process = subprocess.Popen(
        [*PROGRAM, "serve", "--network", "two.yaml", "--engine", "ray", "--port", "0", *more],
        cwd=folder,
        env=dict(env or environment()),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stderr is not None
        said = ""
        while "served at" not in said:
            line = process.stderr.readline()
            assert line, f"it ended: {said}"
            said += line
        yield process, said.split("served at ")[1].split()[0]
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def ask(address: str) -> str:
    body = {"model": "disrouter", "messages": [{"role": "user", "content": "12 + 7 = ?"}]}
    request = urllib.request.Request(
        f"{address}/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        text: str = json.load(reply)["choices"][0]["message"]["content"]
    return text


def left(processes: list[Process], seconds: float = 20.0) -> list[str]:
    """Names of the processes that still run after some seconds."""
    until = time.monotonic() + seconds
    while any(process.alive for process in processes) and time.monotonic() < until:
        time.sleep(0.05)
    return [process.name for process in processes if process.alive]


@pytest.mark.parametrize("how", ["SIGTERM", "Ctrl-C"])
def test_a_gateway_on_a_cluster_answers_and_ends_with_all_its_processes(folder: Path, how: str) -> None:
    with serving(folder) as (process, address):
        assert ask(address)
        started = descendants(process.pid)
        assert len(started) > 5

        if how == "SIGTERM":
            process.terminate()
        else:
            os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to everybody in the group

        assert process.wait(60) == 0
        assert left(started, 5.0) == []


def test_a_gateway_that_is_killed_takes_its_replicas_with_it(folder: Path) -> None:
    with serving(folder) as (process, _):
        started = descendants(process.pid)

        process.kill()

        # Two helpers of Ray's own notice after a minute.
        helpers = [found for found in started if found.name in ("ray::DashboardA", "ray::RuntimeEnv")]
        assert left([found for found in started if found not in helpers], 60.0) == []
        ended(helpers, 0.0)


def test_a_port_in_use_ends_the_cluster_that_was_started_for_it(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = str(taken.getsockname()[1])
        process = subprocess.Popen(
            [*PROGRAM, "serve", "--network", "two.yaml", "--engine", "ray", "--port", port],
            cwd=folder,
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        seen: dict[int, Process] = {}
        while process.poll() is None:
            seen.update({found.pid: found for found in descendants(process.pid)})
            time.sleep(0.2)
        assert process.stderr is not None
        said = process.stderr.read()
        process.stderr.close()

    assert process.returncode == 2
    assert f"Cannot listen at 127.0.0.1:{port}" in said
    assert "Traceback" not in said
    assert left(list(seen.values()), 5.0) == []


def test_a_start_that_is_interrupted_leaves_nothing(folder: Path) -> None:
    process = subprocess.Popen(
        [*PROGRAM, "serve", "--network", "two.yaml", "--engine", "ray", "--port", "0"],
        cwd=folder,
        env=environment(),
        stderr=subprocess.DEVNULL,
    )
    seen: dict[int, Process] = {}
    until = time.monotonic() + 60
    while not any(found.name.startswith("ray::") for found in seen.values()) and time.monotonic() < until:
        seen.update({found.pid: found for found in descendants(process.pid)})
        time.sleep(0.05)

    seen.update({found.pid: found for found in descendants(process.pid)})
    process.terminate()

    assert process.wait(60) == 130
    assert left(list(seen.values())) == []


def test_an_evaluation_on_a_cluster_has_the_bytes_of_one_here(folder: Path) -> None:
    for name, more in {"here": (), "two": ("--workers", "2"), "ray": ("--engine", "ray", "--workers", "2")}.items():
        done = run(folder, *EVAL, "--run-dir", name, *more)
        assert done.returncode == 0, done.stderr

    for file in ("table.parquet", "validation.parquet", "traces.jsonl", "metrics.json"):
        here = (folder / "here" / file).read_bytes()
        assert (folder / "two" / file).read_bytes() == here
        assert (folder / "ray" / file).read_bytes() == here


def test_a_profile_on_a_cluster_has_the_bytes_of_one_here(folder: Path) -> None:
    command = ("profile", "--model", "lab:agent-1", "--queries", "130", "--samples", "2", "--output")
    for name, more in {"here": (), "ray": ("--engine", "ray")}.items():
        done = run(folder, *command, f"{name}.parquet", *more)
        assert done.returncode == 0, done.stderr

    assert (folder / "ray.parquet").read_bytes() == (folder / "here.parquet").read_bytes()


def test_a_bench_table_on_a_cluster_has_the_bytes_of_one_here(folder: Path) -> None:
    command = ("bench", "build", "--network", "two.yaml", "--train", "20", "--validation", "10", "--test", "20", "-o")
    for name, more in {"here": (), "ray": ("--engine", "ray")}.items():
        done = run(folder, *command, f"{name}.parquet", *more)
        assert done.returncode == 0, done.stderr

    assert (folder / "ray.parquet").read_bytes() == (folder / "here.parquet").read_bytes()


@contextmanager
def head(**flags: str) -> Iterator[tuple[str, str]]:
    """A head of a cluster that somebody else has started, its address and its token."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(32)
    home = tempfile.mkdtemp(prefix="disrouter-", dir="/tmp")  # Ray's sockets want a short name
    env = environment(RAY_AUTH_TOKEN=token, **flags)
    command = [
        str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", f"--port={port}", "--num-cpus=4",
        "--include-dashboard=false", "--node-ip-address=127.0.0.1", f"--temp-dir={home}",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    seen: list[Process] = []
    try:
        until = time.monotonic() + 90
        while not any(found.name.startswith("raylet") for found in seen) and time.monotonic() < until:
            seen = descendants(process.pid)
            time.sleep(0.1)
        yield f"127.0.0.1:{port}", token
    finally:
        seen = descendants(process.pid)
        process.terminate()
        process.wait(60)
        left(seen)
        ended(seen, 0.0)
        shutil.rmtree(home, ignore_errors=True)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            {"RAY_AUTH_MODE": "token"},
            "was started without RAY_SERVE_THROUGHPUT_OPTIMIZED and RAY_SERVE_ENABLE_HA_PROXY",
        ),
        ({"RAY_AUTH_MODE": "disabled", **FLAGS}, "asks nobody for a token"),
    ],
    ids=["no flags", "no token"],
)
def test_a_cluster_that_is_slow_or_open_is_refused(folder: Path, flags: dict[str, str], message: str) -> None:
    with head(**flags) as (address, token):
        done = run(
            folder, "serve", "--network", "two.yaml", "--engine", "ray", "--ray-address", address, "--port", "0",
            env=environment(RAY_AUTH_TOKEN=token),
        )  # fmt: skip

    assert done.returncode in (1, 2)
    assert message in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_a_cluster_that_is_there_serves_and_stays(folder: Path) -> None:
    with head(RAY_AUTH_MODE="token", **FLAGS) as (address, token):
        env = environment(RAY_AUTH_TOKEN=token)
        wrong = run(
            folder, *EVAL, "--engine", "ray", "--ray-address", address, env=environment(RAY_AUTH_TOKEN="f" * 64)
        )
        with serving(folder, "--ray-address", address, env=env) as (process, url):
            assert ask(url)
            process.terminate()
            assert process.wait(60) == 0
        again = run(folder, *EVAL, "--engine", "ray", "--ray-address", address, env=env)

    assert wrong.returncode == 1
    assert "cannot be reached" in wrong.stderr
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize("command", [EVAL, ("serve", "--network", "two.yaml", "--port", "0")], ids=["eval", "serve"])
def test_a_cluster_that_is_not_there_is_told_in_bounded_time(folder: Path, command: tuple[str, ...]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"

    done = run(folder, *command, "--engine", "ray", "--ray-address", address, env=environment(RAY_AUTH_TOKEN="f" * 64))

    assert done.returncode == 1
    assert f"The Ray cluster at '{address}' cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr
