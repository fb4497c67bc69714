"""A route as rows of a store's tables: values in the order of the columns, cut to size, without keys and addresses."""

from __future__ import annotations

import math
from typing import Any

from disrouter.gateway.records import RouteRecord
from disrouter.gateway.redaction import clipped, kept_model, without_secrets

__all__ = ["MAX_HOPS", "MAX_TEXT", "Row", "hop_rows", "route_row"]

MAX_HOPS = 64
"""Hops kept of one route; no network is that long."""

MAX_TEXT = 20_000
"""Characters kept of a prompt or an answer, where texts are kept."""

Row = tuple[Any, ...]


def route_row(route: RouteRecord) -> Row:
    """Return the values of a route in the order of the table's columns.

    Raises:
        ValueError: One of its numbers is none, which would spoil every sum that it gets into.
    """
    if not math.isfinite(route.alpha + route.cost + route.seconds + (route.saved or 0.0)):
        raise ValueError("a route must have finite numbers")
    return (
        clipped(route.trace_id, 64),
        route.time,
        kept_model(route.model),
        route.endpoint,
        clipped(route.scenario, 80),
        route.alpha,
        route.stream,
        route.agent and clipped(route.agent, 200),
        route.outcome,
        route.code,
        route.error,
        route.prompt_tokens,
        route.completion_tokens,
        route.cost,
        route.saved,
        route.seconds,
        route.overhead_seconds,
        route.first_token_seconds,
        route.key_id,
        None if route.prompt is None else _text(route.prompt),
        None if route.answer is None else _text(route.answer),
    )


def hop_rows(route: RouteRecord) -> list[Row]:
    """Return the values of a route's hops in the order of the table's columns."""
    trace_id = clipped(route.trace_id, 64)
    return [
        (
            trace_id,
            position,
            route.time,
            clipped(hop.agent, 200),
            hop.decision,
            hop.confidence if hop.confidence is not None and 0 <= hop.confidence <= 1 else None,
            hop.prompt_tokens,
            hop.completion_tokens,
            hop.cost,
            hop.seconds,
            None if hop.reason is None else clipped(without_secrets(hop.reason), 300),
            hop.error,
        )
        for position, hop in enumerate(route.hops[:MAX_HOPS])
    ]


def _text(text: str) -> str:
    """Return a text that the operator wants kept; keys have no place even there."""
    return without_secrets(clipped(text, MAX_TEXT), addresses=False)
