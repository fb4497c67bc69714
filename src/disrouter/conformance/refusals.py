"""What is refused, and how: every failure is an error object that clients can read."""

from __future__ import annotations

import json
from typing import Any

from disrouter.conformance.case import BrokenRuleError, Check, expect, group, short
from disrouter.conformance.shapes import completion, error_of, refused
from disrouter.conformance.target import Reply, Target

__all__ = ["REFUSALS"]

REFUSALS = group("errors", "OpenAI API reference: error codes")
case = REFUSALS.case

HTTP = "RFC 9110: HTTP semantics"
HARD = "what a server on a network must stand"


@case("error-unknown-model", "An unknown model: 404 with code model_not_found.")
async def _(target: Target) -> None:
    refused(await target.chat(model="no-such-model-here"), 404, code="model_not_found")


@case("error-before-stream", "What is wrong before a stream begins is a plain HTTP error, no event.")
async def _(target: Target) -> None:
    refused(await target.chat_stream(model="no-such-model-here"), 404, code="model_not_found")


@case("error-type", "A request that makes no sense has the type invalid_request_error.")
async def _(target: Target) -> None:
    error = refused(await target.chat(messages="hello"), 400)
    expect(error["type"] == "invalid_request_error", f"error.type is {short(error['type'])}")


def _raw(content: bytes) -> Check:
    async def check(target: Target) -> None:
        refused(await target.post("/chat/completions", content), 400)

    return check


def _without(field: str) -> Check:
    async def check(target: Target) -> None:
        body = target.chat_body()
        del body[field]
        refused(await target.post("/chat/completions", body), 400)

    return check


def _with(**fields: Any) -> Check:
    async def check(target: Target) -> None:
        refused(await target.chat(**fields), 400)

    return check


_ODD_PART = {"type": "text", "text": {}}

for _name, _rule, _check in (
    ("no-json", "A body that is no JSON: 400.", _raw(b'{"model": "x", "messages": [')),
    ("empty-body", "An empty body: 400.", _raw(b"")),
    ("list-body", "A body that is no object: 400.", _raw(b"[1, 2]")),
    ("invalid-utf8", "A body that is no UTF-8: 400.", _raw(b'{"model": "\xff\xfe", "messages": []}')),
    ("no-model", "Without a model: 400.", _without("model")),
    ("model-number", "A model that is no text: 400.", _with(model=4)),
    ("no-messages", "Without messages: 400.", _without("messages")),
    ("empty-messages", "No messages at all: 400.", _with(messages=[])),
    ("messages-text", "Messages that are no list: 400.", _with(messages="hello")),
    ("message-text", "A message that is no object: 400.", _with(messages=["hello"])),
    ("no-role", "A message without a role: 400.", _with(messages=[{"content": "hello"}])),
    ("unknown-role", "A role nobody knows: 400.", _with(messages=[{"role": "wizard", "content": "hello"}])),
    (
        "content-number",
        "A content that is neither text nor parts: 400.",
        _with(messages=[{"role": "user", "content": 4}]),
    ),
    ("part-text", "A text part whose text is none: 400.", _with(messages=[{"role": "user", "content": [_ODD_PART]}])),
    ("temperature-text", "A temperature that is no number: 400.", _with(temperature="hot")),
    ("temperature-range", "A temperature above 2: 400.", _with(temperature=2.5)),
    ("top-p-range", "A top_p above 1: 400.", _with(top_p=1.5)),
    ("penalty-range", "A presence_penalty above 2: 400.", _with(presence_penalty=3)),
    ("n-zero", "n of zero: 400.", _with(n=0)),
    ("n-text", "n that is no number: 400.", _with(n="two")),
    ("max-tokens-zero", "max_tokens of zero: 400.", _with(max_tokens=0)),
    ("max-tokens-text", "max_tokens that is no number: 400.", _with(max_tokens="many")),
    ("top-logprobs-range", "top_logprobs above 20: 400.", _with(logprobs=True, top_logprobs=21)),
    ("top-logprobs-alone", "top_logprobs without logprobs: 400.", _with(top_logprobs=2)),
    ("stream-text", "A stream that is no truth value: 400.", _with(stream="yes please")),
    ("stream-options-alone", "stream_options without stream: 400.", _with(stream_options={"include_usage": True})),
    ("stop-number", "A stop that is no text: 400.", _with(stop=4)),
    ("response-format", "A response_format that is no object: 400.", _with(response_format="json")),
    ("response-format-type", "A response_format without a type: 400.", _with(response_format={"kind": "json"})),
    ("json-schema-shape", "A json_schema without a schema: 400.", _with(response_format={"type": "json_schema"})),
    ("tools-shape", "Tools that are no tools: 400.", _with(tools=[{"type": "function"}])),
):
    REFUSALS.add(f"error-{_name}", _rule, _check)


@case("error-param", "The error of a field names it in param.")
async def _(target: Target) -> None:
    refused(await target.chat(temperature=2.5), 400, param="temperature")


@case("error-unknown-route", "An unknown path: 404 with an error object.")
async def _(target: Target) -> None:
    refused(await target.post("/no/such/route", {}), 404)


@case("error-method", "A wrong method: 405 with an error object, and allow says which are right.", source=HTTP)
async def _(target: Target) -> None:
    reply = await target.get("/chat/completions")
    refused(reply, 405)
    expect("POST" in reply.headers.get("allow", ""), f"allow is {short(reply.headers.get('allow'))}")


