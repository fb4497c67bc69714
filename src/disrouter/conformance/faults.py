"""What reaches the client when the backend fails: before the first byte a plain error, after it one terminal event.

The mock backend fails on request, so the gateway under test must have no better agent to turn to.
"""

from __future__ import annotations

from disrouter.conformance.case import Check, expect, group, short
from disrouter.conformance.shapes import chunks_of, completion, content_of, error_of, joined, refused
from disrouter.conformance.target import Target

__all__ = ["FAULTS"]

FAULTS = group("faults", "one error in the client's dialect, within the deadline, and nothing made up")
case = FAULTS.case

BEFORE = {
    "hang": "accepts the request and says nothing",
    "drop": "hangs up before it says anything",
    "hang-after-headers": "sends headers and no more",
    "500": "fails with 500",
    "503": "is overloaded",
    "html": "sends a web page",
    "empty": "sends nothing",
    "not-openai": "sends JSON of another kind",
    "redirect": "sends the gateway elsewhere",
    "not-http": "does not speak HTTP",
    "huge": "sends without end",
}
"""Faults that strike before an answer has begun."""

DURING = {
    "stall": "falls silent",
    "die": "resets the connection",
    "cut": "ends without a finish reason",
    "error-event": "brings an error",
    "malformed": "brings half an event",
}
"""Faults that strike when part of the answer is with the client."""


def _whole(fault: str) -> Check:
    async def check(target: Target) -> None:
        refused(await target.chat(f"[fault={fault}]"), 500, 502, 503, 504)

    return check


def _before_stream(fault: str) -> Check:
    async def check(target: Target) -> None:
        refused(await target.chat_stream(f"[fault={fault}]"), 500, 502, 503, 504)

    return check


def _in_stream(fault: str) -> Check:
    async def check(target: Target) -> None:
        stream = await target.chat_stream(f"[words=20] [fault={fault}]")
        if stream.status != 200:  # not a byte was sent yet: that is fine as well
            refused(stream, 500, 502, 503, 504)
            return
        events = stream.events()
        ends = [e for e in events if e.done or (isinstance(e.json, dict) and "error" in e.json)]
        expect(len(ends) == 1, f"{len(ends)} events end the stream")
        expect(not ends[0].done, "[DONE] says that all went well")
        error_of(ends[0].json)
        expect(events[-1] is ends[0], "something follows the error")
        text = "".join((c["delta"].get("content") or "") for e in events[:-1] for c in e.json.get("choices", []))
        expect("word19" not in text, "the rest of the answer is made up")

    return check


for _fault, _what in BEFORE.items():
    FAULTS.add(f"fault-{_fault}", f"A backend that {_what}: 5xx with an error object.", _whole(_fault), needs=["mock"])
    FAULTS.add(
        f"fault-{_fault}-stream",
        f"A backend that {_what} before a stream: 5xx with an error object.",
        _before_stream(_fault),
        needs=["mock"],
    )
for _fault, _what in DURING.items():
    FAULTS.add(
        f"fault-{_fault}",
        f"A backend that {_what} in the middle of a whole answer: 5xx with an error object.",
        _whole(_fault),
        needs=["mock"],
    )
    FAULTS.add(
        f"fault-{_fault}-stream",
        f"A backend that {_what} in mid-stream: exactly one terminal event, an error, and no [DONE].",
        _in_stream(_fault),
        needs=["mock"],
    )


@case("fault-429", "A backend that is over its rate: 429 or 503 with retry-after.", needs=["mock"])
async def _(target: Target) -> None:
    reply = await target.chat("[fault=429]")
    refused(reply, 429, 503)
    pause = reply.headers.get("retry-after", "")
    expect(pause.isdigit() and int(pause) >= 1, f"retry-after is {short(pause)}")


@case("fault-backend-key", "The backend refuses the gateway's key: 5xx, for the client's key is right.", needs=["mock"])
async def _(target: Target) -> None:
    refused(await target.chat("[fault=401]"), 500, 502, 503)


@case("fault-context", "A prompt too long for the model: 400 with code context_length_exceeded.", needs=["mock"])
async def _(target: Target) -> None:
    refused(await target.chat("[fault=context]"), 400, code="context_length_exceeded")


@case(
    "fault-bad-request", "What the backend finds wrong with the request is the client's to know: 400.", needs=["mock"]
)
async def _(target: Target) -> None:
    refused(await target.chat("[fault=400]"), 400)


@case("fault-no-done", "A finished stream without [DONE] is finished; the client gets its [DONE].", needs=["mock"])
async def _(target: Target) -> None:
    stream = await target.chat_stream("[words=4] [fault=no-done]")
    expect(joined(chunks_of(stream)) == "word0 word1 word2 word3", "the answer is not whole")
    expect(stream.events()[-1].done, "there is no [DONE]")


@case("fault-drip", "A whole answer that comes byte by byte is an answer.", needs=["mock"])
async def _(target: Target) -> None:
    expect(content_of(await target.chat("[words=4] [fault=drip]")) == "word0 word1 word2 word3", "it is another")


@case("fault-drip-stream", "A stream that comes byte by byte is a stream.", needs=["mock"])
async def _(target: Target) -> None:
    chunks = chunks_of(await target.chat_stream("[words=4] [fault=drip]"))
    expect(joined(chunks) == "word0 word1 word2 word3", f"it says {short(joined(chunks))}")


@case(
    "fault-wrong-type", "An answer under a wrong content type is used or refused, in the right shape.", needs=["mock"]
)
async def _(target: Target) -> None:
    reply = await target.chat("[words=4] [fault=wrong-type]")
    if reply.status == 200:
        completion(reply)
    else:
        refused(reply, 500, 502, 503)


@case(
    "fault-wrong-type-stream",
    "A stream under a wrong content type is used or refused, in the right shape.",
    needs=["mock"],
)
async def _(target: Target) -> None:
    stream = await target.chat_stream("[words=4] [fault=wrong-type]")
    if stream.status == 200:
        chunks_of(stream)
    else:
        refused(stream, 500, 502, 503)


@case("fault-over", "After all that the gateway answers as before.", needs=["mock"])
async def _(target: Target) -> None:
    for fault in ("500", "die", "malformed"):
        await target.chat(f"[fault={fault}]")
    content_of(await target.chat("[words=2]"))


@case(
    "fault-address", "No error tells the address of the backend.", needs=["mock"], source="Portkey, LiteLLM advisories"
)
async def _(target: Target) -> None:
    for fault in ("500", "html", "redirect", "not-http"):
        reply = await target.chat(f"[fault={fault}]")
        told = reply.body + repr(reply.headers).encode()
        expect(b"127.0.0.1:" not in told and b"localhost:" not in told, f"that of {fault} does: {short(reply.body)}")
