"""``disrouter conformance``: which rules of the OpenAI API a gateway keeps."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from disrouter.cli._options import at_least, examples_as_typed, json_option
from disrouter.errors import UsageError

if TYPE_CHECKING:
    from disrouter.conformance import Ability, Case, Report

__all__ = ["conformance"]


@click.command(short_help="Try the rules of the OpenAI API on any gateway.")
@click.argument("url", required=False)
@click.option("--model", default="disrouter", show_default=True, metavar="NAME", help="The model to ask for.")
@click.option("--api-key-env", metavar="NAME", help="The environment variable that holds the gateway's key.")
@click.option("--only", "only", multiple=True, metavar="NAME", help="A case or a group of cases; can be repeated.")
@click.option(
    "--has",
    metavar="ABILITY,…",
    help="What the model behind the gateway can: tools, structured, logprobs, n, mock.  "
    "[default: all, if the mock answers; else none]",
)
@click.option(
    "--timeout", type=float, default=60.0, show_default=True, callback=at_least(0.1), help="Seconds for one answer."
)
@click.option("--at-once", type=int, default=4, show_default=True, callback=at_least(1), help="Cases at a time.")
@click.option("--list", "listing", is_flag=True, help="List the cases with their rules and sources; try nothing.")
@json_option("one JSON object")
@examples_as_typed
def conformance(
    url: str | None,
    model: str,
    api_key_env: str | None,
    only: tuple[str, ...],
    has: str | None,
    timeout: float,
    at_once: int,
    listing: bool,
    as_json: bool,
) -> None:
    """Try the rules of the OpenAI API on the gateway at URL and print which of them it keeps.

    It can be anybody's gateway or server: only its address is needed, a model's name and, if it asks for one, a key.
    Ends with 1 if a rule is broken.

      disrouter conformance http://127.0.0.1:8000/v1
      disrouter conformance http://127.0.0.1:8000/v1 --model gpt-x --only streaming --only tools --has tools
      disrouter conformance --list
    """
    from disrouter.cli._console import bars, print_json
    from disrouter.conformance import Target, cases_named, run

    cases = cases_named(only)
    if listing:
        print_json({"schema": 1, "cases": [_case_json(case) for case in cases]}) if as_json else _print_list(cases)
        return
    target = Target(_checked(url), model, _key(api_key_env), timeout)
    abilities = None if has is None else _abilities(has)
    with bars("cases") as show:
        report = asyncio.run(
            run(
                target,
                cases,
                abilities=abilities,
                at_once=at_once,
                report=lambda done, total: show("conformance", done, total, ""),
            )
        )
    print_json(_as_json(target.url, model, report)) if as_json else _print(report)
    if report.of("failed"):
        click.get_current_context().exit(1)


def _checked(url: str | None) -> str:
    if url is None:
        raise UsageError(
            "No gateway is named.", hint="give its address, for example: disrouter conformance http://127.0.0.1:8000/v1"
        )
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
        raise UsageError(f"'{url}' is not a plain http or https address.", hint="for example http://127.0.0.1:8000/v1")
    return url


def _key(variable: str | None) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable)
    if not key:
        raise UsageError(f"The environment variable '{variable}' is not set.", hint=f"export {variable}=…")
    return key


def _abilities(text: str) -> frozenset[Ability]:
    from disrouter.conformance import ABILITIES
    from disrouter.errors import UnknownNameError

    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in ABILITIES:
            raise UnknownNameError.of("ability", name, ABILITIES)
    return frozenset(name for name in ABILITIES if name in names)


def _case_json(case: Case) -> dict[str, Any]:
    return {
        "name": case.name,
        "group": case.group,
        "rule": case.rule,
        "source": case.source,
        "needs": sorted(case.needs),
    }


def _as_json(url: str, model: str, report: Report) -> dict[str, Any]:
    outcomes = [
        {**_case_json(outcome.case), "verdict": outcome.verdict, "detail": outcome.detail or None}
        for outcome in report.outcomes
    ]
    counts = {verdict: len(report.of(verdict)) for verdict in ("passed", "failed", "skipped")}
    return {"schema": 1, "url": url, "model": model, **counts, "cases": outcomes}


def _print(report: Report) -> None:
    from rich.text import Text

    from disrouter.cli._console import printable, results, table

    console = results()
    styles = {"passed": "green", "failed": "bold red", "skipped": "dim"}
    shown = table("group", "case", "verdict", "rule")
    for outcome in report.outcomes:
        case = outcome.case
        told = Text(case.rule)
        if outcome.detail:
            told.append(f"\n{printable(outcome.detail)}", style=styles[outcome.verdict])
        shown.add_row(case.group, case.name, Text(outcome.verdict, style=styles[outcome.verdict]), told)
    console.print(shown)
    console.print(
        f"{len(report.of('passed'))} passed, {len(report.of('failed'))} failed, {len(report.of('skipped'))} skipped"
    )


def _print_list(cases: list[Case]) -> None:
    from disrouter.cli._console import results, table

    shown = table("group", "case", "rule", "needs", "source")
    for case in cases:
        shown.add_row(case.group, case.name, case.rule, ", ".join(sorted(case.needs)) or "-", case.source)
    results().print(shown)
