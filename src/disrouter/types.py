"""The words of this project as small frozen types: queries, looks, decisions, hops, traces.

Everything else is a function over these types. Nothing here imports a heavy library.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from disrouter.competence import Competence

__all__ = [
    "Agent",
    "AgentCard",
    "Completion",
    "DecisionKind",
    "Delta",
    "Hop",
    "Look",
    "Message",
    "Price",
    "Query",
    "QueryPrice",
    "Request",
    "Role",
    "Sampling",
    "Scenario",
    "Seconds",
    "Serving",
    "TokenPrice",
    "Trace",
    "Usage",
]

Role = Literal["system", "user", "assistant"]

DecisionKind = Literal["answer", "reject", "failure"]
"""Outcome of one look. A ``failure`` (the agent broke) is passed on like a ``reject``, but recorded as what it is."""


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """How a query came in over HTTP, for agents that can forward it as it was sent."""

    body: Mapping[str, Any]
    """The fields of a chat completion request, those this project does not know included. Never changed."""

    streaming: bool = False
    """Whether the answer goes out while it is written."""

    deadline: float | None = None
    """When the caller stops waiting, on the clock of :func:`time.monotonic`."""

    via: tuple[str, ...] = ()
    """Gateways and nodes that the query has come through, the first one first."""

    max_cost: float | None = None
    """Normalised cost that may still be spent on it, where that is bounded."""

    max_hops: int | None = None
    """Agents that may still be consulted, the next one included, where that is bounded."""

    traceparent: str | None = None
    """Trace context of the caller, as W3C writes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What the user asks; in an evaluation also the reference answer and where the query comes from."""

    id: str
    """Stable name of the query; per-query seeds derive from it."""

    messages: tuple[Message, ...]

    reference: str | None = None
    """The right answer, where it is known."""

    dataset: str | None = None
    """Name of the dataset (in the lab: the skill), which also names its grader."""

    level: int | None = None
    """Graded difficulty within the dataset, 1 the easiest, where it is known."""

    request: Request | None = field(default=None, repr=False, compare=False)
    """The request that the query came in, where there is one. Opaque to routing."""

    @classmethod
    def from_text(cls, text: str, *, id: str = "query") -> Query:
        """Return a query of one user message."""
        return cls(id=id, messages=(Message("user", text),))

    @property
    def text(self) -> str:
        """The last user message, for people and graders."""
        return next((m.content for m in reversed(self.messages) if m.role == "user"), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """How much quality is worth against cost: ``utility = quality - alpha * cost - beta * seconds``."""

    name: str
    alpha: float
    """Cost weight in [0, 1]."""

    beta: float = 0.0
    """Latency weight, utility per second."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens read and written by one agent."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryPrice:
    """A flat normalised price per query, as in the paper."""

    cost: float
    """Normalised cost in [0, 1] of looking at a query *and* answering it (the paper's c)."""

    look_share: float = 0.1
    """Share in [0, 1] of ``cost`` that a look alone costs: what a rejection is charged."""

    def of(self, usage: Usage, *, answered: bool) -> float:
        """Return the normalised cost of one hop; tokens do not matter."""
        return self.cost if answered else self.cost * self.look_share

    @property
    def rank(self) -> float:
        """Sort key: the cheapest agent is asked first."""
        return self.cost


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPrice:
    """A price per million input and output tokens, normalised by what a unit of cost is worth."""

    input: float
    output: float

    unit: float
    """Money (in the currency of ``input``/``output``) that counts as a normalised cost of 1."""

    def of(self, usage: Usage, *, answered: bool) -> float:
        """Return the normalised cost of one hop from the tokens it used."""
        money = (self.input * usage.prompt_tokens + self.output * usage.completion_tokens) / 1e6
        return money / self.unit

    @property
    def rank(self) -> float:
        """Sort key: one input token for every output token at the usual mix of 1:1."""
        return (self.input + self.output) / self.unit


Price = QueryPrice | TokenPrice


