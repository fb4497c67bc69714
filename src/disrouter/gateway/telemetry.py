"""OpenTelemetry spans of finished routes: the request, below it the route, and below that every hop.

The request's span stands in its client's trace, where the client has one, and has the id that agents are told as their
parent; so their own spans, where they make any, hang below it.

Off unless an endpoint is configured. Spans are made from records after the reply, so they cost a request nothing but
their making; queries and answers are never among their attributes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from disrouter import __version__
from disrouter.errors import MissingExtraError
from disrouter.gateway import semconv
from disrouter.gateway.records import Endpoint, HopRecord, RouteRecord
from disrouter.gateway.redaction import kept_model

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.export import SpanExporter

__all__ = ["Telemetry", "telemetry_from"]

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""Variables of which one must be set: the standard ones of OpenTelemetry, as are all others that matter."""


_PATHS: dict[Endpoint, str] = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "responses": "/v1/responses",
}


def telemetry_from(environment: Mapping[str, str] = os.environ) -> Telemetry | None:
    """Return the recorder that the environment asks for, or None if it asks for none.

    Raises:
        MissingExtraError: It asks for one, and OpenTelemetry is not installed.
    """
    if not any(environment.get(name) for name in ENDPOINTS) or environment.get("OTEL_SDK_DISABLED") == "true":
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ModuleNotFoundError as exc:
        raise MissingExtraError.of("Sending spans", "otel") from exc
    return Telemetry(OTLPSpanExporter(timeout=5))


class Telemetry:
    """A recorder that turns routes into spans and sends them in the background, from a bounded queue.

    Args:
        exporter: Where spans go.
        workflow: Name of the workflow in spans; the network's.
    """

    def __init__(self, exporter: SpanExporter, *, workflow: str = "disrouter") -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        name = os.environ.get("OTEL_SERVICE_NAME", "disrouter")
        resource = Resource.create({"service.name": name, "service.version": __version__})
        self._ids = _ids()
        self._provider = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        self._processor = BatchSpanProcessor(exporter)
        self._provider.add_span_processor(self._processor)
        self._tracer = self._provider.get_tracer("disrouter.gateway", __version__, schema_url=semconv.SCHEMA_URL)
        self._workflow = workflow

    def record(self, route: RouteRecord) -> None:
        """Make the spans of a route. A full queue drops the oldest ones."""
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        start = int(route.time * 1e9)
        path = _PATHS[route.endpoint]
        self._ids.take(route.trace_id)
        request = self._tracer.start_span(
            f"POST {path}",
            context=_context_of(route.caller),
            kind=SpanKind.SERVER,
            attributes=_request_attributes(route, path),
            start_time=start,
        )
        whole = self._tracer.start_span(
            f"{semconv.INVOKE_WORKFLOW} {self._workflow}",
            context=set_span_in_context(request),
            attributes=_route_attributes(route, self._workflow),
            start_time=start,
        )
        inside, at = set_span_in_context(whole), start
        for position, hop in enumerate(route.hops):
            child = self._tracer.start_span(
                f"{semconv.INVOKE_AGENT} {hop.agent}",
                context=inside,
                kind=SpanKind.CLIENT if hop.remote else SpanKind.INTERNAL,
                attributes=_hop_attributes(hop, position),
                start_time=at,
            )
            if hop.decision == "failure":
                child.set_status(Status(StatusCode.ERROR))
            at += int(hop.seconds * 1e9)  # hops follow each other
            child.end(at)
        if route.outcome in ("failed", "cut"):
            whole.set_status(Status(StatusCode.ERROR))
        if route.code >= 500:
            request.set_status(Status(StatusCode.ERROR))
        end = max(at, start + int(route.seconds * 1e9))
        whole.end(end)
        request.end(end)

    def stop(self) -> None:
        """Send what waits and end."""
        self._provider.shutdown()


def _route_attributes(route: RouteRecord, workflow: str) -> dict[str, Any]:
    found = {
        semconv.OPERATION_NAME: semconv.INVOKE_WORKFLOW,
        semconv.WORKFLOW_NAME: workflow,
        semconv.REQUEST_MODEL: kept_model(route.model),
        semconv.REQUEST_STREAM: route.stream,
        semconv.INPUT_TOKENS: route.prompt_tokens,
        semconv.OUTPUT_TOKENS: route.completion_tokens,
        semconv.TIME_TO_FIRST_CHUNK: route.first_token_seconds,
        semconv.ERROR_TYPE: route.error,
        f"{semconv.OURS}agent": route.agent,
        f"{semconv.OURS}outcome": route.outcome,
        f"{semconv.OURS}scenario": route.scenario,
        f"{semconv.OURS}alpha": route.alpha,
        f"{semconv.OURS}hops": len(route.hops),
        f"{semconv.OURS}cost": route.cost,
        f"{semconv.OURS}saved": route.saved,
    }
    return {name: value for name, value in found.items() if value is not None}


def _hop_attributes(hop: HopRecord, position: int) -> dict[str, Any]:
    found = {
        semconv.OPERATION_NAME: semconv.INVOKE_AGENT,
        semconv.AGENT_NAME: hop.agent,
        semconv.INPUT_TOKENS: hop.prompt_tokens,
        semconv.OUTPUT_TOKENS: hop.completion_tokens,
        semconv.ERROR_TYPE: hop.error or ("_OTHER" if hop.decision == "failure" else None),
        f"{semconv.OURS}agent.index": position,
        f"{semconv.OURS}decision": hop.decision,
        f"{semconv.OURS}confidence": hop.confidence,
        f"{semconv.OURS}cost": hop.cost,
    }
    return {name: value for name, value in found.items() if value is not None}


def _request_attributes(route: RouteRecord, path: str) -> dict[str, Any]:
    found = {
        semconv.HTTP_METHOD: "POST",
        semconv.HTTP_ROUTE: path,
        semconv.HTTP_STATUS: route.code,
        semconv.URL_PATH: path,
        semconv.URL_SCHEME: "http",
    }
    return found | ({semconv.ERROR_TYPE: str(route.code)} if route.code >= 500 else {})


def _context_of(caller: str | None) -> Context:
    """Return the context that a client's span makes; an empty one where it has none."""
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier = {} if caller is None else {"traceparent": caller}
    return TraceContextTextMapPropagator().extract(carrier, Context())


def _ids() -> Any:
    """Return a generator of ids that gives the span of a request the ids that agents were told."""
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class RouteIds(RandomIdGenerator):
        trace_id: int | None = None
        span_id: int | None = None

        def take(self, route_id: str) -> None:
            """Make the next span that of a route, in a trace of its own unless it has a parent."""
            self.trace_id, self.span_id = _number(route_id, 32), _number(route_id[:16], 16)

        def generate_trace_id(self) -> int:
            return self.trace_id or super().generate_trace_id()

        def generate_span_id(self) -> int:
            given, self.span_id = self.span_id, None
            return given or super().generate_span_id()

    return RouteIds()


def _number(text: str, digits: int) -> int | None:
    try:
        return int(text, 16) if len(text) == digits else None
    except ValueError:
        return None
