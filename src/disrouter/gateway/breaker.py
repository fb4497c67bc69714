"""The circuit breaker of an agent: left alone when it keeps failing by its own fault, tried again with one query."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from disrouter.agents.faults import FaultError

__all__ = ["Breaker", "State", "Step"]

Step = Literal["look", "answer"]
State = Literal["closed", "open", "half-open"]


class Breaker:
    """Counts an agent's own failures in a row, looks and answers apart, and opens when there are too many."""

    def __init__(self, agent: str, failures: int, pause: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.agent = agent
        self.most = failures
        self.pause = pause
        self._clock = clock
        self._failed: dict[Step, int] = {"look": 0, "answer": 0}
        self._open_until: float | None = None
        self._probing = False

    @property
    def state(self) -> State:
        """Whether queries go through, none do, or one may as a probe."""
        if self._open_until is None:
            return "closed"
        return "open" if self._clock() < self._open_until else "half-open"

    def require(self) -> None:
        """Do nothing if a query may go through.

        Raises:
            FaultError: The agent is left alone for now.
        """
        state = self.state
        if state == "closed" or (state == "half-open" and not self._probing):
            return
        left = max(0.0, (self._open_until or 0.0) - self._clock())
        raise FaultError(
            f"Agent '{self.agent}' failed {self.most} times in a row and is left alone for a while.",
            kind="open_breaker",
            retry_after=left or 1.0,
        )

    def admit(self) -> bool:
        """Let a query through; return whether it is the probe, which must end in one of the calls below."""
        self.require()
        if self._open_until is None:
            return False
        self._probing = True
        return True

    def succeeded(self, step: Step, probe: bool) -> None:
        """The agent did what it was asked."""
        self._failed[step] = 0
        if probe:
            self._probing, self._open_until = False, None
            self._failed = {"look": 0, "answer": 0}

    def failed(self, step: Step, probe: bool) -> None:
        """The agent broke, by its own fault."""
        self._failed[step] += 1
        if probe or self._failed[step] >= self.most:
            self._open_until = self._clock() + self.pause
        if probe:
            self._probing = False

    def undecided(self, probe: bool) -> None:
        """The query ended without saying anything about the agent."""
        if probe:
            self._probing = False
