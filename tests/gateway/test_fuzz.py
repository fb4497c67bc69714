"""Nonsense of every kind, at the door and from behind: never a failure of the gateway's own, never a hang."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from disrouter.agents._sse import EventReader
from disrouter.conformance.events import events_of
from disrouter.gateway.asking import chat_ask, json_of
from disrouter.gateway.completions import Completions
from disrouter.gateway.errors import ProblemError
from disrouter.gateway.openapi import description
from disrouter.gateway.responses import Responses
from disrouter.types import Serving
from gateway.mock_backend import MockBackend
from gateway.running import Running, behind, running

# The same examples in every run, and the server they need is no part of an example.
STEADY = settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))

STEADFAST = Serving(failures=10**9)
"""No breaker opens: every example is its own."""

# -- what arrives at the door ------------------------------------------------------------------------------------------

SCHEMAS = description()["components"]["schemas"]
FIELDS = sorted({name for request in ("ChatRequest", "CompletionRequest", "ResponseRequest")
                 for name in SCHEMAS[request]["properties"]} | {"disrouter", "functions", "x"})  # fmt: skip
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["disrouter", "disrouter/balance", "user", "assistant", "text", "function", "json_schema", ""])
)
WORDS = st.sampled_from(["role", "content", "type", "text", "function", "name", "json_schema", "format", "scenario",
                         "alpha", "trace", "include_usage", "tool_calls"]) | st.text(max_size=4)  # fmt: skip
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4), max_leaves=8
)
BODIES = st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6)
PLAUSIBLE: dict[str, st.SearchStrategy[Any]] = {
    "model": st.sampled_from(["disrouter", "disrouter/balance", "solo"]),
    "stream": st.booleans(),
    "n": st.integers(1, 3),
    "alpha": st.floats(0, 1),
    "temperature": st.floats(0, 2),
    "seed": st.integers(-(2**63), 2**63 - 1),
    "stop": st.text(max_size=3) | st.lists(st.text(max_size=3), max_size=3),
    "max_tokens": st.integers(1, 9),
    "logprobs": st.none(),
    "messages": st.lists(
        st.fixed_dictionaries({"role": st.sampled_from(["user", "system", "tool"]), "content": st.text(max_size=20)}),
        min_size=1,
        max_size=3,
    ),
    "prompt": st.text(min_size=1, max_size=20),
    "input": st.text(min_size=1, max_size=20),
    "metadata": VALUES,
    "x": VALUES,
    "user": st.text(max_size=9),
}


def mostly(usual: st.SearchStrategy[Any], odd: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """The usual in three of four examples: where everything is odd, nothing gets beyond the first check."""
    return st.integers(0, 3).flatmap(lambda draw: odd if draw == 3 else usual)


GOOD = st.fixed_dictionaries({}, optional=PLAUSIBLE)
PLAIN = {"model": "disrouter", "messages": [{"role": "user", "content": "hi"}], "prompt": "hi", "input": "hi"}

READERS: dict[str, Callable[[dict[str, Any]], object]] = {
    "chat": lambda body: chat_ask(body, agents={}),
    "completions": lambda body: Completions().read(body, {}, 64),
    "responses": lambda body: Responses().read(body, {}, 64),
}


@pytest.mark.parametrize("reader", READERS.values(), ids=list(READERS))
@given(changes=BODIES, whole=st.booleans())
@settings(STEADY, max_examples=120)
def test_any_request_is_read_or_refused_with_a_reason(
    reader: Callable[[dict[str, Any]], object], changes: dict[str, Any], whole: bool
) -> None:
    try:
        reader({**PLAIN, **changes} if whole else changes)
    except ProblemError as problem:
        assert 400 <= problem.status < 500
        assert problem.message


@given(raw=st.binary(max_size=60) | st.text(max_size=60).map(str.encode) | VALUES.map(json.dumps).map(str.encode))
@settings(STEADY, max_examples=120)
def test_any_bytes_are_an_object_or_no_json(raw: bytes) -> None:
    try:
        assert isinstance(json_of(raw), dict)
    except ProblemError as problem:
        assert (problem.status, problem.code) == (400, "invalid_json")


# -- events in whatever pieces -----------------------------------------------------------------------------------------

LINES = st.lists(
    st.sampled_from(
        [b"data: {}", b"data:x", b"data: a b", b"", b": ping", b"event: e", b"data", b"id: 1", b"data: \xc3\xa9"]
    ),
    max_size=12,
)


def pieces(whole: bytes, cuts: list[int]) -> Iterator[bytes]:
    """A stream of bytes cut at some places."""
    places = sorted(cut % (len(whole) + 1) for cut in cuts)
    for start, end in zip([0, *places], [*places, len(whole)], strict=True):
        yield whole[start:end]


@given(lines=LINES, end=st.sampled_from([b"\n", b"\r\n", b"\r"]), cuts=st.lists(st.integers(0, 999), max_size=8))
@settings(STEADY, max_examples=200)
def test_events_do_not_depend_on_the_pieces_they_arrive_in(lines: list[bytes], end: bytes, cuts: list[int]) -> None:
    whole = b"".join(line + end for line in [*lines, b"", b""])
    reader = EventReader()

    found = [data for piece in pieces(whole, cuts) for data in reader.feed(piece)] + reader.finish()

    # Two readers of the same standard, written apart; "data" without a colon is an empty line of data to one of them.
    expected = [event.data.encode() for event in events_of(whole.replace(b"data" + end, b""))]
    assert found == expected


@given(parts=st.lists(st.binary(max_size=40), max_size=6))
@settings(STEADY, max_examples=120)
def test_any_bytes_can_come_as_events(parts: list[bytes]) -> None:
    reader = EventReader()

    for part in parts:
        assert all(isinstance(event, bytes) for event in reader.feed(part))
    reader.finish()


# -- through a gateway that runs ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fuzzed:
    """A gateway in a thread of its own, in front of a backend that sends what it is told."""

    portal: BlockingPortal
    gateway: Running
    said: list[bytes]

    def ask(self, path: str, body: bytes, said: bytes = b"") -> tuple[int, str, bytes]:
        self.said[:] = [said]
        return self.portal.call(self._ask, path, body)

    async def _ask(self, path: str, body: bytes) -> tuple[int, str, bytes]:
        headers = {"Content-Type": "application/json"}
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session,
            session.post(self.gateway.url + path, data=body, headers=headers) as reply,
        ):
            return reply.status, reply.content_type, await reply.read()


@asynccontextmanager
async def saying(said: list[bytes]) -> AsyncIterator[str]:
    """A server that answers every request with the bytes it is told, then hangs up; yields its base URL."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
        )
        await reader.readexactly(length)
        writer.write(said[0])
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


