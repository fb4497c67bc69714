"""``disrouter conformance``: the matrix it prints, its exit codes, and how wrong calls are told."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from anyio.from_thread import start_blocking_portal
from click.testing import CliRunner, Result

from disrouter.cli import cli
from disrouter.conformance import CASES
from gateway.mock_backend import MockBackend, closed_port_url


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(MockBackend()) as backend:
        yield backend.url


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["conformance", *arguments])


def test_rules_that_are_kept_end_with_0_and_stand_in_a_table(url: str) -> None:
    result = run(url, "--only", "chat-shape", "--only", "stream-done")

    assert result.exit_code == 0, result.output
    assert "chat-shape" in result.stdout and "stream-done" in result.stdout
    assert result.stdout.splitlines()[-1] == "2 passed, 0 failed, 0 skipped"


def test_a_broken_rule_ends_with_1_and_says_how(url: str) -> None:
    result = run(url, "--only", "error-unknown-model", "--only", "error-wrong-key")

    assert result.exit_code == 1
    assert "HTTP 200 instead of 404" in result.stdout
    assert "needs key" in result.stdout
    assert result.stdout.splitlines()[-1] == "0 passed, 1 failed, 1 skipped"


def test_the_report_is_one_json_object(url: str) -> None:
    found = json.loads(run(url, "--only", "models", "--has", "", "--json").stdout)

    assert (found["schema"], found["model"], found["passed"]) == (1, "disrouter", 1)
    assert {case["verdict"] for case in found["cases"]} == {"passed", "failed"}
    assert all(case["rule"] and case["source"] for case in found["cases"])


def test_all_cases_are_listed_with_their_rules_without_a_gateway() -> None:
    listed = json.loads(run("--list", "--json").stdout)["cases"]
    table = run("--list").stdout

    assert len(listed) == len(CASES)
    assert all(case["name"] in table for case in listed)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "No gateway is named."),
        (("localhost:8000",), "'localhost:8000' is not a plain http or https address."),
        (("http://x/v1", "--only", "chatt"), "Unknown case 'chatt'"),
        (("http://x/v1", "--has", "wings"), "Unknown ability 'wings'"),
        (("http://x/v1", "--api-key-env", "NO_SUCH_VARIABLE"), "'NO_SUCH_VARIABLE' is not set."),
        (("http://x/v1", "--timeout", "0"), "--timeout 0 is not usable"),
    ],
)
def test_a_wrong_call_is_told_in_two_lines(arguments: tuple[str, ...], message: str) -> None:
    result = run(*arguments)

    assert result.exit_code == 2
    assert message in result.stderr and "Traceback" not in result.stderr


def test_an_address_where_nobody_listens_is_a_failed_run() -> None:
    result = run(closed_port_url())

    assert result.exit_code == 1
    assert "Nobody answers at" in result.stderr and "is the gateway running" in result.stderr
