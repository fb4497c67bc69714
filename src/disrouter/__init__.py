"""Networks of language models that decide for themselves whether to answer a query or to pass it on.

    import disrouter

    network = disrouter.load("lab")
    trace = network.ask("What is 2 + 2?", scenario="balance")

Importing this package loads nothing: every public name arrives on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from disrouter.config import load
    from disrouter.errors import DisrouterError
    from disrouter.limits import Limits
    from disrouter.network import Network
    from disrouter.policies import Accept, OwnWord, PaperThreshold, Pass, Policy, Threshold, View, policy_of
    from disrouter.types import (
        Agent,
        AgentCard,
        Completion,
        Hop,
        Look,
        Message,
        Query,
        QueryPrice,
        Sampling,
        Scenario,
        TokenPrice,
        Trace,
        Usage,
    )
    from disrouter.utility import SCENARIOS, scenario_of

__version__ = "0.1.0"

__all__ = [
    "SCENARIOS",
    "Accept",
    "Agent",
    "AgentCard",
    "Completion",
    "DisrouterError",
    "Hop",
    "Limits",
    "Look",
    "Message",
    "Network",
    "OwnWord",
    "PaperThreshold",
    "Pass",
    "Policy",
    "Query",
    "QueryPrice",
    "Sampling",
    "Scenario",
    "Threshold",
    "TokenPrice",
    "Trace",
    "Usage",
    "View",
    "__version__",
    "load",
    "policy_of",
    "scenario_of",
]

_HOMES = {
    "config": ("load",),
    "errors": ("DisrouterError",),
    "limits": ("Limits",),
    "network": ("Network",),
    "policies": ("Accept", "OwnWord", "PaperThreshold", "Pass", "Policy", "Threshold", "View", "policy_of"),
    "types": (
        "Agent",
        "AgentCard",
        "Completion",
        "Hop",
        "Look",
        "Message",
        "Query",
        "QueryPrice",
        "Sampling",
        "Scenario",
        "TokenPrice",
        "Trace",
        "Usage",
    ),
    "utility": ("SCENARIOS", "scenario_of"),
}
"""Which module holds which public name."""

_MODULE_OF = {name: f"disrouter.{module}" for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Return a public name from the module that holds it, loading that module on first use."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'disrouter' has no attribute {name!r}")
    value: object = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names, loaded or not."""
    return sorted({*globals(), *__all__})
