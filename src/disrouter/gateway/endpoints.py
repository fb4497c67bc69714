"""Endpoints beside Starlette's: a short way for queries, and OpenAI's shape for everything that goes wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import Receive, Scope, Send

from disrouter.gateway.access import AccessError
from disrouter.gateway.errors import ProblemError, body_of, error_of, problem_of

__all__ = ["FULL", "HANDLERS", "Door", "RawEndpoint", "refuse"]


class Door:
    """An ASGI app that shows queries straight to their endpoint; the rest goes through routing and error handling.

    Args:
        app: The app behind it. Its raw endpoints that take a POST, or a WebSocket, are those that are shown to.
    """

    def __init__(self, app: Starlette) -> None:
        self._app = app
        self.paths = frozenset(route.path for route in app.routes if isinstance(route, Route))
        """All paths that are served."""
        self._direct = {
            route.path: route.endpoint
            for route in app.routes
            if isinstance(route, Route) and isinstance(route.endpoint, RawEndpoint) and route.methods == {"POST"}
        }
        self._sockets = {
            route.path: route.endpoint
            for route in app.routes
            if isinstance(route, WebSocketRoute) and isinstance(route.endpoint, RawEndpoint)
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            endpoint = self._direct.get(scope["path"]) if scope["method"] == "POST" else None
        else:
            endpoint = self._sockets.get(scope["path"]) if scope["type"] == "websocket" else None
        await (endpoint or self._app)(scope, receive, send)


class RawEndpoint:
    """An endpoint that speaks ASGI itself and answers every failure: a function would be wrapped in a request and a
    response.
    """

    def __init__(self, endpoint: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._endpoint(scope, receive, send)


FULL = ProblemError(
    503,
    "The gateway has no room for another request now.",
    type="server_error",
    code="overloaded",
    headers={"retry-after": "1"},
    error="gateway_busy",
)


async def refuse(send: Send, problem: ProblemError) -> None:
    """Answer with a problem."""
    body = body_of(problem)
    headers = [(name.encode(), value.encode()) for name, value in problem.headers.items()]
    length = (b"content-length", str(len(body)).encode())
    await send(
        {
            "type": "http.response.start",
            "status": problem.status,
            "headers": [(b"content-type", b"application/json"), length, *headers],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def _http_problem(request: Request, error: Exception) -> Response:
    """Answer what the router finds wrong: no such route, no such method."""
    assert isinstance(error, HTTPException)
    method, path = request.scope["method"][:20], request.scope["path"][:100]
    if error.status_code == 405:
        message, code = f"{method} does not go with {path}.", "method_not_allowed"
    elif error.status_code == 404:
        message, code = f"There is nothing at {path}. Try /v1/chat/completions or /v1/models.", "not_found"
    else:
        message, code = str(error.detail), None
    problem = ProblemError(error.status_code, message, code=code, headers=error.headers)
    return JSONResponse(error_of(problem), status_code=problem.status, headers=problem.headers)


async def _any_problem(request: Request, error: Exception) -> Response:
    """Answer whatever a page beside the API raised."""
    problem = problem_of(error)
    return JSONResponse(error_of(problem), status_code=problem.status, headers=problem.headers)


HANDLERS: dict[Any, Callable[[Request, Exception], Awaitable[Response]]] = {
    HTTPException: _http_problem,
    ProblemError: _any_problem,
    AccessError: _any_problem,
    Exception: _any_problem,
}
