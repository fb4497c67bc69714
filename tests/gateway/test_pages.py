"""The routes beside the API: who may see what, and what they say when something is wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from disrouter.errors import ConfigError
from disrouter.gateway.control import Control
from disrouter.gateway.store_keys import create_key
from disrouter.gateway.store_reading import kept_route
from gateway.recorded_routes import a_route, control_in, pages_of

NOW = time.time()


@pytest.fixture
def control(tmp_path: Path) -> Control:
    return control_in(tmp_path)


@pytest.fixture
def client(control: Control) -> Iterator[TestClient]:
    with TestClient(pages_of(control)) as opened:
        yield opened


def problem(reply: Any) -> tuple[int, str]:
    """Status and message of an error in the API's shape."""
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return reply.status_code, error["message"]


READ_ROUTES = ("/metrics", "/dashboard/live", "/dashboard/summary", "/dashboard/routes", "/dashboard/routes/x")


def test_an_open_gateway_shows_its_dashboard_and_administers_nothing(client: TestClient) -> None:
    assert client.get("/dashboard/live").json()["me"] == {"open": True, "admin": False, "all": True}
    assert problem(client.get("/admin/status"))[0] == 403
    assert problem(client.post("/admin/reload"))[0] == 403


@pytest.mark.parametrize("path", [*READ_ROUTES, "/admin/status"])
def test_with_keys_in_use_every_route_with_data_needs_one(tmp_path: Path, path: str) -> None:
    control = control_in(tmp_path)
    create_key(control.store, "alice")
    with TestClient(pages_of(control)) as client:
        assert problem(client.get(path))[0] == 401
        assert problem(client.get(path, headers={"authorization": "Bearer sk-dis-wrong"}))[0] == 401
        assert client.get("/").status_code == 200  # the page itself holds nothing


def test_a_key_sees_its_own_routes_and_an_administrators_sees_all(tmp_path: Path) -> None:
    control = control_in(tmp_path)
    secret, alice = create_key(control.store, "alice")
    admin_secret, _ = create_key(control.store, "ops", admin=True)
    mine, other = a_route(time=NOW, key_id=alice.id), a_route(time=NOW, key_id="key_bob")
    with TestClient(pages_of(control)) as client:
        for route in (mine, other):
            control.recorder.record(route)
        control.writer.flush(30)
        own, all_ = {"authorization": f"Bearer {secret}"}, {"authorization": f"Bearer {admin_secret}"}

        assert [r["trace_id"] for r in client.get("/dashboard/routes", headers=own).json()["routes"]] == [mine.trace_id]
        assert len(client.get("/dashboard/routes", headers=all_).json()["routes"]) == 2
        assert len(client.get("/dashboard/live", headers=own).json()["routes"]) == 1
        assert len(client.get("/dashboard/live", headers=all_).json()["routes"]) == 2
        assert client.get("/dashboard/summary", headers=own).json()["totals"]["requests"] == 1
        assert client.get("/dashboard/summary", headers=all_).json()["totals"]["requests"] == 2
        assert client.get(f"/dashboard/routes/{other.trace_id}", headers=own).status_code == 404
        assert client.get(f"/dashboard/routes/{other.trace_id}", headers=all_).json()["agent"] == "large"
        rating = {"trace_id": other.trace_id, "score": 1}
        assert client.post("/v1/feedback", json=rating, headers=own).status_code == 404
        assert client.post("/v1/feedback", json=rating, headers=all_).status_code == 200
        assert problem(client.get("/admin/status", headers=own))[0] == 403
        assert client.get("/admin/status", headers=all_).json()["requests"] == 2


def test_feedback_is_kept_even_if_it_overtakes_its_route(client: TestClient, control: Control) -> None:
    route = a_route(time=NOW)
    control.recorder.record(route)

    reply = client.post("/v1/feedback", json={"trace_id": route.trace_id, "thumb": "up"})

    assert reply.json() == {"object": "feedback", "trace_id": route.trace_id, "score": 1.0}
    kept = kept_route(control.store, route.trace_id)
    assert kept is not None
    assert kept.score == 1.0


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"trace_id": "x", "score": 1.5}, "score"),
        ({"trace_id": "x", "score": True}, "score"),
        ({"trace_id": "x", "score": "good"}, "score"),
        ({"trace_id": "x", "score": float("inf")}, "score"),
        ({"trace_id": "x"}, "score"),
        ({"trace_id": "x", "score": 1, "thumb": "up"}, "score"),
        ({"trace_id": "x", "thumb": "sideways"}, "thumb"),
        ({"trace_id": "x", "thumb": ["up"]}, "thumb"),
        ({"trace_id": 7, "score": 1}, "trace_id"),
        ({"trace_id": "x" * 65, "score": 1}, "trace_id"),
        ({"score": 1}, "trace_id"),
        ({"trace_id": "x", "score": 1, "note": "…"}, "note"),
        ([], None),
    ],
)
def test_feedback_that_means_nothing_is_refused_by_the_field(client: TestClient, body: Any, named: str | None) -> None:
    import json

    reply = client.post("/v1/feedback", content=json.dumps(body), headers={"content-type": "application/json"})

    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == named


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"[" * 3_000, "application/json", 400),
        (b'{"trace_id": "x", "score": 1}', "text/plain", 415),
        (b'{"trace_id": "x", "score": 1}', "application/x-www-form-urlencoded", 415),
        (b" " * 5_000, "application/json", 413),
    ],
)
def test_bodies_that_are_none_are_refused(client: TestClient, content: bytes, kind: str, status: int) -> None:
    reply = client.post("/v1/feedback", content=content, headers={"content-type": kind})

    assert problem(reply)[0] == status


