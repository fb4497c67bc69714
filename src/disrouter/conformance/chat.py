"""Whole chat completions: their shape, and what the request's fields do."""

from __future__ import annotations

import asyncio
from typing import Any

from disrouter.conformance.case import Check, expect, group, one, short
from disrouter.conformance.shapes import completion, content_of, finish_of, message_of, usage
from disrouter.conformance.target import Target

__all__ = ["CHAT"]

CHAT = group("chat", "OpenAI API reference: chat completions")
case = CHAT.case

# A red dot, one pixel.
PNG = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"
    "AAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)


@case("chat-shape", "An answer has id, object, created, model and choices with index and finish_reason.")
async def _(target: Target) -> None:
    completion(await target.chat())


@case("chat-message", "The message of a choice is the assistant's, with text or null as content.")
async def _(target: Target) -> None:
    message = message_of(await target.chat())
    expect("content" in message, "message has no 'content'")
    expect(message["content"] is None or isinstance(message["content"], str), f"content is {short(message['content'])}")
    refusal = message.get("refusal")
    expect(refusal is None or isinstance(refusal, str), f"refusal is {short(refusal)}")


@case("chat-created", "created is a time in whole seconds since 1970, not in milliseconds.")
async def _(target: Target) -> None:
    created = completion(await target.chat())["created"]
    expect(1_400_000_000 < created < 5_000_000_000, f"created is {created}")


@case("chat-ids-differ", "Two answers have two ids.")
async def _(target: Target) -> None:
    first, second = completion(await target.chat()), completion(await target.chat())
    expect(first["id"] != second["id"], f"both are {short(first['id'])}")


@case("chat-finish-stop", "An answer that ended by itself has the finish reason stop.", needs=["mock"])
async def _(target: Target) -> None:
    found = finish_of(await target.chat("[words=3]"))
    expect(found == "stop", f"it is {short(found)}")


@case("chat-usage", "usage counts prompt and completion tokens, and they add up.")
async def _(target: Target) -> None:
    counts = usage(completion(await target.chat()).get("usage"))
    expect(counts["prompt"] > 0, "a prompt of no tokens")


@case("chat-usage-exact", "usage is that of the answering model, unchanged.", needs=["mock"])
async def _(target: Target) -> None:
    counts = usage(completion(await target.chat("one two [words=5]")).get("usage"))
    expect(counts == {"prompt": 3, "completion": 5}, f"3 and 5 tokens were used, usage says {short(counts)}")


@case("chat-n", "n asks for that many choices.", needs=["n"])
async def _(target: Target) -> None:
    choices = completion(await target.chat(n=3))["choices"]
    expect(len(choices) == 3, f"{len(choices)} choices came")


@case("chat-max-tokens", "max_tokens cuts the answer off, and finish_reason says length.")
async def _(target: Target) -> None:
    reply = await target.chat("Count from 1 to 100. [words=40]", max_tokens=2)
    expect(finish_of(reply) == "length", f"finish_reason is '{finish_of(reply)}'")
    said = usage(completion(reply).get("usage"))["completion"]
    expect(said <= 2, f"{said} tokens were said")


@case("chat-max-completion-tokens", "max_completion_tokens cuts the answer off, and finish_reason says length.")
async def _(target: Target) -> None:
    reply = await target.chat("Count from 1 to 100. [words=40]", max_completion_tokens=2)
    expect(finish_of(reply) == "length", f"finish_reason is '{finish_of(reply)}'")


@case("chat-stop-list", "The answer ends before any of the texts in stop.")
async def _(target: Target) -> None:
    text = content_of(await target.chat("Count to nine. [words=9]", stop=["3", "5"]))
    expect("3" not in text and "5" not in text, f"it says {short(text)}")


@case("chat-stop-text", "stop may be one text.")
async def _(target: Target) -> None:
    text = content_of(await target.chat("Count to nine. [words=9]", stop="3"))
    expect("3" not in text, f"it says {short(text)}")


@case("chat-seed", "seed reaches the model: the same seed draws the same answer, another seed another.", needs=["mock"])
async def _(target: Target) -> None:
    one_, again, other = [content_of(await target.chat("hi", seed=seed)) for seed in (1, 1, 2)]
    expect(one_ == again, f"the same seed gave {short(one_)} and {short(again)}")
    expect(one_ != other, f"two seeds gave {short(one_)}")


@case("chat-temperature", "temperature reaches the model.", needs=["mock"])
async def _(target: Target) -> None:
    cold, warm = [content_of(await target.chat("hi", temperature=t)) for t in (0, 1.5)]
    expect(cold != warm, "the answers do not differ")


@case("chat-logprobs", "logprobs gives every token of the answer its log-probability.", needs=["logprobs"])
async def _(target: Target) -> None:
    reply = await target.chat("Say hello. [words=4]", logprobs=True, max_tokens=4)
    logprobs = one(completion(reply)["choices"][0].get("logprobs"), dict, "logprobs")
    entries = one(logprobs.get("content"), list, "logprobs.content")
    for entry in entries:
        one(entry.get("token"), str, "token")
        expect(isinstance(entry.get("logprob"), float | int), f"logprob is {short(entry.get('logprob'))}")
    said = usage(completion(reply).get("usage"))["completion"]
    expect(len(entries) == said, f"{len(entries)} log-probabilities for {said} tokens")


