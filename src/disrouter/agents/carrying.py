"""Carrying a walk on: what an agent's host does with a query that another host passed to it.

Every host knows the network and decides with the same code as the caller would; it asks its own agent itself and passes
the query on to the next agent's host where the network says ``dispatch: peer``.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from disrouter.agents.faults import FaultError
from disrouter.network import Network
from disrouter.peers import Arrived, Carried, Leg, PeerWalk, Settled
from disrouter.types import Hop

__all__ = ["Variants", "carry_on", "require_ours"]

MOST_VARIANTS = 64


class Variants:
    """A network with the members, limits and policies that queries bring along, kept ready."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._kept: dict[str, Network] = {}

    def of(self, leg: Leg) -> Network:
        """Return the network with a leg's members, limits and policy.

        Raises:
            ConfigError: Nobody could answer in it, or no route keep its limits.
        """
        others = tuple(name for name in self.network.agents if name not in leg.members)
        if not others and leg.limits == self.network.limits and leg.policy == self.network.policy:
            return self.network
        key = repr((others, leg.limits, leg.policy))
        found = self._kept.get(key)
        if found is None:
            if len(self._kept) >= MOST_VARIANTS:
                del self._kept[next(iter(self._kept))]
            found = self._kept[key] = self.network.without(*others).replace(limits=leg.limits, policy=leg.policy)
        return found


async def carry_on(variants: Variants, leg: Leg, *, here: str) -> AsyncGenerator[Carried, None]:
    """Go on with a walk, and yield what happens to it.

    Args:
        variants: The network, the agent that lives here being itself in it.
        leg: The walk so far.
        here: The agent that lives here.

    Raises:
        FaultError: The walk is not for this host, has been here before, or comes from another network.
        RunError: The answer broke off after it had begun.
    """
    require_ours(variants.network, leg, here)
    network = variants.of(leg)
    walk = PeerWalk(network, leg.query, leg.scenario, leg.sampling)
    walk.take_up(leg)
    async with aclosing(walk.happenings(streaming=leg.streaming)) as events:
        async for event in events:
            yield Settled(event, walk.at) if isinstance(event, Hop) else event
    yield Arrived(walk.completion)


def require_ours(network: Network, leg: Leg, here: str) -> None:
    """Do nothing if a walk may be gone on with at the host of agent ``here``.

    Raises:
        FaultError: It is for another one, has been here before, or comes from another network.
    """
    if leg.at != here:
        raise FaultError(f"Agent '{leg.at}' was asked for, and '{here}' lives here.", kind="status", code="wrong_agent")
    been = [hop.agent for hop in leg.hops]
    if here in been:
        raise FaultError(
            f"The query has been with agent '{here}' before: its peers' network files pass it in a circle.",
            kind="status",
            code="loop_detected",
            own=False,
        )
    if strangers := sorted({name for name in been if name not in network.agents}):
        raise FaultError(
            f"The query comes from '{strangers[0]}', whom the network file of agent '{here}' does not know.",
            kind="status",
            code="another_network",
            own=False,
        )
