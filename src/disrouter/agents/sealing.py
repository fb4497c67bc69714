"""Seals: what makes a frame of a channel believable, with a key that only the two ends of that channel know.

Every frame carries a MAC over its direction, its number and its bytes. So none can be made up, changed, left out, put
in another order, sent again or turned around: whatever does not come exactly as it was sent ends the channel.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["MAC_BYTES", "Seal", "SealError", "Seals"]

MAC_BYTES = 32

Direction = Literal["calls", "replies"]


class SealError(Exception):
    """A frame that must not be believed."""


@dataclass(slots=True)
class Seal:
    """The seal of one direction of one channel; without a key frames travel as they are.

    Args:
        key: The channel's key.
        direction: Which way the frames go.
    """

    key: bytes | None
    direction: Direction
    _count: int = field(default=0, init=False)

    def sealed(self, frame: bytes) -> bytes:
        """Return the next frame to send, with its MAC before it."""
        return frame if self.key is None else self._mac(self.key, frame) + frame

    def opened(self, received: bytes) -> bytes:
        """Return the next frame that has come.

        Raises:
            SealError: It is not the one that was sent.
        """
        if self.key is None:
            return received
        frame = received[MAC_BYTES:]
        if not hmac.compare_digest(received[:MAC_BYTES], self._mac(self.key, frame)):
            raise SealError("A frame has a wrong seal.")
        return frame

    def _mac(self, key: bytes, frame: bytes) -> bytes:
        self._count += 1
        number = self._count.to_bytes(hashlib.blake2b.SALT_SIZE, "big")
        way = self.direction.encode()
        return hashlib.blake2b(frame, digest_size=MAC_BYTES, key=key, salt=number, person=way).digest()


@dataclass(frozen=True, slots=True)
class Seals:
    """The two seals of a channel."""

    calls: Seal
    replies: Seal

    @staticmethod
    def of(key: bytes | None) -> Seals:
        """Return fresh ones."""
        return Seals(Seal(key, "calls"), Seal(key, "replies"))
