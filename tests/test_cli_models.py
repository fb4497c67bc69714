"""The command line over models that run: the demo, Ctrl-C and going on afterwards. The models have learnt nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from disrouter.cli import cli

NETWORK = """\
name: untrained
agents:
  - {name: first, backend: transformers, model: models/first, price: {cost: 0.1}, max_tokens: 6}
  - {name: second, backend: transformers, model: models/second, price: {cost: 0.4}, max_tokens: 6}
  - {name: last, backend: transformers, model: models/last, price: {cost: 0.9}, max_tokens: 6, self_assessment: none}
policy: {name: threshold, threshold: 0.99}
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three models as they are before training."""
    from dataclasses import replace

    from disrouter.lab.family import lab_model
    from disrouter.lab.pretraining import new_model, save_checkpoint
    from disrouter.lab.tokenizer import build_tokenizer

    folder = tmp_path_factory.mktemp("models")
    tokenizer = build_tokenizer()
    for seed, name in enumerate(("first", "second", "last")):
        save_checkpoint(new_model(replace(lab_model("agent-1"), seed=seed), tokenizer), tokenizer, folder / name)
    return folder


@pytest.fixture
def work(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a network file of those models."""
    (tmp_path / "models").symlink_to(models)
    (tmp_path / "untrained.yaml").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


def interrupted(arguments: list[str], when: Path, pattern: str) -> subprocess.CompletedProcess[str]:
    """Run the program and press Ctrl-C as soon as a file of this pattern lies in a folder."""
    # A shell that starts the tests in the background has them ignore Ctrl-C, and children inherit that.
    hear = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{hear}; from disrouter.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 300
    while not list(when.glob(pattern)):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, f"no {pattern} in {when}"
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output, talk = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, output, talk)


def words_of(talk: str) -> str:
    """What was said at the end, without progress and line breaks."""
    return " ".join(line for line in talk.splitlines() if "evaluating" not in line and " steps " not in line)


def test_the_demo_draws_routes_and_ends_with_what_they_are_worth(work: Path) -> None:
    result = CliRunner().invoke(cli, ["demo", "--network", "untrained.yaml", "--limit", "12"])

    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("3 language models")
    assert "three routes" in result.stdout
    assert "◇" in result.stdout
    assert "wrong: it should be " in result.stdout
    assert "Utility on lab (in-domain), 12 queries, seed 7" in result.stdout
    for scenario in ("performance-first", "balance", "cost-first"):
        assert f"\n{scenario} " in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_a_second_demo_does_not_touch_the_run_of_the_first(work: Path) -> None:
    for _ in range(2):
        assert CliRunner().invoke(cli, ["demo", "--network", "untrained.yaml", "--limit", "2"]).exit_code == 0

    folders = sorted((work / "runs").iterdir())
    assert len(folders) == 2
    assert all((folder / "metrics.json").is_file() for folder in folders)


def test_an_answer_is_the_same_whether_streamed_or_as_json(work: Path) -> None:
    import json

    streamed = CliRunner().invoke(cli, ["ask", "47+385", "--network", "untrained.yaml"])
    whole = CliRunner().invoke(cli, ["ask", "47+385", "--network", "untrained.yaml", "--json"])

    assert streamed.stdout == json.loads(whole.stdout)["answer"] + "\n"


def test_a_drawn_answer_is_that_of_its_seed(work: Path) -> None:
    arguments = ["ask", "47+385", "--network", "untrained.yaml", "--temperature", "1"]
    first, again, other = (CliRunner().invoke(cli, [*arguments, "--seed", seed]).stdout for seed in ("3", "3", "4"))

    assert first == again != other


def test_a_query_longer_than_every_agent_takes_is_one_clear_error(work: Path) -> None:
    result = CliRunner().invoke(cli, ["ask", "1+" * 200 + "1", "--network", "untrained.yaml"])

    assert result.exit_code == 1
    assert result.stdout == ""
    assert (
        "error: No agent of network 'untrained' answered the query (3 agents broke). last, asked last:" in result.stderr
    )
    assert "is too long for agent 'last'" in result.stderr
    assert "hint: shorten the query" in result.stderr
    assert "[transformers]" not in result.stderr  # the tokenizer's own warning would come once per agent
    assert "Traceback" not in result.stderr


