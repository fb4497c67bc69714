"""The process around the gateway: where it listens, how it ends, when it reads its network anew.

SIGTERM and SIGINT: no longer ready, every reply closes its connection; a moment later nothing new is accepted, and what
was accepted is answered. A second signal ends at once. SIGHUP: the network file is read again; a bad one is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import logging
import math
import signal
import socket
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.types import ASGIApp

from disrouter.errors import ConfigError, DisrouterError
from disrouter.gateway.app import Gateway, Settings
from disrouter.gateway.gathering import GatheringProtocol
from disrouter.gateway.hosts import LocalOnly
from disrouter.gateway.metrics import BreakerState
from disrouter.network import Network

if TYPE_CHECKING:  # what it keeps routes in takes half a second to load, and a node keeps none
    from disrouter.gateway.control import Control

__all__ = ["GatewayServer", "bound_socket", "quiet_logs", "require_safe_address", "serve"]

LOG = logging.getLogger("disrouter.gateway")

BACKLOG = 2048

LAST_CALL = 0.05
"""Seconds in which those who wait to be connected are, when the end has come."""

FRESH = 1.0
"""Seconds that somebody who has just connected has to send a request, when the end has come."""


def require_safe_address(host: str, *, open_to_all: bool) -> None:
    """Do nothing if listening at a host is safe.

    Raises:
        ConfigError: Others could reach it, and nobody needs a key.
    """
    if open_to_all and not _is_loopback(host):
        raise ConfigError(
            f"Host '{host}' can be reached from other machines, and no key exists: anybody could spend your money.",
            hint="create one with `disrouter keys create NAME`, or listen at 127.0.0.1",
        )


def bound_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens at a host and port; port 0 takes a free one.

    Raises:
        ConfigError: That is not possible.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, protocol)
    except OSError as exc:
        raise ConfigError(f"Host '{host}' is no address of this machine: {exc.strerror}.") from exc
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as exc:
        sock.close()
        raise ConfigError(
            f"Cannot listen at {host}:{port}: {exc.strerror}.", hint="choose another one with --port"
        ) from exc
    return sock


class GatewayServer(uvicorn.Server):
    """Runs a gateway until it is told to end.

    Args:
        gateway: The gateway.
        app: Its app.
        settle: Seconds between no longer being ready and no longer accepting.
        patience: Seconds that requests have to end after that.
        ready: Called with the port once requests are accepted.
    """

    def __init__(
        self,
        gateway: Gateway,
        app: ASGIApp,
        *,
        settle: float = 0.5,
        patience: float = 60.0,
        ready: Callable[[int], None] | None = None,
    ) -> None:
        config = uvicorn.Config(
            app,
            http=GatheringProtocol,
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            ws="none",
            proxy_headers=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=max(1, round(patience)),
            backlog=BACKLOG,
            h11_max_incomplete_event_size=gateway.settings.largest_headers,
        )
        super().__init__(config)
        self.gateway = gateway
        self.settle = settle
        self._ready = ready
        self._ends_at = math.inf
        self._reloads: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept, and to listen to SIGHUP."""
        await super().startup(sockets)
        if self.should_exit:
            return
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # no signals here
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.reload)
        if self._ready is not None and sockets:
            self._ready(sockets[0].getsockname()[1])

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Answer SIGTERM and SIGINT as long as the server runs; having done so is no failure of the process."""
        with super().capture_signals():
            yield
            self._captured_signals.clear()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End: softly at the first signal, at once at the second."""
        if self.gateway.draining:
            self.should_exit = self.force_exit = True
            logging.getLogger("uvicorn.error").disabled = True  # it would tell of everything that is cut off now
            return
        self.gateway.drain()
        self._ends_at = time.monotonic() + self.settle

    async def on_tick(self, counter: int) -> bool:
        """Return whether to end now; asked ten times a second."""
        return await super().on_tick(counter) or time.monotonic() >= self._ends_at

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End: take nobody new, but everybody who is connected already, and answer what they ask."""
        listening = sockets or []
        for sock in listening:
            sock.listen(0)  # the kernel stops making connections; those that wait are taken meanwhile
        await asyncio.sleep(LAST_CALL)
        late = [connection for sock in listening for connection in _waiting(sock)]
        for server in self.servers:
            server.close()
        for connection in late:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)
        until = time.monotonic() + FRESH
        while self._fresh() and time.monotonic() < until and not self.force_exit:
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made

    def _fresh(self) -> bool:
        """Return whether anybody has connected and not asked anything yet: the request may be on its way."""
        return any(getattr(connection, "cycle", None) is None for connection in self.server_state.connections)

    def reload(self) -> None:
        """Read the network anew, beside the requests."""
        task = asyncio.get_running_loop().create_task(self._reload())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def _reload(self) -> None:
        try:
            LOG.warning("reloaded: %s", await self.gateway.reload_here())
        except DisrouterError as error:
            LOG.error("not reloaded, the old network stays: %s", error)


def serve(
    network: Network,
    control: Control,
    settings: Settings,
    *,
    host: str,
    port: int,
    drain: float,
    read: Callable[[], Network] | None = None,
    ready: Callable[[int], None] | None = None,
    warm: Callable[[int], None] | None = None,
) -> None:
    """Serve a network until a signal ends it.

    Args:
        network: The network.
        control: Who may ask, what is kept, and the pages; started and stopped here.
        settings: What is allowed.
        host: Where to listen.
        port: At which port; 0 takes a free one.
        drain: Seconds that requests have to end at SIGTERM.
        read: Reads the network anew, for SIGHUP.
        ready: Called with the port once requests are accepted.
        warm: Called with the number of models of this process once they are loaded.

    Raises:
        ConfigError: The address cannot or must not be listened at, or a key that an agent needs is not there.
    """
    try:
        control.start()  # from here on it knows whether there are keys
        require_safe_address(host, open_to_all=control.access.open)
        gateway = Gateway(
            network,
            access=control.access,
            recorder=control.recorder,
            settings=settings,
            read=read,
            on_change=lambda states: _show(control, states),
            on_flight=lambda started: control.metrics.started() if started else control.metrics.finished(),
            on_shed=control.metrics.shed,
            warm=True,
            on_warm=warm,
        )
        gateway.service.require_keys()
        pages = control.routes(gateway.state, gateway.reload if read is not None else None, gateway.members)
        app = LocalOnly(gateway.app(pages), lambda: control.access.open)
        gc.collect()
        gc.freeze()  # what is loaded by now stays: the collector need not look at it again and again
        gc.set_threshold(10_000, 10, 10)  # nor after every few requests, which leave no circles behind
        with contextlib.closing(bound_socket(host, port)) as sock:
            server = GatewayServer(gateway, app, patience=drain, ready=ready)
            with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
                runner.run(server.serve([sock]))
    finally:
        control.stop()


def _show(control: Control, states: Mapping[str, BreakerState]) -> None:
    control.metrics.know_agents(states)
    for name, state in states.items():
        control.metrics.breaker(name, state)


def _waiting(sock: socket.socket) -> Iterator[socket.socket]:
    """Yield the connections that nobody has taken yet."""
    while True:
        try:
            connection, _ = sock.accept()
        except OSError:  # there are no more
            return
        connection.setblocking(False)
        yield connection


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def quiet_logs(level: int = logging.WARNING) -> None:
    """Send what the gateway and its server have to say to standard error, and let nobody log requests."""
    handler: logging.Handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    for name in ("disrouter", "uvicorn"):
        logger: Any = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(level)
        logger.propagate = False
