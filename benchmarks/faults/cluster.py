"""The cluster of the experiment: a gateway and three nodes, each a process on a host of its own."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

from hosts import Hosts
from node import SECRET, patience
from pool import AGENTS, BREAKER, Pool

__all__ = ["DEADLINE", "Cluster", "cluster", "faketime"]

HERE = Path(__file__).parent
SOURCE = HERE.parents[1] / "src"
PORT = 9000
"""Of every node; every host has ports of its own."""
GATEWAY_PORT = 8080
DEADLINE = 5.0
START_SECONDS = 60.0


def faketime() -> Path | None:
    """Return the library that can put a process's clock wrong, if it is installed."""
    return next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)


class Cluster:
    """Processes on hosts; call everything from a thread that has entered the gateway's host."""

    def __init__(self, hosts: Hosts, pool: Pool, folder: Path, *, peer: bool, patience: float) -> None:
        self.hosts = hosts
        self.pool = pool
        self.folder = folder
        self.peer = peer
        self.patience = patience
        self.url = f"http://127.0.0.1:{GATEWAY_PORT}"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(SOURCE),
            "OMP_NUM_THREADS": "1",
            SECRET: secrets.token_hex(16),
        }

    def start(self, name: str) -> None:
        """Start a node; :meth:`wait` for it."""
        others = [f"--peer={other}={self._base(other)}" for other in AGENTS if other != name] if self.peer else []
        address = self.hosts.addresses[name]
        command = [sys.executable, str(HERE / "node.py"), name, str(self.pool.table), address, str(PORT), *others]
        command.append(f"--patience={self.patience}")
        self._spawn(name, command, self._clock(name))

    def start_gateway(self) -> None:
        """Start the gateway; the nodes must be there."""
        path, waits = self.folder / "network.yaml", patience(self.patience)
        lines = [
            "name: apart",
            f"dispatch: {'peer' if self.peer else 'caller'}",
            "policy: value-of-forwarding",
            "scenario: balance",
            "agents:",
        ]
        for name in AGENTS:
            price = self.pool.cards[name].price
            timeouts = f"connect: {waits.connect}, first_token: {waits.first_token}"
            lines.append(
                f"  - {{name: {name}, backend: node, base_url: '{self._base(name)}', hop_secret_env: {SECRET},\n"
                f"     price: {{cost: {price.cost}, look_share: {price.look_share}}}, retries: {waits.retries},\n"
                f"     timeouts: {{{timeouts}, stall: {waits.stall}, total: {waits.total}}},\n"
                f"     breaker: {{failures: {BREAKER.failures}, seconds: {BREAKER.pause}}}}}"
            )
        path.write_text("\n".join(lines) + "\n")
        options = ["--port", str(GATEWAY_PORT), "--no-dashboard", "--deadline", str(DEADLINE), "--drain", "1"]
        self._spawn("gateway", [sys.executable, "-m", "disrouter", "serve", "--network", str(path), *options], {})

    def wait(self, name: str) -> None:
        """Wait until a node, or the gateway, answers."""
        url = self.url if name == "gateway" else self._base(name).removesuffix("/v1")
        until = time.monotonic() + START_SECONDS
        while not _answers(f"{url}/health"):
            process = self._processes[name]
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"{name} did not start:\n{(self.folder / f'{name}.log').read_text()[-2000:]}")
            time.sleep(0.02)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a node a signal."""
        self._processes[name].send_signal(number)

    def kill(self, name: str) -> None:
        """Kill a node, as the kernel would that has no memory left."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def set_clock(self, name: str, seconds: int) -> None:
        """Put a node's clock ahead, while it runs."""
        self._clock_file(name).write_text(f"{seconds:+d}\n")

    def stop(self) -> None:
        """End every process, whatever state it is in."""
        for process in self._processes.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(4)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    def _base(self, name: str) -> str:
        return f"http://{self.hosts.addresses[name]}:{PORT}/v1"

    def _clock_file(self, name: str) -> Path:
        return self.folder / f"{name}.clock"

    def _clock(self, name: str) -> Mapping[str, str]:
        """Return the environment in which a node's clock can be put wrong."""
        library = faketime()
        if library is None:
            return {}
        self.set_clock(name, 0)
        return {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._clock_file(name)),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # an hour off is the wall clock, not time itself
        }

    def _spawn(self, name: str, command: list[str], more: Mapping[str, str]) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                self.hosts.command(name, *command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**self._environment, **more},
            )


@contextlib.contextmanager
def cluster(hosts: Hosts, pool: Pool, folder: Path, *, peer: bool, patience: float) -> Iterator[Cluster]:
    """Run a cluster for as long as the block runs."""
    made = Cluster(hosts, pool, folder, peer=peer, patience=patience)
    try:
        for name in AGENTS:
            made.start(name)
        for name in AGENTS:
            made.wait(name)
        made.start_gateway()
        made.wait("gateway")
        yield made
    finally:
        made.stop()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False
