"""``disrouter ask``: one query, its answer, and the way to it."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from disrouter.cli._options import (
    at_least,
    examples_as_typed,
    json_option,
    latency_option,
    network_of,
    network_option,
    policy_option,
    scenario_option,
    seed_option,
)
from disrouter.errors import ContextError, RunError, UsageError

if TYPE_CHECKING:
    from disrouter.network import Network
    from disrouter.types import Query, Sampling, Scenario, Trace

__all__ = ["ask"]


@click.command()
@click.argument("query")
@network_option
@scenario_option
@latency_option
@policy_option
@click.option(
    "--trace", "show_trace", is_flag=True, help="Draw the route on standard error: who thought what, and what it cost."
)
@json_option("the trace as one JSON object")
@click.option("--max-hops", type=int, metavar="N", help="Ask at most N agents; the last one asked answers.")
@click.option(
    "--max-cost", type=float, metavar="C", help="Ask nobody whose answer would take the route's cost above C."
)
@click.option("--max-tokens", type=int, metavar="N", help="Write at most N tokens.")
@click.option(
    "--temperature",
    type=float,
    default=0.0,
    show_default=True,
    metavar="T",
    callback=at_least(0.0),
    help="0 takes the most likely token every time; 1 draws from the model's own probabilities.",
)
@seed_option(0, "Seed of the drawing; matters above temperature 0 only.")
@examples_as_typed
def ask(
    query: str,
    network_name: str,
    scenario: Scenario | None,
    latency_weight: float | None,
    policy: str | None,
    show_trace: bool,
    as_json: bool,
    max_hops: int | None,
    max_cost: float | None,
    max_tokens: int | None,
    temperature: float,
    seed: int,
) -> None:
    """Answer QUERY; '-' reads it from standard input.

    disrouter ask "357+246" --trace
    disrouter ask "count s sssisi" --scenario cost-first
    echo "sort 4071" | disrouter ask - --json
    """
    from disrouter.types import Query, Sampling

    text = _read_stdin() if query == "-" else query
    if not text.strip():
        raise UsageError("The query is empty.", hint='for example: disrouter ask "357+246"')
    if any("\ud800" <= character <= "\udfff" for character in text):  # how Python keeps bytes that are no text
        raise UsageError("The query is not text in UTF-8.", hint="check the encoding of the terminal or the file")
    if max_tokens is not None and max_tokens < 1:
        raise UsageError(f"--max-tokens {max_tokens} leaves no room for an answer: give a whole number from 1.")
    network = network_of(network_name, policy=policy, max_hops=max_hops, max_cost=max_cost)
    if latency_weight is not None:
        scenario = replace(scenario or network.scenario, beta=latency_weight)
    asked = Query.from_text(text.rstrip("\n"))
    sampling = Sampling(temperature=temperature, max_tokens=max_tokens, seed=seed)
    trace = _routed(network, asked, scenario, sampling, streaming=not as_json)
    if as_json:
        _print_json(trace, network, asked.text)
    if show_trace:
        _draw(trace, network, asked.text)
    if trace.answer is None:
        raise _unanswered(trace, network, shown=show_trace)


def _read_stdin() -> str:
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as exc:
        raise UsageError(f"The query on standard input is not text in {exc.encoding}.", hint="send UTF-8") from exc


def _routed(network: Network, query: Query, scenario: Scenario | None, sampling: Sampling, *, streaming: bool) -> Trace:
    """Route one query and return its trace; if streaming, its answer goes to standard output as it is written."""
    import asyncio
    from contextlib import aclosing

    from disrouter.cli._console import printable
    from disrouter.types import Delta, Trace

    # What a model writes must not steer a terminal; a file or a pipe gets every character.
    shown = printable if sys.stdout.isatty() else str

    async def run() -> Trace:
        if not streaming:
            return await network.route(query, scenario, sampling)
        async with aclosing(network.stream(query, scenario, sampling)) as events:
            async for event in events:
                if isinstance(event, str | Delta):
                    click.echo(shown(event if isinstance(event, str) else event.text), nl=False)
                elif isinstance(event, Trace):
                    if event.answer is not None:
                        click.echo()
                    return event
        raise AssertionError("a stream ends in a trace")

    return asyncio.run(run())


def _print_json(trace: Trace, network: Network, query: str) -> None:
    from disrouter.cli._console import print_json
    from disrouter.evaluation.traces import trace_to_json

    usage = trace.usage
    more: dict[str, Any] = {
        "agent": trace.agent,
        "cost": trace.cost,
        "cost_full": trace.cost_full,
        "usage": {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens},
        "seconds": trace.seconds,
        "first_token_seconds": trace.first_token_seconds,
    }
    print_json({"schema": 1, "network": network.name, "query": query, **trace_to_json(trace, timings=True), **more})


def _draw(trace: Trace, network: Network, query: str) -> None:
    from disrouter.cli._console import glyphs_of, talk
    from disrouter.cli._route import cost_lines, route_lines

    console = talk()
    console.print()
    for line in (*route_lines(trace, network, glyphs_of(console), query=query), *cost_lines(trace, network)):
        console.print(line, soft_wrap=True)


def _unanswered(trace: Trace, network: Network, *, shown: bool) -> RunError:
    """Return the error that says why nobody answered."""
    broken = [hop for hop in trace.hops if hop.decision == "failure"]
    last = f" {broken[-1].agent}, asked last: {broken[-1].reason}" if broken else ""
    others = f" ({len(broken)} agents broke)" if len(broken) > 1 else ""
    hint = None if shown else "--trace shows what became of each agent"
    if broken and all((hop.reason or "").startswith(ContextError.__name__) for hop in broken):
        hint = "shorten the query, or give the network an agent with a longer context"
    return RunError(f"No agent of network '{network.name}' answered the query{others}.{last}", hint=hint)
