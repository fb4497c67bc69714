"""What most tests of the gateway ask: one gateway for each file, and a server behind one of a test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from gateway.mock_backend import MockBackend
from gateway.running import Running, running
from gateway.three_agents import network


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway() -> AsyncIterator[Running]:
    async with running(network=network()) as gateway:
        yield gateway


@pytest_asyncio.fixture(loop_scope="module")
async def backend() -> AsyncIterator[MockBackend]:
    async with MockBackend() as backend:
        yield backend
