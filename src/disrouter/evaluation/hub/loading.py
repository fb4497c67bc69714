"""Loading: the rows of one split of a dataset through the ``datasets`` library, from the hub or from a local folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from disrouter.errors import DataError, MissingExtraError
from disrouter.evaluation.hub.catalogue import HubDataset
from disrouter.evaluation.hub.rows import Row

__all__ = ["rows_of"]

_ROWS = 1000
"""Rows that become Python objects at a time."""


def rows_of(dataset: HubDataset, split: str, folder: Path | None) -> Iterator[Row]:
    """Yield the rows of one of the hub's splits; from files in ``folder`` if it is given.

    Raises:
        MissingExtraError: The ``datasets`` library is not installed.
        DataError: The split cannot be loaded from there.
    """
    try:
        from datasets import load_dataset
        from datasets.exceptions import DatasetsError
    except ModuleNotFoundError as exc:
        raise MissingExtraError.of(f"Dataset '{dataset.name}'", "train") from exc
    request = _from_hub(dataset, split) if folder is None else _from_folder(dataset, split, folder)
    try:
        table = load_dataset(**request, split=split)
    except (OSError, RuntimeError, ValueError, DatasetsError) as exc:
        where = f"'{dataset.path}' on the hub" if folder is None else f"'{folder / dataset.name}'"
        reason = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
        raise DataError(
            f"Cannot load split '{split}' of dataset '{dataset.name}' from {where}: {reason.rstrip('.')}.",
            hint=_files_hint(dataset, split),
        ) from exc
    # Arrow's own objects: they need no decoder for columns that nobody reads, such as pictures.
    batches = (batch.to_pylist() for batch in table.with_format("arrow").iter(batch_size=_ROWS))
    for index, values in enumerate(values for batch in batches for values in batch):
        yield Row(f"Dataset '{dataset.name}', split '{split}', row {index}", values)


def _from_hub(dataset: HubDataset, split: str) -> dict[str, Any]:
    if dataset.converted:
        return {
            "path": dataset.path,
            "revision": "refs/convert/parquet",
            "data_files": {split: f"{dataset.config or 'default'}/{split}/*.parquet"},
        }
    return {"path": dataset.path, "name": dataset.config}


def _from_folder(dataset: HubDataset, split: str, folder: Path) -> dict[str, Any]:
    for builder, ending in (("parquet", "parquet"), ("json", "jsonl")):
        files = sorted((folder / dataset.name).glob(f"{split}*.{ending}"))
        if files:
            return {"path": builder, "data_files": {split: [str(file) for file in files]}}
    raise DataError(
        f"There is no file of split '{split}' of dataset '{dataset.name}' in '{folder / dataset.name}'.",
        hint=_files_hint(dataset, split),
    )


def _files_hint(dataset: HubDataset, split: str) -> str:
    return (
        f"put the files of '{dataset.path}' into a folder as DIR/{dataset.name}/{split}*.parquet (or .jsonl) "
        "and add @DIR to the name of the suite"
    )
