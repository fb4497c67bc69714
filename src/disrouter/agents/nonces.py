"""Words that are used once: a signed request that holds one cannot be sent again."""

from __future__ import annotations

import math

__all__ = ["Nonces"]

MOST_NONCES = 65_536


class Nonces:
    """Words that were used, a bounded number of them, by the second in which they were sent.

    Where there are too many, the oldest seconds are forgotten, and nothing that was sent in them is taken any more: so
    nothing is ever taken twice, and whoever signs anew is taken.
    """

    def __init__(self, most: int = MOST_NONCES, window: float = 60.0) -> None:
        self._most = most
        self._window = window
        self._seconds: dict[int, set[bytes]] = {}
        self._count = 0
        self.floor = -math.inf
        """What was sent before this moment is not taken any more."""

    def __len__(self) -> int:
        return self._count

    def take(self, nonce: str, sent: float, now: float) -> bool:
        """Remember a word; return whether it is new."""
        word, second = bytes.fromhex(nonce), math.floor(sent)
        seen = self._seconds.setdefault(second, set())
        if word in seen or sent < self.floor:
            return False
        seen.add(word)
        self._count += 1
        while self._count > self._most or min(self._seconds) < now - self._window - 1:
            oldest = min(self._seconds)
            self._count -= len(self._seconds.pop(oldest))
            self.floor = max(self.floor, oldest + 1.0)
        return True
