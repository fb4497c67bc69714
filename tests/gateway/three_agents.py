"""A network of three agents that are more or less sure, and answer with their names."""

from __future__ import annotations

from typing import Any

from disrouter.agents import ScriptedAgent
from disrouter.network import Network
from disrouter.policies import PaperThreshold

__all__ = ["network", "unsure"]


def unsure(name: str = "small", cost: float = 0.1, confidence: float = 0.6) -> ScriptedAgent:
    return ScriptedAgent(name, cost=cost, confidence=confidence, reply=f"{name} says so")


def network(**options: Any) -> Network:
    agents = [unsure(), unsure("middle", 0.4, 0.7), ScriptedAgent("large", cost=0.9, reply="large says so")]
    return Network("three", agents, policy=PaperThreshold(), **options)
