"""The store: where routes, feedback and keys are kept, in a SQLite file or a PostgreSQL database.

Everything here waits for the disk: call it from a thread, never from the path of a request.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, delete, event, insert, inspect, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, SQLAlchemyError

from disrouter.errors import DataError, MissingExtraError, UsageError
from disrouter.gateway import store_schema as tables
from disrouter.gateway.records import RouteRecord
from disrouter.gateway.redaction import without_secrets
from disrouter.gateway.store_rows import Row, hop_rows, route_row

__all__ = ["Store", "default_store", "open_store"]

SPENDING_DAYS = 400
"""How long it is kept what a key spent in a day or a month."""

AT_ONCE = 32
"""Rows that one statement adds to a SQLite file, where there are as many."""

BUSY_SECONDS = 5
"""How long SQLite waits for another process that is writing."""


def default_store() -> str:
    """Return the address that is used where none is given: ``$DISROUTER_STORE``, else a file of this user."""
    if given := os.environ.get("DISROUTER_STORE"):
        return given
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return str(Path(home) / "disrouter" / "gateway.db")


def open_store(address: str | None = None, *, create: bool = True) -> Store:
    """Open a store, making it if there is none.

    Args:
        address: Path of a SQLite file, or a ``postgresql://user:password@host/database`` URL.
        create: Whether to make a store where there is none.

    Raises:
        DataError: There is no store at the address, it cannot be reached, or it is not of our version.
        UsageError: The address is neither a path nor a URL of a database we know.
        MissingExtraError: The driver of PostgreSQL is not installed.
    """
    given = default_store() if address is None else address
    url = _url_of(given)
    shown = shown_address(given)
    in_file = url.get_backend_name() == "sqlite"
    engine = _sqlite(Path(str(url.database)), create=create) if in_file else _postgresql(url)
    store = Store(engine, shown)
    try:
        store.prepare(create=create)
    except SQLAlchemyError as exc:
        engine.dispose()
        raise DataError(
            f"The store '{shown}' cannot be used: {_reason(exc)}.", hint="check that it is a store and can be reached"
        ) from exc
    except DataError:
        engine.dispose()
        raise
    return store


def shown_address(address: str) -> str:
    """Return an address of a store as it may be shown: without user and password."""
    if "://" not in address:
        return address
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


class Store:
    """Routes, feedback, keys and spending in one database. Safe to use from several threads and processes."""

    def __init__(self, engine: Engine, address: str) -> None:
        self.engine = engine
        self.address = address
        """Where it is, fit to be shown."""
        self._additions: dict[str, str] = {}
        """How a row is added to each table, in the words of the database."""

    def close(self) -> None:
        """Give back every connection."""
        self.engine.dispose()

    def prepare(self, *, create: bool) -> None:
        """Make the tables, or check that those that are there are of our version.

        Raises:
            DataError: There are none and none may be made, or they are of another version.
        """
        with self.engine.begin() as connection:
            if self.engine.dialect.name == "postgresql":
                # Gateways that start at the same moment make the tables one after the other.
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7305817)")
            found = set(inspect(connection).get_table_names())
            if tables.meta.name not in found:
                if not create:
                    raise DataError(
                        f"There is no store in '{self.address}' yet.",
                        hint="`disrouter serve` makes it, or name another",
                    )
                tables.metadata.create_all(connection)
                connection.execute(insert(tables.meta), {"name": "version", "value": str(tables.VERSION)})
            version = connection.scalar(select(tables.meta.c.value).where(tables.meta.c.name == "version"))
        if version != str(tables.VERSION):
            raise DataError(
                f"The store '{self.address}' is of version {version}, this program writes version {tables.VERSION}.",
                hint="upgrade disrouter, or name another store",
            )

    def write(self, routes: Sequence[RouteRecord]) -> None:
        """Keep routes, all or none of them; one whose id is already there stays as it is."""
        if not routes:
            return
        with self.engine.begin() as connection:
            self._add(connection, tables.routes, [route_row(route) for route in routes])
            if hops := [row for route in routes for row in hop_rows(route)]:
                self._add(connection, tables.hops, hops)

    def prune(self, *, before: float, most: int, at_once: int = 5_000) -> int:
        """Forget routes that arrived before a moment, and the oldest beyond so many; return how many went.

        About ``at_once`` of them go, so that nobody waits long: call it again if that many went. What keys spent in
        months long past goes with them.
        """
        with self.engine.begin() as connection:
            column = tables.routes.c.time
            oldest = connection.scalar(select(column).order_by(column.desc()).offset(most).limit(1))
            limit = before if oldest is None else max(before, math.nextafter(oldest, math.inf))
            last = connection.scalar(select(column).order_by(column).offset(at_once - 1).limit(1))
            limit = limit if last is None else min(limit, math.nextafter(last, math.inf))
            gone = connection.execute(delete(tables.routes).where(column < limit)).rowcount
            connection.execute(delete(tables.hops).where(tables.hops.c.time < limit))
            connection.execute(delete(tables.feedback).where(tables.feedback.c.time < limit))
            # Names of days and months sort by time, and before 'total'.
            past = time.strftime("%Y-%m", time.gmtime(time.time() - 86_400 * SPENDING_DAYS))
            connection.execute(delete(tables.spending).where(tables.spending.c.period < past))
        return gone

    def rate(self, trace_id: str, score: float, *, key_id: str | None, any_key: bool) -> bool:
        """Keep how good an answer was, from 0 to 1; False if the key has no such route.

        A later score of the same route takes the place of the earlier one.
        """
        with self.engine.begin() as connection:
            wanted = select(tables.routes.c.trace_id).where(tables.routes.c.trace_id == trace_id)
            if not any_key:
                wanted = wanted.where(tables.routes.c.key_id == key_id)
            if connection.scalar(wanted) is None:
                return False
            row = {"trace_id": trace_id, "time": time.time(), "score": score, "key_id": key_id}
            statement = self._insert(tables.feedback)
            latest = {name: statement.excluded[name] for name in ("time", "score", "key_id")}
            connection.execute(statement.on_conflict_do_update(index_elements=["trace_id"], set_=latest), row)
        return True

    def add_spending(self, spent: Mapping[tuple[str, str], float]) -> None:
        """Add what keys spent, by key id and period."""
        if not spent:
            return
        rows = [{"key_id": key, "period": period, "cost": cost} for (key, period), cost in spent.items()]
        with self.engine.begin() as connection:
            statement = self._insert(tables.spending)
            total = tables.spending.c.cost + statement.excluded.cost
            connection.execute(
                statement.on_conflict_do_update(index_elements=["key_id", "period"], set_={"cost": total}), rows
            )

    def _add(self, connection: Connection, table: Table, rows: list[Row]) -> None:
        """Insert rows that are not there yet, in the driver's own form: these are most of what a gateway writes."""
        names = table.columns.keys()
        statement = self._additions.get(table.name)
        if statement is None:
            adding = self._insert(table).on_conflict_do_nothing()
            statement = str(adding.compile(dialect=self.engine.dialect, column_keys=names))
            self._additions[table.name] = statement
        if self.engine.dialect.name != "sqlite":
            connection.exec_driver_sql(statement, [dict(zip(names, row, strict=True)) for row in rows])
            return
        # SQLite's driver lets other threads run, and waits for its turn again, once for every execution.
        one = f"({', '.join('?' * len(names))})"
        many = statement.replace(one, ", ".join([one] * AT_ONCE))
        whole = len(rows) - len(rows) % AT_ONCE
        for at in range(0, whole, AT_ONCE):
            connection.exec_driver_sql(many, tuple(chain.from_iterable(rows[at : at + AT_ONCE])))
        if rest := rows[whole:]:
            connection.exec_driver_sql(statement, rest)

    def _insert(self, table: Table) -> Any:
        """Return an INSERT that can settle conflicts, which each database writes in its own words."""
        return (postgresql if self.engine.dialect.name == "postgresql" else sqlite).insert(table)


