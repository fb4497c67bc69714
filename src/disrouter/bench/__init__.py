"""The bench: routing methods compared on the same queries, decisions sealed before scores are joined."""

from __future__ import annotations
