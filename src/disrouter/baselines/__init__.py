"""Other routing methods, one readable file each, behind one contract."""

from __future__ import annotations

from disrouter.baselines.contract import Features, Fitted, Need, Queries, Router, Rows, Seen, Verifications
from disrouter.baselines.ledger import Decisions, Ledger
from disrouter.baselines.registry import BASELINES, baseline_of

__all__ = [
    "BASELINES",
    "Decisions",
    "Features",
    "Fitted",
    "Ledger",
    "Need",
    "Queries",
    "Router",
    "Rows",
    "Seen",
    "Verifications",
    "baseline_of",
]
