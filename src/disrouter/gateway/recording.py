"""Recording: what is kept of an exchange when it is over."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from disrouter.gateway.errors import error_type_of
from disrouter.gateway.records import ErrorType, HopRecord, Outcome, RouteRecord
from disrouter.types import Hop

if TYPE_CHECKING:
    from disrouter.gateway.exchange import Exchange

__all__ = ["record_of"]

NO_STATUS = 499
"""Where a client left before anything was sent; nginx writes the same."""


def record_of(exchange: Exchange, outcome: Outcome, error: ErrorType | None) -> RouteRecord:
    """Return the record of an exchange that has just ended."""
    ask, trace = exchange.ask, exchange.trace
    scenario = (ask.scenario if ask else None) or exchange.service.network.scenario
    remote = exchange.service.remote
    hops = [_hop_record(hop, remote=hop.agent in remote) for hop in (trace.hops if trace else exchange.hops)]
    if outcome == "cut" and exchange.speaker is not None and trace is None:
        reason = "its answer broke off"
        speaker = exchange.speaker
        hops.append(HopRecord(agent=speaker, decision="failure", error=error, reason=reason, remote=speaker in remote))
    clean = trace is not None and all([hop.decision != "failure" for hop in trace.hops])
    seconds = time.perf_counter() - exchange.started
    keeps = exchange.gateway.settings.keep_texts
    return RouteRecord(
        trace_id=exchange.trace_id,
        time=exchange.arrived,
        model=exchange.model,
        endpoint=exchange.dialect.endpoint,
        scenario=scenario.name,
        alpha=scenario.alpha,
        stream=ask.streaming if ask else False,
        hops=tuple(hops),
        agent=trace.agent if trace else None,
        outcome=outcome,
        code=exchange.code or NO_STATUS,
        error=error,
        saved=exchange.saved(trace) if trace else None,
        seconds=seconds,
        # Seconds of failures are not told by the agents, so they cannot be taken off.
        overhead_seconds=max(0.0, seconds - trace.seconds) if trace and clean else None,
        first_token_seconds=exchange.first - exchange.started if exchange.first is not None else None,
        key_id=exchange.grant.key_id if exchange.grant else None,
        caller=exchange.caller,
        prompt="\n".join(message.content for message in ask.messages) if keeps and ask else None,
        answer=trace.answer if keeps and trace else None,
    )


def _hop_record(hop: Hop, *, remote: bool) -> HopRecord:
    return HopRecord(
        agent=hop.agent,
        decision=hop.decision,
        confidence=hop.confidence,
        prompt_tokens=hop.usage.prompt_tokens,
        completion_tokens=hop.usage.completion_tokens,
        cost=hop.cost,
        seconds=hop.seconds,
        reason=hop.reason,
        error=error_type_of(hop.cause) if hop.decision == "failure" else None,
        remote=remote,
    )
