"""Spans: the request, its route and every hop, in the client's trace and above those of agents; and no text."""

from __future__ import annotations

import gzip
import inspect
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes, http_attributes, url_attributes
from opentelemetry.trace import SpanKind

from disrouter.gateway import semconv
from disrouter.gateway.records import HopRecord, Recorders
from disrouter.gateway.telemetry import Telemetry, telemetry_from
from gateway.mock_backend import MockBackend
from gateway.recorded_routes import a_route
from gateway.running import ask, behind, running

CHAT = "/v1/chat/completions"
CLIENTS = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
"""The example of the W3C recommendation."""


def ids(span: ReadableSpan) -> tuple[str, str]:
    """Trace and span id of a span, as headers write them."""
    assert span.context is not None
    return f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"


def test_a_request_becomes_a_span_with_its_route_below_it_and_every_hop_below_that() -> None:
    exporter = InMemorySpanExporter()
    telemetry = Telemetry(exporter)
    route = a_route(time=time.time(), prompt="what is the canary?", answer="yellow")
    away = HopRecord(agent="large", decision="answer", completion_tokens=20, cost=0.9, seconds=0.4, remote=True)

    Recorders([telemetry]).record(replace(route, hops=(route.hops[0], away)))
    telemetry.stop()

    small, large, whole, request = exporter.get_finished_spans()
    assert [s.name for s in (request, whole)] == ["POST /v1/chat/completions", "invoke_workflow disrouter"]
    assert [small.name, large.name] == ["invoke_agent small", "invoke_agent large"]
    assert [s.kind for s in (request, whole, small, large)] == [
        SpanKind.SERVER,
        SpanKind.INTERNAL,
        SpanKind.INTERNAL,
        SpanKind.CLIENT,
    ]
    assert ids(request) == (route.trace_id, route.trace_id[:16])
    assert request.parent is None
    assert [s.parent and f"{s.parent.span_id:016x}" for s in (whole, small, large)] == [
        ids(request)[1],
        ids(whole)[1],
        ids(whole)[1],
    ]
    assert large.start_time == small.end_time
    assert whole.end_time is not None
    assert whole.start_time is not None
    assert (whole.end_time - whole.start_time) / 1e9 == pytest.approx(0.51, abs=1e-6)
    assert dict(request.attributes or {})["http.response.status_code"] == 200
    assert dict(large.attributes or {})["gen_ai.usage.output_tokens"] == 20
    assert dict(small.attributes or {})["disrouter.decision"] == "reject"
    told = str([span.to_json() for span in (small, large, whole, request)])
    assert "canary" not in told
    assert "yellow" not in told


@pytest.mark.parametrize("streaming", [False, True])
async def test_spans_stand_in_the_clients_trace_and_agents_are_told_of_them(streaming: bool) -> None:
    exporter = InMemorySpanExporter()
    telemetry = Telemetry(exporter)
    async with MockBackend() as backend, running(behind("far", backend.url)) as gateway:
        gateway.gateway.recorder = telemetry
        headers = {"traceparent": CLIENTS}
        async with gateway.http.post(gateway.url + CHAT, json=ask(stream=streaming), headers=headers) as reply:
            await reply.read()
        (received,) = backend.received
    telemetry.stop()

    agent, _, request = exporter.get_finished_spans()
    assert agent.kind is SpanKind.CLIENT
    trace, span = ids(request)
    assert trace == "0af7651916cd43dd8448eb211c80319c"
    assert request.parent is not None
    assert f"{request.parent.span_id:016x}" == "b7ad6b7169203331"
    assert received.headers["traceparent"] == f"00-{trace}-{span}-01"


@pytest.mark.parametrize("given", ["", "00-abc-def-01", "00-" + 32 * "0" + "-b7ad6b7169203331-01", "01" + CLIENTS[2:]])
async def test_a_trace_context_that_is_none_begins_a_trace_of_our_own(given: str) -> None:
    async with MockBackend() as backend, running(behind("far", backend.url)) as gateway:
        _, _, headers = await gateway.post(headers={"traceparent": given})
        (received,) = backend.received

    trace_id = headers["x-disrouter-trace-id"]
    assert received.headers["traceparent"] == f"00-{trace_id}-{trace_id[:16]}-01"


def test_a_client_that_samples_nothing_gets_no_spans() -> None:
    exporter = InMemorySpanExporter()
    telemetry = Telemetry(exporter)

    telemetry.record(a_route(caller=CLIENTS[:-1] + "0"))
    telemetry.record(a_route())
    telemetry.stop()

    assert len(exporter.get_finished_spans()) == 4


def test_a_request_that_failed_is_an_error_of_ours_only_from_500() -> None:
    exporter = InMemorySpanExporter()
    telemetry = Telemetry(exporter)

    telemetry.record(a_route(hops=(), code=502, outcome="failed", agent=None))
    telemetry.record(a_route(hops=(), code=429, outcome="refused", agent=None))
    telemetry.stop()

    _, failed, _, refused = exporter.get_finished_spans()
    assert not failed.status.is_ok
    assert dict(failed.attributes or {})["error.type"] == "502"
    assert refused.status.is_unset


def test_a_failed_hop_is_an_error_and_its_route_goes_on() -> None:
    exporter = InMemorySpanExporter()
    telemetry = Telemetry(exporter)
    failed = HopRecord(agent="small", decision="failure", error="agent_connect", reason="http://10.1.2.3 refused")

    telemetry.record(a_route(hops=(failed, *a_route().hops[1:])))
    telemetry.stop()

    small, _, whole, _ = exporter.get_finished_spans()
    assert not small.status.is_ok
    assert dict(small.attributes or {})["error.type"] == "agent_connect"
    assert whole.status.is_unset
    assert "10.1.2.3" not in small.to_json()


def test_spans_are_off_unless_an_endpoint_is_set() -> None:
    assert telemetry_from({}) is None
    assert telemetry_from({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_SDK_DISABLED": "true"}) is None
    made = telemetry_from({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"})
    assert made is not None
    made.stop()


def test_our_names_are_those_of_the_conventions() -> None:
    ours = {text for name, text in inspect.getmembers(semconv) if isinstance(text, str) and text.startswith("gen_ai.")}
    listed = {text for text in vars(gen_ai_attributes).values() if isinstance(text, str) and text.startswith("gen_ai.")}
    operations = {operation.value for operation in gen_ai_attributes.GenAiOperationNameValues}

    assert len(ours) == 8
    assert ours <= listed
    assert {semconv.INVOKE_WORKFLOW, semconv.INVOKE_AGENT} <= operations
    ours_of_http = {text for name, text in inspect.getmembers(semconv) if name.startswith(("HTTP_", "URL_"))}
    standard = [*vars(http_attributes).values(), *vars(url_attributes).values()]
    assert all(name in standard for name in ours_of_http)
    assert not ours & {"gen_ai.system", "gen_ai.prompt", "gen_ai.completion", "gen_ai.usage.prompt_tokens"}


def test_spans_are_sent_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            received.append((self.path, gzip.decompress(body) if self.headers["content-encoding"] == "gzip" else body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        telemetry = telemetry_from()
        assert telemetry is not None
        route = a_route(time=time.time())
        telemetry.record(route)
        telemetry.stop()
        server.shutdown()
        thread.join()

    ((path, body),) = received
    assert path == "/v1/traces"
    assert bytes.fromhex(route.trace_id) in body
    assert b"invoke_agent large" in body