@case("chat-top-logprobs", "top_logprobs gives that many alternatives to every token.", needs=["logprobs"])
async def _(target: Target) -> None:
    reply = await target.chat("Say hello.", logprobs=True, top_logprobs=3, max_tokens=2)
    for entry in completion(reply)["choices"][0]["logprobs"]["content"]:
        count = len(one(entry.get("top_logprobs"), list, "top_logprobs"))
        expect(count == 3, f"there are {count}")


@case("chat-no-logprobs", "Nobody who did not ask for log-probabilities gets any.")
async def _(target: Target) -> None:
    logprobs = completion(await target.chat())["choices"][0].get("logprobs")
    expect(logprobs is None, f"logprobs is {short(logprobs)}")


@case("chat-refusal", "message.refusal of the model survives.", needs=["mock"])
async def _(target: Target) -> None:
    message = message_of(await target.chat("[refuse]"))
    expect(message.get("refusal") == "I cannot help with that.", f"refusal is {short(message.get('refusal'))}")


@case(
    "chat-reasoning",
    "Fields of a message that OpenAI does not know (reasoning_content) survive.",
    needs=["mock"],
    source="reasoning models behind vLLM and others",
)
async def _(target: Target) -> None:
    found = message_of(await target.chat("[reasoning]")).get("reasoning_content")
    expect(found == "Let me think about it.", f"it is {short(found)}")


@case("chat-unicode", "Text of any script comes back as it was sent.", needs=["mock"])
async def _(target: Target) -> None:
    said = "naïve 日本語 🦊👩\u200d👩\u200d👧 \u2028 עברית \x7f"
    text = content_of(await target.chat(f"{said} [x]"))
    expect(said in text, f"it came back as {short(text)}")


@case("chat-at-once", "Answers to requests at the same time are not mixed up.", needs=["mock"])
async def _(target: Target) -> None:
    replies = await asyncio.gather(*(target.chat(f"number-{i}-of-24") for i in range(24)))
    wrong = [i for i, reply in enumerate(replies) if f"number-{i}-of-24" not in content_of(reply)]
    expect(not wrong, f"{len(wrong)} of 24 got another's answer")


@case("chat-long-prompt", "A prompt of a hundred thousand characters is taken.", needs=["mock"])
async def _(target: Target) -> None:
    content_of(await target.chat("word " * 20_000 + "[words=2]"))


def _accepts(**fields: Any) -> Check:
    async def check(target: Target) -> None:
        completion(await target.chat(**fields))

    return check


def _history(*messages: dict[str, Any]) -> Check:
    return _accepts(messages=[*messages, {"role": "user", "content": "And now?"}])


_CALL = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
_PARTS = [{"type": "text", "text": "Say"}, {"type": "text", "text": "hello."}]

for _name, _rule, _check in (
    ("system", "A system message is taken.", _history({"role": "system", "content": "Be brief."})),
    ("developer", "A developer message is taken.", _history({"role": "developer", "content": "Be brief."})),
    (
        "history",
        "Earlier turns are taken.",
        _history({"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}),
    ),
    ("parts", "Content in parts is taken.", _accepts(messages=[{"role": "user", "content": _PARTS}])),
    (
        "name",
        "A message may name its author.",
        _accepts(messages=[{"role": "user", "name": "ann", "content": "Say hello."}]),
    ),
    (
        "tool-history",
        "A history with tool calls (content null) and their results is taken.",
        _history(
            {"role": "user", "content": "Look it up."},
            {"role": "assistant", "content": None, "tool_calls": [_CALL]},
            {"role": "tool", "tool_call_id": "call_1", "content": "found"},
        ),
    ),
    (
        "unknown-message-field",
        "Unknown fields in the history (reasoning_content) are no reason to refuse.",
        _history({"role": "assistant", "content": "Hello.", "reasoning_content": "hm"}),
    ),
    (
        "other-fields",
        "Fields that say nothing to a model (user, metadata, store, safety_identifier) are no reason to refuse.",
        _accepts(user="ann", metadata={"run": "1"}, store=False, safety_identifier="x", prompt_cache_key="k"),
    ),
    ("unknown-field", "A field nobody has heard of is no reason to refuse.", _accepts(x_of_tomorrow={"a": [1]})),
    (
        "nulls",
        "null means that an optional field was left out.",
        _accepts(temperature=None, stop=None, seed=None, n=None, max_tokens=None, stream=None, stream_options=None),
    ),
    ("stream-false", "stream: false asks for a whole answer.", _accepts(stream=False)),
):
    CHAT.add(f"chat-takes-{_name}", _rule, _check, source="openai-python's own requests")

CHAT.add(
    "chat-takes-image",
    "A message with an image is passed to a model that takes it.",
    _accepts(
        messages=[
            {
                "role": "user",
                "content": [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": PNG}}],
            }
        ]
    ),
    needs=["mock"],
)
