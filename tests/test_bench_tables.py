"""Bench tables: formats of others become one, and what has no meaning is refused by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pytest import approx

from disrouter.agents.fakes import ScriptedAgent
from disrouter.baselines.toy import planted
from disrouter.bench.build import build_bench_table
from disrouter.bench.entries import Entry, assemble
from disrouter.bench.formats import Source, entries_of, prices_of
from disrouter.bench.tables import BenchTable, Split, read_bench_table, write_bench_table
from disrouter.errors import DataError, UnknownNameError, UsageError
from disrouter.evaluation.suites import FileSuite
from disrouter.network import Network

SHARED = Path(__file__).parents[2] / "shared" / "data"
COSTS = {"small": 0.1, "large": 1.0}


def entry(n: int, **changes: Any) -> Entry:
    return Entry(**{"id": f"q{n}", "text": f"question {n}", "scores": {"small": 0.0, "large": 1.0}, **changes})


def table_of(n: int = 12, **options: Any) -> BenchTable:
    return assemble([entry(i) for i in range(n)], costs=COSTS, **options)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def imported(path: Path, format: str = "plain", **options: Any) -> BenchTable:
    return assemble(entries_of(Source(path), format), **{"costs": COSTS, **options})


def test_a_table_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    rows = planted(9, seed=0)
    table = BenchTable(rows=rows, split=("train",) * 5 + ("validation",) * 2 + ("test",) * 2)

    write_bench_table(table, tmp_path / "t.parquet")
    back = read_bench_table(tmp_path / "t.parquet")

    assert back.split == table.split
    assert back.rows.texts == rows.texts
    assert back.rows.table.scenarios == rows.table.scenarios
    np.testing.assert_array_equal(back.rows.table.score, rows.table.score)
    np.testing.assert_array_equal(back.rows.table.confidence, rows.table.confidence)
    assert back.rows.features is not None and rows.features is not None
    assert back.rows.features.values == approx(rows.features.values, abs=1e-6)
    assert back.rows.verifications is not None and rows.verifications is not None
    np.testing.assert_array_equal(back.rows.verifications.share, rows.verifications.share)


def test_outcomes_that_are_alike_in_every_scenario_stand_in_the_file_once(tmp_path: Path) -> None:
    write_bench_table(table_of(), tmp_path / "t.parquet")

    assert pq.read_metadata(tmp_path / "t.parquet").num_rows == 12 * 2
    assert [s.name for s in read_bench_table(tmp_path / "t.parquet").rows.table.scenarios] == [
        "performance-first",
        "balance",
        "cost-first",
    ]


def test_equal_tables_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_bench_table(table_of(), tmp_path / name)

    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_splits_are_drawn_by_text_so_that_other_rows_do_not_move_a_query() -> None:
    few, many = table_of(20), table_of(200)

    assert many.split[:20] == few.split
    assert all(count > 0 for count in many.counts.values())


def test_where_train_and_test_are_given_one_in_six_training_queries_is_for_tuning() -> None:
    table = assemble([entry(i, split="train" if i % 2 else "test") for i in range(600)], costs=COSTS)

    assert table.counts["test"] == 300
    assert 30 <= table.counts["validation"] <= 70


def test_a_question_in_two_splits_is_refused_however_it_is_spaced() -> None:
    rows = planted(2, seed=0)
    leaking = type(rows)(table=rows.table, texts=("What is 2+2?", "what  is\n2+2?"))

    with pytest.raises(DataError, match=r"'toy-1' of split 'test' asks what query 'toy-0' of split 'train' asks"):
        BenchTable(rows=leaking, split=("train", "test"))


def test_recorded_costs_are_divided_by_the_mean_of_the_dearest() -> None:
    table = assemble([entry(0, costs={"small": 1.0, "large": 30.0}), entry(1, costs={"small": 2.0, "large": 50.0})])

    # the dearest costs (30 + 50) / 2 = 40 on average
    assert table.rows.table.answer_cost[0] == approx(np.array([[1 / 40, 2 / 40], [30 / 40, 50 / 40]]))
    assert table.rows.table.agents == ("small", "large")


def test_a_model_may_be_named_by_what_stands_after_its_slash() -> None:
    entries = [entry(i, scores={"lab/small": 0, "lab/large": 1}) for i in range(3)]

    assert assemble(entries, costs=COSTS).rows.table.agents == ("lab/small", "lab/large")


@pytest.mark.parametrize(
    ("entries", "options", "message"),
    [
        ([], {}, "holds no queries"),
        ([entry(0), entry(0)], {}, "'q0' occurs more than once"),
        ([entry(0), entry(1, text="Question  0")], {}, "'q0' and 'q1' ask the same"),
        ([entry(0), entry(1, scores={"small": 1.0})], {}, "'q1' has no score of model 'large'"),
        ([entry(0, scores={"small": 1.5, "large": 1})], {}, "score 1.5 of model 'small' on query 'q0' lies outside"),
        ([entry(0, scores={"small": float("nan"), "large": 1})], {}, "'q0' has no score of model 'small'"),
        ([entry(0, split="dev")], {}, "'q0' is in the unknown split 'dev'"),
        ([entry(0, split="test"), entry(1)], {}, "'q1' names no split, others do"),
        ([entry(0, text=" ")], {}, "'q0' has no text"),
        ([entry(0)], {"costs": None}, "records no costs"),
        ([entry(0)], {"costs": {"small": 0.1, "large": 1.0}, "agents": ["small"]}, "at least 2 models"),
        ([entry(0)], {"costs": {"small": 0.1}, "agents": ["small", "large"]}, "'large' has no cost"),
        ([entry(0, confidences={"small": 2.0})], {}, "confidence 2.0 of model 'small'"),
    ],
)
def test_what_has_no_meaning_is_refused_by_name(entries: list[Entry], options: Mapping[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        assemble(entries, **{"costs": COSTS, **options})


def test_a_model_that_never_appears_is_told_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown model 'huge'.*Known: 'small', 'large'"):
        assemble([entry(0)], costs=COSTS, agents=["small", "huge"])


def test_repeated_questions_are_dropped_where_that_is_asked_for() -> None:
    table = assemble([entry(0), entry(1, text="QUESTION 0"), entry(2)], costs=COSTS, deduplicate=True)

    assert table.rows.table.query_ids == ("q0", "q2")


def test_an_empty_test_split_is_told() -> None:
    table = assemble([entry(0, split="train"), entry(1, split="validation")], costs=COSTS)

    with pytest.raises(DataError, match="test split of the bench table is empty"):
        table.of("test")


def test_a_cut_off_parquet_file_is_told(tmp_path: Path) -> None:
    write_bench_table(table_of(), tmp_path / "t.parquet")
    whole = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "t.parquet").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(DataError, match="cut off or damaged"):
        read_bench_table(tmp_path / "t.parquet")
    with pytest.raises(DataError, match="cut off or damaged"):
        entries_of(Source(tmp_path / "t.parquet"), "plain")


def test_a_parquet_file_that_is_no_bench_table_is_told(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1]}), tmp_path / "t.parquet")

    with pytest.raises(DataError, match="no bench schema version"):
        read_bench_table(tmp_path / "t.parquet")


def test_plain_rows_are_read_wide_and_long_alike(tmp_path: Path) -> None:
    wide = write(
        tmp_path / "wide.jsonl",
        [
            {"id": "a", "query": "one?", "scores": {"small": 0, "large": 1}, "confidences": {"small": 0.2}},
            {"id": "b", "query": "two?", "scores": {"small": 0.5, "large": 1}, "responses": {"large": "2"}},
        ],
    )
    long = tmp_path / "long.csv"
    long.write_text(
        "query_id,query,agent,score,confidence,response\n"
        "a,one?,small,0,0.2,\na,one?,large,1,,\nb,two?,small,0.5,,\nb,two?,large,1,,2\n",
        encoding="utf-8",
    )

    one, other = imported(wide), imported(long)

    for table in (one, other):
        np.testing.assert_array_equal(table.rows.table.score[0], [[0, 0.5], [1, 1]])
        assert table.available == {"confidences", "responses"}
        assert table.rows.table.confidence[0, 0, 0] == 0.2
    assert one.split == other.split


def test_plain_parquet_is_read(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"query": ["one?", "two?"], "score:small": [0.0, 1.0], "score:large": [1.0, 1.0]}),
        tmp_path / "flat.parquet",
    )

    assert imported(tmp_path / "flat.parquet").rows.texts == ("one?", "two?")


def test_two_rows_of_a_model_on_one_query_are_refused(tmp_path: Path) -> None:
    row = {"query_id": "a", "query": "one?", "agent": "small", "score": 1}

    with pytest.raises(DataError, match="'a' has two rows of model 'small'"):
        entries_of(Source(write(tmp_path / "x.jsonl", [row, row])), "plain")


ROUTERBENCH = (
    ",sample_id,prompt,eval_name,small,large,small|model_response,large|model_response,"
    "small|total_cost,large|total_cost,oracle_model_to_route_to\n"
    "7,mbpp.dev.1,\"['Write a function.']\",mbpp,0.0,1.0,\"['no']\",\"['def f(): \\n pass']\",0.001,0.01,large\n"
    "8,mbpp.dev.2,\"['Write another.']\",mbpp,1.0,1.0,\"['yes']\",\"['yes']\",0.003,0.03,small\n"
)
"""In the schema of the published tables; the rows are made up."""


def test_routerbench_rows_bring_scores_costs_and_responses(tmp_path: Path) -> None:
    (tmp_path / "rb.csv").write_text(ROUTERBENCH, encoding="utf-8")

    table = imported(tmp_path / "rb.csv", "routerbench", costs=None)

    assert table.rows.texts == ("Write a function.", "Write another.")
    assert table.rows.table.agents == ("small", "large")
    assert table.rows.table.answer_cost[0, 1] == approx([0.5, 1.5])  # of their mean, 0.02
    assert table.rows.table.answer[0, 1, 0] == "def f(): \n pass"
    assert table.rows.table.datasets == ("mbpp", "mbpp")


def test_a_pickle_is_never_read(tmp_path: Path) -> None:
    (tmp_path / "routerbench_0shot.pkl").write_bytes(b"\x80\x04.")

    with pytest.raises(DataError, match="is a pickle, which could run any code") as caught:
        entries_of(Source(tmp_path / "routerbench_0shot.pkl"), "routerbench")
    assert "to_parquet" in str(caught.value.hint)


def test_routellm_files_of_a_folder_are_read_together(tmp_path: Path) -> None:
    for name in ("mmlu_anatomy", "mmlu_virology"):
        (tmp_path / f"{name}.csv").write_text(
            f'prompt,small,large\n"What, in {name}?\nA. x\nAnswer:",True,False\nOther {name}?,False,True\n',
            encoding="utf-8",
        )

    table = imported(tmp_path, "routellm")

    np.testing.assert_array_equal(table.rows.table.score[0], [[1, 0, 1, 0], [0, 1, 0, 1]])
    assert set(table.rows.table.datasets) == {"mmlu_anatomy", "mmlu_virology"}


def test_llmrouter_rows_are_priced_by_their_tokens(tmp_path: Path) -> None:
    rows = [
        {
            "task_name": "gsm8k",
            "query": q,
            "ground_truth": "2",
            "metric": "GSM8K",
            "model_name": m,
            "response": "2",
            "input_tokens": 100,
            "output_tokens": 50,
            "performance": p,
            "embedding_id": 0,
        }
        for q in ("1+1?", "0+2?")
        for m, p in (("small", 0.0), ("large", 1.0))
    ]
    prices = tmp_path / "default_llm.json"
    prices.write_text(
        '{"small": {"input_price": 0.1, "output_price": 0.1}, "large": {"input_price": 1, "output_price": 1}}',
        encoding="utf-8",
    )

    read = entries_of(Source(write(tmp_path / "train.jsonl", rows)), "llmrouter", prices=prices_of(prices))
    table = assemble(read)

    assert table.rows.table.answer_cost[0, :, 0] == approx([0.1, 1.0])
    assert table.rows.table.prompt_tokens[0, 0, 0] == 100


def test_routerdc_scores_are_shares_of_right_answers(tmp_path: Path) -> None:
    rows = [{"question": f"q{i}?", "scores": {"small": 0.3, "large": 1.0}} for i in range(3)]
    (tmp_path / "gsm8k-test.json").write_text(json.dumps(rows), encoding="utf-8")

    read = entries_of(Source(tmp_path / "gsm8k-test.json", "test"), "routerdc")

    assert [e.split for e in read] == ["test"] * 3
    assert read[0].scores == {"small": 0.3, "large": 1.0}


@pytest.mark.parametrize(
    ("name", "content", "format", "message"),
    [
        ("x.jsonl", "{not json}", "plain", "damaged or of another kind"),
        ("x.jsonl", "[1]", "plain", "Row 1 is no object"),
        ("x.jsonl", '{"query": "a?"}', "plain", "Row 1 has no scores"),
        ("x.jsonl", '{"query": "a?", "scores": {"small": "good"}}', "plain", "is 'good', not a number"),
        ("x.json", '{"a": 1}', "routerdc", "holds no list of rows"),
        ("x.csv", "prompt,small\nq?,maybe\n", "routellm", "'maybe', not a number"),
        ("x.csv", "prompt,small\nq?,1\n", "routerbench", r"no column that ends in '\|total_cost'"),
        ("x.xlsx", "", "plain", "ends in '.xlsx'"),
    ],
)
def test_files_that_are_not_what_they_say_are_told(
    tmp_path: Path, name: str, content: str, format: str, message: str
) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")

    with pytest.raises(DataError, match=message):
        entries_of(Source(tmp_path / name), format)


def test_an_unknown_format_is_told_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"(?s)Unknown format 'routerbank'.*did you mean 'routerbench'"):
        entries_of(Source(tmp_path), "routerbank")


ACCURACIES = {
    "gpt3-6b-finetuned": 0.2168,
    "gpt3-6b-verified": 0.3904,
    "gpt3-175b-finetuned": 0.3472,
    "gpt3-175b-verified": 0.5625,
    "Mistral-7B-v0.1": 0.3671,
    "MetaMath-Mistral-7B": 0.6963,
    "Chinese-Mistral-7B-v0.1": 0.4103,
    "zephyr-7b-beta": 0.3300,
    "dolphin-2.6-mistral-7b": 0.5238,
    "Meta-Llama-3-8B": 0.4776,
    "dolphin-2.9-llama3-8b": 0.6981,
    "Mixtral-8x7B-Instruct-v0.1": 0.6384,
    "gpt-4-1106-preview": 0.8567,
}
"""Of the recorded GSM8K outcomes, from their README."""


def test_imported_real_outcomes_have_the_golden_accuracies() -> None:
    if not (SHARED / "gsm8k_outcomes.jsonl").is_file():
        pytest.skip("needs the recorded GSM8K outcomes in ../shared/data")

    table = imported(SHARED / "gsm8k_outcomes.jsonl", costs=dict.fromkeys(ACCURACIES, 0.5))

    assert table.counts == {"train": 656, "validation": 111, "test": 552}
    score = table.rows.table.score[0]
    assert score.mean(axis=1) == approx(list(ACCURACIES.values()), abs=5.1e-5)
    assert score.max(axis=0).mean() == approx(0.9643, abs=5.1e-5)
    assert (score.max(axis=0) == 0).mean() == approx(0.0182, abs=5.1e-5)


def built(tmp_path: Path, **options: Any) -> BenchTable:
    """A table of two scripted agents on a suite file with four queries per split and domain."""
    rows = [
        {"id": f"{d}-{s}-{i}", "query": f"{d} {s} {i}?", "reference": "4", "grader": "exact", "domain": d, "split": s}
        for d in ("in", "out")
        for s in ("train", "validation", "test")
        for i in range(4)
    ]
    agents = [ScriptedAgent("small", cost=0.1, confidence=0.3, reply="5"), ScriptedAgent("large", cost=0.9, reply="4")]
    counts: dict[Split, int] = {"train": 3, "validation": 2, "test": 4}
    return build_bench_table(
        Network("two", agents),
        FileSuite(write(tmp_path / "suite.jsonl", rows)),
        **{
            "counts": counts,
            "test_domains": ("in", "out"),
            "seed": 0,
            "parts": tmp_path / "parts",
            "progress": False,
            **options,
        },
    )


def test_our_agents_answer_queries_of_every_split_and_domain(tmp_path: Path) -> None:
    table = built(tmp_path)

    assert table.counts == {"train": 3, "validation": 2, "test": 8}
    assert table.available == {"confidences", "responses"}
    assert {d for d, s in zip(table.rows.table.domains, table.split, strict=True) if s != "test"} == {"in"}
    assert len(table.of("test", domain="out").texts) == 4
    assert table.rows.table.score[0].mean(axis=1) == approx([0, 1])
    assert table.rows.table.answer_cost[0, :, 0] == approx([0.1, 0.9])


def test_a_build_that_is_told_to_go_on_runs_no_finished_part_again(tmp_path: Path) -> None:
    first = built(tmp_path)
    again = built(tmp_path)

    assert again.rows.texts == first.rows.texts
    np.testing.assert_array_equal(again.rows.table.score, first.rows.table.score)
    with pytest.raises(UsageError, match="0 train queries are too few"):
        built(tmp_path, counts={"train": 0, "validation": 1, "test": 1})
