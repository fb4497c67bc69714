"""``disrouter keys``: who may use a gateway, how much, and how fast."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from disrouter.cli._options import at_least, examples_as_typed, json_option
from disrouter.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from disrouter.gateway.keys import Key
    from disrouter.gateway.store import Store

__all__ = ["keys", "store_option"]

_UNITS = {"h": 3_600.0, "d": 86_400.0, "w": 604_800.0}


def store_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --store."""
    return click.option(
        "--store",
        "store_address",
        metavar="FILE|URL",
        help="The gateway's store: a SQLite file, or postgresql://user:password@host/database. "
        "Default: $DISROUTER_STORE, else a file of yours.",
    )(function)


@click.group()
@examples_as_typed
def keys() -> None:
    """Make, list and revoke the API keys of a gateway.

      disrouter keys create alice --budget 50 --per month --rate 60
      disrouter keys list
      disrouter keys revoke key_0f3a…

    While there is no key, a gateway listens on this machine only and asks for none. With the first one it asks
    everybody.
    """


@keys.command()
@click.argument("name")
@click.option("--admin", is_flag=True, help="Let it open the admin routes and see everybody's traces.")
@click.option("--budget", type=float, callback=at_least(0), help="Cost it may spend, in the network's unit.")
@click.option(
    "--per",
    "period",
    type=click.Choice(["day", "month", "total"]),
    default="month",
    show_default=True,
    help="Time in which the budget may be spent; days and months are those of UTC.",
)
@click.option("--rate", "per_minute", type=click.IntRange(1, 10_000_000), help="Requests per minute.")
@click.option("--scenarios", metavar="NAME,…", help="Scenarios it may ask for; all, and any alpha, if left out.")
@click.option("--expires", metavar="TIME", help="How long it works: 12h, 30d, 8w.")
@store_option
@json_option("one JSON object")
@examples_as_typed
def create(
    name: str,
    admin: bool,
    budget: float | None,
    period: Any,
    per_minute: int | None,
    scenarios: str | None,
    expires: str | None,
    store_address: str | None,
    as_json: bool,
) -> None:
    """Make a key for NAME and print it. It is shown this once and kept nowhere.

    disrouter keys create alice --budget 50 --rate 60
    disrouter keys create ops --admin --expires 30d
    """
    from disrouter.cli._console import print_json
    from disrouter.gateway.store_keys import create_key

    allowed = None if scenarios is None else _scenarios(scenarios)
    until = None if expires is None else time.time() + _seconds(expires)
    with _opened(store_address, create=True) as store:
        secret, key = create_key(
            store,
            name,
            admin=admin,
            scenarios=allowed,
            budget=budget,
            period=period,
            per_minute=per_minute,
            expires=until,
        )
    if as_json:
        print_json({"schema": 1, "key": secret, **_as_json(key)})
        return
    click.echo(secret)
    click.echo(f"{key.id} for {key.name}: this is the only time the key is shown; keep it somewhere safe.", err=True)


@keys.command("list")
@store_option
@json_option("one JSON object")
@examples_as_typed
def list_(store_address: str | None, as_json: bool) -> None:
    """List the keys, without the keys themselves: nobody can read those back.

    disrouter keys list
    disrouter keys list --json
    """
    from disrouter.cli._console import print_json
    from disrouter.gateway.store_keys import keys_of

    with _opened(store_address, create=False) as store:
        known = keys_of(store)
    if as_json:
        print_json({"schema": 1, "keys": [_as_json(key) for key in known]})
        return
    _print_table(known)


@keys.command()
@click.argument("key_id")
@store_option
@examples_as_typed
def revoke(key_id: str, store_address: str | None) -> None:
    """End the key KEY_ID for ever; running gateways notice within seconds.

    disrouter keys revoke key_0f3a5c…
    """
    from disrouter.gateway.store_keys import revoke_key

    with _opened(store_address, create=False) as store:
        key = revoke_key(store, key_id)
    click.echo(f"{key.id} ({key.name}) is revoked.", err=True)


@contextmanager
def _opened(address: str | None, *, create: bool) -> Iterator[Store]:
    from disrouter.gateway.store import open_store

    store = open_store(address, create=create)
    try:
        yield store
    finally:
        store.close()


def _scenarios(text: str) -> list[str]:
    from disrouter.errors import UnknownNameError
    from disrouter.utility import SCENARIOS

    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError("--scenarios names none.", hint="give names with commas between them, or leave it out")
    for name in names:
        if name not in SCENARIOS:
            raise UnknownNameError.of("scenario", name, SCENARIOS)
    return names


def _seconds(text: str) -> float:
    found = re.fullmatch(r"([1-9]\d{0,4})([hdw])", text)
    if found is None:
        raise UsageError(f"--expires '{text}' is not usable.", hint="give hours, days or weeks: 12h, 30d, 8w")
    return int(found[1]) * _UNITS[found[2]]


def _state(key: Key) -> str:
    if key.revoked is not None:
        return "revoked"
    return "expired" if key.expires is not None and key.expires <= time.time() else "works"


def _as_json(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "state": _state(key),
        "admin": key.admin,
        "scenarios": None if key.scenarios is None else sorted(key.scenarios),
        "budget": key.budget,
        "period": key.period,
        "spent": key.spent,
        "per_minute": key.per_minute,
        "created": key.created,
        "expires": key.expires,
        "revoked": key.revoked,
    }


def _print_table(known: list[Key]) -> None:
    from rich.text import Text

    from disrouter.cli._console import printable, results, table, talk

    if not known:
        talk().print("There are no keys: the gateway asks for none.", style="dim")
        return
    shown = table("id", "name", "state", ">spent", ">budget", "per", ">rate", "scenarios", "admin", "expires")
    for key in known:
        shown.add_row(
            Text(key.id, style="bold"),
            Text(printable(key.name)),
            _state(key),
            f"{key.spent:.3g}",
            "-" if key.budget is None else f"{key.budget:g}",
            key.period if key.budget is not None else "-",
            "-" if key.per_minute is None else f"{key.per_minute}/min",
            "all" if key.scenarios is None else ", ".join(sorted(key.scenarios)),
            "yes" if key.admin else "-",
            "-" if key.expires is None else time.strftime("%Y-%m-%d %H:%M", time.gmtime(key.expires)),
        )
    results().print(shown)
