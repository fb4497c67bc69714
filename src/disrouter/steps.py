"""Steps: what one agent is asked to do for one query, and what that comes to when the agent breaks."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

from disrouter.errors import AgentError, DisrouterError, InterruptedRunError, UsageError
from disrouter.types import Agent, Completion, Delta, Look, Query, Sampling, Scenario

__all__ = ["Broken", "completed", "guarded", "let_go", "pieces_of"]

T = TypeVar("T")

_PIECES = (str, Delta, Completion)

LONGEST_REASON = 300
"""Characters of a failure's message that a hop keeps."""


@dataclass(frozen=True, slots=True)
class Broken:
    """An agent broke: what a hop may tell about it, and the cause."""

    reason: str
    cause: Exception


async def guarded(step: Awaitable[T], query: Query) -> T | Broken:
    """Wait for one step of an agent; the single place where what an agent raises becomes a failure."""
    try:
        return await step
    except (UsageError, InterruptedRunError):
        raise  # a damaged checkpoint or a missing extra is for the user to mend, and no accident of this query
    except Exception as error:  # on purpose: agents are others' code and must not bring down the network
        return Broken(_reason(error, query), error)


async def completed(
    agent: Agent, query: Query, scenario: Scenario, look: Look | None, sampling: Sampling
) -> Completion:
    """Return an agent's whole answer: by its own short way if it has a ``complete``, else at the end of its pieces."""
    complete = getattr(agent, "complete", None)
    if complete is not None:
        completion = await complete(query, scenario, look, sampling)
        if not isinstance(completion, Completion):
            raise AgentError(f"Agent '{agent.card.name}' answered with {type(completion).__name__}, no completion.")
        return completion
    async with aclosing(pieces_of(agent, query, scenario, look, sampling)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Completion):
                return piece
    raise AssertionError("an answer ends in a completion or an error")


async def pieces_of(
    agent: Agent, query: Query, scenario: Scenario, look: Look | None, sampling: Sampling
) -> AsyncGenerator[str | Delta | Completion, None]:
    """Yield an agent's answer, making sure that it is one."""
    name = agent.card.name
    stream = agent.answer(query, scenario, look, sampling)
    try:
        async for piece in stream:
            if not isinstance(piece, _PIECES):
                raise AgentError(f"Agent '{name}' answered with {type(piece).__name__}, neither text nor the end.")
            yield piece
            if isinstance(piece, Completion):
                return
    finally:
        # A reader who leaves early must stop the agent's work now, not when memory is collected.
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()
    raise AgentError(f"The answer of agent '{name}' ended without a completion.")


async def let_go(look: Look) -> None:
    """Give back what a look still holds, say a connection on which its answer has begun."""
    close = getattr(look.state, "aclose", None)
    if close is not None:
        await close()


def _reason(error: Exception, query: Query) -> str:
    """Return type and message of an error without the words of the user."""
    message = error.message if isinstance(error, DisrouterError) else str(error)
    for content in sorted({message.content.strip() for message in query.messages}, key=len, reverse=True):
        if len(content) > 2:  # anything shorter is no secret, and would tear the message apart
            for quoted in (content, repr(content)[1:-1], json.dumps(content)[1:-1]):
                message = message.replace(quoted, "[query]")
    text = " ".join(f"{type(error).__name__}: {message}".split())
    return text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 1] + "…"
