"""Options that several commands share, and what their values mean."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from disrouter.errors import UsageError

if TYPE_CHECKING:
    from disrouter.engines import Placement
    from disrouter.network import Network
    from disrouter.types import Scenario

__all__ = [
    "SHARDED",
    "agents_option",
    "at_least",
    "engine_options",
    "examples_as_typed",
    "json_option",
    "latency_option",
    "limit_option",
    "network_of",
    "network_option",
    "placements_of",
    "policy_option",
    "scenario_option",
    "seed_option",
]

F = TypeVar("F", bound=Callable[..., Any])


def examples_as_typed(function: F) -> F:
    """Keep the examples in a command's docstring as they are typed: click would fill them.

    Examples are paragraphs that are indented, or whose lines are commands (a formatter takes the indentation away
    where nothing else follows).
    """
    paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
    function.__doc__ = "\n\n".join(_as_typed(paragraph) for paragraph in paragraphs)
    return function


def _as_typed(paragraph: str) -> str:
    lines = paragraph.split("\n")
    if all(re.match(r"disrouter |echo ", line) for line in lines):
        lines = [f"  {line}" for line in lines]
    return "\b\n" + "\n".join(lines) if lines[0].startswith(" ") else paragraph


def network_option(function: F) -> F:
    """Add --network."""
    return click.option(
        "--network",
        "network_name",
        default="lab",
        show_default=True,
        metavar="FILE|NAME",
        help="A network file, or the name of an embedded network: lab, lab-flops, lab-paper.",
    )(function)


def policy_option(function: F) -> F:
    """Add --policy."""
    return click.option(
        "--policy",
        metavar="NAME",
        help="Decide by this policy instead of the network's: own-word, paper, value-of-forwarding, threshold=0.7.",
    )(function)


def agents_option(what: str) -> Callable[[F], F]:
    """Add --agents: names with commas between them; none of them means all."""

    def split(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[str, ...]:
        names = tuple(name.strip() for name in value.split(",") if name.strip())
        if not names:
            raise UsageError("--agents names nobody.", hint="give names with commas between them, or all")
        return () if names == ("all",) else names

    return click.option("--agents", default="all", show_default=True, metavar="NAME,…|all", callback=split, help=what)


def engine_options(workers: str | None = None) -> Callable[[F], F]:
    """Add --engine and --ray-address, and --workers with this help."""

    def add(function: F) -> F:
        if workers is not None:
            function = click.option("--workers", type=int, metavar="N", help=workers)(function)
        function = click.option(
            "--ray-address", metavar="HOST:PORT", help="Of the cluster; one is started on this machine if left out."
        )(function)
        return click.option(
            "--engine",
            "engine_name",
            type=click.Choice(["local", "ray"]),
            default="local",
            show_default=True,
            help="This machine, or a Ray cluster; the results are the same.",
        )(function)

    return add


SHARDED = "Parts worked on side by side; 0: as many as there is room for.  [default: 1 here, 0 on Ray]"


def json_option(what: str) -> Callable[[F], F]:
    """Add --json, which prints ``what``."""
    return click.option("--json", "as_json", is_flag=True, help=f"Print {what}, and nothing else, to standard output.")


def seed_option(default: int, what: str) -> Callable[[F], F]:
    """Add --seed."""
    return click.option("--seed", type=int, default=default, show_default=True, help=what)


def scenario_option(function: F) -> F:
    """Add --scenario, once."""
    return click.option(
        "--scenario",
        metavar="NAME|ALPHA",
        callback=lambda _context, _parameter, value: None if value is None else scenario_named(value),
        help="performance-first, balance, cost-first, or any alpha from 0 to 1; the network's own if left out.",
    )(function)


def latency_option(function: F) -> F:
    """Add --latency-weight."""
    return click.option(
        "--latency-weight",
        type=float,
        default=None,
        metavar="BETA",
        callback=at_least(0.0),
        help="What a second is worth: utility = quality - alpha * cost - BETA * seconds.  [default: 0]",
    )(function)


def limit_option(default: int | None, what: str) -> Callable[[F], F]:
    """Add --limit, a whole number from 1."""

    def check(_context: click.Context, _parameter: click.Parameter, value: int | None) -> int | None:
        if value is not None and value < 1:
            raise UsageError(
                f"--limit {value} leaves nothing to do: it must be a whole number from 1.",
                hint="leave it out for the default",
            )
        return value

    return click.option("--limit", type=int, default=default, show_default=True, callback=check, help=what)


def at_least(smallest: float) -> Callable[[click.Context, click.Parameter, float | None], float | None]:
    """Return a check that a number is finite and not below ``smallest``."""

    def check(_context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
        if value is not None and not smallest <= value < math.inf:
            raise UsageError(f"{parameter.opts[0]} {value:g} is not usable: give a number from {smallest:g}.")
        return value

    return check


def scenario_named(value: str) -> Scenario:
    """Return the scenario of a name or an alpha."""
    from disrouter.utility import scenario_of

    return scenario_of(value)


def network_of(
    name: str,
    *,
    policy: str | None = None,
    max_hops: int | None = None,
    max_cost: float | None = None,
    measuring: Collection[str] | None = None,
) -> Network:
    """Return the network of a file or name, with the policy and the limits that were asked for.

    The cards of agents that are about to be measured (``measuring``, everybody if empty) are not read.

    Raises:
        UsageError: There is no such network or policy, or a limit is not usable.
    """
    from disrouter.config import load

    network = load(name, measuring=measuring)
    limits = network.limits
    if max_hops is not None:
        limits = replace(limits, max_hops=max_hops)
    if max_cost is not None:
        limits = replace(limits, max_cost=max_cost)
    return network.replace(policy=_policy_named(policy) if policy else None, limits=limits)


def placements_of(name: str) -> dict[str, Placement]:
    """Return how the agents of a network file shall run on a cluster.

    Raises:
        UsageError: There is no such network.
    """
    from disrouter.config import ray_entries
    from disrouter.engines.placement import placement_of

    return {agent: placement_of(entry) for agent, entry in ray_entries(name).items()}


def _policy_named(text: str) -> Any:
    """Return the policy of ``name`` or ``name=value``, the value that of the policy's only setting."""
    from disrouter.policies import policy_of

    name, equals, value = text.partition("=")
    if not equals:
        return policy_of(name)
    setting = {"threshold": "threshold", "paper": "gamma"}.get(name)
    if setting is None:
        policy_of(name)  # an unknown name is the first thing to say
        raise UsageError(f"Policy '{name}' takes no value, but --policy gives it '{value}'.", hint=f"--policy {name}")
    try:
        return policy_of({"name": name, setting: float(value)})
    except ValueError:
        raise UsageError(
            f"--policy {text}: '{value}' is not a number.", hint=f"for example --policy {name}=0.5"
        ) from None
