"""Model folders: a cheap check that a folder holds a whole, safe chat model, before anything is loaded."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from math import prod
from pathlib import Path
from typing import Any

from disrouter.errors import ModelError

__all__ = ["agent_digest", "check_model_folder", "count_weights", "files_digest", "weights_digest"]

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_TOKENIZERS = (("tokenizer.json",), ("tokenizer.model",), ("vocab.json", "merges.txt"))
_BESIDE = ("confidence_head.safetensors", "adapter/adapter_model.safetensors", "calibration.json")
_DIGESTED = 1 << 20
"""Bytes at either end of a weight file that its digest reads."""

_LONGEST_HEADER = 100_000_000  # the limit of the safetensors format itself, in bytes


def check_model_folder(path: Path | str) -> None:
    """Check that a folder holds a model that can be loaded: configuration, whole weights, tokenizer, chat template.

    Reads a few JSON files and the headers of the weights, never the weights themselves, so that a network file can be
    checked in milliseconds.

    Raises:
        ModelError: Something is missing, cut off or unsafe; the message says what and what to do.
    """
    folder = Path(path)
    if not folder.exists():
        raise ModelError(
            f"Model folder '{folder}' does not exist.", hint="give the path of a folder in Hugging Face format"
        )
    if not folder.is_dir():
        raise ModelError(f"Model '{folder}' is a file, not a folder.", hint="give the folder that holds config.json")
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            raise ModelError(
                f"Model folder '{folder}' holds only an adapter, not a whole model.",
                hint="merge it into its base model (`merge_and_unload()` in peft) and save the result",
            )
        names = sorted(p.name for p in folder.iterdir())
        holds = ", ".join(names[:5]) + (", …" if len(names) > 5 else "") if names else "nothing"
        raise ModelError(
            f"Folder '{folder}' is not a model: it has no config.json. It holds: {holds}.",
            hint="give a folder written by `save_pretrained()`",
        )
    _read_json(folder / "config.json")
    for weights in _weight_files(folder):
        _check_weights(weights)
    _check_tokenizer(folder)


def weights_digest(path: Path | str) -> str:
    """Return a short digest of a model's weights, which tells whether what lies beside them was made for them.

    Raises:
        ModelError: The folder holds no weights.
    """
    return files_digest(_weight_files(Path(path)))


def agent_digest(path: Path | str) -> str:
    """Return a short digest of all that an agent's answers and confidences come from.

    Its weights, and the confidence head and the calibration that may lie beside them.

    Raises:
        ModelError: The folder holds no weights.
    """
    beside = (Path(path) / name for name in _BESIDE)
    return files_digest([*_weight_files(Path(path)), *(file for file in beside if file.is_file())])


def files_digest(paths: Iterable[Path]) -> str:
    """Return a short digest of files: of each one its name, its size and a mebibyte from either end.

    Large files need not be read whole, and a retrained model of the same shape still shows.
    """
    digest = blake2b(digest_size=12)
    for path in paths:
        size = path.stat().st_size
        digest.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            digest.update(file.read(_DIGESTED))
            file.seek(max(0, size - _DIGESTED))
            digest.update(file.read(_DIGESTED))
    return digest.hexdigest()


def count_weights(path: Path | str) -> int:
    """Return how many numbers a model's weight files hold, read from their headers.

    Raises:
        ModelError: The folder holds no usable weights.
    """
    total = 0
    for weights in _weight_files(Path(path)):
        tensors = _check_weights(weights)
        total += sum(prod(tensor["shape"]) for name, tensor in tensors.items() if name != "__metadata__")
    return total


def _weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files the model consists of."""
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    if index.is_file():
        shards = _read_json(index).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise ModelError(
                f"'{index}' names no weight files: its 'weight_map' is empty or missing.",
                hint="copy or download the model again",
            )
        names = sorted({str(name) for name in shards.values()})
        if foreign := [name for name in names if Path(name).name != name or not name.endswith(".safetensors")]:
            raise ModelError(
                f"'{index}' names '{foreign[0]}', but weights must be safetensors files in the folder itself.",
                hint="save the model again with `save_pretrained()`",
            )
        if missing := [name for name in names if not (folder / name).is_file()]:
            raise ModelError(
                f"Model folder '{folder}' lacks {len(missing)} of {len(names)} weight files: {missing[0]}.",
                hint="copy or download the model again",
            )
        return [folder / name for name in names]
    if pickles := sorted(p.name for pattern in _PICKLES for p in folder.glob(pattern)):
        raise ModelError(
            f"Model folder '{folder}' has its weights only as '{pickles[0]}', a pickle, which can run any code when "
            "it is opened. Only safetensors are loaded.",
            hint="where you trust the file: load the model with transformers and `save_pretrained()` it again, "
            "which writes safetensors",
        )
    raise ModelError(
        f"Model folder '{folder}' has no weights: neither model.safetensors nor model.safetensors.index.json.",
        hint="copy or download the model again",
    )


def _check_weights(path: Path) -> Mapping[str, Any]:
    """Check that a safetensors file is as long as its header says, and return the header."""
    size = path.stat().st_size
    again = "copy or download the model again"
    with path.open("rb") as file:
        start = file.read(8)
        if start.startswith(b"version "):
            raise ModelError(f"Weights '{path}' are a Git LFS pointer, not the weights.", hint="run `git lfs pull`")
        length = int.from_bytes(start, "little")
        if len(start) < 8 or 8 + length > size:
            raise ModelError(f"Weights '{path}' are cut off: the file ends after {size} bytes.", hint=again)
        if length > _LONGEST_HEADER:
            raise ModelError(f"Weights '{path}' are not safetensors: a header of {length} bytes.", hint=again)
        header = file.read(length)
    try:
        tensors = json.loads(header)
        ends = [tensor["data_offsets"][1] for name, tensor in tensors.items() if name != "__metadata__"]
        expected = 8 + length + max(ends, default=0)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as exc:
        raise ModelError(f"Weights '{path}' are not safetensors: the header cannot be read.", hint=again) from exc
    if not ends:
        raise ModelError(f"Weights '{path}' hold no tensors.", hint=again)
    if size != expected:
        what = "cut off" if size < expected else "damaged"
        raise ModelError(f"Weights '{path}' are {what}: {size} bytes instead of {expected}.", hint=again)
    header_of: Mapping[str, Any] = tensors
    return header_of


def _check_tokenizer(folder: Path) -> None:
    """Check that a tokenizer and a chat template are there."""
    if not any(all((folder / name).is_file() for name in names) for names in _TOKENIZERS):
        raise ModelError(
            f"Model folder '{folder}' has no tokenizer: neither tokenizer.json nor tokenizer.model.",
            hint="save the tokenizer into the same folder: `tokenizer.save_pretrained(folder)`",
        )
    if any((folder / name).is_file() for name in ("chat_template.jinja", "chat_template.json")):
        return
    settings = folder / "tokenizer_config.json"
    if not settings.is_file() or not _read_json(settings).get("chat_template"):
        raise ModelError(
            f"Model folder '{folder}' has no chat template, so it cannot be asked chat messages.",
            hint="use the instruction-tuned version of the model, or add a chat_template.jinja",
        )


def _read_json(path: Path) -> Mapping[str, object]:
    """Return the JSON object in a file of the model."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as exc:  # broken JSON and broken UTF-8 alike
        raise ModelError(f"'{path}' is not valid JSON ({exc}).", hint="copy or download the model again") from exc
    if not isinstance(content, dict):
        raise ModelError(f"'{path}' holds no JSON object.", hint="copy or download the model again")
    return content
