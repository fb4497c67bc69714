"""``disrouter keys``, ``traces`` and ``init``: what they print where, and how they fail."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from disrouter.cli import cli
from disrouter.cli.init import network_file
from disrouter.config import load
from disrouter.gateway.discovery import PROVIDERS, FoundModel, FoundServer, find_servers, providers_with_keys
from disrouter.gateway.records import HopRecord
from disrouter.gateway.store import open_store
from disrouter.gateway.store_keys import keys_of
from gateway.mock_backend import MockBackend
from gateway.recorded_routes import a_route
from gateway.running import running


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISROUTER_STORE", str(tmp_path / "gateway.db"))
    for provider in PROVIDERS:
        monkeypatch.delenv(provider.variable, raising=False)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def fails(*arguments: str) -> str:
    """What a call that is wrong says; never a traceback."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    return result.stderr


def test_a_key_is_shown_once_on_standard_output() -> None:
    made = run("keys", "create", "alice", "--budget", "50", "--rate", "60", "--scenarios", "balance,cost-first")

    secret = made.stdout.strip()
    listed = run("keys", "list").stdout
    store = open_store()
    (key,) = keys_of(store)
    store.close()
    assert secret.startswith("sk-dis-")
    assert secret not in made.stderr
    assert key.id in made.stderr
    assert secret not in listed
    assert key.digest.hex() not in listed + run("keys", "list", "--json").stdout
    assert "alice" in listed
    assert (key.budget, key.period, key.per_minute) == (50, "month", 60)
    assert key.scenarios == frozenset({"balance", "cost-first"})


def test_keys_are_made_listed_and_revoked_as_json() -> None:
    made = json.loads(run("keys", "create", "ops", "--admin", "--expires", "30d", "--json").stdout)
    assert made["admin"]
    assert made["expires"] == pytest.approx(time.time() + 30 * 86_400, abs=60)

    revoked = run("keys", "revoke", made["id"])

    assert revoked.exit_code == 0
    (listed,) = json.loads(run("keys", "list", "--json").stdout)["keys"]
    assert listed["state"] == "revoked"
    assert "key" not in listed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("create", ""), "1 to 100 printable"),
        (("create", "a", "--budget", "-1"), "--budget -1"),
        (("create", "a", "--budget", "nan"), "--budget nan"),
        (("create", "a", "--rate", "0"), "--rate"),
        (("create", "a", "--expires", "soon"), "--expires 'soon'"),
        (("create", "a", "--scenarios", "fast"), "Unknown scenario 'fast'"),
        (("create", "a", "--scenarios", ","), "--scenarios names none"),
        (("create", "a", "--store", "mysql://u:sesame@h/d"), "is no store"),
        (("list", "--store", "nowhere.db"), "There is no store"),
        (("revoke", "key_x", "--store", "nowhere.db"), "There is no store"),
    ],
)
def test_calls_that_are_wrong_say_what(arguments: tuple[str, ...], said: str) -> None:
    message = fails("keys", *arguments)

    assert said in message
    assert "sesame" not in message


def test_revoking_nobodys_key_names_those_there_are() -> None:
    run("keys", "create", "alice")

    assert "Unknown key 'key_x'" in fails("keys", "revoke", "key_x")


def test_traces_are_listed_filtered_and_shown_hop_by_hop() -> None:
    store = open_store()
    failed = HopRecord(
        agent="small", decision="failure", error="agent_timeout", reason="no answer within 5 s", seconds=5
    )
    old = a_route(time=time.time() - 7_200, agent="small")
    new = a_route(time=time.time(), hops=(failed, *a_route().hops), prompt="two\x1b[2J?", answer="2")
    store.write([old, new])
    store.rate(new.trace_id, 1.0, key_id=None, any_key=True)
    store.close()

    assert run("traces").stdout.count("answered") == 2
    assert new.trace_id in run("traces", "--since", "1h").stdout
    assert old.trace_id not in run("traces", "--since", "1h").stdout
    assert json.loads(run("traces", "--agent", "small", "--json").stdout)["traces"][0]["trace_id"] == old.trace_id
    assert len(json.loads(run("traces", "--rated", "--json").stdout)["traces"]) == 1
    shown = run("traces", new.trace_id).stdout
    assert "confidence 0.90" in shown
    assert "(agent_timeout) no answer within 5 s" in shown
    assert "feedback 1" in shown
    assert "\x1b[2J" not in shown


def test_traces_are_exported_oldest_first_one_a_line() -> None:
    store = open_store()
    store.write([a_route(time=float(i)) for i in (3, 1, 2)])
    store.close()

    lines = [json.loads(line) for line in run("traces", "--export").stdout.splitlines()]

    assert [line["time"] for line in lines] == [1.0, 2.0, 3.0]
    assert lines[0]["schema"] == 1
    assert lines[0]["hops"][1]["confidence"] == 0.9


