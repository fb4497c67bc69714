"""Batches of a stream: few crossings, no piece held back, nothing lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from disrouter.engines.batches import batches


class Source:
    """Pieces by hand."""

    def __init__(self) -> None:
        self.pieces: asyncio.Queue[int | Exception | None] = asyncio.Queue()
        self.closed = False

    def say(self, *pieces: int | Exception | None) -> None:
        for piece in pieces:
            self.pieces.put_nowait(piece)

    async def stream(self) -> AsyncGenerator[int, None]:
        try:
            while (piece := await self.pieces.get()) is not None:
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        finally:
            self.closed = True


async def test_the_first_piece_goes_alone_and_the_others_together() -> None:
    source = Source()
    source.say(*range(20), None)

    found = [batch async for batch in batches(source.stream(), most=8, seconds=10.0)]

    assert [len(batch) for batch in found] == [1, 8, 8, 3]
    assert [piece for batch in found for piece in batch] == list(range(20))


async def test_no_piece_waits_longer_than_it_may() -> None:
    source = Source()
    source.say(1, 2)
    stream = batches(source.stream(), most=8, seconds=0.01)

    assert await anext(stream) == [1]
    assert await anext(stream) == [2]  # though the source is silent and the batch is not full
    await stream.aclose()


async def test_an_error_comes_after_the_pieces_before_it() -> None:
    source = Source()
    source.say(1, 2, 3, ZeroDivisionError("in the middle"))
    found: list[int] = []

    with pytest.raises(ZeroDivisionError, match="in the middle"):
        async for batch in batches(source.stream()):
            found += batch

    assert found == [1, 2, 3]


async def test_whoever_stops_reading_stops_the_source() -> None:
    source = Source()
    source.say(1)
    stream = batches(source.stream())

    await anext(stream)
    await stream.aclose()

    assert source.closed


async def test_a_reader_that_is_cancelled_stops_the_source() -> None:
    source = Source()
    source.say(1)

    async def read() -> None:
        async for _ in batches(source.stream()):
            pass

    task = asyncio.create_task(read())
    await asyncio.sleep(0)
    while source.pieces.qsize():
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert source.closed


async def test_a_stream_without_pieces_ends() -> None:
    source = Source()
    source.say(None)

    assert [batch async for batch in batches(source.stream())] == []


async def test_a_slow_reader_does_not_make_the_source_run_ahead_without_bound() -> None:
    source = Source()
    source.say(*range(1000), None)
    stream = batches(source.stream(), most=4)

    await anext(stream)
    for _ in range(50):
        await asyncio.sleep(0)

    assert source.pieces.qsize() > 900
    await stream.aclose()
