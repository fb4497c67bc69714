"""``disrouter agent``: agents that live in processes of their own, and come and go while a gateway runs."""

from __future__ import annotations

import json
import logging
import os
import sys

import click

from disrouter.cli._options import at_least, examples_as_typed, json_option, network_option
from disrouter.errors import MissingExtraError, UsageError

__all__ = ["agent"]


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
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Where to listen.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=9000, show_default=True, help="Port; 0 takes a free one."
)
@click.option(
    "--hop-secret-env", metavar="NAME", help="Variable with the secret shared with networks that ask this agent."
)
@click.option("--api-key-env", metavar="NAME", help="Variable with a key that opens the agent as a plain model.")
@click.option(
    "--deadline",
    type=float,
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    callback=at_least(0.001),
    help="Most time of a request.",
)
@click.option(
    "--drain",
    type=float,
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    callback=at_least(0.0),
    help="Time that what was begun has to end at SIGTERM.",
)
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
        click.echo(f"Agent '{name}' is served at {url}", err=True)

    serve_node(node, host=host, port=port, drain=drain, ready=ready, leash=sys.stdin.fileno() if leash else None)


def _variable(option: str, name: str | None) -> str | None:
    if name is not None and not os.environ.get(name):
        raise UsageError(f"{option} {name}: that variable is not set.", hint=f"export {name}=…")
    return name
