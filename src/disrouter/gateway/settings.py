"""Settings: what a gateway allows its clients."""

from __future__ import annotations

from dataclasses import dataclass

from disrouter.gateway.messages import MOST_MESSAGES

__all__ = ["Settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a gateway allows."""

    largest_body: int = 20 * 1024 * 1024
    """Bytes of a request."""

    body_seconds: float = 60.0
    """Seconds that a client has to send a request's body."""

    largest_headers: int = 32 * 1024
    """Bytes of all headers of a request together."""

    most_messages: int = MOST_MESSAGES
    deadline: float = 600.0
    """Seconds that a request may take; its client may ask for fewer."""

    most_in_flight: int = 4_096
    """Requests that are served at once; one more is turned away."""

    keep_texts: bool = False
    """Whether records hold queries and answers."""

    hop_secret_env: str | None = None
    """Environment variable with the secret shared with gateways that have this one as an agent."""
