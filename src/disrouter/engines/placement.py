"""Placement: how many copies of an agent run on a cluster, and what each of them takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Placement"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where one agent runs."""

    replicas: int = 1
    """Copies at the start, and always where their number does not follow the load."""

    most: int | None = None
    """Most copies under load; None: as many as at the start."""

    cpus: float = 1.0
    """Cores that a copy takes of its machine's."""

    gpus: float = 0.0
    """GPUs that a copy takes, parts of one included."""

    max_ongoing: int | None = None
    """Queries that a copy works on at a time; None: as many as the agent itself takes."""

    patience: float = 60.0
    """Seconds that a look, or the first piece of an answer, may take before the next agent is asked."""

    server: Literal["agent", "vllm"] = "agent"
    """What runs the model in a copy: the agent as it is everywhere, or vLLM beside it."""

    @property
    def at_once(self) -> int | None:
        """Queries that all copies together work on at most."""
        return None if self.max_ongoing is None else self.max_ongoing * max(self.replicas, self.most or 0)
