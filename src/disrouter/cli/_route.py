"""Routes, drawn hop by hop.

◇ 357+246                                                     balance, α = 0.5
│
○ agent-1  passes on  ███░░░░░░░ 0.31    12 in    0 out   cost 0.010     2 ms
● agent-2  answers    █████████░ 0.94    12 in   31 out   cost 0.200    48 ms
│
cost 0.200 for the answer + 0.010 for the look before it = 0.210
agent-5 alone would have cost 0.900: saved 0.690
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text

from disrouter.cli._console import Glyphs, printable
from disrouter.types import Hop, TokenPrice, Trace

if TYPE_CHECKING:
    from disrouter.network import Network

__all__ = ["Alone", "answer_lines", "asked_alone", "cost_lines", "route_lines"]

WIDTH = 80
"""Columns a route fits into."""

BAR = 10
NAME = 14
"""Longest name of an agent that is shown whole."""

_WORDS = {"answer": "answers", "reject": "passes on", "failure": "breaks"}
_COLOURS = {"answer": "bold green", "reject": "yellow", "failure": "bold red"}

_REASONS = {
    "max_hops": "it would have passed on, but no more agents may be asked (max_hops)",
    "max_cost": "it would have passed on, but the next agent would break the limit on cost (max_cost)",
    "max_seconds": "it would have passed on, but the time is up (max_seconds)",
    "fallback": "it had passed on, but everybody after it broke",
    "recall": "it had passed on, but nobody left is worth asking: it is the best of those that looked",
}


@dataclass(frozen=True, slots=True)
class Alone:
    """What the query would have cost if only the costliest agent had been asked."""

    agent: str
    cost: float
    exact: bool
    """Whether that is its price; with a price per token it is that of as many tokens as this answer had."""


def asked_alone(trace: Trace, network: Network) -> Alone:
    """Return what always asking the network's costliest agent would have cost this query."""
    used = next((hop.usage for hop in reversed(trace.hops) if hop.decision == "answer"), trace.usage)
    costs = {name: agent.card.price.of(used, answered=True) for name, agent in network.agents.items()}
    name = max(costs, key=lambda name: costs[name])
    return Alone(name, costs[name], exact=not isinstance(network.agents[name].card.price, TokenPrice))


def route_lines(trace: Trace, network: Network, glyphs: Glyphs, *, query: str) -> Iterator[Text]:
    """Yield the query and one line per hop; a second one where a hop needs a reason."""
    scenario = f"{trace.scenario.name}, {glyphs.alpha} = {trace.scenario.alpha:g}"
    if trace.scenario.name.startswith("alpha="):
        scenario = f"{glyphs.alpha} = {trace.scenario.alpha:g}"
    room = WIDTH - len(scenario) - 6
    asked = _one_line(query, room, glyphs)
    yield Text.assemble(f"  {glyphs.start} ", (asked.ljust(room), "bold"), "  ", (scenario, "dim"))
    yield Text(f"  {glyphs.line}")
    width = min(NAME, max(len(hop.agent) for hop in trace.hops)) if trace.hops else 0
    for hop in trace.hops:
        yield _hop_line(hop, network, glyphs, width)
        if hop.reason is not None:
            why = _REASONS.get(hop.reason, hop.reason)
            yield from _wrapped(f"{glyphs.line if hop is not trace.hops[-1] else ' '}   ", why, "dim")


def answer_lines(trace: Trace, glyphs: Glyphs, *, reference: str | None = None) -> Iterator[Text]:
    """Yield the answer and, where it has been graded, whether it is right."""
    yield Text(f"  {glyphs.line}")
    if trace.answer is None:
        yield Text("    no agent answered", style="bold red")
        return
    yield from _wrapped("  ", printable(trace.answer), "bold")
    if trace.score is not None:
        right = trace.score >= 0.5
        wanted = "" if right or reference is None else f": it should be {reference}"
        yield Text(f"    {'right' if right else 'wrong'}{wanted}", style="green" if right else "red")


def cost_lines(trace: Trace, network: Network) -> Iterator[Text]:
    """Yield what the route cost, and what it saved against always asking the costliest agent."""
    before = [hop for hop in trace.hops if hop.agent != trace.agent]
    paid = trace.cost_full
    if trace.agent is None:
        yield Text(f"    cost {_cost(paid)} for the looks, and no answer")
        return
    if before:
        what = "the look before it" if len(before) == 1 else f"the {len(before)} looks before it"
        yield Text(
            f"    cost {_cost(trace.cost)} for the answer + {_cost(paid - trace.cost)} for {what} = {_cost(paid)}"
        )
    else:
        yield Text(f"    cost {_cost(paid)}, nothing else was asked")
    alone = asked_alone(trace, network)
    about = "" if alone.exact else "about "
    difference = alone.cost - paid
    verdict = f"saved {about}{_cost(difference)}" if difference >= 0 else f"{about}{_cost(-difference)} more than that"
    yield Text(f"    asking {alone.agent} alone would have cost {about}{_cost(alone.cost)}: {verdict}")


def _hop_line(hop: Hop, network: Network, glyphs: Glyphs, width: int) -> Text:
    mark = {"answer": glyphs.answers, "reject": glyphs.passes, "failure": glyphs.fails}[hop.decision]
    colour = _COLOURS[hop.decision]
    name = hop.agent if len(hop.agent) <= width else f"{hop.agent[: width - 1]}…"
    tokens = f"{hop.usage.prompt_tokens:>5} in {hop.usage.completion_tokens:>4} out"
    return Text.assemble(
        "  ",
        (mark, colour),
        f" {name:<{width}}  ",
        (f"{_WORDS[hop.decision]:<9}", colour),
        f"  {_confidence(hop, network, glyphs)} ",
        (f"{tokens}   cost {_cost(hop.cost)}  {_seconds(hop.seconds):>7}", "dim"),
    )


def _confidence(hop: Hop, network: Network, glyphs: Glyphs) -> str:
    """Return how sure the agent was, as a bar and a number of fixed width."""
    if hop.confidence is not None:
        filled = int(hop.confidence * BAR + 0.5)
        return f"{glyphs.full * filled}{glyphs.empty * (BAR - filled)} {hop.confidence:.2f}"
    must = not network.edges.get(hop.agent) or network.always_answers.get(hop.agent)
    said = "always answers" if must and hop.decision == "answer" else "does not say"
    return f"{said:<{BAR + 5}}"


def _cost(cost: float) -> str:
    # 0.0075 is a little less than that in binary: without the nudge it would print as 0.007 and sums would not add up.
    return f"{cost + 1e-9:.3f}"


def _seconds(seconds: float) -> str:
    if seconds >= 0.9995:
        return f"{seconds:.1f} s"
    return f"{1000 * seconds:.0f} ms"


def _one_line(text: str, room: int, glyphs: Glyphs) -> str:
    flat = " ".join(printable(text).split())
    return flat if len(flat) <= room else f"{flat[: room - 3].rstrip()}..."


def _wrapped(prefix: str, text: str, style: str) -> Iterator[Text]:
    """Yield a text in lines that fit, each after the same prefix."""
    import textwrap

    indent = f"  {prefix}"
    for paragraph in text.splitlines() or [""]:
        for line in textwrap.wrap(paragraph, WIDTH - len(indent), break_on_hyphens=False) or [""]:
            yield Text.assemble(indent, (line, style))
