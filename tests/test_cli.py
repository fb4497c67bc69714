"""The command line over recorded agents: what it prints where, how it draws, how it fails. No model runs here."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from disrouter.cli import cli
from disrouter.cli.demo import program
from disrouter.evaluation.outcomes import Outcome, OutcomeTable

AGENTS = {"small": 0.1, "medium": 0.4, "large": 0.9}
SCENARIOS = {"performance-first": 0.2, "balance": 0.5, "cost-first": 0.8}
NETWORK = """\
name: pool
agents:
  - {name: small, backend: recorded, model: table.parquet, price: {cost: 0.1}}
  - {name: medium, backend: recorded, model: table.parquet, price: {cost: 0.4}}
  - {name: large, backend: recorded, model: table.parquet, price: {cost: 0.9}, self_assessment: none}
"""


EVAL = ("eval", "--network", "pool.yaml", "--suite", "sums.jsonl", "--seed", "7", "--limit", "40")
RUN = "runs/pool-sums-in-seed7-n40"


def outcome(query: int, agent: str, scenario: str) -> Outcome:
    """What an agent is recorded to do with query number n: small knows every third, medium all but every fifth."""
    right = {"small": query % 3 == 0, "medium": query % 5 != 4, "large": query % 7 != 6}[agent]
    confidence = {"small": 0.9 if query % 3 == 0 else 0.2, "medium": 0.7, "large": None}[agent]
    cost = AGENTS[agent]
    return Outcome(
        query_id="query" if query == 1 else f"q{query}",  # a query on the command line is called "query"
        agent=agent,
        scenario=scenario,
        alpha=SCENARIOS[scenario],
        score=float(right),
        confidence=confidence,
        accepts=None if confidence is None else confidence > 0.5,
        answer=f"{query} and nothing.\nA: {query if right else 99}",
        prompt_tokens=12,
        answer_tokens=31,
        look_cost=cost * 0.1,
        answer_cost=cost,
        look_seconds=0.002,
        answer_seconds=0.046,
    )


def make_pool(folder: Path) -> None:
    """Write a network of recorded agents (pool.yaml) and a suite of their queries (sums.jsonl)."""
    rows = [outcome(q, agent, scenario) for scenario in SCENARIOS for agent in AGENTS for q in range(60)]
    OutcomeTable.of(rows).write(folder / "table.parquet")
    (folder / "pool.yaml").write_text(NETWORK)
    queries = [
        {
            "id": "query" if q == 1 else f"q{q}",
            "query": f"What is {q} + 0?",
            "reference": str(q),
            "grader": "numeric",
            "split": "validation" if q >= 40 else "test",
        }
        for q in range(60)
    ]
    (folder / "sums.jsonl").write_text("".join(json.dumps(query) + "\n" for query in queries))


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a network and a suite, 80 columns wide."""
    make_pool(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The run folder of one evaluation, made once, and what it printed with --json."""
    folder = tmp_path_factory.mktemp("evaluation")
    make_pool(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = run(*EVAL, "--json")
    return folder / RUN, result


@pytest.fixture
def finished(pool: Path, evaluation: tuple[Path, Result]) -> Path:
    """A copy of that run folder, where the same command would have put it."""
    return Path(shutil.copytree(evaluation[0], pool / RUN))


def run(*arguments: str, input: str | bytes | None = None) -> Result:
    return CliRunner().invoke(cli, arguments, input=input)


def start(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run the program in a process of its own."""
    command = [sys.executable, "-m", "disrouter", *arguments]
    return subprocess.run(command, capture_output=True, check=False, env={**os.environ, **environment})


def assert_refused(result: Result, *said: str) -> None:
    """One message and nothing else: no output, no traceback, exit code 2."""
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr
    for words in said:
        assert words in result.stderr


# -- the program ------------------------------------------------------------------------------------------------------


def test_help_opens_with_two_commands_to_try() -> None:
    result = run("--help")

    assert result.exit_code == 0
    opening = result.stdout.partition("Options:")[0]
    assert "disrouter demo" in opening
    assert 'disrouter ask "357+246" --trace' in opening


@pytest.mark.parametrize("command", ["ask", "agents", "train", "init", "traces"])
def test_examples_in_help_stand_on_lines_of_their_own(command: str) -> None:
    shown = run(command, "--help").stdout.partition("Options:")[0]

    assert shown.count("\n    disrouter ") >= 2


def test_commands_are_listed_in_the_order_of_use() -> None:
    listed = run("--help").stdout.partition("Commands:")[2].split("\n")

    serving = ["init", "serve", "network", "agent", "keys", "traces", "conformance"]
    measuring = ["eval", "bench", "ladder", "tune", "drift", "plan"]
    training = ["profile", "train", "payback", "calibrate", "cards"]
    order = ["demo", "ask", *serving, *measuring, *training, "agents", "recipes", "lab"]
    assert [line.split()[0] for line in listed if line.strip()] == order


def test_without_a_command_the_help_is_talk_and_the_call_has_failed() -> None:
    result = run()

    assert result.exit_code == 2
    assert result.stdout == ""
    assert "disrouter demo" in result.stderr


def test_version_names_program_and_version() -> None:
    from disrouter import __version__

    assert run("--version").stdout == f"disrouter {__version__}\n"


def test_an_unknown_command_is_refused_with_a_suggestion() -> None:
    assert_refused(run("asl"), "No such command 'asl'", "'ask'", "hint: `disrouter --help`")


def test_an_unknown_option_is_refused_with_the_command_that_lists_them() -> None:
    assert_refused(run("ask", "x", "--scenari", "balance"), "--scenari", "hint: `disrouter ask --help`")


def test_an_error_shows_its_place_in_the_code_only_when_asked() -> None:
    result = run("--traceback", "agents", "--network", "nowhere.yaml")

    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-2].startswith("error: Network file 'nowhere.yaml' does not exist")


