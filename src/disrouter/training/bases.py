"""Bases: the folder of the model that an agent's training starts from."""

from __future__ import annotations

import re
from pathlib import Path

from disrouter.agents.folders import check_model_folder
from disrouter.errors import ConfigError, MissingExtraError, ModelError

__all__ = ["LAB", "base_folder", "with_stage"]

LAB = "lab:"
"""What the name of a lab model begins with."""

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
"""A name that a hub may know, as ``Qwen/Qwen2.5-7B-Instruct``; a local folder may have it, too."""

_BUILT = Path("lab-build/mixed")
"""Where the recipe ``lab-mixed`` finds what is built, from the folder that the commands are given in."""

# Weights as safetensors only; nothing that could be run.
_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")


def base_folder(model: str) -> Path:
    """Return the checked folder of a recipe's model: a lab model, a local folder, or a copy from the hub.

    ``lab:agent-1`` is a lab model's base, ``lab:agent-1@paper`` another stage of it.

    The hub is asked only for what is neither of the others; what it once gave is kept in its usual cache.

    Raises:
        UnknownNameError: The lab has no such model.
        ModelError: There is no such folder, it is no usable model, or the hub cannot give it.
        MissingExtraError: The hub's client is not installed.
    """
    if model.startswith(LAB):
        from disrouter.lab.family import checkpoint_of

        folder = checkpoint_of(with_stage(model).removeprefix(LAB))
    else:
        folder = _local(model)
        if not folder.exists() and _HUB_NAME.fullmatch(model):
            folder = _from_hub(model)
        if not folder.exists() and folder.is_relative_to(_BUILT):
            raise ModelError(
                f"There is no folder '{model}': the lab's mixed family does not ship.",
                hint="build it here first with `disrouter lab build --family mixed --stage base --compile`",
            )
    check_model_folder(folder)
    return folder


def with_stage(model: str) -> str:
    """Return a lab model's name with its stage, as a network file wants it: training starts from its base."""
    return model if "@" in model else f"{model}@base"


def _local(model: str) -> Path:
    try:
        return Path(model).expanduser()
    except RuntimeError as exc:
        raise ConfigError(f"'{model}' begins with the home folder of nobody.", hint="write the path out") from exc


def _from_hub(model: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ModuleNotFoundError as exc:
        raise MissingExtraError.of(f"Model '{model}' of a hub", "train") from exc
    try:
        return Path(snapshot_download(model, allow_patterns=list(_FILES)))
    except (OSError, ValueError) as exc:  # offline, unknown, gated: all of the client's errors are one of these
        reason = str(exc).strip().splitlines()[0].rstrip(".") if str(exc).strip() else type(exc).__name__
        raise ModelError(
            f"There is no folder '{model}', and the model hub does not give a model of that name: {reason}.",
            hint="check the name and the network, or put a local model folder into the recipe",
        ) from exc
