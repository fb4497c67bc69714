"""The thread between requests and the store: it never holds a request up, and says what it had to lose."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from disrouter.gateway import store_writer
from disrouter.gateway.access import Access, WrongKeyError
from disrouter.gateway.records import RouteRecord
from disrouter.gateway.store import Store, open_store
from disrouter.gateway.store_keys import create_key, keys_of, revoke_key
from disrouter.gateway.store_reading import kept_route, kept_routes
from disrouter.gateway.store_writer import Keeping, StoreWriter
from gateway.recorded_routes import a_route

NOW = time.time()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(str(tmp_path / "gateway.db"))
    yield opened
    opened.close()


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that happens every now and then happens soon."""
    monkeypatch.setattr(store_writer, "EVERY_SECONDS", 0.01)
    monkeypatch.setattr(store_writer, "KEYS_SECONDS", 0.01)
    monkeypatch.setattr(store_writer, "PRUNE_SECONDS", 0.01)


def until(true: object, seconds: float = 30.0) -> None:
    assert callable(true)
    ending = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ending
        time.sleep(0.005)


def test_what_is_recorded_is_in_the_store_after_a_flush(store: Store) -> None:
    writer = StoreWriter(store)
    writer.start()
    route = a_route(time=NOW)

    writer.record(route)

    assert writer.flush(30)
    assert kept_route(store, route.trace_id) is not None
    writer.stop()


def test_stopping_writes_what_waits(store: Store) -> None:
    writer = StoreWriter(store)
    writer.start()
    for _ in range(2_500):  # more than two transactions
        writer.record(a_route(time=NOW))

    writer.stop(60)

    assert len(kept_routes(store, limit=10_000)) == 2_500
    assert writer.dropped == 0


def test_texts_are_kept_only_where_the_operator_wants_them(store: Store) -> None:
    silent, told = (
        a_route(time=NOW, prompt="a secret", answer="603"),
        a_route(time=NOW, prompt="x" * 50_000, answer="603"),
    )
    for writer, route in ((StoreWriter(store), silent), (StoreWriter(store, keeping=Keeping(texts=True)), told)):
        writer.start()
        writer.record(route)
        writer.stop(30)

    first, second = kept_route(store, silent.trace_id), kept_route(store, told.trace_id)
    assert first is not None
    assert second is not None
    assert (first.route.prompt, first.route.answer) == (None, None)
    assert len(second.route.prompt or "") == 20_000
    assert second.route.answer == "603"


def test_a_store_that_cannot_be_written_holds_no_request_up_and_loses_nothing_at_first(
    store: Store, hurried: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = threading.Event()
    broken.set()
    write = store.write

    def unreliable(routes: Sequence[RouteRecord]) -> None:
        if broken.is_set():
            raise OperationalError("insert", {}, Exception("database is locked"))
        write(routes)

    monkeypatch.setattr(store, "write", unreliable)
    writer = StoreWriter(store)
    writer.start()
    for _ in range(20):
        writer.record(a_route(time=NOW))
    until(lambda: not writer.healthy)

    broken.clear()
    until(lambda: writer.healthy and len(kept_routes(store)) == 20)

    assert writer.dropped == 0
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]  # gone and back, each said once
    assert "OperationalError" in caplog.text
    assert "locked" not in caplog.text
    writer.stop()


def test_the_thread_outlives_any_surprise(store: Store, hurried: None, monkeypatch: pytest.MonkeyPatch) -> None:
    surprises = [RuntimeError("what?"), MemoryError()]
    write = store.write

    def surprising(routes: Sequence[RouteRecord]) -> None:
        if surprises:
            raise surprises.pop()
        write(routes)

    monkeypatch.setattr(store, "write", surprising)
    writer = StoreWriter(store)
    writer.start()

    writer.record(a_route(time=NOW))

    until(lambda: len(kept_routes(store)) == 1)
    writer.stop()


def test_routes_beyond_the_bound_are_dropped_and_counted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_writer, "MAX_WAITING", 10)
    told: list[int] = []
    writer = StoreWriter(store, dropped=told.append)  # not started: nobody takes anything away

    for _ in range(25):
        writer.record(a_route(time=NOW))

    assert writer.dropped == sum(told) == 15
    writer.stop()
    assert writer.dropped == 25  # and those that never got to the store