def test_a_checkpoint_cut_off_in_the_middle_is_refused(work: Path, models: Path) -> None:
    (work / "models").unlink()
    weights = (models / "first" / "model.safetensors").read_bytes()
    for name in ("first", "second", "last"):
        folder = work / "models" / name
        folder.mkdir(parents=True)
        for path in (models / name).iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
    (work / "models" / "first" / "model.safetensors").write_bytes(weights[: len(weights) // 2])

    result = CliRunner().invoke(cli, ["ask", "1+1", "--network", "untrained.yaml"])

    assert result.exit_code == 2
    assert f"cut off: {len(weights) // 2} bytes instead of {len(weights)}" in result.stderr
    assert "Traceback" not in result.stderr


def test_agents_lists_weights_and_context_of_models(work: Path) -> None:
    import json

    value = json.loads(CliRunner().invoke(cli, ["agents", "--network", "untrained.yaml", "--json"]).stdout)

    first = value["agents"][0]
    assert first["context_length"] == 128
    # 115 tokens (6 markers, a rejection, 3 scenarios, 9 words, 96 characters) of 32 numbers; three blocks of four
    # projections 32 * 32, three matrices 32 * 80, norms 2 * 32 + 2 * 16; a norm: 3680 + 3 * (4096 + 7680 + 96) + 32.
    assert first["parameters"] == 39_328


def test_ctrl_c_during_eval_keeps_what_is_done_and_the_same_command_ends_with_the_same_bytes(work: Path) -> None:
    arguments = ["eval", "--network", "untrained.yaml", "--limit", "600", "--scenario", "balance", "--run-dir"]
    whole = CliRunner().invoke(cli, [*arguments, "whole", "--json"])

    stopped = interrupted([*arguments, "stopped", "--json"], work / "stopped" / "parts" / "table", "a*.parquet")
    kept = sorted(path.name for path in (work / "stopped").rglob("*.parquet"))
    resumed = CliRunner().invoke(cli, [*arguments, "stopped", "--json"])

    assert stopped.returncode == 130
    assert stopped.stdout == ""
    assert words_of(stopped.stderr).strip() == (
        "Stopped by the user; the outcomes finished so far are kept in 'stopped'. "
        "Run the same command again to go on from there."
    )
    assert kept
    assert "table.parquet" not in kept
    assert resumed.exit_code == 0
    assert resumed.stdout == whole.stdout
    for name in ("table.parquet", "validation.parquet", "metrics.json", "traces.jsonl"):
        assert (work / "stopped" / name).read_bytes() == (work / "whole" / name).read_bytes()


@pytest.mark.slow
def test_ctrl_c_during_lab_build_keeps_what_is_done_and_the_same_command_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["lab", "build", "--quick", "--agent", "agent-1", "--stage", "base", "--jobs", "1", "--output"]
    whole = CliRunner().invoke(cli, [*arguments, "whole"])

    stopped = interrupted([*arguments, "stopped"], tmp_path / "stopped" / "base", ".agent-1.state.safetensors")
    half = (tmp_path / "stopped" / "base" / "agent-1").exists()
    resumed = CliRunner().invoke(cli, [*arguments, "stopped"])

    assert whole.stdout == f"whole{os.sep}base{os.sep}agent-1\n"
    assert stopped.returncode == 130
    assert stopped.stdout == ""
    assert words_of(stopped.stderr).strip() == (
        "Stopped by the user; finished checkpoints and training states are kept in 'stopped'. "
        "Run the same command again to go on from there."
    )
    assert not half
    assert resumed.exit_code == 0
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        made, again = (tmp_path / folder / "base" / "agent-1" / name for folder in ("whole", "stopped"))
        assert made.read_bytes() == again.read_bytes()
