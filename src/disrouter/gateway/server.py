"""The process around the gateway: where it listens, how it ends, when it reads its network anew.

SIGTERM and SIGINT: no longer ready, every reply closes its connection; a moment later nothing new is accepted, and what
was accepted is answered. A second signal ends at once. SIGHUP: the network file is read again; a bad one is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import signal
import socket
from collections.abc import Callable, Generator
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from disrouter.errors import ConfigError, DisrouterError
from disrouter.gateway.app import Gateway

__all__ = ["GatewayServer", "bound_socket", "require_safe_address"]

LOG = logging.getLogger("disrouter.gateway")

BACKLOG = 2048


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
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            ws="none",
            timeout_keep_alive=75,
            timeout_graceful_shutdown=max(1, round(patience)),
            backlog=BACKLOG,
            h11_max_incomplete_event_size=gateway.settings.largest_headers,
        )
        super().__init__(config)
        self.gateway = gateway
        self.settle = settle
        self._ready = ready
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
            return
        self.gateway.drain()
        asyncio.get_event_loop_policy().get_event_loop().call_soon_threadsafe(self._end_soon)

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

    def _end_soon(self) -> None:
        asyncio.get_running_loop().call_later(self.settle, self._end)

    def _end(self) -> None:
        self.should_exit = True


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
