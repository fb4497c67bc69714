"""The built-in methods by name. Looking a name up loads nothing; only making the method imports its file."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from disrouter.baselines.contract import Router
from disrouter.errors import UnknownNameError

__all__ = ["BASELINES", "baseline_of"]

BASELINES: dict[str, str] = {}
"""Name → ``module:Class`` under :mod:`disrouter.baselines`, in the order of reports."""


def baseline_of(name: str, **settings: Any) -> Router:
    """Return a built-in method by its name.

    Raises:
        UnknownNameError: No built-in method has that name.
    """
    if name not in BASELINES:
        raise UnknownNameError.of("method", name, BASELINES)
    module, _, cls = BASELINES[name].partition(":")
    made: Router = getattr(import_module(f"disrouter.baselines.{module}"), cls)(**settings)
    return made
