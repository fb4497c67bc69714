"""Entries of a network file whose agents live elsewhere: which ones they are, and what their nodes say.

A node is asked when a file is read: for its price where the file gives none, and for its card. A node that is down is
no harm as long as the file gives a price: its agent is in the network, and answers as soon as it can be reached.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from disrouter.agents.faults import FaultError
from disrouter.agents.introductions import About, NodeAddress, ask_nodes, node_problem
from disrouter.competence import Competence
from disrouter.config.schema import AgentSpec

__all__ = ["Places", "address_of", "lives_elsewhere", "measured_on", "mismatches", "node_problems", "places_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where the agents of a file live, seen from one process."""

    here: str | None = None
    """The agent that this process serves; None in one that serves none."""

    said: Mapping[str, About | FaultError] = field(default_factory=dict)
    """What nodes say, by address."""

    measuring: Collection[str] | None = None
    """Agents that are about to be measured, whose cards are not read: everybody's if empty, nobody's if None."""

    def measures(self, name: str) -> bool:
        """Return whether an agent's card, if it has one, is about to be replaced."""
        return self.measuring is not None and (not self.measuring or name in self.measuring)

    def about(self, spec: AgentSpec) -> About | None:
        """Return what an entry's node says, if it has one that can be reached."""
        found = self.said.get(address_of(spec) or "")
        return found if isinstance(found, About) else None


def lives_elsewhere(spec: AgentSpec, here: str | None) -> bool:
    """Return whether an entry's agent is behind a node, seen from the process of agent ``here``."""
    return spec.backend == "node" or (spec.node is not None and spec.name != here)


def address_of(spec: AgentSpec) -> str | None:
    """Return the address of an entry's node."""
    return spec.base_url if spec.backend == "node" else spec.node


def places_of(specs: Mapping[int, AgentSpec], here: str | None, measuring: Collection[str] | None = None) -> Places:
    """Ask every node of a file, all at once."""
    addresses = [
        NodeAddress(name=spec.name, base_url=address, hop_secret_env=spec.hop_secret_env)
        for spec in specs.values()
        if lives_elsewhere(spec, here) and (address := address_of(spec)) and _problem(spec, address) is None
    ]
    return Places(here=here, said=ask_nodes(addresses), measuring=measuring)


def node_problems(spec: AgentSpec, places: Places) -> Iterator[str]:
    """Yield what is wrong with an entry whose agent lives elsewhere."""
    key, address = ("base_url" if spec.backend == "node" else "node"), address_of(spec)
    if address is None:
        yield "base_url: missing; give the node's address with its version, like http://10.0.0.7:9000/v1"
        return
    if problem := _problem(spec, address):
        yield f"{key}: {problem}"
        return
    said = places.said.get(address)
    if isinstance(said, FaultError) and (said.kind not in ("connect", "timeout") or spec.price is None):
        # A node that is down may come back; one that answers wrongly will not mend itself.
        need = "" if spec.price is not None else "; start it, or give its price here"
        yield f"{key}: {said.message.rstrip('.')}{need}"
    elif isinstance(said, About):
        yield from (f"{key}: {problem}" for problem in mismatches(spec.name, said, spec.model_digest, spec.version))


def mismatches(name: str, about: About, digest: str | None, version: str | None) -> Iterator[str]:
    """Yield how a node differs from what is expected of it."""
    if about.card.name != name:
        yield f"the node there serves agent '{about.card.name}', not '{name}'"
    if digest is not None and about.digest != digest:
        yield f"its model is {about.digest or 'not known'}, and {digest} is expected"
    if version is not None and about.version != version:
        yield f"it runs DiSRouter {about.version}, and {version} is expected"


def measured_on(competence: Competence | None) -> str | None:
    """Return the digest of the model that a card speaks of."""
    return None if competence is None else competence.model


def _problem(spec: AgentSpec, address: str) -> str | None:
    variable = spec.hop_secret_env
    if variable is not None and not os.environ.get(variable):
        return f"it shares the secret in {variable}, and that variable is not set; export {variable}=…"
    return node_problem(address, has_secret=variable is not None)
