"""Counts behind the metrics: cells that a request adds to, collected only when somebody asks.

Prometheus' own counters lock and check at every step; these are added to by one thread, the event loop's.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

__all__ = ["Cell", "Spread", "Spreads", "Tally"]


class Cell:
    """One amount that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0


class Tally(Collector):
    """Amounts by labels.

    Args:
        name: Name of the metric.
        text: What it says.
        labels: Names of its labels; none for one amount.
        registry: Asks for it.
    """

    def __init__(self, name: str, text: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        self._family = (name, text)
        self._labels = tuple(labels)
        self._cells: dict[tuple[str, ...], Cell] = {}
        registry.register(self)

    def at(self, *labels: str) -> Cell:
        """Return the amount of some labels, to be kept by whoever often adds to it."""
        cell = self._cells.get(labels)
        return cell or self._cells.setdefault(labels, Cell())

    def describe(self) -> Iterable[Metric]:
        """Return the metric without its amounts."""
        return [CounterMetricFamily(*self._family, labels=self._labels)]

    def collect(self) -> Iterator[Metric]:
        """Return the metric as it is."""
        family = CounterMetricFamily(*self._family, labels=self._labels)
        for labels, cell in self._cells.items():
            family.add_metric(labels, cell.value)
        yield family


class Spread:
    """How often values fell below which bounds."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """Return how many values fell below each bound."""
        found, below = [], 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            below += count
            found.append(("+Inf" if bound == float("inf") else str(float(bound)), float(below)))
        return found


class Spreads(Collector):
    """Spreads by one label, or a single one without label.

    Args:
        name: Name of the metric.
        text: What it says.
        bounds: The bounds, rising.
        registry: Asks for it.
        label: Name of the label; None for a single spread.
    """

    def __init__(
        self, name: str, text: str, bounds: Iterable[float], registry: CollectorRegistry, label: str | None = None
    ) -> None:
        self._family = (name, text)
        self._bounds = tuple(bounds)
        self._labels = () if label is None else (label,)
        self._spreads: dict[tuple[str, ...], Spread] = {}
        registry.register(self)

    def at(self, *label: str) -> Spread:
        """Return the spread of a label, to be kept by whoever often adds to it."""
        spread = self._spreads.get(label)
        return spread or self._spreads.setdefault(label, Spread(self._bounds))

    def describe(self) -> Iterable[Metric]:
        """Return the metric without its counts."""
        return [HistogramMetricFamily(*self._family, labels=self._labels)]

    def collect(self) -> Iterator[Metric]:
        """Return the metric as it is."""
        family = HistogramMetricFamily(*self._family, labels=self._labels)
        for label, spread in self._spreads.items():
            family.add_metric(label, spread.buckets(), spread.total)
        yield family
