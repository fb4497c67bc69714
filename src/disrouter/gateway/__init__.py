"""The gateway: one OpenAI-compatible endpoint in front of a network of agents.

    from disrouter.gateway import Gateway

    app = Gateway(disrouter.load("lab")).app()   # an ASGI app; `disrouter serve` runs it with keys, records and pages

Importing this package loads nothing: its names arrive on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from disrouter.gateway.app import Gateway, Settings
    from disrouter.gateway.control import Control, ControlOptions, open_control
    from disrouter.gateway.records import Recorder, RouteRecord
    from disrouter.gateway.server import GatewayServer, serve
    from disrouter.gateway.store_writer import Keeping

__all__ = [
    "Control",
    "ControlOptions",
    "Gateway",
    "GatewayServer",
    "Keeping",
    "Recorder",
    "RouteRecord",
    "Settings",
    "open_control",
    "serve",
]

_HOMES = {
    "app": ("Gateway", "Settings"),
    "control": ("Control", "ControlOptions", "open_control"),
    "records": ("Recorder", "RouteRecord"),
    "server": ("GatewayServer", "serve"),
    "store_writer": ("Keeping",),
}
_MODULE_OF = {name: f"disrouter.gateway.{module}" for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Return a name from the module that holds it, loading that module on first use."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'disrouter.gateway' has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)
