"""Nodes: one agent of a network as a process of its own, behind an OpenAI-compatible address.

    from disrouter.nodes import Node

    app = Node(agent).app()      # an ASGI app; `disrouter agent serve` runs it

Importing this package loads nothing: its names arrive on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from disrouter.nodes.app import Node
    from disrouter.nodes.server import NodeServer, serve_node

__all__ = ["Node", "NodeServer", "serve_node"]

_MODULE_OF = {
    "Node": "disrouter.nodes.app",
    "NodeServer": "disrouter.nodes.server",
    "serve_node": "disrouter.nodes.server",
}


def __getattr__(name: str) -> object:
    """Return a name from the module that holds it, loading that module on first use."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'disrouter.nodes' has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)
