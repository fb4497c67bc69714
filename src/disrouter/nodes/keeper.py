"""The keeper of a fleet: a node that ends without being told to is started again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

from disrouter.errors import RunError
from disrouter.nodes.fleet import Fleet

__all__ = ["Keeper"]

LOOK_SECONDS = 0.25
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 60.0
"""Seconds between attempts: twice as many after each one, until a node has lived for as long as this."""


class Keeper:
    """Looks after a fleet for as long as the block runs.

    Args:
        fleet: The nodes.
        say: Told in a sentence what happened and what is done about it.
        first_pause: Seconds before a node is started again for the first time.
    """

    def __init__(self, fleet: Fleet, say: Callable[[str], None], *, first_pause: float = FIRST_PAUSE) -> None:
        self._fleet = fleet
        self._say = say
        self._first_pause = first_pause
        self._pauses: dict[str, float] = {}
        self._due: dict[str, float] = {}
        self._started: dict[str, float] = {}
        self._reviving: str | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="fleet", daemon=True)

    def __enter__(self) -> Keeper:
        """Begin to look."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Look no longer: who ends from now on is meant to."""
        self._over.set()
        while self._thread.is_alive():
            if self._reviving is not None:  # nobody waits for it any more
                self._fleet.processes[self._reviving].kill()
            self._thread.join(LOOK_SECONDS)

    def _keep(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            for name in self._fleet.dead:
                if name not in self._due:
                    self._plan(name)
                elif time.monotonic() >= self._due[name]:
                    self._revive(name)

    def _plan(self, name: str) -> None:
        """Decide when a node that has ended is started again."""
        now = time.monotonic()
        lived = now - self._started.get(name, -LONGEST_PAUSE)
        before = None if lived >= LONGEST_PAUSE else self._pauses.get(name)
        pause = self._first_pause if before is None else min(2 * before, LONGEST_PAUSE)
        self._pauses[name], self._due[name] = pause, now + pause
        code = self._fleet.processes[name].returncode
        self._say(f"The node of agent '{name}' ended with exit code {code}; it is started again in {pause:g} s.")

    def _revive(self, name: str) -> None:
        del self._due[name]
        self._started[name] = time.monotonic()
        self._reviving = name
        try:
            self._fleet.restart(name)
        except RunError as error:
            if not self._over.is_set():
                self._say(error.message)
            process = self._fleet.processes[name]
            if process.poll() is None:  # it was too slow: the next attempt needs its port
                process.kill()
                process.wait()
        else:
            self._say(f"The node of agent '{name}' is back at {self._fleet.urls[name]}.")
        finally:
            self._reviving = None
