"""Reading a store: routes by what they were, and what many of them add up to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, case, func, select

from disrouter.gateway import store_schema as tables
from disrouter.gateway.records import HopRecord, RouteRecord
from disrouter.gateway.store import Store

__all__ = ["KeptRoute", "Wanted", "every_route", "json_of", "kept_route", "kept_routes", "summary"]

PAGE = 500
"""Routes read at once where many are wanted."""

SAMPLE = 5_000
"""Latest routes of a window from which its latencies are read."""

BINS = 10
"""Intervals of confidence in the comparison with feedback."""


@dataclass(frozen=True, slots=True)
class KeptRoute:
    """A route as the store has it, with the feedback it got."""

    route: RouteRecord
    score: float | None = None
    """How good its answer was, from 0 to 1, where somebody said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which routes are wanted; everything that is given must hold."""

    since: float | None = None
    """Seconds since 1970."""

    before: float | None = None
    agent: str | None = None
    """Who answered."""

    outcome: str | None = None
    scenario: str | None = None
    key_id: str | None = None
    rated: bool = False
    """Only those with feedback."""


def kept_routes(store: Store, wanted: Wanted | None = None, *, limit: int = 50) -> list[KeptRoute]:
    """Return the latest routes that are wanted, the newest first."""
    query = _base(wanted or Wanted()).order_by(tables.routes.c.time.desc(), tables.routes.c.trace_id).limit(limit)
    return _read(store, query)


def kept_route(store: Store, trace_id: str, *, key_id: str | None = None) -> KeptRoute | None:
    """Return one route; None if there is none of that id, or another key's."""
    query = _base(Wanted(key_id=key_id)).where(tables.routes.c.trace_id == trace_id)
    return next(iter(_read(store, query)), None)


def every_route(store: Store, wanted: Wanted | None = None) -> Iterator[KeptRoute]:
    """Yield all routes that are wanted, the oldest first, reading them page by page."""
    at = tables.routes.c
    last: tuple[float, str] | None = None
    while True:
        query = _base(wanted or Wanted()).order_by(at.time, at.trace_id).limit(PAGE)
        if last is not None:
            query = query.where((at.time > last[0]) | ((at.time == last[0]) & (at.trace_id > last[1])))
        page = _read(store, query)
        yield from page
        if len(page) < PAGE:
            return
        last = (page[-1].route.time, page[-1].route.trace_id)


def json_of(kept: KeptRoute) -> dict[str, Any]:
    """Return a route as the JSON object that pages, the program and exports use."""
    route = kept.route
    found = asdict(route)
    del found["caller"]  # what only spans need is not kept
    for hop in found["hops"]:
        del hop["remote"]
    return {
        **found,
        "prompt_tokens": route.prompt_tokens,
        "completion_tokens": route.completion_tokens,
        "cost": route.cost,
        "score": kept.score,
    }


def summary(store: Store, *, since: float, until: float, buckets: int, key_id: str | None = None) -> dict[str, Any]:
    """Return what the routes of a window add up to: totals, a series over time, agents, latency, self-knowledge."""
    width = (until - since) / buckets
    inside = [tables.routes.c.time >= since, tables.routes.c.time < until]
    if key_id is not None:
        inside.append(tables.routes.c.key_id == key_id)
    hops_inside: list[ColumnElement[bool]] = [tables.hops.c.time >= since, tables.hops.c.time < until]
    if key_id is not None:
        hops_inside.append(tables.hops.c.trace_id.in_(select(tables.routes.c.trace_id).where(*inside)))
    with store.engine.connect() as connection:
        series = [_empty(since + width * (i + 0.5)) for i in range(buckets)]
        for row in connection.execute(_series(since, width, inside)):
            if 0 <= int(row.bucket) < buckets:
                series[int(row.bucket)].update(
                    requests=row.requests, answered=row.answered, cost=row.cost, saved=row.saved or 0.0
                )
        agents = [dict(row._mapping) for row in connection.execute(_agents(hops_inside))]
        sample = connection.execute(
            select(tables.routes.c.seconds, tables.routes.c.first_token_seconds, tables.routes.c.overhead_seconds)
            .where(*inside, tables.routes.c.outcome == "answered")
            .order_by(tables.routes.c.time.desc())
            .limit(SAMPLE)
        ).all()
        rated = connection.execute(_rated(inside)).all()
    return {
        "since": since,
        "until": until,
        "totals": {name: sum(point[name] for point in series) for name in ("requests", "answered", "cost", "saved")},
        "series": series,
        "agents": agents,
        "latency": {
            "seconds": _quantiles([row[0] for row in sample]),
            "first_token_seconds": _quantiles([row[1] for row in sample if row[1] is not None]),
            "overhead_seconds": _quantiles([row[2] for row in sample if row[2] is not None]),
        },
        "confidence": _bins(rated),
    }


