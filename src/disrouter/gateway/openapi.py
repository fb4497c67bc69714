"""What the API takes and gives, as an OpenAPI 3.1 document at ``/openapi.json``.

Kept by hand, so that it says what is checked at the door and no more: fields that only models understand travel on
unseen. Tests hold it against the app: what it allows is answered, what it forbids is refused, no route is missing.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from disrouter import __version__
from disrouter.gateway.asking import MOST_CHOICES, MOST_COUNT, MOST_STOPS, MOST_TOP_LOGPROBS
from disrouter.gateway.messages import MOST_MESSAGES

__all__ = ["description", "openapi_routes"]

Schema = dict[str, Any]

ROLES = ("system", "developer", "user", "assistant", "tool", "function")


def openapi_routes() -> list[Route]:
    """Return the route of the document; it names no agent and needs no key."""

    async def document(request: Request) -> Response:
        return JSONResponse(description())

    return [Route("/openapi.json", document, methods=["GET"])]


@cache
def description() -> Schema:
    """Return the OpenAPI document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "DiSRouter gateway",
            "version": __version__,
            "description": "OpenAI's API in front of a network of agents that decide for themselves.",
        },
        "paths": {
            "/v1/chat/completions": _post("Answer a conversation.", "ChatRequest", "ChatCompletion"),
            "/v1/completions": _post("Go on with a text.", "CompletionRequest", "TextCompletion"),
            "/v1/responses": _post("Answer in the form of the Responses API.", "ResponseRequest", "Response"),
            "/v1/models": _get("List what can be asked.", "ModelList"),
            "/v1/models/{model}": {
                "parameters": [{"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}],
                **_get("Describe one of them.", "Model"),
            },
            "/health": _get("Say whether it is worth asking.", "Status", open_to_all=True),
            "/health/live": _get("Say that the process runs.", "Status", open_to_all=True),
            "/health/ready": _get("Say whether it is worth asking.", "Status", open_to_all=True),
        },
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {**_REQUESTS, **_ANSWERS},
        },
        "security": [{"key": []}, {}],
    }


def _post(summary: str, request: str, answer: str) -> Schema:
    content = {"application/json": {"schema": _ref(request)}}
    stream: Schema = {"text/event-stream": {}}
    answers = {"200": {"description": "The answer.", "content": {**_json(answer), **stream}}}
    operation = {
        "summary": summary,
        "requestBody": {"required": True, "content": content},
        "responses": {**answers, **_FAILURES},
    }
    return {"post": operation}


def _get(summary: str, answer: str, *, open_to_all: bool = False) -> Schema:
    answers = {"200": {"description": "Found.", "content": _json(answer)}}
    if open_to_all:
        answers["503"] = {"description": "Not now.", "content": _json("Status")}
        return {"get": {"summary": summary, "responses": answers, "security": []}}
    return {"get": {"summary": summary, "responses": {**answers, **_FAILURES}}}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(name: str) -> Schema:
    return {"application/json": {"schema": _ref(name)}}


_FAILURES = {
    "4XX": {"description": "The request cannot be served.", "content": _json("Error")},
    "5XX": {"description": "No agent could answer.", "content": _json("Error")},
}


def _object(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    made: Schema = {"type": "object", "properties": properties}
    return {**made, "required": list(required)} if required else made


def _or_null(schema: Schema) -> Schema:
    """Return a schema that takes null as well: to OpenAI's clients null means that a field was left out."""
    return {**schema, "type": [schema["type"], "null"]} if "type" in schema else {"anyOf": [schema, {"type": "null"}]}


_TEXT: Schema = {"type": "string"}
_NAME: Schema = {"type": "string", "minLength": 1}
_FLAG = _or_null({"type": "boolean"})
_COUNT = _or_null({"type": "integer", "minimum": 1, "maximum": MOST_COUNT})
_PENALTY = _or_null({"type": "number", "minimum": -2, "maximum": 2})
_PART = {
    "oneOf": [
        _object(("type", "text"), type={"const": "text"}, text=_TEXT),
        _object(("type",), type={"type": "string", "not": {"const": "text"}}),
    ]
}
_MESSAGE = {
    "oneOf": [
        _object(
            ("role", "content"),
            role={"enum": [role for role in ROLES if role != "assistant"]},
            content={"anyOf": [_TEXT, {"type": "array", "items": _PART}]},
        ),
        _object(
            ("role",),
            role={"const": "assistant"},
            content={"anyOf": [_TEXT, {"type": "null"}, {"type": "array", "items": _PART}]},
        ),
    ]
}
_FUNCTION_TOOL = _object(("type", "function"), type={"const": "function"}, function=_object(("name",), name=_TEXT))
_OTHER_TOOL = _object(("type",), type={"type": "string", "not": {"const": "function"}})
_FORMAT = {
    "oneOf": [
        _object(("type",), type={"type": "string", "not": {"const": "json_schema"}}),
        _object(("type", "json_schema"), type={"const": "json_schema"}, json_schema=_object(("name",), name=_TEXT)),
    ]
}

_ITEM = _object(
    ("role", "content"),
    type={"const": "message"},
    role={"enum": list(ROLES)},
    content={
        "anyOf": [
            _TEXT,
            {"type": "array", "items": _object(("type", "text"), type={"const": "input_text"}, text=_TEXT)},
        ]
    },
)
_RESULT = _object(("type", "call_id", "output"), type={"const": "function_call_output"}, call_id=_TEXT, output=_TEXT)
_THRESHOLD = {
    **_object(
        ("name", "threshold"),
        name={"const": "threshold"},
        threshold={"type": "number", "minimum": 0, "maximum": 1},
    ),
    "additionalProperties": False,
}

_SHARED: dict[str, Schema] = {
    "model": {**_NAME, "examples": ["disrouter"]},
    "stream": _FLAG,
    "temperature": _or_null({"type": "number", "minimum": 0, "maximum": 2}),
    "top_p": _or_null({"type": "number", "minimum": 0, "maximum": 1}),
    "seed": _or_null({"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}),
    "alpha": _or_null({"type": "number", "minimum": 0, "maximum": 1}),
    "max_cost": _or_null({"type": "number", "exclusiveMinimum": 0}),
    "max_hops": _COUNT,
    "policy": {"anyOf": [{"enum": ["own-word", "paper"]}, _THRESHOLD, {"type": "null"}]},
}
_CHOOSING: dict[str, Schema] = {
    "n": _or_null({"type": "integer", "minimum": 1, "maximum": MOST_CHOICES}),
    "stop": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "maxItems": MOST_STOPS}, {"type": "null"}]},
    "presence_penalty": _PENALTY,
    "frequency_penalty": _PENALTY,
    "max_tokens": _COUNT,
    "stream_options": _or_null(_object(include_usage=_FLAG)),
}


