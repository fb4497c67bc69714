"""Who may ask: keys, their rate limits, budgets and scenarios, checked without touching disk or network.

AccessError
├── MissingKeyError        401   no key where one is needed
├── WrongKeyError          401   nobody has this key (any more)
├── ForbiddenError         403   the key may not do this
├── RateLimitError         429   slower: the message and ``retry_after`` say when
└── BudgetError            429   the key's budget is spent; trying again does not help
"""

from __future__ import annotations

import hmac
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from disrouter.errors import RunError
from disrouter.gateway.keys import Key, digest_of, period_of

__all__ = [
    "Access",
    "AccessError",
    "BudgetError",
    "ForbiddenError",
    "Grant",
    "MissingKeyError",
    "RateLimitError",
    "WrongKeyError",
]

MAX_HEADER = 4096
"""Longest authorization header that is looked at, in characters."""


class AccessError(RunError):
    """A request that may not be served, in the words of the OpenAI error object."""

    status: ClassVar[int] = 401
    type: ClassVar[str] = "invalid_request_error"
    code: ClassVar[str] = "invalid_api_key"

    retry_after: float | None = None
    """Seconds until it is worth trying again; None where trying again does not help."""

    def headers(self) -> dict[str, str]:
        """Return the headers that tell a client whether and when to try again."""
        if self.retry_after is not None:
            return {"retry-after": str(max(1, math.ceil(self.retry_after)))}
        # Clients retry every 429; this one stays.
        return {"x-should-retry": "false"} if self.status == 429 else {}


class MissingKeyError(AccessError):
    """No key where one is needed."""


class WrongKeyError(AccessError):
    """Nobody has this key, or not any more."""


class ForbiddenError(AccessError):
    """The key is good, but not for this."""

    status = 403
    code = "forbidden"