def _url_of(address: str) -> URL:
    if "://" not in address:
        if not address or "\0" in address:
            raise UsageError("The store has no address.", hint="give a file, say gateway.db, or a postgresql:// URL")
        return URL.create("sqlite", database=str(Path(address).expanduser()))
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        raise _unknown(address) from None
    if url.drivername in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    if url.drivername == "sqlite" and url.database:
        return url
    raise _unknown(address)


def _unknown(address: str) -> UsageError:
    return UsageError(
        f"'{shown_address(address)}' is no store.",
        hint="give the path of a SQLite file, say gateway.db, or postgresql://user:password@host/database",
    )


def _sqlite(path: Path, *, create: bool) -> Engine:
    if not path.exists():
        if not create:
            raise DataError(f"There is no store '{path}'.", hint="`disrouter serve` makes it, or name another")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # it holds whose queries went where
        except OSError as exc:
            raise DataError(f"The store '{path}' cannot be made: {exc.strerror}.", hint="name another file") from exc
    engine = create_engine(
        URL.create("sqlite", database=str(path)), connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False}
    )

    def prepare(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")  # readers do not wait for the writer
        cursor.execute("PRAGMA cache_size=-1024")  # in KiB, of every connection; the system keeps pages, too
        cursor.execute("PRAGMA synchronous=NORMAL")  # a killed process loses nothing, a power cut the last moments
        cursor.close()

    event.listen(engine, "connect", prepare)
    return engine


def _postgresql(url: URL) -> Engine:
    try:
        return create_engine(
            url, pool_size=3, max_overflow=2, pool_pre_ping=True, connect_args={"connect_timeout": BUSY_SECONDS}
        )
    except ModuleNotFoundError as exc:
        raise MissingExtraError.of("A store in PostgreSQL", "postgres") from exc


def _reason(error: SQLAlchemyError) -> str:
    """Return the first line of what the database said, without addresses, users or statements."""
    if isinstance(error, DatabaseError) and error.orig is not None:
        said = str(error.orig).strip().splitlines()
        return without_secrets(said[-1] if said else type(error.orig).__name__).rstrip(".")
    return type(error).__name__
