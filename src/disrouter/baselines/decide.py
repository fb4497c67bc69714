"""Asking a fitted method for its decisions, and refusing what is none."""

from __future__ import annotations

import numpy as np

from disrouter.baselines.contract import Fitted, Router, Rows
from disrouter.baselines.ledger import Decisions, Ledger
from disrouter.errors import DataError
from disrouter.types import Scenario

__all__ = ["decide"]


def decide(router: Router, fitted: Fitted, rows: Rows, scenario: Scenario) -> Decisions:
    """Return a method's sealed decisions on some rows, whose scores it never gets to see.

    Raises:
        DataError: The method returned something else than one known agent per query.
    """
    ledger = Ledger(rows, scenario, router.needs)
    agent = np.asarray(fitted.route(ledger.queries, scenario, ledger))
    wanted = (len(rows.texts),)
    if agent.shape != wanted:
        raise DataError(
            f"Method '{router.name}' returned shape {agent.shape} for {wanted[0]} queries: wanted {wanted}.",
            hint="return one place on the agent axis per query",
        )
    if agent.dtype.kind not in "iu":
        raise DataError(
            f"Method '{router.name}' returned {agent.dtype} values: agents are whole numbers.",
            hint="return places on the agent axis, for example `ledger.agents.index(name)`",
        )
    unknown = (agent >= len(ledger.agents)) | (agent < 0) & ~ledger.unanswered
    if unknown.any():
        at = int(np.flatnonzero(unknown)[0])
        listed = ", ".join(f"{i} '{name}'" for i, name in enumerate(ledger.agents))
        raise DataError(
            f"Method '{router.name}' sent query '{rows.table.query_ids[at]}' to the unknown agent {agent[at]}. "
            f"Agents: {listed}."
        )
    return ledger.seal(agent.astype(np.int64))
