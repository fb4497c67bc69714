"""Site: how a network is served — what a replica bears, what it costs, what happens when it breaks."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from disrouter.agents.turns import TURN_SECONDS
from disrouter.errors import ConfigError, UnknownNameError, UsageError
from disrouter.network import Network
from disrouter.planning.curves import SIDE_BY_SIDE, TAKING_TURNS, Slowdown
from disrouter.types import Agent

__all__ = ["GATEWAY", "Faults", "Host", "Replicas", "Served", "Site", "groups_of", "local", "site_of"]

GATEWAY = "gateway"
"""Name of the host of gateway processes, where they are planned too."""

Replicas = Mapping[str, int]
"""How many of each host there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One agent on its host."""

    name: str
    concurrency: int
    """Most queries that one replica works on at a time."""

    queue: int
    """Most queries that wait for the agent, however many replicas it has."""

    rank: float = 0.0
    """Its price: the dearest that looked is the first to answer when nobody else can."""

    keeps_place: bool = False
    """Whether a look has begun the answer, which goes on in the same place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What is replicated: a machine, a process or a rented deployment, with one agent or several on it."""

    name: str
    agents: tuple[Served, ...]
    slowdown: Slowdown = SIDE_BY_SIDE
    """By how many are at work on a replica, whatever agent they ask."""

    turn: float | None = None
    """Seconds of a turn where one thread does all the work, a turn of each query after the other, as for models in one
    process; 0: a turn is a token. Otherwise whoever is at work has an equal share of the processor."""

    cost: float | None = None
    """Money per replica and hour."""

    @property
    def room(self) -> int:
        """Most queries at work on a replica."""
        return sum(agent.concurrency for agent in self.agents)

    @property
    def rate(self) -> float:
        """Most seconds of work (as they take alone) that a replica does in a second."""
        return self.slowdown.rate(self.room)


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Replicas break after ``between`` seconds on average and are back after ``repair``; both times are exponential."""

    between: float = math.inf
    repair: float = 600.0

    def __post_init__(self) -> None:
        if not self.between > 0 or not 0 < self.repair < math.inf:
            raise UsageError("Times between failures and of repairs must be above 0.", hint="say 24h and 10m")

    @property
    def down(self) -> float:
        """Share of the time that a replica is down."""
        return 0.0 if math.isinf(self.between) else self.repair / (self.between + self.repair)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Hosts of a network's agents, and what holds for all of them."""

    hosts: tuple[Host, ...]
    successors: Mapping[str, tuple[str, ...]]
    """Whom an agent that breaks is followed by, the preferred one first."""

    faults: Faults = Faults()
    deadline: float = 600.0
    """Seconds after which a query is given up."""

    gateway_seconds: float = 0.0
    """Processor time of the gateway for each agent that is asked; 0 leaves gateways out of the plan."""

    @property
    def agents(self) -> tuple[str, ...]:
        """Names of all agents."""
        return tuple(agent.name for host in self.hosts for agent in host.agents if host.name != GATEWAY)

    @property
    def priced(self) -> bool:
        """Whether money is known of every host."""
        return all(host.cost is not None for host in self.hosts)

    def host(self, name: str) -> Host:
        """Return a host by its name.

        Raises:
            UnknownNameError: There is none.
        """
        found = next((host for host in self.hosts if host.name == name), None)
        if found is None:
            raise UnknownNameError.of("host", name, [host.name for host in self.hosts])
        return found

    def cost(self, replicas: Replicas) -> float:
        """Return money per hour, or the number of replicas where no money is known."""
        return sum(replicas[host.name] * _weight(host, self.priced) for host in self.hosts)


def _weight(host: Host, priced: bool) -> float:
    return 1.0 if not priced or host.cost is None else host.cost


