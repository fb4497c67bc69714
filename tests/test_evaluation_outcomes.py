from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from disrouter.errors import DataError, UnknownNameError
from disrouter.evaluation.outcome_files import SCHEMA, read_table
from disrouter.evaluation.outcomes import CELLS, Outcome, OutcomeTable
from disrouter.types import QueryPrice, Scenario, TokenPrice, Usage


def outcome(query: str = "q1", agent: str = "small", scenario: str = "balance", **changed: object) -> Outcome:
    plain = Outcome(
        query_id=query,
        agent=agent,
        scenario=scenario,
        alpha={"balance": 0.5, "cost-first": 0.8}[scenario],
        score=1.0,
        dataset="sums",
        domain="in",
        level=2,
        confidence=0.75,
        accepts=True,
        answer="4",
        prompt_tokens=10,
        answer_tokens=30,
        look_cost=0.01,
        answer_cost=0.1,
        look_seconds=0.5,
        answer_seconds=1.5,
    )
    return replace(plain, **changed)  # type: ignore[arg-type]  # fields by name


def two_by_two() -> list[Outcome]:
    return [
        outcome(query, agent, scenario)
        for scenario in ("balance", "cost-first")
        for agent in ("small", "large")
        for query in ("q1", "q2", "q3")
    ]


def assert_equal(left: OutcomeTable, right: OutcomeTable) -> None:
    assert (left.query_ids, left.agents, left.scenarios) == (right.query_ids, right.agents, right.scenarios)
    assert (left.datasets, left.domains, left.levels) == (right.datasets, right.domains, right.levels)
    for name in CELLS:
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name), err_msg=name)


def test_rows_become_a_cube_of_scenarios_agents_and_queries() -> None:
    table = OutcomeTable.of(two_by_two())

    assert table.shape == (2, 2, 3)
    assert table.agents == ("small", "large")
    assert [s.alpha for s in table.scenarios] == [0.5, 0.8]
    assert list(table.rows()) == two_by_two()


def test_rows_may_come_in_any_order() -> None:
    rows = two_by_two()
    shuffled = [rows[0], *reversed(rows[1:])]

    table = OutcomeTable.of(shuffled)

    cells = {(r.query_id, r.agent, r.scenario) for r in table.rows()}
    assert len(cells) == 12
    assert table.cell(0, 0, 0) == outcome("q1")


def test_a_table_cannot_be_changed() -> None:
    table = OutcomeTable.of(two_by_two())

    with pytest.raises(ValueError, match="read-only"):
        table.score[0, 0, 0] = 0.0


def test_a_written_table_reads_back_equal(tmp_path: Path) -> None:
    rows = two_by_two()
    rows[0] = replace(rows[0], confidence=None, accepts=None)
    rows[1] = replace(rows[1], answer=None, failure="out of memory", score=0.0)
    rows = [replace(r, level=None, domain=None) if r.query_id == "q3" else r for r in rows]
    table = OutcomeTable.of(rows)

    table.write(tmp_path / "table.parquet")

    assert_equal(OutcomeTable.read(tmp_path / "table.parquet"), table)
    assert list(OutcomeTable.read(tmp_path / "table.parquet").rows()) == rows


def test_equal_tables_give_equal_bytes_whatever_their_seconds(tmp_path: Path) -> None:
    fast = OutcomeTable.of(two_by_two())
    slow = OutcomeTable.of([replace(r, look_seconds=9.0, answer_seconds=9.0) for r in two_by_two()])

    fast.write(tmp_path / "fast.parquet", timings=False)
    slow.write(tmp_path / "slow.parquet", timings=False)

    assert (tmp_path / "fast.parquet").read_bytes() == (tmp_path / "slow.parquet").read_bytes()
    assert OutcomeTable.read(tmp_path / "slow.parquet").look_seconds.max() == 0.0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fast.parquet", "slow.parquet"]


def test_the_schema_version_stands_in_the_file(tmp_path: Path) -> None:
    OutcomeTable.of(two_by_two()).write(tmp_path / "table.parquet")

    assert pq.read_schema(tmp_path / "table.parquet").metadata[b"disrouter.outcomes.version"] == b"1"


def test_an_agent_without_an_outcome_of_a_query_is_named_with_the_query() -> None:
    rows = [r for r in two_by_two() if (r.query_id, r.agent, r.scenario) != ("q2", "large", "balance")]

    with pytest.raises(DataError, match="no row for query 'q2', agent 'large', scenario 'balance'"):
        OutcomeTable.of(rows)


def test_a_missing_last_row_is_named_too() -> None:
    with pytest.raises(DataError, match="no row for query 'q3', agent 'large', scenario 'cost-first'"):
        OutcomeTable.of(two_by_two()[:-1])


def test_two_rows_for_one_place_are_refused() -> None:
    with pytest.raises(DataError, match="more than one row for query 'q1', agent 'small', scenario 'balance'"):
        OutcomeTable.of([*two_by_two(), outcome()])