def test_feedback_about_nothing_is_not_found(client: TestClient) -> None:
    status, message = problem(client.post("/v1/feedback", json={"trace_id": "nobody", "thumb": "down"}))

    assert status == 404
    assert "nobody" in message


@pytest.mark.parametrize(
    "path",
    [
        "/dashboard/summary?window=2h",
        "/dashboard/routes?limit=1000000",
        "/dashboard/routes?limit=-1",
        "/dashboard/routes?limit=²",
        "/dashboard/routes?before=soon",
        "/dashboard/routes?before=nan",
        "/dashboard/routes?outcome=great",
        "/dashboard/live?after=1e3",
        "/dashboard/live?after=" + "9" * 400,
    ],
)
def test_questions_that_mean_nothing_are_refused(client: TestClient, path: str) -> None:
    assert problem(client.get(path))[0] == 400


def test_the_page_allows_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/")

    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "//" not in page.text.replace("<!doctype html>", "")  # no address, not even a relative scheme
    assert "<script>" not in page.text
    assert " style=" not in page.text


@pytest.mark.parametrize(
    "name", ["dashboard.js", "network.js", "charts.js", "playground.js", "words.js", "dashboard.css"]
)
def test_assets_come_from_the_package_and_point_nowhere_else(client: TestClient, name: str) -> None:
    asset = client.get(f"/dashboard/{name}")

    assert asset.status_code == 200
    assert asset.text.replace("http://www.w3.org/2000/svg", "").count("http") == asset.text.count("HTTP ".lower())
    assert "innerHTML" not in asset.text
    assert "eval(" not in asset.text


@pytest.mark.parametrize("path", ["/dashboard/nothing.js", "/dashboard/..%2fpages.py", "/dashboard/dashboard.html"])
def test_nothing_else_of_the_package_is_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_the_dashboard_can_be_switched_off(tmp_path: Path) -> None:
    with TestClient(pages_of(control_in(tmp_path, dashboard=False))) as client:
        assert client.get("/").status_code == 404
        assert client.get("/dashboard/live").status_code == 404
        assert client.get("/metrics").status_code == 200


def test_a_store_that_is_out_of_reach_is_told_as_that(
    client: TestClient, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: object, **_options: object) -> None:
        raise OperationalError("SELECT secret FROM place", {}, Exception("/var/lib/secret is gone"))

    monkeypatch.setattr(control.store.engine, "connect", broken)

    status, message = problem(client.get("/dashboard/routes"))

    assert (status, message) == (503, "The store cannot be reached at the moment.")
    assert client.get("/metrics").status_code == 200


def test_a_reload_says_what_came_of_it(tmp_path: Path) -> None:
    control = control_in(tmp_path)
    secret, _ = create_key(control.store, "ops", admin=True)
    outcomes: list[str | ConfigError] = [
        "network 'two' is in use",
        ConfigError("agents: http://10.0.0.7:8000 is twice"),
    ]

    def reload() -> str:
        outcome = outcomes.pop(0)
        if isinstance(outcome, str):
            return outcome
        raise outcome

    with TestClient(pages_of(control, reload=reload)) as client:
        admin = {"authorization": f"Bearer {secret}"}
        assert client.post("/admin/reload", headers=admin).json()["message"] == "network 'two' is in use"
        status, message = problem(client.post("/admin/reload", headers=admin))

    assert status == 409
    assert message == "The old network stays: agents: [address] is twice"


def test_a_gateway_without_a_file_has_nothing_to_reload(tmp_path: Path) -> None:
    control = control_in(tmp_path)
    secret, _ = create_key(control.store, "ops", admin=True)
    with TestClient(pages_of(control)) as client:
        assert problem(client.post("/admin/reload", headers={"authorization": f"Bearer {secret}"}))[0] == 409


def test_many_open_pages_ask_the_store_once(
    client: TestClient, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def counted(*_args: object, since: float, **_options: object) -> dict[str, float]:
        asked.append(since)
        return {"since": since}

    monkeypatch.setattr("disrouter.gateway.pages.summary", counted)
    monkeypatch.setattr("disrouter.gateway.pages.CACHED_SECONDS", 60.0)

    replies = [client.get("/dashboard/summary?window=24h").json() for _ in range(5)]

    assert len(asked) == 1
    assert replies == [{"since": asked[0]}] * 5
