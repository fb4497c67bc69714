"""The thread that brings routes and spending to the store, so that no request waits for a disk."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from sqlalchemy.exc import DataError, IntegrityError

from disrouter.gateway.access import Access
from disrouter.gateway.records import RouteRecord
from disrouter.gateway.redaction import clipped
from disrouter.gateway.store import Store
from disrouter.gateway.store_keys import keys_of
from disrouter.gateway.store_rows import MAX_TEXT

__all__ = ["Keeping", "StoreWriter"]

LOG = logging.getLogger("disrouter.gateway")

EVERY_SECONDS = 0.25
"""How often what has gathered is written: a killed gateway loses no more than this, and one transaction."""

BATCH = 256
"""Most routes in one transaction; as many that wait wake the writer. More would save nothing and take memory."""

MAX_WAITING = 20_000
"""Most routes that wait for the store; later ones are counted and dropped."""

MAX_CHARACTERS = 16_000_000
"""Most characters of prompts and answers that wait; beyond, routes are kept without their texts."""

KEYS_SECONDS = 2.0
"""How often keys are read again: how long a revoked key may still work."""

PRUNE_SECONDS = 60.0
PRUNE = 5_000
"""How many routes are forgotten between two batches."""

BAD_ROW = (DataError, IntegrityError, OverflowError, TypeError, ValueError)
"""How a database or its driver says that it is the row's fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """How much is kept, and for how long."""

    days: float = 30.0
    """Routes older than this are forgotten."""

    routes: int = 1_000_000
    """Most routes kept; the oldest go first."""

    texts: bool = False
    """Whether prompts and answers are kept too."""


class StoreWriter:
    """A recorder whose ``record`` only puts the route aside; a thread of its own writes batches.

    While the store cannot be written, routes wait, up to a bound; then they are dropped and counted.

    Args:
        store: Where to.
        access: Whose spending is brought to the store, and who is told of new and revoked keys.
        keeping: How much is kept, and for how long.
        dropped: Called with the number of routes whenever some are lost.
    """

    def __init__(
        self,
        store: Store,
        access: Access | None = None,
        keeping: Keeping | None = None,
        dropped: Callable[[int], None] | None = None,
    ) -> None:
        self._store = store
        self._access = access
        self._keeping = keeping or Keeping()
        self._on_drop = dropped or (lambda _count: None)
        self._waiting: deque[RouteRecord] = deque()
        self._characters = 0
        self._batch: list[RouteRecord] = []
        self._wake = threading.Event()
        self._ending = False
        self._written = threading.Condition()
        self._rounds = 0
        self._thread: threading.Thread | None = None
        self.dropped = 0
        """Routes that were lost since the start."""

        self.healthy = True
        """Whether the last attempt to reach the store went well."""

    def record(self, route: RouteRecord) -> None:
        """Put a route aside; takes about a microsecond and never waits."""
        if len(self._waiting) >= MAX_WAITING:
            self._lose(1)
            return
        self._waiting.append(self._trimmed(route))
        if len(self._waiting) == BATCH:
            self._wake.set()

    def start(self) -> None:
        """Read the keys once, then begin to write."""
        if self._access is not None:
            self._access.replace_keys(keys_of(self._store))
        self._thread = threading.Thread(target=self._run, name="disrouter-store", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Write what waits and end; what cannot be written in time is counted as dropped."""
        self._ending = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout)
        if lost := len(self._waiting) + len(self._batch):
            self._lose(lost)

    def flush(self, timeout: float = 2.0) -> bool:
        """Wait until everything put aside before this call is in the store; False if that took too long."""
        with self._written:
            wanted = self._rounds + 2  # the round under way may have taken its batch already
            self._wake.set()
            return self._written.wait_for(lambda: self._rounds >= wanted, timeout)

    def _trimmed(self, route: RouteRecord) -> RouteRecord:
        if route.prompt is None and route.answer is None:
            return route
        size = min(len(route.prompt or ""), MAX_TEXT) + min(len(route.answer or ""), MAX_TEXT)
        if not self._keeping.texts or self._characters + size > MAX_CHARACTERS:
            return replace(route, prompt=None, answer=None)
        self._characters += size
        return replace(
            route,
            prompt=None if route.prompt is None else clipped(route.prompt, MAX_TEXT),
            answer=None if route.answer is None else clipped(route.answer, MAX_TEXT),
        )

    def _run(self) -> None:
        keys_due = prune_due = time.monotonic()
        patience = EVERY_SECONDS
        while True:
            ending = self._ending
            try:
                self._write_all()
                now = time.monotonic()
                if now >= keys_due or ending:
                    self._settle_keys()
                    keys_due = now + KEYS_SECONDS
                if now >= prune_due and not ending:
                    oldest = time.time() - 86_400 * self._keeping.days
                    gone = self._store.prune(before=oldest, most=self._keeping.routes, at_once=PRUNE)
                    prune_due = now + (PRUNE_SECONDS if gone < PRUNE else 0.0)
                self._turn(healthy=True)
                patience = EVERY_SECONDS
            except Exception as error:  # this thread must outlive whatever happens to a database
                self._turn(healthy=False, why=type(error).__name__)
                patience = min(2 * patience, 5.0)
            with self._written:
                self._rounds += self.healthy
                self._written.notify_all()
            if ending:
                return
            self._wake.wait(patience)
            self._wake.clear()

    def _write_all(self) -> None:
        while self._batch or self._waiting:
            while self._waiting and len(self._batch) < BATCH:
                route = self._waiting.popleft()
                self._characters -= len(route.prompt or "") + len(route.answer or "")
                self._batch.append(route)
            try:
                self._store.write(self._batch)
            except BAD_ROW:
                self._write_singly(self._batch)
            self._batch = []

    def _write_singly(self, routes: Iterable[RouteRecord]) -> None:
        """Write the good ones of a batch that the database refuses: one bad route must not stop all others."""
        for route in routes:
            try:
                self._store.write([route])
            except BAD_ROW:
                self._lose(1)

    def _settle_keys(self) -> None:
        if self._access is None:
            return
        spent = self._access.unsaved()
        self._store.add_spending(spent)
        self._access.saved(spent)
        self._access.replace_keys(keys_of(self._store))

    def _turn(self, *, healthy: bool, why: str = "") -> None:
        """Say so once when the store goes or comes back; a message of a database may hold what must not be logged."""
        if self.healthy and not healthy:
            LOG.error("the store cannot be written (%s): traces wait, and are dropped beyond %d", why, MAX_WAITING)
        elif healthy and not self.healthy:
            LOG.warning("the store is back")
        self.healthy = healthy

    def _lose(self, count: int) -> None:
        self.dropped += count
        self._on_drop(count)
