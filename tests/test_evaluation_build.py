from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from disrouter.agents import Script, ScriptedAgent
from disrouter.errors import AgentError, DataError
from disrouter.evaluation.build import build
from disrouter.evaluation.outcomes import CELLS, OutcomeTable
from disrouter.types import Completion, Look, Query, Sampling, Scenario, Usage
from disrouter.utility import BALANCE, COST_FIRST

QUERIES = [Query.from_text(f"what is {i} ?", id=f"q{i}") for i in range(7)]  # four words each


def grade(query: Query, text: str) -> float:
    return float(text == "yes")


class Batched(ScriptedAgent):
    """A scripted agent that also works in batches, and counts them."""

    def __init__(self, name: str, **more: object) -> None:
        super().__init__(name, **more)  # type: ignore[arg-type]  # passed through
        self.batches: list[int] = []

    def look_many(self, queries: Sequence[Query], scenario: Scenario) -> list[Look]:
        self.batches.append(len(queries))
        if any(self.scripts.get(q.id, self.script).fails for q in queries):
            raise AgentError("somewhere in the batch it broke")
        return [Look(confidence=0.5, accepts=True, usage=Usage(prompt_tokens=4)) for _ in queries]

    def answer_many(
        self, queries: Sequence[Query], scenario: Scenario, looks: Sequence[Look] | None, sampling: Sampling
    ) -> list[Completion]:
        assert looks is not None
        return [Completion(text="yes", usage=Usage(completion_tokens=1)) for _ in queries]


def same(left: OutcomeTable, right: OutcomeTable) -> bool:
    return left.query_ids == right.query_ids and all(
        np.array_equal(getattr(left, n), getattr(right, n), equal_nan=n in ("confidence",)) for n in CELLS
    )


def test_every_agent_looks_at_and_answers_every_query() -> None:
    agents = {
        "small": ScriptedAgent("small", cost=0.2, look_share=0.1, confidence=0.3, accepts=False, reply="no idea"),
        "large": ScriptedAgent("large", cost=0.9, confidence=None, reply="yes"),
    }

    table = build(agents, QUERIES, grade, [BALANCE, COST_FIRST], domain="in")

    assert table.shape == (2, 2, 7)
    assert table.domains == ("in",) * 7
    row = table.cell(1, 0, 3)
    # Rejecting costs a tenth of .2; the answer is recorded although the agent would have rejected.
    assert (row.query_id, row.agent, row.scenario, row.alpha) == ("q3", "small", "cost-first", 0.8)
    assert (row.confidence, row.accepts, row.answer, row.score) == (0.3, False, "no idea", 0.0)
    assert (row.prompt_tokens, row.answer_tokens) == (4, 2)
    assert (row.look_cost, row.answer_cost) == pytest.approx((0.02, 0.2))
    assert table.score[:, 1].all()
    assert np.isnan(table.confidence[:, 1]).all()


def test_chunks_do_not_change_the_table() -> None:
    agents = {"a": ScriptedAgent("a", reply="yes")}

    tables = [build(agents, QUERIES, grade, [BALANCE], chunk=chunk) for chunk in (1, 3, 100)]

    assert same(tables[0], tables[1])
    assert same(tables[0], tables[2])


def test_batched_methods_are_used_chunk_by_chunk() -> None:
    agent = Batched("a")

    table = build({"a": agent}, QUERIES, grade, [BALANCE], chunk=3)

    assert agent.batches == [3, 3, 1]
    assert agent.looked == []
    assert table.score.all()


