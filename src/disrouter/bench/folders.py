"""Run folders of the bench: opened only for the comparison they hold, their records read with what is wrong named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from disrouter.errors import DataError
from disrouter.evaluation.records import commit, versions
from disrouter.files import write_json

__all__ = ["open_run", "read_json"]


def open_run(folder: Path, config: Mapping[str, Any], *, resume: bool) -> None:
    """Make a run folder, or see that the one there is of this very comparison."""
    if folder.exists() and not folder.is_dir():
        raise DataError(f"'{folder}' is a file, not a run folder.", hint="name another folder")
    here = json.loads(json.dumps(config))
    if (folder / "config.json").is_file():
        there = read_json(folder / "config.json")
        if resume and there == here:
            return
        if resume and {**there, "methods": 0, "reference": 0} != {**here, "methods": 0, "reference": 0}:
            different = next(key for key in here if there.get(key) != here[key])
            raise DataError(
                f"Run folder '{folder}' holds another comparison: it differs in its {different.replace('_', ' ')}.",
                hint="name another folder with --run-dir, or start afresh with --no-resume",
            )
        for record in (folder / "decisions").glob("*.seed*.json"):
            # Of the same comparison, only methods that are made as they were are kept.
            method = record.name.rpartition(".seed")[0]
            if not resume or there["methods"].get(method) != here["methods"].get(method, there["methods"].get(method)):
                record.unlink()
                record.with_suffix(".npz").unlink(missing_ok=True)
        for stale in ("sealed.json", "results.parquet", "metrics.json"):
            with suppress(FileNotFoundError):
                (folder / stale).unlink()
    elif folder.is_dir() and any(folder.iterdir()):
        raise DataError(f"Folder '{folder}' is not empty and no run folder.", hint="name a new or an empty folder")
    write_json(folder / "environment.json", {"versions": versions(), "commit": commit()})
    write_json(folder / "config.json", config)


def read_json(path: Path) -> dict[str, Any]:
    """Return the object of a JSON file of a run folder.

    Raises:
        DataError: It is missing or damaged.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"'{path.parent}' has no {path.name}.", hint="is it the folder of a bench run?") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as exc:
        raise DataError(f"'{path}' is damaged: {exc}.", hint="run the comparison again in another folder") from exc
    if not isinstance(value, dict):
        raise DataError(f"'{path}' is not the record of a run.")
    return value
