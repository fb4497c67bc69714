"""Evaluation: outcome tables, replay, metrics, runs, reports and figures.

Importing this package loads nothing: every public name arrives on first use. Functions that share the name of their
module stay there: ``replay.replay``, ``replay.traces``, ``report.report``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from disrouter.errors import MissingExtraError

if TYPE_CHECKING:
    from disrouter.evaluation.outcomes import Outcome, OutcomeTable
    from disrouter.evaluation.replay import fitted
    from disrouter.evaluation.runs import Run, evaluate, read_run, remake
    from disrouter.evaluation.suites import FileSuite, Suite, suite_of
    from disrouter.evaluation.summary import Summary, summarise
    from disrouter.evaluation.traces import trace_from_json, trace_to_json

__all__ = [
    "FileSuite",
    "Outcome",
    "OutcomeTable",
    "Run",
    "Suite",
    "Summary",
    "evaluate",
    "fitted",
    "read_run",
    "remake",
    "suite_of",
    "summarise",
    "trace_from_json",
    "trace_to_json",
]

_HOMES = {
    "outcomes": ("Outcome", "OutcomeTable"),
    "runs": ("Run", "evaluate", "read_run", "remake"),
    "suites": ("FileSuite", "Suite", "suite_of"),
    "summary": ("Summary", "summarise"),
    "replay": ("fitted",),
    "traces": ("trace_from_json", "trace_to_json"),
}

_MODULE_OF = {name: f"disrouter.evaluation.{module}" for module, names in _HOMES.items() for name in names}

_EXTRA = {"matplotlib", "pyarrow", "scipy", "sklearn"}


def __getattr__(name: str) -> object:
    """Return a public name from the module that holds it, loading that module on first use."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'disrouter.evaluation' has no attribute {name!r}")
    try:
        return getattr(import_module(_MODULE_OF[name]), name)
    except ModuleNotFoundError as exc:
        if exc.name is not None and exc.name.split(".")[0] in _EXTRA:
            raise MissingExtraError.of("Evaluating", "eval") from exc
        raise
