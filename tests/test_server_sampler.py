"""Sampling from OpenAI-compatible servers: a small one that fails on purpose, and Hugging Face's own."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from anyio.from_thread import start_blocking_portal

from disrouter.agents.transformers import TransformersAgent
from disrouter.errors import AgentError, ConfigError, DisrouterError, RunError, UnknownNameError
from disrouter.lab.suite import LabSuite
from disrouter.training.profiling import LocalSampler, Profile, profile
from disrouter.training.server_sampler import ServerSampler
from disrouter.training.settings import ProfileSettings
from disrouter.types import AgentCard, Completion, Query, QueryPrice, Usage
from transformers_serve import Served, serving

KEY = "sk-canary-3f9a"

Reply = Callable[[web.Request], Awaitable[web.StreamResponse]]


def query(name: str) -> Query:
    return replace(Query.from_text(f"What is {name}?", id=name), reference=name)


def answer(text: str = "4", *, finish: str = "stop", prompt: int = 5, completion: int = 2) -> Reply:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    usage = {"prompt_tokens": prompt, "completion_tokens": completion}
    return json_reply({"object": "chat.completion", "choices": [choice], "usage": usage})


def json_reply(data: object, status: int = 200, headers: dict[str, str] | None = None) -> Reply:
    async def reply(request: web.Request) -> web.StreamResponse:
        return web.json_response(data, status=status, headers=headers)

    return reply


def text_reply(text: str, media_type: str = "application/json") -> Reply:
    async def reply(request: web.Request) -> web.StreamResponse:
        return web.Response(text=text, content_type=media_type)

    return reply


def failing(status: int, message: str = "no", **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return json_reply({"error": {"message": message, "code": None}}, status, named)


async def hanging(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(60)
    raise AssertionError("nobody waits for this")


async def hanging_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def not_http(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
    await asyncio.sleep(0.1)
    return web.Response()


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(64):
        await response.write(b" " * 2**20)
    return response


@dataclass
class Server:
    """A server on loopback that gives the scripted replies in order, then good ones."""

    script: list[Reply] = field(default_factory=list)
    default: Reply = field(default_factory=answer)
    models: Reply = field(default_factory=lambda: failing(404))
    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    cancelled: int = 0
    connections: Callable[[], int] = lambda: 0

    async def complete(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.json())
        self.keys.append(request.headers.get("Authorization"))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return await (self.script.pop(0) if self.script else self.default)(request)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.at_once -= 1

    async def list_models(self, request: web.Request) -> web.StreamResponse:
        return await self.models(request)

    async def start(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self.complete)
        app.router.add_get("/v1/models", self.list_models)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        self.connections = lambda: len(runner.server.connections) if runner.server is not None else 0
        return runner


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    with start_blocking_portal() as portal:
        runner = portal.call(server.start)
        yield server
        portal.call(runner.cleanup)


def sampler(url: str, **changes: Any) -> ServerSampler:
    settings: dict[str, Any] = {
        "base_url": url,
        "model": "tiny-chat",
        "api_key": KEY,
        "temperature": 1.0,
        "seed": 7,
        "max_tokens": 16,
        "concurrency": 4,
        "timeout": 20.0,
        "retries": 2,
        "backoff": 0.01,
    }
    return ServerSampler(**settings | changes)


def sampled(sampler: ServerSampler, queries: Sequence[Query], samples: int = 1) -> dict[str, Sequence[Completion]]:
    return {query.id: completions for query, completions in sampler.sample(queries, samples)}


def error_of(sampler: ServerSampler) -> DisrouterError:
    """The error of asking for one sample, after making sure that it says nothing of the key, nor do its causes."""
    with pytest.raises(DisrouterError) as caught:
        sampled(sampler, [query("q1")])
    shown: BaseException | None = caught.value
    while shown is not None:
        assert KEY not in f"{shown} {shown!r} {shown.args}"
        shown = shown.__cause__ or shown.__context__
    return caught.value


# -- what is asked and what is had -------------------------------------------------------------------------------------


def test_every_query_has_its_samples_with_the_tokens_that_the_server_counted(server: Server) -> None:
    server.script = [answer("a", completion=3), answer("b", completion=4), answer("c"), answer("d", finish="length")]

    found = sampled(sampler(server.url, concurrency=1), [query("q1"), query("q2")], samples=2)

    assert [completion.text for completion in found["q1"]] == ["a", "b"]
    assert [completion.usage for completion in found["q1"]] == [Usage(5, 3), Usage(5, 4)]
    assert [completion.finish_reason for completion in found["q2"]] == ["stop", "length"]


def test_a_request_holds_the_query_and_how_to_draw_one_answer(server: Server) -> None:
    sampled(sampler(server.url), [query("q1")])

    (body,) = server.bodies
    assert 0 <= body.pop("seed") < 2**31
    assert body == {
        "model": "tiny-chat",
        "messages": [{"role": "user", "content": "What is q1?"}],
        "temperature": 1.0,
        "top_p": 1.0,
        "max_tokens": 16,
    }
    assert server.keys == [f"Bearer {KEY}"]


def test_without_a_key_none_is_sent(server: Server) -> None:
    sampled(sampler(server.url, api_key=None), [query("q1")])

    assert server.keys == [None]


async def seed_as_answer(request: web.Request) -> web.StreamResponse:
    seed = (await request.json())["seed"]
    await asyncio.sleep(seed % 7 / 500)  # answers overtake one another
    return await answer(str(seed))(request)


def test_a_sample_has_its_own_seed_whatever_is_asked_beside_it(server: Server) -> None:
    server.default = seed_as_answer
    queries = [query(f"q{i}") for i in range(6)]

    alone = sampled(sampler(server.url, concurrency=1), queries[2:3], samples=3)
    together = sampled(sampler(server.url, concurrency=8), queries, samples=3)

    assert [c.text for c in alone["q2"]] == [c.text for c in together["q2"]]
    assert len({c.text for completions in together.values() for c in completions}) == 18


def test_no_more_requests_are_under_way_than_allowed_and_no_fewer(server: Server) -> None:
    async def slow(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.02)
        return await answer()(request)

    server.default = slow

    sampled(sampler(server.url, concurrency=3), [query(f"q{i}") for i in range(8)], samples=2)

    assert server.most_at_once == 3


def test_a_content_of_null_is_an_empty_answer(server: Server) -> None:
    choice = {"message": {"role": "assistant", "content": None}, "finish_reason": "length"}
    server.script = [json_reply({"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 16}})]

    (completion,) = sampled(sampler(server.url), [query("q1")])["q1"]

    assert (completion.text, completion.finish_reason) == ("", "length")


def test_no_queries_are_no_work(server: Server) -> None:
    assert sampled(sampler(server.url), []) == {}
    assert server.bodies == []


def test_a_sampler_works_inside_an_event_loop(server: Server) -> None:
    async def notebook_cell() -> dict[str, Sequence[Completion]]:
        return sampled(sampler(server.url), [query("q1")])

    assert asyncio.run(notebook_cell()).keys() == {"q1"}


def test_neither_key_nor_address_is_part_of_the_identity() -> None:
    one = sampler("http://one/v1")

    assert one.identity == sampler("http://two/v1", api_key=None, concurrency=1).identity
    assert one.identity != sampler("http://one/v1", seed=8).identity
    assert KEY not in f"{one!r} {one} {one.identity}"


# -- faults that pass --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [failing(408), failing(409), failing(425), failing(429), failing(500), failing(503), hanging_up],
    ids=["408", "409", "425", "429", "500", "503", "lost connection"],
)
def test_a_fault_that_passes_is_waited_out(server: Server, fault: Reply) -> None:
    server.script = [fault, fault]

    found = sampled(sampler(server.url), [query("q1")])

    assert found["q1"][0].text == "4"
    assert len(server.bodies) == 3
    assert server.bodies[0] == server.bodies[2]


def test_a_server_that_names_a_pause_is_given_it(server: Server) -> None:
    server.script = [failing(429, Retry_After="1")]
    started = time.monotonic()

    sampled(sampler(server.url), [query("q1")])

    assert 1.0 <= time.monotonic() - started < 5.0


@pytest.mark.parametrize(
    "pause", ["3600", "inf", format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True), "soon", "-1"]
)
def test_a_pause_that_is_too_long_or_unreadable_is_cut_short(server: Server, pause: str) -> None:
    server.script = [failing(503, Retry_After=pause)]
    started = time.monotonic()

    sampled(sampler(server.url, longest_pause=0.05), [query("q1")])

    assert time.monotonic() - started < 5.0


# -- faults that do not ------------------------------------------------------------------------------------------------


def test_a_server_that_keeps_failing_is_given_up(server: Server) -> None:
    server.default = failing(500, "out of memory")

    error = error_of(sampler(server.url))

    assert isinstance(error, RunError)
    assert (
        error.message
        == f"Server '{server.url}' fails with HTTP 500, application/json. out of memory It was asked 3 times."
    )
    assert len(server.bodies) == 3


def test_a_server_that_says_not_to_ask_again_is_not_asked_again(server: Server) -> None:
    server.default = failing(429, "You exceeded your quota.", x_should_retry="false")

    assert "You exceeded your quota." in error_of(sampler(server.url)).message
    assert len(server.bodies) == 1


def test_a_refused_key_is_said_at_once_even_where_the_server_repeats_it(server: Server) -> None:
    server.default = failing(401, f"Incorrect API key provided: {KEY}.")

    error = error_of(sampler(server.url))

    assert isinstance(error, ConfigError)
    assert "refuses the API key" in error.message
    assert "Incorrect API key provided: …." in error.message
    assert len(server.bodies) == 1


def test_a_missing_key_is_said_as_such(server: Server) -> None:
    server.default = failing(401)

    assert "refuses a request without an API key" in error_of(sampler(server.url, api_key=None)).message


def test_an_unknown_model_is_named_beside_those_that_the_server_has(server: Server) -> None:
    server.default = failing(404, "The model does not exist.")
    server.models = json_reply({"object": "list", "data": [{"id": "tiny-chat-v2"}, {"id": "big"}]})

    error = error_of(sampler(server.url))

    assert isinstance(error, UnknownNameError)
    assert error.message == f"Unknown model 'tiny-chat' in server '{server.url}'. Known: 'tiny-chat-v2', 'big'."
    assert error.hint == "did you mean 'tiny-chat-v2'?"


def test_an_address_that_is_no_api_is_answered_by_a_hint_at_the_base_url(server: Server) -> None:
    error = error_of(sampler(server.url.removesuffix("/v1")))

    assert isinstance(error, ConfigError)
    assert "most end in /v1" in str(error)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": {"message": "This model's maximum context length is 128 tokens."}}, "maximum context length is 128"),
        ({"detail": [{"loc": ["body", "seed"], "msg": "not an integer"}]}, "not an integer"),
        ({"error": f"bad {KEY}"}, "bad …"),
        ([], "HTTP 400"),
    ],
)
def test_a_refused_request_names_its_query_and_quotes_the_server(server: Server, body: object, said: str) -> None:
    server.default = json_reply(body, 400)

    error = error_of(sampler(server.url))

    assert isinstance(error, AgentError)
    assert error.message.startswith("Query 'q1': ")
    assert said in error.message
    assert len(server.bodies) == 1


USAGE = {"prompt_tokens": 5, "completion_tokens": 2}


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (text_reply('{"choices": ['), "Invalid JSON"),
        (text_reply("<html>Welcome!</html>", "text/html"), "HTTP 200, text/html"),
        (json_reply({"choices": [], "usage": USAGE}), "choices"),
        (json_reply({"choices": [{"message": {"content": "4"}}]}), "usage"),
        (json_reply({"choices": [{"message": {"content": KEY}}], "usage": {"prompt_tokens": KEY}}), "usage"),
        (endless, "more than 8 MiB"),
    ],
    ids=["cut off", "a web page", "no choices", "no usage", "a nonsensical usage", "too large"],
)
def test_a_reply_that_is_no_completion_ends_the_run(server: Server, reply: Reply, said: str) -> None:
    server.default = reply

    error = error_of(sampler(server.url))

    assert isinstance(error, RunError)
    assert said in error.message
    assert len(server.bodies) == 1


def test_a_redirect_is_not_followed(server: Server) -> None:
    server.script = [failing(307, Location="/v1/chat/completions")]

    assert "sends us elsewhere (HTTP 307" in error_of(sampler(server.url)).message
    assert len(server.bodies) == 1


def test_a_server_that_hangs_is_given_up_after_the_timeout(server: Server) -> None:
    server.default = hanging

    error = error_of(sampler(server.url, timeout=0.2, retries=1))

    assert error.message == f"Server '{server.url}' did not answer in 0.2 s. It was asked 2 times."


def test_a_server_that_is_not_there_is_named_with_a_hint() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"

        error = error_of(sampler(url))

    assert isinstance(error, RunError)
    assert error.message.startswith(f"Server '{url}' cannot be reached: ")
    assert error.hint == "is the server running, and does it listen there?"


def test_something_that_is_no_web_server_is_named(server: Server) -> None:
    server.default = not_http

    assert "does not speak HTTP" in error_of(sampler(server.url)).message


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"url": "localhost:8000/v1"}, "not a plain http or https address"),
        ({"url": "http://localhost:99999/v1"}, "cannot be read"),
        ({"url": f"http://me:{KEY}@localhost/v1"}, "holds a user name or a password"),
        ({"url": f"http://me:{KEY}@localhost:99999"}, "holds a user name or a password"),
        ({"url": f"http://localhost/v1?key={KEY}"}, "not a plain http or https address"),
        ({"api_key": f"{KEY}\n"}, "characters that cannot be sent"),
        ({"concurrency": 0}, "A concurrency of 0"),
    ],
)
def test_what_can_never_work_is_refused_before_anything_is_sent(changes: dict[str, Any], said: str) -> None:
    error = error_of(sampler(**{"url": "http://127.0.0.1:1/v1"} | changes))

    assert isinstance(error, ConfigError)
    assert said in error.message


# -- stopping ----------------------------------------------------------------------------------------------------------


@contextmanager
def nothing_left_behind(server: Server) -> Iterator[None]:
    """Asserts that no thread, no request and no connection outlives the block."""
    threads = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= threads
    deadline = time.monotonic() + 5.0
    while (server.connections() or server.at_once) and time.monotonic() < deadline:
        time.sleep(0.01)  # the server hears of it a moment later
    assert (server.connections(), server.at_once) == (0, 0)


def test_a_finished_sampler_leaves_nothing_behind(server: Server) -> None:
    with nothing_left_behind(server):
        sampled(sampler(server.url), [query(f"q{i}") for i in range(5)])


def test_a_closed_sampler_cancels_what_is_under_way(server: Server) -> None:
    server.script = [hanging, hanging, hanging, answer()]
    server.default = hanging

    with nothing_left_behind(server):
        answers = sampler(server.url, concurrency=4).sample([query(f"q{i}") for i in range(9)], 1)
        next(answers)
        answers.close()  # type: ignore[attr-defined]  # it is a generator

    assert server.cancelled == len(server.bodies) - 1 >= 3


def test_an_error_cancels_what_is_under_way(server: Server) -> None:
    server.script = [hanging, hanging, failing(400)]

    with nothing_left_behind(server), pytest.raises(AgentError):
        sampled(sampler(server.url, concurrency=3), [query(f"q{i}") for i in range(9)])

    assert server.cancelled == 2


def test_a_consumer_that_dawdles_is_not_run_away_from(server: Server) -> None:
    answers = sampler(server.url, concurrency=2).sample([query(f"q{i}") for i in range(40)], 1)
    next(answers)
    time.sleep(0.3)

    # one taken, two waiting to be taken, two that cannot be put down
    assert len(server.bodies) <= 5

    assert len(list(answers)) == 39


def right(query: Query, text: str) -> float:
    return 1.0 if text == "4" else 0.0


def test_an_interrupted_profile_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    async def interrupting(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.5)  # time to keep what was answered
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)  # Ctrl-C
        return await hanging(request)

    queries = [query(f"q{i}") for i in range(6)]
    settings = ProfileSettings(samples=2)
    server.script = [answer(), answer(), answer(), answer(), hanging, interrupting]

    with nothing_left_behind(server), pytest.raises(KeyboardInterrupt):
        profile("a", sampler(server.url, concurrency=2), queries, right, tmp_path / "p", settings)
    asked = Counter(body["messages"][0]["content"] for body in server.bodies)
    found = profile("a", sampler(server.url), queries, right, tmp_path / "p", settings)

    # two samples of two queries were had; the third query was under way, and is asked again with the last three
    assert asked == {"What is q0?": 2, "What is q1?": 2, "What is q2?": 2}
    assert len(server.bodies) == 6 + 4 * 2
    assert found.mean_success_rate == 1.0
    assert found.sampled_tokens == 6 * 2 * 2


def test_a_grader_that_fails_leaves_nothing_behind(server: Server, tmp_path: Path) -> None:
    def broken(query: Query, text: str) -> float:
        raise RunError("The grader broke.")

    with nothing_left_behind(server), pytest.raises(RunError, match="The grader broke"):
        profile("a", sampler(server.url), [query("q1"), query("q2")], broken, tmp_path / "p", ProfileSettings())


# -- a server that others wrote ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """``transformers serve`` with the smallest lab model."""
    with serving(tmp_path_factory.mktemp("served")) as served:
        yield served


def of_served(served: Served, **changes: Any) -> ServerSampler:
    return sampler(served.url, **{"model": served.model, "api_key": None, "max_tokens": 48, "timeout": 60.0, **changes})


@dataclass(frozen=True)
class Recorded:
    """A sampler that keeps which queries it was asked for."""

    inner: ServerSampler
    asked: list[str] = field(default_factory=list)

    @property
    def identity(self) -> Mapping[str, Any]:
        return self.inner.identity

    def sample(self, queries: Sequence[Query], samples: int) -> Iterator[tuple[Query, Sequence[Completion]]]:
        self.asked.extend(query.id for query in queries)
        yield from self.inner.sample(queries, samples)


@pytest.mark.slow
def test_a_model_behind_transformers_serve_is_profiled_and_a_stopped_profile_asks_nothing_again(
    served: Served, tmp_path: Path
) -> None:
    suite = LabSuite()
    queries = suite.queries("in", 0, 6, split="train")
    sampler = Recorded(of_served(served, concurrency=1))

    def stop_after_three(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    def go_on(report: Callable[[int, int], None] = lambda done, total: None) -> Profile:
        settings = ProfileSettings(samples=3)
        return profile("agent-1", sampler, queries, suite.grade, tmp_path / "p", settings, report=report)

    with pytest.raises(KeyboardInterrupt):
        go_on(stop_after_three)
    found = go_on()
    known = go_on()

    names = [query.id for query in queries]
    assert sampler.asked == names + names[3:]
    assert known == found
    assert [rollouts.query for rollouts in found.rollouts] == queries
    assert all(len(rollouts.scores) == 3 and min(rollouts.tokens) >= 1 for rollouts in found.rollouts)
    assert 0.0 < found.mean_success_rate < 1.0


@pytest.mark.slow
def test_transformers_serve_repeats_samples_that_are_asked_one_by_one(served: Served) -> None:
    queries = LabSuite().queries("in", 1, 2, split="train")
    alone = of_served(served, concurrency=1, temperature=1.5)

    once, again = ({name: [c.text for c in found] for name, found in sampled(alone, queries, 4).items()} for _ in "12")

    assert once == again
    assert len({text for texts in once.values() for text in texts}) > len(queries)


@pytest.mark.slow
def test_a_model_answers_the_same_behind_a_server_as_in_this_process(served: Served) -> None:
    queries = LabSuite().queries("in", 3, 10, split="train")
    card = AgentCard(name="agent-1", price=QueryPrice(cost=0.1))
    agent = TransformersAgent(
        card, served.model, scenario_prompt=False, self_assessment="none", max_tokens=48, device="cpu"
    )

    local = {query.id: found for query, found in LocalSampler(agent, temperature=0.0, seed=0).sample(queries, 1)}
    remote = sampled(of_served(served, temperature=0.0), queries)

    for name, (there,) in remote.items():
        (here,) = local[name]
        assert there.text == here.text.rstrip()  # a server trims
        assert (there.usage, there.finish_reason) == (here.usage, here.finish_reason)
    assert remote.keys() == local.keys()


@pytest.mark.slow
def test_transformers_serve_cuts_answers_off_and_refuses_other_models(served: Served) -> None:
    (question,) = LabSuite().queries("in", 2, 1, split="train")

    (short,) = sampled(of_served(served, max_tokens=1), [question])[question.id]
    with pytest.raises(AgentError, match="Server is pinned to"):
        sampled(of_served(served, model="other"), [question])

    assert (short.finish_reason, short.usage.completion_tokens) == ("length", 1)