def test_a_query_that_breaks_a_batch_is_found_and_its_neighbours_are_spared() -> None:
    agent = Batched("a", scripts={"q2": Script(fails="look"), "q5": Script(fails="answer", confidence=0.5)})

    table = build({"a": agent}, QUERIES, grade, [BALANCE])

    assert np.flatnonzero(table.failed[0, 0]).tolist() == [2, 5]
    assert table.score[0, 0].tolist() == [1, 1, 0, 1, 1, 0, 1]
    looked, answered = table.cell(0, 0, 2), table.cell(0, 0, 5)
    # Broken while looking it used nothing that we know of; broken while answering it had paid for its look.
    assert (looked.confidence, looked.answer, looked.answer_cost) == (None, None, 0.0)
    assert (answered.confidence, answered.answer) == (0.5, None)
    assert answered.answer_cost == pytest.approx(0.05)
    assert looked.failure == "Agent 'a' broke, as its script says."


def test_an_agent_that_never_reads_the_scenario_runs_once_for_all() -> None:
    agent = ScriptedAgent("a")
    agent.scenario_prompt = False  # type: ignore[attr-defined]  # as transformers agents have it

    table = build({"a": agent}, QUERIES, grade, [BALANCE, COST_FIRST])

    assert len(agent.answered) == 7
    assert table.shape == (2, 1, 7)
    assert [s.name for s in table.scenarios] == ["balance", "cost-first"]
    np.testing.assert_array_equal(table.score[0], table.score[1])


def test_finished_parts_are_not_run_again(tmp_path: Path) -> None:
    first = ScriptedAgent("a")
    table = build({"a": first}, QUERIES, grade, [BALANCE], parts=tmp_path, chunk=3)
    (tmp_path / "a00-s00-c00001.parquet").unlink()
    second = ScriptedAgent("a")

    again = build({"a": second}, QUERIES, grade, [BALANCE], parts=tmp_path, chunk=3)

    assert sorted(second.answered) == ["q3", "q4", "q5"]
    assert same(again, table)


def test_a_damaged_part_is_run_again(tmp_path: Path) -> None:
    table = build({"a": ScriptedAgent("a")}, QUERIES, grade, [BALANCE], parts=tmp_path, chunk=3)
    part = tmp_path / "a00-s00-c00000.parquet"
    part.write_bytes(part.read_bytes()[:100])
    second = ScriptedAgent("a")

    again = build({"a": second}, QUERIES, grade, [BALANCE], parts=tmp_path, chunk=3)

    assert sorted(second.answered) == ["q0", "q1", "q2"]
    assert same(again, table)


def test_parts_of_other_queries_are_refused(tmp_path: Path) -> None:
    build({"a": ScriptedAgent("a")}, QUERIES[:3], grade, [BALANCE], parts=tmp_path)

    with pytest.raises(DataError, match="outcomes of other queries"):
        build({"a": ScriptedAgent("a")}, QUERIES[3:6], grade, [BALANCE], parts=tmp_path)


def test_a_grader_that_fails_stops_the_run() -> None:
    def broken(query: Query, text: str) -> float:
        raise DataError("no verdict")

    with pytest.raises(DataError, match="no verdict"):
        build({"a": ScriptedAgent("a")}, QUERIES, broken, [BALANCE])


def test_progress_counts_every_outcome_once() -> None:
    counted: list[int] = []
    shared = ScriptedAgent("b")
    shared.scenario_prompt = False  # type: ignore[attr-defined]  # as transformers agents have it

    build(
        {"a": ScriptedAgent("a"), "b": shared}, QUERIES, grade, [BALANCE, COST_FIRST], chunk=4, advance=counted.append
    )

    assert sum(counted) == 2 * 2 * 7


@pytest.mark.parametrize(
    ("queries", "scenarios", "message"),
    [
        ([], [BALANCE], "no queries"),
        ([QUERIES[0], QUERIES[0]], [BALANCE], "Two queries have the id 'q0'"),
        (QUERIES, [], "at least one agent and one scenario"),
        (QUERIES, [BALANCE, BALANCE], "A scenario is given twice"),
    ],
)
def test_nothing_to_build_from_is_refused(queries: list[Query], scenarios: list[Scenario], message: str) -> None:
    with pytest.raises(DataError, match=message):
        build({"a": ScriptedAgent("a")}, queries, grade, scenarios)
