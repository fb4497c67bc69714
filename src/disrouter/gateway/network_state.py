"""The network as pages show it: who is in it, who passes to whom, and how everybody is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from disrouter.gateway.metrics import BreakerState

__all__ = ["AgentState", "NetworkState"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentState:
    """One agent at a moment. Says nothing of where it runs."""

    name: str
    kind: Literal["local", "server", "other"] = "other"
    """Runs in this process, or behind a server."""

    price: float
    """Its rank by price, as the network orders by it; only comparisons mean anything."""

    passes_to: tuple[str, ...] = ()
    breaker: BreakerState = "closed"
    in_flight: int = 0
    waiting: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkState:
    """A network at a moment."""

    name: str
    agents: tuple[AgentState, ...]
    """In the order of asking."""

    policy: str
    scenario: str
    alpha: float
    in_flight: int = 0
    ready: bool = True
    """Whether any agent can answer."""
