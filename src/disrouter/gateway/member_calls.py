"""What an administrator's call to ``/admin/agents`` says: read strictly, refused by the field."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from disrouter.gateway.members import Members
from disrouter.gateway.membership import Place
from disrouter.gateway.page_inputs import BadRequestError
from disrouter.types import Price, QueryPrice, TokenPrice

__all__ = ["Action", "Change", "change_of"]

Action = Literal["join", "leave", "drain", "resume", "reprice"]

ACTIONS: tuple[Action, ...] = get_args(Action)
MOST_NAMES = 256

_FIELDS: dict[Action, tuple[str, ...]] = {
    "join": ("base_url", "name", "price", "asked_by", "passes_to"),
    "leave": ("name",),
    "drain": ("name",),
    "resume": ("name",),
    "reprice": ("name", "price"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of who is in a network."""

    action: Action
    name: str | None = None
    base_url: str | None = None
    price: Price | None = None
    place: Place | None = None

    async def made(self, members: Members) -> str:
        """Make the change; return the name of the agent that it is about.

        Raises:
            DisrouterError: It cannot be made; nothing has changed.
        """
        if self.action == "join":
            assert self.base_url is not None
            return await members.join(self.base_url, name=self.name, price=self.price, place=self.place)
        assert self.name is not None
        if self.action == "reprice":
            assert self.price is not None
            await members.reprice(self.name, self.price)
        else:
            plain = {"leave": members.leave, "drain": members.drain, "resume": members.resume}
            await plain[self.action](self.name)
        return self.name


def change_of(body: Any) -> Change:
    """Return the change that a call's body asks for.

    Raises:
        BadRequestError: It asks for none, or says something else besides.
    """
    if not isinstance(body, dict):
        raise BadRequestError("The body must be a JSON object with an action.")
    action = body.get("action")
    if action not in ACTIONS:
        raise BadRequestError(f"action must be one of {', '.join(ACTIONS)}.", param="action")
    known = ("action", *_FIELDS[action])
    if unknown := sorted(str(key) for key in body if key not in known):
        raise BadRequestError(
            f"Unknown field '{unknown[0][:40]}' of {action}. Known: {', '.join(known)}.", param=unknown[0][:40]
        )
    needed = "base_url" if action == "join" else "name"
    if body.get(needed) is None:
        raise BadRequestError(f"{action} needs {needed}.", param=needed)
    price = None if body.get("price") is None else _price(body["price"])
    if action == "reprice" and price is None:
        raise BadRequestError("reprice needs price.", param="price")
    placed = body.get("asked_by") is not None or body.get("passes_to") is not None
    return Change(
        action=action,
        name=_text(body, "name"),
        base_url=_text(body, "base_url"),
        price=price,
        place=Place(asked_by=_names(body, "asked_by"), passes_to=_names(body, "passes_to")) if placed else None,
    )


def _price(value: Any) -> Price:
    forms = "{cost, look_share} from 0 to 1, or {input, output, unit} from 0"
    if not isinstance(value, dict) or not all(_is_number(number) for number in value.values()):
        raise BadRequestError(f"price must be an object of numbers: {forms}.", param="price")
    if set(value) <= {"cost", "look_share"} and "cost" in value:
        price = QueryPrice(cost=float(value["cost"]), look_share=float(value.get("look_share", 0.1)))
        if 0 <= price.cost <= 1 and 0 <= price.look_share <= 1:
            return price
    elif set(value) == {"input", "output", "unit"}:
        tokens = TokenPrice(input=float(value["input"]), output=float(value["output"]), unit=float(value["unit"]))
        if tokens.input >= 0 and tokens.output >= 0 and tokens.unit > 0:
            return tokens
    raise BadRequestError(f"price is not usable: give {forms}.", param="price")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _text(body: Mapping[str, Any], key: str) -> str | None:
    value = body.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= 2000 or not value.isprintable():
        raise BadRequestError(f"{key} must be a text of 1 to 2000 characters.", param=key)
    return value


def _names(body: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = body.get(key) or []
    if not isinstance(value, list) or len(value) > MOST_NAMES or not all(isinstance(name, str) for name in value):
        raise BadRequestError(f"{key} must be a list of names.", param=key)
    return tuple(value)
