"""Messages: what a chat says, as text, whatever forms its contents have."""

from __future__ import annotations

from typing import Any

from disrouter.gateway.errors import invalid, shown
from disrouter.types import Message, Role

__all__ = ["MOST_MESSAGES", "messages_of"]

MOST_MESSAGES = 2_048

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "user",
    "function": "user",
}


def messages_of(messages: Any, most: int = MOST_MESSAGES) -> tuple[Message, ...]:
    """Return chat messages as text.

    Raises:
        ProblemError: They are none.
    """
    if not isinstance(messages, list) or not messages:
        raise invalid(f"messages must be a list of at least one message; it is {shown(messages)}.", param="messages")
    if len(messages) > most:
        raise invalid(f"messages has {len(messages):,} entries; at most {most:,} are taken.", param="messages")
    return tuple(_message_of(message, f"messages[{i}]") for i, message in enumerate(messages))


def _message_of(message: Any, where: str) -> Message:
    if not isinstance(message, dict):
        raise invalid(f"{where} must be an object with role and content; it is {shown(message)}.", param=where)
    role = message.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        known = ", ".join(f"'{name}'" for name in _ROLES)
        raise invalid(f"{where}.role {shown(role)} is not known. Known: {known}.", param=f"{where}.role")
    content = message.get("content")
    if content is None and role == "assistant":  # it called tools
        return Message("assistant", "")
    if isinstance(content, str):
        return Message(_ROLES[role], content)
    if not isinstance(content, list):
        raise invalid(
            f"{where}.content must be text or a list of parts; it is {shown(content)}.", param=f"{where}.content"
        )
    texts = []
    for i, part in enumerate(content):
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise invalid(
                f"{where}.content[{i}] must be an object with a type; it is {shown(part)}.",
                param=f"{where}.content[{i}]",
            )
        if part["type"] == "text" and not isinstance(part.get("text"), str):
            at = f"{where}.content[{i}].text"
            raise invalid(f"{at} must be text; it is {shown(part.get('text'))}.", param=at)
        if isinstance(part.get("text"), str):
            texts.append(part["text"])
    return Message(_ROLES[role], "\n".join(texts))