def site_of(
    network: Network,
    *,
    concurrency: Mapping[str, int] | None = None,
    slowdowns: Mapping[str, Slowdown] | None = None,
    costs: Mapping[str, float] | None = None,
    together: Sequence[Sequence[str]] = (),
    faults: Faults | None = None,
    deadline: float | None = None,
    gateway_seconds: float = 0.0,
) -> Site:
    """Return the site of a network: every agent a host of its own but those that stand together.

    Args:
        network: The network; concurrency and queues come from its file.
        concurrency: Queries at work on one replica of an agent, where that is not what the file says.
        slowdowns: By agent or host. Default: whoever shares a processor takes turns, all others work side by side.
        costs: Money per replica and hour, by agent or host ("gateway" included); of all or of none.
        together: Groups of agents that share their replicas and the processor of each. A host is called by its
            agents' names with + between them. Models in this process stand together anyway, unless they are named
            here, or a slowdown or money of them alone.
        faults: When replicas break.
        deadline: Seconds after which a query is given up.
        gateway_seconds: Processor time of the gateway for each agent asked.

    Raises:
        UnknownNameError: The network has no such agent.
        ConfigError: A value is not usable, or money is given of some hosts only.
    """
    names = list(network.order)
    for name in concurrency or {}:
        if name not in names:
            raise UnknownNameError.of("agent", name, names, where=f"network '{network.name}'")
    groups = groups_of(network, together, apart=(*(slowdowns or {}), *(costs or {})))
    hosts = [_host(network, group, concurrency or {}, slowdowns or {}, costs or {}) for group in groups]
    if gateway_seconds > 0:
        served = Served(name=GATEWAY, concurrency=1, queue=10**9)
        hosts.append(Host(name=GATEWAY, agents=(served,), cost=(costs or {}).get(GATEWAY)))
    known = [host.name for host in hosts]
    for name in (*(slowdowns or {}), *(costs or {})):
        if name not in known:
            raise UnknownNameError.of("agent", name, known, where=f"network '{network.name}'")
    unpriced = [host.name for host in hosts if host.cost is None]
    if costs and unpriced:
        listed = ", ".join(f"'{name}'" for name in unpriced)
        raise ConfigError(
            f"Money per hour is given of some only; it is missing of {listed}.",
            hint=f"add --cost-per-hour {unpriced[0]}=…, 0 where it costs nothing",
        )
    return Site(
        hosts=tuple(hosts),
        successors={name: network.successors(name) for name in names},
        faults=faults or Faults(),
        deadline=600.0 if deadline is None else deadline,
        gateway_seconds=gateway_seconds,
    )


def groups_of(
    network: Network, together: Sequence[Sequence[str]] = (), *, apart: Collection[str] = ()
) -> list[tuple[str, ...]]:
    """Return which agents stand together, in the network's order; most stand alone.

    Args:
        network: The network.
        together: Groups that are wanted.
        apart: Models in this process that stand alone, though not named in a group.

    Raises:
        UnknownNameError: The network has no such agent.
        ConfigError: An agent is in two groups.
    """
    names = list(network.order)
    groups = [tuple(group) for group in together]
    grouped = [name for group in groups for name in group]
    for name in grouped:
        if name not in names:
            raise UnknownNameError.of("agent", name, names, where=f"network '{network.name}'")
    if len(set(grouped)) != len(grouped):
        twice = next(name for name in grouped if grouped.count(name) > 1)
        raise ConfigError(f"Agent '{twice}' stands together with others twice.", hint="name it in one group only")
    process = tuple(name for name in names if local(network, name) and name not in (*grouped, *apart))
    groups += [(name,) for name in names if name not in (*grouped, *process)]
    groups += [process] if process else []
    return sorted(groups, key=lambda group: names.index(group[0]))


def local(network: Network, agent: str) -> bool:
    """Return whether an agent is a model in this process."""
    return network.agents[agent].card.details.get("backend") == "transformers"


def _host(
    network: Network,
    group: tuple[str, ...],
    concurrency: Mapping[str, int],
    slowdowns: Mapping[str, Slowdown],
    costs: Mapping[str, float],
) -> Host:
    name = "+".join(group)
    cards = [network.agents[agent].card for agent in group]
    process = all(local(network, agent) for agent in group) and (len(group) > 1 or name not in slowdowns)
    cost = costs.get(name)
    if cost is not None and not 0 <= cost < math.inf:
        raise ConfigError(f"Money per hour of '{name}' is {cost:g}; give a number from 0.")
    served = tuple(
        Served(
            name=card.name,
            concurrency=_whole(card.name, concurrency.get(card.name, card.serving.concurrency)),
            queue=card.serving.queue,
            rank=card.price.rank,
            keeps_place=_keeps_place(network.agents[card.name]),
        )
        for card in cards
    )
    default = TAKING_TURNS if process or len(group) > 1 else SIDE_BY_SIDE
    turn = TURN_SECONDS if process else None
    return Host(name=name, agents=served, slowdown=slowdowns.get(name, default), turn=turn, cost=cost)


def _keeps_place(agent: Agent) -> bool:
    """Return whether a look begins the answer: words do, unless another model is asked for them."""
    return getattr(agent, "self_assessment", None) == "text" and getattr(agent, "decides_with", None) is None


def _whole(name: str, value: int) -> int:
    if not 1 <= value <= 100_000:
        raise ConfigError(f"Concurrency {value} of agent '{name}' is not usable: give a whole number from 1.")
    return value
