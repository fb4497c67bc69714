"""Errors that finish the user's sentence.

DisrouterError
├── UsageError            you called it wrong
│   ├── ConfigError       a network file, a recipe or an option is not usable
│   ├── UnknownNameError  a name nobody has: agent, scenario, policy, suite
│   ├── ModelError        a model folder that cannot be loaded
│   ├── DataError         an outcome table, a run folder or a suite that cannot be used
│   └── MissingExtraError an optional part is not installed
└── RunError              the run failed
    ├── AgentError        one agent broke on one query (routing passes the query on)
    ├── ContextError      a query longer than an agent can take
    └── InterruptedRunError   stopped by the user; what is done is kept
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "AgentError",
    "ConfigError",
    "ContextError",
    "DataError",
    "DisrouterError",
    "InterruptedRunError",
    "MissingExtraError",
    "ModelError",
    "RunError",
    "UnknownNameError",
    "UsageError",
]


class DisrouterError(Exception):
    """Base of every error this package raises on purpose: a message and, often, the next step."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


class UsageError(DisrouterError):
    """You called it wrong."""


class ConfigError(UsageError):
    """A network file, a recipe or an option is not usable."""


class UnknownNameError(UsageError):
    """A name nobody has."""

    @classmethod
    def of(
        cls, kind: str, name: str, known: Iterable[str], *, where: str = "", hint: str | None = None
    ) -> UnknownNameError:
        """Return the error for ``name`` with the known names and, if one is close, a suggestion."""
        names = list(known)
        listed = ", ".join(f"'{n}'" for n in names) or "none"
        close = get_close_matches(name, names, n=1)
        suggestion = f"did you mean '{close[0]}'?" if close else None
        place = f" in {where}" if where else ""
        return cls(f"Unknown {kind} '{name}'{place}. Known: {listed}.", hint=hint or suggestion)


class ModelError(UsageError):
    """A model folder that cannot be loaded."""


class DataError(UsageError):
    """An outcome table, a run folder or a suite that cannot be used."""


class MissingExtraError(UsageError):
    """An optional part is not installed."""

    @classmethod
    def of(cls, what: str, extra: str) -> MissingExtraError:
        """Return the error for ``what`` with the exact command that installs it."""
        return cls(f"{what} needs packages that are not installed.", hint=f"pip install 'disrouter[{extra}]'")


class RunError(DisrouterError):
    """The run failed."""


class AgentError(RunError):
    """One agent broke on one query; routing records a failure and passes the query on."""


class ContextError(AgentError):
    """A query longer than an agent can take."""


class InterruptedRunError(RunError):
    """Stopped by the user; what is done is kept."""