def test_waiting_texts_are_bounded_too(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_writer, "MAX_CHARACTERS", 25)
    writer = StoreWriter(store, keeping=Keeping(texts=True))
    routes = [a_route(time=NOW + i, prompt="x" * 10, answer=None) for i in range(4)]
    for route in routes:
        writer.record(route)

    writer.start()
    writer.stop(30)

    kept = [kept.route.prompt for kept in reversed(kept_routes(store))]
    assert kept == ["x" * 10, "x" * 10, None, None]  # 25 characters have room for two


def test_one_route_that_no_database_takes_does_not_stop_the_others(store: Store) -> None:
    writer = StoreWriter(store)
    good = [a_route(time=NOW) for _ in range(3)]
    bad = replace(good[0], trace_id="bad", code=2**70), replace(good[0], trace_id="worse", alpha=float("nan"))
    for route in (good[0], *bad, *good[1:]):
        writer.record(route)

    writer.start()
    writer.stop(30)

    assert {kept.route.trace_id for kept in kept_routes(store)} == {route.trace_id for route in good}
    assert writer.dropped == 2


def test_old_routes_are_forgotten_by_themselves(store: Store, hurried: None) -> None:
    store.write([a_route(time=NOW - 3 * 86_400), a_route(time=NOW)])
    writer = StoreWriter(store, keeping=Keeping(days=2))

    writer.start()

    until(lambda: len(kept_routes(store)) == 1)
    writer.stop()


def test_spending_and_keys_go_back_and_forth(store: Store, hurried: None) -> None:
    secret, key = create_key(store, "alice", budget=10, period="total")
    access = Access()
    writer = StoreWriter(store, access)
    writer.start()
    grant = access.check(f"Bearer {secret}")

    access.spend(grant, 2.5)
    until(lambda: keys_of(store)[0].spent == 2.5)
    assert access.check(f"Bearer {secret}").remaining == pytest.approx(7.5)
    other, _ = create_key(store, "bob")
    revoke_key(store, key.id)

    def revoked() -> bool:
        try:
            access.look(f"Bearer {secret}")
        except WrongKeyError:
            return True
        return False

    until(revoked)
    access.check(f"Bearer {other}")
    writer.stop()


def test_spending_of_the_last_moment_is_kept(store: Store) -> None:
    secret, _ = create_key(store, "alice", budget=10, period="total")
    access = Access()
    writer = StoreWriter(store, access)
    writer.start()

    access.spend(access.check(f"Bearer {secret}"), 1.0)
    writer.stop(30)

    assert keys_of(store)[0].spent == 1.0


WRITES_FOR_EVER = """
import sys, time
from disrouter.gateway.store import open_store
from disrouter.gateway.store_writer import StoreWriter
from gateway.recorded_routes import a_route
writer = StoreWriter(open_store(sys.argv[1]))
writer.start()
for number in range(10**9):
    writer.record(a_route(time=time.time(), model=str(number)))
    if number % 50 == 0:
        print(number, time.time(), flush=True)
        time.sleep(0.005)
"""


def test_a_killed_gateway_loses_at_most_the_last_second_and_no_table(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root / 'src'}{os.pathsep}{root / 'tests'}"}
    with subprocess.Popen(
        [sys.executable, "-c", WRITES_FOR_EVER, str(path)], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        begun = None
        for line in process.stdout:
            number, at = int(line.split()[0]), float(line.split()[1])
            begun = begun or at
            if number >= 1_000 and at > begun + 1.5:
                break
        process.send_signal(signal.SIGKILL)
        lines = process.stdout.read().splitlines()  # what it had said before it died
    last = float(lines[-1].split()[1]) if lines and len(lines[-1].split()) == 2 else at

    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        kept = [int(row[0]) for row in connection.execute("SELECT model FROM disrouter_routes ORDER BY time")]
        newest = connection.execute("SELECT max(time) FROM disrouter_routes").fetchone()[0]
    connection.close()
    assert sorted(kept) == list(range(len(kept)))  # no holes: only the end is missing
    assert newest > last - 2.0  # a second, and one more for a machine that has others to serve
    store = open_store(str(path))  # and it goes on
    store.write([a_route(time=NOW)])
    store.close()


def test_several_gateways_share_a_store(store: Store, tmp_path: Path) -> None:
    writers = [StoreWriter(open_store(str(tmp_path / "gateway.db"))) for _ in range(3)]
    for writer in writers:
        writer.start()
    for _ in range(200):
        for writer in writers:
            writer.record(a_route(time=NOW))
    for writer in writers:
        writer.stop(30)
        writer._store.close()

    assert len(kept_routes(store, limit=1_000)) == 600
    assert [writer.dropped for writer in writers] == [0, 0, 0]