def test_a_table_without_rows_is_refused() -> None:
    with pytest.raises(DataError, match="is empty"):
        OutcomeTable.of([])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"score": 1.5}, r"'score' .* is .*1\.5.* Allowed: from 0 to 1"),
        ({"score": float("nan")}, "'score' .*nan"),
        ({"confidence": -0.1}, "'confidence'"),
        ({"answer_cost": -1.0}, "'answer_cost' .* at least 0"),
        ({"look_seconds": float("inf")}, "'look_seconds' .* finite"),
        ({"prompt_tokens": -1}, "'prompt_tokens'"),
        ({"answer": None}, "'answer' .* unless 'failure' says why"),
        ({"alpha": 1.2}, "alpha 1.2"),
        ({"score": "good"}, "'score' .* unusable"),
    ],
)
def test_a_value_out_of_range_is_named_with_its_place(changed: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        OutcomeTable.of([outcome(**changed)])  # type: ignore[arg-type]  # fields by name


def test_rows_of_one_query_must_agree_about_the_query() -> None:
    with pytest.raises(DataError, match="query 'q1' disagree about its dataset"):
        OutcomeTable.of([outcome(agent="small"), outcome(agent="large", dataset="other")])


def test_a_scenario_has_one_alpha() -> None:
    with pytest.raises(DataError, match=r"'balance' .* more than one alpha: 0\.4, 0\.5"):
        OutcomeTable.of([outcome("q1"), outcome("q2", alpha=0.4)])


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no outcome table at"):
        read_table(tmp_path / "none.parquet")


@pytest.mark.parametrize("kept", [0, 10, 1000])
def test_a_cut_off_file_is_refused(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "table.parquet"
    OutcomeTable.of(two_by_two()).write(path)
    path.write_bytes(path.read_bytes()[:kept])

    with pytest.raises(DataError, match="not a readable Parquet file"):
        read_table(path)


@pytest.mark.parametrize(("version", "message"), [(b"2", "schema version 2"), (None, "no schema version")])
def test_another_schema_version_is_refused(tmp_path: Path, version: bytes | None, message: str) -> None:
    path = tmp_path / "table.parquet"
    OutcomeTable.of(two_by_two()).write(path)
    metadata = {} if version is None else {b"disrouter.outcomes.version": version}
    pq.write_table(pq.read_table(path).replace_schema_metadata(metadata), path)

    with pytest.raises(DataError, match=f"{message}; this release reads .* version 1"):
        read_table(path)


def test_missing_columns_are_named(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    OutcomeTable.of(two_by_two()).write(path)
    pq.write_table(pq.read_table(path).drop_columns(["score", "agent"]), path)

    with pytest.raises(DataError, match="Missing columns: 'agent', 'score'"):
        read_table(path)


def test_a_column_of_the_wrong_type_is_named(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    OutcomeTable.of(two_by_two()).write(path)
    read = pq.read_table(path)
    words = pa.array(["much"] * read.num_rows)
    pq.write_table(read.set_column(read.schema.get_field_index("score"), "score", words), path)

    with pytest.raises(DataError, match="Column 'score' is string, not double"):
        read_table(path)


def test_a_null_where_none_is_allowed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    OutcomeTable.of(two_by_two()).write(path)
    read = pq.read_table(path)
    scores = pa.array([None] + [1.0] * (read.num_rows - 1))
    pq.write_table(read.set_column(read.schema.get_field_index("score"), "score", scores), path)

    with pytest.raises(DataError, match="Column 'score' has 1 missing values"):
        read_table(path)


def test_a_file_of_no_rows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    pq.write_table(SCHEMA.empty_table(), path)

    with pytest.raises(DataError, match="is empty"):
        read_table(path)


def test_selecting_keeps_the_named_agents_in_order() -> None:
    table = OutcomeTable.of(two_by_two()).select(agents=["large"], queries=np.array([True, False, True]))

    assert table.agents == ("large",)
    assert table.query_ids == ("q1", "q3")
    assert table.shape == (2, 1, 2)


def test_selecting_an_unknown_agent_names_the_known() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown agent 'huge' in the outcome table\. Known: 'small', 'large'"):
        OutcomeTable.of(two_by_two()).select(agents=["huge"])


def test_repricing_charges_what_the_price_itself_would() -> None:
    per_token = TokenPrice(input=1.0, output=4.0, unit=1e-3)
    table = OutcomeTable.of(two_by_two()).repriced({"small": QueryPrice(cost=0.3, look_share=0.2), "large": per_token})

    assert table.answer_cost[0, 0, 0] == 0.3
    assert table.look_cost[0, 0, 0] == QueryPrice(cost=0.3, look_share=0.2).of(Usage(10, 0), answered=False)
    # 10 tokens read at 1 and 30 written at 4 per million, a unit being a thousandth: 130e-6 / 1e-3 = 0.13
    assert table.answer_cost[0, 1, 0] == per_token.of(Usage(10, 30), answered=True) == pytest.approx(0.13)
    assert table.look_cost[0, 1, 0] == per_token.of(Usage(10, 0), answered=False) == pytest.approx(0.01)


# Scenarios to which agents are blind


def test_outcomes_are_shared_between_scenarios_without_copies() -> None:
    table = OutcomeTable.of([outcome(f"q{i}", agent) for i in range(3) for agent in ("a", "b")])
    alphas = [Scenario(name=f"alpha={i}", alpha=i / 20) for i in range(21)]

    found = table.in_scenarios(alphas)

    assert found.shape == (21, 2, 3)
    assert found.scenarios == tuple(alphas)
    assert np.shares_memory(found.score, table.score)
    repriced = found.repriced({"a": QueryPrice(cost=0.5)}).select(agents=["b", "a"])
    assert repriced.answer_cost[:, 1].tolist() == [[0.5] * 3] * 21
    assert repriced.score.strides[0] == repriced.answer_cost.strides[0] == 0


def test_outcomes_that_depend_on_the_scenario_are_not_shared() -> None:
    rows = [outcome(), outcome(scenario="cost-first", score=0.0)]

    with pytest.raises(DataError, match="'score' of agent 'small' depends on the scenario"):
        OutcomeTable.of(rows).in_scenarios([Scenario(name="z", alpha=0.5)])
