"""Placement: how many copies of an agent run on a cluster, and what each of them takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from disrouter.config.schema import RaySpec

__all__ = ["Placement", "placement_of"]


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
    def copies(self) -> int:
        """Most copies at any time."""
        return max(self.replicas, self.most or 0)


def placement_of(entry: RaySpec) -> Placement:
    """Return the placement that an entry of a network file describes."""
    return Placement(
        replicas=entry.replicas,
        most=entry.max_replicas,
        cpus=entry.cpus,
        gpus=entry.gpus,
        max_ongoing=entry.max_ongoing,
        patience=entry.patience,
        server=entry.server,
    )
