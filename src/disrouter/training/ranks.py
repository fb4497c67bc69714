"""Ranks: one agent trained by several processes, which a launcher (``accelerate launch``, ``torchrun``) started.

All of them train; whatever else there is to do, the first one does.
"""

from __future__ import annotations

import os

import torch

__all__ = ["is_first", "processes", "wait_for_all"]


def processes() -> int:
    """Return how many processes train this agent together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return int(os.environ.get("RANK", "0")) == 0


def wait_for_all() -> None:
    """Go on when every process is here."""
    if processes() > 1 and torch.distributed.is_initialized():
        torch.distributed.barrier()
