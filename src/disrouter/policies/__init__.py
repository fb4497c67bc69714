"""Policies: the local rule that turns what an agent thinks of a query into a decision.

A policy sees one agent at a time (:class:`View`) and says :class:`Accept`, :class:`Pass` or :class:`Recall`. Its
vectorised twin says the same for whole columns of an outcome table, so that a replay decides as the live network does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

from disrouter.errors import ConfigError, UnknownNameError
from disrouter.policies.contract import (
    ANSWER,
    Accept,
    Pass,
    Policy,
    Pool,
    PoolPolicy,
    Recall,
    Verdict,
    View,
    Views,
    own_word,
)
from disrouter.policies.simple import OwnWord, PaperThreshold, Threshold

if TYPE_CHECKING:
    from disrouter.policies.forwarding import ValueOfForwarding

__all__ = [
    "ANSWER",
    "POLICIES",
    "Accept",
    "AnyPolicy",
    "OwnWord",
    "PaperThreshold",
    "Pass",
    "Policy",
    "Pool",
    "PoolPolicy",
    "Recall",
    "Threshold",
    "ValueOfForwarding",
    "Verdict",
    "View",
    "Views",
    "own_word",
    "policy_of",
    "spec_of",
]

AnyPolicy: TypeAlias = Policy | PoolPolicy

POLICIES = {
    "own-word": "simple:OwnWord",
    "threshold": "simple:Threshold",
    "paper": "simple:PaperThreshold",
    "value-of-forwarding": "forwarding:ValueOfForwarding",
}
"""The built-in policies: module and class by name, loaded on first use."""


def __getattr__(name: str) -> object:
    """Load the policy that needs numpy on first use."""
    if name == "ValueOfForwarding":
        return _class_of("value-of-forwarding")
    raise AttributeError(f"module 'disrouter.policies' has no attribute {name!r}")


def policy_of(spec: str | Mapping[str, Any]) -> AnyPolicy:
    """Return the policy of a name (``"own-word"``) or of a name with settings (``{"name": "paper", "gamma": 1}``).

    Raises:
        UnknownNameError: No policy has that name.
        ConfigError: A setting is missing, unknown or out of range.
    """
    settings = dict(spec) if isinstance(spec, Mapping) else {"name": spec}
    name = settings.pop("name", None)
    if not isinstance(name, str):
        raise ConfigError(
            f"A policy needs a name; got {spec!r}. Known: {_listed(POLICIES)}.", hint="for example `policy: paper`"
        )
    if name not in POLICIES:
        raise UnknownNameError.of("policy", name, POLICIES)
    policy = _class_of(name)
    known = _settings_of(policy)
    unknown = [key for key in settings if key not in known]
    if unknown:
        raise ConfigError(
            f"Policy '{name}' has no setting {_listed(unknown)}. Known: {_listed(sorted(known)) or 'none'}.",
            hint="remove it or correct its spelling",
        )
    if name == Threshold.name and "threshold" not in settings:
        raise ConfigError(
            "Policy 'threshold' needs a threshold from 0 to 1.",
            hint="for example `policy: {name: threshold, threshold: 0.5}`",
        )
    made: AnyPolicy = policy(**settings)
    return made


def spec_of(policy: AnyPolicy) -> dict[str, Any]:
    """Return the name and settings from which :func:`policy_of` makes an equal policy (for records of runs)."""
    built_in = policy.name in POLICIES and type(policy) is _class_of(policy.name)
    settings = {key: getattr(policy, key) for key in _settings_of(type(policy))} if built_in else {}
    return {"name": policy.name, **settings}


def _class_of(name: str) -> Any:
    module, _, policy = POLICIES[name].partition(":")
    return getattr(import_module(f"disrouter.policies.{module}"), policy)


def _settings_of(policy: Any) -> list[str]:
    return [field.name for field in fields(policy) if not field.name.startswith("_")]


def _listed(names: Any) -> str:
    return ", ".join(f"'{name}'" for name in names)
