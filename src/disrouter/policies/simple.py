"""Simple policies: an agent decides by its own confidence alone, whoever waits downstream."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from disrouter.errors import ConfigError
from disrouter.policies.contract import Accept, Pass, Verdict, View, own_word
from disrouter.types import Scenario

if TYPE_CHECKING:  # numpy is loaded only by whoever already holds arrays
    from disrouter.policies.contract import BoolArray, FloatArray

__all__ = ["OwnWord", "PaperThreshold", "Threshold", "is_number"]


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
        if not is_number(self.threshold) or not 0.0 <= self.threshold <= 1.0:
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
        if not is_number(self.gamma) or not 0.0 <= self.gamma < math.inf:
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


def is_number(value: object) -> bool:
    """Return whether a setting is a number that floats can hold; a whole number may be too large for them."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
