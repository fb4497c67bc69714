"""Watching over a request: its work ends when its client hangs up, or when its time is used up."""

from __future__ import annotations

import asyncio
from types import TracebackType

from starlette.types import Receive

__all__ = ["GoneError", "Watch"]

LATER = 0.05
"""Seconds after which a client is listened to. Most requests are over by then: they cost a timer and no task."""


class GoneError(Exception):
    """The client has hung up: nobody is there to be told anything."""


class Watch:
    """Ends what the current task does within the block, as :func:`asyncio.timeout` does, and listens to the client.

    Args:
        seconds: Seconds that the block may take; one that takes longer ends in a ``TimeoutError``.
        receive: Tells when the client hangs up, whereupon the block ends in a :class:`GoneError`; None where the block
            itself reads from the client.
    """

    def __init__(self, seconds: float, receive: Receive | None = None) -> None:
        self._seconds = max(0.0, seconds)
        self._receive = receive
        self._listening: asyncio.Task[None] | None = None
        self._why: type[TimeoutError | GoneError] | None = None

    def __enter__(self) -> None:
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        self._work = task
        if self._receive is None or self._seconds <= LATER:
            self._timer = self._loop.call_later(self._seconds, self._end, TimeoutError)
        else:
            self._timer = self._loop.call_later(LATER, self._listen, self._receive)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._listening is not None:
            self._listening.cancel()
        # Somebody else may have wanted the task to end, too: then it ends.
        if self._why is not None and self._work.uncancel() == 0 and kind is asyncio.CancelledError:
            raise self._why from error

    def _listen(self, receive: Receive) -> None:
        self._listening = self._loop.create_task(self._heard(receive))
        self._timer = self._loop.call_later(self._seconds - LATER, self._end, TimeoutError)

    async def _heard(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._end(GoneError)

    def _end(self, why: type[TimeoutError | GoneError]) -> None:
        if self._why is None:
            self._why = why
            self._work.cancel()
