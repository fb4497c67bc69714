"""Overhead: what a network spends on agents that look at a query and do not answer it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disrouter.evaluation.outcomes import OutcomeTable
from disrouter.evaluation.replay import Replay, replay
from disrouter.network import Network

__all__ = ["LatencyRow", "RejectionRow", "latency", "rejections"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectionRow:
    """What looks of agents that did not answer take in one scenario; shares of what all queries took together."""

    scenario: str
    per_query: float
    """Agents asked in vain, per query."""

    cost_share: float | None
    """None where a total is 0; so below."""

    tokens_share: float | None
    """Of all tokens read and written. A rejection reads the prompt and writes nothing that an answer would hold."""

    flops_share: float | None
    """About two per weight and token; None also where an agent's number of weights is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyRow:
    """Mean seconds per query in one scenario, as measured; 0 where nothing was."""

    scenario: str
    beta: float
    seconds: float
    """From the first look to the end of the answer, in agents."""

    seconds_before_answer: float
    """Until the answer begins to be written: every look, that of the agent that answers included."""

    rejection_share: float | None
    """Share of all seconds that looks of agents took that did not answer."""


def rejections(table: OutcomeTable, network: Network, routed: Replay) -> tuple[RejectionRow, ...]:
    """Return the share of cost, tokens and FLOPs spent on rejections, by scenario.

    The table must be fitted to the network, and ``routed`` be its replay.
    """
    weights = np.array([network.agents[name].card.parameters or 0 for name in table.agents], dtype=np.float64)
    return tuple(
        _rejection_row(table, routed, s, weights if weights.all() else None) for s in range(len(table.scenarios))
    )


def _rejection_row(table: OutcomeTable, routed: Replay, s: int, weights: NDArray[np.float64] | None) -> RejectionRow:
    answered = routed.answered[s]
    vain = routed.received[s] & ~answered
    read, wrote = table.prompt_tokens[s], table.answer_tokens[s]
    flops = None
    if weights is not None:
        spent, used = _sums(read, vain) * weights, _sums(read + wrote, answered) * weights
        flops = _share(spent.sum(), used.sum())
    return RejectionRow(
        scenario=table.scenarios[s].name,
        per_query=float(vain.sum() / vain.shape[1]),
        cost_share=_share(table.look_cost[s][vain].sum(), table.answer_cost[s][answered].sum()),
        tokens_share=_share(read[vain].sum(), (read + wrote)[answered].sum()),
        flops_share=flops,
    )


def latency(table: OutcomeTable, network: Network) -> tuple[LatencyRow, ...]:
    """Return how long queries take, by scenario. The table must be fitted to the network."""
    routed = replay(table, network)
    rows = []
    for s, scenario in enumerate(table.scenarios):
        look, answer = table.look_seconds[s], table.answer_seconds[s]
        answered = routed.answered[s]
        vain, queries = routed.received[s] & ~answered, answered.shape[1]
        before = look[routed.received[s]].sum()
        total = before + answer[answered].sum()
        rows.append(
            LatencyRow(
                scenario=scenario.name,
                beta=scenario.beta,
                seconds=float(total / queries),
                seconds_before_answer=float(before / queries),
                rejection_share=_share(look[vain].sum(), total - look[vain].sum()),
            )
        )
    return tuple(rows)


def _sums(column: NDArray[Any], which: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the sum of a column (A, Q) where marked, by agent."""
    sums: NDArray[np.float64] = np.where(which, column, 0).sum(axis=1).astype(np.float64)
    return sums


def _share(part: float, rest: float) -> float | None:
    return float(part / (part + rest)) if part + rest > 0 else None
