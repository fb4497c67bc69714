"""What the options of ``disrouter plan`` mean: seconds, slowdowns, numbers of agents, and who is meant."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

import click

from disrouter.errors import UsageError

if TYPE_CHECKING:
    from disrouter.network import Network
    from disrouter.planning import Given, Slowdown

__all__ = ["alphas_of", "count_of", "given_of", "groups_of", "hosts_of", "slowdown_of", "spread"]

T = TypeVar("T")


def given_of(text: str, what: str) -> Given:
    """Return the seconds of ``0.1,2.5`` or, with a spread, ``0.1,2.5,1``."""
    from disrouter.planning import Given

    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (2, 3) or not all(math.isfinite(number) and number >= 0 for number in numbers):
        raise UsageError(
            f"{what} '{text}' is not usable.",
            hint="give seconds of a look and an answer, and if you like their spread: large=0.1,2.5 or large=0.1,2.5,1",
        )
    return Given(look=numbers[0], answer=numbers[1], variation=numbers[2] if len(numbers) == 3 else None)


def slowdown_of(text: str, what: str) -> Slowdown:
    """Return the slowdown of ``1:1,8:1.6``."""
    from disrouter.planning import curves

    return curves.slowdown_of(text)


def count_of(text: str, what: str) -> int:
    """Return a whole number from 1."""
    if not text.isdecimal() or len(text) > 9 or int(text) < 1:
        raise UsageError(f"{what} '{text}' is not usable: give a whole number from 1.")
    return int(text)


def alphas_of(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    """Return the alphas of ``0.2,0.5``; none of ``none``, and None where nothing was said."""
    from disrouter.utility import scenario_of

    if value is None or value == "none":
        return None if value is None else ()
    return tuple(scenario_of(part.strip()).alpha for part in value.split(","))


def groups_of(
    network: Network, together: tuple[str, ...], slowdowns: Mapping[str, Slowdown], costs: Mapping[str, float]
) -> list[tuple[str, ...]]:
    """Return which agents stand together.

    Whoever says how much slower each agent gets with more at work, or what one of them costs, means servers of their
    own even of models in this process.
    """
    from disrouter.planning import site

    named = [tuple(name.strip() for name in group.split(",") if name.strip()) for group in together]
    apart = network.agents if "" in slowdowns else (*slowdowns, *costs)
    return site.groups_of(network, named, apart=apart)


def hosts_of(groups: list[tuple[str, ...]], *, gateway: bool) -> list[str]:
    """Return the names of all hosts."""
    return ["+".join(group) for group in groups] + (["gateway"] if gateway else [])


def spread(values: Mapping[str, T], names: list[str]) -> dict[str, T]:
    """Return the values by name, the one without a name given to all that are not named."""
    found = {name: value for name, value in values.items() if name}
    return {**dict.fromkeys(names, values[""]), **found} if "" in values else found
