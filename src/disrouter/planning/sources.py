"""Sources: whatever holds traces, told apart by what it is and not by what it is called."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from disrouter.errors import DataError
from disrouter.network import Network
from disrouter.planning.exports import read_lines, read_store, workload_of_traces
from disrouter.planning.workload import Workload
from disrouter.types import Scenario

if TYPE_CHECKING:
    from disrouter.evaluation.outcomes import OutcomeTable

__all__ = ["Source", "open_source"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where routes come from."""

    name: str
    """As the user wrote it, without a password."""

    table: OutcomeTable | None = field(default=None, repr=False)
    """Outcomes of every agent on every query, where there are any: then routes can be made for any alpha."""

    _path: str = ""

    def workload(self, network: Network, scenario: Scenario | None = None) -> Workload:
        """Return the routes through a network: of a scenario, by default of the network's own.

        Traces of a gateway are taken whatever alpha they were asked at, unless a scenario is named.

        Raises:
            DataError: The source does not fit the network, or holds nothing of this scenario.
        """
        if self.table is not None:
            from disrouter.planning.outcomes import workload_of_table

            return workload_of_table(self.table, network, scenario or network.scenario, source=f"'{self.name}'")
        store = "://" in self._path or _begins(Path(self._path)) == "store"
        traces = read_store(self._path) if store else read_lines(Path(self._path))
        alpha = None if scenario is None else scenario.alpha
        return workload_of_traces(traces, network, source=f"'{self.name}'", alpha=alpha)


def open_source(where: str) -> Source:
    """Return the source that is a run folder, an outcome table, a file of traces, or a gateway's store.

    Raises:
        DataError: There is nothing, or something else.
    """
    if "://" in where:
        from disrouter.gateway.store import shown_address

        return Source(name=shown_address(where), _path=where)
    path = Path(where)
    if not path.exists():
        raise DataError(
            f"There is nothing at '{where}'.",
            hint="give a run folder, an outcome table, a gateway's store, or what `disrouter traces --export` wrote",
        )
    if path.is_dir() or _begins(path) == "table":
        from disrouter.planning.outcomes import read_outcomes

        return Source(name=where, table=read_outcomes(path), _path=where)
    return Source(name=where, _path=where)


def _begins(path: Path) -> str:
    """Return what a file is by its first bytes."""
    if not path.is_file():
        return "nothing"
    with path.open("rb") as file:
        head = file.read(16)
    if head.startswith(b"PAR1"):
        return "table"
    return "store" if head.startswith(b"SQLite format 3") else "lines"
