"""The line to a node, as its caller holds it: one channel, opened when it is needed and kept, with many calls on it.

Calls that are under way when a channel is lost fail, each for itself; the next one opens another.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import AsyncGenerator, Mapping
from copy import copy
from dataclasses import replace
from typing import Any

import aiohttp
import orjson
from yarl import URL

from disrouter.agents._server import AT_ONCE, FIRST_PAUSE, Server, new_session
from disrouter.agents.channel import CHANNEL, LARGEST_FRAME, REFUSED
from disrouter.agents.exchange import Exchange, OpenChannel
from disrouter.agents.faults import FaultError
from disrouter.agents.hops import Travel
from disrouter.agents.sealing import MAC_BYTES, Seals
from disrouter.agents.wire import WIRE

__all__ = ["Line"]

CLOSING_SECONDS = 1.0

LARGEST_CALL = LARGEST_FRAME - 64 * 1024
"""Bytes of a call without what it carries along."""


class Line:
    """The way to the calls of a node. Between :meth:`open` and :meth:`aclose` its channel is kept; without them every
    call opens its own.

    Args:
        server: Where the node is, and how patient we are with it.
        chance: Draws the pauses between attempts.
    """

    def __init__(self, server: Server, chance: random.Random | None = None) -> None:
        self._server = server
        self._chance = chance or random.Random()
        self._session: aiohttp.ClientSession | None = None
        self._channel: OpenChannel | None = None
        self._opening: asyncio.Task[OpenChannel] | None = None
        self._old: set[OpenChannel] = set()

    def open(self) -> None:
        """Keep a channel from now on; call it inside the event loop that will use it."""
        if self._session is None:
            self._session = self._new_session()

    async def aclose(self) -> None:
        """Let go of it; calls on it fail."""
        session, self._session = self._session, None
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
        channels, self._channel, self._old = {*self._old, self._channel}, None, set()
        await asyncio.gather(*(channel.aclose() for channel in channels if channel is not None))
        if session is not None:
            await session.close()

    async def one(self, call: str, body: bytes, *, travel: Travel, seconds: float) -> Any:
        """Return what the node says to a call that has one reply.

        Raises:
            AgentError: The node cannot be reached, breaks, or tells that its agent does.
        """
        exchange, value = await self._begun(call, body, travel, time.monotonic() + seconds, seconds)
        await self._end(exchange)
        return value

    async def many(
        self, call: str, body: bytes, *, travel: Travel, total: float, first: float, stall: float
    ) -> AsyncGenerator[Any, None]:
        """Yield what the node says to a call; None where it only says that it is there. Whoever stops listening stops
        the work there.

        Args:
            call: What is asked.
            body: The call as JSON.
            travel: What the query carries along.
            total: Seconds until all must have been said.
            first: Seconds until the first word.
            stall: Seconds between two of them.

        Raises:
            AgentError: The node cannot be reached, breaks, or tells that its agent does.
        """
        until = time.monotonic() + total
        exchange, value = await self._begun(call, body, travel, until, first)
        try:
            yield value
            while not exchange.over:
                yield await exchange.next(min(stall, until - time.monotonic()))
        finally:
            await self._end(exchange)

    async def _begun(self, call: str, body: bytes, travel: Travel, until: float, first: float) -> tuple[Exchange, Any]:
        """Return a call that the node has begun to reply to and its first word, trying again where it did not begin."""
        if len(body) > LARGEST_CALL:
            raise FaultError(f"The request is too large for the node of agent '{self._server.agent}'.", kind="request")
        began = time.monotonic()
        for attempt in itertools.count():
            channel = self._channel
            if channel is None or not channel.good:
                channel = await self._reached(until)
            now = time.monotonic()
            left = travel.seconds
            exchange = channel.begin(
                call, travel if left is None else replace(travel, seconds=max(0.0, left - (now - began))), body
            )
            try:
                return exchange, await exchange.next(min(first, until - now))
            except BaseException as error:
                await self._end(exchange)
                at_once = exchange.lost and time.monotonic() - now < AT_ONCE
                if not isinstance(error, FaultError) or not at_once or attempt >= self._server.patience.retries:
                    raise
                await self._pause(attempt, until, error)
        raise AssertionError("attempts have no end")

    async def _end(self, exchange: Exchange) -> None:
        exchange.channel.end(exchange)
        if exchange.channel.private:
            await exchange.channel.aclose()

    async def _reached(self, until: float) -> OpenChannel:
        """Return the next channel that is kept, for which all wait together; or one for this call only."""
        if self._session is None:
            return await self._opened(until)
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._keep(self._session))
            self._opening.add_done_callback(_looked_at)
        try:
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                return await asyncio.shield(self._opening)
        except TimeoutError as exc:
            raise self._server.fault_of(exc) from None
        except FaultError as fault:
            raise copy(fault) from None  # everybody who waits gets their own

    async def _keep(self, session: aiohttp.ClientSession) -> OpenChannel:
        old, self._channel = self._channel, None
        self._old = {channel for channel in self._old if not channel.closed}
        if old is not None:
            old.retire()
            self._old.add(old)
        self._channel = await self._opened(time.monotonic() + self._server.patience.total, session)
        return self._channel

    async def _opened(self, until: float, session: aiohttp.ClientSession | None = None) -> OpenChannel:
        """Return a new channel, trying again where nobody was there."""
        own = self._new_session() if session is None else None
        try:
            for attempt in itertools.count():
                try:
                    return await self._connected(session or own, own, until)  # type: ignore[arg-type]  # one is there
                except (aiohttp.ClientError, TimeoutError, OSError) as exc:
                    fault = self._server.fault_of(exc)
                    passing = fault.kind in ("connect", "cut") and not isinstance(exc, TimeoutError)
                    if not passing or attempt >= self._server.patience.retries:
                        raise fault from None  # what aiohttp raises may show the headers
                await self._pause(attempt, until, fault)
            raise AssertionError("attempts have no end")
        except BaseException:
            if own is not None:
                await own.close()
            raise

    async def _pause(self, attempt: int, until: float, fault: FaultError) -> None:
        seconds = self._chance.uniform(0, FIRST_PAUSE * 2**attempt)
        if seconds > until - time.monotonic():
            raise fault
        await asyncio.sleep(seconds)

    async def _connected(
        self, session: aiohttp.ClientSession, own: aiohttp.ClientSession | None, until: float
    ) -> OpenChannel:
        """Return a new channel to somebody who has shown that they are who they should be."""
        signer = self._server.signer
        for told_the_time in (False, True):
            sent = signer.headers(CHANNEL, b"", Travel())
            async with asyncio.timeout(min(self._server.patience.connect, max(0.001, until - time.monotonic()))):
                try:
                    socket = await session.ws_connect(
                        URL(f"{self._server.base_url}/{CHANNEL}"),
                        headers=sent,
                        max_msg_size=LARGEST_FRAME + MAC_BYTES,
                        timeout=aiohttp.ClientWSTimeout(ws_close=CLOSING_SECONDS),
                    )
                except aiohttp.WSServerHandshakeError as error:
                    if error.status == 401 and not told_the_time and signer.learn(sent, _lower(error.headers)):
                        continue
                    raise self._refusal(error) from None
                try:
                    seals = self._introduced(sent, await socket.receive())
                except BaseException:
                    await socket.close()
                    raise
            return OpenChannel(self._server.agent, socket, seals, own)
        raise AssertionError("a clock is learnt once")

    def _introduced(self, sent: dict[str, str], message: aiohttp.WSMessage) -> Seals:
        """Return the seals of a channel whose other side has introduced itself."""
        name = self._server.agent
        try:
            said = orjson.loads(message.data) if message.type is aiohttp.WSMsgType.TEXT else None
        except orjson.JSONDecodeError:
            said = None
        if message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED):
            raise FaultError(f"Agent '{name}' closed the connection.", kind="cut")
        if not isinstance(said, dict) or not isinstance(said.get("word"), str):
            raise self._malformed("something that is no introduction")
        if said.get("wire") != WIRE:
            raise FaultError(
                f"The node of agent '{name}' speaks version {str(said.get('wire'))[:20]} of the wire, and this side "
                f"speaks {WIRE}.",
                kind="status",
                code="wire_version",
            )
        seals = self._server.signer.seals(sent, said["word"], str(said.get("proof")))
        if seals is None:
            raise self._malformed("no proof that it knows the secret")
        return seals

    def _malformed(self, what: str) -> FaultError:
        return FaultError(f"The node of agent '{self._server.agent}' sent {what}.", kind="malformed")

    def _new_session(self) -> aiohttp.ClientSession:
        connect = self._server.patience.connect
        return new_session(aiohttp.ClientTimeout(total=None, sock_connect=connect, sock_read=connect), [_stay])

    def _refusal(self, error: aiohttp.WSServerHandshakeError) -> FaultError:
        """Return why a node takes no channel from us; it says so in a header."""
        status, name = error.status, self._server.agent
        code, _, said = _lower(error.headers).get(REFUSED, "").partition(" ")
        words = self._server.said(said)
        if code.startswith("hop_"):
            return FaultError(f"Agent '{name}' refuses our signature.{words}", kind="status", status=status, code=code)
        if status < 200:
            return self._malformed("something that is no WebSocket")
        return FaultError(
            f"The node of agent '{name}' takes no channel (HTTP {status}).{words}",
            kind="status",
            status=status,
            code=code[:100] or None,
            own=status >= 500,
        )


async def _stay(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Follow nobody elsewhere: what we say is for the node that we know."""
    response = await send(request)
    if 300 <= response.status < 400:
        response.close()
        raise aiohttp.WSServerHandshakeError(
            response.request_info, (), status=response.status, message="A redirect.", headers=response.headers
        )
    return response


def _lower(headers: Mapping[str, str] | None) -> dict[str, str]:
    return {name.lower(): value for name, value in (headers or {}).items()}


def _looked_at(opening: asyncio.Task[OpenChannel]) -> None:
    """Do nothing: whoever waited may have gone, and an error that nobody has seen would be told of."""
    if not opening.cancelled():
        opening.exception()
