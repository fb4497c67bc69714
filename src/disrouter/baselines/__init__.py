"""Other routing methods, one readable file each, behind one contract.

Importing this package loads nothing: every public name arrives on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from disrouter.baselines.contract import Features, Fitted, Need, Queries, Router, Rows, Seen, Verifications
    from disrouter.baselines.ledger import Decisions, Ledger
    from disrouter.baselines.registry import BASELINES, baseline_of

__all__ = [
    "BASELINES",
    "Decisions",
    "Features",
    "Fitted",
    "Ledger",
    "Need",
    "Queries",
    "Router",
    "Rows",
    "Seen",
    "Verifications",
    "baseline_of",
]

_HOMES = {
    "contract": ("Features", "Fitted", "Need", "Queries", "Router", "Rows", "Seen", "Verifications"),
    "ledger": ("Decisions", "Ledger"),
    "registry": ("BASELINES", "baseline_of"),
}

_MODULE_OF = {name: f"disrouter.baselines.{module}" for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Return a public name from the module that holds it, loading that module on first use."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'disrouter.baselines' has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)
