from __future__ import annotations

import errno
from pathlib import Path

import pytest

from disrouter.files import replacing, write_text


def test_a_disk_that_is_full_is_told_by_the_name_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "table.txt"
    write_text(path, "whole")

    with pytest.raises(OSError, match="No space left") as error, replacing(path):
        raise OSError(errno.ENOSPC, "No space left on device")  # writing says no name

    assert error.value.filename == str(path)
    assert [p.name for p in tmp_path.iterdir()] == ["table.txt"]
    assert path.read_text() == "whole"