def _base(wanted: Wanted) -> Select[Any]:
    at, rated = tables.routes.c, tables.feedback.c.score
    joined = tables.routes.outerjoin(tables.feedback, tables.feedback.c.trace_id == at.trace_id)
    query = select(tables.routes, rated).select_from(joined)
    for column, value in (
        (at.agent, wanted.agent),
        (at.outcome, wanted.outcome),
        (at.scenario, wanted.scenario),
        (at.key_id, wanted.key_id),
    ):
        if value is not None:
            query = query.where(column == value)
    if wanted.since is not None:
        query = query.where(at.time >= wanted.since)
    if wanted.before is not None:
        query = query.where(at.time < wanted.before)
    return query.where(rated.is_not(None)) if wanted.rated else query


def _read(store: Store, query: Select[Any]) -> list[KeptRoute]:
    with store.engine.connect() as connection:
        rows = connection.execute(query).all()
        ids = [row.trace_id for row in rows]
        at = tables.hops.c
        hops: dict[str, list[HopRecord]] = {trace_id: [] for trace_id in ids}
        if ids:
            wanted = select(tables.hops).where(at.trace_id.in_(ids)).order_by(at.trace_id, at.position)
            for row in connection.execute(wanted):
                hops[row.trace_id].append(_hop(row))
    return [_kept(row, hops[row.trace_id]) for row in rows]


def _hop(row: Row[Any]) -> HopRecord:
    found = dict(row._mapping)
    for name in ("trace_id", "position", "time"):
        del found[name]
    return HopRecord(**found)


def _kept(row: Row[Any], hops: Sequence[HopRecord]) -> KeptRoute:
    found = dict(row._mapping)
    score = found.pop("score")
    for name in ("prompt_tokens", "completion_tokens", "cost"):  # the record adds its hops up
        del found[name]
    return KeptRoute(RouteRecord(**found, hops=tuple(hops)), score)


def _empty(time: float) -> dict[str, Any]:
    return {"time": time, "requests": 0, "answered": 0, "cost": 0.0, "saved": 0.0}


def _series(since: float, width: float, inside: Sequence[ColumnElement[bool]]) -> Select[Any]:
    at = tables.routes.c
    inner = (
        select(((at.time - since) // width).label("bucket"), at.outcome, at.cost, at.saved).where(*inside).subquery()
    )
    answered = func.sum(case((inner.c.outcome == "answered", 1), else_=0))
    return select(
        inner.c.bucket,
        func.count().label("requests"),
        answered.label("answered"),
        func.sum(inner.c.cost).label("cost"),
        func.sum(inner.c.saved).label("saved"),
    ).group_by(inner.c.bucket)


def _agents(inside: Sequence[ColumnElement[bool]]) -> Select[Any]:
    at = tables.hops.c

    def counted(decision: str) -> ColumnElement[int]:
        return func.sum(case((at.decision == decision, 1), else_=0))

    return (
        select(
            at.agent.label("agent"),
            counted("answer").label("answers"),
            counted("reject").label("rejects"),
            counted("failure").label("failures"),
            func.sum(at.cost).label("cost"),
            func.avg(at.seconds).label("seconds"),
            func.avg(at.confidence).label("confidence"),
        )
        .where(*inside)
        .group_by(at.agent)
        .order_by(at.agent)
        .limit(100)
    )


def _rated(inside: Sequence[ColumnElement[bool]]) -> Select[Any]:
    at = tables.hops.c
    return (
        select(at.confidence, tables.feedback.c.score)
        .join(tables.feedback, tables.feedback.c.trace_id == at.trace_id)
        .join(tables.routes, tables.routes.c.trace_id == at.trace_id)
        .where(*inside, at.decision == "answer", at.confidence.is_not(None))
        .order_by(at.time.desc())
        .limit(SAMPLE)
    )


def _quantiles(values: list[float]) -> dict[str, float] | None:
    """Return median and tails by the nearest rank; None where there is nothing to rank."""
    if not values:
        return None
    values.sort()
    return {f"p{p}": values[min(len(values) - 1, len(values) * p // 100)] for p in (50, 90, 99)}


def _bins(rated: Sequence[Any]) -> list[dict[str, float]]:
    """Return mean confidence and mean score per interval of confidence that has any."""
    found: dict[int, list[tuple[float, float]]] = {}
    for row in rated:
        found.setdefault(min(int(row[0] * BINS), BINS - 1), []).append((row[0], row[1]))
    return [
        {
            "confidence": sum(c for c, _ in pairs) / len(pairs),
            "score": sum(s for _, s in pairs) / len(pairs),
            "count": len(pairs),
        }
        for _, pairs in sorted(found.items())
    ]
