"""Prompts: the chat messages an agent reads for a query under a scenario, in training as in routing."""

from __future__ import annotations

from disrouter.types import Query, Scenario
from disrouter.utility import SCENARIOS

__all__ = ["chat_messages", "named_scenario"]


def named_scenario(scenario: Scenario) -> Scenario:
    """Return the named scenario whose alpha is nearest (the lower one in a tie): agents are trained on those only."""
    # Rounded, so that 0.35 lies as far from 0.2 as from 0.5.
    return min(SCENARIOS.values(), key=lambda named: (round(abs(named.alpha - scenario.alpha), 9), named.alpha))


def chat_messages(query: Query, scenario: Scenario | None) -> list[dict[str, str]]:
    """Return the query's messages for a chat template, told the scenario's name by a system message if one is given.

    A query with a system message of its own keeps it: the name becomes the first line of that message.
    """
    messages = [{"role": message.role, "content": message.content} for message in query.messages]
    if scenario is None:
        return messages
    name = named_scenario(scenario).name
    if messages and messages[0]["role"] == "system":
        return [{"role": "system", "content": f"{name}\n{messages[0]['content']}"}, *messages[1:]]
    return [{"role": "system", "content": name}, *messages]