@pytest.mark.parametrize("output", [[], ["--json"]])
def test_a_reader_who_leaves_early_ends_the_program_quietly(output: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "disrouter", "lab", "problems", *output]

    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)

    os.close(writer)
    assert done.stderr == b""
    assert done.returncode == 141


@pytest.mark.parametrize("output", [[], ["--json"]])
def test_an_output_that_takes_no_more_is_one_message(output: list[str]) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    command = [sys.executable, "-m", "disrouter", "lab", "problems", *output]

    with full.open("wb") as writer:
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)

    assert done.returncode == 1
    assert done.stderr.decode().startswith("error: Cannot write the output: No space left on device.\nhint: ")
    assert len(done.stderr.splitlines()) == 2


def test_a_stream_that_came_closed_is_done_without() -> None:
    command = f"{shlex.quote(sys.executable)} -m disrouter lab problems --limit 1"

    done = subprocess.run(f"{command} <&- >&-", shell=True, stderr=subprocess.PIPE, check=False)

    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("path", "called", "typed"),
    [
        ("bin", "bin/disrouter", "disrouter"),
        ("elsewhere", "bin/disrouter", "bin/disrouter"),  # as `make demo` calls it
        ("elsewhere", "src/disrouter/__main__.py", "python -m disrouter"),
    ],
)
def test_what_to_type_next_can_be_typed(
    path: str, called: str, typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "disrouter").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path / path))
    monkeypatch.setattr(sys, "argv", [called, "demo"])

    assert program() == typed


# -- ask --------------------------------------------------------------------------------------------------------------


def test_the_answer_goes_to_standard_output_alone(pool: Path) -> None:
    result = run("ask", "What is 1 + 0?", "--network", "pool.yaml")

    assert result.exit_code == 0
    assert result.stdout == "1 and nothing.\nA: 1\n"
    assert result.stderr == ""


