"""The routes beside the API: metrics, feedback, administration, and the dashboard with what it reads."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import wraps
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from disrouter import __version__
from disrouter.agents.faults import FaultError
from disrouter.errors import DisrouterError, UnknownNameError
from disrouter.gateway.access import AccessError, Grant
from disrouter.gateway.member_calls import change_of
from disrouter.gateway.network_state import NetworkState
from disrouter.gateway.page_inputs import BadRequestError, feedback_of, json_body, number, whole
from disrouter.gateway.records import OUTCOMES
from disrouter.gateway.redaction import without_secrets
from disrouter.gateway.store_reading import KeptRoute, Wanted, json_of, kept_route, kept_routes, summary
from disrouter.utility import SCENARIOS

if TYPE_CHECKING:
    from disrouter.gateway.control import Control
    from disrouter.gateway.members import Members

__all__ = ["Pages"]

LOG = logging.getLogger("disrouter.gateway")

T = TypeVar("T")
Handler = Callable[[Any, Request, Grant], Awaitable[Response]]

MAX_ROUTES = 200
"""Most routes that a page gets at once."""

WINDOWS = {"15m": 900, "1h": 3_600, "24h": 86_400, "7d": 604_800}
BUCKETS = 60

CACHED_SECONDS = 2.0
"""How long a summary is shown before it is computed again; ten times as long as computing it took, if that is more."""

MAX_CACHED = 64

ASSETS = {
    "dashboard.css": "text/css",
    **dict.fromkeys(("dashboard.js", "network.js", "charts.js", "playground.js", "words.js"), "text/javascript"),
    "icon.svg": "image/svg+xml",
}

PAGE_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}


def _guarded(*, admin: bool = False) -> Callable[[Handler], Callable[[Any, Request], Awaitable[Response]]]:
    """Let only those in who may; say what is wrong in the words of the API, whatever it is."""

    def wrap(handler: Handler) -> Callable[[Any, Request], Awaitable[Response]]:
        @wraps(handler)
        async def guarded(self: Pages, request: Request) -> Response:
            try:
                grant = self.control.access.look(request.headers.get("authorization"))
                if admin:
                    grant.require_admin()
                return await handler(self, request, grant)
            except AccessError as error:
                return _problem(str(error), error.status, error.type, error.code, headers=error.headers())
            except BadRequestError as error:
                code = "not_found" if error.status == 404 else None
                return _problem(error.message, error.status, "invalid_request_error", code, param=error.param)
            except SQLAlchemyError:
                return _problem("The store cannot be reached at the moment.", 503, "server_error", "store_unavailable")

        return guarded

    return wrap


class Pages:
    """The routes over one control; see :meth:`Control.routes`."""

    def __init__(
        self,
        control: Control,
        network_state: Callable[[], NetworkState],
        reload: Callable[[], str] | None,
        members: Members | None = None,
    ) -> None:
        self.control = control
        self._network_state = network_state
        self._reload = reload
        self._members = members
        self._summaries: dict[tuple[str, str | None], tuple[float, bytes]] = {}
        self._computing = asyncio.Lock()

    def routes(self) -> list[Route]:
        """Return all routes."""
        found = [
            Route("/metrics", self.metrics, methods=["GET"]),
            Route("/v1/feedback", self.feedback, methods=["POST"]),
            Route("/admin/status", self.status, methods=["GET"]),
            Route("/admin/reload", self.reload, methods=["POST"]),
        ]
        if self._members is not None:
            found += [
                Route("/admin/agents", self.list_agents, methods=["GET"]),
                Route("/admin/agents", self.change_agents, methods=["POST"]),
            ]
        if self.control.options.dashboard:
            found += [
                Route("/", self.page, methods=["GET"]),
                Route("/dashboard/live", self.live, methods=["GET"]),
                Route("/dashboard/summary", self.summary, methods=["GET"]),
                Route("/dashboard/routes", self.list_routes, methods=["GET"]),
                Route("/dashboard/routes/{trace_id}", self.one_route, methods=["GET"]),
                Route("/dashboard/{asset}", self.asset, methods=["GET"]),
            ]
        return found

    @_guarded()
    async def metrics(self, request: Request, grant: Grant) -> Response:
        """Everything Prometheus wants; with keys in use it needs one of them."""
        return self.control.metrics.response()

    @_guarded()
    async def feedback(self, request: Request, grant: Grant) -> Response:
        """Keep how good an answer was: a score from 0 to 1, or a thumb."""
        trace_id, score = feedback_of(await json_body(request))
        any_key = self._scope(grant) is None
        if not await self._rate(trace_id, score, grant, any_key):
            raise BadRequestError(f"There is no route '{trace_id[:80]}' of this key.", param="trace_id", status=404)
        return JSONResponse({"object": "feedback", "trace_id": trace_id, "score": score})

    @_guarded(admin=True)
    async def status(self, request: Request, grant: Grant) -> Response:
        """What an administrator asks first."""
        writer = self.control.writer
        return JSONResponse(
            {
                "version": __version__,
                "store": {"healthy": writer.healthy, "dropped": writer.dropped},
                "requests": self.control.live.number,
                "network": asdict(self._network_state()),
            }
        )

    @_guarded(admin=True)
    async def reload(self, request: Request, grant: Grant) -> Response:
        """Read the network file again."""
        if self._reload is None:
            raise BadRequestError("This gateway was started without a network file to read again.", status=409)
        try:
            said = await asyncio.to_thread(self._reload)
        except DisrouterError as error:
            raise BadRequestError(without_secrets(f"The old network stays: {error.message}"), status=409) from error
        return JSONResponse({"object": "reload", "message": said})

    @_guarded(admin=True)
    async def list_agents(self, request: Request, grant: Grant) -> Response:
        """Who is in the network, and who rests."""
        assert self._members is not None
        return JSONResponse({"object": "list", "data": self._members.listed()})

    @_guarded(admin=True)
    async def change_agents(self, request: Request, grant: Grant) -> Response:
        """Have an agent join, leave, drain, resume or change its price."""
        assert self._members is not None
        change = change_of(await json_body(request))
        try:
            name = await change.made(self._members)
        except UnknownNameError as error:
            raise BadRequestError(error.message, param="name", status=404) from error
        except FaultError as error:
            raise BadRequestError(without_secrets(f"Nothing has changed. {error.message}"), status=502) from error
        except DisrouterError as error:
            hint = f" ({error.hint})" if error.hint else ""
            raise BadRequestError(without_secrets(f"Nothing has changed. {error.message}{hint}"), status=409) from error
        LOG.warning("agent '%s': %s", name, change.action)
        return JSONResponse({"object": "change", "action": change.action, "agent": name})

    async def page(self, request: Request) -> Response:
        """The dashboard itself, which holds nothing worth a key."""
        return _asset("dashboard.html", "text/html")

    async def asset(self, request: Request) -> Response:
        """A part of the dashboard."""
        name = request.path_params["asset"]
        if name not in ASSETS:
            return _problem(f"There is nothing at '/dashboard/{name[:80]}'.", 404, "invalid_request_error", "not_found")
        return _asset(name, ASSETS[name])

    @_guarded()
    async def live(self, request: Request, grant: Grant) -> Response:
        """The network as it is, and the routes since the last look."""
        after = whole(request, "after", default=0, most=2**53)
        seen = self.control.live.after(after, key_id=self._scope(grant))
        return JSONResponse(
            {
                "number": self.control.live.number,
                "network": asdict(self._network_state()),
                "routes": [json_of(KeptRoute(one.route)) for one in seen],
                "me": {"open": self.control.access.open, "admin": grant.admin, "all": self._scope(grant) is None},
                "scenarios": {name: scenario.alpha for name, scenario in SCENARIOS.items()},
                "texts": self.control.options.keeping.texts,
                "dropped": self.control.writer.dropped,
            },
            headers={"cache-control": "no-store"},
        )

    @_guarded()
    async def summary(self, request: Request, grant: Grant) -> Response:
        """What the routes of a window add up to."""
        window = request.query_params.get("window", "1h")
        if window not in WINDOWS:
            known = ", ".join(WINDOWS)
            raise BadRequestError(f"window '{window[:40]}' is not known: give one of {known}.", param="window")
        body = await self._summary(window, self._scope(grant))
        return Response(body, media_type="application/json", headers={"cache-control": "no-store"})

    @_guarded()
    async def list_routes(self, request: Request, grant: Grant) -> Response:
        """The latest routes, by what they were."""
        given = request.query_params
        outcome = given.get("outcome")
        if outcome is not None and outcome not in OUTCOMES:
            known = ", ".join(OUTCOMES)
            raise BadRequestError(f"outcome '{outcome[:40]}' is not known: give one of {known}.", param="outcome")
        wanted = Wanted(
            before=number(request, "before"),
            agent=given.get("agent"),
            outcome=outcome,
            scenario=given.get("scenario"),
            key_id=self._scope(grant),
        )
        limit = whole(request, "limit", default=50, most=MAX_ROUTES)
        found = await asyncio.to_thread(kept_routes, self.control.store, wanted, limit=limit)
        return JSONResponse({"routes": [json_of(kept) for kept in found]}, headers={"cache-control": "no-store"})

    @_guarded()
    async def one_route(self, request: Request, grant: Grant) -> Response:
        """One route, hop by hop."""
        trace_id = request.path_params["trace_id"][:64]
        kept = await asyncio.to_thread(kept_route, self.control.store, trace_id, key_id=self._scope(grant))
        if kept is None:
            raise BadRequestError(f"There is no route '{trace_id}' of this key.", status=404)
        return JSONResponse(json_of(kept), headers={"cache-control": "no-store"})

    def _scope(self, grant: Grant) -> str | None:
        """Return the key whose routes may be seen; None: everybody's."""
        return None if grant.admin or self.control.access.open else grant.key_id

    async def _rate(self, trace_id: str, score: float, grant: Grant, any_key: bool) -> bool:
        def rate() -> bool:
            keep = self.control.store.rate
            if keep(trace_id, score, key_id=grant.key_id, any_key=any_key):
                return True
            self.control.writer.flush()  # quick feedback may overtake its route
            return keep(trace_id, score, key_id=grant.key_id, any_key=any_key)

        return await asyncio.to_thread(rate)

    async def _summary(self, window: str, scope: str | None) -> bytes:
        at = (window, scope)
        async with self._computing:  # one at a time: many open pages must not ask the store at once
            now = time.monotonic()
            if at in self._summaries and self._summaries[at][0] > now:
                return self._summaries[at][1]
            until = time.time()
            found = await asyncio.to_thread(
                summary,
                self.control.store,
                since=until - WINDOWS[window],
                until=until,
                buckets=BUCKETS,
                key_id=scope,
            )
            took = time.monotonic() - now
            body = json.dumps(found, allow_nan=False).encode()
            if len(self._summaries) >= MAX_CACHED:
                self._summaries.clear()
            self._summaries[at] = (time.monotonic() + max(CACHED_SECONDS, 10 * took), body)
            return body


def _asset(name: str, media_type: str) -> Response:
    body = (files("disrouter.gateway") / "dashboard" / name).read_bytes()
    return Response(body, media_type=media_type, headers=PAGE_HEADERS)


def _problem(
    message: str,
    status: int,
    type: str,
    code: str | None,
    *,
    param: str | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    body = {"error": {"message": message, "type": type, "param": param, "code": code}}
    return JSONResponse(body, status_code=status, headers=headers)
