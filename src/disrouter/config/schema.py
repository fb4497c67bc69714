"""Schema: what a network file may hold, key by key.

The description of a field is what a message says is allowed there.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from disrouter.config.sentences import Spec

__all__ = [
    "AgentSpec",
    "BreakerSpec",
    "LimitsSpec",
    "Name",
    "NetworkSpec",
    "PriceSpec",
    "RaySpec",
    "SecondsSpec",
    "TimeoutsSpec",
]

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


class TimeoutsSpec(Spec):
    """How long an agent behind a server may take, in seconds."""

    connect: float = Field(5.0, gt=0, le=600, description="a number above 0, seconds until a connection is there")
    first_token: float = Field(
        60.0, gt=0, le=3600, description="a number above 0, seconds until a look or the first token is there"
    )
    stall: float = Field(
        60.0, gt=0, le=3600, description="a number above 0, seconds between two pieces of a streamed answer"
    )
    total: float = Field(600.0, gt=0, le=86400, description="a number above 0, seconds until an answer is complete")


class BreakerSpec(Spec):
    """When an agent that keeps failing is left alone."""

    failures: int = Field(5, ge=1, description="a whole number from 1, failures in a row after which it is left alone")
    seconds: float = Field(10.0, gt=0, le=3600, description="a number above 0, seconds until it is tried again")


class RaySpec(Spec):
    """How an agent runs on a Ray cluster (`disrouter serve --engine ray`)."""

    replicas: int = Field(1, ge=1, le=1000, description="a whole number from 1, copies of the agent at the start")
    max_replicas: int | None = Field(
        None, ge=1, le=1000, description="a whole number not below replicas, the most copies under load"
    )
    cpus: float = Field(1.0, ge=0, description="a number from 0, cores that a copy takes")
    gpus: float = Field(0.0, ge=0, description="a number from 0, GPUs that a copy takes; 0.5 is half of one")
    max_ongoing: int | None = Field(
        None, ge=1, description="a whole number from 1, the most queries that a copy works on at a time"
    )
    patience: float = Field(
        60.0,
        gt=0,
        le=3600,
        description="a number above 0, seconds until a look or the first piece of an answer is there",
    )
    server: Literal["agent", "vllm"] = Field(
        "agent", description="'agent' (the model runs as it does everywhere) or 'vllm' (vLLM runs it, on a GPU)"
    )


class AgentSpec(Spec):
    """One agent of a network file."""

    name: Name = Field(description="a name of up to 100 letters, digits and . _ : / -, starting with a letter or digit")
    backend: Literal["transformers", "recorded", "openai", "node"] = Field(
        description="'transformers' (a model on this machine), 'openai' (behind an OpenAI-compatible server), "
        "'node' (a process that `disrouter agent serve` runs) or 'recorded' (an outcome table)"
    )
    model: str | None = Field(
        None,
        min_length=1,
        description="a folder or table relative to the network file, 'lab:agent-1' for a shipped checkpoint, or with "
        "the backend 'openai' the model's name on its server",
    )
    price: PriceSpec | None = Field(
        None, description="{cost, look_share} per query, or {input, output} per million tokens"
    )
    base_url: str | None = Field(
        None, max_length=2000, description="the server's address with its version, like http://127.0.0.1:8000/v1"
    )
    node: str | None = Field(
        None,
        max_length=2000,
        description="the address of the node that serves this agent, like http://10.0.0.7:9000/v1: everybody but that "
        "node asks it there",
    )
    api_key_env: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="the name of the environment variable that holds the server's key; never the key itself",
    )
    hop_secret_env: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="the name of the environment variable with the secret shared with a server that is a DiSRouter",
    )
    model_digest: str | None = Field(
        None, min_length=1, max_length=100, description="the digest of the model that a node must have"
    )
    version: str | None = Field(
        None, min_length=1, max_length=100, description="the version of DiSRouter that a node must run"
    )
    self_assessment: Literal["token", "adapter", "head", "text", "prompt", "none"] = Field(
        "token",
        description="'token' (confidence from the first token), 'adapter' (from there, too, with the deciding adapter "
        "beside the model on, which is off while it answers), 'head' (from the confidence head beside the model), "
        "'text' (the rejection text at the beginning of the answer), 'prompt' (the model is asked in words) or 'none' "
        "(always willing to answer)",
    )
    decides_with: str | None = Field(
        None,
        min_length=1,
        description="the name of the model on the same server that is asked for the decision, usually the agent's LoRA "
        "adapter; `model` answers",
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
    timeouts: TimeoutsSpec = Field(
        TimeoutsSpec(), description="a mapping with connect, first_token, stall or total, in seconds"
    )
    retries: int = Field(1, ge=0, le=10, description="a whole number from 0 to 10, attempts after the first")
    concurrency: int | None = Field(
        None, ge=1, description="a whole number from 1, the most queries a gateway has the agent work on at a time"
    )
    queue: int = Field(256, ge=0, description="a whole number from 0, the most queries that wait for the agent")
    breaker: BreakerSpec = Field(BreakerSpec(), description="a mapping with failures and seconds")
    ray: RaySpec | None = Field(
        None,
        description="a mapping with replicas, max_replicas, cpus, gpus, max_ongoing, patience or server, for "
        "`--engine ray`",
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
    dispatch: Literal["caller", "peer"] = Field(
        "caller",
        description="'caller' (whoever asks sends the query to one agent after the other) or 'peer' (nodes pass it on "
        "among themselves)",
    )
    limits: LimitsSpec | None = Field(None, description="a mapping with max_hops, max_cost or max_seconds")