def test_the_route_is_drawn_hop_by_hop_on_standard_error(pool: Path) -> None:
    result = run("ask", "What is 1 + 0?", "--network", "pool.yaml", "--trace")

    # medium answers: 0.4; before it the look of small, a tenth of 0.1; large alone is 0.9: 0.9 - 0.41 = 0.49
    assert result.stdout == "1 and nothing.\nA: 1\n"
    assert result.stderr.splitlines() == [
        "",
        "  ◇ What is 1 + 0?                                              balance, α = 0.5",
        "  │",
        "  ○ small   passes on  ██░░░░░░░░ 0.20    12 in    0 out   cost 0.010     2 ms",
        "  ● medium  answers    ███████░░░ 0.70    12 in   31 out   cost 0.400    48 ms",
        "    cost 0.400 for the answer + 0.010 for the look before it = 0.410",
        "    asking large alone would have cost 0.900: saved 0.490",
    ]


def test_a_route_to_the_last_agent_says_that_it_cost_more(pool: Path) -> None:
    result = run("ask", "1+0", "--network", "pool.yaml", "--trace", "--policy", "threshold=0.95")

    # looks of small and medium, 0.01 + 0.04, and 0.9 for the answer
    assert "  ● large   answers    always answers     12 in   31 out   cost 0.900    48 ms" in result.stderr
    assert "cost 0.900 for the answer + 0.050 for the 2 looks before it = 0.950" in result.stderr
    assert "asking large alone would have cost 0.900: 0.050 more than that" in result.stderr


def test_a_limit_that_ends_a_route_is_told(pool: Path) -> None:
    result = run("ask", "1+0", "--network", "pool.yaml", "--trace", "--max-hops", "1")

    assert "● small  answers" in result.stderr
    assert "it would have passed on, but no more agents may be asked (max_hops)" in result.stderr


def test_a_drawing_fits_80_columns_whatever_is_asked(pool: Path) -> None:
    result = run(
        "ask", "very " * 60 + "\nlong [bold]query[/bold]", "--network", "pool.yaml", "--trace", "--max-hops", "1"
    )

    assert max(map(len, result.stderr.splitlines())) <= 80


def test_what_looks_like_markup_is_shown_as_it_is(pool: Path) -> None:
    assert "[red]1[/red]" in run("ask", "[red]1[/red]", "--network", "pool.yaml", "--trace").stderr


def test_control_characters_cannot_steer_the_terminal(pool: Path) -> None:
    result = run("ask", "1\x1b[2J", "--network", "pool.yaml", "--trace")

    assert "\x1b" not in result.stderr
    assert "1\\x1b[2J" in result.stderr


def test_a_latency_weight_goes_with_the_scenario(pool: Path) -> None:
    named = run("ask", "1+0", "--network", "pool.yaml", "--json", "--scenario", "0.35", "--latency-weight", "0.1")
    own = run("ask", "1+0", "--network", "pool.yaml", "--json", "--latency-weight", "2")

    assert json.loads(named.stdout)["scenario"] == {"name": "alpha=0.35", "alpha": 0.35, "beta": 0.1}
    assert json.loads(own.stdout)["scenario"] == {"name": "balance", "alpha": 0.5, "beta": 2.0}


def test_json_is_one_object_with_the_whole_trace_and_nothing_else(pool: Path) -> None:
    result = run("ask", "1+0", "--network", "pool.yaml", "--json", "--scenario", "0.35")

    value = json.loads(result.stdout)
    assert result.stderr == ""
    assert value["scenario"] == {"name": "alpha=0.35", "alpha": 0.35, "beta": 0.0}
    assert [(hop["agent"], hop["decision"], hop["confidence"]) for hop in value["hops"]] == [
        ("small", "reject", 0.2),
        ("medium", "answer", 0.7),
    ]
    assert value["answer"] == "1 and nothing.\nA: 1"
    assert value["agent"] == "medium"
    assert value["cost"] == 0.4
    assert value["cost_full"] == pytest.approx(0.41)


def test_a_dash_reads_the_query_from_standard_input(pool: Path) -> None:
    result = run("ask", "-", "--network", "pool.yaml", "--json", input="What is\n1 + 0?\n")

    assert json.loads(result.stdout)["query"] == "What is\n1 + 0?"


