"""Turns on the one thread that a device's models share; no model is needed to see who comes when."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from contextvars import ContextVar

import pytest

from disrouter.agents import turns
from disrouter.agents.turns import take_turn, take_turns

DEVICE = "a-test"


@pytest.fixture(autouse=True)
def thread_of_the_test() -> Iterator[None]:
    yield
    if (thread := turns._threads.pop(DEVICE, None)) is not None:
        thread.shutdown()


def counting(to: int, log: list[str] | None = None, name: str = "") -> Callable[[threading.Event], tuple[int, bool]]:
    """A job of so many turns, which notes each."""
    numbers = iter(range(1, to + 1))

    def turn(_left: threading.Event) -> tuple[int, bool]:
        number = next(numbers)
        if log is not None:
            log.append(name)
        return number, number == to

    return turn


async def everything(values: AsyncIterator[int]) -> list[int]:
    return [value async for value in values]


async def test_turns_go_on_until_the_last_one() -> None:
    assert await everything(take_turns(DEVICE, counting(4))) == [1, 2, 3, 4]


async def test_jobs_take_turns_and_a_short_one_waits_for_one_round_only() -> None:
    log: list[str] = []
    begin = threading.Event()
    held = asyncio.create_task(take_turn(DEVICE, begin.wait, 30))  # until all have come
    jobs = [asyncio.create_task(everything(take_turns(DEVICE, counting(3, log, name)))) for name in "ab"]
    short = asyncio.create_task(take_turn(DEVICE, log.append, "look"))
    while DEVICE not in turns._threads or turns._threads[DEVICE]._work_queue.qsize() < 3:
        await asyncio.sleep(0)
    begin.set()

    await asyncio.gather(held, *jobs, short)

    assert log == ["a", "b", "look", "a", "b", "a", "b"]


async def test_all_turns_are_on_one_thread_and_not_the_loops() -> None:
    threads = await asyncio.gather(*(take_turn(DEVICE, threading.get_ident) for _ in range(5)))

    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()


async def test_what_breaks_in_a_turn_breaks_where_it_is_listened_to() -> None:
    numbers = iter([1])

    def turn(_left: threading.Event) -> tuple[int, bool]:
        return next(numbers, None) or 1 // 0, False

    heard = []
    with pytest.raises(ZeroDivisionError):
        async for value in take_turns(DEVICE, turn):
            heard.append(value)

    assert heard == [1]


async def test_whoever_stops_listening_has_no_further_turn() -> None:
    done: list[str] = []

    def endless(_left: threading.Event) -> tuple[int, bool]:
        done.append("turn")
        return len(done), False

    async with aclosing(take_turns(DEVICE, endless)) as values:
        async for _ in values:
            break
    await take_turn(DEVICE, int)  # whatever was asked for before has had its turn
    before = len(done)
    await take_turn(DEVICE, int)

    assert len(done) == before


async def test_turns_know_what_was_set_where_they_were_asked_for() -> None:
    name = ContextVar("name", default="nobody")
    name.set("somebody")

    assert await take_turn(DEVICE, name.get) == "somebody"
    assert [value async for value in take_turns(DEVICE, lambda _left: (name.get(), True))] == ["somebody"]
