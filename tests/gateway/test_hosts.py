"""A gateway without keys answers its own machine and no foreign page or name."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from disrouter.gateway.hosts import LocalOnly, is_local


def client(*, is_open: bool) -> TestClient:
    async def hello(_request: object) -> PlainTextResponse:
        return PlainTextResponse("hello")

    app = Starlette(routes=[Route("/", hello, methods=["GET", "POST"])])
    return TestClient(LocalOnly(app, lambda: is_open), base_url="http://localhost:8080")


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8080", "127.0.0.1", "127.8.9.1:1", "[::1]:8080", "a.localhost"]
)
def test_names_of_this_machine_are_local(host: str) -> None:
    assert is_local(host)
    assert client(is_open=True).get("/", headers={"host": host}).text == "hello"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example:8080",
        "localhost.evil.example",
        "0.0.0.0",
        "10.0.0.1",
        "[::",
        "",
        "@localhost@x",
    ],
)
def test_other_names_are_refused_while_nobody_needs_a_key(host: str) -> None:
    reply = client(is_open=True).get("/", headers={"host": host})

    assert reply.status_code == 403
    assert reply.json()["error"]["code"] == "foreign_request"
    assert client(is_open=False).get("/", headers={"host": host}).text == "hello"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost.evil.example", "file://"])
def test_pages_from_elsewhere_are_refused_while_nobody_needs_a_key(origin: str) -> None:
    assert client(is_open=True).post("/", headers={"origin": origin}).status_code == 403
    assert client(is_open=False).post("/", headers={"origin": origin}).text == "hello"


def test_our_own_page_may_ask() -> None:
    assert client(is_open=True).post("/", headers={"origin": "http://localhost:8080"}).text == "hello"