def test_standard_input_that_is_no_text_is_refused(pool: Path) -> None:
    assert_refused(run("ask", "-", "--network", "pool.yaml", input=b"\xff\xfe\x00"), "standard input", "UTF-8")


def test_an_argument_that_is_no_text_is_refused(pool: Path) -> None:
    assert_refused(run("ask", "1+0 \udcff", "--network", "pool.yaml"), "not text in UTF-8", "hint: ")


def test_a_query_that_nobody_can_answer_is_an_error_of_the_run(pool: Path) -> None:
    (pool / "other.yaml").write_text(NETWORK.replace("table.parquet", "other.parquet"))
    rows = [outcome(q, agent, scenario) for scenario in SCENARIOS for agent in AGENTS for q in range(2, 5)]
    OutcomeTable.of(rows).write(pool / "other.parquet")

    result = run("ask", "1+0", "--network", "other.yaml", "--trace")

    assert result.exit_code == 1
    assert result.stdout == ""
    assert "✕ small   breaks" in result.stderr
    assert "error: No agent of network 'other' answered" not in result.stderr  # its name is pool
    assert "error: No agent of network 'pool' answered the query (3 agents broke). large, asked last:" in result.stderr


def test_without_unicode_the_drawing_is_whole(pool: Path) -> None:
    done = start("ask", "1+0", "--network", "pool.yaml", "--trace", PYTHONIOENCODING="ascii")

    assert done.returncode == 0
    assert b"  o small   passes on  ##........ 0.20 " in done.stderr
    assert b"balance, alpha = 0.5" in done.stderr


def test_colour_is_left_out_on_request_and_where_nobody_sees_it(pool: Path) -> None:
    for environment in ({}, {"NO_COLOR": "1"}, {"NO_COLOR": "1", "FORCE_COLOR": "1"}):
        done = start("ask", "1+0", "--network", "pool.yaml", "--trace", **environment)

        assert b"\x1b[3" not in done.stderr
        assert b"\x1b[9" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["  "], ["query is empty", "hint: "]),
        (["1", "--scenario", "1.5"], ["1.5 is out of range", "from 0 to 1"]),
        (["1", "--scenario", "balanced"], ["Unknown scenario 'balanced'", "'balance'"]),
        (["1", "--policy", "papper"], ["Unknown policy 'papper'", "did you mean 'paper'?"]),
        (["1", "--policy", "threshold"], ["needs a threshold from 0 to 1"]),
        (["1", "--policy", "threshold=2"], ["2.0 is not a number from 0 to 1"]),
        (["1", "--policy", "threshold=high"], ["'high' is not a number"]),
        (["1", "--policy", "own-word=1"], ["takes no value"]),
        (["1", "--max-hops", "0"], ["max_hops 0 is not usable", "a whole number from 1"]),
        (["1", "--max-cost", "-1"], ["max_cost -1.0 is not usable", "a number above 0"]),
        (["1", "--max-cost", "0.05"], ["max_cost 0.05 is below the price 0.1 of 'small'"]),
        (["1", "--max-tokens", "0"], ["--max-tokens 0", "from 1"]),
        (["1", "--temperature", "-1"], ["--temperature -1", "from 0"]),
        (["1", "--latency-weight", "-0.1"], ["--latency-weight -0.1", "from 0"]),
        (["1", "--temperature", "nan"], ["--temperature nan", "from 0"]),
        (["1", "--network", "nowhere.yaml"], ["'nowhere.yaml' does not exist", "lab"]),
    ],
)
def test_ask_refuses_what_it_cannot_use(pool: Path, arguments: list[str], said: list[str]) -> None:
    assert_refused(run("ask", "--network", "pool.yaml", *arguments), *said)


# -- agents -----------------------------------------------------------------------------------------------------------


