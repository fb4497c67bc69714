"""Streamed chat completions: events, chunks, and what must not be in them."""

from __future__ import annotations

from typing import Any

from disrouter.conformance.case import expect, group, one, short
from disrouter.conformance.shapes import (
    FINISH_REASONS,
    chunks_of,
    completion,
    content_of,
    joined,
    streamed_finish,
    usage,
)
from disrouter.conformance.target import Target

__all__ = ["STREAMING"]

STREAMING = group("streaming", "OpenAI API reference: chat completion chunks")
case = STREAMING.case

SSE = "HTML standard: server-sent events"
WITH_USAGE: dict[str, Any] = {"stream_options": {"include_usage": True}}


@case("stream-content-type", "A stream is text/event-stream.", source=SSE)
async def _(target: Target) -> None:
    chunks_of(await target.chat_stream())


@case("stream-not-cached", "A stream says cache-control: no-cache, so that nothing on the way keeps it.", source=SSE)
async def _(target: Target) -> None:
    found = (await target.chat_stream()).headers.get("cache-control", "")
    expect("no-cache" in found or "no-store" in found, f"cache-control is {short(found)}")


@case("stream-framing", "Every event is one data line with JSON, or [DONE], and a blank line.", source=SSE)
async def _(target: Target) -> None:
    stream = await target.chat_stream()
    chunks_of(stream)
    text = stream.body.decode("utf-8").replace("\r\n", "\n")
    expect(text.endswith("\n\n"), f"the last event lacks its blank line: {short(text[-40:])}")
    for block in text.split("\n\n")[:-1]:
        lines = [line for line in block.split("\n") if not line.startswith(":")]
        expect(len(lines) <= 1 and all(line.startswith("data:") for line in lines), f"an event is {short(block)}")


@case("stream-done", "The last event is [DONE], once.")
async def _(target: Target) -> None:
    marks = [event.done for event in (await target.chat_stream()).events()]
    expect(marks and marks[-1], "the last event is another")
    expect(marks.count(True) == 1, f"it comes {marks.count(True)} times")


@case("stream-chunk-shape", "A chunk has id, created and model, and choices with index and delta.")
async def _(target: Target) -> None:
    for chunk in chunks_of(await target.chat_stream()):
        expect(one(chunk.get("id"), str, "id"), "id is empty")
        one(chunk.get("created"), int, "created")
        expect(one(chunk.get("model"), str, "model"), "model is empty")
        for choice in one(chunk.get("choices"), list, "choices"):
            one(choice.get("index"), int, "index")
            one(choice.get("delta"), dict, "delta")


@case("stream-finish-reason-key", "finish_reason is in every choice of every chunk, null until the last.")
async def _(target: Target) -> None:
    for chunk in chunks_of(await target.chat_stream()):
        for choice in chunk["choices"]:
            expect("finish_reason" in choice, f"it is missing in {short(choice)}")
            expect(choice["finish_reason"] in (None, *FINISH_REASONS), f"it is {short(choice['finish_reason'])}")


@case("stream-one-id", "All chunks of a stream have one id, one time and one model.")
async def _(target: Target) -> None:
    chunks = chunks_of(await target.chat_stream("Say hello. [words=4]"))
    for name in ("id", "created", "model"):
        values = {chunk.get(name) for chunk in chunks}
        expect(len(values) == 1, f"there are {len(values)} values of '{name}'")


@case("stream-ids-differ", "Two streams have two ids.")
async def _(target: Target) -> None:
    first, second = chunks_of(await target.chat_stream()), chunks_of(await target.chat_stream())
    expect(first[0].get("id") != second[0].get("id"), f"both are {short(first[0].get('id'))}")


@case("stream-role-first", "The first delta of a choice names the role; openai-python's helpers start from it.")
async def _(target: Target) -> None:
    deltas = [c["delta"] for chunk in chunks_of(await target.chat_stream()) for c in chunk["choices"]]
    expect(deltas and deltas[0].get("role") == "assistant", f"the first delta is {short(deltas[:1])}")


@case("stream-finish-last", "A choice ends once: its last chunk has the finish reason and says nothing more.")
async def _(target: Target) -> None:
    choices = [c for chunk in chunks_of(await target.chat_stream("Say hello. [words=4]")) for c in chunk["choices"]]
    ends = [place for place, choice in enumerate(choices) if choice.get("finish_reason") is not None]
    expect(ends == [len(choices) - 1], f"{len(ends)} of {len(choices)} chunks have a finish reason, at {ends}")


@case("stream-finish-stop", "A stream that ended by itself has the finish reason stop.", needs=["mock"])
async def _(target: Target) -> None:
    found = streamed_finish(chunks_of(await target.chat_stream("[words=2]")))
    expect(found == "stop", f"it is {short(found)}")


@case("stream-finish-length", "A stream that was cut off has the finish reason length.")
async def _(target: Target) -> None:
    stream = await target.chat_stream("Count from 1 to 100. [words=40]", max_tokens=2)
    found = streamed_finish(chunks_of(stream))
    expect(found == "length", f"it is {short(found)}")


