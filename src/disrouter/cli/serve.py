"""``disrouter serve``: the gateway, until it is told to end."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from disrouter.cli._listening import deadline_option, drain_option, host_option, port_option, store_options
from disrouter.cli._options import (
    at_least,
    engine_options,
    examples_as_typed,
    network_of,
    network_option,
    placements_of,
    policy_option,
)
from disrouter.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from disrouter.engines import EngineName, Placement
    from disrouter.network import Network

__all__ = ["serve"]


@click.command()
@network_option
@policy_option
@host_option()
@port_option(8080)
@store_options
@click.option("--keep-texts", is_flag=True, help="Keep queries and answers with the routes. Nobody does unless asked.")
@click.option("--no-dashboard", is_flag=True, help="Serve no pages.")
@deadline_option
@click.option(
    "--max-body",
    type=float,
    default=20.0,
    show_default=True,
    metavar="MIB",
    callback=at_least(0.001),
    help="Largest request.",
)
@click.option(
    "--max-requests",
    type=click.IntRange(1),
    default=4096,
    show_default=True,
    metavar="N",
    help="Most requests at once.",
)
@drain_option()
@click.option(
    "--hop-secret-env", metavar="NAME", help="Variable with the secret shared with gateways that ask this one."
)
@engine_options()
@click.option("-v", "--verbose", is_flag=True, help="Say more on standard error.")
@examples_as_typed
def serve(
    network_name: str,
    policy: str | None,
    host: str,
    port: int,
    store: str | None,
    require_keys: bool,
    keep_texts: bool,
    no_dashboard: bool,
    deadline: float,
    max_body: float,
    max_requests: int,
    drain: float,
    hop_secret_env: str | None,
    engine_name: EngineName,
    ray_address: str | None,
    verbose: bool,
) -> None:
    """Serve a network behind one OpenAI-compatible address.

    disrouter serve
    disrouter serve --network network.yaml --port 9000

    SIGTERM ends it when every accepted request is answered; SIGHUP reads the network file again. With `--engine ray`
    every agent is a deployment of a Ray cluster, and the gateway stays in this process.
    """
    from disrouter.engines import LocalEngine, engine_of

    try:
        from disrouter.gateway import ControlOptions, Keeping, Settings, open_control
        from disrouter.gateway.server import quiet_logs
        from disrouter.gateway.server import serve as run
    except ModuleNotFoundError as exc:
        raise MissingExtraError.of("`disrouter serve`", "gateway") from exc

    def read() -> tuple[Network, dict[str, Placement]]:
        return network_of(network_name, policy=policy), placements_of(network_name)

    engine = engine_of(engine_name, address=ray_address) or LocalEngine()
    read()  # what is wrong with the file is told before anything else
    quiet_logs(logging.INFO if verbose else logging.WARNING)
    keeping = Keeping(texts=keep_texts)
    options = ControlOptions(store=store, keys_required=require_keys, dashboard=not no_dashboard, keeping=keeping)
    settings = Settings(
        largest_body=int(max_body * 2**20),
        deadline=deadline,
        most_in_flight=max_requests,
        keep_texts=keep_texts,
        hop_secret_env=_variable(hop_secret_env),
    )

    with _ending_softly(), engine.hosting(read) as hosted:
        network = hosted()

        def ready(actual: int) -> None:
            name = f"[{host}]" if ":" in host else host
            click.echo(f"Network '{network.name}' is served at http://{name}:{actual}/v1", err=True)
            if not no_dashboard:
                click.echo(f"Dashboard: http://{name}:{actual}/", err=True)

        def warm(models: int) -> None:
            click.echo(f"Ready: {models} model{'s are' if models > 1 else ' is'} loaded.", err=True)

        control = open_control(options, agents=tuple(network.agents))
        run(network, control, settings, host=host, port=port, drain=drain, read=hosted, ready=ready, warm=warm)


@contextmanager
def _ending_softly() -> Iterator[None]:
    """Let SIGTERM end what is being started the way Ctrl-C does; the gateway itself answers both once it serves."""

    def end(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, end)
    except ValueError:  # not the main thread: nobody sends us signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _variable(name: str | None) -> str | None:
    if name is not None and not os.environ.get(name):
        raise UsageError(f"--hop-secret-env {name}: that variable is not set.", hint=f"export {name}=…")
    return name
