"""``disrouter demo``: real queries on their way through five real models, and what that is worth."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from disrouter.cli._options import limit_option, network_of, network_option, seed_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from disrouter.evaluation.suites import Suite
    from disrouter.network import Network
    from disrouter.types import Query, Trace

__all__ = ["demo"]

RUNS = Path("runs")

ROUTED = 100
"""Queries routed at most to find the three examples."""

OPENING = """\
{count} language models of rising price: each looks at a query, judges its own chance
to be right, and answers or passes the query on. Nobody else decides for them."""

EXPLAINED = """
utility: accuracy - alpha x cost of whoever answers. full: with the looks of all
who passed on. oracle: always the cheapest right agent. random: any agent.
best-single: the agent that was best on other queries."""

VALIDATION = 100
"""Other queries on which the best single agent is chosen: few, so that a demo stays short."""

SOUGHT = {
    "at once": "answered at once: the smallest agent is sure",
    "passed on": "passed on: whoever is unsure says so, for the price of a look",
    "to the end": "all the way: the last agent always answers",
}


@dataclass(frozen=True, slots=True)
class Example:
    """A query with the trace it left just now."""

    query: Query
    trace: Trace


@click.command(short_help="Real queries travel through five real models.")
@network_option
@limit_option(300, "Test queries of the evaluation.")
@seed_option(7, "Another seed is another, fresh test set.")
def demo(network_name: str, limit: int, seed: int) -> None:
    """Watch queries travel through five real models, then see what that is worth.

    Everything is computed now, on this machine, by the models that ship with the package; it takes about a minute.
    The run stays in a new folder under runs/.
    """
    from disrouter.cli._console import glyphs_of, results, talk
    from disrouter.cli._sentences import sentences
    from disrouter.evaluation import runs
    from disrouter.evaluation.report import utility_table
    from disrouter.evaluation.suites import suite_of

    network, suite = network_of(network_name), suite_of("lab")
    console = results()
    console.print(OPENING.format(count=len(network.agents)))
    console.print()
    console.print("three routes", style="bold underline")
    queries = suite.queries("in", seed, min(limit, ROUTED))
    with talk().status("the models load, and route their first queries"):
        warm_up(network, queries[0])
        examples, routed = find_examples(network, suite, queries)
    for kind, words in SOUGHT.items():
        console.print()
        if kind in examples:
            console.print(words, style="bold")
            draw(examples[kind], network, console)
        else:
            console.print(f"{words}\n  none of the {routed} queries routed did that")
    console.print()
    console.print("what it is worth", style="bold underline")
    folder = new_folder(RUNS, "demo")
    run = runs.evaluate(
        network, suite, domain="in", seed=seed, limit=limit, run_dir=folder, validation_limit=VALIDATION
    )
    console.print(utility_table(run.summary))
    console.print(EXPLAINED)
    console.print()
    console.print(sentences(run.summary))
    console.print(f"\nfigures: {folder / 'figures'}{os.sep}", soft_wrap=True)
    console.print()
    console.print("next", style="bold underline")
    dash = glyphs_of(console).dash
    name = program()
    for command, what in (
        (f'{name} ask "357+246" --trace', "a query of yours (lab problems shows what they learnt)"),
        (f"{name} eval --domain out", "skills of which no agent has seen a graded answer"),
        (f"{name} eval --from {folder}", "these tables and figures again, without a model"),
    ):
        console.print(f"  {command}\n      {dash} {what}", soft_wrap=True)


def program() -> str:
    """Return what to type to run this program again: its name, or how it was called where the name is not found."""
    if shutil.which("disrouter"):
        return "disrouter"
    return sys.argv[0] if Path(sys.argv[0]).name == "disrouter" else "python -m disrouter"


def warm_up(network: Network, query: Query) -> None:
    """Have every agent answer once: what its first answer takes is loading, and no hop should be charged with it."""
    for name in network.agents:
        network.without(*(other for other in network.agents if other != name)).ask(query)


def find_examples(network: Network, suite: Suite, queries: Sequence[Query]) -> tuple[dict[str, Example], int]:
    """Route queries until there is an example of every kind, if possible one that was answered right.

    Returns:
        The examples by kind, and how many queries were routed.
    """
    found: dict[str, Example] = {}
    routed = 0
    for query in queries:
        routed += 1
        trace = network.ask(query)
        if trace.answer is None:
            continue
        example = Example(query, replace(trace, score=suite.grade(query, trace.answer)))
        kind = kind_of(trace, network)
        if kind not in found or (_right(example) and not _right(found[kind])):
            found[kind] = example
        if len(found) == len(SOUGHT) and all(map(_right, found.values())):
            break
    return found, routed


def kind_of(trace: Trace, network: Network) -> str:
    """Return which of the three kinds of route a trace is."""
    if len(trace.hops) == 1:
        return "at once"
    return "passed on" if network.edges[trace.hops[-1].agent] else "to the end"


def draw(example: Example, network: Network, console: Console) -> None:
    """Draw a route with its answer and what it cost."""
    from disrouter.cli._console import glyphs_of
    from disrouter.cli._route import answer_lines, cost_lines, route_lines

    glyphs, trace = glyphs_of(console), example.trace
    lines = (
        *route_lines(trace, network, glyphs, query=example.query.text),
        *answer_lines(trace, glyphs, reference=example.query.reference),
        *cost_lines(trace, network),
    )
    for line in lines:
        console.print(line, soft_wrap=True)


def new_folder(parent: Path, name: str) -> Path:
    """Return a folder that does not exist yet, named after the time."""
    stem = f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    tried = [parent / stem, *(parent / f"{stem}-{count}" for count in range(2, 100))]
    return next(folder for folder in tried if not folder.exists())


def _right(example: Example) -> bool:
    return example.trace.score is not None and example.trace.score >= 0.5