@case("error-content-type", "A body of another type is refused (400 or 415) or read as what it is, JSON.", source=HTTP)
async def _(target: Target) -> None:
    body = json.dumps(target.chat_body()).encode()
    reply = await target.post("/chat/completions", body, {"Content-Type": "text/plain"})
    if reply.status == 200:
        completion(reply)
    else:
        refused(reply, 400, 415)


@case("error-request-id", "Every answer has an x-request-id, errors too.", source="OpenAI API reference: debugging")
async def _(target: Target) -> None:
    ids = [
        reply.headers.get("x-request-id") for reply in (await target.chat(), await target.chat(model="no-such-model"))
    ]
    expect(all(ids) and ids[0] != ids[1], f"they are {ids}")


def _calm(reply: Reply) -> None:
    """An answer or a refusal in the right shape; never a failure of the server."""
    expect(reply.status < 500, f"HTTP {reply.status}: {short(reply.body[:160])}")
    if reply.status != 200:
        refused(reply)


def _stands(content: bytes) -> Check:
    async def check(target: Target) -> None:
        _calm(await target.post("/chat/completions", content.replace(b"MODEL", json.dumps(target.model).encode())))

    return check


_DEEP = b'{"model": MODEL, "messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
_NAN = b'{"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "temperature": NaN}'
_HUGE = b'{"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "seed": 1' + b"0" * 400 + b"}"
_SURROGATE = b'{"model": MODEL, "messages": [{"role": "user", "content": "\\ud800 hi"}]}'
_NULS = b'{"model": MODEL, "messages": [{"role": "user", "content": "\\u0000 hi"}]}'
_MANY = b'{"model": MODEL, "messages": [' + b'{"role": "user", "content": "hi"},' * 9_999
_MANY += b'{"role": "user", "content": "hi"}]}'

for _name, _rule, _content in (
    ("deep", "A hundred thousand brackets: no failure of the server.", _DEEP),
    ("nan", "NaN, which is no JSON: no failure of the server.", _NAN),
    ("huge-number", "A seed of four hundred digits: no failure of the server.", _HUGE),
    ("surrogate", "Half a surrogate pair: no failure of the server.", _SURROGATE),
    ("nul", "A NUL character: no failure of the server.", _NULS),
    ("many-messages", "Ten thousand messages: an answer or a refusal.", _MANY),
):
    REFUSALS.add(f"stands-{_name}", _rule, _stands(_content), source=HARD)


@case("stands-announced-gigabytes", "A body announced as 8 GiB is refused (413) before it is sent.", source=HARD)
async def _(target: Target) -> None:
    head = ["POST {path}/chat/completions HTTP/1.1", "Content-Type: application/json", f"Content-Length: {8 * 2**30}"]
    answer = await target.talk([*head, "Connection: close"], b'{"model"', seconds=min(10.0, target.timeout))
    status, _, rest = answer.partition(b"\r\n")
    expect(b" 413" in status, f"the answer is {short(status)}")
    try:
        error_of(json.loads(rest.partition(b"\r\n\r\n")[2]))
    except ValueError:
        raise BrokenRuleError("the body of the 413 is no JSON") from None


@case("stands-long-header", "A header of 100 kB: a refusal or a closed connection, and service goes on.", source=HARD)
async def _(target: Target) -> None:
    head = ["GET {path}/models HTTP/1.1", f"X-Long: {'x' * 100_000}", "Connection: close"]
    answer = await target.talk(head, seconds=min(10.0, target.timeout))
    status = answer.partition(b"\r\n")[0]
    expect(not answer or b" 4" in status or b" 200" in status, f"the answer is {short(status)}")
    completion(await target.chat())


@case("stands-half-request", "A client that sends half a request and leaves: service goes on.", source=HARD)
async def _(target: Target) -> None:
    head = ["POST {path}/chat/completions HTTP/1.1", "Content-Type: application/json", "Content-Length: 5000"]
    await target.talk(head, b'{"model": ', seconds=0.05)
    completion(await target.chat())


@case("error-keeps-connection", "After a refusal the same connection takes the next request.", source=HTTP)
async def _(target: Target) -> None:
    refused(await target.chat(temperature=2.5), 400)
    completion(await target.chat())


@case("error-no-key", "Without a key: 401.", needs=["key"])
async def _(target: Target) -> None:
    refused(await target.post("/chat/completions", target.chat_body(), {"Authorization": None}), 401)


@case("error-wrong-key", "With a wrong key: 401 with code invalid_api_key.", needs=["key"])
async def _(target: Target) -> None:
    headers = {"Authorization": "Bearer sk-not-a-key-at-all"}
    refused(await target.post("/chat/completions", target.chat_body(), headers), 401, code="invalid_api_key")


@case("error-odd-key", "A key of another alphabet or scheme: 401, no failure of the server.", needs=["key"])
async def _(target: Target) -> None:
    for odd in ("Bearer schlüssel", "Basic dXNlcjpwYXNz", "Bearer", "Bearer  "):
        refused(await target.post("/chat/completions", target.chat_body(), {"Authorization": odd}), 401)


@case("error-key-not-told", "An error does not repeat the key.", needs=["key"])
async def _(target: Target) -> None:
    headers = {"Authorization": "Bearer sk-canary-5d1f"}
    reply = await target.post("/chat/completions", target.chat_body(), headers)
    expect(b"sk-canary-5d1f" not in reply.body, "it does")
