"""Network files: a network as YAML, read strictly, with every problem reported at once.

    name: laptop
    agents:
      - {name: small, backend: transformers, model: models/small, price: {cost: 0.1}}
      - {name: large, backend: transformers, model: models/large, price: {cost: 0.9}}
    scenario: balance

The keys, what each may hold and its default are the fields of :class:`NetworkSpec`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from disrouter.agents.folders import agent_digest
from disrouter.config.checks import problems_of, specs_of
from disrouter.config.nodes import Places, lives_elsewhere, places_of
from disrouter.config.parts import agent_of
from disrouter.config.schema import AgentSpec, LimitsSpec, NetworkSpec, PriceSpec, RaySpec
from disrouter.config.strict_yaml import read_mapping, refuse
from disrouter.errors import ConfigError, UnknownNameError
from disrouter.limits import Limits
from disrouter.network import Network
from disrouter.policies import policy_of
from disrouter.types import Agent
from disrouter.utility import scenario_of

__all__ = [
    "AgentSpec",
    "LimitsSpec",
    "NetworkSpec",
    "PriceSpec",
    "RaySpec",
    "digest_of",
    "dispatch_of",
    "embedded_networks",
    "load",
    "load_agent",
    "load_peer",
    "names_here",
    "ray_entries",
]

NETWORKS = Path(__file__).parent.parent / "networks"


def embedded_networks() -> tuple[str, ...]:
    """Return the names of the networks that come with the package."""
    return tuple(sorted(path.stem for path in NETWORKS.glob("*.yaml")))


def load(
    path_or_name: str | Path,
    *,
    here: str | None = None,
    nodes: Mapping[str, str] | None = None,
    hop_secret_env: str | None = None,
    measuring: Collection[str] | None = None,
) -> Network:
    """Return the network of a file, or of the name of an embedded one ("lab").

    Model folders are checked, but no weights are loaded: an agent loads itself at its first look. A file in the
    working folder that has an embedded network's name is meant by "./lab". Nodes are asked for their cards.

    Args:
        path_or_name: The file or the name.
        here: The agent that this process serves itself although its entry names a node.
        nodes: Addresses of nodes by the names of their agents, where the file does not say them.
        hop_secret_env: Variable with the secret shared with these.
        measuring: Agents that are about to be measured, everybody if empty: their cards, missing or of other models,
            are not read, and queries are routed by the agents' own word, which needs none.

    Raises:
        ConfigError: The file is missing or unusable; all its problems are in one message.
        MissingExtraError: An agent's backend is not installed.
        UnknownNameError: The file has no agent ``here``.
    """
    path, content, repeated = _read(path_or_name)
    _place(content, nodes or {}, hop_secret_env)
    places = places_of(specs_of(content), here, measuring)
    if problems := [*repeated, *problems_of(content, path.parent, places)]:
        refuse(path, problems, kind="Network file")
    spec = NetworkSpec.model_validate(content)
    if here is not None:
        _named(spec, here)
    return _network(spec, path.parent, places)


def load_agent(path_or_name: str | Path, name: str) -> Agent:
    """Return one agent of a network file, for the process that serves it; nothing else of the file need be here.

    Raises:
        ConfigError: The file is missing or unusable, or the agent lives elsewhere.
        MissingExtraError: The agent's backend is not installed.
        UnknownNameError: The file has no such agent.
    """
    path, content, repeated = _read(path_or_name)
    places = Places(here=name)
    if problems := [*repeated, *problems_of(content, path.parent, places, only=name)]:
        refuse(path, problems, kind="Network file")
    spec = NetworkSpec.model_validate(content)
    agent = _named(spec, name)
    if lives_elsewhere(agent, name):
        raise ConfigError(
            f"Agent '{name}' of network '{spec.name}' is behind a node already.",
            hint="serve it from the file that says what model it is",
        )
    return agent_of(agent, spec.cost_unit, path.parent, places)


def ray_entries(path_or_name: str | Path) -> dict[str, RaySpec]:
    """Return how every agent that runs a model here would run on a Ray cluster, by name; others are not in it.

    Raises:
        ConfigError: The file does not exist or cannot be read at all.
    """
    _, content, _ = _read(path_or_name)
    runs = [spec for spec in specs_of(content).values() if spec.backend != "openai" and not lives_elsewhere(spec, None)]
    return {spec.name: spec.ray or RaySpec() for spec in runs}


def load_peer(path_or_name: str | Path, name: str) -> Network | None:
    """Return the network of a file for the process that serves one of its agents, where nodes pass queries on.

    Returns:
        None where the file leaves that to the caller: then the process need not know the others.

    Raises:
        ConfigError: The file is missing or unusable.
    """
    _, content, _ = _read(path_or_name)
    return load(path_or_name, here=name) if content.get("dispatch") == "peer" else None


def digest_of(agent: Agent) -> str | None:
    """Return the digest of what an agent of this machine answers from; None for one behind a server."""
    folder = getattr(agent, "model_path", None)
    return agent_digest(folder) if isinstance(folder, Path) else None


def _read(path_or_name: str | Path) -> tuple[Path, dict[Any, Any], list[str]]:
    embedded = embedded_networks()
    path = NETWORKS / f"{path_or_name}.yaml" if str(path_or_name) in embedded else Path(path_or_name)
    if not path.exists():
        raise ConfigError(
            f"Network file '{path}' does not exist.",
            hint=f"give the path of a YAML file or an embedded network: {', '.join(embedded)}",
        )
    return path, *read_mapping(path, kind="Network file", needs="name and agents")


def names_here(path_or_name: str | Path) -> list[str]:
    """Return the agents of a network file whose entries name no node.

    Raises:
        ConfigError: The file is missing, or what can be seen of it without its models is wrong.
    """
    path, content, repeated = _read(path_or_name)
    if problems := [*repeated, *problems_of(content, path.parent, Places(), only="")]:
        refuse(path, problems, kind="Network file")
    spec = NetworkSpec.model_validate(content)
    return [agent.name for agent in spec.agents if not lives_elsewhere(agent, None)]


def dispatch_of(path_or_name: str | Path) -> str:
    """Return who passes queries on in a network file: its caller, or the nodes themselves.

    Raises:
        ConfigError: The file is missing.
    """
    _, content, _ = _read(path_or_name)
    return str(content.get("dispatch", "caller"))


def _place(content: Mapping[Any, Any], nodes: Mapping[str, str], hop_secret_env: str | None) -> None:
    """Write into the entries of a file where their agents are."""
    agents = content.get("agents")
    for item in agents if isinstance(agents, list) else []:
        if isinstance(item, dict) and isinstance(item.get("name"), str) and item["name"] in nodes:
            item["node"] = nodes[item["name"]]
            item["hop_secret_env"] = hop_secret_env


def _named(spec: NetworkSpec, name: str) -> AgentSpec:
    for agent in spec.agents:
        if agent.name == name:
            return agent
    raise UnknownNameError.of("agent", name, [agent.name for agent in spec.agents], where=f"network '{spec.name}'")


def _network(spec: NetworkSpec, folder: Path, places: Places) -> Network:
    return Network(
        spec.name,
        [agent_of(agent, spec.cost_unit, folder, places) for agent in spec.agents],
        spec.edges,
        policy=policy_of(spec.policy if places.measuring is None else "own-word"),
        scenario=scenario_of(spec.scenario),
        limits=Limits(**spec.limits.model_dump()) if spec.limits else None,
        always_answers={a.name: a.always_answers for a in spec.agents if a.always_answers is not None},
        dispatch=spec.dispatch,
    )
