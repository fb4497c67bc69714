"""The tables of a store, the same in SQLite and PostgreSQL, and the version they carry."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, Index, Integer, MetaData, String, Table, Text

__all__ = ["VERSION", "feedback", "hops", "keys", "meta", "metadata", "routes", "spending"]

VERSION = 1
"""Raised with every change of the tables; a store of another version is refused or, where we can, brought up to it."""

metadata = MetaData()

meta = Table(
    "disrouter_meta",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", String(200), nullable=False),
)

routes = Table(
    "disrouter_routes",
    metadata,
    Column("trace_id", String(64), primary_key=True),
    Column("time", Double, nullable=False),
    Column("model", String(200), nullable=False),
    Column("endpoint", String(32), nullable=False),
    Column("scenario", String(80), nullable=False),
    Column("alpha", Double, nullable=False),
    Column("stream", Boolean, nullable=False),
    Column("agent", String(200)),
    Column("outcome", String(16), nullable=False),
    Column("code", Integer, nullable=False),
    Column("error", String(32)),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("cost", Double, nullable=False),
    Column("saved", Double),
    Column("seconds", Double, nullable=False),
    Column("overhead_seconds", Double),
    Column("first_token_seconds", Double),
    Column("key_id", String(40)),
    Column("prompt", Text),
    Column("answer", Text),
    Index("disrouter_routes_time", "time"),
)

# No foreign key: both tables carry the time, and what is too old leaves both by it.
hops = Table(
    "disrouter_hops",
    metadata,
    Column("trace_id", String(64), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("time", Double, nullable=False),
    Column("agent", String(200), nullable=False),
    Column("decision", String(16), nullable=False),
    Column("confidence", Double),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("cost", Double, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("reason", String(300)),
    Column("error", String(32)),
    Index("disrouter_hops_time", "time"),
)

feedback = Table(
    "disrouter_feedback",
    metadata,
    Column("trace_id", String(64), primary_key=True),
    Column("time", Double, nullable=False),
    Column("score", Double, nullable=False),
    Column("key_id", String(40)),
    Index("disrouter_feedback_time", "time"),
)

keys = Table(
    "disrouter_keys",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("name", String(100), nullable=False),
    Column("digest", String(64), nullable=False, unique=True),
    Column("created", Double, nullable=False),
    Column("admin", Boolean, nullable=False),
    Column("scenarios", Text),
    Column("budget", Double),
    Column("period", String(8), nullable=False),
    Column("per_minute", Integer),
    Column("expires", Double),
    Column("revoked", Double),
)

spending = Table(
    "disrouter_spending",
    metadata,
    Column("key_id", String(40), primary_key=True),
    Column("period", String(10), primary_key=True),
    Column("cost", Double, nullable=False),
)
