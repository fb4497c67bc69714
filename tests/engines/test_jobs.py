"""Driving jobs: order, losses, slow ones, failures; nobody really works here."""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from disrouter.engines import engine_of
from disrouter.engines.jobs import FAILED, Job, LostError, Said, drive
from disrouter.errors import RunError, UsageError


def nothing(progress: object) -> None:
    """Work that is never called: the tests say how it ends."""


def job(name: str, *, pure: bool = True, needs: tuple[str, ...] = ()) -> Job:
    return Job(name, nothing, needs=needs, pure=pure)


class Desk:
    """Runs jobs by hand: each attempt ends as ``script`` says when it is asked for its next word."""

    def __init__(self, script: Callable[[str, int], Any]) -> None:
        self.script = script
        self.attempts: list[str] = []
        self.said: list[tuple[str, str]] = []
        self.now = 0.0

    def submit(self, job: Job, place: int) -> Future[Any]:
        self.attempts.append(job.name)
        end = self.script(job.name, self.attempts.count(job.name))
        future: Future[Any] = Future()
        if isinstance(end, BaseException):
            future.set_exception(end)
        elif end is not None:
            future.set_result(end)
        return future

    def clock(self) -> float:
        self.now += 7.0
        return self.now

    def drive(self, jobs: list[Job], places: int = 2) -> dict[str, Any]:
        channel = queue.SimpleQueue[Said]()

        def report(name: str, stage: str, *_: object) -> None:
            self.said.append((name, stage))

        driven = drive(jobs, places, self.submit, channel, report, clock=self.clock)
        return {done.name: value for done, value in driven}


def test_every_job_gives_its_value_and_those_that_are_needed_come_first() -> None:
    desk = Desk(lambda name, attempt: f"{name}!")

    found = desk.drive([job("late", needs=("early",)), job("early"), job("free")])

    assert found == {"early": "early!", "free": "free!", "late": "late!"}
    assert desk.attempts.index("early") < desk.attempts.index("late")


def test_a_pure_job_that_was_lost_is_begun_again() -> None:
    desk = Desk(lambda name, attempt: LostError() if attempt < 3 else "done")

    assert desk.drive([job("a")]) == {"a": "done"}
    assert desk.attempts == ["a", "a", "a"]


class RayActorError(Exception):
    """Has the name of what Ray raises."""


class ActorUnavailableError(RayActorError):
    """So has this one."""


def test_what_ray_says_of_a_lost_worker_is_understood_by_its_name() -> None:
    desk = Desk(lambda name, attempt: ActorUnavailableError() if attempt == 1 else "done")

    assert desk.drive([job("a")]) == {"a": "done"}


def test_a_job_that_is_lost_every_time_fails_with_a_reason() -> None:
    desk = Desk(lambda name, attempt: LostError())

    with pytest.raises(RunError, match="a failed: its process was killed"):
        desk.drive([job("a"), job("b", needs=("a",))])
    assert desk.attempts == ["a", "a", "a"]
    assert desk.said == [("a", FAILED)]


def test_a_job_that_leaves_files_is_not_begun_again_behind_its_back() -> None:
    desk = Desk(lambda name, attempt: LostError())

    with pytest.raises(RunError):
        desk.drive([job("a", pure=False)])
    assert desk.attempts == ["a"]


def test_a_job_that_takes_far_longer_than_the_others_runs_twice_and_the_first_to_finish_counts() -> None:
    # The first attempt at "slow" never ends: a frozen process, a machine that swaps.
    desk = Desk(lambda name, attempt: None if (name, attempt) == ("slow", 1) else f"{name}{attempt}")

    found = desk.drive([job("slow"), job("a"), job("b")])

    assert found == {"a": "a1", "b": "b1", "slow": "slow2"}
    assert desk.attempts == ["slow", "a", "b", "slow"]


def test_a_slow_job_that_leaves_files_is_waited_for() -> None:
    started: list[Future[Any]] = []

    class Patient(Desk):
        def submit(self, job: Job, place: int) -> Future[Any]:
            future = super().submit(job, place)
            started.append(future)
            return future

        def clock(self) -> float:
            if self.now > 200 and not started[0].done():
                started[0].set_result("at last")
            self.now += 30.0
            return self.now

    desk = Patient(lambda name, attempt: None if name == "slow" else name)

    assert desk.drive([job("slow", pure=False), job("a")]) == {"a": "a", "slow": "at last"}
    assert desk.attempts == ["slow", "a"]


def test_a_failure_of_one_copy_does_not_hide_the_success_of_the_other() -> None:
    copies: list[Future[Any]] = []

    class Two(Desk):
        def submit(self, job: Job, place: int) -> Future[Any]:
            future = super().submit(job, place)
            if job.name == "slow":
                copies.append(future)
                if len(copies) == 2:
                    future.set_exception(ZeroDivisionError())
            return future

        def clock(self) -> float:
            if len(copies) == 2 and not copies[0].done():
                copies[0].set_result("the first one")
            return super().clock()

    desk = Two(lambda name, attempt: None if name == "slow" else name)

    assert desk.drive([job("slow"), job("a")]) == {"a": "a", "slow": "the first one"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "local", "address": "127.0.0.1:6379"}, "--ray-address goes with --engine ray only"),
        ({"name": "local", "workers": -1}, "--workers -1 is out of range"),
        ({"name": "ray", "workers": -2}, "--workers -2 is out of range"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        engine_of(**options)


def test_no_engine_is_made_where_this_process_alone_does_the_work() -> None:
    assert engine_of("local") is None
    assert engine_of("local", workers=1) is None
