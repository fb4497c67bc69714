"""The summary of an evaluation: every number that tables and figures show, computed from the outcome table alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disrouter.evaluation import metrics
from disrouter.evaluation.methods import (
    METHODS,
    Choice,
    best_single,
    chosen,
    largest,
    oracle,
    random_choice,
    single,
    smallest,
)
from disrouter.evaluation.outcomes import OutcomeTable
from disrouter.evaluation.overhead import RejectionRow, rejections
from disrouter.evaluation.replay import Replay, accepted, fitted, replay
from disrouter.network import Network
from disrouter.seeds import seed_of

__all__ = ["AgentRow", "Interval", "MethodRow", "PairedRow", "SingleRow", "Summary", "summarise"]

Interval = tuple[float, float]
"""Lower and upper end of a 95 % bootstrap interval."""

OUTPUT_PER_INPUT = 4
"""The usual price of an output token in input tokens, for the share of looking."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodRow:
    """One method in one scenario."""

    method: str
    scenario: str
    alpha: float
    accuracy: float
    cost: float
    cost_full: float
    utility: float
    utility_full: float
    utility_ci: Interval | None
    utility_full_ci: Interval | None
    oracle_share: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedRow:
    """Ours minus another method on the same queries, at the paper's and at the full cost."""

    method: str
    scenario: str
    difference: float
    difference_ci: Interval | None
    difference_full: float
    difference_full_ci: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleRow:
    """One agent asked alone in one scenario, and how much better ours is."""

    agent: str
    scenario: str
    alpha: float
    accuracy: float
    cost: float
    utility: float
    utility_ci: Interval | None
    difference: float
    difference_ci: Interval | None
    difference_full: float
    difference_full_ci: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRow:
    """One agent; mappings are by scenario, None where a number has no meaning (see the notes)."""

    agent: str
    cost: float
    accuracy: float
    """Of its answers to all queries, over all scenarios."""

    accuracy_by_scenario: Mapping[str, float]
    answer_rate: Mapping[str, float]
    """Share of all queries that it would answer, whoever else is in the network."""

    answer_rate_received: Mapping[str, float | None]
    """Share of the queries that reach it that it answers."""

    received: Mapping[str, float]
    """Share of the queries that reach it."""

    answered: Mapping[str, float]
    """Share of the queries that it answers in the network."""

    auroc: Mapping[str, float | None]
    auroc_received: Mapping[str, float | None]
    brier: Mapping[str, float | None]
    ece: Mapping[str, float | None]
    accept_f1: Mapping[str, float | None]
    prompt_tokens_mean: float
    answer_tokens_mean: float
    look_share: float | None
    failures: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """All numbers of an evaluation."""

    seed: int
    n: int
    network: str
    suite: str | None
    domain: str | None
    rows: tuple[MethodRow, ...]
    paired: tuple[PairedRow, ...]
    singles: tuple[SingleRow, ...]
    agents: tuple[AgentRow, ...]
    best_single: Mapping[str, str]
    """The agent chosen on the validation queries, by scenario."""

    unsolved: float
    """Share of queries that no agent answers right, mean over scenarios."""

    unsolved_by_scenario: Mapping[str, float]
    unanswered: Mapping[str, float]
    """Share of queries that our network leaves without an answer, by scenario."""

    hops_mean: Mapping[str, float]
    """Agents of our network that a query reaches, by scenario."""

    answer_tokens_mean: float
    look_share: float | None
    """Cost of looking / cost of looking and answering, an output token at the price of four input tokens."""

    look_share_flops: float | None
    """The same in FLOPs: about two per weight and token, whether read or written."""

    rejections: tuple[RejectionRow, ...] = ()
    """What looks of agents that did not answer take, by scenario."""

    notes: tuple[str, ...]
    """Why a number is missing."""

    def to_json(self) -> dict[str, Any]:
        """Return the summary as plain JSON values (schema 1)."""
        return {"schema": 1, **asdict(self)}

    def row(self, method: str, scenario: str) -> MethodRow:
        """Return the row of a method in a scenario; KeyError if there is none."""
        for row in self.rows:
            if (row.method, row.scenario) == (method, scenario):
                return row
        raise KeyError((method, scenario))


