"""Network files: a network as YAML, read strictly, with every problem reported at once.

    name: laptop
    agents:
      - {name: small, backend: transformers, model: models/small, price: {cost: 0.1}}
      - {name: large, backend: transformers, model: models/large, price: {cost: 0.9}}
    scenario: balance

The keys, what each may hold and its default are the fields of :class:`NetworkSpec`.
"""

from __future__ import annotations

from pathlib import Path

from disrouter.config.checks import problems_of
from disrouter.config.parts import agent_of
from disrouter.config.schema import AgentSpec, LimitsSpec, NetworkSpec, PriceSpec, RaySpec
from disrouter.config.strict_yaml import read_mapping, refuse
from disrouter.errors import ConfigError
from disrouter.network import Limits, Network
from disrouter.policies import policy_of
from disrouter.utility import scenario_of

__all__ = ["AgentSpec", "LimitsSpec", "NetworkSpec", "PriceSpec", "RaySpec", "embedded_networks", "load", "ray_entries"]

NETWORKS = Path(__file__).parent.parent / "networks"


def embedded_networks() -> tuple[str, ...]:
    """Return the names of the networks that come with the package."""
    return tuple(sorted(path.stem for path in NETWORKS.glob("*.yaml")))


def load(path_or_name: str | Path) -> Network:
    """Return the network of a file, or of the name of an embedded one ("lab").

    Model folders are checked, but no weights are loaded: an agent loads itself at its first look. A file in the
    working folder that has an embedded network's name is meant by "./lab".

    Raises:
        ConfigError: The file is missing or unusable; all its problems are in one message.
        MissingExtraError: An agent's backend is not installed.
    """
    spec, folder = _read(path_or_name)
    return _network(spec, folder)


def ray_entries(path_or_name: str | Path) -> dict[str, RaySpec]:
    """Return how every agent that runs a model shall run on a Ray cluster, by name; others are not in it.

    Raises:
        ConfigError: The file is missing or unusable.
    """
    spec, _ = _read(path_or_name)
    return {agent.name: agent.ray or RaySpec() for agent in spec.agents if agent.backend != "openai"}


def _read(path_or_name: str | Path) -> tuple[NetworkSpec, Path]:
    """Return the checked content of a network file, and the folder that its paths are relative to."""
    embedded = embedded_networks()
    path = NETWORKS / f"{path_or_name}.yaml" if str(path_or_name) in embedded else Path(path_or_name)
    if not path.exists():
        raise ConfigError(
            f"Network file '{path}' does not exist.",
            hint=f"give the path of a YAML file or an embedded network: {', '.join(embedded)}",
        )
    content, repeated = read_mapping(path, kind="Network file", needs="name and agents")
    if problems := [*repeated, *problems_of(content, path.parent)]:
        refuse(path, problems, kind="Network file")
    return NetworkSpec.model_validate(content), path.parent


def _network(spec: NetworkSpec, folder: Path) -> Network:
    return Network(
        spec.name,
        [agent_of(agent, spec.cost_unit, folder) for agent in spec.agents],
        spec.edges,
        policy=policy_of(spec.policy),
        scenario=scenario_of(spec.scenario),
        limits=Limits(**spec.limits.model_dump()) if spec.limits else None,
        always_answers={a.name: a.always_answers for a in spec.agents if a.always_answers is not None},
    )
