"""Profiles: sampled answers kept query by query; interrupted anywhere, they end with the same bytes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from disrouter.agents.transformers import TransformersAgent
from disrouter.errors import DataError
from disrouter.lab.family import checkpoint_path
from disrouter.lab.suite import LabSuite
from disrouter.training.profiling import LocalSampler, Profile, profile, read_profile
from disrouter.training.settings import ProfileSettings
from disrouter.types import AgentCard, Completion, Message, Query, QueryPrice, Usage

SETTINGS = ProfileSettings(samples=3)

QUERIES = [Query(id=f"q{n}", messages=(Message("user", f"{n}+1"),), reference=str(n + 1)) for n in range(6)]


@dataclass
class Sums:
    """Answers sums, right at every second sample; breaks at the query ``broken``."""

    broken: str | None = None
    asked: list[str] = field(default_factory=list)

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"model": "sums"}

    def sample(self, queries: Sequence[Query], samples: int) -> Iterator[tuple[Query, Sequence[Completion]]]:
        for query in queries:
            if query.id == self.broken:
                raise KeyboardInterrupt
            self.asked.append(query.id)
            texts = [query.reference or "" if k % 2 == 0 else "no idea" for k in range(samples)]
            yield query, [Completion(text=text, usage=Usage(3, 2)) for text in texts]


def grade(query: Query, text: str) -> float:
    return float(text == query.reference)


def test_a_success_rate_is_the_share_of_right_samples(tmp_path: Path) -> None:
    found = profile("sums", Sums(), QUERIES, grade, tmp_path / "sums.parquet", SETTINGS)

    # Samples 0 and 2 are right, 1 is wrong: two of three.
    assert [rollouts.success_rate for rollouts in found.rollouts] == [pytest.approx(2 / 3)] * 6
    assert found.mean_success_rate == pytest.approx(2 / 3)
    assert found.sampled_tokens == 6 * 3 * 2
    assert read_profile(tmp_path / "sums.parquet") == found


def test_an_interrupted_profile_asks_nothing_again_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    whole, broken, rest = Sums(), Sums(broken="q4"), Sums()
    profile("sums", whole, QUERIES, grade, tmp_path / "whole.parquet", SETTINGS)

    with pytest.raises(KeyboardInterrupt):
        profile("sums", broken, QUERIES, grade, tmp_path / "broken.parquet", SETTINGS)
    profile("sums", rest, QUERIES, grade, tmp_path / "broken.parquet", SETTINGS)

    assert broken.asked + rest.asked == whole.asked
    assert (tmp_path / "broken.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert [path.name for path in tmp_path.iterdir() if "journal" in path.name] == []


def test_half_a_line_of_a_journal_is_asked_again(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        profile("sums", Sums(broken="q4"), QUERIES, grade, tmp_path / "p.parquet", SETTINGS)
    journal = tmp_path / "p.journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-9])  # as a kill in the middle of writing leaves it
    rest = Sums()

    profile("sums", rest, QUERIES, grade, tmp_path / "p.parquet", SETTINGS)

    assert rest.asked == ["q3", "q4", "q5"]


def test_a_finished_profile_is_read_and_nobody_is_asked(tmp_path: Path) -> None:
    first = profile("sums", Sums(), QUERIES, grade, tmp_path / "p.parquet", SETTINGS)
    again = Sums()

    assert profile("sums", again, QUERIES, grade, tmp_path / "p.parquet", SETTINGS) == first
    assert again.asked == []


def test_a_profile_of_other_queries_is_refused(tmp_path: Path) -> None:
    profile("sums", Sums(), QUERIES, grade, tmp_path / "p.parquet", SETTINGS)

    with pytest.raises(DataError, match="of another model or of other queries"):
        profile("sums", Sums(), QUERIES[:3], grade, tmp_path / "p.parquet", SETTINGS)


def test_a_profile_of_no_queries_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No queries to profile agent 'sums' on"):
        profile("sums", Sums(), [], grade, tmp_path / "p.parquet", SETTINGS)


def test_a_query_without_a_reference_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    sampler = Sums()

    with pytest.raises(DataError, match="Query 'open' has no reference answer"):
        profile("sums", sampler, [*QUERIES, Query.from_text("?", id="open")], grade, tmp_path / "p.parquet", SETTINGS)
    assert sampler.asked == []


def test_a_grader_that_fails_stops_the_profile_and_keeps_what_is_done(tmp_path: Path) -> None:
    def fails_at_q3(query: Query, text: str) -> float:
        if query.id == "q3":
            raise DataError("the grader is not there")
        return 1.0

    with pytest.raises(DataError, match="the grader is not there"):
        profile("sums", Sums(), QUERIES, fails_at_q3, tmp_path / "p.parquet", SETTINGS)

    rest = Sums()
    profile("sums", rest, QUERIES, grade, tmp_path / "p.parquet", SETTINGS)
    assert rest.asked == ["q3", "q4", "q5"]


PROFILE_THE_LAB = """
import sys
from pathlib import Path
import torch
from tests_profile import lab_profile
torch.set_num_threads(1)
lab_profile(Path(sys.argv[1]))
"""


def lab_profile(path: Path) -> Profile:
    """Profile the lab's smallest agent on 130 queries, that is in three batches."""
    agent = TransformersAgent(
        AgentCard(name="agent-1", price=QueryPrice(cost=0.1)), checkpoint_path("agent-1", "base"), max_tokens=24
    )
    suite = LabSuite()
    queries = suite.queries("in", 0, 130, split="train")
    return profile("agent-1", LocalSampler(agent, 1.0, 0), queries, suite.grade, path, ProfileSettings(samples=2))


def test_a_profile_killed_in_the_middle_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    script = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n" + PROFILE_THE_LAB.replace(
        "tests_profile", Path(__file__).stem
    )
    killed, journal = tmp_path / "killed.parquet", tmp_path / "killed.journal.jsonl"
    process = subprocess.Popen([sys.executable, "-c", script, str(killed)])
    deadline = time.monotonic() + 120
    while (not journal.is_file() or journal.read_bytes().count(b"\n") < 2) and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not killed.exists()
    done = [json.loads(line)["query_id"] for line in journal.read_text().splitlines()[1:] if line.endswith("}")]
    assert 0 < len(done) < 130

    lab_profile(killed)
    lab_profile(tmp_path / "whole.parquet")

    assert killed.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