@contextmanager
def fuzzed(own_words: bool) -> Iterator[Fuzzed]:
    said: list[bytes] = []

    @asynccontextmanager
    async def both() -> AsyncIterator[Running]:
        if own_words:
            async with saying(said) as url, running(behind("solo", url, serving=STEADFAST)) as gateway:
                yield gateway
        else:
            async with MockBackend() as backend, running(behind("solo", backend.url, serving=STEADFAST)) as gateway:
                yield gateway

    with start_blocking_portal() as portal, portal.wrap_async_context_manager(both()) as gateway:
        yield Fuzzed(portal, gateway, said)


@pytest.fixture(scope="module")
def at_the_door() -> Iterator[Fuzzed]:
    with fuzzed(own_words=False) as found:
        yield found


@pytest.fixture(scope="module")
def from_behind() -> Iterator[Fuzzed]:
    with fuzzed(own_words=True) as found:
        yield found


def assert_sound(status: int, kind: str, body: bytes) -> None:
    """A right answer, a stream with one end, or an error object."""
    if status != 200:
        assert kind == "application/json"
        assert json.loads(body)["error"]["message"]
    elif kind == "text/event-stream":
        events = events_of(body)
        if events[0].name:  # the Responses API has an event of its own for the end
            assert events[-1].name in ("response.completed", "response.incomplete", "response.failed", "error")
            return
        ends = [event for event in events if event.done or (isinstance(event.json, dict) and event.json.get("error"))]
        assert ends == events[-1:], body
    else:
        answer = json.loads(body)
        assert answer["output" if answer["object"] == "response" else "choices"]


