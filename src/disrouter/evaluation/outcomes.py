"""The outcome table: what every agent thought of, answered to and charged for every query in every scenario.

Everything offline is computed from it. In a file it is one row per (query, agent, scenario), in Parquet, with the
version of its schema in the metadata; in memory it is a dense cube, so that routing and metrics are array arithmetic.

    axis   0 scenario · 1 agent · 2 query, in order of first appearance
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disrouter.errors import DataError, UnknownNameError
from disrouter.types import Price, QueryPrice, Scenario, Seconds

__all__ = ["CELLS", "FloatCube", "IntCube", "ObjectCube", "Outcome", "OutcomeTable", "distinct"]

FloatCube = NDArray[np.float64]
IntCube = NDArray[np.int64]
ObjectCube = NDArray[np.object_]

CELLS = (
    "confidence",
    "accepts",
    "answer",
    "score",
    "prompt_tokens",
    "answer_tokens",
    "look_cost",
    "answer_cost",
    "look_seconds",
    "answer_seconds",
    "failure",
)
"""Fields that hold one value per (scenario, agent, query)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One row: one agent on one query in one scenario."""

    query_id: str
    agent: str
    scenario: str
    alpha: float
    score: float
    """Quality in [0, 1] of the answer; 0 if the agent broke and left none."""

    dataset: str | None = None
    domain: str | None = None
    level: int | None = None
    confidence: float | None = None
    """Self-assessed probability in [0, 1] before answering; None if unknown."""

    accepts: bool | None = None
    """The agent's own word; None if it has none."""

    answer: str | None = None
    """Always recorded, rejection masked; None only if the agent broke."""

    prompt_tokens: int = 0
    """Tokens read to look."""

    answer_tokens: int = 0
    """Tokens written to answer."""

    look_cost: float = 0.0
    """Normalised cost of looking and rejecting."""

    answer_cost: float = 0.0
    """Normalised cost of looking and answering."""

    look_seconds: float = 0.0
    """0 where not measured."""

    answer_seconds: float = 0.0
    """Seconds of the answer alone, without the look; 0 where not measured."""

    failure: str | None = None
    """Why the agent broke, if it did."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OutcomeTable:
    """Outcomes of every agent on every query in every scenario, as read-only arrays of shape (S, A, Q).

    Raises:
        DataError: The table is empty, a shape does not fit, or a value lies outside its range.
    """

    query_ids: tuple[str, ...]
    agents: tuple[str, ...]
    scenarios: tuple[Scenario, ...]
    datasets: tuple[str | None, ...]
    domains: tuple[str | None, ...]
    levels: tuple[int | None, ...]

    confidence: FloatCube
    """NaN where unknown."""

    accepts: IntCube
    """The agent's own word: 1 accepts, 0 rejects, -1 has none."""

    answer: ObjectCube
    score: FloatCube
    prompt_tokens: IntCube
    answer_tokens: IntCube
    look_cost: FloatCube
    answer_cost: FloatCube
    look_seconds: FloatCube
    answer_seconds: FloatCube
    failure: ObjectCube

    def __post_init__(self) -> None:
        for name in CELLS:
            view = getattr(self, name).view()
            view.flags.writeable = False
            object.__setattr__(self, name, view)
        _check(self)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of scenarios, agents and queries."""
        return len(self.scenarios), len(self.agents), len(self.query_ids)

    @property
    def failed(self) -> NDArray[np.bool_]:
        """True where the agent broke, shape (S, A, Q); read-only."""
        return np.broadcast_to(~_absent(distinct(self.failure)), self.shape)

    def agent_index(self, name: str) -> int:
        """Return an agent's place on the agent axis.

        Raises:
            UnknownNameError: The table has no such agent.
        """
        if name not in self.agents:
            raise UnknownNameError.of("agent", name, self.agents, where="the outcome table")
        return self.agents.index(name)

    def scenario_index(self, name: str) -> int:
        """Return a scenario's place on the scenario axis.

        Raises:
            UnknownNameError: The table has no such scenario.
        """
        names = [s.name for s in self.scenarios]
        if name not in names:
            raise UnknownNameError.of("scenario", name, names, where="the outcome table")
        return names.index(name)

    def cell(self, scenario: int, agent: int, query: int) -> Outcome:
        """Return one row by its places on the three axes."""
        at = (scenario, agent, query)
        confidence, word = float(self.confidence[at]), int(self.accepts[at])
        return Outcome(
            query_id=self.query_ids[query],
            agent=self.agents[agent],
            scenario=self.scenarios[scenario].name,
            alpha=self.scenarios[scenario].alpha,
            dataset=self.datasets[query],
            domain=self.domains[query],
            level=self.levels[query],
            confidence=None if np.isnan(confidence) else confidence,
            accepts=None if word < 0 else bool(word),
            answer=self.answer[at],
            score=float(self.score[at]),
            prompt_tokens=int(self.prompt_tokens[at]),
            answer_tokens=int(self.answer_tokens[at]),
            look_cost=float(self.look_cost[at]),
            answer_cost=float(self.answer_cost[at]),
            look_seconds=float(self.look_seconds[at]),
            answer_seconds=float(self.answer_seconds[at]),
            failure=self.failure[at],
        )

    def rows(self) -> Iterator[Outcome]:
        """Yield every row: scenario by scenario, agent by agent, query by query."""
        scenarios, agents, queries = self.shape
        for s in range(scenarios):
            for a in range(agents):
                for q in range(queries):
                    yield self.cell(s, a, q)

    @classmethod
    def of(cls, rows: Iterable[Outcome]) -> OutcomeTable:
        """Return the table of rows in any order.

        Raises:
            DataError: No rows; a query that an agent has no row for; two rows for the same place; a bad value.
        """
        listed = list(rows)
        columns = {f.name: np.array([getattr(r, f.name) for r in listed], dtype=object) for f in fields(Outcome)}
        columns["accepts"] = np.array([-1 if r.accepts is None else int(r.accepts) for r in listed], dtype=np.int64)
        return cls.of_columns(columns)

    @classmethod
    def of_columns(cls, columns: Mapping[str, NDArray[Any]]) -> OutcomeTable:
        """Return the table of long columns (one value per row, named like :class:`Outcome`), rows in any order.

        ``accepts`` holds 1, 0 or -1 (no own word); missing confidences may be None or NaN.

        Raises:
            DataError: As :meth:`of`.
        """
        if len(columns["query_id"]) == 0:
            raise DataError("The outcome table is empty: it has no rows.", hint="evaluate at least one query")
        queries, q = _axis(columns["query_id"])
        agents, a = _axis(columns["agent"])
        names, s = _axis(columns["scenario"])
        order = _order(names, agents, queries, s, a, q)
        shape = (len(names), len(agents), len(queries))

        def cube(name: str, dtype: type[Any]) -> NDArray[Any]:
            try:
                return np.asarray(columns[name][order].reshape(shape), dtype=dtype)
            except (TypeError, ValueError) as exc:
                raise DataError(
                    f"Column '{name}' of the outcome table has a missing or unusable value: {exc}."
                ) from exc

        alphas = cube("alpha", np.float64)
        per_query = {name: cube(name, object) for name in ("dataset", "domain", "level")}
        for name, column in per_query.items():
            _agreeing(name, column, queries)
        for i, name in enumerate(names):
            if len(np.unique(alphas[i])) != 1:
                found = ", ".join(f"{x:g}" for x in np.unique(alphas[i]))
                raise DataError(f"Scenario '{name}' of the outcome table has more than one alpha: {found}.")
        levels = (None if x is None or x != x else int(x) for x in per_query["level"][0, 0])
        return cls(
            query_ids=queries,
            agents=agents,
            scenarios=tuple(Scenario(name=n, alpha=float(alphas[i, 0, 0])) for i, n in enumerate(names)),
            datasets=tuple(per_query["dataset"][0, 0]),
            domains=tuple(per_query["domain"][0, 0]),
            levels=tuple(levels),
            **{name: cube(name, dtype) for name, dtype in _CELL_TYPES.items()},
        )

    def select(
        self,
        *,
        agents: Sequence[str] | None = None,
        queries: NDArray[np.bool_] | NDArray[np.integer[Any]] | None = None,
    ) -> OutcomeTable:
        """Return the table of these agents (in this order) and these queries (a mask or places) only."""
        if queries is None and (agents is None or tuple(agents) == self.agents):
            return self
        a = list(range(len(self.agents))) if agents is None else [self.agent_index(n) for n in agents]
        q = np.arange(len(self.query_ids))
        if queries is not None:
            q = q[queries]
        return replace(
            self,
            agents=tuple(self.agents[i] for i in a),
            query_ids=tuple(self.query_ids[i] for i in q),
            datasets=tuple(self.datasets[i] for i in q),
            domains=tuple(self.domains[i] for i in q),
            levels=tuple(self.levels[i] for i in q),
            **self._cells(lambda cube: np.broadcast_to(cube[:, a][:, :, q], (self.shape[0], len(a), len(q)))),
        )

    def in_scenarios(self, scenarios: Sequence[Scenario]) -> OutcomeTable:
        """Return the table as it would be in these scenarios, for agents to whom the scenario makes no difference.

        The outcomes are those of the first scenario. They are not copied, however many scenarios there are.

        Raises:
            DataError: An outcome depends on the scenario; seconds may.
        """
        for name in CELLS:
            cube = distinct(getattr(self, name))
            same = (cube == cube[:1]) | ((cube != cube) & (cube[:1] != cube[:1]))
            if not name.endswith("_seconds") and not np.all(same):
                agent = self.agents[int(np.argwhere(~same.astype(bool))[0][1])]
                raise DataError(
                    f"Column '{name}' of agent '{agent}' depends on the scenario, so that its outcomes in others are "
                    "unknown.",
                    hint="evaluate the network in the scenarios that you want to know about",
                )
        shape = (len(scenarios), *self.shape[1:])
        cells = self._cells(lambda cube: np.broadcast_to(cube[:1], shape))
        return replace(self, scenarios=tuple(scenarios), **cells)

    def _cells(self, change: Callable[[NDArray[Any]], NDArray[Any]]) -> dict[str, Any]:
        """Return every cube, changed; scenarios that share their memory come as one."""
        return {name: change(distinct(getattr(self, name))) for name in CELLS}

    @classmethod
    def read(cls, path: str | Path) -> OutcomeTable:
        """Return the table of a Parquet file; see :func:`disrouter.evaluation.outcome_files.read_table`."""
        from disrouter.evaluation.outcome_files import read_table

        return read_table(Path(path))

    def write(self, path: str | Path, *, timings: bool = True) -> None:
        """Write the table as a Parquet file; see :func:`disrouter.evaluation.outcome_files.write_table`."""
        from disrouter.evaluation.outcome_files import write_table

        write_table(self, Path(path), timings=timings)

    def repriced(self, prices: Mapping[str, Price]) -> OutcomeTable:
        """Return the table with both costs recomputed from the recorded tokens under other prices.

        A row whose agent broke before it read anything stays free. Agents without a price here keep their costs.
        """
        columns = [distinct(c) for c in (self.look_cost, self.answer_cost, self.prompt_tokens, self.answer_tokens)]
        failed = ~_absent(distinct(self.failure))
        # Where all scenarios share their outcomes they share their costs too.
        shape = (max(len(column) for column in (*columns, failed)), *self.shape[1:])
        look, answer = np.broadcast_to(columns[0], shape).copy(), np.broadcast_to(columns[1], shape).copy()
        for name, price in prices.items():
            i = self.agent_index(name)
            read, wrote = columns[2][:, i], columns[3][:, i]
            if isinstance(price, QueryPrice):
                free = failed[:, i]
                look[:, i] = np.where(free & (look[:, i] == 0), 0.0, price.cost * price.look_share)
                answer[:, i] = np.where(free, look[:, i], price.cost)
            else:  # the same operations in the same order as TokenPrice.of, so that the costs are equal bit by bit
                look[:, i] = (price.input * read) / 1e6 / price.unit
                answer[:, i] = (price.input * read + price.output * wrote) / 1e6 / price.unit
        look, answer = np.broadcast_to(look, self.shape), np.broadcast_to(answer, self.shape)
        return replace(self, look_cost=look, answer_cost=answer)

    def timed(self, seconds: Mapping[str, Seconds]) -> OutcomeTable:
        """Return the table with these seconds in place of the measured ones; those that broke keep theirs."""
        if not seconds:
            return self
        ok, cells = ~self.failed, {}
        for name, part in (("look_seconds", "look"), ("answer_seconds", "answer")):
            cells[name] = getattr(self, name).copy()
            for agent, set_ in seconds.items():
                i = self.agent_index(agent)
                cells[name][:, i] = np.where(ok[:, i], getattr(set_, part), cells[name][:, i])
        return replace(self, look_seconds=cells["look_seconds"], answer_seconds=cells["answer_seconds"])

    def weighing(self, scenarios: Sequence[Scenario]) -> OutcomeTable:
        """Return the table with the latency weights that scenarios of the same names have here; files hold none."""
        betas = {scenario.name: scenario.beta for scenario in scenarios}
        return replace(self, scenarios=tuple(replace(s, beta=betas.get(s.name, s.beta)) for s in self.scenarios))


def distinct(cube: NDArray[Any]) -> NDArray[Any]:
    """Return a cube without the scenarios that merely repeat the first one's memory."""
    return cube[:1] if len(cube) > 1 and cube.strides[0] == 0 else cube


