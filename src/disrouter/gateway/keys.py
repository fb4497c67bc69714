"""API keys: how they are made, and what is kept of them. A key itself is shown once and stored nowhere."""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass
from typing import Literal, get_args

__all__ = ["PERIODS", "PREFIX", "Key", "Period", "digest_of", "new_key", "period_of"]

PREFIX = "sk-dis-"
"""How our keys begin, so that scanners for leaked secrets can find them."""

Period = Literal["day", "month", "total"]
"""Over which time a budget holds: a calendar day or month in UTC, or for ever."""

PERIODS: tuple[Period, ...] = get_args(Period)


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What is kept of one API key."""

    id: str
    """Public name of the key in traces and messages; says nothing about the key."""

    name: str
    """Whose it is, in the operator's words."""

    digest: bytes
    """SHA-256 of the key. It needs neither salt nor stretching: the key is 256 random bits."""

    created: float
    """Seconds since 1970."""

    admin: bool = False
    """Whether it opens the admin routes and sees everybody's traces."""

    scenarios: frozenset[str] | None = None
    """Names of the scenarios it may ask for; None: any, and any alpha."""

    budget: float | None = None
    """Cost it may spend per ``period``, in the network's unit; None: any."""

    period: Period = "month"
    per_minute: int | None = None
    """Requests per minute; None: any number."""

    expires: float | None = None
    """When it ends by itself, in seconds since 1970."""

    revoked: float | None = None
    """When it was revoked, in seconds since 1970."""

    spent: float = 0.0
    """Cost spent in the period ``spent_in``, as far as the store knows."""

    spent_in: str = ""


def new_key() -> tuple[str, str, bytes]:
    """Return a fresh key, its public id and its digest."""
    key = PREFIX + secrets.token_urlsafe(32)
    return key, "key_" + secrets.token_hex(6), digest_of(key)


def digest_of(key: str) -> bytes:
    """Return what is stored of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def period_of(period: Period, at: float) -> str:
    """Return the name of the period that a moment lies in: '2026-11-25', '2026-11' or 'total'."""
    if period == "total":
        return "total"
    return time.strftime("%Y-%m-%d" if period == "day" else "%Y-%m", time.gmtime(at))
