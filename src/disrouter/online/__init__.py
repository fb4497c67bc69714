"""Online: a network that keeps a budget, its cards true and its agents honest while it serves.

Frozen states with one step each, for a service to hold: :class:`BudgetPacer` (``paid``), :class:`Refresher` (``seen``)
and :class:`Auditor` (``seen``, ``hear``); :func:`retaken` puts what they have learnt into a network. Importing this
package loads nothing: every public name arrives on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from disrouter.online.agents import retaken
    from disrouter.online.audit import Auditor, Event
    from disrouter.online.budget import BudgetPacer, check_budget
    from disrouter.online.feedback import Feedback, beliefs
    from disrouter.online.refresh import Refresher, explored

__all__ = [
    "Auditor",
    "BudgetPacer",
    "Event",
    "Feedback",
    "Refresher",
    "beliefs",
    "check_budget",
    "explored",
    "retaken",
]

_HOMES = {
    "agents": ("retaken",),
    "audit": ("Auditor", "Event"),
    "budget": ("BudgetPacer", "check_budget"),
    "feedback": ("Feedback", "beliefs"),
    "refresh": ("Refresher", "explored"),
}

_MODULE_OF = {name: f"disrouter.online.{module}" for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Return a public name from the module that holds it, loading that module on first use."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'disrouter.online' has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)
