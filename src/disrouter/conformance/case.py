"""What a case is: a name, one line of rule, where the rule comes from, and a function that tries it on a target."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from disrouter.conformance.target import Target

__all__ = ["ABILITIES", "Ability", "BrokenRuleError", "Case", "Check", "Group", "expect", "group", "one", "short"]

Check: TypeAlias = Callable[[Target], Awaitable[None]]

Ability = Literal["tools", "structured", "logprobs", "n", "mock", "key"]

ABILITIES: Mapping[Ability, str] = {
    "tools": "the model calls the tools it is offered",
    "structured": "the model keeps to a JSON schema",
    "logprobs": "the server gives log-probabilities",
    "n": "the server gives several choices to one request",
    "mock": "behind the gateway stands this project's mock backend, which echoes and fails on demand",
    "key": "the gateway asks for a key, and one was given",
}
"""What a case may need of whatever stands behind the gateway."""


class BrokenRuleError(Exception):
    """The target broke the rule; the message says how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One rule and the way to try it."""

    name: str
    group: str
    rule: str
    """What a gateway does, in one line."""
    source: str
    """Who says so."""
    needs: frozenset[Ability]
    """Abilities without which the case says nothing."""
    check: Check
    """Returns if the rule is kept.

    Raises:
        BrokenRuleError: It is not.
    """


@dataclass(frozen=True, slots=True)
class Group:
    """Cases about one thing, with the source that most of them share."""

    name: str
    source: str
    cases: list[Case]

    def case(
        self, name: str, rule: str, *, needs: Iterable[Ability] = (), source: str | None = None
    ) -> Callable[[Check], Check]:
        """Return a decorator that adds a check as a case."""

        def add(check: Check) -> Check:
            self.add(name, rule, check, needs=needs, source=source)
            return check

        return add

    def add(
        self, name: str, rule: str, check: Check, *, needs: Iterable[Ability] = (), source: str | None = None
    ) -> None:
        """Add a case."""
        made = Case(
            name=name, group=self.name, rule=rule, source=source or self.source, needs=frozenset(needs), check=check
        )
        self.cases.append(made)


def group(name: str, source: str) -> Group:
    """Return an empty group."""
    return Group(name, source, [])


def expect(kept: object, otherwise: str) -> None:
    """Go on if the rule is kept.

    Raises:
        BrokenRuleError: It is not.
    """
    if not kept:
        raise BrokenRuleError(otherwise)


def one(found: object, kind: type, what: str) -> Any:
    """Return ``found`` if it is of a kind; whole numbers are no truth values here.

    Raises:
        BrokenRuleError: It is not.
    """
    if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
        raise BrokenRuleError(f"{what} is {short(found)}, not {_KINDS.get(kind, kind.__name__)}")
    return found


def short(value: object) -> str:
    """Return a value as it fits into a sentence."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


_KINDS: Mapping[type, str] = {str: "text", int: "a whole number", list: "a list", dict: "an object", float: "a number"}
