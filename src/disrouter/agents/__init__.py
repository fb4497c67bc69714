"""Agents: language models with a price, behind one contract (:class:`disrouter.types.Agent`).

Importing this package loads no model library: the agents that need one arrive on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from disrouter.agents.fakes import Script, ScriptedAgent

if TYPE_CHECKING:
    from disrouter.agents.openai_compatible import OpenAICompatibleAgent
    from disrouter.agents.recorded import RecordedAgent
    from disrouter.agents.transformers import TransformersAgent

__all__ = ["OpenAICompatibleAgent", "RecordedAgent", "Script", "ScriptedAgent", "TransformersAgent"]

_MODULE_OF = {
    "OpenAICompatibleAgent": "disrouter.agents.openai_compatible",
    "RecordedAgent": "disrouter.agents.recorded",
    "TransformersAgent": "disrouter.agents.transformers",
}


def __getattr__(name: str) -> object:
    """Return an agent from the module that holds it, loading that module on first use."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'disrouter.agents' has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)
