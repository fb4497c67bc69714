"""``disrouter traces``: what went through a gateway, hop by hop."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

import click

from disrouter.cli._options import examples_as_typed, json_option, limit_option
from disrouter.cli.keys import store_option
from disrouter.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from disrouter.gateway.store import Store
    from disrouter.gateway.store_reading import KeptRoute, Wanted

__all__ = ["traces"]

_UNITS = {"m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}


@click.command()
@click.argument("trace_id", required=False)
@click.option("--since", metavar="TIME", help="Only the last 15m, 2h, 7d or 4w.")
@click.option("--agent", metavar="NAME", help="Only what this agent answered.")
@click.option("--outcome", metavar="NAME", help="Only what ended so: answered, failed, cut, refused or cancelled.")
@click.option("--scenario", metavar="NAME", help="Only what was asked under this scenario.")
@click.option("--key", "key_id", metavar="ID", help="Only what was asked with this key (its id, not the key).")
@click.option("--rated", is_flag=True, help="Only what got feedback.")
@limit_option(20, "How many to list, the newest first.")
@click.option("--export", is_flag=True, help="Print all of them, oldest first, as JSON lines.")
@store_option
@json_option("one JSON object")
@examples_as_typed
def traces(
    trace_id: str | None,
    since: str | None,
    agent: str | None,
    outcome: str | None,
    scenario: str | None,
    key_id: str | None,
    rated: bool,
    limit: int,
    export: bool,
    store_address: str | None,
    as_json: bool,
) -> None:
    """List the requests that went through a gateway, or show one hop by hop.

    disrouter traces --since 1h --agent large
    disrouter traces 4bf92f3577b34da6a3ce929d0e0e4736
    disrouter traces --export > traces.jsonl
    """
    from disrouter.gateway.records import OUTCOMES
    from disrouter.gateway.store import open_store
    from disrouter.gateway.store_reading import Wanted

    if outcome is not None and outcome not in OUTCOMES:
        raise UnknownNameError.of("outcome", outcome, OUTCOMES)
    wanted = Wanted(
        since=None if since is None else time.time() - _seconds(since),
        agent=agent,
        outcome=outcome,
        scenario=scenario,
        key_id=key_id,
        rated=rated,
    )
    store = open_store(store_address, create=False)
    try:
        if trace_id is not None:
            _show_one(store, trace_id, as_json)
        elif export:
            _export(store, wanted)
        else:
            _show_list(store, wanted, limit, as_json)
    finally:
        store.close()


def _seconds(text: str) -> float:
    found = re.fullmatch(r"([1-9]\d{0,5})([mhdw])", text)
    if found is None:
        raise UsageError(f"--since '{text}' is not usable.", hint="give minutes, hours, days or weeks: 15m, 2h, 7d, 4w")
    return int(found[1]) * _UNITS[found[2]]


def _export(store: Store, wanted: Wanted) -> None:
    from disrouter.gateway.store_reading import every_route, json_of

    for kept in every_route(store, wanted):
        click.echo(json.dumps({"schema": 1, **json_of(kept)}, ensure_ascii=False, allow_nan=False))


def _show_list(store: Store, wanted: Wanted, limit: int, as_json: bool) -> None:
    from disrouter.cli._console import print_json, talk
    from disrouter.gateway.store_reading import json_of, kept_routes

    found = kept_routes(store, wanted, limit=limit)
    if as_json:
        print_json({"schema": 1, "traces": [json_of(kept) for kept in found]})
    elif found:
        _print_table(found)
    else:
        talk().print("No trace is like that.", style="dim")


def _show_one(store: Store, trace_id: str, as_json: bool) -> None:
    from disrouter.cli._console import print_json
    from disrouter.errors import DataError
    from disrouter.gateway.store_reading import json_of, kept_route

    kept = kept_route(store, trace_id)
    if kept is None:
        raise DataError(f"There is no trace '{trace_id}' in '{store.address}'.", hint="`disrouter traces` lists them")
    if as_json:
        print_json({"schema": 1, **json_of(kept)})
    else:
        _print_route(kept)


def _print_table(found: list[KeptRoute]) -> None:
    from rich.text import Text

    from disrouter.cli._console import printable, results, table

    shown = table("time (UTC)", "trace", "scenario", "route", "outcome", ">cost", ">saved", ">seconds", ">score")
    for kept in found:
        route = kept.route
        shown.add_row(
            _time(route.time),
            Text(route.trace_id, style="bold"),
            Text(printable(route.scenario)),
            Text(printable(" > ".join(hop.agent for hop in route.hops) or "-")),
            route.outcome if route.error is None else f"{route.outcome} ({route.error})",
            f"{route.cost:.3g}",
            "-" if route.saved is None else f"{route.saved:.3g}",
            f"{route.seconds:.3f}",
            "-" if kept.score is None else f"{kept.score:g}",
        )
    results().print(shown)


def _print_route(kept: KeptRoute) -> None:
    from rich.text import Text

    from disrouter.cli._console import glyphs_of, printable, results

    route, console = kept.route, results()
    glyphs = glyphs_of(console)
    marks = {"answer": glyphs.answers, "reject": glyphs.passes, "failure": glyphs.fails}
    console.print(Text(route.trace_id, style="bold"))
    asked = f"{_time(route.time)} UTC  asked {route.model}  scenario {route.scenario} ({glyphs.alpha} {route.alpha:g})"
    console.print(Text(printable(asked)))
    if route.prompt is not None:
        console.print(Text(f"{glyphs.start} {printable(route.prompt)}"))
    for hop in route.hops:
        console.print(Text(printable(_hop_line(marks[hop.decision], hop))))
    if route.answer is not None:
        console.print(Text(printable(route.answer)))
    saved = "" if route.saved is None else f"  saved {route.saved:.3g}"
    score = "" if kept.score is None else f"  feedback {kept.score:g}"
    why = "" if route.error is None else f" ({route.error})"
    tokens = f"{route.prompt_tokens} + {route.completion_tokens} tokens"
    total = f"{route.outcome}{why}  HTTP {route.code}  cost {route.cost:.3g}{saved}  {tokens}  {route.seconds:.3f} s"
    console.print(Text(total + score))


def _hop_line(mark: str, hop: Any) -> str:
    sure = "" if hop.confidence is None else f"  confidence {hop.confidence:.2f}"
    why = " ".join(text for text in (hop.error and f"({hop.error})", hop.reason) if text)
    tokens = f"{hop.prompt_tokens} + {hop.completion_tokens} tokens"
    return (
        f"{mark} {hop.agent}  {hop.decision}{sure}  cost {hop.cost:.3g}  {tokens}  {hop.seconds:.3f} s"
        f"{'  ' + why if why else ''}"
    )


def _time(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))
