"""``disrouter agents``: who is in a network, what they cost, and whom they pass queries to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from disrouter.agents.folders import count_weights
from disrouter.cli._options import examples_as_typed, json_option, network_of, network_option

if TYPE_CHECKING:
    from collections.abc import Mapping

    from disrouter.network import Network
    from disrouter.types import Agent, Price

__all__ = ["agents"]


@click.command()
@network_option
@json_option("one JSON object")
@examples_as_typed
def agents(network_name: str, as_json: bool) -> None:
    """List the agents of a network in the order of asking.

    disrouter agents
    disrouter agents --network lab-flops --json
    """
    from disrouter.cli._console import print_json

    network = network_of(network_name)
    if as_json:
        print_json(_as_json(network))
    else:
        _print_table(network)


def _in_order(network: Network) -> list[str]:
    """Return all names: the chain first, then whoever only a policy's choice reaches."""
    return [*network.chain, *(name for name in network.agents if name not in network.chain)]


def _as_json(network: Network) -> dict[str, Any]:
    from disrouter.policies import spec_of

    limits = network.limits
    return {
        "schema": 1,
        "network": network.name,
        "entry": network.entry,
        "policy": spec_of(network.policy),
        "scenario": {"name": network.scenario.name, "alpha": network.scenario.alpha},
        "limits": {"max_hops": limits.max_hops, "max_cost": limits.max_cost, "max_seconds": limits.max_seconds},
        "agents": [_agent_json(name, network) for name in _in_order(network)],
    }


def _agent_json(name: str, network: Network) -> dict[str, Any]:
    agent = network.agents[name]
    card = agent.card
    parameters, context_length = _size(agent)
    return {
        "name": name,
        "price": _price_json(card.price),
        "parameters": parameters,
        "context_length": context_length,
        **{key: card.details.get(key) for key in ("backend", "model")},
        **{key: card.details[key] for key in ("decides_with",) if key in card.details},
        "next": list(network.successors(name)),
    }


def _price_json(price: Price) -> dict[str, float]:
    from disrouter.types import QueryPrice

    if isinstance(price, QueryPrice):
        return {"cost": price.cost, "look_share": price.look_share}
    return {"input": price.input, "output": price.output, "unit": price.unit}


def _print_table(network: Network) -> None:
    from rich.text import Text

    from disrouter.cli._console import results, table
    from disrouter.types import QueryPrice

    console = results()
    per_query = all(isinstance(agent.card.price, QueryPrice) for agent in network.agents.values())
    prices = (">cost", ">look") if per_query else (">per 1M in", ">per 1M out")
    shown = table("agent", *prices, ">weights", ">context", "backend", "model", "passes to")
    for name in _in_order(network):
        card = network.agents[name].card
        parameters, context_length = _size(network.agents[name])
        successors = network.successors(name)
        shown.add_row(
            Text(name, style="bold"),
            *_price_cells(card.price, per_query=per_query),
            _count(parameters),
            str(context_length or "-"),
            card.details.get("backend", "-"),
            _models(card.details),
            ", ".join(successors) if successors else "- (answers)",
        )
    console.print(shown)
    asks = "cost: of a query answered, from 0 to 1; look: the share a rejection pays" if per_query else ""
    console.print(
        f"network {network.name}, policy {network.policy.name}, "
        f"scenario {network.scenario.name} (alpha {network.scenario.alpha:g})",
        style="dim",
    )
    if asks:
        console.print(asks, style="dim")


def _size(agent: Agent) -> tuple[int | None, int | None]:
    """Return number of weights and context length: what the card says, else what the model's own files say."""
    card, folder = agent.card, getattr(agent, "model_path", None)
    if not isinstance(folder, Path):
        return card.parameters, card.context_length
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    context = config.get("max_position_embeddings")
    known = card.context_length or (context if isinstance(context, int) else None)
    return card.parameters or count_weights(folder), known


def _models(details: Mapping[str, str]) -> str:
    """Return the model that answers, and the one that decides if that is another."""
    answering, deciding = details.get("model", "-"), details.get("decides_with")
    return answering if deciding is None else f"{answering} ({deciding} decides)"


def _price_cells(price: Price, *, per_query: bool) -> tuple[str, str]:
    from disrouter.types import QueryPrice

    if isinstance(price, QueryPrice):
        share = f"{100 * price.look_share:g} %"
        return (f"{price.cost:g}", share) if per_query else (f"cost {price.cost:g}", f"look {share}")
    return f"{price.input:g}", f"{price.output:g}"


def _count(parameters: int | None) -> str:
    """Return a number of weights as people say it: 6.3M."""
    if parameters is None:
        return "-"
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if parameters >= size:
            return f"{parameters / size:.3g}{letter}"
    return str(parameters)