@given(
    path=st.sampled_from(["/v1/chat/completions", "/v1/completions", "/v1/responses"]),
    good=GOOD,
    changes=mostly(st.just({}), BODIES),
)
@settings(STEADY, max_examples=80)
def test_no_request_is_a_failure_of_the_server(
    at_the_door: Fuzzed, path: str, good: dict[str, Any], changes: dict[str, Any]
) -> None:
    body = json.dumps({**PLAIN, **good, **changes}).encode()

    status, kind, found = at_the_door.ask(path, body)

    assert status < 500, (body, found)
    assert_sound(status, kind, found)


def chunk(**choice: Any) -> dict[str, Any]:
    return {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {}, **choice}]}


EVENTS = st.lists(
    mostly(
        st.sampled_from(
            [
                chunk(delta={"role": "assistant", "content": ""}),
                chunk(delta={"content": "word "}),
                chunk(delta={"content": None, "tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}),
                chunk(finish_reason="stop"),
                chunk(finish_reason=7, delta=None),
                chunk(index="first", logprobs=[1]),
                {"choices": []},
                {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}},
                {"choices": [], "usage": {"prompt_tokens": "three"}},
                {"choices": None},
                {"error": {"message": "no"}},
                {"error": "no"},
            ]
        ).map(json.dumps),
        VALUES.map(json.dumps) | st.sampled_from(["[DONE]", "", "nonsense", '{"choices": [', "\ud7ff"]),
    ),
    max_size=8,
)
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
HEADS = st.sampled_from(
    [
        SSE,
        JSON,
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 500 Oh\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n",
    ]
)


START = st.lists(st.just(json.dumps(chunk(delta={"content": "word "}))), max_size=3)


@given(
    head=mostly(st.just(SSE), HEADS),
    start=START,
    events=EVENTS,
    tail=mostly(st.just(b"data: [DONE]\n\n"), st.binary(max_size=12)),
)
@settings(STEADY, max_examples=100)
def test_whatever_a_backend_streams_the_client_gets_one_end(
    from_behind: Fuzzed, head: bytes, start: list[str], events: list[str], tail: bytes
) -> None:
    said = head + "".join(f"data: {event}\n\n" for event in [*start, *events]).encode() + tail
    body = json.dumps({**PLAIN, "stream": True}).encode()

    assert_sound(*from_behind.ask("/v1/chat/completions", body, said))


CHOICES = st.sampled_from([{"index": 0, "message": {"role": "assistant", "content": "4"}, "finish_reason": "stop"}])
WHOLES = st.fixed_dictionaries(
    {"choices": st.lists(CHOICES, min_size=1, max_size=2)}, optional={"usage": VALUES, "id": VALUES, "x": VALUES}
) | st.fixed_dictionaries(
    {},
    optional={
        "choices": st.lists(CHOICES | VALUES, max_size=2) | VALUES,
        "usage": VALUES,
        "id": VALUES,
        "model": VALUES,
    },
)


@given(head=mostly(st.just(JSON), HEADS), answer=mostly(WHOLES, VALUES), cut=mostly(st.none(), st.integers(0, 30)))
@settings(STEADY, max_examples=80)
def test_whatever_a_backend_answers_the_client_gets_an_answer_or_an_error(
    from_behind: Fuzzed, head: bytes, answer: Any, cut: int | None
) -> None:
    text = json.dumps(answer).encode()
    said = head + text[:cut]

    assert_sound(*from_behind.ask("/v1/chat/completions", json.dumps(PLAIN).encode(), said))


@given(garbage=st.binary(max_size=200))
@settings(STEADY, max_examples=30)
def test_a_backend_that_does_not_speak_http_is_an_error(from_behind: Fuzzed, garbage: bytes) -> None:
    status, kind, body = from_behind.ask("/v1/chat/completions", json.dumps(PLAIN).encode(), garbage)

    assert status >= 500
    assert_sound(status, kind, body)
