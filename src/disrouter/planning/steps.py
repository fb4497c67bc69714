"""Steps: the visits of simulated queries, drawn from a workload."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from disrouter.planning.site import Site
from disrouter.planning.workload import Route, Workload

__all__ = ["Step", "steps"]


class Step(NamedTuple):
    """A visit as the simulation needs it."""

    agent: int
    answers: bool
    work: float
    first: float
    turns: float = 1.0


def steps(
    workload: Workload,
    site: Site,
    number: Mapping[str, int],
    random: np.random.Generator,
    count: int,
    in_order: bool = False,
    offset: int = 0,
) -> Iterator[Sequence[Step]]:
    """Yield the visits of so many queries: routes drawn with replacement, or one after the other."""
    keeping = _keeping(site)
    made = [_steps(route, number, keeping) for route in workload.routes]
    picks = (np.arange(count) + offset) % len(made) if in_order else random.integers(len(made), size=count)
    drawn = {number[name]: value for name, value in workload.given.items() if value.variation}
    if not drawn:
        yield from (made[pick] for pick in picks.tolist())
        return
    for pick in picks.tolist():
        route = []
        for step in made[pick]:
            value = drawn.get(step.agent)
            if value is not None and step.work > 0:
                shape = 1 / value.variation**2 if value.variation else 1.0
                work = float(random.gamma(shape, step.work / shape))
                step = step._replace(work=work, first=step.first * work / step.work)
            route.append(step)
        yield route


def _steps(route: Route, number: Mapping[str, int], keeping: frozenset[str]) -> tuple[Step, ...]:
    made: list[Step] = []
    for visit in route.visits:
        step = Step(number[visit.agent], visit.step == "answer", visit.seconds, visit.first, visit.turns)
        last = made[-1] if made else None
        if last is not None and last.agent == step.agent and step.answers and visit.agent in keeping:
            first, turns = last.work + step.first, last.turns + step.turns
            made[-1] = Step(step.agent, True, last.work + step.work, first, turns)
        elif step.work > 0 or step.answers:  # a look that takes no time is none: the agent is not asked
            made.append(step)
    return tuple(made)


def _keeping(site: Site) -> frozenset[str]:
    return frozenset(agent.name for host in site.hosts for agent in host.agents if agent.keeps_place)
