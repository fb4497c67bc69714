"""Which processes another one has started, and seeing that they end (Linux; elsewhere nobody is known)."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Process", "descendants", "ended"]

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """A process, told from a later one of the same number by when it began."""

    pid: int
    name: str
    began: int

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        found = _read(self.pid)
        return found is not None and found[0].began == self.began


def descendants(pid: int) -> list[Process]:
    """Return the processes that one has started, and those that they have."""
    children: dict[int, list[Process]] = {}
    with suppress(OSError):
        for folder in PROC.iterdir():
            if folder.name.isdigit() and (found := _read(int(folder.name))):
                children.setdefault(found[1], []).append(found[0])
    listed: list[Process] = []
    waiting = [pid]
    while waiting:
        more = children.get(waiting.pop(), [])
        listed += more
        waiting += [process.pid for process in more]
    return listed


def ended(processes: Sequence[Process], patience: float) -> None:
    """Wait until processes have ended; after ``patience`` seconds those that have not are killed."""
    until = time.monotonic() + patience
    while left := [process for process in processes if process.alive]:
        if time.monotonic() >= until:
            for process in left:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(process.pid, signal.SIGKILL)
            return
        time.sleep(0.05)


def _read(pid: int) -> tuple[Process, int] | None:
    """Return a process that is no zombie, and the number of its parent."""
    try:
        before, _, after = (PROC / str(pid) / "stat").read_text().rpartition(")")
    except (OSError, UnicodeDecodeError):
        return None
    fields = after.split()
    if fields[0] == "Z":
        return None
    return Process(pid, before.partition("(")[2], int(fields[19])), int(fields[1])
