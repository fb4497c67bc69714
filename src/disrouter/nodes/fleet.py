"""A fleet: every agent of a network as a node process on this machine, started together and ended together.

Every node is held by a leash, the pipe that is its standard input. However the process that holds them ends, the pipes
close with it, and so the nodes end, too: nothing is left running.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from disrouter.errors import RunError

__all__ = ["Fleet"]

START_SECONDS = 120.0
END_SECONDS = 15.0
"""After this a node that has not ended is killed."""

LONGEST_LINE = 65_536


class Fleet:
    """Node processes of one network file; a context manager that leaves none behind.

    Args:
        network: The network file, or the name of an embedded network.
        names: The agents.
        hop_secret_env: Variable with the secret that nodes and their callers share; it is passed on to the nodes.
        start_seconds: How long all of them together may take until they are ready.
        options: More options of `disrouter agent serve`.
    """

    def __init__(
        self,
        network: str | Path,
        names: Sequence[str],
        *,
        hop_secret_env: str | None = None,
        start_seconds: float = START_SECONDS,
        options: Iterable[str] = (),
    ) -> None:
        self.network = network
        self.names = tuple(names)
        self.hop_secret_env = hop_secret_env
        self.start_seconds = start_seconds
        self.options = tuple(options)
        self.urls: dict[str, str] = {}
        """Addresses of the nodes that are ready, by agent."""
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Fleet:
        """Start every node.

        Raises:
            RunError: One did not start; all are ended.
        """
        try:
            self._start(self.names)
        except RunError as error:
            self.end()
            raise RunError(f"{error.message} All were ended.", hint=error.hint) from error.__cause__
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End every node."""
        self.end()

    @property
    def dead(self) -> list[str]:
        """Agents whose nodes have ended."""
        return [name for name, process in self.processes.items() if process.poll() is not None]

    def restart(self, name: str) -> None:
        """Start the node of an agent again, at the address that it had.

        Raises:
            RunError: It does not start.
        """
        for pipe in (self.processes[name].stdin, self.processes[name].stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._start([name])

    def end(self) -> None:
        """Let go of every leash, and wait until every node has done what it had to do."""
        for process in self.processes.values():
            if process.stdin is not None:
                with contextlib.suppress(OSError):
                    process.stdin.close()
        until = time.monotonic() + END_SECONDS
        for process in self.processes.values():
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def _start(self, names: Sequence[str]) -> None:
        for name in names:
            self.processes[name] = subprocess.Popen(
                self._command(name),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for whoever holds the leash
                env={**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")},
            )
        until = time.monotonic() + self.start_seconds
        with selectors.DefaultSelector() as selector:
            for name in names:
                said_by = self.processes[name].stdout
                assert said_by is not None
                os.set_blocking(said_by.fileno(), False)
                selector.register(said_by, selectors.EVENT_READ, (name, bytearray()))
            while waiting := [key.data[0] for key in selector.get_map().values()]:
                if not (events := selector.select(max(0.0, until - time.monotonic()))):
                    raise RunError(
                        f"Agents {', '.join(waiting)} were not ready in {self.start_seconds:g} s.",
                        hint="give them more time with --start-seconds",
                    )
                for key, _ in events:
                    name, said = key.data
                    piece = os.read(key.fd, LONGEST_LINE)
                    said += piece
                    if b"\n" in said or not piece or len(said) > LONGEST_LINE:
                        selector.unregister(key.fileobj)
                        self.urls[name] = self._url_in(name, bytes(said))

    def _url_in(self, name: str, said: bytes) -> str:
        """Return the address that a node says it is served at.

        Raises:
            RunError: It said something else, or ended.
        """
        with contextlib.suppress(ValueError, KeyError, TypeError):
            found: Any = json.loads(said.partition(b"\n")[0])
            return str(found["url"])
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.processes[name].wait(2.0)
        code = self.processes[name].poll()
        how = "did not say where it is" if code is None else f"ended with exit code {code}"
        raise RunError(
            f"Agent '{name}' did not start: it {how}.",
            hint=f"disrouter agent serve {name} --network {self.network}",
        )

    def _command(self, name: str) -> list[str]:
        secret = ["--hop-secret-env", self.hop_secret_env] if self.hop_secret_env else []
        return [
            *(sys.executable, "-m", "disrouter", "agent", "serve", name, "--network", str(self.network)),
            *("--port", self._port_of(name), "--leash", "--json", *secret, *self.options),
        ]

    def _port_of(self, name: str) -> str:
        """Return the port that a node had, where it has been there; a free one else."""
        return str(urlsplit(self.urls[name]).port) if name in self.urls else "0"