_CELL_TYPES: dict[str, type[Any]] = {
    "confidence": np.float64,
    "accepts": np.int64,
    "answer": object,
    "score": np.float64,
    "prompt_tokens": np.int64,
    "answer_tokens": np.int64,
    "look_cost": np.float64,
    "answer_cost": np.float64,
    "look_seconds": np.float64,
    "answer_seconds": np.float64,
    "failure": object,
}


def _axis(column: NDArray[Any]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return the distinct names of a column in order of first appearance, and each row's place among them."""
    places: dict[str, int] = {}
    index = np.fromiter((places.setdefault(name, len(places)) for name in column), dtype=np.int64, count=len(column))
    return tuple(places), index


def _order(
    names: tuple[str, ...],
    agents: tuple[str, ...],
    queries: tuple[str, ...],
    s: NDArray[np.int64],
    a: NDArray[np.int64],
    q: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return the order of rows that fills the cube, every place exactly once."""
    place = (s * len(agents) + a) * len(queries) + q
    order = np.argsort(place, kind="stable")
    filled = place[order]

    def where(at: int) -> str:
        rest, query = divmod(at, len(queries))
        scenario, agent = divmod(rest, len(agents))
        return f"query '{queries[query]}', agent '{agents[agent]}', scenario '{names[scenario]}'"

    twice = np.flatnonzero(np.diff(filled) == 0)
    if len(twice):
        raise DataError(
            f"The outcome table has more than one row for {where(int(filled[twice[0]]))}.",
            hint="keep one row per query, agent and scenario",
        )
    if len(filled) != len(names) * len(agents) * len(queries):
        gaps = np.flatnonzero(filled != np.arange(len(filled)))
        first = int(gaps[0]) if len(gaps) else len(filled)
        raise DataError(
            f"The outcome table has no row for {where(first)}.",
            hint="every agent needs a row for every query in every scenario; a failure is a row too",
        )
    return order


def _agreeing(name: str, column: ObjectCube, queries: tuple[str, ...]) -> None:
    """Refuse a query whose rows disagree about something that belongs to the query."""
    same = (column == column[0, 0]) | ((column != column) & (column[0, 0] != column[0, 0]))
    if not np.all(same):
        query = int(np.argwhere(~same.astype(bool))[0][2])
        raise DataError(f"Rows of query '{queries[query]}' disagree about its {name} in the outcome table.")


def _check(table: OutcomeTable) -> None:
    """Refuse shapes and values that no later step could give a meaning to."""
    if 0 in table.shape:
        raise DataError("The outcome table is empty: it has no rows.", hint="evaluate at least one query")
    for name in CELLS:
        if getattr(table, name).shape != table.shape:
            found = getattr(table, name).shape
            raise DataError(f"Column '{name}' of the outcome table has shape {found}, not {table.shape}.")
    outside: dict[str, tuple[str, Callable[[Any], Any]]] = {
        "confidence": ("from 0 to 1, or null", lambda x: ~(np.isnan(x) | ((x >= 0) & (x <= 1)))),
        "accepts": ("true, false or null", lambda x: (x < -1) | (x > 1)),
        "score": ("from 0 to 1", lambda x: ~((x >= 0) & (x <= 1))),
        **{
            name: ("finite and at least 0", lambda x: ~((x >= 0) & np.isfinite(x)))
            for name in CELLS
            if name.endswith(("_tokens", "_cost", "_seconds"))
        },
    }
    for name, (allowed, bad) in outside.items():
        _refuse(table, name, bad(distinct(getattr(table, name))), allowed)
    silent = _absent(distinct(table.answer)) & _absent(distinct(table.failure))
    _refuse(table, "answer", silent, "text, unless 'failure' says why there is none")
    for scenario in table.scenarios:
        if not 0.0 <= scenario.alpha <= 1.0:
            raise DataError(
                f"Scenario '{scenario.name}' of the outcome table has alpha {scenario.alpha:g}, not 0 to 1."
            )


def _absent(cube: ObjectCube) -> NDArray[np.bool_]:
    """Return where a column of objects is None."""
    return np.asarray(np.equal(cube, np.array(None, dtype=object)), dtype=np.bool_)


def _refuse(table: OutcomeTable, name: str, bad: NDArray[np.bool_], allowed: str) -> None:
    """Raise for the first bad value of a column, naming its place."""
    if not bad.any():
        return
    s, a, q = (int(i) for i in np.argwhere(bad)[0])
    raise DataError(
        f"Column '{name}' of the outcome table is {getattr(table, name)[s, a, q]!r} for query '{table.query_ids[q]}', "
        f"agent '{table.agents[a]}', scenario '{table.scenarios[s].name}'. Allowed: {allowed}."
    )
