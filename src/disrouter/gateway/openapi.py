"""What the API takes and gives, as an OpenAPI 3.1 document at ``/openapi.json``.

Tests hold it against the app: what it allows is answered, what it forbids is refused, no route is missing. It speaks of
the gateway that serves it: only of routes that are there, and of policies that its network can follow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from disrouter import __version__
from disrouter.gateway.openapi_schemas import ANSWERS, REQUESTS, ROLES, Schema, policy_schema
from disrouter.policies import POLICIES

__all__ = ["ROLES", "description", "openapi_routes"]


def openapi_routes(routes: Iterable[BaseRoute], policies: Callable[[], Iterable[str]]) -> list[Route]:
    """Return the route of the document; it names no agent and needs no key.

    Args:
        routes: All that the app serves.
        policies: Gives the names of the policies that can be asked for.
    """
    served = frozenset(route.path for route in routes if isinstance(route, Route))

    async def document(request: Request) -> Response:
        return JSONResponse(description(served, tuple(policies())))

    return [Route("/openapi.json", document, methods=["GET"])]


@lru_cache(maxsize=16)
def description(served: frozenset[str] | None = None, policies: tuple[str, ...] = tuple(POLICIES)) -> Schema:
    """Return the OpenAPI document.

    Args:
        served: Paths as the app writes them; None for all that there can be.
        policies: Names of the policies that can be asked for.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "DiSRouter gateway",
            "version": __version__,
            "description": "OpenAI's API in front of a network of agents that decide for themselves.",
        },
        "paths": {
            path: operations
            for path, operations in _PATHS.items()
            if served is None or path.replace("{model}", "{name:path}") in served
        },
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {**REQUESTS, **ANSWERS, "Policy": policy_schema(policies)},
        },
        "security": [{"key": []}, {}],
    }


def _post(summary: str, request: str | None, answer: str, *, streams: bool = False, admin: bool = False) -> Schema:
    stream: Schema = {"text/event-stream": {}} if streams else {}
    answers = {"200": {"description": "The answer.", "content": {**_json(answer), **stream}}}
    operation: Schema = {"summary": summary, "responses": {**answers, **_FAILURES}}
    if request is not None:
        operation["requestBody"] = {"required": True, "content": _json(request)}
    return {"post": {**operation, **(_ADMIN if admin else {})}}


def _get(summary: str, answer: str, *, open_to_all: bool = False, admin: bool = False) -> Schema:
    answers = {"200": {"description": "Found.", "content": _json(answer)}}
    if open_to_all:
        answers["503"] = {"description": "Not now.", "content": _json("Status")}
        return {"get": {"summary": summary, "responses": answers, "security": []}}
    return {"get": {"summary": summary, "responses": {**answers, **_FAILURES}, **(_ADMIN if admin else {})}}


def _json(name: str) -> Schema:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


_ADMIN: Schema = {"security": [{"key": []}], "tags": ["admin"]}

_FAILURES = {
    "4XX": {"description": "The request cannot be served.", "content": _json("Error")},
    "5XX": {"description": "No agent could answer.", "content": _json("Error")},
}

_PATHS: dict[str, Schema] = {
    "/v1/chat/completions": _post("Answer a conversation.", "ChatRequest", "ChatCompletion", streams=True),
    "/v1/completions": _post("Go on with a text.", "CompletionRequest", "TextCompletion", streams=True),
    "/v1/responses": _post("Answer in the form of the Responses API.", "ResponseRequest", "Response", streams=True),
    "/v1/models": _get("List what can be asked.", "ModelList"),
    "/v1/models/{model}": {
        "parameters": [{"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}],
        **_get("Describe one of them.", "Model"),
    },
    "/v1/feedback": _post("Say how good an answer was.", "FeedbackRequest", "Feedback"),
    "/health": _get("Say whether it is worth asking.", "Status", open_to_all=True),
    "/health/live": _get("Say that the process runs.", "Status", open_to_all=True),
    "/health/ready": _get("Say whether it is worth asking.", "Status", open_to_all=True),
    "/metrics": {
        "get": {
            "summary": "Count everything, for Prometheus.",
            "responses": {"200": {"description": "Found.", "content": {"text/plain": {}}}, **_FAILURES},
        }
    },
    "/admin/status": _get("Say how gateway, store and network are.", "GatewayStatus", admin=True),
    "/admin/reload": _post("Read the network file again.", None, "Reload", admin=True),
    "/admin/agents": {
        **_get("List the agents, and who rests.", "AgentList", admin=True),
        **_post("Have an agent join, leave, rest or change its price.", "AgentChange", "AgentChanged", admin=True),
    },
}
