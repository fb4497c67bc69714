"""Schema: what a network file may hold, key by key.

The description of a field is what a message says is allowed there.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from disrouter.config.sentences import Spec

__all__ = ["AgentSpec", "LimitsSpec", "Name", "NetworkSpec", "PriceSpec", "SecondsSpec"]

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]*$", max_length=100)]


class PriceSpec(Spec):
    """What an agent costs: per query (``cost``, ``look_share``) or per million tokens (``input``, ``output``)."""

    cost: float | None = Field(None, ge=0, le=1, description="a number from 0 to 1, the normalised cost per query")
    look_share: float = Field(
        0.1,
        ge=0,
        le=1,
        description="a number from 0 to 1, the share of the cost that a look takes (default 0.1)",
    )
    input: float | None = Field(None, ge=0, description="a number from 0, money per million input tokens")
    output: float | None = Field(None, ge=0, description="a number from 0, money per million output tokens")


class SecondsSpec(Spec):
    """How long an agent takes."""

    look: float = Field(0.0, ge=0, description="a number from 0, the seconds of a look")
    answer: float = Field(0.0, ge=0, description="a number from 0, the seconds of an answer after the look")


class AgentSpec(Spec):
    """One agent of a network file."""

    name: Name = Field(description="a name of up to 100 letters, digits and . _ : / -, starting with a letter or digit")
    backend: Literal["transformers", "recorded"] = Field(
        description="'transformers' (a model on this machine) or 'recorded' (an outcome table)"
    )
    model: str = Field(
        min_length=1,
        description="a folder or table relative to the network file, or 'lab:agent-1' for a shipped checkpoint",
    )
    price: PriceSpec = Field(description="{cost, look_share} per query, or {input, output} per million tokens")
    self_assessment: Literal["token", "head", "none"] = Field(
        "token",
        description="'token' (confidence from the first token), 'head' (from the confidence head beside the model) or "
        "'none' (always willing to answer)",
    )
    context_length: int | None = Field(None, ge=1, description="a whole number from 1, in tokens")
    max_tokens: int = Field(512, ge=1, description="a whole number from 1, the most tokens of an answer")
    rejection: str = Field("I don't know", min_length=1, description="the text of a rejection")
    scenario_prompt: bool = Field(True, description="true (the scenario's name stands in the prompt) or false")
    card: str | None = Field(
        None,
        min_length=1,
        description="the path of an agent card relative to the network file; without it the one beside the model",
    )
    seconds: SecondsSpec | None = Field(
        None, description="{look, answer}, expected seconds in place of the measured ones of the agent card"
    )
    always_answers: bool | None = Field(
        None, description="true (answers whatever the policy says) or false (must be able to pass on)"
    )


class LimitsSpec(Spec):
    """How far a query may travel."""

    max_hops: int | None = Field(None, ge=1, description="a whole number from 1, the most agents asked per query")
    max_cost: float | None = Field(None, gt=0, description="a number above 0, the most normalised cost per query")
    max_seconds: float | None = Field(None, gt=0, description="a number above 0, seconds after which nobody is asked")


class NetworkSpec(Spec):
    """A network file."""

    name: Name = Field(description="a name of up to 100 letters, digits and . _ : / -, starting with a letter or digit")
    agents: list[AgentSpec] = Field(min_length=1, description="a list of at least one agent")
    cost_unit: float | None = Field(
        None, gt=0, description="a number above 0, the money that counts as a normalised cost of 1"
    )
    edges: dict[str, list[str]] | None = Field(
        None, description="a mapping from an agent's name to the list of names it may pass to"
    )
    policy: Any = Field("own-word", description="the name of a policy, or a mapping with its name and settings")
    scenario: Any = Field("balance", description="the name of a scenario, or an alpha from 0 to 1")
    limits: LimitsSpec | None = Field(None, description="a mapping with max_hops, max_cost or max_seconds")