def summarise(
    table: OutcomeTable,
    validation: OutcomeTable,
    network: Network,
    seed: int,
    *,
    suite: str | None = None,
    resamples: int = 2000,
) -> Summary:
    """Return what a network and its rivals are worth on a table, at the network's prices.

    ``validation`` holds outcomes of other queries, on which the best single agent is chosen. The network's models are
    not used: it may be one of recorded agents.

    Raises:
        DataError: The tables do not fit the network or each other.
    """
    table, validation = fitted(table, network), fitted(validation, network)
    routed = replay(table, network)
    best = best_single(table, validation)
    picks = {
        "oracle": oracle(table),
        "random": random_choice(table, seed=seed),
        "smallest": smallest(table),
        "largest": largest(table),
        "best-single": best,
    }
    choices = {"ours": routed.choice, **{name: chosen(table, pick) for name, pick in picks.items()}}
    singles = {name: chosen(table, single(table, a)) for a, name in enumerate(table.agents)}
    sampled = _Sampled.of(table, {**choices, **{f"agent {n}": c for n, c in singles.items()}}, seed, resamples)
    scenarios = [s.name for s in table.scenarios]
    none_right = ~metrics.right(table.score).any(axis=1)
    ok = ~table.failed
    read, wrote = float(table.prompt_tokens[ok].sum()), float(table.answer_tokens[ok].sum())
    domains = set(table.domains)
    notes: list[str] = []
    if table.shape[2] < 2:
        notes.append("no intervals: a bootstrap needs at least 2 queries")
    agents = tuple(_agent_row(table, network, routed, a, notes) for a in range(len(table.agents)))
    return Summary(
        seed=seed,
        n=table.shape[2],
        network=network.name,
        suite=suite,
        domain=domains.pop() if len(domains) == 1 else None,
        rows=tuple(sampled.method_row(m, choices, s) for s in range(len(scenarios)) for m in METHODS),
        paired=tuple(sampled.paired_row(m, s) for s in range(len(scenarios)) for m in METHODS if m != "ours"),
        singles=tuple(sampled.single_row(n, singles[n], s) for s in range(len(scenarios)) for n in table.agents),
        agents=agents,
        best_single={name: table.agents[int(best[s, 0])] for s, name in enumerate(scenarios)},
        unsolved=float(none_right.mean()),
        unsolved_by_scenario=dict(zip(scenarios, none_right.mean(axis=1).tolist(), strict=True)),
        unanswered=dict(zip(scenarios, (routed.choice.agent < 0).mean(axis=1).tolist(), strict=True)),
        hops_mean=dict(zip(scenarios, routed.received.sum(axis=1).mean(axis=1).tolist(), strict=True)),
        answer_tokens_mean=float(table.answer_tokens[ok].mean()) if ok.any() else 0.0,
        look_share=_share(read, wrote * OUTPUT_PER_INPUT),
        look_share_flops=_share(read, wrote),
        rejections=rejections(table, network, routed),
        notes=tuple(notes),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Sampled:
    """Utilities of every method, and their means over shared bootstrap resamples."""

    table: OutcomeTable
    names: tuple[str, ...]
    utility: NDArray[np.float64]
    """Mean, by cost (paper, full), method and scenario: shape (2, M, S)."""

    means: NDArray[np.float64] | None
    """The same for every resample, shape (resamples, 2, M, S); None where there are too few queries."""

    @classmethod
    def of(cls, table: OutcomeTable, choices: Mapping[str, Choice], seed: int, resamples: int) -> _Sampled:
        alphas = np.array([s.alpha for s in table.scenarios])[:, None]
        betas = np.array([s.beta for s in table.scenarios])[:, None]
        # Where latency has no weight, nothing measured comes into the numbers: equal runs stay equal.
        waits = {name: betas * c.seconds if betas.any() else 0.0 for name, c in choices.items()}
        values = np.stack(
            [
                [c.score - alphas * c.cost - waits[name] for name, c in choices.items()],
                [c.score - alphas * c.cost_full - waits[name] for name, c in choices.items()],
            ]
        )
        means = None
        if table.shape[2] >= 2:
            flat = metrics.bootstrap_means(
                values.reshape(-1, values.shape[-1]), resamples=resamples, seed=seed_of(seed, "bootstrap")
            )
            means = flat.reshape(resamples, *values.shape[:-1])
        return cls(table, tuple(choices), values.mean(axis=-1), means)

    def estimate(self, name: str, s: int, *, full: bool, minus: str | None = None) -> metrics.Estimate:
        """Return the mean utility of a method, or its difference to another's, with its interval."""
        c, m = int(full), self.names.index(name)
        value, means = self.utility[c, m, s], None if self.means is None else self.means[:, c, m, s]
        if minus is not None:
            other = self.names.index(minus)
            value = value - self.utility[c, other, s]
            means = None if means is None or self.means is None else means - self.means[:, c, other, s]
        return metrics.Estimate(float(value), None if means is None else metrics.interval(means))

    def method_row(self, method: str, choices: Mapping[str, Choice], s: int) -> MethodRow:
        paper, full = self.estimate(method, s, full=False), self.estimate(method, s, full=True)
        choice, scenario = choices[method], self.table.scenarios[s]
        return MethodRow(
            method=method,
            scenario=scenario.name,
            alpha=scenario.alpha,
            accuracy=metrics.accuracy(choice.score[s]),
            cost=metrics.mean_cost(choice.cost[s]),
            cost_full=metrics.mean_cost(choice.cost_full[s]),
            utility=paper.value,
            utility_full=full.value,
            utility_ci=paper.interval,
            utility_full_ci=full.interval,
            oracle_share=metrics.oracle_share(paper.value, self.estimate("oracle", s, full=False).value),
        )

    def paired_row(self, method: str, s: int) -> PairedRow:
        paper = self.estimate("ours", s, full=False, minus=method)
        full = self.estimate("ours", s, full=True, minus=method)
        return PairedRow(
            method=method,
            scenario=self.table.scenarios[s].name,
            difference=paper.value,
            difference_ci=paper.interval,
            difference_full=full.value,
            difference_full_ci=full.interval,
        )

    def single_row(self, agent: str, choice: Choice, s: int) -> SingleRow:
        name = f"agent {agent}"
        alone, scenario = self.estimate(name, s, full=False), self.table.scenarios[s]
        paper = self.estimate("ours", s, full=False, minus=name)
        full = self.estimate("ours", s, full=True, minus=name)
        return SingleRow(
            agent=agent,
            scenario=scenario.name,
            alpha=scenario.alpha,
            accuracy=metrics.accuracy(choice.score[s]),
            cost=metrics.mean_cost(choice.cost[s]),
            utility=alone.value,
            utility_ci=alone.interval,
            difference=paper.value,
            difference_ci=paper.interval,
            difference_full=full.value,
            difference_full_ci=full.interval,
        )


def _agent_row(table: OutcomeTable, network: Network, routed: Replay, a: int, notes: list[str]) -> AgentRow:
    """Return one agent's row; why a number is missing is added to the notes."""
    accepts = accepted(table, network)[:, a]
    labels = metrics.right(table.score[:, a])
    confidence, received, answered = table.confidence[:, a], routed.received[:, a], routed.answered[:, a]
    scenarios = [s.name for s in table.scenarios]
    ok = ~table.failed[:, a]
    read, wrote = float(table.prompt_tokens[:, a][ok].sum()), float(table.answer_tokens[:, a][ok].sum())

    def by_scenario(function: Any) -> dict[str, Any]:
        return {name: function(s) for s, name in enumerate(scenarios)}

    auroc = by_scenario(lambda s: metrics.auroc(confidence[s], labels[s]))
    reasons: dict[str, list[str]] = {}
    for s, name in enumerate(scenarios):
        if auroc[name] is None:
            reasons.setdefault(_why_no_auroc(confidence[s], labels[s]), []).append(name)
    notes.extend(f"no AUROC of '{table.agents[a]}' in {', '.join(names)}: {why}" for why, names in reasons.items())
    return AgentRow(
        agent=table.agents[a],
        cost=float(table.answer_cost[:, a].mean()),
        accuracy=metrics.accuracy(table.score[:, a].ravel()),
        accuracy_by_scenario=by_scenario(lambda s: metrics.accuracy(table.score[s, a])),
        answer_rate=by_scenario(lambda s: metrics.answer_rate(accepts[s])),
        answer_rate_received=by_scenario(
            lambda s: metrics.answer_rate(answered[s][received[s]]) if received[s].any() else None
        ),
        received=by_scenario(lambda s: float(received[s].mean())),
        answered=by_scenario(lambda s: float(answered[s].mean())),
        auroc=auroc,
        auroc_received=by_scenario(lambda s: metrics.auroc(confidence[s][received[s]], labels[s][received[s]])),
        brier=by_scenario(lambda s: metrics.brier(confidence[s], labels[s])),
        ece=by_scenario(lambda s: metrics.ece(confidence[s], labels[s])),
        accept_f1=by_scenario(lambda s: metrics.accept_f1(accepts[s], labels[s])),
        prompt_tokens_mean=float(table.prompt_tokens[:, a].mean()),
        answer_tokens_mean=float(table.answer_tokens[:, a].mean()),
        look_share=_share(read, wrote * OUTPUT_PER_INPUT),
        failures=int(table.failed[:, a].sum()),
    )


def _why_no_auroc(confidence: NDArray[np.float64], labels: NDArray[np.bool_]) -> str:
    known = ~np.isnan(confidence)
    if not known.any():
        return "it gives no confidence"
    return "every answer is right" if labels[known].all() else "every answer is wrong"


def _share(part: float, rest: float) -> float | None:
    return part / (part + rest) if part + rest > 0 else None
