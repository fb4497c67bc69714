"""Secrets are sent through a real gateway every way there is, and then looked for everywhere it leaves a mark."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, get_args

import pytest
from click.testing import CliRunner
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from disrouter.cli import cli
from disrouter.gateway.records import Recorders
from disrouter.gateway.redaction import without_secrets
from disrouter.gateway.store_keys import create_key
from disrouter.gateway.telemetry import Telemetry
from gateway.mock_backend import MockBackend, closed_port_url
from gateway.mock_faults import Fault
from gateway.recorded_routes import control_in, controlled
from gateway.running import Running, behind

UPSTREAM_KEY = "sk-upstream-canary-5f2a9c"
PROMPT = "canary-prompt-81d3"
SLOW = {"hang", "hang-after-headers", "stall", "drip", "huge"}
FAULTS = [fault for fault in get_args(Fault) if fault not in SLOW]


class Marks:
    """Everything that the gateway said or wrote."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def add(self, where: str, text: str) -> None:
        self.texts[where] = self.texts.get(where, "") + "\n" + text

    async def fetch(self, one: Running, method: str, path: str, **options: Any) -> int:
        async with one.http.request(method, one.url + path, **options) as reply:
            # Whatever the answer of an agent repeats is between it and its client.
            self.add(f"{method} {path}", f"{reply.status} {dict(reply.headers)} {await reply.text()}")
            return reply.status


async def test_no_key_prompt_or_address_is_left_anywhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("UPSTREAM_KEY", UPSTREAM_KEY)
    monkeypatch.setenv("DISROUTER_STORE", str(tmp_path / "gateway.db"))
    control = control_in(tmp_path)
    client_key, _ = create_key(control.store, "client")
    admin_key, _ = create_key(control.store, "ops", admin=True)
    spans = InMemorySpanExporter()
    telemetry = Telemetry(spans)
    marks = Marks()
    async with MockBackend(api_key=UPSTREAM_KEY, reply=lambda _body: "fine") as backend:
        nowhere = closed_port_url()
        agents = [
            behind("gone", nowhere, 0.1, self_assessment="text", api_key_env="UPSTREAM_KEY"),
            behind("small", backend.url, 0.2, self_assessment="text", api_key_env="UPSTREAM_KEY"),
            behind("large", backend.url, 0.9, self_assessment="none", api_key_env="UPSTREAM_KEY"),
        ]
        async with controlled(control, *agents) as one:
            one.gateway.recorder = Recorders([control.recorder, telemetry])
            await visit(one, marks, backend, client_key, admin_key)
            assert backend.received
            assert backend.received[-1].headers["Authorization"] == f"Bearer {UPSTREAM_KEY}"
    telemetry.stop()

    for path in tmp_path.glob("gateway.db*"):
        marks.add("store", path.read_bytes().decode("latin-1"))
    marks.add("logs", caplog.text)
    marks.add("output", "".join(capfd.readouterr()))
    marks.add("spans", "".join(span.to_json() for span in spans.get_finished_spans()))
    for arguments in (
        ["keys", "list"],
        ["keys", "list", "--json"],
        ["traces", "--limit", "500"],
        ["traces", "--export"],
    ):
        result = CliRunner().invoke(cli, arguments)
        assert result.exit_code == 0
        marks.add(" ".join(arguments), result.output)

    assert "agent_connect" in marks.texts["traces --export"]  # failures were recorded
    assert len(spans.get_finished_spans()) > 40
    ports = [f":{url.rpartition(':')[2].partition('/')[0]}" for url in (backend.url, nowhere)]
    secrets = [client_key, admin_key, UPSTREAM_KEY, PROMPT, *ports]
    found = [
        (where, secret, text[max(0, text.find(secret) - 80) : text.find(secret) + 80])
        for where, text in marks.texts.items()
        for secret in secrets
        if secret in text
    ]
    assert found == []


async def visit(one: Running, marks: Marks, backend: MockBackend, client_key: str, admin_key: str) -> None:
    """Send everything, good and bad, and look at every page."""
    client, admin = ({"authorization": f"Bearer {key}"} for key in (client_key, admin_key))
    body = {"model": "disrouter", "messages": [{"role": "user", "content": PROMPT}], "disrouter": {"trace": True}}
    for fault in (None, *FAULTS):
        backend.fault = fault
        for streaming in (False, True):
            asked = {**body, "stream": streaming}
            await marks.fetch(one, "POST", "/v1/chat/completions", json=asked, headers=client)
    backend.fault = None
    for model in (client_key, f"disrouter/{admin_key}", UPSTREAM_KEY):
        # The message of an error may repeat what was asked to whoever asked it; nothing else may.
        async with one.http.post(
            f"{one.url}/v1/chat/completions", json={**body, "model": model}, headers=client
        ) as reply:
            assert reply.status == 404
    for headers in ({}, {"authorization": f"Basic {client_key}"}, {"authorization": f"Bearer {client_key}x"}):
        assert await marks.fetch(one, "POST", "/v1/chat/completions", json=body, headers=headers) == 401
    await marks.fetch(one, "POST", "/v1/chat/completions", data=f'{{"messages": "{PROMPT}', headers=client)
    await marks.fetch(one, "POST", "/v1/completions", json={"model": "large", "prompt": PROMPT}, headers=client)
    await marks.fetch(one, "POST", "/v1/responses", json={"model": "large", "input": PROMPT}, headers=client)
    control_pages = (
        "/metrics",
        "/dashboard/live",
        "/dashboard/summary",
        "/dashboard/routes?limit=200",
        "/admin/status",
    )
    for path in ("/", "/health/ready", "/v1/models", "/nothing", *control_pages):
        for headers in ({}, client, admin):
            await marks.fetch(one, "GET", path, headers=headers)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("connect to http://10.0.0.7:8000/v1 failed", "connect to [address] failed"),
        ("Cannot connect to host gpu-7.local:8000 ssl:default", "Cannot connect to host [address] ssl:default"),
        ("at 192.168.1.4", "at [address]"),
        ("at [fe80::1]:80", "at [address]"),
        ("Authorization: Bearer abc.def", "Authorization: [key]"),
        ("key sk-proj-abcdef123456 is wrong", "key [key] is wrong"),
        ("no answer within 5 s", "no answer within 5 s"),
        ("ratio 3:4, at 12:30", "ratio 3:4, at 12:30"),
        ("disrouter/performance-first", "disrouter/performance-first"),
    ],
)
def test_addresses_and_keys_are_taken_out_of_sentences(text: str, left: str) -> None:
    assert without_secrets(text) == left
