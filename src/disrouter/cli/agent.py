"""``disrouter agent``: agents that live in processes of their own, and come and go while a gateway runs."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from disrouter.cli._listening import deadline_option, drain_option, host_option, port_option
from disrouter.cli._options import at_least, examples_as_typed, json_option, network_option
from disrouter.errors import MissingExtraError, UsageError

__all__ = ["agent"]

F = TypeVar("F", bound=Callable[..., Any])


@click.group()
@examples_as_typed
def agent() -> None:
    """Run one agent as a process of its own, and change who is in a network that is served.

    disrouter agent serve agent-1 --port 9001
    disrouter agent join http://127.0.0.1:9001/v1 --url http://127.0.0.1:8080
    disrouter agent list --url http://127.0.0.1:8080
    """


@agent.command()
@click.argument("name")
@network_option
@host_option()
@port_option(9000)
@click.option(
    "--hop-secret-env", metavar="NAME", help="Variable with the secret shared with networks that ask this agent."
)
@click.option("--api-key-env", metavar="NAME", help="Variable with a key that opens the agent as a plain model.")
@deadline_option
@drain_option("Time that what was begun has to end at SIGTERM.")
@click.option(
    "--looks",
    type=click.IntRange(1, 1_000_000),
    default=256,
    show_default=True,
    metavar="N",
    help="Most looks whose work is kept for their answers.",
)
@click.option("--leash", is_flag=True, help="End when standard input does: with whoever started this node.")
@click.option("-v", "--verbose", is_flag=True, help="Say more on standard error.")
@json_option("one JSON object when the node is ready")
@examples_as_typed
def serve(
    name: str,
    network_name: str,
    host: str,
    port: int,
    hop_secret_env: str | None,
    api_key_env: str | None,
    deadline: float,
    drain: float,
    looks: int,
    leash: bool,
    verbose: bool,
    as_json: bool,
) -> None:
    """Serve agent NAME of a network as a node: an OpenAI-compatible model, and an agent of networks elsewhere.

    disrouter agent serve agent-1 --port 9001
    disrouter agent serve large --network net.yaml --host 10.0.0.7 --hop-secret-env SECRET

    SIGTERM ends it when everything that was begun is done.
    """
    try:
        from disrouter.gateway.server import quiet_logs
        from disrouter.nodes.app import Node
        from disrouter.nodes.server import access_for, serve_node
    except ModuleNotFoundError as exc:
        raise MissingExtraError.of("`disrouter agent serve`", "gateway") from exc
    from disrouter.config import digest_of, load_agent, load_peer
    from disrouter.gateway.settings import Settings

    served = load_agent(network_name, name)
    network = load_peer(network_name, name)
    if network is not None:
        served = network.agents[name]
    quiet_logs(logging.INFO if verbose else logging.WARNING)
    node = Node(
        served,
        settings=Settings(deadline=deadline, hop_secret_env=_variable("--hop-secret-env", hop_secret_env)),
        access=access_for(host, _variable("--api-key-env", api_key_env)),
        digest=digest_of(served),
        looks=looks,
        look_seconds=min(deadline, 60.0),
        network=network,
    )

    def ready(actual: int) -> None:
        url = f"http://{f'[{host}]' if ':' in host else host}:{actual}/v1"
        if as_json:
            click.echo(json.dumps({"schema": 1, "agent": name, "url": url, "pid": os.getpid()}))
        else:
            click.echo(f"Agent '{name}' is served at {url}", err=True)

    serve_node(node, host=host, port=port, drain=drain, ready=ready, leash=sys.stdin.fileno() if leash else None)


def _gateway_options(function: F) -> F:
    """Add --url, --key-env and --json."""
    for option in (
        json_option("one JSON object"),
        click.option(
            "--key-env",
            default="DISROUTER_API_KEY",
            show_default=True,
            metavar="NAME",
            help="Variable with an administrator's key of the gateway.",
        ),
        click.option(
            "--url", default="http://127.0.0.1:8080", show_default=True, metavar="URL", help="Address of the gateway."
        ),
    ):
        function = option(function)
    return function


def _price_options(function: F) -> F:
    """Add --cost, --look-share, --input, --output and --unit."""
    for name, what in (
        ("unit", "Money that counts as a cost of 1."),
        ("output", "Money per million output tokens."),
        ("input", "Money per million input tokens."),
        ("look-share", "Share of the cost that a look takes."),
        ("cost", "Normalised cost per query, from 0 to 1."),
    ):
        function = click.option(f"--{name}", type=float, callback=at_least(0.0), help=what)(function)
    return function


@agent.command()
@click.argument("base_url", metavar="NODE")
@click.option("--name", help="Who is expected there.")
@_price_options
@click.option("--asked-by", metavar="NAME,…", help="Who passes queries to it, in a network with edges of its own.")
@click.option("--passes-to", metavar="NAME,…", help="Whom it passes queries to, in a network with edges of its own.")
@_gateway_options
@examples_as_typed
def join(
    base_url: str,
    name: str | None,
    asked_by: str | None,
    passes_to: str | None,
    url: str,
    key_env: str,
    as_json: bool,
    **price: float | None,
) -> None:
    """Have the agent of the node at address NODE join the network of a running gateway.

    disrouter agent join http://127.0.0.1:9001/v1
    disrouter agent join http://10.0.0.7:9000/v1 --cost 0.3 --url https://gateway.example

    It holds until the gateway reads its network file again: write the agent there to keep it.
    """
    wanted = {"name": name, "price": _price_of(price), "asked_by": _names(asked_by), "passes_to": _names(passes_to)}
    _change({"action": "join", "base_url": base_url, **wanted}, url, key_env, as_json)


@agent.command()
@click.argument("name")
@_gateway_options
@examples_as_typed
def leave(name: str, url: str, key_env: str, as_json: bool) -> None:
    """Take agent NAME out of the network of a running gateway; what it has it finishes.

    disrouter agent leave small
    """
    _change({"action": "leave", "name": name}, url, key_env, as_json)


@agent.command()
@click.argument("name")
@_gateway_options
@examples_as_typed
def drain(name: str, url: str, key_env: str, as_json: bool) -> None:
    """Give agent NAME no new queries; what it has it finishes. `resume` brings it back.

    disrouter agent drain small
    """
    _change({"action": "drain", "name": name}, url, key_env, as_json)


@agent.command()
@click.argument("name")
@_gateway_options
@examples_as_typed
def resume(name: str, url: str, key_env: str, as_json: bool) -> None:
    """Have agent NAME serve again that was drained.

    disrouter agent resume small
    """
    _change({"action": "resume", "name": name}, url, key_env, as_json)


@agent.command()
@click.argument("name")
@_price_options
@_gateway_options
@examples_as_typed
def reprice(name: str, url: str, key_env: str, as_json: bool, **price: float | None) -> None:
    """Take agent NAME at another price from now on; a chain by price is put in order again.

    disrouter agent reprice small --cost 0.2
    """
    wanted = _price_of(price)
    if wanted is None:
        raise UsageError("No price was given.", hint="give --cost, or --input, --output and --unit")
    _change({"action": "reprice", "name": name, "price": wanted}, url, key_env, as_json)


@agent.command("list")
@_gateway_options
@examples_as_typed
def list_(url: str, key_env: str, as_json: bool) -> None:
    """List who is in the network of a running gateway, and how everybody is.

    disrouter agent list
    disrouter agent list --json
    """
    from disrouter.cli._admin import ask_gateway
    from disrouter.cli._console import print_json

    found = ask_gateway(url, key_env, "GET", "/admin/agents")["data"]
    if as_json:
        print_json({"schema": 1, "agents": found})
    else:
        _print_table(found)


def _change(body: dict[str, Any], url: str, key_env: str, as_json: bool) -> None:
    from disrouter.cli._admin import ask_gateway
    from disrouter.cli._console import print_json

    given = {key: value for key, value in body.items() if value is not None}
    done = ask_gateway(url, key_env, "POST", "/admin/agents", given)
    if as_json:
        print_json({"schema": 1, "action": done["action"], "agent": done["agent"]})
    else:
        click.echo(f"Agent '{done['agent']}': {done['action']} is done.", err=True)


def _print_table(found: list[dict[str, Any]]) -> None:
    from rich.text import Text

    from disrouter.cli._console import printable, results, table

    shown = table("agent", "state", ">price", "breaker", ">at work", ">waiting", "passes to")
    for one in found:
        price = one["price"]
        told = f"{price['cost']:g}" if price["per"] == "query" else f"{price['input']:g} / {price['output']:g}"
        shown.add_row(
            Text(printable(str(one["name"])), style="bold"),
            str(one["state"]),
            told,
            str(one["breaker"]),
            str(one["in_flight"]),
            str(one["waiting"]),
            ", ".join(one["passes_to"]) or "-",
        )
    results().print(shown)


def _price_of(given: Mapping[str, float | None]) -> dict[str, float] | None:
    price = {key: value for key, value in given.items() if value is not None}
    if not price:
        return None
    if not (set(price) <= {"cost", "look_share"} and "cost" in price) and set(price) != {"input", "output", "unit"}:
        raise UsageError(
            "That is no whole price.", hint="give --cost (and --look-share), or --input, --output and --unit"
        )
    return price


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _variable(option: str, name: str | None) -> str | None:
    if name is not None and not os.environ.get(name):
        raise UsageError(f"{option} {name}: that variable is not set.", hint=f"export {name}=…")
    return name
