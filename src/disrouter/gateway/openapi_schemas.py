"""Schemas of the OpenAPI document: what requests may hold and answers do.

Kept by hand, so that they say what is checked at the door and no more: fields that only models understand travel on
unseen.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from disrouter.gateway.fields import MOST_CHOICES, MOST_COUNT, MOST_STOPS, MOST_TOP_LOGPROBS
from disrouter.gateway.messages import MOST_MESSAGES

__all__ = ["ANSWERS", "REQUESTS", "ROLES", "Schema", "policy_schema"]

Schema = dict[str, Any]

ROLES = ("system", "developer", "user", "assistant", "tool", "function")


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


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
_SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
_PLAIN_FLAG: Schema = {"type": "boolean"}
_POLICY_SETTINGS: dict[str, tuple[tuple[str, ...], dict[str, Schema]]] = {
    "own-word": ((), {}),
    "threshold": (("threshold",), {"threshold": _SHARE}),
    "paper": ((), {"gamma": {"type": "number", "minimum": 0}}),
    "value-of-forwarding": (
        (),
        {
            "skip": _PLAIN_FLAG,
            "grades": _PLAIN_FLAG,
            "recall": _PLAIN_FLAG,
            "floor": _SHARE,
            "thrift": {"type": "number", "minimum": 1, "maximum": 1_000_000},
            "look_weight": {"type": "number", "minimum": 1, "maximum": 1_000_000},
        },
    ),
}
"""For every policy the settings that it needs, and all that it takes."""


def policy_schema(names: Iterable[str]) -> Schema:
    """Return the schema of a request's policy, where these can be asked for."""
    named = [name for name in names if not _POLICY_SETTINGS[name][0]]
    full = [
        {**_object(("name", *needed), name={"const": name}, **settings), "additionalProperties": False}
        for name, (needed, settings) in ((name, _POLICY_SETTINGS[name]) for name in names)
    ]
    return {"anyOf": [{"enum": named}, *full, {"type": "null"}]}


_SHARED: dict[str, Schema] = {
    "model": {**_NAME, "examples": ["disrouter"]},
    "stream": _FLAG,
    "temperature": _or_null({"type": "number", "minimum": 0, "maximum": 2}),
    "top_p": _or_null({"type": "number", "minimum": 0, "maximum": 1}),
    "seed": _or_null({"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}),
    "alpha": _or_null({"type": "number", "minimum": 0, "maximum": 1}),
    "max_cost": _or_null({"type": "number", "exclusiveMinimum": 0}),
    "max_hops": _COUNT,
    "policy": _ref("Policy"),
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


REQUESTS: dict[str, Schema] = {
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

REQUESTS["ChatRequest"]["allOf"] = [_goes_with("top_logprobs", "logprobs"), _goes_with("stream_options", "stream")]
REQUESTS["CompletionRequest"]["allOf"] = [_goes_with("stream_options", "stream")]

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


def _strict(required: tuple[str, ...], **properties: Schema) -> Schema:
    return {**_object(required, **properties), "additionalProperties": False}


_TRACE_ID: Schema = {"type": "string", "minLength": 1, "maxLength": 64}
_LINE: Schema = {"type": "string", "minLength": 1, "maxLength": 2000, "pattern": "^[!-~]+$"}
_AMOUNT: Schema = {"type": "number", "minimum": 0, "maximum": 1e6}
_PRICE = {
    "oneOf": [
        _strict(("cost",), cost=_SHARE, look_share=_SHARE),
        _strict(("input", "output", "unit"), input=_AMOUNT, output=_AMOUNT, unit={**_AMOUNT, "exclusiveMinimum": 0}),
    ]
}
_NAMES: Schema = {"type": "array", "items": _LINE, "maxItems": 256}

REQUESTS["FeedbackRequest"] = {
    "oneOf": [
        _strict(("trace_id", "score"), trace_id=_TRACE_ID, score=_SHARE),
        _strict(("trace_id", "thumb"), trace_id=_TRACE_ID, thumb={"enum": ["up", "down"]}),
    ]
}
REQUESTS["AgentChange"] = {
    "oneOf": [
        _strict(
            ("action", "base_url"),
            action={"const": "join"},
            base_url=_LINE,
            name=_LINE,
            price=_PRICE,
            asked_by=_NAMES,
            passes_to=_NAMES,
        ),
        _strict(("action", "name"), action={"enum": ["leave", "drain", "resume"]}, name=_LINE),
        _strict(("action", "name", "price"), action={"const": "reprice"}, name=_LINE, price=_PRICE),
    ]
}

ANSWERS: dict[str, Schema] = {
    "Feedback": _object(
        ("object", "trace_id", "score"), object={"const": "feedback"}, trace_id=_TRACE_ID, score=_SHARE
    ),
    "GatewayStatus": _object(
        ("version", "store", "requests", "network"),
        version=_NAME,
        store=_object(("healthy", "dropped"), healthy=_PLAIN_FLAG, dropped={"type": "integer"}),
        requests={"type": "integer"},
        network={"type": "object"},
    ),
    "Reload": _object(("object", "message"), object={"const": "reload"}, message=_TEXT),
    "AgentList": _object(
        ("object", "data"), object={"const": "list"}, data={"type": "array", "items": {"type": "object"}}
    ),
    "AgentChanged": _object(("object", "action", "agent"), object={"const": "change"}, action=_TEXT, agent=_NAME),
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