def test_an_empty_store_lists_nothing_and_says_so() -> None:
    open_store().close()

    result = run("traces")

    assert result.stdout == ""
    assert "No trace" in result.stderr
    assert json.loads(run("traces", "--json").stdout) == {"schema": 1, "traces": []}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--since", "yesterday"), "--since 'yesterday'"),
        (("--outcome", "great"), "Unknown outcome 'great'"),
        (("--limit", "0"), "--limit 0"),
        (("0123",), "There is no trace '0123'"),
    ],
)
def test_questions_about_traces_that_mean_nothing_are_refused(arguments: tuple[str, ...], said: str) -> None:
    open_store().close()

    assert said in fails("traces", *arguments)


class Models(BaseHTTPRequestHandler):
    """A server that names its models, or whatever a test wants."""

    body: bytes = b"{}"
    seen: list[str]

    def do_GET(self) -> None:
        self.seen.append(f"{self.path} {self.headers.get('authorization')}")
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[tuple[str, type[Models]]]:
    class Ours(Models):
        seen: list[str] = []  # noqa: RUF012

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Ours)
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{listening.server_port}/v1", Ours
    listening.shutdown()
    listening.server_close()
    thread.join()


def named(*models: object) -> bytes:
    return json.dumps({"object": "list", "data": list(models)}).encode()


def test_init_writes_a_file_for_the_servers_that_answer(
    server: tuple[str, type[Models]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, models = server
    models.body = named(
        {"id": "qwen2.5:7b"}, {"id": "nomic-embed-text"}, {"id": "org/Llama-3.2-1B", "max_model_len": 4096}
    )
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-not-to-be-read")

    result = run("init", "--no-search", "--server", url)

    text = Path("network.yaml").read_text()
    network = load("network.yaml")
    assert result.stdout == "disrouter serve --network network.yaml\n"
    assert network.chain == ("Llama-3.2-1B", "qwen2.5:7b")  # the smaller one is asked first
    assert network.agents["Llama-3.2-1B"].card.context_length == 4096
    assert "GUESSED" in text
    assert "#   api_key_env: OPENAI_API_KEY" in text
    assert "canary" not in text + result.output
    assert models.seen == ["/v1/models None"]  # one question, and no key with it


def test_init_without_any_server_writes_a_network_that_works(here: Path) -> None:
    result = run("init", "my net.yaml", "--no-search")

    assert "No server found" in result.stderr
    assert result.stdout == "disrouter serve --network 'my net.yaml'\n"
    network = load("my net.yaml")
    assert network.chain == ("agent-1", "agent-3", "agent-5")
    assert network.name == "my-net"


def test_init_replaces_no_file_unless_told() -> None:
    Path("network.yaml").write_text("mine")

    assert "already there" in fails("init", "--no-search")
    assert Path("network.yaml").read_text() == "mine"
    assert run("init", "--no-search", "--force").exit_code == 0


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host/v1", "http://user:pass@host/v1", "http://"])
def test_init_asks_no_server_without_a_plain_address(url: str) -> None:
    assert "cannot be asked" in fails("init", "--no-search", "--server", url)
    assert not Path("network.yaml").exists()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        named("x", 7, {"id": 3}, {"id": ""}),
        b'{"data": 7}',
        b"[" * 5_000,
        named({"id": "a\nb"}),
    ],
)
def test_servers_that_talk_nonsense_are_nobody(server: tuple[str, type[Models]], body: bytes) -> None:
    url, models = server
    models.body = body

    assert find_servers([("x", url)]) == []
    result = run("init", "--no-search", "--server", url)
    assert "it is left out" in result.stderr
    assert result.exit_code == 0


def test_odd_names_of_models_make_a_file_that_loads(tmp_path: Path) -> None:
    names = ["on", "true", "null", "a/b", "c/b", "模型", "x: y # z", '"quoted"', "'", "{{", "1.5", "-", "~"]
    server = FoundServer(
        name="vLLM", base_url="http://127.0.0.1:8000/v1", models=tuple(FoundModel(id=n) for n in names)
    )
    file = tmp_path / "3 odd.yaml"

    file.write_text(network_file(file, [server], PROVIDERS))

    assert len(load(str(file)).agents) == len(names)


def test_only_set_variables_count_as_keys() -> None:
    assert [p.name for p in providers_with_keys({"GROQ_API_KEY": "x", "OPENAI_API_KEY": ""})] == ["groq"]


async def test_the_file_that_init_writes_answers_queries() -> None:
    async with MockBackend(reply=lambda _body: "four") as backend:
        made = await asyncio.to_thread(run, "init", "--no-search", "--server", backend.url)
        assert made.exit_code == 0, made.output
        async with running(network=load("network.yaml")) as gateway:
            status, reply, headers = await gateway.post(model="disrouter/cost-first")

    assert status == 200
    assert reply["choices"][0]["message"]["content"] == "four"
    assert headers["x-disrouter-agent"] in Path("network.yaml").read_text()
