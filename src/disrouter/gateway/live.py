"""The latest routes in memory, for pages that watch traffic as it happens."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

from disrouter.gateway.records import RouteRecord
from disrouter.gateway.redaction import kept_model, without_secrets

__all__ = ["Live", "Seen"]

MOST = 256
"""Routes that are remembered."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One route with its number in the order of arrival."""

    number: int
    route: RouteRecord


class Live:
    """A recorder that remembers the latest routes, without their texts, and numbers them."""

    def __init__(self, most: int = MOST) -> None:
        self._seen: deque[Seen] = deque(maxlen=most)
        self.number = 0
        """Routes seen since the start."""

    def record(self, route: RouteRecord) -> None:
        """Remember a route; the oldest one is forgotten."""
        self.number += 1
        self._seen.append(Seen(self.number, _fit_to_show(route)))

    def after(self, number: int, *, key_id: str | None = None) -> list[Seen]:
        """Return what came after a number, oldest first; of one key only, if it is named."""
        return [s for s in self._seen if s.number > number and (key_id is None or s.route.key_id == key_id)]


def _fit_to_show(route: RouteRecord) -> RouteRecord:
    """Return the route without texts, keys and addresses; most have none, and stay as they are."""
    model = kept_model(route.model)
    if any([hop.reason for hop in route.hops]):
        hops = tuple(replace(hop, reason=without_secrets(hop.reason)) if hop.reason else hop for hop in route.hops)
        return replace(route, prompt=None, answer=None, model=model, hops=hops)
    if route.prompt is not None or route.answer is not None or model != route.model:
        return replace(route, prompt=None, answer=None, model=model)
    return route
