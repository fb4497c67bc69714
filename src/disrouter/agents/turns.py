"""Turns: the local models of one device run on one thread, a short turn each, in the order in which they ask.

Several threads in torch at once get less done than one: what a small model does between two matrix products is Python,
and threads that hand its lock to and fro at every operation spend their time on that. One thread that takes turns lets
answers stream side by side just as well. A turn is a look, or some tokens of an answer: after every single one of them,
the event loop would be woken up, and in its way.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import ParamSpec, TypeVar

__all__ = ["TURN_SECONDS", "take_turn", "take_turns"]

TURN_SECONDS = 0.01
"""An answer that has gone on for so long lets others go on after the token it is at."""

P = ParamSpec("P")
T = TypeVar("T")

_threads: dict[str, ThreadPoolExecutor] = {}
_making = threading.Lock()


async def take_turn(device: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what a function returns, called on the device's thread when its turn has come.

    Whoever is cancelled while waiting for a turn is not called any more.
    """
    call = partial(copy_context().run, partial(function, *args, **kwargs))
    return await asyncio.get_running_loop().run_in_executor(_thread_of(device), call)


async def take_turns(device: str, function: Callable[[threading.Event], tuple[T, bool]]) -> AsyncGenerator[T, None]:
    """Yield what a function returns turn by turn, until it says beside it that this was the last one.

    The next turn is asked for at the end of one, not when somebody has read what came of it: the thread is never idle
    in between. Whoever stops listening has no further turn, and sets the event that the function is given, which may
    end a turn before its time.
    """
    loop, thread = asyncio.get_running_loop(), _thread_of(device)
    made: asyncio.Queue[tuple[T, bool] | BaseException] = asyncio.Queue()
    context, left = copy_context(), threading.Event()

    def turn() -> None:
        if left.is_set():
            return
        found: tuple[T, bool] | BaseException
        try:
            found = context.run(function, left)
        except BaseException as error:  # whoever listens is told
            found = error
        with suppress(RuntimeError):  # the loop, or the thread, has ended: nobody listens
            loop.call_soon_threadsafe(made.put_nowait, found)
            if not isinstance(found, BaseException) and not found[1]:
                thread.submit(turn)

    thread.submit(turn)
    try:
        last = False
        while not last:
            found = await made.get()
            if isinstance(found, BaseException):
                raise found
            value, last = found
            yield value
    finally:
        left.set()


def _thread_of(device: str) -> ThreadPoolExecutor:
    with _making:
        if device not in _threads:
            _threads[device] = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"models-{device}")
        return _threads[device]


def _forget() -> None:
    """A forked process has none of its parent's threads."""
    global _making
    _threads.clear()
    _making = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
