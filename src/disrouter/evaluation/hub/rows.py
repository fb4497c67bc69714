"""A row of a dataset with typed access to its columns, so that a surprise in the data names its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from disrouter.errors import DataError

__all__ = ["Row"]


@dataclass(frozen=True, slots=True)
class Row:
    """One row. A column inside another is named with a dot: ``choices.text``."""

    place: str
    """Where the row stands, for messages: ``Dataset 'arc', split 'train', row 3``; rows count from 0, as on the hub."""

    values: Mapping[str, Any]

    def text(self, column: str) -> str:
        """Return a text without the spaces around it.

        Raises:
            DataError: There is no such column, or it holds something else; the message names dataset, row and column.
        """
        value = self.value(column)
        if not isinstance(value, str):
            raise self.wrong(column, "a text is wanted")
        return value.strip()

    def whole(self, column: str) -> int:
        """Return a whole number; raises like :meth:`text`."""
        value = self.value(column)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.wrong(column, "a whole number is wanted")
        return value

    def texts(self, column: str) -> tuple[str, ...]:
        """Return the texts of a list, without the spaces around them; raises like :meth:`text`."""
        value = self.value(column)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.wrong(column, "a list of texts is wanted")
        return tuple(item.strip() for item in value)

    def nested(self, column: str) -> Row:
        """Return the row inside a column; raises like :meth:`text`."""
        value = self.value(column)
        if not isinstance(value, Mapping):
            raise self.wrong(column, "a row is wanted")
        return Row(f"{self.place}, {column}", value)

    def rows(self, column: str) -> tuple[Row, ...]:
        """Return the rows of a list of rows, ``[{…}, {…}]``; raises like :meth:`text`."""
        value = self.value(column)
        if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
            raise self.wrong(column, "a list of rows is wanted")
        return tuple(Row(f"{self.place}, {column}[{index}]", item) for index, item in enumerate(value))

    def transposed(self, column: str) -> tuple[Row, ...]:
        """Return the rows of a row of lists, ``{"a": […], "b": […]}``; raises like :meth:`text`."""
        value = self.value(column)
        if not isinstance(value, Mapping) or not all(isinstance(item, list) for item in value.values()):
            raise self.wrong(column, "columns of lists are wanted")
        if len({len(item) for item in value.values()}) > 1:
            raise self.wrong(column, "lists of one length are wanted")
        return tuple(
            Row(f"{self.place}, {column}[{index}]", dict(zip(value, items, strict=True)))
            for index, items in enumerate(zip(*value.values(), strict=True))
        )

    def value(self, column: str) -> Any:
        """Return whatever a column holds.

        Raises:
            DataError: There is no such column.
        """
        found: Any = self.values
        for name in column.split("."):
            if not isinstance(found, Mapping) or name not in found:
                known = ", ".join(f"'{key}'" for key in self.values)
                raise DataError(
                    f"{self.place}: there is no column '{column}'. It has {known}.",
                    hint="give the files the columns that the dataset has on the hub",
                )
            found = found[name]
        return found

    def wrong(self, column: str, wanted: str) -> DataError:
        """Return the error for a column that holds something else than wanted."""
        shown = repr(self.value(column))
        return DataError(f"{self.place}, column '{column}': {wanted}, not {shown[:80]}{'…' * (len(shown) > 80)}.")