def test_agents_are_listed_in_the_order_of_asking(pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = run("agents", "--network", "pool.yaml")
    monkeypatch.setenv("COLUMNS", "120")
    result = run("agents", "--network", "pool.yaml")

    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["small", "0.1", "10", "%", "-", "-", "recorded", "table.parquet", "medium"] in rows
    assert ["large", "0.9", "10", "%", "-", "-", "recorded", "table.parquet", "-", "(answers)"] in rows
    assert max(map(len, narrow.stdout.splitlines())) <= 80


def test_agents_as_json_hold_prices_and_successors(pool: Path) -> None:
    value = json.loads(run("agents", "--network", "pool.yaml", "--json").stdout)

    assert (value["network"], value["entry"], value["policy"]) == ("pool", "small", {"name": "own-word"})
    assert value["agents"][0] == {
        "name": "small",
        "price": {"cost": 0.1, "look_share": 0.1},
        "parameters": None,
        "context_length": None,
        "backend": "recorded",
        "model": "table.parquet",
        "next": ["medium"],
    }
    assert [agent["next"] for agent in value["agents"]] == [["medium"], ["large"], []]


def test_who_decides_for_an_agent_is_listed_beside_the_model_that_answers(
    pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    entry = "{name: a, backend: openai, model: base, base_url: 'http://127.0.0.1:9/v1', price: {cost: 0.5}"
    (pool / "n.yaml").write_text(f"name: n\nagents: [{entry}, self_assessment: token, decides_with: adapter}}]\n")

    listed = run("agents", "--network", "n.yaml").stdout
    (value,) = json.loads(run("agents", "--network", "n.yaml", "--json").stdout)["agents"]

    assert "base (adapter decides)" in listed
    assert (value["backend"], value["model"], value["decides_with"]) == ("openai", "base", "adapter")


def test_prices_per_token_are_listed_as_such(pool: Path) -> None:
    text = NETWORK.replace("{cost: 0.1}", "{input: 0.05, output: 0.2}").replace(
        "{cost: 0.4}", "{input: 0.1, output: 0.4}"
    )
    (pool / "tokens.yaml").write_text("cost_unit: 0.001\n" + text.replace("{cost: 0.9}", "{input: 1, output: 4}"))

    result = run("agents", "--network", "tokens.yaml")

    assert ["small", "0.05", "0.2"] in [line.split()[:3] for line in result.stdout.splitlines()]


def test_every_problem_of_a_network_file_is_in_one_message(pool: Path) -> None:
    broken = NETWORK.replace("{cost: 0.1}", "{cost: -0.1}").replace("name: pool", "name: pool\ncolour: red")
    (pool / "broken.yaml").write_text(broken + "edges: {small: [medium], medium: [large], large: [small]}\n")

    result = run("agents", "--network", "broken.yaml")

    assert_refused(result, "'broken.yaml' has", "colour", "-0.1")
    assert "cycle" in result.stderr


def test_a_folder_that_is_no_model_is_refused(pool: Path) -> None:
    (pool / "empty").mkdir()
    text = NETWORK.replace("backend: recorded, model: table.parquet", "backend: transformers, model: empty")
    (pool / "empty.yaml").write_text(text)

    assert_refused(run("ask", "1", "--network", "empty.yaml"), "is not a model", "config.json")


# -- eval -------------------------------------------------------------------------------------------------------------


def test_eval_prints_one_json_object_and_nothing_else(evaluation: tuple[Path, Result]) -> None:
    _, result = evaluation

    value = json.loads(result.stdout)
    assert result.exit_code == 0
    assert (value["schema"], value["seed"], value["n"]) == (1, 7, 40)
    methods = ["ours", "oracle", "random", "smallest", "largest", "best-single"]
    assert [(row["scenario"], row["method"]) for row in value["rows"]] == [(s, m) for s in SCENARIOS for m in methods]
    assert {"accuracy", "cost", "cost_full", "utility", "utility_full", "utility_ci", "oracle_share", "alpha"} <= set(
        value["rows"][0]
    )
    # Of 40 queries, small answers every third right (14). Medium answers the other 26, and is wrong about those that
    # end on 4 or 9 and are no multiple of 3: 4, 14, 19, 29, 34. So (14 + 21) / 40, at (14 * .1 + 26 * .4) / 40.
    ours = value["rows"][0]
    assert ours["accuracy"] == pytest.approx(35 / 40)
    assert ours["cost"] == pytest.approx(11.8 / 40)
    assert ours["cost_full"] == pytest.approx((11.8 + 26 * 0.01) / 40)
    assert [agent["agent"] for agent in value["agents"]] == list(AGENTS)
    assert value["agents"][0]["answer_rate"] == {scenario: pytest.approx(14 / 40) for scenario in SCENARIOS}


def test_eval_leaves_a_run_folder_with_a_readable_name(evaluation: tuple[Path, Result]) -> None:
    folder, result = evaluation

    assert f"run folder: {RUN}" in result.stderr
    assert {"config.json", "table.parquet", "metrics.json", "traces.jsonl", "figures"} <= {
        path.name for path in folder.iterdir()
    }


def test_a_finished_run_is_read_again_and_printed_as_tables_and_sentences(finished: Path) -> None:
    result = run(*EVAL)

    text = " ".join(result.stdout.split())
    assert "Utility on sums (in-domain), 40 queries, seed 7" in text
    # 11.8 / 40 + 26 * .01 / 40 = .3015 against .9: 66.5 % saved
    assert "Right on 87.5 % for 0.30 a query, looks included;" in text
    assert "Saved: 66.5 % of the cost." in text
    assert f"figures: {RUN}/figures/" in text
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_tables_and_figures_are_made_again_without_network_and_suite(
    finished: Path, evaluation: tuple[Path, Result], pool: Path
) -> None:
    before = (finished / "metrics.json").read_bytes()
    for path in [
        finished / "metrics.json",
        *(finished / "figures").iterdir(),
        pool / "pool.yaml",
        pool / "table.parquet",
    ]:
        path.unlink()

    result = run("eval", "--from", str(finished), "--json")

    assert result.stdout == evaluation[1].stdout
    assert (finished / "metrics.json").read_bytes() == before
    assert list((finished / "figures").glob("*.png"))


def test_scenarios_and_policy_may_be_chosen(pool: Path) -> None:
    result = run(*EVAL, "--json", "--scenario", "balance", "--scenario", "0.35", "--policy", "paper")

    value = json.loads(result.stdout)
    assert [row["alpha"] for row in value["rows"] if row["method"] == "ours"] == [0.5, 0.35]
    assert "runs/pool-sums-in-seed7-n40-paper-balance-alpha-0.35" in result.stderr


def test_a_run_folder_of_another_evaluation_is_not_touched(finished: Path) -> None:
    before = (finished / "metrics.json").read_bytes()

    result = run(*EVAL, "--seed", "8", "--run-dir", str(finished))

    assert_refused(result, "holds another evaluation", "seed is 7 there and 8 now")
    assert (finished / "metrics.json").read_bytes() == before


def test_without_resuming_a_run_folder_is_made_afresh(finished: Path) -> None:
    result = run(*EVAL, "--limit", "20", "--run-dir", str(finished), "--no-resume", "--json")

    assert json.loads(result.stdout)["n"] == 20


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--limit", "0"], ["--limit 0", "a whole number from 1"]),
        (["--limit", "-3"], ["--limit -3"]),
        (["--limit", "many"], ["'many' is not a valid integer"]),
        (["--domain", "sideways"], ["domain 'sideways'"]),
        (["--suite", "nowhere.jsonl"], ["no suite file at 'nowhere.jsonl'"]),
        (["--suite", "labb"], ["Unknown suite 'labb'", "'lab'"]),
        (["--suite", "empty.jsonl"], ["'empty.jsonl' is empty"]),
        (["--scenario", "-0.1"], ["-0.1 is out of range"]),
        (["--scenario", "0.5", "--scenario", "balance"], ["Scenario 'balance' is given twice"]),
        (["--run-dir", "pool.yaml"], ["'pool.yaml' is a file, not a run folder"]),
        (["--run-dir", "."], ["not empty and no run folder"]),
        (["--from", "nowhere"], ["'nowhere' is no run folder"]),
        (["--from", "nowhere", "--seed", "3"], ["--from reads a finished run", "--seed"]),
    ],
)
def test_eval_refuses_what_it_cannot_use(pool: Path, arguments: list[str], said: list[str]) -> None:
    (pool / "empty.jsonl").write_text("")
    given = [] if "--from" in arguments else ["--network", "pool.yaml", "--suite", "sums.jsonl"]

    assert_refused(run("eval", *given, *arguments), *said)


