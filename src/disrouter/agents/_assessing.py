"""Self-assessment of agents behind servers: what their words and log-probabilities say about themselves."""

from __future__ import annotations

import math
import re
from typing import Any

from disrouter.types import Look, Scenario, Usage

__all__ = ["asking_for_confidence", "confidence_said", "rejects_so_far", "token_look"]

_NUMBER = re.compile(r"(?<![\w.])(\d{1,3}(?:[.,]\d+)?)\s*(%?)")


def token_look(reply: dict[str, Any], rejection: str, usage: Usage, seconds: float) -> Look | None:
    """Return the look that the log-probabilities of one token give, or None if the reply has none.

    The chance of a rejection is that of all tokens with which its text can begin; a token that the server does not
    list is taken to have none.
    """
    choices = reply.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    logprobs = choice.get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    first = content[0] if isinstance(content, list) and content and isinstance(content[0], dict) else None
    listed = first.get("top_logprobs") if first else None
    if first is None or not isinstance(listed, list):
        return None
    chances: dict[str, float] = {}
    for entry in [*listed, first]:
        token, value = (entry.get("token"), entry.get("logprob")) if isinstance(entry, dict) else (None, None)
        if isinstance(token, str) and isinstance(value, int | float) and not math.isnan(value):
            chances[token] = math.exp(min(0.0, value))
    if not chances:
        return None
    rejecting = min(1.0, sum(chance for token, chance in chances.items() if _begins(token, rejection)))
    likeliest = max(chances, key=lambda token: chances[token])
    return Look(
        confidence=1.0 - rejecting,
        accepts=not _begins(likeliest, rejection),
        usage=usage,
        seconds=seconds,
    )


def _begins(token: str, rejection: str) -> bool:
    text = token.lstrip()
    return bool(text) and rejection.startswith(text)


def rejects_so_far(text: str, rejection: str) -> bool | None:
    """Return whether an answer that begins like this is a rejection; None as long as it may still become one."""
    said, wanted = _plain(text), _plain(rejection)
    if said.startswith(wanted):
        return True
    return None if wanted.startswith(said) else False


def _plain(text: str) -> str:
    """Return a text without what differs between two ways of writing the same words."""
    return " ".join(text.replace("’", "'").casefold().split()).lstrip("*_\"'“ ")


def asking_for_confidence(scenario: Scenario) -> str:
    """Return the instruction that asks a model for its confidence instead of an answer."""
    return (
        "Do not answer the request above. Judge only how likely it is that your own answer to it would be right and "
        f"complete. The scenario is '{scenario.name}': one unit of cost weighs {scenario.alpha:g} times as much as "
        "quality, and if you are unsure a larger model will be asked instead. "
        "Reply with a single whole number from 0 (surely wrong) to 100 (surely right), and nothing else."
    )


def confidence_said(text: str) -> float | None:
    """Return the confidence in [0, 1] that a reply states as a number from 0 to 100, or None if it states none."""
    found = _NUMBER.search(text)
    if found is None:
        return None
    value = float(found[1].replace(",", "."))
    if not found[2] and value <= 1.0 and "." in found[1]:  # "0.8" is meant as a probability
        return value
    return value / 100 if value <= 100 else None
