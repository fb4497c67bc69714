"""Entries: one query with what every agent scored on it, whatever file it came from; and the table of many.

Importers (:mod:`disrouter.bench.formats`) read files into entries. Here entries become a bench table: agents chosen,
costs normalised, splits drawn where none are given, and everything that has no meaning refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from disrouter.baselines.contract import Rows, Verifications, normalised
from disrouter.bench.tables import SPLITS, BenchTable, Split
from disrouter.errors import DataError, UnknownNameError
from disrouter.evaluation.outcomes import OutcomeTable
from disrouter.seeds import seed_of
from disrouter.types import Scenario
from disrouter.utility import SCENARIOS

__all__ = ["LOOK_SHARE", "Entry", "assemble"]

LOOK_SHARE = 0.1
"""What a look costs as a share of looking and answering, where that was not recorded: as flat prices have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One query; mappings are by agent."""

    id: str
    text: str
    scores: Mapping[str, float]
    split: str | None = None
    dataset: str | None = None
    domain: str | None = None
    level: int | None = None
    costs: Mapping[str, float] = field(default_factory=dict)
    """In any currency; normalised by the whole table."""

    look_costs: Mapping[str, float] = field(default_factory=dict)
    confidences: Mapping[str, float] = field(default_factory=dict)
    responses: Mapping[str, str] = field(default_factory=dict)
    verifications: Mapping[str, float] = field(default_factory=dict)
    verification_costs: Mapping[str, float] = field(default_factory=dict)
    prompt_tokens: Mapping[str, int] = field(default_factory=dict)
    answer_tokens: Mapping[str, int] = field(default_factory=dict)


def assemble(
    entries: Iterable[Entry],
    *,
    agents: Sequence[str] = (),
    costs: Mapping[str, float] | None = None,
    fractions: Mapping[Split, float] | None = None,
    deduplicate: bool = False,
    scenarios: Sequence[Scenario] = tuple(SCENARIOS.values()),
    seed: int = 0,
) -> BenchTable:
    """Return the bench table of entries.

    Args:
        entries: The queries.
        agents: Which agents, in this order; all of the first entry, by rising cost, if left out.
        costs: Normalised cost per answer of every agent. Left out: recorded costs, divided by the mean cost of the
            dearest agent, so that a cost of 1 is what its answers cost on average.
        fractions: Shares of train, validation and test, drawn by a hash of the text where entries name no split.
        deduplicate: Keep the first of queries that ask the same; otherwise they are refused.
        scenarios: The scenarios in which outcomes are compared; they are the same in all of them.
        seed: Of the drawn splits.

    Raises:
        DataError: No entries; a missing, duplicated or unusable value.
        UnknownNameError: An agent that never appears.
    """
    listed = _distinct(list(entries), deduplicate=deduplicate)
    if not listed:
        raise DataError("There is nothing to import: the file holds no queries.")
    seen = [name for entry in listed for name in entry.scores]
    agents = [_full(name, seen) for name in agents]
    costs = None if costs is None else {_full(name, seen): cost for name, cost in costs.items()}
    names = _agents_of(listed, agents, costs)
    score = _matrix(listed, names, "scores", "score", required=True)
    cost = _costs(listed, names, costs)
    if not agents:
        order = np.argsort(cost.mean(axis=1), kind="stable")
        names, score, cost = [names[i] for i in order], score[order], cost[order]
    return BenchTable(rows=_rows(listed, names, score, cost, tuple(scenarios)), split=_splits(listed, fractions, seed))


def _distinct(entries: list[Entry], *, deduplicate: bool) -> list[Entry]:
    ids: set[str] = set()
    texts: dict[str, str] = {}
    kept = []
    for entry in entries:
        if not entry.text.strip():
            raise DataError(f"Query '{entry.id}' has no text.")
        key = normalised(entry.text)
        if key in texts or entry.id in ids:
            if deduplicate:
                continue
            if entry.id in ids:
                raise DataError(
                    f"Query '{entry.id}' occurs more than once.", hint="keep one row per query, or add --deduplicate"
                )
            raise DataError(
                f"Queries '{texts[key]}' and '{entry.id}' ask the same.",
                hint="keep one of them, or add --deduplicate to keep the first of each",
            )
        ids.add(entry.id)
        texts[key] = entry.id
        kept.append(entry)
    return kept


def _full(name: str, seen: Iterable[str]) -> str:
    """Return the one model whose name, or what stands after its last slash, is this; else the name itself."""
    found = {full for full in seen if name in (full, full.rpartition("/")[2])}
    return found.pop() if len(found) == 1 else name


def _agents_of(entries: list[Entry], wanted: Sequence[str], costs: Mapping[str, float] | None) -> list[str]:
    seen = list(dict.fromkeys(name for entry in entries for name in entry.scores))
    names = list(wanted) if wanted else (seen if costs is None else list(costs))
    for name in [*names, *(costs or {})]:
        if name not in seen:
            raise UnknownNameError.of("model", name, seen, where="the imported file")
    if len(set(names)) != len(names):
        raise DataError("A model is named twice.", hint="name each once")
    if len(names) < 2:
        raise DataError(
            f"Routing needs at least 2 models; the table has {len(names)}.", hint="name models that the file has"
        )
    return names


def _matrix(entries: list[Entry], names: list[str], attribute: str, what: str, *, required: bool) -> Any:
    """Return values of shape (agents, queries), NaN where there is none."""
    values = np.full((len(names), len(entries)), np.nan)
    for q, entry in enumerate(entries):
        held = getattr(entry, attribute)
        for a, name in enumerate(names):
            value = held.get(name)
            if value is None or (isinstance(value, float) and math.isnan(value)):
                if required:
                    raise DataError(
                        f"Query '{entry.id}' has no {what} of model '{name}'.",
                        hint="every model needs one for every query; leave the model out, or complete the rows",
                    )
                continue
            if what in ("score", "confidence", "verification") and not 0 <= value <= 1:
                raise DataError(
                    f"The {what} {value!r} of model '{name}' on query '{entry.id}' lies outside 0 to 1.",
                    hint="rescale it before importing",
                )
            if what.endswith("cost") and not (value >= 0 and math.isfinite(value)):
                raise DataError(f"The {what} {value!r} of model '{name}' on query '{entry.id}' is not usable.")
            values[a, q] = value
    return values


def _costs(entries: list[Entry], names: list[str], given: Mapping[str, float] | None) -> Any:
    if given is not None:
        for name in names:
            if name not in given:
                raise DataError(
                    f"Model '{name}' has no cost.", hint="give one for every model: --costs 'small=0.1,large=1'"
                )
        return np.repeat(np.array([[given[name]] for name in names], dtype=np.float64), len(entries), axis=1)
    if not any(entry.costs for entry in entries):
        raise DataError(
            "The file records no costs.",
            hint="give the normalised cost of an answer of every model: --costs 'small=0.1,large=1'",
        )
    recorded = _matrix(entries, names, "costs", "cost", required=True)
    dearest = float(recorded.mean(axis=1).max())
    if dearest <= 0:
        raise DataError("All recorded costs are 0: there is nothing to weigh quality against.", hint="give --costs")
    return recorded / dearest


def _splits(entries: list[Entry], fractions: Mapping[Split, float] | None, seed: int) -> tuple[Split, ...]:
    """Return the split of every entry; drawn by a hash of its text where the entries name none."""
    named = {entry.split for entry in entries}
    unknown = sorted(str(s) for s in named - {None, *SPLITS})
    if unknown:
        query = next(e.id for e in entries if e.split == unknown[0])
        raise DataError(
            f"Query '{query}' is in the unknown split '{unknown[0]}'. Known: {', '.join(SPLITS)}.",
            hint="rename it, or leave splits out to have them drawn by a hash of the text",
        )
    shares: dict[Split, float] = dict(fractions) if fractions else {"train": 0.6, "validation": 0.1, "test": 0.3}
    if named != {None} and "validation" not in named:
        # Train and test are given: one in six training queries is for tuning.
        shares = {"train": 5 / 6, "validation": 1 / 6}
    total = sum(shares.values())
    edges = np.cumsum([share / total for share in shares.values()])
    drawn: list[Split] = []
    for entry in entries:
        given = entry.split
        if given is None or (given == "train" and "validation" not in named):
            if given is None and named != {None}:
                raise DataError(f"Query '{entry.id}' names no split, others do.", hint="name one for all or for none")
            at = seed_of(seed, "split", normalised(entry.text)) / 2**63
            given = list(shares)[min(int(np.searchsorted(edges, at, side="right")), len(shares) - 1)]
        drawn.append(given)  # type: ignore[arg-type]  # one of SPLITS by now
    return tuple(drawn)


def _rows(entries: list[Entry], names: list[str], score: Any, cost: Any, scenarios: tuple[Scenario, ...]) -> Rows:
    shape = (len(scenarios), len(names), len(entries))

    def cube(values: Any, dtype: type[Any] = np.float64) -> Any:
        return np.broadcast_to(np.asarray(values, dtype=dtype), shape)

    def counts(attribute: str) -> Any:
        values = _matrix(entries, names, attribute, "token count", required=False)
        return cube(np.nan_to_num(values), np.int64)

    look = _matrix(entries, names, "look_costs", "look cost", required=False)
    answers = np.array([[e.responses.get(n, "") for e in entries] for n in names], dtype=object)
    share = _matrix(entries, names, "verifications", "verification", required=False)
    table = OutcomeTable(
        query_ids=tuple(e.id for e in entries),
        agents=tuple(names),
        scenarios=scenarios,
        datasets=tuple(e.dataset for e in entries),
        domains=tuple(e.domain for e in entries),
        levels=tuple(e.level for e in entries),
        confidence=cube(_matrix(entries, names, "confidences", "confidence", required=False)),
        accepts=cube(-1, np.int64),
        answer=cube(answers, object),
        score=cube(score),
        prompt_tokens=counts("prompt_tokens"),
        answer_tokens=counts("answer_tokens"),
        look_cost=cube(np.where(np.isnan(look), cost * LOOK_SHARE, look)),
        answer_cost=cube(cost),
        look_seconds=cube(0.0),
        answer_seconds=cube(0.0),
        failure=cube(None, object),
    )
    rows = Rows(table=table, texts=tuple(e.text for e in entries))
    if np.isnan(share).all():
        return rows
    paid = np.nan_to_num(_matrix(entries, names, "verification_costs", "verification cost", required=False))
    return replace(rows, verifications=Verifications(share=cube(share), cost=cube(paid)))
