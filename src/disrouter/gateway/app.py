"""The gateway: one OpenAI-compatible endpoint in front of a network of agents.

    gateway = Gateway(disrouter.load("network.yaml"))
    app = gateway.app()          # any ASGI server runs it

The app decides by ``scope["path"]`` only, and answers every failure in the shape OpenAI's clients parse.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import secrets
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from disrouter.agents.hops import MOST_GATEWAYS, HopError, Travel, Verifier
from disrouter.agents.sealing import Seals
from disrouter.errors import DisrouterError
from disrouter.gateway.access import Access
from disrouter.gateway.chat import Chat
from disrouter.gateway.completions import Completions
from disrouter.gateway.dialects import Dialect
from disrouter.gateway.endpoints import FULL, HANDLERS, Door, RawEndpoint, refuse
from disrouter.gateway.errors import ProblemError
from disrouter.gateway.exchange import Exchange
from disrouter.gateway.members import Members
from disrouter.gateway.metrics import BreakerState, ShedReason
from disrouter.gateway.models import health_routes, model_routes
from disrouter.gateway.network_state import NetworkState
from disrouter.gateway.openapi import openapi_routes
from disrouter.gateway.records import Recorder, Recorders
from disrouter.gateway.responses import Responses
from disrouter.gateway.service import Service
from disrouter.gateway.settings import Settings
from disrouter.network import Network

__all__ = ["FULL", "Gateway", "RawEndpoint", "Settings"]

LOG = logging.getLogger("disrouter.gateway")

LOAD_SECONDS = 600.0
"""How long the models of a network that is read anew may take."""

_NOTHING = Travel()

WATCH_SECONDS = 1.0
"""How often the state of the breakers is shown to whoever measures."""


class Gateway:
    """A network in service; the state behind the app.

    Args:
        network: The network.
        access: Who may ask. Default: anybody.
        recorder: Where finished requests go. Default: nowhere.
        settings: What is allowed.
        read: Reads the network anew, for a reload; None where there is no file to read.
        on_change: Told the names and breaker states of all agents, about every second.
        on_flight: Told when a request comes in (True) or is done (False).
        on_shed: Told the reason when a request is turned away by load.
        warm: Whether models of this process are loaded from the start instead of at their first look; until they are
            the gateway is not ready.
        on_warm: Told how many models were loaded, when they are.
    """

    def __init__(
        self,
        network: Network,
        *,
        access: Access | None = None,
        recorder: Recorder | None = None,
        settings: Settings | None = None,
        read: Callable[[], Network] | None = None,
        on_change: Callable[[Mapping[str, BreakerState]], None] | None = None,
        on_flight: Callable[[bool], None] | None = None,
        on_shed: Callable[[ShedReason], None] | None = None,
        warm: bool = False,
        on_warm: Callable[[int], None] | None = None,
    ) -> None:
        self.id = secrets.token_hex(8)
        self.access = access or Access()
        self.recorder: Recorder = recorder or Recorders(())
        self.settings = settings or Settings()
        self.service = Service(network)
        self.draining = False
        self.in_flight = 0
        self._read = read
        self._on_change = on_change
        self._on_flight = on_flight
        self._on_shed = on_shed
        self._warm = warm
        self.loading = warm
        """Whether models are being loaded; whoever asks meanwhile waits for them."""
        self._on_warm = on_warm
        self._verifier = Verifier(self._secret)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._retired: set[Service] = set()
        """Services that are followed by another one, and still have requests to end."""
        self.members = Members(self)

    def app(
        self,
        routes: Sequence[BaseRoute] = (),
        *,
        on_start: Callable[[], None] | None = None,
        on_stop: Callable[[], None] | None = None,
    ) -> Door:
        """Return the ASGI app.

        Args:
            routes: More routes, looked at before nothing is found.
            on_start: Called when the app starts, in its event loop.
            on_stop: Called when it has stopped; may block for a moment.
        """

        @contextlib.asynccontextmanager
        async def lifespan(_app: Starlette) -> AsyncGenerator[None, None]:
            self._loop = asyncio.get_running_loop()
            self.service.open()
            if on_start is not None:
                on_start()
            beside = [asyncio.create_task(self._watch()), asyncio.create_task(self._load(self.service))]
            try:
                yield
            finally:
                for task in beside:
                    task.cancel()
                await self.service.aclose()
                await asyncio.gather(*self._closing, return_exceptions=True)
                if on_stop is not None:
                    await asyncio.to_thread(on_stop)

        dialects: dict[str, Dialect] = {
            "/v1/chat/completions": Chat(),
            "/v1/completions": Completions(),
            "/v1/responses": Responses(),
        }
        pages: list[BaseRoute] = [
            *(
                Route(path, RawEndpoint(functools.partial(self.serve, dialect)), methods=["POST"])
                for path, dialect in dialects.items()
            ),
            *model_routes(self),
            *health_routes(self),
            *routes,
        ]
        pages += openapi_routes(pages, lambda: self.service.policies)
        app = Starlette(routes=pages, lifespan=lifespan, exception_handlers=HANDLERS)
        app.router.redirect_slashes = False
        return Door(app)

    def state(self) -> NetworkState:
        """Return how the network is at this moment."""
        return self.service.state()

    @property
    def ready(self) -> bool:
        """Whether a query sent now has a chance."""
        return not self.draining and not self.loading and self.service.ready

    def drain(self) -> None:
        """Be done soon: not ready any more, and every reply closes its connection."""
        self.draining = True

    def reload(self) -> str:
        """Read the network anew and serve it as soon as its models are loaded; may be called from any thread.

        Raises:
            DisrouterError: It is not usable; the old network stays.
        """
        if self._read is None:
            return "There is no network file to read again."
        service = Service(self.members.still_resting(self._read()))
        service.require_keys()
        if self._loop is None:
            self.service = service
        else:
            asyncio.run_coroutine_threadsafe(self._follow(service), self._loop).result(LOAD_SECONDS)
        return f"Network '{service.network.name}' with {len(service.guards)} agents is in service."

    async def change(self, network: Network) -> None:
        """Serve another network from the next request on; agents that are in both keep all they have.

        Raises:
            ConfigError: It cannot be served.
        """
        service = Service(network, before=self.service)
        service.require_keys()
        await self._swap(service)

    async def reload_here(self) -> str:
        """Do as :meth:`reload` from within the event loop, where that must not wait."""
        return await asyncio.to_thread(self.reload)

    def require_sound_headers(self, headers: Mapping[str, str]) -> None:
        """Do nothing if the headers have a bearable size.

        Raises:
            ProblemError: They have not.
        """
        if sum([len(name) + len(value) for name, value in headers.items()]) > self.settings.largest_headers:
            raise ProblemError(
                431,
                f"The headers are larger than {self.settings.largest_headers:,} bytes together.",
                code="headers_too_large",
            )

    def travel(self, path: str, headers: Mapping[str, str], body: bytes, *, required: bool = False) -> Travel:
        """Return what a request carries along from the process before this one; nothing, if there was none.

        Raises:
            ProblemError: It is not signed as it must be, or has come through here before.
        """
        try:
            travel = self._verifier.travel(path, headers, body, required=required) or _NOTHING
        except HopError as error:
            raise ProblemError(401, error.message, code=error.code, headers=error.headers, error="caller_key") from None
        self.require_no_circle(travel)
        return travel

    def require_no_circle(self, travel: Travel) -> None:
        """Do nothing if a query has not come through here before.

        Raises:
            ProblemError: It has, or through too many others.
        """
        if self.id in travel.via or len(travel.via) >= MOST_GATEWAYS:
            raise ProblemError(
                508,
                "The query has come through this gateway before: the agents of a network form a circle.",
                type="server_error",
                code="loop_detected",
            )

    def time_for(self, headers: Mapping[str, str], travel: Travel) -> float:
        """Return the seconds that a request may take: ours, or fewer where its caller says that it waits no longer."""
        left = self.settings.deadline
        if "x-stainless-read-timeout" in headers:
            with contextlib.suppress(ValueError):
                asked = float(headers["x-stainless-read-timeout"])
                left = min(left, asked) if asked > 0 else left
        return left if travel.seconds is None else min(left, max(0.0, travel.seconds))

    @property
    def has_secret(self) -> bool:
        """Whether there is a secret that callers can sign with."""
        return self._verifier.has_secret

    def proof(self, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """Return the header that shows a caller that a reply is from somebody who knows the secret."""
        return self._verifier.proof(headers, body)

    def seals(self, headers: Mapping[str, str]) -> tuple[str, str, Seals]:
        """Return what a channel that a believed request opens begins with: our word, our proof, and its seals."""
        return self._verifier.seals(headers)

    def _secret(self) -> str | None:
        variable = self.settings.hop_secret_env
        return os.environ.get(variable) if variable else None

    async def serve(self, dialect: Dialect, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request of the API."""
        if self.in_flight >= self.settings.most_in_flight:
            if self._on_shed is not None:
                self._on_shed("queue_full")
            await refuse(send, FULL)
            return
        with self.at_work() as service:
            await Exchange(self, service, dialect, scope, receive, send).run()

    @contextlib.contextmanager
    def at_work(self) -> Iterator[Service]:
        """Count a request for as long as the block runs; the service that it gets stays that long."""
        service = self.service
        self.in_flight += 1
        service.in_flight += 1
        if self._on_flight is not None:
            self._on_flight(True)
        try:
            yield service
        finally:
            self.in_flight -= 1
            service.in_flight -= 1
            if self._on_flight is not None:
                self._on_flight(False)
            if service.retired and not service.in_flight:
                self._close_later(service)

    async def _follow(self, service: Service) -> None:
        """Serve another network once it is as ready as the one before it."""
        if self._warm:
            await service.warm()
        await self._swap(service)

    async def _swap(self, service: Service) -> None:
        service.open()
        old, self.service = self.service, service
        old.retired = True
        if old.in_flight:
            self._retired.add(old)
        else:
            self._close_later(old)

    async def _load(self, service: Service) -> None:
        if not self.loading:
            return
        try:
            loaded = await service.warm()
        except DisrouterError as error:
            LOG.error("a model cannot be loaded: %s", error)
        else:
            if loaded and self._on_warm is not None:
                self._on_warm(loaded)
        finally:
            self.loading = False  # other agents may answer

    def _close_later(self, service: Service) -> None:
        self._retired.discard(service)
        task = asyncio.create_task(service.aclose({self.service, *self._retired}))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _watch(self) -> None:
        while self._on_change is not None:
            self._on_change({name: guard.breaker.state for name, guard in self.service.guards.items()})
            await asyncio.sleep(WATCH_SECONDS)
