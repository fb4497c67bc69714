"""Jobs side by side: in order, in processes of their own, and a failure told when the others are done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from disrouter.agents.faults import FaultError
from disrouter.engines.jobs import FAILED, Job, Progress
from disrouter.engines.processes import run_jobs
from disrouter.errors import DataError, DisrouterError, RunError, UsageError


def note(path: Path, progress: Progress) -> None:
    """Write down which process ran, and when."""
    progress("noting", 1, 1, 0.5)
    path.write_text(f"{os.getpid()} {time.monotonic()}")


def fail(error: Exception, progress: Progress) -> None:
    raise error


def die(progress: Progress) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_jobs_run_after_what_they_need_each_in_a_process_of_its_own(tmp_path: Path) -> None:
    said: list[tuple[str, str, int, int, float]] = []
    jobs = [
        Job("after", partial(note, tmp_path / "after"), needs=("first",)),
        Job("first", partial(note, tmp_path / "first")),
    ]

    run_jobs(jobs, 2, lambda *values: said.append(values))

    (first, first_at), (after, after_at) = ((tmp_path / n).read_text().split() for n in ("first", "after"))
    assert len({first, after, str(os.getpid())}) == 3
    assert float(first_at) < float(after_at)
    assert said == [("first", "noting", 1, 1, 0.5), ("after", "noting", 1, 1, 0.5)]


@pytest.mark.slow
def test_a_job_that_fails_leaves_the_others_running_and_is_told_in_its_own_words(tmp_path: Path) -> None:
    said: list[tuple[str, str]] = []
    jobs = [
        Job("agent-1", partial(fail, DataError("nothing to learn", hint="profile it again"))),
        Job("agent-2", partial(note, tmp_path / "agent-2")),
        Job("agent-3", partial(note, tmp_path / "agent-3"), needs=("agent-1",)),
    ]

    with pytest.raises(DataError) as error:
        run_jobs(jobs, 1, lambda name, stage, *_: said.append((name, stage)))

    assert (error.value.message, error.value.hint) == ("agent-1: nothing to learn", "profile it again")
    assert ("agent-1", FAILED) in said
    assert (tmp_path / "agent-2").exists()
    assert not (tmp_path / "agent-3").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("work", "kind", "message"),
    [
        (partial(fail, ZeroDivisionError("by zero")), RunError, "agent-1 failed: ZeroDivisionError: by zero"),
        (partial(fail, OSError(28, "No space left on device", "model")), OSError, "No space left on device: 'model'"),
        (die, RunError, "its process was killed, perhaps because memory ran out"),
    ],
    ids=["surprise", "full disk", "killed"],
)
def test_what_ends_a_job_is_told(work: partial[None], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        run_jobs([Job("agent-1", work)], 1)


LINGER = """
import sys
from functools import partial
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_processes import linger
from disrouter.engines.jobs import Job
from disrouter.engines.processes import run_jobs

if __name__ == "__main__":
    run_jobs([Job("lingers", partial(linger, Path(sys.argv[1])))], 1)
"""


def linger(path: Path, progress: Progress) -> None:
    """Say who this is, and stay."""
    path.write_text(str(os.getpid()))
    time.sleep(300)


@pytest.mark.slow
def test_jobs_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    # Otherwise the same command, given again, would meet them at the same files.
    script, path = tmp_path / "script.py", tmp_path / "pid"
    script.write_text(LINGER)
    parent = subprocess.Popen([sys.executable, str(script), str(path), str(Path(__file__).parent)])
    deadline = time.monotonic() + 100
    while not (path.exists() and path.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    job = int(path.read_text())

    parent.kill()
    parent.wait()

    deadline = time.monotonic() + 20
    while running(job) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not running(job)


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"  # nobody may collect it


def test_a_negative_number_of_jobs_is_refused() -> None:
    with pytest.raises(UsageError, match="--jobs -1 is out of range"):
        run_jobs([], -1)


def test_every_error_of_the_package_survives_the_way_from_another_process() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(DisrouterError("what", hint="how")))

    assert (error.message, error.hint) == ("what", "how")
    fault = pickle.loads(pickle.dumps(FaultError("no room", kind="busy", status=503, retry_after=2.0)))
    assert (fault.message, fault.kind, fault.status, fault.retry_after, fault.own) == (
        "no room",
        "busy",
        503,
        2.0,
        False,
    )


class OddError(OSError):
    """What some libraries raise: it cannot be made again from its message."""

    def __init__(self, message: str, *, response: object) -> None:
        super().__init__(message)


def fail_oddly(progress: Progress) -> None:
    raise OddError("the hub said no", response=None)


@pytest.mark.slow
def test_an_error_that_does_not_survive_the_way_is_told_all_the_same() -> None:
    with pytest.raises(RunError, match="agent-1 failed: OddError: the hub said no"):
        run_jobs([Job("agent-1", fail_oddly)], 1)