def test_a_run_folder_with_a_table_cut_off_in_the_middle_is_refused(finished: Path) -> None:
    table = finished / "table.parquet"
    table.write_bytes(table.read_bytes()[: table.stat().st_size // 2])

    assert_refused(run("eval", "--from", str(finished)), "table.parquet", "cut off or damaged")


def test_a_folder_that_cannot_be_made_is_named(pool: Path) -> None:
    result = run(*EVAL, "--run-dir", "pool.yaml/run")

    assert result.exit_code == 1
    assert result.stderr.startswith("error: Cannot use 'pool.yaml/run")
    assert "Traceback" not in result.stderr


# -- lab --------------------------------------------------------------------------------------------------------------


def test_problems_show_every_skill_at_every_level_with_its_solution() -> None:
    value = json.loads(run("lab", "problems", "--json").stdout)

    assert len(value["problems"]) == 80  # ten skills, eight levels
    assert len({(p["skill"], p["level"]) for p in value["problems"]}) == 80
    assert all(p["solution"].endswith(f"#{p['answer']}") for p in value["problems"])


def test_problems_of_one_skill_and_level_differ() -> None:
    value = json.loads(run("lab", "problems", "--skill", "add", "--level", "3", "--limit", "12", "--json").stdout)

    assert len({p["question"] for p in value["problems"]}) == 12
    for problem in value["problems"]:
        first, second = problem["question"].split("+")
        assert problem["answer"] == str(int(first) + int(second))


def test_problems_are_those_of_their_seed() -> None:
    first, again, other = (run("lab", "problems", "--seed", seed, "--json").stdout for seed in ("3", "3", "4"))

    assert first == again != other


def test_problems_of_a_domain_are_of_its_skills_only() -> None:
    value = json.loads(run("lab", "problems", "--domain", "out", "--level", "1", "--json").stdout)

    assert [p["skill"] for p in value["problems"]] == ["sub", "shift", "max"]


def test_problems_end_where_there_are_no_more_questions() -> None:
    value = json.loads(run("lab", "problems", "--skill", "max", "--level", "1", "--limit", "100000", "--json").stdout)

    assert 0 < len(value["problems"]) < 100_000


def test_problems_as_a_table_are_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")

    result = run("lab", "problems", "--skill", "add")

    assert result.stdout.splitlines()[0].split()[:4] == ["skill", "domain", "level", "question"]
    assert max(map(len, result.stdout.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["problems", "--limit", "0"], ["--limit 0", "from 1"]),
        (["problems", "--level", "9"], ["--level 9", "from 1 to 8"]),
        (["problems", "--skill", "addd"], ["Unknown skill 'addd'", "did you mean 'add'?"]),
        (["problems", "--domain", "around"], ["Unknown domain 'around'", "'in', 'out'"]),
        (["problems", "--domain", "out", "--skill", "add"], ["No skill of add is in domain 'out'"]),
        (["build", "--jobs", "-1"], ["--jobs -1"]),
        (["build", "--agent", "agent-9"], ["Unknown lab model 'agent-9'", "'agent-5'"]),
        (["build", "--stage", "last"], ["'last' is not one of"]),
        (["build", "--output", "file"], ["'file'"]),
    ],
)
def test_lab_refuses_what_it_cannot_use(
    arguments: list[str], said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")

    assert_refused(run("lab", *arguments), *said)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
