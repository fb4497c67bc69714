"""Workload: what queries ask of agents, how long that takes, and how they come.

A route is the visits of one query in order: an agent looks, an agent answers. Between two visits it holds nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

from disrouter.errors import ConfigError, DataError, UnknownNameError

__all__ = ["Behaviour", "Given", "Route", "Step", "Visit", "Workload", "given_seconds", "require_seconds"]

Step = Literal["look", "answer"]


@dataclass(frozen=True, slots=True)
class Visit:
    """One agent looks at a query, or answers it."""

    agent: str
    step: Step
    seconds: float
    """With nothing else at work on the agent's replica."""

    first: float = 0.0
    """Seconds of an answer until its first word."""

    turns: int = 1
    """In how many turns a model in this process does it at most: a look in one, an answer in one for each token and
    one more to begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The way of one query; its last visit answers."""

    visits: tuple[Visit, ...]
    time: float | None = None
    """When the query came, in seconds, where that is known."""

    cost: float = 0.0
    """Normalised, every look included."""

    score: float | None = None
    """Quality of the answer, where somebody judged it."""

    @property
    def hops(self) -> int:
        """Number of times that the query goes to an agent; an answer right after its look is the same time."""
        agents = [visit.agent for visit in self.visits]
        return sum(now != before for before, now in zip([None, *agents], agents, strict=False))


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What an agent does with queries that reach it in other ways than the recorded one (because another broke)."""

    looks: tuple[float, ...]
    answers: tuple[float, ...]
    """Seconds."""

    answer_share: float
    """Share of the queries at which it looks that it answers."""

    turns: float = 1.0
    """Of an answer, at most, on average."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """Seconds that take the place of measured ones."""

    look: float
    answer: float
    variation: float | None = None
    """Standard deviation as a share of the mean, gamma-distributed. None keeps the spread that was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Routes to draw from, and what is known beyond them."""

    routes: tuple[Route, ...]
    source: str
    """Where they come from, for people."""

    behaviours: Mapping[str, Behaviour]
    given: Mapping[str, Given]
    """Agents whose seconds are drawn afresh for every query."""

    notes: tuple[str, ...] = ()
    """What a reader of the plan should know about them."""

    def __post_init__(self) -> None:
        if not self.routes:
            raise DataError(
                f"There are no answered queries in {self.source}.", hint="give traces of at least one answered query"
            )

    @property
    def timed(self) -> bool:
        """Whether it is known when queries came."""
        return len(self.routes) > 1 and all(route.time is not None for route in self.routes)

    @property
    def accuracy(self) -> float | None:
        """Mean score; None where not all were judged."""
        scores = [route.score for route in self.routes if route.score is not None]
        return fmean(scores) if len(scores) == len(self.routes) else None

    @property
    def cost(self) -> float:
        """Mean normalised cost of a query, looks included."""
        return fmean(route.cost for route in self.routes)

    def work(self, agent: str) -> float:
        """Return the mean seconds of work that a query brings to an agent."""
        return sum(v.seconds for route in self.routes for v in route.visits if v.agent == agent) / len(self.routes)

    def share(self, agent: str, step: Step) -> float:
        """Return the share of queries at which an agent looks, or that it answers."""
        has = (any(v.agent == agent and v.step == step for v in route.visits) for route in self.routes)
        return sum(has) / len(self.routes)

    def mean_seconds(self, agent: str, step: Step) -> float | None:
        """Return the mean seconds of a look or an answer; None where there is none."""
        found = [v.seconds for route in self.routes for v in route.visits if (v.agent, v.step) == (agent, step)]
        return fmean(found) if found else None


def given_seconds(workload: Workload, given: Mapping[str, Given], agents: Sequence[str]) -> Workload:
    """Return the workload with these seconds: measured ones scaled to the mean that is given, or drawn afresh.

    Raises:
        UnknownNameError: The network has no such agent.
        ConfigError: A value is not usable.
    """
    for name, value in given.items():
        if name not in agents:
            raise UnknownNameError.of("agent", name, agents, where="the network")
        numbers = (value.look, value.answer, value.variation or 0.0)
        if not all(0 <= x < 1e6 for x in numbers) or value.answer <= 0:
            raise ConfigError(
                f"Seconds of agent '{name}' (look {value.look:g}, answer {value.answer:g}) are not usable.",
                hint="give a look from 0 and an answer above 0, below a million",
            )
    scale = {
        (name, step): (getattr(value, step), workload.mean_seconds(name, step))
        for name, value in given.items()
        for step in ("look", "answer")
    }
    routes = tuple(
        replace(route, visits=tuple(_given(v, scale, given) for v in route.visits)) for route in workload.routes
    )
    behaviours = dict(workload.behaviours)
    for name, value in given.items():
        usual = behaviours.get(name, Behaviour(looks=(), answers=(), answer_share=1.0))
        behaviours[name] = replace(usual, looks=(value.look,), answers=(value.answer,))
    drawn = {name: value for name, value in given.items() if value.variation}
    return replace(workload, routes=routes, behaviours=behaviours, given={**workload.given, **drawn})


def _given(
    visit: Visit, scale: Mapping[tuple[str, str], tuple[float, float | None]], given: Mapping[str, Given]
) -> Visit:
    if visit.agent not in given:
        return visit
    value = given[visit.agent]
    mean, measured = scale[visit.agent, visit.step]
    seconds = visit.seconds * mean / measured if measured and value.variation is None else mean
    # Where nobody timed the first word: it comes after the prompt has been read, which is what a look does.
    share = visit.first / visit.seconds if visit.seconds > 0 else min(1.0, value.look / value.answer)
    return replace(visit, seconds=seconds, first=seconds * share if visit.step == "answer" else 0.0)


def require_seconds(workload: Workload) -> None:
    """Do nothing if it is known how long every agent takes to answer.

    Raises:
        DataError: It is not.
    """
    silent = [name for name in _agents(workload.routes) if workload.mean_seconds(name, "answer") == 0]
    if silent:
        listed = ", ".join(f"'{name}'" for name in silent)
        raise DataError(
            f"There are no seconds of {listed} in {workload.source}.",
            hint=f"say how long a look and an answer take: --seconds {silent[0]}=0.1,2.5",
        )


def _agents(routes: Iterable[Route]) -> list[str]:
    return list(dict.fromkeys(visit.agent for route in routes for visit in route.visits))
