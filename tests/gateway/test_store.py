"""The store in SQLite and in PostgreSQL: what is written comes back, adds up, and ends when its time is over."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from disrouter.errors import DataError, UnknownNameError, UsageError
from disrouter.gateway import store_schema
from disrouter.gateway.access import Access
from disrouter.gateway.records import HopRecord
from disrouter.gateway.store import Store, default_store, open_store, shown_address
from disrouter.gateway.store_keys import create_key, keys_of, revoke_key
from disrouter.gateway.store_reading import Wanted, every_route, json_of, kept_route, kept_routes, summary
from disrouter.gateway.store_writer import StoreWriter
from gateway.postgres import missing, postgres
from gateway.recorded_routes import a_route


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    if reason := missing():
        pytest.skip(reason)
    with postgres() as address:
        yield address


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    address = str(tmp_path / "gateway.db") if request.param == "sqlite" else request.getfixturevalue("server")
    opened = open_store(address)
    yield opened
    if request.param == "postgresql":
        store_schema.metadata.drop_all(opened.engine)
    opened.close()


def test_a_route_comes_back_as_it_was(store: Store) -> None:
    route = a_route(
        prompt="Wieviel ist 2 × 3?",
        answer="6 ✓",
        key_id="key_a",
        hops=(
            HopRecord(
                agent="small", decision="failure", seconds=5.0, reason="no answer within 5 s", error="agent_timeout"
            ),
        ),
    )

    store.write([route])

    kept = kept_route(store, route.trace_id)
    assert kept is not None
    assert kept.route == route
    assert kept.score is None


def test_a_route_written_twice_is_kept_once(store: Store) -> None:
    route = a_route()

    store.write([route])
    store.write([route, a_route()])

    assert len(kept_routes(store)) == 2
    assert kept_routes(store, Wanted(agent="large"))[0].route.hops == route.hops


def test_routes_are_found_by_what_they_were(store: Store) -> None:
    fast = a_route(time=1.0, agent="small", scenario="cost-first", key_id="key_a")
    failed = a_route(time=2.0, agent=None, outcome="failed", code=502, error="agent_error", key_id="key_b")
    late = a_route(time=3.0)
    store.write([late, fast, failed])
    store.rate(late.trace_id, 1.0, key_id=None, any_key=True)

    def found(**wanted: object) -> list[float]:
        return [kept.route.time for kept in kept_routes(store, Wanted(**wanted))]  # type: ignore[arg-type]

    assert found() == [3.0, 2.0, 1.0]
    assert found(agent="small") == [1.0]
    assert found(outcome="failed") == [2.0]
    assert found(scenario="cost-first") == [1.0]
    assert found(key_id="key_b") == [2.0]
    assert found(since=2.0, before=3.0) == [2.0]
    assert found(rated=True) == [3.0]
    assert kept_route(store, failed.trace_id, key_id="key_a") is None


def test_all_routes_are_read_page_by_page_in_order(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("disrouter.gateway.store_reading.PAGE", 3)
    routes = [a_route(time=float(i // 2)) for i in range(8)]  # pairs share their moment
    store.write(routes)

    read = [kept.route for kept in every_route(store)]

    assert [route.time for route in read] == [float(i // 2) for i in range(8)]
    assert {route.trace_id for route in read} == {route.trace_id for route in routes}


def test_a_summary_adds_up_what_happened_in_its_window(store: Store) -> None:
    # Two buckets of 10 s: one route in the first, two in the second, one outside.
    routes = [a_route(time=105.0), a_route(time=112.0, saved=0.4), a_route(time=119.0, outcome="failed", saved=None)]
    store.write([*routes, a_route(time=120.0)])
    store.rate(routes[0].trace_id, 1.0, key_id=None, any_key=True)
    store.rate(routes[1].trace_id, 0.0, key_id=None, any_key=True)

    found = summary(store, since=100.0, until=120.0, buckets=2)

    assert [point["requests"] for point in found["series"]] == [1, 2]
    assert found["totals"] == {
        "requests": 3,
        "answered": 2,
        "cost": pytest.approx(3 * 0.91),
        "saved": pytest.approx(-0.01 + 0.4),
    }
    small, large = sorted(found["agents"], key=lambda agent: str(agent["agent"]), reverse=True)
    assert (small["rejects"], small["answers"], large["answers"]) == (3, 0, 3)
    assert large["confidence"] == pytest.approx(0.9)
    assert found["latency"]["seconds"] == {"p50": 0.51, "p90": 0.51, "p99": 0.51}
    # Both rated answers had a confidence of 0.9; one was right.
    assert found["confidence"] == [{"confidence": pytest.approx(0.9), "score": 0.5, "count": 2}]


def test_a_summary_of_nothing_is_made_of_zeros(store: Store) -> None:
    found = summary(store, since=0.0, until=60.0, buckets=3)

    assert found["totals"]["requests"] == 0
    assert found["latency"]["seconds"] is None
    json.dumps(found, allow_nan=False)


def test_numbers_that_are_none_get_into_no_sum(store: Store) -> None:
    nan = float("nan")
    hop = HopRecord(agent="small", decision="answer", confidence=nan, cost=0.1)
    for route in (a_route(saved=float("inf")), a_route(seconds=nan), a_route(hops=(replace(hop, cost=nan),))):
        with pytest.raises(ValueError, match="finite"):
            store.write([route])
    store.write([a_route(time=5.0, hops=(hop,))])

    json.dumps(summary(store, since=0.0, until=10.0, buckets=2), allow_nan=False)
    assert kept_routes(store)[0].route.hops[0].confidence is None


def test_a_summary_of_one_key_sees_no_other(store: Store) -> None:
    store.write([a_route(time=5.0, key_id="key_a"), a_route(time=5.0, key_id="key_b"), a_route(time=5.0)])

    found = summary(store, since=0.0, until=10.0, buckets=1, key_id="key_a")

    assert found["totals"]["requests"] == 1
    assert sum(agent["answers"] for agent in found["agents"]) == 1


def test_what_is_too_old_or_too_much_is_forgotten_with_its_hops_and_feedback(store: Store) -> None:
    routes = [a_route(time=float(i)) for i in range(10)]
    store.write(routes)
    store.rate(routes[0].trace_id, 1.0, key_id=None, any_key=True)

    assert store.prune(before=4.0, most=100) == 4
    assert store.prune(before=0.0, most=2) == 4

    assert [kept.route.time for kept in kept_routes(store)] == [9.0, 8.0]
    with store.engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM disrouter_hops")) == 4


def test_much_is_forgotten_in_small_steps(store: Store) -> None:
    store.write([a_route(time=float(i)) for i in range(10)])

    steps = [store.prune(before=9.0, most=100, at_once=4) for _ in range(4)]

    assert steps == [4, 4, 1, 0]
    assert [kept.route.time for kept in kept_routes(store)] == [9.0]


def test_feedback_needs_a_route_of_the_same_key(store: Store) -> None:
    route = a_route(key_id="key_a")
    store.write([route])

    assert not store.rate(route.trace_id, 1.0, key_id="key_b", any_key=False)
    assert not store.rate("nobody", 1.0, key_id=None, any_key=True)
    assert store.rate(route.trace_id, 1.0, key_id="key_a", any_key=False)
    assert store.rate(route.trace_id, 0.25, key_id="key_a", any_key=False)

    kept = kept_route(store, route.trace_id)
    assert kept is not None
    assert kept.score == 0.25


def test_spending_adds_up_whoever_reports_it(store: Store) -> None:
    _, key = create_key(store, "alice", budget=10, period="total")

    store.add_spending({(key.id, "total"): 0.5})
    store.add_spending({(key.id, "total"): 0.25, (key.id, "1999-01"): 9.0})

    assert [(k.spent, k.spent_in) for k in keys_of(store)] == [(0.75, "total")]
    store.prune(before=0.0, most=1)
    with store.engine.connect() as connection:  # months long past are forgotten
        assert connection.scalars(text("SELECT period FROM disrouter_spending")).all() == ["total"]


def test_gateways_that_write_at_once_keep_everything_once(store: Store) -> None:
    secret, key = create_key(store, "alice", budget=1_000, period="total")
    gateways = [(access, StoreWriter(store, access)) for access in (Access(), Access(), Access())]
    for _, writer in gateways:
        writer.start()
    for _ in range(100):
        for access, writer in gateways:
            writer.record(a_route(time=1e12))
            access.spend(access.check(f"Bearer {secret}"), 0.5)
    for _, writer in gateways:
        writer.stop(60)

    assert len(kept_routes(store, limit=1_000)) == 300
    assert sum(writer.dropped for _, writer in gateways) == 0
    (known,) = keys_of(store)
    assert known.id == key.id
    assert known.spent == pytest.approx(150)


def test_keys_come_back_with_their_limits_and_without_themselves(store: Store) -> None:
    secret, made = create_key(
        store, "alice", admin=True, scenarios=["balance"], budget=3, period="day", per_minute=9, expires=4e9
    )

    (read,) = keys_of(store)

    assert replace(read, spent_in="") == made
    with store.engine.connect() as connection:
        rows = [tuple(row) for row in connection.execute(text("SELECT * FROM disrouter_keys"))]
    assert secret not in str(rows)


def test_a_revoked_key_stays_revoked(store: Store) -> None:
    _, key = create_key(store, "alice")

    first = revoke_key(store, key.id).revoked
    again = revoke_key(store, key.id).revoked

    assert first is not None
    assert again == first
    with pytest.raises(UnknownNameError, match="key_nobody"):
        revoke_key(store, "key_nobody")


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "a\nb", "\x1b[2J"])
def test_names_of_keys_are_short_and_printable(store: Store, name: str) -> None:
    with pytest.raises(UsageError):
        create_key(store, name)


@pytest.mark.parametrize(
    "hostile", ["'; DROP TABLE disrouter_routes; --", "%s %(x)s ? :y", "a\0b", "\ud800", "𝕏" * 400]
)
def test_whatever_clients_write_stays_data(store: Store, hostile: str) -> None:
    route = a_route(
        model=hostile,
        agent=hostile,
        prompt=hostile,
        scenario=hostile,
        hops=(HopRecord(agent=hostile, decision="answer", reason=hostile),),
    )

    store.write([route])

    assert len(kept_routes(store)) == 1
    kept_routes(store, Wanted(agent="'; DROP TABLE disrouter_routes; --", scenario="%s"))
    assert kept_route(store, "' OR '1'='1") is None


def test_what_is_read_is_json(store: Store) -> None:
    store.write([a_route(prompt="?", answer="!")])

    found = json.loads(json.dumps([json_of(kept) for kept in kept_routes(store)], allow_nan=False))

    assert found[0]["hops"][1]["agent"] == "large"
    assert found[0]["cost"] == pytest.approx(0.91)


def test_a_store_of_another_version_is_refused(store: Store) -> None:
    with store.engine.begin() as connection:
        connection.execute(text("UPDATE disrouter_meta SET value = '2'"))

    with pytest.raises(DataError, match="version 2, this program writes version 1"):
        store.prepare(create=True)


def test_a_sqlite_store_is_its_owners_alone(tmp_path: Path) -> None:
    open_store(str(tmp_path / "deep" / "gateway.db")).close()

    assert stat.S_IMODE(os.stat(tmp_path / "deep" / "gateway.db").st_mode) == 0o600


def test_a_store_that_is_none_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no store"):
        open_store(str(tmp_path / "nothing.db"), create=False)
    (tmp_path / "text.db").write_text("not a database, but long enough to be looked at" * 40)
    with pytest.raises(DataError, match="cannot be used"):
        open_store(str(tmp_path / "text.db"))
    with pytest.raises(DataError):
        open_store(str(tmp_path))
    with pytest.raises(UsageError, match="is no store"):
        open_store("mysql://root:secret@host/db")
    with pytest.raises(UsageError):
        open_store("")


def test_addresses_are_shown_without_users_and_passwords() -> None:
    shown = shown_address("postgresql://user:p%40ss@db.example/traces?sslmode=require")

    assert shown == "postgresql://db.example/traces"
    with pytest.raises(UsageError) as caught:
        open_store("oracle://user:sesame@host/db")
    assert "sesame" not in str(caught.value)


def test_a_database_that_is_not_there_says_so_without_its_password() -> None:
    with pytest.raises(DataError) as caught:
        open_store("postgresql://user:sesame@127.0.0.1:1/traces")

    assert "cannot be used" in str(caught.value)
    assert "sesame" not in str(caught.value)


def test_the_place_of_the_store_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISROUTER_STORE", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert default_store() == "/state/disrouter/gateway.db"

    monkeypatch.setenv("DISROUTER_STORE", "postgresql://host/db")

    assert default_store() == "postgresql://host/db"
