"""``disrouter network``: a whole network as processes of this machine."""

from __future__ import annotations

import logging
import os
import secrets
import time
from typing import TYPE_CHECKING

import click

from disrouter.cli._listening import drain_option, host_option, port_option, store_options
from disrouter.cli._options import at_least, examples_as_typed, network_option
from disrouter.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from disrouter.network import Network

__all__ = ["network"]

SECRET = "DISROUTER_HOP_SECRET"


@click.group()
@examples_as_typed
def network() -> None:
    """Run every agent of a network as a process of its own.

    disrouter network up
    disrouter network up --network net.yaml --port 9000
    """


@network.command()
@network_option
@host_option("Where the gateway listens.")
@port_option(8080, "Its port; 0 takes a free one.")
@store_options
@click.option("--no-dashboard", is_flag=True, help="Serve no pages.")
@click.option(
    "--start-seconds",
    type=float,
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    callback=at_least(0.1),
    help="Time that all agents together have to start.",
)
@drain_option()
@click.option("-v", "--verbose", is_flag=True, help="Say more on standard error.")
@examples_as_typed
def up(
    network_name: str,
    host: str,
    port: int,
    store: str | None,
    require_keys: bool,
    no_dashboard: bool,
    start_seconds: float,
    drain: float,
    verbose: bool,
) -> None:
    """Start every agent of a network as a node process, and a gateway before them; end all together.

    disrouter network up
    disrouter network up --network net.yaml --port 9000

    Agents that the file says to be elsewhere are asked there. A node that breaks down is started again. Ctrl-C or
    SIGTERM ends everything, the gateway first; if this process is killed, its nodes end by themselves.
    """
    try:
        from disrouter.gateway import ControlOptions, Settings, open_control
        from disrouter.gateway.server import bound_socket, quiet_logs
        from disrouter.gateway.server import serve as run
    except ModuleNotFoundError as exc:
        raise MissingExtraError.of("`disrouter network up`", "gateway") from exc
    from disrouter.config import dispatch_of, load, names_here
    from disrouter.nodes.fleet import Fleet
    from disrouter.nodes.keeper import Keeper

    names = names_here(network_name)
    if names and dispatch_of(network_name) == "peer":
        raise ConfigError(
            f"The nodes of '{network_name}' pass queries on to each other, so each must know where the others are: "
            f"{', '.join(names)} {'has' if len(names) == 1 else 'have'} no address.",
            hint="give each a `node:` address and start it with `disrouter agent serve`, or leave out dispatch",
        )
    if port:
        bound_socket(host, port).close()  # said now, not after everybody has started
    os.environ.setdefault(SECRET, secrets.token_urlsafe(32))  # nobody else on this machine may call the nodes
    quiet_logs(logging.INFO if verbose else logging.WARNING)
    started = time.monotonic()
    with Fleet(network_name, names, hop_secret_env=SECRET, start_seconds=start_seconds) as fleet:

        def read() -> Network:
            return load(network_name, nodes=fleet.urls, hop_secret_env=SECRET)

        def ready(actual: int) -> None:
            name = f"[{host}]" if ":" in host else host
            count = f"{len(names)} agents" if len(names) != 1 else "one agent"
            took = time.monotonic() - started
            click.echo(f"Network '{served.name}' is served at http://{name}:{actual}/v1", err=True)
            click.echo(f"{count} in processes of their own, started in {took:.1f} s", err=True)

        served = read()
        control = open_control(
            ControlOptions(store=store, keys_required=require_keys, dashboard=not no_dashboard),
            agents=tuple(served.agents),
        )
        settings = Settings(hop_secret_env=SECRET)
        with Keeper(fleet, lambda sentence: click.echo(sentence, err=True)):
            run(served, control, settings, host=host, port=port, drain=drain, read=read, ready=ready)
    click.echo("All agents have ended.", err=True)
