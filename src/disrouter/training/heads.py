"""Training a confidence head on the frozen model's hidden states: no answer changes, so no ability is lost.

The head learns an agent's success rates by binary cross-entropy, whose minimum is the success rate itself.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from disrouter.agents._head import HEAD_FILE, ConfidenceHead
from disrouter.agents.folders import weights_digest
from disrouter.errors import DataError, RunError
from disrouter.files import replacing
from disrouter.training.settings import HeadSettings

__all__ = ["link_model", "save_with_head", "train_head"]

_MEASURED = ("calibration.*", "agent-card.json")
"""Files beside a model that tell of it as it was."""


def train_head(
    states: NDArray[np.float32],
    rates: NDArray[np.float64],
    settings: HeadSettings,
    *,
    report: Callable[[int, int, float], None] = lambda step, steps, loss: None,
) -> ConfidenceHead:
    """Return a head that predicts success rates from hidden states.

    Args:
        states: Hidden states of each prompt's last token, shape (queries, layers + 1, width).
        rates: Success rates in [0, 1], shape (queries,).
        settings: How to train.
        report: Called after every epoch with epoch, epochs and mean loss in nats.

    Raises:
        DataError: All success rates are alike: there is nothing to learn.
        RunError: The loss is no number.
    """
    if np.ptp(rates) == 0:
        raise DataError(
            f"All {len(rates)} profiled queries have the success rate {rates[0]:g}: there is nothing to learn.",
            hint="profile the agent on queries of more mixed difficulty",
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        head = ConfidenceHead(states.shape[1], states.shape[2], settings.hidden)
        x, y = torch.from_numpy(states), torch.from_numpy(rates).float()
        head.mean.copy_(x.flatten(1).mean(0))
        head.scale.copy_(x.flatten(1).std(0).clamp(min=1e-6))
        optimizer = torch.optim.AdamW(head.parameters(), lr=settings.rate, weight_decay=settings.weight_decay)
        batch = min(settings.batch, len(x))
        steps = settings.epochs * (len(x) // batch)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.rate, total_steps=steps)
        head.train()
        for epoch in range(settings.epochs):
            losses = []
            for rows in torch.split(torch.randperm(len(x)), batch)[: len(x) // batch]:
                logits = head(x[rows], settings.dropout)
                loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, y[rows])
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
                losses.append(loss.item())
            mean = float(np.mean(losses))
            if not np.isfinite(mean):
                raise RunError(f"The head's loss is {mean}, no number.", hint="lower the recipe's `head.rate`")
            report(epoch + 1, settings.epochs, mean)
    return head.eval()


def save_with_head(head: ConfidenceHead, model: Path, output: Path) -> None:
    """Write a folder with the model's files and the head, whole or not at all; weights are linked where possible."""
    partial = link_model(model, output)
    write_head(head, partial)
    shutil.rmtree(output, ignore_errors=True)
    partial.rename(output)


def link_model(model: Path, output: Path) -> Path:
    """Return a folder that shall become ``output``, with a model's files; weights are linked where possible.

    What was measured of the model, a calibration or an agent card, is left behind.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(model, partial, copy_function=_link_or_copy, ignore=shutil.ignore_patterns(*_MEASURED))
    return partial


def write_head(head: ConfidenceHead, folder: Path) -> None:
    """Write a head beside the model in a folder."""
    tensors = {name: value.detach().float().contiguous() for name, value in head.state_dict().items()}
    with replacing(folder / HEAD_FILE) as temporary:
        save_file(tensors, temporary, metadata=head.metadata(weights_digest(folder)))
        temporary.chmod(0o644)  # written for its owner only


def _link_or_copy(source: str, target: str) -> None:
    """Link a file of weights, which may be many gigabytes, and copy it where the file system cannot."""
    try:
        Path(target).hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
