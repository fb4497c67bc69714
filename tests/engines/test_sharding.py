"""Work that an engine shards ends with the bytes of work that one process does, whatever happens on the way."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from disrouter.agents import ScriptedAgent
from disrouter.agents.transformers import TransformersAgent
from disrouter.engines import LocalEngine
from disrouter.engines.contract import EngineName, Reader
from disrouter.engines.jobs import Done, Job, JobReport
from disrouter.errors import RunError
from disrouter.evaluation.build import build
from disrouter.evaluation.outcome_files import write_table
from disrouter.lab.family import checkpoint_path
from disrouter.lab.suite import LabSuite
from disrouter.training.profiling import LocalSampler, profile
from disrouter.training.settings import ProfileSettings
from disrouter.training.shared_sampler import SharedSampler
from disrouter.types import AgentCard, Look, Query, QueryPrice, Scenario
from disrouter.utility import BALANCE, COST_FIRST

QUERIES = [Query.from_text(f"what is {i} ?", id=f"q{i}") for i in range(20)]


def grade(query: Query, text: str) -> float:
    return float(text == "yes")


class Shuffled:
    """An engine that runs jobs here, in an order of its own; it breaks after so many."""

    name: EngineName = "local"

    def __init__(self, seed: int, most: int | None = None) -> None:
        self.chance = random.Random(seed)
        self.most = most
        self.ran: list[str] = []

    def work_off(self, jobs: Sequence[Job], report: JobReport) -> Iterator[Done]:
        order = list(jobs)
        self.chance.shuffle(order)
        for job in order:
            if self.most is not None and len(self.ran) >= self.most:
                raise RunError("the machine went away")
            self.ran.append(job.name)
            yield job, job.work(lambda *_: None)

    def session(self) -> AbstractContextManager[None]:
        return nullcontext()

    def hosting(self, read: Reader) -> Any:
        raise AssertionError("nothing is hosted here")


def agents() -> dict[str, ScriptedAgent]:
    return {
        "small": ScriptedAgent("small", cost=0.2, confidence=0.3, accepts=False, reply="no idea"),
        "large": ScriptedAgent("large", cost=0.9, reply="yes"),
    }


def bytes_of(path: Path, engine: Any, parts: Path | None = None) -> bytes:
    table = build(agents(), QUERIES, grade, [BALANCE, COST_FIRST], domain="in", chunk=3, parts=parts, engine=engine)
    write_table(table, path, timings=False)
    return path.read_bytes()


@pytest.mark.parametrize("seed", range(3))
def test_the_order_in_which_parts_are_finished_changes_no_byte(tmp_path: Path, seed: int) -> None:
    here = bytes_of(tmp_path / "here.parquet", None)

    assert bytes_of(tmp_path / "there.parquet", Shuffled(seed)) == here


def test_parts_that_were_finished_before_an_engine_broke_are_not_run_again(tmp_path: Path) -> None:
    here = bytes_of(tmp_path / "here.parquet", None)
    broken = Shuffled(0, most=9)
    with pytest.raises(RunError, match="the machine went away"):
        bytes_of(tmp_path / "there.parquet", broken, tmp_path / "parts")

    second = Shuffled(1)
    assert bytes_of(tmp_path / "there.parquet", second, tmp_path / "parts") == here

    assert len(broken.ran) == 9
    assert len(broken.ran) + len(second.ran) == 2 * 2 * 7
    assert not set(broken.ran) & set(second.ran)


def test_a_table_that_is_finished_needs_no_engine(tmp_path: Path) -> None:
    bytes_of(tmp_path / "here.parquet", None, tmp_path / "parts")
    engine = Shuffled(0)

    bytes_of(tmp_path / "again.parquet", engine, tmp_path / "parts")

    assert engine.ran == []


def test_progress_counts_every_outcome_once_over_an_engine_and_what_was_kept(tmp_path: Path) -> None:
    counted: list[int] = []
    with pytest.raises(RunError):
        build(
            agents(),
            QUERIES,
            grade,
            [BALANCE],
            chunk=3,
            parts=tmp_path,
            engine=Shuffled(0, most=5),
            advance=counted.append,
        )
    assert 0 < sum(counted) < 2 * len(QUERIES)

    counted.clear()
    build(agents(), QUERIES, grade, [BALANCE], chunk=3, parts=tmp_path, engine=Shuffled(1), advance=counted.append)

    assert sum(counted) == 2 * len(QUERIES)


def test_agents_behind_servers_are_asked_from_here() -> None:
    served = ScriptedAgent("served", cost=0.9)
    served.card = replace(served.card, details={"backend": "openai"})
    engine = Shuffled(0)

    table = build({**agents(), "served": served}, QUERIES, grade, [BALANCE], chunk=10, engine=engine)

    assert len(engine.ran) == 2 * 2
    assert len(served.answered) == 20
    assert table.agents == ("small", "large", "served")


class Mortal(ScriptedAgent):
    """Kills its own process at one query, the first time."""

    def __init__(self, name: str, marker: Path) -> None:
        super().__init__(name, cost=0.9, reply="yes")
        self.marker = marker

    async def look(self, query: Query, scenario: Scenario) -> Look:
        if query.id == "q7" and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return await super().look(query, scenario)


@pytest.mark.slow
def test_a_worker_that_is_killed_in_the_middle_changes_no_byte(tmp_path: Path) -> None:
    quiet, marker = tmp_path / "quiet", tmp_path / "killed"
    quiet.touch()

    def table(engine: Any, mark: Path) -> bytes:
        mortals = {"small": agents()["small"], "large": Mortal("large", mark)}
        found = build(mortals, QUERIES, grade, [BALANCE], domain="in", chunk=3, engine=engine)
        write_table(found, tmp_path / "table.parquet", timings=False)
        return (tmp_path / "table.parquet").read_bytes()

    here = table(None, quiet)

    assert table(LocalEngine(2), marker) == here
    assert marker.exists()


def lab_agent() -> TransformersAgent:
    card = AgentCard(name="agent-1", price=QueryPrice(cost=0.1))
    return TransformersAgent(card, checkpoint_path("agent-1", "base"), scenario_prompt=False, max_tokens=16)


@pytest.mark.slow
def test_a_profile_drawn_over_an_engine_has_the_bytes_of_one_drawn_here(tmp_path: Path) -> None:
    suite = LabSuite()
    queries = suite.queries("in", 0, 150, split="train")
    settings = ProfileSettings(queries=150, samples=2)
    sampler = LocalSampler(lab_agent(), 1.0, 0)
    engine = Shuffled(3)

    profile("agent-1", sampler, queries, suite.grade, tmp_path / "here.parquet", settings)
    shared = SharedSampler(sampler, engine)
    profile("agent-1", shared, queries, suite.grade, tmp_path / "there.parquet", settings)

    assert len(engine.ran) == 3
    assert (tmp_path / "there.parquet").read_bytes() == (tmp_path / "here.parquet").read_bytes()


def test_an_agent_travels_without_its_weights() -> None:
    import pickle

    agent = lab_agent()

    there = pickle.loads(pickle.dumps(agent))

    assert there.card == agent.card
    assert there.model_path == agent.model_path.absolute()
    assert there._loaded is None