def _goes_with(field: str, other: str) -> Schema:
    """Return the rule that a field is nothing without another that is true."""
    needed = {"required": [other], "properties": {other: {"const": True}}}
    return {"if": {"required": [field], "properties": {field: {"not": {"type": "null"}}}}, "then": needed}


_REQUESTS: dict[str, Schema] = {
    "ChatRequest": _object(
        ("model", "messages"),
        **_SHARED,
        **_CHOOSING,
        messages={"type": "array", "minItems": 1, "maxItems": MOST_MESSAGES, "items": _MESSAGE},
        max_completion_tokens=_COUNT,
        logprobs=_FLAG,
        top_logprobs=_or_null({"type": "integer", "minimum": 0, "maximum": MOST_TOP_LOGPROBS}),
        tools=_or_null({"type": "array", "items": {"oneOf": [_FUNCTION_TOOL, _OTHER_TOOL]}}),
        response_format={"anyOf": [_FORMAT, {"type": "null"}]},
    ),
    "CompletionRequest": _object(
        ("model", "prompt"),
        **_SHARED,
        **_CHOOSING,
        prompt={"anyOf": [_NAME, {"type": "array", "items": _NAME, "minItems": 1, "maxItems": 1}]},
        logprobs=_or_null({"type": "integer", "minimum": 0, "maximum": MOST_TOP_LOGPROBS}),
    ),
    "ResponseRequest": _object(
        ("model", "input"),
        **_SHARED,
        input={"anyOf": [_NAME, {"type": "array", "minItems": 1, "items": {"anyOf": [_ITEM, _RESULT]}}]},
        instructions=_or_null(_TEXT),
        max_output_tokens=_COUNT,
        text=_or_null(_object(format=_or_null(_object(("type",), type=_TEXT)))),
    ),
}

_REQUESTS["ChatRequest"]["allOf"] = [_goes_with("top_logprobs", "logprobs"), _goes_with("stream_options", "stream")]
_REQUESTS["CompletionRequest"]["allOf"] = [_goes_with("stream_options", "stream")]

_USAGE = _object(
    ("prompt_tokens", "completion_tokens", "total_tokens"),
    prompt_tokens={"type": "integer"},
    completion_tokens={"type": "integer"},
    total_tokens={"type": "integer"},
)
_CHOICE = _object(
    ("index", "finish_reason"), index={"type": "integer"}, finish_reason=_TEXT, message={"type": "object"}
)


def _completion(kind: str) -> Schema:
    return _object(
        ("id", "object", "created", "model", "choices", "usage"),
        id=_NAME,
        object={"const": kind},
        created={"type": "integer"},
        model=_NAME,
        choices={"type": "array", "minItems": 1, "items": _CHOICE},
        usage=_USAGE,
    )


_ANSWERS: dict[str, Schema] = {
    "ChatCompletion": _completion("chat.completion"),
    "TextCompletion": _completion("text_completion"),
    "Response": _object(
        ("id", "object", "status", "model", "output"),
        id=_NAME,
        object={"const": "response"},
        status=_TEXT,
        model=_NAME,
        output={"type": "array", "items": _object(("type",), type=_TEXT)},
    ),
    "Model": _object(
        ("id", "object", "created", "owned_by"),
        id=_NAME,
        object={"const": "model"},
        created={"type": "integer"},
        owned_by=_TEXT,
    ),
    "ModelList": _object(("object", "data"), object={"const": "list"}, data={"type": "array", "items": _ref("Model")}),
    "Status": _object(("status",), status=_TEXT),
    "Error": _object(
        ("error",),
        error=_object(
            ("message", "type", "param", "code"),
            message=_NAME,
            type=_NAME,
            param=_or_null(_TEXT),
            code=_or_null(_TEXT),
        ),
    ),
}
