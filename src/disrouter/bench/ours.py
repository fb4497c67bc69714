"""Our network behind the contract of every other method: it routes by its agents' looks, and pays for each."""

from __future__ import annotations

from dataclasses import dataclass, field

from disrouter.baselines.contract import AgentPlaces, Need, Queries, Rows, Seen
from disrouter.baselines.ledger import Ledger
from disrouter.network import Network
from disrouter.types import Scenario

__all__ = ["Ours"]


@dataclass(frozen=True, slots=True)
class Ours:
    """A network replayed from the table. It is not fitted: its agents were trained one by one, elsewhere."""

    network: Network
    name: str = "ours"
    needs: frozenset[Need] = field(default=frozenset({"confidences"}), init=False)

    def fit(self, train: Rows, validation: Rows, *, seed: int) -> _Fitted:
        """Return the network as it is."""
        return _Fitted(self.network, Seen.of(train, validation))


@dataclass(frozen=True, slots=True)
class _Fitted:
    network: Network
    seen: Seen

    def route(self, queries: Queries, scenario: Scenario, ledger: Ledger) -> AgentPlaces:
        """Route as live routing would, over the recorded looks."""
        return ledger.walk(self.network)
