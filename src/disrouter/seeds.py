"""Seeds: one stable number for every draw, from the run's seed and the names of what is drawn."""

from __future__ import annotations

import json
from hashlib import blake2b

__all__ = ["seed_of"]


def seed_of(run_seed: int, *parts: str) -> int:
    """Return a 63-bit seed that depends only on the run's seed and ``parts`` (say, query id and agent name).

    The same on every machine, in every process and in every order of asking, unlike :func:`hash`.
    """
    # JSON keeps the boundaries of the parts: ("ab", "c") and ("a", "bc") are different draws.
    named = json.dumps([run_seed, *parts]).encode()
    return int.from_bytes(blake2b(named, digest_size=8).digest(), "big") >> 1
