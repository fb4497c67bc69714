"""Metrics and spans: they add up, their labels are few, and no text gets into them."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from disrouter.gateway import metrics as metrics_module
from disrouter.gateway.live import Live
from disrouter.gateway.metrics import OTHER, Metrics
from disrouter.gateway.records import HopRecord, Recorders, RouteRecord
from gateway.recorded_routes import AGENTS, a_route


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    body = bytes(metrics.response().body).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return samples(metrics)[name, tuple(sorted(labels.items()))]


def test_a_route_is_counted_once_everywhere() -> None:
    metrics = Metrics(AGENTS)

    metrics.record(a_route())

    answered = {"model": "disrouter", "scenario": "balance", "outcome": "answered", "code": "200"}
    assert value(metrics, "disrouter_requests_total", **answered) == 1
    assert value(metrics, "disrouter_request_duration_seconds_sum") == pytest.approx(0.51)
    assert value(metrics, "disrouter_overhead_seconds_sum") == pytest.approx(0.01)
    assert value(metrics, "disrouter_time_to_first_token_seconds_sum") == pytest.approx(0.2)
    assert value(metrics, "disrouter_hops_sum") == 2
    assert value(metrics, "disrouter_agent_decisions_total", agent="small", decision="reject") == 1
    assert value(metrics, "disrouter_agent_duration_seconds_sum", agent="large") == pytest.approx(0.4)
    assert value(metrics, "disrouter_tokens_total", agent="large", type="output", purpose="answer") == 20
    assert value(metrics, "disrouter_tokens_total", agent="small", type="input", purpose="reject") == 8
    assert value(metrics, "disrouter_cost_total", agent="small", purpose="reject") == pytest.approx(0.01)
    assert value(metrics, "disrouter_saved") == pytest.approx(-0.01)


def test_failures_are_counted_by_kind() -> None:
    metrics = Metrics(AGENTS)

    metrics.record(a_route(hops=(HopRecord(agent="small", decision="failure", error="agent_timeout"),)))

    assert value(metrics, "disrouter_agent_errors_total", agent="small", error_type="agent_timeout") == 1


def test_what_only_the_gateway_knows_is_shown_too() -> None:
    metrics = Metrics(AGENTS)

    metrics.started()
    metrics.started()
    metrics.finished()
    metrics.shed("queue_full")
    metrics.breaker("large", "open")
    metrics.dropped(3)

    assert value(metrics, "disrouter_in_flight") == 1
    assert value(metrics, "disrouter_shed_total", reason="queue_full") == 1
    assert value(metrics, "disrouter_breaker_state", agent="large") == 2
    assert value(metrics, "disrouter_trace_dropped_total") == 3


def test_nothing_that_a_client_writes_becomes_a_label() -> None:
    metrics = Metrics(AGENTS)
    before = None

    for number in range(60):
        metrics.record(
            a_route(
                model=f"free-{number}",
                scenario=f"alpha=0.{number}",
                key_id=f"key_{number}",
                code=1_000 + number,
                hops=(HopRecord(agent=f"agent-{number}", decision="answer", prompt_tokens=1),),
            )
        )
        before = before or len(samples(metrics))

    assert len(samples(metrics)) == before
    labels = {"model": OTHER, "scenario": "custom", "outcome": "answered", "code": OTHER}
    assert value(metrics, "disrouter_requests_total", **labels) == 60


def test_models_are_the_networks_names_for_itself_and_its_agents() -> None:
    metrics = Metrics(AGENTS)
    for model in ("disrouter", "disrouter/balance", "small", "disrouter/anything", "disrouter/", "gpt-4"):
        metrics.record(a_route(model=model))

    seen = {dict(labels)["model"] for name, labels in samples(metrics) if name == "disrouter_requests_total"}

    assert seen == {"disrouter", "disrouter/balance", "small", OTHER}


def test_agents_of_many_networks_have_bounded_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_module, "MAX_AGENTS", 3)
    metrics = Metrics(["a", "b"])
    metrics.know_agents(["c", "d"])

    for agent in "abcd":
        metrics.breaker(agent, "closed")

    seen = {dict(labels)["agent"] for name, labels in samples(metrics) if name == "disrouter_breaker_state"}
    assert seen == {"a", "b", "c", OTHER}


def test_odd_numbers_of_servers_spoil_no_sum() -> None:
    metrics = Metrics(AGENTS)
    odd = HopRecord(agent="small", decision="answer", prompt_tokens=-5, completion_tokens=-1, cost=float("nan"))

    metrics.record(a_route(saved=float("nan"), hops=(odd,)))
    metrics.record(a_route(saved=0.5))

    assert value(metrics, "disrouter_saved") == 0.5
    assert value(metrics, "disrouter_tokens_total", agent="small", type="input", purpose="answer") == 0


def test_a_recorder_that_breaks_is_told_of_and_takes_nobody_with_it(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def record(self, route: RouteRecord) -> None:
            raise ValueError(f"secret of {route.model}")

    live = Live()

    Recorders([Broken(), live]).record(a_route())

    assert live.number == 1
    assert "Broken could not take a route: ValueError" in caplog.text
    assert "secret" not in caplog.text


def test_the_latest_routes_are_remembered_without_their_texts() -> None:
    live = Live(most=3)
    routes = [a_route(prompt="secret", answer="secret", key_id=f"key_{i % 2}") for i in range(5)]

    for route in routes:
        live.record(route)

    assert [seen.number for seen in live.after(0)] == [3, 4, 5]
    assert [seen.number for seen in live.after(4)] == [5]
    assert [seen.number for seen in live.after(0, key_id="key_1")] == [4]
    assert all(seen.route.prompt is None and seen.route.answer is None for seen in live.after(0))
