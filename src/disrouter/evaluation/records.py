"""What a run folder records of a network and its surroundings, and the network made again from it without models."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from disrouter.agents.folders import files_digest
from disrouter.agents.recorded import RecordedAgent
from disrouter.competence import Competence
from disrouter.errors import DataError
from disrouter.limits import Limits
from disrouter.network import Network
from disrouter.policies import policy_of, spec_of
from disrouter.types import Agent, AgentCard, QueryPrice, Scenario, Seconds, TokenPrice

__all__ = ["commit", "fingerprint", "network_from_json", "network_to_json", "versions"]

_PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "pyarrow")
"""Whose version may change an outcome."""


def network_to_json(network: Network) -> dict[str, Any]:
    """Return all that routing depends on, as plain JSON values, and a fingerprint of every model."""
    return {
        "name": network.name,
        "agents": [
            {
                "name": name,
                "price": asdict(agent.card.price),
                "context_length": agent.card.context_length,
                "parameters": agent.card.parameters,
                "scenario_prompt": bool(getattr(agent, "scenario_prompt", True)),
                "fingerprint": fingerprint(agent),
                **({} if agent.card.seconds is None else {"seconds": asdict(agent.card.seconds)}),
                **_competence(name, agent.card.competence),
            }
            for name, agent in network.agents.items()
        ],
        "edges": {name: list(to) for name, to in network.edges.items()},
        "policy": spec_of(network.policy),
        "scenario": asdict(network.scenario),
        "limits": asdict(network.limits),
        "always_answers": dict(network.always_answers),
    }


def _competence(name: str, competence: Competence | None) -> dict[str, Any]:
    return {} if competence is None else {"competence": competence.to_json(name)}


def network_from_json(value: Mapping[str, Any]) -> Network:
    """Return the network with agents that have a card but no model: enough to replay an outcome table.

    Raises:
        DataError: The record is not whole.
    """
    try:
        agents = [
            RecordedAgent(
                AgentCard(
                    name=agent["name"],
                    price=QueryPrice(**agent["price"]) if "cost" in agent["price"] else TokenPrice(**agent["price"]),
                    context_length=agent["context_length"],
                    parameters=agent["parameters"],
                    seconds=Seconds(**agent["seconds"]) if "seconds" in agent else None,
                    competence=Competence.from_json(agent["competence"]) if "competence" in agent else None,
                ),
                (),
            )
            for agent in value["agents"]
        ]
        return Network(
            value["name"],
            agents,
            value["edges"],
            policy=policy_of(value["policy"]),
            scenario=Scenario(**value["scenario"]),
            limits=Limits(**value["limits"]),
            always_answers=value["always_answers"],
        )
    except (KeyError, TypeError, ValueError) as exc:
        raise DataError(f"The run's record of its network is not whole: {exc}.", hint="evaluate again") from exc


def fingerprint(agent: Agent) -> str | None:
    """Return a short hash of the model folder an agent runs, or None if it runs none."""
    folder = getattr(agent, "model_path", None)
    if folder is None or not Path(folder).is_dir():
        return None
    known = (".json", ".safetensors", ".jinja", ".model", ".txt")
    return files_digest(path for path in sorted(Path(folder).iterdir()) if path.is_file() and path.suffix in known)


def versions() -> dict[str, str]:
    """Return the versions of Python, this package and the libraries that may change an outcome."""
    from disrouter import __version__

    found = {"python": ".".join(map(str, sys.version_info[:3])), "disrouter": __version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """Return the commit of this package's checkout, or None if it is installed or git is missing."""
    here = Path(__file__).resolve()
    try:
        # Asked about this very file: an installation inside somebody else's repository has no commit of ours.
        found = subprocess.run(
            ["git", "-C", str(here.parent), "log", "-1", "--format=%H", "--", here.name],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
        head = subprocess.run(
            ["git", "-C", str(here.parent), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return head.stdout.strip() if found.stdout.strip() else None
