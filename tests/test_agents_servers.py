"""Agents behind servers, part by part: events, chunks, faults; the rest is tried against a running gateway."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disrouter.agents._assessing import confidence_said, rejects_so_far, token_look
from disrouter.agents._chunks import Answer, assembled, completion_of
from disrouter.agents._server import Server
from disrouter.agents._sse import LARGEST_EVENT, EventReader
from disrouter.agents.addresses import server_problem
from disrouter.agents.faults import FaultError
from disrouter.network import Network
from disrouter.types import Query, Trace, Usage
from gateway.mock_backend import MockBackend
from gateway.running import behind

# Events


def read(*pieces: bytes) -> list[bytes]:
    reader = EventReader()
    return [event for piece in pieces for event in reader.feed(piece)]


def test_events_end_at_empty_lines_and_their_data_lines_are_joined() -> None:
    assert read(b"data: one\n\ndata: two\ndata:three\n\n") == [b"one", b"two\nthree"]


def test_comments_and_other_fields_are_skipped() -> None:
    assert read(b": keep-alive\n\nevent: x\nid: 3\nretry: 5\ndata: one\n\n\n\n") == [b"one"]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_line_end_of_the_standard_is_one(end: bytes) -> None:
    raw = end.join([b"data: one", b"data: more", b"", b"data: two", b"", b""])
    reader = EventReader()

    assert reader.feed(raw) + reader.finish() == [b"one\nmore", b"two"]


def test_the_last_event_counts_without_its_empty_line() -> None:
    reader = EventReader()

    assert reader.feed(b"data: [DONE]") == []
    assert reader.finish() == [b"[DONE]"]


def test_an_endless_event_is_refused() -> None:
    reader = EventReader()

    with pytest.raises(ValueError, match="more than"):
        for _ in range(10):
            reader.feed(b"x" * (LARGEST_EVENT // 8))


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"))),
    st.sampled_from(["\n", "\r\n"]),
    st.data(),
)
def test_events_are_the_same_in_whatever_pieces_they_arrive(texts: list[str], end: str, data: st.DataObject) -> None:
    raw = "".join(f"data: {text}{end}{end}" for text in texts).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]

    reader = EventReader()
    found = [event for piece in pieces for event in reader.feed(piece)] + reader.finish()

    assert found == [text.encode() for text in texts]


@given(st.lists(st.binary(max_size=30)))
def test_no_bytes_break_the_reader(pieces: list[bytes]) -> None:
    reader = EventReader()
    for piece in pieces:
        reader.feed(piece)
    reader.finish()


# Chunks


def chunk(*choices: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": list(choices),
        **fields,
    }


def delta(index: int, finish: str | None = None, logprobs: Any = None, **said: Any) -> dict[str, Any]:
    return {"index": index, "delta": said, "finish_reason": finish, "logprobs": logprobs}


def test_chunks_are_put_together_to_the_completion_they_stand_for() -> None:
    first = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}
    body = assembled(
        [
            chunk(delta(0, role="assistant", content="")),
            chunk(
                delta(0, content="Hel", logprobs={"content": [{"token": "Hel"}]}),
                delta(1, role="assistant", tool_calls=[first]),
            ),
            chunk(delta(0, content="lo", logprobs={"content": [{"token": "lo"}]})),
            chunk(delta(1, tool_calls=[{"index": 0, "function": {"arguments": '{"a"'}}])),
            chunk(delta(1, tool_calls=[{"index": 0, "function": {"arguments": ": 1}"}}])),
            chunk(delta(0, "stop"), delta(1, "tool_calls")),
            chunk(usage={"prompt_tokens": 1, "completion_tokens": 2}),
        ]
    )

    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    assert body["object"] == "chat.completion"
    assert body["usage"] == {"prompt_tokens": 1, "completion_tokens": 2}
    hello, called = body["choices"]
    assert hello["message"] == {"role": "assistant", "content": "Hello"}
    assert hello["finish_reason"] == "stop"
    assert called["message"] == {"role": "assistant", "content": None, "tool_calls": [call]}
    assert (called["index"], called["finish_reason"]) == (1, "tool_calls")


@pytest.mark.parametrize(
    "sent",
    [
        b"[]",
        b"null",
        b'"text"',
        b"{}",
        b'{"choices": {}}',
        b'{"choices": [1]}',
        b'{"choices": [{"delta": []}]}',
        b'{"choices": [{"index": "one", "delta": {}}]}',
        b'{"choices": [{"delta": {"content": 5}}]}',
        b'{"choices": [{"delta": {"tool_calls": 5}}]}',
        b'{"choices": [{"delta": {"tool_calls": ["f"]}}]}',
        b'{"choices": [{"delta": {"tool_calls": [{"function": "f"}]}}]}',
        b'{"error": "I am broken"}',
        b'{"error": {"message": "I am broken"}}',
        b"{",
    ],
)
def test_a_chunk_that_is_none_is_the_agents_fault(sent: bytes) -> None:
    with pytest.raises(FaultError, match="Agent 'a'") as refused:
        Answer(Server("a", "http://127.0.0.1:9/v1"))._chunk(sent)

    assert refused.value.own


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"choices": []},
        {"choices": [None]},
        {"choices": [{}]},
        {"choices": [{"message": {"content": ["text"]}}]},
        {"choices": [{"message": {"content": None, "tool_calls": "f"}}]},
    ],
)
def test_a_reply_that_is_no_completion_is_the_agents_fault(body: dict[str, Any]) -> None:
    with pytest.raises(FaultError, match="Agent 'a'"):
        completion_of(Server("a", "http://127.0.0.1:9/v1"), body, "hello", 0.0)


# Self-assessment


def looked(*top: tuple[str, float]) -> dict[str, Any]:
    entries = [{"token": token, "logprob": logprob} for token, logprob in top]
    return {"choices": [{"logprobs": {"content": [{**entries[0], "top_logprobs": entries}]}}]}


def test_the_confidence_is_one_minus_the_chance_of_every_beginning_of_a_rejection() -> None:
    # exp(-1) = .3679 and exp(-2) = .1353 begin the rejection; exp(-1.5) does not
    look = token_look(looked((" I", -1.0), ("The", -1.5), ("I don", -2.0)), "I don't know", Usage(3, 1), 0.0)

    assert look is not None
    assert look.confidence == pytest.approx(1 - 0.3679 - 0.1353, abs=1e-4)
    assert look.accepts is False


@pytest.mark.parametrize(
    "reply", [{}, {"choices": []}, {"choices": [{}]}, {"choices": [{"logprobs": {"content": []}}]}]
)
def test_a_reply_without_log_probabilities_gives_no_look(reply: dict[str, Any]) -> None:
    assert token_look(reply, "no", Usage(), 0.0) is None


@pytest.mark.parametrize(
    ("text", "rejects"),
    [
        ("", None),
        ("I", None),
        ("I don", None),
        (" **I don’t  know", True),
        ("i don't know.", True),
        ("I do", None),
        ("I do know", False),
        ("The answer", False),
    ],
)
def test_a_rejection_is_recognised_as_soon_as_it_is_one(text: str, rejects: bool | None) -> None:
    assert rejects_so_far(text, "I don't know") is rejects


@pytest.mark.parametrize(
    ("text", "confidence"), [("", None), ("1", 0.01), ("1.0", 1.0), ("99%", 0.99), ("-5", 0.05), ("v2", None)]
)
def test_a_confidence_in_words_is_a_number_from_0_to_100(text: str, confidence: float | None) -> None:
    assert confidence_said(text) == confidence


# Without a gateway


async def test_a_network_of_servers_answers_without_a_gateway_and_leaves_no_connection() -> None:
    async with MockBackend() as backend:
        network = Network(
            "n", [behind("small", backend.url, self_assessment="text"), behind("large", backend.url, 0.9)]
        )
        trace = await network.route(_query("Hello"))
        *_, streamed = [event async for event in network.stream(_query("Hello"))]

        assert trace.agent == "small"
        assert trace.answer is not None
        assert isinstance(streamed, Trace)
        assert streamed.answer == trace.answer
        assert backend.bodies[0]["temperature"] == 0.0


def _query(text: str) -> Query:
    return Query.from_text(text)


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("http://127.0.0.1:8000/v1", None),
        ("https://api.example.org/v1", None),
        ("ftp://x/v1", "no plain http"),
        ("http://user:pass@x/v1", "user name or a password"),
        ("http://x/v1?key=1", "no plain http"),
        ("file:///etc/passwd", "no plain http"),
        ("http://[::1", "cannot be read"),
        ("nowhere", "no plain http"),
    ],
)
def test_an_address_is_checked_before_anything_is_sent(address: str, problem: str | None) -> None:
    found = server_problem(address)

    assert found is None if problem is None else problem in str(found)
