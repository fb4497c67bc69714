"""Applications for clusters that are described in files (Serve's own, KubeRay's `RayService`), one per agent.

    applications:
      - name: disrouter-lab-agent-1          # disrouter-<network>-<agent>, as the gateway looks for it
        import_path: disrouter.engines.ray_app:agent
        args: {network: lab, agent: agent-1}

A gateway (`disrouter serve --engine ray --ray-address …`) uses applications of these names as they are.
"""

from __future__ import annotations

import re
from typing import Any

from disrouter.config import load, ray_entries
from disrouter.engines.placement import placement_of
from disrouter.errors import UnknownNameError, UsageError

__all__ = ["agent", "application_name"]


def application_name(network: str, agent: str) -> str:
    """Return the name under which a gateway looks for an agent of a network."""
    return "-".join(["disrouter", *(re.sub(r"[^A-Za-z0-9]+", "-", part) for part in (network, agent))])


def agent(args: dict[str, Any]) -> Any:
    """Return the application of one agent; its arguments are ``network`` (a file or name) and ``agent``.

    Raises:
        UsageError: An argument is missing or unknown, or the agent runs no model.
        UnknownNameError: The network has no such agent.
    """
    from disrouter.engines.ray_deployments import application_of

    if set(args) != {"network", "agent"}:
        raise UsageError(f"The application has the arguments {', '.join(sorted(args)) or 'none'}.", hint=_HINT)
    network, name = load(args["network"]), str(args["agent"])
    if name not in network.agents:
        raise UnknownNameError.of("agent", name, network.agents, where=f"network '{network.name}'")
    entries = ray_entries(args["network"])
    if name not in entries:
        raise UsageError(f"Agent '{name}' is behind a server: the gateway asks it directly.", hint=_HINT)
    return application_of(network.agents[name], placement_of(entries[name]))


_HINT = "give args: {network: FILE, agent: NAME}, one application for every agent that runs a model"
