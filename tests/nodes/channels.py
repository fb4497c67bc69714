"""A channel in the hands of a test: every frame is written, and changed, by hand."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from disrouter.agents.channel import CHANNEL, REFUSED
from disrouter.agents.hops import Signer, Travel
from disrouter.agents.sealing import Seals
from nodes.running import RunningNode

__all__ = ["RawChannel", "channel_to", "handshake", "refused"]


@dataclass
class RawChannel:
    """An open channel to a node."""

    socket: aiohttp.ClientWebSocketResponse[bool]
    seals: Seals

    async def send(self, *messages: Any) -> None:
        """Send messages in a good frame."""
        await self.socket.send_bytes(self.seals.calls.sealed(orjson.dumps(messages)))

    async def call(self, call: str, body: Any, *, number: int = 1, **more: Any) -> Any:
        """Send a call and return the next thing that the node says."""
        await self.send({"id": number, "call": call, "travel": {}, "body": body, **more})
        return await self.heard()

    async def heard(self) -> Any:
        """Return the next message of the node, or the code with which it closed the channel."""
        received = await self.socket.receive(timeout=10)
        if received.type is aiohttp.WSMsgType.BINARY:
            (message,) = orjson.loads(self.seals.replies.opened(received.data))
            return message
        return received.data if received.type is aiohttp.WSMsgType.CLOSE else self.socket.close_code


def handshake(secret: str | None, clock: float | None = None) -> dict[str, str]:
    """Return the headers of whoever wants a channel and knows a secret."""
    signer = Signer(lambda: secret) if clock is None else Signer(lambda: secret, lambda: clock)
    return signer.headers(CHANNEL, b"", Travel())


@contextlib.asynccontextmanager
async def channel_to(
    node: RunningNode,
    http: aiohttp.ClientSession,
    *,
    secret: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[RawChannel]:
    """Open a channel for as long as the block runs."""
    sent = handshake(secret)
    async with http.ws_connect(f"{node.url}/{CHANNEL}", headers=sent) as socket:
        hello = orjson.loads((await socket.receive(timeout=10)).data)
        seals = Signer(lambda: secret).seals(sent, hello["word"], hello["proof"])
        assert seals is not None, "the node does not know the secret"
        yield RawChannel(socket, seals)


async def refused(node: RunningNode, http: aiohttp.ClientSession, headers: Mapping[str, str]) -> tuple[int, str]:
    """Return the status and code with which a node refuses a channel; 101 if it does not."""
    try:
        async with http.ws_connect(f"{node.url}/{CHANNEL}", headers=headers):
            return 101, ""
    except aiohttp.WSServerHandshakeError as error:
        assert error.headers is not None
        return error.status, error.headers.get(REFUSED, "").partition(" ")[0]