@case("stream-same-text", "A stream says what the whole answer says.", needs=["mock"])
async def _(target: Target) -> None:
    said = "naïve 日本語 🦊 \n\n two"
    whole, chunks = content_of(await target.chat(said)), chunks_of(await target.chat_stream(said))
    expect(joined(chunks) == whole, f"{short(joined(chunks))} is not {short(whole)}")


@case("stream-no-usage", "Nobody who did not ask for usage in the stream gets any.")
async def _(target: Target) -> None:
    found = [chunk["usage"] for chunk in chunks_of(await target.chat_stream()) if chunk.get("usage") is not None]
    expect(not found, f"a chunk brings {short(found[:1])}")


@case("stream-no-empty-choices", "Only a usage chunk has no choices: hand-written clients read choices[0].")
async def _(target: Target) -> None:
    empty = [chunk for chunk in chunks_of(await target.chat_stream()) if not chunk["choices"]]
    expect(not empty, f"a chunk is {short(empty[:1])}")


@case("stream-usage-last", "include_usage brings usage in one last chunk without choices.")
async def _(target: Target) -> None:
    chunks = chunks_of(await target.chat_stream(**WITH_USAGE))
    with_usage = [place for place, chunk in enumerate(chunks) if chunk.get("usage") is not None]
    expect(with_usage == [len(chunks) - 1], f"usage is in chunks {with_usage} of {len(chunks)}")
    expect(chunks[-1].get("choices") == [], f"its choices are {short(chunks[-1].get('choices'))}")
    usage(chunks[-1]["usage"])


@case("stream-usage-null", "With include_usage every other chunk has usage: null.")
async def _(target: Target) -> None:
    chunks = chunks_of(await target.chat_stream(**WITH_USAGE))
    lacking = [chunk for chunk in chunks[:-1] if "usage" not in chunk]
    expect(not lacking, f"{len(lacking)} of {len(chunks) - 1} chunks lack it")


@case("stream-usage-same", "The usage of a stream is that of the whole answer.", needs=["mock"])
async def _(target: Target) -> None:
    whole = completion(await target.chat("one two [words=5]")).get("usage")
    streamed = chunks_of(await target.chat_stream("one two [words=5]", **WITH_USAGE))[-1]["usage"]
    expect(usage(whole) == usage(streamed), f"{short(streamed)} is not {short(whole)}")


@case("stream-takes-null-options", "stream_options: null is no reason to refuse a stream.")
async def _(target: Target) -> None:
    chunks_of(await target.chat_stream(stream_options=None))


@case("stream-n", "All n choices are streamed, each with its own index and end.", needs=["n"])
async def _(target: Target) -> None:
    choices = [c for chunk in chunks_of(await target.chat_stream(n=2)) for c in chunk["choices"]]
    ends = sorted(c["index"] for c in choices if c.get("finish_reason") is not None)
    expect(ends == [0, 1], f"the indices that end are {ends}")


@case("stream-logprobs", "Log-probabilities come with the tokens they belong to.", needs=["logprobs"])
async def _(target: Target) -> None:
    stream = await target.chat_stream("Say hello. [words=3]", logprobs=True, max_tokens=3)
    choices = [c for chunk in chunks_of(stream) for c in chunk["choices"]]
    entries = [entry for c in choices if c.get("logprobs") for entry in c["logprobs"].get("content") or []]
    expect(entries, "none came")
    text = "".join(c["delta"].get("content") or "" for c in choices)
    expect("".join(entry["token"] for entry in entries) == text, "their tokens do not join to the text")


@case("stream-no-logprobs", "Nobody who did not ask for log-probabilities gets any in a stream.")
async def _(target: Target) -> None:
    choices = [c for chunk in chunks_of(await target.chat_stream()) for c in chunk["choices"]]
    found = [c["logprobs"] for c in choices if c.get("logprobs")]
    expect(not found, f"a choice has {short(found[:1])}")


@case("stream-refusal", "delta.refusal of the model survives.", needs=["mock"])
async def _(target: Target) -> None:
    said = joined(chunks_of(await target.chat_stream("[refuse]")), key="refusal")
    expect(said == "I cannot help with that.", f"it says {short(said)}")


@case(
    "stream-reasoning",
    "Fields of a delta that OpenAI does not know (reasoning_content) survive.",
    needs=["mock"],
    source="reasoning models behind vLLM and others",
)
async def _(target: Target) -> None:
    said = joined(chunks_of(await target.chat_stream("[reasoning]")), key="reasoning_content")
    expect(said == "Let me think about it.", f"it says {short(said)}")


@case("stream-not-held-back", "Tokens go to the client as they come, not at the end.", needs=["mock"])
async def _(target: Target) -> None:
    stream = await target.chat_stream("[words=20] [pause=0.02]")
    chunks_of(stream)
    first, last = stream.arrivals[0], stream.arrivals[-1]
    expect(last - first > 0.15, f"{len(stream.arrivals)} pieces came within {last - first:.2f} s of the first")


@case("stream-hang-up", "A client that hangs up in mid-stream leaves a gateway that goes on serving.", needs=["mock"])
async def _(target: Target) -> None:
    for _ in range(3):
        await target.hang_up("/chat/completions", target.chat_body("[words=500] [pause=0.01]", stream=True))
    content_of(await target.chat())
