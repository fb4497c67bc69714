"""The keys of a store: making, listing and revoking them."""

from __future__ import annotations

import json
import time
from collections.abc import Collection
from dataclasses import replace
from typing import Any, cast

from sqlalchemy import insert, select, update

from disrouter.errors import DataError, UnknownNameError, UsageError
from disrouter.gateway import store_schema as tables
from disrouter.gateway.keys import PERIODS, Key, Period, new_key, period_of
from disrouter.gateway.store import Store

__all__ = ["MAX_KEYS", "create_key", "keys_of", "revoke_key"]

MAX_KEYS = 10_000
"""Most keys of one store: every gateway holds them in memory."""


def keys_of(store: Store) -> list[Key]:
    """Return all keys, the oldest first, with what they spent in their present period."""
    with store.engine.connect() as connection:
        rows = connection.execute(select(tables.keys).order_by(tables.keys.c.created, tables.keys.c.id)).mappings()
        found = [_key(row) for row in rows]
        now = time.time()
        present = {period_of(period, now) for period in PERIODS}
        spent = {
            (row.key_id, row.period): row.cost
            for row in connection.execute(select(tables.spending).where(tables.spending.c.period.in_(present)))
        }
    return [_with_spending(key, spent, now) for key in found]


def create_key(
    store: Store,
    name: str,
    *,
    admin: bool = False,
    scenarios: Collection[str] | None = None,
    budget: float | None = None,
    period: Period = "month",
    per_minute: int | None = None,
    expires: float | None = None,
) -> tuple[str, Key]:
    """Make a key; return it, which is the only time that anybody sees it, and what is kept of it.

    Raises:
        UsageError: The name is empty or too long.
        DataError: The store holds as many keys as it may.
    """
    if not 0 < len(name.strip()) <= 100 or not name.isprintable():
        raise UsageError("The name of a key must have 1 to 100 printable characters.", hint="say whose it is")
    if len(keys_of(store)) >= MAX_KEYS:
        raise DataError(f"The store already holds {MAX_KEYS} keys, the most it may.", hint="use another store")
    secret, public, digest = new_key()
    key = Key(
        id=public,
        name=name.strip(),
        digest=digest,
        created=time.time(),
        admin=admin,
        scenarios=None if scenarios is None else frozenset(scenarios),
        budget=budget,
        period=period,
        per_minute=per_minute,
        expires=expires,
    )
    with store.engine.begin() as connection:
        connection.execute(insert(tables.keys), _row(key))
    return secret, key


def revoke_key(store: Store, public_id: str) -> Key:
    """End a key for ever; gateways notice within seconds. One that is revoked already stays so.

    Raises:
        UnknownNameError: There is no key of that id.
    """
    known = {key.id: key for key in keys_of(store)}
    if public_id not in known:
        raise UnknownNameError.of("key", public_id, known, hint="`disrouter keys list` shows their ids")
    with store.engine.begin() as connection:
        mine = tables.keys.c.id == public_id
        connection.execute(update(tables.keys).where(mine, tables.keys.c.revoked.is_(None)).values(revoked=time.time()))
    return next(key for key in keys_of(store) if key.id == public_id)


def _row(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "digest": key.digest.hex(),
        "created": key.created,
        "admin": key.admin,
        "scenarios": None if key.scenarios is None else json.dumps(sorted(key.scenarios)),
        "budget": key.budget,
        "period": key.period,
        "per_minute": key.per_minute,
        "expires": key.expires,
        "revoked": key.revoked,
    }


def _key(row: Any) -> Key:
    return Key(
        id=row["id"],
        name=row["name"],
        digest=bytes.fromhex(row["digest"]),
        created=row["created"],
        admin=row["admin"],
        scenarios=None if row["scenarios"] is None else frozenset(json.loads(row["scenarios"])),
        budget=row["budget"],
        period=cast(Period, row["period"]),
        per_minute=row["per_minute"],
        expires=row["expires"],
        revoked=row["revoked"],
    )


def _with_spending(key: Key, spent: dict[tuple[str, str], float], now: float) -> Key:
    period = period_of(key.period, now)
    return replace(key, spent=spent.get((key.id, period), 0.0), spent_in=period)
