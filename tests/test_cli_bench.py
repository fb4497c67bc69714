"""The bench on the command line: from somebody's outcomes to a table, a run, a page and numbers that hold."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from disrouter.baselines.toy import planted
from disrouter.bench.figures import draw, figures_of
from disrouter.bench.gate import Answers, judge, rule_of
from disrouter.bench.runs import read_bench_run
from disrouter.bench.tables import BenchTable, Split, write_bench_table
from disrouter.bench.verify import verify
from disrouter.cli import cli
from disrouter.errors import DataError, UnknownNameError, UsageError
from disrouter.utility import BALANCE, COST_FIRST


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["bench", *map(str, arguments)])


def ok(*arguments: str | Path) -> str:
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a bench table and a finished run of three plain methods on it."""
    folder = tmp_path_factory.mktemp("bench")
    counts: tuple[tuple[Split, int], ...] = (("train", 40), ("validation", 30), ("test", 50))
    split = tuple(name for name, count in counts for _ in range(count))
    write_bench_table(BenchTable(rows=planted(120, seed=1), split=split), folder / "toy.parquet")
    ok("run", folder / "toy.parquet", "--methods", "smallest,largest,best-single", "--run-dir", folder / "run")
    return folder


@pytest.fixture(scope="module")
def page(work: Path) -> str:
    """The run's page."""
    return Path(ok("report", work / "run").strip()).read_text(encoding="utf-8")


def test_import_then_run_tells_every_method_and_keeps_the_run(tmp_path: Path) -> None:
    rows = [{"id": f"q{i}", "query": f"question {i}", "scores": {"small": i % 2, "large": 1}} for i in range(60)]
    (tmp_path / "outcomes.jsonl").write_text("\n".join(map(json.dumps, rows)))

    said = ok("import", tmp_path / "outcomes.jsonl", "--costs", "small=0.1,large=1", "-o", tmp_path / "t.parquet")
    shown = ok("run", tmp_path / "t.parquet", "--methods", "smallest,best-single", "--run-dir", tmp_path / "run")

    assert "records scores, costs" in said
    assert "best-single" in shown
    assert "oracle (bound)" in shown
    assert (tmp_path / "run" / "sealed.json").is_file()


def test_run_as_json_is_one_object_with_every_row(work: Path) -> None:
    said = json.loads(
        ok(
            "run",
            work / "toy.parquet",
            "--methods",
            "smallest,largest,best-single",
            "--run-dir",
            work / "run",
            "--json",
        )
    )

    assert {row["method"] for row in said["rows"]} >= {"smallest", "largest", "best-single", "oracle"}
    assert said["config"]["reference"] == "best-single"


def test_methods_are_listed_with_what_they_may_ask_for() -> None:
    listed = {row["method"]: row["needs"] for row in json.loads(ok("methods", "--json"))["methods"]}

    assert listed["best-single"] == []
    assert listed["frugalgpt"] == ["responses"]


def test_the_page_needs_nothing_else_and_shows_every_method(work: Path, page: str) -> None:
    assert not re.findall(r"""(?:src|href)=["']?https?:|@import|url\(["']?http""", page)
    assert page.count("<svg") == page.count("<figure>") >= 6
    for method in ("smallest", "largest", "best-single", "rate-aware-oracle"):
        assert f">{method}" in page
    assert "prefers-color-scheme:dark" in page
    assert "@media print" in page
    figures = {p.name for p in (work / "run" / "figures").iterdir()}
    assert {"plane-balance.png", "plane-balance.svg", "alphas.png", "risk-coverage.svg"} <= figures


def test_the_figures_of_a_page_have_different_ids(page: str) -> None:
    ids = re.findall(r'\bid="([^"]+)"', page)

    assert len(ids) == len(set(ids))


