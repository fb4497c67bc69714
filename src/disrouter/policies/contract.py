"""The contract of policies: what a policy sees, what it may say, and what it must be able to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from disrouter.types import AgentCard, Scenario

if TYPE_CHECKING:  # numpy is loaded only by whoever already holds arrays
    import numpy as np
    import numpy.typing as npt

    FloatArray: TypeAlias = npt.NDArray[np.float64]
    BoolArray: TypeAlias = npt.NDArray[np.bool_]
    IntArray: TypeAlias = npt.NDArray[np.int64]

__all__ = [
    "ANSWER",
    "Accept",
    "Pass",
    "Policy",
    "Pool",
    "PoolPolicy",
    "Recall",
    "Verdict",
    "View",
    "Views",
    "own_word",
]


@dataclass(frozen=True, slots=True)
class Accept:
    """The agent shall answer."""


@dataclass(frozen=True, slots=True)
class Pass:
    """The agent shall reject and pass the query on."""

    to: str
    """Name of the agent that is asked next: a successor, or one behind it if those between are to be skipped."""


@dataclass(frozen=True, slots=True)
class Recall:
    """The agent shall reject, and one that was asked before shall answer after all."""

    agent: str
    """Name of an agent in :attr:`View.upstream`."""


Verdict: TypeAlias = Accept | Pass | Recall


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


ANSWER = -1
"""Code of an answer in what :meth:`PoolPolicy.decide_many` returns."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Views:
    """What one agent sees of n queries under one scenario: the columns of n :class:`View` at once."""

    agent: str
    scenario: Scenario
    confidence: FloatArray
    """Shape (n,); NaN where the agent cannot say."""

    upstream: Mapping[str, FloatArray] = field(default_factory=dict)
    """For every agent that some of the queries came through its confidence, shape (n,), NaN where it cannot say; in
    order of asking."""

    consulted: Mapping[str, BoolArray] = field(default_factory=dict)
    """For the same agents which of the queries came through them, shape (n,)."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The agents of a network as a policy may know them before any query comes."""

    name: str
    cards: Mapping[str, AgentCard]
    """By name, every agent after all that may pass to it."""

    edges: Mapping[str, tuple[str, ...]]
    """Whom each may pass to, the preferred one first; nobody for one that always answers."""


@runtime_checkable
class PoolPolicy(Protocol):
    """A policy that knows the agents waiting downstream; every network :meth:`binds <bound>` it to its own pool.

    It may pass to any agent that can be reached along the edges, and recall one that was asked before.
    """

    @property
    def name(self) -> str: ...

    def bound(self, pool: Pool) -> PoolPolicy:
        """Return the policy for a pool.

        Raises:
            ConfigError: The pool lacks what the policy has to know.
        """
        ...

    def decide(self, view: View) -> Verdict:
        """Say what becomes of a query; the policy must be bound."""
        ...

    def decide_many(self, views: Views) -> IntArray:
        """Say for each of n queries what becomes of it, shape (n,); equal to n calls of :meth:`decide`.

        :data:`ANSWER`; or k >= 0 for passing to the k-th agent of the pool; or -2 - k for recalling the k-th agent.
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
