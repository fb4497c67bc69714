"""Everything around the requests: who may ask, what is kept, and the pages that show it.

The gateway makes one :class:`Control`, starts and stops it with itself, mounts its routes, and hands every finished
request to its ``recorder``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.routing import Route

from disrouter.gateway.access import Access
from disrouter.gateway.live import Live
from disrouter.gateway.members import Members
from disrouter.gateway.metrics import Metrics
from disrouter.gateway.network_state import NetworkState
from disrouter.gateway.pages import Pages
from disrouter.gateway.records import Recorder, Recorders
from disrouter.gateway.store import Store, open_store
from disrouter.gateway.store_writer import Keeping, StoreWriter
from disrouter.gateway.telemetry import Telemetry, telemetry_from

__all__ = ["Control", "ControlOptions", "open_control"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlOptions:
    """What an operator may choose."""

    store: str | None = None
    """A SQLite file or a ``postgresql://`` URL; None: ``$DISROUTER_STORE``, else a file of this user."""

    keeping: Keeping = field(default_factory=Keeping)
    keys_required: bool = False
    """Whether requests need a key even while there is none."""

    dashboard: bool = True
    """Whether the pages are served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """The parts, wired together."""

    access: Access
    metrics: Metrics
    live: Live
    store: Store
    writer: StoreWriter
    recorder: Recorder
    """Where the gateway hands every finished request."""

    telemetry: Telemetry | None
    options: ControlOptions

    def start(self) -> None:
        """Begin to keep what is recorded."""
        self.writer.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Bring what waits to its place and end."""
        self.writer.stop(timeout)
        if self.telemetry is not None:
            self.telemetry.stop()
        self.store.close()

    def routes(
        self,
        network_state: Callable[[], NetworkState],
        reload: Callable[[], str] | None = None,
        members: Members | None = None,
    ) -> list[Route]:
        """Return the routes of metrics, feedback, administration and, unless switched off, the dashboard.

        Args:
            network_state: Gives the network as it is at the moment of asking; called often, so cheap.
            reload: Reads the network file again and says in a sentence what came of it; raises a
                :class:`~disrouter.errors.DisrouterError` if the file is no good and the old network stays.
            members: Who is in the network, for administrators to change.
        """
        return Pages(self, network_state, reload, members).routes()


def open_control(options: ControlOptions | None = None, *, agents: tuple[str, ...] = ()) -> Control:
    """Open the store and wire the parts together; nothing runs before ``start``.

    Raises:
        DataError: The store cannot be used.
        MissingExtraError: Something was asked for whose packages are not installed.
    """
    chosen = options or ControlOptions()
    telemetry = telemetry_from()
    store = open_store(chosen.store)
    access = Access(keys_required=chosen.keys_required)
    metrics = Metrics(agents)
    live = Live()
    writer = StoreWriter(store, access, chosen.keeping, metrics.dropped)
    recorders: list[Recorder] = [metrics, live, writer]
    if telemetry is not None:
        recorders.append(telemetry)
    return Control(
        access=access,
        metrics=metrics,
        live=live,
        store=store,
        writer=writer,
        recorder=Recorders(recorders),
        telemetry=telemetry,
        options=chosen,
    )