def test_the_same_numbers_give_the_same_figure(work: Path, tmp_path: Path) -> None:
    run = read_bench_run(work / "run")

    for folder in ("one", "other"):
        draw("plane", figures_of(run.config, run.metrics)["plane-balance"][1], tmp_path / folder)

    for name in ("plane.png", "plane.svg"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def kept(work: Path, root: Path, text: str) -> Path:
    """A checkout with one document and the stored run ``toy``."""
    ok("store", work / "run", "-o", root / "benchmarks" / "runs" / "toy", "--table", work / "toy.parquet")
    (root / "docs").mkdir()
    (root / "docs" / "page.md").write_text(text, encoding="utf-8")
    return root


PAGE = """Largest earns .000<!--= toy largest balance utility .3f -->.

<!-- bench: toy methods -->
| old |
<!-- /bench -->
"""


def test_a_document_that_says_something_else_than_the_run_fails_until_it_is_corrected(
    work: Path, tmp_path: Path
) -> None:
    root = kept(work, tmp_path, PAGE)

    wrong = call("verify", "--root", root)
    written = ok("verify", "--root", root, "--write")
    right = ok("verify", "--root", root)

    assert wrong.exit_code == 1
    assert "2 places of the documents say something else" in wrong.output
    assert "corrected" in written
    assert "0 places differ" in right
    page = (root / "docs" / "page.md").read_text(encoding="utf-8")
    assert "| **best-single** |" in page
    assert "Largest earns .000" not in page


def test_a_single_wrong_digit_is_found(work: Path, tmp_path: Path) -> None:
    root = kept(work, tmp_path, PAGE)
    ok("verify", "--root", root, "--write")
    page = root / "docs" / "page.md"
    number = re.search(r"earns ([.\d]+)<", page.read_text(encoding="utf-8"))
    assert number is not None
    page.write_text(page.read_text(encoding="utf-8").replace(number[1], number[1] + "1", 1), encoding="utf-8")

    findings = verify(root, root / "benchmarks" / "runs")

    assert [f.problem for f in findings if f.problem] == [f"says {number[1]}1, the run {number[1]}"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- bench: gone methods -->\n<!-- /bench -->", "no stored run 'gone'"),
        ("<!-- bench: toy wishes -->\n<!-- /bench -->", "no table 'wishes'"),
        (".1<!--= toy wizard balance utility .3f -->", "no row of method 'wizard'"),
        (".1<!--= toy largest balance method .3f -->", "no number 'method'"),
        ("<!-- bench: toy against-one-agent -->\n<!-- /bench -->", "nothing of ours"),
    ],
)
def test_markers_that_lead_nowhere_are_told(work: Path, tmp_path: Path, text: str, message: str) -> None:
    root = kept(work, tmp_path, text)

    result = call("verify", "--root", root)

    assert result.exit_code == 2
    assert message in result.output


def test_a_stored_run_holds_no_text_and_no_id(work: Path, tmp_path: Path) -> None:
    kept(work, tmp_path, "")

    held = b"".join(p.read_bytes() for p in (tmp_path / "benchmarks" / "runs" / "toy").iterdir())

    assert b"toy-1" not in held
    assert b"triangle" not in held


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "none.parquet"], "no bench table at 'none.parquet'"),
        (["run", "{table}", "--methods", "frugal"], "Unknown method 'frugal'"),
        (["run", "{table}", "--methods", "smallest", "--domain", "moon"], "test split of domain 'moon'"),
        (["run", "{table}", "--methods", "smallest", "--policy", "paper"], "--policy decides for a network"),
        (["run", "{table}", "--methods", "smallest", "--seeds", "1,x"], "--seeds '1,x' is not usable"),
        (["run", "{table}", "--methods", "smallest", "--reference", "ours"], "reference 'ours' is none of the methods"),
        (["run", "{table}", "--methods", "smallest", "--network", "lab"], "no outcomes of 'agent-1'"),
        (["run", "{table}", "--baseline", "mine"], "'mine' names no method"),
        (["import", "none.jsonl", "-o", "x.parquet"], "no file or folder at 'none.jsonl'"),
        (["import", "{table}", "-o", "x.parquet", "--costs", "a=2"], "--costs has the part 'a=2'"),
        (["import", "{table}", "-o", "x.parquet", "--fractions", "1,0,1"], "--fractions '1,0,1' is not usable"),
        (["report", "."], "has no config.json"),
        (["verify", "--root", "nowhere"], "has no README.md and no docs"),
        (["gate", "none.jsonl"], "no file at 'none.jsonl'"),
        (["gate", "{table}", "--agent", "huge"], "Unknown agent 'huge'"),
    ],
)
def test_mistakes_are_told_without_a_traceback(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)

    result = call(*(a.replace("{table}", str(work / "toy.parquet")) for a in arguments))

    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output