@dataclass(frozen=True, slots=True, kw_only=True)
class Seconds:
    """How long an agent is expected to take for a query, where that is set and not measured."""

    look: float = 0.0
    answer: float = 0.0
    """Of the answer after the look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """How much of an agent a service asks for at once, and when it leaves the agent alone for a while."""

    concurrency: int = 64
    """Most queries that it works on at a time."""

    queue: int = 256
    """Most queries that wait for it; one more is turned away."""

    failures: int = 5
    """Own failures in a row after which it is not asked for a while."""

    pause: float = 10.0
    """Seconds until it is tried again with one query."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentCard:
    """What others may know about an agent without running it."""

    name: str
    price: Price

    context_length: int | None = None
    """Most tokens the agent can take and write together, where known."""

    parameters: int | None = None
    """Number of weights, where known (for FLOPs: about two per weight and token)."""

    competence: Competence | None = field(default=None, repr=False)
    """What the agent solves at each grade of difficulty, where it has been measured."""

    seconds: Seconds | None = None
    """Expected seconds that take the place of measured ones, where they are set."""

    details: Mapping[str, str] = field(default_factory=dict)
    """Free text for people: backend, model, device."""

    serving: Serving = Serving()
    """How much of it a gateway asks for at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How an answer is drawn. Greedy by default; a seed is folded with the query id, so order does not matter."""

    temperature: float = 0.0
    max_tokens: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What an agent thinks of a query before answering it. Cheap: one prefill, at most one token."""

    confidence: float | None
    """Self-assessed probability in [0, 1] that the answer would be right; None if the agent cannot say."""

    accepts: bool | None = None
    """The agent's own word (would it answer by itself?); None if it has none."""

    usage: Usage = Usage()
    seconds: float = 0.0

    state: object | None = field(default=None, repr=False, compare=False)
    """Whatever the agent wants to reuse for answering (say, the prefill). Opaque to everyone else. What must be let
    go of when the query moves on (an open connection) has an ``aclose``, which routing awaits."""


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of an answer from a server, with all that the server sent: tool calls, log-probabilities, choices."""

    text: str
    """The text it adds to the answer."""

    chunks: tuple[dict[str, Any], ...] = field(default=(), repr=False, compare=False)
    """The server's stream chunks. Opaque to routing; whoever receives them may change them."""

    agent: str | None = None
    """Who says it, where that is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """The end of an answer: its whole text and what it took, without the look before it."""

    text: str
    usage: Usage = Usage()
    finish_reason: Literal["stop", "length"] = "stop"
    seconds: float = 0.0

    first_token_seconds: float | None = field(default=None, compare=False)
    """Seconds of the answer until its first text, where it was streamed and timed."""

    body: dict[str, Any] | None = field(default=None, repr=False, compare=False)
    """The server's whole reply, where the answer did not stream. Opaque to routing."""


@runtime_checkable
class Agent(Protocol):
    """A language model with a price that looks at a query and answers or rejects it.

    One that need not stream may have ``async complete(query, scenario, look, sampling) -> Completion`` beside
    :meth:`answer`: it is taken where nobody reads the pieces, and must say the same.
    """

    @property
    def card(self) -> AgentCard: ...

    async def look(self, query: Query, scenario: Scenario) -> Look:
        """Judge the own chance of answering right, before answering.

        Raises:
            AgentError: The agent broke; routing records a failure and passes the query on.
        """
        ...

    def answer(
        self, query: Query, scenario: Scenario, look: Look | None, sampling: Sampling
    ) -> AsyncIterator[str | Delta | Completion]:
        """Stream the answer as text deltas, ending in exactly one :class:`Completion`.

        ``look`` is what :meth:`look` returned for this query and scenario, so that its work can be reused.

        Raises:
            AgentError: The agent broke; before the first delta routing passes the query on.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One decision of one agent, with what it cost."""

    agent: str
    decision: DecisionKind
    confidence: float | None = None
    usage: Usage = Usage()
    cost: float = 0.0
    """Normalised cost of this hop; a rejection pays for its look."""

    seconds: float = 0.0

    first_token_seconds: float | None = None
    """Seconds of this hop until the answer's first text, a look in it included; None where nobody timed that."""

    reason: str | None = None
    """Why, where that is not the policy's plain word: the failure's message, a limit that was reached."""

    cause: Exception | None = field(default=None, repr=False, compare=False)
    """What a failing agent raised, for callers that must tell kinds of failures apart. Never stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """All hops of one query in order, and the final answer."""

    query_id: str
    scenario: Scenario
    hops: tuple[Hop, ...]
    answer: str | None
    """The answer's text, or None if no agent answered."""

    score: float | None = None
    """Quality in [0, 1] where a grader has judged the answer."""

    completion: Completion | None = field(default=None, repr=False, compare=False)
    """How the answer ended, as its agent gave it. Never stored."""

    @property
    def agent(self) -> str | None:
        """Name of the agent that answered, if any."""
        return self.hops[-1].agent if self.hops and self.hops[-1].decision == "answer" else None

    @property
    def cost(self) -> float:
        """The paper's cost: what the agent that answered takes to look and answer; rejections are free (paper, §3)."""
        # An agent has two hops where it rejected at first and had to answer after all: the first one paid its look.
        return sum(hop.cost for hop in self.hops if hop.agent == self.agent)

    @property
    def cost_full(self) -> float:
        """The whole route's cost: every look, rejection and failure included."""
        return sum([hop.cost for hop in self.hops])

    @property
    def seconds(self) -> float:
        """Seconds spent in agents along the route."""
        return sum([hop.seconds for hop in self.hops])

    @property
    def first_token_seconds(self) -> float | None:
        """Seconds in agents until the first text of the answer; None where nobody timed that or nobody answered."""
        last = self.hops[-1].first_token_seconds if self.agent is not None else None
        return None if last is None else sum(hop.seconds for hop in self.hops[:-1]) + last

    @property
    def usage(self) -> Usage:
        """Tokens of the whole route."""
        return Usage(
            sum([hop.usage.prompt_tokens for hop in self.hops]), sum([hop.usage.completion_tokens for hop in self.hops])
        )
