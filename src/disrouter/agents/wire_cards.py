"""Agent cards on the wire: what others may know about an agent that lives in another process."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from disrouter.agents._wire_values import LONGEST_NAME, Json, WireError, maybe, number, object_of, text, whole
from disrouter.competence import Competence
from disrouter.types import AgentCard, Price, QueryPrice, Seconds, Serving, TokenPrice

__all__ = ["card_from", "card_json"]


def card_json(card: AgentCard) -> Json:
    """Return an agent's card as JSON."""
    return {
        "name": card.name,
        "price": {"per": "query" if isinstance(card.price, QueryPrice) else "token", **asdict(card.price)},
        "context_length": card.context_length,
        "parameters": card.parameters,
        "competence": None if card.competence is None else _competence_json(card.competence, card.name),
        "seconds": None if card.seconds is None else asdict(card.seconds),
        "details": dict(card.details),
        "serving": asdict(card.serving),
    }


def card_from(value: Any) -> AgentCard:
    """Return the card of a JSON value.

    Raises:
        WireError: It is none.
    """
    body = object_of(value, "a card")
    seconds, serving = body.get("seconds"), object_of(body.get("serving", {}), "the serving of a card")
    competence, details = body.get("competence"), object_of(body.get("details", {}), "the details of a card")
    try:
        return AgentCard(
            name=text(body, "name"),
            price=_price(body.get("price")),
            context_length=maybe(body, "context_length", whole),
            parameters=maybe(body, "parameters", whole),
            competence=None if competence is None else Competence.from_json(object_of(competence, "a competence")),
            seconds=None
            if seconds is None
            else Seconds(look=number(seconds, "look"), answer=number(seconds, "answer")),
            details={str(key)[:100]: str(text)[:LONGEST_NAME] for key, text in details.items()},
            serving=Serving(
                concurrency=max(1, whole(serving, "concurrency")),
                queue=whole(serving, "queue"),
                failures=max(1, whole(serving, "failures")),
                pause=number(serving, "pause"),
            )
            if serving
            else Serving(),
        )
    except (KeyError, ValueError, TypeError, AttributeError) as exc:
        raise WireError(f"The competence of a card cannot be read: {exc}.") from None


def _seconds(value: Any) -> Seconds:
    body = object_of(value, "the seconds of a card")
    return Seconds(look=number(body, "look"), answer=number(body, "answer"))


def _competence_json(competence: Competence, agent: str) -> Json:
    """Return a competence with every bit of its beliefs, which its file rounds."""
    grades = [
        " ".join(f"{z}:{share!r}" for z, share in enumerate(grade) if share > 0.0) for grade in competence.scale.grades
    ]
    return {**competence.to_json(agent), "scale": {"prior": list(competence.scale.prior), "grades": grades}}


def _price(value: Any) -> Price:
    body = object_of(value, "a price")
    if body.get("per") == "query":
        cost, share = number(body, "cost"), number(body, "look_share")
        if not (0 <= cost <= 1 and 0 <= share <= 1):
            raise WireError("A price per query lies from 0 to 1, and so does the share of a look.")
        return QueryPrice(cost=cost, look_share=share)
    price = TokenPrice(input=number(body, "input"), output=number(body, "output"), unit=number(body, "unit"))
    if price.input < 0 or price.output < 0 or price.unit <= 0:
        raise WireError("A price per token is no less than 0, and its unit more.")
    return price
