"""Slowdown: how much longer a piece of work takes when a replica has several at work at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from disrouter.errors import ConfigError

__all__ = ["SIDE_BY_SIDE", "TAKING_TURNS", "Slowdown", "slowdown_of"]

MOST_AT_ONCE = 100_000


@dataclass(frozen=True, slots=True)
class Slowdown:
    """How many times as long work takes with n at work, as straight lines between points (n, times).

    The first point is (1, 1); beyond the last one its line goes on.

    Raises:
        ConfigError: The points are no such curve.
    """

    points: tuple[tuple[int, float], ...]

    def __post_init__(self) -> None:
        counts = [n for n, _ in self.points]
        times = [t for _, t in self.points]
        rising = all(a < b for a, b in pairwise(counts)) and times == sorted(times)
        usable = all(1 <= n <= MOST_AT_ONCE for n in counts) and all(1 <= t < math.inf for t in times)
        if not self.points or self.points[0] != (1, 1.0) or not rising or not usable:
            raise ConfigError(
                f"A slowdown of {self} is not usable: it must begin with 1:1, and neither number may fall.",
                hint="for example 1:1,8:1.6,32:3 (with 8 at work everything takes 1.6 times as long)",
            )

    def __str__(self) -> str:
        return ",".join(f"{n}:{times:g}" for n, times in self.points)

    def at(self, n: int) -> float:
        """Return how many times as long work takes with n at work."""
        points = self.points
        if n <= 1 or len(points) == 1:
            return 1.0
        after = next((i for i, (count, _) in enumerate(points) if count >= n), len(points) - 1)
        (n0, t0), (n1, t1) = points[after - 1], points[after]
        return t0 + (t1 - t0) * (n - n0) / (n1 - n0)

    def table(self, most: int) -> list[float]:
        """Return :meth:`at` for 0 to ``most`` at work."""
        return [self.at(n) for n in range(most + 1)]

    def rate(self, most: int) -> float:
        """Return the most work that is done in a second, in seconds of work alone, with up to ``most`` at work."""
        return max(n / self.at(n) for n in range(1, most + 1))


SIDE_BY_SIDE = Slowdown(((1, 1.0),))
"""Nobody is in anybody's way."""

TAKING_TURNS = Slowdown(((1, 1.0), (2, 2.0)))
"""One processor for all: n at work take n times as long."""


def slowdown_of(text: str) -> Slowdown:
    """Return the slowdown of ``1:1,8:1.6,32:3``.

    Raises:
        ConfigError: It is not written so, or no such curve.
    """
    try:
        pairs: Sequence[list[str]] = [part.split(":") for part in text.split(",")]
        points = tuple((int(n), float(times)) for n, times in pairs)
    except ValueError:
        raise ConfigError(
            f"A slowdown of '{text}' cannot be read.", hint="write counts and factors: 1:1,8:1.6,32:3"
        ) from None
    return Slowdown(points)
