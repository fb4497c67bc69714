"""Policies: the local rule that turns what an agent thinks of a query into a decision.

A policy sees one agent at a time (:class:`View`) and says :class:`Accept` or :class:`Pass`. Its vectorised twin
``accepts`` says the same for whole columns of an outcome table, so that a replay decides as the live network does.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias, runtime_checkable

from disrouter.errors import ConfigError, UnknownNameError
from disrouter.types import AgentCard, Scenario

if TYPE_CHECKING:  # numpy is loaded only by whoever already holds arrays
    import numpy as np
    import numpy.typing as npt

    FloatArray: TypeAlias = npt.NDArray[np.float64]
    BoolArray: TypeAlias = npt.NDArray[np.bool_]

__all__ = [
    "POLICIES",
    "Accept",
    "OwnWord",
    "PaperThreshold",
    "Pass",
    "Policy",
    "Threshold",
    "Verdict",
    "View",
    "own_word",
    "policy_of",
    "spec_of",
]


@dataclass(frozen=True, slots=True)
class Accept:
    """The agent shall answer."""


@dataclass(frozen=True, slots=True)
class Pass:
    """The agent shall reject and pass the query on."""

    to: str
    """Name of the successor that is asked next."""


Verdict: TypeAlias = Accept | Pass


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """All that a policy may know when it decides: the agent's own look and what travelled with the query."""

    confidence: float | None
    """The agent's self-assessed chance to be right, in [0, 1]; None if it cannot say."""

    accepts: bool | None
    """The agent's own word; None if it has none."""

    scenario: Scenario
    card: AgentCard
    successors: tuple[str, ...]
    """Names of the agents the query may be passed to, the preferred one first."""

    upstream: tuple[tuple[str, float | None], ...] = ()
    """Name and confidence of every agent that has rejected the query so far, in order of asking."""


@runtime_checkable
class Policy(Protocol):
    """A local rule. ``decide`` and ``accepts`` agree wherever there is a successor to pass to."""

    @property
    def name(self) -> str: ...

    def decide(self, view: View) -> Verdict:
        """Say whether the agent answers or whom it passes the query to."""
        ...

    def accepts(self, confidence: FloatArray, own_word: BoolArray, scenario: Scenario) -> BoolArray:
        """Say for every query of a column whether the agent answers.

        Args:
            confidence: Self-assessed chances, shape (n,); NaN where the agent cannot say.
            own_word: The agent's own words as :func:`own_word` gives them, shape (n,).
            scenario: The scenario all n queries are asked under.
        """
        ...


def own_word(accepts: bool | None, confidence: float | None) -> bool:
    """Return the word of an agent about itself, whatever it is able to say.

    Its own word if it has one; else whether it thinks itself more likely right than wrong; an agent that can say
    neither answers, since passing on needs a reason.
    """
    if accepts is not None:
        return accepts
    return confidence is None or confidence > 0.5


@dataclass(frozen=True, slots=True)
class OwnWord:
    """Answer if the agent itself would: the paper's trained behaviour (arXiv 2510.19208, §3.2)."""

    name: ClassVar[str] = "own-word"

    def decide(self, view: View) -> Verdict:
        """Take the agent at its word."""
        return _verdict(own_word(view.accepts, view.confidence), view)

    def accepts(self, confidence: FloatArray, own_word: BoolArray, scenario: Scenario) -> BoolArray:
        """Return the own words."""
        return own_word.copy()


@dataclass(frozen=True, slots=True)
class Threshold:
    """Answer if the confidence lies above a fixed threshold, whatever the scenario."""

    threshold: float
    """In [0, 1]. An agent without a confidence is taken at its own word."""

    name: ClassVar[str] = "threshold"

    def __post_init__(self) -> None:
        if not _is_number(self.threshold) or not 0.0 <= self.threshold <= 1.0:
            raise ConfigError(
                f"Policy 'threshold': threshold {self.threshold!r} is not a number from 0 to 1.",
                hint="0 answers nearly everything, 1 rejects everything",
            )

    def decide(self, view: View) -> Verdict:
        """Compare the confidence with the threshold."""
        return _verdict(_above(self.threshold, view), view)

    def accepts(self, confidence: FloatArray, own_word: BoolArray, scenario: Scenario) -> BoolArray:
        """Compare every confidence with the threshold."""
        return _all_above(self.threshold, confidence, own_word)


@dataclass(frozen=True, slots=True)
class PaperThreshold:
    """Answer if the confidence lies above (1 − alpha)^gamma, what the paper's reward pays for a rejection (§3.3).

    The more cost matters, the lower the bar: a cheap agent is then worth a risk.
    """

    gamma: float = 0.5
    """Not negative; 0.5 in the paper."""

    name: ClassVar[str] = "paper"

    def __post_init__(self) -> None:
        if not _is_number(self.gamma) or not 0.0 <= self.gamma < math.inf:
            raise ConfigError(
                f"Policy 'paper': gamma {self.gamma!r} is not a number from 0 up.", hint="the paper uses 0.5"
            )

    def threshold(self, scenario: Scenario) -> float:
        """Return the bar of a scenario, in [0, 1]."""
        return float((1.0 - scenario.alpha) ** self.gamma)

    def decide(self, view: View) -> Verdict:
        """Compare the confidence with the scenario's bar."""
        return _verdict(_above(self.threshold(view.scenario), view), view)

    def accepts(self, confidence: FloatArray, own_word: BoolArray, scenario: Scenario) -> BoolArray:
        """Compare every confidence with the scenario's bar."""
        return _all_above(self.threshold(scenario), confidence, own_word)


POLICIES: dict[str, type[OwnWord] | type[Threshold] | type[PaperThreshold]] = {
    policy.name: policy for policy in (OwnWord, Threshold, PaperThreshold)
}
"""The built-in policies by name."""


def policy_of(spec: str | Mapping[str, Any]) -> Policy:
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
    known = {field.name for field in fields(POLICIES[name])}
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
    return POLICIES[name](**settings)


def spec_of(policy: Policy) -> dict[str, Any]:
    """Return the name and settings from which :func:`policy_of` makes an equal policy (for records of runs)."""
    settings = asdict(policy) if isinstance(policy, OwnWord | Threshold | PaperThreshold) else {}
    return {"name": policy.name, **settings}


def _verdict(accepts: bool, view: View) -> Verdict:
    # Without a successor there is nobody to pass to: the last agent always answers.
    return Accept() if accepts or not view.successors else Pass(view.successors[0])


def _above(bar: float, view: View) -> bool:
    if view.confidence is None:
        return own_word(view.accepts, None)
    return view.confidence > bar


def _all_above(bar: float, confidence: FloatArray, own_word: BoolArray) -> BoolArray:
    import numpy as np

    # Comparing NaN is silently False, which `where` then replaces by the own word.
    return np.where(np.isnan(confidence), own_word, confidence > bar)


def _is_number(value: object) -> bool:
    # A whole number may be too large for the arithmetic of floats.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _listed(names: Any) -> str:
    return ", ".join(f"'{name}'" for name in names)
