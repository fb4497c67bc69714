"""Training that is killed goes on from its last checkpoint and ends with the same bytes."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from disrouter.agents._adapter import ADAPTER_FOLDER, ADAPTER_WEIGHTS
from disrouter.errors import ModelError, RunError
from disrouter.lab.family import FAMILY
from disrouter.lab.pretraining import new_model, save_checkpoint
from disrouter.lab.suite import LabSuite
from disrouter.lab.tokenizer import REJECTION, build_tokenizer
from disrouter.training.deciding import teach_decision
from disrouter.training.deciding_rl import reinforce_decision
from disrouter.training.rl import reinforce
from disrouter.training.settings import LoraSettings, RlSettings, SftSettings
from disrouter.training.sft import fine_tune
from disrouter.training.targets import Target
from disrouter.types import Query
from disrouter.utility import BALANCE

QUERIES = LabSuite().queries("in", 0, 16, split="train")
TARGETS = [Target(query, BALANCE, REJECTION if place % 2 else "#1") for place, query in enumerate(QUERIES)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny") / "model"
    tokenizer = build_tokenizer()
    save_checkpoint(new_model(replace(FAMILY[0], hidden=16, heads=1, layers=1, mlp=16), tokenizer), tokenizer, folder)
    return folder


def sft(model: Path, folder: Path) -> None:
    """Fine-tune for 320 steps, with a checkpoint every hundred."""
    settings = SftSettings(rate=1e-3, epochs=80, batch=4)
    fine_tune(model, TARGETS, folder / "done", folder / "work", settings, rejection=REJECTION)


def decision(model: Path, folder: Path) -> None:
    """Teach an adapter to decide for 320 steps, with a checkpoint every hundred."""
    lora = LoraSettings(rank=4, decides="prompt", new_tokens=[REJECTION])
    settings = SftSettings(rate=1e-3, epochs=80, batch=4, lora=lora)
    teach_decision(model, TARGETS, folder / "done", folder / "work", settings, rejection=REJECTION)


def rl(model: Path, folder: Path) -> None:
    """Reinforce for 160 steps of one epoch, with a checkpoint every fifty."""
    reinforce(
        model,
        [(query, BALANCE) for query in LabSuite().queries("in", 0, 320, split="train")],
        lambda query, text: float(len(text) % 2),
        folder / "done",
        folder / "work",
        RlSettings(queries=320, group=2, batch=2, rate=1e-3),
        rejection=REJECTION,
        max_tokens=4,
    )


def decision_rl(model: Path, folder: Path) -> None:
    """Teach an adapter a little, then reinforce it for 160 steps of one epoch, with a checkpoint every fifty."""
    if not (folder / "taught").is_dir():
        lora = LoraSettings(rank=4, decides="prompt", new_tokens=[REJECTION])
        settings = SftSettings(rate=1e-3, epochs=2, batch=4, lora=lora)
        teach_decision(model, TARGETS, folder / "taught", folder / "teaching", settings, rejection=REJECTION)
    queries = LabSuite().queries("in", 0, 320, split="train")
    reinforce_decision(
        folder / "taught",
        [(query, BALANCE if place % 2 else None) for place, query in enumerate(queries)],
        {query: place % 3 / 2 for place, query in enumerate(queries)},
        folder / "done",
        folder / "work",
        RlSettings(queries=320, batch=2, rate=1e-3),
        rejection=REJECTION,
    )


def whole(path: Path) -> bool:
    """Whether a JSON file is written to its end."""
    try:
        json.loads(path.read_text())
    except ValueError:
        return False
    return True


def kill_after_the_first_checkpoint(stage: str, model: Path, folder: Path) -> None:
    """Start a stage in a process of its own and kill it when it has written a checkpoint."""
    script = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        f"import torch; torch.set_num_threads(1)\n"
        f"from pathlib import Path\n"
        f"from {Path(__file__).stem} import {stage}\n"
        f"{stage}(Path({str(model)!r}), Path({str(folder)!r}))\n"
    )
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", script])
    deadline = time.monotonic() + 200
    while not any(map(whole, folder.glob("work/checkpoint-*/trainer_state.json"))) and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(folder.glob("work/checkpoint-*"))
    assert not (folder / "done").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("stage", [sft, decision, rl, decision_rl])
def test_a_killed_stage_ends_with_the_bytes_of_an_uninterrupted_one(
    stage: Callable[[Path, Path], None], tiny: Path, tmp_path: Path
) -> None:
    kill_after_the_first_checkpoint(stage.__name__, tiny, tmp_path / "killed")
    written = min((tmp_path / "killed" / "work").glob("checkpoint-*"))
    # As a kill in the middle of writing the next checkpoint leaves it: without the trainer's state, its last file.
    shutil.copytree(written, written.with_name("checkpoint-9999"), ignore=shutil.ignore_patterns("trainer_state.json"))

    stage(tiny, tmp_path / "killed")
    stage(tiny, tmp_path / "whole")

    assert not (tmp_path / "killed" / "work").exists()
    deciding = stage in (decision, decision_rl)
    weights = f"done/{ADAPTER_FOLDER}/{ADAPTER_WEIGHTS}" if deciding else "done/model.safetensors"
    assert (tmp_path / "killed" / weights).read_bytes() == (tmp_path / "whole" / weights).read_bytes()


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_loss_that_is_no_number_stops_the_run_and_leaves_no_model(tiny: Path, tmp_path: Path) -> None:
    settings = SftSettings(rate=1e30, epochs=20, batch=4)

    with pytest.raises(RunError, match=r"At step \d+ of 80 the (loss|grad norm) is (nan|inf), no number"):
        fine_tune(tiny, TARGETS, tmp_path / "done", tmp_path / "work", settings, rejection=REJECTION)
    assert not (tmp_path / "done").exists()


@pytest.mark.parametrize(
    ("rejection", "what"), [("", "has no tokens"), ("Δ", "holds what the tokenizer does not know")]
)
def test_a_rejection_that_the_model_cannot_say_is_refused(
    rejection: str, what: str, tiny: Path, tmp_path: Path
) -> None:
    def no_grade(query: Query, text: str) -> float:
        raise AssertionError("nothing is sampled")

    with pytest.raises(ModelError, match=what):
        reinforce(
            tiny,
            [(query, BALANCE) for query in QUERIES],
            no_grade,
            tmp_path / "done",
            tmp_path / "work",
            RlSettings(),
            rejection=rejection,
            max_tokens=4,
        )