class RateLimitError(AccessError):
    """More requests than the key may send in a minute."""

    status = 429
    type = "requests"
    code = "rate_limit_exceeded"

    def __init__(self, message: str, *, retry_after: float, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class BudgetError(AccessError):
    """The key has spent what it may spend."""

    status = 429
    type = "insufficient_quota"
    code = "insufficient_quota"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a request may do."""

    key_id: str | None
    """Public id of its key; None where no keys are in use."""

    admin: bool = False
    scenarios: frozenset[str] | None = None
    """Names of the scenarios it may ask for; None: any, and any alpha."""

    remaining: float | None = None
    """Cost that is left of the key's budget; None: no limit. A route's ``max_cost`` should not exceed it."""

    limit_requests: int | None = None
    """Requests per minute of the key, for ``x-ratelimit-limit-requests``; None: no limit."""

    remaining_requests: int | None = None
    """Requests that may follow at once, for ``x-ratelimit-remaining-requests``."""

    def require_scenario(self, name: str) -> None:
        """Do nothing if the request may ask for a scenario of this name.

        Raises:
            ForbiddenError: It may not.
        """
        if self.scenarios is not None and name not in self.scenarios:
            allowed = ", ".join(f"'{s}'" for s in sorted(self.scenarios))
            raise ForbiddenError(f"This key may not use the scenario '{name[:80]}'. Allowed: {allowed}.")

    def require_admin(self) -> None:
        """Do nothing if the request comes with an administrator's key.

        Raises:
            ForbiddenError: It does not.
        """
        if not self.admin:
            raise ForbiddenError("This needs an administrator's key.", hint="disrouter keys create NAME --admin")


ANONYMOUS = Grant(key_id=None)


class _Bucket:
    """As many tokens as requests per minute, refilled steadily."""

    __slots__ = ("at", "tokens")

    def __init__(self, tokens: float, at: float) -> None:
        self.tokens = tokens
        self.at = at

    def take(self, per_minute: int, now: float) -> float:
        """Take one token and return 0, or return the seconds until there is one."""
        self.tokens = min(float(per_minute), self.tokens + (now - self.at) * per_minute / 60)
        self.at = now
        if self.tokens >= 1:
            self.tokens -= 1
            return 0.0
        return (1 - self.tokens) * 60 / per_minute


class Access:
    """Checks keys against those it was last given; everything is in memory.

    Without any key ever created the gateway is open (it then listens on loopback only); with
    ``keys_required`` nobody gets in without one, even while there are none.

    Args:
        keys: The keys that are known.
        keys_required: Whether requests need a key although none exists.
        clock: Seconds since 1970.
    """

    def __init__(
        self, keys: Iterable[Key] = (), *, keys_required: bool = False, clock: Callable[[], float] = time.time
    ) -> None:
        self._keys_required = keys_required
        self._clock = clock
        self._lock = threading.Lock()  # spending comes from requests, keys from the store's thread
        self._buckets: dict[str, _Bucket] = {}
        self._unsaved: dict[tuple[str, str], float] = {}
        self._keys: dict[bytes, Key] = {}
        self._by_id: dict[str, Key] = {}
        self.replace_keys(keys)

    @property
    def open(self) -> bool:
        """Whether requests need no key."""
        return not self._keys_required

    def replace_keys(self, keys: Iterable[Key]) -> None:
        """Know these keys and no others. Spending that is not in the store yet is not forgotten."""
        known = list(keys)
        with self._lock:
            self._keys_required = self._keys_required or bool(known)  # who had keys once never becomes open again
            self._by_id = {key.id: key for key in known if key.revoked is None}
            self._keys = {key.digest: key for key in self._by_id.values()}
            self._buckets = {name: bucket for name, bucket in list(self._buckets.items()) if name in self._by_id}

    def check(self, authorization: str | None) -> Grant:
        """Return what the sender of an ``Authorization`` header may do; counts one request.

        Raises:
            MissingKeyError: There is none, and one is needed.
            WrongKeyError: It is unknown, revoked or expired.
            RateLimitError: The key's requests of this minute are used up.
            BudgetError: The key's budget is spent.
        """
        key = self._key_of(authorization)
        if key is None:
            return ANONYMOUS
        left = self._remaining(key)
        if left is not None and left <= 0:
            raise BudgetError(
                f"The budget of key '{key.id}' is spent ({key.budget:g} per {key.period}).",
                hint="ask the operator for a larger one",
            )
        return Grant(
            key_id=key.id,
            admin=key.admin,
            scenarios=key.scenarios,
            remaining=left,
            limit_requests=key.per_minute,
            remaining_requests=self._take(key),
        )

    def look(self, authorization: str | None) -> Grant:
        """Return what the sender may do without counting a request: for pages, not for queries.

        Raises:
            MissingKeyError: There is no key, and one is needed.
            WrongKeyError: It is unknown, revoked or expired.
        """
        key = self._key_of(authorization)
        if key is None:
            return ANONYMOUS
        return Grant(key_id=key.id, admin=key.admin, scenarios=key.scenarios, remaining=self._remaining(key))

    def spend(self, grant: Grant, cost: float) -> None:
        """Charge what a route took to the key's budget."""
        key = self._by_id.get(grant.key_id or "")
        if key is None or not 0 < cost < math.inf:
            return
        at = (key.id, period_of(key.period, self._clock()))
        with self._lock:
            self._unsaved[at] = self._unsaved.get(at, 0.0) + cost

    def unsaved(self) -> dict[tuple[str, str], float]:
        """Return what was spent, by key id and period, that the store has not heard of."""
        with self._lock:
            return dict(self._unsaved)

    def saved(self, spent: Mapping[tuple[str, str], float]) -> None:
        """Take note that the store has this spending now: it counts as spent, and is not told again."""
        with self._lock:
            for (public_id, period), cost in spent.items():
                left = self._unsaved.pop((public_id, period), 0.0) - cost
                if left > 1e-12:
                    self._unsaved[public_id, period] = left
                key = self._by_id.get(public_id)
                if key is not None:
                    before = key.spent if key.spent_in == period else 0.0
                    self._know(replace(key, spent=before + cost, spent_in=period))

    def _know(self, key: Key) -> None:
        self._by_id[key.id] = self._keys[key.digest] = key

    def _key_of(self, authorization: str | None) -> Key | None:
        if self.open:
            return None
        if not authorization:
            raise MissingKeyError("No API key was given.", hint="send it as `Authorization: Bearer sk-…`")
        scheme, _, token = authorization[:MAX_HEADER].partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token or len(authorization) > MAX_HEADER:
            raise WrongKeyError(
                "The Authorization header holds no key.", hint="send it as `Authorization: Bearer sk-…`"
            )
        digest = digest_of(token)
        key = self._keys.get(digest)
        # The dictionary finds by the whole digest; comparing once more takes the same time wherever two digests differ.
        if key is None or not hmac.compare_digest(key.digest, digest):
            raise WrongKeyError("This API key is not known here.", hint="check it, or ask the operator for one")
        if key.expires is not None and key.expires <= self._clock():
            raise WrongKeyError(f"Key '{key.id}' has expired.", hint="ask the operator for a new one")
        return key

    def _remaining(self, key: Key) -> float | None:
        if key.budget is None:
            return None
        period = period_of(key.period, self._clock())
        spent = key.spent if key.spent_in == period else 0.0
        return key.budget - spent - self._unsaved.get((key.id, period), 0.0)

    def _take(self, key: Key) -> int | None:
        if key.per_minute is None:
            return None
        now = self._clock()
        bucket = self._buckets.setdefault(key.id, _Bucket(float(key.per_minute), now))
        wait = bucket.take(key.per_minute, now)
        if wait:
            raise RateLimitError(f"Key '{key.id}' may send {key.per_minute} requests per minute.", retry_after=wait)
        return int(bucket.tokens)
