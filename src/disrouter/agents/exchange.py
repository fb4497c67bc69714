"""An open channel as its caller holds it, and the exchanges on it: calls, each with what comes back to it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import aiohttp

from disrouter.agents._wire_values import Json, WireError
from disrouter.agents.channel import LARGEST_FRAME, Outbox, call_message, cancel_message, messages_in
from disrouter.agents.faults import FaultError
from disrouter.agents.hops import Travel
from disrouter.agents.sealing import SealError, Seals
from disrouter.agents.wire import fault_from
from disrouter.errors import AgentError

__all__ = ["Exchange", "OpenChannel"]

MOST_UNREAD = LARGEST_FRAME
"""Bytes of an answer that wait for whoever asked for it."""


class Exchange:
    """One call on its way, and what has come back to it."""

    __slots__ = ("_agent", "_error", "_said", "_unread", "_waiter", "channel", "lost", "number", "over", "sent")

    def __init__(self, channel: OpenChannel, number: int, agent: str) -> None:
        self.channel = channel
        self.number = number
        self.sent = time.monotonic()
        self.over = False
        """Whether the node has said its last, and that has been taken."""
        self.lost = False
        """Whether the channel broke before the node had."""
        self._agent = agent
        self._said: deque[tuple[Any, bool, int]] = deque()
        self._unread = 0
        self._error: AgentError | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def next(self, seconds: float) -> Any:
        """Return the next thing that the node says; None where it only says that it is there.

        Raises:
            AgentError: The agent broke, the channel did, or the node says nothing for too long.
        """
        if not self._said and self._error is None:
            await self._wait(seconds)
        if self._said:
            value, self.over, size = self._said.popleft()
            self._unread -= size
            return value
        assert self._error is not None
        raise self._error

    async def _wait(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        timer = loop.call_later(max(0.0, seconds), self._too_late)
        try:
            await self._waiter
        finally:
            self._waiter = None
            timer.cancel()

    def take(self, message: Json, size: int) -> None:
        """Take what the node has said, in so many bytes."""
        self._unread += size
        if "fault" in message:
            self.over = True
            self._error = fault_from(message["fault"], self._agent)
        elif self._unread > MOST_UNREAD:
            self._error = FaultError(
                f"Agent '{self._agent}' sent more than {MOST_UNREAD // 2**20} MiB that nobody could read yet.",
                kind="malformed",
            )
        elif "last" in message:
            self._said.append((message["last"], True, size))
        else:
            self._said.append((message.get("said"), False, size))
        self._wake()

    def lose(self, fault: FaultError) -> None:
        """Have nothing come any more."""
        self.lost = True
        self._error = fault
        self._wake()

    def _too_late(self) -> None:
        self.channel.doubt(self)
        self._error = FaultError(f"Agent '{self._agent}' took too long.", kind="timeout")
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class OpenChannel:
    """A channel to a node that has shown who it is.

    Args:
        agent: Name of the agent, for messages.
        socket: The connection.
        seals: The channel's.
        session: A session that ends with it.
    """

    def __init__(
        self,
        agent: str,
        socket: aiohttp.ClientWebSocketResponse[bool],
        seals: Seals,
        session: aiohttp.ClientSession | None = None,
    ) -> None:
        self._agent = agent
        self._socket = socket
        self._seals = seals
        self._session = session
        self._calls: dict[int, Exchange] = {}
        self._numbers = itertools.count(1)
        self._outbox = Outbox(socket.send_bytes, seals.calls)
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._write())]
        self._closing: asyncio.Task[None] | None = None
        self._heard = time.monotonic()
        self.private = session is not None
        """Whether it is for one call only."""
        self.good = True
        """Whether new calls may go over it."""

    def begin(self, call: str, travel: Travel, body: bytes) -> Exchange:
        """Ask something; every exchange that begins must be brought to its :meth:`end`."""
        number = next(self._numbers)
        exchange = self._calls[number] = Exchange(self, number, self._agent)
        if not self.good:
            exchange.lose(self._cut())
        self._outbox.put(call_message(number, call, travel, body))
        return exchange

    def end(self, exchange: Exchange) -> None:
        """Have an exchange end; where the node is still at work, it is told to stop."""
        self._calls.pop(exchange.number, None)
        if not exchange.over and not exchange.lost:
            self._outbox.put(cancel_message(exchange.number))
        if not self.good and not self._calls:
            self.retire()

    def doubt(self, exchange: Exchange) -> None:
        """Take no new calls if nothing at all has been heard since one began that has no time left: a node that is cut
        off or frozen looks like this, and a fresh connection is the quickest way back to it.
        """
        if self._heard <= exchange.sent:
            self.good = False

    def retire(self) -> None:
        """Take no new calls, and close when there is none."""
        self.good = False
        if not self._calls and self._closing is None:
            self._closing = asyncio.create_task(self._close())

    async def aclose(self) -> None:
        """Close, whatever is under way."""
        self.good = False
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    @property
    def closed(self) -> bool:
        """Whether nothing of it is left."""
        return self._closing is not None and self._closing.done()

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._lose(self._cut)
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
            await self._socket.close()
        if self._session is not None:
            await self._session.close()

    async def _listen(self) -> None:
        """Hand out what comes, until nothing does any more."""
        lost = self._cut
        try:
            while (message := await self._socket.receive()).type is aiohttp.WSMsgType.BINARY:
                self._heard = time.monotonic()
                said = messages_in(self._seals.replies.opened(message.data))
                for one in said:
                    exchange = self._calls.get(one["id"])
                    if exchange is not None:
                        exchange.take(one, len(message.data) // len(said))
            if message.type is aiohttp.WSMsgType.ERROR:
                lost = self._nonsense
        except (SealError, WireError):
            lost = self._nonsense
        self._lose(lost)
        if not self._calls:
            self.retire()

    async def _write(self) -> None:
        with contextlib.suppress(aiohttp.ClientError, OSError):  # whoever listens finds the same
            await self._outbox.run()

    def _lose(self, fault: Callable[[], FaultError]) -> None:
        self.good = False
        for exchange in list(self._calls.values()):
            exchange.lose(fault())

    def _cut(self) -> FaultError:
        return FaultError(f"Agent '{self._agent}' closed the connection.", kind="cut")

    def _nonsense(self) -> FaultError:
        return FaultError(
            f"The node of agent '{self._agent}' sent what cannot be believed, or makes no sense.", kind="malformed"
        )
