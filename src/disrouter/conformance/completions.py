"""The older text completions, and the list of models."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from disrouter.conformance.case import expect, group, one, short
from disrouter.conformance.shapes import chunks_of, completion, refused, usage
from disrouter.conformance.target import Reply, Target

__all__ = ["COMPLETIONS", "MODELS"]

COMPLETIONS = group("completions", "OpenAI API reference: completions")
MODELS = group("models", "OpenAI API reference: models")
case = COMPLETIONS.case


def _body(target: Target, **fields: Any) -> dict[str, Any]:
    return {"model": target.model, "prompt": "Once upon a time", "max_tokens": 8, **fields}


async def _whole(target: Target, **fields: Any) -> Reply:
    return await target.post("/completions", _body(target, **fields))


def _text(reply: Reply) -> str:
    text: str = one(completion(reply, "text_completion")["choices"][0].get("text"), str, "text")
    return text


@case("completion-shape", "A text completion is a text_completion whose choices have text.")
async def _(target: Target) -> None:
    _text(await _whole(target))


@case("completion-usage", "usage counts prompt and completion tokens, and they add up.")
async def _(target: Target) -> None:
    usage(completion(await _whole(target), "text_completion").get("usage"))


@case("completion-max-tokens", "max_tokens cuts the text off, and finish_reason says length.")
async def _(target: Target) -> None:
    found = completion(await _whole(target, prompt="Count: [words=40]", max_tokens=2), "text_completion")
    reason = found["choices"][0]["finish_reason"]
    expect(reason == "length", f"finish_reason is {short(reason)}")


@case("completion-stream", "A stream brings text in text_completion chunks and ends with [DONE].")
async def _(target: Target) -> None:
    stream = await target.stream("/completions", _body(target, stream=True))
    chunks = chunks_of(stream, "text_completion")
    for choice in (choice for chunk in chunks for choice in chunk["choices"]):
        one(choice.get("text"), str, "text")
    expect(stream.events()[-1].done, "the last event is another")


@case("completion-stream-same-text", "A stream says what the whole text says.", needs=["mock"])
async def _(target: Target) -> None:
    whole = _text(await _whole(target))
    chunks = chunks_of(await target.stream("/completions", _body(target, stream=True)), "text_completion")
    said = "".join(choice["text"] for chunk in chunks for choice in chunk["choices"])
    expect(said == whole, f"{short(said)} is not {short(whole)}")


@case("completion-stream-usage", "include_usage brings usage in one last chunk without choices.")
async def _(target: Target) -> None:
    body = _body(target, stream=True, stream_options={"include_usage": True})
    chunks = chunks_of(await target.stream("/completions", body), "text_completion")
    expect(chunks[-1].get("choices") == [], f"the choices of the last chunk are {short(chunks[-1].get('choices'))}")
    usage(chunks[-1].get("usage"))


@case("completion-no-prompt", "Without a prompt: 400.")
async def _(target: Target) -> None:
    refused(await target.post("/completions", {"model": target.model}), 400)


@case("completion-unknown-model", "An unknown model: 404 with code model_not_found.")
async def _(target: Target) -> None:
    refused(await _whole(target, model="no-such-model-here"), 404, code="model_not_found")


@MODELS.case("models-list", "The list has object list, and models with id, created and owned_by.")
async def _(target: Target) -> None:
    reply = await target.get("/models")
    expect(reply.status == 200, f"HTTP {reply.status}")
    body = one(reply.json(), dict, "the body")
    expect(body.get("object") == "list", f"object is {short(body.get('object'))}")
    models = one(body.get("data"), list, "data")
    expect(models, "there are no models")
    for model in models:
        _is_model(model)


@MODELS.case("models-has-this-one", "The model that answers is in the list.")
async def _(target: Target) -> None:
    names = [model["id"] for model in (await target.get("/models")).json()["data"]]
    expect(target.model in names, f"listed are {short(names)}")


@MODELS.case("models-retrieve", "A model of the list can be asked for by its id.")
async def _(target: Target) -> None:
    reply = await target.get(f"/models/{quote(target.model)}")
    expect(reply.status == 200, f"HTTP {reply.status}")
    body = one(reply.json(), dict, "the body")
    _is_model(body)
    expect(body["id"] == target.model, f"id is {short(body['id'])}")


@MODELS.case("models-retrieve-unknown", "An unknown model: 404 with code model_not_found.")
async def _(target: Target) -> None:
    refused(await target.get("/models/no-such-model-here"), 404, code="model_not_found")


def _is_model(model: object) -> None:
    found = one(model, dict, "a model")
    expect(one(found.get("id"), str, "id"), "an id is empty")
    expect(found.get("object") == "model", f"object is {short(found.get('object'))}")
    one(found.get("created"), int, "created")
    one(found.get("owned_by"), str, "owned_by")