def test_a_gate_is_judged_by_what_it_lets_through(work: Path) -> None:
    said = json.loads(ok("gate", work / "toy.parquet", "--agent", "small", "--rule", "confidence", "--json"))

    # the toy's confidences are .9 where the agent is right and .1 where not
    row = next(r for r in said["rows"] if r["scenario"] == "balance")
    assert row["auroc"] == 1
    assert (row["accuracy_accepted"], row["accuracy_rejected"]) == (1, 0)
    assert row["e_aurc"] == pytest.approx(0)


def answers(**columns: list[Any]) -> Answers:
    rows = tuple(dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))
    return Answers(validation=rows, test=rows)


def test_a_gate_earns_the_score_of_what_it_accepts_and_the_reward_of_what_it_rejects() -> None:
    held = answers(score=[1, 1, 0, 0], confidence=[0.9, 0.8, 0.3, 0.2])

    balance, cost_first = judge(held, {"confidence": rule_of("confidence")}, [BALANCE, COST_FIRST])

    # the two right ones for 1 each, the others rejected for (1 - .5) ** .5
    assert balance.coverage == 0.5
    assert balance.utility == pytest.approx((2 + 2 * 0.5**0.5) / 4)
    assert cost_first.utility == pytest.approx((2 + 2 * 0.2**0.5) / 4)
    # accepting all earns .5, rejecting all .707
    assert balance.difference == pytest.approx(balance.utility - 0.5**0.5)


@pytest.mark.parametrize(
    ("rule", "row", "signal"),
    [
        ("log-probability", {"logprobs": [0.0, -1.0]}, 0.6065),
        ("log-probability", {"logprob": 0.0}, 1.0),
        ("verbalised", {"verbalised": "I am 80 % sure"}, 0.8),
        ("verbalised", {"verbalised": 0.3}, 0.3),
        ("self-consistency", {"response": "4", "samples": ["4", " 4", "5", "6"]}, 0.5),
    ],
)
def test_rules_read_their_columns(rule: str, row: dict[str, Any], signal: float) -> None:
    assert rule_of(rule)(row) == pytest.approx(signal, abs=1e-4)


def test_a_function_of_the_users_is_a_rule(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def short(row):\n    return -len(row['response'])\n")

    assert rule_of(f"{tmp_path}/mine.py:short")({"response": "four"}) == -4
    with pytest.raises(UnknownNameError, match="did you mean 'short'"):
        rule_of(f"{tmp_path}/mine.py:shrt")
    with pytest.raises(UsageError, match="There is no file"):
        rule_of(f"{tmp_path}/gone.py:short")


@pytest.mark.parametrize(
    ("columns", "rule", "message"),
    [
        ({"score": [1, 0]}, "confidence", "finds no signal in answer 1"),
        ({"score": [1, 0], "verbalised": ["sure", "no"]}, "verbalised", "finds no signal"),
        ({"score": [1, 0], "confidence": [0.5, float("nan")]}, "confidence", "gives no number for answer 2"),
    ],
)
def test_a_rule_without_a_signal_is_told(columns: dict[str, list[Any]], rule: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        judge(answers(**columns), {rule: rule_of(rule)}, [BALANCE])


def test_answers_without_a_score_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"confidence": 0.5, "score": 7}\n')

    assert "row 1 has the score 7" in call("gate", tmp_path / "a.jsonl").output
